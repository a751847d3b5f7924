//! Tests of the whole application, in process: requests that go through every middleware to a broker with its own
//! database. `tests/api` runs whole connections over sockets.

mod envelope;
pub(super) mod fixture;
mod metrics;
mod pages;
mod resources;
