//! Bounds the work at platforms that goes on when its client is gone: exchanges of codes, registrations and sign-ins.
//!
//! Each holds a file descriptor for up to as long as a call may take. Anybody can run a server that never answers, begin
//! at it, and drop each connection at once. So there is a bound in all, servers of people's choice share a quarter of it,
//! and where there are several projects, one of them gets half of that quarter. A place is taken before the state is
//! consumed: without one, the connection stays as it is, to be tried again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Broker, Error};
use crate::domain::id::ProjectId;

/// Places for work that is under way. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct ExchangePlaces {
    all: Arc<Semaphore>,
    at_servers: Arc<Semaphore>,
    /// Most places at servers.
    most_at_servers: usize,
    /// Places at servers that are taken, by project.
    taken: Arc<Mutex<HashMap<ProjectId, usize>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _at_servers: Option<(OwnedSemaphorePermit, OfProject)>,
}

/// A place of a project's share, until it is dropped.
#[derive(Debug)]
struct OfProject {
    taken: Arc<Mutex<HashMap<ProjectId, usize>>>,
    project: ProjectId,
}

impl ExchangePlaces {
    /// `most`: places in all.
    pub(super) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        let most_at_servers = most.div_ceil(4);
        Self {
            all: Arc::new(Semaphore::new(most)),
            at_servers: Arc::new(Semaphore::new(most_at_servers)),
            most_at_servers,
            taken: Arc::default(),
        }
    }

    /// `at_server`: for a call to a server that somebody chose, its project and the number of parts that projects
    /// share.
    fn take(&self, at_server: Option<(ProjectId, u8)>) -> Option<Place> {
        let take = |places: &Arc<Semaphore>| places.clone().try_acquire_owned().ok();
        let at_servers = match at_server {
            Some((project, parts)) => Some((take(&self.at_servers)?, self.take_share(project, parts)?)),
            None => None,
        };
        Some(Place { _all: take(&self.all)?, _at_servers: at_servers })
    }

    fn take_share(&self, project: ProjectId, parts: u8) -> Option<OfProject> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(project).or_default();
        if *count >= self.most_at_servers.div_ceil(parts.into()) {
            return None;
        }
        *count += 1;
        Some(OfProject { taken: self.taken.clone(), project })
    }
}

impl Drop for OfProject {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.project) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.project);
            }
        }
    }
}

impl Broker {
    /// Takes a place for a call. `at_server_of`: the project, where the call is to a server that somebody chose.
    ///
    /// # Errors
    ///
    /// [`Error::TooManyExchanges`] when there is no place.
    pub(super) async fn take_place(&self, at_server_of: Option<ProjectId>) -> Result<Place, Error> {
        let at_server = match at_server_of {
            Some(project) => Some((project, self.parts().await?)),
            None => None,
        };
        self.exchange_places.take(at_server).ok_or_else(|| {
            let is_at_server = at_server_of.is_some();
            tracing::warn!(is_at_server, "too many calls to platforms are under way, so another one has to wait");
            Error::TooManyExchanges
        })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    fn project(number: u128) -> ProjectId {
        ProjectId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn servers_of_peoples_choice_share_a_quarter_of_the_places() {
        let places = ExchangePlaces::new(8);
        let at_server = Some((project(1), 1));
        let mut taken: Vec<Place> = (0..2).map(|_| places.take(at_server).unwrap()).collect();
        assert!(places.take(at_server).is_none());
        taken.extend((0..6).map(|_| places.take(None).unwrap()));
        assert!(places.take(None).is_none());
        taken.remove(0);
        // Neither kind keeps a place that it could not use.
        let platform = places.take(None).unwrap();
        assert!(places.take(at_server).is_none());
        drop(platform);
        assert!(places.take(at_server).is_some());
    }

    #[test]
    fn a_project_leaves_places_at_servers_to_the_others() {
        let places = ExchangePlaces::new(16);
        let (one, other) = (Some((project(1), 2)), Some((project(2), 2)));
        let mut taken: Vec<Place> = (0..2).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        let others = places.take(other).unwrap();
        taken.pop();
        taken.push(places.take(one).unwrap());
        assert!(places.take(one).is_none());
        drop((taken, others));
        assert!(places.taken.lock().unwrap().is_empty(), "who has no place is forgotten");
    }
}
