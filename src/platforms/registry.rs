//! The platforms of this broker: the built-in ones with the operator's changes, and the operator's own.
//!
//! Invariant: a name stands for one platform, and a platform without credentials is listed but never connected. Bluesky
//! is beside those that speak OAuth 2.0, not among them: what looks for one of those does not find it.

use std::collections::BTreeMap;

use super::{Accounts, BUILT_IN, Bluesky, CONTRACT_NAMES, CustomPlatform, Platform, Revocation, Text, bluesky};
use crate::domain::secret::SecretString;

/// An OAuth app at a platform.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: SecretString,
}

/// What the operator says of a built-in platform; absent members keep the built-in value.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub enabled: Option<bool>,
    pub credentials: Option<Credentials>,
    pub label: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub revoke_url: Option<String>,
    pub api_url: Option<String>,
    pub api_version: Option<String>,
}

/// A platform with this operator's credentials for it.
#[derive(Debug, Clone)]
pub struct ConfiguredPlatform {
    pub platform: Platform,
    pub enabled: bool,
    /// The operator's own app; callers may bring theirs.
    pub credentials: Option<Credentials>,
}

/// Whether a platform can be connected with the operator's app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Known, but without credentials.
    Dev,
    /// Ready.
    Prod,
}

/// All platforms of this broker, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    platforms: BTreeMap<String, ConfiguredPlatform>,
    bluesky: Bluesky,
}

/// What every platform has, however it connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing<'a> {
    pub name: &'a str,
    pub label: &'a str,
    pub enabled: bool,
    pub availability: Availability,
    /// Whether callers' models do not know the name: the operator's own, or a built-in platform's beyond the ten.
    pub is_custom: bool,
    /// Whether it is connected through a redirect, for which an operator registers a callback URL.
    pub has_callback: bool,
}

impl Registry {
    /// The built-in platforms under the operator's settings, and the operator's own. A name in `settings` that is not
    /// built in is ignored: configuration has refused it before.
    #[must_use]
    pub fn new(
        mut settings: BTreeMap<String, Settings>,
        custom: Vec<(CustomPlatform, Option<Credentials>, bool)>,
    ) -> Self {
        let mut platforms = BTreeMap::new();
        for definition in BUILT_IN {
            let platform = definition();
            let name = platform.name.to_string();
            let settings = settings.remove(&name).unwrap_or_default();
            platforms.insert(name, configure(platform, settings));
        }
        for (custom, credentials, enabled) in custom {
            let platform = custom.into_platform();
            platforms.insert(platform.name.to_string(), ConfiguredPlatform { platform, enabled, credentials });
        }
        Self { platforms, bluesky: Bluesky::default() }
    }

    /// The same with what the operator says of Bluesky.
    #[must_use]
    pub fn with_bluesky(self, bluesky: Bluesky) -> Self {
        Self { bluesky, ..self }
    }

    /// Bluesky, unless the operator switched it off.
    #[must_use]
    pub fn bluesky(&self) -> Option<&Bluesky> {
        Some(&self.bluesky).filter(|bluesky| bluesky.enabled)
    }

    /// All platforms, switched off or not, by name.
    #[must_use]
    pub fn listings(&self) -> Vec<Listing<'_>> {
        let bluesky = Listing {
            name: bluesky::NAME,
            label: &self.bluesky.label,
            enabled: self.bluesky.enabled,
            availability: Availability::Prod,
            is_custom: false,
            has_callback: false,
        };
        let mut all: Vec<_> = self
            .platforms
            .values()
            .map(|configured| Listing {
                name: &configured.platform.name,
                label: &configured.platform.label,
                enabled: configured.enabled,
                availability: configured.availability(),
                is_custom: configured.is_custom(),
                has_callback: true,
            })
            .chain([bluesky])
            .collect();
        all.sort_by_key(|listing| listing.name);
        all
    }

    /// What people call the platform of that name; the name itself where it is not known or switched off.
    #[must_use]
    pub fn label(&self, name: &str) -> String {
        let listing = self.listings().into_iter().find(|listing| listing.enabled && listing.name == name);
        listing.map_or(name, |listing| listing.label).to_owned()
    }

    /// The OAuth platform of that name, unless the operator switched it off.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&ConfiguredPlatform> {
        self.platforms.get(name).filter(|platform| platform.enabled)
    }

    /// All OAuth platforms that are not switched off, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ConfiguredPlatform> {
        self.platforms.values().filter(|platform| platform.enabled)
    }

    /// All OAuth platforms, switched off or not.
    pub fn iter_all(&self) -> impl Iterator<Item = &ConfiguredPlatform> {
        self.platforms.values()
    }
}

impl ConfiguredPlatform {
    #[must_use]
    pub fn availability(&self) -> Availability {
        if self.credentials.is_some() { Availability::Prod } else { Availability::Dev }
    }

    /// Whether callers' models do not know the name: the operator's own, or a built-in platform's beyond the ten.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        !CONTRACT_NAMES.contains(&self.platform.name.as_ref())
    }
}

fn configure(mut platform: Platform, settings: Settings) -> ConfiguredPlatform {
    let set = |to: &mut Text, from: Option<String>| {
        if let Some(from) = from {
            *to = from.into();
        }
    };
    set(&mut platform.label, settings.label);
    set(&mut platform.authorize_url, settings.authorize_url);
    set(&mut platform.token_url, settings.token_url);
    let api_url = settings.api_url.map(|url| url.trim_end_matches('/').to_owned());
    if let Accounts::GoogleLocations { accounts_url, locations_url } = &mut platform.identity.accounts {
        set(accounts_url, api_url.clone());
        set(locations_url, api_url.clone());
    }
    set(&mut platform.api_url, api_url);
    set(&mut platform.api_version, settings.api_version);
    if let (Revocation::Delete { url } | Revocation::Endpoint { url, .. }, Some(from)) =
        (&mut platform.revocation, settings.revoke_url)
    {
        *url = from.into();
    }
    let version = platform.api_version.clone();
    let put_version = |url: &mut Text| {
        if url.contains("{version}") {
            *url = url.replace("{version}", &version).into();
        }
    };
    put_version(&mut platform.authorize_url);
    put_version(&mut platform.token_url);
    if let Revocation::Delete { url } | Revocation::Endpoint { url, .. } = &mut platform.revocation {
        put_version(url);
    }
    if let Some(scopes) = settings.scopes {
        platform.scopes = scopes.into_iter().map(Text::from).collect();
    }
    ConfiguredPlatform { platform, enabled: settings.enabled.unwrap_or(true), credentials: settings.credentials }
}
