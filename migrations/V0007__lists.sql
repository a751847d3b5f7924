-- Lists that cost the same at a million rows: kept counts, indices in the order of the lists, and search indices.
--
-- The listed tables are rebuilt with a number n for each row, which rises with every insertion. Lists are in its order.
-- Every index ends with it at no cost. The search indices know rows by it: unlike a hidden rowid, it survives a VACUUM.
--
-- A comment "Step" is logged when the statement after it begins, so that the operator sees how far a long migration is.

CREATE TABLE profiles_anew (
    n           INTEGER PRIMARY KEY,
    id          TEXT NOT NULL UNIQUE,
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
INSERT INTO profiles_anew (id, project_id, name, name_folded, description, created_at, updated_at, deleted_at)
SELECT id, project_id, name, name_folded, description, created_at, updated_at, deleted_at FROM profiles ORDER BY id;
DELETE FROM profiles;
DROP TABLE profiles;
ALTER TABLE profiles_anew RENAME TO profiles;
CREATE INDEX profiles_listed ON profiles (project_id) WHERE deleted_at IS NULL;

CREATE TABLE oauth_apps_anew (
    n                      INTEGER PRIMARY KEY,
    id                     TEXT NOT NULL UNIQUE,
    project_id             TEXT NOT NULL REFERENCES projects (id),
    platform               TEXT NOT NULL,
    name                   TEXT NOT NULL,
    name_folded            TEXT NOT NULL,
    image_url              TEXT,
    client_id              TEXT NOT NULL,
    -- Sealed; erased when the app is deleted.
    client_secret          BLOB CHECK (length(client_secret) >= 45),
    client_secret_dek_id   INTEGER,
    generation             INTEGER NOT NULL CHECK (generation >= 1),
    created_at             INTEGER NOT NULL,
    updated_at             INTEGER NOT NULL,
    deleted_at             INTEGER,
    previous_secret        BLOB CHECK (length(previous_secret) >= 45),
    previous_secret_dek_id INTEGER,
    previous_until         INTEGER,
    UNIQUE (project_id, id),
    CHECK ((client_secret IS NULL) = (deleted_at IS NOT NULL)),
    CHECK ((client_secret IS NULL) = (client_secret_dek_id IS NULL)),
    CHECK (hex(substr(client_secret, 2, 4)) = printf('%08X', client_secret_dek_id) OR client_secret IS NULL),
    CHECK (hex(substr(previous_secret, 2, 4)) = printf('%08X', previous_secret_dek_id) OR previous_secret IS NULL),
    CHECK ((previous_until IS NULL) = (previous_secret IS NULL))
) STRICT;
INSERT INTO oauth_apps_anew (id, project_id, platform, name, name_folded, image_url, client_id, client_secret,
    client_secret_dek_id, generation, created_at, updated_at, deleted_at, previous_secret, previous_secret_dek_id,
    previous_until)
SELECT id, project_id, platform, name, name_folded, image_url, client_id, client_secret, client_secret_dek_id,
    generation, created_at, updated_at, deleted_at, previous_secret, previous_secret_dek_id, previous_until
FROM oauth_apps ORDER BY id;
DELETE FROM oauth_apps;
DROP TABLE oauth_apps;
ALTER TABLE oauth_apps_anew RENAME TO oauth_apps;
CREATE UNIQUE INDEX oauth_apps_by_client ON oauth_apps (project_id, platform, client_id) WHERE deleted_at IS NULL;
CREATE INDEX oauth_apps_by_dek ON oauth_apps (client_secret_dek_id);
CREATE INDEX oauth_apps_by_previous_dek ON oauth_apps (previous_secret_dek_id) WHERE previous_secret_dek_id IS NOT NULL;
CREATE INDEX oauth_apps_by_previous_until ON oauth_apps (previous_until) WHERE previous_until IS NOT NULL;
CREATE INDEX oauth_apps_listed ON oauth_apps (project_id) WHERE deleted_at IS NULL;
CREATE INDEX oauth_apps_by_platform ON oauth_apps (project_id, platform) WHERE deleted_at IS NULL;

CREATE TABLE integrations_anew (
    n                INTEGER PRIMARY KEY,
    id               TEXT NOT NULL UNIQUE,
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
    -- The account's own tokens (a Facebook Page's), sealed under this row and generation. Most accounts have none.
    tokens           BLOB CHECK (length(tokens) >= 45),
    tokens_dek_id    INTEGER,
    generation       INTEGER NOT NULL DEFAULT 1 CHECK (generation >= 1),
    -- Whether the account can be used, as far as the account goes: the grant has a status as well.
    status           TEXT NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'reconnect_required')),
    failure_reason   TEXT,
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL,
    CHECK ((tokens IS NULL) = (tokens_dek_id IS NULL)),
    CHECK (tokens IS NULL OR hex(substr(tokens, 2, 4)) = printf('%08X', tokens_dek_id)),
    CHECK ((status = 'active') = (failure_reason IS NULL)),
    CHECK (failure_reason IS NULL
        OR failure_reason IN ('access_revoked', 'refresh_rejected', 'security_invalidation', 'token_expired')),
    FOREIGN KEY (project_id, grant_id) REFERENCES grants (project_id, id),
    FOREIGN KEY (project_id, profile_id) REFERENCES profiles (project_id, id)
) STRICT;
-- Step 1 of 15: number the integrations
INSERT INTO integrations_anew (id, project_id, grant_id, profile_id, platform, platform_user_id, username, display_name,
    profile_url, image_url, metadata, search, tokens, tokens_dek_id, generation, status, failure_reason, created_at,
    updated_at)
SELECT id, project_id, grant_id, profile_id, platform, platform_user_id, username, display_name, profile_url, image_url,
    metadata, search, tokens, tokens_dek_id, generation, status, failure_reason, created_at, updated_at
FROM integrations ORDER BY id;
-- Emptied before it is dropped: SQLite would keep the whole table in memory, to undo a drop that fails.
-- Step 2 of 15: erase the table that this replaces
DELETE FROM integrations;
DROP TABLE integrations;
ALTER TABLE integrations_anew RENAME TO integrations;

-- Step 3 of 15: index the integrations
-- One account is connected once under a profile, and once without any.
CREATE UNIQUE INDEX integrations_by_account
    ON integrations (project_id, coalesce(profile_id, ''), platform, platform_user_id);
CREATE INDEX integrations_by_grant ON integrations (project_id, grant_id);
CREATE INDEX integrations_by_dek ON integrations (tokens_dek_id) WHERE tokens_dek_id IS NOT NULL;
-- The lists of a project: all, a platform's, a profile's.
CREATE INDEX integrations_listed ON integrations (project_id);
CREATE INDEX integrations_by_platform ON integrations (project_id, platform);
CREATE INDEX integrations_by_profile ON integrations (project_id, profile_id, platform);

-- Rows that a list can show, kept by the triggers below. `within` is '*' for all rows of the project; for integrations
-- also the id of a profile, '' for no profile, and the id of an app. Profiles have the platform ''.
CREATE TABLE counts (
    project_id TEXT NOT NULL,
    kind       TEXT NOT NULL CHECK (kind IN ('integrations', 'oauth_apps', 'profiles')),
    within     TEXT NOT NULL,
    platform   TEXT NOT NULL,
    total      INTEGER NOT NULL CHECK (total >= 0),
    PRIMARY KEY (project_id, kind, within, platform)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER counts_emptied AFTER UPDATE ON counts WHEN new.total = 0 BEGIN
    DELETE FROM counts WHERE project_id = new.project_id AND kind = new.kind AND within = new.within
        AND platform = new.platform;
END;

-- The counts that each row is part of.
CREATE VIEW integrations_counted (n, project_id, kind, within, platform) AS
    SELECT n, project_id, 'integrations', '*', platform FROM integrations
    UNION ALL
    SELECT n, project_id, 'integrations', coalesce(profile_id, ''), platform FROM integrations
    UNION ALL
    SELECT i.n, i.project_id, 'integrations', g.app_id, i.platform
    FROM integrations AS i CROSS JOIN grants AS g ON g.project_id = i.project_id AND g.id = i.grant_id
    WHERE g.app_id IS NOT NULL;
CREATE VIEW oauth_apps_counted (n, project_id, kind, within, platform) AS
    SELECT n, project_id, 'oauth_apps', '*', platform FROM oauth_apps WHERE deleted_at IS NULL;
CREATE VIEW profiles_counted (n, project_id, kind, within, platform) AS
    SELECT n, project_id, 'profiles', '*', '' FROM profiles WHERE deleted_at IS NULL;

-- Step 4 of 15: count
INSERT INTO counts (project_id, kind, within, platform, total)
SELECT project_id, kind, within, platform, 1 FROM integrations_counted WHERE true
ON CONFLICT DO UPDATE SET total = total + 1;
INSERT INTO counts (project_id, kind, within, platform, total)
SELECT project_id, kind, within, platform, 1 FROM oauth_apps_counted WHERE true
ON CONFLICT DO UPDATE SET total = total + 1;
INSERT INTO counts (project_id, kind, within, platform, total)
SELECT project_id, kind, within, platform, 1 FROM profiles_counted WHERE true
ON CONFLICT DO UPDATE SET total = total + 1;

-- The trigrams of each searchable text, as words: project, underscore, up to three characters in hex. Those near the
-- end are shorter, so that a needle of one or two characters is the beginning of a word wherever it occurs. The project
-- is in the word, so that a search meets no other project's words.
CREATE VIEW integrations_searched (n, grams) AS
    SELECT n, (
        WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM places WHERE at < length(search))
        SELECT group_concat(project_id || '_' || hex(substr(search, at, 3)), ' ') FROM places
    ) FROM integrations;
CREATE VIEW oauth_apps_searched (n, grams) AS
    SELECT n, (
        WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM places WHERE at < length(name_folded))
        SELECT group_concat(project_id || '_' || hex(substr(name_folded, at, 3)), ' ') FROM places
    ) FROM oauth_apps WHERE deleted_at IS NULL;
CREATE VIEW profiles_searched (n, grams) AS
    SELECT n, (
        WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM places WHERE at < length(name_folded))
        SELECT group_concat(project_id || '_' || hex(substr(name_folded, at, 3)), ' ') FROM places
    ) FROM profiles WHERE deleted_at IS NULL;

-- The tables and indices hold the texts only as words, and each deletion erases its words.
CREATE VIRTUAL TABLE integrations_search USING fts5 (
    grams, content = 'integrations_searched', content_rowid = 'n', columnsize = 0, detail = none,
    tokenize = "ascii tokenchars '_'"
);
CREATE VIRTUAL TABLE oauth_apps_search USING fts5 (
    grams, content = 'oauth_apps_searched', content_rowid = 'n', columnsize = 0, detail = none,
    tokenize = "ascii tokenchars '_'"
);
CREATE VIRTUAL TABLE profiles_search USING fts5 (
    grams, content = 'profiles_searched', content_rowid = 'n', columnsize = 0, detail = none,
    tokenize = "ascii tokenchars '_'"
);
INSERT INTO integrations_search (integrations_search, rank) VALUES ('secure-delete', 1);
INSERT INTO oauth_apps_search (oauth_apps_search, rank) VALUES ('secure-delete', 1);
INSERT INTO profiles_search (profiles_search, rank) VALUES ('secure-delete', 1);

INSERT INTO oauth_apps_search (rowid, grams) SELECT n, grams FROM oauth_apps_searched;
-- Step 5 of 15: index the names of profiles
INSERT INTO profiles_search (rowid, grams) SELECT n, grams FROM profiles_searched;
-- Step 6 of 15: index the names of accounts, tenth 1
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n <= (SELECT max(n) FROM integrations) * 1 / 10;
-- Step 7 of 15: index the names of accounts, tenth 2
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 1 / 10 AND n <= (SELECT max(n) FROM integrations) * 2 / 10;
-- Step 8 of 15: index the names of accounts, tenth 3
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 2 / 10 AND n <= (SELECT max(n) FROM integrations) * 3 / 10;
-- Step 9 of 15: index the names of accounts, tenth 4
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 3 / 10 AND n <= (SELECT max(n) FROM integrations) * 4 / 10;
-- Step 10 of 15: index the names of accounts, tenth 5
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 4 / 10 AND n <= (SELECT max(n) FROM integrations) * 5 / 10;
-- Step 11 of 15: index the names of accounts, tenth 6
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 5 / 10 AND n <= (SELECT max(n) FROM integrations) * 6 / 10;
-- Step 12 of 15: index the names of accounts, tenth 7
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 6 / 10 AND n <= (SELECT max(n) FROM integrations) * 7 / 10;
-- Step 13 of 15: index the names of accounts, tenth 8
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 7 / 10 AND n <= (SELECT max(n) FROM integrations) * 8 / 10;
-- Step 14 of 15: index the names of accounts, tenth 9
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 8 / 10 AND n <= (SELECT max(n) FROM integrations) * 9 / 10;
-- Step 15 of 15: index the names of accounts, tenth 10
INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched
WHERE n > (SELECT max(n) FROM integrations) * 9 / 10;

-- Triggers, because no statement can forget them. What a row was part of is looked up before it changes.
CREATE TRIGGER integrations_added AFTER INSERT ON integrations BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, kind, within, platform, 1 FROM integrations_counted WHERE n = new.n
    ON CONFLICT DO UPDATE SET total = total + 1;
    INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched WHERE n = new.n;
END;
CREATE TRIGGER integrations_removed BEFORE DELETE ON integrations BEGIN
    UPDATE counts SET total = total - 1 WHERE (project_id, kind, within, platform) IN (
        SELECT project_id, kind, within, platform FROM integrations_counted WHERE n = old.n
    );
    INSERT INTO integrations_search (integrations_search, rowid, grams)
    SELECT 'delete', n, grams FROM integrations_searched WHERE n = old.n;
END;
CREATE TRIGGER integrations_count_changing BEFORE UPDATE OF grant_id, profile_id, platform ON integrations
WHEN old.grant_id IS NOT new.grant_id OR old.profile_id IS NOT new.profile_id OR old.platform IS NOT new.platform BEGIN
    UPDATE counts SET total = total - 1 WHERE (project_id, kind, within, platform) IN (
        SELECT project_id, kind, within, platform FROM integrations_counted WHERE n = old.n
    );
END;
CREATE TRIGGER integrations_count_changed AFTER UPDATE OF grant_id, profile_id, platform ON integrations
WHEN old.grant_id IS NOT new.grant_id OR old.profile_id IS NOT new.profile_id OR old.platform IS NOT new.platform BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, kind, within, platform, 1 FROM integrations_counted WHERE n = new.n
    ON CONFLICT DO UPDATE SET total = total + 1;
END;
CREATE TRIGGER integrations_text_changing BEFORE UPDATE OF search ON integrations
WHEN old.search IS NOT new.search BEGIN
    INSERT INTO integrations_search (integrations_search, rowid, grams)
    SELECT 'delete', n, grams FROM integrations_searched WHERE n = old.n;
END;
CREATE TRIGGER integrations_text_changed AFTER UPDATE OF search ON integrations
WHEN old.search IS NOT new.search BEGIN
    INSERT INTO integrations_search (rowid, grams) SELECT n, grams FROM integrations_searched WHERE n = new.n;
END;

CREATE TRIGGER oauth_apps_added AFTER INSERT ON oauth_apps BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, kind, within, platform, 1 FROM oauth_apps_counted WHERE n = new.n
    ON CONFLICT DO UPDATE SET total = total + 1;
    INSERT INTO oauth_apps_search (rowid, grams) SELECT n, grams FROM oauth_apps_searched WHERE n = new.n;
END;
CREATE TRIGGER oauth_apps_removed BEFORE DELETE ON oauth_apps BEGIN
    UPDATE counts SET total = total - 1 WHERE (project_id, kind, within, platform) IN (
        SELECT project_id, kind, within, platform FROM oauth_apps_counted WHERE n = old.n
    );
    INSERT INTO oauth_apps_search (oauth_apps_search, rowid, grams)
    SELECT 'delete', n, grams FROM oauth_apps_searched WHERE n = old.n;
END;
CREATE TRIGGER oauth_apps_count_changing BEFORE UPDATE OF platform, deleted_at ON oauth_apps
WHEN old.platform IS NOT new.platform OR old.deleted_at IS NOT new.deleted_at BEGIN
    UPDATE counts SET total = total - 1 WHERE (project_id, kind, within, platform) IN (
        SELECT project_id, kind, within, platform FROM oauth_apps_counted WHERE n = old.n
    );
END;
CREATE TRIGGER oauth_apps_count_changed AFTER UPDATE OF platform, deleted_at ON oauth_apps
WHEN old.platform IS NOT new.platform OR old.deleted_at IS NOT new.deleted_at BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, kind, within, platform, 1 FROM oauth_apps_counted WHERE n = new.n
    ON CONFLICT DO UPDATE SET total = total + 1;
END;
CREATE TRIGGER oauth_apps_text_changing BEFORE UPDATE OF name_folded, deleted_at ON oauth_apps
WHEN old.name_folded IS NOT new.name_folded OR old.deleted_at IS NOT new.deleted_at BEGIN
    INSERT INTO oauth_apps_search (oauth_apps_search, rowid, grams)
    SELECT 'delete', n, grams FROM oauth_apps_searched WHERE n = old.n;
END;
CREATE TRIGGER oauth_apps_text_changed AFTER UPDATE OF name_folded, deleted_at ON oauth_apps
WHEN old.name_folded IS NOT new.name_folded OR old.deleted_at IS NOT new.deleted_at BEGIN
    INSERT INTO oauth_apps_search (rowid, grams) SELECT n, grams FROM oauth_apps_searched WHERE n = new.n;
END;

CREATE TRIGGER profiles_added AFTER INSERT ON profiles BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, kind, within, platform, 1 FROM profiles_counted WHERE n = new.n
    ON CONFLICT DO UPDATE SET total = total + 1;
    INSERT INTO profiles_search (rowid, grams) SELECT n, grams FROM profiles_searched WHERE n = new.n;
END;
CREATE TRIGGER profiles_removed BEFORE DELETE ON profiles BEGIN
    UPDATE counts SET total = total - 1 WHERE (project_id, kind, within, platform) IN (
        SELECT project_id, kind, within, platform FROM profiles_counted WHERE n = old.n
    );
    INSERT INTO profiles_search (profiles_search, rowid, grams)
    SELECT 'delete', n, grams FROM profiles_searched WHERE n = old.n;
END;
CREATE TRIGGER profiles_count_changing BEFORE UPDATE OF deleted_at ON profiles
WHEN old.deleted_at IS NOT new.deleted_at BEGIN
    UPDATE counts SET total = total - 1 WHERE (project_id, kind, within, platform) IN (
        SELECT project_id, kind, within, platform FROM profiles_counted WHERE n = old.n
    );
END;
CREATE TRIGGER profiles_count_changed AFTER UPDATE OF deleted_at ON profiles
WHEN old.deleted_at IS NOT new.deleted_at BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, kind, within, platform, 1 FROM profiles_counted WHERE n = new.n
    ON CONFLICT DO UPDATE SET total = total + 1;
END;
CREATE TRIGGER profiles_text_changing BEFORE UPDATE OF name_folded, deleted_at ON profiles
WHEN old.name_folded IS NOT new.name_folded OR old.deleted_at IS NOT new.deleted_at BEGIN
    INSERT INTO profiles_search (profiles_search, rowid, grams)
    SELECT 'delete', n, grams FROM profiles_searched WHERE n = old.n;
END;
CREATE TRIGGER profiles_text_changed AFTER UPDATE OF name_folded, deleted_at ON profiles
WHEN old.name_folded IS NOT new.name_folded OR old.deleted_at IS NOT new.deleted_at BEGIN
    INSERT INTO profiles_search (rowid, grams) SELECT n, grams FROM profiles_searched WHERE n = new.n;
END;

-- A grant that moves to another app takes its integrations along.
CREATE TRIGGER grants_app_changing BEFORE UPDATE OF app_id ON grants
WHEN old.app_id IS NOT new.app_id BEGIN
    UPDATE counts SET total = counts.total - moved.total
    FROM (
        SELECT platform, count(*) AS total FROM integrations
        WHERE project_id = old.project_id AND grant_id = old.id GROUP BY platform
    ) AS moved
    WHERE project_id = old.project_id AND kind = 'integrations' AND within = old.app_id
        AND counts.platform = moved.platform;
END;
CREATE TRIGGER grants_app_changed AFTER UPDATE OF app_id ON grants
WHEN old.app_id IS NOT new.app_id AND new.app_id IS NOT NULL BEGIN
    INSERT INTO counts (project_id, kind, within, platform, total)
    SELECT project_id, 'integrations', new.app_id, platform, count(*) FROM integrations
    WHERE project_id = new.project_id AND grant_id = new.id GROUP BY project_id, platform
    ON CONFLICT DO UPDATE SET total = counts.total + excluded.total;
END;

PRAGMA user_version = 7;
