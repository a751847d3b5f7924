//! Ids: a newtype per kind, `int_` + UUIDv7 in hex, so that sorting by id sorts by creation.
//!
//! Invariant: ids from one [`IdSource`] strictly increase, even when the clock stands still or steps back.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use uuid::Uuid;

use super::entropy::Entropy;
use super::time::Clock;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind: expected {prefix} followed by 32 hexadecimal digits")]
pub struct InvalidId {
    pub prefix: &'static str,
}

/// Implemented by every id, so that [`IdSource::next`] can make any of them.
pub trait Id {
    fn from_uuid(uuid: Uuid) -> Self;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            pub const PREFIX: &'static str = $prefix;
        }

        impl Id for $name {
            fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(self.0.simple().encode_lower(&mut Uuid::encode_buffer()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let invalid = InvalidId { prefix: $prefix };
                let hex = text.strip_prefix($prefix).ok_or(invalid)?;
                // `Uuid::try_parse` accepts several spellings; only the one that `Display` prints is an id.
                if hex.len() != 32 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    return Err(invalid);
                }
                Uuid::try_parse(hex).map(Self).map_err(|_| invalid)
            }
        }
    )*};
}

ids! {
    /// An access key (`x-access-key`), by its public id.
    AccessKeyId = "key_";
    /// A connection in progress, from the authorize URL to the callback.
    FlowId = "flow_";
    /// One consent at one platform under one OAuth app.
    GrantId = "grant_";
    /// One connected account.
    IntegrationId = "int_";
    /// A connect link.
    LinkId = "link_";
    /// A caller's own OAuth app.
    OauthAppId = "app_";
    /// A label that groups integrations.
    ProfileId = "prof_";
    /// A tenant.
    ProjectId = "proj_";
    /// A choice of accounts that the owner has yet to make.
    SelectionId = "sel_";
}

/// Makes ids from the injected clock and entropy.
pub struct IdSource {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    /// Millisecond and 12-bit counter of the last id.
    last: Mutex<(u64, u16)>,
}

impl IdSource {
    const COUNTER_MAX: u16 = 0x0fff;

    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, last: Mutex::new((0, 0)) }
    }

    /// The next id. Layout: RFC 9562 section 5.7, with `rand_a` as a counter within the millisecond (section 6.2,
    /// method 1).
    pub fn next<T: Id>(&self) -> T {
        let now = u64::try_from(self.clock.now().as_millis()).unwrap_or(0);
        let (millis, counter) = {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            *last = match *last {
                (millis, counter) if now <= millis && counter < Self::COUNTER_MAX => (millis, counter + 1),
                (millis, _) if now <= millis => (millis + 1, 0),
                _ => (now, 0),
            };
            *last
        };
        let mut random = [0_u8; 10];
        self.entropy.fill(&mut random);
        let [_, _, tail @ ..] = random;
        let [high, low] = counter.to_be_bytes();
        let mut bytes = [0_u8; 10];
        bytes.iter_mut().zip([high, low].into_iter().chain(tail)).for_each(|(to, from)| *to = from);
        T::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }
}

impl fmt::Debug for IdSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdSource")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entropy::SeededEntropy;
    use crate::domain::time::{ManualClock, Timestamp};

    #[test]
    fn ids_increase_while_the_clock_stands_still_or_steps_back() {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000)));
        let ids = IdSource::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let mut last = ids.next::<IntegrationId>();
        for round in 0..10_000 {
            if round == 5_000 {
                clock.set(Timestamp::from_millis(1_600_000_000_000));
            }
            let next = ids.next::<IntegrationId>();
            assert!(next > last, "{next} after {last}");
            assert!(next.to_string() > last.to_string());
            last = next;
        }
    }

    #[test]
    fn only_the_printed_spelling_is_parsed() {
        let ids = IdSource::new(
            Arc::new(ManualClock::new(Timestamp::from_millis(1_700_000_000_000))),
            Arc::new(SeededEntropy::new(1)),
        );
        let id = ids.next::<ProfileId>();
        let text = id.to_string();
        assert_eq!(text.parse::<ProfileId>(), Ok(id));
        for wrong in [
            text.to_uppercase(),
            text.replace("prof_", "app_"),
            text.replace("prof_", ""),
            format!("{text}0"),
            format!("prof_{{{}}}", "0".repeat(30)),
            "prof_".to_owned(),
            String::new(),
        ] {
            assert!(wrong.parse::<ProfileId>().is_err(), "{wrong}");
        }
    }
}
