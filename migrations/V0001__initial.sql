-- The first schema. Never edit a released migration, not even a comment in it: its checksum is recorded.
--
-- Every migration ends by setting user_version to its own number, so that an older binary sees that it is too old.
-- Ids are text (a prefix and UUIDv7 in hex, so they sort by creation), times are milliseconds since the Unix epoch, in
-- UTC. A row of a tenant carries project_id, and foreign keys between such rows carry it too: no row can point into
-- another project.

PRAGMA application_id = 0x50506272; -- "PPbr"

-- What this database is called in sealed values: one from elsewhere does not open here.
-- `meta` and `keyring` are read before migrating: the meaning of their columns is fixed for good.
CREATE TABLE meta (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    db_id TEXT NOT NULL CHECK (length(db_id) = 36)
) STRICT;

-- The keys that seal values, each wrapped by a key of the keyring file.
CREATE TABLE keyring (
    dek_id      INTEGER PRIMARY KEY CHECK (dek_id BETWEEN 1 AND 4294967295),
    wrapped_by  TEXT NOT NULL,
    blob        BLOB NOT NULL,
    check_value BLOB NOT NULL CHECK (length(check_value) = 32),
    state       TEXT NOT NULL CHECK (state IN ('active', 'retired')),
    created_at  INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX keyring_one_active ON keyring (state) WHERE state = 'active';

CREATE TABLE projects (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE access_keys (
    id         TEXT NOT NULL PRIMARY KEY,
    project_id TEXT NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    hint       TEXT NOT NULL,
    scopes     TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    digest     BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER,
    UNIQUE (project_id, id)
) STRICT;

CREATE TABLE profiles (
    id          TEXT NOT NULL PRIMARY KEY,
    project_id  TEXT NOT NULL REFERENCES projects (id),
    name        TEXT NOT NULL,
    -- The name as it is searched in: lower-case in all of Unicode, which SQLite's own functions are not.
    name_folded TEXT NOT NULL,
    description TEXT,
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL,
    -- Kept, so that integrations keep their profile and pages can name it.
    deleted_at  INTEGER,
    UNIQUE (project_id, id)
) STRICT;

CREATE TABLE oauth_apps (
    id                   TEXT NOT NULL PRIMARY KEY,
    project_id           TEXT NOT NULL REFERENCES projects (id),
    platform             TEXT NOT NULL,
    name                 TEXT NOT NULL,
    name_folded          TEXT NOT NULL,
    image_url            TEXT,
    client_id            TEXT NOT NULL,
    -- Sealed; erased when the app is deleted.
    client_secret        BLOB CHECK (length(client_secret) >= 45),
    client_secret_dek_id INTEGER,
    generation           INTEGER NOT NULL CHECK (generation >= 1),
    created_at           INTEGER NOT NULL,
    updated_at           INTEGER NOT NULL,
    deleted_at           INTEGER,
    UNIQUE (project_id, id),
    CHECK ((client_secret IS NULL) = (deleted_at IS NOT NULL)),
    CHECK ((client_secret IS NULL) = (client_secret_dek_id IS NULL)),
    CHECK (hex(substr(client_secret, 2, 4)) = printf('%08X', client_secret_dek_id) OR client_secret IS NULL)
) STRICT;

CREATE UNIQUE INDEX oauth_apps_by_client ON oauth_apps (project_id, platform, client_id) WHERE deleted_at IS NULL;
CREATE INDEX oauth_apps_by_dek ON oauth_apps (client_secret_dek_id);

-- Connections being made. A row lives for minutes, so nothing ever re-seals its verifier: no column for its key.
CREATE TABLE flows (
    id                  TEXT NOT NULL PRIMARY KEY,
    project_id          TEXT NOT NULL REFERENCES projects (id),
    access_key_id       TEXT,
    state               BLOB NOT NULL UNIQUE CHECK (length(state) = 32),
    platform            TEXT NOT NULL,
    app_id              TEXT,
    client_id           TEXT NOT NULL,
    profile_id          TEXT,
    redirect_uri        TEXT,
    cancel_redirect_uri TEXT,
    headless            INTEGER NOT NULL CHECK (headless IN (0, 1)),
    pkce_verifier       BLOB CHECK (length(pkce_verifier) >= 45),
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    consumed_by         BLOB CHECK (length(consumed_by) = 32),
    outcome             TEXT CHECK (json_valid(outcome)),
    CHECK (consumed_by IS NULL OR pkce_verifier IS NULL),
    CHECK (outcome IS NULL OR consumed_by IS NOT NULL),
    FOREIGN KEY (project_id, access_key_id) REFERENCES access_keys (project_id, id),
    FOREIGN KEY (project_id, app_id) REFERENCES oauth_apps (project_id, id),
    FOREIGN KEY (project_id, profile_id) REFERENCES profiles (project_id, id)
) STRICT;

CREATE INDEX flows_by_expiry ON flows (expires_at);
CREATE INDEX flows_pending ON flows (project_id, expires_at) WHERE consumed_by IS NULL;

-- Consents. Each owns its tokens, sealed as one value under this row and generation.
CREATE TABLE grants (
    id                 TEXT NOT NULL PRIMARY KEY,
    project_id         TEXT NOT NULL REFERENCES projects (id),
    platform           TEXT NOT NULL,
    app_id             TEXT,
    client_id          TEXT NOT NULL,
    subject            TEXT NOT NULL,
    scopes             TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    access_expires_at  INTEGER,
    refresh_expires_at INTEGER,
    auto_refreshes     INTEGER NOT NULL CHECK (auto_refreshes IN (0, 1)),
    tokens             BLOB NOT NULL CHECK (length(tokens) >= 45),
    tokens_dek_id      INTEGER NOT NULL,
    generation         INTEGER NOT NULL CHECK (generation >= 1),
    status             TEXT NOT NULL CHECK (status IN ('active', 'reconnect_required')),
    failure_reason     TEXT CHECK (failure_reason IN ('access_revoked', 'refresh_rejected', 'security_invalidation', 'token_expired')),
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    UNIQUE (project_id, id),
    CHECK ((status = 'active') = (failure_reason IS NULL)),
    CHECK (hex(substr(tokens, 2, 4)) = printf('%08X', tokens_dek_id)),
    FOREIGN KEY (project_id, app_id) REFERENCES oauth_apps (project_id, id)
) STRICT;

CREATE UNIQUE INDEX grants_by_subject ON grants (project_id, platform, client_id, subject);
CREATE INDEX grants_by_app ON grants (project_id, app_id);
CREATE INDEX grants_by_dek ON grants (tokens_dek_id);
-- What is to be refreshed, soonest first.
CREATE INDEX grants_by_due ON grants (access_expires_at) WHERE status = 'active' AND auto_refreshes = 1;

CREATE TABLE integrations (
    id               TEXT NOT NULL PRIMARY KEY,
    project_id       TEXT NOT NULL REFERENCES projects (id),
    grant_id         TEXT NOT NULL,
    profile_id       TEXT,
    platform         TEXT NOT NULL,
    platform_user_id TEXT NOT NULL,
    username         TEXT,
    display_name     TEXT,
    profile_url      TEXT,
    image_url        TEXT,
    metadata         TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    -- Display name, username and platform user id as they are searched in, lower-case, a line each.
    search           TEXT NOT NULL,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    UNIQUE (project_id, id),
    FOREIGN KEY (project_id, grant_id) REFERENCES grants (project_id, id),
    FOREIGN KEY (project_id, profile_id) REFERENCES profiles (project_id, id)
) STRICT;

-- One account is connected once under a profile, and once without any.
CREATE UNIQUE INDEX integrations_by_account
    ON integrations (project_id, coalesce(profile_id, ''), platform, platform_user_id);
CREATE INDEX integrations_by_grant ON integrations (project_id, grant_id);
CREATE INDEX integrations_by_profile ON integrations (project_id, profile_id);

PRAGMA user_version = 1;
