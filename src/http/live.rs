//! The state that requests find, which a reload replaces while others are under way.
//!
//! Invariant: a request goes on with the state that its handler found.

use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use super::State;
use super::error::ApiError;

/// The state for requests from now on. Cheap to clone.
#[derive(Clone)]
pub struct Live(Arc<RwLock<Arc<State>>>);

impl Live {
    #[must_use]
    pub fn new(state: State) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(state))))
    }

    pub fn replace(&self, state: State) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }

    /// Starts no refresh any more, for whoever asks.
    pub fn refuse_refreshes(&self) {
        self.get().broker.refresher().stop();
    }

    pub(super) fn get(&self) -> Arc<State> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl From<State> for Live {
    fn from(state: State) -> Self {
        Self::new(state)
    }
}

/// The state that a request found.
pub(crate) struct Current(Arc<State>);

impl Current {
    /// `live`: what the app has.
    pub(crate) fn of(live: Option<&Live>) -> Result<Self, ApiError> {
        live.map(|live| Self(live.get())).ok_or_else(|| ApiError::internal("the app has no state"))
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
        ready(Self::of(req.app_data()))
    }
}
