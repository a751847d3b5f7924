//! Facts about a platform that no setting of the broker decides: how long things live, and when an API version ends.
//!
//! For people, who read it with `postpeer platforms show`; only the end of a version makes the broker speak up.

use std::time::Duration;

use jiff::civil::Date;

use super::{Platform, Refresh, Revocation, RevocationReach, Rotation};

/// How long before its end a version is warned of.
const AHEAD_DAYS: i32 = 90;

/// Facts about one platform. Lives are phrases, since platforms rarely promise numbers: "60 days".
#[derive(Debug, PartialEq, Eq)]
pub struct Facts {
    /// The day on which these facts and the platform's URLs were last compared with its documentation.
    pub as_of: Date,
    /// Life of an authorization code.
    pub code: &'static str,
    pub access_token: &'static str,
    /// Life of a refresh token, or of what stands for one.
    pub refresh: &'static str,
    /// Versions of its API that the broker is known to work with, the oldest first.
    pub versions: &'static [Version],
}

/// A version of a platform's API.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    pub name: &'static str,
    /// The day on which the platform stops answering; `None`: not announced.
    pub ends: Option<Date>,
}

/// The version in use at a platform, which ends soon or has ended.
#[derive(Debug, Clone, Copy)]
pub struct EndingVersion<'a> {
    pub platform: &'a Platform,
    pub ends: Date,
    pub has_ended: bool,
    /// A later version that is known; `None`: this binary is older than the platform's next version.
    pub newer: Option<&'static str>,
}

impl EndingVersion<'_> {
    /// The operator's next step.
    #[must_use]
    pub fn what_to_do(&self) -> String {
        let Platform { name, label, api_version, .. } = self.platform;
        let (ends, verb) = (self.ends, if self.has_ended { "ended" } else { "ends" });
        let remedy = self.newer.map_or_else(
            || format!("set api_version of [platforms.{name}] to a later version of {label}'s, or update postpeer"),
            |newer| format!("set api_version = \"{newer}\" in [platforms.{name}], or update postpeer"),
        );
        format!("{label} {verb} version {api_version} of its API on {ends}: {remedy}")
    }
}

impl Platform {
    /// The version of the platform's API in use, where facts about it are known.
    #[must_use]
    pub fn version(&self) -> Option<&'static Version> {
        self.guide.facts?.versions.iter().find(|version| version.name == self.api_version)
    }

    /// The version in use, where it ends within 90 days of `today`.
    #[must_use]
    pub fn ending_version(&self, today: Date) -> Option<EndingVersion<'_>> {
        let ends = self.version()?.ends?;
        let days_left = today.until(ends).ok()?.get_days();
        let newer = self.guide.facts?.versions.last().map(|version| version.name);
        (days_left <= AHEAD_DAYS).then_some(EndingVersion {
            platform: self,
            ends,
            has_ended: days_left <= 0,
            newer: newer.filter(|newer| *newer != self.api_version),
        })
    }

    /// How the tokens are renewed, in words.
    #[must_use]
    pub fn renewal(&self) -> String {
        match self.refresh {
            Refresh::ExchangedAgain => {
                "the token is exchanged again; where that brings no time, its owner reconnects".into()
            }
            Refresh::Never => "none: the account's owner reconnects".into(),
            Refresh::RefreshToken { rotation: Rotation::None } => "with a refresh token, which stays valid".into(),
            Refresh::RefreshToken { rotation: Rotation::SingleUse } => {
                "with a refresh token, which each refresh replaces".into()
            }
            Refresh::RefreshToken { rotation: Rotation::Unknown } => {
                "with a refresh token, which a refresh may replace".into()
            }
            Refresh::SelfRenewing { not_before, .. } => {
                format!("with the token itself, once it is {} hours old", hours(not_before))
            }
        }
    }

    /// The reach of a disconnect at the platform, in words.
    #[must_use]
    pub fn disconnect_ends(&self) -> &'static str {
        match (&self.revocation, self.revocation_reach) {
            (Revocation::Unsupported, _) => "nothing there; the tokens are erased here",
            (_, RevocationReach::Consent | RevocationReach::ConsentToClient) => {
                "the person's whole consent to your app"
            }
            (_, RevocationReach::Tokens) => "the connection's tokens",
        }
    }
}

const fn hours(duration: Duration) -> u64 {
    duration.as_secs() / 3600
}

#[cfg(test)]
mod tests {
    use jiff::ToSpan as _;
    use jiff::civil::date;

    use crate::platforms::BUILT_IN;

    #[test]
    fn an_ending_version_is_told_ninety_days_ahead() {
        for platform in BUILT_IN.iter().map(|definition| definition()) {
            let Some(ends) = platform.version().and_then(|version| version.ends) else { continue };
            assert!(platform.ending_version(ends - 91.days()).is_none(), "{}", platform.name);
            let ending = platform.ending_version(ends - 90.days()).unwrap();
            assert!(!ending.has_ended, "{}", platform.name);
            assert!(platform.ending_version(ends).unwrap().has_ended, "{}", platform.name);
        }
        let graph =
            BUILT_IN.iter().map(|definition| definition()).find(|platform| platform.name == "facebook").unwrap();
        assert_eq!(
            graph.ending_version(date(2028, 7, 1)).unwrap().what_to_do(),
            "Facebook ends version v25.0 of its API on 2028-07-29: set api_version = \"v27.0\" in [platforms.facebook], \
             or update postpeer"
        );
    }

    #[test]
    fn every_built_in_platform_has_facts_and_its_version_is_among_them() {
        for platform in BUILT_IN.iter().map(|definition| definition()) {
            let facts = platform.guide.facts.unwrap_or_else(|| panic!("{} lacks facts", platform.name));
            for phrase in [facts.code, facts.access_token, facts.refresh] {
                assert!(!phrase.is_empty() && !phrase.ends_with('.'), "{}: {phrase:?}", platform.name);
            }
            let is_versioned = !platform.api_version.is_empty();
            assert_eq!(platform.version().is_some(), is_versioned, "{}: {}", platform.name, platform.api_version);
        }
    }
}
