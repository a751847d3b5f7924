//! Access keys, found by the digest of what a caller sends: the key tells which project its caller belongs to. The
//! operator lists and revokes those of all projects. Statements for every project say so.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use rusqlite::{Connection, Row, Transaction, named_params};

use super::columns::{Fields, all, change, change_one, count, json_names, one};
use super::{Error, links, readers};
use crate::domain::access_key::AccessKey;
use crate::domain::id::{AccessKeyId, ProfileId, ProjectId};
use crate::domain::key_limits::Limits;
use crate::domain::key_uses::KeyUse;
use crate::domain::secret::{Digest256, RowMac};
use crate::domain::time::Timestamp;

pub fn insert(db: &Transaction<'_>, key: &AccessKey, digest: &Digest256) -> Result<(), Error> {
    let Limits { scopes, profile_id, networks, expires_at } = &key.limits;
    change_one(
        db,
        "INSERT INTO access_keys (id, project_id, name, hint, scopes, profile_id, networks, digest, created_at, expires_at,
            last_used_at, revoked_at)
         VALUES (:id, :project, :name, :hint, :scopes, :profile, :networks, :digest, :created_at, :expires_at,
            :last_used_at, :revoked_at)",
        named_params! {
            ":id": key.id,
            ":project": key.project_id,
            ":name": key.name,
            ":hint": key.hint,
            ":scopes": json_names(scopes)?,
            ":profile": profile_id,
            ":networks": json_names(networks)?,
            ":digest": digest,
            ":created_at": key.created_at,
            ":expires_at": expires_at,
            ":last_used_at": key.last_used_at,
            ":revoked_at": key.revoked_at,
        },
    )
}

/// Stores the authentication code of a key's row. [`Error::NotChanged`] when the key is gone or revoked.
pub fn authenticate(db: &Transaction<'_>, project: ProjectId, id: AccessKeyId, mac: &RowMac) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE access_keys SET mac = :mac, mac_dek_id = :dek_id
         WHERE project_id = :project AND id = :id AND revoked_at IS NULL",
        named_params! {":project": project, ":id": id, ":mac": mac.code, ":dek_id": mac.dek_id},
    )
}

/// Keys of all projects that are not revoked and have no authentication code.
pub fn list_unauthenticated(db: &Connection) -> Result<Vec<FoundKey>, Error> {
    all(db, "SELECT * FROM access_keys /* every project */ WHERE mac IS NULL AND revoked_at IS NULL", &[], read_found)
}

/// Up to `limit` keys of all projects, after the first `skip`, whose code was made with an older data key than
/// `active`.
pub fn list_older(db: &Connection, active: u32, skip: u32, limit: u32) -> Result<Vec<FoundKey>, Error> {
    all(
        db,
        "SELECT * FROM access_keys /* every project */ WHERE mac_dek_id < :active
         ORDER BY mac_dek_id LIMIT :limit OFFSET :skip",
        named_params! {":active": active, ":limit": limit, ":skip": skip},
        read_found,
    )
}

/// Keys of all projects that are not revoked, oldest first.
pub fn list_unrevoked(db: &Connection) -> Result<Vec<FoundKey>, Error> {
    all(db, "SELECT * FROM access_keys /* every project */ WHERE revoked_at IS NULL ORDER BY id", &[], read_found)
}

/// A key that is not revoked, perhaps expired, and its stored digest, for a comparison in constant time.
#[derive(Debug)]
pub struct FoundKey {
    pub key: AccessKey,
    pub digest: Digest256,
    /// `None` where nobody authenticated the row.
    pub mac: Option<RowMac>,
    /// True when the row is authentic; empty until somebody has looked, which takes longer than the rest.
    pub is_authentic: OnceLock<bool>,
}

/// The key with that digest, unless it is revoked.
pub(super) fn find_by_digest(db: &Connection, digest: &Digest256) -> Result<Option<FoundKey>, Error> {
    one(
        db,
        "SELECT * FROM access_keys /* every project */ WHERE digest = :digest AND revoked_at IS NULL",
        named_params! {":digest": digest},
        read_found,
    )
}

/// Waits until every reader, of whatever process, knows what was committed before. Whoever revokes a key says so only
/// afterwards.
pub async fn until_known() {
    readers::until_seen().await;
}

/// The keys that one read connection has looked for since the database last changed. Any commit that it sees, by
/// whatever process, makes it forget them all. Time makes it forget none: whoever finds a key looks at its expiry.
#[derive(Default)]
pub(super) struct KnownKeys {
    version: i64,
    found: HashMap<Digest256, Arc<FoundKey>>,
    /// Digests that no key has which can be used.
    unknown: HashSet<Digest256>,
}

impl KnownKeys {
    /// Most keys of either kind. Anybody can send unknown ones, which must not displace the others.
    const MOST: usize = 1000;

    /// Forgets all keys when the connection's snapshot is of another version of the database than the one before.
    pub(super) fn look(&mut self, version: i64) {
        if self.version != version {
            self.found.clear();
            self.unknown.clear();
            self.version = version;
        }
    }

    /// The key, if it was found before.
    pub(super) fn known(&self, digest: &Digest256) -> Option<Arc<FoundKey>> {
        self.found.get(digest).cloned()
    }

    /// Like [`find_by_digest`]. `db`: always the same connection, in the snapshot that was [looked](Self::look) at last.
    pub(super) fn find(&mut self, db: &Connection, digest: &Digest256) -> Result<Option<Arc<FoundKey>>, Error> {
        if let Some(known) = self.known(digest) {
            return Ok(Some(known));
        }
        if self.unknown.contains(digest) {
            return Ok(None);
        }
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
}

/// Keys of all projects, revoked ones too, oldest first, each with the name of its project.
pub fn list_all(db: &Connection) -> Result<Vec<(AccessKey, String)>, Error> {
    all(
        db,
        "SELECT access_keys.*, projects.name AS project_name
         FROM access_keys /* every project */ JOIN projects ON projects.id = access_keys.project_id ORDER BY access_keys.id",
        &[],
        |row| Ok((read(row)?, Fields::of("projects", row).get("project_name")?)),
    )
}

/// Keys of a project, or of one profile, revoked ones too: up to `limit` behind `after`, newest first.
pub fn list(
    db: &Connection,
    project: ProjectId,
    profile: Option<ProfileId>,
    after: Option<AccessKeyId>,
    limit: u32,
) -> Result<Vec<AccessKey>, Error> {
    let params = named_params! {":project": project, ":after": after, ":limit": limit};
    let Some(profile) = profile else { return all(db, LIST, params, read) };
    all(db, LIST_OF_PROFILE, &[params, named_params! {":profile": profile}].concat(), read)
}

const LIST: &str = "SELECT * FROM access_keys WHERE project_id = :project AND id < coalesce(:after, 'key_~')
    ORDER BY id DESC LIMIT :limit";

const LIST_OF_PROFILE: &str = "SELECT * FROM access_keys
    WHERE project_id = :project AND profile_id = :profile AND id < coalesce(:after, 'key_~') ORDER BY id DESC LIMIT :limit";

/// A key of a project, unless it is revoked.
pub fn find(db: &Connection, project: ProjectId, id: AccessKeyId) -> Result<Option<FoundKey>, Error> {
    one(
        db,
        "SELECT * FROM access_keys WHERE project_id = :project AND id = :id AND revoked_at IS NULL",
        named_params! {":project": project, ":id": id},
        read_found,
    )
}

/// A key's name, even of a revoked one.
pub fn find_name(db: &Connection, project: ProjectId, id: AccessKeyId) -> Result<Option<String>, Error> {
    one(
        db,
        "SELECT name FROM access_keys WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        |row| Fields::of("access_keys", row).get("name"),
    )
}

/// Number of keys of all projects that are neither revoked nor expired.
pub fn count_usable(db: &Connection, now: Timestamp) -> Result<u64, Error> {
    count(
        db,
        "SELECT count(*) FROM access_keys /* every project */
         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)",
        named_params! {":now": now},
    )
}

/// Usable keys of all projects that expire after `now` and until `until`, the next one first.
pub fn list_expiring(db: &Connection, now: Timestamp, until: Timestamp) -> Result<Vec<AccessKey>, Error> {
    all(
        db,
        "SELECT * FROM access_keys /* every project */
         WHERE revoked_at IS NULL AND expires_at > :now AND expires_at <= :until ORDER BY expires_at",
        named_params! {":now": now, ":until": until},
        read,
    )
}

/// Records the latest use of a key. One that is gone, or was used later, stays as it is.
pub fn record_use(db: &Transaction<'_>, used: &KeyUse) -> Result<(), Error> {
    change(
        db,
        "UPDATE access_keys SET last_used_at = :at
         WHERE project_id = :project AND id = :id AND coalesce(last_used_at, :at - 1) < :at",
        named_params! {":project": used.project_id, ":id": used.access_key_id, ":at": used.at},
    )
    .map(drop)
}

/// Revokes a key, with the links that it made. Its authentication code goes with it, so that nobody can bring the key
/// back by erasing the time. Returns the key's project; `None` when there is no such key or it was revoked before.
pub fn revoke(db: &Transaction<'_>, id: AccessKeyId, now: Timestamp) -> Result<Option<ProjectId>, Error> {
    let project = one(
        db,
        "UPDATE access_keys /* every project */ SET revoked_at = :now, mac = NULL, mac_dek_id = NULL
         WHERE id = :id AND revoked_at IS NULL RETURNING project_id",
        named_params! {":id": id, ":now": now},
        |row| Fields::of("access_keys", row).get("project_id"),
    )?;
    if let Some(project) = project {
        links::revoke_of_key(db, project, id, now)?;
    }
    Ok(project)
}

/// Revokes up to `limit` keys of a project, with the links that they made, and returns their ids.
pub fn revoke_some(
    db: &Transaction<'_>,
    project: ProjectId,
    now: Timestamp,
    limit: u32,
) -> Result<Vec<AccessKeyId>, Error> {
    let revoked = all(
        db,
        "UPDATE access_keys SET revoked_at = :now, mac = NULL, mac_dek_id = NULL WHERE project_id = :project AND id IN
            (SELECT id FROM access_keys WHERE project_id = :project AND revoked_at IS NULL LIMIT :limit) RETURNING id",
        named_params! {":project": project, ":now": now, ":limit": limit},
        |row| Fields::of("access_keys", row).get("id"),
    )?;
    revoked.iter().try_for_each(|id| links::revoke_of_key(db, project, *id, now))?;
    Ok(revoked)
}

/// Revokes the keys that are bound to a profile, and returns their ids. Their links are that profile's.
pub fn revoke_of_profile(
    db: &Transaction<'_>,
    project: ProjectId,
    profile: ProfileId,
    now: Timestamp,
) -> Result<Vec<AccessKeyId>, Error> {
    all(
        db,
        "UPDATE access_keys SET revoked_at = :now, mac = NULL, mac_dek_id = NULL
         WHERE project_id = :project AND profile_id = :profile AND revoked_at IS NULL RETURNING id",
        named_params! {":project": project, ":profile": profile, ":now": now},
        |row| Fields::of("access_keys", row).get("id"),
    )
}

fn read_found(row: &Row<'_>) -> Result<FoundKey, Error> {
    let fields = Fields::of("access_keys", row);
    Ok(FoundKey { key: read(row)?, digest: fields.get("digest")?, mac: fields.mac()?, is_authentic: OnceLock::new() })
}

fn read(row: &Row<'_>) -> Result<AccessKey, Error> {
    let fields = Fields::of("access_keys", row);
    let limits = Limits {
        scopes: fields.parsed_list("scopes")?,
        profile_id: fields.get("profile_id")?,
        networks: fields.parsed_list("networks")?,
        expires_at: fields.get("expires_at")?,
    };
    Ok(AccessKey {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        name: fields.get("name")?,
        hint: fields.get("hint")?,
        limits,
        created_at: fields.get("created_at")?,
        last_used_at: fields.get("last_used_at")?,
        revoked_at: fields.get("revoked_at")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::access_key::Scope;
    use crate::domain::link::Link;
    use crate::store::fixture::Fixture;

    fn key(fixture: &Fixture, name: &str) -> AccessKey {
        AccessKey {
            id: fixture.id(),
            project_id: fixture.theirs,
            name: name.to_owned(),
            hint: "ppk_abcd".to_owned(),
            limits: Limits::from(&[Scope::Read, Scope::Tokens]),
            created_at: fixture.now(),
            last_used_at: None,
            revoked_at: None,
        }
    }

    #[test]
    fn a_key_is_found_by_its_digest_until_it_is_revoked() {
        let mut fixture = Fixture::new();
        let (key, digest) = (key(&fixture, "ci"), Digest256::of(b"ppk_1"));
        fixture.write(|db| insert(db, &key, &digest)).unwrap();
        let FoundKey { key: found, digest: stored, .. } = find_by_digest(&fixture.db, &digest).unwrap().unwrap();
        assert_eq!(stored, digest);
        assert_eq!((found.id, found.project_id, &found.name), (key.id, fixture.theirs, &key.name));
        assert_eq!((found.hint, found.limits, found.created_at), (key.hint, key.limits, key.created_at));
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
    fn a_revoked_key_takes_its_links_with_it() {
        let mut fixture = Fixture::new();
        let [one, some, other] = ["one", "some", "other"].map(|name| key(&fixture, name));
        let theirs = fixture.theirs;
        let links = [&one, &some, &other].map(|key| {
            fixture.write(|db| insert(db, key, &Digest256::of(key.name.as_bytes()))).unwrap();
            let (id, now) = (fixture.id(), fixture.now());
            let link = Link {
                id,
                project_id: theirs,
                access_key_id: Some(key.id),
                token: Digest256::of(key.hint.as_bytes().repeat(1 + key.name.len()).as_slice()),
                profile_id: None,
                platforms: Vec::new(),
                redirect_uri: None,
                connected: Vec::new(),
                created_at: now,
                expires_at: now.plus(Duration::from_hours(1)),
                revoked_at: None,
                mac: None,
            };
            fixture.write(|db| links::insert(db, &link)).unwrap();
            id
        });
        let now = fixture.later(1);
        let revoked = |fixture: &Fixture| {
            links.map(|id| links::find(&fixture.db, theirs, id).unwrap().unwrap().revoked_at.is_some())
        };
        fixture.write(|db| revoke(db, one.id, now)).unwrap();
        assert_eq!(revoked(&fixture), [true, false, false]);
        fixture.db.execute("UPDATE access_keys SET revoked_at = 1 WHERE id = ?1", [other.id]).unwrap();
        assert_eq!(fixture.write(|db| revoke_some(db, theirs, now, 10)).unwrap(), [some.id]);
        assert_eq!(revoked(&fixture), [true, true, false]);
    }

    #[test]
    fn the_keys_of_a_project_are_listed_in_pages() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let mut made = Vec::new();
        for number in 0..3_u8 {
            let key = key(&fixture, "ci");
            fixture.write(|db| insert(db, &key, &Digest256::of(&[number]))).unwrap();
            made.insert(0, key.id);
        }
        let now = fixture.now();
        fixture.write(|db| revoke(db, made[0], now)).unwrap();
        let listed = |project, profile, after, limit| -> Vec<AccessKeyId> {
            list(&fixture.db, project, profile, after, limit).unwrap().iter().map(|key| key.id).collect()
        };
        assert_eq!(listed(theirs, None, None, 9), made);
        assert_eq!(listed(theirs, None, Some(made[0]), 1), made[1..2]);
        assert!(listed(ours, None, None, 9).is_empty() && listed(theirs, Some(fixture.id()), None, 9).is_empty());
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
        let version = || reader.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap();
        let (mut known, second) = (KnownKeys::default(), Digest256::of(b"ppk_2"));
        known.look(version());
        let first = known.find(&reader, &digest).unwrap().unwrap();
        assert_eq!((first.key.id, first.digest), (key.id, digest));
        assert!(Arc::ptr_eq(&first, &known.find(&reader, &digest).unwrap().unwrap()), "it is known");
        assert!(known.find(&reader, &second).unwrap().is_none());
        assert_eq!((known.found.len(), known.unknown.len()), (1, 1));
        let mut after = |statement: &str, digest: &Digest256| {
            other.execute(statement, []).unwrap();
            known.look(version());
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
    fn in_one_version_of_the_database_known_keys_are_taken_from_memory() {
        let mut fixture = Fixture::new();
        let (key, digest) = (key(&fixture, "ci"), Digest256::of(b"ppk_1"));
        let mut known = KnownKeys::default();
        known.look(7);
        assert!(known.find(&fixture.db, &digest).unwrap().is_none());
        fixture.write(|db| insert(db, &key, &digest)).unwrap();
        known.look(7);
        assert!(known.find(&fixture.db, &digest).unwrap().is_none(), "it is in memory as unknown");
        known.look(8);
        assert!(known.find(&fixture.db, &digest).unwrap().is_some());
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
    fn limits_are_read_back_and_uses_go_forward() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let limits = Limits {
            scopes: vec![Scope::Read],
            profile_id: Some(fixture.profile("p")),
            networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::1".parse().unwrap()],
            expires_at: Some(fixture.now().plus(std::time::Duration::from_secs(100))),
        };
        let key = AccessKey { project_id: ours, limits, ..key(&fixture, "limited") };
        let foreign = AccessKey { id: fixture.id(), project_id: theirs, ..key.clone() };
        assert!(fixture.write(|db| insert(db, &foreign, &Digest256::of(b"2"))).is_err(), "a profile of ours");
        fixture.write(|db| insert(db, &key, &Digest256::of(b"1"))).unwrap();
        let found = |fixture: &Fixture| find(&fixture.db, ours, key.id).unwrap().unwrap().key;
        assert_eq!((found(&fixture).limits, found(&fixture).last_used_at), (key.limits.clone(), None));
        assert!(find(&fixture.db, theirs, key.id).unwrap().is_none());

        let times = [10, 20, 15].map(|seconds| fixture.now().plus(std::time::Duration::from_secs(seconds)));
        for (at, last) in times.into_iter().zip([times[0], times[1], times[1]]) {
            let mut used = KeyUse { project_id: theirs, access_key_id: key.id, at };
            fixture.write(|db| record_use(db, &used)).unwrap();
            used.project_id = ours;
            fixture.write(|db| record_use(db, &used)).unwrap();
            assert_eq!(found(&fixture).last_used_at, Some(last));
        }

        let now = fixture.now();
        let expiring = |fixture: &Fixture, from: u64, until: u64| {
            let [from, until] = [from, until].map(|seconds| now.plus(std::time::Duration::from_secs(seconds)));
            (list_expiring(&fixture.db, from, until).unwrap().len(), count_usable(&fixture.db, from).unwrap())
        };
        assert_eq!(expiring(&fixture, 0, 99), (0, 1));
        assert_eq!(expiring(&fixture, 99, 100), (1, 1));
        assert_eq!(expiring(&fixture, 100, 999), (0, 0), "it has expired");
        fixture.write(|db| revoke(db, key.id, now)).unwrap();
        assert_eq!(expiring(&fixture, 0, 999), (0, 0));
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
