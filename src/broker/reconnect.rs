//! Reconnecting: a connection that may only bring one account back.
//!
//! It goes on under the account's own profile, and under its app unless the caller names another one.
//! [`record`](super::record) refuses another account, in the transaction that would have stored it. Where the search
//! for accounts or the account itself is the reason that it did not come back, the connection ends with that reason.

use super::error::What;
use super::{Broker, Caller, Error, integrations};
use crate::domain::account::Coverage;
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, Outcome};
use crate::domain::id::{OauthAppId, ProfileId};
use crate::domain::integration::Integration;
use crate::domain::selection::Consent;
use crate::store::{self, grants, integrations as stored, profiles};

impl Broker {
    /// The account with this id, which a connection at `platform` is to bring back. `profile_id`: the profile that the
    /// connection is for, where the caller or its key names one.
    pub(super) async fn find_to_reconnect(
        &self,
        caller: &Caller,
        id: &str,
        platform: &str,
        profile_id: Option<ProfileId>,
    ) -> Result<Integration, Error> {
        let (project, id) = (caller.project_id, integrations::parse(id)?);
        let found = self
            .store
            .read(move |db| {
                let Some(account) = stored::find(db, project, id)? else { return Ok(None) };
                let profile = account.profile_id.map(|id| profiles::find(db, project, id)).transpose()?;
                Ok::<_, store::Error>(Some((account, matches!(profile, Some(None)))))
            })
            .await?;
        let (found, lost_its_profile) =
            found.filter(|(found, _)| caller.sees(found.profile_id)).ok_or(Error::NotFound(What::Integration))?;
        let refused = |why: String| Err(Error::InvalidParameter(format!("reconnect names {why}")));
        if found.platform != platform {
            return refused(format!("an account at {}, not at {platform}", found.platform));
        }
        if profile_id.is_some() && profile_id != found.profile_id {
            return refused("an account of another profile than profileId: leave profileId out".to_owned());
        }
        if lost_its_profile {
            return refused(format!(
                "an account whose profile was deleted: move it to another one first, with PATCH \
                 /v1/connect/integrations/{id}"
            ));
        }
        Ok(found)
    }

    /// The outcome of a connection that did not bring back the account that it was for.
    pub(super) async fn not_brought_back(&self, flow: &Flow, consent: &Consent) -> Outcome {
        let plain = Outcome::failed(Failure::AccountMismatch);
        let (project, Some(id)) = (flow.project_id, flow.reconnects) else { return plain };
        let find = move |db: &store::Connection| {
            let Some(known) = stored::find(db, project, id)? else { return Ok(None) };
            let grant = grants::find(db, project, known.grant_id)?;
            Ok::<_, store::Error>(grant.map(|grant| (known, grant)))
        };
        let Ok(Some((known, grant))) = self.store.read(find).await else { return plain };
        let (identity, account) = (&consent.identity, known.account.platform_user_id.as_str());
        if matches!(identity.coverage(account), Coverage::Covered(_)) {
            // It was moved or disconnected meanwhile.
            return plain;
        }
        // Some platforms give people another id under each app.
        let is_of_person = grant.subject == identity.subject || grant.client_id != flow.client_id;
        let failure = identity.failure_without(account, is_of_person);
        let is_explained = failure != Failure::AccountMismatch || (is_of_person && !identity.routes.is_empty());
        Outcome::Failed { failure, findings: is_explained.then(|| consent.findings()) }
    }
}

/// The app to reconnect an account under, where the caller names none: the one that it was connected under.
pub(super) fn app_of(account: &Integration) -> Option<OauthAppId> {
    account.app.as_ref().map(|app| app.id)
}
