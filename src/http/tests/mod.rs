//! Tests of the whole application, in process: a broker with its own database, a platform on loopback, and requests
//! that go through every middleware.

mod access;
mod bodies;
mod connecting;
mod envelope;
pub(super) mod fixture;
mod metrics;
mod pages;
mod resources;
mod wire;
