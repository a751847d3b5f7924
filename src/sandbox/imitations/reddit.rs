//! Reddit. <https://github.com/reddit-archive/reddit/wiki/OAuth2>
//!
//! Basic at the token endpoint. Only `duration=permanent` brings a refresh token, which lasts and is repeated by each
//! refresh. A bad code is refused with 200, other mistakes with their status as the `error`. A redirect ends in `#_`, a
//! request without a `User-Agent` is throttled, and JSON has `&amp;` for `&` unless `raw_json=1` is sent.

use serde_json::json;

use super::{Authorize, CodeRules, Endpoint, Example, Imitation, Parameter, Persona, Scopes};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::authorize::Objection;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;

const ACCESS: u64 = 24 * 60 * 60;

pub(super) const IMITATION: Imitation = Imitation {
    name: "reddit",
    label: "Reddit",
    personas: &[
        Persona { id: "ada", user_id: "5k2ab", name: "", handle: "ada_marlow", note: "" },
        Persona { id: "basil", user_id: "6m3cd", name: "", handle: "basil-quince", note: "no picture" },
    ],
    authorize: Authorize {
        path: "/api/v1/authorize",
        separators: &[' ', ','],
        scopes: Scopes {
            known: &["edit", "flair", "history", "identity", "mysubreddits", "read", "save", "submit", "vote"],
            ..Scopes::STANDARD
        },
        parameters: &[Parameter { name: "duration", words: &["permanent", "temporary"] }],
        code: CodeRules { life: 600, prefix: "", suffix: "" },
        suffix: "#_",
        sent_back,
        page_status: 403,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "identity read submit",
        authorize: &[("duration", "permanent")],
        basic: true,
        identity: "/api/v1/me?raw_json=1",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/api/v1/access_token", step: Step::Token, answer: token },
        Endpoint { method: "POST", path: "/api/v1/revoke_token", step: Step::Revoke, answer: revoke },
        Endpoint { method: "GET", path: "/api/v1/me", step: Step::Identity, answer: me },
    ],
    refuse,
    revocable: true,
    ..Imitation::STANDARD
};

fn sent_back(objection: &Objection) -> Option<&'static str> {
    match objection {
        Objection::ResponseType(_) => Some("unsupported_response_type"),
        Objection::Scope(_) | Objection::UnapprovedScope(_) => Some("invalid_scope"),
        _ => None,
    }
}

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    with_user_agent(call)?;
    let client = desk.basic_client(call)?;
    let (grant, refresh) = match call.peek("grant_type") {
        Some("refresh_token") => {
            let value = call.form(&["grant_type", "refresh_token"], &[])?.get("refresh_token");
            (desk.refresh_token(&client, value)?.1, Some(value.to_owned()))
        }
        Some("authorization_code") => {
            let grant = desk.redeem(&client, call.form(&["grant_type", "code", "redirect_uri"], &[])?)?;
            let is_permanent = grant.parameter("duration") == Some("permanent");
            let refresh = is_permanent.then(|| desk.issue(&grant, TokenKind::Refresh, "reddit-", None));
            (grant, refresh)
        }
        other => return Err(Problem::GrantType(other.unwrap_or_default().to_owned())),
    };
    let answer = json!({
        "access_token": desk.issue(&grant, TokenKind::Access, "eyJ-", Some(ACCESS)),
        "token_type": "bearer",
        "expires_in": ACCESS,
        "scope": grant.scopes.join(" "),
        "refresh_token": refresh,
    });
    Ok(Reply::json(200, &without_nulls(answer)))
}

/// 204 whether the token was known or not. A refresh token takes its access tokens along.
fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.basic_client(call)?;
    let value = call.form(&["token"], &["token_type_hint"])?.get("token");
    match desk.token(value) {
        Ok((token, grant)) if grant.client == client && token.kind == TokenKind::Refresh => desk.world.revoke(grant.id),
        Ok((_, grant)) if grant.client == client => desk.kill(value, Dead::Revoked),
        _ => {}
    }
    Ok(Reply::empty(204))
}

fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    with_user_agent(call)?;
    let and = if call.query(&[], &["raw_json"])?.find("raw_json") == Some("1") { "&" } else { "&amp;" };
    let grant = desk.bearer(call, &["identity"])?;
    let picture =
        if grant.persona.id == "ada" { desk.picture(&grant) + "?width=256" + and + "s=0" } else { String::new() };
    let answer =
        json!({"id": grant.persona.user_id, "name": grant.persona.handle, "icon_img": picture, "verified": true});
    Ok(Reply::json(200, &answer))
}

fn with_user_agent(call: &Call) -> Result<(), Problem> {
    call.header("user-agent").map(|_| ()).ok_or(Problem::RateLimited)
}

fn refuse(refusal: &Refusal<'_>) -> Reply {
    let oauth = |error: &str| Reply::json(200, &json!({"error": error}));
    let plain = |status: u16, message: &str| Reply::json(status, &json!({"message": message, "error": status}));
    match refusal.problem {
        Problem::Client | Problem::ClientAuthentication(_) | Problem::Token(_) | Problem::TooYoung => {
            plain(401, "Unauthorized")
        }
        Problem::Code(_) | Problem::RedirectUri | Problem::Verifier => oauth("invalid_grant"),
        Problem::ContentType(_) | Problem::Parameter(_) | Problem::RefreshToken(_) => plain(400, "Bad Request"),
        Problem::GrantType(_) => oauth("unsupported_grant_type"),
        Problem::NoQuota | Problem::RateLimited => plain(429, "Too Many Requests"),
        Problem::Scope(_) => plain(403, "Forbidden"),
        Problem::ServerError => plain(500, "Internal Server Error"),
    }
}
