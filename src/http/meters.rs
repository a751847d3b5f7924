//! Counts requests for `/metrics`.
//!
//! Each worker keeps its handles, because looking one up by its labels costs more than counting. Invariant: labels are
//! patterns of the table of routes and words of this file, never something that a client sent, so there are few.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};

/// The handles of one worker.
#[derive(Default)]
pub(crate) struct Meters(RefCell<HashMap<Labels, (Counter, Histogram)>>);

/// Route, method and status.
type Labels = (&'static str, &'static str, StatusCode);

impl Meters {
    /// Counts a request. `route` is a pattern of the table of routes, never a path.
    pub(super) fn count(&self, method: &Method, route: &'static str, status: StatusCode, took: Duration) {
        let method = name(method);
        let mut handles = self.0.borrow_mut();
        let (count, seconds) = handles.entry((route, method, status)).or_insert_with(|| {
            let status = status.as_str().to_owned();
            (
                counter!("postpeer_http_requests_total", "method" => method, "route" => route, "status" => status),
                histogram!("postpeer_http_request_seconds", "route" => route),
            )
        });
        count.increment(1);
        seconds.record(took);
    }
}

/// The method's name for metrics and the log. Clients can invent any number of methods: each label value stays in
/// memory, and whoever leaves out the method sends what should follow it, such as a key, in its place.
pub(super) fn name(method: &Method) -> &'static str {
    match method.as_str() {
        "CONNECT" => "CONNECT",
        "DELETE" => "DELETE",
        "GET" => "GET",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        "POST" => "POST",
        "PUT" => "PUT",
        "TRACE" => "TRACE",
        _ => "other",
    }
}
