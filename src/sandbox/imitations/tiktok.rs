//! TikTok. <https://developers.tiktok.com/doc/oauth-user-access-token-management>
//!
//! The client id is `client_key`, scopes are separated by commas, errors of the OAuth endpoints arrive with HTTP 200,
//! and a refresh ends the refresh token before it. Redirects to loopback are the desktop flow, which wants a
//! hexadecimal challenge (<https://developers.tiktok.com/doc/login-kit-desktop>); the web flow takes none.

use serde_json::{Value, json};
use url::Url;

use super::{
    Authorize, Challenge, CodeRules, Endpoint, Example, Imitation, Persona, Pkce, QueryOfRedirect, Scopes, field_list,
    select,
};
use crate::domain::redirect::is_loopback;
use crate::sandbox::answer::Reply;
use crate::sandbox::authorize::Objection;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const ACCESS: u64 = 2 * 60 * 60;
const REFRESH: u64 = 180 * 24 * 60 * 60;

pub(super) const IMITATION: Imitation = Imitation {
    name: "tiktok",
    label: "TikTok",
    personas: &[
        Persona {
            id: "ada",
            user_id: "-000AdaMarlowSandboxOpenId",
            name: "Ada Marlow",
            handle: "ada.marlow",
            note: "",
        },
        Persona {
            id: "basil",
            user_id: "-000BasilQuinceSandboxOpenId",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "basil_quince",
            note: "a name with markup in it",
        },
    ],
    authorize: Authorize {
        path: "/v2/auth/authorize/",
        client_id_name: "client_key",
        separators: &[','],
        scopes: Scopes {
            known: &[
                "user.info.basic",
                "user.info.profile",
                "user.info.stats",
                "video.list",
                "video.publish",
                "video.upload",
            ],
            mandatory: &["user.info.basic"],
            fixed: Some(&["user.info.basic"]),
            ..Scopes::STANDARD
        },
        pkce,
        query_of_redirect: QueryOfRedirect::Refused,
        // A code comes percent-encoded in the redirect and must be decoded exactly once.
        code: CodeRules { life: 300, prefix: "", suffix: "*v!6349.va+1" },
        denial: &[("error", "access_denied"), ("error_description", "User cancelled the authorization")],
        granted_scope: Some(("scopes", ",")),
        sent_back,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "user.info.basic,user.info.profile,video.publish,video.upload",
        pkce: true,
        identity: "/v2/user/info/?fields=open_id,union_id,avatar_url,display_name,username",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/v2/oauth/token/", step: Step::Token, answer: token },
        Endpoint { method: "POST", path: "/v2/oauth/revoke/", step: Step::Revoke, answer: revoke },
        Endpoint { method: "GET", path: "/v2/user/info/", step: Step::Identity, answer: user_info },
    ],
    refuse,
    revocable: true,
    ..Imitation::STANDARD
};

fn pkce(redirect_uri: &Url) -> Pkce {
    if is_loopback(redirect_uri) { Pkce::Required(Challenge::Hex) } else { Pkce::Refused }
}

/// A wrong challenge or client gets TikTok's own page; a wrong scope is sent back.
fn sent_back(objection: &Objection) -> Option<&'static str> {
    match objection {
        Objection::ResponseType(_) => Some("unsupported_response_type"),
        Objection::Scope(_) => Some("invalid_scope"),
        Objection::Challenge(_)
        | Objection::Client(_)
        | Objection::Parameter(_)
        | Objection::RedirectUri(_)
        | Objection::State(_)
        | Objection::UnapprovedScope(_) => None,
    }
}

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.body_client(call, "client_key")?;
    let grant = match call.peek("grant_type") {
        Some("refresh_token") => {
            let fields = call.form(&["client_key", "client_secret", "grant_type", "refresh_token"], &[])?;
            let spent = fields.get("refresh_token");
            let (_, grant) = desk.refresh_token(&client, spent)?;
            desk.kill(spent, Dead::Spent);
            grant
        }
        Some("authorization_code") => {
            let fields =
                call.form(&["client_key", "client_secret", "code", "grant_type", "redirect_uri"], &["code_verifier"])?;
            desk.redeem(&client, fields)?
        }
        other => return Err(Problem::GrantType(other.unwrap_or_default().to_owned())),
    };
    let answer = json!({
        "access_token": desk.issue(&grant, TokenKind::Access, "act.", Some(ACCESS)),
        "expires_in": ACCESS,
        "open_id": open_id(&grant),
        "refresh_token": desk.issue(&grant, TokenKind::Refresh, "rft.", Some(REFRESH)),
        "refresh_expires_in": REFRESH,
        "scope": grant.scopes.join(","),
        "token_type": "Bearer",
    });
    Ok(Reply::json(200, &answer))
}

/// Differs between apps; `union_id` does not.
fn open_id(grant: &Grant) -> String {
    if grant.client.own { format!("{}-own", grant.persona.user_id) } else { grant.persona.user_id.to_owned() }
}

/// Revokes an access token, and with it the whole grant.
fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.body_client(call, "client_key")?;
    let value = call.form(&["client_key", "client_secret", "token"], &[])?.get("token");
    let (_, grant) = desk.access(value, &[])?;
    if grant.client != client {
        return Err(Problem::Token(Dead::Unknown));
    }
    desk.world.revoke(grant.id);
    Ok(Reply::json(200, &json!({})))
}

fn user_info(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    const BASIC: [&str; 6] =
        ["avatar_large_url", "avatar_url", "avatar_url_100", "display_name", "open_id", "union_id"];
    const PROFILE: [&str; 4] = ["bio_description", "is_verified", "profile_deep_link", "username"];
    let fields = call.query(&["fields"], &[])?;
    let names = field_list(fields.get("fields"), &[&BASIC[..], &PROFILE[..]].concat())?;
    let grant = desk.bearer(call, &["user.info.basic"])?;
    if names.iter().any(|name| PROFILE.contains(name)) && !grant.has("user.info.profile") {
        return Err(Problem::Scope("user.info.profile".to_owned()));
    }
    let (persona, picture) = (grant.persona, desk.picture(&grant));
    let user = json!({
        "open_id": open_id(&grant),
        "union_id": format!("union-{}", persona.user_id),
        "avatar_url": picture,
        "avatar_url_100": picture,
        "avatar_large_url": picture,
        "display_name": persona.name,
        "bio_description": "",
        "profile_deep_link": format!("https://vm.tiktok.com/{}", persona.id),
        "is_verified": false,
        "username": persona.handle,
    });
    let error = json!({"code": "ok", "message": "", "log_id": desk.world.random()});
    Ok(Reply::json(200, &json!({"data": {"user": select(&user, &names)}, "error": error})))
}

fn refuse(refusal: &Refusal<'_>) -> Reply {
    let (status, code, message): (u16, &str, String) = match refusal.problem {
        Problem::Client | Problem::ClientAuthentication(_) => {
            (200, "invalid_client", "Client key or secret is incorrect.".to_owned())
        }
        Problem::Code(_) => (200, "invalid_grant", "Authorization code is invalid or expired.".to_owned()),
        Problem::ContentType(_) => (
            200,
            "invalid_request",
            "Only `application/x-www-form-urlencoded` is supported as Content-Type.".to_owned(),
        ),
        Problem::GrantType(_) => (200, "unsupported_grant_type", "The grant type is not supported.".to_owned()),
        Problem::Parameter(what) if refusal.step == Step::Identity => (400, "invalid_params", what.clone()),
        Problem::Parameter(what) => (200, "invalid_request", what.clone()),
        Problem::NoQuota | Problem::RateLimited => {
            (429, "rate_limit_exceeded", "The API rate limit was exceeded.".to_owned())
        }
        Problem::RedirectUri => {
            (200, "invalid_grant", "Redirect_uri is not matched with the uri when requesting code.".to_owned())
        }
        Problem::RefreshToken(_) => (200, "invalid_grant", "Refresh token is invalid or expired.".to_owned()),
        Problem::Scope(scope) => (400, "scope_permission_missed", format!("The scope {scope} was not granted.")),
        Problem::ServerError if refusal.step == Step::Identity => (500, "internal_error", "Internal error.".to_owned()),
        Problem::ServerError => (500, "server_error", "Internal error.".to_owned()),
        Problem::Token(_) | Problem::TooYoung if refusal.step == Step::Identity => {
            (401, "access_token_invalid", "The access token is invalid or not found in the request.".to_owned())
        }
        Problem::Token(_) | Problem::TooYoung => (200, "invalid_request", "The token is invalid.".to_owned()),
        Problem::Verifier => (200, "invalid_request", "Code verifier or code challenge is invalid.".to_owned()),
    };
    let log_id = refusal.trace;
    let body: Value = if refusal.step == Step::Identity {
        json!({"data": {}, "error": {"code": code, "message": message, "log_id": log_id}})
    } else {
        json!({"error": code, "error_description": message, "log_id": log_id})
    };
    Reply::json(status, &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_hexadecimal_on_loopback_and_refused_elsewhere() {
        let rule = |url: &str| pkce(&Url::parse(url).unwrap());
        assert_eq!(rule("http://127.0.0.1:8080/cb"), Pkce::Required(Challenge::Hex));
        assert_eq!(rule("http://localhost:8080/cb"), Pkce::Required(Challenge::Hex));
        assert_eq!(rule("https://broker.example/cb"), Pkce::Refused);
    }
}
