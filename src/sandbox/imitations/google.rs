//! Google's OAuth 2.0, shared by its platforms.
//! <https://developers.google.com/identity/protocols/oauth2/web-server>
//!
//! A refresh token requires `access_type=offline`, and after the first consent also `prompt=consent`; a refresh does
//! not repeat it. People can untick scopes. Revoking either token ends the person's whole consent.

use serde_json::json;

use super::{Parameter, Refusal};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::{Dead, Problem};
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const ACCESS: u64 = 3599;

/// `include_granted_scopes` is left out: a broker must not merge the grants of its flows.
pub(super) const PARAMETERS: &[Parameter] = &[
    Parameter { name: "access_type", words: &["offline", "online"] },
    Parameter { name: "login_hint", words: &[] },
    Parameter { name: "prompt", words: &["consent", "none", "select_account"] },
];

pub(super) const IDENTITY_SCOPES: &[&str] = &["email", "openid", "profile"];

/// Parameters of a request that gets a refresh token each time.
pub(super) const AUTHORIZE: &[(&str, &str)] = &[("access_type", "offline"), ("prompt", "consent")];

pub(super) fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let refreshing = call.peek("grant_type") == Some("refresh_token");
    let client = desk.body_client(call, "client_id")?;
    let grant = if refreshing {
        let fields = call.form(&["client_id", "client_secret", "grant_type", "refresh_token"], &[])?;
        desk.refresh_token(&client, fields.get("refresh_token"))?.1
    } else {
        let fields =
            call.form(&["client_id", "client_secret", "code", "grant_type", "redirect_uri"], &["code_verifier"])?;
        fields.expect_grant_type("authorization_code")?;
        desk.redeem(&client, fields)?
    };
    let gets_refresh_token = !refreshing && wants_refresh_token(desk, &grant);
    let claims = json!({"sub": subject(&grant)});
    let answer = json!({
        "access_token": desk.issue(&grant, TokenKind::Access, "ya29.", Some(ACCESS)),
        "expires_in": ACCESS,
        "scope": grant.scopes.join(" "),
        "token_type": "Bearer",
        "refresh_token": gets_refresh_token.then(|| desk.issue(&grant, TokenKind::Refresh, "1//0", None)),
        "id_token": grant.has("openid").then(|| desk.id_token(&grant, "https://accounts.google.com", &claims)),
    });
    Ok(Reply::json(200, &without_nulls(answer)))
}

fn wants_refresh_token(desk: &mut Desk<'_>, grant: &Grant) -> bool {
    let offline = grant.parameter("access_type") == Some("offline");
    let asked_again = grant.parameter("prompt").is_some_and(|prompt| prompt.split(' ').any(|word| word == "consent"));
    offline && (desk.world.remember(grant) || asked_again)
}

/// Google's id of the person, which differs from the id of a channel or business.
fn subject(grant: &Grant) -> String {
    let digits =
        grant.persona.id.bytes().fold(100_000_000_000_u64, |sum, byte| sum * 31 % 899_999_999_993 + u64::from(byte));
    format!("108{digits:018}")
}

pub(super) fn revoke(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let value = call.form(&["token"], &[])?.get("token");
    let (_, grant) = desk.token(value).map_err(Problem::Token)?;
    desk.revoke_person(&grant);
    Ok(Reply::json(200, &json!({})))
}

pub(super) fn userinfo(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    call.query(&[], &[])?;
    let grant = desk.bearer(call, &["profile"])?;
    let answer = json!({
        "id": subject(&grant),
        "name": grant.persona.name,
        "picture": desk.picture(&grant),
        "email": grant.has("email").then(|| grant.persona.email()),
    });
    Ok(Reply::json(200, &without_nulls(answer)))
}

/// An API's refusal for a reason other than credentials.
pub(super) fn api_error(status: u16, name: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"error": {"code": status, "message": message, "status": name}}))
}

/// An exhausted quota of the business APIs. Until Google approves a project, the quota is zero; only the sentence and
/// the limit distinguish that from a rate limit.
fn quota(metric: &str, limit: &str) -> Reply {
    const SERVICE: &str = "mybusinessaccountmanagement.googleapis.com";
    let message = format!(
        "Quota exceeded for quota metric {metric} of service '{SERVICE}' for consumer 'project_number:1234567890'."
    );
    let details = json!([{
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "RATE_LIMIT_EXCEEDED",
        "domain": "googleapis.com",
        "metadata": {
            "consumer": "projects/1234567890",
            "quota_limit": "DefaultRequestsPerMinutePerProject",
            "quota_limit_value": limit,
            "service": SERVICE,
        },
    }]);
    let error = json!({"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details});
    Reply::json(429, &json!({"error": error}))
}

pub(super) fn refuse(refusal: &Refusal<'_>) -> Reply {
    let oauth = Reply::oauth_error;
    let api = |status: u16, name: &str, reason: &str, message: &str| {
        let errors = json!([{"message": message, "domain": "global", "reason": reason}]);
        let error = json!({"code": status, "message": message, "errors": errors, "status": name});
        Reply::json(status, &json!({"error": error}))
    };
    match refusal.problem {
        Problem::Client => oauth(401, "invalid_client", "Unauthorized"),
        Problem::ClientAuthentication(_) => {
            oauth(400, "invalid_request", "Could not determine client ID from request.")
        }
        Problem::Code(_) => oauth(400, "invalid_grant", "Malformed auth code."),
        Problem::ContentType(what) | Problem::Parameter(what) if refusal.step.is_api() => {
            api(400, "INVALID_ARGUMENT", "badRequest", what)
        }
        Problem::ContentType(what) | Problem::Parameter(what) => oauth(400, "invalid_request", what),
        Problem::GrantType(what) => oauth(400, "unsupported_grant_type", &format!("Invalid grant_type: {what}")),
        Problem::NoQuota if refusal.step.is_api() => quota("'Requests per minute'", "0"),
        Problem::RateLimited if refusal.step == Step::Accounts => {
            quota("'Requests' and limit 'Requests per minute'", "300")
        }
        Problem::RateLimited if refusal.step.is_api() => {
            api(429, "RESOURCE_EXHAUSTED", "rateLimitExceeded", "Rate Limit Exceeded")
        }
        Problem::NoQuota | Problem::RateLimited => oauth(429, "rate_limit_exceeded", "Rate Limit Exceeded"),
        Problem::RedirectUri => oauth(400, "redirect_uri_mismatch", "Bad Request"),
        Problem::RefreshToken(Dead::Unknown) => oauth(400, "invalid_grant", "Bad Request"),
        Problem::RefreshToken(_) => oauth(400, "invalid_grant", "Token has been expired or revoked."),
        Problem::Scope(_) => {
            api(403, "PERMISSION_DENIED", "insufficientPermissions", "Request had insufficient authentication scopes.")
        }
        Problem::ServerError if refusal.step.is_api() => {
            api(500, "INTERNAL", "backendError", "Internal error encountered.")
        }
        Problem::ServerError => oauth(500, "internal_failure", "Internal error."),
        Problem::Token(_) if refusal.step == Step::Revoke => oauth(400, "invalid_token", "Token expired or revoked"),
        Problem::Token(_) | Problem::TooYoung => {
            api(401, "UNAUTHENTICATED", "authError", "Request had invalid authentication credentials.")
        }
        Problem::Verifier => oauth(400, "invalid_grant", "Invalid code verifier."),
    }
}
