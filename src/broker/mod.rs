//! The use cases, in the order in which their steps happen: begin and finish a connection, choose, list, move and
//! disconnect accounts, hand out their tokens, manage profiles, apps and access keys.
//!
//! [`Broker`] is what `http`, `cli` and `background` call. It stands on small parts: [`Core`] has what every use case
//! needs, [`Refresher`] keeps tokens fresh, [`revocation`] decides what may be revoked. Knows the store, the vault,
//! `upstream` and `platforms`; no web framework and no SQL.
//!
//! Invariant: the database is never touched while the network is in flight, and a state is consumed before anything is
//! asked of a platform.

pub mod access_keys;
mod answer;
pub mod apps;
pub mod audit;
pub mod backups;
pub mod begin;
pub mod bluesky;
mod budgets;
pub mod callback;
mod clients;
pub mod completion;
pub mod confirmation;
pub mod connection_rows;
pub mod console;
mod core;
mod discovery;
mod ending;
pub mod error;
mod exchange;
mod exchange_places;
pub mod finished;
mod generations;
pub mod integrations;
pub mod key_rows;
pub mod keyring;
pub mod late;
pub mod link_page;
pub mod links;
pub mod platforms;
pub mod profiles;
pub mod projects;
pub mod purge;
mod readiness;
mod reconnect;
mod record;
pub mod recovery;
pub mod refresher;
mod registration;
pub mod reseal;
pub mod results;
mod revocation;
mod search_index;
pub mod selection;
mod single_flight;
mod steady_clock;
mod superseded;
mod tasks;
mod token_reads;
pub mod tokens;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::domain::access_key::Scope;
use crate::domain::attempts::Attempts;
use crate::domain::audit::Actor;
use crate::domain::budget::Spent;
use crate::domain::eager_refreshes::EagerRefreshes;
use crate::domain::error_chain::chain;
use crate::domain::id::{AccessKeyId, FlowId, LinkId, ProfileId, ProjectId};
use crate::domain::key_uses::KeyUses;
use crate::domain::time::Timestamp;
use crate::store::flow_limit::FlowLimit;

pub use self::core::{Core, Parts, Reloaded, Settings};
pub use backups::BackupSchedule;
use discovery::Undiscovered;
pub use error::Error;
pub use readiness::NotReady;
pub use refresher::Refresher;
use registration::{AppAt, NotRegistered};
use revocation::Revocation;
use single_flight::SingleFlight;
use token_reads::Unwritten;

/// Pause after a batch of many changes, in which everything else is written.
pub const BETWEEN_BATCHES: Duration = Duration::from_millis(20);

/// Who calls a use case: an access key that was checked, or someone who needs none.
#[derive(Debug, Clone)]
pub struct Caller {
    pub actor: Actor,
    /// `None` without a key: for the demo's own page, and the command line.
    pub access_key_id: Option<AccessKeyId>,
    /// The connect link that it acts through.
    pub link_id: Option<LinkId>,
    pub project_id: ProjectId,
    /// The profile that the key is bound to: the caller sees and changes nothing of another one.
    pub profile_id: Option<ProfileId>,
    pub scopes: Vec<Scope>,
    /// The client's address, for the audit trail.
    pub address: Option<IpAddr>,
}

impl Caller {
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// True for what belongs to the caller's profile, or where the caller is bound to none.
    fn sees(&self, profile: Option<ProfileId>) -> bool {
        self.profile_id.is_none_or(|bound| profile == Some(bound))
    }

    /// Refuses what concerns the whole project to a caller that is bound to a profile.
    fn for_whole_project(&self) -> Result<(), Error> {
        self.profile_id.map_or(Ok(()), |bound| Err(Error::BoundToProfile(bound)))
    }

    /// The profile of a connection that the caller begins.
    fn profile_to_connect(&self, wanted: Option<&str>) -> Result<Option<ProfileId>, Error> {
        match (wanted.map(profiles::parse).transpose()?, self.profile_id) {
            (Some(wanted), Some(bound)) if wanted != bound => Err(Error::OtherProfile(bound)),
            (wanted, bound) => Ok(bound.or(wanted)),
        }
    }
}

/// The use cases. Cheap to clone.
#[derive(Clone)]
pub struct Broker {
    core: Arc<Core>,
    refresher: Refresher,
    revocation: Revocation,
    /// Connections whose code is being exchanged.
    exchanges: SingleFlight<FlowId, ()>,
    exchange_places: exchange_places::ExchangePlaces,
    /// How connections ended, where that could not be recorded yet.
    unrecorded: ending::Unrecorded,
    flow_limit: Arc<FlowLimit>,
    /// Platforms whose server is asked how it is used, by name.
    discoveries: SingleFlight<String, Result<(), Undiscovered>>,
    /// Platforms that are used without the metadata of their server, by name, with the time of the last question.
    without_metadata: Arc<Mutex<BTreeMap<String, Timestamp>>>,
    /// Servers at which the broker makes sure of its app.
    registrations: SingleFlight<AppAt, Result<String, NotRegistered>>,
    registration_attempts: Arc<Mutex<Attempts>>,
    bluesky_attempts: Arc<Mutex<Attempts>>,
    eager_refreshes: Arc<Mutex<EagerRefreshes>>,
    spent: Arc<Mutex<Spent>>,
    unwritten: Arc<Unwritten>,
    key_uses: Arc<Mutex<KeyUses>>,
    readiness: readiness::Latest,
    backing_up: backups::OneAtATime,
    /// Held while a batch of selections is given up, so that none is revoked twice around a reload.
    purging: Arc<tokio::sync::Mutex<()>>,
    steady_clock: Arc<steady_clock::SteadyClock>,
}

/// Use cases reach the parts that all of them need without naming where those are.
impl Deref for Broker {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl Broker {
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let exchange_places = exchange_places::ExchangePlaces::new(parts.exchanges);
        let core = Arc::new(Core::new(parts));
        let revocation = Revocation::new(core.clone());
        Self {
            refresher: Refresher::new(core.clone(), revocation.clone()),
            revocation,
            exchanges: SingleFlight::default(),
            exchange_places,
            unrecorded: ending::Unrecorded::default(),
            flow_limit: Arc::new(FlowLimit::new(begin::BOUNDS)),
            discoveries: SingleFlight::default(),
            without_metadata: Arc::default(),
            registrations: SingleFlight::default(),
            registration_attempts: Arc::default(),
            bluesky_attempts: Arc::default(),
            eager_refreshes: Arc::default(),
            spent: Arc::default(),
            unwritten: Arc::default(),
            key_uses: Arc::default(),
            readiness: Arc::default(),
            backing_up: Arc::default(),
            purging: Arc::default(),
            steady_clock: Arc::default(),
            core,
        }
    }

    /// This broker with another configuration, for what begins from now on. What is under way ends with the old one.
    /// Both share the store, the vault and what is in memory alone, so that still no grant is refreshed twice at a time.
    #[must_use]
    pub fn reloaded(&self, parts: Reloaded) -> Self {
        let core = Arc::new(self.core.reloaded(parts));
        let revocation = Revocation::new(core.clone());
        Self {
            refresher: self.refresher.reloaded(core.clone(), revocation.clone()),
            revocation,
            // An answer that is under way reaches the old platforms only.
            discoveries: SingleFlight::default(),
            without_metadata: Arc::default(),
            core,
            ..self.clone()
        }
    }

    /// The part that keeps tokens fresh.
    #[must_use]
    pub fn refresher(&self) -> &Refresher {
        &self.refresher
    }

    /// Waits up to `at_most` for the work that outlives requests, then writes the reads and uses that are only counted.
    /// True when all of the work is done.
    pub async fn drain(&self, at_most: Duration) -> bool {
        let is_done = self.tasks.drain(at_most).await;
        if let Err(error) = self.write_token_reads().await {
            tracing::warn!(error = %chain(&error), "the last reads of tokens were not counted");
        }
        if let Err(error) = self.write_key_uses(true).await {
            tracing::warn!(error = %chain(&error), "the last uses of access keys were not recorded");
        }
        is_done
    }
}
