//! Routes a request from actix to its platform and answers it: faults first, then the platform, then holds.

use actix_web::http::Method;
use actix_web::{HttpRequest, HttpResponse, web};

use super::answer::Reply;
use super::authorize::{self, Opened};
use super::call::{Body, Call, HEADERS, pairs};
use super::configuration::find;
use super::consent::{self, Answer};
use super::control::Control;
use super::desk::Desk;
use super::imitations::{Endpoint, Imitation};
use super::problem::{Problem, Refusal};
use super::record::{TokenKind, first};
use super::step::{Fault, Step};
use super::world::World;
use super::{bluesky, control_api, page};

/// Longest body in bytes: more than any token request has.
const BODY: usize = 64 * 1024;

/// Bytes of an oversized answer: more than any client should read.
const OVERSIZED: usize = 16 * 1024 * 1024;

pub(super) const WHY: &str = "x-sandbox-why";

/// Every request to the sandbox.
pub(super) async fn entry(request: HttpRequest, body: web::Payload, control: web::Data<Control>) -> HttpResponse {
    let reply = match body.to_bytes_limited(BODY).await {
        Ok(Ok(body)) => route(&control, &request, &body).await,
        Ok(Err(_)) => Reply::text(400, "the body could not be read\n"),
        Err(_) => Reply::text(413, "the body is too long\n"),
    };
    reply.into_response()
}

async fn route(control: &Control, request: &HttpRequest, body: &[u8]) -> Reply {
    let path = request.uri().path();
    if control.is_pds(request.app_config().local_addr()) {
        return bluesky::pds(control, read(request, path, body)).await;
    }
    if path == "/" {
        return page::index(request.method() == Method::GET);
    }
    if let Some(rest) = path.strip_prefix("/_control") {
        return control_api::answer(control, request, rest, body);
    }
    let (name, rest) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    if name == bluesky::NAME {
        return bluesky::public(control, read(request, &format!("/{rest}"), body)).await;
    }
    match find(name) {
        Ok(imitation) => platform(control, imitation, read(request, &format!("/{rest}"), body)).await,
        Err(_) => Reply::text(404, "no platform of the sandbox is here: / lists them\n"),
    }
}

fn read(request: &HttpRequest, path: &str, body: &[u8]) -> Call {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let headers = HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), header(name)?))).collect();
    Call {
        method: request.method().to_string(),
        path: path.to_owned(),
        query: pairs(request.query_string().as_bytes()),
        raw_query: request.query_string().to_owned(),
        headers,
        body: Body::read(header("content-type").as_deref(), body),
    }
}

async fn platform(control: &Control, imitation: &'static Imitation, call: Call) -> Reply {
    let (method, path) = (call.method.as_str(), call.path.as_str());
    if let Some(file) = path.strip_prefix("/pictures/") {
        return page::picture(imitation.personas.iter().map(|persona| persona.id), file);
    }
    let page = |refusal: &Refusal<'_>| told_to_fail(imitation, refusal.problem);
    if imitation.authorize.is_at(path) && method == "GET" {
        let show = |world: &mut World| authorize_step(&mut Desk { imitation, world }, &call);
        return attend(control, imitation.name, Step::Authorize, &call, show, page).await;
    }
    if path == "/consent" && method == "POST" {
        let take = |world: &mut World| consent_step(&mut Desk { imitation, world }, &call);
        return attend(control, imitation.name, Step::Consent, &call, take, page).await;
    }
    let endpoints: Vec<&Endpoint> = imitation.endpoints.iter().filter(|endpoint| endpoint.is_at(path)).collect();
    match endpoints.iter().find(|endpoint| endpoint.method == method) {
        Some(endpoint) => {
            let step = step_of(control, endpoint, &call);
            let act = |world: &mut World| {
                (endpoint.answer)(&mut Desk { imitation, world }, &call).unwrap_or_else(|problem| {
                    let trace = world.random();
                    refuse(imitation, &Refusal { problem: &problem, step, trace: &trace })
                })
            };
            let say = |refusal: &Refusal<'_>| refuse(imitation, refusal);
            attend(control, imitation.name, step, &call, act, say).await
        }
        None if endpoints.is_empty() => {
            let why = format!("{} has nothing at {path}", imitation.label);
            Reply::oauth_error(404, "not_found", &why).header(WHY, why)
        }
        None => {
            let why = format!("{path} does not take {method}");
            Reply::oauth_error(405, "method_not_allowed", &why).header(WHY, why)
        }
    }
}

/// A token endpoint serves several steps; the grant type tells them apart.
fn step_of(control: &Control, endpoint: &Endpoint, call: &Call) -> Step {
    let parameter = |name| call.peek(name).or_else(|| first(&call.query, name));
    match parameter("grant_type") {
        _ if endpoint.step != Step::Token => endpoint.step,
        Some("refresh_token") => Step::Refresh,
        Some("fb_exchange_token") => {
            let world = control.world();
            let token = parameter("fb_exchange_token").and_then(|value| world.tokens.get(value));
            let renewed = token.is_some_and(|token| token.kind == TokenKind::LongLived);
            if renewed { Step::Refresh } else { Step::LongLived }
        }
        _ => Step::Token,
    }
}

/// Handles one request at one step: records it, fails it where a fault was ordered (in the words of `say`), else
/// answers it with `act`, and waits while the step is held.
pub(super) async fn attend(
    control: &Control,
    platform: &'static str,
    step: Step,
    call: &Call,
    act: impl FnOnce(&mut World) -> Reply,
    say: impl FnOnce(&Refusal<'_>) -> Reply,
) -> Reply {
    let ticket = control.arrived(platform, step, call);
    let fault = control.take_fault(platform, step, call);
    match fault {
        Some(Fault::Hang) => std::future::pending::<()>().await,
        Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
        _ => {}
    }
    let reply = match fault {
        None | Some(Fault::Slow(_)) => act(&mut control.world()),
        Some(Fault::Lost) => {
            act(&mut control.world());
            Reply::dropped()
        }
        Some(fault) => {
            let trace = control.world().random();
            faulty(fault, step, &trace, say)
        }
    };
    control.pass(step).await;
    control.answered(ticket, reply.seen_status(), reply.find_header(WHY));
    reply
}

fn refuse(imitation: &Imitation, refusal: &Refusal<'_>) -> Reply {
    (imitation.refuse)(refusal).header(WHY, refusal.problem.to_string())
}

fn faulty(fault: Fault, step: Step, trace: &str, say: impl FnOnce(&Refusal<'_>) -> Reply) -> Reply {
    let Some(problem) = Problem::of(fault, step) else {
        return match fault {
            Fault::Drop => Reply::dropped(),
            Fault::Garbage => Reply::typed(200, "application/json", b"{\"access_token\":\"cut-off".to_vec()),
            Fault::Html => Reply::html(200, "<!doctype html><title>Be right back</title><p>We are doing maintenance."),
            Fault::Oversized => Reply::oversized(OVERSIZED),
            _ => Reply::typed(200, "application/json", Vec::new()),
        };
    };
    let reply = say(&Refusal { problem: &problem, step, trace });
    match fault {
        Fault::OkError => reply.with_status(200),
        Fault::RateLimited => reply.header("retry-after", "30"),
        _ => reply,
    }
}

fn told_to_fail(imitation: &Imitation, problem: &Problem) -> Reply {
    let status = match problem {
        Problem::NoQuota | Problem::RateLimited => 429,
        Problem::ServerError => 500,
        _ => imitation.authorize.page_status,
    };
    page::refused(imitation, status, "The sandbox was told to fail here.")
}

fn authorize_step(desk: &mut Desk<'_>, call: &Call) -> Reply {
    match authorize::open(desk, call) {
        Opened::Asked(id) => match desk.world.pending.get(&id) {
            Some(pending) => page::consent(desk.imitation, &id, pending),
            None => page::refused(desk.imitation, 500, "The request got lost."),
        },
        Opened::Refused(objection) => {
            let why = objection.to_string();
            page::refused(desk.imitation, desk.imitation.authorize.page_status, &why).header(WHY, why)
        }
        Opened::SentBack(location, objection) => Reply::see_other(location).header(WHY, objection.to_string()),
    }
}

fn consent_step(desk: &mut Desk<'_>, call: &Call) -> Reply {
    let fields = call.body.fields();
    let id = first(fields, "request").unwrap_or_default();
    match Answer::of_form(fields).and_then(|answer| consent::decide(desk, id, &answer)) {
        Ok(location) => Reply::see_other(location),
        Err(refused) => page::refused(desk.imitation, refused.status, &refused.why).header(WHY, refused.why),
    }
}
