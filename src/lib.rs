//! postpeer: a self-hosted OAuth broker for social accounts.
//!
//! # The idea
//!
//! 1. A **platform is a value** ([`platforms`]): URLs, enums for the quirks that several share, and pure functions for what
//!    only it does. A new platform is one file and one line; an operator's own, in TOML, becomes the same kind of value.
//! 2. All talk with platforms goes through **one engine** ([`oauth`]) over **one HTTP client** ([`outbound`]); all SQL is
//!    in **one folder** ([`store`]); plaintext becomes sealed and back in **one place** ([`vault`]); the order of those
//!    steps, the use case, is in **one folder** ([`broker`]) that knows no web framework. Bluesky, which has no redirect,
//!    has an engine of its own ([`atproto`]); hosts that a user chose are called through [`outbound::Guard`] only.
//! 3. A **grant** is one consent at one platform under one OAuth app, and owns the tokens. An **integration** is one
//!    account that a caller can use.
//! 4. The database is touched in short closures and **never while the network is in flight**.
//! 5. **What a reviewer would have to remember, a lint or a test knows**: see `clippy.toml` and `tests/house.rs`.
//!
//! # Who may know whom
//!
//! ```text
//! main ─► cli ─► app ─► server ─► background
//!          │      │        └────► http ──► broker ─► store, vault
//!          │      └─► config                  └────► oauth, atproto ─► platforms, outbound
//!          └─► sandbox                     everybody ─► domain ─► nothing of ours
//! ```
//!
//! `store` does not know `vault`: it takes and gives sealed values. `http` knows only `broker` (and the types of
//! `domain`). `sandbox` imitates the platforms from their documentation and knows only `domain`, so that it does not repeat
//! the broker's mistakes. `config` knows `platforms`, whose values it makes. Whoever has something to count calls the
//! `metrics` crate; [`telemetry`] has the list of what is counted, and `server` shows it where the operator wants it. The
//! whole table is in `tests/house.rs`.
//!
//! # A connection, step by step
//!
//! `broker::begin` checks what the caller asks for and stores it as a flow under a hashed, one-time state.
//! `broker::callback` matches a callback to its flow and lets exactly one attempt finish it, on a runtime that neither a
//! vanished browser nor a stopping server cancels. `broker::exchange` consumes the state, exchanges the code, stores the
//! answer before reading it, and asks who connected. `broker::record` stores grant and integrations in one transaction.
//! `broker::revocation` gives back what cannot be kept.
//!
//! # A token, from then on
//!
//! `broker::refresher` keeps it fresh, one refresh at a time for each grant; its module doc says why no step may be left
//! out. `broker::tokens` hands the token out, and has it refreshed where it would not last. `broker::recovery` continues
//! what a crash cut off.

pub mod app;
pub mod atproto;
pub mod background;
pub mod broker;
pub mod cli;
pub mod config;
pub mod domain;
pub mod failpoint;
pub mod http;
pub mod oauth;
pub mod outbound;
pub mod platforms;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
pub mod vault;
