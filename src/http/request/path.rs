//! Path parameters.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};

use crate::http::error::ApiError;

/// Extracts the only parameter of a path, decoded. No path has two.
pub(crate) struct Segment(pub(crate) String);

impl FromRequest for Segment {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let segment = req.match_info().iter().next().map(|(_, value)| value.to_owned());
        ready(segment.map(Self).ok_or_else(|| ApiError::internal("a path without a parameter is asked for one")))
    }
}
