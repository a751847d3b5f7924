-- Consents that cover several accounts: the choice that a person has yet to make, and what an account has of its own
-- beside its grant.

-- An account's own tokens (a Facebook Page's), sealed under this row and generation. Most accounts have none.
ALTER TABLE integrations ADD COLUMN tokens BLOB CHECK (length(tokens) >= 45);
ALTER TABLE integrations ADD COLUMN tokens_dek_id INTEGER CHECK (
    (tokens IS NULL) = (tokens_dek_id IS NULL)
    AND (tokens IS NULL OR hex(substr(tokens, 2, 4)) = printf('%08X', tokens_dek_id))
);
ALTER TABLE integrations ADD COLUMN generation INTEGER NOT NULL DEFAULT 1 CHECK (generation >= 1);

-- Whether the account can be used, as far as the account goes: the grant has a status as well.
ALTER TABLE integrations ADD COLUMN status TEXT NOT NULL DEFAULT 'active'
    CHECK (status IN ('active', 'reconnect_required'));
ALTER TABLE integrations ADD COLUMN failure_reason TEXT CHECK (
    (status = 'active') = (failure_reason IS NULL)
    AND (failure_reason IS NULL
        OR failure_reason IN ('access_revoked', 'refresh_rejected', 'security_invalidation', 'token_expired'))
);

CREATE INDEX integrations_by_dek ON integrations (tokens_dek_id);

-- The same consent, in whichever project: what must not be revoked while somebody lives on it.
CREATE INDEX grants_by_consent ON grants (platform, client_id, subject);

CREATE UNIQUE INDEX flows_by_project ON flows (project_id, id);

-- Choices not made yet, and for a moment those that were. A row lives for minutes, so nothing ever re-seals what it
-- holds: no columns for keys. It keeps its flow, which knows the profile, the app and where the browser goes.
CREATE TABLE selections (
    id           TEXT NOT NULL PRIMARY KEY,
    project_id   TEXT NOT NULL REFERENCES projects (id),
    flow_id      TEXT NOT NULL UNIQUE,
    platform     TEXT NOT NULL,
    subject      TEXT NOT NULL,
    token        BLOB NOT NULL UNIQUE CHECK (length(token) = 32),
    token_text   BLOB CHECK (length(token_text) >= 45),
    payload      BLOB CHECK (length(payload) >= 45),
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL,
    spent_by     BLOB CHECK (length(spent_by) = 32),
    spent_at     INTEGER,
    integrations TEXT CHECK (json_type(integrations) = 'array'),
    UNIQUE (project_id, id),
    -- Spent is spent: what it held is gone with that.
    CHECK ((spent_by IS NULL) = (spent_at IS NULL)),
    CHECK ((spent_by IS NULL) = (integrations IS NULL)),
    CHECK ((spent_by IS NULL) = (token_text IS NOT NULL)),
    CHECK ((spent_by IS NULL) = (payload IS NOT NULL)),
    FOREIGN KEY (project_id, flow_id) REFERENCES flows (project_id, id)
) STRICT;

CREATE INDEX selections_by_expiry ON selections (expires_at);
CREATE INDEX selections_pending ON selections (project_id, expires_at) WHERE spent_by IS NULL;
CREATE INDEX selections_by_subject ON selections (platform, subject) WHERE spent_by IS NULL;

PRAGMA user_version = 2;
