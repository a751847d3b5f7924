//! The keys that a configuration may have, and the nearest known one to a key that it may not.

use crate::platforms::built_in_names;

/// Sections with fixed keys.
pub(super) const SECTIONS: &[(&str, &[&str])] = &[
    ("connect", &["allowed_redirects", "selection_ttl_seconds", "state_ttl_seconds"]),
    ("database", &["path"]),
    ("keyring", &["path"]),
    ("log", &["format", "level"]),
    ("outbound", &["allow_private_networks", "connect_timeout_seconds", "timeout_seconds"]),
    ("refresh", &["ahead_seconds", "concurrency", "enabled"]),
    ("server", &["listen", "metrics_listen", "public_url", "trusted_proxies"]),
];

/// The section with a subsection per platform.
pub(super) const PLATFORMS: &str = "platforms";

/// Keys of a built-in platform.
pub(super) const BUILT_IN: &[&str] = &[
    "api_url",
    "api_version",
    "authorize_url",
    "client_id",
    "client_secret",
    "client_secret_file",
    "enabled",
    "label",
    "revoke_url",
    "scopes",
    "token_url",
];

/// Keys of Bluesky, which has no OAuth app.
pub(super) const BLUESKY: &[&str] = &["enabled", "label", "plc_url", "resolver_url"];

/// Keys of a platform of the operator's own.
pub(super) const CUSTOM: &[&str] = &[
    "authorize_params",
    "authorize_url",
    "client_auth",
    "client_id",
    "client_secret",
    "client_secret_file",
    "enabled",
    "identity",
    "identity_url",
    "label",
    "pkce",
    "revoke_url",
    "scopes",
    "token_url",
];

/// Keys of a custom platform's `identity`.
pub(super) const IDENTITY: &[&str] = &["id", "image", "name", "username"];

/// Names that a custom platform cannot have: they are words of the broker's own paths.
pub(super) const RESERVED_NAMES: &[&str] = &["callback", "integrations", "links", "selection"];

/// The names of all sections.
pub(super) fn section_names() -> Vec<&'static str> {
    SECTIONS.iter().map(|(name, _)| *name).chain([PLATFORMS]).collect()
}

/// The known key nearest to one that is unknown, among its neighbours; else a key of that very name elsewhere.
/// Dotted, as one would write it.
pub(super) fn nearest(section: &[&str], key: &str, neighbours: &[&str]) -> Option<String> {
    let dotted = |key: &str| section.iter().copied().chain([key]).collect::<Vec<_>>().join(".");
    nearest_word(key, neighbours).map(dotted).or_else(|| {
        SECTIONS
            .iter()
            .find(|(name, keys)| Some(name) != section.first() && keys.contains(&key) && key != "path")
            .map(|(name, _)| format!("{name}.{key}"))
            .or_else(|| {
                let is_platform = section.is_empty() && built_in_names().iter().any(|name| name == key);
                is_platform.then(|| format!("{PLATFORMS}.{key}"))
            })
    })
}

/// The word that a misspelt or shortened one probably stands for.
pub(super) fn nearest_word<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let at_most = (wrong.len() / 3).clamp(1, 3);
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(wrong, word), *word))
        .filter(|(distance, word)| *distance <= at_most || (wrong.len() > 3 && word.starts_with(wrong)))
        .min()
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_key_and_a_stray_key_its_section() {
        let server = SECTIONS.iter().find(|(name, _)| *name == "server").unwrap().1;
        assert_eq!(nearest(&["server"], "public_ulr", server).as_deref(), Some("server.public_url"));
        assert_eq!(nearest(&["server"], "listen", server).as_deref(), Some("server.listen"));
        assert_eq!(nearest(&["server"], "allowed_redirects", server).as_deref(), Some("connect.allowed_redirects"));
        assert_eq!(nearest(&[], "twitter", &section_names()).as_deref(), Some("platforms.twitter"));
        assert_eq!(nearest(&[], "sever", &section_names()).as_deref(), Some("server"));
        assert_eq!(nearest(&["server"], "zebra", server), None);
        assert_eq!(nearest_word("timeout", &["connect_timeout_seconds", "timeout_seconds"]), Some("timeout_seconds"));
    }

    #[test]
    fn lists_are_in_order() {
        for (_, keys) in SECTIONS {
            assert!(keys.is_sorted(), "{keys:?}");
        }
        for keys in [BUILT_IN, BLUESKY, CUSTOM, IDENTITY, RESERVED_NAMES] {
            assert!(keys.is_sorted(), "{keys:?}");
        }
    }
}
