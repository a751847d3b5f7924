-- The backups that this database went through. A copy gets a row when it is made, and the time of its restore when it
-- takes the database's place. Tokens that were issued before that time may have been renewed after the backup.

CREATE TABLE backups (
    taken_at    INTEGER NOT NULL,
    restored_at INTEGER CHECK (restored_at >= 0)
) STRICT;

PRAGMA user_version = 12;
