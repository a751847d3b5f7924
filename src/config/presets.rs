//! Presets: known servers, of which `[platforms.NAME]` names one with `preset`, or by its name where it has no server
//! of its own.
//!
//! `src/platforms/presets.toml` describes them with the keys of an operator's own platform. They are filled in before a
//! section is read, so a preset says nothing that an operator could not write.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use figment::Figment;
use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};
use jiff::civil::Date;
use url::Url;

use super::reader::Reader;
use super::{Config, Environment, from_str, keys};
use crate::platforms::{CustomPlatform, Facts, Guide};

/// The key that names a preset.
pub(super) const PRESET: &str = "preset";

/// The key that says what an account's id means.
const SUBJECT: &str = "subject";

/// The key that names a server which publishes how it is used.
const ISSUER: &str = "issuer";

/// The keys that together describe any other server.
const ENDPOINTS: [&str; 3] = ["authorize_url", "token_url", "identity_url"];

static PRESETS: LazyLock<BTreeMap<String, Preset>> = LazyLock::new(|| {
    let read = Figment::from(Toml::string(include_str!("../platforms/presets.toml"))).find_value("");
    let tables = read.ok().and_then(Value::into_dict).unwrap_or_default();
    tables.into_iter().filter_map(|(name, table)| Some((name, Preset::new(table.into_dict()?)))).collect()
});

struct Preset {
    /// As an operator would write them.
    keys: Dict,
    know: String,
    console: String,
    facts: Facts,
}

impl Preset {
    fn new(mut keys: Dict) -> Self {
        let mut text = |key| keys.remove(key).and_then(Value::into_string).unwrap_or_default();
        let (know, console, as_of) = (text("know"), text("console"), text("as_of").parse());
        let as_of = as_of.unwrap_or(Date::ZERO);
        Self { keys, know, console, facts: Facts { as_of, code: "", access_token: "", refresh: "", versions: &[] } }
    }
}

/// The names of the presets, in alphabetical order.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.keys().map(String::as_str)
}

/// The names in a sentence.
#[must_use]
pub fn listed() -> String {
    names().collect::<Vec<_>>().join(", ")
}

/// Texts about a preset, for operators.
pub(super) fn guide(preset: &str) -> Option<Guide> {
    let Preset { know, console, facts, .. } = PRESETS.get(preset)?;
    Some(Guide { know, console, credentials: console, facts: Some(facts), ..Guide::default() })
}

/// The configuration in which a preset is used as it is.
#[must_use]
pub fn alone(preset: &str, public_url: &str) -> Option<Config> {
    PRESETS.get(preset)?;
    let toml = format!("[server]\npublic_url = {public_url:?}\n[{}.{preset}]", keys::PLATFORMS);
    from_str("preset", &toml, Path::new(""), &Environment::default()).ok()
}

/// Adds to each platform of the operator's own what its preset says and the operator does not. `built_in`: the names of
/// the other platforms.
pub(super) fn fill_in(settings: &mut Value, built_in: &[impl AsRef<str>]) {
    let Value::Dict(_, settings) = settings else { return };
    let Some(Value::Dict(_, platforms)) = settings.get_mut(keys::PLATFORMS) else { return };
    for (name, section) in platforms {
        let Value::Dict(_, section) = section else { continue };
        if built_in.iter().any(|built_in| built_in.as_ref() == name) {
            continue;
        }
        let chosen = match section.get(PRESET) {
            Some(preset) => preset.as_str().map(|preset| preset.trim().to_owned()),
            None if has_server_of_its_own(name, section) => None,
            None => Some(name.clone()),
        };
        if let Some((preset, Preset { keys, .. })) = chosen.and_then(|chosen| PRESETS.get_key_value(&chosen)) {
            section.entry(PRESET.to_owned()).or_insert_with(|| Value::from(preset.as_str()));
            let (has_subject, has_id) = (section.contains_key(SUBJECT), has_id_of_its_own(section));
            fill(section, &keys_for(section, keys));
            if has_id && !has_subject {
                section.remove(SUBJECT);
            }
        }
    }
}

/// True for a section that needs no preset: it has all endpoints of a server, or an issuer where the preset has none. An
/// issuer in place of the preset's names another server of the same kind.
fn has_server_of_its_own(name: &str, section: &Dict) -> bool {
    let is_discovered = PRESETS.get(name).is_some_and(|preset| preset.keys.contains_key(ISSUER));
    ENDPOINTS.iter().all(|key| section.contains_key(*key)) || (section.contains_key(ISSUER) && !is_discovered)
}

/// The preset's keys that hold for a section: without its URLs where authorization and tokens are another server's, so
/// that no token and no secret of that one goes to the preset's.
fn keys_for(section: &Dict, preset: &Dict) -> Dict {
    let is_moved = is_elsewhere(preset, ["authorize_url", "token_url"].map(|key| section.get(key)));
    preset
        .iter()
        .filter(|(_, value)| !is_moved || host(Some(value)).is_none())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// True for a server whose URLs are all at hosts that the preset does not know.
fn is_elsewhere(preset: &Dict, urls: [Option<&Value>; 2]) -> bool {
    let is_known = |own: &String| preset.values().any(|url| host(Some(url)).as_ref() == Some(own));
    urls.into_iter().all(|url| host(url).is_some_and(|own| !is_known(&own)))
}

/// The preset of a section whose server is another, so that none of the preset's URLs is used.
pub(super) fn left_behind<'a>(named: Option<&'a str>, platform: &CustomPlatform) -> Option<&'a str> {
    let preset = named.map(str::trim)?;
    let urls = [&platform.authorize_url, &platform.token_url].map(|url| url.as_deref().map(Value::from));
    PRESETS.get(preset).filter(|found| is_elsewhere(&found.keys, urls.each_ref().map(Option::as_ref))).map(|_| preset)
}

/// The host of a URL.
fn host(value: Option<&Value>) -> Option<String> {
    Url::parse(value?.as_str()?.trim()).ok()?.host_str().map(str::to_owned)
}

/// Warns where only the preset's server would revoke tokens, and another one issues them.
pub(super) fn warn(reader: &mut Reader, platform: &CustomPlatform) {
    let preset = reader.text(&[keys::PLATFORMS, &platform.name, PRESET]);
    let Some(preset) = preset.filter(|_| platform.revoke_url.is_none()) else { return };
    let revokes_at = PRESETS.get(preset.trim()).and_then(|preset| host(preset.keys.get("revoke_url")));
    let token_url = platform.token_url.as_deref().map(Value::from);
    if revokes_at.is_some_and(|host_of_preset| host(token_url.as_ref()).is_some_and(|own| own != host_of_preset)) {
        reader.warn(
            &[keys::PLATFORMS, &platform.name, "revoke_url"],
            "is not the preset's, whose server is another: without it, a disconnect revokes nothing",
        );
    }
}

/// True when the operator says where the account's id is, so that the preset cannot say what it means.
fn has_id_of_its_own(section: &Dict) -> bool {
    let has_pointer =
        section.get("identity").and_then(Value::as_dict).is_some_and(|identity| identity.contains_key("id"));
    has_pointer || section.contains_key("identity_url")
}

fn fill(table: &mut Dict, from: &Dict) {
    for (key, value) in from {
        match (table.get_mut(key), value) {
            (None, value) => {
                table.insert(key.clone(), value.clone());
            }
            (Some(Value::Dict(_, below)), Value::Dict(_, from)) => fill(below, from),
            (Some(_), _) => {}
        }
    }
}
