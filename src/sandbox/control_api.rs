//! The controls over HTTP, for people and for tests in other processes. JSON in, JSON out.

use std::time::Duration;

use actix_web::HttpRequest;
use serde::Deserialize;
use serde_json::json;
use strum::VariantArray as _;

use super::answer::Reply;
use super::bluesky::Standing;
use super::configuration::known;
use super::control::Control;
use super::step::{Fault, Step};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct OrderFault {
    platform: String,
    step: String,
    fault: String,
    #[serde(default = "once")]
    times: u32,
    delay_ms: Option<u64>,
}

const fn once() -> u32 {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtStep {
    step: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AtPlatform {
    platform: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WithDid {
    did: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stand {
    did: String,
    standing: String,
}

/// Answers a request below `/_control`; `path` is what follows.
pub(super) fn answer(control: &Control, request: &HttpRequest, path: &str, body: &[u8]) -> Reply {
    let post = request.method() == actix_web::http::Method::POST;
    if request.method() == actix_web::http::Method::GET && path == "/requests" {
        return Reply::json(200, &json!({"requests": control.requests()}));
    }
    if !post {
        return refuse(
            404,
            "GET /_control/requests, or POST /_control/{expire,faults,hold,impersonate,release,reset,revoke,standing}",
        );
    }
    // A page of another site needs a CORS preflight for this content type, and gets no answer to it.
    let content_type = request.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !body.is_empty() && !content_type.starts_with("application/json") || request.headers().contains_key("origin") {
        return refuse(415, "send JSON as application/json, and not from a page of another site");
    }
    let body = if body.is_empty() { b"{}" } else { body };
    let outcome = match path {
        "/expire" => parse(body).and_then(|at: AtPlatform| {
            control.expire_access(known(&at.platform).map_err(|error| error.to_string())?);
            Ok(())
        }),
        "/faults" => parse(body).and_then(|order| order_fault(control, &order)),
        "/hold" => parse(body).and_then(|at: AtStep| {
            control.hold(step(at.step.as_deref().ok_or("step is missing")?)?);
            Ok(())
        }),
        "/impersonate" => parse(body).map(|at: WithDid| control.bluesky_impersonate(&at.did)),
        "/release" => parse(body).and_then(|at: AtStep| {
            match at.step {
                Some(name) => control.release(step(&name)?),
                None => Step::VARIANTS.iter().for_each(|&step| control.release(step)),
            }
            Ok(())
        }),
        "/reset" => {
            control.clear();
            Ok(())
        }
        "/revoke" => parse(body).and_then(|at: AtPlatform| {
            control.revoke_all(known(&at.platform).map_err(|error| error.to_string())?);
            Ok(())
        }),
        "/standing" => parse(body).and_then(|stand: Stand| {
            let known = "standing: active, deactivated, takendown or deleted";
            let standing = Standing::named(&stand.standing).ok_or(known)?;
            if control.bluesky_stand(&stand.did, standing) { Ok(()) } else { Err("did: no account has it".to_owned()) }
        }),
        _ => return refuse(404, "POST /_control/{expire,faults,hold,impersonate,release,reset,revoke,standing}"),
    };
    match outcome {
        Ok(()) => Reply::json(200, &json!({"ok": true})),
        Err(why) => refuse(400, &why),
    }
}

fn order_fault(control: &Control, order: &OrderFault) -> Result<(), String> {
    let fault = match (order.fault.parse().map_err(|error| format!("fault: {error}"))?, order.delay_ms) {
        (Fault::Slow(_), Some(millis)) => Fault::Slow(Duration::from_millis(millis)),
        (fault, _) => fault,
    };
    control.fail_next(&order.platform, step(&order.step)?, fault, order.times).map_err(|error| error.to_string())
}

fn step(name: &str) -> Result<Step, String> {
    name.parse().map_err(|error| format!("step: {error}"))
}

fn parse<T: for<'a> Deserialize<'a>>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| error.to_string())
}

fn refuse(status: u16, why: &str) -> Reply {
    Reply::json(status, &json!({"ok": false, "error": why}))
}
