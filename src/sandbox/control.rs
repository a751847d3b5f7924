//! The handle to a running sandbox: reads its requests and orders faults.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::authorize::{self, Opened};
use super::bluesky::{self, Standing};
use super::call::{Body, Call};
use super::configuration::{find, known};
use super::consent::{self, Answer, Refused};
use super::desk::Desk;
use super::record::{Issued, Recorded};
use super::step::{Fault, Step, UnknownPlatform};
use super::traffic::Traffic;
use super::world::World;
use crate::domain::entropy::Entropy;
use crate::domain::time::Clock;

/// Reads a sandbox's requests and orders faults. All clones belong to the same sandbox.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    world: Mutex<World>,
    /// Address of Bluesky's server for accounts.
    pds: SocketAddr,
    traffic: Mutex<Traffic>,
    /// Notified of every arrival, answer, hold and release.
    changed: watch::Sender<()>,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    pub(super) fn new(base_url: &str, pds: SocketAddr, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(Inner {
            world: Mutex::new(World::new(base_url, &format!("http://{pds}"), clock, entropy)),
            pds,
            traffic: Mutex::default(),
            changed: watch::Sender::new(()),
        }))
    }

    /// The requests since the start or the last [`Control::clear`], oldest first; the last 2000 of them.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.traffic().recorded()
    }

    /// The requests at one step of one platform.
    #[must_use]
    pub fn requests_at(&self, platform: &str, step: Step) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.platform == platform && request.step == step).collect()
    }

    /// Every code and token given to the broker, oldest first, for tests that search for leaked secrets.
    #[must_use]
    pub fn issued(&self, platform: &str) -> Vec<Issued> {
        self.world().issued(platform)
    }

    /// Lets the next `times` requests of this step fail, after the faults ordered before.
    ///
    /// # Errors
    ///
    /// When the sandbox does not imitate the platform.
    pub fn fail_next(&self, platform: &str, step: Step, fault: Fault, times: u32) -> Result<(), UnknownPlatform> {
        let platform = known(platform)?;
        self.traffic().order_fault(platform, step, fault, times);
        Ok(())
    }

    /// Forgets requests, faults and holds, and restores Bluesky's identities and standings. Accounts stay connected.
    pub fn clear(&self) {
        self.world().bluesky.reset();
        self.traffic().clear();
        self.0.changed.send_replace(());
    }

    /// Holds back the answers of this step, at all platforms, until released.
    pub fn hold(&self, step: Step) {
        self.traffic().hold(step);
    }

    /// Sends the answers held at this step.
    pub fn release(&self, step: Step) {
        self.traffic().release(step);
        self.0.changed.send_replace(());
    }

    /// Resolves when an answer of this step is being held.
    pub async fn held(&self, step: Step) {
        self.until(|traffic| traffic.held(step) > 0).await;
    }

    /// Resolves when this step of this platform has had `count` requests since the start or the last
    /// [`Control::clear`].
    pub async fn seen(&self, platform: &str, step: Step, count: usize) {
        self.until(|traffic| traffic.count(platform, step) >= count).await;
    }

    /// Lets every session at Bluesky name this DID instead of its account's, like a server that lies, until
    /// [`Control::clear`].
    pub fn bluesky_impersonate(&self, did: &str) {
        self.world().bluesky.impersonate(did.to_owned());
    }

    /// Sets the standing of an account at Bluesky, until [`Control::clear`]. Taking down or deleting ends its
    /// sessions for good. False when no account has that DID.
    pub fn bluesky_stand(&self, did: &str, standing: Standing) -> bool {
        let Some(account) = bluesky::find_account(did) else { return false };
        self.world().bluesky.stand(account, standing);
        true
    }

    /// Number of valid refresh tokens at Bluesky: those of sessions, and for two hours those that a refresh replaced.
    #[must_use]
    pub fn bluesky_sessions(&self) -> usize {
        let world = self.world();
        world.bluesky.count(world.now())
    }

    /// Revokes every grant at this platform, as its people would. At Bluesky, deletes every app password: the next
    /// refresh fails, and access tokens live to their end.
    pub fn revoke_all(&self, platform: &str) {
        if platform == bluesky::NAME {
            self.world().bluesky.revoke_all();
        }
        self.world().revoke_where(|grant| grant.platform == platform);
    }

    /// Expires every access token of this platform; refresh tokens stay valid.
    pub fn expire_access(&self, platform: &str) {
        let mut world = self.world();
        if platform == bluesky::NAME {
            let now = world.now();
            world.bluesky.expire_access(now);
        }
        world.expire_access(platform);
    }

    /// Opens an authorize URL and answers its consent page, like a browser; returns the URL that the browser is sent
    /// to. The visit is recorded and exempt from ordered faults.
    ///
    /// # Errors
    ///
    /// When the platform shows a page instead of the consent page, or refuses the answer.
    pub fn consent(&self, authorize_url: &str, answer: &Answer) -> Result<String, Refused> {
        let mut world = self.world();
        let tail = authorize_url.strip_prefix(&format!("{}/", world.base_url));
        let (platform, tail) = tail.and_then(|tail| tail.split_once('/')).unwrap_or_default();
        let imitation = find(platform).map_err(|error| Refused::new(404, &error.to_string()))?;
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let call = Call {
            method: "GET".to_owned(),
            path: format!("/{path}"),
            query: super::call::pairs(query.as_bytes()),
            raw_query: query.to_owned(),
            headers: Vec::new(),
            body: Body::None,
        };
        if !imitation.authorize.is_at(&call.path) {
            return Err(Refused::new(404, &format!("{} is not {}'s authorize URL", call.path, imitation.label)));
        }
        let mut desk = Desk { imitation, world: &mut world };
        let (status, outcome) = match authorize::open(&mut desk, &call) {
            Opened::Asked(id) => (200, consent::decide(&mut desk, &id, answer)),
            Opened::Refused(objection) => {
                let status = imitation.authorize.page_status;
                (status, Err(Refused::new(status, &objection.to_string())))
            }
            Opened::SentBack(location, _) => (303, Ok(location)),
        };
        drop(world);
        let ticket = self.arrived(imitation.name, Step::Authorize, &call);
        self.answered(ticket, Some(status), None);
        outcome
    }

    pub(super) fn is_pds(&self, address: SocketAddr) -> bool {
        self.0.pds == address
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.0.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn arrived(&self, platform: &'static str, step: Step, call: &Call) -> usize {
        let ticket = self.traffic().arrived(Recorded {
            platform,
            step,
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            headers: call.headers.clone(),
            form: call.body.fields().to_vec(),
            status: None,
            why: None,
        });
        self.0.changed.send_replace(());
        ticket
    }

    pub(super) fn answered(&self, ticket: usize, status: Option<u16>, why: Option<&str>) {
        self.traffic().answered(ticket, status, why);
        self.0.changed.send_replace(());
    }

    /// The fault for this request: ordered by its own consent, else for all requests of the step.
    pub(super) fn take_fault(&self, platform: &'static str, step: Step, call: &Call) -> Option<Fault> {
        let of_grant = self.world().take_fault(call.credentials(), step);
        of_grant.or_else(|| self.traffic().take_fault(platform, step))
    }

    /// Waits while this step is held.
    pub(super) async fn pass(&self, step: Step) {
        if !self.traffic().holds(step) {
            return;
        }
        // A closed connection drops this future, and its answer is no longer held.
        let _waiting = Waiting::new(self, step);
        self.until(|traffic| !traffic.holds(step)).await;
    }

    async fn until(&self, condition: impl Fn(&Traffic) -> bool) {
        let mut changes = self.0.changed.subscribe();
        loop {
            if condition(&self.traffic()) {
                return;
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Counts an answer as held while it lives.
struct Waiting<'a> {
    control: &'a Control,
    step: Step,
}

impl<'a> Waiting<'a> {
    fn new(control: &'a Control, step: Step) -> Self {
        control.traffic().waits(step);
        control.0.changed.send_replace(());
        Self { control, step }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.control.traffic().waits_no_more(self.step);
        self.control.0.changed.send_replace(());
    }
}
