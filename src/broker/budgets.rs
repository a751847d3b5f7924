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
    /// Spends what a call costs its key, its address, its project and all. `address`: `None` where it is not known, or
    /// shared by the clients of a proxy. [`Error::LimitReached`] when one of them has nothing left.
    pub async fn spend(&self, cost: Cost, caller: Option<&Caller>, address: Option<IpAddr>) -> Result<(), Error> {
        let subjects = self.subjects(cost, caller, address).await?;
        self.spend_of(cost, &subjects)
    }

    /// Spends what a sign-in to the console costs. Nothing of all: no project keeps another one's operator out.
    pub async fn spend_on_sign_in(&self, caller: &Caller, address: Option<IpAddr>) -> Result<(), Error> {
        let mut subjects = self.subjects(Cost::Writes, Some(caller), address).await?;
        subjects.retain(|(subject, _)| *subject != Subject::All);
        self.spend_of(Cost::Writes, &subjects)
    }

    /// Number of equal parts of what all projects share. One project may use one part: all where there is no other
    /// project, else half.
    pub async fn parts(&self) -> Result<u8, Error> {
        Ok(if self.store.are_several_projects().await? { 2 } else { 1 })
    }

    fn spend_of(&self, cost: Cost, subjects: &[(Subject, u32)]) -> Result<(), Error> {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.spend(self.clock.now(), cost, subjects).map_err(|exhausted| Error::LimitReached { cost, exhausted })
    }

    async fn subjects(
        &self,
        cost: Cost,
        caller: Option<&Caller>,
        address: Option<IpAddr>,
    ) -> Result<Vec<(Subject, u32)>, Error> {
        let budget = self.settings.limits.of(cost);
        let has_key = !caller.is_some_and(|caller| matches!(caller.actor, Actor::Link | Actor::Person));
        let of_key = if has_key { Subject::Key } else { Subject::PeopleOf };
        let key = caller.and_then(|caller| caller.access_key_id).map(of_key);
        // A link gets a part of what the links of its key have.
        let link = caller.and_then(|caller| caller.link_id).map(Subject::Link);
        let per_link = budget.per_key.map(|most| most.div_ceil(4));
        let address = address.map(|address| Subject::Address(subscriber(address)));
        let project = caller.map(|caller| Subject::Project(caller.project_id));
        let per_project = match (project, budget.in_all) {
            (Some(_), Some(most)) => Some(most.div_ceil(self.parts().await?.into())),
            _ => None,
        };
        let subjects = [
            (key, budget.per_key),
            (link, per_link),
            (address, budget.per_address),
            (project, per_project),
            (Some(Subject::All), budget.in_all),
        ];
        Ok(subjects.into_iter().filter_map(|(subject, most)| subject.zip(most)).collect())
    }
}
