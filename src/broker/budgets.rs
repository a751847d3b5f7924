//! Budgets for what costs: who has spent what, in memory.
//!
//! Invariant: reading with a valid key costs nothing.

use std::net::IpAddr;
use std::sync::PoisonError;

use super::{Broker, Caller, Error};
use crate::domain::audit::Actor;
use crate::domain::budget::{Cost, Subject};
use crate::domain::network::subscriber;

impl Broker {
    /// Spends what a call costs its key, its address and all. `address`: `None` where it is not known, or shared by the
    /// clients of a proxy. [`Error::LimitReached`] when one of them has nothing left.
    pub fn spend(&self, cost: Cost, caller: Option<&Caller>, address: Option<IpAddr>) -> Result<(), Error> {
        let subjects = self.subjects(cost, caller, address);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.spend(self.clock.now(), cost, &subjects).map_err(|exhausted| Error::LimitReached { cost, exhausted })
    }

    fn subjects(&self, cost: Cost, caller: Option<&Caller>, address: Option<IpAddr>) -> Vec<(Subject, u32)> {
        let budget = self.settings.limits.of(cost);
        let has_key = !caller.is_some_and(|caller| matches!(caller.actor, Actor::Link | Actor::Person));
        let of_key = if has_key { Subject::Key } else { Subject::PeopleOf };
        let key = caller.and_then(|caller| caller.access_key_id).map(of_key);
        // A link gets a part of what the links of its key have.
        let link = caller.and_then(|caller| caller.link_id).map(Subject::Link);
        let per_link = budget.per_key.map(|most| most.div_ceil(4));
        let address = address.map(|address| Subject::Address(subscriber(address)));
        [(key, budget.per_key), (link, per_link), (address, budget.per_address), (Some(Subject::All), budget.in_all)]
            .into_iter()
            .filter_map(|(subject, most)| subject.zip(most))
            .collect()
    }
}
