//! The platforms' state: pending decisions, codes, grants and tokens.
//!
//! Invariant: all of it is bounded, and a token belongs to exactly one grant of one client at one platform.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::bluesky::Sessions;
use super::bounded::Bounded;
use super::call::Pairs;
use super::configuration::Client;
use super::imitations::{Challenge, Persona};
use super::problem::Dead;
use super::record::{Issued, TokenKind, first};
use super::step::{Fault, Step};
use crate::domain::entropy::Entropy;
use crate::domain::time::{Clock, Timestamp};

const PENDING: usize = 10_000;
const GRANTS: usize = 20_000;
const TOKENS: usize = 100_000;
const ISSUED: usize = 100_000;

/// An authorize request that awaits a person's decision.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) platform: &'static str,
    pub(super) client: Client,
    /// As sent: the code exchange must repeat it to the letter.
    pub(super) redirect_uri: String,
    pub(super) state: String,
    pub(super) scopes: Vec<String>,
    pub(super) challenge: Option<(Challenge, String)>,
    /// All parameters of the request.
    pub(super) parameters: Pairs,
    pub(super) expires_at: Timestamp,
}

/// An authorization code.
#[derive(Debug, Clone)]
pub(super) struct Code {
    pub(super) grant: u64,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<(Challenge, String)>,
    pub(super) expires_at: Timestamp,
    pub(super) spent: bool,
}

/// A person's consent.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) id: u64,
    pub(super) platform: &'static str,
    pub(super) client: Client,
    pub(super) persona: &'static Persona,
    pub(super) scopes: Vec<String>,
    /// Requested scopes, granted or not.
    pub(super) asked: Vec<String>,
    pub(super) created_at: Timestamp,
    /// All parameters of the authorize request.
    pub(super) parameters: Pairs,
    /// Faults for this grant's requests, each once.
    pub(super) faults: Vec<(Step, Fault)>,
    /// The pages that stayed ticked, where people choose; `None`: all.
    pub(super) pages: Option<Vec<String>>,
    pub(super) revoked: bool,
}

impl Grant {
    pub(super) fn has(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }

    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        first(&self.parameters, name)
    }

    pub(super) fn is_of_same_person(&self, other: &Self) -> bool {
        self.person() == other.person()
    }

    fn person(&self) -> Person {
        (self.platform, self.client.id.clone(), self.persona.id)
    }
}

/// Platform, client id, persona.
type Person = (&'static str, String, &'static str);

/// An access or refresh token.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) grant: u64,
    pub(super) kind: TokenKind,
    /// The Page that it is for, if any.
    pub(super) page: Option<String>,
    pub(super) issued_at: Timestamp,
    /// `None`: it does not expire.
    pub(super) expires_at: Option<Timestamp>,
    pub(super) dead: Option<Dead>,
}

/// All platforms' state.
pub(super) struct World {
    pub(super) base_url: String,
    /// Origin of Bluesky's server for accounts.
    pub(super) pds_url: String,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    pub(super) pending: Bounded<String, Pending>,
    pub(super) codes: Bounded<String, Code>,
    pub(super) grants: Bounded<u64, Grant>,
    pub(super) tokens: Bounded<String, Token>,
    pub(super) bluesky: Sessions,
    /// People who got a refresh token, for platforms that give one at the first consent only.
    remembered: HashSet<Person>,
    issued: VecDeque<Issued>,
    last_grant: u64,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn new(base_url: &str, pds_url: &str, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            base_url: base_url.to_owned(),
            pds_url: pds_url.to_owned(),
            clock,
            entropy,
            pending: Bounded::new(PENDING),
            codes: Bounded::new(PENDING),
            grants: Bounded::new(GRANTS),
            tokens: Bounded::new(TOKENS),
            bluesky: Sessions::new(),
            remembered: HashSet::new(),
            issued: VecDeque::new(),
            last_grant: 0,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn in_seconds(&self, seconds: u64) -> Timestamp {
        self.now().plus(Duration::from_secs(seconds))
    }

    /// 192 random bits in base64url (32 characters).
    pub(super) fn random(&self) -> String {
        let mut bytes = [0_u8; 24];
        self.entropy.fill(&mut bytes);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Makes a grant from a decision; returns its id.
    pub(super) fn consent(&mut self, pending: &Pending, persona: &'static Persona, scopes: Vec<String>) -> u64 {
        self.last_grant += 1;
        let id = self.last_grant;
        let grant = Grant {
            id,
            platform: pending.platform,
            client: pending.client.clone(),
            persona,
            scopes,
            asked: pending.scopes.clone(),
            created_at: self.now(),
            parameters: pending.parameters.clone(),
            faults: Vec::new(),
            pages: None,
            revoked: false,
        };
        self.grants.insert(id, grant);
        id
    }

    pub(super) fn issue(&mut self, platform: &'static str, kind: TokenKind, value: &str) {
        if self.issued.len() == ISSUED {
            self.issued.pop_front();
        }
        self.issued.push_back(Issued { platform, kind, value: value.to_owned() });
    }

    pub(super) fn issued(&self, platform: &str) -> Vec<Issued> {
        self.issued.iter().filter(|issued| issued.platform == platform).cloned().collect()
    }

    /// True once for each person and client: their first refresh token is due.
    pub(super) fn remember(&mut self, grant: &Grant) -> bool {
        self.remembered.insert(grant.person())
    }

    pub(super) fn revoke(&mut self, grant: u64) {
        if let Some(grant) = self.grants.get_mut(&grant) {
            grant.revoked = true;
            let person = grant.person();
            self.remembered.remove(&person);
        }
    }

    /// Revokes the grants for which `condition` holds.
    pub(super) fn revoke_where(&mut self, condition: impl Fn(&Grant) -> bool) {
        for grant in self.grants.values_mut().filter(|grant| condition(grant)) {
            grant.revoked = true;
            self.remembered.remove(&grant.person());
        }
    }

    pub(super) fn expire_access(&mut self, platform: &str) {
        let now = self.now();
        let grants = &self.grants;
        for token in self.tokens.values_mut() {
            let here = grants.get(&token.grant).is_some_and(|grant| grant.platform == platform);
            let expires = token.kind != TokenKind::Refresh && token.expires_at.is_some();
            if here && expires {
                token.expires_at = Some(now);
            }
        }
    }

    /// Takes the fault that the consent ordered for this step, by the grant of one of `credentials`.
    pub(super) fn take_fault<'a>(&mut self, credentials: impl Iterator<Item = &'a str>, step: Step) -> Option<Fault> {
        for credential in credentials {
            let grant = self.codes.get(credential).map(|code| code.grant);
            let grant = grant.or_else(|| self.tokens.get(credential).map(|token| token.grant));
            if let Some(grant) = grant.and_then(|id| self.grants.get_mut(&id))
                && let Some(at) = grant.faults.iter().position(|(known, _)| *known == step)
            {
                return Some(grant.faults.remove(at).1);
            }
        }
        None
    }
}
