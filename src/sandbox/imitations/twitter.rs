//! X. <https://docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code>
//!
//! PKCE is mandatory, confidential clients use Basic, a code lives for 30 seconds, and a refresh token (with
//! `offline.access` only) can be used once.

use serde_json::json;

use super::{Authorize, Challenge, CodeRules, Endpoint, Example, Imitation, Persona, Pkce, Scopes, field_list, select};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const ACCESS: u64 = 2 * 60 * 60;

pub(super) const IMITATION: Imitation = Imitation {
    name: "twitter",
    label: "X",
    personas: &[
        Persona { id: "ada", user_id: "2244994945", name: "Ada Marlow", handle: "ada_marlow", note: "" },
        Persona {
            id: "basil",
            user_id: "1465329001122334455",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "basilquince",
            note: "no profile picture, and a name with markup in it",
        },
    ],
    authorize: Authorize {
        path: "/i/oauth2/authorize",
        scopes: Scopes {
            known: &[
                "bookmark.read",
                "follows.read",
                "like.read",
                "like.write",
                "list.read",
                "media.write",
                "offline.access",
                "tweet.moderate.write",
                "tweet.read",
                "tweet.write",
                "users.email",
                "users.read",
            ],
            ..Scopes::STANDARD
        },
        pkce: |_| Pkce::Required(Challenge::Base64Url),
        longest_state: Some(500),
        code: CodeRules { life: 30, prefix: "", suffix: ":1:1:ac:1" },
        // X never sends a mistake back: it shows "Something went wrong".
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "tweet.read tweet.write users.read media.write offline.access",
        basic: true,
        pkce: true,
        identity: "/2/users/me?user.fields=profile_image_url,name,username,verified",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/2/oauth2/token", step: Step::Token, answer: token },
        Endpoint { method: "POST", path: "/2/oauth2/revoke", step: Step::Revoke, answer: revoke },
        Endpoint { method: "GET", path: "/2/users/me", step: Step::Identity, answer: me },
    ],
    refuse,
    revocable: true,
    ..Imitation::STANDARD
};

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.basic_client(call)?;
    let grant = match call.peek("grant_type") {
        Some("refresh_token") => {
            let fields = call.form(&["grant_type", "refresh_token"], &[])?;
            let spent = fields.get("refresh_token");
            let (_, grant) = desk.refresh_token(&client, spent)?;
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
    let answer = json!({
        "token_type": "bearer",
        "expires_in": ACCESS,
        "access_token": desk.issue(grant, TokenKind::Access, "x-access-", Some(ACCESS)),
        "scope": grant.scopes.join(" "),
        "refresh_token": grant.has("offline.access").then(|| desk.issue(grant, TokenKind::Refresh, "x-refresh-", None)),
    });
    Reply::json(200, &without_nulls(answer))
}

/// Revoking an access token ends that token, a refresh token the whole grant.
fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.basic_client(call)?;
    let value = call.form(&["token"], &["token_type_hint"])?.get("token");
    if let Ok((token, grant)) = desk.token(value)
        && grant.client == client
    {
        if token.kind == TokenKind::Refresh {
            desk.world.revoke(grant.id);
        } else {
            desk.kill(value, Dead::Revoked);
        }
    }
    Ok(Reply::json(200, &json!({"revoked": true})))
}

fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    const KNOWN: [&str; 8] =
        ["confirmed_email", "created_at", "id", "name", "profile_image_url", "url", "username", "verified"];
    let fields = call.query(&[], &["user.fields"])?;
    let mut names = field_list(fields.find("user.fields").unwrap_or("id"), &KNOWN)?;
    names.extend(["id", "name", "username"]);
    let grant = desk.bearer(call, &["tweet.read", "users.read"])?;
    if names.contains(&"confirmed_email") && !grant.has("users.email") {
        return Err(Problem::Scope("users.email".to_owned()));
    }
    let persona = grant.persona;
    let user = json!({
        "id": persona.user_id,
        "name": persona.name,
        "username": persona.handle,
        "verified": false,
        "created_at": "2013-12-14T04:35:55.000Z",
        "confirmed_email": persona.email(),
        "profile_image_url": (persona.id == "ada").then(|| desk.picture(&grant)),
    });
    Ok(Reply::json(200, &json!({"data": select(&user, &names)})))
}

fn refuse(refusal: &Refusal<'_>) -> Reply {
    let oauth = Reply::oauth_error;
    let api = |status: u16, title: &str, detail: &str| {
        Reply::json(status, &json!({"title": title, "type": "about:blank", "status": status, "detail": detail}))
    };
    match refusal.problem {
        Problem::Client | Problem::ClientAuthentication(_) => {
            oauth(401, "unauthorized_client", "Missing valid authorization header")
        }
        Problem::Code(_) => oauth(400, "invalid_request", "Value passed for the authorization code was invalid."),
        Problem::ContentType(_) => {
            oauth(400, "invalid_request", "Content type must be application/x-www-form-urlencoded.")
        }
        Problem::GrantType(_) => oauth(400, "unsupported_grant_type", "Value passed for the grant type was invalid."),
        Problem::Parameter(what) if refusal.step == Step::Identity => api(400, "Invalid Request", what),
        Problem::Parameter(what) => oauth(400, "invalid_request", what),
        Problem::NoQuota | Problem::RateLimited => {
            api(429, "Too Many Requests", "Too Many Requests").header("x-rate-limit-reset", "1893456000")
        }
        Problem::RedirectUri => oauth(
            400,
            "invalid_request",
            "Value passed for the redirect uri did not match the uri of the authorization code.",
        ),
        // The standard has invalid_grant here.
        Problem::RefreshToken(_) => oauth(400, "invalid_request", "Value passed for the token was invalid."),
        Problem::Scope(_) => api(
            403,
            "Forbidden",
            "Your client app is not configured with the appropriate oauth2 scopes for this endpoint.",
        ),
        Problem::ServerError => api(500, "Internal Server Error", "Something is broken."),
        Problem::Token(_) | Problem::TooYoung => api(401, "Unauthorized", "Unauthorized"),
        Problem::Verifier => {
            oauth(400, "invalid_request", "Value passed for the code verifier did not match the code challenge.")
        }
    }
}
