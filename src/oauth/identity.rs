//! Identifies the owner of an access token, and then the accounts that the consent covers. Calls that fail in passing
//! are retried.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error_answer::ErrorAnswer;
use super::{OauthClient, json};
use crate::domain::account::{Account, Identity};
use crate::domain::bounds;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Answer, Authorization, Body, Request};
use crate::platforms::{ApiCall, IdentityMethod, Platform, TokenPlace, Unidentified};

impl OauthClient<'_> {
    /// Returns the account behind an access token. `scopes`: the granted ones.
    ///
    /// # Errors
    ///
    /// The platform names no account, or still fails after retries.
    pub async fn identify(&self, access_token: &SecretString, scopes: &[String]) -> Result<Identity, PlatformError> {
        let identity = &self.platform.identity;
        let account = match (self.account(&identity.call, access_token).await, &identity.fallback) {
            (Err(PlatformError { failure: Failure::PermissionMissing, .. }), Some(fallback)) => {
                self.account(fallback, access_token).await
            }
            (result, _) => result,
        };
        let mut account = account?;
        if let Some(enrich) = &identity.enrich
            && scopes.iter().any(|scope| scope == enrich.scope)
        {
            match self.call(&enrich.call, access_token, |answer| Ok(json(&answer))).await {
                Ok(answer) => (enrich.add)(&mut account, &answer),
                Err(error) => {
                    tracing::warn!(platform.name = %self.platform.name, error = %error, "cannot read the public name: going on without it");
                }
            }
        }
        self.accounts(account, access_token, scopes).await.map(Identity::bounded)
    }

    async fn account(&self, call: &ApiCall, token: &SecretString) -> Result<Account, PlatformError> {
        let platform = self.platform;
        self.call(call, token, |answer| {
            let json = json(&answer);
            let account = platform.identity.read.read(&json);
            let account = account.and_then(|account| {
                if bounds::is_id(&account.platform_user_id) { Ok(account) } else { Err(Unidentified::Unreadable) }
            });
            account.map_err(|why| {
                let error = ErrorAnswer::read(&json);
                // TikTok refuses with status 200 as well, and its code is `ok` when nothing is wrong.
                let failure = error.documented(platform, Step::Identity, answer.status).unwrap_or_else(|| why.into());
                PlatformError::new(&platform.name, Step::Identity, failure)
                    .answered(answer.status, error.code.filter(|code| code != "ok"))
            })
        })
        .await
    }

    async fn call<T>(
        &self,
        call: &ApiCall,
        token: &SecretString,
        read: impl Fn(Answer) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let (platform, step) = (self.platform, Step::Identity);
        let path = call.path.replace("{version}", &platform.api_version);
        let url = if call.absolute { path } else { format!("{}{path}", platform.api_url) };
        let url = endpoint(platform, step, &url)?;
        let request = || self.api_request(url.clone(), call, token);
        self.ask(
            step,
            request,
            |answer| {
                if answer.is_success() { read(answer) } else { Err(refusal(platform, step, &answer)) }
            },
        )
        .await
    }

    #[expect(clippy::disallowed_methods, reason = "Threads takes the access token in the query")]
    fn api_request(&self, mut url: Url, call: &ApiCall, token: &SecretString) -> Request {
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(call.query);
        }
        let authorization = match call.token {
            TokenPlace::Bearer => Authorization::Bearer(token.clone()),
            TokenPlace::Query => {
                url.query_pairs_mut().append_pair("access_token", token.expose_secret());
                Authorization::None
            }
        };
        let method = match call.method {
            IdentityMethod::Get => Method::GET,
            IdentityMethod::Post => Method::POST,
        };
        let header = |(name, value): &(String, String)| {
            (name.clone().into(), value.replace("{client_id}", &self.credentials.client_id))
        };
        Request { method, url, authorization, headers: call.headers.iter().map(header).collect(), body: Body::Empty }
    }
}

/// The error of an API answer that is no success.
pub(super) fn refusal(platform: &Platform, step: Step, answer: &Answer) -> PlatformError {
    let error = ErrorAnswer::read(&json(answer));
    let failure = error.failure(platform, step, answer.status);
    PlatformError::new(&platform.name, step, failure).answered(answer.status, error.code)
}

/// A configured URL. The configuration has checked it; if it does not parse, that is reported instead of a panic.
pub(super) fn endpoint(platform: &Platform, step: Step, url: &str) -> Result<Url, PlatformError> {
    Url::parse(url).map_err(|_| PlatformError::new(&platform.name, step, Failure::PlatformAnswerUnreadable))
}
