//! A selection: a consent that covers several accounts, held until its person says which of them to connect.
//!
//! Pending choices live in rows of their own, never as half-made integrations: nothing lists, refreshes or vends what
//! nobody has chosen. A selection is spent once, by a choice or by a cancellation; what it held is erased with that, or
//! when it expires.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::account::{FoundAccount, Identity, RouteReport, UnusableAccount};
use super::grant::IssuedTokens;
use super::id::{FlowId, IntegrationId, ProjectId, SelectionId};
use super::secret::{Digest256, Sealed};
use super::time::Timestamp;

/// For how long the same choice, sent again, is answered again: clients repeat what they got no answer to.
pub const REPEATABLE: Duration = Duration::from_mins(1);

/// How many accounts one choice may name, repetitions included.
pub const CHOICE_MAX: usize = 10_000;

/// A selection as stored.
#[derive(Debug, Clone)]
pub struct Selection {
    pub id: SelectionId,
    pub project_id: ProjectId,
    pub flow_id: FlowId,
    pub platform: String,
    /// Who consented: to know, when nobody chooses, whether the consent is in use elsewhere.
    pub subject: String,
    /// What the link and the API recognise it by, hashed.
    pub token: Digest256,
    /// The token itself, so that a reload of the callback leads to the same place; erased when spent.
    pub token_text: Option<Sealed>,
    /// The [`Consent`]; erased when spent.
    pub payload: Option<Sealed>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub spent: Option<Spent>,
}

/// How a selection was spent.
#[derive(Debug, Clone)]
pub struct Spent {
    /// The choice, hashed: what tells a repetition from another choice.
    pub by: Digest256,
    pub at: Timestamp,
    /// What was connected; nothing where the person cancelled.
    pub integrations: Vec<IntegrationId>,
}

impl Selection {
    /// Whether it can still be chosen from.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.spent.is_none() && now < self.expires_at
    }

    /// Whether this is what it was spent by, sent again in time.
    #[must_use]
    pub fn repeats(&self, choice: &Digest256, now: Timestamp) -> bool {
        self.spent.as_ref().is_some_and(|spent| spent.by == *choice && now < spent.at.plus(REPEATABLE))
    }
}

/// What a person consented to, all that is needed to store it. Holds tokens: silent in `Debug` where they are.
#[derive(Debug, Clone)]
pub struct Consent {
    pub issued: IssuedTokens,
    /// Its accounts are there once each.
    pub identity: Identity,
}

impl Consent {
    /// Platforms name an account more than once where it is found in more than one way: the first counts.
    #[must_use]
    pub fn new(issued: IssuedTokens, mut identity: Identity) -> Self {
        let mut seen = BTreeSet::new();
        identity.accounts.retain(|found| seen.insert(found.account.platform_user_id.clone()));
        Self { issued, identity }
    }

    /// The scopes granted, as far as the platform says.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.issued.scopes.as_deref().unwrap_or_default()
    }

    #[must_use]
    pub fn findings(&self) -> Findings {
        Findings {
            unusable: self.identity.unusable.clone(),
            routes: self.identity.routes.clone(),
            scopes: self.scopes().to_vec(),
        }
    }
}

/// What an account to choose is called in a choice: unique among the accounts of a consent.
#[must_use]
pub fn choice_id(found: &FoundAccount) -> String {
    format!("{}:{}", found.kind, found.account.platform_user_id)
}

/// What tells one choice from another: the set, whatever its order and however often an account is named.
#[must_use]
pub fn choice_digest(chosen: &BTreeSet<String>) -> Digest256 {
    let mut text = b"chosen".to_vec();
    for id in chosen {
        text.extend_from_slice(&(id.len() as u64).to_be_bytes());
        text.extend_from_slice(id.as_bytes());
    }
    Digest256::of(&text)
}

/// What tells a cancellation from any choice.
#[must_use]
pub fn cancellation_digest() -> Digest256 {
    Digest256::of(b"cancelled")
}

/// How accounts were looked for, and what came of it: the answer to "why is my Page missing?".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Seen, and cannot be connected.
    pub unusable: Vec<UnusableAccount>,
    pub routes: Vec<RouteReport>,
    /// The scopes granted.
    pub scopes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::{Account, AccountKind};
    use crate::domain::grant::TokenSet;

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn a_choice_is_a_set() {
        assert_eq!(choice_digest(&set(&["a", "b"])), choice_digest(&set(&["b", "a", "b"])));
        let choices = [set(&["a", "b"]), set(&["a"]), set(&["ab"]), set(&["a", "bc"]), set(&["ab", "c"]), set(&[])];
        for (at, one) in choices.iter().enumerate() {
            for other in &choices[at + 1..] {
                assert_ne!(choice_digest(one), choice_digest(other), "{one:?} {other:?}");
            }
            assert_ne!(choice_digest(one), cancellation_digest());
        }
    }

    #[test]
    fn an_account_that_is_found_twice_is_offered_once() {
        let found = |id: &str, kind| FoundAccount {
            account: Account { platform_user_id: id.to_owned(), ..Account::default() },
            kind,
            own_token: None,
        };
        let identity = Identity {
            subject: "s".to_owned(),
            accounts: vec![found("1", AccountKind::Page), found("2", AccountKind::Page), found("1", AccountKind::Page)],
            unusable: Vec::new(),
            routes: Vec::new(),
        };
        let tokens = TokenSet {
            access_token: "at".into(),
            refresh_token: None,
            id_token: None,
            token_type: "Bearer".to_owned(),
            service_url: None,
        };
        let issued_at = Timestamp::from_millis(0);
        let issued =
            IssuedTokens { tokens, issued_at, access_expires_at: None, refresh_expires_at: None, scopes: None };
        let consent = Consent::new(issued, identity);
        let ids: Vec<String> = consent.identity.accounts.iter().map(choice_id).collect();
        assert_eq!(ids, ["page:1", "page:2"]);
    }
}
