//! Connect links. A link that has ended stays for a day, so that its page and its maker learn what became of it.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, all, change, change_one, count, json, json_names, one};
use crate::domain::id::{AccessKeyId, IntegrationId, LinkId, ProfileId, ProjectId};
use crate::domain::link::{CONNECTED_MAX, Link};
use crate::domain::secret::{Digest256, RowMac};
use crate::domain::time::Timestamp;

pub fn insert(db: &Transaction<'_>, link: &Link) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO links (id, project_id, access_key_id, profile_id, token, platforms, redirect_uri, connected, created_at,
            expires_at, revoked_at, mac, mac_dek_id)
         VALUES (:id, :project, :access_key, :profile, :token, :platforms, :redirect_uri, :connected, :created_at, :expires_at,
            :revoked_at, :mac, :dek_id)",
        named_params! {
            ":id": link.id,
            ":project": link.project_id,
            ":access_key": link.access_key_id,
            ":profile": link.profile_id,
            ":token": link.token,
            ":platforms": json(&link.platforms)?,
            ":redirect_uri": link.redirect_uri,
            ":connected": json_names(&link.connected)?,
            ":created_at": link.created_at,
            ":expires_at": link.expires_at,
            ":revoked_at": link.revoked_at,
            ":mac": link.mac.map(|mac| mac.code),
            ":dek_id": link.mac.map(|mac| mac.dek_id),
        },
    )
}

pub fn find(db: &Connection, project: ProjectId, id: LinkId) -> Result<Option<Link>, Error> {
    one(
        db,
        "SELECT * FROM links WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// The link with that token, ended ones too. Its page has no access key: the token is the credential, and the link
/// tells its project.
pub fn find_by_token(db: &Connection, token: &Digest256) -> Result<Option<Link>, Error> {
    one(db, "SELECT * FROM links /* every project */ WHERE token = :token", named_params! {":token": token}, read)
}

/// Stores the authentication code of a link's row. [`Error::NotChanged`] when the link is gone or revoked.
pub fn authenticate(db: &Transaction<'_>, project: ProjectId, id: LinkId, mac: &RowMac) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE links SET mac = :mac, mac_dek_id = :dek_id
         WHERE project_id = :project AND id = :id AND revoked_at IS NULL",
        named_params! {":project": project, ":id": id, ":mac": mac.code, ":dek_id": mac.dek_id},
    )
}

/// Links of all projects that are not revoked, oldest first.
pub fn list_unrevoked(db: &Connection) -> Result<Vec<Link>, Error> {
    all(db, "SELECT * FROM links /* every project */ WHERE revoked_at IS NULL ORDER BY id", &[], read)
}

/// Up to `limit` links of all projects, after the first `skip`, whose code was made with an older data key than
/// `active`.
pub fn list_older(db: &Connection, active: u32, skip: u32, limit: u32) -> Result<Vec<Link>, Error> {
    all(
        db,
        "SELECT * FROM links /* every project */ WHERE mac_dek_id < :active ORDER BY mac_dek_id LIMIT :limit OFFSET :skip",
        named_params! {":active": active, ":limit": limit, ":skip": skip},
        read,
    )
}

/// Number of the project's links, ended ones too.
pub fn count_all(db: &Connection, project: ProjectId) -> Result<u64, Error> {
    count(db, "SELECT count(*) FROM links WHERE project_id = :project", named_params! {":project": project})
}

/// Adds what was connected through a link, in the place of the oldest where there are [`CONNECTED_MAX`]. Does nothing
/// when it is there already, or the link is gone.
pub fn add_connected(
    db: &Transaction<'_>,
    project: ProjectId,
    id: LinkId,
    integration: IntegrationId,
) -> Result<(), Error> {
    change(
        db,
        "UPDATE links SET connected = json_insert(
            iif(json_array_length(connected) < :most, connected, json_remove(connected, '$[0]')), '$[#]', :integration)
         WHERE project_id = :project AND id = :id
            AND NOT EXISTS (SELECT 1 FROM json_each(connected) WHERE value = :integration)",
        named_params! {":project": project, ":id": id, ":integration": integration, ":most": CONNECTED_MAX},
    )?;
    Ok(())
}

/// Its authentication code goes with it, so that nobody can bring the link back by erasing the time.
/// [`Error::NotChanged`] when there is no such link, or it is revoked already.
pub fn revoke(db: &Transaction<'_>, project: ProjectId, id: LinkId, now: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE links SET revoked_at = :now, mac = NULL, mac_dek_id = NULL
         WHERE project_id = :project AND id = :id AND revoked_at IS NULL",
        named_params! {":project": project, ":id": id, ":now": now},
    )
}

/// Revokes the links that a key made.
pub(super) fn revoke_of_key(
    db: &Transaction<'_>,
    project: ProjectId,
    key: AccessKeyId,
    now: Timestamp,
) -> Result<(), Error> {
    change(
        db,
        "UPDATE links SET revoked_at = :now, mac = NULL, mac_dek_id = NULL
         WHERE project_id = :project AND access_key_id = :key AND revoked_at IS NULL AND expires_at > :now",
        named_params! {":project": project, ":key": key, ":now": now},
    )?;
    Ok(())
}

/// Revokes the links for a profile.
pub fn revoke_of_profile(
    db: &Transaction<'_>,
    project: ProjectId,
    profile: ProfileId,
    now: Timestamp,
) -> Result<(), Error> {
    change(
        db,
        "UPDATE links SET revoked_at = :now, mac = NULL, mac_dek_id = NULL
         WHERE project_id = :project AND profile_id = :profile AND revoked_at IS NULL AND expires_at > :now",
        named_params! {":project": project, ":profile": profile, ":now": now},
    )?;
    Ok(())
}

/// Deletes up to `limit` links of all projects that ended before that time, and returns their number.
pub fn purge(db: &Transaction<'_>, ended_before: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "DELETE FROM links /* every project */ WHERE rowid IN
            (SELECT rowid FROM links WHERE coalesce(revoked_at, expires_at) < :before
             ORDER BY coalesce(revoked_at, expires_at) LIMIT :limit)",
        named_params! {":before": ended_before, ":limit": limit},
    )
}

/// Deletes the project's links that have ended, at once. Returns their number.
pub fn purge_ended(db: &Transaction<'_>, project: ProjectId, now: Timestamp) -> Result<usize, Error> {
    change(
        db,
        "DELETE FROM links WHERE project_id = :project AND coalesce(revoked_at, expires_at) <= :now",
        named_params! {":project": project, ":now": now},
    )
}

fn read(row: &Row<'_>) -> Result<Link, Error> {
    let fields = Fields::of("links", row);
    Ok(Link {
        id: fields.get("id")?,
        project_id: fields.get("project_id")?,
        access_key_id: fields.get("access_key_id")?,
        profile_id: fields.get("profile_id")?,
        token: fields.get("token")?,
        platforms: fields.json("platforms")?,
        redirect_uri: fields.get("redirect_uri")?,
        connected: fields.parsed_list("connected")?,
        created_at: fields.get("created_at")?,
        expires_at: fields.get("expires_at")?,
        revoked_at: fields.get("revoked_at")?,
        mac: fields.mac()?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::link::LinkStatus;
    use crate::store::fixture::Fixture;

    fn link(fixture: &mut Fixture, token: &str, profile_id: Option<ProfileId>) -> Link {
        let now = fixture.now();
        let link = Link {
            id: fixture.id(),
            project_id: fixture.ours,
            access_key_id: None,
            token: Digest256::of(token.as_bytes()),
            profile_id,
            platforms: vec!["bluesky".to_owned(), "twitter".to_owned()],
            redirect_uri: Some("https://app.example/done?nonce=1".to_owned()),
            connected: Vec::new(),
            created_at: now,
            expires_at: now.plus(Duration::from_mins(10)),
            revoked_at: None,
            mac: None,
        };
        fixture.write(|db| insert(db, &link)).unwrap();
        link
    }

    #[test]
    fn a_link_comes_back_as_it_was_stored_with_what_was_connected_once_each() {
        let mut fixture = Fixture::new();
        let profile = fixture.profile("p");
        let link = link(&mut fixture, "a", Some(profile));
        let ours = fixture.ours;
        assert_eq!(find(&fixture.db, ours, link.id).unwrap().as_ref(), Some(&link));
        assert_eq!(find_by_token(&fixture.db, &link.token).unwrap().as_ref(), Some(&link));
        assert!(find_by_token(&fixture.db, &Digest256::of(b"b")).unwrap().is_none());
        let [one, two]: [IntegrationId; 2] = [fixture.id(), fixture.id()];
        for id in [two, one, two] {
            fixture.write(|db| add_connected(db, ours, link.id, id)).unwrap();
        }
        assert_eq!(find(&fixture.db, ours, link.id).unwrap().unwrap().connected, [two, one]);
    }

    #[test]
    fn a_link_remembers_so_many_accounts() {
        let mut fixture = Fixture::new();
        let link = link(&mut fixture, "a", None);
        let ours = fixture.ours;
        let ids: Vec<IntegrationId> = (0..=CONNECTED_MAX).map(|_| fixture.id()).collect();
        for id in &ids {
            fixture.write(|db| add_connected(db, ours, link.id, *id)).unwrap();
        }
        assert_eq!(find(&fixture.db, ours, link.id).unwrap().unwrap().connected, ids[1..]);
    }

    #[test]
    fn no_other_project_sees_or_changes_a_link() {
        let mut fixture = Fixture::new();
        let profile = fixture.profile("p");
        let link = link(&mut fixture, "a", Some(profile));
        let (theirs, now, integration) = (fixture.theirs, fixture.now(), fixture.id());
        let before = fixture.dump("links");
        assert!(find(&fixture.db, theirs, link.id).unwrap().is_none());
        assert_eq!(count_all(&fixture.db, theirs).unwrap(), 0);
        assert!(matches!(fixture.write(|db| revoke(db, theirs, link.id, now)), Err(Error::NotChanged)));
        fixture.write(|db| add_connected(db, theirs, link.id, integration)).unwrap();
        fixture.write(|db| revoke_of_profile(db, theirs, profile, now)).unwrap();
        fixture.write(|db| purge_ended(db, theirs, link.expires_at)).unwrap();
        assert_eq!(fixture.dump("links"), before);
    }

    #[test]
    fn links_end_by_hand_with_their_profile_and_by_themselves() {
        let mut fixture = Fixture::new();
        let profile = fixture.profile("p");
        let by_hand = link(&mut fixture, "a", None);
        let of_profile = link(&mut fixture, "b", Some(profile));
        let left = link(&mut fixture, "c", None);
        let (ours, now) = (fixture.ours, fixture.later(60));
        fixture.write(|db| revoke(db, ours, by_hand.id, now)).unwrap();
        assert!(matches!(fixture.write(|db| revoke(db, ours, by_hand.id, now)), Err(Error::NotChanged)));
        fixture.write(|db| revoke_of_profile(db, ours, profile, now)).unwrap();
        let status = |fixture: &Fixture, link: &Link| find(&fixture.db, ours, link.id).unwrap().unwrap().status(now);
        let all = [&by_hand, &of_profile, &left].map(|link| status(&fixture, link));
        assert_eq!(all, [LinkStatus::Revoked, LinkStatus::Revoked, LinkStatus::Open]);

        let later = now.plus(Duration::from_secs(1));
        assert_eq!(fixture.write(|db| purge(db, now, 10)).unwrap(), 0, "they ended just now");
        assert_eq!(fixture.write(|db| purge(db, later, 1)).unwrap(), 1);
        assert_eq!(fixture.write(|db| purge_ended(db, ours, now)).unwrap(), 1);
        assert_eq!(count_all(&fixture.db, ours).unwrap(), 1);
        let expired = left.expires_at.plus(Duration::from_secs(1));
        assert_eq!(fixture.write(|db| purge(db, expired, 10)).unwrap(), 1);
    }
}
