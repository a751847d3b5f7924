-- Data keys that come and go: the key for the day when the keyring file is lost, and since when every value is sealed with
-- the newest data key.

-- The public half of the operator's recovery key, sealed so that nobody who can only write to this file can put another in
-- its place.
CREATE TABLE recovery (
    id                INTEGER PRIMARY KEY CHECK (id = 1),
    public_key        BLOB NOT NULL CHECK (length(public_key) >= 45),
    public_key_dek_id INTEGER NOT NULL REFERENCES keyring (dek_id)
        CHECK (hex(substr(public_key, 2, 4)) = printf('%08X', public_key_dek_id)),
    generation        INTEGER NOT NULL CHECK (generation >= 1)
) STRICT;

-- Each data key once more, wrapped for that key.
CREATE TABLE recovery_wraps (
    dek_id       INTEGER PRIMARY KEY REFERENCES keyring (dek_id) ON DELETE CASCADE,
    recovery_key TEXT NOT NULL,
    blob         BLOB NOT NULL
) STRICT;

-- Written by the running broker: since `since` no stored value needs another data key than this one.
CREATE TABLE resealed (
    id     INTEGER PRIMARY KEY CHECK (id = 1),
    dek_id INTEGER NOT NULL,
    since  INTEGER NOT NULL
) STRICT;

-- The name of an app's row in the place of its sealed secret.
CREATE INDEX registrations_by_place ON registrations (platform || ' ' || server || ' ' || client_id);

PRAGMA user_version = 11;
