-- Where people who took too long are sent, and the scopes that a connection asked for.

-- The rest of a connection that expired, kept for a day: enough to send its person back to the app that waits for them. Keyed
-- by the digest of the credential that the person arrives with: the state of a callback, or a selection token.
CREATE TABLE late_redirects (
    credential          BLOB NOT NULL PRIMARY KEY CHECK (length(credential) = 32),
    project_id          TEXT NOT NULL REFERENCES projects (id),
    platform            TEXT NOT NULL,
    redirect_uri        TEXT,
    cancel_redirect_uri TEXT,
    expired_at          INTEGER NOT NULL,
    CHECK (redirect_uri IS NOT NULL OR cancel_redirect_uri IS NOT NULL)
) STRICT, WITHOUT ROWID;

CREATE INDEX late_redirects_by_age ON late_redirects (expired_at);

-- The scopes that the authorize URL asked for. Empty where they were not recorded: before this migration, and at Bluesky.
ALTER TABLE flows ADD COLUMN scopes TEXT NOT NULL DEFAULT '[]' CHECK (json_type(scopes) = 'array');
ALTER TABLE grants ADD COLUMN requested_scopes TEXT NOT NULL DEFAULT '[]' CHECK (json_type(requested_scopes) = 'array');

PRAGMA user_version = 4;
