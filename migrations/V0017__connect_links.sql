-- Connect links: whoever has one connects accounts for its project, and its profile, on a page of the broker.

CREATE TABLE links (
    id            TEXT NOT NULL,
    project_id    TEXT NOT NULL REFERENCES projects (id),
    -- The key that made it. Null: the command line, or the demo.
    access_key_id TEXT,
    -- Null: accounts are connected without a profile.
    profile_id    TEXT,
    -- Digest of the token in its address.
    token         BLOB NOT NULL UNIQUE CHECK (length(token) = 32),
    platforms     TEXT NOT NULL CHECK (json_type(platforms) = 'array'),
    redirect_uri  TEXT,
    -- Integrations that were connected through it, in this order. Some may be disconnected since.
    connected     TEXT NOT NULL DEFAULT '[]' CHECK (json_type(connected) = 'array'),
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    revoked_at    INTEGER,
    PRIMARY KEY (project_id, id),
    FOREIGN KEY (project_id, access_key_id) REFERENCES access_keys (project_id, id),
    FOREIGN KEY (project_id, profile_id) REFERENCES profiles (project_id, id)
) STRICT;

CREATE INDEX links_by_end ON links (coalesce(revoked_at, expires_at));
CREATE INDEX links_by_key ON links (project_id, access_key_id);
CREATE INDEX links_by_profile ON links (project_id, profile_id) WHERE profile_id IS NOT NULL;

-- The link that a connection was begun through. It may be deleted meanwhile, so nothing points at it.
ALTER TABLE flows ADD COLUMN link_id TEXT;
ALTER TABLE audit ADD COLUMN link_id TEXT;

PRAGMA user_version = 17;
