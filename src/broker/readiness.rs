//! Finds out if the broker can do its work, and the reason if it cannot: for `/readyz`, the log and `postpeer
//! healthcheck`.
//!
//! Anybody may read the reason, so it names no path. The log does, once for each change.

use std::sync::{Arc, Mutex, PoisonError};

use super::Broker;
use crate::domain::error_chain::chain;
use crate::store::{self, How};

/// The reason why the broker is not ready, in words for anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(test, derive(strum::VariantArray))]
pub enum NotReady {
    #[error("another program has locked the database")]
    Busy,
    #[error("the disk is full")]
    DiskFull,
    #[error("the disk reports errors")]
    DiskFails,
    #[error("the disk did not confirm a write: the broker must be restarted")]
    DiskUnconfirmed,
    #[error("a file beside the database was removed: the broker must be restarted")]
    LogGone,
    #[error("the log beside the database was cut short: the broker must be restarted")]
    LogShort,
    #[error("the database file was moved away or deleted")]
    Moved,
    #[error("the broker has more to write than it can")]
    Overloaded,
    #[error("the database is read-only")]
    ReadOnly,
    #[error("the database file was replaced by another file")]
    Replaced,
    #[error("no disk space can be reserved beside the database")]
    Reserve,
    #[error("tokens that a platform has delivered are not stored yet")]
    TokensUnsaved,
    #[error("the database does not answer")]
    Unknown,
    #[error("the database is damaged, or its disk cannot be read: the broker must be restarted")]
    Unreadable,
}

impl From<&store::Error> for NotReady {
    fn from(error: &store::Error) -> Self {
        use store::Error as E;
        match error {
            E::Busy(_) => Self::Busy,
            E::Corrupt(_) | E::Inconsistent { .. } => Self::Unreadable,
            E::Failed(_) | E::Refused(_) => Self::DiskUnconfirmed,
            E::Full(_) => Self::DiskFull,
            E::Io(_) => Self::DiskFails,
            E::Moved(moved) => match moved.how {
                How::Gone => Self::Moved,
                How::LogGone => Self::LogGone,
                How::LogShort => Self::LogShort,
                How::Replaced => Self::Replaced,
            },
            E::Overloaded | E::RolledBack => Self::Overloaded,
            E::ReadOnly(_) => Self::ReadOnly,
            E::Reserve(_) => Self::Reserve,
            E::Conflict(_) | E::NotChanged | E::Orphan(_) | E::Sqlite(_) | E::Stopped => Self::Unknown,
        }
    }
}

/// The latest answer, `None` for ready.
pub(super) type Latest = Arc<Mutex<Option<NotReady>>>;

impl Broker {
    /// Looks whether the broker can keep its promises: the database is in its place, can be read and takes changes, the
    /// disk has room for a platform's answer and for what is written before the platform is asked, and no delivered
    /// tokens wait to be stored. Logs each change.
    ///
    /// # Errors
    ///
    /// The most pressing reason why not.
    pub async fn check_ready(&self) -> Result<(), NotReady> {
        let usable = self.store.check_usable().await;
        let why = usable.as_ref().err().map(NotReady::from);
        let why = why.or_else(|| self.refresher.has_unsaved_tokens().then_some(NotReady::TokensUnsaved));
        let before = std::mem::replace(&mut *self.readiness.lock().unwrap_or_else(PoisonError::into_inner), why);
        match (why, &usable) {
            _ if why == before => {}
            (Some(why), Ok(())) => tracing::error!("the broker is not ready: {why}"),
            (Some(why), Err(error)) => tracing::error!(error = %chain(error), "the broker is not ready: {why}"),
            (None, _) => tracing::info!("the broker is ready again"),
        }
        why.map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;

    #[test]
    fn the_operators_guide_has_a_row_for_each_reason() {
        let guide = include_str!("../../docs/operations.md");
        for why in NotReady::VARIANTS {
            let words = why.to_string();
            let why = words.split(':').next().unwrap();
            assert!(guide.contains(&format!("\n| {why} | ")), "{why}: docs/operations.md does not say what to do");
        }
    }
}
