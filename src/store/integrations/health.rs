//! Accounts with their health: for the console, where those that fail come first, and for `postpeer accounts list`, where
//! the newest do. The column `fails_from`, which triggers keep (`migrations/V0019__console.sql`), says from when an
//! account counts as failing.
//!
//! Invariant: the console's page of failing accounts goes along one index, for all platforms at once, from the place
//! where the page before it ended. The others are found along an index of all, and each failing account costs a step.

use std::borrow::Cow;

use rusqlite::{Connection, Row, ToSql, named_params};

use super::{JOINS, SELECT, SELECT_DETAIL, read_detail};
use crate::domain::health_list::{After, HealthFilter, HealthPage};
use crate::domain::id::{ProfileId, ProjectId};
use crate::domain::integration::IntegrationDetail;
use crate::domain::time::Timestamp;
use crate::store::columns::{Params, all, count, signed};
use crate::store::{Error, counts};

/// Most failing accounts that are counted.
pub const COUNTED: u32 = 1000;

/// Up to `limit` accounts behind `after`, without the keys that read their tokens.
pub fn list_by_health(
    db: &Connection,
    project: ProjectId,
    filter: &HealthFilter,
    after: Option<After>,
    now: Timestamp,
    limit: u32,
) -> Result<HealthPage, Error> {
    let within: Cow<'_, str> = match filter.profile_id {
        None => counts::PROJECT.into(),
        Some(None) => counts::NO_PROFILE.into(),
        Some(Some(profile)) => profile.to_string().into(),
    };
    let mut platforms: Vec<String> =
        counts::by_platform(db, project, "integrations", &within)?.into_iter().map(|(platform, _)| platform).collect();
    if let Some(wanted) = &filter.platform {
        platforms.retain(|platform| platform == wanted);
    }
    if platforms.is_empty() {
        return Ok(HealthPage { accounts: Vec::new(), next: None });
    }
    let profile = filter.profile_id.flatten();
    let names: Vec<String> = (0..platforms.len()).map(|at| format!(":platform{at}")).collect();
    let of_profile = if filter.profile_id.is_some() { "AND f.profile_id IS :profile" } else { "" };
    // One more than asked for tells that there is a next page.
    let wanted = limit as usize + 1;
    let mut found: Vec<Numbered> = Vec::new();
    // Along the index for each platform at once, or for all of them where it is not by platform.
    let mut walk = |index: &str, is_by_platform: bool, part: &str, order: &str, params: Params<'_>| {
        let arm = |at_platform: &str| {
            format!(
                "SELECT f.n, f.fails_from FROM integrations AS f INDEXED BY {index}
                 WHERE f.project_id = :project {of_profile} {at_platform} {part}"
            )
        };
        let rest = signed(wanted.saturating_sub(found.len()) as u64);
        let mut params = [params, named_params! {":project": project, ":limit": rest}].concat();
        if filter.profile_id.is_some() {
            params.push((":profile", &profile));
        }
        let arms: Vec<String> = if is_by_platform {
            params.extend(names.iter().zip(&platforms).map(|(name, platform)| (name.as_str(), platform as &dyn ToSql)));
            names.iter().map(|name| arm(&format!("AND f.platform = {name}"))).collect()
        } else {
            vec![arm("")]
        };
        let keys = arms.join(" UNION ALL ");
        // The rows themselves are looked up last.
        let sql = format!(
            "SELECT {SELECT}, {SELECT_DETAIL}, i.n, i.fails_from FROM ({keys} ORDER BY {order} LIMIT :limit) AS page
             CROSS JOIN integrations AS i ON i.n = page.n {JOINS} WHERE i.project_id = :project"
        );
        found.extend(all(db, &sql, &params, read)?);
        Ok::<_, Error>(())
    };
    let by_failure =
        if filter.profile_id.is_some() { "integrations_by_failure_of_profile" } else { "integrations_by_failure" };
    let latest = "fails_from DESC, n DESC";
    match after {
        None => walk(by_failure, true, "AND f.fails_from <= :now", latest, named_params! {":now": now})?,
        Some(After::Failing(from, n)) => {
            let params = named_params! {":from": from, ":n": n};
            walk(by_failure, true, "AND f.fails_from = :from AND f.n < :n", latest, params)?;
            walk(by_failure, true, "AND f.fails_from < :from", latest, named_params! {":from": from})?;
        }
        Some(After::Other(_)) => {}
    }
    if !filter.failing_only {
        let n = if let Some(After::Other(n)) = after { n } else { i64::MAX };
        let index = match (filter.profile_id, &filter.platform) {
            (Some(_), None) => "integrations_of_profile",
            (Some(_), Some(_)) => "integrations_by_profile",
            (None, Some(_)) => "integrations_by_platform",
            (None, None) => "integrations_listed",
        };
        // Skips accounts that fail.
        let part = "AND ifnull(f.fails_from > :now, 1) AND f.n < :n";
        walk(index, filter.platform.is_some(), part, "n DESC", named_params! {":now": now, ":n": n})?;
    }
    let has_more = found.len() > limit as usize;
    found.truncate(limit as usize);
    let next = found.last().filter(|_| has_more).map(|(_, number, fails_from)| match fails_from {
        Some(from) if *from <= now => After::Failing(*from, *number),
        _ => After::Other(*number),
    });
    Ok(HealthPage { accounts: found.into_iter().map(|(detail, ..)| detail).collect(), next })
}

/// Up to `limit` accounts with lower numbers than `before`, newest first, each with its number and without the keys
/// that read its token. With `failing_at`, those alone that fail then. That looks at every account: a long read.
pub fn list_newest(
    db: &Connection,
    project: ProjectId,
    platform: Option<&str>,
    failing_at: Option<Timestamp>,
    before: Option<i64>,
    limit: u32,
) -> Result<Vec<(i64, IntegrationDetail)>, Error> {
    let before = before.unwrap_or(i64::MAX);
    let mut params = named_params! {":project": project, ":before": before, ":limit": limit}.to_vec();
    let (mut narrow, mut index) = (String::new(), "integrations_listed");
    if platform.is_some() {
        (narrow, index) = ("AND f.platform = :platform".to_owned(), "integrations_by_platform");
        params.push((":platform", &platform));
    }
    if failing_at.is_some() {
        narrow.push_str(" AND f.fails_from <= :failing_at");
        params.push((":failing_at", &failing_at));
    }
    let sql = format!(
        "SELECT {SELECT}, {SELECT_DETAIL}, i.n, i.fails_from FROM (
            SELECT f.n FROM integrations AS f INDEXED BY {index}
            WHERE f.project_id = :project {narrow} AND f.n < :before ORDER BY f.n DESC LIMIT :limit
         ) AS page
         CROSS JOIN integrations AS i ON i.n = page.n {JOINS} WHERE i.project_id = :project"
    );
    all(db, &sql, &params, |row| read(row).map(|(detail, number, _)| (number, detail)))
}

/// Number of accounts that fail, of a profile or of all, up to [`COUNTED`].
pub fn count_failing(
    db: &Connection,
    project: ProjectId,
    profile: Option<ProfileId>,
    now: Timestamp,
) -> Result<u64, Error> {
    let params = named_params! {":project": project, ":now": now, ":most": COUNTED};
    let Some(profile) = profile else { return count(db, COUNT, params) };
    count(db, COUNT_OF_PROFILE, &[params, named_params! {":profile": profile}].concat())
}

const COUNT: &str = "SELECT count(*) FROM (SELECT 1 FROM counts AS c
    CROSS JOIN integrations AS f INDEXED BY integrations_by_failure
        ON f.project_id = :project AND f.platform = c.platform AND f.fails_from <= :now
    WHERE c.project_id = :project AND c.kind = 'integrations' AND c.within = '*' LIMIT :most)";

const COUNT_OF_PROFILE: &str = "SELECT count(*) FROM (SELECT 1 FROM counts AS c
    CROSS JOIN integrations AS f INDEXED BY integrations_by_failure_of_profile
        ON f.project_id = :project AND f.profile_id = :profile AND f.platform = c.platform AND f.fails_from <= :now
    WHERE c.project_id = :project AND c.kind = 'integrations' AND c.within = :profile LIMIT :most)";

/// An account, its number, and from when it fails.
type Numbered = (IntegrationDetail, i64, Option<Timestamp>);

fn read(row: &Row<'_>) -> Result<Numbered, Error> {
    Ok((read_detail(row)?, row.get("n")?, row.get("fails_from")?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::failure::Failure;
    use crate::domain::grant::{AuthStatus, FailureReason, Grant};
    use crate::domain::id::{GrantId, IntegrationId};
    use crate::domain::integration::{OwnTokens, TokenState};
    use crate::domain::refresh_failure::RefreshFailure;
    use crate::domain::renewal::Renewal;
    use crate::domain::secret::Sealed;
    use crate::store::fixture::{Fixture, NO_TOKENS};
    use crate::store::integrations::{delete, insert, move_to_profile, set_status};
    use crate::store::{grants, integrations};

    fn ids(page: &HealthPage) -> Vec<IntegrationId> {
        page.accounts.iter().map(|account| account.integration.id).collect()
    }

    /// Every account, in pages of this size.
    fn walked(fixture: &Fixture, filter: &HealthFilter, now: Timestamp, limit: u32) -> Vec<IntegrationId> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = list_by_health(&fixture.db, fixture.ours, filter, after, now, limit).unwrap();
            assert!(page.accounts.len() <= limit as usize);
            found.extend(ids(&page));
            after = page.next;
            if after.is_none() {
                return found;
            }
        }
    }

    /// The states that the API calls failing, with those of the list.
    fn assert_failing(fixture: &Fixture, now: Timestamp, expected: &[IntegrationId]) {
        let everything = walked(fixture, &HealthFilter::default(), now, 100);
        let fails = |id: &&IntegrationId| {
            let mut detail = integrations::find_detail(&fixture.db, fixture.ours, **id).unwrap().unwrap();
            detail.integration = detail.integration.judged(now);
            detail.token_state() != TokenState::Ok
        };
        let judged: Vec<_> = everything.iter().filter(fails).copied().collect();
        let only = walked(fixture, &HealthFilter { failing_only: true, ..HealthFilter::default() }, now, 100);
        assert_eq!((only.as_slice(), judged.as_slice()), (expected, expected));
        assert_eq!(everything[..expected.len()], *expected, "they come first");
        assert_eq!(count_failing(&fixture.db, fixture.ours, None, now).unwrap(), expected.len() as u64);
    }

    fn grant(fixture: &mut Fixture, change: impl FnOnce(Grant) -> Grant) -> GrantId {
        let subject = fixture.id::<GrantId>().to_string();
        let grant = change(fixture.new_grant("twitter", &subject));
        fixture.write(|db| grants::insert(db, &grant)).unwrap();
        grant.id
    }

    fn trouble(at: Timestamp) -> RefreshFailure {
        let kind = Failure::PlatformUnavailable;
        RefreshFailure { kind, status: None, platform_code: None, at, backup_taken_at: None, refused_alone: None }
    }

    #[test]
    fn what_fails_is_what_the_health_of_an_account_says() {
        let mut fixture = Fixture::new();
        let (ours, now) = (fixture.ours, fixture.now());
        let soon = now.plus(Duration::from_secs(100));
        let lasting = grant(&mut fixture, |grant| Grant { renewal: Renewal::RefreshToken, ..grant });
        let lapsing = grant(&mut fixture, |grant| Grant {
            renewal: Renewal::Never,
            access_expires_at: Some(soon),
            due_at: None,
            ..grant
        });
        let twice = grant(&mut fixture, |grant| Grant {
            renewal: Renewal::RefreshToken,
            access_expires_at: Some(now),
            refresh_expires_at: Some(soon.plus(Duration::from_secs(1))),
            ..grant
        });
        // Its access token outlives the refresh token.
        let undying = grant(&mut fixture, |grant| Grant {
            renewal: Renewal::RefreshToken,
            access_expires_at: None,
            refresh_expires_at: Some(now),
            due_at: None,
            ..grant
        });
        let undying_account = fixture.integration(undying, None, "x").id;
        let [well, lapses, lapses_later] =
            [(lasting, "u"), (lapsing, "v"), (twice, "w")].map(|(id, user)| fixture.integration(id, None, user).id);
        assert_failing(&fixture, now, &[]);
        assert_failing(&fixture, soon, &[lapses]);
        assert_failing(&fixture, soon.plus(Duration::from_secs(1)), &[lapses_later, lapses]);

        fixture.change(undying, |grant| Ok(Grant { access_expires_at: Some(now), ..grant }));
        assert_failing(&fixture, now, &[undying_account]);
        fixture.change(undying, |grant| Ok(Grant { access_expires_at: None, ..grant }));
        assert_failing(&fixture, now, &[]);

        // An account with tokens of its own does not lapse with its consent.
        let own =
            OwnTokens { generation: 1, tokens: Some(Sealed::from_bytes([&[1, 0, 0, 0, 1][..], &[0; 40]].concat())) };
        let page = fixture.new_integration(lapsing, None, "page");
        fixture.write(|db| insert(db, ours, &page, &own)).unwrap();
        assert_failing(&fixture, soon, &[lapses]);

        fixture.change(lasting, |grant| Ok(Grant { trouble: Some(trouble(now)), failures: 1, ..grant }));
        assert_failing(&fixture, now, &[well]);
        fixture.change(lasting, |grant| Ok(Grant { trouble: None, failures: 0, ..grant }));
        assert_failing(&fixture, now, &[]);
        let ended = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
        fixture.change(lasting, |grant| Ok(Grant { status: ended, ended_at: Some(now), due_at: None, ..grant }));
        fixture.write(|db| set_status(db, ours, page.id, ended, now)).unwrap();
        assert_failing(&fixture, now, &[page.id, well]);
        let other = grant(&mut fixture, |grant| grant);
        let account = page.account.clone();
        fixture.write(|db| integrations::update_account(db, ours, page.id, &account, other, now)).unwrap();
        assert_failing(&fixture, now, &[page.id, well]);
        fixture.write(|db| set_status(db, ours, page.id, AuthStatus::Active, now)).unwrap();
        assert_failing(&fixture, now, &[well]);
        fixture.write(|db| delete(db, ours, well)).unwrap();
        assert_failing(&fixture, now, &[]);
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended_whatever_the_filter() {
        let mut fixture = Fixture::new();
        let (ours, now) = (fixture.ours, fixture.later(1000));
        let failing = grant(&mut fixture, |grant| Grant { trouble: Some(trouble(now)), failures: 1, ..grant });
        let lapsed = grant(&mut fixture, |grant| Grant {
            renewal: Renewal::Never,
            access_expires_at: Some(now),
            due_at: None,
            ..grant
        });
        let well = grant(&mut fixture, |grant| Grant { renewal: Renewal::RefreshToken, ..grant });
        let profile = fixture.profile("p");
        let mut made = Vec::new();
        for number in 0..24 {
            let grant = [well, failing, lapsed, well][number % 4];
            let mut account = fixture.new_integration(grant, (number % 3 == 0).then_some(profile), &number.to_string());
            ["tiktok", "twitter"][usize::from(number % 8 > 3)].clone_into(&mut account.platform);
            fixture.write(|db| insert(db, ours, &account, &NO_TOKENS)).unwrap();
            made.push((account, grant));
        }
        for platform in [None, Some("twitter")] {
            for profile_id in [None, Some(None), Some(Some(profile))] {
                for failing_only in [false, true] {
                    let is_wanted = |(account, grant): &&(crate::domain::integration::Integration, GrantId)| {
                        platform.is_none_or(|platform| account.platform == platform)
                            && profile_id.is_none_or(|profile| account.profile_id == profile)
                            && !(failing_only && *grant == well)
                    };
                    let mut expected: Vec<_> = made.iter().rev().filter(is_wanted).collect();
                    // Newest first, within those that lapsed, that fail otherwise, and the rest.
                    expected.sort_by_key(|(_, grant)| [lapsed, failing, well].iter().position(|one| one == grant));
                    let expected: Vec<_> = expected.into_iter().map(|(account, _)| account.id).collect();
                    let filter = HealthFilter { platform: platform.map(str::to_owned), profile_id, failing_only };
                    for limit in [1, 5, 100] {
                        assert_eq!(walked(&fixture, &filter, now, limit), expected, "{filter:?} by {limit}");
                    }
                }
            }
        }
        let theirs = list_by_health(&fixture.db, fixture.theirs, &HealthFilter::default(), None, now, 9).unwrap();
        assert!(theirs.accounts.is_empty());
        assert!(list_newest(&fixture.db, fixture.theirs, None, None, None, 9).unwrap().is_empty());
        for platform in [None, Some("twitter")] {
            for failing_at in [None, Some(now)] {
                let is_wanted = |(account, grant): &&(crate::domain::integration::Integration, GrantId)| {
                    platform.is_none_or(|platform| account.platform == platform)
                        && !(failing_at.is_some() && *grant == well)
                };
                let expected: Vec<_> = made.iter().rev().filter(is_wanted).map(|(account, _)| account.id).collect();
                for limit in [1, 5, 100] {
                    let (mut found, mut before) = (Vec::new(), None);
                    loop {
                        let page = list_newest(&fixture.db, ours, platform, failing_at, before, limit).unwrap();
                        let Some((last, _)) = page.last() else { break };
                        before = Some(*last);
                        found.extend(page.into_iter().map(|(_, detail)| detail.integration.id));
                    }
                    assert_eq!(found, expected, "{platform:?} {failing_at:?} by {limit}");
                }
            }
        }
        assert_eq!(count_failing(&fixture.db, ours, Some(profile), now).unwrap(), 4);
        let id = made[1].0.id;
        fixture.write(|db| move_to_profile(db, ours, id, Some(profile), now)).unwrap();
        assert_eq!(count_failing(&fixture.db, ours, Some(profile), now).unwrap(), 5);
    }
}
