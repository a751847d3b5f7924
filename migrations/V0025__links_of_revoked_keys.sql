-- A connect link ends with the key that made it. Only keys that were revoked on the command line took their links along.

UPDATE links SET revoked_at = (
    SELECT k.revoked_at FROM access_keys AS k WHERE k.project_id = links.project_id AND k.id = links.access_key_id
)
WHERE revoked_at IS NULL AND EXISTS (
    SELECT 1 FROM access_keys AS k
    WHERE k.project_id = links.project_id AND k.id = links.access_key_id AND k.revoked_at IS NOT NULL
);

PRAGMA user_version = 25;
