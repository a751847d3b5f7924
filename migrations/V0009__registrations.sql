-- Apps that the broker registered at servers that people named (Mastodon's kind). They are the operator's, for every
-- project. The client secret is sealed under platform, server and client id, so that it goes to no other server.

CREATE TABLE registrations (
    platform             TEXT NOT NULL,
    -- Scheme and host.
    server               TEXT NOT NULL,
    client_id            TEXT NOT NULL,
    client_secret        BLOB NOT NULL CHECK (length(client_secret) >= 45),
    client_secret_dek_id INTEGER NOT NULL,
    -- What the server was told. Another callback URL or other scopes need another app.
    callback_url         TEXT NOT NULL,
    scopes               TEXT NOT NULL CHECK (json_type(scopes) = 'array'),
    created_at           INTEGER NOT NULL,
    -- When the server last acknowledged the app; 0 where it is in doubt.
    proven_at            INTEGER NOT NULL,
    -- When a connection last began under it, with a resolution of some minutes.
    used_at              INTEGER NOT NULL,
    PRIMARY KEY (platform, server, client_id),
    CHECK (hex(substr(client_secret, 2, 4)) = printf('%08X', client_secret_dek_id))
) STRICT, WITHOUT ROWID;

CREATE INDEX registrations_by_use ON registrations (used_at);
CREATE INDEX registrations_by_dek ON registrations (client_secret_dek_id);

-- The server of a connection, sealed: it decides where the code and the client secret go.
ALTER TABLE flows ADD COLUMN server BLOB CHECK (length(server) >= 45);

PRAGMA user_version = 9;
