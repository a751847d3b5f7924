//! `[platforms.NAME]`: the settings of a built-in platform. `own` reads the definition of an operator's own.

mod own;
mod placeholders;
mod response_mode;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use strum::VariantArray as _;

use super::keys;
use super::reader::Reader;
use crate::domain::echo::harmless;
use crate::domain::secret::SecretString;
use crate::platforms::bluesky::NAME as BLUESKY;
use crate::platforms::registry::Settings;
use crate::platforms::{
    BUILT_IN, Blame, Bluesky, ClientAuth, Credentials, Pkce, Platform, Registry, Revocation, ScopeSeparator,
    built_in_names, have_configuration, parameters_of, sets_brokers_own,
};

/// From a second to ten years.
const TOKEN_LIFETIME: RangeInclusive<u32> = 1..=315_360_000;

pub(super) fn read(reader: &mut Reader) -> Registry {
    let supported: Vec<Platform> = BUILT_IN.iter().map(|definition| definition()).collect();
    let mut settings = BTreeMap::new();
    let mut custom = Vec::new();
    let bluesky = bluesky(reader);
    for platform in &supported {
        let name = platform.name.as_ref();
        let read = built_in(reader, platform);
        if read.revoke_url.is_some() && platform.revocation == Revocation::Unsupported {
            reader.warn(
                &[keys::PLATFORMS, name, "revoke_url"],
                "has no effect: this platform does not support revocation",
            );
        }
        settings.insert(name.to_owned(), read);
    }
    let taken = built_in_names();
    for name in reader.keys(&[keys::PLATFORMS]) {
        if !taken.iter().any(|taken| *taken == name) {
            custom.extend(own::read(reader, &name));
        }
    }
    Registry::new(settings, custom).with_bluesky(bluesky)
}

fn bluesky(reader: &mut Reader) -> Bluesky {
    let default = Bluesky::default();
    let at = |key| [keys::PLATFORMS, BLUESKY, key];
    Bluesky {
        enabled: reader.flag(&at("enabled")).unwrap_or(default.enabled),
        label: reader.label(&at("label")).unwrap_or(default.label),
        resolver_url: base(reader, &at("resolver_url")).unwrap_or(default.resolver_url),
        plc_url: base(reader, &at("plc_url")).unwrap_or(default.plc_url),
        errors: errors(reader, BLUESKY),
    }
}

fn built_in(reader: &mut Reader, platform: &Platform) -> Settings {
    let name = platform.name.as_ref();
    let at = |key| [keys::PLATFORMS, name, key];
    let has_hosts = platform.identity.accounts.hosts().is_some();
    let mut host = |key| if has_hosts { base(reader, &at(key)) } else { None };
    let (accounts_url, locations_url) = (host("accounts_url"), host("locations_url"));
    let authorize_url = reader.endpoint(&at("authorize_url"));
    let in_query = authorize_url.as_deref().map(parameters_of).unwrap_or_default();
    if let Some(why) = sets_brokers_own("authorize_url", &in_query) {
        reader.mistake(&at("authorize_url"), why);
    }
    let client_auth = reader.word(&at("client_auth"), &[ClientAuth::Basic, ClientAuth::Body, ClientAuth::None]);
    let authorize_params = parameters(reader, name, "authorize_params");
    response_mode::refuse_others(reader, name, &in_query, &authorize_params);
    let are_elsewhere = have_configuration(&in_query) || have_configuration(&authorize_params);
    Settings {
        accounts_url,
        locations_url,
        enabled: reader.flag(&at("enabled")),
        credentials: credentials(reader, name, client_auth.filter(|way| *way == ClientAuth::None)),
        label: reader.label(&at("label")),
        scopes: reader.needed_scopes(&at("scopes"), are_elsewhere),
        optional_scopes: reader.scopes(&at("optional_scopes")),
        authorize_url,
        token_url: reader.endpoint(&at("token_url")),
        revoke_url: reader.endpoint(&at("revoke_url")),
        api_url: base(reader, &at("api_url")),
        api_version: api_version(reader, platform),
        client_auth,
        pkce: reader.word(&at("pkce"), &[Pkce::S256, Pkce::S256Hex, Pkce::S256HexOnLoopback, Pkce::None]),
        authorize_params,
        token_params: parameters(reader, name, "token_params"),
        refresh_params: parameters(reader, name, "refresh_params"),
        scope_separator: scope_separator(reader, &at("scope_separator")),
        token_lifetime: reader.number(&at("token_lifetime_seconds"), TOKEN_LIFETIME),
        errors: errors(reader, name),
    }
}

/// Reads parameters that change the built-in ones. Those that the broker sets itself are not among them.
fn parameters(reader: &mut Reader, name: &str, key: &str) -> Vec<(String, String)> {
    let path = [keys::PLATFORMS, name, key];
    let parameters = reader.pairs(&path);
    if let Some(why) = sets_brokers_own(key, &parameters) {
        reader.mistake(&path, why);
    }
    parameters
}

/// Reads the version of a platform's API, which must be written as the platform writes its versions.
fn api_version(reader: &mut Reader, platform: &Platform) -> Option<String> {
    let path = [keys::PLATFORMS, platform.name.as_ref(), "api_version"];
    let version = reader.text(&path)?;
    if platform.api_version.is_empty() {
        reader.warn(&path, "has no effect: the broker's calls to this platform name no version");
        return None;
    }
    if !is_written_like(&version, &platform.api_version) {
        reader.mistake(&path, format!("must be written like \"{}\"", platform.api_version));
        return None;
    }
    Some(version)
}

/// True for texts that differ in the digits of their numbers only. A date (six digits or more) keeps its length; one of
/// six digits has a month.
fn is_written_like(text: &str, pattern: &str) -> bool {
    let form = |text: &str| {
        let mut form = Vec::new();
        for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
            let digits = part.bytes().filter(u8::is_ascii_digit).count();
            form.push((
                if digits < 6 { digits.min(1) } else { digits },
                part.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned(),
            ));
        }
        form
    };
    let mut months = text.split(|c: char| !c.is_ascii_digit()).filter(|digits| digits.len() == 6);
    let is_month = |digits: &str| digits.get(4..).is_some_and(|month| ("01"..="12").contains(&month));
    form(text) == form(pattern) && months.all(is_month)
}

/// Reads a URL to which the broker appends the paths of its calls.
fn base(reader: &mut Reader, path: &[&str]) -> Option<String> {
    let url = reader.endpoint(path)?;
    if url.contains('?') {
        reader.mistake(path, "must have no query: the broker appends the paths of its calls");
    }
    Some(url.trim_end_matches('/').to_owned())
}

/// Reads client id and secret. One without the other is a mistake. `without`: how a client without a secret
/// authenticates.
fn credentials(reader: &mut Reader, name: &str, without: Option<ClientAuth>) -> Option<Credentials> {
    let section = [keys::PLATFORMS, name];
    let id_path = [keys::PLATFORMS, name, "client_id"];
    let secret_path = [keys::PLATFORMS, name, "client_secret"];
    let told_of_secret = reader.mistakes();
    let client_id = reader.copied(&id_path);
    let client_secret = reader.secret(&section, "client_secret");
    let mut several = reader.secrets(&section, "client_secrets").into_iter();
    let layers = ["client_secret", "client_secrets"].map(|key| reader.layer_of_secret(&section, key));
    let (client_secret, older_secrets) = match client_secret {
        Some(_) if several.len() > 0 && layers[0] == layers[1] => {
            reader.mistake(&secret_path, "and client_secrets are both set: put all secrets into client_secrets");
            return None;
        }
        Some(secret) if several.len() == 0 || layers[0] > layers[1] => (Some(secret), Vec::new()),
        _ => (several.next(), several.collect()),
    };
    match (client_id, client_secret) {
        (None, None) => None,
        (Some(client_id), Some(_)) if client_id.contains(char::is_whitespace) => {
            reader.mistake(&id_path, "contains white space: copy it from the platform again");
            None
        }
        (_, Some(_)) if let Some(without) = without => {
            let word: &str = without.into();
            reader.mistake(
                &secret_path,
                format!("is set although client_auth = \"{word}\" needs no secret: remove one of the two"),
            );
            None
        }
        (Some(client_id), Some(client_secret)) => {
            Some(Credentials { client_id, client_secret, older_secrets, private_key: None })
        }
        (Some(client_id), None) if without.is_some() && reader.mistakes() == told_of_secret => {
            Some(Credentials { client_id, client_secret: SecretString::default(), older_secrets, private_key: None })
        }
        // One of the two is there but invalid, which is already noted.
        _ if reader.mistakes() > told_of_secret => None,
        (Some(_), None) => {
            reader.mistake(
                &secret_path,
                "is missing although client_id is set: set client_secret, client_secret_file or client_secrets, or \
                 client_auth = \"none\" for a client without one, or empty both",
            );
            None
        }
        (None, Some(_)) => {
            reader.mistake(&id_path, "is missing although client_secret is set: set it, or empty both");
            None
        }
    }
}

/// Reads the operator's meanings of a platform's codes.
fn errors(reader: &mut Reader, name: &str) -> Vec<(String, Blame)> {
    let pairs = reader.pairs(&[keys::PLATFORMS, name, "errors"]);
    pairs
        .into_iter()
        .filter_map(|(code, _)| {
            let path = [keys::PLATFORMS, name, "errors", code.as_str()];
            if code.is_empty() || harmless(&code) != code {
                reader.mistake(&path, "is no code of a platform: it has up to 64 letters, digits, dots, _ and -");
                return None;
            }
            let blame = reader.word(&path, Blame::VARIANTS);
            if blame.is_none() && reader.text(&path).is_none() {
                reader.mistake(&path, "is empty: name what the code means, \"app\", \"reconnect\" or \"retry\"");
            }
            Some((code.clone(), blame?))
        })
        .collect()
}

fn scope_separator(reader: &mut Reader, path: &[&str]) -> Option<ScopeSeparator> {
    match reader.untrimmed(path)?.as_str() {
        "," => Some(ScopeSeparator::Comma),
        " " => Some(ScopeSeparator::Space),
        _ => {
            reader.mistake(path, "must be \",\" or \" \"");
            None
        }
    }
}
