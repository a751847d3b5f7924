//! Traffic: records requests, hands out ordered faults, and counts held answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::record::Recorded;
use super::step::{Fault, Step};

/// Requests kept in the record.
const RECORDED: usize = 2_000;

/// The traffic of all platforms.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    recorded: VecDeque<Recorded>,
    /// Number of requests dropped from `recorded`: a ticket minus this is an index.
    forgotten: usize,
    faults: BTreeMap<(&'static str, Step), VecDeque<(Fault, u32)>>,
    holds: BTreeSet<Step>,
    held: BTreeMap<Step, usize>,
}

impl Traffic {
    /// Records an arrival; the ticket is for [`Traffic::answered`].
    pub(super) fn arrived(&mut self, request: Recorded) -> usize {
        if self.recorded.len() == RECORDED {
            self.recorded.pop_front();
            self.forgotten += 1;
        }
        self.recorded.push_back(request);
        self.forgotten + self.recorded.len() - 1
    }

    pub(super) fn answered(&mut self, ticket: usize, status: Option<u16>, why: Option<&str>) {
        let index = ticket.checked_sub(self.forgotten);
        if let Some(request) = index.and_then(|index| self.recorded.get_mut(index)) {
            request.status = status;
            request.why = why.map(ToOwned::to_owned);
        }
    }

    pub(super) fn recorded(&self) -> Vec<Recorded> {
        self.recorded.iter().cloned().collect()
    }

    pub(super) fn count(&self, platform: &str, step: Step) -> usize {
        self.recorded.iter().filter(|request| request.platform == platform && request.step == step).count()
    }

    pub(super) fn order_fault(&mut self, platform: &'static str, step: Step, fault: Fault, times: u32) {
        if times > 0 {
            self.faults.entry((platform, step)).or_default().push_back((fault, times));
        }
    }

    pub(super) fn take_fault(&mut self, platform: &'static str, step: Step) -> Option<Fault> {
        let queue = self.faults.get_mut(&(platform, step))?;
        let (fault, times) = queue.front_mut()?;
        let fault = *fault;
        *times -= 1;
        if *times == 0 {
            queue.pop_front();
        }
        Some(fault)
    }

    pub(super) fn hold(&mut self, step: Step) {
        self.holds.insert(step);
    }

    pub(super) fn release(&mut self, step: Step) {
        self.holds.remove(&step);
    }

    pub(super) fn holds(&self, step: Step) -> bool {
        self.holds.contains(&step)
    }

    /// Number of answers held at that step.
    pub(super) fn held(&self, step: Step) -> usize {
        self.held.get(&step).copied().unwrap_or(0)
    }

    pub(super) fn waits(&mut self, step: Step) {
        *self.held.entry(step).or_default() += 1;
    }

    pub(super) fn waits_no_more(&mut self, step: Step) {
        if let Some(held) = self.held.get_mut(&step) {
            *held = held.saturating_sub(1);
        }
    }

    /// Forgets requests, faults and holds.
    pub(super) fn clear(&mut self) {
        self.forgotten += self.recorded.len();
        self.recorded.clear();
        self.faults.clear();
        self.holds.clear();
    }
}
