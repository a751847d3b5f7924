//! An answer, before it becomes actix's.

use std::io;

use actix_web::body::{BodyStream, BoxBody, MessageBody as _};
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::{HttpResponse, web};
use futures_util::stream;
use serde_json::{Value, json};

/// An answer of the sandbox.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Bytes(Vec<u8>),
    /// No byte: the connection is closed.
    Dropped,
    /// JSON of this many bytes.
    Oversized(usize),
}

/// The object without its null members: an answer leaves out what it does not have.
pub(super) fn without_nulls(mut object: Value) -> Value {
    if let Some(members) = object.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    object
}

impl Reply {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        Self::typed(status, "application/json; charset=utf-8", body.to_string().into_bytes())
            .header("cache-control", "no-store")
    }

    /// An error of OAuth 2.0 (RFC 6749, section 5.2).
    pub(super) fn oauth_error(status: u16, error: &str, description: &str) -> Self {
        Self::json(status, &json!({"error": error, "error_description": description}))
    }

    pub(super) fn html(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::typed(status, "text/html; charset=utf-8", body.into()).header("cache-control", "no-store")
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self::typed(status, "text/plain; charset=utf-8", body.as_bytes().to_vec())
    }

    pub(super) fn typed(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body: Body::Bytes(body) }
    }

    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(Vec::new()) }
    }

    pub(super) fn see_other(location: String) -> Self {
        Self::empty(303).header("location", location).header("cache-control", "no-store")
    }

    pub(super) fn dropped() -> Self {
        Self { status: 200, headers: Vec::new(), body: Body::Dropped }
    }

    pub(super) fn oversized(bytes: usize) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status: 200, headers, body: Body::Oversized(bytes) }
    }

    #[must_use]
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    #[must_use]
    pub(super) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Status that the broker sees; `None` when the connection is closed instead.
    pub(super) fn seen_status(&self) -> Option<u16> {
        match self.body {
            Body::Bytes(_) | Body::Oversized(_) => Some(self.status),
            Body::Dropped => None,
        }
    }

    pub(super) fn find_header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn into_response(self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(StatusCode::from_u16(self.status).unwrap_or(StatusCode::OK));
        for (name, value) in self.headers {
            // A sentence may quote the request; characters that a header cannot carry are left out.
            let value: String = value.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.append_header((HeaderName::from_static(name), value));
            }
        }
        match self.body {
            Body::Bytes(bytes) => response.body(bytes),
            Body::Oversized(bytes) => {
                const PART: &[u8] = &[b'x'; 64 * 1024];
                let begin = web::Bytes::from_static(b"{\"filler\":\"");
                let parts = std::iter::repeat_n(web::Bytes::from_static(PART), bytes / PART.len());
                let all = std::iter::once(begin).chain(parts).chain([web::Bytes::from_static(b"\"}")]);
                response.body(BodyStream::new(stream::iter(all.map(Ok::<_, io::Error>))).boxed())
            }
            // actix sends the head with the first part of the body, and closes the connection when that part fails.
            Body::Dropped => {
                let nothing = stream::once(async {
                    Err::<web::Bytes, _>(io::Error::other("the sandbox drops this connection on purpose"))
                });
                response.body(BodyStream::new(Box::pin(nothing)).boxed())
            }
        }
    }
}
