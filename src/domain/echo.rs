//! Codes of platforms, without the secrets that were sent: some platforms quote what they refuse.
//!
//! Invariant: a [`Code`] is made by [`Sent::code`] alone, so none can be logged, stored or shown that was not compared
//! with what its request carried.

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use url::form_urlencoded;
use zeroize::Zeroizing;

/// A platform's own code: at most 64 harmless characters, none of them part of a secret that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code(String);

impl Deref for Code {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Code> for String {
    fn from(code: Code) -> Self {
        code.0
    }
}

/// The secrets that a request carried. Wiped on drop.
#[derive(Default, Clone)]
pub struct Sent(Vec<Zeroizing<String>>);

impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sent({} secrets)", self.0.len())
    }
}

impl Sent {
    pub fn add(&mut self, secret: &str) {
        self.0.push(Zeroizing::new(secret.to_owned()));
    }

    /// Adds the value of a parameter, unless it is known to be no secret.
    pub fn add_parameter(&mut self, name: &str, value: &str) {
        if !PUBLIC.contains(&name) {
            self.add(value);
        }
    }

    /// The code in a platform's answer. `None` for a sentence in its place, which may say anything, and for a code that
    /// repeats a secret.
    #[must_use]
    pub fn code(&self, text: &str) -> Option<Code> {
        let is_sentence = text.trim().contains(char::is_whitespace);
        let code = Some(harmless(text)).filter(|code| !is_sentence && !code.is_empty())?;
        (!self.is_repeated_by(text)).then_some(Code(code))
    }

    /// True when the beginning of a text that [`harmless`] keeps has a secret in it, or a longer part of one, as it was
    /// sent, percent-encoded or in base64.
    #[must_use]
    pub fn is_repeated_by(&self, text: &str) -> bool {
        let texts = [shown(text), shown(&decoded(text))];
        self.0.iter().flat_map(|secret| spellings(secret)).any(|spelling| {
            // Shorter texts may be there by chance.
            let part = (spelling.len() * 3 / 4).clamp(SHORTEST, LONGEST);
            let has = |part: &[u8]| spelling.as_bytes().windows(part.len()).any(|window| window == part);
            spelling.len() >= SHORTEST && texts.iter().any(|text| text.as_bytes().windows(part).take(MOST).any(has))
        })
    }
}

/// Parameters whose values are no secrets. Codes share words with some: `invalid_refresh_token` is none of a secret's.
const PUBLIC: [&str; 8] = [
    "client_assertion_type",
    "client_id",
    "client_key",
    "fields",
    "grant_type",
    "redirect_uri",
    "response_type",
    "scope",
];

/// Length of a code.
const MOST: usize = 64;

/// Letters of a secret, or of a part of one, that a code must share to repeat it.
const SHORTEST: usize = 8;
/// Letters that repeat a secret of any length.
const LONGEST: usize = 16;

/// Reduces a platform's code to what may be logged and shown: at most 64 letters, digits, `_`, `-` and `.`.
#[must_use]
pub fn harmless(code: &str) -> String {
    letters(code).take(MOST).collect()
}

fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
}

/// The letters that a code shows, and as many more as tell that it ends with a part of a secret. In lower case, as all
/// that is compared.
fn shown(text: &str) -> Zeroizing<String> {
    Zeroizing::new(letters(text).take(MOST + LONGEST - 1).map(|letter| letter.to_ascii_lowercase()).collect())
}

/// The text without percent-encoding. What separates the pairs of a form is dropped, as it is no letter.
fn decoded(text: &str) -> Zeroizing<String> {
    let pairs = form_urlencoded::parse(text.as_bytes());
    Zeroizing::new(pairs.flat_map(|(name, value)| [name, value]).collect())
}

/// The letters of a secret in every spelling, but for a percent-encoded one of the platform's.
fn spellings(secret: &str) -> Vec<Zeroizing<String>> {
    let plain = [Zeroizing::new(secret.to_owned()), decoded(secret)];
    let in_base64 = plain.iter().flat_map(|plain| {
        // The neighbours of a text decide which of its bytes begin a group of three.
        let groups = (0..3).filter_map(|first| {
            let bytes = plain.as_bytes().get(first..)?;
            bytes.get(..bytes.len() / 3 * 3)
        });
        groups.flat_map(|bytes| [STANDARD_NO_PAD.encode(bytes), URL_SAFE_NO_PAD.encode(bytes)])
    });
    let in_base64: Vec<_> = in_base64.map(Zeroizing::new).collect();
    let of = |text: &Zeroizing<String>| Zeroizing::new(letters(text).collect::<String>().to_ascii_lowercase());
    plain.iter().chain(&in_base64).map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Sent {
        let mut sent = Sent::default();
        secrets.into_iter().for_each(|secret| sent.add(secret));
        sent
    }

    #[test]
    fn a_sentence_is_no_code() {
        for (text, code) in [
            ("invalid_grant", Some("invalid_grant")),
            (" 190\n", Some("190")),
            ("Invalid refresh token (expired): RTsecret123456", None),
            ("not\u{a0}found", None),
            ("", None),
            ("???", None),
        ] {
            assert_eq!(Sent::default().code(text).as_deref(), code, "{text}");
        }
    }

    #[test]
    fn a_code_that_repeats_what_was_sent_is_dropped() {
        let long = format!("1//0{}", "aB3-".repeat(20));
        let basic = STANDARD_NO_PAD.encode("client:RT+secret/123456");
        for (code, sent_one, is_kept) in [
            ("RTsecret123456", "RTsecret123456", false),
            ("expired.RTsecret123456", "RT+secret/123456==", false),
            (&*harmless(&long), &*long, false),
            ("bad-0aB3-aB3-aB3-aB3-", &*long, false),
            ("rtSECRET123456", "RTsecret123456", false),
            ("RTsecret1234", "RTsecret123456", false),
            ("RT%2Bsecret%2f123456%3D%3D", "RT+secret/123456==", false),
            ("RT+secret/123456", "RT%2Bsecret%2F123456", false),
            (&*basic, "RT+secret/123456", false),
            (&*basic, "RT%2Bsecret%2F123456", false),
            (&*STANDARD_NO_PAD.encode("RTsecret123456"), "RTsecret123456", false),
            (&*URL_SAFE_NO_PAD.encode("~~~???RT"), "~~~???RT", false),
            (&*format!("{}RTsecret123456", "x".repeat(60)), "RTsecret123456", false),
            (&*format!("{}RTsecret123456", "x".repeat(64)), "RTsecret123456", true),
            ("invalid_grant", "RTsecret123456", true),
            ("invalid_grant", "grant", true),
            ("invalid_refresh_token", "refresh_token_of_ada", true),
            ("invalid_grant", "", true),
        ] {
            assert_eq!(sent(["other secret", sent_one]).code(code).is_some(), is_kept, "{code} {sent_one}");
        }
    }

    #[test]
    fn a_code_may_share_words_with_a_parameter_that_is_no_secret() {
        for (name, value, is_kept) in [
            ("grant_type", "refresh_token", true),
            ("grant_type", "authorization_code", true),
            ("fields", "access_token", true),
            ("code", "invalid_refresh_token_or_authorization_code_or_access_token", false),
        ] {
            let mut sent = Sent::default();
            sent.add_parameter(name, value);
            let code = "invalid_refresh_token_or_authorization_code_or_access_token";
            assert_eq!(sent.code(code).is_some(), is_kept, "{name}");
        }
    }

    #[test]
    fn a_code_is_stripped_of_what_could_harm() {
        assert_eq!(harmless(&format!("<script>\n{}", "a".repeat(1000))), format!("script{}", "a".repeat(58)));
    }

    #[test]
    fn nothing_is_told_of_what_was_sent() {
        assert_eq!(format!("{:?}", sent(["RTsecret123456"])), "Sent(1 secrets)");
    }
}
