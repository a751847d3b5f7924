//! The use cases, in the order in which their steps happen: begin and finish a connection, choose, list, move and
//! disconnect accounts, keep their tokens alive and hand them out, keep profiles and apps. Knows the store, the vault and the engines that talk OAuth and AT
//! Protocol; no web framework and no SQL.
//!
//! Invariant: the database is never touched while the network is in flight, and a state is consumed before anything is
//! asked of a platform.

pub mod access_keys;
pub mod apps;
pub mod begin;
pub mod bluesky;
pub mod callback;
pub mod error;
mod exchange;
pub mod integrations;
pub mod platforms;
pub mod profiles;
pub mod purge;
mod record;
pub mod recovery;
mod refresh;
pub mod schedule;
pub mod selection;
mod single_flight;
mod throttle;
pub mod tokens;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use crate::atproto;
use crate::domain::access_key::Scope;
use crate::domain::attempts::Attempts;
use crate::domain::entropy::Entropy;
use crate::domain::id::{AccessKeyId, IdSource, ProjectId};
use crate::domain::redirect::RedirectPolicy;
use crate::domain::throttle::Paces;
use crate::domain::time::Clock;
use crate::oauth::Engine;
use crate::platforms::Registry;
use crate::store::Store;
use crate::store::refreshes::OfApp;
use crate::vault::Vault;

pub use error::Error;

/// Who calls: an access key, already checked.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `None` for the demo's own page.
    pub access_key_id: Option<AccessKeyId>,
    pub project_id: ProjectId,
    pub scopes: Vec<Scope>,
}

impl Caller {
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }
}

/// What the use cases are configured with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The broker's own URL, without a trailing slash: callback URLs are built from it, never from a request.
    pub public_url: String,
    pub redirects: RedirectPolicy,
    /// How long a person has from the authorize URL to the callback.
    pub state_ttl: Duration,
    /// How long a person has to choose among several accounts.
    pub selection_ttl: Duration,
    /// How long before its expiry an access token is refreshed.
    pub refresh_ahead: Duration,
    /// Refreshes in flight at a time, at most.
    pub refresh_concurrency: u32,
}

/// What the use cases work with.
pub struct Parts {
    pub store: Store,
    pub vault: Vault,
    pub oauth: Engine,
    pub atproto: atproto::Engine,
    pub platforms: Registry,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub settings: Settings,
    /// The runtime on which work runs that must outlive its request: not the web server's.
    pub work: Handle,
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Broker(Arc<Inner>);

/// What a [`Broker`] shares between its clones.
pub struct Inner {
    pub(crate) store: Store,
    pub(crate) vault: Vault,
    pub(crate) oauth: Engine,
    pub(crate) atproto: atproto::Engine,
    pub(crate) platforms: Registry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) ids: IdSource,
    pub(crate) settings: Settings,
    pub(crate) work: Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) finishing: callback::Finishing,
    pub(crate) bluesky_attempts: Mutex<Attempts>,
    pub(crate) flights: single_flight::Flights,
    pub(crate) paces: Mutex<Paces<OfApp>>,
    /// Told when a call may be made that could not be made before.
    pub(crate) pace_changed: Notify,
    /// Whether no refresh is begun any more.
    pub(crate) stopping: AtomicBool,
    /// Grants that the scheduler lets alone for a while.
    pub(crate) let_alone: Mutex<schedule::LetAlone>,
    /// Calls for new tokens that are not answered yet.
    pub(crate) in_flight: throttle::Gauge,
    /// Tokens that a platform has delivered and that could not be stored yet.
    pub(crate) unsaved: throttle::Gauge,
}

impl std::ops::Deref for Broker {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Broker {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { store, vault, oauth, atproto, platforms, clock, entropy, settings, work } = parts;
        let ids = IdSource::new(clock.clone(), entropy.clone());
        let paces = Mutex::new(Paces::new(settings.refresh_concurrency));
        Self(Arc::new(Inner {
            store,
            vault,
            oauth,
            atproto,
            platforms,
            clock,
            entropy,
            ids,
            settings,
            work,
            tasks: TaskTracker::new(),
            finishing: callback::Finishing::default(),
            bluesky_attempts: Mutex::default(),
            flights: single_flight::Flights::default(),
            paces,
            pace_changed: Notify::new(),
            stopping: AtomicBool::new(false),
            let_alone: Mutex::default(),
            in_flight: throttle::Gauge::new(|count| metrics::gauge!("postpeer_refreshes_in_flight").set(count)),
            unsaved: throttle::Gauge::new(|count| metrics::gauge!("postpeer_answers_unsaved").set(count)),
        }))
    }

    /// Waits until the work that outlives requests is done, at most this long. True when all of it is.
    pub async fn drain(&self, at_most: Duration) -> bool {
        self.tasks.close();
        tokio::time::timeout(at_most, self.tasks.wait()).await.is_ok()
    }

    /// Whether the broker can keep its promises: the database answers, there is room for what a platform delivers and
    /// for what is written before it is asked, and nothing that one delivered waits to be stored.
    pub async fn is_ready(&self) -> bool {
        self.unsaved.is_zero()
            && self.store.failure().is_none()
            && self.store.ensure_reserve().await.is_ok()
            && self.store.has_room().await
            && self.store.read(crate::store::meta::is_readable).await.is_ok()
    }
}
