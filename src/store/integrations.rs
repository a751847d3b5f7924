//! Integrations: connected accounts. The app and the expiry of one are its grant's, and so is its status while the
//! grant is not active: joined, not stored twice.

mod health;
mod list;
mod own;
mod tokens;

use std::sync::LazyLock;

use rusqlite::{Connection, Row, Transaction, named_params};

use super::columns::{Fields, all, change_one, fold, json, one, signed};
use super::grants::read_status;
use super::{Error, token_reads};
use crate::domain::account::Account;
use crate::domain::id::{GrantId, IntegrationId, OauthAppId, ProfileId, ProjectId};
use crate::domain::integration::{AppSummary, Integration, IntegrationDetail, OwnTokens};
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::renewal::Renewal;
use crate::domain::time::Timestamp;

pub use health::{COUNTED, count_failing, list_by_health, list_newest};
pub use list::list;
use own::own_dek_id;
pub use own::{erase_ended, find_own_tokens, list_ended, renew, set_status};
#[cfg(test)]
pub(super) use tokens::FIND_TOKENS;
pub use tokens::find_tokens;

/// In the order in which [`read`] reads them.
const SELECT: &str = "i.tokens IS NOT NULL AS has_own_tokens, a.id AS app_id, a.name AS app_name,
    a.image_url AS app_image_url, i.id, i.grant_id, i.profile_id, i.platform, i.platform_user_id, i.username,
    i.display_name, i.profile_url, i.image_url, i.metadata, g.status AS grant_status,
    g.failure_reason AS grant_failure_reason, i.status, i.failure_reason, g.renewal, g.access_expires_at,
    g.refresh_expires_at, i.created_at, i.updated_at";

/// In the order in which [`read_detail`] reads them.
const SELECT_DETAIL: &str = "g.access_expires_at, g.refresh_expires_at, g.scopes, g.requested_scopes, g.issued_at,
    g.due_at, g.trouble, g.in_doubt, g.consented_at, g.ended_at";

const JOINS: &str = "JOIN grants AS g ON g.project_id = i.project_id AND g.id = i.grant_id
    LEFT JOIN oauth_apps AS a ON a.project_id = g.project_id AND a.id = g.app_id";

/// The account's integration under that profile; `None`: without a profile.
pub fn find_by_account(
    db: &Connection,
    project: ProjectId,
    profile: Option<ProfileId>,
    platform: &str,
    platform_user_id: &str,
) -> Result<Option<Integration>, Error> {
    one(
        db,
        &format!(
            "SELECT {SELECT} FROM integrations AS i {JOINS}
             WHERE i.project_id = :project AND coalesce(i.profile_id, '') = coalesce(:profile, '')
                AND i.platform = :platform AND i.platform_user_id = :user"
        ),
        named_params! {":project": project, ":profile": profile, ":platform": platform, ":user": platform_user_id},
        read,
    )
}

/// The oldest integration under that profile whose account's id ends like this, for ids that begin with a parent's,
/// which may change. Looks at every account of the platform there.
pub fn find_by_ending(
    db: &Connection,
    project: ProjectId,
    profile: Option<ProfileId>,
    platform: &str,
    ending: &str,
) -> Result<Option<Integration>, Error> {
    one(
        db,
        &format!(
            "SELECT {SELECT} FROM integrations AS i {JOINS}
             WHERE i.project_id = :project AND coalesce(i.profile_id, '') = coalesce(:profile, '')
                AND i.platform = :platform AND substr(i.platform_user_id, -length(:ending)) = :ending
             ORDER BY i.id LIMIT 1"
        ),
        named_params! {":project": project, ":profile": profile, ":platform": platform, ":ending": ending},
        read,
    )
}

/// A new integration is active, if its grant is: `app`, `status` and `lapses_at` are the grant's and not stored.
/// [`Error::Conflict`] when the account is connected under that profile already.
pub fn insert(
    db: &Transaction<'_>,
    project: ProjectId,
    integration: &Integration,
    own: &OwnTokens,
) -> Result<(), Error> {
    let account = &integration.account;
    change_one(
        db,
        "INSERT INTO integrations (id, project_id, grant_id, profile_id, platform, platform_user_id, username,
            display_name, profile_url, image_url, metadata, search, tokens, tokens_dek_id, generation, status,
            failure_reason, created_at, updated_at)
         VALUES (:id, :project, :grant, :profile, :platform, :user, :username, :display_name, :profile_url, :image_url,
            :metadata, :search, :tokens, :dek_id, :generation, 'active', NULL, :created_at, :updated_at)",
        named_params! {
            ":id": integration.id,
            ":project": project,
            ":grant": integration.grant_id,
            ":profile": integration.profile_id,
            ":platform": integration.platform,
            ":user": account.platform_user_id,
            ":username": account.username,
            ":display_name": account.display_name,
            ":profile_url": account.profile_url,
            ":image_url": account.image_url,
            ":metadata": json(&account.metadata)?,
            ":search": search_text(account),
            ":tokens": own.tokens,
            ":dek_id": own_dek_id(own, integration.id)?,
            ":generation": signed(own.generation),
            ":created_at": integration.created_at,
            ":updated_at": integration.updated_at,
        },
    )
}

/// Stores what the platform says of the account now, and the grant that it uses now. The integration keeps its id.
/// [`Error::NotChanged`] when there is no such integration, or it is another account's.
pub fn update_account(
    db: &Transaction<'_>,
    project: ProjectId,
    id: IntegrationId,
    account: &Account,
    grant: GrantId,
    now: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE integrations SET
            grant_id = :grant,
            username = :username,
            display_name = :display_name,
            profile_url = :profile_url,
            image_url = :image_url,
            metadata = :metadata,
            search = :search,
            updated_at = :now
         WHERE project_id = :project AND id = :id AND platform_user_id = :user",
        named_params! {
            ":project": project,
            ":id": id,
            ":user": account.platform_user_id,
            ":grant": grant,
            ":username": account.username,
            ":display_name": account.display_name,
            ":profile_url": account.profile_url,
            ":image_url": account.image_url,
            ":metadata": json(&account.metadata)?,
            ":search": search_text(account),
            ":now": now,
        },
    )
}

/// Integrations that use a grant, oldest first.
pub fn list_on_grant(db: &Connection, project: ProjectId, grant: GrantId) -> Result<Vec<Integration>, Error> {
    all(
        db,
        &format!(
            "SELECT {SELECT} FROM integrations AS i {JOINS} WHERE i.project_id = :project AND i.grant_id = :grant ORDER BY i.id"
        ),
        named_params! {":project": project, ":grant": grant},
        read,
    )
}

pub fn find(db: &Connection, project: ProjectId, id: IntegrationId) -> Result<Option<Integration>, Error> {
    one(db, &FIND, named_params! {":project": project, ":id": id}, read)
}

/// The integration with what its grant says of the tokens, and the keys that read them.
pub fn find_detail(db: &Connection, project: ProjectId, id: IntegrationId) -> Result<Option<IntegrationDetail>, Error> {
    let detail = one(db, &FIND_DETAIL, named_params! {":project": project, ":id": id}, read_detail)?;
    detail.map(|detail| Ok(IntegrationDetail { reads: token_reads::list(db, project, id)?, ..detail })).transpose()
}

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!("SELECT {SELECT} FROM integrations AS i {JOINS} WHERE i.project_id = :project AND i.id = :id")
});

static FIND_DETAIL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {SELECT}, {SELECT_DETAIL} FROM integrations AS i {JOINS} WHERE i.project_id = :project AND i.id = :id"
    )
});

/// Moves an integration to another profile; `None`: out of any. [`Error::Conflict`] when the account is connected there
/// already, [`Error::NotChanged`] when there is no such integration.
pub fn move_to_profile(
    db: &Transaction<'_>,
    project: ProjectId,
    id: IntegrationId,
    profile: Option<ProfileId>,
    now: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE integrations SET profile_id = :profile, updated_at = :now WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id, ":profile": profile, ":now": now},
    )
}

/// [`Error::NotChanged`] when there is no such integration. The grant stays: see
/// [`delete_if_unused`](super::grants::delete_if_unused).
pub fn delete(db: &Transaction<'_>, project: ProjectId, id: IntegrationId) -> Result<(), Error> {
    change_one(
        db,
        "DELETE FROM integrations WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
    )
}

pub(super) fn search_text(account: &Account) -> String {
    let texts = [account.display_name.as_deref(), account.username.as_deref(), Some(account.platform_user_id.as_str())];
    fold(&texts.into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

fn read(row: &Row<'_>) -> Result<Integration, Error> {
    read_fields(&Fields::in_order("integrations", row)).map(|(integration, _)| integration)
}

/// The state that an integration has beside its grant.
struct Own {
    has_tokens: bool,
    /// How the grant is renewed.
    renewal: Renewal,
    /// True when the latest consent does not cover the account, while others live on the grant.
    is_lost: bool,
}

fn read_fields(fields: &Fields<'_, '_>) -> Result<(Integration, Own), Error> {
    let has_tokens: bool = fields.get("has_own_tokens")?;
    let id: Option<OauthAppId> = fields.get("app_id")?;
    let (name, image_url): (Option<String>, _) = (fields.get("app_name")?, fields.get("app_image_url")?);
    let app = id.zip(name).map(|(id, name)| AppSummary { id, name, image_url });
    let (id, grant_id) = (fields.get("id")?, fields.get("grant_id")?);
    let (profile_id, platform) = (fields.get("profile_id")?, fields.get("platform")?);
    let account = Account {
        platform_user_id: fields.get("platform_user_id")?,
        username: fields.get("username")?,
        display_name: fields.get("display_name")?,
        profile_url: fields.get("profile_url")?,
        image_url: fields.get("image_url")?,
        metadata: fields.json("metadata")?,
    };
    let of_grant = read_status(fields, "grant_status", "grant_failure_reason")?;
    let status = of_grant.of_account(read_status(fields, "status", "failure_reason")?);
    let renewal: Renewal = fields.parsed("renewal")?;
    let integration = Integration {
        id,
        grant_id,
        profile_id,
        platform,
        account,
        app,
        status,
        lapses_at: renewal
            .lapses_at(fields.get("access_expires_at")?, fields.get("refresh_expires_at")?)
            .filter(|_| !has_tokens),
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    };
    Ok((integration, Own { has_tokens, renewal, is_lost: status != of_grant }))
}

fn read_detail(row: &Row<'_>) -> Result<IntegrationDetail, Error> {
    let fields = Fields::in_order("integrations", row);
    let (mut integration, own) = read_fields(&fields)?;
    let lost = own.is_lost.then(|| RefreshFailure::of_lost_account(integration.updated_at));
    let access_expires_at = fields.get::<Option<_>>("access_expires_at")?.filter(|_| !own.has_tokens);
    let refresh_expires_at = fields.get("refresh_expires_at")?;
    let (scopes, requested_scopes) = (fields.json("scopes")?, fields.json("requested_scopes")?);
    let issued_at = fields.get("issued_at")?;
    let due_at = fields.get::<Option<_>>("due_at")?.filter(|_| !own.is_lost);
    let (trouble, is_in_doubt) = (fields.json_if_any("trouble")?, fields.get("in_doubt")?);
    // The end of a grant, or a new consent to it, changes the status of all its accounts.
    let consented_at: Timestamp = fields.get("consented_at")?;
    let ended_at: Option<Timestamp> = fields.get("ended_at")?;
    integration.updated_at = integration.updated_at.max(consented_at).max(ended_at.unwrap_or(consented_at));
    Ok(IntegrationDetail {
        integration,
        scopes,
        requested_scopes,
        access_expires_at,
        refresh_expires_at,
        issued_at,
        renewal: own.renewal,
        due_at,
        trouble: lost.or(trouble),
        is_in_doubt,
        reads: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::grant::{AuthStatus, FailureReason, Grant};
    use crate::domain::integration::IntegrationFilter;
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::store::fixture::{ALL, Fixture, NO_TOKENS, account};
    use crate::store::grants;

    fn count_found(fixture: &Fixture, project: ProjectId, text: &str) -> u64 {
        let filter = IntegrationFilter { search: Some(text.to_owned()), ..IntegrationFilter::default() };
        list(&fixture.db, project, &filter, &["twitter"], ALL).unwrap().total
    }

    #[test]
    fn an_integration_comes_back_with_its_grant_and_app() {
        let mut fixture = Fixture::new();
        let app = fixture.app("twitter", "c1");
        let profile = fixture.profile("p");
        let mut grant = fixture.new_grant("twitter", "s");
        grant.app_id = Some(app);
        grant.status = AuthStatus::ReconnectRequired(FailureReason::RefreshRejected);
        grant.refresh_expires_at = Some(fixture.now());
        (grant.ended_at, grant.due_at) = (Some(fixture.now()), None);
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        let stored = fixture.integration(grant.id, Some(profile), "u");
        let detail = find_detail(&fixture.db, fixture.ours, stored.id).unwrap().unwrap();
        let found = &detail.integration;
        assert_eq!(found.status, grant.status);
        let summary = found.app.as_ref().unwrap();
        assert_eq!((summary.id, summary.name.as_str()), (app, "App c1"));
        assert_eq!(found.account, stored.account);
        assert_eq!((found.grant_id, found.profile_id), (grant.id, Some(profile)));
        assert_eq!((found.created_at, found.updated_at), (stored.created_at, stored.updated_at));
        assert_eq!((&detail.scopes, &detail.requested_scopes), (&grant.scopes, &grant.requested_scopes));
        assert_eq!(detail.access_expires_at, grant.access_expires_at);
        assert_eq!(detail.refresh_expires_at, grant.refresh_expires_at);
        let plain = find(&fixture.db, fixture.ours, stored.id).unwrap().unwrap();
        assert_eq!(format!("{plain:?}"), format!("{found:?}"));
    }

    #[test]
    fn no_other_project_sees_or_changes_an_integration() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let id = fixture.integration(grant, None, "u").id;
        let (theirs, now) = (fixture.theirs, fixture.later(5));
        let before = fixture.dump("integrations");
        assert!(find(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_detail(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_by_account(&fixture.db, theirs, None, "twitter", "u").unwrap().is_none());
        assert_eq!(count_found(&fixture, theirs, &id.to_string()), 0);
        for refused in [
            fixture.write(|db| move_to_profile(db, theirs, id, None, now)),
            fixture.write(|db| update_account(db, theirs, id, &account("u"), grant, now)),
            fixture.write(|db| delete(db, theirs, id)),
        ] {
            assert!(matches!(refused, Err(Error::NotChanged)), "{refused:?}");
        }
        assert_eq!(fixture.dump("integrations"), before);
    }

    #[test]
    fn no_integration_points_into_another_project() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let profile = fixture.profile("p");
        let theirs = fixture.theirs;
        let foreign = Grant { project_id: theirs, ..fixture.new_grant("twitter", "t") };
        fixture.write(|db| grants::insert(db, &foreign)).unwrap();
        let mut added = |grant, profile| {
            let integration = fixture.new_integration(grant, profile, "u");
            fixture.write(|db| insert(db, theirs, &integration, &NO_TOKENS)).map(|()| integration.id)
        };
        assert!(added(grant, None).is_err(), "a grant of ours");
        assert!(added(foreign.id, Some(profile)).is_err(), "a profile of ours");
        let id = added(foreign.id, None).unwrap();
        let now = fixture.now();
        assert!(fixture.write(|db| move_to_profile(db, theirs, id, Some(profile), now)).is_err());
    }

    #[test]
    fn an_account_is_connected_once_per_profile_and_once_without() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let profile = fixture.profile("p");
        let (ours, now) = (fixture.ours, fixture.later(5));
        let without = fixture.integration(grant, None, "u");
        let under = fixture.integration(grant, Some(profile), "u");
        for profile in [None, Some(profile)] {
            let again = fixture.new_integration(grant, profile, "u");
            let error = fixture.write(|db| insert(db, ours, &again, &NO_TOKENS));
            assert!(
                matches!(&error, Err(Error::Conflict(name)) if name.contains("integrations_by_account")),
                "{error:?}"
            );
        }
        let found = |fixture: &Fixture, profile| {
            find_by_account(&fixture.db, ours, profile, "twitter", "u").unwrap().map(|integration| integration.id)
        };
        assert_eq!(found(&fixture, None), Some(without.id));
        assert_eq!(found(&fixture, Some(profile)), Some(under.id));
        assert!(find_by_account(&fixture.db, ours, None, "tiktok", "u").unwrap().is_none());
        assert!(find_by_account(&fixture.db, ours, None, "twitter", "U").unwrap().is_none());

        let taken = fixture.write(|db| move_to_profile(db, ours, without.id, Some(profile), now));
        assert!(matches!(taken, Err(Error::Conflict(_))), "{taken:?}");
        let free = fixture.profile("q");
        fixture.write(|db| move_to_profile(db, ours, without.id, Some(free), now)).unwrap();
        assert_eq!(found(&fixture, None), None);
        assert_eq!(found(&fixture, Some(free)), Some(without.id));
        assert_eq!(find(&fixture.db, ours, without.id).unwrap().unwrap().updated_at, now);
        fixture.write(|db| move_to_profile(db, ours, under.id, None, now)).unwrap();
        assert_eq!(found(&fixture, None), Some(under.id));
    }

    #[test]
    fn an_account_is_found_by_the_unique_index() {
        let fixture = Fixture::new();
        let plan: String = fixture
            .db
            .query_row(
                "EXPLAIN QUERY PLAN SELECT id FROM integrations AS i
                 WHERE i.project_id = 'a' AND coalesce(i.profile_id, '') = coalesce(NULL, '')
                    AND i.platform = 'b' AND i.platform_user_id = 'c'",
                [],
                |row| row.get("detail"),
            )
            .unwrap();
        assert!(plan.contains("integrations_by_account"), "{plan}");
    }

    #[test]
    fn reconnecting_keeps_the_id_and_updates_the_account() {
        let mut fixture = Fixture::new();
        let [old, new] = ["s", "t"].map(|subject| fixture.grant("twitter", subject));
        let id = fixture.integration(old, None, "u").id;
        let (ours, now) = (fixture.ours, fixture.later(5));
        let mut changed = account("u");
        changed.display_name = Some("Renamed".to_owned());
        changed.username = None;
        changed.metadata.clear();
        fixture.write(|db| update_account(db, ours, id, &changed, new, now)).unwrap();
        let found = find(&fixture.db, ours, id).unwrap().unwrap();
        assert_eq!((&found.account, found.grant_id, found.updated_at), (&changed, new, now));
        assert!(found.created_at < now);
        assert_eq!(count_found(&fixture, ours, "renamed"), 1);
        assert_eq!(count_found(&fixture, ours, "name of"), 0, "the old name is not searched any more");
        let other = fixture.write(|db| update_account(db, ours, id, &account("v"), new, now));
        assert!(matches!(other, Err(Error::NotChanged)), "an integration never becomes another account's");
    }

    #[test]
    fn the_end_of_a_grant_and_a_new_consent_are_changes_of_its_accounts() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let id = fixture.integration(grant, None, "u").id;
        let (ours, ended, renewed) = (fixture.ours, fixture.later(5), fixture.later(9));
        let trouble = RefreshFailure {
            kind: Failure::RefreshRejected,
            status: None,
            platform_code: None,
            at: ended,
            backup_taken_at: None,
            refused_alone: None,
        };
        let updated_at =
            |fixture: &Fixture| find_detail(&fixture.db, ours, id).unwrap().unwrap().integration.updated_at;
        let found = grants::find(&fixture.db, ours, grant).unwrap().unwrap();
        assert!(updated_at(&fixture) < ended);
        let reason = FailureReason::AccessRevoked;
        let end = |grant: Grant| grant.ended(reason, trouble);
        fixture.write(|db| grants::change(db, ours, grant, found.generation, end)).unwrap();
        assert_eq!(updated_at(&fixture), ended);
        let next = Grant { consented_at: renewed, generation: found.generation + 1, ..found.clone() };
        fixture.write(|db| grants::renew(db, &next, found.generation)).unwrap();
        assert_eq!(updated_at(&fixture), renewed, "by another account's connection");
    }

    #[test]
    fn deleting_an_integration_leaves_its_grant_which_cannot_go_first() {
        let mut fixture = Fixture::new();
        let (grant, ours) = (fixture.grant("twitter", "s"), fixture.ours);
        let id = fixture.integration(grant, None, "u").id;
        assert!(fixture.db.execute("DELETE FROM grants", []).is_err(), "an integration without tokens");
        fixture.write(|db| delete(db, ours, id)).unwrap();
        assert!(find(&fixture.db, ours, id).unwrap().is_none());
        assert!(grants::find(&fixture.db, ours, grant).unwrap().is_some());
        assert!(matches!(fixture.write(|db| delete(db, ours, id)), Err(Error::NotChanged)));
    }
}
