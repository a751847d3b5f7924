//! Callers' own OAuth apps, with sealed secrets. A deleted app stays as a row without its secret, because grants and
//! flows refer to it.

use rusqlite::{Connection, Row, Transaction, named_params};

use super::Error;
use super::columns::{Fields, change, change_one, dek_id, fold, one};
use super::counts::{self, integrations_within};
use super::listing::{Listing, Search};
use crate::domain::id::{OauthAppId, ProjectId};
use crate::domain::integration::PlatformFilter;
use crate::domain::oauth_app::{OauthApp, OauthAppChange};
use crate::domain::paging::{Listed, Window};
use crate::domain::secret::Sealed;
use crate::domain::time::Timestamp;

/// Credentials of an app at its platform.
#[derive(Debug, Clone)]
pub struct AppCredentials {
    pub platform: String,
    pub client_id: String,
    /// Sealed under the app's row and `generation`.
    pub client_secret: Sealed,
    pub generation: u64,
    pub previous: Option<PreviousSecret>,
}

/// The secret that an app had before, which platforms may take for a while yet.
#[derive(Debug, Clone)]
pub struct PreviousSecret {
    /// Sealed as the client secret of the generation before.
    pub secret: Sealed,
    pub until: Timestamp,
}

/// `secret` is sealed under generation 1; the integration count is not stored. [`Error::Conflict`] when the project
/// has an app with that platform and client id.
pub fn insert(db: &Transaction<'_>, project: ProjectId, app: &OauthApp, secret: &Sealed) -> Result<(), Error> {
    change_one(
        db,
        "INSERT INTO oauth_apps (id, project_id, platform, name, name_folded, image_url, client_id, client_secret,
            client_secret_dek_id, generation, created_at, updated_at)
         VALUES (:id, :project, :platform, :name, :name_folded, :image_url, :client_id, :secret, :dek_id, 1,
            :created_at, :updated_at)",
        named_params! {
            ":id": app.id,
            ":project": project,
            ":platform": app.platform,
            ":name": app.name,
            ":name_folded": fold(&app.name),
            ":image_url": app.image_url,
            ":client_id": app.client_id,
            ":secret": secret,
            ":dek_id": dek_id(secret, "oauth_apps", "client_secret", &app.id)?,
            ":created_at": app.created_at,
            ":updated_at": app.updated_at,
        },
    )
}

/// The app, unless it is deleted.
pub fn find(db: &Connection, project: ProjectId, id: OauthAppId) -> Result<Option<OauthApp>, Error> {
    one(
        db,
        &format!(
            "SELECT a.*, {} AS integration_count FROM oauth_apps AS a
             WHERE a.project_id = :project AND a.id = :id AND a.deleted_at IS NULL",
            integrations_within("a")
        ),
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// The app's client id and sealed secret, unless it is deleted.
pub fn find_secret(db: &Connection, project: ProjectId, id: OauthAppId) -> Result<Option<AppCredentials>, Error> {
    one(
        db,
        "SELECT id, platform, client_id, client_secret, generation, previous_secret, previous_until FROM oauth_apps
         WHERE project_id = :project AND id = :id AND deleted_at IS NULL",
        named_params! {":project": project, ":id": id},
        |row| {
            let fields = Fields::of("oauth_apps", row);
            Ok(AppCredentials {
                platform: fields.get("platform")?,
                client_id: fields.get("client_id")?,
                client_secret: fields.get("client_secret")?,
                generation: fields.unsigned("generation")?,
                previous: fields
                    .get::<Option<Sealed>>("previous_secret")?
                    .map(|secret| Ok::<_, Error>(PreviousSecret { secret, until: fields.get("previous_until")? }))
                    .transpose()?,
            })
        },
    )
}

/// Newest first. `contract`: the platforms of [`PlatformFilter::Contract`]. `name`: case-insensitive part of the name.
pub fn list(
    db: &Connection,
    project: ProjectId,
    platforms: &PlatformFilter,
    contract: &[&str],
    name: Option<&str>,
    window: Window,
) -> Result<Listed<OauthApp>, Error> {
    let listing = Listing {
        table: "oauth_apps",
        alias: "a",
        select: &format!("a.*, {} AS integration_count", integrations_within("a")),
        joins: "",
        condition: "AND a.deleted_at IS NULL",
        params: &[],
        within: counts::PROJECT,
        oldest_first: false,
    };
    let is_wanted = |platform: &str| platforms.wants(platform, contract);
    let search = name.map(|name| Search { column: "name_folded", needle: name, or_id: false, only: None });
    listing.window(db, project, is_wanted, search.as_ref(), window, read)
}

/// Keeps the present secret beside the one that [`update`] brings next, in place of one kept before.
/// [`Error::NotChanged`] when there is no such app.
pub fn keep_secret(db: &Transaction<'_>, project: ProjectId, id: OauthAppId, until: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE oauth_apps SET
            previous_secret = client_secret, previous_secret_dek_id = client_secret_dek_id, previous_until = :until
         WHERE project_id = :project AND id = :id AND deleted_at IS NULL",
        named_params! {":project": project, ":id": id, ":until": until},
    )
}

/// Erases up to `limit` kept secrets whose time is over, of every project, and returns their number.
pub fn erase_previous(db: &Transaction<'_>, now: Timestamp, limit: u32) -> Result<usize, Error> {
    change(
        db,
        "UPDATE oauth_apps /* every project */ SET
            previous_secret = NULL, previous_secret_dek_id = NULL, previous_until = NULL
         WHERE id IN (SELECT id FROM oauth_apps WHERE previous_until <= :now ORDER BY previous_until LIMIT :limit)",
        named_params! {":now": now, ":limit": limit},
    )
}

/// A new secret raises the generation by one and must be sealed under the new one: read the present generation with
/// [`find_secret`] in the same write. [`Error::NotChanged`] when there is no such app.
pub fn update(
    db: &Transaction<'_>,
    project: ProjectId,
    id: OauthAppId,
    change: &OauthAppChange,
    now: Timestamp,
) -> Result<(), Error> {
    let secret = change.client_secret.as_ref();
    let dek_id = secret.map(|secret| dek_id(secret, "oauth_apps", "client_secret", &id)).transpose()?;
    change_one(
        db,
        "UPDATE oauth_apps SET
            name = coalesce(:name, name),
            name_folded = coalesce(:name_folded, name_folded),
            image_url = iif(:picture, :image_url, image_url),
            client_secret = coalesce(:secret, client_secret),
            client_secret_dek_id = coalesce(:dek_id, client_secret_dek_id),
            generation = generation + :new_secret,
            updated_at = :now
         WHERE project_id = :project AND id = :id AND deleted_at IS NULL",
        named_params! {
            ":project": project,
            ":id": id,
            ":name": change.name,
            ":name_folded": change.name.as_deref().map(fold),
            ":picture": change.image_url.is_some(),
            ":image_url": change.image_url.as_ref().and_then(Option::as_ref),
            ":secret": secret,
            ":dek_id": dek_id,
            ":new_secret": secret.is_some(),
            ":now": now,
        },
    )
}

/// Erases the secret and hides the app. The caller refuses this while integrations are connected under the app
/// ([`find`], in the same write). [`Error::NotChanged`] when there is no such app.
pub fn delete(db: &Transaction<'_>, project: ProjectId, id: OauthAppId, now: Timestamp) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE oauth_apps SET client_secret = NULL, client_secret_dek_id = NULL, deleted_at = :now,
            previous_secret = NULL, previous_secret_dek_id = NULL, previous_until = NULL
         WHERE project_id = :project AND id = :id AND deleted_at IS NULL",
        named_params! {":project": project, ":id": id, ":now": now},
    )
}

fn read(row: &Row<'_>) -> Result<OauthApp, Error> {
    let fields = Fields::of("oauth_apps", row);
    Ok(OauthApp {
        id: fields.get("id")?,
        platform: fields.get("platform")?,
        name: fields.get("name")?,
        image_url: fields.get("image_url")?,
        client_id: fields.get("client_id")?,
        integration_count: fields.unsigned("integration_count")?,
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::fixture::{ALL, Fixture, sealed};
    use crate::store::grants;

    #[test]
    fn no_other_project_sees_or_changes_an_app() {
        let mut fixture = Fixture::new();
        let id = fixture.app("twitter", "c1");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let before = fixture.dump("oauth_apps");
        assert!(find(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_secret(&fixture.db, theirs, id).unwrap().is_none());
        assert_eq!(list(&fixture.db, theirs, &PlatformFilter::All, &[], None, ALL).unwrap().total, 0);
        let change = OauthAppChange { name: Some("x".to_owned()), ..OauthAppChange::default() };
        assert!(matches!(fixture.write(|db| update(db, theirs, id, &change, now)), Err(Error::NotChanged)));
        assert!(matches!(fixture.write(|db| delete(db, theirs, id, now)), Err(Error::NotChanged)));
        assert_eq!(fixture.dump("oauth_apps"), before);
        assert_eq!(find(&fixture.db, ours, id).unwrap().unwrap().client_id, "c1");
    }

    #[test]
    fn a_client_id_is_in_use_once_per_project_and_platform_until_deleted() {
        let mut fixture = Fixture::new();
        let first = fixture.app("twitter", "c1");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        fixture.app("tiktok", "c1");
        let again = fixture.new_app("twitter", "c1");
        let error = fixture.write(|db| insert(db, ours, &again, &sealed(1)));
        assert!(matches!(error, Err(Error::Conflict(_))), "{error:?}");
        let elsewhere = fixture.new_app("twitter", "c1");
        fixture.write(|db| insert(db, theirs, &elsewhere, &sealed(1))).unwrap();
        fixture.write(|db| delete(db, ours, first, now)).unwrap();
        fixture.write(|db| insert(db, ours, &again, &sealed(1))).unwrap();
    }

    #[test]
    fn only_a_new_secret_raises_the_generation() {
        let mut fixture = Fixture::new();
        let id = fixture.app("twitter", "c1");
        let (ours, now) = (fixture.ours, fixture.later(5));
        let mut change = |change: OauthAppChange| {
            fixture.write(|db| update(db, ours, id, &change, now)).unwrap();
            let secret = find_secret(&fixture.db, ours, id).unwrap().unwrap();
            assert_eq!(secret.client_id, "c1");
            let app = find(&fixture.db, ours, id).unwrap().unwrap();
            assert_eq!(app.updated_at, now);
            (app.name, app.image_url, secret.client_secret, secret.generation)
        };
        let old = || "App c1".to_owned();
        let picture = || Some("https://x.example/i.png".to_owned());
        let nothing = OauthAppChange::default;
        assert_eq!(
            change(OauthAppChange { image_url: Some(picture()), ..nothing() }),
            (old(), picture(), sealed(1), 1)
        );
        let secret = OauthAppChange { client_secret: Some(sealed(2)), ..nothing() };
        assert_eq!(change(secret), (old(), picture(), sealed(2), 2));
        assert_eq!(
            change(OauthAppChange { name: Some("New".to_owned()), ..nothing() }),
            ("New".to_owned(), picture(), sealed(2), 2)
        );
        assert_eq!(
            change(OauthAppChange { image_url: Some(None), ..nothing() }),
            ("New".to_owned(), None, sealed(2), 2)
        );
        let dek: u32 =
            fixture.db.query_row("SELECT client_secret_dek_id FROM oauth_apps", [], |row| row.get(0)).unwrap();
        assert_eq!(dek, 2, "the data key beside the secret is the one inside");
    }

    #[test]
    fn deleting_erases_the_secret() {
        let mut fixture = Fixture::new();
        let id = fixture.app("twitter", "c1");
        let (ours, now) = (fixture.ours, fixture.now());
        fixture.write(|db| delete(db, ours, id, now)).unwrap();
        assert!(find(&fixture.db, ours, id).unwrap().is_none());
        assert!(find_secret(&fixture.db, ours, id).unwrap().is_none());
        let erased: bool =
            fixture.db.query_row("SELECT client_secret IS NULL FROM oauth_apps", [], |row| row.get(0)).unwrap();
        assert!(erased);
        assert!(matches!(fixture.write(|db| delete(db, ours, id, now)), Err(Error::NotChanged)));
    }

    #[test]
    fn a_kept_secret_lasts_until_its_time_is_over() {
        let mut fixture = Fixture::new();
        let id = fixture.app("twitter", "c1");
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.now());
        let until = fixture.later(60);
        let previous = |fixture: &Fixture| {
            find_secret(&fixture.db, ours, id).unwrap().unwrap().previous.map(|kept| (kept.secret, kept.until))
        };
        assert!(matches!(fixture.write(|db| keep_secret(db, theirs, id, until)), Err(Error::NotChanged)));
        fixture.write(|db| keep_secret(db, ours, id, until)).unwrap();
        let change = OauthAppChange { client_secret: Some(sealed(2)), ..OauthAppChange::default() };
        fixture.write(|db| update(db, ours, id, &change, now)).unwrap();
        assert_eq!(previous(&fixture), Some((sealed(1), until)));
        let before = until.minus(std::time::Duration::from_millis(1));
        assert_eq!(fixture.write(|db| erase_previous(db, before, 9)).unwrap(), 0);
        assert_eq!(fixture.write(|db| erase_previous(db, until, 9)).unwrap(), 1);
        assert_eq!(previous(&fixture), None);
        fixture.write(|db| keep_secret(db, ours, id, until)).unwrap();
        fixture.write(|db| delete(db, ours, id, now)).unwrap();
        let kept: u32 = fixture
            .db
            .query_row("SELECT count(*) FROM oauth_apps WHERE previous_secret IS NOT NULL", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 0, "a deleted app keeps no secret");
    }

    #[test]
    fn integrations_are_counted_through_their_grants() {
        let mut fixture = Fixture::new();
        let id = fixture.app("twitter", "c1");
        let other = fixture.app("twitter", "c2");
        let mut grant = fixture.new_grant("twitter", "s");
        grant.app_id = Some(id);
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        let unrelated = fixture.grant("twitter", "s2");
        fixture.integration(unrelated, None, "u0");
        assert_eq!(find(&fixture.db, fixture.ours, id).unwrap().unwrap().integration_count, 0);
        fixture.integration(grant.id, None, "u1");
        fixture.integration(grant.id, None, "u2");
        assert_eq!(find(&fixture.db, fixture.ours, id).unwrap().unwrap().integration_count, 2);
        assert_eq!(find(&fixture.db, fixture.ours, other).unwrap().unwrap().integration_count, 0);
    }

    #[test]
    fn lists_narrow_by_platform_and_name() {
        let mut fixture = Fixture::new();
        for (platform, client) in [("twitter", "Ä1"), ("twitter", "b%"), ("tiktok", "ä2")] {
            fixture.app(platform, client);
        }
        let listed = |platforms: &PlatformFilter, name, window| {
            list(&fixture.db, fixture.ours, platforms, &["twitter"], name, window).unwrap()
        };
        let all = PlatformFilter::All;
        let one = |name: &str| PlatformFilter::One(name.to_owned());
        for (platforms, name, total) in [
            (&all, None, 3),
            (&PlatformFilter::Contract, None, 2),
            (&one("tiktok"), None, 1),
            (&one("twitter"), Some("APP ä"), 1),
            (&all, Some("Ä"), 2),
            (&all, Some("%"), 1),
            (&one("none"), None, 0),
        ] {
            assert_eq!(listed(platforms, name, ALL).total, total, "{platforms:?} {name:?}");
        }
        let newest = listed(&all, None, Window { limit: 1, offset: 0 });
        assert_eq!((newest.items[0].client_id.as_str(), newest.total), ("ä2", 3));
    }

    #[test]
    fn only_sealed_secrets_are_stored() {
        let mut fixture = Fixture::new();
        let (app, ours) = (fixture.new_app("twitter", "c1"), fixture.ours);
        for bytes in [vec![], b"plain".to_vec(), b"a client secret in plain text".to_vec()] {
            assert!(fixture.write(|db| insert(db, ours, &app, &Sealed::from_bytes(bytes.clone()))).is_err());
        }
    }
}
