//! Identifies the owner of an access token, and then the accounts that the consent covers. Calls that fail in passing
//! are retried.

use http::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::OauthClient;
use super::error_answer::{ErrorAnswer, api_refusal};
use super::exchange::OK;
use super::id_token::{self, NotProven, Statement};
use crate::domain::account::{Account, Identity};
use crate::domain::bounds;
use crate::domain::echo::Sent;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::grant::IssuedTokens;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Answer, Authorization, Body, Request};
use crate::platforms::{ApiCall, IdentityMethod, Platform, TokenPlace, Unidentified, text};

impl OauthClient<'_> {
    /// Returns the account behind tokens. `nonce`: the connection's.
    ///
    /// # Errors
    ///
    /// The platform names no account, still fails after retries, or sent an id_token that proves nothing.
    pub async fn identify(&self, issued: &IssuedTokens, nonce: &str) -> Result<Identity, PlatformError> {
        let (identity, access_token) = (&self.platform.identity, &issued.tokens.access_token);
        let scopes = issued.scopes.as_deref().unwrap_or_default();
        let claims = self.id_token_claims(issued, nonce).await?;
        let is_in_claims = self.platform.id_tokens.as_ref().is_some_and(|id_tokens| id_tokens.are_identity);
        let mut account = if is_in_claims {
            self.read_account(&claims.unwrap_or_default(), (OK, &self.known(Some(access_token))))?
        } else {
            match (self.account(&identity.call, access_token, claims.as_ref()).await, &identity.fallback) {
                (Err(error), Some(fallback)) if may_lack_permission(&error) => {
                    self.account(fallback, access_token, claims.as_ref()).await?
                }
                (result, _) => result?,
            }
        };
        if let Some(enrich) = &identity.enrich
            && scopes.iter().any(|scope| scope == enrich.scope)
        {
            match self.call(&enrich.call, access_token, |answer| Ok(answer.json())).await {
                Ok(answer) => (enrich.add)(&mut account, &answer),
                Err(error) => {
                    tracing::warn!(
                        platform.name = %self.platform.name, error = %chain(&error),
                        "cannot read the public name: going on without it"
                    );
                }
            }
        }
        self.accounts(account, access_token, scopes).await.map(Identity::bounded)
    }

    /// `claims`: those of the verified id_token, where there is one.
    async fn account(
        &self,
        call: &ApiCall,
        token: &SecretString,
        claims: Option<&Value>,
    ) -> Result<Account, PlatformError> {
        // TikTok and Slack tell of trouble with status 200.
        let answer =
            self.call(call, token, |answer| match self.read_account(&answer.json(), (answer.status, &answer.sent)) {
                Err(error) if error.failure.is_transient() => Err(error),
                _ => Ok(answer),
            });
        let answer = answer.await?;
        let json = match std::str::from_utf8(&answer.body) {
            Ok(signed) if id_token::is_signed(signed) => self.verified(signed, Statement::Userinfo).await?,
            _ => answer.json(),
        };
        // OpenID Connect Core 1.0, section 5.3.2: an answer about somebody else must not be used.
        if let Some(claims) = claims
            && json.get("sub").is_some()
            && text(&json, "/sub") != text(claims, "/sub")
        {
            return Err(self.not_proven(NotProven::Subject));
        }
        self.read_account(&json, (answer.status, &answer.sent))
    }

    /// `answered`: the status of the answer, and the secrets of its request.
    fn read_account(&self, json: &Value, answered: (u16, &Sent)) -> Result<Account, PlatformError> {
        let platform = &*self.platform;
        let account = platform.identity.read.read(json).and_then(|account| {
            let is_named = |account: &Account| bounds::is_id(&account.platform_user_id);
            let known = Some(account).filter(is_named).map(|account| match &platform.server {
                Some(server) => server.qualify(account),
                None => account,
            });
            known.filter(is_named).ok_or(Unidentified::Unreadable)
        });
        account.map_err(|why| unread(platform, Step::Identity, json, answered, why))
    }

    async fn call<T>(
        &self,
        call: &ApiCall,
        token: &SecretString,
        read: impl Fn(Answer) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let (platform, step) = (&*self.platform, Step::Identity);
        let path = call.path.replace("{version}", &platform.api_version);
        let url = if call.absolute { path } else { format!("{}{path}", platform.api_url) };
        let url = endpoint(platform, step, &url)?;
        let request = || self.api_request(url.clone(), call, token);
        self.ask(step, request, |answer| {
            if answer.is_success() { read(answer) } else { Err(api_refusal(platform, step, &answer)) }
        })
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
        let mut headers: Vec<_> = call.headers.iter().map(header).collect();
        if call.method == IdentityMethod::Post {
            // Some servers refuse a POST that does not say that it has no body.
            headers.push(("content-length".into(), "0".to_owned()));
        }
        Request { method, url, authorization, headers, body: Body::Empty }
    }
}

/// True for a refusal for which another call may need less. It may be a page of something in front of the platform: the
/// other call spends nothing.
fn may_lack_permission(error: &PlatformError) -> bool {
    let is_refused = matches!(error.status, Some(401 | 403)) && error.failure == Failure::IdentityUnavailable;
    is_refused || error.failure == Failure::PermissionMissing
}

/// The error of a success that does not hold what was asked for. Some platforms refuse with status 200.
///
/// `sent`: with the request.
pub(super) fn unread(
    platform: &Platform,
    step: Step,
    json: &Value,
    (status, sent): (u16, &Sent),
    why: Unidentified,
) -> PlatformError {
    let error = ErrorAnswer::read(json, sent);
    let failure = error.documented(platform, step, status).unwrap_or_else(|| why.into());
    // TikTok's code is `ok` when nothing is wrong.
    PlatformError::new(&platform.name, step, failure).answered(status, error.code.filter(|code| **code != *"ok"))
}

/// A configured URL. The configuration has checked it; if it does not parse, that is reported instead of a panic.
pub(super) fn endpoint(platform: &Platform, step: Step, url: &str) -> Result<Url, PlatformError> {
    Url::parse(url).map_err(|_| PlatformError::new(&platform.name, step, Failure::PlatformAnswerUnreadable))
}
