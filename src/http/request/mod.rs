//! Reads requests: path, query, body, the client's address and its trace, each within limits.
//!
//! A handler lists what it needs as extractors: [`Segment`], [`Parameters`], [`Body`], [`Unread`]. Invariant: a handler
//! sees only complete, checked values. A value that fails a check is answered with an `ApiError` before the handler
//! runs.

mod body;
pub(crate) mod cookies;
pub(crate) mod fields;
mod path;
pub(crate) mod peer;
mod query;
mod spelling;
pub(crate) mod trace;
pub(crate) mod unread;

pub(crate) use body::{
    Body, BodyRoom, CHOICE_BODY_MAX, FORM_MAX, Form, FromMembers, Members, PASSWORD_FORM_MAX, Unread,
};
pub(crate) use path::Segment;
pub(crate) use query::{FromQuery, NamedPage, OFFSET_MAX, Parameters, Query, invalid_parameter};
