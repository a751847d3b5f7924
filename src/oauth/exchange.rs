//! The code exchange: an authorization code for tokens and, at platforms that have it, short-lived tokens for
//! long-lived ones.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use super::error_answer::{ErrorAnswer, token_refusal};
use super::identity::endpoint;
use super::tokens::{self, NotTokens};
use super::{ATTEMPTS, OauthClient};
use crate::domain::echo::Sent;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::grant::IssuedTokens;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::time::Timestamp;
use crate::outbound::{self, Authorization, Body, Request};
use crate::platforms::{Credentials, GrantedScopes, LongLived, Platform, TokenBody};

/// An authorization code with the values that it is bound to.
#[derive(Debug)]
pub struct CodeExchange<'a> {
    pub code: &'a SecretString,
    /// The same as in the authorize URL.
    pub redirect_uri: &'a str,
    pub pkce_verifier: Option<&'a SecretString>,
}

/// A successful answer to a code exchange, not read yet.
#[derive(Debug)]
pub struct CodeAnswer {
    /// Wiped on drop.
    pub body: Zeroizing<Vec<u8>>,
    pub sent_at: Timestamp,
}

impl OauthClient<'_> {
    /// Sends an authorization code. Sends it again only when the first request cannot have arrived. Store the answer
    /// before [`OauthClient::finish_exchange`] reads it. A success that is an error is none.
    ///
    /// # Errors
    ///
    /// The platform refused the code or did not answer.
    pub async fn send_code(&self, exchange: &CodeExchange<'_>) -> Result<CodeAnswer, PlatformError> {
        let (platform, step) = (&*self.platform, Step::CodeExchange);
        let mut attempt = 1;
        loop {
            let sent_at = self.engine.clock.now();
            match self.send_as_client(step, |client| client.token_request(&Exchanged::Code(exchange))).await? {
                Ok(answer) if answer.is_success() => {
                    return match read_tokens(platform, step, &answer.body, sent_at, &answer.sent) {
                        Err(error) if error.is_in_answer => Err(error),
                        // An answer that cannot be read may hold tokens.
                        Ok(_) | Err(_) => Ok(CodeAnswer { body: answer.body, sent_at }),
                    };
                }
                Ok(answer) => {
                    return Err(token_refusal(platform, step, &answer));
                }
                // Sending a code spends it.
                Err(error) if error.is_before_sending() && attempt < ATTEMPTS => {
                    tokio::time::sleep(self.engine.retry_pause * attempt).await;
                    attempt += 1;
                }
                Err(error) => return Err(error.at(&platform.name, step)),
            }
        }
    }

    /// Returns the tokens and the granted scopes from the answer to a code exchange that was sent at `sent_at`. Spends
    /// nothing, so it may be repeated. The scopes are `None` where the answer leaves them out because all requested
    /// ones were granted (RFC 6749, section 5.1).
    ///
    /// # Errors
    ///
    /// The platform refused the code or did not answer.
    pub async fn finish_exchange(&self, answer: &[u8], sent_at: Timestamp) -> Result<IssuedTokens, PlatformError> {
        let platform = &*self.platform;
        let mut issued = read_tokens(platform, Step::CodeExchange, answer, sent_at, &self.known(None))?;
        if let Some(long_lived) = platform.long_lived {
            let scopes = issued.scopes.take();
            let short = &issued.tokens.access_token;
            issued = self.exchange_for_long_lived(long_lived, short).await?;
            issued.scopes = issued.scopes.or(scopes);
        }
        if issued.scopes.is_none() {
            let token = &issued.tokens.access_token;
            issued.scopes = match platform.granted_scopes {
                GrantedScopes::Answer => None,
                GrantedScopes::DebugToken { path } => Some(self.debug_scopes(path, token).await),
                GrantedScopes::Permissions { path } => Some(self.granted_permissions(path, token).await),
            };
        }
        issued.tokens.service_url = platform.server.as_ref().map(|server| server.origin().to_owned());
        Ok(issued)
    }

    /// The tokens in the answer to a code exchange, before [`OauthClient::finish_exchange`] exchanges them.
    #[must_use]
    pub fn issued_in(&self, answer: &[u8], sent_at: Timestamp) -> Option<IssuedTokens> {
        read_tokens(&self.platform, Step::CodeExchange, answer, sent_at, &self.known(None)).ok()
    }

    /// Safe to retry: the short-lived token stays valid.
    async fn exchange_for_long_lived(
        &self,
        long_lived: LongLived,
        short: &SecretString,
    ) -> Result<IssuedTokens, PlatformError> {
        let (platform, step) = (&*self.platform, Step::LongLivedExchange);
        let url = api_url(platform, step, long_lived.path)?;
        let client = self.preferred();
        let request = || long_lived_request(platform, &client.credentials, long_lived, url.clone(), short);
        self.ask(step, request, |answer| {
            if !answer.is_success() {
                return Err(token_refusal(platform, step, &answer));
            }
            read_tokens(platform, step, &answer.body, self.engine.clock.now(), &answer.sent)
        })
        .await
    }

    async fn debug_scopes(&self, path: &str, token: &SecretString) -> Vec<String> {
        let request = |mut url: Url| {
            url.query_pairs_mut().append_pair("input_token", expose(token)).append_pair("access_token", expose(token));
            Request::get(url)
        };
        self.scopes(path, request, |answer| answer.pointer("/data/scopes").and_then(tokens::scopes)).await
    }

    async fn granted_permissions(&self, path: &str, token: &SecretString) -> Vec<String> {
        let request = |url| Request { authorization: Authorization::Bearer(token.clone()), ..Request::get(url) };
        self.scopes(path, request, tokens::granted_permissions).await
    }

    /// The granted scopes; none when the call fails, because scopes are not worth the connection.
    async fn scopes(
        &self,
        path: &str,
        request: impl Fn(Url) -> Request,
        read: fn(&Value) -> Option<Vec<String>>,
    ) -> Vec<String> {
        let (platform, step) = (&*self.platform, Step::Scopes);
        let asked = async {
            let url = api_url(platform, step, path)?;
            self.ask(
                step,
                || request(url.clone()),
                |answer| {
                    let scopes = read(&answer.json());
                    scopes.filter(|_| answer.is_success()).ok_or_else(|| token_refusal(platform, step, &answer))
                },
            )
            .await
        };
        asked.await.unwrap_or_else(|error: PlatformError| {
            tracing::warn!(
                platform.name = %platform.name, error = %chain(&error),
                "cannot read the granted scopes: recording none"
            );
            Vec::new()
        })
    }
}

/// A credential that the token endpoint exchanges for tokens.
pub(super) enum Exchanged<'a> {
    Code(&'a CodeExchange<'a>),
    /// `scopes`: the granted ones.
    RefreshToken {
        token: &'a SecretString,
        scopes: &'a [String],
    },
}

impl OauthClient<'_> {
    /// The request to the token endpoint (RFC 6749, sections 4.1.3 and 6), in the platform's own way.
    pub(super) fn token_request(&self, exchanged: &Exchanged<'_>) -> Result<Request, PlatformError> {
        let platform = &*self.platform;
        let plain = SecretString::from;
        let (step, mut fields) = match exchanged {
            Exchanged::Code(exchange) => {
                let mut fields = vec![("grant_type", plain("authorization_code")), ("code", exchange.code.clone())];
                fields.extend(exchange.pkce_verifier.map(|verifier| ("code_verifier", verifier.clone())));
                (Step::CodeExchange, fields)
            }
            Exchanged::RefreshToken { token, .. } => {
                (Step::Refresh, vec![("grant_type", plain("refresh_token")), ("refresh_token", (*token).clone())])
            }
        };
        let authorization = self.authenticate(step, &mut fields)?;
        let further = match exchanged {
            Exchanged::Code(exchange) => {
                fields.push(("redirect_uri", plain(exchange.redirect_uri)));
                &platform.exchange_params
            }
            Exchanged::RefreshToken { scopes, .. } => {
                if platform.refreshes_with_scope && !scopes.is_empty() {
                    let scopes = scopes.join(platform.scope_separator.as_str());
                    fields.push(("scope", SecretString::from(scopes)));
                }
                &platform.refresh_params
            }
        };
        fields.extend(further.iter().map(|(name, value)| (name.as_ref(), plain(value))));
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let body = match platform.body {
            TokenBody::Form => Body::Form(fields),
            TokenBody::Json => Body::Json(json_object(&fields)),
            TokenBody::Multipart => Body::Multipart(fields),
        };
        Ok(Request::post(endpoint(platform, step, &platform.token_url)?, authorization, body))
    }
}

/// A JSON object of texts.
pub(super) fn json_object(fields: &[(String, SecretString)]) -> SecretString {
    let texts: BTreeMap<&str, &str> = fields.iter().map(|(name, value)| (name.as_str(), expose(value))).collect();
    // Wiped, and never moved while it grows: an escaped byte becomes six at most.
    let most = texts.iter().map(|(name, value)| 6 * (name.len() + value.len() + 1)).sum::<usize>() + 2;
    let mut object = Zeroizing::new(Vec::with_capacity(most));
    // Texts always serialize, and a buffer accepts every write.
    let _ = serde_json::to_writer(&mut *object, &texts);
    SecretString::from(std::str::from_utf8(&object).unwrap_or_default())
}

/// The request that exchanges the token `short` for a long-lived one.
pub(super) fn long_lived_request(
    platform: &Platform,
    credentials: &Credentials,
    long_lived: LongLived,
    mut url: Url,
    short: &SecretString,
) -> Request {
    {
        let mut query = url.query_pairs_mut();
        query.append_pair("grant_type", long_lived.grant_type);
        if long_lived.names_client {
            query.append_pair(platform.client_id_name, &credentials.client_id);
        }
        query
            .append_pair("client_secret", expose(&credentials.client_secret))
            .append_pair(long_lived.token_name, expose(short));
    }
    Request::get(url)
}

/// Reads the tokens from the body of a success. `sent`: with the request.
fn read_tokens(
    platform: &Platform,
    step: Step,
    body: &[u8],
    sent_at: Timestamp,
    sent: &Sent,
) -> Result<IssuedTokens, PlatformError> {
    tokens::read_of(platform, step, body, sent_at, platform.default_expires_in).map_err(|not| match not {
        // TikTok sends errors with status 200.
        NotTokens::Error(error) => ErrorAnswer::read(&error, sent).error(platform, step, OK).in_answer(),
        NotTokens::Unreadable if outbound::is_cut_off(body) => PlatformError::cut_off(&platform.name, step),
        NotTokens::Unreadable => {
            PlatformError::new(&platform.name, step, Failure::PlatformAnswerUnreadable).answered(OK, None)
        }
    })
}

/// The status of answers that were stored without it: only successes are stored.
pub(super) const OK: u16 = 200;

/// The URL of an API path.
pub(super) fn api_url(platform: &Platform, step: Step, path: &str) -> Result<Url, PlatformError> {
    let path = path.replace("{version}", &platform.api_version);
    endpoint(platform, step, &format!("{}{path}", platform.api_url))
}

#[expect(
    clippy::disallowed_methods,
    reason = "code, verifier, secret and tokens go to the platform that they belong to"
)]
pub(super) fn expose(secret: &SecretString) -> &str {
    secret.expose_secret()
}
