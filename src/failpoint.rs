//! Places at which a test ends the process, as a crash would, to see what survives. A build without debug assertions has
//! none: nothing is looked at, and nothing can be armed.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<(String, AtomicU32)> = OnceLock::new();

/// The process ends when it reaches this place: `name`, or `name:N` for the Nth time. The first call counts.
pub fn arm(place: &str) {
    if cfg!(debug_assertions) {
        let (name, times) = place.split_once(':').unwrap_or((place, "1"));
        let armed = (name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1)));
        // Armed twice is armed the first time.
        let _ = ARMED.set(armed);
    }
}

/// A place where the process may be ended.
pub fn reach(place: &str) {
    if cfg!(debug_assertions)
        && let Some((name, times)) = ARMED.get()
        && name == place
        && times.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}
