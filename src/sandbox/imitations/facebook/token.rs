//! Facebook's tokens: exchange, prolongation, inspection and revocation, and Facebook's refusals.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::meta::graph_error;
use super::pages::Page;
use super::visible;
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::{TokenKind, first};
use crate::sandbox::world::{Grant, Token};

const PREFIX: &str = "EAAS";
const SHORT: u64 = 5_400;
const LONG: u64 = 5_183_944;
const DATA_ACCESS: Duration = Duration::from_hours(90 * 24);

/// Exchanges a code for a short-lived token, or that for a long-lived one: as a form or in the query.
pub(super) fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    const CLIENT: [&str; 2] = ["client_id", "client_secret"];
    let in_query = call.method == "GET";
    let client = if in_query { desk.query_client(call, "client_id") } else { desk.body_client(call, "client_id") }?;
    let fields = |required: &[&str], optional: &[&str]| {
        let required = [&CLIENT, required].concat();
        if in_query { call.query(&required, optional) } else { call.form(&required, optional) }
    };
    let parameters = if in_query { &call.query[..] } else { call.body.fields() };
    match first(parameters, "grant_type") {
        None | Some("authorization_code") => {
            let fields = fields(&["code", "redirect_uri"], &["code_verifier", "grant_type"])?;
            let grant = desk.redeem(&client, fields)?;
            let token = desk.issue(&grant, TokenKind::Access, PREFIX, Some(SHORT));
            Ok(Reply::json(200, &json!({"access_token": token, "token_type": "bearer", "expires_in": SHORT})))
        }
        Some("fb_exchange_token") => {
            let fields = fields(&["fb_exchange_token", "grant_type"], &[])?;
            let (_, grant) = desk.access(fields.get("fb_exchange_token"), &[])?;
            if grant.client != client {
                return Err(Problem::Token(Dead::Unknown));
            }
            let token = desk.issue(&grant, TokenKind::LongLived, PREFIX, Some(LONG));
            let expires_in = (grant.persona.id != "basil").then_some(LONG);
            let answer = json!({"access_token": token, "token_type": "bearer", "expires_in": expires_in});
            Ok(Reply::json(200, &without_nulls(answer)))
        }
        Some(other) => Err(Problem::GrantType(other.to_owned())),
    }
}

/// Issues a token of `page` for the user token `by`.
pub(super) fn of_page(desk: &mut Desk<'_>, by: &Token, grant: &Grant, page: &Page) -> String {
    let left = match by.kind {
        TokenKind::LongLived => None,
        _ => by.expires_at.map(|at| desk.now().until(at).as_secs()),
    };
    let value = desk.issue(grant, TokenKind::Page, PREFIX, left);
    if let Some(token) = desk.world.tokens.get_mut(&value) {
        token.page = Some(page.id.clone());
    }
    value
}

/// The live token of a call, a person's or a Page's.
pub(super) fn caller(desk: &Desk<'_>, call: &Call) -> Result<(String, Token, Grant), Problem> {
    let value = call.access_token()?;
    let (token, grant) = live(desk, value)?;
    Ok((value.to_owned(), token, grant))
}

fn live(desk: &Desk<'_>, value: &str) -> Result<(Token, Grant), Problem> {
    let (token, grant) = desk.token(value).map_err(Problem::Token)?;
    if let Some(page) = &token.page
        && !visible(&grant).iter().any(|visible| visible.id == *page)
    {
        return Err(Problem::Token(Dead::Revoked));
    }
    Ok((token, grant))
}

/// Inspects a token, for a caller with the app's own token (`id|secret`) or a token of the same app.
pub(super) fn debug(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&["input_token"], &["access_token"])?;
    let asking = match call.bearer().or_else(|| fields.find("access_token")) {
        Some(value) if value.contains('|') => {
            let (id, secret) = value.split_once('|').unwrap_or_default();
            desk.client(id, secret)?
        }
        _ => caller(desk, call)?.2.client,
    };
    let seconds = |at: crate::domain::time::Timestamp| at.as_millis() / 1000;
    let data: Value = match live(desk, fields.get("input_token")) {
        Ok((token, grant)) if grant.client == asking => json!({
            "app_id": grant.client.id,
            "application": "Sandbox app",
            "type": if token.page.is_some() { "PAGE" } else { "USER" },
            "data_access_expires_at": seconds(grant.created_at.plus(DATA_ACCESS)),
            "expires_at": token.expires_at.map_or(0, seconds),
            "granular_scopes": granular(&grant),
            "is_valid": true,
            "issued_at": seconds(token.issued_at),
            "profile_id": token.page,
            "scopes": permissions_of(&grant).0,
            "user_id": grant.persona.user_id,
        }),
        Ok(_) => return Err(Problem::Parameter("the input_token belongs to another app".to_owned())),
        Err(problem) => json!({
            "error": {"code": 190, "message": problem.to_string()},
            "is_valid": false,
            "scopes": [],
        }),
    };
    Ok(Reply::json(200, &json!({"data": data})))
}

/// Permissions with the Pages that they cover, where the person chose some.
fn granular(grant: &Grant) -> Vec<Value> {
    let ids: Vec<String> = visible(grant).into_iter().map(|page| page.id).collect();
    let of = |scope: &String| {
        if scope.starts_with("pages_") && grant.pages.is_some() {
            json!({"scope": scope, "target_ids": ids})
        } else {
            json!({"scope": scope})
        }
    };
    permissions_of(grant).0.iter().map(of).collect()
}

/// Granted and declined permissions; `public_profile` is always granted.
fn permissions_of(grant: &Grant) -> (Vec<String>, Vec<String>) {
    let mut granted = grant.scopes.clone();
    if !grant.has("public_profile") {
        granted.push("public_profile".to_owned());
    }
    let declined = grant.asked.iter().filter(|scope| !granted.contains(scope)).cloned().collect();
    (granted, declined)
}

pub(super) fn permissions(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &["access_token"])?;
    let (_, token, grant) = caller(desk, call)?;
    of_a_person(&token, "permissions")?;
    let (granted, declined) = permissions_of(&grant);
    let entry = |status: &'static str| move |permission: &String| json!({"permission": permission, "status": status});
    let data: Vec<Value> = granted.iter().map(entry("granted")).chain(declined.iter().map(entry("declined"))).collect();
    Ok(Reply::json(200, &json!({"data": data})))
}

/// Removes the app from the person's settings: every token that it has of them is dead.
pub(super) fn remove(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &["access_token"])?;
    let (_, token, grant) = caller(desk, call)?;
    of_a_person(&token, "permissions")?;
    desk.revoke_person(&grant);
    Ok(Reply::json(200, &json!({"success": true})))
}

/// Refuses an edge of people to a Page's token.
pub(super) fn of_a_person(token: &Token, edge: &str) -> Result<(), Problem> {
    match token.page {
        Some(_) => Err(Problem::Parameter(format!("Tried accessing nonexisting field ({edge}) on node type (Page)"))),
        None => Ok(()),
    }
}

pub(super) fn refuse(refusal: &Refusal<'_>) -> Reply {
    let graph = |status, code, subcode, message: &str| graph_error(status, code, subcode, message, refusal.trace);
    match refusal.problem {
        Problem::Client | Problem::ClientAuthentication(_) => graph(400, 1, None, "Error validating client secret."),
        Problem::Code(Dead::Expired) => graph(400, 100, Some(36007), "This authorization code has expired."),
        Problem::Code(Dead::Spent | Dead::Revoked) => {
            graph(400, 100, Some(36009), "This authorization code has been used.")
        }
        Problem::Code(Dead::Unknown) | Problem::Verifier => graph(400, 100, None, "Invalid verification code format."),
        Problem::ContentType(what) | Problem::GrantType(what) | Problem::Parameter(what) => {
            graph(400, 100, None, &format!("(#100) {what}"))
        }
        Problem::NoQuota | Problem::RateLimited => graph(400, 4, None, "(#4) Application request limit reached"),
        Problem::RedirectUri => graph(
            400,
            100,
            Some(36008),
            "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request",
        ),
        Problem::Scope(scope) => graph(403, 200, None, &format!("(#200) Requires {scope} permission")),
        Problem::ServerError => {
            graph(500, 2, None, "An unexpected error has occurred. Please retry your request later.")
        }
        Problem::RefreshToken(dead) | Problem::Token(dead) => match dead {
            Dead::Expired => graph(400, 190, Some(463), "Error validating access token: Session has expired."),
            Dead::Revoked => graph(
                400,
                190,
                Some(458),
                "Error validating access token: The user has not authorized application 1234567890.",
            ),
            Dead::Spent | Dead::Unknown => {
                graph(400, 190, None, "Invalid OAuth access token - Cannot parse access token")
            }
        },
        Problem::TooYoung => graph(400, 100, None, "(#100) Not now"),
    }
}
