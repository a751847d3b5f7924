//! The authorize request, checked as the platform does before it shows a page.
//!
//! Invariant: the browser is sent only to a checked redirect URI, and only to loopback.

use url::Url;

use super::call::{Call, Fields};
use super::configuration::Client;
use super::desk::Desk;
use super::imitations::{Challenge, Imitation, Pkce, QueryOfRedirect};
use super::record::first;
use super::world::Pending;
use crate::domain::redirect::is_loopback;

/// Seconds until an undecided request expires.
const DECISION: u64 = 600;

/// A mistake in an authorize request, with a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) enum Objection {
    Challenge(String),
    Client(String),
    Parameter(String),
    RedirectUri(String),
    ResponseType(String),
    Scope(String),
    State(String),
    /// A scope that the platform has and this client may not request.
    UnapprovedScope(String),
}

/// Result of an authorize request.
#[derive(Debug)]
pub(super) enum Opened {
    /// The consent page is shown; holds the id of the pending request.
    Asked(String),
    /// The platform shows its own error page.
    Refused(Objection),
    /// The browser is sent back with the mistake.
    SentBack(String, Objection),
}

pub(super) fn open(desk: &mut Desk<'_>, call: &Call) -> Opened {
    let imitation = desk.imitation;
    let (client, redirect) = match client_and_redirect(imitation, call) {
        Ok(known) => known,
        Err(objection) => return Opened::Refused(objection),
    };
    match pending(desk, call, client, &redirect) {
        Ok(pending) => {
            let id = desk.world.random();
            desk.world.pending.insert(id.clone(), pending);
            Opened::Asked(id)
        }
        Err(objection) => match (imitation.authorize.sent_back)(&objection) {
            Some(error) => {
                let why = objection.to_string();
                let uri = first(&call.query, "redirect_uri").unwrap_or_default();
                let state = first(&call.query, "state").unwrap_or_default();
                let parameters = [("error", error), ("error_description", why.as_str())];
                Opened::SentBack(back(imitation, uri, state, &parameters), objection)
            }
            None => Opened::Refused(objection),
        },
    }
}

fn client_and_redirect(imitation: &Imitation, call: &Call) -> Result<(Client, Url), Objection> {
    let rules = &imitation.authorize;
    let id = first(&call.query, rules.client_id_name)
        .ok_or_else(|| Objection::Client(format!("{} is missing", rules.client_id_name)))?;
    let client = Client::find(imitation.name, id)
        .ok_or_else(|| Objection::Client(format!("{} names no client of this platform", rules.client_id_name)))?;
    let refuse = |why: &str| Err(Objection::RedirectUri(format!("redirect_uri {why}")));
    let Some(text) = first(&call.query, "redirect_uri") else { return refuse("is missing") };
    let Ok(url) = Url::parse(text) else { return refuse("is not an absolute URL") };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("is not an http or https URL");
    }
    if !is_loopback(&url) {
        return refuse(
            "leads away from this machine: the sandbox sends browsers to localhost, 127.0.0.1 and [::1] only",
        );
    }
    if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return refuse("carries a fragment or credentials");
    }
    if rules.query_of_redirect == QueryOfRedirect::Refused && url.query().is_some() {
        return refuse("carries a query, which this platform refuses");
    }
    Ok((client, url))
}

fn pending(desk: &Desk<'_>, call: &Call, client: Client, redirect: &Url) -> Result<Pending, Objection> {
    let rules = &desk.imitation.authorize;
    let names: Vec<&str> = rules.parameters.iter().map(|parameter| parameter.name).collect();
    let optional =
        [&names[..], &["code_challenge", "code_challenge_method", "response_type", "scope", "state"]].concat();
    let fields = Fields::check(&call.query, &[rules.client_id_name, "redirect_uri"], &optional)
        .map_err(|problem| Objection::Parameter(problem.to_string()))?;
    match fields.find("response_type") {
        Some("code") => {}
        other => {
            let other = other.unwrap_or("missing");
            return Err(Objection::ResponseType(format!("response_type is {other} where only code is known")));
        }
    }
    let state = fields.find("state").ok_or_else(|| Objection::State("state is missing".to_owned()))?;
    if let Some(longest) = rules.longest_state.filter(|longest| state.chars().count() > *longest) {
        return Err(Objection::State(format!("state is longer than {longest} characters")));
    }
    for parameter in rules.parameters.iter().filter(|parameter| !parameter.words.is_empty()) {
        let words = fields.find(parameter.name).unwrap_or_default().split(' ').filter(|word| !word.is_empty());
        if let Some(word) = words.into_iter().find(|word| !parameter.words.contains(word)) {
            return Err(Objection::Parameter(format!("{} does not know '{word}'", parameter.name)));
        }
    }
    Ok(Pending {
        platform: desk.imitation.name,
        scopes: scopes(desk.imitation, &client, fields.find("scope").unwrap_or_default())?,
        challenge: challenge((rules.pkce)(redirect), &fields)?,
        client,
        redirect_uri: fields.get("redirect_uri").to_owned(),
        state: state.to_owned(),
        parameters: call.query.clone(),
        expires_at: desk.world.in_seconds(DECISION),
    })
}

fn scopes(imitation: &Imitation, client: &Client, text: &str) -> Result<Vec<String>, Objection> {
    let rules = &imitation.authorize;
    let mut scopes: Vec<String> = Vec::new();
    for scope in text.split(rules.separators) {
        let approved = rules.scopes.approved.contains(&scope);
        if approved && !client.approved {
            return Err(Objection::UnapprovedScope(format!("the scope {scope} is not authorized for this client")));
        }
        if scope.contains([',', ' ']) {
            let separators: Vec<String> = rules.separators.iter().map(|separator| format!("'{separator}'")).collect();
            let separators = separators.join(" or ");
            return Err(Objection::Scope(format!("scopes are separated by {separators} here, not as in '{scope}'")));
        }
        if !approved && !rules.scopes.known.contains(&scope) {
            return Err(Objection::Scope(format!("the scope '{scope}' is not known here")));
        }
        if !scopes.iter().any(|earlier| earlier == scope) {
            scopes.push(scope.to_owned());
        }
    }
    match rules.scopes.mandatory.iter().find(|scope| !scopes.iter().any(|asked| asked == *scope)) {
        Some(scope) => Err(Objection::Scope(format!("the scope {scope} is missing, which every request needs"))),
        None => Ok(scopes),
    }
}

fn challenge(rule: Pkce, fields: &Fields<'_>) -> Result<Option<(Challenge, String)>, Objection> {
    let refuse = |why: &str| Err(Objection::Challenge(why.to_owned()));
    let given = fields.find("code_challenge");
    let method = match (rule, given) {
        (Pkce::Refused, None) if fields.find("code_challenge_method").is_none() => return Ok(None),
        (Pkce::Refused, _) => return refuse("code_challenge is not part of this platform's flow"),
        (Pkce::Optional(_), None) => return Ok(None),
        (Pkce::Required(_), None) => return refuse("code_challenge is missing"),
        (Pkce::Optional(method) | Pkce::Required(method), Some(_)) => method,
    };
    if fields.find("code_challenge_method") != Some("S256") {
        return refuse("code_challenge_method is not S256");
    }
    match given.filter(|given| method.is_well_formed(given)) {
        Some(given) => Ok(Some((method, given.to_owned()))),
        None => refuse(match method {
            Challenge::Base64Url => "code_challenge is not the base64url of a SHA-256",
            Challenge::Hex => "code_challenge is not the hexadecimal SHA-256 that this platform wants on loopback",
        }),
    }
}

/// The redirect URI with the platform's parameters added. Its own query is kept to the letter, or dropped where the
/// platform drops it.
pub(super) fn back(imitation: &Imitation, redirect_uri: &str, state: &str, parameters: &[(&str, &str)]) -> String {
    let stripped = match imitation.authorize.query_of_redirect {
        QueryOfRedirect::Kept | QueryOfRedirect::Refused => redirect_uri,
        QueryOfRedirect::Stripped => redirect_uri.split('?').next().unwrap_or_default(),
    };
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(parameters.iter().filter(|(_, value)| !value.is_empty()));
    if !state.is_empty() {
        query.append_pair("state", state);
    }
    let joint = if stripped.contains('?') { '&' } else { '?' };
    format!("{stripped}{joint}{}{}", query.finish(), imitation.authorize.suffix)
}
