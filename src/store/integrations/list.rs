//! The list of integrations: filters, search and windows.

use std::borrow::Cow;

use rusqlite::{Connection, ToSql};

use super::{JOINS, SELECT, read};
use crate::domain::id::{IntegrationId, ProjectId};
use crate::domain::integration::{Integration, IntegrationFilter};
use crate::domain::paging::{Listed, Window};
use crate::store::listing::{Listing, Search};
use crate::store::{Error, counts};

/// Newest first, or oldest first where the filter asks for it. `contract`: the platforms of
/// [`PlatformFilter::Contract`].
pub fn list(
    db: &Connection,
    project: ProjectId,
    filter: &IntegrationFilter,
    contract: &[&str],
    window: Window,
) -> Result<Listed<Integration>, Error> {
    // Line breaks part the texts that are searched, and no name has one.
    if filter.search.as_deref().is_some_and(|needle| needle.contains('\n')) {
        return Ok(Listed { items: Vec::new(), total: 0 });
    }
    let (condition, within): (&str, Cow<'_, str>) = match &filter.profile_id {
        None => ("", counts::PROJECT.into()),
        Some(None) => ("AND i.profile_id IS :profile", counts::NO_PROFILE.into()),
        Some(Some(profile)) => ("AND i.profile_id IS :profile", profile.to_string().into()),
    };
    let profile = filter.profile_id.flatten();
    let mut params: Vec<(&str, &dyn ToSql)> = Vec::new();
    if !condition.is_empty() {
        params.push((":profile", &profile));
    }
    let listing = Listing {
        table: "integrations",
        alias: "i",
        select: SELECT,
        joins: JOINS,
        condition,
        params: &params,
        within: &within,
        oldest_first: filter.oldest_first,
    };
    let is_wanted = |platform: &str| filter.platforms.wants(platform, contract);
    let search = filter.search.as_deref().map(|needle| {
        let or_id = needle.parse::<IntegrationId>().is_ok();
        let failing = filter.failing_at.as_ref();
        let only = failing.map(|at| ("AND i.fails_from <= :failing_at", (":failing_at", at as &dyn ToSql)));
        Search { column: "search", needle, or_id, only }
    });
    listing.window(db, project, is_wanted, search.as_ref(), window, read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::integration::PlatformFilter;
    use crate::store::fixture::{ALL, Fixture, NO_TOKENS};
    use crate::store::integrations::insert;

    const CONTRACT: [&str; 2] = ["tiktok", "twitter"];

    fn users(fixture: &Fixture, filter: &IntegrationFilter, window: Window) -> (Vec<String>, u64) {
        let listed = list(&fixture.db, fixture.ours, filter, &CONTRACT, window).unwrap();
        (listed.items.into_iter().map(|integration| integration.account.platform_user_id).collect(), listed.total)
    }

    fn search(text: &str) -> IntegrationFilter {
        IntegrationFilter { search: Some(text.to_owned()), ..IntegrationFilter::default() }
    }

    #[test]
    fn a_search_finds_nothing_across_two_texts() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        let integration = fixture.integration(grant, None, "103");
        let account = &integration.account;
        let (name, user) = (account.display_name.clone().unwrap(), account.username.clone().unwrap());
        for (needle, total) in [(name.clone(), 1), (user.clone(), 1), ("\n".into(), 0), (format!("{name}\n{user}"), 0)]
        {
            assert_eq!(users(&fixture, &search(&needle), ALL).1, total, "{needle:?}");
        }
    }

    #[test]
    fn lists_narrow_by_platform_and_profile() {
        let mut fixture = Fixture::new();
        let (grant, ours) = (fixture.grant("twitter", "s"), fixture.ours);
        let [p, q] = ["p", "q"].map(|name| fixture.profile(name));
        for (profile, platform) in [(None, "twitter"), (Some(p), "acme"), (Some(p), "tiktok")] {
            let mut integration = fixture.new_integration(grant, profile, platform);
            platform.clone_into(&mut integration.platform);
            fixture.write(|db| insert(db, ours, &integration, &NO_TOKENS)).unwrap();
        }
        let one = |name: &str| PlatformFilter::One(name.to_owned());
        for (platforms, profile_id, expected) in [
            (PlatformFilter::All, None, "tiktok acme twitter"),
            (PlatformFilter::Contract, None, "tiktok twitter"),
            (one("acme"), None, "acme"),
            (one("none"), None, ""),
            (PlatformFilter::All, Some(None), "twitter"),
            (PlatformFilter::All, Some(Some(p)), "tiktok acme"),
            (PlatformFilter::All, Some(Some(q)), ""),
            (PlatformFilter::Contract, Some(Some(p)), "tiktok"),
        ] {
            let filter = IntegrationFilter { platforms, profile_id, ..IntegrationFilter::default() };
            let (users, total) = users(&fixture, &filter, ALL);
            assert_eq!((users.join(" ").as_str(), users.len() as u64), (expected, total), "{filter:?}");
        }
    }

    #[test]
    fn windows_are_ordered_and_tell_the_total() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        for user in ["a", "b", "c", "d", "e"] {
            fixture.integration(grant, None, user);
        }
        for (oldest_first, limit, offset, expected) in [
            (false, 100, 0, "edcba"),
            (true, 100, 0, "abcde"),
            (false, 2, 2, "cb"),
            (true, 2, 4, "e"),
            (true, 2, 5, ""),
        ] {
            let filter = IntegrationFilter { oldest_first, ..IntegrationFilter::default() };
            let (users, total) = users(&fixture, &filter, Window { limit, offset });
            assert_eq!((users.concat().as_str(), total), (expected, 5));
        }
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
    fn a_search_of_any_length_is_narrowed_to_accounts_that_fail() {
        let mut fixture = Fixture::new();
        let ours = fixture.ours;
        let (sound, ended) = (fixture.grant("twitter", "s"), fixture.grant("twitter", "t"));
        let now = fixture.later(1);
        fixture.integration(sound, None, "ada-sound");
        let failing = fixture.integration(ended, None, "ada-ended").id.to_string();
        fixture.db.execute("UPDATE grants SET status = 'reconnect_required', failure_reason = 'refresh_rejected', ended_at = 1, due_at = NULL WHERE id = ?1", [ended]).unwrap();
        for needle in ["a", "ad", "ada", "ada-", "ada-ended", "ada-sound", failing.as_str()] {
            let filter = IntegrationFilter { failing_at: Some(now), ..search(needle) };
            let found = if needle == "ada-sound" { vec![] } else { vec!["ada-ended".to_owned()] };
            let total = found.len() as u64;
            assert_eq!(users(&fixture, &filter, ALL), (found, total), "{needle}");
            for profile_id in [Some(None), None] {
                let filter = IntegrationFilter { profile_id, platforms: PlatformFilter::Contract, ..filter.clone() };
                let listed = list(&fixture.db, ours, &filter, &CONTRACT, ALL).unwrap();
                assert_eq!(listed.total, total, "{needle}");
            }
        }
    }

    #[test]
    fn an_error_names_the_column_that_cannot_be_read() {
        let mut fixture = Fixture::new();
        let grant = fixture.grant("twitter", "s");
        fixture.integration(grant, None, "u");
        fixture.db.execute("UPDATE integrations SET id = 'int_no_id'", []).unwrap();
        let filter = IntegrationFilter::default();
        let error = list(&fixture.db, fixture.ours, &filter, &CONTRACT, ALL).unwrap_err();
        assert!(
            matches!(&error, Error::Inconsistent { table: "integrations", column: "id", row } if row == "int_no_id"),
            "{error:?}"
        );
    }
}
