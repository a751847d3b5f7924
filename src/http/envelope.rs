//! The outermost step: gives every response its request id, its security headers and, for an error, its body.
//!
//! Errors are rendered for the caller and logged with their causes only here, and requests are counted only from here.
//! A request is one line of the log, whether it was refused or not. What failed in the broker is a line of its own.
//! Invariant: every response of the application has these headers, whatever its status. [`refusal`](super::refusal)
//! writes the answers to what is rejected before there is a request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BodySize, BodyStream, BoxBody, MessageBody as _};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use actix_web::http::uri::PathAndQuery;
use actix_web::http::{Method, Uri};
use actix_web::web::Bytes;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use futures_util::stream;
use tracing::{Instrument as _, field};

use super::context::{Context, RequestId};
use super::dispatch::Resources;
use super::error::{ApiError, Code, ErrorBody, retry_after};
use super::meters::{self, Meters};
use super::request::{peer, trace, unread};
use super::routes::{CALLBACK, Surface};
use super::{State, console, pages, slices};
use crate::domain::error_chain::chain;
use crate::domain::id::AccessKeyId;

/// Longest path and query, in bytes; a callback's is as long as a head may be.
const URI_MAX: usize = 8 * 1024;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The policy of a response that is not a page: it may load nothing.
const BARE_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Routes that supervisors and load balancers ask. Prometheus asks another application, which logs nothing.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Calls `answer` for a request, and completes, logs and counts its response.
pub(super) async fn envelope(
    state: &Arc<State>,
    meters: &Meters,
    mut req: ServiceRequest,
    answer: impl AsyncFnOnce(ServiceRequest) -> ServiceResponse<BoxBody>,
) -> ServiceResponse<BoxBody> {
    let id = RequestId::new(state.entropy.as_ref());
    let started = tokio::time::Instant::now();
    req.extensions_mut().insert(Context::new(state.clone(), id));
    let method = req.method().clone();
    let receiver = unread::keep(&mut req);
    // No path and no query, because both carry secrets on some routes; the route's pattern is logged below. Only known
    // methods.
    // The span is at error level, so that every log line names its request, whatever the log level.
    let name = meters::name(&method);
    let span = tracing::error_span!("request", request.id = %id, http.method = name, trace.id = field::Empty);
    if let Some(trace) = trace::id(req.headers()) {
        span.record("trace.id", trace);
    }

    let is_too_long = req.uri().path_and_query().is_some_and(|target| target.as_str().len() > URI_MAX);
    strip_path(&mut req, state.settings.base_path(), &state.resources);
    // The platform wrote a callback, and its state ends the connection however long the rest is.
    let res = if is_too_long && state.resources.pattern(req.path()) != Some(CALLBACK) {
        let surface =
            state.resources.surface(req.path().strip_prefix(state.settings.base_path()).unwrap_or(req.path()));
        Context::add(&req, |context| context.surface = surface);
        req.error_response(ApiError::new(Code::UriTooLong))
    } else {
        answer(req).instrument(span.clone()).await
    };

    let _entered = span.enter();
    let (mut res, refusal) = write_error(res, state, &id);
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        res.headers_mut().insert(REQUEST_ID, id);
    }
    let matched = Context::of(res.request(), |context| context.pattern).ok().flatten();
    let route = matched.or_else(|| state.resources.pattern(res.request().path())).unwrap_or("none");
    dress(res.headers_mut(), state.settings.is_secure());
    if keeps_opener(route, res.headers()) {
        res.headers_mut().remove(header::CROSS_ORIGIN_OPENER_POLICY);
    }
    let took = started.elapsed();
    log(&res, state, route, took, refusal.as_ref());
    meters.count(&method, route, res.status(), took);
    let res = if method == Method::HEAD { without_body(res) } else { res.map_body(|_, body| slices::cut(body)) };
    unread::keep_beside(res, receiver)
}

/// Why a request was refused, for the log.
struct Refusal {
    code: &'static str,
    chain: String,
}

/// Logs an answer. Probes come every few seconds, so those that find the broker well are at `debug`.
fn log(res: &ServiceResponse<BoxBody>, state: &State, route: &str, took: Duration, refusal: Option<&Refusal>) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                http.route = route,
                http.status = res.status().as_u16(),
                client.address = peer::address(res.request(), &state.settings.trusted_proxies).map(field::display),
                access_key.id = key_of(res.request()).map(field::display),
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                error.code = refusal.map(|refusal| refusal.code),
                error.chain = refusal.map(|refusal| refusal.chain.as_str()),
                "answered"
            )
        };
    }
    if PROBES.contains(&route) && res.status().is_success() {
        line!(debug);
    } else {
        line!(info);
    }
}

fn key_of(req: &HttpRequest) -> Option<AccessKeyId> {
    Context::of(req, |context| context.caller.as_ref()?.access_key_id).ok().flatten()
}

/// Removes the path of the public URL from the request's, which a proxy may have left there, before it is routed. A
/// path without a route is left alone: below `/connect`, a proxy that strips asks for `/connect/selection/…` as well.
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

/// If the response is an error, adds its body, and returns why the request was refused.
fn write_error(
    res: ServiceResponse<BoxBody>,
    state: &State,
    id: &RequestId,
) -> (ServiceResponse<BoxBody>, Option<Refusal>) {
    let Some(error) = res.response().error() else { return (res, None) };
    let surface = Context::of(res.request(), |context| context.surface).unwrap_or(Surface::Json);
    let write = |error: &ApiError| (render(error, surface, state, res.request(), id), log_error(error));
    let (answer, refusal) = match error.as_error::<ApiError>() {
        Some(error) => write(error),
        // From one of actix's own extractors, whose text is not meant for callers.
        None if res.status().is_client_error() => {
            write(&ApiError::new(Code::InvalidRequest).because(error.to_string()))
        }
        None => write(&ApiError::internal(error.to_string())),
    };
    (res.into_response(answer), refusal)
}

/// Logs what failed in the broker. Returns what the log is to say beside the answer of everything else.
fn log_error(error: &ApiError) -> Option<Refusal> {
    // These have their cause elsewhere, and it was logged where it was found.
    let elsewhere = [Code::IdentityUnresolved, Code::PdsUnreachable, Code::PrefetchRefused, Code::TokenUnavailable];
    let (code, chain) = (error.code.as_str(), chain(error));
    if error.code == Code::CredentialsMissing {
        // Nothing failed: the operator has yet to set up a platform that a caller asks for.
        tracing::warn!(error.code = code, error.chain = %chain, "a platform is not set up");
    } else if error.code.status().is_server_error() && !elsewhere.contains(&error.code) {
        tracing::error!(error.code = code, error.chain = %chain, "request failed");
    } else {
        return Some(Refusal { code, chain });
    }
    None
}

/// Renders an error for its reader.
fn render(error: &ApiError, surface: Surface, state: &State, req: &HttpRequest, id: &RequestId) -> HttpResponse {
    let mut answer = HttpResponse::build(error.code.status());
    if let Some(after) = error.retry_after {
        answer.insert_header((header::RETRY_AFTER, retry_after(after)));
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
        Surface::Console => console::problem::show(answer, error, state, req),
        Surface::Page => pages::problem(answer, error, state, req),
    }
}

/// True for the pages of a connection, which an app may open in a popup. With an opener policy on them, the app would
/// take its popup for closed, and its own page, which comes last, could not find the opener.
fn keeps_opener(route: &str, headers: &HeaderMap) -> bool {
    // A redirect shows nothing, but browsers apply its policy.
    headers.contains_key(header::LOCATION) || route.starts_with("/connect/") || route == CALLBACK
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
