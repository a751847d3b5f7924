-- Sealed values that are bound to their project, platform and OAuth client, and access keys that prove who made them. The
-- running broker seals what is here again, and authenticates the keys that are here at its first start.

-- Authentication code of the row, and the data key that made it. Null: a revoked key, or one from before the first start.
ALTER TABLE access_keys ADD COLUMN mac BLOB CHECK (length(mac) = 32);
ALTER TABLE access_keys ADD COLUMN mac_dek_id INTEGER CHECK (
    (mac IS NULL) = (mac_dek_id IS NULL) AND (mac IS NULL OR revoked_at IS NULL)
);
CREATE INDEX access_keys_by_dek ON access_keys (mac_dek_id) WHERE mac_dek_id IS NOT NULL;

-- The values of version 1. These indexes are empty once they are sealed again.
CREATE INDEX grants_unbound_tokens ON grants (id) WHERE substr(tokens, 1, 1) = x'01';
CREATE INDEX grants_unbound_answer ON grants (id) WHERE substr(answer, 1, 1) = x'01';
CREATE INDEX integrations_unbound_tokens ON integrations (id) WHERE substr(tokens, 1, 1) = x'01';
CREATE INDEX oauth_apps_unbound_client_secret ON oauth_apps (id) WHERE substr(client_secret, 1, 1) = x'01';
CREATE INDEX oauth_apps_unbound_previous_secret ON oauth_apps (id) WHERE substr(previous_secret, 1, 1) = x'01';

PRAGMA user_version = 20;
