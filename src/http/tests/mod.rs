//! The application as a whole, in process: a broker over a database of its own, a platform on loopback, and requests
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
