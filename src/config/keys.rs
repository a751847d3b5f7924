//! The known configuration keys, and suggestions for unknown ones.
//!
//! There is no list of keys: a key is known because [`Reader`](super::reader::Reader) was asked for it.

use std::collections::{BTreeMap, BTreeSet};

/// The section with a subsection per platform.
pub(super) const PLATFORMS: &str = "platforms";

/// Names that a custom platform cannot have, because the broker's own paths contain them.
pub(super) const RESERVED_NAMES: &[&str] = &["callback", "integrations", "links", "selection"];

/// Keys as other programs and standards (RFC 8414) call them, with their names here.
const ALIASES: &[(&str, &str)] = &[
    ("access_token_url", "token_url"),
    ("auth_url", "authorize_url"),
    ("authorization_endpoint", "authorize_url"),
    ("authorization_url", "authorize_url"),
    ("avatar", "image"),
    ("jwks_uri", "jwks_url"),
    ("picture", "image"),
    ("pushed_authorization_request_endpoint", "par_url"),
    ("revocation_endpoint", "revoke_url"),
    ("revocation_url", "revoke_url"),
    ("sub", "id"),
    ("token_endpoint", "token_url"),
    ("token_endpoint_auth_method", "client_auth"),
    ("userinfo_endpoint", "identity_url"),
    ("userinfo_url", "identity_url"),
];

/// Names of a callback URL, which no key of a platform sets.
const CALLBACK_URLS: [&str; 5] = ["callback_url", "redirect_uri", "redirect_uris", "redirect_url", "redirect_urls"];

/// Every table that was read, by its path, with the keys that were read from it.
#[derive(Default)]
pub(super) struct KnownKeys(BTreeMap<Vec<String>, BTreeSet<String>>);

impl KnownKeys {
    /// Adds a key and the tables around it.
    pub(super) fn add(&mut self, path: &[&str]) {
        let mut table = Vec::new();
        for key in path {
            self.0.entry(table.clone()).or_default().insert((*key).to_owned());
            table.push((*key).to_owned());
        }
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (Vec<&str>, Vec<&str>)> {
        self.0.iter().map(|(table, keys)| {
            (table.iter().map(String::as_str).collect(), keys.iter().map(String::as_str).collect())
        })
    }

    /// The remedy for an unknown key.
    pub(super) fn remedy(&self, table: &[&str], known: &[&str], key: &str) -> String {
        if table.first() == Some(&PLATFORMS) && CALLBACK_URLS.contains(&key) {
            return "remove it: callback URLs follow from server.public_url, and `postpeer check` prints them"
                .to_owned();
        }
        match self.nearest(table, key) {
            Some(nearest) => format!("did you mean {nearest}?"),
            None => format!("remove it, or use one of {}", known.join(", ")),
        }
    }

    /// The path of every key that is not a table.
    pub(super) fn settings(&self) -> impl Iterator<Item = Vec<&str>> {
        self.tables()
            .flat_map(|(table, keys)| keys.into_iter().map(move |key| [table.as_slice(), &[key]].concat()))
            .filter(|path| {
                !self.0.contains_key(path.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>().as_slice())
            })
    }

    /// The known key of the same table that is most similar to an unknown one; else the key of the same name in another
    /// section. Dotted, as users write it.
    fn nearest(&self, table: &[&str], key: &str) -> Option<String> {
        let dotted = |table: &[&str], key: &str| [table, &[key]].concat().join(".");
        let (mut here, mut elsewhere) = (None, None);
        for (other, keys) in self.tables() {
            if other == table {
                let alias = ALIASES.iter().find(|(alias, name)| *alias == key && keys.contains(name));
                let near = alias.map(|(_, name)| *name).or_else(|| nearest_word(key, &keys));
                here = near.map(|near| dotted(table, near));
            } else if other.len() == 1
                && keys.contains(&key)
                && key != "path"
                && table != [other.as_slice(), &[key]].concat()
            {
                elsewhere = elsewhere.or_else(|| Some(dotted(&other, key)));
            }
        }
        here.or(elsewhere)
    }
}

/// The known word that a misspelt or shortened one probably means.
#[must_use]
pub fn nearest_word<'a>(wrong: &str, known: &[&'a str]) -> Option<&'a str> {
    let at_most = (wrong.len() / 3).clamp(1, 3);
    known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(wrong, word), *word))
        .filter(|(distance, word)| *distance <= at_most || (wrong.len() > 3 && word.starts_with(wrong)))
        .min()
        .map(|(_, word)| word)
}

/// Checks the name of a platform, which becomes a path segment and a key in the configuration.
pub(super) fn bad_name(name: &str) -> Option<&'static str> {
    if RESERVED_NAMES.contains(&name) {
        return Some("is reserved for the broker's own URLs: give the platform another name");
    }
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    (name.len() > 64 || !starts_well || !name.bytes().all(allowed)).then_some(
        "is not a valid name: use up to 64 lower-case ASCII letters, digits, - and _, beginning with a letter or digit",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_finds_its_neighbour_and_a_misplaced_key_its_section() {
        let mut known = KnownKeys::default();
        for path in [
            &["connect", "allowed_redirects"][..],
            &["database", "path"],
            &["server", "listen"],
            &["server", "public_url"],
            &["platforms", "twitter", "client_id"],
            &["platforms", "twitter", "token_url"],
        ] {
            known.add(path);
        }
        let remedy = |key| known.remedy(&["platforms", "twitter"], &["client_id"], key);
        assert_eq!(remedy("twitter"), "remove it, or use one of client_id", "a table is not in itself");
        assert!(remedy("redirect_uri").contains("server.public_url"));
        for (table, key, nearest) in [
            (&["server"][..], "public_ulr", Some("server.public_url")),
            (&["server"], "listen", Some("server.listen")),
            (&["server"], "allowed_redirects", Some("connect.allowed_redirects")),
            (&["server"], "path", None),
            (&["server"], "zebra", None),
            (&["platforms", "twitter"], "client", Some("platforms.twitter.client_id")),
            (&["platforms", "twitter"], "token_endpoint", Some("platforms.twitter.token_url")),
            (&["platforms", "twitter"], "userinfo_endpoint", None),
            (&[], "twitter", Some("platforms.twitter")),
            (&[], "sever", Some("server")),
        ] {
            assert_eq!(known.nearest(table, key).as_deref(), nearest, "{table:?} {key}");
        }
        assert_eq!(nearest_word("timeout", &["connect_timeout_seconds", "timeout_seconds"]), Some("timeout_seconds"));
    }
}
