//! The table of all routes: method, path, who may call it, and its handler.
//!
//! [`dispatch`](super::dispatch) finds routes in this table, the OpenAPI document takes its security from it, and tests
//! iterate over it. Invariant: nothing is served that is not in the table, and each line says who may call it. A fixed
//! path comes before one that has a parameter in the same place.

use actix_web::http::Method;
use actix_web::web;

use super::api::{
    apps, audit, bluesky, completion, connect, health, integrations, links, platforms, profiles, selection, tokens,
};
use super::{console, pages};
use crate::domain::access_key::Scope;
use crate::domain::budget::Cost;

/// Who may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any valid key, whatever its scopes.
    AnyKey,
    /// A key with this scope.
    Key(Scope),
    /// Anyone, without a key.
    Public,
    /// A browser that is signed in to the console with a key of this scope.
    Session(Scope),
}

/// Who reads the response. Decides the format of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surface {
    /// The operator in a browser: errors are pages of the console, and whoever is not signed in is sent to sign in.
    Console,
    /// A program: errors are JSON.
    Json,
    /// A person in a browser: errors are HTML.
    Page,
}

/// One line of the table.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    /// The same resource is served under each of these; the first is the documented one.
    pub paths: &'static [&'static str],
    pub access: Access,
    pub surface: Surface,
    /// What a call costs, see `[limits]`.
    pub cost: Option<Cost>,
    /// True for a GET that uses something up. It does not answer HEAD, because monitors and link previews send HEAD.
    spends: bool,
    handler: fn() -> actix_web::Route,
}

impl Route {
    /// The methods that reach the handler: HEAD is answered like GET, without the body.
    pub fn methods(&self) -> impl Iterator<Item = &Method> {
        let head = self.method == Method::GET && !self.spends;
        std::iter::once(&self.method).chain(head.then_some(&Method::HEAD))
    }

    /// True when a call may change something, or use it up.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.method != Method::GET || self.spends
    }

    /// The handler, which [`access`](super::access) calls for those who may call it.
    pub(super) fn handler(&self) -> actix_web::Route {
        (self.handler)()
    }

    /// Builds a route that is in no table.
    #[cfg(test)]
    pub(crate) const fn for_test(
        paths: &'static [&'static str],
        access: Access,
        surface: Surface,
        handler: fn() -> actix_web::Route,
    ) -> Self {
        Self { method: Method::GET, paths, access, surface, cost: None, spends: false, handler }
    }
}

const fn api(
    method: Method,
    paths: &'static [&'static str],
    access: Access,
    handler: fn() -> actix_web::Route,
) -> Route {
    Route { method, paths, access, surface: Surface::Json, cost: None, spends: false, handler }
}

const fn page(method: Method, paths: &'static [&'static str], handler: fn() -> actix_web::Route) -> Route {
    let (access, surface) = (Access::Public, Surface::Page);
    Route { method, paths, access, surface, cost: None, spends: false, handler }
}

const fn operator(
    method: Method,
    paths: &'static [&'static str],
    access: Access,
    handler: fn() -> actix_web::Route,
) -> Route {
    Route { method, paths, access, surface: Surface::Console, cost: None, spends: false, handler }
}

/// A form of the console that changes something, for whoever signed in with a key that may manage.
const fn form(paths: &'static [&'static str], handler: fn() -> actix_web::Route) -> Route {
    costs(Cost::Writes, operator(Method::POST, paths, MANAGES, handler))
}

/// Marks a GET that uses something up: a state, a code, a refresh token.
const fn spends(mut route: Route) -> Route {
    route.spends = true;
    route
}

/// Says what a call costs.
const fn costs(cost: Cost, mut route: Route) -> Route {
    route.cost = Some(cost);
    route
}

/// Marks a public route that takes a state, a token or a key: each wrong one costs. A handler that takes a key counts
/// it itself.
const fn guessed(route: Route) -> Route {
    costs(Cost::Misses, route)
}

const APPS: &[&str] = &["/v1/apps/", "/v1/apps"];
const APP: &[&str] = &["/v1/apps/{id}"];
/// The path that platforms send people back to. Its query is a secret.
pub(super) const CALLBACK: &str = "/v1/connect/{platform}/callback";
const CONFIRMATION: &[&str] = &["/connect/confirm/{token}"];
const FACEBOOK_SELECTION: &[&str] = &["/v1/connect/facebook/selection/{token}"];
const FLOW_COMPLETION: &[&str] = &["/v1/connect/flows/{id}/complete"];
const GOOGLEBUSINESS_SELECTION: &[&str] = &["/v1/connect/googlebusiness/selection/{token}"];
const INTEGRATIONS: &[&str] = &["/v1/connect/integrations"];
const INTEGRATION: &[&str] = &["/v1/connect/integrations/{id}"];
const INTEGRATION_TOKEN: &[&str] = &["/v1/connect/integrations/{id}/token"];
const LINK: &[&str] = &["/v1/connect/links/{id}"];
const LINK_PAGE: &[&str] = &["/connect/link/{token}"];
const LINKEDIN_SELECTION: &[&str] = &["/v1/connect/linkedin/selection/{token}"];
const PROFILES: &[&str] = &["/v1/profiles/", "/v1/profiles"];
const PROFILE: &[&str] = &["/v1/profiles/{id}"];
const SELECTION_PAGE: &[&str] = &["/connect/selection/{token}"];

const CONNECT: Access = Access::Key(Scope::Connect);
const MANAGE: Access = Access::Key(Scope::Manage);
const READ: Access = Access::Key(Scope::Read);
const TOKENS: Access = Access::Key(Scope::Tokens);

const CONNECTS: Access = Access::Session(Scope::Connect);
const MANAGES: Access = Access::Session(Scope::Manage);
const READS: Access = Access::Session(Scope::Read);

/// All routes of the API.
pub static ROUTES: &[Route] = &[
    api(Method::GET, &["/assets/{file}"], Access::Public, || web::to(pages::assets::get)),
    guessed(page(Method::GET, CONFIRMATION, || web::to(pages::confirmation::show))),
    guessed(page(Method::POST, CONFIRMATION, || web::to(pages::confirmation::submit))),
    guessed(page(Method::GET, LINK_PAGE, || web::to(pages::link::show))),
    guessed(page(Method::POST, LINK_PAGE, || web::to(pages::link::submit))),
    guessed(page(Method::GET, &["/connect/result/{ticket}"], || web::to(pages::ending::result))),
    guessed(spends(page(Method::GET, &["/connect/result/{ticket}/retry"], || web::to(pages::ending::retry)))),
    guessed(page(Method::GET, SELECTION_PAGE, || web::to(pages::selection::show))),
    guessed(page(Method::POST, SELECTION_PAGE, || web::to(pages::selection::submit))),
    page(Method::GET, &["/documentation"], || web::to(pages::documentation::page)),
    api(Method::GET, &["/documentation/json"], Access::Public, || web::to(pages::documentation::json)),
    api(Method::GET, &["/healthz"], Access::Public, || web::to(health::alive)),
    api(Method::GET, &["/readyz"], Access::Public, || web::to(health::ready)),
    api(Method::GET, APPS, READ, || web::to(apps::list)),
    costs(Cost::Writes, api(Method::POST, APPS, MANAGE, || web::to(apps::create))),
    costs(Cost::Writes, api(Method::DELETE, APP, MANAGE, || web::to(apps::delete))),
    api(Method::GET, APP, READ, || web::to(apps::get)),
    costs(Cost::Writes, api(Method::PATCH, APP, MANAGE, || web::to(apps::update))),
    api(Method::GET, &["/v1/audit"], MANAGE, || web::to(audit::list)),
    guessed(api(Method::GET, FACEBOOK_SELECTION, Access::Public, || web::to(selection::facebook::get))),
    guessed(api(Method::POST, FACEBOOK_SELECTION, Access::Public, || web::to(selection::facebook::submit))),
    costs(Cost::Writes, api(Method::POST, FLOW_COMPLETION, CONNECT, || web::to(completion::complete))),
    guessed(api(Method::GET, GOOGLEBUSINESS_SELECTION, Access::Public, || web::to(selection::googlebusiness::get))),
    guessed(api(Method::POST, GOOGLEBUSINESS_SELECTION, Access::Public, || web::to(selection::googlebusiness::submit))),
    costs(Cost::Writes, api(Method::POST, &["/v1/connect/links"], CONNECT, || web::to(links::create))),
    costs(Cost::Writes, api(Method::DELETE, LINK, CONNECT, || web::to(links::revoke))),
    api(Method::GET, LINK, CONNECT, || web::to(links::get)),
    guessed(api(Method::GET, LINKEDIN_SELECTION, Access::Public, || web::to(selection::linkedin::get))),
    guessed(api(Method::POST, LINKEDIN_SELECTION, Access::Public, || web::to(selection::linkedin::submit))),
    api(Method::GET, INTEGRATIONS, READ, || web::to(integrations::list)),
    costs(Cost::Writes, api(Method::DELETE, INTEGRATION, MANAGE, || web::to(integrations::disconnect))),
    api(Method::GET, INTEGRATION, READ, || web::to(integrations::get)),
    costs(Cost::Writes, api(Method::PATCH, INTEGRATION, MANAGE, || web::to(integrations::relocate))),
    spends(api(Method::GET, INTEGRATION_TOKEN, TOKENS, || web::to(tokens::get))),
    costs(Cost::Starts, spends(api(Method::GET, &["/v1/connect/{platform}"], CONNECT, || web::to(connect::begin)))),
    costs(Cost::Bluesky, api(Method::POST, &["/v1/connect/bluesky/auth"], CONNECT, || web::to(bluesky::connect))),
    guessed(spends(page(Method::GET, &[CALLBACK], || web::to(pages::callback::finish)))),
    api(Method::GET, &["/v1/health"], Access::Public, || web::to(health::check)),
    api(Method::GET, &["/v1/health/auth"], Access::AnyKey, || web::to(health::check_key)),
    api(Method::GET, &["/v1/platforms"], READ, || web::to(platforms::list)),
    api(Method::GET, PROFILES, READ, || web::to(profiles::list)),
    costs(Cost::Writes, api(Method::POST, PROFILES, MANAGE, || web::to(profiles::create))),
    costs(Cost::Writes, api(Method::DELETE, PROFILE, MANAGE, || web::to(profiles::delete))),
    api(Method::GET, PROFILE, READ, || web::to(profiles::get)),
    costs(Cost::Writes, api(Method::PATCH, PROFILE, MANAGE, || web::to(profiles::update))),
];

const CONSOLE_APPS: &[&str] = &["/console/apps"];
const CONSOLE_KEYS: &[&str] = &["/console/keys"];
const CONSOLE_PROFILES: &[&str] = &["/console/profiles"];
const CONSOLE_SIGN_IN: &[&str] = &["/console/sign-in"];

/// The operator's pages, where the configuration asks for them.
pub static CONSOLE_ROUTES: &[Route] = &[
    operator(Method::GET, &["/console"], MANAGES, || web::to(console::home::show)),
    operator(Method::GET, &["/console/accounts"], READS, || web::to(console::accounts::list)),
    operator(Method::GET, &["/console/accounts/{id}"], READS, || web::to(console::account::show)),
    form(&["/console/accounts/{id}/disconnect"], || web::to(console::account::disconnect)),
    form(&["/console/accounts/{id}/move"], || web::to(console::account::relocate)),
    costs(
        Cost::Starts,
        operator(Method::POST, &["/console/accounts/{id}/reconnect"], CONNECTS, || {
            web::to(console::account::reconnect)
        }),
    ),
    operator(Method::GET, CONSOLE_APPS, READS, || web::to(console::apps::list)),
    form(CONSOLE_APPS, || web::to(console::apps::create)),
    form(&["/console/apps/{id}/delete"], || web::to(console::apps::delete)),
    form(&["/console/apps/{id}/secret"], || web::to(console::apps::replace_secret)),
    operator(Method::GET, &["/console/audit"], MANAGES, || web::to(console::trail::list)),
    operator(Method::GET, CONSOLE_KEYS, MANAGES, || web::to(console::keys::list)),
    form(CONSOLE_KEYS, || web::to(console::keys::create)),
    form(&["/console/keys/{id}/revoke"], || web::to(console::keys::revoke)),
    operator(Method::GET, &["/console/platforms"], READS, || web::to(console::platforms::list)),
    operator(Method::GET, CONSOLE_PROFILES, READS, || web::to(console::profiles::list)),
    form(CONSOLE_PROFILES, || web::to(console::profiles::create)),
    form(&["/console/profiles/{id}"], || web::to(console::profiles::update)),
    form(&["/console/profiles/{id}/delete"], || web::to(console::profiles::delete)),
    operator(Method::GET, CONSOLE_SIGN_IN, Access::Public, || web::to(console::sign_in::show)),
    guessed(operator(Method::POST, CONSOLE_SIGN_IN, Access::Public, || web::to(console::sign_in::submit))),
    form(&["/console/sign-out"], || web::to(console::sign_in::sign_out)),
];

/// The files of the console, for a listener that serves it alone.
pub static CONSOLE_FILES: &[Route] =
    &[api(Method::GET, &["/assets/{file}"], Access::Public, || web::to(pages::assets::get))];

/// Additional routes of `postpeer demo`.
pub static DEMO_ROUTES: &[Route] = &[
    page(Method::GET, &["/"], || web::to(pages::demo::index)),
    page(Method::GET, &["/demo/accounts/{id}"], || web::to(pages::demo::details)),
    page(Method::POST, &["/demo/bluesky"], || web::to(pages::demo::connect_bluesky)),
    page(Method::POST, &["/demo/connect/{platform}"], || web::to(pages::demo::connect)),
    page(Method::POST, &["/demo/disconnect/{id}"], || web::to(pages::demo::disconnect)),
    page(Method::POST, &["/demo/token/{id}"], || web::to(pages::demo::token)),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_route_is_listed_twice_and_each_resource_is_contiguous() {
        let all = || ROUTES.iter().chain(CONSOLE_ROUTES).chain(DEMO_ROUTES);
        let mut lines = BTreeSet::new();
        for route in all() {
            for path in route.paths {
                assert!(lines.insert((route.method.as_str(), *path)), "{} {path} twice", route.method);
            }
        }
        let mut pieces = BTreeSet::new();
        for table in [ROUTES, CONSOLE_ROUTES, DEMO_ROUTES] {
            for resource in table.chunk_by(|a, b| a.paths == b.paths) {
                assert!(pieces.insert(resource[0].paths), "{:?} is listed in two places", resource[0].paths);
            }
        }
    }

    /// Reading with a valid key costs nothing; whatever changes something does.
    #[test]
    fn each_change_costs_and_no_read_does() {
        for route in ROUTES.iter().chain(CONSOLE_ROUTES) {
            let is_read = !route.changes() || route.access == Access::Key(Scope::Tokens);
            match route.access {
                Access::Public => assert!(!route.changes() || route.cost == Some(Cost::Misses), "{:?}", route.paths),
                _ => assert_eq!(route.cost.is_none(), is_read, "{} {:?}", route.method, route.paths),
            }
        }
    }

    /// Otherwise `/v1/connect/integrations` would be routed to a platform of that name.
    #[test]
    fn fixed_paths_come_before_parameters() {
        let catches = |pattern: &str, path: &str| {
            let (pattern, path): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
            pattern.len() == path.len() && pattern.iter().zip(&path).all(|(p, s)| p.starts_with('{') || p == s)
        };
        let paths: Vec<&str> = ROUTES.iter().flat_map(|route| route.paths).copied().collect();
        for (at, path) in paths.iter().enumerate() {
            for earlier in &paths[..at] {
                assert!(earlier == path || !catches(earlier, path), "{earlier} hides {path}");
            }
        }
    }
}
