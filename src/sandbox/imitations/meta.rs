//! The parts that Threads and Instagram share: a short-lived token that is exchanged for a long-lived one, which
//! renews itself once it is a day old, and errors in the Graph API's shape (HTTP 400, code 190 for a dead token).
//! <https://developers.facebook.com/docs/threads/get-started/long-lived-tokens>,
//! <https://developers.facebook.com/docs/instagram-platform/instagram-api-with-instagram-login/business-login>

use std::time::Duration;

use serde_json::{Value, json};

use super::Refusal;
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::authorize::Objection;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

pub(super) const CODE: u64 = 60 * 60;
pub(super) const SHORT: u64 = 60 * 60;
const LONG: u64 = 5_183_944;
const DAY: Duration = Duration::from_hours(24);

/// Commas, as documented; spaces work as well.
pub(super) const SEPARATORS: &[char] = &[',', ' '];

pub(super) const DENIAL: &[(&str, &str)] = &[
    ("error", "access_denied"),
    ("error_reason", "user_denied"),
    ("error_description", "The user denied your request"),
];

/// Meta shows its own page for a mistake in the request.
pub(super) fn sent_back(_: &Objection) -> Option<&'static str> {
    None
}

/// Redeems a code; the caller words the answer.
pub(super) fn exchange_code(desk: &mut Desk<'_>, call: &Call) -> Result<Grant, Problem> {
    let client = desk.body_client(call, "client_id")?;
    let fields = call.form_or_multipart(&["client_id", "client_secret", "code", "grant_type", "redirect_uri"], &[])?;
    fields.expect_grant_type("authorization_code")?;
    desk.redeem(&client, fields)
}

/// The exchange of a short-lived token: `grant_type`, `client_secret` and `access_token` in the query, no client id.
pub(super) fn lengthen(desk: &mut Desk<'_>, call: &Call, grant_type: &str, prefix: &str) -> Result<Reply, Problem> {
    let fields = call.query(&["grant_type", "client_secret", "access_token"], &[])?;
    fields.expect_grant_type(grant_type)?;
    let client = desk.client_by_secret(fields.get("client_secret"))?;
    let (token, grant) = desk.access(fields.get("access_token"), &[])?;
    if grant.client != client || token.kind != TokenKind::Access {
        return Err(Problem::Token(Dead::Unknown));
    }
    Ok(Reply::json(200, &long_lived(desk, &grant, prefix)))
}

/// The renewal of a long-lived token, with the token alone.
pub(super) fn renew(
    desk: &mut Desk<'_>,
    call: &Call,
    grant_type: &str,
    prefix: &str,
    scope: &str,
) -> Result<(Value, Grant), Problem> {
    let fields = call.query(&["grant_type", "access_token"], &[])?;
    fields.expect_grant_type(grant_type)?;
    let (token, grant) = desk.access(fields.get("access_token"), &[scope])?;
    if token.kind != TokenKind::LongLived {
        return Err(Problem::Token(Dead::Unknown));
    }
    if token.issued_at.until(desk.now()) < DAY {
        return Err(Problem::TooYoung);
    }
    Ok((long_lived(desk, &grant, prefix), grant))
}

fn long_lived(desk: &mut Desk<'_>, grant: &Grant, prefix: &str) -> Value {
    let token = desk.issue(grant, TokenKind::LongLived, prefix, Some(LONG));
    json!({"access_token": token, "token_type": "bearer", "expires_in": LONG})
}

/// The grant of an API call's token.
pub(super) fn caller(desk: &Desk<'_>, call: &Call, scope: &str) -> Result<Grant, Problem> {
    desk.access(call.access_token()?, &[scope]).map(|(_, grant)| grant)
}

pub(super) fn graph_error(status: u16, code: u16, subcode: Option<u16>, message: &str, trace: &str) -> Reply {
    let error = json!({
        "message": message,
        "type": "OAuthException",
        "code": code,
        "error_subcode": subcode,
        "fbtrace_id": trace,
    });
    Reply::json(status, &json!({"error": without_nulls(error)}))
}

pub(super) fn refuse(refusal: &Refusal<'_>) -> Reply {
    let flat = |message: &str| {
        Reply::json(400, &json!({"error_type": "OAuthException", "code": 400, "error_message": message}))
    };
    let graph = |status, code, subcode, message: &str| graph_error(status, code, subcode, message, refusal.trace);
    match refusal.problem {
        Problem::NoQuota | Problem::RateLimited => graph(429, 4, None, "Application request limit reached"),
        Problem::ServerError => {
            graph(500, 2, None, "An unexpected error has occurred. Please retry your request later.")
        }
        Problem::RedirectUri => flat(
            "Error validating verification code. Please make sure your redirect_uri is identical to the one you used in the OAuth dialog request",
        ),
        Problem::Code(_) | Problem::Verifier => flat("Matching code was not found or was already used"),
        // The code exchange answers flat, everything else in the Graph API's shape.
        Problem::Client | Problem::ClientAuthentication(_) if refusal.step == Step::Token => {
            flat("Error validating client secret.")
        }
        Problem::ContentType(what) | Problem::GrantType(what) | Problem::Parameter(what)
            if refusal.step == Step::Token =>
        {
            flat(&format!("Invalid request: {what}"))
        }
        Problem::Client | Problem::ClientAuthentication(_) => graph(400, 1, None, "Error validating client secret."),
        Problem::ContentType(what) | Problem::GrantType(what) | Problem::Parameter(what) => {
            graph(400, 100, None, &format!("Invalid parameter: {what}"))
        }
        Problem::Scope(scope) => {
            graph(400, 10, None, &format!("Application does not have permission for this action: {scope}"))
        }
        Problem::TooYoung => {
            graph(400, 190, None, "Error refreshing access token: the token must be at least 24 hours old")
        }
        Problem::RefreshToken(dead) | Problem::Token(dead) => match dead {
            Dead::Expired => graph(400, 190, Some(463), "Error validating access token: Session has expired."),
            Dead::Revoked => graph(
                400,
                190,
                Some(460),
                "Error validating access token: The session has been invalidated because the user changed their password or the application was removed.",
            ),
            Dead::Spent | Dead::Unknown => {
                graph(400, 190, None, "Error validating access token: Cannot parse access token")
            }
        },
    }
}
