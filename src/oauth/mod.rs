//! The OAuth 2.0 engine: does what a [`Platform`](crate::platforms::Platform) value says, over the one HTTP client.
//!
//! Knows platforms and outbound; neither the store nor the caller. A server that a person named is called through
//! [`Guard`] only, at every step. Answers are read leniently ([`tokens`]), because few
//! platforms keep to the letter of RFC 6749. Invariant: a code exchange is never sent twice once the platform may have
//! seen it.

mod account_listing;
mod assertion;
mod authorize;
mod discovery;
mod error_answer;
mod exchange;
mod id_token;
mod identity;
mod jwt;
mod probe;
mod pushed;
mod refresh;
mod register;
mod revoke;
mod secrets;
mod tokens;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;
use zeroize::Zeroizing;

use crate::domain::echo::Sent;
use crate::domain::entropy::Entropy;
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::time::Clock;
use crate::outbound::{self, Answer, Authorization, Guard, Outbound, Refused, Request, measured};
use crate::platforms::{ClientAuth, Credentials, NoServer, Platform, Server};

pub use authorize::{AuthorizeRequest, InvalidEndpoint, authorize_url, takes_pkce};
pub use discovery::Undiscovered;
pub use exchange::{CodeAnswer, CodeExchange};
pub use probe::{Probed, Suspect, Verdict};
pub use refresh::read_refresh;
pub use register::{AppToRegister, Unregistered};

/// Attempts at a call that is safe to retry.
const ATTEMPTS: u32 = 3;

/// Attempts where the platform does not know a new token yet: some 8 seconds with their pauses, as LinkedIn needs.
const ATTEMPTS_WITH_NEW_TOKEN: u32 = 5;

/// Talks OAuth 2.0 with platforms. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    outbound: Outbound,
    guard: Guard,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    retry_pause: Duration,
    keys: id_token::Keys,
    accepted: secrets::Accepted,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// `outbound` calls the operator's hosts, `guard` the users'. `retry_pause`: wait before the first retry of a call;
    /// doubles with each one.
    #[must_use]
    pub fn new(
        outbound: Outbound,
        guard: Guard,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        retry_pause: Duration,
    ) -> Self {
        jwt::install();
        Self {
            outbound,
            guard,
            clock,
            entropy,
            retry_pause,
            keys: id_token::Keys::default(),
            accepted: secrets::Accepted::default(),
        }
    }

    /// The client of a platform under one app.
    #[must_use]
    pub fn client<'a>(&'a self, platform: &'a Platform, credentials: Credentials) -> OauthClient<'a> {
        OauthClient { engine: self, platform: Known::Configured(platform), credentials }
    }

    /// The client of a platform at one server: see [`Platform::at`].
    #[must_use]
    pub fn client_at(&self, platform: Platform, credentials: Credentials) -> OauthClient<'_> {
        OauthClient { engine: self, platform: Known::At(Arc::new(platform)), credentials }
    }

    /// Reads which server a person named, and checks all about it that needs no DNS look-up.
    ///
    /// # Errors
    ///
    /// The text names no server, or one that must not be called.
    pub fn server(&self, text: &str) -> Result<Server, NotCalled> {
        let server = Server::parse(text)?;
        let url = Url::parse(server.origin()).map_err(|_| NoServer)?;
        self.guard.check(&url)?;
        Ok(server)
    }
}

/// Why a server that a person named is not asked. Completes a sentence that begins with the parameter's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCalled {
    #[error(transparent)]
    NoServer(#[from] NoServer),
    #[error("is no server that the broker may call: {0}")]
    Refused(#[from] Refused),
}

/// A platform and the app that the broker is there: does every step of OAuth that needs the platform.
#[derive(Debug, Clone)]
pub struct OauthClient<'a> {
    engine: &'a Engine,
    platform: Known<'a>,
    credentials: Credentials,
}

/// A platform as it is configured, or as it is at one server. Small, so that the futures of clients are.
#[derive(Debug, Clone)]
enum Known<'a> {
    Configured(&'a Platform),
    At(Arc<Platform>),
}

impl Deref for Known<'_> {
    type Target = Platform;

    fn deref(&self) -> &Platform {
        match self {
            Self::Configured(platform) => platform,
            Self::At(platform) => platform,
        }
    }
}

impl OauthClient<'_> {
    /// Makes one call and records how long the platform took. Its answer knows what was sent, and all secrets of the
    /// client.
    async fn send(&self, step: Step, request: Request) -> Result<Answer, outbound::Error> {
        let Engine { outbound, guard, .. } = self.engine;
        let is_once = match step {
            // A second request finds the code, the token or the client's assertion spent, or registers a second app.
            Step::CodeExchange | Step::PushedAuthorization | Step::Refresh | Step::Registration | Step::Revocation => {
                true
            }
            Step::Accounts | Step::Discovery | Step::Identity | Step::Keys | Step::LongLivedExchange | Step::Scopes => {
                false
            }
        };
        let call = async {
            match (&self.platform.server, is_once) {
                (None, true) => outbound.send_once(request).await,
                (None, false) => outbound.send(request).await,
                // Boxed: each is several kilobytes.
                (Some(_), true) => Box::pin(guard.send_once(request)).await,
                (Some(_), false) => Box::pin(guard.send(request)).await,
            }
        };
        let mut answer = measured(&self.platform.name, step.into_str(), call).await.or_else(|error| match step {
            Step::CodeExchange | Step::Refresh => error.answer(),
            _ => Err(error),
        })?;
        self.add_own(&mut answer.sent);
        Ok(answer)
    }

    /// Makes a call that changes nothing at the platform. Retries failures that pass, unless the platform asks for a
    /// longer wait than this one's.
    async fn ask<T>(
        &self,
        step: Step,
        request: impl Fn() -> Request,
        read: impl Fn(Answer) -> Result<T, PlatformError>,
    ) -> Result<T, PlatformError> {
        let mut pause = self.engine.retry_pause;
        let mut attempt = 1;
        loop {
            let answer = self.send(step, request()).await;
            let result = answer.map_err(|error| error.at(&self.platform.name, step)).and_then(&read);
            match result {
                Err(error) if attempt < attempts(&error) && passes_within(&error, pause) => {
                    tracing::debug!(platform.name = %self.platform.name, error = %chain(&error), attempt, "retrying");
                }
                done => return done,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }
}

/// Attempts at a call that fails like this. A 401 that passes refuses a new token, and no others are sent here.
fn attempts(error: &PlatformError) -> u32 {
    if error.status == Some(401) { ATTEMPTS_WITH_NEW_TOKEN } else { ATTEMPTS }
}

/// True for a failure after which the platform may be asked again after a pause.
fn passes_within(error: &PlatformError, pause: Duration) -> bool {
    error.failure.is_transient() && error.retry_after.is_none_or(|wait| wait <= pause)
}

impl OauthClient<'_> {
    /// Authenticates the client as the platform wants it: by fields that are added here, or by the header.
    fn authenticate(&self, step: Step, fields: &mut Vec<(&str, SecretString)>) -> Result<Authorization, PlatformError> {
        let (platform, credentials) = (&self.platform, &self.credentials);
        let client_id = || (platform.client_id_name, SecretString::from(credentials.client_id.as_str()));
        match (platform.client_auth, &credentials.private_key) {
            // An app of a caller's own has a secret and no key.
            (ClientAuth::Basic, _) | (ClientAuth::PrivateKeyJwt, None) => return Ok(basic(credentials)),
            (ClientAuth::Body, _) => {
                fields.extend([client_id(), ("client_secret", credentials.client_secret.clone())]);
            }
            (ClientAuth::None, _) => fields.push(client_id()),
            (ClientAuth::PrivateKeyJwt, Some(key)) => {
                let unsigned = || PlatformError::new(&platform.name, step, Failure::CredentialsRejected);
                let assertion = self.assertion(key).ok_or_else(unsigned)?;
                let kind = SecretString::from(assertion::KIND);
                fields.extend([client_id(), ("client_assertion_type", kind), ("client_assertion", assertion)]);
            }
        }
        Ok(Authorization::None)
    }
}

/// The client's Basic credentials, form-encoded before they are joined (RFC 6749 section 2.3.1).
#[expect(clippy::disallowed_methods, reason = "the secret goes to the platform that it belongs to")]
fn basic(credentials: &Credentials) -> Authorization {
    let encode = |text: &str| {
        // Wiped, and never moved while it grows: a byte becomes three at most.
        let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
        encoded.extend(url::form_urlencoded::byte_serialize(text.as_bytes()));
        encoded
    };
    Authorization::Basic {
        user: encode(&credentials.client_id).to_string(),
        password: SecretString::from(encode(credentials.client_secret.expose_secret()).as_str()),
    }
}

impl OauthClient<'_> {
    /// Adds the client's own secrets.
    fn add_own(&self, sent: &mut Sent) {
        let Credentials { client_secret, older_secrets, .. } = &self.credentials;
        older_secrets.iter().chain([client_secret]).for_each(|secret| sent.add(exchange::expose(secret)));
    }

    /// The client's own secrets and an access token, for a statement that no call answered with.
    fn known(&self, token: Option<&SecretString>) -> Sent {
        let mut sent = Sent::default();
        self.add_own(&mut sent);
        if let Some(token) = token {
            sent.add(exchange::expose(token));
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_platform_is_asked_again_before_the_wait_that_it_asks_for() {
        let pause = Duration::from_millis(500);
        for (failure, wait, is_asked) in [
            (Failure::PlatformThrottled, None, true),
            (Failure::PlatformThrottled, Some(Duration::ZERO), true),
            (Failure::PlatformThrottled, Some(Duration::from_mins(2)), false),
            (Failure::PlatformUnavailable, Some(Duration::from_mins(2)), false),
            (Failure::PermissionMissing, None, false),
        ] {
            let error = PlatformError::new("acme", Step::Identity, failure).retry_after(wait);
            assert_eq!(passes_within(&error, pause), is_asked, "{failure:?} {wait:?}");
        }
    }
}
