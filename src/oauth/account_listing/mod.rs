//! The accounts that a consent covers, where they are not the one that consented: Pages, locations, organizations.
//!
//! A listing is made of routes (ways of looking), each of pages. Invariants: a listing ends, in calls and in time; what
//! was found before trouble came is kept, and the trouble is reported with its route; only trouble that leaves nothing to
//! show is an error. Which URL is asked next is made here, never taken from an answer.

mod facebook;
mod google;
mod linkedin;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use super::identity::{endpoint, refusal};
use super::{Engine, json, tokens};
use crate::domain::account::{Account, Identity, RouteReport};
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::secret::SecretString;
use crate::outbound::{Authorization, Body, Request};
use crate::platforms::{Accounts, Platform, Unidentified};

/// Time for a whole listing. A person waits for it.
const WITHIN: Duration = Duration::from_secs(30);
/// Calls of a whole listing.
const MAX_CALLS: u32 = 200;
/// Pages of one route.
const MAX_PAGES: u32 = 50;
/// Calls at once.
const AT_ONCE: usize = 4;

impl Engine {
    /// The accounts behind `person`'s consent. `scopes`: those granted; none where that is not known.
    pub(super) async fn accounts(
        &self,
        platform: &Platform,
        person: Account,
        token: &SecretString,
        scopes: &[String],
    ) -> Result<Identity, PlatformError> {
        let listing = Listing {
            engine: self,
            platform,
            token,
            scopes,
            headers: Vec::new(),
            deadline: Instant::now() + WITHIN,
            calls: AtomicU32::new(0),
        };
        match &platform.identity.accounts {
            Accounts::FacebookPages => facebook::list(&listing, person).await,
            Accounts::GoogleLocations { accounts_url, locations_url } => {
                google::list(&listing, person, accounts_url, locations_url).await
            }
            Accounts::Itself => Ok(Identity::single(person)),
            Accounts::LinkedInOrganizations => linkedin::list(listing, person).await,
        }
    }
}

/// One listing, with what is left of its means.
struct Listing<'a> {
    engine: &'a Engine,
    platform: &'a Platform,
    token: &'a SecretString,
    scopes: &'a [String],
    headers: Vec<(&'static str, String)>,
    deadline: Instant,
    calls: AtomicU32,
}

/// How a platform cuts a listing into pages.
struct Paging {
    /// The query parameter that says where to go on.
    parameter: &'static str,
    /// Its value for the first page, where that is sent.
    first: Option<&'static str>,
    /// Its value for the page after this answer.
    next: fn(&Value) -> Option<String>,
}

/// What one way of looking brought, and the trouble that ended it.
struct Route<T> {
    /// For people.
    name: String,
    found: Vec<T>,
    trouble: Option<PlatformError>,
}

/// An answer's JSON, with every text in it overwritten when it goes: there may be tokens among them.
struct Answered(Value);

impl Drop for Answered {
    fn drop(&mut self) {
        tokens::wipe(&mut self.0);
    }
}

impl Listing<'_> {
    /// Whether `scope` was granted, as far as that is known.
    fn has(&self, scope: &str) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|granted| granted == scope)
    }

    /// Whether the operator has `scope` asked for.
    fn asks_for(&self, scope: &str) -> bool {
        self.platform.scopes.iter().any(|asked| asked == scope)
    }

    /// A URL from a base and a path, with `{version}` filled in. Neither holds anything that an answer said but ids made
    /// of letters and digits.
    fn url(&self, base: &str, path: &str) -> Result<Url, PlatformError> {
        let path = path.replace("{version}", &self.platform.api_version);
        endpoint(self.platform, Step::Accounts, &format!("{base}{path}"))
    }

    /// One call, made again where that could help, and what `read` finds in its answer.
    async fn get<T>(&self, url: &Url, read: impl Fn(&Value) -> Result<T, Unidentified>) -> Result<T, PlatformError> {
        let (platform, step) = (self.platform, Step::Accounts);
        if self.calls.fetch_add(1, Ordering::Relaxed) >= MAX_CALLS {
            return Err(PlatformError::new(&platform.name, step, Failure::ListingTooLong));
        }
        let request = || Request {
            method: Method::GET,
            url: url.clone(),
            authorization: Authorization::Bearer(self.token.clone()),
            headers: self.headers.clone(),
            body: Body::Empty,
        };
        let asked = self.engine.ask(platform, step, request, |answer| {
            if !answer.is_success() {
                return Err(refusal(platform, step, &answer));
            }
            let answered = Answered(json(&answer));
            read(&answered.0)
                .map_err(|why| PlatformError::new(&platform.name, step, why.into()).answered(answer.status, None))
        });
        let in_time = tokio::time::timeout_at(self.deadline, asked).await;
        in_time.unwrap_or_else(|_| Err(PlatformError::new(&platform.name, step, Failure::PlatformUnavailable)))
    }

    /// Every page from `url` on. What came before trouble is kept.
    async fn route<T>(
        &self,
        name: String,
        url: Result<Url, PlatformError>,
        paging: &Paging,
        read: impl Fn(&Value) -> Result<Vec<T>, Unidentified>,
    ) -> Route<T> {
        let mut route = Route { name, found: Vec::new(), trouble: None };
        let url = match url {
            Ok(url) => url,
            Err(error) => {
                route.trouble = Some(error);
                return route;
            }
        };
        let mut cursor = paging.first.map(str::to_owned);
        for _ in 0..MAX_PAGES {
            let mut page = url.clone();
            if let Some(cursor) = &cursor {
                page.query_pairs_mut().append_pair(paging.parameter, cursor);
            }
            match self.get(&page, |answer| Ok((read(answer)?, (paging.next)(answer)))).await {
                Ok((found, next)) => {
                    route.found.extend(found);
                    // A page that leads to itself leads nowhere.
                    if next.is_none() || next == cursor {
                        return route;
                    }
                    cursor = next;
                }
                Err(error) => {
                    route.trouble = Some(error);
                    return route;
                }
            }
        }
        route.trouble = Some(PlatformError::new(&self.platform.name, Step::Accounts, Failure::ListingTooLong));
        route
    }
}

impl<T> Route<T> {
    fn report(&self, platform: &Platform) -> RouteReport {
        report(platform, &self.name, self.found.len(), self.trouble.as_ref())
    }
}

/// What the person is told of a route. The operator is told of trouble in the log.
fn report(platform: &Platform, route: &str, found: usize, trouble: Option<&PlatformError>) -> RouteReport {
    if let Some(error) = trouble {
        tracing::warn!(
            platform.name = %platform.name, error = %error, next_step = %error.next_step(), found,
            "a listing of accounts is not whole"
        );
    }
    RouteReport {
        route: route.to_owned(),
        found: u32::try_from(found).unwrap_or(u32::MAX),
        trouble: trouble.map(|error| in_words(error, &platform.label)),
    }
}

/// A way of looking that was not tried, because the person did not give the permission for it.
fn not_permitted(route: &str, scope: &str) -> RouteReport {
    RouteReport { route: route.to_owned(), found: 0, trouble: Some(format!("the permission {scope} was not given")) }
}

/// Why a listing is not whole, for a person.
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
