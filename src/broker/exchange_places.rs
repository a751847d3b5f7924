//! Bounds the work at platforms that goes on when its client is gone: exchanges of codes, registrations and sign-ins.
//!
//! Each holds a file descriptor for up to as long as a call may take. Anybody can run a server that never answers, begin
//! at it, and drop each connection at once. So there is a bound in all, and servers of people's choice share a quarter of
//! it. A place is taken before the state is consumed: without one, the connection stays as it is, to be tried again.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;

/// Places for work that is under way. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ExchangePlaces {
    all: Arc<Semaphore>,
    at_servers: Arc<Semaphore>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _at_servers: Option<OwnedSemaphorePermit>,
}

impl ExchangePlaces {
    /// `most`: places in all.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(most)), at_servers: Arc::new(Semaphore::new(most.div_ceil(4))) }
    }

    /// `is_at_server`: at a server that somebody chose.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyExchanges`] when there is no place.
    pub(super) fn take(&self, is_at_server: bool) -> Result<Place, Error> {
        let take = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        let at_servers = if is_at_server { take(&self.at_servers).map(Some) } else { Some(None) };
        let place = at_servers.and_then(|at_servers| Some(Place { _at_servers: at_servers, _all: take(&self.all)? }));
        place.ok_or_else(|| {
            tracing::warn!(is_at_server, "too many calls to platforms are under way, so another one has to wait");
            Error::TooManyExchanges
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_peoples_choice_share_a_quarter_of_the_places() {
        let places = ExchangePlaces::new(8);
        let mut taken: Vec<Place> = (0..2).map(|_| places.take(true).unwrap()).collect();
        assert!(matches!(places.take(true), Err(Error::TooManyExchanges)));
        taken.extend((0..6).map(|_| places.take(false).unwrap()));
        assert!(matches!(places.take(false), Err(Error::TooManyExchanges)));
        taken.remove(0);
        // Neither kind keeps a place that it could not use.
        let platform = places.take(false).unwrap();
        assert!(places.take(true).is_err());
        drop(platform);
        assert!(places.take(true).is_ok());
    }
}
