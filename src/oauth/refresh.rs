//! The renewal of tokens, in each platform's way: one call, and the reading of what it brought.
//!
//! They are two steps, because the answer is kept before it is read: see `broker::refresh`. Invariant: a refresh is never sent
//! again from here, whatever came of it; whether that is safe, only who knows the grant can tell.

use url::Url;
use zeroize::Zeroizing;

use super::error::{Error, ErrorAnswer, Kind, Step};
use super::exchange::{Exchanged, OK, api_url, expose, get, long_lived_request, token_request};
use super::tokens::{self, NotTokens};
use super::{Engine, json};
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::time::Timestamp;
use crate::domain::trouble::TroubleKind;
use crate::outbound::Request;
use crate::platforms::{Credentials, Platform, Refresh};

impl Engine {
    /// Asks the platform for new tokens, once. The body of a success, as it came: keep it, then read it with
    /// [`Engine::read_refresh`].
    ///
    /// # Errors
    ///
    /// What the platform answered instead, or that there is nothing to refresh with.
    pub async fn refresh(
        &self,
        platform: &Platform,
        credentials: &Credentials,
        tokens: &TokenSet,
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        let request = request(platform, credentials, tokens).await?;
        let answer = self
            .send(platform, Step::Refresh, request)
            .await
            .map_err(|error| Error::no_answer(&platform.name, Step::Refresh, error))?;
        if answer.is_success() {
            return Ok(answer.body);
        }
        let (status, retry_after, json) = (answer.status, answer.retry_after, json(&answer));
        let error = ErrorAnswer::read(&json);
        let kind = error.kind_at_refresh(status, retry_after, (platform.refresh_refused)(&json));
        Err(Error::answered_with(&platform.name, Step::Refresh, kind, status, error.code))
    }

    /// Reads the answer to a refresh that was sent at `sent_at`. Absent means as before: scopes and refresh token are
    /// `None` where the answer says nothing of them.
    ///
    /// # Errors
    ///
    /// Why there are no tokens in it.
    pub fn read_refresh(&self, platform: &Platform, answer: &[u8], sent_at: Timestamp) -> Result<IssuedTokens, Error> {
        tokens::read(answer, sent_at, platform.default_expires_in).map_err(|not| {
            let (kind, code) = match not {
                // TikTok answers errors with 200.
                NotTokens::Error(answer) => {
                    let error = ErrorAnswer::read(&answer);
                    (error.kind_at_refresh(OK, None, (platform.refresh_refused)(&answer)), error.code)
                }
                NotTokens::Unreadable => (Kind::Unreadable, None),
            };
            Error::answered_with(&platform.name, Step::Refresh, kind, OK, code)
        })
    }
}

async fn request(platform: &Platform, credentials: &Credentials, tokens: &TokenSet) -> Result<Request, Error> {
    let step = Step::Refresh;
    let nothing = || Error::nothing_to_refresh(&platform.name);
    match (platform.refresh, &tokens.refresh_token) {
        (Refresh::ExchangedAgain, _) => {
            let long_lived = platform.long_lived.ok_or_else(nothing)?;
            let url = api_url(platform, step, long_lived.path)?;
            Ok(long_lived_request(platform, credentials, long_lived, url, &tokens.access_token))
        }
        (Refresh::RefreshToken { .. }, Some(token)) => {
            token_request(platform, credentials, Exchanged::RefreshToken(token)).await
        }
        (Refresh::SelfRenewing { path, grant_type, .. }, _) => {
            let mut url: Url = api_url(platform, step, path)?;
            url.query_pairs_mut()
                .append_pair("grant_type", grant_type)
                .append_pair("access_token", expose(&tokens.access_token));
            Ok(get(url))
        }
        (Refresh::Never, _) | (Refresh::RefreshToken { .. }, None) => Err(nothing()),
    }
}

impl Error {
    fn nothing_to_refresh(platform: &str) -> Self {
        Self {
            platform: platform.to_owned(),
            step: Step::Refresh,
            kind: Kind::Grant(TroubleKind::RefreshRejected),
            status: None,
            code: None,
            source: None,
        }
    }
}
