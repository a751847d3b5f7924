//! The parts that every use case needs: the store, the vault, the way to the platforms, time and randomness.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Error;
use super::backups::BackupSchedule;
use super::generations::Generations;
use super::tasks::Tasks;
use crate::domain::budget::Limits;
use crate::domain::entropy::Entropy;
use crate::domain::failure::{Failure, Help};
use crate::domain::grant::{AuthStatus, FailureReason, Grant, TokenSet};
use crate::domain::id::{GrantId, IdSource, ProjectId};
use crate::domain::integration::{Integration, IntegrationDetail};
use crate::domain::paging::Window;
use crate::domain::redirect::RedirectPolicy;
use crate::domain::refresh_failure::RefreshFailure;
use crate::domain::renewal::{Renewal, Timing};
use crate::domain::time::{Clock, Timestamp};
use crate::store::{self, Connection, Store};
use crate::upstream::Upstream;
use crate::vault::{self, Place, Vault};

/// Configuration of the use cases.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The keyring file, which is read again when another process has changed the data keys.
    pub keyring: PathBuf,
    /// The broker's own URL, without a trailing slash. Callback URLs are built from it, never from a request.
    pub public_url: String,
    pub redirects: RedirectPolicy,
    /// Connections without a `bindingHash` begin at the [page that asks](super::confirmation).
    pub confirm: bool,
    /// Connections that any browser could finish are refused.
    pub require_binding: bool,
    /// Time for a person from the authorize URL to the callback.
    pub state_ttl: Duration,
    /// Time for a person to choose among several accounts.
    pub selection_ttl: Duration,
    /// How long before its expiry an access token is refreshed.
    pub refresh_ahead: Duration,
    /// Refreshes in flight at a time, at most.
    pub refresh_concurrency: u32,
    /// `None` where the operator asks for no scheduled backups.
    pub backup: Option<BackupSchedule>,
    /// How long entries of the audit trail are kept.
    pub keep_audit: Duration,
    /// Budgets for what costs.
    pub limits: Limits,
}

/// The parts that a broker is made of.
pub struct Parts {
    pub store: Store,
    pub vault: Vault,
    pub upstream: Upstream,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: Settings,
    /// Most exchanges of codes that may be under way.
    pub exchanges: usize,
    /// The runtime for work that outlives its request: not the web server's.
    pub work: Handle,
}

/// The parts that follow from the configuration.
pub struct Reloaded {
    pub upstream: Upstream,
    pub settings: Settings,
}

/// The parts that all use cases share.
pub struct Core {
    pub(super) store: Store,
    pub(super) vault: Vault,
    pub(super) upstream: Upstream,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) ids: Arc<IdSource>,
    pub(super) settings: Settings,
    pub(super) tasks: Tasks,
    pub(super) generations: Arc<Generations>,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Core")
    }
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { store, vault, upstream, clock, entropy, settings, exchanges: _, work } = parts;
        let ids = Arc::new(IdSource::new(clock.clone(), entropy.clone()));
        let generations = Arc::default();
        Self { store, vault, upstream, clock, entropy, ids, settings, tasks: Tasks::new(work), generations }
    }

    /// The same parts with what a reload replaces.
    pub(super) fn reloaded(&self, Reloaded { upstream, settings }: Reloaded) -> Self {
        let (store, vault) = (self.store.clone(), self.vault.clone());
        let (clock, entropy, ids) = (self.clock.clone(), self.entropy.clone(), self.ids.clone());
        let (tasks, generations) = (self.tasks.clone(), self.generations.clone());
        Self { store, vault, upstream, clock, entropy, ids, settings, tasks, generations }
    }

    /// The platform's name for people.
    #[must_use]
    pub fn label(&self, platform: &str) -> String {
        self.upstream.platforms().label(platform)
    }

    /// The page where the operator manages the app at this platform, where it is known.
    #[must_use]
    pub fn console(&self, platform: &str) -> Option<&'static str> {
        self.upstream.platforms().console(platform)
    }

    /// The next step after a failure at this platform.
    pub(super) fn next_step(&self, failure: Failure, platform: &str) -> String {
        failure.next_step(platform, self.console(platform))
    }

    /// How and when tokens of this platform are renewed.
    pub(super) fn timing(&self, platform: &str, has_refresh_token: bool) -> Timing {
        self.upstream.timing(platform, has_refresh_token, self.settings.refresh_ahead)
    }

    /// Reads a page of a list, on this thread unless [`Window::is_long`] says that others would wait for it.
    pub(super) async fn read_page<T: Send + 'static>(
        &self,
        project: ProjectId,
        searches: bool,
        window: Window,
        list: impl FnOnce(&Connection) -> Result<T, store::Error> + Send + 'static,
    ) -> Result<T, store::Error> {
        if window.is_long(searches) {
            self.store.read_long_for(project, list).await
        } else {
            self.store.read(list).await
        }
    }

    /// The error about a grant whose tokens are older than those that were used before.
    pub(super) fn went_back(&self, id: GrantId) -> vault::Error {
        let (row, used) = (id.to_string().into(), self.generations.highest(id));
        vault::Error::WentBack { table: "grants", column: "tokens", row, used }
    }

    /// The account at this time, with the reason where it lapsed and nothing was asked for other tokens.
    pub(super) fn judged(&self, mut detail: IntegrationDetail) -> IntegrationDetail {
        detail.integration = detail.integration.judged(self.clock.now());
        let Integration { platform, status, lapses_at, .. } = &detail.integration;
        if let (None, AuthStatus::ReconnectRequired(FailureReason::TokenExpired), Some(at)) =
            (&detail.trouble, status, lapses_at)
        {
            detail.trouble = Some(RefreshFailure::unasked(self.lapse(platform, detail.renewal), *at));
        }
        detail
    }

    /// Why an account lapses at this platform.
    pub(super) fn lapse(&self, platform: &str, renewal: Renewal) -> Failure {
        if renewal == Renewal::Never && self.upstream.may_lack_offline_scope(platform) {
            Failure::NoRefreshToken
        } else {
            Failure::ConsentExpired
        }
    }

    /// Tells the operator of new tokens that end sooner than they would with another description of the platform.
    pub(super) fn warn_of_short_life(&self, platform: &str, renewal: Renewal, access_expires_at: Option<Timestamp>) {
        let (what, next_step) = match (renewal, access_expires_at) {
            (Renewal::RefreshToken, None) => (
                "the platform gave a refresh token and does not say when the access token expires, so it is never refreshed",
                format!(
                    "Set token_lifetime_seconds of [platforms.{platform}] to the lifetime that the platform documents: it counts \
                     for accounts that are connected as well."
                ),
            ),
            (Renewal::Never, Some(_)) if self.upstream.may_lack_offline_scope(platform) => (
                "the platform gave no refresh token, so the account's owner must connect it again when the access token expires",
                self.next_step(Failure::NoRefreshToken, platform),
            ),
            _ => return,
        };
        tracing::warn!(platform.name = platform, who_can_help = Help::Operator.code(), next_step, "{what}");
    }

    /// The tokens of a grant; `None` once they were erased.
    pub(super) fn open_grant(&self, grant: &Grant) -> Result<Option<TokenSet>, Error> {
        let place = Place::grant_tokens(grant.id, grant.generation, grant);
        Ok(grant.tokens.as_ref().map(|tokens| self.vault.open_tokens(&place, tokens)).transpose()?)
    }
}

/// Counts a failure. Returns the log's word for who can end it.
pub(super) fn count_failure(failure: Failure, platform: &str) -> &'static str {
    count_help(failure.who_can_help(), platform)
}

/// Counts a failure that this can end. Returns the log's word for it.
pub(super) fn count_help(help: Help, platform: &str) -> &'static str {
    let help = help.code();
    metrics::counter!("postpeer_failures_total", "platform" => platform.to_owned(), "who_can_help" => help)
        .increment(1);
    help
}
