//! Lists the accounts that a consent covers beyond the one that consented: Pages, locations, organizations.
//!
//! A listing has several routes (ways to find accounts), each with pages. Invariants: a listing is bounded in calls and
//! in time. Accounts found before a failure are kept, and the failure is reported with its route; it is an error only
//! where there is nothing to connect and a complete search might find something. The next URL is built here, never
//! taken from an answer.

mod facebook;
mod google;
mod linkedin;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::OauthClient;
use super::error_answer::api_refusal;
use super::identity::{endpoint, unread};
use crate::domain::account::{Account, Identity, RouteReport};
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::secret::SecretString;
use crate::outbound::{Authorization, Request, wipe};
use crate::platforms::{Accounts, Platform, Unidentified};

/// Time limit of a whole listing: someone waits in front of a browser.
const WITHIN: Duration = Duration::from_secs(30);
/// Most calls of a whole listing.
const MAX_CALLS: u32 = 200;
/// Most pages of one route.
const MAX_PAGES: u32 = 50;
/// Most calls in flight.
const AT_ONCE: usize = 4;

impl OauthClient<'_> {
    /// Lists the accounts behind `person`'s consent. `scopes`: the granted ones; empty when they are unknown.
    pub(super) async fn accounts(
        &self,
        person: Account,
        token: &SecretString,
        scopes: &[String],
    ) -> Result<Identity, PlatformError> {
        let listing = Listing {
            client: self,
            platform: &self.platform,
            token,
            scopes,
            headers: Vec::new(),
            deadline: Instant::now() + WITHIN,
            calls: AtomicU32::new(0),
        };
        match &self.platform.identity.accounts {
            Accounts::FacebookPages => facebook::list(&listing, person).await,
            Accounts::GoogleLocations { accounts_url, locations_url } => {
                google::list(&listing, person, accounts_url, locations_url).await
            }
            Accounts::Itself => Ok(Identity::single(person)),
            Accounts::LinkedInOrganizations => linkedin::list(listing, person).await,
        }
    }
}

/// A listing, with the calls and the time that it has left.
struct Listing<'a> {
    client: &'a OauthClient<'a>,
    platform: &'a Platform,
    token: &'a SecretString,
    scopes: &'a [String],
    headers: Vec<(Cow<'static, str>, String)>,
    deadline: Instant,
    calls: AtomicU32,
}

/// How a platform pages a listing.
struct Paging {
    /// The query parameter that takes the cursor.
    parameter: &'static str,
    /// The cursor of the first page, where the platform expects one.
    first: Option<&'static str>,
    /// The cursor of the next page, if there is one. An error: there is one, and no way to ask for it.
    next: fn(&Value) -> Result<Option<String>, Unidentified>,
}

/// The accounts that one route found, and the failure that ended it.
struct Route<T> {
    /// Name for people.
    name: String,
    /// True when its first page was read.
    was_read: bool,
    found: Vec<T>,
    trouble: Option<PlatformError>,
}

/// An answer's JSON. Its strings are overwritten on drop, because some may be tokens.
struct Answered(Value);

impl Drop for Answered {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Listing<'_> {
    /// True when `scope` was granted, or when the granted scopes are unknown.
    fn has(&self, scope: &str) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|granted| granted == scope)
    }

    /// True when the operator configured `scope`.
    fn asks_for(&self, scope: &str) -> bool {
        self.platform.scopes.iter().any(|asked| asked == scope)
    }

    /// Joins base and path, with `{version}` filled in, and the query. Only ids of letters and digits may come from an
    /// answer.
    fn url(&self, base: &str, path: &str, query: &[(&str, &str)]) -> Result<Url, PlatformError> {
        let path = path.replace("{version}", &self.platform.api_version);
        let mut url = endpoint(self.platform, Step::Accounts, &format!("{base}{path}"))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Makes one call, retries failures that pass, and reads the answer with `read`.
    async fn get<T>(&self, url: &Url, read: impl Fn(&Value) -> Result<T, Unidentified>) -> Result<T, PlatformError> {
        let (platform, step) = (self.platform, Step::Accounts);
        if self.calls.fetch_add(1, Ordering::Relaxed) >= MAX_CALLS {
            return Err(self.failed(Failure::ListingTooLong));
        }
        let request = || Request {
            authorization: Authorization::Bearer(self.token.clone()),
            headers: self.headers.clone(),
            ..Request::get(url.clone())
        };
        let asked = self.client.ask(step, request, |answer| {
            if !answer.is_success() {
                return Err(api_refusal(platform, step, &answer));
            }
            let answered = Answered(answer.json());
            read(&answered.0).map_err(|why| unread(platform, step, &answered.0, (answer.status, &answer.sent), why))
        });
        let in_time = tokio::time::timeout_at(self.deadline, asked).await;
        in_time.unwrap_or_else(|_| Err(self.failed(Failure::PlatformUnavailable)))
    }

    /// Reads all pages from `url` on. Keeps what was found before a failure.
    async fn route<T>(
        &self,
        name: String,
        url: Result<Url, PlatformError>,
        paging: &Paging,
        read: impl Fn(&Value) -> Result<Vec<T>, Unidentified>,
    ) -> Route<T> {
        let mut route = Route { name, was_read: false, found: Vec::new(), trouble: None };
        route.trouble = self.read_pages(&mut route, url, paging, read).await.err();
        route
    }

    async fn read_pages<T>(
        &self,
        route: &mut Route<T>,
        url: Result<Url, PlatformError>,
        paging: &Paging,
        read: impl Fn(&Value) -> Result<Vec<T>, Unidentified>,
    ) -> Result<(), PlatformError> {
        let url = url?;
        let mut cursor = paging.first.map(str::to_owned);
        for _ in 0..MAX_PAGES {
            let mut page = url.clone();
            if let Some(cursor) = &cursor {
                page.query_pairs_mut().append_pair(paging.parameter, cursor);
            }
            let (found, next) = self.get(&page, |answer| Ok((read(answer)?, (paging.next)(answer)))).await?;
            route.was_read = true;
            route.found.extend(found);
            match next {
                Ok(None) => return Ok(()),
                // A page that names itself as the next would never end.
                Ok(next) if next != cursor => cursor = next,
                Ok(_) | Err(_) => return Err(self.failed(Failure::PlatformAnswerUnreadable)),
            }
        }
        Err(self.failed(Failure::ListingTooLong))
    }

    fn failed(&self, failure: Failure) -> PlatformError {
        PlatformError::new(&self.platform.name, Step::Accounts, failure)
    }
}

impl<T> Route<T> {
    fn report(&self, platform: &Platform) -> RouteReport {
        report(platform, &self.name, self.found.len(), self.trouble.as_ref())
    }

    /// True when the listing had no call left for it.
    fn was_left_out(&self) -> bool {
        let is_too_long = |error: &PlatformError| error.failure == Failure::ListingTooLong;
        !self.was_read && self.trouble.as_ref().is_some_and(is_too_long)
    }
}

/// The reports of several routes. Those that the listing had no call left for have one in common.
fn reports<T>(platform: &Platform, routes: &[Route<T>]) -> Vec<RouteReport> {
    let mut reports: Vec<RouteReport> =
        routes.iter().filter(|route| !route.was_left_out()).map(|route| route.report(platform)).collect();
    let left_out: Vec<&Route<T>> = routes.iter().filter(|route| route.was_left_out()).collect();
    if let [first, others @ ..] = &left_out[..] {
        tracing::warn!(
            platform.name = %platform.name, calls = MAX_CALLS, lists = left_out.len(),
            "a listing of accounts is incomplete: it would take more calls than one connection may make"
        );
        let route = match others.len() {
            0 => first.name.clone(),
            count => format!("{} and {count} more lists", first.name),
        };
        let trouble = format!(
            "this service asks {} at most {MAX_CALLS} times for one connection, and not for these",
            platform.label
        );
        reports.push(RouteReport { route, found: 0, trouble: Some(trouble) });
    }
    reports
}

/// The failure that says best how an incomplete search ends: one that passes, else one that leaves open what there is.
fn worst(troubles: Vec<PlatformError>) -> Option<PlatformError> {
    troubles.into_iter().min_by_key(|error| (!error.failure.is_transient(), !leaves_open(error)))
}

/// True for a failure after which nobody knows what a complete search would find. A refusal for want of a permission,
/// and any other with a code, is an answer; so is a listing that was cut.
fn leaves_open(error: &PlatformError) -> bool {
    match error.failure {
        Failure::IdentityUnavailable => error.code.is_none(),
        Failure::ListingTooLong | Failure::PermissionMissing => false,
        _ => true,
    }
}

/// The report of a route for the account's owner. A failure is also logged for the operator.
fn report(platform: &Platform, route: &str, found: usize, trouble: Option<&PlatformError>) -> RouteReport {
    if let Some(error) = trouble {
        tracing::warn!(
            platform.name = %platform.name, error = %chain(error),
            next_step = %error.next_step(platform.console()), found, "a listing of accounts is incomplete"
        );
    }
    RouteReport {
        route: route.to_owned(),
        found: u32::try_from(found).unwrap_or(u32::MAX),
        trouble: trouble.map(|error| in_words(error, &platform.label)),
    }
}

/// The report of a route that was skipped because the owner did not grant its permission.
fn not_permitted(route: &str, scope: &str) -> RouteReport {
    RouteReport { route: route.to_owned(), found: 0, trouble: Some(format!("the permission {scope} was not given")) }
}

/// The reason why a listing is incomplete, for the account's owner.
fn in_words(error: &PlatformError, label: &str) -> String {
    match error.failure {
        Failure::AccessNotApproved => format!("{label} has not approved this service for access to its API"),
        Failure::ApiVersionRetired => {
            format!("this service asks {label} in a version of its API that was retired")
        }
        Failure::ListingTooLong => "there are more than can be shown".to_owned(),
        Failure::PermissionMissing => "a permission for it was not given".to_owned(),
        Failure::PlatformAnswerUnreadable => format!("{label} answered in a way that could not be understood"),
        Failure::PlatformThrottled => format!("{label} is receiving too many requests right now"),
        Failure::PlatformUnavailable => format!("{label} did not answer in time or is having trouble"),
        _ => format!("{label} refused to list them"),
    }
}
