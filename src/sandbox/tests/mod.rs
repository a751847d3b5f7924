//! The sandbox as its users see it: over a real connection and through its handle.

mod authorize;
mod bench;
mod bluesky;
mod connections;
mod controls;
mod facebook;
mod faults;
mod googlebusiness;
mod linkedin;
mod pages;
mod refreshes;
mod revocations;
mod strictness;
mod words;

use bench::{Bench, Got, pairs, percent};
