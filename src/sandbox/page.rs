//! Pages for people: the consent page, a platform's error page, the list of platforms, and drawn pictures.
//!
//! Pages carry no script and load nothing; their one stylesheet is inline and named by its hash.

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::answer::Reply;
use super::bluesky::{BlueskyAccount, bluesky_accounts};
use super::imitations::{IMITATIONS, Imitation, Page, Persona};
use super::step::{Fault, Step};
use super::world::Pending;

const STYLE: &str = include_str!("../../templates/sandbox/style.css");

#[derive(Template)]
#[template(path = "sandbox/consent.html")]
struct ConsentPage<'a> {
    style: &'a str,
    label: &'a str,
    action: String,
    client: &'a str,
    request: &'a str,
    personas: &'a [Persona],
    /// Name and pages of each account that has pages, all ticked.
    pages: Vec<(&'a str, Vec<Page>)>,
    fixed: Vec<&'a str>,
    offered: Vec<&'a str>,
    faults: Vec<FaultGroup>,
}

struct FaultGroup {
    label: &'static str,
    /// Value and text.
    options: Vec<(String, &'static str)>,
}

#[derive(Template)]
#[template(path = "sandbox/refused.html")]
struct RefusedPage<'a> {
    style: &'a str,
    label: &'a str,
    why: &'a str,
}

#[derive(Template)]
#[template(path = "sandbox/index.html")]
struct IndexPage<'a> {
    style: &'a str,
    imitations: &'a [&'a Imitation],
    bluesky: &'a [BlueskyAccount],
    /// Names shown to people.
    steps: String,
    faults: String,
}

pub(super) fn consent(imitation: &Imitation, id: &str, pending: &Pending) -> Reply {
    let scopes = pending.scopes.iter().map(String::as_str);
    let (fixed, offered) = match imitation.authorize.scopes.fixed {
        Some(fixed) => scopes.partition(|scope| fixed.contains(scope)),
        None => (scopes.collect(), Vec::new()),
    };
    let html = ConsentPage {
        style: STYLE,
        label: imitation.label,
        action: format!("/{}/consent", imitation.name),
        client: &pending.client.id,
        request: id,
        personas: imitation.personas,
        pages: pages(imitation),
        fixed,
        offered,
        faults: faults(imitation),
    }
    .render();
    // Browsers check form-action against every redirect after the post: the broker's callback, and then the app's
    // page, which may be anywhere, and have a scheme of its own.
    secured(200, html, "")
}

fn pages(imitation: &Imitation) -> Vec<(&str, Vec<Page>)> {
    let Some(choice) = &imitation.choice else { return Vec::new() };
    let all = imitation.personas.iter().map(|persona| (persona.name, (choice.pages)(persona)));
    all.filter(|(_, pages)| !pages.is_empty()).collect()
}

pub(super) fn refused(imitation: &Imitation, status: u16, why: &str) -> Reply {
    secured(status, RefusedPage { style: STYLE, label: imitation.label, why }.render(), NO_FORM)
}

pub(super) fn index(get: bool) -> Reply {
    if !get {
        return Reply::text(405, "GET only\n");
    }
    let page = IndexPage {
        style: STYLE,
        imitations: IMITATIONS,
        bluesky: bluesky_accounts(),
        steps: Step::names(),
        faults: Fault::names(),
    };
    secured(200, page.render(), NO_FORM)
}

/// Part of the policy of a page without a form.
const NO_FORM: &str = "form-action 'none'; ";

fn secured(status: u16, html: askama::Result<String>, form_action: &str) -> Reply {
    let Ok(html) = html else { return Reply::text(500, "the page could not be rendered\n") };
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy =
        format!("default-src 'none'; style-src 'sha256-{hash}'; {form_action}base-uri 'none'; frame-ancestors 'none'");
    Reply::html(status, html)
        .header("content-security-policy", policy)
        .header("referrer-policy", "no-referrer")
        .header("x-content-type-options", "nosniff")
}

fn faults(imitation: &Imitation) -> Vec<FaultGroup> {
    let at = |step: Step, label, faults: &[(Fault, &'static str)]| {
        let known = imitation.endpoints.iter().any(|endpoint| endpoint.step == step);
        let refreshes = step == Step::Refresh;
        (known || refreshes).then(|| FaultGroup {
            label,
            options: faults.iter().map(|(fault, text)| (format!("{step}:{}", fault.into_str()), *text)).collect(),
        })
    };
    let transport = [
        (Fault::Slow(Fault::DELAY), "answer three seconds late"),
        (Fault::ServerError, "answer 500"),
        (Fault::RateLimited, "answer 429"),
        (Fault::Html, "answer 200 with a page in HTML"),
        (Fault::OkError, "answer 200 with an error"),
        (Fault::Garbage, "answer 200 with broken JSON"),
        (Fault::Empty, "answer 200 with nothing"),
        (Fault::Drop, "close the connection"),
        (Fault::Lost, "do it, then close the connection"),
        (Fault::Hang, "never answer"),
        (Fault::Oversized, "answer 200 with 16 MiB"),
        (Fault::Revoked, "say: revoked"),
        (Fault::Expired, "say: expired"),
    ];
    let callback = FaultGroup {
        label: "When the browser comes back",
        options: vec![
            ("denied_scopes".to_owned(), "grant fewer scopes than asked for"),
            ("callback_error".to_owned(), "come back with server_error"),
            ("callback_empty".to_owned(), "come back with neither code nor error"),
        ],
    };
    [
        Some(callback),
        at(Step::Token, "When the code is exchanged", &transport),
        at(Step::LongLived, "When the long-lived token is asked for", &transport),
        at(Step::Identity, "When the account is asked for", &transport),
        at(Step::Accounts, "When the accounts are listed", &transport),
        at(Step::Refresh, "At the next refresh", &transport),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A drawn picture: the account's initial on its colour. `known` are the accounts that have one.
pub(super) fn picture<'a>(mut known: impl Iterator<Item = &'a str>, file: &str) -> Reply {
    let id = file.strip_suffix(".svg").unwrap_or_default();
    if id.is_empty() || !known.any(|account| account == id) {
        return Reply::text(404, "no such picture\n");
    }
    let hue = id.bytes().fold(0_u32, |sum, byte| (sum * 31 + u32::from(byte)) % 360);
    let initial = id.chars().take(1).collect::<String>().to_uppercase();
    let svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"96\" height=\"96\" viewBox=\"0 0 96 96\">\
         <rect width=\"96\" height=\"96\" fill=\"hsl({hue} 45% 42%)\"/>\
         <text x=\"48\" y=\"64\" font-family=\"sans-serif\" font-size=\"44\" fill=\"#fff\" text-anchor=\"middle\">{initial}</text></svg>"
    );
    Reply::typed(200, "image/svg+xml", svg.into_bytes())
        .header("content-security-policy", "default-src 'none'; sandbox")
        .header("x-content-type-options", "nosniff")
}
