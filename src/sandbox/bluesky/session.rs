//! Sessions at the PDS, like those of the reference server.
//!
//! A refresh gives a new pair of tokens. The old refresh token stays valid for two hours and yields the same
//! successor (the same id), so that a lost answer loses nothing; the successor in turn yields the newest. A deleted
//! id is made again when its predecessor is used. Every token is a JWT with readable claims and their digest as
//! signature, so tokens with equal claims are equal: access tokens of the same second are. Their validity is kept
//! here.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::accounts::{self, ACCOUNTS, BlueskyAccount, Standing};
use super::{NAME, Refused, identity};
use crate::domain::secret::Digest256;
use crate::domain::time::Timestamp;
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::bounded::Bounded;
use crate::sandbox::call::{Body, Call, Fields};
use crate::sandbox::record::TokenKind;
use crate::sandbox::world::World;

const ACCESS: u64 = 120 * 60;
const REFRESH: u64 = 90 * 24 * 60 * 60;
const GRACE: u64 = 2 * 60 * 60;

/// Limits on sign-ins of one account: number and seconds.
const LIMITS: [(usize, u64); 2] = [(30, 5 * 60), (300, 24 * 60 * 60)];

/// Code in the mail to an account with a second factor.
const FACTOR: &str = "SAND2-BOX34";

const KEPT: usize = 20_000;

/// All sessions.
#[derive(Debug)]
pub(in crate::sandbox) struct Sessions {
    /// Live access tokens, by the whole token.
    access: Bounded<String, Access>,
    /// Every refresh token ever issued, by the whole token.
    spelt: Bounded<String, Spelt>,
    /// Valid refresh tokens, by id.
    refresh: Bounded<String, Refresh>,
    /// Times of sign-ins, by the typed identifier.
    attempts: Bounded<String, VecDeque<Timestamp>>,
    /// DID that every session names; `None`: its account's.
    impersonated: Option<String>,
    /// Standings that differ from the initial ones, by DID.
    standings: HashMap<&'static str, Standing>,
}

#[derive(Debug, Clone, Copy)]
struct Access {
    account: &'static BlueskyAccount,
    expires_at: Timestamp,
}

/// Facts of a refresh token.
#[derive(Debug, Clone)]
struct Spelt {
    account: &'static BlueskyAccount,
    id: String,
    expires_at: Timestamp,
}

#[derive(Debug, Clone)]
struct Refresh {
    account: &'static BlueskyAccount,
    /// Scope of its access tokens.
    scope: &'static str,
    expires_at: Timestamp,
    /// The id of the successor.
    next: Option<String>,
}

impl Sessions {
    pub(in crate::sandbox) fn new() -> Self {
        Self {
            access: Bounded::new(KEPT),
            spelt: Bounded::new(KEPT),
            refresh: Bounded::new(KEPT),
            attempts: Bounded::new(KEPT),
            impersonated: None,
            standings: HashMap::new(),
        }
    }

    pub(super) fn standing(&self, account: &BlueskyAccount) -> Standing {
        self.standings.get(account.did).copied().unwrap_or(account.standing)
    }

    /// An account that is taken down or deleted loses its sessions.
    pub(in crate::sandbox) fn stand(&mut self, account: &'static BlueskyAccount, standing: Standing) {
        if matches!(standing, Standing::Deleted | Standing::TakenDown) {
            self.refresh.retain(|refresh| refresh.account.did != account.did);
        }
        self.standings.insert(account.did, standing);
    }

    /// Number of valid refresh tokens.
    pub(in crate::sandbox) fn count(&self, now: Timestamp) -> usize {
        self.refresh.values().filter(|refresh| refresh.expires_at > now).count()
    }

    /// Deletes every app password: refresh tokens die, access tokens live to their end.
    pub(in crate::sandbox) fn revoke_all(&mut self) {
        self.refresh.retain(|_| false);
    }

    pub(in crate::sandbox) fn expire_access(&mut self, now: Timestamp) {
        self.access.values_mut().for_each(|access| access.expires_at = now);
    }

    pub(in crate::sandbox) fn impersonate(&mut self, did: String) {
        self.impersonated = Some(did);
    }

    /// Restores identities and standings.
    pub(in crate::sandbox) fn reset(&mut self) {
        self.impersonated = None;
        self.standings.clear();
    }
}

pub(super) fn create(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    let Body::Json(fields) = &call.body else {
        return Err(Refused::invalid("Request encoding must be application/json, an object of texts"));
    };
    no_query(call)?;
    let fields = Fields::check(fields, &["identifier", "password"], &["authFactorToken"])
        .map_err(|problem| Refused::invalid(&format!("Error: Input {problem}")))?;
    let identifier = fields.get("identifier").to_ascii_lowercase();
    let limits = match limit(world, &identifier) {
        Ok(limits) => limits,
        Err(limits) => {
            let refused = Refused::new(429, "RateLimitExceeded", "Rate Limit Exceeded").reply();
            return Ok(limits.on(refused).header("retry-after", limits.reset_in.to_string()));
        }
    };
    let reply = sign_in(world, &identifier, fields).unwrap_or_else(|refused| refused.reply());
    Ok(limits.on(reply))
}

fn sign_in(world: &mut World, identifier: &str, fields: Fields<'_>) -> Result<Reply, Refused> {
    let mail = |account: &BlueskyAccount| email(account) == identifier;
    let account = accounts::find(identifier).or_else(|| ACCOUNTS.iter().find(|account| mail(account)));
    let account = account.ok_or_else(wrong)?;
    let standing = world.bluesky.standing(account);
    if standing == Standing::Deleted {
        return Err(wrong());
    }
    let password = fields.get("password");
    let scope = if password == account.app_password {
        if standing == Standing::TakenDown {
            return Err(wrong());
        }
        if account.privileged { "com.atproto.appPassPrivileged" } else { "com.atproto.appPass" }
    } else if password == account.password {
        match standing {
            Standing::TakenDown => {
                return Err(Refused::new(401, "AccountTakedown", "Account has been taken down"));
            }
            Standing::SecondFactor if fields.find("authFactorToken") != Some(FACTOR) => {
                let message = "A sign in code has been sent to your email address";
                return Err(Refused::new(401, "AuthFactorTokenRequired", message));
            }
            Standing::Active | Standing::Deactivated | Standing::Deleted | Standing::SecondFactor => {
                "com.atproto.access"
            }
        }
    } else {
        return Err(wrong());
    };
    let id = world.random();
    Ok(Reply::json(200, &pair(world, account, scope, id)))
}

/// One sentence for an unknown account and for a wrong password.
pub(super) fn wrong() -> Refused {
    Refused::new(401, "AuthenticationRequired", "Invalid identifier or password")
}

fn email(account: &BlueskyAccount) -> String {
    account.handle.replace(".test", "@example.com")
}

/// Remaining sign-ins.
struct Limits {
    of: usize,
    within: u64,
    left: usize,
    /// Seconds.
    reset_in: u64,
    reset_at: i64,
}

impl Limits {
    fn on(&self, reply: Reply) -> Reply {
        reply
            .header("ratelimit-limit", self.of.to_string())
            .header("ratelimit-remaining", self.left.to_string())
            .header("ratelimit-reset", self.reset_at.to_string())
            .header("ratelimit-policy", format!("{};w={}", self.of, self.within))
    }
}

/// Counts a sign-in; `Err` above the limit.
fn limit(world: &mut World, identifier: &str) -> Result<Limits, Limits> {
    let now = world.now();
    let mut attempts = world.bluesky.attempts.get(identifier).cloned().unwrap_or_default();
    let [_, (most, longest)] = LIMITS;
    attempts.retain(|at| at.until(now) < Duration::from_secs(longest));
    attempts.push_back(now);
    while attempts.len() > most + 1 {
        attempts.pop_front();
    }
    let state = |(of, within): (usize, u64)| {
        let recent: Vec<Timestamp> =
            attempts.iter().copied().filter(|at| at.until(now) < Duration::from_secs(within)).collect();
        let reset_in = recent.first().map_or(0, |first| within.saturating_sub(first.until(now).as_secs()));
        let limits = Limits {
            of,
            within,
            left: of.saturating_sub(recent.len()),
            reset_in,
            reset_at: now.plus(Duration::from_secs(reset_in)).as_millis() / 1000,
        };
        if recent.len() > of { Err(limits) } else { Ok(limits) }
    };
    let [short, long] = LIMITS;
    let outcome = state(long).and_then(|_| state(short));
    world.bluesky.attempts.insert(identifier.to_owned(), attempts);
    outcome
}

pub(super) fn refresh(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    no_query(call)?;
    no_body(call)?;
    let Spelt { account, id, expires_at } = refresh_token(world, call)?;
    let now = world.now();
    if expires_at <= now {
        return Err(Refused::new(400, "ExpiredToken", "Token has expired"));
    }
    match world.bluesky.standing(account) {
        Standing::Deleted => return Err(unknown(account)),
        Standing::TakenDown => return Err(Refused::new(401, "AccountTakedown", "Account has been taken down")),
        Standing::Active | Standing::Deactivated | Standing::SecondFactor => {}
    }
    let known = world.bluesky.refresh.get(&id).filter(|token| token.expires_at > now).cloned();
    let token = known.ok_or_else(|| Refused::new(400, "ExpiredToken", "Token has been revoked"))?;
    let next = token.next.clone().unwrap_or_else(|| world.random());
    let grace = world.in_seconds(GRACE);
    if let Some(known) = world.bluesky.refresh.get_mut(&id) {
        known.expires_at = known.expires_at.min(grace);
        known.next = Some(next.clone());
    }
    Ok(Reply::json(200, &pair(world, token.account, token.scope, next)))
}

/// Ends a session, also an expired one.
pub(super) fn delete(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    no_query(call)?;
    no_body(call)?;
    let Spelt { id, .. } = refresh_token(world, call)?;
    world.bluesky.refresh.remove(&id);
    Ok(Reply::empty(200))
}

/// The refusal for an account that is gone or not in use.
fn unknown(account: &BlueskyAccount) -> Refused {
    Refused::invalid(&format!("Could not find user info for account: {}", account.did))
}

pub(super) fn get(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    no_query(call)?;
    let account = access(world, call)?;
    if matches!(world.bluesky.standing(account), Standing::Deleted | Standing::TakenDown) {
        return Err(unknown(account));
    }
    Ok(Reply::json(200, &described(world, account)))
}

/// The account of the request's live access token.
pub(super) fn access(world: &World, call: &Call) -> Result<&'static BlueskyAccount, Refused> {
    let value = bearer(call)?;
    if world.bluesky.spelt.get(value).is_some() {
        return Err(Refused::new(400, "InvalidToken", "Bad token scope"));
    }
    match world.bluesky.access.get(value) {
        None => Err(Refused::new(400, "InvalidToken", "Token could not be verified")),
        Some(access) if access.expires_at <= world.now() => Err(Refused::new(400, "ExpiredToken", "Token has expired")),
        Some(access) => Ok(access.account),
    }
}

/// The refusal for an access token in place of a refresh token. The reference server of a year ago said "Invalid
/// token type".
fn refresh_token(world: &World, call: &Call) -> Result<Spelt, Refused> {
    let known = world.bluesky.spelt.get(bearer(call)?).cloned();
    known.ok_or_else(|| Refused::new(400, "InvalidToken", "Token could not be verified"))
}

fn bearer(call: &Call) -> Result<&str, Refused> {
    call.bearer().ok_or_else(|| Refused::new(401, "AuthMissing", "Authentication Required"))
}

fn no_query(call: &Call) -> Result<(), Refused> {
    if call.query.is_empty() { Ok(()) } else { Err(Refused::invalid("Error: this method has no parameters")) }
}

fn no_body(call: &Call) -> Result<(), Refused> {
    match call.body {
        Body::None => Ok(()),
        _ => Err(Refused::invalid("A request body was provided when none was expected")),
    }
}

/// Issues a pair of tokens, the refresh token with that id. Each reissue claims 90 days; what counts is the first
/// claim, until the token has a successor.
fn pair(world: &mut World, account: &'static BlueskyAccount, scope: &'static str, id: String) -> Value {
    let (now, audience) = (world.now(), "did:web:pds.sandbox.test");
    let seconds = |at: Timestamp| at.as_millis() / 1000;
    let subject = world.bluesky.impersonated.clone().unwrap_or_else(|| account.did.to_owned());
    let access_until = world.in_seconds(ACCESS);
    let refresh_until = world.in_seconds(REFRESH);
    let access = jwt(
        "at+jwt",
        &json!({"scope": scope, "aud": audience, "sub": subject, "iat": seconds(now), "exp": seconds(access_until)}),
    );
    let refresh = jwt(
        "refresh+jwt",
        &json!({
            "scope": "com.atproto.refresh", "aud": audience, "sub": subject, "jti": id,
            "iat": seconds(now), "exp": seconds(refresh_until),
        }),
    );
    world.issue(NAME, TokenKind::Access, &access);
    world.issue(NAME, TokenKind::Refresh, &refresh);
    world.bluesky.access.insert(access.clone(), Access { account, expires_at: access_until });
    let spelt = Spelt { account, id: id.clone(), expires_at: refresh_until };
    world.bluesky.spelt.insert(refresh.clone(), spelt);
    if world.bluesky.refresh.get(&id).is_none() {
        let token = Refresh { account, scope, expires_at: refresh_until, next: None };
        world.bluesky.refresh.insert(id, token);
    }
    let mut answer = described(world, account);
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("accessJwt".to_owned(), access.into());
        answer.insert("refreshJwt".to_owned(), refresh.into());
    }
    answer
}

/// The session's account, as every answer describes it.
fn described(world: &World, account: &'static BlueskyAccount) -> Value {
    let impersonated = world.bluesky.impersonated.as_deref();
    let told = impersonated.and_then(accounts::find).unwrap_or(account);
    let standing = world.bluesky.standing(account);
    without_nulls(json!({
        "did": impersonated.unwrap_or(account.did),
        "didDoc": identity::document_of(world, told),
        "handle": told.handle,
        "email": email(account),
        "emailConfirmed": true,
        "emailAuthFactor": standing == Standing::SecondFactor,
        "active": standing != Standing::Deactivated,
        "status": (standing == Standing::Deactivated).then_some("deactivated"),
    }))
}

fn jwt(kind: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"typ": kind, "alg": "HS256"})), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(Digest256::of(signed.as_bytes()).as_bytes());
    format!("{signed}.{signature}")
}
