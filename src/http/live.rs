//! The state that requests find, which a reload replaces while others are under way.

use std::sync::{Arc, PoisonError, RwLock};

use super::State;

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
