-- The secret that a caller's own app had before the present one, for a day, so that a secret is replaced without a gap. It
-- stays sealed as it was: as client_secret under generation - 1.

ALTER TABLE oauth_apps ADD COLUMN previous_secret BLOB CHECK (length(previous_secret) >= 45);
ALTER TABLE oauth_apps ADD COLUMN previous_secret_dek_id INTEGER
    CHECK (hex(substr(previous_secret, 2, 4)) = printf('%08X', previous_secret_dek_id) OR previous_secret IS NULL);
ALTER TABLE oauth_apps ADD COLUMN previous_until INTEGER CHECK ((previous_until IS NULL) = (previous_secret IS NULL));

CREATE INDEX oauth_apps_by_previous_dek ON oauth_apps (previous_secret_dek_id) WHERE previous_secret_dek_id IS NOT NULL;
CREATE INDEX oauth_apps_by_previous_until ON oauth_apps (previous_until) WHERE previous_until IS NOT NULL;

PRAGMA user_version = 6;
