//! Cookies: those that tell a browser from others, the console's session and notices, and the language that a person
//! chose before they went to a platform. No other cookie is read or set.

use std::time::Duration;

use actix_web::http::header::{self, HeaderMap, HeaderValue, InvalidHeaderValue};

use secrecy::ExposeSecret as _;

use crate::broker::console::{LIFE, SessionToken};
use crate::domain::binding::{APP_COOKIE, Browser, OWN_COOKIE};
use crate::domain::secret::Digest256;

/// Browsers let only the host itself set a cookie whose name begins so, and only over https.
const HOST_ONLY: &str = "__Host-";

/// The `Set-Cookie` of one of the broker's own cookies. `is_secure`: browsers reach the broker over https.
pub(crate) fn own(
    (name, value): &(String, String),
    lives: Duration,
    is_secure: bool,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let (prefix, secure) = if is_secure { (HOST_ONLY, "; Secure") } else { ("", "") };
    let seconds = lives.as_secs();
    HeaderValue::try_from(format!("{prefix}{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"))
}

/// The cookies that flows may be bound to. Over https, a cookie of the broker that another host may have set does not
/// count.
pub(crate) fn browser(headers: &HeaderMap, is_secure: bool) -> Browser {
    let prefix = if is_secure { HOST_ONLY } else { "" };
    let mut browser = Browser::default();
    for (name, value) in pairs(headers) {
        if name == APP_COOKIE {
            browser.app.push(Digest256::of(value.as_bytes()));
        } else if name.strip_prefix(prefix).is_some_and(|name| name.starts_with(OWN_COOKIE)) {
            browser.add_own(value);
        }
    }
    browser
}

/// The cookie of a session of the console. It has a path, which a `__Host-` cookie cannot have.
const SESSION: &str = "postpeer-console";

fn session_prefix(is_secure: bool) -> &'static str {
    if is_secure { "__Secure-" } else { "" }
}

/// The `Set-Cookie` that begins a session of the console below `base`, or with `None` ends it.
#[expect(clippy::disallowed_methods, reason = "the browser keeps the token")]
pub(crate) fn set_session(
    token: Option<SessionToken>,
    base: &str,
    is_secure: bool,
) -> Result<HeaderValue, InvalidHeaderValue> {
    let secure = if is_secure { "; Secure" } else { "" };
    let seconds = if token.is_some() { LIFE.as_secs() } else { 0 };
    let value = token.map(SessionToken::into_secret);
    let value = value.as_ref().map_or("", |value| value.expose_secret());
    HeaderValue::try_from(format!(
        "{}{SESSION}={value}; Path={base}/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}",
        session_prefix(is_secure)
    ))
}

/// Most sessions that a request can name. Each costs a look-up.
const SESSIONS_MAX: usize = 8;

/// The sessions of the console that the browser names, each once. Another host of the site, or a page below another
/// path, may have set a cookie of the same name, and the browser may send that one first.
pub(crate) fn sessions(headers: &HeaderMap, is_secure: bool) -> Vec<SessionToken> {
    let of_session = |name: &str| name.strip_prefix(session_prefix(is_secure)) == Some(SESSION);
    let named = pairs(headers).filter(|(name, _)| of_session(name));
    let mut found: Vec<SessionToken> = Vec::new();
    for token in named.filter_map(|(_, value)| SessionToken::parse(value)) {
        if found.len() < SESSIONS_MAX && found.iter().all(|known| known.digest() != token.digest()) {
            found.push(token);
        }
    }
    found
}

/// The cookie of a notice, which goes from a form to the next page of the console and is shown there once. Whoever
/// plants one shows one of a few sentences, and nothing else.
const NOTICE: &str = "postpeer-notice";

/// Time for the way from a form to the next page.
const NOTICE_LIVES: Duration = Duration::from_mins(1);

/// The `Set-Cookie` of a notice, for a console below `base`. `None` drops it.
pub(crate) fn set_notice(name: Option<&str>, base: &str, is_secure: bool) -> Result<HeaderValue, InvalidHeaderValue> {
    let seconds = name.map_or(0, |_| NOTICE_LIVES.as_secs());
    let (name, secure) = (name.unwrap_or_default(), if is_secure { "; Secure" } else { "" });
    HeaderValue::try_from(format!(
        "{NOTICE}={name}; Path={base}/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    ))
}

/// The notice in the browser's cookie, which may be any text.
pub(crate) fn notice(headers: &HeaderMap) -> Option<&str> {
    pairs(headers).find(|(name, _)| *name == NOTICE).map(|(_, value)| value)
}

/// The cookie of a person's language. Only callbacks are sent it: pages have `?lang=`, which a platform does not pass
/// on. Whoever plants one changes the language of a page, and nothing else.
const LANGUAGE: &str = "postpeer-lang";

/// Time for the way to the platform and back.
const LANGUAGE_LIVES: Duration = Duration::from_hours(1);

/// The `Set-Cookie` of a language, for a broker below `base`. `None` drops an earlier choice.
pub(crate) fn set_language(code: Option<&str>, base: &str, is_secure: bool) -> Result<HeaderValue, InvalidHeaderValue> {
    let seconds = code.map_or(0, |_| LANGUAGE_LIVES.as_secs());
    let (code, secure) = (code.unwrap_or_default(), if is_secure { "; Secure" } else { "" });
    HeaderValue::try_from(format!(
        "{LANGUAGE}={code}; Path={base}/v1/connect; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
    ))
}

/// The language in the browser's cookie, which may be any text.
pub(crate) fn language(headers: &HeaderMap) -> Option<&str> {
    pairs(headers).find(|(name, _)| *name == LANGUAGE).map(|(_, value)| value)
}

/// Names and values of every `Cookie` header (RFC 6265, section 4.2.1). Skips pairs that are not UTF-8, and no others:
/// the cookies of other programs on the host are not the broker's to judge.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let pairs = headers.get_all(header::COOKIE).flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.filter_map(|pair| std::str::from_utf8(pair.trim_ascii()).ok()?.split_once('='))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn every_cookie_of_the_name_counts_and_no_other() {
        let pairs: [(_, &[u8]); 3] = [
            ("cookie", b"a=1; __Secure-postpeer-binding=one;__Secure-postpeer-binding=t=w o; b"),
            (
                "cookie",
                b"\xff=\xff; __Secure-postpeer-binding=two; theme=d\xc3\xbcnkel; x=\xff;__Secure-postpeer-binding=3",
            ),
            (
                "cookie",
                b"__secure-postpeer-binding=other; x__Secure-postpeer-binding=other; __Secure-postpeer-binding=",
            ),
        ];
        let expected = [&b"one"[..], b"t=w o", b"two", b"3", b""].map(Digest256::of);
        for is_secure in [false, true] {
            let browser = browser(&headers(&pairs), is_secure);
            assert_eq!((browser.app, browser.confirmed.len()), (expected.to_vec(), 0));
        }
    }

    #[test]
    fn every_session_of_the_name_counts() {
        let (one, other) = ("a".repeat(43), "b".repeat(43));
        let line = format!("postpeer-console=garbage; postpeer-console={one}; x=d\u{fc}; postpeer-console={other}");
        let found = |line: &str| sessions(&headers(&[("cookie", line.as_bytes())]), false);
        let digests: Vec<Digest256> = found(&line).iter().map(SessionToken::digest).collect();
        assert_eq!(digests, [&one, &other].map(|text| Digest256::of(text.as_bytes())));
        assert_eq!(found(&format!("postpeer-console={one};").repeat(100)).len(), 1);
        let many: Vec<String> = (0..100).map(|number| format!("postpeer-console={number:043};")).collect();
        assert_eq!(found(&many.concat()).len(), SESSIONS_MAX);
        assert_eq!(found("__Secure-postpeer-console=a; xpostpeer-console=b").len(), 0);
    }

    #[test]
    fn a_language_is_for_callbacks_below_the_brokers_path() {
        let common = "postpeer-lang=de; Path=/base/v1/connect; Max-Age=3600; HttpOnly; SameSite=Lax";
        assert_eq!(set_language(Some("de"), "/base", false).unwrap(), common);
        assert_eq!(set_language(Some("de"), "/base", true).unwrap(), format!("{common}; Secure"));
        let sent: [(_, &[u8]); 2] = [("cookie", b"a=1; xpostpeer-lang=fr"), ("cookie", b"postpeer-lang=de;b")];
        assert_eq!(language(&headers(&sent)), Some("de"));
        assert_eq!(language(&headers(&sent[..1])), None);
    }

    #[test]
    fn over_https_only_the_broker_itself_can_have_set_its_cookies() {
        let lives = Duration::from_millis(90_500);
        let made =
            |is_secure| own(&("postpeer-connect-abc".to_owned(), "abcdef".to_owned()), lives, is_secure).unwrap();
        let common = "postpeer-connect-abc=abcdef; Path=/; Max-Age=90; HttpOnly; SameSite=Lax";
        assert_eq!(made(false), common);
        assert_eq!(made(true), format!("__Host-{common}; Secure"));
        let sent: [(_, &[u8]); 1] = [(
            "cookie",
            b"postpeer-connect-abc=planted; __Host-postpeer-connect-abc=own; __Secure-postpeer-connect-a=x",
        )];
        let found = |is_secure| browser(&headers(&sent), is_secure).confirmed;
        assert_eq!(found(true), [Digest256::of(b"own")]);
        assert_eq!(found(false), [Digest256::of(b"planted")]);
    }
}
