//! Bluesky, which has no OAuth here: a resolver of handles, a directory of DIDs, an AppView, and a server for accounts
//! (PDS) on a separate listener, because a DID document names a PDS by a bare origin.
//! <https://atproto.com/specs/xrpc>, <https://atproto.com/specs/handle>
//!
//! Below `{base}/bluesky`: `/xrpc/com.atproto.identity.resolveHandle`, `/xrpc/app.bsky.actor.getProfile`,
//! `/plc/{did}`. At the PDS: sessions, the session's profile, records. Sessions behave like those of the reference
//! PDS.

mod accounts;
mod identity;
mod session;

use serde_json::json;

pub(super) use accounts::find as find_account;
pub use accounts::{BlueskyAccount, Standing};
pub(super) use session::Sessions;

use super::answer::Reply;
use super::call::{Call, Fields};
use super::control::Control;
use super::page;
use super::problem::{Dead, Problem, Refusal};
use super::serve::{WHY, attend};
use super::step::Step;
use super::world::World;

pub(super) const NAME: &str = "bluesky";

/// The fictional accounts, with their passwords.
#[must_use]
pub const fn bluesky_accounts() -> &'static [BlueskyAccount] {
    accounts::ACCOUNTS
}

/// An error of XRPC.
#[derive(Debug)]
struct Refused {
    status: u16,
    error: &'static str,
    message: String,
}

impl Refused {
    fn new(status: u16, error: &'static str, message: &str) -> Self {
        Self { status, error, message: message.to_owned() }
    }

    fn invalid(message: &str) -> Self {
        Self::new(400, "InvalidRequest", message)
    }

    fn reply(&self) -> Reply {
        Reply::json(self.status, &json!({"error": self.error, "message": self.message}))
            .header(WHY, self.message.as_str())
    }
}

/// A method of XRPC.
struct Method {
    http: &'static str,
    id: &'static str,
    step: Step,
    answer: fn(&mut World, &Call) -> Result<Reply, Refused>,
}

const PROFILE: Method =
    Method { http: "GET", id: "app.bsky.actor.getProfile", step: Step::Profile, answer: identity::public_profile };
const RESOLVE: Method =
    Method { http: "GET", id: "com.atproto.identity.resolveHandle", step: Step::Resolve, answer: identity::resolve };

const RESOLVE_OWN: Method = Method { answer: identity::resolve_own, ..RESOLVE };

const APP_VIEW: &[Method] = &[PROFILE, RESOLVE];

const PDS: &[Method] = &[
    RESOLVE_OWN,
    Method { http: "GET", id: "app.bsky.actor.getProfile", step: Step::Profile, answer: identity::own_profile },
    Method { http: "GET", id: "com.atproto.repo.getRecord", step: Step::Profile, answer: identity::record },
    Method { http: "GET", id: "com.atproto.server.getSession", step: Step::Inspect, answer: session::get },
    Method { http: "POST", id: "com.atproto.server.createSession", step: Step::Session, answer: session::create },
    Method { http: "POST", id: "com.atproto.server.deleteSession", step: Step::Revoke, answer: session::delete },
    Method { http: "POST", id: "com.atproto.server.refreshSession", step: Step::Refresh, answer: session::refresh },
];

/// A request below `{base}/bluesky`.
pub(super) async fn public(control: &Control, call: Call) -> Reply {
    if let Some(file) = call.path.strip_prefix("/pictures/") {
        let known = accounts::ACCOUNTS.iter().filter_map(|account| account.handle.strip_suffix(".test"));
        return page::picture(known, file);
    }
    if call.path.starts_with("/plc/") && call.method == "GET" {
        let act = |world: &mut World| identity::document(world, &call);
        return attend(control, NAME, Step::DidDocument, &call, act, refuse).await;
    }
    dispatch(control, APP_VIEW, call).await
}

/// A request to the PDS.
pub(super) async fn pds(control: &Control, call: Call) -> Reply {
    dispatch(control, PDS, call).await
}

async fn dispatch(control: &Control, methods: &'static [Method], call: Call) -> Reply {
    let Some(id) = call.path.strip_prefix("/xrpc/") else {
        let why = format!("nothing is at {}", call.path);
        return Reply::json(404, &json!({"error": "NotFound", "message": why})).header(WHY, why);
    };
    let Some(method) = methods.iter().find(|method| method.id == id) else {
        return Refused::new(501, "MethodNotImplemented", "Method Not Implemented").reply();
    };
    if method.http != call.method {
        return Refused::invalid(&format!("Incorrect HTTP method ({}) expected {}", call.method, method.http)).reply();
    }
    let act = |world: &mut World| (method.answer)(world, &call).unwrap_or_else(|refused| refused.reply());
    attend(control, NAME, method.step, &call, act, refuse).await
}

/// The parameters of a query, checked strictly.
fn parameters<'a>(call: &'a Call, required: &[&str], optional: &[&str]) -> Result<Fields<'a>, Refused> {
    call.query(required, optional).map_err(|problem| Refused::invalid(&format!("Error: {problem}")))
}

/// An ordered fault in Bluesky's words.
fn refuse(refusal: &Refusal<'_>) -> Reply {
    let refused = match (refusal.problem, refusal.step) {
        (Problem::NoQuota | Problem::RateLimited, _) => {
            return Refused::new(429, "RateLimitExceeded", "Rate Limit Exceeded")
                .reply()
                .header("ratelimit-limit", "30")
                .header("ratelimit-remaining", "0")
                .header("ratelimit-policy", "30;w=300");
        }
        (Problem::ServerError, _) => Refused::new(500, "InternalServerError", "Internal Server Error"),
        (_, Step::DidDocument) => {
            return Reply::json(404, &json!({"message": "DID not registered"}))
                .header(WHY, refusal.problem.to_string());
        }
        (_, Step::Resolve) => identity::unresolved(),
        (_, Step::Session) => session::wrong(),
        (Problem::RefreshToken(Dead::Revoked) | Problem::Token(Dead::Revoked), _) => {
            Refused::new(400, "ExpiredToken", "Token has been revoked")
        }
        (Problem::RefreshToken(_) | Problem::Token(_), _) => Refused::new(400, "ExpiredToken", "Token has expired"),
        (problem, _) => Refused::invalid(&problem.to_string()),
    };
    refused.reply()
}
