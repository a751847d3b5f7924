//! How requests are read: path, query, body and the peer's address, each with its bounds.
//!
//! A handler lists what it needs as extractors ([`Segment`], [`Parameters`], [`Body`], [`Form`]). Invariant: a handler
//! runs only with values that were read whole and checked; everything else is an error of the API before it.

mod body;
pub(crate) mod fields;
mod path;
pub(crate) mod peer;
mod query;
pub(crate) mod unread;

pub(crate) use body::{Body, Form, FromMembers, Members};
pub(crate) use path::Segment;
pub(crate) use query::{FromQuery, NamedPage, OFFSET_MAX, Parameters, Query, invalid_parameter};
