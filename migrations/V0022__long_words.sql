-- Long words in the search indices. A trigram is in the names of many accounts: among a million, finding the few whose
-- names have a long needle took a walk through several lists of tens of thousands. So every third place of a text has
-- a word of six characters as well: project, two underscores, the characters in hex. Of three places that follow each
-- other, one has such a word, so a needle of eight characters or more contains one wherever it occurs. Two underscores,
-- because a needle of one or two characters is looked up as the beginning of a trigram.
--
-- The words are added to those that the indices have.

DROP VIEW integrations_searched;
CREATE VIEW integrations_searched (n, grams) AS
    SELECT n, (
        WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM places WHERE at < length(search))
        SELECT group_concat(
            project_id || '_' || hex(substr(search, at, 3))
                || iif(at % 3 = 1 AND at + 5 <= length(search),
                    ' ' || project_id || '__' || hex(substr(search, at, 6)), ''),
            ' '
        ) FROM places
    ) FROM integrations;
DROP VIEW oauth_apps_searched;
CREATE VIEW oauth_apps_searched (n, grams) AS
    SELECT n, (
        WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM places WHERE at < length(name_folded))
        SELECT group_concat(
            project_id || '_' || hex(substr(name_folded, at, 3))
                || iif(at % 3 = 1 AND at + 5 <= length(name_folded),
                    ' ' || project_id || '__' || hex(substr(name_folded, at, 6)), ''),
            ' '
        ) FROM places
    ) FROM oauth_apps WHERE deleted_at IS NULL;
DROP VIEW profiles_searched;
CREATE VIEW profiles_searched (n, grams) AS
    SELECT n, (
        WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 1 FROM places WHERE at < length(name_folded))
        SELECT group_concat(
            project_id || '_' || hex(substr(name_folded, at, 3))
                || iif(at % 3 = 1 AND at + 5 <= length(name_folded),
                    ' ' || project_id || '__' || hex(substr(name_folded, at, 6)), ''),
            ' '
        ) FROM places
    ) FROM profiles WHERE deleted_at IS NULL;

INSERT INTO oauth_apps_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(name_folded))
    SELECT group_concat(project_id || '__' || hex(substr(name_folded, at, 6)), ' ') FROM places
) FROM oauth_apps WHERE deleted_at IS NULL AND length(name_folded) >= 6;
-- Step 1 of 6: index long words in the names of profiles
INSERT INTO profiles_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(name_folded))
    SELECT group_concat(project_id || '__' || hex(substr(name_folded, at, 6)), ' ') FROM places
) FROM profiles WHERE deleted_at IS NULL AND length(name_folded) >= 6;
-- Step 2 of 6: index long words in the names of accounts, fifth 1
INSERT INTO integrations_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(search))
    SELECT group_concat(project_id || '__' || hex(substr(search, at, 6)), ' ') FROM places
) FROM integrations
WHERE n <= (SELECT max(n) FROM integrations) * 1 / 5 AND length(search) >= 6;
-- Step 3 of 6: index long words in the names of accounts, fifth 2
INSERT INTO integrations_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(search))
    SELECT group_concat(project_id || '__' || hex(substr(search, at, 6)), ' ') FROM places
) FROM integrations
WHERE n > (SELECT max(n) FROM integrations) * 1 / 5 AND n <= (SELECT max(n) FROM integrations) * 2 / 5 AND length(search) >= 6;
-- Step 4 of 6: index long words in the names of accounts, fifth 3
INSERT INTO integrations_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(search))
    SELECT group_concat(project_id || '__' || hex(substr(search, at, 6)), ' ') FROM places
) FROM integrations
WHERE n > (SELECT max(n) FROM integrations) * 2 / 5 AND n <= (SELECT max(n) FROM integrations) * 3 / 5 AND length(search) >= 6;
-- Step 5 of 6: index long words in the names of accounts, fifth 4
INSERT INTO integrations_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(search))
    SELECT group_concat(project_id || '__' || hex(substr(search, at, 6)), ' ') FROM places
) FROM integrations
WHERE n > (SELECT max(n) FROM integrations) * 3 / 5 AND n <= (SELECT max(n) FROM integrations) * 4 / 5 AND length(search) >= 6;
-- Step 6 of 6: index long words in the names of accounts, fifth 5
INSERT INTO integrations_search (rowid, grams)
SELECT n, (
    WITH RECURSIVE places (at) AS (SELECT 1 UNION ALL SELECT at + 3 FROM places WHERE at + 8 <= length(search))
    SELECT group_concat(project_id || '__' || hex(substr(search, at, 6)), ' ') FROM places
) FROM integrations
WHERE n > (SELECT max(n) FROM integrations) * 4 / 5 AND length(search) >= 6;

PRAGMA user_version = 22;
