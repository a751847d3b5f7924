//! An error with everything that caused it.

use std::error::Error;
use std::iter;

/// The causes of an error, the nearest first.
pub fn sources(error: &dyn Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    iter::successors(error.source(), |source| (*source).source())
}

/// The error and all its sources, separated by colons, for one line of a log.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    sources(error).fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
