//! Callers as a connection of short reads knows them: their access keys, and whether there is more than one project.
//!
//! Nearly every request asks for them and hardly any changes them, but a snapshot ends with every commit. So they
//! outlive theirs: as long as no commit of this process changes one of their [tables](TABLES), and for no longer than the
//! snapshot could have lasted, because of other processes.

use std::sync::Arc;

use rusqlite::Connection;

use super::{Commits, Kept};
use crate::domain::secret::Digest256;
use crate::store::access_keys::{FoundKey, KnownKeys};
use crate::store::{Error, projects};

/// Tables whose changes end what is known. They have row ids, so that SQLite tells of every change.
pub(in crate::store) const TABLES: [&str; 2] = ["access_keys", "projects"];

/// The callers that one connection knows.
#[derive(Default)]
pub(super) struct KnownCallers {
    version: i64,
    keys: KnownKeys,
    /// True where there is more than one project; `None` when nobody has looked.
    are_several: Option<bool>,
    /// How long they are known without a snapshot.
    kept: Option<Kept>,
}

impl KnownCallers {
    /// Notes that the connection has entered a snapshot. Forgets everybody when it is of another version of the
    /// database than the one before. `kept`: the changes of the [`TABLES`] that it shows; `None` while that is not clear.
    pub(super) fn look(&mut self, version: i64, kept: Option<Kept>) {
        self.keys.look(version);
        if self.version != version {
            self.are_several = None;
        }
        (self.version, self.kept) = (version, kept);
    }

    /// True while what is known needs no snapshot.
    pub(super) fn are_current(&self, changes: &Commits) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.serves(changes))
    }

    pub(super) fn known_key(&self, digest: &Digest256) -> Option<Arc<FoundKey>> {
        self.keys.known(digest)
    }

    /// Finds a key. `db`: always the same connection, in the snapshot that was [looked](Self::look) at last.
    pub(super) fn find_key(&mut self, db: &Connection, digest: &Digest256) -> Result<Option<Arc<FoundKey>>, Error> {
        self.keys.find(db, digest)
    }

    pub(super) fn known_several(&self) -> Option<bool> {
        self.are_several
    }

    /// Finds out whether there is more than one project, as [`find_key`](Self::find_key) finds a key.
    pub(super) fn are_several(&mut self, db: &Connection) -> Result<bool, Error> {
        if let Some(known) = self.are_several {
            return Ok(known);
        }
        Ok(*self.are_several.insert(projects::are_several(db)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::domain::access_key::AccessKey;
    use crate::domain::id::{AccessKeyId, Id as _};
    use crate::domain::key_limits::Limits;
    use crate::domain::key_uses::KeyUse;
    use crate::domain::time::Timestamp;
    use crate::store::tests::{insert, project, store};
    use crate::store::{Store, access_keys, meta};

    const NOW: Timestamp = Timestamp::from_millis(0);

    async fn insert_key(store: &Store, number: u8) -> (AccessKeyId, Digest256) {
        let (id, digest) = (AccessKeyId::from_uuid(uuid::Uuid::from_u128(number.into())), Digest256::of(&[number]));
        let key = AccessKey {
            id,
            project_id: project(0).id,
            name: "ci".to_owned(),
            hint: "ppk_".to_owned(),
            limits: Limits::from(&[]),
            created_at: NOW,
            last_used_at: None,
            revoked_at: None,
        };
        store.write(move |tx| access_keys::insert(tx, &key, &digest)).await.unwrap();
        (id, digest)
    }

    #[tokio::test]
    async fn no_change_is_missed_however_short_ago_callers_were_asked_for() {
        let (_directory, store) = store();
        for number in 1..100 {
            let digest = Digest256::of(&[number]);
            assert!(store.find_access_key(digest).await.unwrap().is_none());
            let (id, _) = insert_key(&store, number).await;
            for _ in 0..2 {
                assert_eq!(store.find_access_key(digest).await.unwrap().unwrap().key.id, id);
            }
            store.write(move |tx| access_keys::revoke(tx, id, NOW)).await.unwrap();
            assert!(store.find_access_key(digest).await.unwrap().is_none(), "{number}");
        }
        for _ in 0..2 {
            assert!(!store.are_several_projects().await.unwrap());
        }
        insert(&store, 1).await.unwrap();
        assert!(store.are_several_projects().await.unwrap());
    }

    #[tokio::test]
    async fn only_commits_of_callers_end_what_is_known_of_them() {
        let (_directory, store) = store();
        let (id, digest) = insert_key(&store, 1).await;
        let changes = || store.readers.changes_of_callers.settled().unwrap();
        let mut before = changes();
        for _ in 0..3 {
            store.write(meta::touch).await.unwrap();
            store.write_unsynced(meta::touch).await.unwrap();
            store.find_access_key(digest).await.unwrap();
        }
        assert_eq!(changes(), before);
        let mut is_changed = || changes() > std::mem::replace(&mut before, changes());
        insert(&store, 1).await.unwrap();
        assert!(is_changed());
        let used = KeyUse { project_id: project(0).id, access_key_id: id, at: NOW };
        store.write_unsynced(move |tx| access_keys::record_use(tx, &used)).await.unwrap();
        assert!(is_changed());
        store.write(move |tx| access_keys::revoke(tx, id, NOW)).await.unwrap();
        assert!(is_changed());
    }

    #[test]
    fn callers_are_known_until_one_changes_and_for_a_moment_at_most() {
        let changes = Commits::default();
        let mut known = KnownCallers::default();
        let look = |known: &mut KnownCallers, wait: Duration| {
            let until = Instant::now() + wait;
            known.look(7, changes.settled().map(|commits| Kept { commits, until }));
            known.are_current(&changes)
        };
        assert!(look(&mut known, Duration::from_mins(1)));
        assert!(!look(&mut known, Duration::ZERO));
        assert!(look(&mut known, Duration::from_mins(1)));
        let changing = changes.count();
        assert!(!known.are_current(&changes));
        assert!(!look(&mut known, Duration::from_mins(1)), "a snapshot may show the change, or not");
        drop(changing);
        assert!(!known.are_current(&changes));
        assert!(look(&mut known, Duration::from_mins(1)));
    }
}
