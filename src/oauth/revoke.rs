//! Revocation (RFC 7009, with the variations of the platforms).

use http::Method;
use serde_json::Value;
use url::Url;

use super::error_answer::ErrorAnswer;
use super::identity::endpoint;
use super::refresh::sent;
use super::{OauthClient, refusal_body};
use crate::domain::grant::TokenSet;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Authorization, Body, Request};
use crate::platforms::{Revocation, RevocationAuth, RevokedToken};

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
        let json = refusal_body(&answer);
        let error = ErrorAnswer::read(&json);
        let is_confirmed = match platform.revocation {
            Revocation::Delete { .. } => json.get("success") == Some(&Value::Bool(true)),
            // TikTok sends errors with status 200, so an error code is a refusal.
            _ => error.code.as_deref().is_none_or(|code| code == "ok" || code.is_empty()),
        };
        if answer.is_success() && is_confirmed {
            return Ok(true);
        }
        let failure = error.failure(platform, step, answer.status);
        let error = PlatformError::new(&platform.name, step, failure).answered(answer.status, error.code);
        Err(self.without_echo(error, sent(tokens)))
    }
}

fn deletion(url: Url, tokens: &TokenSet) -> Request {
    Request {
        method: Method::DELETE,
        url,
        authorization: Authorization::Bearer(tokens.access_token.clone()),
        headers: Vec::new(),
        body: Body::Empty,
    }
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
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Request { method: Method::POST, url, authorization, headers: Vec::new(), body: Body::Form(fields) })
    }
}
