-- Connections and connect links that prove who made them: their rows decide who is handed an account. Those that are here get
-- their codes at the first start.

-- Authentication code of the row, and the data key that made it. Null: a row from before the first start.
ALTER TABLE flows ADD COLUMN mac BLOB CHECK (length(mac) = 32);
ALTER TABLE flows ADD COLUMN mac_dek_id INTEGER CHECK ((mac IS NULL) = (mac_dek_id IS NULL));
-- The same. Null: also a revoked link, so that nobody can bring it back by erasing the time.
ALTER TABLE links ADD COLUMN mac BLOB CHECK (length(mac) = 32);
ALTER TABLE links ADD COLUMN mac_dek_id INTEGER CHECK (
    (mac IS NULL) = (mac_dek_id IS NULL) AND (mac IS NULL OR revoked_at IS NULL)
);
CREATE INDEX links_by_dek ON links (mac_dek_id) WHERE mac_dek_id IS NOT NULL;

PRAGMA user_version = 27;
