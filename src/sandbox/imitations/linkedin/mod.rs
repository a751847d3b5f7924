//! LinkedIn. <https://learn.microsoft.com/linkedin/shared/authentication/authorization-code-flow>
//!
//! The operator's app has the Community Management product: it may list organizations and gets a refresh token, whose
//! life counts down from the first consent. The third client is self-serve and has neither. A consent to other scopes
//! ends the member's earlier tokens. The flow has no PKCE, and a denial has LinkedIn's own error codes.

mod organizations;

use serde_json::{Value, json};

use super::{Authorize, CodeRules, Endpoint, Example, Imitation, Persona, QueryOfRedirect, Scopes};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::authorize::Objection;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem, Refusal};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const DAY: u64 = 24 * 60 * 60;
const ACCESS: u64 = 60 * DAY;
const REFRESH: u64 = 365 * DAY;

pub(super) const IMITATION: Imitation = Imitation {
    name: "linkedin",
    label: "LinkedIn",
    personas: &[
        Persona {
            id: "ada",
            user_id: "782bbtaQad",
            name: "Ada Marlow",
            handle: "ada-marlow",
            note: "administers two organizations, one without a logo",
        },
        Persona {
            id: "basil",
            user_id: "782bbtaQba",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "basil-quince",
            note: "no organization, no picture, and a name with markup in it",
        },
        Persona {
            id: "analyst",
            user_id: "782bbtaQan",
            name: "Ana Lyst",
            handle: "ana-lyst",
            note: "two roles in one organization, one in another that may not post, one not approved yet",
        },
        Persona {
            id: "agency",
            user_id: "782bbtaQag",
            name: "Agatha Ency",
            handle: "agatha-ency",
            note: "120 organizations",
        },
    ],
    authorize: Authorize {
        path: "/oauth/v2/authorization",
        scopes: Scopes {
            known: &["email", "openid", "profile", "r_basicprofile", "w_member_social"],
            approved: &[
                "r_organization_admin",
                "r_organization_social",
                "rw_organization_admin",
                "w_organization_social",
            ],
            ..Scopes::STANDARD
        },
        query_of_redirect: QueryOfRedirect::Stripped,
        code: CodeRules { life: 30 * 60, prefix: "AQ", suffix: "" },
        denial: &[
            ("error", "user_cancelled_authorize"),
            ("error_description", "The user cancelled the authorization request"),
        ],
        sent_back,
        page_status: 401,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "openid profile email w_member_social",
        identity: "/v2/userinfo",
        denials: &["error=user_cancelled_login&error_description=x"],
        refusals: &["error=unauthorized_scope_error&error_description=Scope+x+is+not+authorized"],
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/oauth/v2/accessToken", step: Step::Token, answer: token },
        Endpoint { method: "POST", path: "/oauth/v2/revoke", step: Step::Revoke, answer: revoke },
        Endpoint { method: "GET", path: "/v2/userinfo", step: Step::Identity, answer: userinfo },
        Endpoint { method: "GET", path: "/v2/me", step: Step::Identity, answer: me },
        Endpoint { method: "GET", path: "/rest/organizationAcls", step: Step::Accounts, answer: organizations::roles },
        Endpoint {
            method: "GET",
            path: "/rest/organizationsLookup",
            step: Step::Accounts,
            answer: organizations::look_up,
        },
        Endpoint {
            method: "GET",
            path: "/v2/organizationalEntityAcls",
            step: Step::Accounts,
            answer: organizations::roles_with_targets,
        },
    ],
    refuse,
    revocable: true,
    scopes: Some(&[
        "openid",
        "profile",
        "email",
        "w_member_social",
        "rw_organization_admin",
        "w_organization_social",
        "r_organization_social",
    ]),
    ..Imitation::STANDARD
};

/// A scope that the app lacks is sent back; every other mistake gets LinkedIn's own page.
fn sent_back(objection: &Objection) -> Option<&'static str> {
    matches!(objection, Objection::UnapprovedScope(_)).then_some("unauthorized_scope_error")
}

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.body_client(call, "client_id")?;
    match call.peek("grant_type") {
        Some("refresh_token") => {
            let fields = call.form(&["grant_type", "refresh_token", "client_id", "client_secret"], &[])?;
            let (_, grant) = desk.refresh_token(&client, fields.get("refresh_token"))?;
            Ok(tokens(desk, &grant, Some(fields.get("refresh_token"))))
        }
        Some("authorization_code") => {
            let fields = call.form(&["grant_type", "code", "client_id", "client_secret", "redirect_uri"], &[])?;
            let grant = desk.redeem(&client, fields)?;
            desk.world.revoke_where(|earlier| {
                earlier.platform == grant.platform
                    && earlier.client == grant.client
                    && earlier.persona.id == grant.persona.id
                    && earlier.scopes != grant.scopes
            });
            Ok(tokens(desk, &grant, None))
        }
        other => Err(Problem::GrantType(other.unwrap_or_default().to_owned())),
    }
}

/// `repeated` is the refresh token that a refresh repeats, with the rest of its life.
fn tokens(desk: &mut Desk<'_>, grant: &Grant, repeated: Option<&str>) -> Reply {
    let left = REFRESH.saturating_sub(grant.created_at.until(desk.now()).as_secs());
    let refreshes = grant.client.approved;
    let life = if refreshes { ACCESS.min(left) } else { ACCESS };
    let claims = json!({"sub": grant.persona.user_id});
    let answer = json!({
        "access_token": desk.issue(grant, TokenKind::Access, "AQX", Some(life)),
        "expires_in": life,
        "scope": grant.scopes.join(","),
        "token_type": "Bearer",
        "refresh_token": refreshes.then(|| match repeated {
            Some(refresh) => refresh.to_owned(),
            None => desk.issue(grant, TokenKind::Refresh, "AQW", Some(left)),
        }),
        "refresh_token_expires_in": refreshes.then_some(left),
        "id_token": grant.has("openid").then(|| desk.id_token(grant, "https://www.linkedin.com/oauth", &claims)),
    });
    Reply::json(200, &without_nulls(answer))
}

fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let client = desk.body_client(call, "client_id")?;
    let value = call.form(&["client_id", "client_secret", "token"], &[])?.get("token");
    let (_, grant) = desk.token(value).map_err(Problem::Token)?;
    if grant.client != client {
        return Err(Problem::Token(Dead::Unknown));
    }
    desk.revoke_person(&grant);
    Ok(Reply::empty(200))
}

fn userinfo(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &[])?;
    let grant = desk.bearer(call, &["openid", "profile"])?;
    let persona = grant.persona;
    let (given, family) = persona.name.split_once(' ').unwrap_or((persona.name, ""));
    let plain = persona.id == "ada";
    // Both forms of the locale occur in practice.
    let locale: Value = if plain { json!({"country": "US", "language": "en"}) } else { json!("de_DE") };
    let answer = json!({
        "sub": persona.user_id,
        "name": persona.name,
        "given_name": given,
        "family_name": family,
        "locale": locale,
        "picture": plain.then(|| desk.picture(&grant)),
        "email": grant.has("email").then(|| persona.email()),
        "email_verified": grant.has("email").then_some(true),
    });
    Ok(Reply::json(200, &without_nulls(answer)))
}

fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &["projection"])?;
    let grant = desk.bearer(call, &["r_basicprofile"])?;
    let persona = grant.persona;
    let (given, family) = persona.name.split_once(' ').unwrap_or((persona.name, ""));
    let answer = json!({
        "id": persona.user_id,
        "localizedFirstName": given,
        "localizedLastName": family,
        "vanityName": persona.handle,
    });
    Ok(Reply::json(200, &answer))
}

fn refuse(refusal: &Refusal<'_>) -> Reply {
    let oauth = Reply::oauth_error;
    let api = |status: u16, code: &str, message: &str| {
        Reply::json(status, &json!({"status": status, "serviceErrorCode": 65600, "code": code, "message": message}))
    };
    match refusal.problem {
        Problem::Client => oauth(401, "invalid_client", "Client authentication failed"),
        Problem::ClientAuthentication(_) => {
            oauth(400, "invalid_request", "A required parameter \"client_id\" is missing")
        }
        Problem::Code(Dead::Unknown) => oauth(401, "invalid_request", "authorization code not found"),
        Problem::Code(_) | Problem::RedirectUri | Problem::Verifier => oauth(
            400,
            "invalid_redirect_uri",
            "Unable to retrieve access token: appid/redirect uri/code verifier does not match authorization code. Or authorization code expired. Or external member binding exists",
        ),
        Problem::ContentType(what) | Problem::Parameter(what) if refusal.step.is_api() => {
            api(400, "ILLEGAL_ARGUMENT", what)
        }
        Problem::ContentType(what) | Problem::Parameter(what) => oauth(400, "invalid_request", what),
        Problem::GrantType(what) => oauth(400, "unsupported_grant_type", what),
        Problem::NoQuota | Problem::RateLimited => {
            api(429, "TOO_MANY_REQUESTS", "Resource level throttle limit for calls to this resource is reached.")
        }
        Problem::RefreshToken(_) => oauth(
            400,
            "invalid_request",
            "The provided authorization grant or refresh token is invalid, expired or revoked",
        ),
        Problem::Scope(_) => api(403, "ACCESS_DENIED", "Not enough permissions to access this resource"),
        Problem::ServerError => api(500, "INTERNAL_SERVER_ERROR", "Internal Server Error"),
        Problem::Token(Dead::Expired) => api(401, "EXPIRED_ACCESS_TOKEN", "Expired access token"),
        Problem::Token(Dead::Revoked | Dead::Spent) => api(401, "REVOKED_ACCESS_TOKEN", "The token has been revoked"),
        Problem::Token(Dead::Unknown) | Problem::TooYoung => api(401, "INVALID_ACCESS_TOKEN", "Invalid access token"),
    }
}
