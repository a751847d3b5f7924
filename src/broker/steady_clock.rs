//! The clock, compared with the time that the process has run.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use super::Broker;
use crate::domain::steadiness::Steadiness;

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
    /// Compares the clock with the time that the process has run. From the first look on, nothing that was kept for long
    /// is deleted before the clock has run evenly for an hour.
    pub fn look_at_clock(&self) {
        let SteadyClock { began, looks } = &*self.steady_clock;
        looks.lock().unwrap_or_else(PoisonError::into_inner).look(self.clock.now(), began.elapsed());
    }

    /// True when the clock may decide what was kept for long enough.
    pub(super) fn trusts_clock(&self) -> bool {
        self.steady_clock.looks.lock().unwrap_or_else(PoisonError::into_inner).is_settled()
    }
}
