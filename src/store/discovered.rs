//! The documents that authorization servers last published about themselves, for a start without them. They belong to
//! the operator's platforms, not to a project.

use rusqlite::{Connection, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change_one, dek_id};
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;

/// Stores an issuer's document in place of an older one.
pub fn put(db: &Transaction<'_>, issuer: &str, document: &Sealed, now: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO discovered (issuer, document, document_dek_id, fetched_at)
         VALUES (:issuer, :document, :dek_id, :now)
         ON CONFLICT (issuer) DO UPDATE
         SET document = excluded.document, document_dek_id = excluded.document_dek_id,
            fetched_at = excluded.fetched_at",
        named_params! {
            ":issuer": issuer,
            ":document": document,
            ":dek_id": dek_id(document, "discovered", "document", &issuer)?,
            ":now": now,
        },
    )
}

/// Every issuer with its document.
pub fn list(db: &Connection) -> Result<Vec<(String, Sealed)>, Error> {
    all(db, "SELECT issuer AS id, document FROM discovered ORDER BY issuer", &[], |row| {
        let fields = Fields::of("discovered", row);
        Ok((fields.get("id")?, fields.get("document")?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{Fixture, sealed};

    #[test]
    fn an_issuer_has_one_document_and_the_newest_counts() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        for (issuer, document) in [("https://b.example", 1), ("https://a.example", 2), ("https://b.example", 3)] {
            fixture.write(|db| put(db, issuer, &sealed(document), now)).unwrap();
        }
        let stored = list(&fixture.db).unwrap();
        assert_eq!(stored, [("https://a.example".to_owned(), sealed(2)), ("https://b.example".to_owned(), sealed(3))]);
    }
}
