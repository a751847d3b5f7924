//! Apps that the broker registered by itself. They belong to the operator's platforms, not to a project.
//!
//! Invariant: a row that a grant may need stays, because only it has the secret that revokes the grant.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, change, change_one, count, dek_id, json, one};
use crate::domain::id::ProjectId;
use crate::domain::registration::Registration;
use crate::domain::time::Timestamp;

/// The registration with this callback URL and these scopes that its server acknowledged last.
pub fn find_for(
    db: &Connection,
    platform: &str,
    server: &str,
    callback_url: &str,
    scopes: &[String],
) -> Result<Option<Registration>, Error> {
    one(
        db,
        "SELECT * FROM registrations
         WHERE platform = :platform AND server = :server AND callback_url = :callback_url AND scopes = :scopes
         ORDER BY proven_at DESC, created_at DESC LIMIT 1",
        named_params! {
            ":platform": platform,
            ":server": server,
            ":callback_url": callback_url,
            ":scopes": json(&scopes)?,
        },
        read,
    )
}

pub fn find(db: &Connection, platform: &str, server: &str, client_id: &str) -> Result<Option<Registration>, Error> {
    one(
        db,
        "SELECT * FROM registrations WHERE platform = :platform AND server = :server AND client_id = :client_id",
        named_params! {":platform": platform, ":server": server, ":client_id": client_id},
        read,
    )
}

/// Stores a registration, in place of one with the same client id at that server.
pub fn put(db: &Transaction<'_>, registration: &Registration) -> Result<(), Error> {
    let dek_id = dek_id(&registration.client_secret, "registrations", "client_secret", &registration.client_id)?;
    change_one(
        db,
        "INSERT OR REPLACE INTO registrations (platform, server, client_id, client_secret, client_secret_dek_id,
            callback_url, scopes, created_at, proven_at, used_at)
         VALUES (:platform, :server, :client_id, :client_secret, :dek_id, :callback_url, :scopes, :created_at, :proven_at,
            :used_at)",
        named_params! {
            ":platform": registration.platform,
            ":server": registration.server,
            ":client_id": registration.client_id,
            ":client_secret": registration.client_secret,
            ":dek_id": dek_id,
            ":callback_url": registration.callback_url,
            ":scopes": json(&registration.scopes)?,
            ":created_at": registration.created_at,
            ":proven_at": registration.proven_at,
            ":used_at": registration.used_at,
        },
    )
}

/// Records that a connection begins under it, and when the server last acknowledged it. [`Error::NotChanged`] when it
/// is gone.
pub fn touch(
    db: &Transaction<'_>,
    platform: &str,
    server: &str,
    client_id: &str,
    proven_at: Timestamp,
    used_at: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE registrations SET proven_at = :proven_at, used_at = :used_at
         WHERE platform = :platform AND server = :server AND client_id = :client_id",
        named_params! {
            ":platform": platform,
            ":server": server,
            ":client_id": client_id,
            ":proven_at": proven_at,
            ":used_at": used_at,
        },
    )
}

/// Lets the next connection ask the server whether it still knows the app.
pub fn doubt(db: &Transaction<'_>, platform: &str, server: &str, client_id: &str) -> Result<(), Error> {
    change(
        db,
        "UPDATE registrations SET proven_at = 0
         WHERE platform = :platform AND server = :server AND client_id = :client_id",
        named_params! {":platform": platform, ":server": server, ":client_id": client_id},
    )
    .map(drop)
}

pub fn count_all(db: &Connection) -> Result<u64, Error> {
    count(db, "SELECT count(*) FROM registrations", &[])
}

/// SQL that is true of a grant `g` that may need the registration `r`: its subject begins with the host, a slash ends the
/// host, and no text lies between a slash and a zero. The server chooses the client id, which may be that of others.
const NEEDS: &str = "g.platform = r.platform AND g.client_id = r.client_id
    AND g.subject >= substr(r.server, instr(r.server, '://') + 3) || '/'
    AND g.subject < substr(r.server, instr(r.server, '://') + 3) || '0'";

/// Number of registrations that a project's grants may need.
pub fn count_needed(db: &Connection, project: ProjectId) -> Result<u64, Error> {
    count(
        db,
        &format!(
            "SELECT count(*) FROM registrations AS r
             WHERE EXISTS (SELECT 1 FROM grants AS g WHERE g.project_id = :project AND {NEEDS})"
        ),
        named_params! {":project": project},
    )
}

/// Deletes up to `limit` registrations that no connection began under since `unused_since`, and that no grant of any
/// project needs; the longest unused first. Returns their number.
pub fn purge(db: &Transaction<'_>, unused_since: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        &format!(
            "DELETE FROM registrations WHERE (platform, server, client_id) IN (
                SELECT platform, server, client_id FROM registrations AS r
                WHERE used_at < :unused_since
                    AND NOT EXISTS (SELECT 1 FROM grants AS g /* every project */ WHERE {NEEDS})
                ORDER BY used_at LIMIT :limit)"
        ),
        named_params! {":unused_since": unused_since, ":limit": limit},
    )
}

fn read(row: &Row<'_>) -> Result<Registration, Error> {
    let fields = Fields::of("registrations", row);
    Ok(Registration {
        platform: fields.get("platform")?,
        server: fields.get("server")?,
        client_id: fields.get("client_id")?,
        client_secret: fields.get("client_secret")?,
        callback_url: fields.get("callback_url")?,
        scopes: fields.json("scopes")?,
        created_at: fields.get("created_at")?,
        proven_at: fields.get("proven_at")?,
        used_at: fields.get("used_at")?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::fixture::{Fixture, sealed};
    use crate::store::grants;

    const MASTODON: &str = "https://mastodon.social";

    fn registration(server: &str, client_id: &str, at: Timestamp) -> Registration {
        Registration {
            platform: "mastodon".to_owned(),
            server: server.to_owned(),
            client_id: client_id.to_owned(),
            client_secret: sealed(1),
            callback_url: "https://c.example/cb".to_owned(),
            scopes: vec!["read".to_owned()],
            created_at: at,
            proven_at: at,
            used_at: at,
        }
    }

    #[test]
    fn the_one_of_the_same_callback_url_and_scopes_that_was_proven_last_is_found() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let later = now.plus(Duration::from_secs(1));
        for registration in [
            registration(MASTODON, "old", now),
            registration(MASTODON, "new", later),
            registration("https://other.example", "new", later),
            Registration { scopes: Vec::new(), ..registration(MASTODON, "fewer", later.plus(Duration::from_secs(1))) },
            Registration { platform: "pleroma".to_owned(), ..registration(MASTODON, "p", later) },
        ] {
            fixture.write(|db| put(db, &registration)).unwrap();
        }
        let found_for = |url: &str, scopes: &[String]| {
            let found = find_for(&fixture.db, "mastodon", MASTODON, url, scopes).unwrap();
            found.map(|found| found.client_id)
        };
        assert_eq!(found_for("https://c.example/cb", &["read".to_owned()]).as_deref(), Some("new"));
        assert_eq!(found_for("https://c.example/cb", &[]).as_deref(), Some("fewer"));
        assert_eq!(found_for("https://c.example/other", &["read".to_owned()]), None);
        let found = find(&fixture.db, "mastodon", MASTODON, "old").unwrap().unwrap();
        assert_eq!(format!("{found:?}"), format!("{:?}", registration(MASTODON, "old", now)));
        assert!(find(&fixture.db, "mastodon", "https://other.example", "old").unwrap().is_none());

        fixture.write(|db| doubt(db, "mastodon", MASTODON, "old")).unwrap();
        fixture.write(|db| doubt(db, "mastodon", MASTODON, "nobody's")).unwrap();
        let by_proof = find_for(&fixture.db, "mastodon", MASTODON, "https://c.example/cb", &["read".to_owned()]);
        assert_eq!(by_proof.unwrap().unwrap().client_id, "new");
        let proven = |client_id: &str| find(&fixture.db, "mastodon", MASTODON, client_id).unwrap().unwrap().proven_at;
        assert_eq!((proven("old"), proven("new")), (Timestamp::from_millis(0), later));
        fixture.write(|db| touch(db, "mastodon", MASTODON, "old", later, later)).unwrap();
        let touched = find(&fixture.db, "mastodon", MASTODON, "old").unwrap().unwrap();
        assert_eq!((touched.proven_at, touched.used_at, touched.created_at), (later, later, now));
        let gone = fixture.write(|db| touch(db, "mastodon", MASTODON, "nobody's", later, later));
        assert!(matches!(gone, Err(Error::NotChanged)), "{gone:?}");
    }

    #[test]
    fn only_what_nobody_needs_is_purged() {
        let mut fixture = Fixture::new();
        let now = fixture.now();
        let later = now.plus(Duration::from_secs(1));
        for registration in [
            registration(MASTODON, "client", now),
            registration(MASTODON, "unused", now),
            registration(MASTODON, "used", later),
            // Their servers chose the same client id.
            registration("https://mastodon.social.evil.example", "client", now),
            registration("https://evil.example", "client", now),
        ] {
            fixture.write(|db| put(db, &registration)).unwrap();
        }
        // Its client id is "client", and its project another one.
        let grant = fixture.new_grant("mastodon", "mastodon.social/s");
        let grant = crate::domain::grant::Grant { project_id: fixture.theirs, ..grant };
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        let needed = [fixture.ours, fixture.theirs].map(|project| count_needed(&fixture.db, project).unwrap());
        assert_eq!(needed, [0, 1]);
        assert_eq!(fixture.write(|db| purge(db, later, 10)).unwrap(), 3);
        assert_eq!(count_all(&fixture.db).unwrap(), 2);
        assert!(find(&fixture.db, "mastodon", MASTODON, "unused").unwrap().is_none());
        assert_eq!(fixture.write(|db| purge(db, later.plus(Duration::from_secs(1)), 10)).unwrap(), 1);
        assert!(find(&fixture.db, "mastodon", MASTODON, "client").unwrap().is_some());
    }
}
