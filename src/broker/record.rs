//! Records a connection: the grant with its tokens, the chosen accounts, and what the new consent means for accounts
//! that were connected before.
//!
//! One consent is one grant. Consenting again renews the grant for all its accounts, chosen again or not. Runs inside
//! the caller's transaction: all of it is stored, or nothing.

use std::collections::BTreeSet;

use super::connection_rows::find_link;
use super::{Core, Error};
use crate::domain::account::{Coverage, FoundAccount, Identity};
use crate::domain::audit::{Action, By, Entry};
use crate::domain::error_chain::chain;
use crate::domain::flow::Flow;
use crate::domain::grant::{AuthStatus, FailureReason, Grant, TokenSet};
use crate::domain::id::{FlowId, GrantId, IntegrationId, OauthAppId, ProfileId, ProjectId};
use crate::domain::integration::{Integration, OwnTokens};
use crate::domain::link::LinkStatus;
use crate::domain::refresh::RefreshState;
use crate::domain::renewal::Jitter;
use crate::domain::secret::SecretString;
use crate::domain::selection::{Consent, choice_id};
use crate::domain::time::Timestamp;
use crate::store::{Transaction, audit, grants, integrations, links};
use crate::vault::{Owner, Place};

/// The owner of a connection: project, app and profile.
pub(super) struct Under {
    pub(super) project_id: ProjectId,
    pub(super) platform: String,
    /// Client id that the tokens are bound to.
    pub(super) client_id: String,
    /// The caller's own app; `None` for the operator's.
    pub(super) app_id: Option<OauthAppId>,
    pub(super) profile_id: Option<ProfileId>,
    pub(super) requested_scopes: Vec<String>,
    /// The flow, for the log; `None` without a redirect.
    pub(super) flow_id: Option<FlowId>,
    /// Who connects it.
    pub(super) by: By,
}

impl Under {
    pub(super) fn of(flow: &Flow, by: By) -> Self {
        Self {
            project_id: flow.project_id,
            platform: flow.platform.clone(),
            client_id: flow.client_id.clone(),
            app_id: flow.app_id,
            profile_id: flow.profile_id,
            requested_scopes: flow.scopes.clone(),
            flow_id: Some(flow.id),
            by,
        }
    }
}

/// Accounts of a consent to connect.
pub(super) enum Chosen {
    All,
    /// Those with these [choice ids](choice_id).
    Ids(BTreeSet<String>),
    /// The account of this integration, which must be among them.
    Again(IntegrationId),
}

impl Chosen {
    /// All accounts, or the one to reconnect.
    pub(super) fn of(reconnects: Option<IntegrationId>) -> Self {
        reconnects.map_or(Self::All, Self::Again)
    }

    /// The chosen accounts of `found`.
    pub(super) fn among<'a>(
        &self,
        tx: &Transaction<'_>,
        project: ProjectId,
        found: &'a [FoundAccount],
    ) -> Result<Vec<&'a FoundAccount>, Error> {
        Ok(match self {
            Self::All => found.iter().collect(),
            Self::Ids(ids) => found.iter().filter(|found| ids.contains(&choice_id(found))).collect(),
            Self::Again(id) => {
                let known = integrations::find(tx, project, *id)?.ok_or(Error::AccountMismatch)?.account;
                found.iter().filter(|found| found.is(&known.platform_user_id)).collect()
            }
        })
    }

    /// True when these integrations are what was chosen. An account that was moved or disconnected since its owner
    /// set out is stored under another id.
    fn is_met_by(&self, connected: &[IntegrationId]) -> bool {
        match self {
            Self::All | Self::Ids(_) => true,
            Self::Again(id) => !connected.is_empty() && connected.iter().all(|connected| connected == id),
        }
    }
}

/// A connection that was recorded.
pub(super) struct Stored {
    pub(super) platform: String,
    pub(super) flow_id: Option<FlowId>,
    /// The integrations of the chosen accounts, in the platform's order.
    pub(super) connected: Vec<IntegrationId>,
    /// Grants as they were before they were renewed, or deleted with their last account.
    pub(super) superseded: Vec<Grant>,
}

impl Core {
    /// Records grant and integrations, and the latter in the link that they were connected through. After
    /// [`Error::AccountMismatch`], when the account to reconnect is not what it would record, and [`Error::LinkEnded`],
    /// nothing may be committed.
    pub(super) fn record_connection(
        &self,
        tx: &Transaction<'_>,
        under: &Under,
        consent: &Consent,
        chosen: &Chosen,
        now: Timestamp,
    ) -> Result<Stored, Error> {
        let (grant, renewed) = self.record_grant(tx, under, consent, now)?;
        let mut superseded = Vec::from_iter(renewed);
        let mut connected = Vec::new();
        for found in chosen.among(tx, under.project_id, &consent.identity.accounts)? {
            let known = find_known(tx, under, chosen, found)?;
            let (id, left) = self.record_account(tx, under, grant, (found, known), now)?;
            connected.push(id);
            superseded.extend(left);
        }
        if !chosen.is_met_by(&connected) {
            return Err(Error::AccountMismatch);
        }
        if let Some(link) = under.by.link_id {
            // It may have been revoked since its page was left.
            let found = find_link(tx, &self.vault, under.project_id, link)?;
            found.ok_or(Error::LinkEnded(LinkStatus::Revoked))?;
            connected.iter().try_for_each(|id| links::add_connected(tx, under.project_id, link, *id))?;
        }
        self.renew_others(tx, under, grant, &consent.identity, &connected, now)?;
        Ok(Stored { platform: under.platform.clone(), flow_id: under.flow_id, connected, superseded })
    }

    /// Inserts or renews the grant. Returns its id, and the grant as it was before.
    fn record_grant(
        &self,
        tx: &Transaction<'_>,
        under: &Under,
        consent: &Consent,
        now: Timestamp,
    ) -> Result<(GrantId, Option<Grant>), Error> {
        let (project, subject) = (under.project_id, &consent.identity.subject);
        let known = grants::find_by_subject(tx, project, &under.platform, &under.client_id, subject)?;
        // A row that was put back while the broker ran has a lower generation than the one that was used last.
        let last = known.as_ref().map_or(0, |known| known.generation.max(self.generations.highest(known.id)));
        let (id, generation) = (known.as_ref().map_or_else(|| self.ids.next(), |known| known.id), last + 1);
        let mut tokens = consent.issued.tokens.clone();
        let mut refresh_expires_at = consent.issued.refresh_expires_at;
        if let Some(known) = &known
            && tokens.refresh_token.is_none()
            && known.status == AuthStatus::Active
            && let Some(kept) = self.open_known(known)
        {
            // Some platforms issue a refresh token the first time only: absent means unchanged.
            tokens.refresh_token = kept.refresh_token;
            refresh_expires_at = known.refresh_expires_at;
        }
        let owner = Owner { project_id: project, platform: &under.platform, client_id: &under.client_id };
        let timing = self.timing(&under.platform, tokens.refresh_token.is_some());
        let access_expires_at = consent.issued.access_expires_at;
        self.warn_of_short_life(&under.platform, timing.renewal, access_expires_at);
        let grant = Grant {
            id,
            project_id: project,
            platform: under.platform.clone(),
            app_id: under.app_id,
            client_id: under.client_id.clone(),
            subject: subject.clone(),
            scopes: consent.scopes().to_vec(),
            requested_scopes: self.requested_scopes(tx, under, known.as_ref())?,
            consented_at: now,
            issued_at: consent.issued.issued_at,
            access_expires_at,
            refresh_expires_at,
            renewal: timing.renewal,
            tokens: Some(self.vault.seal_tokens(&Place::grant_tokens(id, generation, owner), &tokens)?),
            generation,
            status: AuthStatus::Active,
            ended_at: None,
            due_at: timing.due_at(
                consent.issued.issued_at,
                access_expires_at,
                refresh_expires_at,
                Jitter::draw(&*self.entropy),
            ),
            trouble: None,
            failures: 0,
            refresh: RefreshState::Idle,
            past_refreshes: known.as_ref().map(|grant| grant.past_refreshes.clone()).unwrap_or_default(),
            created_at: known.as_ref().map_or(now, |grant| grant.created_at),
            updated_at: now,
        };
        if let Some(known) = &known {
            grants::renew(tx, &grant, known.generation)?;
        } else {
            grants::insert(tx, &grant)?;
        }
        Ok((id, known))
    }

    /// The tokens of a grant that is renewed. `None` where they do not open: a new consent is the way out of that.
    fn open_known(&self, known: &Grant) -> Option<TokenSet> {
        let opened = if known.generation < self.generations.highest(known.id) {
            Err(self.went_back(known.id).into())
        } else {
            self.open_grant(known)
        };
        opened.unwrap_or_else(|error| {
            tracing::warn!(
                grant.id = %known.id, platform.name = %known.platform, error = %chain(&error),
                "the tokens of a new consent replace stored ones that do not open, without a refresh token"
            );
            None
        })
    }

    /// The scopes that count as asked for: where other profiles go on with the same grant, also those that it was asked
    /// for before, as far as the operator still does. Otherwise nobody would see that they are gone.
    fn requested_scopes(
        &self,
        tx: &Transaction<'_>,
        under: &Under,
        known: Option<&Grant>,
    ) -> Result<Vec<String>, Error> {
        let mut requested = under.requested_scopes.clone();
        let Some(known) = known else { return Ok(requested) };
        let accounts = integrations::list_on_grant(tx, under.project_id, known.id)?;
        if accounts.iter().any(|other| other.profile_id != under.profile_id) {
            let allowed = self.upstream.allowed_scopes(&under.platform);
            let kept = known.requested_scopes.iter().filter(|scope| allowed.contains(scope));
            let kept: Vec<String> = kept.filter(|scope| !requested.contains(scope)).cloned().collect();
            requested.extend(kept);
        }
        Ok(requested)
    }

    /// Inserts the account's integration under the flow's profile, or updates the known one; the trail has both as
    /// connected. Also returns the grant that it was the last account of until now.
    fn record_account(
        &self,
        tx: &Transaction<'_>,
        under: &Under,
        grant: GrantId,
        (found, known): (&FoundAccount, Option<Integration>),
        now: Timestamp,
    ) -> Result<(IntegrationId, Option<Grant>), Error> {
        let mut left = None;
        let project = under.project_id;
        let id = if let Some(known) = known {
            let account = found.known_as(&known.account.platform_user_id);
            integrations::update_account(tx, project, known.id, &account, grant, now)?;
            self.make_usable(tx, under, known.id, found.own_token.as_ref(), now)?;
            if known.grant_id != grant {
                // Reconnected under another app or consent: nobody may use the old grant any more.
                let old = grants::find(tx, project, known.grant_id)?;
                if grants::delete_if_unused(tx, project, known.grant_id)? {
                    left = old;
                }
            }
            known.id
        } else {
            let id: IntegrationId = self.ids.next();
            let integration = Integration {
                id,
                grant_id: grant,
                profile_id: under.profile_id,
                platform: under.platform.clone(),
                account: found.account.clone(),
                app: None,
                status: AuthStatus::Active,
                lapses_at: None,
                created_at: now,
                updated_at: now,
            };
            let own = self.own_tokens(under, id, 1, found.own_token.as_ref())?;
            integrations::insert(tx, project, &integration, &own)?;
            id
        };
        let entry = Entry::new(under.by, Action::AccountConnected, id);
        let entry = entry.of_flow(under.flow_id).of_profile(under.profile_id);
        audit::record(tx, Some(project), &entry, now)?;
        Ok((id, left))
    }

    /// Updates the accounts of the grant that were not chosen now. Those that the consent still covers get fresh
    /// tokens; those that it certainly no longer covers must be reconnected.
    fn renew_others(
        &self,
        tx: &Transaction<'_>,
        under: &Under,
        grant: GrantId,
        identity: &Identity,
        connected: &[IntegrationId],
        now: Timestamp,
    ) -> Result<(), Error> {
        let project = under.project_id;
        let others = integrations::list_on_grant(tx, project, grant)?;
        for other in others.into_iter().filter(|other| !connected.contains(&other.id)) {
            let lost = AuthStatus::ReconnectRequired(FailureReason::AccessRevoked);
            match identity.coverage(&other.account.platform_user_id) {
                Coverage::Covered(found) => {
                    self.make_usable(tx, under, other.id, found.own_token.as_ref(), now)?;
                }
                Coverage::Lost if other.status != lost => {
                    integrations::set_status(tx, project, other.id, lost, now)?;
                    tracing::info!(integration.id = %other.id, "the renewed consent no longer covers this account");
                }
                // Its own tokens were erased while the grant was ended.
                Coverage::Unknown if other.status != lost && self.lacks_own_tokens(tx, under, other.id)? => {
                    integrations::set_status(tx, project, other.id, lost, now)?;
                    tracing::info!(integration.id = %other.id, "the renewed consent brought no token for this account");
                }
                Coverage::Lost | Coverage::Unknown => {}
            }
        }
        Ok(())
    }

    /// True for an account that needs tokens of its own and has none.
    fn lacks_own_tokens(&self, tx: &Transaction<'_>, under: &Under, id: IntegrationId) -> Result<bool, Error> {
        let own = integrations::find_own_tokens(tx, under.project_id, id)?;
        Ok(own.is_some_and(|own| own.tokens.is_none()) && self.upstream.has_token_per_account(&under.platform))
    }

    /// Makes the account active again, with this token of its own. Without one, it uses the grant's, and a token of its
    /// own that is stored is erased.
    fn make_usable(
        &self,
        tx: &Transaction<'_>,
        under: &Under,
        id: IntegrationId,
        token: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let project = under.project_id;
        let known = integrations::find_own_tokens(tx, project, id)?.ok_or(crate::store::Error::NotChanged)?;
        if known.tokens.is_none() && token.is_none() {
            return Ok(integrations::set_status(tx, project, id, AuthStatus::Active, now)?);
        }
        let renewed = self.own_tokens(under, id, known.generation + 1, token)?;
        Ok(integrations::renew(tx, project, id, &renewed, known.generation, now)?)
    }

    fn own_tokens(
        &self,
        under: &Under,
        id: IntegrationId,
        generation: u64,
        token: Option<&SecretString>,
    ) -> Result<OwnTokens, Error> {
        let place = Place::integration_tokens(id, generation, under.project_id, &under.platform);
        let seal = |token: &SecretString| {
            let tokens = TokenSet {
                access_token: token.clone(),
                refresh_token: None,
                id_token: None,
                token_type: "Bearer".to_owned(),
                service_url: None,
            };
            self.vault.seal_tokens(&place, &tokens)
        };
        Ok(OwnTokens { generation, tokens: token.map(seal).transpose()? })
    }
}

/// The consent with the names that its accounts were stored under, for a time at which nobody could be asked for them.
pub(super) fn with_known_names(
    tx: &Transaction<'_>,
    under: &Under,
    chosen: &Chosen,
    consent: &Consent,
) -> Result<Consent, Error> {
    let mut consent = consent.clone();
    for found in &mut consent.identity.accounts {
        if let Some(Integration { account: known, .. }) = find_known(tx, under, chosen, found)? {
            found.account.username = known.username;
            found.account.profile_url = known.profile_url;
            found.account.display_name = found.account.display_name.take().or(known.display_name);
        }
    }
    Ok(consent)
}

/// The account's integration under the flow's profile.
fn find_known(
    tx: &Transaction<'_>,
    under: &Under,
    chosen: &Chosen,
    found: &FoundAccount,
) -> Result<Option<Integration>, Error> {
    let (project, profile, platform) = (under.project_id, under.profile_id, under.platform.as_str());
    if let Chosen::Again(id) = chosen {
        return Ok(integrations::find(tx, project, *id)?.filter(|known| known.profile_id == profile));
    }
    for account in found.listed() {
        let known = integrations::find_by_account(tx, project, profile, platform, &account.platform_user_id)?;
        if known.is_some() {
            return Ok(known);
        }
    }
    let Some(location) = found.location() else { return Ok(None) };
    Ok(integrations::find_by_ending(tx, project, profile, platform, &format!("/{location}"))?)
}
