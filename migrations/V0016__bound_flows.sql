-- What a connection in the making is bound to.

-- The integration that must come back. Null: any account may. It may be disconnected meanwhile, so nothing points at it.
ALTER TABLE flows ADD COLUMN reconnects TEXT;
-- Digest of the cookie that the browser must have when it comes back. Null: any browser may.
ALTER TABLE flows ADD COLUMN bound_to BLOB CHECK (length(bound_to) = 32);
-- 1: the cookie is the broker's own, which it sets when somebody continues on the page that asks first. 0: the app's.
ALTER TABLE flows ADD COLUMN asks_first INTEGER NOT NULL DEFAULT 0 CHECK (asks_first IN (0, 1));

PRAGMA user_version = 16;
