//! Who connected: the platform's identity call, asked again when it fails for the moment, and then the accounts that the
//! consent covers.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::error_answer::ErrorAnswer;
use super::{Engine, json};
use crate::domain::account::{Account, Identity};
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Answer, Authorization, Body, Request};
use crate::platforms::{ApiCall, Platform, TokenPlace, Unidentified};

impl Engine {
    /// The account behind an access token. `scopes`: those granted.
    ///
    /// # Errors
    ///
    /// What the platform answered instead, after asking again where that could help.
    pub async fn identify(
        &self,
        platform: &Platform,
        access_token: &SecretString,
        scopes: &[String],
    ) -> Result<Identity, PlatformError> {
        let identity = &platform.identity;
        let account = match (self.account(platform, &identity.call, access_token).await, &identity.fallback) {
            (Err(PlatformError { failure: Failure::PermissionMissing, .. }), Some(fallback)) => {
                self.account(platform, fallback, access_token).await
            }
            (result, _) => result,
        };
        let mut account = account?;
        if let Some(enrich) = &identity.enrich
            && scopes.iter().any(|scope| scope == enrich.scope)
        {
            match self.call(platform, &enrich.call, access_token, |answer| Ok(json(&answer))).await {
                Ok(answer) => (enrich.add)(&mut account, &answer),
                Err(error) => {
                    tracing::warn!(platform.name = %platform.name, error = %error, "going on without the public name");
                }
            }
        }
        let mut identity = self.accounts(platform, account, access_token, scopes).await?;
        for found in &mut identity.accounts {
            let account = &mut found.account;
            account.profile_url = account.profile_url.take().filter(|url| is_web_url(url));
            account.image_url = account.image_url.take().filter(|url| is_web_url(url));
        }
        Ok(identity)
    }

    async fn account(
        &self,
        platform: &Platform,
        call: &ApiCall,
        token: &SecretString,
    ) -> Result<Account, PlatformError> {
        self.call(platform, call, token, |answer| {
            let json = json(&answer);
            platform.identity.read.read(&json).map_err(|why| {
                // TikTok says what is wrong with 200, and `ok` when nothing is.
                let code = ErrorAnswer::read(&json).code.filter(|code| code != "ok");
                PlatformError::new(&platform.name, Step::Identity, why.into()).answered(answer.status, code)
            })
        })
        .await
    }

    async fn call<T>(
        &self,
        platform: &Platform,
        call: &ApiCall,
        token: &SecretString,
        read: impl Fn(Answer) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let path = call.path.replace("{version}", &platform.api_version);
        let url = if call.absolute { path } else { format!("{}{path}", platform.api_url) };
        let url = endpoint(platform, Step::Identity, &url)?;
        let request = || api_request(url.clone(), call, token);
        self.ask(platform, Step::Identity, request, |answer| {
            if answer.is_success() { read(answer) } else { Err(refusal(platform, Step::Identity, &answer)) }
        })
        .await
    }
}

#[expect(clippy::disallowed_methods, reason = "Threads takes the access token in the query")]
fn api_request(mut url: Url, call: &ApiCall, token: &SecretString) -> Request {
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
    Request { method: Method::GET, url, authorization, headers: Vec::new(), body: Body::Empty }
}

/// What a refusal of the platform's API means. Its own reading of it comes first, but for a plain request to slow down.
pub(super) fn refusal(platform: &Platform, step: Step, answer: &Answer) -> PlatformError {
    let json = json(answer);
    let error = ErrorAnswer::read(&json);
    let failure = match (error.at_api(step, answer.status), (platform.identity.refused)(&json)) {
        (_, Some(Unidentified::AccessNotApproved)) => Failure::AccessNotApproved,
        (Failure::IdentityUnavailable, Some(why)) => why.into(),
        (failure, _) => failure,
    };
    PlatformError::new(&platform.name, step, failure).answered(answer.status, error.code)
}

/// A configured URL. Configuration checks its URLs: one that is none is reported instead of a panic.
pub(super) fn endpoint(platform: &Platform, step: Step, url: &str) -> Result<Url, PlatformError> {
    Url::parse(url).map_err(|_| PlatformError::new(&platform.name, step, Failure::PlatformAnswerUnreadable))
}

/// Callers parse these and browsers follow them: an http(s) URL or nothing.
fn is_web_url(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}
