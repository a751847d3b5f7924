//! A connect link: an address that lets whoever has it connect accounts at some platforms, for one profile, until it
//! expires or is revoked.

use std::time::Duration;

use super::id::{AccessKeyId, IntegrationId, LinkId, ProfileId, ProjectId};
use super::secret::{Digest256, RowMac};
use super::time::Timestamp;

/// How long a link works where its maker does not say.
pub const LIFE_DEFAULT: Duration = Duration::from_hours(24);
/// Shortest life of a link.
pub const LIFE_MIN: Duration = Duration::from_mins(1);
/// Longest life of a link.
pub const LIFE_MAX: Duration = Duration::from_hours(30 * 24);

/// Time after its end in which a link's row still tells what became of it.
pub const KEEP_ENDED: Duration = Duration::from_hours(24);

/// Accounts that a link remembers: the latest ones.
pub const CONNECTED_MAX: u32 = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub id: LinkId,
    pub project_id: ProjectId,
    /// The key that made it; `None` for the command line.
    pub access_key_id: Option<AccessKeyId>,
    /// The token in its address, hashed.
    pub token: Digest256,
    pub profile_id: Option<ProfileId>,
    /// Names of the platforms that can be connected through it.
    pub platforms: Vec<String>,
    /// Where its page leads in the end, exactly as the maker gave it.
    pub redirect_uri: Option<String>,
    /// The latest [`CONNECTED_MAX`] accounts that were connected through it, in this order. Some may be disconnected
    /// since.
    pub connected: Vec<IntegrationId>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// Authentication code of the row. A revoked link has none.
    pub mac: Option<RowMac>,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LinkStatus {
    /// Its time is over.
    Expired,
    /// It works, and nothing was connected through it so far.
    Open,
    /// Its maker took it back, or its key or profile is gone.
    Revoked,
    /// Something was connected through it. It still works.
    Used,
}

impl Link {
    #[must_use]
    pub fn status(&self, now: Timestamp) -> LinkStatus {
        if self.revoked_at.is_some() {
            LinkStatus::Revoked
        } else if self.expires_at <= now {
            LinkStatus::Expired
        } else if self.connected.is_empty() {
            LinkStatus::Open
        } else {
            LinkStatus::Used
        }
    }

    /// True when accounts can be connected through it.
    #[must_use]
    pub fn works(&self, now: Timestamp) -> bool {
        matches!(self.status(now), LinkStatus::Open | LinkStatus::Used)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::id::Id as _;

    #[test]
    fn a_link_works_until_it_expires_or_is_revoked() {
        let at = |seconds: i64| Timestamp::from_millis(1_777_797_216_445 + seconds * 1000);
        let id = Uuid::from_u128(1);
        let open = Link {
            id: LinkId::from_uuid(id),
            project_id: ProjectId::from_uuid(id),
            access_key_id: None,
            token: Digest256::of(b"token"),
            profile_id: None,
            platforms: vec!["twitter".to_owned()],
            redirect_uri: None,
            connected: Vec::new(),
            created_at: at(0),
            expires_at: at(60),
            revoked_at: None,
            mac: None,
        };
        let used = Link { connected: vec![IntegrationId::from_uuid(id)], ..open.clone() };
        let revoked = Link { revoked_at: Some(at(70)), ..used.clone() };
        for (link, now, status, works) in [
            (&open, 0, LinkStatus::Open, true),
            (&used, 59, LinkStatus::Used, true),
            (&open, 60, LinkStatus::Expired, false),
            (&used, 60, LinkStatus::Expired, false),
            (&revoked, 0, LinkStatus::Revoked, false),
            (&revoked, 99, LinkStatus::Revoked, false),
        ] {
            assert_eq!((link.status(at(now)), link.works(at(now))), (status, works));
        }
    }
}
