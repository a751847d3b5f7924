-- Searches ignore case by the lower-case letter of the upper-case one, so that a final sigma, a long s and a dotless i
-- are found as the letters that they are. Until now they were kept as they were written.
-- Triggers bring the search indices up to date.

CREATE VIEW refolded (n, old, new) AS VALUES
    (1, char(181), 'μ'), (2, char(305), 'i'), (3, char(383), 's'), (4, char(837), 'ι'), (5, char(962), 'σ'),
    (6, char(976), 'β'), (7, char(977), 'θ'), (8, char(981), 'φ'), (9, char(982), 'π'), (10, char(1008), 'κ'),
    (11, char(1009), 'ρ'), (12, char(1013), 'ε'), (13, char(7296), 'в'), (14, char(7297), 'д'),
    (15, char(7298), 'о'), (16, char(7299), 'с'), (17, char(7300), 'т'), (18, char(7301), 'т'),
    (19, char(7302), 'ъ'), (20, char(7303), 'ѣ'), (21, char(7304), 'ꙋ'), (22, char(7835), 'ṡ'),
    (23, char(8126), 'ι');

UPDATE integrations SET search = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, integrations.search
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE octet_length(search) > length(search)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(integrations.search, old) > 0);
UPDATE oauth_apps SET name_folded = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, oauth_apps.name_folded
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE octet_length(name_folded) > length(name_folded)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(oauth_apps.name_folded, old) > 0);
UPDATE profiles SET name_folded = (
    WITH RECURSIVE folded (step, text) AS (
        SELECT 0, profiles.name_folded
        UNION ALL SELECT n, replace(text, old, new) FROM folded JOIN refolded ON n = step + 1
    )
    SELECT text FROM folded ORDER BY step DESC LIMIT 1
)
WHERE octet_length(name_folded) > length(name_folded)
    AND EXISTS (SELECT 1 FROM refolded WHERE instr(profiles.name_folded, old) > 0);

DROP VIEW refolded;

PRAGMA user_version = 23;
