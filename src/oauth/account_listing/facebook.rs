//! Lists Facebook Pages: the owner's, then those of each business portfolio that they belong to, each once.
//!
//! The connection fails only when the owner's own listing fails and nothing else was found.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::{AT_ONCE, Listing, Paging, Route, not_permitted, report};
use crate::domain::account::{Account, AccountKind, FoundAccount, Identity, RouteReport, UnusableAccount};
use crate::domain::failure::Failure;
use crate::domain::platform_error::PlatformError;
use crate::domain::secret::SecretString;
use crate::platforms::facebook::{
    BUSINESS_SCOPE, Business, LIST_SCOPE, PAGE_FIELDS, Page, next_cursor, no_access, no_publishing_task, not_asked,
    read_businesses, read_page_token, read_pages,
};

const PAGING: Paging = Paging { parameter: "after", first: None, next: next_cursor };
const OWN: &str = "your Pages";
const BUSINESSES: &str = "Pages of your business portfolios";

pub(super) async fn list(listing: &Listing<'_>, person: Account) -> Result<Identity, PlatformError> {
    let own = pages(listing, OWN.to_owned(), "/me/accounts").await;
    let mut reports = vec![own.report(listing.platform)];
    if own.found.is_empty() && own.trouble.is_none() && !listing.has(LIST_SCOPE) {
        // Facebook would answer with an empty list.
        reports = vec![not_permitted(OWN, LIST_SCOPE)];
    }
    let mut found = own.found;
    if listing.has(BUSINESS_SCOPE) {
        for route in business_pages(listing, &mut reports).await {
            found.extend(route.found);
        }
    } else if listing.asks_for(BUSINESS_SCOPE) {
        reports.push(not_permitted(BUSINESSES, BUSINESS_SCOPE));
    }
    if let Some(error) = own.trouble
        && found.is_empty()
    {
        return Err(error);
    }
    let mut seen = HashSet::new();
    found.retain(|page| seen.insert(page.account.platform_user_id.clone()));
    let (accounts, unusable) = sort(listing, found).await;
    Ok(Identity { subject: person.platform_user_id, accounts, unusable, routes: reports })
}

async fn pages(listing: &Listing<'_>, name: String, path: &str) -> Route<Page> {
    let url = listing.url(&listing.platform.api_url, &format!("/{{version}}{path}")).map(|mut url| {
        url.query_pairs_mut().append_pair("fields", PAGE_FIELDS).append_pair("limit", "100");
        url
    });
    listing.route(name, url, &PAGING, read_pages).await
}

/// The Pages that the owner's businesses own, and those that they manage for clients.
async fn business_pages(listing: &Listing<'_>, reports: &mut Vec<RouteReport>) -> Vec<Route<Page>> {
    let url = listing.url(&listing.platform.api_url, "/{version}/me/businesses").map(|mut url| {
        url.query_pairs_mut().append_pair("fields", "id,name").append_pair("limit", "100");
        url
    });
    let businesses = listing.route(BUSINESSES.to_owned(), url, &PAGING, read_businesses).await;
    if businesses.trouble.is_some() {
        reports.push(report(listing.platform, BUSINESSES, 0, businesses.trouble.as_ref()));
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
    reports.extend(routes.iter().map(|route| route.report(listing.platform)));
    routes
}

/// Splits Pages into those that can be connected, with their tokens, and those that cannot, with the reason.
async fn sort(listing: &Listing<'_>, pages: Vec<Page>) -> (Vec<FoundAccount>, Vec<UnusableAccount>) {
    let asked: Vec<_> = pages.into_iter().map(|page| async move { with_token(listing, page).await }).collect();
    let mut accounts = Vec::new();
    let mut unusable = Vec::new();
    let mut sorted = stream::iter(asked).buffered(AT_ONCE);
    while let Some(page) = sorted.next().await {
        match page {
            Ok(found) => accounts.push(found),
            Err(why) => unusable.push(why),
        }
    }
    (accounts, unusable)
}

/// Adds the Page's token, which a business's listing may leave out.
async fn with_token(listing: &Listing<'_>, mut page: Page) -> Result<FoundAccount, UnusableAccount> {
    if page.publishes == Some(false) {
        return Err(no_publishing_task(&page));
    }
    let token = match page.token.take() {
        Some(token) => Some(token),
        None => page_token(listing, &page).await.map_err(|error| {
            tracing::warn!(platform.name = %listing.platform.name, error = %error, "cannot read a Page's token");
            if error.failure.is_transient() || error.failure == Failure::ListingTooLong {
                not_asked(&page)
            } else {
                no_access(&page)
            }
        })?,
    };
    match token {
        Some(token) => Ok(FoundAccount { account: page.account, kind: AccountKind::Page, own_token: Some(token) }),
        None => Err(no_access(&page)),
    }
}

async fn page_token(listing: &Listing<'_>, page: &Page) -> Result<Option<SecretString>, PlatformError> {
    let path = format!("/{{version}}/{}", page.account.platform_user_id);
    let mut url = listing.url(&listing.platform.api_url, &path)?;
    url.query_pairs_mut().append_pair("fields", "access_token");
    listing.get(&url, |answer| Ok(read_page_token(answer))).await
}
