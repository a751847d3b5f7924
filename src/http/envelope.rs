//! The outermost middleware: gives every response its request id, its security headers and, for an error, its body.
//!
//! Errors are rendered for the caller and logged with their causes only here, and requests are counted only from here.
//! Invariant: every response of the application has these headers, whatever its status. The exception is what actix
//! rejects before there is a request: an unreadable head, or a header that is too large.

use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{Method, Uri};
use actix_web::middleware::Next;
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpResponse};
use futures_util::stream;
use tracing::{Instrument as _, field};

use super::dispatch::{Matched, Resources};
use super::error::{ApiError, Code, ErrorBody};
use super::meters::Meters;
use super::request::{peer, trace, unread};
use super::routes::Surface;
use super::{Current, pages};
use crate::domain::entropy::Entropy;
use crate::domain::error_chain::chain;

/// Longest path and query, in bytes.
const URI_MAX: usize = 8 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The policy of a response that is not a page: it may load nothing.
const BARE_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Routes that supervisors and load balancers ask. Prometheus asks another application, which logs nothing.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Identifies a request in the log. Never taken from the client, who could forge log lines with it.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(String);

impl RequestId {
    fn new(entropy: &dyn Entropy) -> Self {
        let mut random = [0; 16];
        entropy.fill(&mut random);
        let mut digits = uuid::Uuid::encode_buffer();
        Self(["req_", uuid::Uuid::from_bytes(random).simple().encode_lower(&mut digits)].concat())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The outermost middleware.
pub(crate) async fn envelope(
    meters: Rc<Meters>,
    mut req: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let state = Current::of(req.app_data())?;
    let id = RequestId::new(state.entropy.as_ref());
    let started = tokio::time::Instant::now();
    req.extensions_mut().insert(id.clone());
    let method = req.method().clone();
    let receiver = unread::keep(&mut req);
    // No path and no query, because both carry secrets on some routes; the route's pattern is logged below.
    // The span is at error level, so that every log line names its request, whatever the log level.
    let span = tracing::error_span!("request", request.id = %id, http.method = %method, trace.id = field::Empty);
    if let Some(trace) = trace::id(req.headers()) {
        span.record("trace.id", trace);
    }

    let res = if req.uri().path_and_query().is_some_and(|target| target.as_str().len() > URI_MAX) {
        req.error_response(ApiError::new(Code::UriTooLong))
    } else {
        strip_path(&mut req, state.settings.base_path(), &state.resources);
        next.call(req).instrument(span.clone()).await?.map_into_boxed_body()
    };

    let _entered = span.enter();
    let mut res = write_error(res, &id);
    let secure = state.settings.public_url.starts_with("https:");
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        res.headers_mut().insert(REQUEST_ID, id);
    }
    dress(res.headers_mut(), secure);
    let matched = res.request().extensions().get::<Matched>().map(|matched| matched.0);
    let route = matched.or_else(|| state.resources.pattern(res.request().path())).unwrap_or("none");
    let took = started.elapsed();
    log(&res, &state, route, took);
    meters.count(&method, route, res.status(), took);
    let res = if method == Method::HEAD { without_body(res) } else { res };
    Ok(unread::keep_beside(res, receiver))
}

/// Logs an answer. Probes come every few seconds, so those that find the broker well are at `debug`.
fn log(res: &ServiceResponse<BoxBody>, state: &Current, route: &str, took: Duration) {
    let client = || peer::address(res.request(), &state.settings.trusted_proxies).map(field::display);
    let (status, millis) = (res.status().as_u16(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    if PROBES.contains(&route) && res.status().is_success() {
        tracing::debug!(
            http.route = route,
            http.status = status,
            client.address = client(),
            duration_ms = millis,
            "answered"
        );
    } else {
        tracing::info!(
            http.route = route,
            http.status = status,
            client.address = client(),
            duration_ms = millis,
            "answered"
        );
    }
}

/// Removes the path of the public URL from the request's, which a proxy may have left there, before it is routed. A path
/// without a route is left alone: below `/connect`, a proxy that strips asks for `/connect/selection/…` as well.
fn strip_path(req: &mut ServiceRequest, base: &str, resources: &Resources) {
    if base.is_empty() {
        return;
    }
    let stripped = req.uri().path_and_query().and_then(|target| {
        let rest = target.as_str().strip_prefix(base)?;
        let rest = match rest.chars().next() {
            Some('/') => PathAndQuery::try_from(rest),
            Some('?') | None => PathAndQuery::try_from(format!("/{rest}")),
            Some(_) => return None,
        };
        rest.ok().filter(|rest| resources.pattern(rest.path()).is_some())
    });
    let Some(stripped) = stripped else { return };
    let mut parts = req.uri().clone().into_parts();
    parts.path_and_query = Some(stripped);
    if let Ok(uri) = Uri::from_parts(parts) {
        req.match_info_mut().get_mut().update(&uri);
        req.head_mut().uri = uri;
    }
}

/// Removes the body from the answer to a HEAD and keeps its length.
///
/// Actix leaves the body out, but looks at the newest request on the connection. A client that has already sent a GET
/// would take the body for the next answer.
pub(super) fn without_body(mut res: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if let BodySize::Sized(length) = res.response().body().size() {
        res.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        // For a stream that is not chunked, actix writes the length that the headers tell, and no frame.
        res.response_mut().head_mut().no_chunking(true);
    }
    res.map_body(|_, _| BoxBody::new(BodyStream::new(stream::empty::<Result<Bytes, Infallible>>())))
}

/// If the response is an error, logs it and adds its body.
fn write_error(res: ServiceResponse<BoxBody>, id: &RequestId) -> ServiceResponse<BoxBody> {
    let Some(error) = res.response().error() else { return res };
    let surface = res.request().extensions().get::<Surface>().copied().unwrap_or(Surface::Json);
    let answer = match error.as_error::<ApiError>() {
        Some(error) => answer(error, surface, id),
        // From one of actix's own extractors, whose text is not meant for callers.
        None if res.status().is_client_error() => {
            answer(&ApiError::new(Code::InvalidRequest).because(error.to_string()), surface, id)
        }
        None => answer(&ApiError::internal(error.to_string()), surface, id),
    };
    res.into_response(answer)
}

/// Logs an error and renders it for its reader.
fn answer(error: &ApiError, surface: Surface, id: &RequestId) -> HttpResponse {
    // These have their cause elsewhere, and it was logged where it was found.
    let elsewhere = [Code::IdentityUnresolved, Code::PdsUnreachable, Code::PrefetchRefused, Code::TokenUnavailable];
    if error.code == Code::CredentialsMissing {
        // Nothing failed: the operator has yet to set up a platform that a caller asks for.
        tracing::warn!(error.code = error.code.as_str(), error.chain = %chain(error), "a platform is not set up");
    } else if error.code.status().is_server_error() && !elsewhere.contains(&error.code) {
        tracing::error!(error.code = error.code.as_str(), error.chain = %chain(error), "request failed");
    } else {
        tracing::info!(error.code = error.code.as_str(), error.chain = %chain(error), "request refused");
    }
    let mut answer = HttpResponse::build(error.code.status());
    if let Some(after) = error.retry_after {
        // Rounded up: a caller that returns a fraction of a second early would be refused again.
        answer.insert_header((header::RETRY_AFTER, after.as_millis().div_ceil(1000).to_string()));
    }
    if let Some(allow) = &error.allow {
        answer.insert_header((header::ALLOW, allow.as_str()));
    }
    if error.close {
        answer.force_close();
    }
    match surface {
        Surface::Json => {
            answer.json(ErrorBody { error: &error.sentence, code: error.code.as_str(), request_id: id.as_str() })
        }
        Surface::Page => pages::problem(answer, error, id),
    }
}

/// Adds the headers that tell a browser what it may do with a response.
pub(super) fn dress(headers: &mut HeaderMap, secure: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if !headers.contains_key(header::REFERRER_POLICY) {
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    }
    headers.insert(header::CROSS_ORIGIN_OPENER_POLICY, HeaderValue::from_static("same-origin"));
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        headers.insert(header::CONTENT_SECURITY_POLICY, BARE_POLICY);
    }
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
}
