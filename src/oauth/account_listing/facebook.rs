//! Lists Facebook Pages: the owner's, then those of each business portfolio that they belong to, each once.
//!
//! The connection fails where no Page can be connected and a failed call might have brought one.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::{AT_ONCE, Listing, MAX_CALLS, Paging, Route, leaves_open, not_permitted, report, reports, worst};
use crate::domain::account::{Account, AccountKind, FoundAccount, Identity, RouteReport, UnusableAccount};
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::platform_error::PlatformError;
use crate::domain::secret::SecretString;
use crate::platforms::facebook::{
    BUSINESS_SCOPE, Business, LIST_SCOPE, PAGE_FIELDS, Page, is_about_page, next_cursor, no_access, no_publishing_task,
    not_asked, not_told, read_businesses, read_page_token, read_pages,
};

const PAGING: Paging = Paging { parameter: "after", first: None, next: next_cursor };
const OWN: &str = "your Pages";
const BUSINESSES: &str = "Pages of your business portfolios";

pub(super) async fn list(listing: &Listing<'_>, person: Account) -> Result<Identity, PlatformError> {
    let own = pages(listing, OWN.to_owned(), "/me/accounts").await;
    let mut told = vec![own.report(listing.platform)];
    if own.found.is_empty() && own.trouble.is_none() && !listing.has(LIST_SCOPE) {
        // Facebook would answer with an empty list.
        told = vec![not_permitted(OWN, LIST_SCOPE)];
    }
    let (mut found, own_failed) = (own.found, own.trouble.is_some());
    let mut troubles = Vec::from_iter(own.trouble);
    if listing.has(BUSINESS_SCOPE) {
        let (routes, trouble) = business_pages(listing, &mut told).await;
        troubles.extend(trouble);
        for route in routes {
            found.extend(route.found);
            troubles.extend(route.trouble);
        }
    } else if listing.asks_for(BUSINESS_SCOPE) {
        told.push(not_permitted(BUSINESSES, BUSINESS_SCOPE));
    }
    let mut seen = HashSet::new();
    found.retain(|page| seen.insert(page.account.platform_user_id.clone()));
    let (accounts, unusable, refused) = sort(listing, found).await;
    troubles.extend(refused);
    let trouble = worst(troubles);
    let failure = trouble.as_ref().map(PlatformError::of_connection);
    match trouble {
        Some(error) if accounts.is_empty() && (leaves_open(&error) || (own_failed && seen.is_empty())) => Err(error),
        _ => Ok(Identity { subject: person.platform_user_id, accounts, unusable, routes: told, failure }),
    }
}

async fn pages(listing: &Listing<'_>, name: String, path: &str) -> Route<Page> {
    let path = format!("/{{version}}{path}");
    let url = |limit| listing.url(&listing.platform.api_url, &path, &[("fields", PAGE_FIELDS), ("limit", limit)]);
    let route = listing.route(name.clone(), url("100"), &PAGING, read_pages).await;
    let is_unknown_error = route.trouble.as_ref().is_some_and(|error| error.code.as_deref() == Some("1"));
    if !is_unknown_error {
        return route;
    }
    // "Please reduce the amount of data you're asking for" has this code, too.
    let smaller = listing.route(name, url("25"), &PAGING, read_pages).await;
    if smaller.found.len() < route.found.len() { route } else { smaller }
}

/// The Pages that the owner's businesses own, and those that they manage for clients; and why not all businesses are
/// known, if so.
async fn business_pages(
    listing: &Listing<'_>,
    told: &mut Vec<RouteReport>,
) -> (Vec<Route<Page>>, Option<PlatformError>) {
    let query = [("fields", "id,name"), ("limit", "100")];
    let url = listing.url(&listing.platform.api_url, "/{version}/me/businesses", &query);
    let businesses = listing.route(BUSINESSES.to_owned(), url, &PAGING, read_businesses).await;
    if businesses.trouble.is_some() {
        told.push(report(listing.platform, BUSINESSES, 0, businesses.trouble.as_ref()));
    }
    let ways = |business: &Business| {
        let (id, name) = (&business.id, &business.name);
        [
            (format!("Pages that {name} owns"), format!("/{id}/owned_pages")),
            (format!("Pages that {name} manages for clients"), format!("/{id}/client_pages")),
        ]
    };
    let asked: Vec<_> = businesses
        .found
        .iter()
        .flat_map(ways)
        .map(|(name, path)| async move { pages(listing, name, &path).await })
        .collect();
    let routes: Vec<Route<Page>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    told.extend(reports(listing.platform, &routes));
    (routes, businesses.trouble)
}

/// A Page that cannot be connected, and the failed call where there was one.
type Refused = (UnusableAccount, Option<PlatformError>);

/// Splits Pages into those that can be connected, with their tokens, and those that cannot, with the reason. Also
/// returns the calls that failed.
async fn sort(
    listing: &Listing<'_>,
    pages: Vec<Page>,
) -> (Vec<FoundAccount>, Vec<UnusableAccount>, Vec<PlatformError>) {
    let asked: Vec<_> = pages.into_iter().map(|page| async move { with_token(listing, page).await }).collect();
    let (mut accounts, mut unusable, mut troubles) = (Vec::new(), Vec::new(), Vec::new());
    let mut sorted = stream::iter(asked).buffered(AT_ONCE);
    while let Some(page) = sorted.next().await {
        match page {
            Ok(found) => accounts.push(found),
            Err((why, trouble)) => {
                unusable.push(why);
                troubles.extend(trouble);
            }
        }
    }
    let left_out = troubles.iter().filter(|error| error.failure == Failure::ListingTooLong).count();
    if left_out > 0 {
        tracing::warn!(
            platform.name = %listing.platform.name, calls = MAX_CALLS, pages = left_out,
            "cannot read the tokens of all Pages: it would take more calls than one connection may make"
        );
    }
    (accounts, unusable, troubles)
}

/// Adds the Page's token, which a business's listing may leave out.
async fn with_token(listing: &Listing<'_>, mut page: Page) -> Result<FoundAccount, Refused> {
    if page.publishes == Some(false) {
        return Err((no_publishing_task(&page), None));
    }
    let token = match page.token.take() {
        Some(token) => Some(token),
        None => page_token(listing, &page).await.map_err(|error| (why(listing, &page, &error), Some(error)))?,
    };
    match token {
        Some(token) => {
            Ok(FoundAccount { own_token: Some(token), ..FoundAccount::new(page.account, AccountKind::Page) })
        }
        None => Err((no_access(&page), None)),
    }
}

/// The reason why a Page has no token. Only a refusal that is about the Page says that the person has no access to it.
fn why(listing: &Listing<'_>, page: &Page, error: &PlatformError) -> UnusableAccount {
    if error.failure == Failure::ListingTooLong {
        return not_asked(page, MAX_CALLS);
    }
    tracing::warn!(platform.name = %listing.platform.name, error = %chain(error), "cannot read a Page's token");
    let is_refused = error.failure == Failure::PermissionMissing && error.code.as_deref().is_some_and(is_about_page);
    if is_refused { no_access(page) } else { not_told(page) }
}

async fn page_token(listing: &Listing<'_>, page: &Page) -> Result<Option<SecretString>, PlatformError> {
    let path = format!("/{{version}}/{}", page.account.platform_user_id);
    let url = listing.url(&listing.platform.api_url, &path, &[("fields", "access_token")])?;
    listing.get(&url, read_page_token).await
}
