//! Limits of an access key: what it may do, for which profile, from where and until when.
//!
//! Invariant: a key that is made with another one is never stronger than that one.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use super::access_key::Scope;
use super::id::ProfileId;
use super::network::Network;
use super::time::{Timestamp, parse_duration};

/// Time before a key's expiry in which the operator is warned.
pub const WARN_AHEAD: Duration = Duration::from_hours(14 * 24);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub scopes: Vec<Scope>,
    /// The only profile whose accounts the key sees. `None`: those of the whole project.
    pub profile_id: Option<ProfileId>,
    /// The networks that the key works from. Empty: all.
    pub networks: Vec<Network>,
    /// `None` for a key that does not expire.
    pub expires_at: Option<Timestamp>,
}

/// Why a key that is not revoked does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The client's address, where it is known.
    #[error("the access key does not work from this address")]
    Address(Option<IpAddr>),
    #[error("the access key expired at {0}")]
    Expired(Timestamp),
}

/// Why a key cannot make another one. The sentence (without its full stop) is for who asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stronger {
    #[error("expiresAt must not be later than {0}, when the key that makes it expires")]
    Expiry(Timestamp),
    #[error("networks must be within {}, those of the key that makes it", list(.0))]
    Networks(Vec<Network>),
    #[error("profileId must be {0}, the profile of the key that makes it")]
    Profile(ProfileId),
    #[error("scopes must be among {}, those of the key that makes it", list(.0))]
    Scopes(Vec<Scope>),
}

fn list(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Limits {
    /// Decides whether the key works at `now` from this address. One that nobody knows is in no network.
    pub fn check(&self, address: Option<IpAddr>, now: Timestamp) -> Result<(), Unusable> {
        if let Some(at) = self.expires_at.filter(|at| *at <= now) {
            return Err(Unusable::Expired(at));
        }
        let is_inside = |address: IpAddr| self.networks.iter().any(|network| network.contains(address));
        if self.networks.is_empty() || address.is_some_and(is_inside) {
            Ok(())
        } else {
            Err(Unusable::Address(address))
        }
    }

    /// True when the key allows this at `now`, wherever it is used.
    #[must_use]
    pub fn may_still(&self, scope: Scope, now: Timestamp) -> bool {
        self.scopes.contains(&scope) && self.expires_at.is_none_or(|at| at > now)
    }

    /// The limits of a key that is made with a key of the limits `maker`. It inherits what is left open here.
    pub fn within(self, maker: &Self) -> Result<Self, Stronger> {
        let Self { scopes, profile_id, networks, expires_at } = self;
        if !scopes.iter().all(|scope| maker.scopes.contains(scope)) {
            return Err(Stronger::Scopes(maker.scopes.clone()));
        }
        let profile_id = match (profile_id, maker.profile_id) {
            (Some(wanted), Some(bound)) if wanted != bound => return Err(Stronger::Profile(bound)),
            (wanted, bound) => bound.or(wanted),
        };
        let expires_at = match (expires_at, maker.expires_at) {
            (Some(wanted), Some(latest)) if wanted > latest => return Err(Stronger::Expiry(latest)),
            (wanted, latest) => wanted.or(latest),
        };
        let is_covered = |network: &Network| maker.networks.iter().any(|wider| wider.covers(network));
        let networks = match (networks.is_empty(), maker.networks.is_empty()) {
            (true, _) => maker.networks.clone(),
            (false, false) if !networks.iter().all(is_covered) => {
                return Err(Stronger::Networks(maker.networks.clone()));
            }
            (false, _) => networks,
        };
        Ok(Self { scopes, profile_id, networks, expires_at })
    }
}

/// No limits but the scopes.
impl From<&[Scope]> for Limits {
    fn from(scopes: &[Scope]) -> Self {
        Self { scopes: scopes.to_vec(), profile_id: None, networks: Vec::new(), expires_at: None }
    }
}

impl<const N: usize> From<&[Scope; N]> for Limits {
    fn from(scopes: &[Scope; N]) -> Self {
        Self::from(scopes.as_slice())
    }
}

/// When a key is to expire, as the operator says it: `90d`, `2027-03-01` (in UTC) or `2027-03-01T08:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    After(Duration),
    At(Timestamp),
}

/// Longest time from now on.
const LONGEST: Duration = Duration::from_hours(100 * 366 * 24);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpiry {
    #[error("too far away: a hundred years are the longest, and a key without an expiry works until it is revoked")]
    TooFar,
    #[error("not a time from now on such as 90d or 12h, and not a date such as 2027-03-01 or 2027-03-01T08:00:00Z")]
    Unreadable,
}

impl Expiry {
    #[must_use]
    pub fn from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::After(duration) => now.plus(duration),
            Self::At(time) => time,
        }
    }
}

impl FromStr for Expiry {
    type Err = InvalidExpiry;

    fn from_str(text: &str) -> Result<Self, InvalidExpiry> {
        if let Some(duration) = parse_duration(text) {
            return if duration <= LONGEST { Ok(Self::After(duration)) } else { Err(InvalidExpiry::TooFar) };
        }
        let time = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")));
        // The calendar of days goes on for a day after that of times.
        let is_day = !text.contains('T') && text.parse::<jiff::civil::Date>().is_ok();
        time.map(Self::At).ok_or(if is_day { InvalidExpiry::TooFar } else { InvalidExpiry::Unreadable })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn profile(number: u128) -> ProfileId {
        ProfileId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn a_key_works_until_its_expiry_and_from_its_networks() {
        let open = Limits::from(&[Scope::Read]);
        assert_eq!(open.check(None, at(i64::MAX)), Ok(()));
        let expiring = Limits { expires_at: Some(at(100)), ..open.clone() };
        assert_eq!(expiring.check(None, at(99)), Ok(()));
        assert_eq!(expiring.check(None, at(100)), Err(Unusable::Expired(at(100))));

        let inside = Limits { networks: networks(&["10.0.0.0/8", "2001:db8::/32"]), ..expiring };
        let check = |address: &str, now| inside.check(Some(address.parse().unwrap()), at(now));
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"] {
            assert_eq!(check(address, 0), Ok(()), "{address}");
        }
        for address in ["11.0.0.1", "::ffff:11.0.0.1", "::10.1.2.3", "2001:db9::1"] {
            assert_eq!(check(address, 0), Err(Unusable::Address(Some(address.parse().unwrap()))), "{address}");
        }
        assert_eq!(inside.check(None, at(0)), Err(Unusable::Address(None)));
        assert_eq!(check("11.0.0.1", 100), Err(Unusable::Expired(at(100))), "the expiry is told first");
    }

    #[test]
    fn a_key_never_makes_a_stronger_one() {
        let maker = Limits {
            scopes: vec![Scope::Manage, Scope::Read],
            profile_id: Some(profile(1)),
            networks: networks(&["10.0.0.0/8", "fd00::/8"]),
            expires_at: Some(at(100)),
        };
        let read = Limits::from(&[Scope::Read]);
        let inherited = Limits { scopes: vec![Scope::Read], ..maker.clone() };
        assert_eq!(read.clone().within(&maker), Ok(inherited), "what is left open is the maker's");
        assert_eq!(maker.clone().within(&maker), Ok(maker.clone()), "as strong is not stronger");
        let narrower = Limits { networks: networks(&["10.1.0.0/16"]), expires_at: Some(at(99)), ..maker.clone() };
        assert_eq!(narrower.clone().within(&maker), Ok(narrower));
        for (stronger, why) in [
            (Limits::from(&[Scope::Read, Scope::Tokens]), Stronger::Scopes(maker.scopes.clone())),
            (Limits { profile_id: Some(profile(2)), ..read.clone() }, Stronger::Profile(profile(1))),
            (Limits { expires_at: Some(at(101)), ..read.clone() }, Stronger::Expiry(at(100))),
            (
                Limits { networks: networks(&["10.1.0.0/16", "0.0.0.0/0"]), ..read.clone() },
                Stronger::Networks(maker.networks.clone()),
            ),
            (Limits { networks: networks(&["8.0.0.0/6"]), ..read.clone() }, Stronger::Networks(maker.networks.clone())),
        ] {
            assert_eq!(stronger.clone().within(&maker), Err(why), "{stronger:?}");
        }
        let open = Limits::from(Scope::ALL);
        let bound = Limits { profile_id: Some(profile(2)), ..maker };
        assert_eq!(bound.clone().within(&open), Ok(bound), "an unlimited key makes any");
    }

    #[test]
    fn an_expiry_is_a_duration_or_a_date() {
        let now = at(1_777_797_216_445);
        let shown = |text: &str| text.parse::<Expiry>().map(|expiry| expiry.from(now).to_string());
        for (text, expected) in [
            ("90d", "2026-08-01T08:33:36.445Z"),
            ("12h", "2026-05-03T20:33:36.445Z"),
            ("2027-03-01", "2027-03-01T00:00:00.000Z"),
            ("2027-03-01T08:00:00+02:00", "2027-03-01T06:00:00.000Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "never", "90", "-1d", "2027-02-30", "2027", "2027-03-01T08:00:00", "1.5h"] {
            assert_eq!(shown(wrong), Err(InvalidExpiry::Unreadable), "{wrong}");
        }
        for far in ["36601d", "99999999d", "9999-12-31"] {
            assert_eq!(shown(far), Err(InvalidExpiry::TooFar), "{far}");
        }
        assert!(shown("36600d").is_ok_and(|time| time.starts_with("2126-")));
    }
}
