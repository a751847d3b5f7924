//! `[platforms.NAME]` where NAME is no built-in platform: the definition of an operator's own.

use strum::VariantArray as _;
use url::Url;

use super::{TOKEN_LIFETIME, credentials, errors, placeholders, response_mode, scope_separator};
use crate::config::reader::Reader;
use crate::config::{keys, presets};
use crate::platforms::{
    ClientAuth, Credentials, CustomPlatform, Guide, IdentityFrom, IdentityMethod, IdentityPointers, Pkce, PrivateKey,
    RevokedToken, ScopeSeparator, ServerFromUser, SigningAlgorithm, Subject, Text, TokenBody, built_in_names,
    parameters_of,
};

/// Reads a platform with its credentials, and with `true` when it is switched on. `None` when it is incomplete.
pub(super) fn read(reader: &mut Reader, name: &str) -> Option<(CustomPlatform, Option<Credentials>, bool)> {
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
    let platform = described(reader, name, guide, server_from_user, client_auth);
    let is_complete = check(reader, &platform, credentials.as_ref(), has_wrong_preset);
    is_complete.then_some((platform, credentials, enabled))
}

/// Reads the rest of the section, and adds what was read of it before.
fn described(
    reader: &mut Reader,
    name: &str,
    guide: Guide,
    server_from_user: Option<ServerFromUser>,
    client_auth: Option<ClientAuth>,
) -> CustomPlatform {
    let at = |key| [keys::PLATFORMS, name, key];
    let mut platform = CustomPlatform {
        name: name.to_owned(),
        guide,
        token_lifetime: reader.number(&at("token_lifetime_seconds"), TOKEN_LIFETIME),
        label: reader.label(&at("label")),
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
    if platform.issuer.is_some() {
        platform.identity = platform.identity.or_standard_claims();
    }
    platform
}

/// Notes the mistakes and the risks of a platform. False when it is incomplete.
fn check(
    reader: &mut Reader,
    platform: &CustomPlatform,
    credentials: Option<&Credentials>,
    has_wrong_preset: bool,
) -> bool {
    let name = platform.name.as_str();
    let section = [keys::PLATFORMS, name];
    let at = |key| [keys::PLATFORMS, name, key];
    if platform.server_from_user.is_some() && credentials.is_some() {
        reader.mistake(
            &at("client_id"),
            "must not be set together with server_from_user: the broker registers itself at each server",
        );
    }
    let is_discovered = platform.issuer.is_some();
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
        let why = incomplete(reader, platform, &missing);
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
        presets::warn(reader, platform);
    }
    placeholders::warn(reader, platform, credentials);
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
    missing.is_empty()
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
