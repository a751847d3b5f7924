-- Access keys that expire, belong to a profile, or work from some addresses only; when a key was last used; and which
-- profile an entry of the audit trail is about.

CREATE TABLE access_keys_anew (
    id           TEXT NOT NULL PRIMARY KEY,
    project_id   TEXT NOT NULL REFERENCES projects (id),
    name         TEXT NOT NULL,
    hint         TEXT NOT NULL,
    scopes       TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    -- The only profile whose accounts the key sees. Null: those of the whole project.
    profile_id   TEXT,
    -- The networks that it works from. Empty: all.
    networks     TEXT NOT NULL DEFAULT '[]' CHECK (json_type(networks) = 'array'),
    digest       BLOB NOT NULL UNIQUE CHECK (length(digest) = 32),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER,
    -- At most a minute behind.
    last_used_at INTEGER,
    revoked_at   INTEGER,
    UNIQUE (project_id, id),
    FOREIGN KEY (project_id, profile_id) REFERENCES profiles (project_id, id)
) STRICT;
INSERT INTO access_keys_anew (id, project_id, name, hint, scopes, digest, created_at, revoked_at)
SELECT id, project_id, name, hint, scopes, digest, created_at, revoked_at FROM access_keys ORDER BY id;
DROP TABLE access_keys;
ALTER TABLE access_keys_anew RENAME TO access_keys;
CREATE INDEX access_keys_by_expiry ON access_keys (expires_at) WHERE expires_at IS NOT NULL AND revoked_at IS NULL;

-- Null where the entry is about no profile, and in entries from before.
ALTER TABLE audit ADD COLUMN profile_id TEXT;
CREATE INDEX audit_by_profile ON audit (project_id, profile_id) WHERE profile_id IS NOT NULL;

PRAGMA user_version = 15;
