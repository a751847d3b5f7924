//! `[platforms.NAME]`: the settings of a built-in platform, or the definition of an operator's own.

mod placeholders;
mod response_mode;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use strum::VariantArray as _;
use url::Url;

use super::reader::Reader;
use super::{keys, presets};
use crate::domain::platform_error::harmless;
use crate::domain::secret::SecretString;
use crate::platforms::bluesky::NAME as BLUESKY;
use crate::platforms::registry::Settings;
use crate::platforms::{
    Accounts, BUILT_IN, Blame, Bluesky, ClientAuth, Credentials, CustomPlatform, Guide, IdentityFrom, IdentityMethod,
    IdentityPointers, Pkce, Platform, PrivateKey, Registry, Revocation, RevokedToken, ScopeSeparator, ServerFromUser,
    SigningAlgorithm, Subject, Text, TokenBody, built_in_names, parameters_of, sets_brokers_own,
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
            custom.extend(own(reader, &name));
        }
    }
    Registry::new(settings, custom).with_bluesky(bluesky)
}

fn bluesky(reader: &mut Reader) -> Bluesky {
    let default = Bluesky::default();
    let at = |key| [keys::PLATFORMS, BLUESKY, key];
    let base = |url: Option<String>, default| url.map_or(default, |url| without_slash(&url));
    Bluesky {
        enabled: reader.flag(&at("enabled")).unwrap_or(default.enabled),
        label: reader.text(&at("label")).unwrap_or(default.label),
        resolver_url: base(reader.endpoint(&at("resolver_url")), default.resolver_url),
        plc_url: base(reader.endpoint(&at("plc_url")), default.plc_url),
        errors: errors(reader, BLUESKY),
    }
}

fn built_in(reader: &mut Reader, platform: &Platform) -> Settings {
    let name = platform.name.as_ref();
    let at = |key| [keys::PLATFORMS, name, key];
    // Only Business Profile has APIs on hosts of their own.
    let has_hosts = matches!(platform.identity.accounts, Accounts::GoogleLocations { .. });
    let mut host = |key| if has_hosts { reader.endpoint(&at(key)).map(|url| without_slash(&url)) } else { None };
    let (accounts_url, locations_url) = (host("accounts_url"), host("locations_url"));
    let authorize_url = reader.endpoint(&at("authorize_url"));
    let in_query = authorize_url.as_deref().map(parameters_of).unwrap_or_default();
    if let Some(why) = sets_brokers_own("authorize_url", &in_query) {
        reader.mistake(&at("authorize_url"), why);
    }
    let client_auth = reader.word(&at("client_auth"), &[ClientAuth::Basic, ClientAuth::Body, ClientAuth::None]);
    let authorize_params = parameters(reader, name, "authorize_params");
    response_mode::refuse_others(reader, name, &in_query, &authorize_params);
    Settings {
        accounts_url,
        locations_url,
        enabled: reader.flag(&at("enabled")),
        credentials: credentials(reader, name, client_auth.filter(|way| *way == ClientAuth::None)),
        label: reader.text(&at("label")),
        scopes: reader.needed_scopes(&at("scopes")),
        optional_scopes: reader.scopes(&at("optional_scopes")),
        authorize_url,
        token_url: reader.endpoint(&at("token_url")),
        revoke_url: reader.endpoint(&at("revoke_url")),
        api_url: reader.endpoint(&at("api_url")),
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

fn without_slash(url: &str) -> String {
    url.trim_end_matches('/').to_owned()
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

/// Reads an operator's own platform; `None` when it is incomplete.
fn own(reader: &mut Reader, name: &str) -> Option<(CustomPlatform, Option<Credentials>, bool)> {
    let section = [keys::PLATFORMS, name];
    if let Some(problem) = keys::bad_name(name) {
        reader.mistake(&section, problem);
        return None;
    }
    let at = |key| [keys::PLATFORMS, name, key];

    let enabled = reader.flag(&at("enabled")).unwrap_or(true);
    let server_from_user = server_from_user(reader, name);
    let (client_auth, private_key) = client_auth(reader, name);
    let without = client_auth.filter(|way| matches!(way, ClientAuth::None | ClientAuth::PrivateKeyJwt));
    let credentials = credentials(reader, name, without).map(|known| Credentials { private_key, ..known });
    let told = reader.mistakes();
    let guide = guide(reader, &at(presets::PRESET));
    let has_wrong_preset = reader.mistakes() > told;
    let mut platform = CustomPlatform {
        name: name.to_owned(),
        guide,
        token_lifetime: reader.number(&at("token_lifetime_seconds"), TOKEN_LIFETIME),
        label: reader.text(&at("label")),
        server_from_user,
        issuer: reader.text(&at("issuer")),
        authorize_url: reader.text(&at("authorize_url")),
        token_url: reader.text(&at("token_url")),
        revoke_url: reader.text(&at("revoke_url")),
        revoke_token: reader
            .word(&at("revoke_token"), &[RevokedToken::Access, RevokedToken::Refresh])
            .unwrap_or_default(),
        par_url: reader.text(&at("par_url")),
        par: reader.flag(&at("par")),
        jwks_url: reader.text(&at("jwks_url")),
        identity_from: reader.word(&at("identity_from"), &[IdentityFrom::Userinfo, IdentityFrom::IdToken]),
        identity_url: reader.text(&at("identity_url")),
        identity_method: reader
            .word(&at("identity_method"), &[IdentityMethod::Get, IdentityMethod::Post])
            .unwrap_or_default(),
        identity_headers: reader.pairs(&at("identity_headers")),
        scopes: reader.scopes(&at("scopes")),
        optional_scopes: reader.scopes(&at("optional_scopes")).unwrap_or_default(),
        scope_separator: scope_separator(reader, &at("scope_separator")).unwrap_or(ScopeSeparator::Space),
        client_auth,
        pkce: reader.word(&at("pkce"), &[Pkce::S256, Pkce::None]),
        authorize_params: reader.pairs(&at("authorize_params")),
        token_params: reader.pairs(&at("token_params")),
        token_body: reader
            .word(&at("token_body"), &[TokenBody::Form, TokenBody::Json, TokenBody::Multipart])
            .unwrap_or_default(),
        token_pointer: reader.text(&at("token_pointer")),
        refresh_params: reader.pairs(&at("refresh_params")),
        errors: errors(reader, name),
        scope_on_refresh: reader.flag(&at("scope_on_refresh")).unwrap_or(false),
        identity: IdentityPointers::of(|key| reader.text(&[keys::PLATFORMS, name, "identity", key])),
        subject: reader.word(&at("subject"), &[Subject::Account, Subject::Person]),
    };
    if platform.server_from_user.is_some() && credentials.is_some() {
        reader.mistake(
            &at("client_id"),
            "must not be set together with server_from_user: the broker registers itself at each server",
        );
    }
    let is_discovered = platform.issuer.is_some();
    if is_discovered {
        platform.identity = platform.identity.or_standard_claims();
    }
    let required = [
        ("authorize_url", is_discovered || platform.authorize_url.is_some()),
        ("token_url", is_discovered || platform.token_url.is_some()),
        (
            "identity_url",
            is_discovered || platform.identity_url.is_some() || platform.identity_from == Some(IdentityFrom::IdToken),
        ),
        ("identity.id", !platform.identity.id.is_empty()),
    ];
    let missing: Vec<&str> = required.iter().filter(|(_, is_set)| !is_set).map(|(key, _)| *key).collect();
    if !missing.is_empty() && !has_wrong_preset {
        let why = incomplete(reader, &platform, &missing);
        reader.mistake(&section, why);
    }
    for (key, url) in platform.urls() {
        if let Ok(url) = Url::parse(url) {
            reader.warn_if_plain(&at(key), &url);
        }
    }
    let in_query = platform.authorize_url.as_deref().map(parameters_of).unwrap_or_default();
    response_mode::refuse_others(reader, name, &in_query, &platform.authorize_params);
    if !has_wrong_preset {
        presets::warn(reader, &platform);
    }
    placeholders::warn(reader, &platform, credentials.as_ref());
    let is_without_openid = platform.scopes.as_ref().is_some_and(|scopes| scopes.iter().all(|scope| scope != "openid"));
    if platform.identity_from == Some(IdentityFrom::IdToken) && is_without_openid {
        reader.warn(&at("scopes"), "lacks openid: without it, servers send no id_token to tell who connected");
    }
    for mistake in platform.mistakes() {
        if !missing.contains(&mistake.key) {
            let path: Vec<&str> = section.iter().copied().chain(mistake.key.split('.')).collect();
            reader.mistake(&path, mistake.why);
        }
    }
    missing.is_empty().then_some((platform, credentials, enabled))
}

/// Reads how the broker registers itself at the servers that people name.
fn server_from_user(reader: &mut Reader, name: &str) -> Option<ServerFromUser> {
    let at = |key| [keys::PLATFORMS, name, key];
    let is_set = reader.flag(&at("server_from_user")).unwrap_or(false);
    let register_path = reader.text(&at("register_path"));
    let client_name = reader.text(&at("client_name")).map(Text::from);
    for (key, is_named) in [("register_path", register_path.is_some()), ("client_name", client_name.is_some())] {
        if is_named && !is_set {
            reader.warn(&at(key), "has no effect without server_from_user = true");
        }
    }
    let register_path = register_path.map_or(Text::Borrowed("/api/v1/apps"), Text::from);
    is_set.then_some(ServerFromUser { register_path, client_name })
}

/// The mistake of an incomplete section.
fn incomplete(reader: &mut Reader, platform: &CustomPlatform, missing: &[&str]) -> String {
    let preset = reader.text(&[keys::PLATFORMS, &platform.name, presets::PRESET]);
    match presets::left_behind(preset.as_deref(), platform) {
        Some(preset) => format!(
            "needs {}, or issuer: authorize_url and token_url are at another server than the preset {preset}, so none of \
             the preset's URLs is used",
            missing.join(" and ")
        ),
        None => needs(&platform.name, missing, &reader.keys(&[keys::PLATFORMS])),
    }
}

/// The keys that an incomplete section needs.
fn needs(name: &str, missing: &[&str], platforms: &[String]) -> String {
    let others = platforms.iter().filter(|other| *other != name).cloned().map(Text::from);
    let known: Vec<Text> = built_in_names().into_iter().chain(presets::names().map(Text::from)).chain(others).collect();
    let guess = match keys::nearest_word(name, &known.iter().map(AsRef::as_ref).collect::<Vec<_>>()) {
        Some(preset) if preset == name => format!("; or did you mean {} = \"{name}\"?", presets::PRESET),
        Some(nearest) => format!("; or did you mean {}.{nearest}?", keys::PLATFORMS),
        None => String::new(),
    };
    let (missing, presets) = (missing.join(", "), presets::listed());
    format!("is a platform of your own and needs issuer, or {missing}, or preset (one of {presets}){guess}")
}

/// Reads which preset filled in the section, and returns what is known of it.
fn guide(reader: &mut Reader, path: &[&str]) -> Guide {
    let Some(preset) = reader.text(path) else { return Guide::default() };
    presets::guide(&preset).unwrap_or_else(|| {
        let known: Vec<&str> = presets::names().collect();
        let guess = keys::nearest_word(&preset, &known)
            .map_or_else(String::new, |nearest| format!(": did you mean {nearest}?"));
        reader.mistake(path, format!("is none of the presets ({}){guess}", known.join(", ")));
        Guide::default()
    })
}

/// Reads how the client authenticates, with its private key where it has one.
fn client_auth(reader: &mut Reader, name: &str) -> (Option<ClientAuth>, Option<PrivateKey>) {
    let section = [keys::PLATFORMS, name];
    let at = |key| [keys::PLATFORMS, name, key];
    let ways = [ClientAuth::Basic, ClientAuth::Body, ClientAuth::None, ClientAuth::PrivateKeyJwt];
    let way = reader.word(&at("client_auth"), &ways);
    let told = reader.mistakes();
    let pem = reader.secret(&section, "private_key");
    let id = reader.text(&at("private_key_id"));
    let algorithm = reader.word(&at("private_key_algorithm"), SigningAlgorithm::VARIANTS);
    let audience = reader.text(&at("private_key_audience"));
    let is_told = reader.mistakes() > told;
    let Some(pem) = pem else {
        let is_named = id.is_some() || algorithm.is_some() || audience.is_some();
        if !is_told && (is_named || way == Some(ClientAuth::PrivateKeyJwt)) {
            reader.mistake(
                &at("private_key_file"),
                "is missing: set it to the file with the client's private key, in PKCS#8 and PEM",
            );
        }
        // A key that cannot be read is no reason to ask for a secret.
        return (way.or(is_told.then_some(ClientAuth::PrivateKeyJwt)), None);
    };
    let key = match PrivateKey::from_pem(&pem) {
        Ok(key) => key.used_as(id, algorithm, audience),
        Err(why) => {
            reader.mistake(&at("private_key"), format!("(or the file that private_key_file names) {why}"));
            return (way.or(Some(ClientAuth::PrivateKeyJwt)), None);
        }
    };
    if let Some(algorithm) = algorithm
        && !key.algorithms().contains(&algorithm)
    {
        let possible = key.algorithms().iter().map(|&known| <&str>::from(known)).collect::<Vec<_>>();
        reader.mistake(
            &at("private_key_algorithm"),
            format!("does not fit the key, which signs with {}", possible.join(" or ")),
        );
    }
    if let Some(way) = way.filter(|way| *way != ClientAuth::PrivateKeyJwt) {
        let word: &str = way.into();
        reader.mistake(
            &at("client_auth"),
            format!("is \"{word}\" although a private key is set: write \"private_key_jwt\", or remove the key"),
        );
    }
    (Some(ClientAuth::PrivateKeyJwt), Some(key))
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
