//! Validation of the members of request bodies, with the error sentence for each rule.
//!
//! Invariant: a sentence names the member and what is allowed, and never repeats the value.

use serde_json::Value;
use url::{Position, Url};
use zeroize::Zeroizing;

use super::body::Members;
use crate::domain::visible::{is_blank, is_misleading};
use crate::domain::{oauth_app, profile};
use crate::http::error::{ApiError, Code};

/// Longest client id or secret, in bytes.
const CREDENTIAL_MAX: usize = 2048;
/// Longest password, in characters.
const PASSWORD_MAX: usize = 512;
/// Longest image URL, in bytes.
const URL_MAX: usize = 2048;

/// A rule for a text. The error completes a sentence that begins with the member's name.
pub(crate) type Rule = fn(&str) -> Result<(), String>;

/// Takes a required text.
pub(crate) fn required(members: &mut Members, name: &'static str, rule: Rule) -> Result<String, ApiError> {
    optional(members, name, rule)?.ok_or_else(|| invalid(name, "is required"))
}

/// Takes an optional text.
pub(crate) fn optional(members: &mut Members, name: &'static str, rule: Rule) -> Result<Option<String>, ApiError> {
    members.take(name).map(|value| text(name, value, rule)).transpose()
}

/// Takes an optional text that may also be null, which is `Some(None)`.
#[expect(clippy::option_option, reason = "left out, null and a text are three things")]
pub(crate) fn nullable(
    members: &mut Members,
    name: &'static str,
    rule: Rule,
) -> Result<Option<Option<String>>, ApiError> {
    match members.take(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => text(name, value, rule).map(|text| Some(Some(text))),
    }
}

fn text(name: &str, value: Value, rule: Rule) -> Result<String, ApiError> {
    let Value::String(text) = value else { return Err(invalid(name, "must be a string")) };
    // Wiped when the rule refuses it: it may be a password.
    let mut text = Zeroizing::new(text);
    rule(&text).map_err(|what| invalid(name, &what))?;
    Ok(std::mem::take(&mut text))
}

/// Builds the error for an invalid member; `what` completes the sentence that begins with its name.
pub(crate) fn invalid(name: &str, what: &str) -> ApiError {
    ApiError::with(Code::InvalidRequest, format!("{name} {what}."))
}

/// Allows any text, such as an id that is only looked up.
#[expect(clippy::unnecessary_wraps, reason = "a rule has this signature")]
pub(crate) fn any(_: &str) -> Result<(), String> {
    Ok(())
}

/// Rule for the name of a profile or an app: 1 to 200 code points of visible text in one line.
pub(crate) fn name(text: &str) -> Result<(), String> {
    const { assert!(profile::NAME_MAX == oauth_app::NAME_MAX) };
    if text.is_empty() || text.chars().nth(profile::NAME_MAX).is_some() {
        return Err(format!("must be 1 to {} characters long", profile::NAME_MAX));
    }
    if is_blank(text) {
        return Err("must not be blank".to_owned());
    }
    if text.contains(['\u{2028}', '\u{2029}']) {
        return Err("must be in one line".to_owned());
    }
    plain(text, &[])
}

/// Rule for the description of a profile: at most 1000 code points; line breaks and tabs are allowed.
pub(crate) fn description(text: &str) -> Result<(), String> {
    if text.chars().nth(profile::DESCRIPTION_MAX).is_some() {
        return Err(format!("must be at most {} characters long", profile::DESCRIPTION_MAX));
    }
    plain(text, &['\n', '\r', '\t'])
}

/// Rejects characters that are invisible in a log or reverse the text around them.
fn plain(text: &str, allowed: &[char]) -> Result<(), String> {
    if text.chars().any(|c| is_misleading(c) && !allowed.contains(&c)) {
        return Err("must not have control characters or bidirectional overrides".to_owned());
    }
    Ok(())
}

/// Rule for a client id or secret: printable ASCII, as in RFC 6749, appendices A.1 and A.2.
pub(crate) fn credential(text: &str) -> Result<(), String> {
    if text.is_empty() || text.len() > CREDENTIAL_MAX {
        return Err(format!("must be 1 to {CREDENTIAL_MAX} characters long"));
    }
    if !text.bytes().all(|b| matches!(b, b' '..=b'~')) || text.bytes().all(|b| b == b' ') {
        return Err("must be printable ASCII".to_owned());
    }
    Ok(())
}

/// Rule for a password. White space around it does not count, because people paste passwords.
pub(crate) fn app_password(text: &str) -> Result<(), String> {
    let text = text.trim();
    if text.is_empty() || text.chars().nth(PASSWORD_MAX).is_some() {
        return Err(format!("must be 1 to {PASSWORD_MAX} characters long"));
    }
    if text.chars().any(char::is_control) {
        return Err("must not have control characters".to_owned());
    }
    Ok(())
}

/// Takes an optional http(s) URL that may also be null, in the spelling that every parser reads the same.
#[expect(clippy::option_option, reason = "left out, null and a URL are three things")]
pub(crate) fn nullable_url(members: &mut Members, name: &'static str) -> Result<Option<Option<String>>, ApiError> {
    let normal = |text: String| normal_web_url(&text).unwrap_or(text);
    Ok(nullable(members, name, web_url)?.map(|url| url.map(normal)))
}

/// Rule for an absolute http(s) URL.
fn web_url(text: &str) -> Result<(), String> {
    let is_absolute = text.split_once("://").is_some_and(|(_, rest)| !rest.starts_with(['/', '\\']));
    let url = normal_web_url(text).filter(|url| is_absolute && url.len() <= URL_MAX);
    if url.is_none() || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(format!("must be an http or https URL of at most {URL_MAX} bytes"));
    }
    Ok(())
}

/// Reads a URL as browsers do, and writes it as RFC 3986 has it, which callers' models check: what browsers tolerate in
/// path, query and fragment is percent-encoded. `None` unless it is http(s) with a host that can be written so.
pub(crate) fn normal_web_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
    let (origin, rest) = (&url[..Position::BeforePath], &url[Position::BeforePath..]);
    // An IPv6 address has brackets.
    let of_host = url.host_str()?.trim_start_matches('[').trim_end_matches(']');
    let is_writable = |text: &str| text.bytes().enumerate().all(|(at, b)| is_uri_byte(b) || is_escape(text, at));
    if !is_writable(of_host) || !is_writable(url.username()) || !is_writable(url.password().unwrap_or_default()) {
        return None;
    }
    let mut normal = origin.to_owned();
    let fragment_at = rest.find('#');
    for (at, b) in rest.bytes().enumerate() {
        if is_uri_byte(b) || matches!(b, b'/' | b'?' | b'@') || fragment_at == Some(at) || is_escape(rest, at) {
            normal.push(char::from(b));
        } else {
            normal.extend(url::form_urlencoded::byte_serialize(&[b]));
        }
    }
    Some(normal)
}

/// True for a character that may stand for itself in every part of a URI: unreserved, a sub-delimiter, or a colon.
fn is_uri_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&b)
}

/// True for a percent sign that begins an escape.
fn is_escape(text: &str, at: usize) -> bool {
    let digits = text.as_bytes().get(at + 1..at + 3);
    text.as_bytes().get(at) == Some(&b'%') && digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// True for a URL that a parser leaves as it is, because nothing about it is unusual: lower-case letters in the host,
/// and neither dot segments nor escapes in the path. Most are like that, and this is many times faster than parsing.
pub(crate) fn is_plain_web_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let Some((host, path)) = rest.split_once('/') else { return false };
    let is_label = |label: &str| {
        label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
            && !label.is_empty()
            && !label.starts_with("xn--")
    };
    let is_plain =
        |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'~' | b'/' | b'@' | b'.' | b'=' | b'&' | b'?');
    host.split('.').all(is_label)
        // Otherwise the host may be an address in one of many spellings.
        && host.rsplit('.').next().is_some_and(|last| last.starts_with(|first: char| first.is_ascii_lowercase()))
        && path.bytes().all(is_plain)
        && !path.split('/').any(|segment| segment.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_parser_leaves_a_plain_url_as_it_is(text in "https?://[a-z0-9.-]{0,9}[a-z0-9]{0,3}/?[A-Za-z0-9._~@=&?/-]{0,12}") {
            if is_plain_web_url(&text) {
                prop_assert_eq!(normal_web_url(&text), Some(text));
            }
        }
    }

    #[test]
    fn a_url_is_written_as_the_standard_has_it() {
        for (given, normal) in [
            ("https://x.example/a|b^c`{}", "https://x.example/a%7Cb%5Ec%60%7B%7D"),
            ("https://x.example/[a]", "https://x.example/%5Ba%5D"),
            ("https://x.example/?q=\"a\"&b={}|[1]", "https://x.example/?q=%22a%22&b=%7B%7D%7C%5B1%5D"),
            ("https://x.example/%zz%2", "https://x.example/%25zz%252"),
            ("https://x.example/%41?%41", "https://x.example/%41?%41"),
            ("https://x.example/#a#b[]", "https://x.example/#a%23b%5B%5D"),
            ("https://u:p@x.example:8443/a@b:c?d/e?f", "https://u:p@x.example:8443/a@b:c?d/e?f"),
            ("https://[::1]/[a]", "https://[::1]/%5Ba%5D"),
            ("https://ex_ample.com/\u{e9}", "https://ex_ample.com/%C3%A9"),
        ] {
            assert_eq!(normal_web_url(given).as_deref(), Some(normal), "{given}");
            assert_eq!(normal_web_url(normal).as_deref(), Some(normal), "{given}");
        }
        for given in ["https://a{b}.example/", "https://a`.example/", "https://a%zz@x.example/", "ftp://x.example/"] {
            assert_eq!(normal_web_url(given), None, "{given}");
        }
    }

    #[test]
    fn usual_urls_are_plain_and_odd_ones_are_not() {
        for plain in ["https://pbs.example/img/1_a.jpg?s=80&d=x", "http://a-b.example.com/@ada", "https://localhost/"] {
            assert!(is_plain_web_url(plain), "{plain}");
        }
        for odd in [
            "https://x.example",
            "https://X.example/",
            "https://x.example:443/",
            "https://u@x.example/",
            "https://1.2.3.4/",
            "https://x.0x7f/",
            "https://x.1/",
            "https://xn--a.example/",
            "https://x..example/",
            "https:///",
            "https://x.example/../",
            "https://x.example/./",
            "https://x.example/%2e",
            "https://x.example/a b",
            "https://x.example/\u{e9}",
            "ftp://x.example/",
            "https://x.example/#f",
            "https://x.example/\\",
            "HTTPS://x.example/",
            "https://x.example./",
        ] {
            assert!(!is_plain_web_url(odd), "{odd}");
        }
    }

    #[test]
    fn names_are_visible_text_of_at_most_200_code_points() {
        let family = "\u{1f468}\u{200d}\u{1f469}\u{fe0f}";
        for good in ["a", " a ", "\u{5d0}\u{5d1}", &"\u{1f389}".repeat(200), "e\u{301}", family, "\u{feff}a"] {
            assert_eq!(name(good), Ok(()), "{good:?}");
        }
        for bad in ["", " ", "\u{3000}\u{a0}", &"a".repeat(201), "a\0b", "a\nb", "a\u{7f}", "a\u{202e}b", "a\u{2066}b"]
        {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        for blank in ["\u{200b}", "\u{feff}", "\u{3164}", "\u{2800}", "\u{200d} \u{ad}\u{e0041}", "\u{115f}\u{ffa0}"] {
            assert_eq!(name(blank), Err("must not be blank".to_owned()), "{blank:?}");
        }
        for lines in ["a\u{2028}b", "a\u{2029}b"] {
            assert_eq!(name(lines), Err("must be in one line".to_owned()), "{lines:?}");
        }
    }

    #[test]
    fn descriptions_may_have_several_lines() {
        for good in ["", "a\nb\tc\r\n", &"\u{1f389}".repeat(1000)] {
            assert_eq!(description(good), Ok(()), "{good:?}");
        }
        for bad in ["a\0", "\u{202e}", "\u{85}", &"a".repeat(1001)] {
            assert!(description(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn credentials_are_printable_ascii() {
        for good in ["x", "a b", "~!@#$%^&*()"] {
            assert_eq!(credential(good), Ok(()), "{good:?}");
        }
        for bad in ["", " ", "\u{e9}", "a\n", "a\0", &"a".repeat(2049)] {
            assert!(credential(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn image_urls_are_http_urls() {
        for good in ["https://cdn.example/a.png", "http://localhost/x?y#z"] {
            assert_eq!(web_url(good), Ok(()), "{good:?}");
        }
        for bad in ["", "javascript:alert(1)", "data:image/png,x", "//cdn.example/x", "https://", "https://a b/", "x"] {
            assert!(web_url(bad).is_err(), "{bad:?}");
        }
        let long = format!("https://cdn.example/{}", "\u{e4}".repeat(1000));
        for bad in ["https:cdn.example", "https:///cdn.example", r"https:\\cdn.example", r"https://\cdn.example", &long]
        {
            assert!(web_url(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_image_url_is_kept_as_parsers_write_it() {
        for (given, kept) in [
            ("https://cdn.example/a.png", "https://cdn.example/a.png"),
            ("HTTPS://CDN.example/\u{202e}gnp.a", "https://cdn.example/%E2%80%AEgnp.a"),
            ("https://\u{e4}.example", "https://xn--4ca.example/"),
            ("http://[::1]/x.png", "http://[::1]/x.png"),
        ] {
            let body = serde_json::json!({"imageUrl": given}).to_string();
            let read = nullable_url(&mut Members::parse(body.as_bytes()).unwrap(), "imageUrl").unwrap();
            assert_eq!(read, Some(Some(kept.to_owned())));
        }
    }

    #[test]
    fn errors_name_the_member_and_never_repeat_its_value() {
        let read = |body: &str| {
            let mut members = Members::parse(body.as_bytes()).unwrap();
            required(&mut members, "clientSecret", credential).unwrap_err().to_string()
        };
        insta::assert_snapshot!(read("{}"), @"invalid_request: clientSecret is required.");
        insta::assert_snapshot!(read(r#"{"clientSecret": 7}"#), @"invalid_request: clientSecret must be a string.");
        insta::assert_snapshot!(read(r#"{"clientSecret": null}"#), @"invalid_request: clientSecret must be a string.");
        insta::assert_snapshot!(read(r#"{"clientSecret": "s\u0000"}"#), @"invalid_request: clientSecret must be printable ASCII.");
    }
}
