//! How and when a grant's tokens are renewed: decisions about times only.
//!
//! A refresh that spends a refresh token is made late, because each one risks the grant. An access token that renews
//! itself is renewed early, because an expired one cannot be renewed.

use std::time::Duration;

use strum::{EnumString, IntoStaticStr};

use super::entropy::Entropy;
use super::failure::Failure;
use super::time::Timestamp;

/// Shortest time between two renewals that nobody asked for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(30);

/// How the access token is renewed without the account's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Renewal {
    /// With the access token itself, until it expires.
    AccessToken,
    /// Not at all: the owner reconnects.
    Never,
    /// With the refresh token.
    RefreshToken,
}

impl Renewal {
    /// Time from which the account's owner must reconnect; `None` where it is unknown. A token of unknown lifetime is
    /// taken to live on.
    #[must_use]
    pub fn lapses_at(
        self,
        access_expires_at: Option<Timestamp>,
        refresh_expires_at: Option<Timestamp>,
    ) -> Option<Timestamp> {
        match self {
            Self::AccessToken | Self::Never => access_expires_at,
            Self::RefreshToken => {
                refresh_expires_at.zip(access_expires_at).map(|(refresh, access)| refresh.max(access))
            }
        }
    }
}

/// A random number from -1 to 1 that spreads times which would otherwise coincide.
#[derive(Debug, Clone, Copy)]
pub struct Jitter(f64);

impl Jitter {
    /// No jitter.
    pub const NONE: Self = Self(0.0);

    #[must_use]
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let mut random = [0_u8; 4];
        entropy.fill(&mut random);
        Self(f64::from(u32::from_be_bytes(random)) / f64::from(u32::MAX) * 2.0 - 1.0)
    }

    /// The duration, up to a tenth longer or shorter.
    fn spread(self, duration: Duration) -> Duration {
        duration.mul_f64(1.0 + 0.1 * self.0)
    }
}

/// Parameters of the renewal of a platform's tokens.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub renewal: Renewal,
    /// How long before its expiry a token is renewed.
    pub ahead: Duration,
    /// Minimum age of a token that the platform renews.
    pub not_before: Duration,
}

impl Timing {
    /// When tokens issued at `issued_at` are due for renewal; `None`: never. A refresh token is used before it expires
    /// itself, where that is before the access token does.
    ///
    /// Never in the first half of their lifetime, nor within [`SHORTEST_PAUSE`]: a token with a lifetime shorter than
    /// `ahead` would be renewed all the time. Whoever needs a token meanwhile has it renewed.
    #[must_use]
    pub fn due_at(
        self,
        issued_at: Timestamp,
        access_expires_at: Option<Timestamp>,
        refresh_expires_at: Option<Timestamp>,
        jitter: Jitter,
    ) -> Option<Timestamp> {
        // A token that has expired by then cannot be used.
        let in_time = |at| self.before(issued_at, at, jitter).filter(|due| *due < at);
        let of_access = access_expires_at.and_then(|at| match self.renewal {
            Renewal::AccessToken => in_time(at),
            Renewal::Never | Renewal::RefreshToken => self.before(issued_at, at, jitter),
        });
        let of_refresh = refresh_expires_at.filter(|_| self.renewal == Renewal::RefreshToken).and_then(in_time);
        of_access.into_iter().chain(of_refresh).min()
    }

    fn before(self, issued_at: Timestamp, expires_at: Timestamp, jitter: Jitter) -> Option<Timestamp> {
        let life = issued_at.until(expires_at);
        let ahead = match self.renewal {
            Renewal::AccessToken => self.ahead.max(life / 6),
            Renewal::Never => return None,
            Renewal::RefreshToken => self.ahead,
        };
        let due = expires_at.minus(jitter.spread(ahead)).max(issued_at.plus((life / 2).max(SHORTEST_PAUSE)));
        Some(due.max(issued_at.plus(self.not_before)))
    }
}

/// Time of the next retry after `failures` consecutive failures, the last of this kind. `retry_after`: the wait that
/// the platform asked for. Only for troubles that do not end the grant.
#[must_use]
pub fn retry_at(
    kind: Failure,
    failures: u32,
    retry_after: Option<Duration>,
    now: Timestamp,
    jitter: Jitter,
) -> Timestamp {
    let (first, most) = match kind {
        Failure::PlatformAnswerUnreadable | Failure::PlatformThrottled => {
            (Duration::from_mins(1), Duration::from_hours(1))
        }
        Failure::AppMissing | Failure::CredentialsRejected | Failure::TokensUnreadable => {
            (Duration::from_mins(10), Duration::from_hours(1))
        }
        Failure::AppOrGrantRejected => (Duration::from_mins(5), Duration::from_hours(1)),
        Failure::RequestRefused => (Duration::from_mins(5), Duration::from_hours(6)),
        _ => (Duration::from_secs(30), Duration::from_mins(30)),
    };
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    // Never earlier than the platform asked for.
    let wait = jitter.spread(doubled.min(most)).max(retry_after.unwrap_or_default());
    now.plus(wait)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::entropy::SeededEntropy;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_777_797_216_445).plus(Duration::from_secs(seconds))
    }

    fn due(renewal: Renewal, life: u64, not_before: u64) -> Option<u64> {
        let timing = Timing { renewal, ahead: Duration::from_mins(15), not_before: Duration::from_secs(not_before) };
        timing.due_at(at(0), Some(at(life)), None, Jitter::NONE).map(|due| at(0).until(due).as_secs())
    }

    #[test]
    fn refresh_tokens_are_used_late_and_access_tokens_renew_themselves_early() {
        assert_eq!(due(Renewal::RefreshToken, 7200, 0), Some(6300));
        assert_eq!(due(Renewal::AccessToken, 60 * DAY, DAY), Some(50 * DAY));
        assert_eq!(due(Renewal::Never, 7200, 0), None);
        let timing = Timing { renewal: Renewal::RefreshToken, ahead: Duration::ZERO, not_before: Duration::ZERO };
        assert_eq!(timing.due_at(at(0), None, None, Jitter::NONE), None, "a token without expiry is not renewed");
    }

    #[test]
    fn a_refresh_token_is_used_before_it_expires_itself() {
        let due = |renewal, access: Option<u64>, refresh| {
            let timing = Timing { renewal, ahead: Duration::from_mins(15), not_before: Duration::ZERO };
            let due = timing.due_at(at(0), access.map(at), Some(at(refresh)), Jitter::NONE);
            due.map(|due| at(0).until(due).as_secs())
        };
        assert_eq!(due(Renewal::RefreshToken, Some(3600), 1800), Some(900));
        assert_eq!(due(Renewal::RefreshToken, None, 1800), Some(900));
        assert_eq!(due(Renewal::RefreshToken, None, 60 * DAY), Some(60 * DAY - 900));
        assert_eq!(due(Renewal::RefreshToken, Some(7200), 60 * DAY), Some(6300), "the access token expires first");
        assert_eq!(due(Renewal::RefreshToken, Some(3600), 20), Some(2700), "it expires too soon to be used");
        assert_eq!(due(Renewal::RefreshToken, None, 20), None);
        assert_eq!(due(Renewal::AccessToken, None, 1800), None);
        assert_eq!(due(Renewal::Never, Some(3600), 1800), None);
    }

    #[test]
    fn no_renewal_in_the_first_half_of_the_lifetime_nor_before_the_minimum_age() {
        assert_eq!(due(Renewal::RefreshToken, 600, 0), Some(300));
        assert_eq!(due(Renewal::RefreshToken, 80, 0), Some(40));
        assert_eq!(due(Renewal::RefreshToken, 3, 0), Some(30), "no busy loop");
        assert_eq!(due(Renewal::AccessToken, DAY + 3600, DAY), Some(DAY));
        for life in [3600, DAY / 2, DAY] {
            assert_eq!(due(Renewal::AccessToken, life, DAY), None, "{life}: it expires before it may renew itself");
        }
        assert_eq!(due(Renewal::AccessToken, 3, 0), None);
        assert_eq!(due(Renewal::AccessToken, 40, 0), Some(30));
    }

    #[test]
    fn jitter_spreads_by_up_to_a_tenth() {
        let entropy = SeededEntropy::new(1);
        let timing =
            Timing { renewal: Renewal::RefreshToken, ahead: Duration::from_mins(15), not_before: Duration::ZERO };
        let dues: Vec<u64> = (0..1000)
            .filter_map(|_| timing.due_at(at(0), Some(at(7200)), None, Jitter::draw(&entropy)))
            .map(|due| at(0).until(due).as_secs())
            .collect();
        assert!(dues.iter().all(|due| (6210..=6390).contains(due)), "{dues:?}");
        let (least, most) = (dues.iter().min().unwrap(), dues.iter().max().unwrap());
        assert!(most - least > 150, "{least} {most}");
    }

    #[test]
    fn a_grant_lapses_when_the_last_token_that_renews_it_expires() {
        let (access, refresh) = (Some(at(10)), Some(at(100)));
        assert_eq!(Renewal::Never.lapses_at(access, refresh), access);
        assert_eq!(Renewal::AccessToken.lapses_at(access, None), access);
        assert_eq!(Renewal::RefreshToken.lapses_at(access, refresh), refresh);
        assert_eq!(Renewal::RefreshToken.lapses_at(refresh, access), refresh, "whichever is later");
        assert_eq!(Renewal::RefreshToken.lapses_at(access, None), None);
        assert_eq!(Renewal::RefreshToken.lapses_at(None, refresh), None, "the access token outlives it");
        for renewal in [Renewal::AccessToken, Renewal::Never, Renewal::RefreshToken] {
            assert_eq!(renewal.lapses_at(None, None), None);
        }
        assert_eq!(Renewal::Never.lapses_at(None, refresh), None);
    }

    #[test]
    fn retries_back_off_and_respect_retry_after() {
        let wait = |kind, failures, after: Option<u64>| {
            let after = after.map(Duration::from_secs);
            at(0).until(retry_at(kind, failures, after, at(0), Jitter::NONE)).as_secs()
        };
        let waits: Vec<u64> = (1..=8).map(|failures| wait(Failure::PlatformUnavailable, failures, None)).collect();
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1800, 1800]);
        assert_eq!(wait(Failure::PlatformUnavailable, u32::MAX, None), 1800);
        assert_eq!(wait(Failure::PlatformThrottled, 1, Some(300)), 300);
        assert_eq!(wait(Failure::PlatformThrottled, 1, Some(1)), 60);
        assert_eq!(wait(Failure::RequestRefused, 20, None), 6 * 3600);
    }
}
