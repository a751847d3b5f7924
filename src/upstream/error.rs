//! How a call about a grant failed, whichever engine made it.

use std::time::Duration;

use crate::domain::error_chain::chain;
use crate::domain::trouble::TroubleKind;

/// A call that brought no tokens, or whose effect was not confirmed.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Error {
    pub kind: TroubleKind,
    /// The HTTP status of the answer, if there was one.
    pub status: Option<u16>,
    /// The platform's own code for it.
    pub code: Option<String>,
    pub retry_after: Option<Duration>,
    /// True when the platform may have done what it was asked, although nobody heard so.
    pub is_unanswered: bool,
    /// True when this was read out of an answer that was stored: the answer says nothing more.
    pub is_in_answer: bool,
    pub sentence: String,
}

impl Error {
    /// A failure of which no platform knows.
    #[must_use]
    pub fn before_asking(kind: TroubleKind, sentence: String) -> Self {
        Self { kind, status: None, code: None, retry_after: None, is_unanswered: false, is_in_answer: false, sentence }
    }

    pub(super) fn no_session() -> Self {
        let sentence = "there is no refresh token, or no server to send it to".to_owned();
        Self::before_asking(TroubleKind::RefreshRejected, sentence)
    }

    /// The same, read out of a stored answer. One that nobody can read stays stored for a program that can.
    pub(super) fn in_answer(self) -> Self {
        let is_unreadable = self.kind == TroubleKind::AnswerUnreadable;
        Self { is_unanswered: is_unreadable, is_in_answer: !is_unreadable, ..self }
    }
}

impl From<crate::oauth::Error> for Error {
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

impl From<crate::atproto::Error> for Error {
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
