//! Answers to requests that actix never sees, because their head is malformed, too large or late.
//!
//! Invariant: they close the connection, and have the same headers as every other answer.

use std::fmt::Write as _;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap, HeaderValue};

use super::context::RequestId;
use super::envelope::{self, REQUEST_ID};

/// Writes an answer. `secure` as for [`envelope::dress`].
pub(super) fn write(
    status: StatusCode,
    id: Option<&RequestId>,
    media_type: &'static str,
    body: &str,
    secure: bool,
) -> Vec<u8> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    if let Some(id) = id.and_then(|id| HeaderValue::from_str(id.as_str()).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    envelope::dress(&mut headers, secure);
    let mut answer = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in &headers {
        let _ = write!(answer, "{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    answer.into_bytes()
}
