//! Lists Google Business Profile locations of every account that the owner manages, each location once.

use std::collections::HashMap;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::{AT_ONCE, Listing, Paging, Route, leaves_open, report, reports, worst};
use crate::domain::account::{Account, AccountKind, FoundAccount, Identity};
use crate::domain::platform_error::PlatformError;
use crate::platforms::googlebusiness::{
    BusinessAccount, Location, READ_MASK, next_page, read_accounts, read_locations, unusable_location,
};

const PAGING: Paging = Paging { parameter: "pageToken", first: None, next: next_page };

pub(super) async fn list(
    listing: &Listing<'_>,
    person: Account,
    accounts_url: &str,
    locations_url: &str,
) -> Result<Identity, PlatformError> {
    let url = listing.url(accounts_url, "/v1/accounts", &[("pageSize", "20")]);
    let parents = listing.route("your Business Profile accounts".to_owned(), url, &PAGING, read_accounts).await;
    let asked: Vec<_> =
        parents.found.iter().map(|parent| async move { locations(listing, parent, locations_url).await }).collect();
    let routes: Vec<Route<Location>> = stream::iter(asked).buffered(AT_ONCE).collect().await;

    let mut told = Vec::new();
    if parents.trouble.is_some() {
        told.push(report(listing.platform, &parents.name, 0, parents.trouble.as_ref()));
    }
    told.extend(reports(listing.platform, &routes));

    let mut troubles = Vec::from_iter(parents.trouble);
    // The place of each location among those that can be connected, if it can.
    let mut seen: HashMap<String, Option<usize>> = HashMap::new();
    let mut identity = Identity {
        subject: person.platform_user_id,
        accounts: Vec::new(),
        unusable: Vec::new(),
        routes: told,
        failure: None,
    };
    for route in routes {
        troubles.extend(route.trouble);
        for location in route.found {
            if let Some(place) = seen.get(&location.name) {
                if let Some(found) = place.and_then(|place| identity.accounts.get_mut(place)) {
                    found.elsewhere.push(location.account);
                }
                continue;
            }
            seen.insert(location.name.clone(), location.takes_posts.then_some(identity.accounts.len()));
            if location.takes_posts {
                identity.accounts.push(FoundAccount::new(location.account, AccountKind::Location));
            } else {
                identity.unusable.push(unusable_location(&location));
            }
        }
    }
    let trouble = worst(troubles);
    identity.failure = trouble.as_ref().map(PlatformError::of_connection);
    match trouble {
        Some(error) if identity.accounts.is_empty() && (leaves_open(&error) || seen.is_empty()) => Err(error),
        _ => Ok(identity),
    }
}

async fn locations(listing: &Listing<'_>, parent: &BusinessAccount, base: &str) -> Route<Location> {
    let query = [("readMask", READ_MASK), ("pageSize", "100")];
    let url = listing.url(base, &format!("/v1/{}/locations", parent.name), &query);
    let name = format!("locations of {}", parent.label);
    listing.route(name, url, &PAGING, |answer| read_locations(parent, answer)).await
}
