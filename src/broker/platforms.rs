//! The platforms that this broker knows.

use super::Broker;
use crate::domain::integration::PlatformFilter;
use crate::platforms::{Availability, CONTRACT_NAMES};
use crate::upstream::Protocol;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformListing {
    pub name: String,
    pub label: String,
    /// True when it can be connected without an app of the caller's own.
    pub is_configured: bool,
    /// False for Bluesky, which is connected with a handle and an app password.
    pub has_redirect: bool,
}

impl Broker {
    /// The platforms that are not switched off, by name.
    #[must_use]
    pub fn list_platforms(&self, which: &PlatformFilter) -> Vec<PlatformListing> {
        self.upstream
            .platforms()
            .listings()
            .into_iter()
            .filter(|platform| platform.enabled)
            .filter(|platform| match which {
                PlatformFilter::All => true,
                PlatformFilter::Contract => !platform.is_custom,
                PlatformFilter::One(name) => platform.name == *name,
            })
            .map(|platform| PlatformListing {
                name: platform.name.to_owned(),
                label: platform.label.to_owned(),
                is_configured: platform.availability == Availability::Prod,
                has_redirect: platform.has_callback,
            })
            .collect()
    }

    /// True for a name that a list can be filtered by: one of the contract's, or an enabled platform's.
    #[must_use]
    pub fn knows_platform(&self, name: &str) -> bool {
        CONTRACT_NAMES.contains(&name) || !self.list_platforms(&PlatformFilter::One(name.to_owned())).is_empty()
    }

    /// The sentence for a name that cannot be connected through a redirect.
    pub(super) fn unknown_platform(&self, name: &str) -> String {
        if let Some(Protocol::AtProtocol(bluesky)) = self.upstream.protocol(name) {
            return format!(
                "{} has no redirect to connect with: send handle and app password to POST /v1/connect/{name}/auth",
                bluesky.label
            );
        }
        let switched_off = self.upstream.platforms().listings().into_iter().find(|known| known.name == name);
        if let Some(known) = switched_off.filter(|known| !known.enabled) {
            return format!("{} is switched off here", known.label);
        }
        format!("This broker has no platform of that name; it has {}", self.platform_names())
    }

    /// Names of the platforms that connect through a redirect, for a sentence.
    pub(super) fn platform_names(&self) -> String {
        let known: Vec<&str> =
            self.upstream.platforms().iter().map(|platform| platform.platform().name.as_ref()).collect();
        known.join(", ")
    }
}
