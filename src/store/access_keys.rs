//! Access keys, found by the digest of what a caller sends. The operator makes and revokes them. No statement here
//! asks for a project: the key tells which project its caller belongs to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, Row, Transaction, named_params};
use tokio::time::{Instant, sleep};

use super::Error;
use super::columns::{Fields, all, change_one, count, json, one};
use crate::domain::access_key::{AccessKey, Scope};
use crate::domain::id::{AccessKeyId, ProjectId};
use crate::domain::secret::Digest256;
use crate::domain::time::Timestamp;

pub fn insert(db: &Transaction<'_>, key: &AccessKey, digest: &Digest256) -> Result<(), Error> {
    let scopes: Vec<&str> = key.scopes.iter().map(Scope::into_str).collect();
    change_one(
        db,
        "INSERT INTO access_keys (id, project_id, name, hint, scopes, digest, created_at, revoked_at)
         VALUES (:id, :project, :name, :hint, :scopes, :digest, :created_at, :revoked_at)",
        named_params! {
            ":id": key.id,
            ":project": key.project_id,
            ":name": key.name,
            ":hint": key.hint,
            ":scopes": json(&scopes)?,
            ":digest": digest,
            ":created_at": key.created_at,
            ":revoked_at": key.revoked_at,
        },
    )
}

/// A key that is not revoked, and its stored digest, for a comparison in constant time.
#[derive(Debug)]
pub struct FoundKey {
    pub key: AccessKey,
    pub digest: Digest256,
}

/// The key with that digest, unless it is revoked.
pub(super) fn find_by_digest(db: &Connection, digest: &Digest256) -> Result<Option<FoundKey>, Error> {
    one(
        db,
        "SELECT * FROM access_keys WHERE digest = :digest AND revoked_at IS NULL",
        named_params! {":digest": digest},
        |row| Ok(FoundKey { key: read(row)?, digest: Fields::of("access_keys", row).get("digest")? }),
    )
}

/// How long a reader takes it that nobody has committed. Asking SQLite takes several times what the rest of a look-up
/// does.
const LOOKS_EVERY: Duration = Duration::from_millis(1);

/// Waits until every reader, of whatever process, knows what was committed before. Whoever revokes a key says so only
/// afterwards.
pub async fn until_known() {
    sleep(2 * LOOKS_EVERY).await;
}

/// The keys that one read connection has looked for since the database last changed. Any commit, by whatever process,
/// makes it forget them all within a millisecond: see [`until_known`].
#[derive(Default)]
pub(super) struct KnownKeys {
    /// SQLite's number for the state of the database; it is only good for comparisons on this connection.
    version: i64,
    looked_at: Option<Instant>,
    found: HashMap<Digest256, Arc<FoundKey>>,
    /// Digests that no key has which can be used.
    unknown: HashSet<Digest256>,
}

impl KnownKeys {
    /// Most keys of either kind. Anybody can send unknown ones, which must not displace the others.
    const MOST: usize = 1000;

    /// Like [`find_by_digest`]. `db`: always the same connection, and not in a transaction.
    pub(super) fn find(&mut self, db: &Connection, digest: &Digest256) -> Result<Option<Arc<FoundKey>>, Error> {
        self.forget_outdated(db)?;
        if let Some(found) = self.found.get(digest) {
            return Ok(Some(found.clone()));
        }
        if self.unknown.contains(digest) {
            return Ok(None);
        }
        // What commits in between gives the database a new version, which is looked at the next time.
        let found = find_by_digest(db, digest)?.map(Arc::new);
        if let Some(found) = &found {
            if self.found.len() >= Self::MOST {
                self.found.clear();
            }
            self.found.insert(*digest, found.clone());
        } else {
            if self.unknown.len() >= Self::MOST {
                self.unknown.clear();
            }
            self.unknown.insert(*digest);
        }
        Ok(found)
    }

    fn forget_outdated(&mut self, db: &Connection) -> Result<(), Error> {
        let now = Instant::now();
        if self.looked_at.is_some_and(|at| now.duration_since(at) < LOOKS_EVERY) {
            return Ok(());
        }
        let version = db.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        if self.version != version {
            self.found.clear();
            self.unknown.clear();
            self.version = version;
        }
        // The time from before: what was committed since then may not be seen.
        self.looked_at = Some(now);
        Ok(())
    }
}

/// Keys of all projects, revoked ones too, oldest first, each with the name of its project.
pub fn list_all(db: &Connection) -> Result<Vec<(AccessKey, String)>, Error> {
    all(
        db,
        "SELECT access_keys.*, projects.name AS project_name
         FROM access_keys JOIN projects ON projects.id = access_keys.project_id ORDER BY access_keys.id",
        &[],
        |row| Ok((read(row)?, Fields::of("projects", row).get("project_name")?)),
    )
}

/// Number of keys of all projects that are not revoked.
pub fn count_usable(db: &Connection) -> Result<u64, Error> {
    count(db, "SELECT count(*) FROM access_keys WHERE revoked_at IS NULL", &[])
}

/// Returns the key's project; `None` when there is no such key or it was revoked before.
pub fn revoke(db: &Transaction<'_>, id: AccessKeyId, now: Timestamp) -> Result<Option<ProjectId>, Error> {
    one(
        db,
        "UPDATE access_keys SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL RETURNING project_id",
        named_params! {":id": id, ":now": now},
        |row| Fields::of("access_keys", row).get("project_id"),
    )
}

fn read(row: &Row<'_>) -> Result<AccessKey, Error> {
    let fields = Fields::of("access_keys", row);
    let scopes: Vec<String> = fields.json("scopes")?;
    Ok(AccessKey {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        name: fields.get("name")?,
        hint: fields.get("hint")?,
        scopes: scopes
            .iter()
            .map(|scope| scope.parse::<Scope>().map_err(|_| fields.inconsistent("scopes")))
            .collect::<Result<_, _>>()?,
        created_at: fields.get("created_at")?,
        revoked_at: fields.get("revoked_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::Fixture;

    fn key(fixture: &Fixture, name: &str) -> AccessKey {
        AccessKey {
            id: fixture.id(),
            project_id: fixture.theirs,
            name: name.to_owned(),
            hint: "ppk_abcd".to_owned(),
            scopes: vec![Scope::Read, Scope::Tokens],
            created_at: fixture.now(),
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_found_by_its_digest_until_it_is_revoked() {
        let mut fixture = Fixture::new();
        let (key, digest) = (key(&fixture, "ci"), Digest256::of(b"ppk_1"));
        fixture.write(|db| insert(db, &key, &digest)).unwrap();
        let FoundKey { key: found, digest: stored } = find_by_digest(&fixture.db, &digest).unwrap().unwrap();
        assert_eq!(stored, digest);
        assert_eq!((found.id, found.project_id, &found.name), (key.id, fixture.theirs, &key.name));
        assert_eq!((found.hint, found.scopes, found.created_at), (key.hint, key.scopes, key.created_at));
        assert!(find_by_digest(&fixture.db, &Digest256::of(b"ppk_2")).unwrap().is_none());

        let now = fixture.later(1);
        assert_eq!(fixture.write(|db| revoke(db, key.id, now)).unwrap(), Some(fixture.theirs));
        assert!(find_by_digest(&fixture.db, &digest).unwrap().is_none());
        let later = fixture.later(1);
        assert_eq!(fixture.write(|db| revoke(db, key.id, later)).unwrap(), None);
        assert_eq!(list_all(&fixture.db).unwrap()[0].0.revoked_at, Some(now), "the first time stays");
        let unknown = fixture.id();
        assert_eq!(fixture.write(|db| revoke(db, unknown, later)).unwrap(), None);
    }

    #[test]
    fn a_known_key_is_forgotten_with_the_next_commit_of_anybody() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.db");
        let mut fixture = Fixture::new();
        let (key, digest) = (key(&fixture, "ci"), Digest256::of(b"ppk_1"));
        fixture.write(|db| insert(db, &key, &digest)).unwrap();
        fixture.db.execute("VACUUM INTO ?1", [path.to_str().unwrap()]).unwrap();
        let (reader, other) = (Connection::open(&path).unwrap(), Connection::open(&path).unwrap());
        let (mut known, second) = (KnownKeys::default(), Digest256::of(b"ppk_2"));
        let first = known.find(&reader, &digest).unwrap().unwrap();
        assert_eq!((first.key.id, first.digest), (key.id, digest));
        assert!(Arc::ptr_eq(&first, &known.find(&reader, &digest).unwrap().unwrap()), "it is known");
        assert!(known.find(&reader, &second).unwrap().is_none());
        assert_eq!((known.found.len(), known.unknown.len()), (1, 1));
        let mut after = |statement: &str, digest: &Digest256| {
            other.execute(statement, []).unwrap();
            known.looked_at = Instant::now().checked_sub(LOOKS_EVERY);
            let found = known.find(&reader, digest).unwrap();
            assert_eq!(known.found.len() + known.unknown.len(), 1, "the other one is forgotten");
            found
        };
        assert_eq!(after("UPDATE access_keys SET name = 'renamed'", &digest).unwrap().key.name, "renamed");
        assert!(after("UPDATE access_keys SET revoked_at = 1", &digest).is_none());
        assert!(after("UPDATE access_keys SET revoked_at = NULL", &digest).is_some());
        assert!(after("UPDATE access_keys SET name = 'again'", &second).is_none());
    }

    #[test]
    fn between_two_looks_at_the_database_known_keys_are_taken_from_memory() {
        let mut fixture = Fixture::new();
        let (key, digest) = (key(&fixture, "ci"), Digest256::of(b"ppk_1"));
        let mut known = KnownKeys { looked_at: Instant::now().checked_add(LOOKS_EVERY * 1000), ..KnownKeys::default() };
        assert!(known.find(&fixture.db, &digest).unwrap().is_none());
        fixture.write(|db| insert(db, &key, &digest)).unwrap();
        assert!(known.find(&fixture.db, &digest).unwrap().is_none(), "it is in memory as unknown");
    }

    #[test]
    fn known_keys_are_bounded() {
        let mut fixture = Fixture::new();
        let mut known = KnownKeys::default();
        let digests: Vec<_> = (0..=KnownKeys::MOST).map(|number| Digest256::of(&number.to_be_bytes())).collect();
        for digest in &digests {
            assert!(known.find(&fixture.db, digest).unwrap().is_none());
        }
        assert_eq!(known.unknown.len(), 1);
        for digest in &digests {
            let key = key(&fixture, "one of many");
            fixture.write(|db| insert(db, &key, digest)).unwrap();
        }
        known.unknown.clear();
        for digest in &digests {
            assert!(known.find(&fixture.db, digest).unwrap().is_some());
        }
        assert_eq!(known.found.len(), 1);
    }

    #[test]
    fn keys_are_listed_oldest_first_with_their_project() {
        let mut fixture = Fixture::new();
        for name in ["a", "b"] {
            let key = key(&fixture, name);
            fixture.write(|db| insert(db, &key, &Digest256::of(name.as_bytes()))).unwrap();
        }
        let listed: Vec<(String, String)> =
            list_all(&fixture.db).unwrap().into_iter().map(|(key, project)| (key.name, project)).collect();
        assert_eq!(listed, [("a".to_owned(), "other".to_owned()), ("b".to_owned(), "other".to_owned())]);
    }

    #[test]
    fn an_unknown_scope_is_an_error() {
        let mut fixture = Fixture::new();
        let key = key(&fixture, "a");
        fixture.write(|db| insert(db, &key, &Digest256::of(b"a"))).unwrap();
        fixture.db.execute(r#"UPDATE access_keys SET scopes = '["everything"]'"#, []).unwrap();
        let error = find_by_digest(&fixture.db, &Digest256::of(b"a")).unwrap_err();
        let row = key.id.to_string();
        assert!(
            matches!(&error, Error::Inconsistent { table: "access_keys", column: "scopes", row: at } if *at == row),
            "{error:?}"
        );
    }
}
