//! Reconnecting: a connection that may only bring one account back.
//!
//! It goes on under the account's own profile, and under its app unless the caller names another one.
//! [`record`](super::record) refuses another account, in the transaction that would have stored it.

use super::error::What;
use super::{Broker, Caller, Error, integrations};
use crate::domain::id::{OauthAppId, ProfileId};
use crate::domain::integration::Integration;
use crate::store::{self, integrations as stored, profiles};

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
}

/// The app to reconnect an account under, where the caller names none: the one that it was connected under.
pub(super) fn app_of(account: &Integration) -> Option<OauthAppId> {
    account.app.as_ref().map(|app| app.id)
}
