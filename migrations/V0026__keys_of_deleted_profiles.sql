-- A key that is bound to a profile ends with it. Its code goes too, so that nobody can bring it back by erasing the time.

UPDATE access_keys SET mac = NULL, mac_dek_id = NULL, revoked_at = (
    SELECT p.deleted_at FROM profiles AS p WHERE p.project_id = access_keys.project_id AND p.id = access_keys.profile_id
)
WHERE revoked_at IS NULL AND EXISTS (
    SELECT 1 FROM profiles AS p
    WHERE p.project_id = access_keys.project_id AND p.id = access_keys.profile_id AND p.deleted_at IS NOT NULL
);

PRAGMA user_version = 26;
