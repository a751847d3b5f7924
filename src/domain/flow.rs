//! A flow: one connection being made, from the authorize URL to the callback, and how it ended.
//!
//! The callback consumes a flow before the platform is asked, so that a replay finds it consumed. An ended flow
//! answers reloads of the callback until it is purged. A flow that waits for a choice of accounts, or for its caller to
//! complete it, lives as long as its [selection](super::selection). An expired one leaves a [`LateRedirect`].
//! Transitions take the flow by value and return its next state, or [`InvalidTransition`].

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::InvalidTransition;
use super::audit::{Action, By, Entry};
use super::binding::Binding;
use super::entropy::Entropy;
use super::failure::Failure;
use super::id::{AccessKeyId, FlowId, IntegrationId, LinkId, OauthAppId, ProfileId, ProjectId};
use super::secret::{Digest256, RowMac, Sealed, SecretString};
use super::selection::Findings;
use super::time::Timestamp;

/// How long after its expiry a consumed flow that never ended is kept: longer than any exchange takes.
pub const EXCHANGE_MAX: Duration = Duration::from_hours(1);

/// How long after its expiry a person is still sent back to the app.
pub const LATE_MAX: Duration = Duration::from_hours(24);

/// Bytes of a state: its time, and 256 random bits.
pub(super) const TIMED_BYTES: usize = TIME_BYTES + 32;

/// Bytes of a state that are its time.
pub(super) const TIME_BYTES: usize = 6;

/// Length of a state: 38 bytes in base64url.
const STATE_LENGTH: usize = 51;

/// Letters of a state that are its time.
const TIME_LENGTH: usize = 8;

/// A fresh OAuth `state`: six bytes of time in milliseconds, then 256 random bits, in base64url.
///
/// The time is for the index of states. Storing a hundred states then changes a few pages at its end, and not a
/// hundred all over it.
#[must_use]
pub fn new_state(now: Timestamp, entropy: &dyn Entropy) -> SecretString {
    SecretString::from(URL_SAFE_NO_PAD.encode(*timed_random(now, entropy)))
}

/// The bytes of a fresh state.
pub(super) fn timed_random(now: Timestamp, entropy: &dyn Entropy) -> Zeroizing<[u8; TIMED_BYTES]> {
    let mut bytes = Zeroizing::new([0_u8; TIMED_BYTES]);
    let [_, _, time @ ..] = now.as_millis().to_be_bytes();
    let (head, random) = bytes.split_at_mut(time.len());
    head.copy_from_slice(&time);
    entropy.fill(random);
    bytes
}

/// The digest that a state is stored and looked up by. States of older versions have no time in them.
#[must_use]
pub fn state_digest(state: &str) -> Digest256 {
    let time = state.get(..TIME_LENGTH).filter(|_| state.len() == STATE_LENGTH);
    let time = time.and_then(|time| <[u8; 6]>::try_from(URL_SAFE_NO_PAD.decode(time).ok()?).ok());
    time.map_or_else(|| Digest256::of(state.as_bytes()), |time| Digest256::timed(time, state.as_bytes()))
}

/// The nonce that binds a flow's id_token to it (OpenID Connect Core 1.0, section 3.1.2.1).
///
/// It follows from the state, of which it tells nothing, so that it needs no column and survives a stop between the
/// exchange of the code and the reading of the answer. It is as hard to guess as the state, and as short-lived.
#[must_use]
pub fn nonce(state: &Digest256) -> String {
    URL_SAFE_NO_PAD.encode(Digest256::of(&[&b"nonce"[..], state.as_bytes()].concat()).as_bytes())
}

#[derive(Debug, Clone)]
pub struct Flow {
    pub id: FlowId,
    pub project_id: ProjectId,
    /// The key that began it; `None` for the demo page, and for a link that was made on the command line.
    pub access_key_id: Option<AccessKeyId>,
    /// The connect link that it was begun through.
    pub link_id: Option<LinkId>,
    /// The OAuth `state`, hashed.
    pub state: Digest256,
    pub platform: String,
    pub app_id: Option<OauthAppId>,
    pub client_id: String,
    /// The server that the person named, sealed: its origin. `None` where the platform is one server.
    pub server: Option<Sealed>,
    pub profile_id: Option<ProfileId>,
    /// The integration that must come back; `None`: any account may.
    pub reconnects: Option<IntegrationId>,
    /// The browser that may finish it.
    pub binding: Binding,
    /// True when nothing is connected before the caller confirms that the right person came back.
    pub needs_completion: bool,
    /// Exactly as the caller gave it.
    pub redirect_uri: Option<String>,
    pub cancel_redirect_uri: Option<String>,
    pub headless: bool,
    /// The scopes that the authorize URL asks for. Empty for a flow that an older version began.
    pub scopes: Vec<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub stage: FlowStage,
    /// Authentication code of the row.
    pub mac: Option<RowMac>,
}

/// How far a flow got. `by` is a digest of what the callback carried: it tells a reload from an attempt with another
/// code. Where its person declined, it also tells where they did: the broker has one digest for every denial at a
/// platform and one for those on its own page, and what came with a code was declined at the choice of accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FlowStage {
    /// Waits for the callback. The PKCE verifier is `None` where the platform takes none.
    Pending {
        pkce_verifier: Option<Sealed>,
    },
    /// A callback consumed it, and its code is being exchanged.
    Consumed {
        by: Digest256,
    },
    /// The platform answered the exchange of `asked_at`. The answer is sealed as it came, until the flow ends.
    Answered {
        by: Digest256,
        asked_at: Timestamp,
        answer: Sealed,
    },
    Ended {
        by: Digest256,
        outcome: Outcome,
    },
}

impl FlowStage {
    #[must_use]
    pub const fn pkce_verifier(&self) -> Option<&Sealed> {
        match self {
            Self::Pending { pkce_verifier } => pkce_verifier.as_ref(),
            Self::Answered { .. } | Self::Consumed { .. } | Self::Ended { .. } => None,
        }
    }

    #[must_use]
    pub const fn consumed_by(&self) -> Option<Digest256> {
        match self {
            Self::Pending { .. } => None,
            Self::Answered { by, .. } | Self::Consumed { by } | Self::Ended { by, .. } => Some(*by),
        }
    }

    #[must_use]
    pub const fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Ended { outcome, .. } => Some(outcome),
            Self::Answered { .. } | Self::Consumed { .. } | Self::Pending { .. } => None,
        }
    }
}

impl Flow {
    /// Its person, for the audit trail.
    #[must_use]
    pub const fn person(&self, address: Option<IpAddr>) -> By {
        By::person(self.access_key_id, self.link_id, address)
    }

    /// An entry of the audit trail that is part of this connection.
    #[must_use]
    pub fn entry(&self, by: By, action: Action, object: impl Display) -> Entry {
        Entry::new(by, action, object).of_flow(Some(self.id)).of_profile(self.profile_id)
    }

    /// The entry for its end without an account.
    #[must_use]
    pub fn end_entry(&self, by: By, outcome: &Outcome) -> Entry {
        self.entry(by, Action::ConnectionEnded, self.id).with_outcome(outcome.code())
    }

    /// True when its person did not come back in time.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        matches!(self.stage, FlowStage::Pending { .. }) && now >= self.expires_at
    }

    /// True while it waits for its caller to complete it.
    #[must_use]
    pub fn awaits_completion(&self) -> bool {
        self.stage.outcome() == Some(&Outcome::CompletionRequired)
    }

    /// Takes the flow for the callback with this digest. The verifier is gone afterwards: read it before.
    ///
    /// # Errors
    ///
    /// A callback has consumed the flow, or it has expired.
    pub fn consume(self, by: Digest256, now: Timestamp) -> Result<Self, InvalidTransition> {
        match self.stage {
            FlowStage::Pending { .. } if !self.is_expired(now) => {
                Ok(Self { stage: FlowStage::Consumed { by }, ..self })
            }
            _ => Err(InvalidTransition),
        }
    }

    /// Stores the platform's answer to the exchange of the code.
    ///
    /// # Errors
    ///
    /// The flow is not being exchanged.
    pub fn store_answer(self, answer: Sealed, asked_at: Timestamp) -> Result<Self, InvalidTransition> {
        let by = self.being_exchanged()?;
        Ok(Self { stage: FlowStage::Answered { by, asked_at, answer }, ..self })
    }

    /// Records how the flow ended, and forgets a stored answer.
    ///
    /// # Errors
    ///
    /// The flow is not being exchanged.
    pub fn end(self, outcome: Outcome) -> Result<Self, InvalidTransition> {
        let by = self.being_exchanged()?;
        Ok(Self { stage: FlowStage::Ended { by, outcome }, ..self })
    }

    /// Ends the exchange with a choice of accounts to be made, and keeps the flow at least `until` then.
    ///
    /// # Errors
    ///
    /// The flow is not being exchanged.
    pub fn await_selection(self, until: Timestamp) -> Result<Self, InvalidTransition> {
        let expires_at = self.expires_at.max(until);
        Ok(Self { expires_at, ..self.end(Outcome::SelectionRequired)? })
    }

    /// Ends the exchange with a connection that its caller has yet to complete, and keeps the flow at least `until`
    /// then.
    ///
    /// # Errors
    ///
    /// The flow is not being exchanged.
    pub fn await_completion(self, until: Timestamp) -> Result<Self, InvalidTransition> {
        let expires_at = self.expires_at.max(until);
        Ok(Self { expires_at, ..self.end(Outcome::CompletionRequired)? })
    }

    /// Records what became of the connection that waited for its caller, and keeps the flow at least `until` then, so
    /// that a repeated call gets the same answer.
    ///
    /// # Errors
    ///
    /// The flow waits for no completion.
    pub fn complete(self, outcome: Outcome, until: Timestamp) -> Result<Self, InvalidTransition> {
        match self.stage {
            FlowStage::Ended { by, outcome: Outcome::CompletionRequired } => {
                let expires_at = self.expires_at.max(until);
                Ok(Self { stage: FlowStage::Ended { by, outcome }, expires_at, ..self })
            }
            _ => Err(InvalidTransition),
        }
    }

    /// Records the choice that the flow waited for.
    ///
    /// # Errors
    ///
    /// The flow waits for no choice.
    pub fn settle(self, outcome: Outcome) -> Result<Self, InvalidTransition> {
        match self.stage {
            FlowStage::Ended { by, outcome: Outcome::SelectionRequired } => {
                Ok(Self { stage: FlowStage::Ended { by, outcome }, ..self })
            }
            _ => Err(InvalidTransition),
        }
    }

    fn being_exchanged(&self) -> Result<Digest256, InvalidTransition> {
        match self.stage {
            FlowStage::Answered { by, .. } | FlowStage::Consumed { by } => Ok(by),
            FlowStage::Ended { .. } | FlowStage::Pending { .. } => Err(InvalidTransition),
        }
    }
}

/// The rest of a flow that expired before its person came back, or before they chose accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateRedirect {
    pub project_id: ProjectId,
    pub platform: String,
    pub redirect_uri: Option<String>,
    pub cancel_redirect_uri: Option<String>,
}

impl From<Flow> for LateRedirect {
    fn from(flow: Flow) -> Self {
        let Flow { project_id, platform, redirect_uri, cancel_redirect_uri, .. } = flow;
        Self { project_id, platform, redirect_uri, cancel_redirect_uri }
    }
}

/// How a flow ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Cancelled,
    /// The caller has yet to complete the connection: becomes `Connected`, `Failed` or `SelectionRequired`.
    CompletionRequired,
    Connected {
        integration_ids: Vec<String>,
        /// Why further accounts may be missing, where their owner was not asked to choose.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        findings: Option<Findings>,
    },
    Failed {
        failure: Failure,
        /// The search for accounts, where it did not find the one to connect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        findings: Option<Findings>,
    },
    /// The consent covers several accounts, and its owner has yet to choose: becomes `Connected` or `Cancelled`.
    SelectionRequired,
}

impl Outcome {
    #[must_use]
    pub fn connected(integrations: &[IntegrationId], findings: Option<Findings>) -> Self {
        Self::Connected { integration_ids: integrations.iter().map(IntegrationId::to_string).collect(), findings }
    }

    #[must_use]
    pub fn failed(failure: Failure) -> Self {
        Self::Failed { failure, findings: None }
    }

    /// The outcome's name, for the audit trail: that of the failure where it is one.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::CompletionRequired => "completion_required",
            Self::Connected { .. } => "connected",
            Self::Failed { failure, .. } => failure.code(),
            Self::SelectionRequired => "selection_required",
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::entropy::SeededEntropy;
    use crate::domain::id::Id as _;

    type Transition<'a> = &'a dyn Fn(Flow) -> Result<Flow, InvalidTransition>;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445 + seconds * 1000)
    }

    fn by(code: &str) -> Digest256 {
        Digest256::of(code.as_bytes())
    }

    fn sealed(text: &str) -> Sealed {
        Sealed::from_bytes(text.into())
    }

    fn ended(outcome: Outcome) -> FlowStage {
        FlowStage::Ended { by: by("1"), outcome }
    }

    /// A flow that expires after 100 s.
    fn flow(stage: FlowStage) -> Flow {
        Flow {
            id: FlowId::from_uuid(Uuid::from_u128(1)),
            project_id: ProjectId::from_uuid(Uuid::from_u128(2)),
            access_key_id: None,
            link_id: None,
            state: by("state"),
            platform: "twitter".to_owned(),
            app_id: None,
            client_id: "client".to_owned(),
            server: None,
            profile_id: None,
            reconnects: None,
            binding: Binding::None,
            needs_completion: false,
            redirect_uri: None,
            cancel_redirect_uri: None,
            headless: false,
            scopes: Vec::new(),
            created_at: at(0),
            expires_at: at(100),
            stage,
            mac: None,
        }
    }

    /// Every stage; the last three have ended.
    fn flows() -> [Flow; 6] {
        let (by, asked_at) = (by("1"), at(10));
        [
            FlowStage::Pending { pkce_verifier: Some(sealed("verifier")) },
            FlowStage::Consumed { by },
            FlowStage::Answered { by, asked_at, answer: sealed("old") },
            ended(Outcome::SelectionRequired),
            ended(Outcome::CompletionRequired),
            ended(Outcome::Cancelled),
        ]
        .map(flow)
    }

    #[test]
    fn a_nonce_follows_from_its_state_alone() {
        // Computed elsewhere.
        assert_eq!(nonce(&by("state")), "RICcCw_F-n8Lzq5mFfsXQ9mubpiyh5H5rdqkFdKSqL8");
        assert_ne!(nonce(&by("another")), nonce(&by("state")));
    }

    #[test]
    fn a_stage_tells_what_it_holds() {
        let pkce_verifiers = flows().map(|flow| flow.stage.pkce_verifier().cloned());
        assert!(pkce_verifiers == [Some(sealed("verifier")), None, None, None, None, None]);
        let by = Some(by("1"));
        assert_eq!(flows().map(|flow| flow.stage.consumed_by()), [None, by, by, by, by, by]);
        let outcomes = [Outcome::SelectionRequired, Outcome::CompletionRequired, Outcome::Cancelled].map(Some);
        let told = flows().map(|flow| flow.stage.outcome().cloned());
        assert_eq!(told[..3], [None, None, None]);
        assert_eq!(told[3..], outcomes);
    }

    /// The audit trail and the database call an outcome by the same name.
    #[test]
    fn an_outcome_has_one_name() {
        let connected = Outcome::connected(&[], None);
        for outcome in [Outcome::Cancelled, Outcome::CompletionRequired, connected, Outcome::SelectionRequired] {
            assert_eq!(serde_json::to_value(&outcome).unwrap()["status"], outcome.code());
        }
        assert_eq!(Outcome::failed(Failure::AccountMismatch).code(), Failure::AccountMismatch.code());
    }

    #[test]
    fn each_stage_allows_its_transitions_and_no_others() {
        let answered = || FlowStage::Answered { by: by("1"), asked_at: at(20), answer: sealed("new") };
        let connected = || Outcome::Connected { integration_ids: vec!["int_1".to_owned()], findings: None };
        let chooses = || ended(Outcome::SelectionRequired);
        let waits = || ended(Outcome::CompletionRequired);
        let table: [(&str, Transition<'_>, [Option<FlowStage>; 6]); 7] = [
            (
                "consume",
                &|flow| flow.consume(by("2"), at(99)),
                [Some(FlowStage::Consumed { by: by("2") }), None, None, None, None, None],
            ),
            (
                "store_answer",
                &|flow| flow.store_answer(sealed("new"), at(20)),
                [None, Some(answered()), Some(answered()), None, None, None],
            ),
            (
                "end",
                &|flow| flow.end(connected()),
                [None, Some(ended(connected())), Some(ended(connected())), None, None, None],
            ),
            (
                "await_selection",
                &|flow| flow.await_selection(at(90)),
                [None, Some(chooses()), Some(chooses()), None, None, None],
            ),
            (
                "await_completion",
                &|flow| flow.await_completion(at(90)),
                [None, Some(waits()), Some(waits()), None, None, None],
            ),
            ("settle", &|flow| flow.settle(connected()), [None, None, None, Some(ended(connected())), None, None]),
            (
                "complete",
                &|flow| flow.complete(connected(), at(90)),
                [None, None, None, None, Some(ended(connected())), None],
            ),
        ];
        for (name, transition, expected) in table {
            for (before, expected) in flows().into_iter().zip(expected) {
                let after = transition(before.clone());
                assert_eq!(after.as_ref().ok().map(|after| &after.stage), expected.as_ref(), "{name} {before:?}");
                assert_eq!(after.map_or(at(100), |after| after.expires_at), at(100));
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the digest of a state is that of its text")]
    fn digests_of_states_sort_by_time_and_differ_in_every_letter() {
        use secrecy::ExposeSecret as _;
        let entropy = SeededEntropy::new(1);
        let states: Vec<String> =
            (0..200).map(|millis| new_state(at(millis), &entropy).expose_secret().to_owned()).collect();
        let digests: Vec<Digest256> = states.iter().map(|state| state_digest(state)).collect();
        assert!(digests.is_sorted_by(|one, next| one.as_bytes() < next.as_bytes()));
        let state = &states[0];
        assert_eq!(state.len(), STATE_LENGTH);
        for position in 0..state.len() {
            let other = if state.as_bytes()[position] == b'x' { "y" } else { "x" };
            let mut wrong = state.clone();
            wrong.replace_range(position..=position, other);
            assert_ne!(state_digest(&wrong), digests[0], "{position}");
        }
        for other in ["", "é", &"é".repeat(26), &state[1..], &"a".repeat(43), &"=".repeat(STATE_LENGTH)] {
            assert_eq!(state_digest(other), by(other), "{other}");
        }
    }

    #[test]
    fn an_expired_flow_is_not_consumed() {
        let [pending, ..] = flows();
        assert!(pending.clone().consume(by("1"), at(99)).is_ok());
        assert_eq!(pending.consume(by("1"), at(100)).unwrap_err(), InvalidTransition);
    }

    #[test]
    fn a_flow_lives_as_long_as_what_it_waits_for() {
        let [_, consumed, ..] = flows();
        assert_eq!(consumed.clone().await_selection(at(101)).unwrap().expires_at, at(101));
        let waits = consumed.await_completion(at(101)).unwrap();
        assert_eq!(waits.expires_at, at(101));
        assert_eq!(waits.complete(Outcome::Cancelled, at(102)).unwrap().expires_at, at(102));
    }
}
