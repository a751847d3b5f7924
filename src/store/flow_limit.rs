//! The limit on [flows](super::flows), so that no key fills the disk or takes the room of others.
//!
//! Invariant: a start is refused only when none of the flows in its way can give way. Counting walks an index, so the
//! flows are counted once, and from then on the starts: those that ended meanwhile are missed, so whoever meets a bound
//! counts anew, unless that was done [a moment ago](COUNTED_FOR).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Transaction;

use super::flows::Owner;
use super::{Error, flows, late_redirects, selections};
use crate::domain::id::ProjectId;
use crate::domain::time::Timestamp;

/// Flows that give way in one transaction, so that no request waits long.
const BATCH: u32 = 500;

/// Starts of a project between two looks at its open selections.
const STARTS_PER_LOOK: u64 = 1_000;

/// For how long a count is believed at a bound. Too short a time makes starts slow there, too long a time has flows
/// give way for the sake of others that are gone.
const COUNTED_FOR: Duration = Duration::from_secs(1);

/// Bounds on what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Flows that one key has, in whatever stage. More, by a [`BATCH`], after a write that was rolled back.
    pub per_key: u64,
    /// Flows of all keys, likewise.
    pub in_all: u64,
    /// Open selections of a project, give or take [`STARTS_PER_LOOK`]. Those never give way.
    pub open_selections: u64,
    /// Late redirects of all keys, give or take a [`BATCH`].
    pub late_redirects: u64,
}

/// Admits starts. For the one process that begins flows.
#[derive(Debug)]
pub struct FlowLimit {
    bounds: Bounds,
    tally: Mutex<Tally>,
}

/// The rows of the latest count, and the starts since.
#[derive(Debug, Default)]
struct Tally {
    /// Those of a key are not fewer than there are, unless a write was rolled back.
    flows: Held,
    late_redirects: Held,
    counted_at: Option<Timestamp>,
    /// Starts that each project has left until its selections are looked at again.
    unlooked: HashMap<ProjectId, u64>,
}

/// Rows by whose they are.
#[derive(Debug, Default)]
struct Held {
    by_owner: HashMap<Owner, u64>,
    in_all: u64,
}

impl FlowLimit {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, tally: Mutex::default() }
    }

    /// Makes room for one more flow of a key. At its bound, the key's oldest flows give way; at the bound for all,
    /// those of the key that has most. False when none of them can.
    pub fn admit(&self, db: &Transaction<'_>, owner: Owner, now: Timestamp) -> Result<bool, Error> {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        if tally.counted_at.is_none() {
            tally.count(db, now)?;
        }
        if !self.has_few_selections(&mut tally, db, owner.0)? {
            return Ok(false);
        }
        if !self.has_room(&tally, owner) && !self.make_room(&mut tally, db, owner, now)? {
            return Ok(false);
        }
        // The next count corrects what a rollback makes wrong.
        tally.flows.add(owner, 1);
        Ok(true)
    }

    fn has_few_selections(&self, tally: &mut Tally, db: &Transaction<'_>, project: ProjectId) -> Result<bool, Error> {
        let left = tally.unlooked.entry(project).or_default();
        if *left == 0 {
            if selections::count_open(db, project)? >= self.bounds.open_selections {
                return Ok(false);
            }
            *left = STARTS_PER_LOOK;
        }
        *left -= 1;
        Ok(true)
    }

    fn has_room(&self, tally: &Tally, owner: Owner) -> bool {
        tally.flows.of(owner) < self.bounds.per_key && tally.flows.in_all < self.bounds.in_all
    }

    fn make_room(&self, tally: &mut Tally, db: &Transaction<'_>, owner: Owner, now: Timestamp) -> Result<bool, Error> {
        let mut is_counted = tally.is_dated(now);
        if is_counted {
            tally.count(db, now)?;
        }
        let batch = BATCH.min(u32::try_from(self.bounds.per_key / 8).unwrap_or(BATCH)).max(1);
        while !self.has_room(tally, owner) {
            let has_most = if tally.flows.of(owner) >= self.bounds.per_key {
                Some(owner)
            } else {
                let purged = flows::purge_expired(db, now, batch)? as u64;
                // The purge does not tell the owners, so theirs stay too high until the next count.
                tally.flows.in_all = tally.flows.in_all.saturating_sub(purged);
                tally.flows.largest().filter(|_| purged == 0)
            };
            let Some(has_most) = has_most else { return Ok(true) };
            if tally.give_way(db, has_most, now, batch)? {
                self.drop_redirects(tally, db)?;
                return Ok(true);
            }
            // The rows that were counted may be gone.
            if is_counted {
                return Ok(false);
            }
            tally.count(db, now)?;
            is_counted = true;
        }
        Ok(true)
    }

    fn drop_redirects(&self, tally: &mut Tally, db: &Transaction<'_>) -> Result<(), Error> {
        let excess = tally.late_redirects.in_all.saturating_sub(self.bounds.late_redirects).min(BATCH.into());
        if let Some(largest) = tally.late_redirects.largest().filter(|_| excess > 0) {
            late_redirects::delete_oldest(db, largest, excess)?;
            tally.late_redirects.remove(largest, excess);
        }
        Ok(())
    }
}

impl Tally {
    fn count(&mut self, db: &Transaction<'_>, now: Timestamp) -> Result<(), Error> {
        self.flows = flows::count_by_key(db)?.into_iter().collect();
        self.late_redirects = late_redirects::count_by_key(db)?.into_iter().collect();
        self.counted_at = Some(now);
        Ok(())
    }

    fn is_dated(&self, now: Timestamp) -> bool {
        // A clock that was set back makes a count dated too. Writes may change places in the queue, so a little is
        // none.
        self.counted_at.is_none_or(|at| now.plus(COUNTED_FOR) < at || at.until(now) >= COUNTED_FOR)
    }

    /// False when no flow of that key can give way.
    fn give_way(&mut self, db: &Transaction<'_>, owner: Owner, now: Timestamp, limit: u32) -> Result<bool, Error> {
        let (project, key) = owner;
        let gone = flows::give_way(db, owner, now, limit)?;
        if gone.flows == 0 {
            return Ok(false);
        }
        tracing::warn!(
            project.id = %project, key.id = key.map(tracing::field::display), flows = gone.flows,
            "a key has so many unfinished connections that its oldest expired early"
        );
        self.flows.remove(owner, gone.flows as u64);
        self.late_redirects.add(owner, gone.late_redirects as u64);
        Ok(true)
    }
}

impl Held {
    fn of(&self, owner: Owner) -> u64 {
        self.by_owner.get(&owner).copied().unwrap_or_default()
    }

    fn largest(&self) -> Option<Owner> {
        self.by_owner.iter().max_by_key(|(_, rows)| **rows).map(|(owner, _)| *owner)
    }

    fn add(&mut self, owner: Owner, rows: u64) {
        *self.by_owner.entry(owner).or_default() += rows;
        self.in_all += rows;
    }

    fn remove(&mut self, owner: Owner, rows: u64) {
        if let Some(held) = self.by_owner.get_mut(&owner) {
            *held = held.saturating_sub(rows);
        }
        self.in_all = self.in_all.saturating_sub(rows);
    }
}

impl FromIterator<(Owner, u64)> for Held {
    fn from_iter<I: IntoIterator<Item = (Owner, u64)>>(rows: I) -> Self {
        let mut held = Self::default();
        rows.into_iter().for_each(|(owner, rows)| held.add(owner, rows));
        held
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::access_key::{AccessKey, Scope};
    use crate::domain::flow::{Flow, FlowStage, LATE_MAX};
    use crate::domain::key_limits::Limits;
    use crate::domain::secret::Digest256;
    use crate::store::access_keys;
    use crate::store::fixture::{Fixture, sealed};

    const BOUNDS: Bounds = Bounds { per_key: 40, in_all: 100, open_selections: 2, late_redirects: 60 };

    /// A key of a project.
    fn key(fixture: &mut Fixture, project_id: ProjectId, name: &str) -> Owner {
        let (id, created_at) = (fixture.id(), fixture.now());
        let limits = Limits::from(&[Scope::Read]);
        let (name, hint) = (name.to_owned(), name.to_owned());
        let digest = Digest256::of(name.as_bytes());
        let key = AccessKey { id, project_id, name, hint, limits, created_at, last_used_at: None, revoked_at: None };
        fixture.write(|db| access_keys::insert(db, &key, &digest)).unwrap();
        (project_id, Some(id))
    }

    /// Begins a flow a millisecond later, which lives a minute. Returns it unless it is refused.
    fn start(fixture: &mut Fixture, limit: &FlowLimit, owner: Owner) -> Option<Flow> {
        fixture.clock.advance(Duration::from_millis(1));
        let (id, now) = (fixture.id::<crate::domain::id::FlowId>(), fixture.now());
        let flow = Flow {
            project_id: owner.0,
            access_key_id: owner.1,
            state: Digest256::of(id.to_string().as_bytes()),
            stage: FlowStage::Pending { pkce_verifier: Some(sealed(1)) },
            ..fixture.new_flow()
        };
        let is_admitted = fixture.write(|db| {
            let is_admitted = limit.admit(db, owner, now)?;
            if is_admitted {
                flows::insert(db, &flow)?;
            }
            Ok(is_admitted)
        });
        is_admitted.unwrap().then_some(flow)
    }

    fn is_pending(fixture: &Fixture, flow: &Flow) -> bool {
        flows::find_by_state(&fixture.db, &flow.state).unwrap().is_some()
    }

    fn is_late(fixture: &Fixture, flow: &Flow) -> bool {
        let before = fixture.now().minus(LATE_MAX);
        late_redirects::find(&fixture.db, &flow.state, before).unwrap().is_some()
    }

    fn rows(fixture: &Fixture, table: &str) -> usize {
        fixture.dump(table).len()
    }

    #[test]
    fn one_key_that_starts_without_end_harms_no_other_and_is_never_refused() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let [busy, quiet] = ["busy", "quiet"].map(|name| key(&mut fixture, ours, name));
        let foreign = key(&mut fixture, theirs, "foreign");
        let limit = FlowLimit::new(BOUNDS);
        let others = [quiet, foreign, (ours, None)].map(|owner| start(&mut fixture, &limit, owner).unwrap());
        let late = start(&mut fixture, &limit, quiet).unwrap();
        fixture.write(|db| flows::give_way(db, (ours, late.access_key_id), late.created_at, 1)).unwrap();
        // Deletions by others show in the next count.
        fixture.clock.advance(COUNTED_FOR);
        let [gone, ..] = &others;
        assert!(is_late(&fixture, gone), "the oldest of that key");

        let begun: Vec<Flow> = (0..1_000).map(|_| start(&mut fixture, &limit, busy).unwrap()).collect();
        assert!(rows(&fixture, "flows") <= 3 + 40, "{}", rows(&fixture, "flows"));
        assert!(rows(&fixture, "late_redirects") <= 60, "{}", rows(&fixture, "late_redirects"));
        let pending = |flow: &&Flow| is_pending(&fixture, flow);
        assert!(begun.iter().rev().take(35).all(|flow| pending(&flow)), "the newest are there");
        assert!(begun.iter().rev().skip(40).take(20).all(|flow| is_late(&fixture, flow)), "those before are late");
        assert!(others.iter().skip(1).all(|flow| pending(&flow)) && pending(&&late), "others are unharmed");
        assert!(is_late(&fixture, gone), "and so are those of them that are late");

        // Nothing outlives its day.
        let expired = fixture.later(60);
        while fixture.write(|db| flows::purge_expired(db, expired, 7)).unwrap() > 0 {}
        assert_eq!(rows(&fixture, "flows"), 0);
        fixture.clock.advance(LATE_MAX);
        let before = fixture.now().minus(LATE_MAX);
        while fixture.write(|db| late_redirects::purge(db, before, 7)).unwrap() > 0 {}
        assert_eq!(rows(&fixture, "late_redirects"), 0);
    }

    #[test]
    fn at_the_bound_for_all_the_key_with_most_gives_way() {
        let mut fixture = Fixture::new();
        let ours = fixture.ours;
        let [a, b, c, late] = ["a", "b", "c", "late"].map(|name| key(&mut fixture, ours, name));
        let limit = FlowLimit::new(BOUNDS);
        let first = start(&mut fixture, &limit, c).unwrap();
        for owner in [a, a, b].map(|owner| [owner; 20]).concat().into_iter().chain([c; 19]).chain([b; 19]) {
            start(&mut fixture, &limit, owner).unwrap();
        }
        assert_eq!(rows(&fixture, "flows"), 99);
        for _ in 0..30 {
            start(&mut fixture, &limit, late).unwrap();
        }
        assert!(rows(&fixture, "flows") <= 100 + 1, "{}", rows(&fixture, "flows"));
        assert!(is_pending(&fixture, &first), "that key has fewer");

        // Expired ones go before any other.
        let expired = fixture.later(61);
        let fresh = start(&mut fixture, &limit, late).unwrap();
        for owner in [[a; 20], [b; 20], [c; 20], [late; 20]].concat() {
            start(&mut fixture, &limit, owner).unwrap();
        }
        assert!(rows(&fixture, "flows") < 150, "{}", rows(&fixture, "flows"));
        assert!(is_pending(&fixture, &fresh) && fresh.expires_at > expired);
    }

    #[test]
    fn flows_that_others_deleted_meanwhile_are_in_nobodys_way() {
        let mut fixture = Fixture::new();
        let ours = fixture.ours;
        let [a, b, c, late] = ["a", "b", "c", "late"].map(|name| key(&mut fixture, ours, name));
        let limit = FlowLimit::new(BOUNDS);
        for owner in [[a; 40], [b; 40]].concat().into_iter().chain([c; 20]) {
            start(&mut fixture, &limit, owner).unwrap();
        }
        start(&mut fixture, &limit, late).unwrap();
        for (_, gone) in [a, b] {
            fixture.db.execute("DELETE FROM flows WHERE access_key_id = ?1", [gone]).unwrap();
            for _ in 0..15 {
                start(&mut fixture, &limit, late).expect("there is room");
            }
        }
        assert_eq!(rows(&fixture, "flows"), 20 + 1 + 30, "nothing else gave way");
    }

    #[test]
    fn flows_without_a_redirect_push_out_no_late_redirects() {
        let mut fixture = Fixture::new();
        let ours = fixture.ours;
        let [busy, quiet] = ["busy", "quiet"].map(|name| key(&mut fixture, ours, name));
        let limit = FlowLimit::new(BOUNDS);
        for _ in 0..30 {
            start(&mut fixture, &limit, quiet).unwrap();
        }
        let now = fixture.now();
        fixture.write(|db| flows::give_way(db, quiet, now, 30)).unwrap();
        for _ in 0..300 {
            start(&mut fixture, &limit, busy).unwrap();
            fixture.db.execute("UPDATE flows SET redirect_uri = NULL", []).unwrap();
        }
        assert_eq!(rows(&fixture, "late_redirects"), 30);
    }

    #[test]
    fn a_start_is_refused_where_nothing_can_give_way() {
        let mut fixture = Fixture::new();
        let (ours, theirs) = (fixture.ours, fixture.theirs);
        let limit = FlowLimit::new(BOUNDS);
        fixture.pending("a");
        fixture.pending("b");
        assert!(start(&mut fixture, &limit, (ours, None)).is_none(), "too many open selections");
        assert!(start(&mut fixture, &limit, (theirs, None)).is_some());

        let limit = FlowLimit::new(Bounds { per_key: 3, open_selections: 9, ..BOUNDS });
        let begun = start(&mut fixture, &limit, (ours, None)).unwrap();
        let now = fixture.now();
        let by = Digest256::of(b"code");
        fixture.write(|db| flows::change(db, ours, begun.id, |flow| flow.consume(by, now))).unwrap();
        assert!(start(&mut fixture, &limit, (ours, None)).is_none(), "two are chosen from, one is exchanged");
        let end = crate::domain::flow::Outcome::Cancelled;
        fixture.write(|db| flows::change(db, ours, begun.id, |flow| flow.end(end))).unwrap();
        assert!(start(&mut fixture, &limit, (ours, None)).is_some(), "a finished one gives way");
        assert!(!is_pending(&fixture, &begun) && !is_late(&fixture, &begun));
    }
}
