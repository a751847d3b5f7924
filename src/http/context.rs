//! The broker's knowledge of a request: one extension, which [`envelope`](super::envelope) adds and the other steps
//! complete.
//!
//! Invariant: a request goes on with the state that it found at its start, whatever a reload replaces meanwhile.

use std::fmt;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};

use super::State;
use super::error::ApiError;
use super::routes::Surface;
use crate::broker::Caller;
use crate::broker::console::SessionToken;
use crate::domain::entropy::Entropy;

/// Identifies a request in the log. Never taken from the client, who could forge log lines with it.
#[derive(Clone, Copy)]
pub(crate) struct RequestId([u8; Self::LENGTH]);

impl RequestId {
    const PREFIX: &[u8; 4] = b"req_";
    const LENGTH: usize = Self::PREFIX.len() + 32;

    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        let mut random = [0; 16];
        entropy.fill_public(&mut random);
        let mut text = [0; Self::LENGTH];
        let (prefix, digits) = text.split_at_mut(Self::PREFIX.len());
        prefix.copy_from_slice(Self::PREFIX);
        // Cannot fail: there is room for all digits.
        let _ = hex::encode_to_slice(random, digits);
        Self(text)
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a request.
pub(super) struct Context {
    pub(super) state: Arc<State>,
    pub(super) id: RequestId,
    /// Documented path of the resource that it was routed to.
    pub(super) pattern: Option<&'static str>,
    /// Who reads the answer: a program, until its route is found.
    pub(super) surface: Surface,
    /// The owner of its access key, on routes that require one.
    pub(super) caller: Option<Caller>,
    /// The session that it belongs to, on routes that require one.
    pub(super) session: Option<SessionToken>,
}

impl Context {
    pub(super) fn new(state: Arc<State>, id: RequestId) -> Self {
        Self { state, id, pattern: None, surface: Surface::Json, caller: None, session: None }
    }

    /// Looks at what is known. An error in a request that did not come through the envelope, which is a bug.
    pub(super) fn of<T>(req: &HttpRequest, look: impl FnOnce(&Self) -> T) -> Result<T, ApiError> {
        req.extensions().get().map(look).ok_or_else(|| ApiError::internal("a request without its context"))
    }

    /// Adds to what is known.
    pub(super) fn add(req: &ServiceRequest, add: impl FnOnce(&mut Self)) {
        if let Some(context) = req.extensions_mut().get_mut() {
            add(context);
        }
    }
}

/// Extracts the state that a request found.
pub(crate) struct Current(Arc<State>);

impl Current {
    pub(crate) fn of(req: &HttpRequest) -> Result<Self, ApiError> {
        Context::of(req, |context| Self(context.state.clone()))
    }
}

impl Deref for Current {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl FromRequest for Current {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Self::of(req))
    }
}
