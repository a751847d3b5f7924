//! A selection: a consent that covers several accounts, held until its owner chooses which of them to connect.
//!
//! The consent of a connection that its caller must complete is held in one as well, however many accounts it covers.
//! Nobody has its selection token until then.
//!
//! Pending choices have rows of their own and are never half-made integrations: no list, refresh or token request
//! sees an account that was not chosen. A selection is spent once, by a choice or by a cancellation. What it held is
//! erased with that, or when it expires.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::InvalidTransition;
use super::account::{FoundAccount, Identity, RouteReport, UnusableAccount};
use super::grant::IssuedTokens;
use super::id::{FlowId, IntegrationId, ProjectId, SelectionId};
use super::secret::{Digest256, Sealed};
use super::time::Timestamp;

/// How long a repeated choice gets the same answer: clients repeat a request whose answer they did not receive.
pub const REPEATABLE: Duration = Duration::from_mins(1);

/// Time that a caller has to complete a connection, from the exchange of its code.
pub const COMPLETE_WITHIN: Duration = Duration::from_mins(10);

/// Most accounts that one choice may name, repetitions included.
pub const CHOICE_MAX: usize = 10_000;

/// A selection as stored.
#[derive(Debug, Clone)]
pub struct Selection {
    pub id: SelectionId,
    pub project_id: ProjectId,
    pub flow_id: FlowId,
    pub platform: String,
    /// The person or account that consented: tells whether the consent is in use elsewhere.
    pub subject: String,
    /// The selection token of the link and the API, hashed.
    pub token: Digest256,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub stage: SelectionStage,
}

/// Stage of a selection. Expiry is not one: it depends on the time ([`Selection::is_open`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectionStage {
    Open {
        /// The selection token itself, so that a reload of the callback leads to the same place.
        token_text: Sealed,
        /// The [`Consent`].
        payload: Sealed,
    },
    Spent {
        /// Digest of the choice: tells a repetition from another choice.
        by: Digest256,
        at: Timestamp,
        /// The connected integrations; none after a cancellation.
        integrations: Vec<IntegrationId>,
    },
}

impl Selection {
    /// True while a choice can be made.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        matches!(self.stage, SelectionStage::Open { .. }) && now < self.expires_at
    }

    /// True when the selection was spent by this choice less than [`REPEATABLE`] ago.
    #[must_use]
    pub fn repeats(&self, choice: &Digest256, now: Timestamp) -> bool {
        matches!(&self.stage, SelectionStage::Spent { by, at, .. } if by == choice && now < at.plus(REPEATABLE))
    }

    /// Spends the selection by the choice with this digest. What it held is gone afterwards: read it before.
    ///
    /// # Errors
    ///
    /// The selection was spent, or has expired.
    pub fn spend(
        self,
        by: Digest256,
        integrations: Vec<IntegrationId>,
        now: Timestamp,
    ) -> Result<Self, InvalidTransition> {
        if !self.is_open(now) {
            return Err(InvalidTransition);
        }
        Ok(Self { stage: SelectionStage::Spent { by, at: now, integrations }, ..self })
    }
}

/// A consent with everything needed to store it. Holds tokens, which `Debug` does not show.
#[derive(Debug, Clone)]
pub struct Consent {
    pub issued: IssuedTokens,
    /// Names each account once.
    pub identity: Identity,
}

impl Consent {
    /// Keeps the first of each account: platforms repeat one that is found in several ways.
    #[must_use]
    pub fn new(issued: IssuedTokens, mut identity: Identity) -> Self {
        let mut seen = BTreeSet::new();
        identity.accounts.retain(|found| seen.insert(found.account.platform_user_id.clone()));
        Self { issued, identity }
    }

    /// The granted scopes; none where the platform does not tell them.
    #[must_use]
    pub fn scopes(&self) -> &[String] {
        self.issued.scopes.as_deref().unwrap_or_default()
    }

    /// Why further accounts may be missing; `None` where nothing kept any back.
    #[must_use]
    pub fn missing(&self) -> Option<Findings> {
        let Identity { unusable, routes, .. } = &self.identity;
        let is_complete = unusable.is_empty() && routes.iter().all(|route| route.trouble.is_none());
        (!is_complete).then(|| self.findings())
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

/// Id of an account in a choice: unique among the accounts of a consent.
#[must_use]
pub fn choice_id(found: &FoundAccount) -> String {
    format!("{}:{}", found.kind, found.account.platform_user_id)
}

/// Digest of a choice. The order of its accounts and repetitions do not matter.
#[must_use]
pub fn choice_digest(chosen: &BTreeSet<String>) -> Digest256 {
    let mut text = b"chosen".to_vec();
    for id in chosen {
        text.extend_from_slice(&(id.len() as u64).to_be_bytes());
        text.extend_from_slice(id.as_bytes());
    }
    Digest256::of(&text)
}

/// Digest of a cancellation, unlike that of any choice.
#[must_use]
pub fn cancellation_digest() -> Digest256 {
    Digest256::of(b"cancelled")
}

/// Digest of the deletion of the app that a choice waited under, unlike that of any choice.
#[must_use]
pub fn app_deletion_digest() -> Digest256 {
    Digest256::of(b"app deleted")
}

/// Digest of a completion that connects all accounts, unlike that of any choice.
#[must_use]
pub fn completion_digest() -> Digest256 {
    Digest256::of(b"completed")
}

/// How the search for accounts went: the answer to "why is my Page missing?".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Accounts that were found and cannot be connected.
    pub unusable: Vec<UnusableAccount>,
    pub routes: Vec<RouteReport>,
    /// The granted scopes.
    pub scopes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::account::{Account, AccountKind};
    use crate::domain::grant::TokenSet;
    use crate::domain::id::Id as _;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445 + seconds * 1000)
    }

    #[test]
    fn a_selection_is_spent_once_and_before_it_expires() {
        let sealed = |text: &str| Sealed::from_bytes(text.into());
        let by = |text: &str| Digest256::of(text.as_bytes());
        let open = Selection {
            id: SelectionId::from_uuid(Uuid::from_u128(1)),
            project_id: ProjectId::from_uuid(Uuid::from_u128(2)),
            flow_id: FlowId::from_uuid(Uuid::from_u128(3)),
            platform: "facebook".to_owned(),
            subject: "s".to_owned(),
            token: by("token"),
            created_at: at(0),
            expires_at: at(100),
            stage: SelectionStage::Open { token_text: sealed("token"), payload: sealed("consent") },
        };
        assert!(open.is_open(at(99)) && !open.is_open(at(100)));
        assert!(open.clone().spend(by("a"), Vec::new(), at(100)).is_err(), "expired");
        let integrations = vec![IntegrationId::from_uuid(Uuid::from_u128(4))];
        let spent = open.clone().spend(by("a"), integrations.clone(), at(99)).unwrap();
        assert_eq!(spent.stage, SelectionStage::Spent { by: by("a"), at: at(99), integrations });
        assert!(!spent.is_open(at(99)));
        assert!(spent.clone().spend(by("b"), Vec::new(), at(99)).is_err(), "spent");
        for (choice, seconds, expected) in [("a", 99, true), ("a", 158, true), ("a", 159, false), ("b", 99, false)] {
            assert_eq!(spent.repeats(&by(choice), at(seconds)), expected, "{choice} {seconds}");
            assert!(!open.repeats(&by(choice), at(seconds)));
        }
    }

    fn set(ids: &[&str]) -> BTreeSet<String> {
        ids.iter().map(|id| (*id).to_owned()).collect()
    }

    #[test]
    fn choices_are_compared_as_sets() {
        assert_eq!(choice_digest(&set(&["a", "b"])), choice_digest(&set(&["b", "a", "b"])));
        let choices = [set(&["a", "b"]), set(&["a"]), set(&["ab"]), set(&["a", "bc"]), set(&["ab", "c"]), set(&[])];
        for (at, one) in choices.iter().enumerate() {
            for other in &choices[at + 1..] {
                assert_ne!(choice_digest(one), choice_digest(other), "{one:?} {other:?}");
            }
            assert_ne!(choice_digest(one), cancellation_digest());
            assert_ne!(choice_digest(one), completion_digest());
        }
    }

    #[test]
    fn an_account_that_is_found_twice_is_offered_once() {
        let found =
            |id: &str, kind| FoundAccount::new(Account { platform_user_id: id.to_owned(), ..Account::default() }, kind);
        let identity = Identity {
            subject: "s".to_owned(),
            accounts: vec![found("1", AccountKind::Page), found("2", AccountKind::Page), found("1", AccountKind::Page)],
            unusable: Vec::new(),
            routes: Vec::new(),
            failure: None,
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
