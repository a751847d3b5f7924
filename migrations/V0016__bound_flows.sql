-- What a connection in the making is bound to.

-- The integration that must come back. Null: any account may. It may be disconnected meanwhile, so nothing points at it.
ALTER TABLE flows ADD COLUMN reconnects TEXT;

PRAGMA user_version = 16;
