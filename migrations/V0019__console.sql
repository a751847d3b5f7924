-- The operator's console: the browsers that are signed in, the accounts that fail first, the entries about one account, and
-- how much happens in each hour.

-- Browsers that are signed in with an access key. Only the digest of a session's token is here.
CREATE TABLE console_sessions (
    digest        BLOB NOT NULL PRIMARY KEY CHECK (length(digest) = 32),
    project_id    TEXT NOT NULL,
    access_key_id TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    -- Authentication code of the row, and the data key that made it.
    mac           BLOB NOT NULL CHECK (length(mac) = 32),
    mac_dek_id    INTEGER NOT NULL,
    FOREIGN KEY (project_id, access_key_id) REFERENCES access_keys (project_id, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX console_sessions_by_key ON console_sessions (project_id, access_key_id, created_at);
CREATE INDEX console_sessions_by_expiry ON console_sessions (expires_at);

-- The time from which an account needs somebody: 0 when its refreshes fail or its owner must connect it again, else the
-- time at which its tokens lapse. Null where that is never, or not known.
ALTER TABLE integrations ADD COLUMN fails_from INTEGER;

CREATE VIEW integrations_failing (n, fails_from) AS
    SELECT i.n, CASE
        WHEN g.status <> 'active' OR i.status <> 'active' OR g.trouble IS NOT NULL OR g.in_doubt = 1 THEN 0
        WHEN i.tokens IS NOT NULL THEN NULL
        WHEN g.renewal <> 'refresh_token' THEN g.access_expires_at
        ELSE max(g.refresh_expires_at, coalesce(g.access_expires_at, g.refresh_expires_at))
    END
    FROM integrations AS i CROSS JOIN grants AS g ON g.project_id = i.project_id AND g.id = i.grant_id;

-- Step 1 of 2: find the accounts that fail
UPDATE integrations SET fails_from = (SELECT v.fails_from FROM integrations_failing AS v WHERE v.n = integrations.n);

-- Step 2 of 2: index them
CREATE INDEX integrations_by_failure ON integrations (project_id, fails_from) WHERE fails_from IS NOT NULL;
CREATE INDEX integrations_by_failure_of_profile ON integrations (project_id, profile_id, fails_from)
    WHERE fails_from IS NOT NULL;
CREATE INDEX integrations_of_profile ON integrations (project_id, profile_id);

-- Triggers, because no statement can forget them. An ordinary refresh fires none.
CREATE TRIGGER integrations_failing_added AFTER INSERT ON integrations BEGIN
    UPDATE integrations SET fails_from = (SELECT v.fails_from FROM integrations_failing AS v WHERE v.n = new.n)
    WHERE n = new.n;
END;
CREATE TRIGGER integrations_failing_changed AFTER UPDATE OF grant_id, status, tokens ON integrations
WHEN old.grant_id IS NOT new.grant_id OR old.status IS NOT new.status OR (old.tokens IS NULL) <> (new.tokens IS NULL) BEGIN
    UPDATE integrations SET fails_from = (SELECT v.fails_from FROM integrations_failing AS v WHERE v.n = new.n)
    WHERE n = new.n;
END;
CREATE TRIGGER grants_failing_changed
AFTER UPDATE OF status, trouble, in_doubt, renewal, access_expires_at, refresh_expires_at ON grants
WHEN old.status IS NOT new.status OR (old.trouble IS NULL) <> (new.trouble IS NULL) OR old.in_doubt IS NOT new.in_doubt
    OR old.renewal IS NOT new.renewal OR old.refresh_expires_at IS NOT new.refresh_expires_at
    OR (old.access_expires_at IS NOT new.access_expires_at
        AND (new.renewal <> 'refresh_token' OR new.refresh_expires_at IS NOT NULL)) BEGIN
    UPDATE integrations SET fails_from = (SELECT v.fails_from FROM integrations_failing AS v WHERE v.n = integrations.n)
    WHERE project_id = new.project_id AND grant_id = new.id
        AND fails_from IS NOT (SELECT v.fails_from FROM integrations_failing AS v WHERE v.n = integrations.n);
END;

-- The life of one account, from the trail.
CREATE INDEX audit_by_object ON audit (project_id, object);

-- What happens in each hour, counted by the triggers below: refreshes, failed ones, and reads of tokens. Hours are counted
-- from the Unix epoch.
CREATE TABLE activity (
    project_id TEXT NOT NULL REFERENCES projects (id),
    hour       INTEGER NOT NULL,
    refreshed  INTEGER NOT NULL DEFAULT 0,
    failed     INTEGER NOT NULL DEFAULT 0,
    reads      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (project_id, hour)
) STRICT, WITHOUT ROWID;

CREATE INDEX activity_by_hour ON activity (hour);

CREATE TRIGGER activity_refreshed AFTER UPDATE OF issued_at ON grants
WHEN new.issued_at > old.issued_at AND new.consented_at = old.consented_at BEGIN
    INSERT INTO activity (project_id, hour, refreshed) VALUES (new.project_id, new.issued_at / 3600000, 1)
    ON CONFLICT DO UPDATE SET refreshed = refreshed + 1;
END;
CREATE TRIGGER activity_failed AFTER UPDATE OF trouble ON grants
WHEN new.trouble IS NOT NULL AND new.trouble ->> 'at' IS NOT old.trouble ->> 'at' BEGIN
    INSERT INTO activity (project_id, hour, failed) VALUES (new.project_id, (new.trouble ->> 'at') / 3600000, 1)
    ON CONFLICT DO UPDATE SET failed = failed + 1;
END;
CREATE TRIGGER activity_first_read AFTER INSERT ON token_reads BEGIN
    INSERT INTO activity (project_id, hour, reads) VALUES (new.project_id, new.last_at / 3600000, new.reads)
    ON CONFLICT DO UPDATE SET reads = reads + excluded.reads;
END;
CREATE TRIGGER activity_read AFTER UPDATE OF reads ON token_reads WHEN new.reads > old.reads BEGIN
    INSERT INTO activity (project_id, hour, reads) VALUES (new.project_id, new.last_at / 3600000, new.reads - old.reads)
    ON CONFLICT DO UPDATE SET reads = reads + excluded.reads;
END;

PRAGMA user_version = 19;
