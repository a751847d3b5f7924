-- Searches ignore case by the lower-case letter of the upper-case one, so that a final sigma, a long s and a dotless i
-- are found as the letters that they are. Until now they were kept as they were written.
-- Triggers bring the search indices up to date.
--
-- Where such letters are, the indices only mark the old words meanwhile: to erase each at once takes minutes for ten
-- thousand rows. What is marked is gone after the merge at the end.

CREATE VIEW refolded (n, old, new) AS VALUES
    (1, char(181), 'μ'), (2, char(305), 'i'), (3, char(383), 's'), (4, char(837), 'ι'), (5, char(962), 'σ'),
    (6, char(976), 'β'), (7, char(977), 'θ'), (8, char(981), 'φ'), (9, char(982), 'π'), (10, char(1008), 'κ'),
    (11, char(1009), 'ρ'), (12, char(1013), 'ε'), (13, char(7296), 'в'), (14, char(7297), 'д'),
    (15, char(7298), 'о'), (16, char(7299), 'с'), (17, char(7300), 'т'), (18, char(7301), 'т'),
    (19, char(7302), 'ъ'), (20, char(7303), 'ѣ'), (21, char(7304), 'ꙋ'), (22, char(7835), 'ṡ'),
    (23, char(8126), 'ι');

INSERT INTO integrations_search (integrations_search, rank) SELECT 'secure-delete', 0 WHERE EXISTS (
    SELECT 1 FROM integrations WHERE octet_length(search) > length(search)
        AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0)
);
INSERT INTO oauth_apps_search (oauth_apps_search, rank) SELECT 'secure-delete', 0 WHERE EXISTS (
    SELECT 1 FROM oauth_apps WHERE octet_length(name_folded) > length(name_folded)
        AND EXISTS (SELECT 1 FROM refolded WHERE instr(oauth_apps.name_folded, old) > 0)
);
INSERT INTO profiles_search (profiles_search, rank) SELECT 'secure-delete', 0 WHERE EXISTS (
    SELECT 1 FROM profiles WHERE octet_length(name_folded) > length(name_folded)
        AND EXISTS (SELECT 1 FROM refolded WHERE instr(profiles.name_folded, old) > 0)
);

-- Step 1 of 7: fold letters in the names of apps and profiles
UPDATE oauth_apps SET name_folded = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, oauth_apps.name_folded
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE octet_length(name_folded) > length(name_folded)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(oauth_apps.name_folded, old) > 0);
UPDATE profiles SET name_folded = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, profiles.name_folded
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE octet_length(name_folded) > length(name_folded)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(profiles.name_folded, old) > 0);
-- Step 2 of 7: fold letters in the names of accounts, fifth 1
UPDATE integrations SET search = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, integrations.search
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE n <= (SELECT max(n) FROM integrations) * 1 / 5
    AND octet_length(search) > length(search)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0);
-- Step 3 of 7: fold letters in the names of accounts, fifth 2
UPDATE integrations SET search = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, integrations.search
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE n > (SELECT max(n) FROM integrations) * 1 / 5 AND n <= (SELECT max(n) FROM integrations) * 2 / 5
    AND octet_length(search) > length(search)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0);
-- Step 4 of 7: fold letters in the names of accounts, fifth 3
UPDATE integrations SET search = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, integrations.search
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE n > (SELECT max(n) FROM integrations) * 2 / 5 AND n <= (SELECT max(n) FROM integrations) * 3 / 5
    AND octet_length(search) > length(search)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0);
-- Step 5 of 7: fold letters in the names of accounts, fifth 4
UPDATE integrations SET search = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, integrations.search
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE n > (SELECT max(n) FROM integrations) * 3 / 5 AND n <= (SELECT max(n) FROM integrations) * 4 / 5
    AND octet_length(search) > length(search)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0);
-- Step 6 of 7: fold letters in the names of accounts, fifth 5
UPDATE integrations SET search = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, integrations.search
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON refolded.n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE n > (SELECT max(n) FROM integrations) * 4 / 5
    AND octet_length(search) > length(search)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0);
-- Step 7 of 7: merge the search indices, where letters were folded
INSERT INTO integrations_search (integrations_search) SELECT 'optimize'
WHERE (SELECT v FROM integrations_search_config WHERE k = 'secure-delete') = 0;
INSERT INTO oauth_apps_search (oauth_apps_search) SELECT 'optimize'
WHERE (SELECT v FROM oauth_apps_search_config WHERE k = 'secure-delete') = 0;
INSERT INTO profiles_search (profiles_search) SELECT 'optimize'
WHERE (SELECT v FROM profiles_search_config WHERE k = 'secure-delete') = 0;

INSERT INTO integrations_search (integrations_search, rank) VALUES ('secure-delete', 1);
INSERT INTO oauth_apps_search (oauth_apps_search, rank) VALUES ('secure-delete', 1);
INSERT INTO profiles_search (profiles_search, rank) VALUES ('secure-delete', 1);
DROP VIEW refolded;

PRAGMA user_version = 23;
