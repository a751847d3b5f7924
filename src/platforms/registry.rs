//! The platforms of this broker: the built-in ones with the operator's changes, and the operator's own.
//!
//! Invariant: a name stands for one platform, and a platform without credentials is listed but never connected. Bluesky
//! is kept beside the platforms with OAuth 2.0: a lookup among those never finds it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::endpoint::without_removed;
use super::{
    BUILT_IN, Blame, Bluesky, CONTRACT_NAMES, ClientAuth, CustomPlatform, Metadata, Pkce, Platform, PrivateKey,
    Revocation, ScopeSeparator, Text, bluesky,
};
use crate::domain::secret::SecretString;

/// An OAuth app at a platform.
#[derive(Debug, Clone)]
pub struct Credentials {
    pub client_id: String,
    /// Empty for a client without one.
    pub client_secret: SecretString,
    /// Tried in turn where the platform refuses the client with the one before.
    pub older_secrets: Vec<SecretString>,
    /// Signs assertions in place of the secret.
    pub private_key: Option<PrivateKey>,
}

impl Credentials {
    /// Those of a client that has none yet.
    #[must_use]
    pub fn none() -> Self {
        Self {
            client_id: String::new(),
            client_secret: SecretString::default(),
            older_secrets: Vec::new(),
            private_key: None,
        }
    }
}

/// The operator's settings for a built-in platform; absent members keep the built-in value.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    pub enabled: Option<bool>,
    pub credentials: Option<Credentials>,
    pub label: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub optional_scopes: Option<Vec<String>>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub revoke_url: Option<String>,
    pub api_url: Option<String>,
    /// Hosts of the two APIs of Business Profile; absent: `api_url`.
    pub accounts_url: Option<String>,
    pub locations_url: Option<String>,
    pub api_version: Option<String>,
    pub client_auth: Option<ClientAuth>,
    pub pkce: Option<Pkce>,
    /// Added to the built-in parameters, or in place of one of the same name; an empty value removes it.
    pub authorize_params: Vec<(String, String)>,
    /// The same for the code exchange.
    pub token_params: Vec<(String, String)>,
    /// The same for refreshes.
    pub refresh_params: Vec<(String, String)>,
    pub scope_separator: Option<ScopeSeparator>,
    /// Seconds that an access token lives where the answer does not say.
    pub token_lifetime: Option<u32>,
    /// Meanings of codes, beyond the built-in ones and before them.
    pub errors: Vec<(String, Blame)>,
}

/// A platform with this operator's credentials for it.
#[derive(Debug, Clone)]
pub struct ConfiguredPlatform {
    /// As it is configured.
    written: Platform,
    is_own: bool,
    pub enabled: bool,
    /// The operator's app; callers may bring their own.
    pub credentials: Option<Credentials>,
    /// `None` where the configuration says everything.
    discovery: Option<Discovery>,
}

/// A platform that is completed by what its server says. Each part is set at most once, so that references to a
/// platform stay valid while the broker runs.
#[derive(Debug, Clone)]
struct Discovery {
    description: CustomPlatform,
    /// By what the server said before this start.
    restored: OnceLock<Platform>,
    /// By what it said since.
    found: OnceLock<Platform>,
}

/// Tells if a platform can be connected with the operator's app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// Has no credentials.
    Dev,
    /// Has credentials, or needs none.
    Prod,
}

/// All platforms of this broker, by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    platforms: BTreeMap<String, ConfiguredPlatform>,
    bluesky: Bluesky,
    /// Warnings of the configuration: names of platforms, and sentences on their settings.
    pub(super) warnings: Vec<(String, String)>,
}

/// The properties that every platform has, with OAuth or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listing<'a> {
    pub name: &'a str,
    pub label: &'a str,
    pub enabled: bool,
    pub availability: Availability,
    /// True when the SDKs' models do not know the name: an operator's own platform, or a built-in one beyond the ten.
    pub is_custom: bool,
    /// True when it is connected through a redirect, for which an operator registers a callback URL.
    pub has_callback: bool,
}

impl Listing<'_> {
    /// True when accounts can be connected there.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.enabled && self.availability == Availability::Prod
    }
}

impl Registry {
    /// The built-in platforms under the operator's settings, and the operator's own. A name in `settings` that is not
    /// built in is ignored: configuration has already refused it.
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
            let (name, written) = (custom.name.clone(), custom.platform(None));
            let discovery = custom.issuer.is_some().then(|| Discovery {
                description: custom,
                restored: OnceLock::new(),
                found: OnceLock::new(),
            });
            platforms.insert(name, ConfiguredPlatform { written, is_own: true, enabled, credentials, discovery });
        }
        Self { platforms, ..Self::default() }
    }

    /// The same with the operator's settings for Bluesky.
    #[must_use]
    pub fn with_bluesky(self, bluesky: Bluesky) -> Self {
        Self { bluesky, ..self }
    }

    /// Bluesky, unless the operator disabled it.
    #[must_use]
    pub fn bluesky(&self) -> Option<&Bluesky> {
        Some(&self.bluesky).filter(|bluesky| bluesky.enabled)
    }

    /// The operator's meanings of the codes of Bluesky's servers.
    #[must_use]
    pub fn bluesky_errors(&self) -> &[(String, Blame)] {
        &self.bluesky.errors
    }

    /// All platforms, also disabled ones, by name.
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
                name: &configured.written.name,
                label: &configured.written.label,
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

    /// Label of a platform; its name where it is unknown or disabled.
    #[must_use]
    pub fn label(&self, name: &str) -> String {
        let listing = self.listings().into_iter().find(|listing| listing.name == name);
        listing.map_or(name, |listing| listing.label).to_owned()
    }

    /// The page where the operator manages the app at a built-in platform.
    #[must_use]
    pub fn console(&self, name: &str) -> Option<&'static str> {
        self.find_any(name)?.platform().console()
    }

    /// The OAuth platform of that name, unless the operator disabled it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&ConfiguredPlatform> {
        self.find_any(name).filter(|platform| platform.enabled)
    }

    /// The OAuth platform of that name, also a disabled one.
    #[must_use]
    pub fn find_any(&self, name: &str) -> Option<&ConfiguredPlatform> {
        self.platforms.get(name)
    }

    /// All enabled OAuth platforms, by name.
    pub fn iter(&self) -> impl Iterator<Item = &ConfiguredPlatform> {
        self.platforms.values().filter(|platform| platform.enabled)
    }

    /// All OAuth platforms, also disabled ones.
    pub fn iter_all(&self) -> impl Iterator<Item = &ConfiguredPlatform> {
        self.platforms.values()
    }
}

impl ConfiguredPlatform {
    /// The platform, as completely as it is known by now.
    #[must_use]
    pub fn platform(&self) -> &Platform {
        let known = self.discovery.as_ref().and_then(|discovery| discovery.found.get().or(discovery.restored.get()));
        known.unwrap_or(&self.written)
    }

    /// True where each person names a server of their own.
    #[must_use]
    pub fn has_servers(&self) -> bool {
        self.written.server_from_user.is_some()
    }

    /// True for a platform of the operator's own.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// The issuer whose metadata completes the platform, as the operator wrote it.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.discovery.as_ref()?.description.issuer.as_deref()
    }

    /// True until the issuer has answered, since the start.
    #[must_use]
    pub fn awaits_discovery(&self) -> bool {
        self.discovery.as_ref().is_some_and(|discovery| discovery.found.get().is_none())
    }

    /// True until it is known what the issuer says, from now or from before this start; also where something is missing
    /// that it may say by now.
    #[must_use]
    pub fn needs_discovery(&self) -> bool {
        let is_restored = self.discovery.as_ref().is_some_and(|discovery| discovery.restored.get().is_some());
        self.awaits_discovery() && (!is_restored || self.platform().lacks().is_some())
    }

    /// True when the platform works without its issuer's metadata.
    #[must_use]
    pub fn is_complete_as_written(&self) -> bool {
        self.written.lacks().is_none()
    }

    /// True when the platform may be used without its issuer's metadata: it verifies id_tokens by its settings alone,
    /// or the issuer publishes none (`is_absent`).
    #[must_use]
    pub fn may_go_without(&self, is_absent: bool) -> bool {
        self.is_complete_as_written() && (is_absent || self.written.id_tokens.is_some())
    }

    /// Completes the platform by what its issuer said before this start.
    pub fn restore(&self, metadata: &Metadata) {
        if let Some(discovery) = &self.discovery {
            discovery.restored.get_or_init(|| discovery.description.platform(Some(metadata)));
        }
    }

    /// Completes the platform by what its issuer says now.
    pub fn adopt(&self, metadata: &Metadata) {
        if let Some(discovery) = &self.discovery {
            discovery.found.get_or_init(|| discovery.description.platform(Some(metadata)));
        }
    }

    #[must_use]
    pub fn availability(&self) -> Availability {
        if self.credentials.is_some() || self.has_servers() { Availability::Prod } else { Availability::Dev }
    }

    /// True when the SDKs' models do not know the name: an operator's own platform, or a built-in one beyond the ten.
    #[must_use]
    pub fn is_custom(&self) -> bool {
        !CONTRACT_NAMES.contains(&self.written.name.as_ref())
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
    if let Some([accounts_url, locations_url]) = platform.identity.accounts.hosts_mut() {
        set(accounts_url, settings.accounts_url.or_else(|| api_url.clone()));
        set(locations_url, settings.locations_url.or_else(|| api_url.clone()));
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
    platform.client_auth = settings.client_auth.unwrap_or(platform.client_auth);
    platform.pkce = settings.pkce.unwrap_or(platform.pkce);
    platform.authorize_url = without_removed(&platform.authorize_url, &settings.authorize_params).into();
    change(&mut platform.authorize_params, settings.authorize_params);
    change(&mut platform.exchange_params, settings.token_params);
    change(&mut platform.refresh_params, settings.refresh_params);
    platform.errors = settings.errors;
    platform.scope_separator = settings.scope_separator.unwrap_or(platform.scope_separator);
    let set_list = |to: &mut Vec<Text>, from: Option<Vec<String>>| {
        if let Some(from) = from {
            *to = from.into_iter().map(Text::from).collect();
        }
    };
    set_list(&mut platform.scopes, settings.scopes);
    set_list(&mut platform.optional_scopes, settings.optional_scopes);
    platform.default_expires_in = settings.token_lifetime.map(u64::from).or(platform.default_expires_in);
    ConfiguredPlatform {
        written: platform,
        is_own: false,
        enabled: settings.enabled.unwrap_or(true),
        credentials: settings.credentials,
        discovery: None,
    }
}

/// Adds parameters, each in place of one of the same name. An empty value only removes it.
fn change(parameters: &mut Vec<(Text, Text)>, changes: Vec<(String, String)>) {
    for (name, value) in changes {
        let at = parameters.iter().position(|(known, _)| *known == name);
        match at.and_then(|at| parameters.get_mut(at)) {
            Some(parameter) => parameter.1 = value.into(),
            None => parameters.push((name.into(), value.into())),
        }
    }
    parameters.retain(|(_, value)| !value.is_empty());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_replaced_and_removed() {
        let text = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let configured = |params: &[(&str, &str)]| {
            let settings = Settings { authorize_params: text(params), ..Settings::default() };
            let registry = Registry::new(BTreeMap::from([("youtube".to_owned(), settings)]), Vec::new());
            let params = &registry.find("youtube").unwrap().platform().authorize_params;
            params.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
        };
        assert_eq!(configured(&[]), "access_type=offline&prompt=consent");
        assert_eq!(configured(&[("prompt", "select_account")]), "access_type=offline&prompt=select_account");
        assert_eq!(configured(&[("prompt", ""), ("hl", "de")]), "access_type=offline&hl=de");
        assert_eq!(configured(&[("none", "")]), "access_type=offline&prompt=consent");
        let settings = Settings {
            authorize_url: Some("https://gateway.example/a?keep=1&hl=en".to_owned()),
            authorize_params: text(&[("hl", "")]),
            ..Settings::default()
        };
        let registry = Registry::new(BTreeMap::from([("youtube".to_owned(), settings)]), Vec::new());
        let url = &registry.find("youtube").unwrap().platform().authorize_url;
        assert_eq!(url, "https://gateway.example/a?keep=1", "also one of the URL's own query");
    }
}
