//! Connected accounts. Their app is their grant's, and their status where that is not active: joined, not stored twice.
//! Of their own they have a status (a person can lose one Page of several) and, some of them, tokens.

use rusqlite::types::ToSql;
use rusqlite::{Connection, Row, Transaction, named_params};

use super::columns::{Fields, Listing, all, change_one, dek_id, fold, json, one, signed};
use super::grants::{read_renewal, read_status, status_columns};
use super::{Error, token_reads};
use crate::domain::account::Account;
use crate::domain::grant::AuthStatus;
use crate::domain::id::{GrantId, IntegrationId, ProfileId, ProjectId};
use crate::domain::integration::{
    AppSummary, Integration, IntegrationDetail, IntegrationFilter, OwnTokens, PlatformFilter,
};
use crate::domain::paging::{Listed, Window};
use crate::domain::time::Timestamp;

const SELECT: &str = "i.id, i.grant_id, i.profile_id, i.platform, i.platform_user_id, i.username, i.display_name,
    i.profile_url, i.image_url, i.metadata, i.created_at, i.updated_at,
    iif(g.status = 'active', i.status, g.status) AS status,
    iif(g.status = 'active', i.failure_reason, g.failure_reason) AS failure_reason,
    i.tokens IS NOT NULL AS has_own_tokens,
    g.scopes, g.access_expires_at, g.refresh_expires_at, g.renewal, g.issued_at, g.due_at, g.trouble,
    g.in_doubt, g.attempt_at,
    a.id AS app_id, a.name AS app_name, a.image_url AS app_image_url";

const JOINS: &str = "JOIN grants AS g ON g.project_id = i.project_id AND g.id = i.grant_id
    LEFT JOIN oauth_apps AS a ON a.project_id = g.project_id AND a.id = g.app_id";

/// The account's integration under that profile (`None`: under none).
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

/// A new one is active, as far as it goes: `app` and `status` of the integration are not stored, but the grant's.
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

/// What the platform says of the account now, and the grant it now lives on. The account's id stays.
/// [`Error::NotChanged`] when there is no such integration, or it is of another account.
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

/// The account's own tokens; a generation without any where it has none.
pub fn find_own_tokens(db: &Connection, project: ProjectId, id: IntegrationId) -> Result<Option<OwnTokens>, Error> {
    one(
        db,
        "SELECT id, generation, tokens FROM integrations WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
        |row| {
            let fields = Fields::of("integrations", row);
            Ok(OwnTokens { generation: fields.unsigned("generation")?, tokens: fields.get("tokens")? })
        },
    )
}

/// What came for the account when its person consented anew: it is active again, as far as it goes, with `renewed`'s
/// tokens or without. [`Error::NotChanged`] when it is gone, its generation is not `expected` any more, or the new one is
/// not higher.
pub fn renew(
    db: &Transaction<'_>,
    project: ProjectId,
    id: IntegrationId,
    renewed: &OwnTokens,
    expected: u64,
    now: Timestamp,
) -> Result<(), Error> {
    change_one(
        db,
        "UPDATE integrations SET
            tokens = :tokens,
            tokens_dek_id = :dek_id,
            generation = :generation,
            status = 'active',
            failure_reason = NULL,
            updated_at = :now
         WHERE project_id = :project AND id = :id AND generation = :expected AND generation < :generation",
        named_params! {
            ":project": project,
            ":id": id,
            ":tokens": renewed.tokens,
            ":dek_id": own_dek_id(renewed, id)?,
            ":generation": signed(renewed.generation),
            ":expected": signed(expected),
            ":now": now,
        },
    )
}

/// Records that the account cannot be used although its grant can, or that it can again. [`Error::NotChanged`] when there
/// is no such integration.
pub fn set_status(
    db: &Transaction<'_>,
    project: ProjectId,
    id: IntegrationId,
    status: AuthStatus,
    now: Timestamp,
) -> Result<(), Error> {
    let (status, reason) = status_columns(status);
    change_one(
        db,
        "UPDATE integrations SET status = :status, failure_reason = :reason, updated_at = :now
         WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id, ":status": status, ":reason": reason, ":now": now},
    )
}

/// Those that live on a grant, oldest first.
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
    find_with(db, project, id, read)
}

/// With what the grant says of its tokens, and who read them.
pub fn find_detail(db: &Connection, project: ProjectId, id: IntegrationId) -> Result<Option<IntegrationDetail>, Error> {
    let detail = find_with(db, project, id, read_detail)?;
    detail.map(|detail| Ok(IntegrationDetail { reads: token_reads::list(db, project, id)?, ..detail })).transpose()
}

fn find_with<T>(
    db: &Connection,
    project: ProjectId,
    id: IntegrationId,
    read: fn(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    one(
        db,
        &format!("SELECT {SELECT} FROM integrations AS i {JOINS} WHERE i.project_id = :project AND i.id = :id"),
        named_params! {":project": project, ":id": id},
        read,
    )
}

/// Newest first, or oldest first when the filter says so. `contract`: the names that [`PlatformFilter::Contract`] means.
pub fn list(
    db: &Connection,
    project: ProjectId,
    filter: &IntegrationFilter,
    contract: &[&str],
    window: Window,
) -> Result<Listed<Integration>, Error> {
    // Only the conditions that are asked for, so that each shape finds its own index.
    let mut condition = "i.project_id = :project".to_owned();
    let mut params: Vec<(&str, &dyn ToSql)> = vec![(":project", &project)];
    let names;
    match &filter.platforms {
        PlatformFilter::All => {}
        PlatformFilter::Contract => {
            names = json(&contract)?;
            condition.push_str(" AND i.platform IN (SELECT value FROM json_each(:platforms))");
            params.push((":platforms", &names));
        }
        PlatformFilter::One(name) => {
            condition.push_str(" AND i.platform = :platform");
            params.push((":platform", name));
        }
    }
    if let Some(profile) = &filter.profile_id {
        condition.push_str(" AND i.profile_id IS :profile");
        params.push((":profile", profile));
    }
    let needle;
    if let Some(search) = &filter.search {
        needle = fold(search);
        condition.push_str(" AND (instr(i.search, :needle) > 0 OR i.id = :search)");
        params.extend([(":needle", &needle as &dyn ToSql), (":search", search)]);
    }
    let order = if filter.oldest_first { "i.id" } else { "i.id DESC" };
    let listing = Listing { select: SELECT, from: "integrations AS i", joins: JOINS, condition: &condition, order };
    listing.window(db, &params, window, read)
}

/// Under another profile, or under none. [`Error::Conflict`] when the account is connected there already,
/// [`Error::NotChanged`] when there is no such integration.
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

/// [`Error::NotChanged`] when there is no such integration. Its grant stays: see
/// [`delete_if_unused`](super::grants::delete_if_unused).
pub fn delete(db: &Transaction<'_>, project: ProjectId, id: IntegrationId) -> Result<(), Error> {
    change_one(
        db,
        "DELETE FROM integrations WHERE project_id = :project AND id = :id",
        named_params! {":project": project, ":id": id},
    )
}

fn own_dek_id(own: &OwnTokens, id: IntegrationId) -> Result<Option<u32>, Error> {
    own.tokens.as_ref().map(|tokens| dek_id(tokens, "integrations", "tokens", &id)).transpose()
}

fn search_text(account: &Account) -> String {
    let texts = [account.display_name.as_deref(), account.username.as_deref(), Some(account.platform_user_id.as_str())];
    fold(&texts.into_iter().flatten().collect::<Vec<_>>().join("\n"))
}

fn read(row: &Row<'_>) -> Result<Integration, Error> {
    let fields = Fields::of("integrations", row);
    let app = match fields.get("app_id")? {
        None => None,
        Some(id) => Some(AppSummary { id, name: fields.get("app_name")?, image_url: fields.get("app_image_url")? }),
    };
    Ok(Integration {
        id: fields.get("id")?,
        grant_id: fields.get("grant_id")?,
        profile_id: fields.get("profile_id")?,
        platform: fields.get("platform")?,
        account: Account {
            platform_user_id: fields.get("platform_user_id")?,
            username: fields.get("username")?,
            display_name: fields.get("display_name")?,
            profile_url: fields.get("profile_url")?,
            image_url: fields.get("image_url")?,
            metadata: fields.json("metadata")?,
        },
        app,
        status: read_status(&fields)?,
        lapses_at: if fields.get("has_own_tokens")? {
            None
        } else {
            read_renewal(&fields)?.lapses_at(fields.get("access_expires_at")?, fields.get("refresh_expires_at")?)
        },
        created_at: fields.get("created_at")?,
        updated_at: fields.get("updated_at")?,
    })
}

fn read_detail(row: &Row<'_>) -> Result<IntegrationDetail, Error> {
    let fields = Fields::of("grants", row);
    Ok(IntegrationDetail {
        integration: read(row)?,
        scopes: fields.json("scopes")?,
        access_expires_at: if fields.get("has_own_tokens")? { None } else { fields.get("access_expires_at")? },
        refresh_expires_at: fields.get("refresh_expires_at")?,
        renewal: read_renewal(&fields)?,
        issued_at: fields.get("issued_at")?,
        due_at: fields.get("due_at")?,
        trouble: fields.json_if_any("trouble")?,
        is_in_doubt: fields.get("in_doubt")?,
        reads: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::grant::FailureReason;
    use crate::domain::trouble::{Trouble, TroubleKind};
    use crate::store::fixture::{ALL, Fixture, NO_TOKENS, account, sealed};
    use crate::store::{grants, refreshes};

    const CONTRACT: [&str; 2] = ["tiktok", "twitter"];

    fn users(fixture: &Fixture, filter: &IntegrationFilter, window: Window) -> (Vec<String>, u64) {
        let listed = list(&fixture.db, fixture.ours, filter, &CONTRACT, window).unwrap();
        (listed.items.into_iter().map(|integration| integration.account.platform_user_id).collect(), listed.total)
    }

    fn search(text: &str) -> IntegrationFilter {
        IntegrationFilter { search: Some(text.to_owned()), ..IntegrationFilter::default() }
    }

    #[test]
    fn an_integration_comes_back_with_what_its_grant_and_app_say() {
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
        assert_eq!(detail.scopes, grant.scopes);
        assert_eq!(detail.access_expires_at, grant.access_expires_at);
        assert_eq!(detail.refresh_expires_at, grant.refresh_expires_at);
        assert_eq!(detail.renewal, grant.renewal);
        let plain = find(&fixture.db, fixture.ours, stored.id).unwrap().unwrap();
        assert_eq!(format!("{plain:?}"), format!("{found:?}"));
    }

    #[test]
    fn an_integration_is_its_projects_alone() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let id = fixture.integration(grant, None, "u").id;
        let (theirs, now) = (fixture.theirs, fixture.later(5));
        let before = fixture.dump("integrations");
        assert!(find(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_detail(&fixture.db, theirs, id).unwrap().is_none());
        assert!(find_by_account(&fixture.db, theirs, None, "twitter", "u").unwrap().is_none());
        let whole_id = search(&id.to_string());
        assert_eq!(list(&fixture.db, theirs, &whole_id, &CONTRACT, ALL).unwrap().total, 0);
        let moved = fixture.write(|db| move_to_profile(db, theirs, id, None, now));
        assert!(matches!(moved, Err(Error::NotChanged)));
        let updated = fixture.write(|db| update_account(db, theirs, id, &account("u"), grant, now));
        assert!(matches!(updated, Err(Error::NotChanged)));
        assert!(matches!(fixture.write(|db| delete(db, theirs, id)), Err(Error::NotChanged)));
        assert_eq!(fixture.dump("integrations"), before);
    }

    #[test]
    fn no_row_points_into_another_project() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let profile = fixture.profile("p");
        let theirs = fixture.theirs;
        let integration = fixture.new_integration(grant, None, "u");
        assert!(
            fixture.write(|db| insert(db, theirs, &integration, &NO_TOKENS)).is_err(),
            "a grant of ours under theirs"
        );
        let mut foreign = fixture.new_grant("twitter", "t");
        foreign.project_id = theirs;
        fixture.write(|db| grants::insert(db, &foreign)).unwrap();
        let integration = fixture.new_integration(foreign.id, Some(profile), "u");
        assert!(
            fixture.write(|db| insert(db, theirs, &integration, &NO_TOKENS)).is_err(),
            "a profile of ours under theirs"
        );
        let integration = fixture.new_integration(foreign.id, None, "u");
        fixture.write(|db| insert(db, theirs, &integration, &NO_TOKENS)).unwrap();
        let now = fixture.now();
        assert!(fixture.write(|db| move_to_profile(db, theirs, integration.id, Some(profile), now)).is_err());
    }

    #[test]
    fn an_account_is_connected_once_under_a_profile_and_once_without() {
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
    fn an_account_is_looked_up_by_the_unique_index() {
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
    fn connecting_again_keeps_the_id_and_takes_the_new_facts() {
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
        assert_eq!(users(&fixture, &search("renamed"), ALL).1, 1);
        assert_eq!(users(&fixture, &search("name of"), ALL).1, 0, "the old name is not searched any more");
        let other = fixture.write(|db| update_account(db, ours, id, &account("v"), new, now));
        assert!(matches!(other, Err(Error::NotChanged)), "an integration never becomes another account's");
    }

    #[test]
    fn lists_narrow_by_platform() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let ours = fixture.ours;
        for platform in ["twitter", "acme", "tiktok"] {
            let mut integration = fixture.new_integration(grant, None, platform);
            platform.clone_into(&mut integration.platform);
            fixture.write(|db| insert(db, ours, &integration, &NO_TOKENS)).unwrap();
        }
        let of = |platforms| {
            let (users, total) = users(&fixture, &IntegrationFilter { platforms, ..IntegrationFilter::default() }, ALL);
            assert_eq!(users.len() as u64, total);
            users.join(" ")
        };
        assert_eq!(of(PlatformFilter::All), "tiktok acme twitter");
        assert_eq!(of(PlatformFilter::Contract), "tiktok twitter");
        assert_eq!(of(PlatformFilter::One("acme".to_owned())), "acme");
        assert_eq!(of(PlatformFilter::One("none".to_owned())), "");
    }

    #[test]
    fn lists_narrow_by_profile() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let [p, q] = ["p", "q"].map(|name| fixture.profile(name));
        for (profile, user) in [(None, "a"), (Some(p), "b"), (Some(p), "c")] {
            fixture.integration(grant, profile, user);
        }
        let of = |profile_id| {
            users(&fixture, &IntegrationFilter { profile_id, ..IntegrationFilter::default() }, ALL).0.join("")
        };
        assert_eq!(of(None), "cba");
        assert_eq!(of(Some(None)), "a");
        assert_eq!(of(Some(Some(p))), "cb");
        assert_eq!(of(Some(Some(q))), "");
    }

    #[test]
    fn windows_are_in_order_and_know_the_whole() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        for user in ["a", "b", "c", "d", "e"] {
            fixture.integration(grant, None, user);
        }
        let of = |oldest_first, limit, offset| {
            let filter = IntegrationFilter { oldest_first, ..IntegrationFilter::default() };
            let (users, total) = users(&fixture, &filter, Window { limit, offset });
            assert_eq!(total, 5);
            users.join("")
        };
        assert_eq!(of(false, 100, 0), "edcba");
        assert_eq!(of(true, 100, 0), "abcde");
        assert_eq!(of(false, 2, 2), "cb");
        assert_eq!(of(true, 2, 4), "e");
        assert_eq!(of(true, 2, 5), "");
        let filter = IntegrationFilter { oldest_first: true, ..search("name of b") };
        assert_eq!(users(&fixture, &filter, Window { limit: 1, offset: 1 }), (vec![], 1), "the total is of the search");
    }

    #[test]
    fn searches_ignore_case_and_know_no_wildcards() {
        let mut fixture = Fixture::new();
        let (grant, ours) = (fixture.grant("twitter", "s"), fixture.ours);
        let mut id = None;
        for (user, username, name) in [
            ("1001", Some("@zoe_m"), Some("ZOË % Möller")),
            ("1002", Some("@zoexm"), Some("Zoe x Moller")),
            ("ID_ßx", None, None),
        ] {
            let mut integration = fixture.new_integration(grant, None, user);
            integration.account.username = username.map(str::to_owned);
            integration.account.display_name = name.map(str::to_owned);
            fixture.write(|db| insert(db, ours, &integration, &NO_TOKENS)).unwrap();
            id.get_or_insert(integration.id.to_string());
        }
        let id = id.unwrap();
        for (text, found) in [
            ("zoë", 1),
            ("ZOË", 1),
            ("möLLer", 1),
            ("@ZOE", 2),
            ("%", 1),
            ("_", 2),
            ("zoe_", 1),
            ("100", 2),
            ("1001", 1),
            ("id_SS", 0),
            ("id_ß", 1),
            ("", 3),
            ("'", 0),
            ("\\", 0),
            (&id, 1),
            (&id[..id.len() - 1], 0),
            ("int_", 0),
        ] {
            assert_eq!(users(&fixture, &search(text), ALL).1, found, "{text}");
        }
    }

    #[test]
    fn deleting_leaves_the_grant_and_a_grant_in_use_stays() {
        let mut fixture = Fixture::new();
        let (grant, ours) = (fixture.grant("twitter", "s"), fixture.ours);
        let id = fixture.integration(grant, None, "u").id;
        assert!(fixture.db.execute("DELETE FROM grants", []).is_err(), "an integration without tokens");
        fixture.write(|db| delete(db, ours, id)).unwrap();
        assert!(find(&fixture.db, ours, id).unwrap().is_none());
        assert!(grants::find(&fixture.db, ours, grant).unwrap().is_some());
        assert!(matches!(fixture.write(|db| delete(db, ours, id)), Err(Error::NotChanged)));
    }

    #[test]
    fn what_does_not_belong_into_a_column_is_named() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let stored = fixture.integration(grant, None, "u");
        fixture.db.execute("UPDATE integrations SET id = 'int_no_id'", []).unwrap();
        let filter = IntegrationFilter::default();
        let error = list(&fixture.db, fixture.ours, &filter, &CONTRACT, ALL).unwrap_err();
        assert!(
            matches!(&error, Error::Inconsistent { table: "integrations", column: "id", row } if row == "int_no_id"),
            "{error:?} {stored:?}"
        );
    }

    #[test]
    fn an_account_has_a_status_of_its_own_below_its_grants() {
        let mut fixture = Fixture::new();
        let mut grant = fixture.new_grant("twitter", "s");
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        let [one, other] = ["a", "b"].map(|user| fixture.integration(grant.id, None, user).id);
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let lost = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        let refused = fixture.write(|db| set_status(db, theirs, one, lost, now));
        assert!(matches!(refused, Err(Error::NotChanged)));
        fixture.write(|db| set_status(db, ours, one, lost, now)).unwrap();
        let statuses = |fixture: &Fixture| {
            let on_grant = list_on_grant(&fixture.db, ours, grant.id).unwrap();
            assert_eq!(on_grant.iter().map(|found| found.id).collect::<Vec<_>>(), [one, other]);
            on_grant.iter().map(|found| found.status).collect::<Vec<_>>()
        };
        assert_eq!(statuses(&fixture), [lost, AuthStatus::Active]);
        assert!(list_on_grant(&fixture.db, theirs, grant.id).unwrap().is_empty());

        let trouble = Trouble { kind: TroubleKind::ConsentExpired, status: None, platform_code: None, at: now };
        fixture.write(|db| refreshes::end(db, ours, grant.id, 1, FailureReason::TokenExpired, trouble)).unwrap();
        let expired = AuthStatus::ReconnectRequired(FailureReason::TokenExpired);
        assert_eq!(statuses(&fixture), [expired, expired], "the grant's comes first");
        grant.generation = 2;
        fixture.write(|db| grants::renew(db, &grant, 1)).unwrap();
        assert_eq!(statuses(&fixture), [lost, AuthStatus::Active], "and leaves the account's alone");
        fixture.write(|db| set_status(db, ours, one, AuthStatus::Active, now)).unwrap();
        assert_eq!(statuses(&fixture), [AuthStatus::Active; 2]);
        assert!(fixture.db.execute("UPDATE integrations SET failure_reason = 'token_expired'", []).is_err());
        assert!(fixture.db.execute("UPDATE integrations SET status = 'reconnect_required'", []).is_err());
    }

    #[test]
    fn own_tokens_change_by_compare_and_swap_on_their_generation() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let id = fixture.integration(grant, None, "u").id;
        let (ours, theirs, now) = (fixture.ours, fixture.theirs, fixture.later(5));
        let own = |fixture: &Fixture| find_own_tokens(&fixture.db, ours, id).unwrap().unwrap();
        assert!(own(&fixture).tokens.is_none());
        assert!(find_own_tokens(&fixture.db, theirs, id).unwrap().is_none());
        let lost = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        fixture.write(|db| set_status(db, ours, id, lost, now)).unwrap();
        let fresh = OwnTokens { generation: 2, tokens: Some(sealed(7)) };
        let refused = [
            fixture.write(|db| renew(db, theirs, id, &fresh, 1, now)),
            fixture.write(|db| renew(db, ours, id, &fresh, 2, now)),
            fixture.write(|db| renew(db, ours, id, &OwnTokens { generation: 1, tokens: None }, 1, now)),
        ];
        assert!(refused.iter().all(|refused| matches!(refused, Err(Error::NotChanged))), "{refused:?}");
        fixture.write(|db| renew(db, ours, id, &fresh, 1, now)).unwrap();
        let found = own(&fixture);
        assert_eq!((found.generation, found.tokens), (2, fresh.tokens));
        let integration = find(&fixture.db, ours, id).unwrap().unwrap();
        assert_eq!((integration.status, integration.updated_at), (AuthStatus::Active, now));
        let dek: u32 = fixture.db.query_row("SELECT tokens_dek_id FROM integrations", [], |row| row.get(0)).unwrap();
        assert_eq!(dek, 7);
        assert!(fixture.db.execute("UPDATE integrations SET tokens_dek_id = 8", []).is_err());
        fixture.write(|db| renew(db, ours, id, &OwnTokens { generation: 3, tokens: None }, 2, now)).unwrap();
        assert!(own(&fixture).tokens.is_none());
    }
}
