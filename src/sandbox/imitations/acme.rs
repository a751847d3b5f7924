//! Acme: a generic OAuth 2.0 and OpenID Connect server, as an operator would add one.
//!
//! By the standards (RFC 6749, 7636, 7009, 9700, OpenID Connect Core): Basic, PKCE with S256, mistakes sent back once
//! the redirect URI is checked, and with `offline_access` a rotating refresh token whose second use ends the grant.

use serde_json::json;

use super::{Authorize, Challenge, CodeRules, Endpoint, Example, Imitation, Parameter, Persona, Pkce, Scopes};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::authorize::Objection;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const ACCESS: u64 = 60 * 60;
const REFRESH: u64 = 14 * 24 * 60 * 60;

pub(super) const IMITATION: Imitation = Imitation {
    name: "acme",
    label: "Acme",
    personas: &[
        Persona { id: "ada", user_id: "b7a1c0de-0001", name: "Ada Marlow", handle: "ada", note: "" },
        Persona {
            id: "basil",
            user_id: "b7a1c0de-0002",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "",
            note: "no user name and no picture, and a name with markup in it",
        },
    ],
    authorize: Authorize {
        path: "/auth",
        scopes: Scopes {
            known: &["email", "offline_access", "openid", "profile"],
            mandatory: &["openid"],
            ..Scopes::STANDARD
        },
        parameters: &[
            Parameter { name: "login_hint", words: &[] },
            Parameter { name: "nonce", words: &[] },
            Parameter { name: "prompt", words: &["consent", "login", "select_account"] },
        ],
        pkce: |_| Pkce::Required(Challenge::Base64Url),
        code: CodeRules { life: 60, prefix: "acme-code-", suffix: "" },
        denial: &[("error", "access_denied"), ("error_description", "The resource owner denied the request")],
        sent_back,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "openid profile offline_access",
        authorize: &[("prompt", "consent")],
        basic: true,
        pkce: true,
        identity: "/me",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/token", step: Step::Token, answer: token },
        Endpoint { method: "POST", path: "/revoke", step: Step::Revoke, answer: revoke },
        Endpoint { method: "GET", path: "/me", step: Step::Identity, answer: me },
    ],
    refuse,
    revocable: true,
    custom: Some(
        r#"
label = "Acme"
identity_url = "{base}/me"
scopes = ["openid", "profile", "offline_access"]
client_auth = "basic"
pkce = "s256"
authorize_params = { prompt = "consent" }
identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }
"#,
    ),
    ..Imitation::STANDARD
};

fn sent_back(objection: &Objection) -> Option<&'static str> {
    match objection {
        Objection::Challenge(_) | Objection::Parameter(_) | Objection::State(_) => Some("invalid_request"),
        Objection::Client(_) | Objection::RedirectUri(_) => None,
        Objection::ResponseType(_) => Some("unsupported_response_type"),
        Objection::Scope(_) | Objection::UnapprovedScope(_) => Some("invalid_scope"),
    }
}

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.basic_client(call)?;
    let grant = match call.peek("grant_type") {
        Some("refresh_token") => {
            let fields = call.form(&["grant_type", "refresh_token"], &["scope"])?;
            let spent = fields.get("refresh_token");
            let found = desk.refresh_token(&client, spent);
            if matches!(found, Err(Problem::RefreshToken(Dead::Spent)))
                && let Some(grant) = desk.world.tokens.get(spent).map(|token| token.grant)
            {
                desk.world.revoke(grant);
            }
            let (_, grant) = found?;
            desk.kill(spent, Dead::Spent);
            grant
        }
        Some("authorization_code") => {
            let fields = call.form(&["grant_type", "code", "redirect_uri", "code_verifier"], &[])?;
            desk.redeem(&client, fields)?
        }
        other => return Err(Problem::GrantType(other.unwrap_or_default().to_owned())),
    };
    Ok(tokens(desk, &grant))
}

fn tokens(desk: &mut Desk<'_>, grant: &Grant) -> Reply {
    let claims = json!({"sub": grant.persona.user_id, "nonce": grant.parameter("nonce")});
    let issuer = format!("{}/acme", desk.world.base_url);
    let answer = json!({
        "access_token": desk.issue(grant, TokenKind::Access, "acme-access-", Some(ACCESS)),
        "token_type": "Bearer",
        "expires_in": ACCESS,
        "scope": grant.scopes.join(" "),
        "id_token": desk.id_token(grant, &issuer, &claims),
        "refresh_token": grant
            .has("offline_access")
            .then(|| desk.issue(grant, TokenKind::Refresh, "acme-refresh-", Some(REFRESH))),
    });
    Reply::json(200, &without_nulls(answer))
}

/// RFC 7009: 200 for known and unknown tokens; either kind ends the grant.
fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.basic_client(call)?;
    let value = call.form(&["token"], &["token_type_hint"])?.get("token");
    if let Ok((_, grant)) = desk.token(value)
        && grant.client == client
    {
        desk.world.revoke(grant.id);
    }
    Ok(Reply::empty(200))
}

fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &[])?;
    let grant = desk.bearer(call, &["openid"])?;
    let persona = grant.persona;
    let has_profile = grant.has("profile");
    let has_handle = has_profile && !persona.handle.is_empty();
    let answer = json!({
        "sub": persona.user_id,
        "name": has_profile.then_some(persona.name),
        "preferred_username": has_handle.then_some(persona.handle),
        "picture": has_handle.then(|| desk.picture(&grant)),
        "email": grant.has("email").then(|| persona.email()),
    });
    Ok(Reply::json(200, &without_nulls(answer)))
}

fn refuse(refusal: &Refusal<'_>) -> Reply {
    let oauth = |status, error: &str| Reply::oauth_error(status, error, &refusal.problem.to_string());
    let bearer = |status, error: &str| {
        oauth(status, error).header("www-authenticate", format!("Bearer realm=\"acme\", error=\"{error}\""))
    };
    match refusal.problem {
        Problem::Client | Problem::ClientAuthentication(_) => {
            oauth(401, "invalid_client").header("www-authenticate", "Basic realm=\"acme\"")
        }
        Problem::Code(_) | Problem::RedirectUri | Problem::RefreshToken(_) | Problem::Verifier => {
            oauth(400, "invalid_grant")
        }
        Problem::ContentType(_) | Problem::Parameter(_) => oauth(400, "invalid_request"),
        Problem::GrantType(_) => oauth(400, "unsupported_grant_type"),
        Problem::NoQuota | Problem::RateLimited => oauth(429, "temporarily_unavailable"),
        Problem::Scope(_) => bearer(403, "insufficient_scope"),
        Problem::ServerError => oauth(500, "server_error"),
        Problem::Token(_) if refusal.step == Step::Identity => bearer(401, "invalid_token"),
        Problem::Token(_) | Problem::TooYoung => oauth(400, "invalid_token"),
    }
}
