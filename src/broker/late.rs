//! Answers people who come back after their connection expired: the app that waits for them is told.
//!
//! An expired flow or selection is purged within minutes, with the secrets that it held. A
//! [`LateRedirect`] stays for a day.

use super::finished::{CancelledAt, Ending, Finished};
use super::selection::token_digest;
use super::{Broker, Error};
use crate::domain::failure::Failure;
use crate::domain::flow::{LATE_MAX, LateRedirect, Outcome};
use crate::domain::secret::{Digest256, SecretString};
use crate::domain::selection::{Selection, SelectionStage};
use crate::store::late_redirects;

impl Broker {
    /// The ending of a connection that expired. A person who denied the consent is believed even then.
    pub(super) fn late(&self, late: LateRedirect, is_denial: bool) -> Finished {
        tracing::info!(platform.name = %late.platform, "a person came back after the connection had expired");
        let expired = Ending::Failed { failure: Failure::FlowExpired, findings: None };
        Finished {
            flow_id: None,
            needed_scopes: Vec::new(),
            label: self.label(&late.platform),
            console: self.console(&late.platform),
            has_fragment: self.upstream.adds_fragment(&late.platform),
            platform: late.platform,
            project: None,
            profile_id: None,
            profile_name: None,
            redirect_uri: self.checked_again(late.redirect_uri),
            cancel_redirect_uri: self.checked_again(late.cancel_redirect_uri),
            link: None,
            ticket: None,
            may_retry: false,
            is_account_gone: false,
            ending: if is_denial { Ending::Cancelled { at: CancelledAt::Platform } } else { expired },
        }
    }

    /// The redirect that a state or selection token left behind, if that was less than a day ago.
    pub(super) async fn find_late(&self, credential: Digest256) -> Result<Option<LateRedirect>, Error> {
        let before = self.clock.now().minus(LATE_MAX);
        Ok(self.store.read(move |db| late_redirects::find(db, &credential, before)).await?)
    }

    /// Where a person goes who comes to the hosted page of a selection that ended before it was made. `None` when it did
    /// not, or expired and its connection has neither redirect nor link.
    pub async fn ended_selection(&self, token: &SecretString, cancels: bool) -> Result<Option<Finished>, Error> {
        let (digest, now) = (token_digest(token), self.clock.now());
        let late = match self.find_selection_by_token(digest).await? {
            Some((_, flow)) if matches!(flow.stage.outcome(), Some(Outcome::Failed { .. })) => {
                return self.finished(flow).await.map(Some);
            }
            Some((Selection { stage: SelectionStage::Open { .. }, expires_at, .. }, flow)) if expires_at <= now => {
                let link = self.link_of(&flow).await?;
                Some(Finished { link, ..self.late(flow.into(), cancels) })
            }
            _ => self.find_late(digest).await?.map(|late| self.late(late, cancels)),
        };
        Ok(late.filter(|finished| finished.destination().is_some() || finished.link.is_some()))
    }
}
