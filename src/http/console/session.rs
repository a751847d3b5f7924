//! Who is signed in: finds the session of a request, and reads the forms of its pages.

use std::future::{Future, Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{FromRequest, HttpRequest};

use crate::broker::console::SessionToken;
use crate::broker::{self, Caller};
use crate::domain::secret::Digest256;
use crate::http::State;
use crate::http::context::Context;
use crate::http::error::{ApiError, Code};
use crate::http::request::{Form, Unread, cookies};

/// Name of the hidden field in every form.
pub(crate) const FIELD: &str = "session";

/// Longest form of a page of the console, in bytes.
const SESSION_FORM_MAX: usize = 64 * 1024;

/// The sessions that a request names.
pub(in crate::http) fn presented(state: &State, req: &ServiceRequest) -> Vec<SessionToken> {
    cookies::sessions(req.headers(), state.settings.is_console_secure())
}

/// The caller of a request that names these sessions: that of the one that is not over. Two of them are a contradiction:
/// another host of the site may have set one, so that what the operator enters goes to its project. Both end.
pub(in crate::http) async fn resume(
    state: &State,
    req: &ServiceRequest,
    tokens: Vec<SessionToken>,
    address: Option<IpAddr>,
) -> Result<Caller, broker::Error> {
    let (mut found, mut failed) = (Vec::new(), broker::Error::AuthenticationRequired);
    for token in tokens {
        match state.broker.resume_session(&token, address).await {
            Ok(caller) => found.push((caller, token)),
            Err(broker::Error::AuthenticationRequired) => {}
            Err(error @ broker::Error::KeyUnusable(_)) => failed = error,
            Err(error) => return Err(error),
        }
    }
    if found.len() > 1 {
        tracing::warn!("a browser named several sessions of the console at once, so they were ended");
        for (caller, token) in &found {
            state.broker.sign_out(caller, token).await?;
        }
        return Err(broker::Error::AuthenticationRequired);
    }
    let (caller, token) = found.pop().ok_or(failed)?;
    Context::add(req, |context| context.session = Some(token));
    Ok(caller)
}

/// Extracts who is signed in, on routes that require it.
pub(crate) struct SignedIn {
    pub(crate) caller: Caller,
    pub(crate) token: SessionToken,
}

/// Extracts a form of one of the session's pages.
pub(crate) struct Sent {
    pub(crate) caller: Caller,
    pub(crate) token: SessionToken,
    pub(crate) form: Form,
}

impl FromRequest for Sent {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let signed_in = SignedIn::from_request(req, payload).into_inner();
        let unread = Unread::from_request(req, payload).into_inner();
        Box::pin(async move {
            let SignedIn { caller, token } = signed_in?;
            let form = unread?.form(SESSION_FORM_MAX).await?;
            let given = form.fields().text(FIELD)?.unwrap_or_default();
            // Digests are compared in constant time.
            let is_own = Digest256::of(given.as_bytes()) == Digest256::of(token.form_value().as_bytes());
            if is_own { Ok(Self { caller, token, form }) } else { Err(ApiError::new(Code::CrossSite)) }
        })
    }
}

impl FromRequest for SignedIn {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let found = Context::of(req, |context| context.caller.clone().zip(context.session.clone()));
        ready(found.and_then(|found| {
            let (caller, token) = found.ok_or_else(|| ApiError::internal("a page without a session asks for it"))?;
            Ok(Self { caller, token })
        }))
    }
}
