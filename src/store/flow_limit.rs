//! The limit on [flows](super::flows), so that no key fills the disk or takes the room of others.
//!
//! Invariant: a start is refused only when none of the flows in its way can give way. Counting walks an index, so it
//! happens once for many starts: each count allows its key a number of starts that cannot exceed the limit.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use rusqlite::Transaction;

use super::{Error, flows, late_redirects, selections};
use crate::domain::id::{AccessKeyId, ProjectId};
use crate::domain::time::Timestamp;

/// Flows that give way in one transaction, so that no request waits long.
const BATCH: u32 = 500;

/// Starts of one key between two counts, at most.
const STARTS_PER_COUNT: u64 = 1_000;

/// Bounds on what is stored.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Flows that one key has, in whatever stage.
    pub per_key: u64,
    /// Flows of all keys, give or take [`STARTS_PER_COUNT`] for each key.
    pub in_all: u64,
    /// Open selections of a project. Those never give way.
    pub open_selections: u64,
    /// Late redirects of all keys.
    pub late_redirects: u64,
}

/// The project and key that begin a flow; `None` for the demo page.
type Owner = (ProjectId, Option<AccessKeyId>);

/// Admits starts. For the one process that begins flows.
#[derive(Debug)]
pub struct FlowLimit {
    bounds: Bounds,
    /// Starts that each key has left until the next count.
    allowed: Mutex<HashMap<Owner, u64>>,
}

impl FlowLimit {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, allowed: Mutex::default() }
    }

    /// Makes room for one more flow of a key. At its bound, the key's oldest flows give way; at the bound for all,
    /// those of the key that has most. False when none of them can.
    pub fn admit(&self, db: &Transaction<'_>, owner: Owner, now: Timestamp) -> Result<bool, Error> {
        // A start that is rolled back was counted all the same, which errs on the safe side.
        let mut allowed = self.allowed.lock().unwrap_or_else(PoisonError::into_inner);
        let left = allowed.entry(owner).or_default();
        if *left == 0 {
            *left = self.count(db, owner, now)?;
        }
        let is_admitted = *left > 0;
        *left = left.saturating_sub(1);
        Ok(is_admitted)
    }

    /// The number of starts that the key may make now.
    fn count(&self, db: &Transaction<'_>, owner: Owner, now: Timestamp) -> Result<u64, Error> {
        let bounds = &self.bounds;
        if selections::count_open(db, owner.0)? >= bounds.open_selections {
            return Ok(0);
        }
        let held = flows::count_by_key(db)?;
        let in_all: u64 = held.iter().map(|(_, _, flows)| flows).sum();
        let own = held.iter().find(|(project, key, _)| (*project, *key) == owner).map_or(0, |(_, _, flows)| *flows);
        let largest = held.iter().max_by_key(|(_, _, flows)| *flows).map(|(project, key, _)| (*project, *key));
        let room = bounds.per_key.saturating_sub(own).min(bounds.in_all.saturating_sub(in_all));
        if room > 0 {
            return Ok(room.min(STARTS_PER_COUNT));
        }
        let batch = BATCH.min(u32::try_from(bounds.per_key / 8).unwrap_or(BATCH)).max(1);
        let gone = if own >= bounds.per_key {
            Self::give_way(db, owner, now, batch)?
        } else {
            match (flows::purge_expired(db, now, batch)?, largest) {
                (0, Some(largest)) => Self::give_way(db, largest, now, batch)?,
                (purged, _) => purged,
            }
        };
        late_redirects::shrink(db, bounds.late_redirects, BATCH)?;
        let gone = u64::try_from(gone).unwrap_or(u64::MAX);
        Ok(if own < bounds.per_key { gone.min(bounds.per_key - own) } else { gone })
    }

    fn give_way(db: &Transaction<'_>, (project, key): Owner, now: Timestamp, limit: u32) -> Result<usize, Error> {
        let gone = flows::give_way(db, project, key, now, limit)?;
        tracing::warn!(
            project.id = %project, key.id = key.map(tracing::field::display), flows = gone,
            "a key has so many unfinished connections that its oldest expired early"
        );
        Ok(gone)
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
        fixture.write(|db| flows::give_way(db, ours, late.access_key_id, late.created_at, 1)).unwrap();
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
