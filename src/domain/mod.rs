//! Types and decisions. No async, no I/O, no SQL, no HTTP, no clock of its own; knows nobody else in the house.

pub mod access_key;
pub mod account;
pub mod activity;
pub mod attempts;
pub mod audit;
pub mod binding;
pub mod bounds;
pub mod budget;
pub mod colour;
pub mod confirmation;
pub mod console_session;
pub mod eager_refreshes;
pub mod echo;
pub mod entropy;
pub mod error_chain;
pub mod failure;
pub mod flow;
pub mod grant;
pub mod health_list;
pub mod help;
pub mod id;
pub mod identity;
pub mod integration;
pub mod key_limits;
pub mod key_uses;
pub mod keyring;
pub mod link;
pub mod network;
pub mod oauth_app;
pub mod own_settings;
pub mod paging;
pub mod past_refreshes;
pub mod platform_error;
pub mod profile;
pub mod project;
pub mod proxy;
pub mod read_counts;
pub mod redirect;
pub mod refresh;
pub mod refresh_failure;
pub mod registration;
pub mod renewal;
pub mod scopes;
pub mod secret;
pub mod selection;
pub mod shell;
pub mod steadiness;
pub mod throttle;
pub mod time;
pub mod visible;
pub mod weigh;

/// A transition that the present state of a flow, a grant or a selection does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the present state does not allow this transition")]
pub struct InvalidTransition;
