-- The audit trail: who changed what, or was handed a token. Rows name what they tell of by its id, without foreign
-- keys, because they outlive it.

CREATE TABLE audit (
    -- In the order of the commits, so that a reader that knows the last one misses none.
    id            INTEGER NOT NULL PRIMARY KEY,
    at            INTEGER NOT NULL,
    -- Null where it concerns the whole broker.
    project_id    TEXT,
    actor         TEXT NOT NULL,
    -- The key that acted; for a person, the key that began their connection.
    access_key_id TEXT,
    -- The client's address.
    address       TEXT,
    action        TEXT NOT NULL,
    object        TEXT NOT NULL,
    flow_id       TEXT,
    outcome       TEXT NOT NULL
) STRICT;

CREATE INDEX audit_by_project ON audit (project_id);
CREATE INDEX audit_by_time ON audit (at);

-- Rows older than `before` may be deleted. Set only within the transaction of a purge.
CREATE TABLE audit_purge (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    before INTEGER
) STRICT;

INSERT INTO audit_purge (id) VALUES (1);

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

CREATE TRIGGER audit_is_deleted_by_its_purge_only BEFORE DELETE ON audit
WHEN NOT EXISTS (SELECT 1 FROM audit_purge WHERE OLD.at < before)
BEGIN
    SELECT raise(ABORT, 'the audit trail is append-only');
END;

PRAGMA user_version = 14;
