//! Finds secrets in bytes, in every encoding that they might have.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Length of the prefix by which an encoding is looked up.
const START: usize = 8;

/// The secrets to look for.
pub(crate) struct Needles {
    /// Encodings by their first bytes, each with the name of its secret.
    spellings: HashMap<[u8; START], Vec<(Vec<u8>, String)>>,
    /// True for the first two bytes of any encoding. Most positions need no look-up.
    starts: Vec<bool>,
}

impl Default for Needles {
    fn default() -> Self {
        Self { spellings: HashMap::new(), starts: vec![false; 1 << 16] }
    }
}

fn first_two(bytes: &[u8]) -> usize {
    usize::from(bytes[0]) << 8 | usize::from(bytes[1])
}

impl Needles {
    /// `what` names the secret in a failure, which must not show it.
    pub(crate) fn add(&mut self, what: &str, secret: &[u8]) {
        assert!(secret.len() >= 2 * START, "{what} is too short to be told from chance");
        let mut add = |how: &str, spelling: Vec<u8>| {
            let start: [u8; START] = spelling[..START].try_into().unwrap();
            self.starts[first_two(&start)] = true;
            let known = self.spellings.entry(start).or_default();
            if known.iter().all(|(known, _)| *known != spelling) {
                known.push((spelling, format!("{what}, {how}")));
            }
        };
        add("as it is", secret.to_vec());
        add("in hexadecimal", join(secret, |byte| format!("{byte:02x}")));
        add("in upper-case hexadecimal", join(secret, |byte| format!("{byte:02X}")));
        add("percent-encoded", url::form_urlencoded::byte_serialize(secret).collect::<String>().into_bytes());
        add("percent-encoded throughout", join(secret, |byte| format!("%{byte:02X}")));
        for between in [",", ", "] {
            let bytes: Vec<String> = secret.iter().map(u8::to_string).collect();
            add("as a list of bytes", bytes.join(between).into_bytes());
        }
        if let Ok(text) = std::str::from_utf8(secret) {
            add("in quotes", format!("{text:?}").trim_matches('"').as_bytes().to_vec());
        }
        // Base64 has three alignments, and its ends depend on the neighbouring bytes.
        for before in 0..3 {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(secret);
            let (start, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
            for (how, text) in
                [("base64", STANDARD_NO_PAD.encode(&bytes)), ("base64url", URL_SAFE_NO_PAD.encode(&bytes))]
            {
                add(&format!("in {how} after {before} bytes"), text.as_bytes()[start..end].to_vec());
            }
        }
    }

    /// Secrets found in `haystack`, each with the 40 bytes before it.
    pub(crate) fn find(&self, haystack: &[u8]) -> Vec<String> {
        let mut found = BTreeSet::new();
        for (at, window) in haystack.windows(START).enumerate() {
            if !self.starts[first_two(window)] {
                continue;
            }
            for (spelling, what) in self.spellings.get(window).into_iter().flatten() {
                if haystack[at..].starts_with(spelling) {
                    let before = String::from_utf8_lossy(&haystack[at.saturating_sub(40)..at]);
                    found.insert(format!("{what}, after {before:?}"));
                }
            }
        }
        found.into_iter().collect()
    }
}

fn join(bytes: &[u8], spell: impl Fn(&u8) -> String) -> Vec<u8> {
    bytes.iter().flat_map(|byte| spell(byte).into_bytes()).collect()
}

#[test]
fn a_secret_is_found_in_every_spelling_and_nothing_else_is() {
    let secret = "x-refresh-+/\"\u{1f98a}-4rT0";
    let mut needles = Needles::default();
    needles.add("the secret", secret.as_bytes());
    let hex = String::from_utf8(join(secret.as_bytes(), |byte| format!("{byte:02x}"))).unwrap();
    for haystack in [
        format!("token={secret}"),
        format!("token={secret:?}"),
        format!("token={hex}"),
        format!("token={}", hex.to_uppercase()),
        format!("token={:?}", secret.as_bytes()),
        format!("?token={}", url::form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>()),
    ] {
        assert_eq!(needles.find(haystack.as_bytes()).len(), 1, "{haystack}");
    }
    for before in ["", "a", "ab", "abc", "Basic client:"] {
        for after in ["", "z", "zz", ":more"] {
            let text = format!("{before}{secret}{after}");
            for haystack in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                assert!(!needles.find(haystack.as_bytes()).is_empty(), "{before} {after}");
            }
        }
    }
    assert!(needles.find(b"x-refresh- is how it begins, and x-refresh-+/ is not all of it").is_empty());
}
