//! One refresh at a time for each grant: who wants one while it is under way waits for its end and shares it.
//!
//! A flight runs on the work runtime, whether or not anybody still waits. It leaves the list when it ends, however it ends:
//! a panic lands it without a result, and the next one may start. Whoever waits does so for a while only.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::Instrument as _;

use super::Broker;
use super::refresh::Unrefreshed;
use crate::domain::id::GrantId;

/// How long anybody waits for a flight: longer than a platform is given to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a flight ended: `Ok` when the grant's tokens are others than before.
pub(super) type Landing = Result<(), Unrefreshed>;

/// The flights under way, each with the place where its landing is announced.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<GrantId, watch::Receiver<Option<Landing>>>>);

/// Takes a flight off the list, then wakes those who wait: one that they start next is another.
struct Ticket {
    broker: Broker,
    grant: GrantId,
    landing: watch::Sender<Option<Landing>>,
    result: Option<Landing>,
}

impl Ticket {
    fn land(mut self, landing: Landing) {
        self.result = Some(landing);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.broker.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.grant);
        self.landing.send_replace(Some(self.result.take().unwrap_or(Err(Unrefreshed::Panicked))));
    }
}

impl Broker {
    /// Whether work on a grant is under way.
    pub(super) fn is_flying(&self, grant: GrantId) -> bool {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&grant)
    }

    /// Where a flight's landing is announced, and a ticket where it has yet to start.
    fn board(&self, grant: GrantId) -> (watch::Receiver<Option<Landing>>, Option<Ticket>) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(landing) = flights.get(&grant) {
            return (landing.clone(), None);
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(grant, receiver.clone());
        (receiver, Some(Ticket { broker: self.clone(), grant, landing: sender, result: None }))
    }

    /// Starts `work` on a grant, or joins the work that is under way on it, and waits for its landing.
    pub(super) async fn fly<Work>(&self, grant: GrantId, work: impl FnOnce(Self) -> Work) -> Landing
    where
        Work: Future<Output = Landing> + Send + 'static,
    {
        let (mut landing, ticket) = self.board(grant);
        if let Some(ticket) = ticket {
            let work = work(self.clone());
            let flight = async move { ticket.land(work.await) };
            self.tasks.spawn_on(flight.in_current_span(), &self.work);
        }
        let landed = tokio::time::timeout(PATIENCE, landing.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(landing)) => landing.unwrap_or(Err(Unrefreshed::Panicked)),
            Ok(Err(_)) => Err(Unrefreshed::Panicked),
            Err(_) => Err(Unrefreshed::TooSlow),
        }
    }
}
