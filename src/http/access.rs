//! Access control in front of every handler, driven by the table of `routes`.
//!
//! Invariant: a handler runs only after the access rule of its route is satisfied, and can learn its caller only
//! through [`Authenticated`]. Missing, malformed, unknown and revoked keys get the same answer; only who holds the right
//! key learns that it has expired, or does not work from their address.

use std::future::{Ready, ready};
use std::panic::AssertUnwindSafe;

use actix_web::body::BoxBody;
use actix_web::dev::{Payload, Service as _, ServiceRequest, ServiceResponse};
use actix_web::http::header::HeaderMap;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt as _;

use super::State;
use super::context::Context;
use super::dispatch::Handler;
use super::error::{ApiError, Code};
use super::request::peer;
use super::routes::{Access, Route};
use crate::broker::{self, Caller};

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
    match admit(route.access, state, &req).await {
        Ok(caller) => Context::add(&req, |context| context.caller = caller),
        Err(error) => return req.error_response(error),
    }
    let request = req.request().clone();
    // Unwind-safe: the handler is not polled again, and the state it shares is behind locks that recover from poisoning.
    match AssertUnwindSafe(handler.call(req)).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => ServiceResponse::from_err(error, request),
        Err(_logged_by_the_panic_hook) => ServiceResponse::from_err(ApiError::internal("a handler panicked"), request),
    }
}

async fn admit(access: Access, state: &State, req: &ServiceRequest) -> Result<Option<Caller>, ApiError> {
    let scope = match access {
        Access::Public => return Ok(None),
        Access::AnyKey => None,
        Access::Key(scope) => Some(scope),
    };
    let key = presented_key(req.headers()).ok_or_else(|| ApiError::new(Code::InvalidAccessKey))?;
    let address = peer::address(req.request(), &state.settings.trusted_proxies);
    let caller = state.broker.authenticate(key, address).await?;
    match scope {
        Some(scope) if !caller.may(scope) => Err(broker::Error::ScopeMissing(scope).into()),
        _ => Ok(Some(caller)),
    }
}

/// Returns the value of `x-access-key`. A request with two such headers has no key: a proxy may have checked the other
/// one.
fn presented_key(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("x-access-key");
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
