//! Handles, and the other things that people type instead of one.

use std::fmt;

use super::did::Did;

/// Longest text that is read, in bytes: the longest handle with decoration around it.
const MAX_TYPED: usize = 512;

/// Longest handle, in bytes.
const MAX_LENGTH: usize = 253;

/// Top-level names that no handle ends in, because they are not on the public internet.
const DISALLOWED: [&str; 8] = ["alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion"];

/// The top-level name reserved for tests.
const TEST: &str = "test";

/// A well-formed handle in lower case, without its `@`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle(String);

/// The name of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    Did(Did),
    Handle(Handle),
}

/// The reason why a text names no account. Completes a sentence that begins with the name of the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentifier {
    #[error("has no dot: give the whole handle, such as alice.bsky.social")]
    Bare,
    #[error("must be a did:plc or did:web, or better a handle such as alice.bsky.social")]
    Did,
    #[error("looks like an e-mail address: give the handle instead, such as alice.bsky.social")]
    Email,
    #[error("is empty: give the handle, such as alice.bsky.social")]
    Empty,
    #[error("is not a handle such as alice.bsky.social")]
    Malformed,
    #[error("ends in a name that no handle can have: give the handle as the account's profile shows it")]
    TopLevel,
    #[error("is a URL: give the handle alone, such as alice.bsky.social")]
    Url,
}

impl Handle {
    /// Reads a handle as documents have it: without decoration, in any case.
    ///
    /// # Errors
    ///
    /// The text is no handle.
    pub fn parse(text: &str, allow_test: bool) -> Result<Self, InvalidIdentifier> {
        let handle = text.to_ascii_lowercase();
        let Some((_, top)) = handle.rsplit_once('.') else {
            return Err(if handle.is_empty() { InvalidIdentifier::Empty } else { InvalidIdentifier::Bare });
        };
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if handle.len() > MAX_LENGTH
            || !handle.split('.').all(is_label)
            || !top.starts_with(|c: char| c.is_ascii_alphabetic())
        {
            return Err(InvalidIdentifier::Malformed);
        }
        if DISALLOWED.contains(&top) || (top == TEST && !allow_test) {
            return Err(InvalidIdentifier::TopLevel);
        }
        Ok(Self(handle))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Identifier {
    /// Reads what someone typed or pasted. Ignores case, white space, invisible marks (apps put direction marks around
    /// handles), and a leading `@` or `at://`.
    ///
    /// # Errors
    ///
    /// The text names no account.
    pub fn parse(text: &str, allow_test: bool) -> Result<Self, InvalidIdentifier> {
        if text.len() > MAX_TYPED {
            return Err(InvalidIdentifier::Malformed);
        }
        let visible: String = text.chars().filter(|c| !is_mark(*c)).collect();
        let text = visible.trim();
        let text = text.strip_prefix("at://").unwrap_or(text);
        if text.starts_with("did:") {
            return Did::parse(text).map(Self::Did).ok_or(InvalidIdentifier::Did);
        }
        let text = text.strip_prefix('@').unwrap_or(text);
        if text.contains("://") || text.contains('/') {
            return Err(InvalidIdentifier::Url);
        }
        if text.contains('@') {
            return Err(InvalidIdentifier::Email);
        }
        Handle::parse(text, allow_test).map(Self::Handle)
    }
}

/// Invisible characters: direction marks, joiners, variation selectors, the byte order mark.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(text: &str) -> Result<String, InvalidIdentifier> {
        Identifier::parse(text, false).map(|identifier| match identifier {
            Identifier::Handle(handle) => handle.0,
            Identifier::Did(did) => did.to_string(),
        })
    }

    #[test]
    fn pasted_handles_are_read() {
        for typed in [
            "alice.bsky.social",
            "@alice.bsky.social",
            "  @Alice.BSKY.social\n",
            "\u{202a}@alice.bsky.social\u{202c}",
            "\u{2068}alice.bsky.social\u{2069}",
            "@\u{200e}alice.bsky.social\u{200f}",
            "\u{feff}alice.bsky.social",
            "at://alice.bsky.social",
        ] {
            assert_eq!(handle(typed).as_deref(), Ok("alice.bsky.social"), "{typed:?}");
        }
        assert_eq!(handle("xn--bcher-kva.com").as_deref(), Ok("xn--bcher-kva.com"));
        let did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
        assert_eq!(handle(did).as_deref(), Ok(did));
        assert_eq!(handle(&format!(" at://{did} ")).as_deref(), Ok(did));
    }

    #[test]
    fn fuzzed_identifiers_are_read_the_same_twice_and_name_one_host() {
        let words = [
            "@", "at://", "did:plc:", "did:web:", "did:", ".", "..", "-", ":", "%3A", "%3a", "/", "\u{202a}",
            "\u{feff}", "é", " ", ".local", ".test", "443", "#", "?",
        ];
        crate::fuzz::run("identifiers", &words, |text| {
            let Ok(identifier) = Identifier::parse(&String::from_utf8_lossy(text), false) else { return };
            let shown = handle(&String::from_utf8_lossy(text)).unwrap();
            assert_eq!(Identifier::parse(&shown, false).as_ref(), Ok(&identifier));
            let url = match &identifier {
                Identifier::Did(did) => did.web_document(),
                Identifier::Handle(handle) => {
                    url::Url::parse(&format!("https://{handle}/.well-known/atproto-did")).ok()
                }
            };
            if let Some(url) = url {
                assert!(url.username().is_empty() && url.password().is_none() && url.query().is_none(), "{url}");
                let host = url.host_str().unwrap();
                assert!(matches!(identifier, Identifier::Did(_)) || host == shown, "{url}");
                assert!(url.path().starts_with("/.well-known/"), "{url}");
            }
        });
    }

    #[test]
    fn texts_that_name_no_account_are_rejected_with_a_reason() {
        use InvalidIdentifier as I;
        for (typed, why) in [
            ("", I::Empty),
            (" \u{200b} ", I::Empty),
            ("@", I::Empty),
            ("alice", I::Bare),
            ("@alice", I::Bare),
            ("alice@mail.example", I::Email),
            ("@alice@mastodon.example", I::Email),
            ("https://bsky.app/profile/alice.bsky.social", I::Url),
            ("bsky.app/profile/alice.bsky.social", I::Url),
            ("did:key:z6Mk", I::Did),
            ("did:plc:short", I::Did),
            ("did:web:a.example:path", I::Did),
            ("al ice.bsky.social", I::Malformed),
            ("alice..social", I::Malformed),
            (".bsky.social", I::Malformed),
            ("alice.bsky.social.", I::Malformed),
            ("-alice.bsky.social", I::Malformed),
            ("alice-.bsky.social", I::Malformed),
            ("al_ice.bsky.social", I::Malformed),
            ("b\u{fc}cher.com", I::Malformed),
            ("10.0.0.1", I::Malformed),
            ("alice.bsky.1social", I::Malformed),
            ("alice.bsky.social:443", I::Malformed),
            ("alice\0.bsky.social", I::Malformed),
            ("handle.invalid", I::TopLevel),
            ("alice.localhost", I::TopLevel),
            ("alice.local", I::TopLevel),
            ("metadata.google.internal", I::TopLevel),
            ("alice.onion", I::TopLevel),
            ("alice.test", I::TopLevel),
        ] {
            assert_eq!(handle(typed), Err(why), "{typed:?}");
        }
        assert_eq!(handle(&format!("{}.social", "a".repeat(64))), Err(I::Malformed));
        assert_eq!(handle(&format!("{}social", "a.".repeat(125))), Err(I::Malformed));
        assert_eq!(handle(&"a".repeat(600)), Err(I::Malformed));
        assert!(Identifier::parse("alice.test", true).is_ok());
    }
}
