//! One way to a platform, whichever protocol it speaks: OAuth 2.0 ([`oauth`](crate::oauth)) or the AT Protocol
//! ([`atproto`](crate::atproto)).
//!
//! Knows both engines and the platforms; neither the store nor the caller. Invariant: what depends on a platform's
//! protocol or quirks is asked here, so that nobody above compares a platform's name.

pub mod app_password;
mod probe;
#[cfg(test)]
mod recorded;

use std::borrow::Cow;
use std::time::Duration;

use secrecy::SecretString;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::failure::Failure;
use crate::domain::grant::{Grant, IssuedTokens, TokenSet};
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::renewal::{Renewal, Timing};
use crate::domain::time::Timestamp;
use crate::platforms::{
    Blame, Bluesky, ConfiguredPlatform, Credentials, Metadata, Platform, Refresh, Registry, Revocation, Rotation, Said,
    bluesky, read_errors,
};
use crate::{atproto, oauth};

pub use crate::atproto::Reachable;
pub use crate::oauth::{
    AppToRegister, AuthorizeRequest, CodeAnswer, CodeExchange, InvalidEndpoint, NotCalled, OauthClient, Probed,
    Suspect, Unregistered, Verdict, authorize_url, takes_pkce,
};
pub use crate::platforms::{Meaning, Server, UNKNOWN_CLIENT};
pub use probe::Outcome;

/// Talks with every platform.
#[derive(Debug)]
pub struct Upstream {
    oauth: oauth::Engine,
    atproto: atproto::Engine,
    platforms: Registry,
}

/// The protocol that a platform speaks.
#[derive(Debug, Clone, Copy)]
pub enum Protocol<'a> {
    /// Sessions on a server of the account's own, begun with an app password.
    AtProtocol(&'a Bluesky),
    OAuth(&'a ConfiguredPlatform),
}

/// A platform, and who the broker is there: all that it takes to ask about a grant.
#[derive(Debug)]
pub enum Client<'a> {
    /// With the operator's meanings of codes.
    AtProtocol(&'a atproto::Engine, &'a [(String, Blame)]),
    OAuth(OauthClient<'a>),
}

impl Upstream {
    #[must_use]
    pub fn new(oauth: oauth::Engine, atproto: atproto::Engine, platforms: Registry) -> Self {
        Self { oauth, atproto, platforms }
    }

    #[must_use]
    pub fn platforms(&self) -> &Registry {
        &self.platforms
    }

    /// The protocol of the platform of that name; `None` where it is unknown or switched off.
    #[must_use]
    pub fn protocol(&self, platform: &str) -> Option<Protocol<'_>> {
        if let Some(configured) = self.platforms.find(platform) {
            return Some(Protocol::OAuth(configured));
        }
        self.platforms.bluesky().filter(|_| is_at_protocol(platform)).map(Protocol::AtProtocol)
    }

    fn oauth_platform(&self, platform: &str) -> Option<&Platform> {
        self.platforms.find(platform).map(ConfiguredPlatform::platform)
    }

    /// The configured scopes, those that are asked for only when named among them.
    #[must_use]
    pub fn allowed_scopes(&self, platform: &str) -> Vec<String> {
        self.oauth_platform(platform).map_or_else(Vec::new, Platform::allowed_scopes)
    }

    /// The configured scopes that it takes to read whose account it is, or to keep its tokens alive.
    #[must_use]
    pub fn needed_scopes(&self, platform: &str) -> Vec<String> {
        let is_needed = |platform: &Platform, scope: &str| platform.needed_scopes.contains(&scope);
        let Some(platform) = self.oauth_platform(platform) else { return Vec::new() };
        let needed = platform.scopes.iter().filter(|scope| is_needed(platform, scope));
        needed.map(ToString::to_string).collect()
    }

    /// The meaning of a callback without a code, by the codes and the sentence that it has.
    #[must_use]
    pub fn declined(&self, platform: &str, codes: &[String], sentence: &str) -> Meaning {
        let said = Said { message: sentence.to_lowercase(), ..Said::with_codes(codes.to_vec()) };
        self.oauth_platform(platform).map_or_else(|| Meaning::of_callback(&said), |platform| platform.declined(&said))
    }

    /// How and when the tokens of a platform are renewed, `ahead` of their expiry.
    #[must_use]
    pub fn timing(&self, platform: &str, has_refresh_token: bool, ahead: Duration) -> Timing {
        let with_refresh_token = if has_refresh_token { Renewal::RefreshToken } else { Renewal::Never };
        let (renewal, not_before) = match self.oauth_platform(platform).map(|platform| platform.refresh) {
            Some(Refresh::ExchangedAgain) => (Renewal::AccessToken, Duration::ZERO),
            Some(Refresh::Never) => (Renewal::Never, Duration::ZERO),
            Some(Refresh::SelfRenewing { not_before, .. }) => (Renewal::AccessToken, not_before),
            // The AT Protocol, or a platform that is switched off for now.
            Some(Refresh::RefreshToken { .. }) | None => (with_refresh_token, Duration::ZERO),
        };
        Timing { renewal, ahead, not_before }
    }

    /// True where it is the operator's description that asks for refresh tokens, or does not.
    #[must_use]
    pub fn may_lack_offline_scope(&self, platform: &str) -> bool {
        let refreshes = |known: &Platform| matches!(known.refresh, Refresh::RefreshToken { .. });
        self.platforms.find(platform).is_some_and(|known| known.is_own() && refreshes(known.platform()))
    }

    /// The operator's own platforms whose tokens live for a time that the operator set.
    pub fn set_lifetimes(&self) -> impl Iterator<Item = (&str, Duration)> {
        self.platforms.iter_all().filter(|known| known.is_own()).filter_map(|known| {
            let platform = known.platform();
            Some((&*platform.name, Duration::from_secs(platform.default_expires_in?)))
        })
    }

    /// True where a used refresh token is dead, or may be: losing the answer to a refresh then loses the grant.
    #[must_use]
    pub fn rotates_refresh_tokens(&self, platform: &str) -> bool {
        let refresh = self.oauth_platform(platform).map(|platform| platform.refresh);
        refresh != Some(Refresh::RefreshToken { rotation: Rotation::None })
    }

    /// How long a consent lasts while the OAuth app is in testing, where the platform has that.
    #[must_use]
    pub fn testing_life(&self, platform: &str) -> Option<Duration> {
        self.oauth_platform(platform)?.testing_life
    }

    /// True where the operator can say how the platform's answers are to be read.
    #[must_use]
    pub fn has_settings_of_answers(&self, platform: &str) -> bool {
        !is_at_protocol(platform)
    }

    /// True where each account has a server of its own, so that one slow server says nothing of the others.
    #[must_use]
    pub fn has_server_per_account(&self, platform: &str) -> bool {
        is_at_protocol(platform) || self.platforms.find(platform).is_some_and(ConfiguredPlatform::has_servers)
    }

    /// Reads which server a person named. See [`oauth::Engine::server`].
    ///
    /// # Errors
    ///
    /// The text names no server, or one that must not be called.
    pub fn server(&self, text: &str) -> Result<Server, NotCalled> {
        self.oauth.server(text)
    }

    /// True where an app password begins sessions, of which an account may have several.
    #[must_use]
    pub fn has_sessions(&self, platform: &str) -> bool {
        is_at_protocol(platform)
    }

    /// True when revoking one of the token sets would end the other as well, as far as the tokens themselves tell.
    #[must_use]
    pub fn are_one_session(&self, platform: &str, one: &TokenSet, other: &TokenSet) -> bool {
        if !is_at_protocol(platform) {
            return one.shares(other);
        }
        // Access tokens do not tell: the reference server gives two sessions begun within a second the same text.
        let refresh_tokens = one.refresh_token.as_ref().zip(other.refresh_token.as_ref());
        refresh_tokens.is_some_and(|(one, other)| atproto::is_same_refresh_token(one, other))
    }

    /// The client for ending a session, for which no app is needed: it works also where the platform is switched off.
    #[must_use]
    pub fn client_without_app(&self, platform: &str) -> Option<Client<'_>> {
        is_at_protocol(platform).then_some(Client::AtProtocol(&self.atproto, self.platforms.bluesky_errors()))
    }

    /// Asks a platform's issuer what it publishes about itself. Returns the issuer, as the operator wrote it, with
    /// that.
    ///
    /// # Errors
    ///
    /// It publishes nothing that can be used, or does not answer.
    pub async fn discover<'a>(
        &self,
        platform: &'a ConfiguredPlatform,
    ) -> Result<(&'a str, Metadata), oauth::Undiscovered> {
        let issuer = platform.issuer().unwrap_or_default();
        Ok((issuer, self.oauth.discover(&platform.platform().name, issuer).await?))
    }

    /// Why a callback with this `iss` is not the platform's, or its server's, for the log; `None` where it may be. See
    /// [`Platform::may_send`].
    #[must_use]
    pub fn other_issuer(
        &self,
        platform: &ConfiguredPlatform,
        server: Option<&Server>,
        iss: Option<&str>,
    ) -> Option<String> {
        let platform = platform_at(platform, server);
        if platform.issuer.is_none() && platform.server.is_none() && iss.is_some() {
            tracing::info!(platform.name = %platform.name, "the callback's iss is not checked: no issuer is configured");
        }
        if platform.may_send(iss) {
            return None;
        }
        let named: String = iss.unwrap_or("missing").chars().filter(char::is_ascii_graphic).take(200).collect();
        Some(match &platform.issuer {
            Some(issuer) => format!(
                "its issuer (iss) is {named}, and that of the platform is {issuer}: if the former is the server, set issuer of \
                 [platforms.{}] to it, to the letter",
                platform.name
            ),
            None => format!("its issuer (iss) is {named}, which is not the server of this connection"),
        })
    }

    /// The client of a platform that speaks OAuth. `server`: the one that the account's owner named, where they do.
    #[must_use]
    pub fn oauth_client<'a>(
        &'a self,
        platform: &'a ConfiguredPlatform,
        server: Option<&Server>,
        credentials: Credentials,
    ) -> OauthClient<'a> {
        match server {
            Some(server) => self.oauth.client_at(platform.platform().at(server), credentials),
            None => self.oauth.client(platform.platform(), credentials),
        }
    }

    /// True where each account has a token of its own, and the grant's is the person's: Facebook's Pages.
    #[must_use]
    pub fn has_token_per_account(&self, platform: &str) -> bool {
        let known = self.platforms.find_any(platform);
        known.is_some_and(|known| known.platform().identity.accounts.have_own_tokens())
    }

    /// True when the platform sends the browser back with a fragment, which the next redirect has to end.
    #[must_use]
    pub fn adds_fragment(&self, platform: &str) -> bool {
        self.platforms.find_any(platform).is_some_and(|known| known.platform().adds_fragment)
    }

    /// True where a platform accepts the same refresh token again for a while and leads it to the same successor.
    #[must_use]
    pub fn forgives_repeated_refresh(&self, platform: &str) -> bool {
        is_at_protocol(platform)
    }

    /// False where the platform has no endpoint to revoke at.
    #[must_use]
    pub fn can_revoke(&self, platform: &str) -> bool {
        self.oauth_platform(platform).is_none_or(|platform| platform.revocation != Revocation::Unsupported)
    }

    /// The tokens in the answer to a refresh of `tokens` that was sent at `sent_at`. `None` where the platform is
    /// unknown or switched off, so that nobody can read the answer. A session's can always be read: its server says
    /// all that it takes.
    #[must_use]
    pub fn read_refresh(
        &self,
        grant: &Grant,
        tokens: &TokenSet,
        answer: &[u8],
        sent_at: Timestamp,
    ) -> Option<Result<IssuedTokens, PlatformError>> {
        if is_at_protocol(&grant.platform) {
            return Some(self.read_session(grant, tokens, answer, sent_at));
        }
        let platform = self.oauth_platform(&grant.platform)?;
        Some(oauth::read_refresh(platform, tokens, grant.access_expires_at, answer, sent_at))
    }

    fn read_session(
        &self,
        grant: &Grant,
        tokens: &TokenSet,
        answer: &[u8],
        sent_at: Timestamp,
    ) -> Result<IssuedTokens, PlatformError> {
        let (service_url, _) = session(tokens, Step::Refresh)?;
        let session = self.atproto.read_session(&grant.subject, &service_url, answer, sent_at)?;
        if let Some(state) = session.inactive {
            tracing::warn!(
                grant.id = %grant.id, platform.name = %grant.platform,
                "the account is {state}, but its session was refreshed"
            );
        }
        Ok(session.issued)
    }
}

impl Client<'_> {
    /// Asks for new tokens, once. `scopes`: the granted ones. Store the answer before [`Upstream::read_refresh`] reads
    /// it.
    ///
    /// # Errors
    ///
    /// The platform answered something else, or nothing.
    pub async fn refresh(&self, tokens: &TokenSet, scopes: &[String]) -> Result<Zeroizing<Vec<u8>>, PlatformError> {
        match self {
            Self::AtProtocol(engine, errors) => {
                let (service_url, refresh_token) = session(tokens, Step::Refresh)?;
                let refreshed = engine.refresh_session(&service_url, refresh_token).await;
                refreshed.map_err(|error| {
                    let said = Said::with_codes(error.code.iter().map(|code| (**code).to_owned()).collect());
                    let read = read_errors(errors, Step::Refresh, error.status, &said);
                    let failure = read.unwrap_or(error.failure);
                    PlatformError { failure, ..error }
                })
            }
            Self::OAuth(client) => client.refresh(tokens, scopes).await,
        }
    }

    /// Asks the platform, once, to revoke what the tokens stand for. `Ok(false)`: it has no endpoint for that.
    ///
    /// # Errors
    ///
    /// The platform did not confirm.
    pub async fn revoke(&self, tokens: &TokenSet) -> Result<bool, PlatformError> {
        match self {
            Self::AtProtocol(engine, _) => {
                let (service_url, refresh_token) = session(tokens, Step::Revocation)?;
                engine.delete_session(&service_url, refresh_token).await?;
                Ok(true)
            }
            Self::OAuth(client) => client.revoke(tokens).await,
        }
    }
}

/// The server of a session, and the refresh token that it takes.
fn session(tokens: &TokenSet, step: Step) -> Result<(Url, &SecretString), PlatformError> {
    tokens.session().ok_or_else(|| {
        PlatformError::new(bluesky::NAME, step, Failure::RefreshRejected)
            .caused_by("there is no refresh token, or no server to send it to")
    })
}

/// The platform, at the server that a person named where they do.
#[must_use]
pub fn platform_at<'a>(platform: &'a ConfiguredPlatform, server: Option<&Server>) -> Cow<'a, Platform> {
    match server {
        Some(server) => Cow::Owned(platform.platform().at(server)),
        None => Cow::Borrowed(platform.platform()),
    }
}

/// True for the one platform that speaks the AT Protocol, switched off or not.
fn is_at_protocol(platform: &str) -> bool {
    platform == bluesky::NAME
}
