//! Reads token answers leniently: a value that one platform sends as a number is text at another and wrapped at a
//! third.
//!
//! Invariant: a token answer is a JSON object with a non-empty `access_token` and no `error`. Anything else is an
//! error, whatever its status; no half token set is ever returned.

use std::time::Duration;

use serde_json::Value;
use zeroize::Zeroize;

use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;

/// Shortest lifetime of an access token, in seconds: a clock that is off by seconds must not make it dead on arrival.
const SHORTEST: f64 = 60.0;
/// Longest lifetime, in seconds: more than ten years is a mistake.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;

/// The reason why an answer holds no tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NotTokens {
    /// The answer is an error, or carries this one.
    Error(Value),
    /// The answer is not what the platform's documentation promises.
    Unreadable,
}

/// Reads the answer to a request that was sent at `sent_at`. `pointer`: to the tokens, where the platform nests them.
/// `default_expires_in`: lifetime in seconds when the answer has none.
pub(super) fn read(
    body: &[u8],
    sent_at: Timestamp,
    pointer: Option<&str>,
    default_expires_in: Option<u64>,
) -> Result<IssuedTokens, NotTokens> {
    let mut answer = parse(body).ok_or(NotTokens::Unreadable)?;
    let issued = read_value(&answer, sent_at, pointer, default_expires_in);
    if !matches!(issued, Err(NotTokens::Error(_))) {
        wipe(&mut answer);
    }
    issued
}

/// Parses JSON, with or without a byte order mark.
pub(super) fn parse(body: &[u8]) -> Option<Value> {
    serde_json::from_slice(body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)).ok()
}

fn read_value(
    answer: &Value,
    sent_at: Timestamp,
    pointer: Option<&str>,
    default_expires_in: Option<u64>,
) -> Result<IssuedTokens, NotTokens> {
    // Slack nests a person's tokens, beside the app's own, in the answer to a code and not in the answer to a refresh.
    let nested = pointer.and_then(|pointer| answer.pointer(pointer)).filter(|nested| nested.is_object());
    // Instagram documents `{"data": [{…}]}` and often sends the object alone.
    let tokens = match (nested, answer.pointer("/data/0")) {
        (Some(nested), _) => nested,
        (None, Some(wrapped)) if answer.get("access_token").is_none() => wrapped,
        _ => answer,
    };
    if !tokens.is_object() {
        return Err(NotTokens::Unreadable);
    }
    let secret = |name: &str| match tokens.get(name) {
        Some(Value::String(text)) if !text.is_empty() => Some(SecretString::from(text.as_str())),
        _ => None,
    };
    // An error beside anything like a token is ambiguous: call it unreadable, so that the answer is kept.
    let refused = |error: &Value| {
        if carries_token(answer) { NotTokens::Unreadable } else { NotTokens::Error(error.clone()) }
    };
    if let Some(erring) = [answer, tokens].into_iter().find(|value| carries_error(value)) {
        return Err(refused(erring));
    }
    let Some(access_token) = secret("access_token") else {
        let is_error =
            tokens.get("error_type").is_some() || tokens.get("error_message").is_some() || tokens.get("code").is_some();
        return Err(if is_error { refused(tokens) } else { NotTokens::Unreadable });
    };
    let expires_in = seconds(tokens.get("expires_in")).or_else(|| default_expires_in.map(Duration::from_secs));
    let refresh_expires_in = ["refresh_token_expires_in", "refresh_expires_in"]
        .iter()
        .filter_map(|name| tokens.get(*name))
        // Some platforms send 0 or less for tokens that never expire.
        .filter(|value| number(value).is_some_and(|seconds| seconds > 0.0))
        .find_map(|value| seconds(Some(value)))
        // LinkedIn's samples show minutes here. A refresh token that expires before the access token is such a number.
        .filter(|refresh| expires_in.is_none_or(|access| *refresh >= access));
    Ok(IssuedTokens {
        issued_at: sent_at,
        access_expires_at: expires_in.map(|lifetime| sent_at.plus(lifetime)),
        refresh_expires_at: refresh_expires_in.map(|lifetime| sent_at.plus(lifetime)),
        scopes: tokens.get("scope").and_then(scopes).or_else(|| tokens.get("permissions").and_then(scopes)),
        tokens: TokenSet {
            access_token,
            refresh_token: secret("refresh_token"),
            id_token: secret("id_token"),
            token_type: match tokens.get("token_type") {
                Some(Value::String(kind)) if !kind.is_empty() && !kind.eq_ignore_ascii_case("bearer") => kind.clone(),
                _ => "Bearer".to_owned(),
            },
            service_url: None,
        },
    })
}

/// True when any member's name contains "token", at any depth and in any case.
fn carries_token(answer: &Value) -> bool {
    let is_token = |(name, value): (&String, &Value)| {
        name.to_ascii_lowercase().contains("token") && value.as_str().is_some_and(|text| !text.is_empty())
    };
    match answer {
        Value::Object(members) => members.iter().any(is_token) || members.values().any(carries_token),
        Value::Array(items) => items.iter().any(carries_token),
        _ => false,
    }
}

fn carries_error(answer: &Value) -> bool {
    match answer.get("error") {
        None | Some(Value::Null) => false,
        Some(Value::String(error)) => !error.is_empty(),
        Some(_) => true,
    }
}

/// A lifetime in seconds, sent as a number or as text.
fn seconds(value: Option<&Value>) -> Option<Duration> {
    Some(Duration::from_secs_f64(number(value?)?.clamp(SHORTEST, LONGEST).floor()))
}

fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// Scopes from a list, or from text separated by spaces or commas. `None` when there are none.
pub(super) fn scopes(value: &Value) -> Option<Vec<String>> {
    let split = |text: &str| -> Vec<String> {
        text.split([' ', ',', '\t', '\n']).filter(|scope| !scope.is_empty()).map(str::to_owned).collect()
    };
    let scopes: Vec<String> = match value {
        Value::String(text) => split(text),
        Value::Array(items) => items.iter().filter_map(Value::as_str).flat_map(split).collect(),
        _ => return None,
    };
    (!scopes.is_empty()).then_some(scopes)
}

/// The granted permissions of `/me/permissions`. The others were declined or have expired.
pub(super) fn granted_permissions(answer: &Value) -> Option<Vec<String>> {
    let is_granted = |entry: &&Value| entry.get("status").and_then(Value::as_str) == Some("granted");
    let name = |entry: &Value| entry.get("permission").and_then(Value::as_str).map(str::to_owned);
    Some(answer.get("data")?.as_array()?.iter().filter(is_granted).filter_map(name).collect())
}

/// Overwrites every string in the value.
pub(super) fn wipe(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::String(text) => text.zeroize(),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    const SENT: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn lifetime(body: &str) -> Option<u64> {
        read(body.as_bytes(), SENT, None, Some(7200)).unwrap().access_expires_at.map(|at| SENT.until(at).as_secs())
    }

    #[test]
    fn lifetimes_are_read_however_they_are_spelled() {
        for (spelled, seconds) in [
            ("3600", 3600),
            ("\"3600\"", 3600),
            ("3600.0", 3600),
            ("\" 3600 \"", 3600),
            ("\"3600.9\"", 3600),
            ("-1", 60),
            ("0", 60),
            ("1e20", 315_360_000),
            ("1e400", 7200),
            ("null", 7200),
            ("\"soon\"", 7200),
            ("{}", 7200),
            ("true", 7200),
            ("5183944", 5_183_944),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{spelled}}}"#);
            // serde_json rejects 1e400.
            if spelled == "1e400" {
                assert_eq!(read(body.as_bytes(), SENT, None, Some(7200)).unwrap_err(), NotTokens::Unreadable);
                continue;
            }
            assert_eq!(lifetime(&body), Some(seconds), "{spelled}");
        }
        assert_eq!(lifetime(r#"{"access_token":"a"}"#), Some(7200));
        assert!(read(br#"{"access_token":"a"}"#, SENT, None, None).unwrap().access_expires_at.is_none());
    }

    #[test]
    fn answers_without_tokens_are_errors() {
        for body in [
            "",
            " ",
            "null",
            "[]",
            "[{\"access_token\":\"a\"}]",
            "\"a\"",
            "1",
            "<html>",
            "{}",
            "{\"access_token\":\"\"}",
            "{\"access_token\":null}",
            "{\"access_token\":7}",
            "{\"access_token\":[\"a\"]}",
            "access_token=a&expires_in=5",
            "{\"data\":[]}",
            "{\"data\":{}}",
            "{\"access_token\":\"a\"",
            "{\"access_token\":\"a\"} x",
            "\u{0}",
            r#"{"error":"invalid_grant","access_token":"a"}"#,
            r#"{"error":false,"access_token":"a"}"#,
            r#"{"code":0,"message":"ok","data":{"access_token":"a"}}"#,
            r#"{"error":"","code":200,"result":[{"accessToken":"a"}]}"#,
            r#"{"error":{"code":190},"data":[{"access_token":"a"}]}"#,
        ] {
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap_err(), NotTokens::Unreadable, "{body}");
        }
        for body in [
            r#"{"error":"invalid_grant","error_description":"x"}"#,
            r#"{"error":{"code":190}}"#,
            r#"{"error":{"code":190},"data":[{}]}"#,
            r#"{"error_type":"OAuthException","code":400,"error_message":"x"}"#,
            r#"{"code":2,"message":"Authentication failed."}"#,
        ] {
            assert!(matches!(read(body.as_bytes(), SENT, None, None), Err(NotTokens::Error(_))), "{body}");
        }
    }

    #[test]
    fn token_answers_are_read_in_the_shapes_that_platforms_send() {
        let wrapped =
            read(br#"{"data":[{"access_token":"IGAA","user_id":1,"permissions":"a,b"}]}"#, SENT, None, None).unwrap();
        assert_eq!(wrapped.tokens.access_token.expose_secret(), "IGAA");
        assert_eq!(wrapped.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
        let listed = read(br#"{"access_token":"IGAA","permissions":["a","b c"]}"#, SENT, None, None).unwrap();
        assert_eq!(listed.scopes, Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        let with_mark = read(b"\xef\xbb\xbf{\"access_token\":\"a\",\"error\":\"\"}", SENT, None, None).unwrap();
        assert_eq!(with_mark.tokens.token_type, "Bearer");
        let tiktok = read(
            br#"{"access_token":"act","expires_in":7200,"refresh_token":"rft","refresh_expires_in":15552000,"token_type":"bearer"}"#,
            SENT,
            None,
            None,
        )
        .unwrap();
        assert_eq!(SENT.until(tiktok.refresh_expires_at.unwrap()).as_secs(), 15_552_000);
        let minutes = read(
            br#"{"access_token":"a","expires_in":5184000,"refresh_token":"r","refresh_token_expires_in":525600}"#,
            SENT,
            None,
            None,
        )
        .unwrap();
        assert_eq!(minutes.refresh_expires_at, None);
        for never in [r#""refresh_token_expires_in":0"#, r#""refresh_expires_in":"-1""#] {
            let body = format!(r#"{{"access_token":"a","expires_in":30,"refresh_token":"r",{never}}}"#);
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap().refresh_expires_at, None, "{never}");
        }
        let mac = read(br#"{"access_token":"a","token_type":"mac"}"#, SENT, None, None).unwrap();
        assert_eq!(mac.tokens.token_type, "mac");
    }

    #[test]
    fn declined_permissions_are_no_scopes() {
        let answer = serde_json::json!({"data": [
            {"permission": "pages_show_list", "status": "granted"},
            {"permission": "business_management", "status": "declined"},
            {"permission": "x"},
        ]});
        assert_eq!(granted_permissions(&answer), Some(vec!["pages_show_list".to_owned()]));
        assert_eq!(granted_permissions(&serde_json::json!({"data": []})), Some(Vec::new()));
        assert_eq!(granted_permissions(&serde_json::json!({"error": {}})), None);
    }

    proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..512)) {
            let _ = read(&body, SENT, None, Some(60));
        }

        #[test]
        fn no_object_makes_the_reader_panic_or_return_an_empty_token(
            token in "\"[a-z]{0,3}\"|null|[0-9]{1,20}|\\[\\]", expires in "-?[0-9]{1,25}(\\.[0-9]{1,3})?|\"[ -~&&[^\"\\\\]]{0,8}\"",
            scope in "\"[a-z ,]{0,8}\"|\\[\"a\"\\]|1"
        ) {
            let body = format!(r#"{{"access_token":{token},"expires_in":{expires},"scope":{scope}}}"#);
            if let Ok(issued) = read(body.as_bytes(), SENT, None, None) {
                prop_assert!(!issued.tokens.access_token.expose_secret().is_empty());
                if let Some(at) = issued.access_expires_at {
                    prop_assert!(at >= SENT.plus(Duration::from_mins(1)));
                }
            }
        }
    }
}
