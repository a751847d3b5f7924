//! Access control in front of every handler, driven by the table of `routes`.
//!
//! A browser on the console has a session in place of a key: [`session`].
//!
//! Invariant: a handler runs only after the access rule of its route is satisfied, and can learn its caller only
//! through [`Authenticated`]. Missing, malformed, unknown and revoked keys get the same answer; only who holds the
//! right key learns that it has expired, or does not work from their address. Wrong keys, states and tokens cost their
//! address; right ones work whatever it has spent, because a whole office may share it.

use std::future::{Ready, ready};
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, Service as _, ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName};
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt as _;

use super::console::session;
use super::context::Context;
use super::dispatch::Handler;
use super::error::{ApiError, Code};
use super::request::peer;
use super::routes::{Access, Route};
use super::{State, pages};
use crate::broker::{self, Caller};
use crate::domain::budget::Cost;

const ACCESS_KEY: HeaderName = HeaderName::from_static("x-access-key");
/// Longest value of `x-access-key`, in bytes.
const KEY_MAX: usize = 256;

/// Calls the handler of a route for those who may call it. A panic in the handler is answered as an internal error.
pub(super) async fn guard(
    route: &Route,
    handler: &Handler,
    state: &State,
    req: ServiceRequest,
) -> ServiceResponse<BoxBody> {
    Context::add(&req, |context| context.surface = route.surface);
    match admit(route, state, &req).await {
        Ok(caller) => Context::add(&req, |context| context.caller = caller),
        Err(error) => return req.error_response(error),
    }
    let request = req.request().clone();
    // Unwind-safe: the handler is not polled again, and the state it shares is behind locks that recover from
    // poisoning.
    let answer = match AssertUnwindSafe(handler.call(req)).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => ServiceResponse::from_err(error, request),
        Err(_logged_by_the_panic_hook) => ServiceResponse::from_err(ApiError::internal("a handler panicked"), request),
    };
    if route.access == Access::Public && route.cost == Some(Cost::Misses) && is_miss(&answer) {
        let spent = state.broker.spend(Cost::Misses, None, limited(answer.request(), state)).await;
        if let Err(exhausted) = spent {
            return ServiceResponse::from_err(ApiError::from(exhausted), answer.into_parts().0);
        }
    }
    answer
}

/// Checks who calls, and that they have not spent what the call costs.
async fn admit(route: &Route, state: &State, req: &ServiceRequest) -> Result<Option<Caller>, ApiError> {
    let limited = || limited(req.request(), state);
    let scope = match route.access {
        Access::Public => return Ok(None),
        Access::AnyKey => None,
        Access::Key(scope) | Access::Session(scope) => Some(scope),
    };
    let address = peer::address(req.request(), &state.settings.trusted_proxies);
    let found = if let Access::Session(_) = route.access {
        if route.changes() && !pages::is_from_console(req.headers(), &state.settings) {
            return Err(ApiError::new(Code::CrossSite));
        }
        // Whoever has no session is sent to sign in, and has guessed nothing.
        let tokens = session::presented(state, req);
        if tokens.is_empty() {
            return Err(ApiError::new(Code::InvalidAccessKey));
        }
        session::resume(state, req, tokens, address).await
    } else if let Some(key) = presented_key(req.headers()) {
        state.broker.authenticate(key, address).await
    } else {
        Err(broker::Error::AuthenticationRequired)
    };
    let caller = match found {
        Err(broker::Error::AuthenticationRequired) => {
            state.broker.spend(Cost::Misses, None, limited()).await?;
            return Err(ApiError::new(Code::InvalidAccessKey));
        }
        found => found?,
    };
    if let Some(scope) = scope.filter(|scope| !caller.may(*scope)) {
        return Err(broker::Error::ScopeMissing(scope).into());
    }
    if let Some(cost) = route.cost {
        state.broker.spend(cost, Some(&caller), limited()).await?;
    }
    Ok(Some(caller))
}

/// The address that limits count.
pub(super) fn limited(req: &HttpRequest, state: &State) -> Option<IpAddr> {
    peer::counted(req, &state.settings.trusted_proxies)
}

/// True when a state, a link, a selection token or a ticket was wrong.
fn is_miss(answer: &ServiceResponse<BoxBody>) -> bool {
    let error = answer.response().error().and_then(actix_web::Error::as_error::<ApiError>);
    error.is_some_and(|error| {
        matches!(error.code, Code::CallbackRefused | Code::LinkNotFound | Code::NotFound | Code::SelectionNotFound)
    })
}

/// Returns the value of `x-access-key`. A request with two such headers has no key: a proxy may have checked the other
/// one.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(ACCESS_KEY);
    let key = values.next()?.to_str().ok()?;
    (values.next().is_none() && !key.is_empty() && key.len() <= KEY_MAX).then_some(key)
}

/// Extracts the caller, on routes that require a key.
pub(crate) struct Authenticated(pub(crate) Caller);

impl FromRequest for Authenticated {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let caller = Context::of(req, |context| context.caller.clone());
        ready(caller.and_then(|caller| {
            caller.map(Self).ok_or_else(|| ApiError::internal("a public route asks for its caller"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn exactly_one_ascii_header_is_a_key() {
        let presented = |values: &[&[u8]]| {
            let pairs: Vec<_> = values.iter().map(|value| ("x-access-key", *value)).collect();
            presented_key(&headers(&pairs)).map(str::to_owned)
        };
        assert_eq!(presented(&[b"ppk_x"]).as_deref(), Some("ppk_x"));
        let long = [b'a'; KEY_MAX + 1];
        let wrong: [&[&[u8]]; 6] =
            [&[], &[b""], &[b"ppk_x", b"ppk_x"], &[b"ppk_x", b"other"], &[b"\xc3\xa9"], &[&long]];
        for wrong in wrong {
            assert_eq!(presented(wrong), None, "{wrong:?}");
        }
    }
}
