-- Tokens that stay alive: when a grant is due, what stands in its way, the refresh under way, and what the platform
-- answered before anybody has read it. The same for the exchange of a code. And who read which token.
--
-- The table is rebuilt, because tokens may now be erased: of a grant that has ended they are kept for a while only.

DROP INDEX grants_by_due;

CREATE TABLE grants_anew (
    id                 TEXT NOT NULL PRIMARY KEY,
    project_id         TEXT NOT NULL REFERENCES projects (id),
    platform           TEXT NOT NULL,
    app_id             TEXT,
    client_id          TEXT NOT NULL,
    subject            TEXT NOT NULL,
    scopes             TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    -- When the person last consented, and when the tokens that are here were asked for.
    consented_at       INTEGER NOT NULL,
    issued_at          INTEGER NOT NULL,
    access_expires_at  INTEGER,
    refresh_expires_at INTEGER,
    -- What a new access token is got with, without the person.
    renewal            TEXT NOT NULL CHECK (renewal IN ('access_token', 'never', 'refresh_token')),
    tokens             BLOB CHECK (length(tokens) >= 45),
    tokens_dek_id      INTEGER,
    generation         INTEGER NOT NULL CHECK (generation >= 1),
    status             TEXT NOT NULL CHECK (status IN ('active', 'reconnect_required')),
    failure_reason     TEXT CHECK (failure_reason IN ('access_revoked', 'refresh_rejected', 'security_invalidation', 'token_expired')),
    -- Since when the person is needed.
    ended_at           INTEGER,
    -- When it is to be refreshed next; null where it never is.
    due_at             INTEGER,
    -- The latest failure, and how many there were in a row.
    trouble            TEXT CHECK (json_type(trouble) = 'object'),
    failures           INTEGER NOT NULL DEFAULT 0 CHECK (failures >= 0),
    -- When the refresh began that is under way, or of which nobody knows how it ended.
    attempt_at         INTEGER,
    -- Whether there was one of which nobody knows.
    in_doubt           INTEGER NOT NULL DEFAULT 0 CHECK (in_doubt IN (0, 1)),
    -- What the platform answered to it, sealed as it came.
    answer             BLOB CHECK (length(answer) >= 45),
    answer_dek_id      INTEGER,
    created_at         INTEGER NOT NULL,
    updated_at         INTEGER NOT NULL,
    UNIQUE (project_id, id),
    CHECK ((status = 'active') = (failure_reason IS NULL)),
    CHECK ((status = 'active') = (ended_at IS NULL)),
    CHECK (status = 'active' OR due_at IS NULL),
    CHECK (status <> 'active' OR tokens IS NOT NULL),
    CHECK ((tokens IS NULL) = (tokens_dek_id IS NULL)),
    CHECK (tokens IS NULL OR hex(substr(tokens, 2, 4)) = printf('%08X', tokens_dek_id)),
    CHECK ((answer IS NULL) = (answer_dek_id IS NULL)),
    CHECK (answer IS NULL OR hex(substr(answer, 2, 4)) = printf('%08X', answer_dek_id)),
    CHECK (attempt_at IS NOT NULL OR (in_doubt = 0 AND answer IS NULL)),
    FOREIGN KEY (project_id, app_id) REFERENCES oauth_apps (project_id, id)
) STRICT;

-- Long-lived tokens that renew themselves are due well before they expire: after that, nothing renews them.
INSERT INTO grants_anew (id, project_id, platform, app_id, client_id, subject, scopes, consented_at, issued_at,
    access_expires_at, refresh_expires_at, renewal, tokens, tokens_dek_id, generation, status, failure_reason, ended_at,
    due_at, created_at, updated_at)
SELECT id, project_id, platform, app_id, client_id, subject, scopes, updated_at, updated_at,
    access_expires_at, refresh_expires_at,
    CASE
        WHEN platform IN ('facebook', 'instagram', 'threads') THEN 'access_token'
        WHEN auto_refreshes = 1 THEN 'refresh_token'
        ELSE 'never'
    END,
    tokens, tokens_dek_id, generation, status, failure_reason, iif(status = 'active', NULL, updated_at),
    CASE
        WHEN status <> 'active' THEN NULL
        WHEN platform IN ('facebook', 'instagram', 'threads') THEN access_expires_at - 864000000
        WHEN auto_refreshes = 1 THEN access_expires_at - 900000
    END,
    created_at, updated_at
FROM grants;

DROP TABLE grants;
ALTER TABLE grants_anew RENAME TO grants;

CREATE UNIQUE INDEX grants_by_subject ON grants (project_id, platform, client_id, subject);
CREATE INDEX grants_by_app ON grants (project_id, app_id);
CREATE INDEX grants_by_dek ON grants (tokens_dek_id);
CREATE INDEX grants_by_answer_dek ON grants (answer_dek_id) WHERE answer_dek_id IS NOT NULL;
CREATE INDEX grants_by_consent ON grants (platform, client_id, subject);
-- What is due, with all that is needed to put it in order: no row is read for it.
CREATE INDEX grants_by_due ON grants (due_at, access_expires_at, id, project_id, platform, client_id, app_id, generation)
    WHERE due_at IS NOT NULL;
CREATE INDEX grants_cut_off ON grants (attempt_at) WHERE attempt_at IS NOT NULL;
CREATE INDEX grants_ended ON grants (ended_at) WHERE ended_at IS NOT NULL AND tokens IS NOT NULL;

-- What the platform answered to the exchange of the code, sealed as it came, from then until the connection is stored; and
-- when it was asked. A row lives for minutes, so nothing ever re-seals it: no column for its key.
ALTER TABLE flows ADD COLUMN answer BLOB CHECK (length(answer) >= 45);
ALTER TABLE flows ADD COLUMN asked_at INTEGER
    CHECK ((answer IS NULL) = (asked_at IS NULL) AND (answer IS NULL OR (consumed_by IS NOT NULL AND outcome IS NULL)));

CREATE INDEX flows_cut_off ON flows (id) WHERE consumed_by IS NOT NULL AND outcome IS NULL;

-- Which key read which account's token: stays when the account is disconnected.
CREATE TABLE token_reads (
    project_id     TEXT NOT NULL REFERENCES projects (id),
    integration_id TEXT NOT NULL,
    access_key_id  TEXT NOT NULL,
    reads          INTEGER NOT NULL CHECK (reads >= 1),
    first_at       INTEGER NOT NULL,
    last_at        INTEGER NOT NULL,
    PRIMARY KEY (project_id, integration_id, access_key_id),
    FOREIGN KEY (project_id, access_key_id) REFERENCES access_keys (project_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX token_reads_by_age ON token_reads (last_at);

PRAGMA user_version = 3;
