//! The state that requests find, which a reload replaces while others are under way.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use super::context::RequestId;
use super::error::{Code, ErrorBody};
use super::{ConnectionLimits, State, refusal};

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

    /// The limits for the connections of this peer.
    #[must_use]
    pub fn connection_limits(&self, peer: IpAddr) -> ConnectionLimits {
        let settings = &self.get().settings;
        let is_proxy = settings.trusted_proxies.iter().any(|network| network.contains(peer));
        let limits = settings.connections;
        ConnectionLimits { per_address: limits.per_address.filter(|_| !is_proxy), ..limits }
    }

    /// Writes the answer to a request that is not read, and logs it at debug: whoever sends garbage could fill the log.
    #[must_use]
    pub fn refusal(&self, code: Code) -> Vec<u8> {
        let state = self.get();
        let id = RequestId::new(state.entropy.as_ref());
        tracing::debug!(request.id = %id, error.code = code.as_str(), "request refused unread");
        let body = ErrorBody { error: code.sentence(), code: code.as_str(), request_id: id.as_str() };
        let body = serde_json::to_string(&body).unwrap_or_default();
        refusal::write(code.status(), Some(&id), "application/json", &body, state.settings.is_secure())
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
