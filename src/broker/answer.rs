//! Reads what a callback says: a code, a denial, a refusal, or nothing that can be used.

use std::borrow::Cow;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use super::callback::Callback;
use crate::domain::echo::{self, Sent};
use crate::domain::failure::Failure;
use crate::domain::secret::Digest256;
use crate::upstream::Meaning;

/// The message of a callback. An error beside a code is an error.
pub(super) enum Answer {
    Code(SecretString),
    /// The person denied the consent.
    Denied,
    /// The platform refused.
    Refused(Refusal),
    /// The callback has neither code nor error, or is not the platform's. Holds the reason, for the log.
    Unusable(Cow<'static, str>),
}

/// The platform's own words for a refusal, reduced to harmless characters and without a secret of the callback.
pub(super) struct Refusal {
    pub(super) code: Option<String>,
    /// Facebook sends a number (`error_code`), beside the code or instead of it.
    pub(super) number: Option<String>,
    pub(super) means: Failure,
}

impl Answer {
    /// `other_issuer`: why the callback's `iss` is not the platform's, if it is not. `declined`: the meaning of
    /// the platform's codes.
    pub(super) fn of(
        callback: &Callback,
        other_issuer: Option<String>,
        declined: impl Fn(&[String]) -> Meaning,
    ) -> Self {
        if let Some(why) = other_issuer {
            return Self::Unusable(why.into());
        }
        if callback.is_garbled {
            return Self::Unusable("a parameter is too long, or is not text".into());
        }
        let error = harmless(callback.error.as_ref());
        let reason = harmless(callback.error_reason.as_ref());
        // Zero stands for success.
        let number = harmless(callback.error_code.as_ref()).filter(|number| number.bytes().any(|digit| digit != b'0'));
        if error.is_none() && reason.is_none() && number.is_none() {
            let code = callback.code.as_ref().filter(|code| !is_blank(code));
            return code.cloned().map_or(Self::Unusable("it has neither code nor error".into()), Self::Code);
        }
        let codes: Vec<String> = [&error, &reason, &number].into_iter().flatten().cloned().collect();
        match declined(&codes) {
            Meaning::Denied => Self::Denied,
            Meaning::Failed(means) => {
                let sent = sent(callback);
                let told = |code: Option<String>, as_it_came: &Option<String>| {
                    code.filter(|_| !as_it_came.as_ref().is_some_and(|code| sent.is_repeated_by(code)))
                };
                let (error, number) = (told(error, &callback.error), told(number, &callback.error_code));
                Self::Refused(Refusal { code: error.or(told(reason, &callback.error_reason)), number, means })
            }
        }
    }

    pub(super) const fn is_denial(&self) -> bool {
        matches!(self, Self::Denied)
    }

    /// Digest that tells a reload from a different answer under the same state.
    pub(super) fn fingerprint(&self) -> Digest256 {
        match self {
            Self::Code(code) => fingerprint("code", code),
            Self::Denied => denied(),
            Self::Refused(_) => Digest256::of(b"refused"),
            Self::Unusable(_) => Digest256::of(b"unusable"),
        }
    }
}

/// Fingerprint of every denial at a platform. It is stored in flows, and decides what a cancelled connection's page says.
pub(super) fn denied() -> Digest256 {
    Digest256::of(b"denied")
}

/// Stands for the fingerprint of an answer where the person declined on the broker's page: the platform was not asked.
/// Stored flows have it, and the page of a cancelled connection is chosen by it.
pub(super) fn not_confirmed() -> Digest256 {
    Digest256::of(b"not confirmed")
}

/// The secrets of a callback, which its errors may repeat.
#[expect(clippy::disallowed_methods, reason = "they are compared with what is logged")]
fn sent(callback: &Callback) -> Sent {
    let mut sent = Sent::default();
    [&callback.state, &callback.code].into_iter().flatten().for_each(|secret| sent.add(secret.expose_secret()));
    sent
}

/// A platform's code as it may be logged; `None` where it is absent or empty.
fn harmless(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(|text| echo::harmless(text))
}

#[expect(clippy::disallowed_methods, reason = "hashing is how a code is recognised without being kept")]
fn fingerprint(kind: &str, code: &SecretString) -> Digest256 {
    Digest256::of(Zeroizing::new([kind, ":", code.expose_secret()].concat()).as_bytes())
}

#[expect(clippy::disallowed_methods, reason = "whether it is blank takes a look at it")]
fn is_blank(code: &SecretString) -> bool {
    code.expose_secret().trim().is_empty()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use super::*;

    /// A platform that declines with `no`.
    fn declined(codes: &[String]) -> Meaning {
        let is_denial = codes.iter().any(|code| code == "no");
        if is_denial { Meaning::Denied } else { Meaning::Failed(Failure::AuthorizationRefused) }
    }

    fn of(callback: &Callback) -> Answer {
        Answer::of(callback, None, declined)
    }

    #[test]
    fn a_denial_is_told_from_a_refusal() {
        for (error, reason, number) in [
            ("no", None, None),
            ("other", Some("no".into()), None),
            ("", Some("no".into()), Some("200".into())),
            ("", None, Some("no".into())),
        ] {
            let callback =
                Callback { error: Some(error.into()), error_reason: reason, error_code: number, ..Callback::default() };
            assert!(matches!(of(&callback), Answer::Denied), "{callback:?}");
        }
        for error in ["invalid_scope", "server_error", "unauthorized_scope_error", "<script>alert(1)</script>"] {
            let callback = Callback { error: Some(error.into()), code: Some("code".into()), ..Callback::default() };
            let Answer::Refused(Refusal { code: Some(code), number: None, .. }) = of(&callback) else {
                panic!("{error}")
            };
            assert!(code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{code}");
        }
    }

    #[test]
    fn a_number_without_an_error_is_a_refusal() {
        for (callback, code, number) in [
            (Callback { error_code: Some("1349126".into()), ..Callback::default() }, None, Some("1349126")),
            (
                Callback { error_code: Some("1349126".into()), code: Some("c".into()), ..Callback::default() },
                None,
                Some("1349126"),
            ),
            (
                Callback { error: Some(String::new()), error_code: Some("13\r\n<b>".into()), ..Callback::default() },
                None,
                Some("13b"),
            ),
            (
                Callback { error: Some("a".into()), error_code: Some("2".into()), ..Callback::default() },
                Some("a"),
                Some("2"),
            ),
            (
                Callback { error: Some("a".into()), error_code: Some("0".into()), ..Callback::default() },
                Some("a"),
                None,
            ),
            (Callback { error_reason: Some("no_app".into()), ..Callback::default() }, Some("no_app"), None),
            (Callback { error: Some("\u{202e}".into()), ..Callback::default() }, Some(""), None),
        ] {
            let Answer::Refused(refusal) = of(&callback) else { panic!("{callback:?}") };
            assert_eq!((refusal.code.as_deref(), refusal.number.as_deref()), (code, number), "{callback:?}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_what_came_with_it() {
        for (error, code) in [
            ("invalid_scope", Some("invalid_scope")),
            ("unknown_state_of-the-flow-2f1c", None),
            ("code-of-the-flow-9d4e", None),
        ] {
            let callback = Callback {
                state: Some("state_of-the-flow-2f1c".into()),
                code: Some("code-of-the-flow-9d4e".into()),
                error: Some(error.into()),
                ..Callback::default()
            };
            let Answer::Refused(refusal) = of(&callback) else { panic!("{error}") };
            assert_eq!(refusal.code.as_deref(), code);
        }
    }

    #[test]
    fn an_answer_without_code_and_error_cannot_be_used() {
        let with_code = |code: &str| Callback { code: Some(code.into()), ..Callback::default() };
        for callback in [
            Callback::default(),
            with_code(""),
            with_code(" "),
            Callback {
                error: Some(String::new()),
                error_reason: Some(String::new()),
                error_code: Some("0".into()),
                ..Callback::default()
            },
            Callback { is_garbled: true, error: Some("no".into()), ..with_code("c") },
        ] {
            assert!(matches!(of(&callback), Answer::Unusable(_)), "{callback:?}");
        }
        let denied = Callback { error: Some("no".into()), ..Callback::default() };
        for elsewhere in [with_code("c"), denied] {
            assert!(
                matches!(
                    Answer::of(&elsewhere, Some("its iss is another one".to_owned()), declined),
                    Answer::Unusable(_)
                ),
                "another issuer's"
            );
        }
    }

    #[test]
    fn an_error_of_zero_stands_for_success() {
        let callback = Callback {
            code: Some("AQ".into()),
            error: Some(String::new()),
            error_code: Some("0".into()),
            ..Callback::default()
        };
        let Answer::Code(code) = of(&callback) else { panic!("{callback:?}") };
        assert_eq!(code.expose_secret(), "AQ");
    }
}
