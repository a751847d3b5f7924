-- Room for many connections being made at once. The tables are rebuilt, because only that changes constraints and keys.
--
-- Flows: `outcome` says that it may be null, since older versions of SQLite take json_valid(NULL) as false and call the row
-- damaged. Each start writes to every index, so there are as few as possible: rows are found by project and id, by state, by
-- expiry and by the key that began them.

CREATE TABLE flows_anew (
    id                  TEXT NOT NULL,
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
    -- The scopes that the authorize URL asked for. Empty where an older version did not record them.
    scopes              TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    pkce_verifier       BLOB CHECK (length(pkce_verifier) >= 45),
    created_at          INTEGER NOT NULL,
    expires_at          INTEGER NOT NULL,
    consumed_by         BLOB CHECK (length(consumed_by) = 32),
    -- The platform's answer to the exchange of the code, sealed as it came, until the connection is stored.
    answer              BLOB CHECK (length(answer) >= 45),
    asked_at            INTEGER,
    outcome             TEXT CHECK (outcome IS NULL OR json_valid(outcome)),
    PRIMARY KEY (project_id, id),
    CHECK (consumed_by IS NULL OR pkce_verifier IS NULL),
    CHECK (outcome IS NULL OR consumed_by IS NOT NULL),
    CHECK ((answer IS NULL) = (asked_at IS NULL)),
    CHECK (answer IS NULL OR (consumed_by IS NOT NULL AND outcome IS NULL)),
    FOREIGN KEY (project_id, access_key_id) REFERENCES access_keys (project_id, id),
    FOREIGN KEY (project_id, app_id) REFERENCES oauth_apps (project_id, id),
    FOREIGN KEY (project_id, profile_id) REFERENCES profiles (project_id, id)
) STRICT;

-- In the order in which they began: the oldest of a key give way first.
INSERT INTO flows_anew (id, project_id, access_key_id, state, platform, app_id, client_id, profile_id, redirect_uri,
    cancel_redirect_uri, headless, scopes, pkce_verifier, created_at, expires_at, consumed_by, answer, asked_at, outcome)
SELECT id, project_id, access_key_id, state, platform, app_id, client_id, profile_id, redirect_uri,
    cancel_redirect_uri, headless, scopes, pkce_verifier, created_at, expires_at, consumed_by, answer, asked_at, outcome
FROM flows ORDER BY created_at, id;

DROP TABLE flows;
ALTER TABLE flows_anew RENAME TO flows;

CREATE INDEX flows_by_expiry ON flows (expires_at);
CREATE INDEX flows_by_key ON flows (project_id, access_key_id);
CREATE INDEX flows_cut_off ON flows (id) WHERE consumed_by IS NOT NULL AND outcome IS NULL;

-- Late redirects also know the key that began the connection, so that one key's do not push out those of others.
CREATE TABLE late_redirects_anew (
    credential          BLOB NOT NULL PRIMARY KEY CHECK (length(credential) = 32),
    project_id          TEXT NOT NULL REFERENCES projects (id),
    access_key_id       TEXT,
    platform            TEXT NOT NULL,
    redirect_uri        TEXT,
    cancel_redirect_uri TEXT,
    expired_at          INTEGER NOT NULL,
    CHECK (redirect_uri IS NOT NULL OR cancel_redirect_uri IS NOT NULL),
    FOREIGN KEY (project_id, access_key_id) REFERENCES access_keys (project_id, id)
) STRICT, WITHOUT ROWID;

INSERT INTO late_redirects_anew (credential, project_id, platform, redirect_uri, cancel_redirect_uri, expired_at)
SELECT credential, project_id, platform, redirect_uri, cancel_redirect_uri, expired_at FROM late_redirects;

DROP TABLE late_redirects;
ALTER TABLE late_redirects_anew RENAME TO late_redirects;

CREATE INDEX late_redirects_by_age ON late_redirects (expired_at);
CREATE INDEX late_redirects_by_key ON late_redirects (project_id, access_key_id, expired_at);

-- Open selections are counted project by project; nothing else asked for their order.
DROP INDEX selections_pending;
CREATE INDEX selections_open ON selections (project_id) WHERE spent_by IS NULL;

PRAGMA user_version = 8;
