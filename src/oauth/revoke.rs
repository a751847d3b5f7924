//! Revocation (RFC 7009, with the variations of the platforms).

use http::Method;
use serde_json::Value;
use url::Url;

use super::OauthClient;
use super::error_answer::ErrorAnswer;
use super::exchange::json_object;
use super::identity::endpoint;
use super::tokens::{read_body, says_no_error};
use crate::domain::grant::TokenSet;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Authorization, Body, Request};
use crate::platforms::{Revocation, RevocationAuth, RevokedToken, TokenBody};

impl OauthClient<'_> {
    /// Asks the platform to revoke the tokens, once. Returns false when it has no endpoint for that.
    ///
    /// # Errors
    ///
    /// The platform did not confirm.
    pub async fn revoke(&self, tokens: &TokenSet) -> Result<bool, PlatformError> {
        let (platform, step) = (&*self.platform, Step::Revocation);
        let answer = match &platform.revocation {
            Revocation::Delete { url } => Ok(self.send(step, deletion(endpoint(platform, step, url)?, tokens)).await),
            Revocation::Endpoint { url, client_auth, token } => {
                let url = endpoint(platform, step, url)?;
                let request = |client: &OauthClient<'_>| client.revocation(tokens, url.clone(), *client_auth, *token);
                self.send_as_client(step, request).await
            }
            Revocation::Unsupported => return Ok(false),
        };
        let answer = answer?.map_err(|error| error.at(&platform.name, step))?;
        let error = ErrorAnswer::of_token_endpoint(&answer);
        let json = read_body(&answer.body).unwrap_or(Value::Null);
        if answer.is_success() && !error.is_markup() && is_confirmed(&platform.revocation, &json) {
            return Ok(true);
        }
        Err(error.error(platform, step, answer.status))
    }
}

/// True when the body of a success does not take it back. RFC 7009, section 2.2, has the client ignore the body; TikTok
/// sends errors with status 200, and a page is not the platform's.
fn is_confirmed(revocation: &Revocation, json: &Value) -> bool {
    if let Value::Array(items) = json
        && !items.is_empty()
    {
        return items.iter().all(|item| is_confirmed(revocation, item));
    }
    let is_denied = |name: &&str| json.get(*name).and_then(truth) == Some(false);
    let says_error = |name: &&str| {
        let value = json.get(*name);
        let is_word = |text: &str| ["error", "fail", "failed", "failure"].contains(&text.to_ascii_lowercase().as_str());
        value.and_then(Value::as_str).is_some_and(is_word) || value.and_then(Value::as_u64).is_some_and(is_error_status)
    };
    match revocation {
        Revocation::Delete { .. } => truth(json.get("success").unwrap_or(json)) == Some(true),
        _ if truth(json) == Some(false) => false,
        _ if ["ok", "revoked", "success"].iter().any(is_denied) => false,
        _ if ["message", "result", "status", "statusCode"].iter().any(says_error) => false,
        _ => {
            CODES.iter().filter_map(|pointer| json.pointer(pointer)).all(|code| says_no_error(code) || is_success(code))
        }
    }
}

/// A yes or a no, in the ways in which servers write one.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::Number(number) => number.as_u64().filter(|number| *number < 2).map(|number| number == 1),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn is_error_status(status: u64) -> bool {
    (400..600).contains(&status)
}

/// Where a body has the code of a failure.
const CODES: [&str; 10] = [
    "/Error",
    "/code",
    "/data/error",
    "/data/error_code",
    "/errcode",
    "/error",
    "/errorCode",
    "/error_code",
    "/errors",
    "/fault",
];

/// True for a success's status once more, or a word for it.
fn is_success(code: &Value) -> bool {
    let is_status = code.as_u64().is_some_and(|code| (200..300).contains(&code));
    is_status || code.as_str().is_some_and(|code| code.eq_ignore_ascii_case("success"))
}

fn deletion(url: Url, tokens: &TokenSet) -> Request {
    let authorization = Authorization::Bearer(tokens.access_token.clone());
    Request { method: Method::DELETE, authorization, ..Request::get(url) }
}

impl OauthClient<'_> {
    fn revocation(
        &self,
        tokens: &TokenSet,
        url: Url,
        client_auth: RevocationAuth,
        token: RevokedToken,
    ) -> Result<Request, PlatformError> {
        let token = match (token, &tokens.refresh_token) {
            (RevokedToken::Refresh, Some(refresh)) => refresh,
            (RevokedToken::Access | RevokedToken::Refresh, _) => &tokens.access_token,
        };
        let mut fields = vec![("token", token.clone())];
        let authorization = match client_auth {
            RevocationAuth::None => Authorization::None,
            RevocationAuth::AsToken => self.authenticate(Step::Revocation, &mut fields)?,
        };
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        // RFC 7009 has a form. A server that takes JSON at its token endpoint takes it here (Notion).
        let body =
            if self.platform.body == TokenBody::Json { Body::Json(json_object(&fields)) } else { Body::Form(fields) };
        Ok(Request::post(url, authorization, body))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_success_is_a_revocation_unless_it_has_an_error() {
        let endpoint = Revocation::Endpoint {
            url: "https://a.example".into(),
            client_auth: RevocationAuth::None,
            token: RevokedToken::Access,
        };
        for (answer, expected) in [
            (json!(null), true),
            (json!({}), true),
            (json!({"code": 0, "message": "success"}), true),
            (json!({"code": 200}), true),
            (json!({"title": "Revoked"}), true),
            (json!({"error": ""}), true),
            (json!({"error": {"code": "ok", "message": ""}}), true),
            (json!({"error": "invalid_client", "error_description": "x"}), false),
            (json!({"error": {"code": "access_token_invalid"}}), false),
            (json!({"ok": true, "revoked": true, "success": true, "errors": []}), true),
            (json!({"ok": false}), false),
            (json!({"revoked": false}), false),
            (json!({"success": false}), false),
            (json!({"errors": [{"message": "x"}]}), false),
            (json!({"code": "success"}), true),
            (json!({"data": {"error_code": 0}, "message": "success"}), true),
            (json!({"data": {"error_code": 10002}, "message": "error"}), false),
            (json!({"status": "error"}), false),
            (json!({"code": 2, "message": "x"}), false),
            (json!({"error_code": "10002"}), false),
            (json!({"errcode": 40001, "errmsg": "x"}), false),
            (json!({"Error": "x"}), false),
            (json!({"fault": {"faultstring": "x"}}), false),
            (json!({"data": {"error": "x"}}), false),
            (json!([{"error": "invalid_client"}]), false),
            (json!([]), true),
            (json!(true), true),
            (json!(false), false),
            (json!({"success": "false"}), false),
            (json!({"success": "TRUE"}), true),
            (json!({"ok": 0}), false),
            (json!({"ok": 1}), true),
            (json!({"status": "fail"}), false),
            (json!({"status": "done"}), true),
            (json!({"status": 400, "message": "x"}), false),
            (json!({"status": 200}), true),
            (json!({"statusCode": 401}), false),
            (json!({"result": "error"}), false),
        ] {
            assert_eq!(is_confirmed(&endpoint, &answer), expected, "{answer}");
        }
        let deletion = Revocation::Delete { url: "https://a.example".into() };
        for yes in [json!({"success": true}), json!({"success": "true"}), json!({"success": 1}), json!(true)] {
            assert!(is_confirmed(&deletion, &yes), "{yes}");
        }
        for no in [
            json!({}),
            json!([]),
            json!(null),
            json!({"success": false}),
            json!({"success": "x"}),
            json!({"success": 2}),
        ] {
            assert!(!is_confirmed(&deletion, &no), "{no}");
        }
    }
}
