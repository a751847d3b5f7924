//! Integration tests: a real server and database, the sandbox for all platforms, a clock that tests move and seeded
//! entropy.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test stops where something is not as it should be"
)]

mod access;
mod accounts;
mod alive;
mod any_server;
mod atproto;
mod audit;
mod backups;
mod bad_input;
mod base_path;
mod binding;
mod bluesky;
mod bluesky_sandbox;
mod bound;
mod clocks;
mod completion;
mod console;
mod coverage;
mod crash;
mod crowds;
mod dns;
mod document;
mod faults;
mod first_version;
mod flows;
mod forgotten;
mod full_disk;
#[path = "../support/fuzz.rs"]
mod fuzz;
mod guard;
mod head;
mod hoarders;
mod integrations;
mod key_limits;
mod keys;
mod lifetimes;
mod limits;
mod links;
mod logs;
mod mastodon;
mod mended;
mod not_begun;
mod openid;
mod outbound;
#[path = "../support/own_address.rs"]
mod own_address;
mod own_platforms;
mod pacing;
mod pages;
mod people;
mod platforms;
mod power_cut;
mod presets;
mod process;
mod projects;
mod reach;
mod reconnect;
mod redirects;
mod refreshing;
mod refusals;
mod relabelled;
mod request_heads;
mod resources;
mod rotation;
mod sealed;
mod secrets;
mod selection;
mod several_secrets;
mod shapes;
mod shares;
mod signed;
#[path = "../support/small_disk.rs"]
mod small_disk;
mod stand_in;
mod storage;
mod support;
mod syncs;
mod tokens;
#[path = "../support/unbound.rs"]
mod unbound;
mod unrecorded;
mod upgrade;
mod wire;
