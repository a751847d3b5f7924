//! Named places at which a test aborts the process, as a crash would. Builds without debug assertions have none.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

static ARMED: OnceLock<(String, AtomicU32)> = OnceLock::new();

/// Makes the process abort when it reaches the place `name`, or the Nth time with `name:N`. Only the first call counts.
pub fn arm(place: &str) {
    if cfg!(debug_assertions) {
        let (name, times) = place.split_once(':').unwrap_or((place, "1"));
        let armed = (name.to_owned(), AtomicU32::new(times.parse().unwrap_or(1)));
        let _ = ARMED.set(armed);
    }
}

/// Aborts the process if this place is armed.
pub fn reach(place: &str) {
    if cfg!(debug_assertions)
        && let Some((name, times)) = ARMED.get()
        && name == place
        && times.fetch_sub(1, Ordering::SeqCst) == 1
    {
        std::process::abort();
    }
}
