-- What the authorization servers of the operator's own platforms last published about themselves, for a start without
-- them. Sealed, because it decides where codes and client secrets are sent.

CREATE TABLE discovered (
    issuer          TEXT NOT NULL PRIMARY KEY,
    document        BLOB NOT NULL CHECK (length(document) >= 45),
    document_dek_id INTEGER NOT NULL,
    fetched_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 5;
