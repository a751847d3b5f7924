//! The clock, compared with the time that the process has run.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Broker;
use crate::domain::steadiness::Steadiness;
use crate::domain::time::Timestamp;

/// The looks at the clock since the process began, whatever was reloaded meanwhile.
#[derive(Debug)]
pub(super) struct SteadyClock {
    began: Instant,
    looks: Mutex<Steadiness>,
}

impl Default for SteadyClock {
    fn default() -> Self {
        Self { began: Instant::now(), looks: Mutex::default() }
    }
}

impl Broker {
    /// Compares the clock with the time that the process has run. From the first look on, nothing that was kept for
    /// long is deleted before the clock has run evenly for an hour.
    pub fn look_at_clock(&self) {
        let SteadyClock { began, looks } = &*self.steady_clock;
        looks.lock().unwrap_or_else(PoisonError::into_inner).look(self.clock.now(), began.elapsed());
    }

    /// The time, when it may decide what was kept for long enough. To be asked for each batch that is deleted: the
    /// clock may be set in between.
    pub(super) fn trusted_now(&self) -> Option<Timestamp> {
        let (SteadyClock { began, looks }, now) = (&*self.steady_clock, self.clock.now());
        looks.lock().unwrap_or_else(PoisonError::into_inner).trusts(now, began.elapsed()).then_some(now)
    }
}
