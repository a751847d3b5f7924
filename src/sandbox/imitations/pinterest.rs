//! Pinterest. <https://developers.pinterest.com/docs/getting-started/set-up-authentication-and-authorization/>
//!
//! Basic at the token endpoint, and a rotating refresh token. An old app (the operator's here) gets a usable one only
//! with `continuous_refresh=true`; a new app (the second client) always gets one. Revocation is for tokens of system
//! users only.

use serde_json::json;

use super::{Authorize, CodeRules, Endpoint, Example, Imitation, Persona, Scopes};
use crate::sandbox::answer::Reply;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const DAY: u64 = 24 * 60 * 60;
const ACCESS: u64 = 30 * DAY;
const CONTINUOUS: u64 = 60 * DAY;
const LEGACY: u64 = 365 * DAY;

pub(super) const IMITATION: Imitation = Imitation {
    name: "pinterest",
    label: "Pinterest",
    personas: &[
        Persona { id: "ada", user_id: "549755885175", name: "Marlow & Daughters", handle: "adamarlow", note: "" },
        Persona {
            id: "basil",
            user_id: "549755885176",
            name: "",
            handle: "basilquince",
            note: "a personal account without a business name or a picture",
        },
    ],
    authorize: Authorize {
        path: "/oauth/",
        separators: &[','],
        scopes: Scopes {
            known: &[
                "ads:read",
                "boards:read",
                "boards:read_secret",
                "boards:write",
                "boards:write_secret",
                "catalogs:read",
                "pins:read",
                "pins:read_secret",
                "pins:write",
                "pins:write_secret",
                "user_accounts:read",
            ],
            ..Scopes::STANDARD
        },
        code: CodeRules { life: 600, prefix: "", suffix: "" },
        denial: &[("error", "access_denied"), ("error_description", "User denied access")],
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "boards:read,boards:write,pins:read,pins:write,user_accounts:read",
        basic: true,
        exchange: &[("continuous_refresh", "true")],
        identity: "/v5/user_account",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/v5/oauth/token", step: Step::Token, answer: token },
        Endpoint { method: "POST", path: "/v5/oauth/token/revoke", step: Step::Revoke, answer: revoke },
        Endpoint { method: "GET", path: "/v5/user_account", step: Step::Identity, answer: user_account },
    ],
    refuse,
    ..Imitation::STANDARD
};

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.basic_client(call)?;
    match call.peek("grant_type") {
        Some("refresh_token") => {
            let fields = call.form(&["grant_type", "refresh_token"], &["scope"])?;
            let spent = fields.get("refresh_token");
            let (_, grant) = desk.refresh_token(&client, spent)?;
            let scopes = fields.find("scope").map_or(grant.scopes.join(","), ToOwned::to_owned);
            if let Some(scope) = scopes.split([',', ' ']).find(|scope| !grant.has(scope)) {
                return Err(Problem::Parameter(format!("the scope '{scope}' was not granted")));
            }
            desk.kill(spent, Dead::Spent);
            Ok(tokens(desk, &grant, "refresh_token", &scopes, true))
        }
        Some("authorization_code") => {
            let fields = call.form(&["grant_type", "code", "redirect_uri"], &["continuous_refresh"])?;
            fields.expect("continuous_refresh", "true")?;
            let continuous = client.approved || fields.find("continuous_refresh").is_some();
            let grant = desk.redeem(&client, fields)?;
            Ok(tokens(desk, &grant, "authorization_code", &grant.scopes.join(","), continuous))
        }
        other => Err(Problem::GrantType(other.unwrap_or_default().to_owned())),
    }
}

fn tokens(desk: &mut Desk<'_>, grant: &Grant, response_type: &str, scope: &str, continuous: bool) -> Reply {
    let life = if continuous { CONTINUOUS } else { LEGACY };
    let refresh = desk.issue(grant, TokenKind::Refresh, "pinr.", Some(life));
    if !continuous {
        // Legacy refresh tokens are still issued and no longer accepted.
        desk.kill(&refresh, Dead::Revoked);
    }
    let answer = json!({
        "response_type": response_type,
        "access_token": desk.issue(grant, TokenKind::Access, "pina_", Some(ACCESS)),
        "refresh_token": refresh,
        "token_type": "bearer",
        "expires_in": ACCESS,
        "refresh_token_expires_in": life,
        "refresh_token_expires_at": desk.world.in_seconds(life).as_millis() / 1000,
        "scope": scope,
    });
    Reply::json(200, &answer)
}

fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    desk.basic_client(call)?;
    call.form(&["token"], &["token_type_hint"])?;
    let message = "You are not permitted to access that resource.";
    Ok(Reply::json(403, &json!({"code": 29, "message": message})))
}

fn user_account(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &["ad_account_id"])?;
    let grant = desk.bearer(call, &["user_accounts:read"])?;
    let persona = grant.persona;
    let business = !persona.name.is_empty();
    let answer = json!({
        "account_type": if business { "BUSINESS" } else { "PINNER" },
        "id": persona.user_id,
        "profile_image": if business { Some(desk.picture(&grant)) } else { None },
        "website_url": "",
        "username": persona.handle,
        "about": "",
        "business_name": business.then_some(persona.name),
        "board_count": 2,
        "pin_count": 5,
        "follower_count": 8,
        "following_count": 1,
        "monthly_views": 0,
    });
    Ok(Reply::json(200, &answer))
}

fn refuse(refusal: &Refusal<'_>) -> Reply {
    let (status, code, message): (u16, i32, String) = match refusal.problem {
        Problem::Client | Problem::ClientAuthentication(_) | Problem::Token(_) => {
            (401, 2, "Authentication failed.".to_owned())
        }
        // <https://github.com/pinterest/pinterest-python-sdk/issues/114>, of a dead refresh token. The code exchange is
        // assumed to answer alike.
        Problem::Code(_) | Problem::RedirectUri | Problem::RefreshToken(_) | Problem::Verifier => {
            (401, 283, "The authorization grant is invalid".to_owned())
        }
        Problem::ContentType(what) | Problem::GrantType(what) | Problem::Parameter(what) => {
            (400, 1, format!("Invalid request: {what}"))
        }
        Problem::NoQuota | Problem::RateLimited => {
            (429, 8, "You have exceeded your rate limit. Try again later.".to_owned())
        }
        Problem::Scope(scope) => {
            (401, 3, format!("Your application does not have the following required scope: {scope}"))
        }
        Problem::ServerError => (500, -1, "Something went wrong on our end. Sorry about that.".to_owned()),
        Problem::TooYoung => (403, 29, "You are not permitted to access that resource.".to_owned()),
    };
    Reply::json(status, &json!({"code": code, "message": message}))
}
