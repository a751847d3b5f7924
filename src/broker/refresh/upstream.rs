//! What is asked of a platform, or of an account's server, to refresh a grant; what it answers; and why it does not.

use std::time::Duration;

use zeroize::Zeroizing;

use super::answer_place;
use crate::broker::Broker;
use crate::broker::exchange::chain;
use crate::broker::single_flight::Landing;
use crate::domain::grant::{Grant, IssuedTokens, TokenSet};
use crate::domain::time::Timestamp;
use crate::domain::trouble::TroubleKind;
use crate::platforms::{Credentials, Platform, bluesky};

/// How an upstream call failed, whichever engine made it.
pub(in crate::broker) struct Refusal {
    pub(in crate::broker) kind: TroubleKind,
    pub(in crate::broker) status: Option<u16>,
    pub(in crate::broker) code: Option<String>,
    pub(in crate::broker) retry_after: Option<Duration>,
    /// Whether the platform may have done what it was asked.
    pub(in crate::broker) is_unanswered: bool,
    /// Whether it was read out of an answer that had been kept.
    pub(in crate::broker) is_in_answer: bool,
    pub(in crate::broker) sentence: String,
}

impl From<crate::oauth::Error> for Refusal {
    fn from(error: crate::oauth::Error) -> Self {
        Self {
            kind: error.trouble(),
            status: error.status,
            code: error.code.clone(),
            retry_after: error.retry_after(),
            // A gateway says 502 or 504 of an answer that it did not pass on.
            is_unanswered: error.is_unanswered() || error.status.is_some_and(|status| status >= 500),
            is_in_answer: false,
            sentence: chain(&error),
        }
    }
}

impl From<crate::atproto::Error> for Refusal {
    fn from(error: crate::atproto::Error) -> Self {
        Self {
            kind: error.trouble(),
            status: None,
            code: None,
            retry_after: error.retry_after(),
            is_unanswered: error.is_unanswered(),
            is_in_answer: false,
            sentence: format!("bluesky, refresh: {}", chain(&error)),
        }
    }
}

impl Broker {
    /// Reads an answer that was kept and never read, because the broker died or did not understand it. `None` where there
    /// is none, or it still cannot be read: then the old token is tried.
    pub(super) async fn read_kept_answer(&self, grant: &Grant, tokens: &TokenSet) -> Option<Landing> {
        match self.read_kept(grant, tokens)? {
            Ok(issued) => {
                tracing::info!(grant.id = %grant.id, platform.name = %grant.platform, "an answer that was kept is stored now");
                Some(self.keep_tokens(grant, tokens.clone(), issued, true).await)
            }
            Err(refusal) if refusal.is_in_answer => Some(self.refused(grant, refusal).await),
            Err(_) => None,
        }
    }

    /// What is in the answer that was kept, if one was.
    pub(super) fn read_kept(&self, grant: &Grant, tokens: &TokenSet) -> Option<Result<IssuedTokens, Refusal>> {
        let attempt = grant.attempt.as_ref()?;
        let sealed = attempt.answer.as_ref()?;
        let answer = match self.vault.open_answer(&answer_place(grant), sealed) {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(grant.id = %grant.id, error = %chain(&error), "a kept answer does not open");
                return None;
            }
        };
        Some(self.read_refresh(grant, tokens, &answer, attempt.at))
    }

    pub(super) async fn ask_for_refresh(
        &self,
        grant: &Grant,
        credentials: Option<(Platform, Credentials)>,
        tokens: &TokenSet,
    ) -> Result<Zeroizing<Vec<u8>>, Refusal> {
        if let Some((platform, credentials)) = credentials {
            return Ok(self.oauth.refresh(&platform, &credentials, tokens).await?);
        }
        let (service_url, refresh_token) = tokens.session().ok_or_else(|| unusable(grant))?;
        Ok(self.atproto.refresh_session(&service_url, refresh_token).await?)
    }

    /// A platform and credentials for it; `None` for Bluesky, which has neither.
    pub(super) async fn refresh_credentials(&self, grant: &Grant) -> Result<Option<(Platform, Credentials)>, Refusal> {
        if grant.platform == bluesky::NAME {
            return if self.platforms.bluesky().is_some() { Ok(None) } else { Err(missing(grant)) };
        }
        let platform = self.platforms.find(&grant.platform).map(|configured| configured.platform.clone());
        let credentials = self.credentials(grant.project_id, &grant.platform, grant.app_id, &grant.client_id).await;
        match (platform, credentials) {
            (Some(platform), Ok(Some(credentials))) => Ok(Some((platform, credentials))),
            (_, Ok(_)) => Err(missing(grant)),
            (_, Err(error)) => {
                let what = format!("{}: the app's credentials cannot be read: {}", grant.platform, chain(&error));
                Err(refusal(TroubleKind::AppMissing, what))
            }
        }
    }

    pub(super) fn read_refresh(
        &self,
        grant: &Grant,
        tokens: &TokenSet,
        answer: &[u8],
        asked_at: Timestamp,
    ) -> Result<IssuedTokens, Refusal> {
        let in_answer = |refusal: Refusal| Refusal {
            is_unanswered: refusal.kind == TroubleKind::AnswerUnreadable,
            is_in_answer: refusal.kind != TroubleKind::AnswerUnreadable,
            ..refusal
        };
        if grant.platform == bluesky::NAME {
            let (service_url, _) = tokens.session().ok_or_else(|| unusable(grant))?;
            let session = self.atproto.read_session(&grant.subject, &service_url, answer, asked_at);
            let session = session.map_err(|error| in_answer(error.into()))?;
            if let Some(state) = session.inactive {
                tracing::warn!(grant.id = %grant.id, "bluesky, refresh: the account is {state}; its session goes on");
            }
            return Ok(session.issued);
        }
        let platform = self.platforms.find(&grant.platform).ok_or_else(|| missing(grant))?;
        self.oauth.read_refresh(&platform.platform, answer, asked_at).map_err(|error| in_answer(error.into()))
    }
}

fn missing(grant: &Grant) -> Refusal {
    let what = "the platform, or the app that the grant belongs to, is not configured";
    refusal(TroubleKind::AppMissing, format!("{}: {what}", grant.platform))
}

fn unusable(grant: &Grant) -> Refusal {
    let what = "there is no refresh token, or no server to send it to";
    refusal(TroubleKind::RefreshRejected, format!("{}: {what}", grant.platform))
}

/// One that no platform was asked for.
pub(super) fn refusal(kind: TroubleKind, sentence: String) -> Refusal {
    Refusal { kind, status: None, code: None, retry_after: None, is_unanswered: false, is_in_answer: false, sentence }
}
