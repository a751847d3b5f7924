//! Sessions of the console, found by the digest of their token: it tells which key, and so which project, they act for.
//!
//! Two statements are for every project and say so: the look-up, and the one that deletes expired rows.

use rusqlite::{Connection, Transaction, named_params};

use super::access_keys::FoundKey;
use super::columns::{Fields, change, change_one, one};
use super::{Error, access_keys};
use crate::domain::console_session::{ConsoleSession, MOST_OF_KEY};
use crate::domain::id::ProjectId;
use crate::domain::secret::{Digest256, RowMac};
use crate::domain::time::Timestamp;

/// Adds a session. The oldest ones of its key give way when there are too many.
pub fn insert(db: &Transaction<'_>, session: &ConsoleSession, mac: &RowMac) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO console_sessions (digest, project_id, access_key_id, created_at, expires_at, mac, mac_dek_id)
         VALUES (:digest, :project, :access_key, :created_at, :expires_at, :mac, :dek_id)",
        named_params! {
            ":digest": session.digest, ":project": session.project_id, ":access_key": session.access_key_id,
            ":created_at": session.created_at, ":expires_at": session.expires_at, ":mac": mac.code, ":dek_id": mac.dek_id,
        },
    )?;
    change(
        db,
        "DELETE FROM console_sessions WHERE project_id = :project AND access_key_id = :access_key AND digest NOT IN
            (SELECT digest FROM console_sessions WHERE project_id = :project AND access_key_id = :access_key
             ORDER BY created_at DESC LIMIT :most)",
        named_params! {":project": session.project_id, ":access_key": session.access_key_id, ":most": MOST_OF_KEY},
    )
    .map(drop)
}

/// A session, its authentication code, and its key.
type Found = (ConsoleSession, RowMac, FoundKey);

/// The session with that digest, and its key, which may have expired. `None` when the session is over or the key is
/// revoked.
pub fn find(db: &Connection, digest: &Digest256, now: Timestamp) -> Result<Option<Found>, Error> {
    let found = one(
        db,
        "SELECT digest, project_id, access_key_id, created_at, expires_at, mac, mac_dek_id
         FROM console_sessions /* every project */ WHERE digest = :digest AND expires_at > :now",
        named_params! {":digest": digest, ":now": now},
        |row| {
            let fields = Fields::of("console_sessions", row);
            let session = ConsoleSession {
                digest: fields.get("digest")?,
                project_id: fields.get("project_id")?,
                access_key_id: fields.get("access_key_id")?,
                created_at: fields.get("created_at")?,
                expires_at: fields.get("expires_at")?,
            };
            Ok((session, RowMac { dek_id: fields.get("mac_dek_id")?, code: fields.get("mac")? }))
        },
    )?;
    // Found by equality in an index. This comparison takes the same time whatever the difference.
    let Some((session, mac)) = found.filter(|(session, _)| session.digest == *digest) else { return Ok(None) };
    let key = access_keys::find(db, session.project_id, session.access_key_id)?;
    Ok(key.map(|key| (session, mac, key)))
}

/// Ends a session of a project. False when there is none.
pub fn delete(db: &Transaction<'_>, project: ProjectId, digest: &Digest256) -> Result<bool, Error> {
    let deleted = change(
        db,
        "DELETE FROM console_sessions WHERE project_id = :project AND digest = :digest",
        named_params! {":project": project, ":digest": digest},
    )?;
    Ok(deleted == 1)
}

/// Deletes up to `limit` sessions of all projects that are over, and returns their number.
pub fn purge(db: &Transaction<'_>, now: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "DELETE FROM console_sessions /* every project */ WHERE digest IN
            (SELECT digest FROM console_sessions WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)",
        named_params! {":now": now, ":limit": limit},
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::access_key::{AccessKey, Scope};
    use crate::domain::key_limits::Limits;
    use crate::store::fixture::Fixture;

    fn key(fixture: &mut Fixture) -> AccessKey {
        let key = AccessKey {
            id: fixture.id(),
            project_id: fixture.ours,
            name: "ops".to_owned(),
            hint: "ppk_abcd".to_owned(),
            limits: Limits::from(Scope::ALL),
            created_at: fixture.now(),
            last_used_at: None,
            revoked_at: None,
        };
        let digest = Digest256::of(key.id.to_string().as_bytes());
        fixture.write(|db| access_keys::insert(db, &key, &digest)).unwrap();
        key
    }

    fn session(fixture: &mut Fixture, key: &AccessKey, number: u32) -> ConsoleSession {
        let created_at = fixture.later(1);
        let session = ConsoleSession {
            digest: Digest256::of(&number.to_be_bytes()),
            project_id: key.project_id,
            access_key_id: key.id,
            created_at,
            expires_at: created_at.plus(Duration::from_secs(100)),
        };
        fixture.write(|db| insert(db, &session, &RowMac { dek_id: 1, code: [0; 32] })).unwrap();
        session
    }

    #[test]
    fn a_session_is_over_with_its_time_its_key_or_its_sign_out() {
        let mut fixture = Fixture::new();
        let key = key(&mut fixture);
        let [kept, left] = [1, 2].map(|number| session(&mut fixture, &key, number));
        let found = |fixture: &Fixture, session: &ConsoleSession, now| {
            find(&fixture.db, &session.digest, now).unwrap().map(|(_, _, found)| found.key.id)
        };
        let now = fixture.now();
        assert_eq!(found(&fixture, &kept, now), Some(key.id));
        assert_eq!(found(&fixture, &kept, kept.expires_at), None);
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        assert!(!fixture.write(|db| delete(db, theirs, &left.digest)).unwrap(), "another project's");
        assert!(fixture.write(|db| delete(db, ours, &left.digest)).unwrap());
        assert_eq!(found(&fixture, &left, now), None);
        fixture.write(|db| access_keys::revoke(db, key.id, now)).unwrap();
        assert_eq!(found(&fixture, &kept, now), None);
        assert_eq!(fixture.write(|db| purge(db, now, 9)).unwrap(), 0);
        assert_eq!(fixture.write(|db| purge(db, kept.expires_at, 9)).unwrap(), 1);
    }

    #[test]
    fn the_oldest_session_of_a_key_gives_way() {
        let mut fixture = Fixture::new();
        let [mine, other] = [key(&mut fixture), key(&mut fixture)];
        let others = session(&mut fixture, &other, 1000);
        let sessions: Vec<_> = (0..=MOST_OF_KEY).map(|number| session(&mut fixture, &mine, number)).collect();
        let now = fixture.now();
        let is_there = |session: &ConsoleSession| find(&fixture.db, &session.digest, now).unwrap().is_some();
        assert!(!is_there(&sessions[0]));
        assert!(sessions[1..].iter().chain([&others]).all(is_there));
    }
}
