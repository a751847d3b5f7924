//! Reads token answers leniently: a value that one platform sends as a number is text at another and wrapped at a
//! third.
//!
//! Invariant: a token answer is a JSON object or a form with an `access_token` in bounds and no `error`, except for one
//! that says that there is none. Anything else is an error, whatever its status; no half token set is ever returned. A
//! refresh token that cannot be used makes the whole answer unreadable, so that it is kept: the old one may be spent.
//! Text around the object is ignored, as long as no other object may be meant.

use std::time::Duration;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::error_answer::is_known;
use crate::domain::bounds::{self, is_nothing};
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::platform_error::Step;
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::outbound::{objects_in, read_json, text, wipe};
use crate::platforms::{Platform, RefreshLife, Said, read_errors};

/// Longest lifetime, in seconds: more than ten years is a mistake.
const LONGEST: f64 = 10.0 * 365.0 * 86_400.0;

/// Token types that are schemes of HTTP's `Authorization`, besides `Bearer`.
const SCHEMES: [&str; 5] = ["DPoP", "MAC", "OAuth", "PoP", "token"];

/// The reason why an answer holds no tokens.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NotTokens {
    /// The answer is an error, or carries this one.
    Error(Value),
    /// The answer is not what the platform's documentation promises.
    Unreadable,
}

/// JSON pointer to the tokens in their answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Nested<'a> {
    Always(&'a str),
    /// There, or not nested.
    Maybe(&'a str),
}

impl<'a> Nested<'a> {
    /// Slack nests a person's tokens, beside the app's own, in the answer to a code and not in the answer to a refresh.
    pub(super) fn of(platform: &'a Platform, step: Step) -> Option<Self> {
        let how = if step == Step::Refresh { Self::Maybe } else { Self::Always };
        platform.token_pointer.as_deref().map(how)
    }
}

/// Reads the answer to a request that was sent at `sent_at`. `nested`: where the tokens are, if the platform nests them.
/// `default_expires_in`: lifetime in seconds when the answer has none, or has it in milliseconds.
pub(super) fn read(
    body: &[u8],
    sent_at: Timestamp,
    nested: Option<Nested<'_>>,
    default_expires_in: Option<u64>,
) -> Result<IssuedTokens, NotTokens> {
    let Some(mut answer) = read_body(body) else { return read_around(body, sent_at, nested, default_expires_in) };
    let issued = read_value(&answer, sent_at, nested, default_expires_in);
    if !matches!(issued, Err(NotTokens::Error(_))) {
        wipe(&mut answer);
    }
    issued
}

/// The same in a platform's own way, at this step: where it nests the tokens, which words are errors by the operator's
/// list, and in which unit it gives the life of a refresh token.
pub(super) fn read_of(
    platform: &Platform,
    step: Step,
    body: &[u8],
    sent_at: Timestamp,
    default_expires_in: Option<u64>,
) -> Result<IssuedTokens, NotTokens> {
    // A word of the operator's list is a code wherever it is. The step tells what it means, which is not asked here.
    let is_named = |answer: &Value| {
        read_errors(&platform.errors, Step::Refresh, None, &Said::read(answer)).is_some() && !carries_token(answer)
    };
    let issued = read(body, sent_at, Nested::of(platform, step), default_expires_in);
    let mut issued = issued.map_err(|not| match not {
        NotTokens::Unreadable => read_body(body).filter(is_named).map_or(not, NotTokens::Error),
        NotTokens::Error(_) => not,
    })?;
    let is_shorter =
        issued.refresh_expires_at.zip(issued.access_expires_at).is_some_and(|(refresh, access)| refresh < access);
    if platform.refresh_life == RefreshLife::SecondsOrMinutes && is_shorter {
        issued.refresh_expires_at = None;
    }
    Ok(issued)
}

/// Reads a body that is neither JSON nor a form, and has one object with tokens in it. Another object with anything like
/// a token, or an error, makes it unreadable.
fn read_around(
    body: &[u8],
    sent_at: Timestamp,
    nested: Option<Nested<'_>>,
    default_expires_in: Option<u64>,
) -> Result<IssuedTokens, NotTokens> {
    let mut objects = objects_in(body);
    let read = |object: &Value| match read_value(object, sent_at, nested, default_expires_in) {
        Err(NotTokens::Unreadable) if !carries_token(object) => None,
        read => Some(read),
    };
    let mut told: Vec<_> = objects.iter().filter_map(read).collect();
    objects.iter_mut().for_each(wipe);
    let only = told.pop().filter(|_| told.is_empty());
    only.and_then(Result::ok).ok_or(NotTokens::Unreadable)
}

/// Reads a body of the token endpoint: JSON, or a form.
pub(super) fn read_body(body: &[u8]) -> Option<Value> {
    read_json(body).or_else(|| form(body))
}

/// Reads a form such as `access_token=a&expires_in=3600`, which some servers send, whatever they call it. Some forget
/// to encode spaces, letters or the `+` of a token. What no form has, or names that are none, make it a page or a
/// sentence.
fn form(body: &[u8]) -> Option<Value> {
    let text = text(body);
    let text = text.trim();
    let is_name = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.[]:".contains(&b));
    if text.contains(|c: char| c.is_control() || matches!(c, '<' | '>' | '{' | '"')) {
        return None;
    }
    // Wiped, and never moved while it grows: a byte becomes three at most.
    let mut encoded = Zeroizing::new(String::with_capacity(3 * text.len()));
    for pair in text.split_inclusive('&') {
        let is_token = TOKENS.iter().any(|name| pair.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
        let mut parts = pair.split('+');
        encoded.push_str(parts.next().unwrap_or_default());
        for part in parts {
            encoded.push_str(if is_token { "%2B" } else { "+" });
            encoded.push_str(part);
        }
    }
    let members: Map<String, Value> = url::form_urlencoded::parse(encoded.as_bytes())
        .map(|(name, value)| (name.into_owned(), Value::String(value.into_owned())))
        .collect();
    let is_form = members.keys().all(|name| is_name(name));
    let is_answer = members.contains_key("access_token") || members.contains_key("error");
    (is_form && is_answer).then_some(Value::Object(members))
}

/// Members that are tokens: no token has a space, which is what a `+` stands for in a form.
const TOKENS: [&str; 3] = ["access_token", "id_token", "refresh_token"];

/// A token in bounds, without the white space around it.
fn trimmed(value: Option<&Value>) -> Option<SecretString> {
    let is_token = |token: &&str| bounds::is_token(token) && !is_nothing(token);
    value.and_then(Value::as_str).map(str::trim).filter(is_token).map(SecretString::from)
}

/// The new refresh token; `None` where the old one stays.
fn refresh_token(value: Option<&Value>) -> Result<Option<SecretString>, NotTokens> {
    let is_absent = match value {
        None | Some(Value::Null | Value::Bool(false)) => true,
        Some(Value::String(text)) => is_nothing(text),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(members)) => members.is_empty(),
        Some(Value::Bool(true) | Value::Number(_)) => false,
    };
    if is_absent { Ok(None) } else { trimmed(value).map(Some).ok_or(NotTokens::Unreadable) }
}

/// The object that has the tokens as its members.
fn token_object<'a>(answer: &'a Value, nested: Option<Nested<'_>>) -> &'a Value {
    static NOTHING: Value = Value::Null;
    let at = |pointer: &str| answer.pointer(pointer).filter(|nested| nested.is_object());
    match nested {
        // The token beside it is the app's own.
        Some(Nested::Always(pointer)) => return at(pointer).unwrap_or(&NOTHING),
        Some(Nested::Maybe(pointer)) => {
            if let Some(tokens) = at(pointer) {
                return tokens;
            }
        }
        None => {}
    }
    // Instagram documents `{"data": [{…}]}` and often sends the object alone.
    match answer.pointer("/data/0") {
        Some(wrapped) if answer.get("access_token").is_none() => wrapped,
        _ => answer,
    }
}

fn read_value(
    answer: &Value,
    sent_at: Timestamp,
    nested: Option<Nested<'_>>,
    default_expires_in: Option<u64>,
) -> Result<IssuedTokens, NotTokens> {
    let tokens = token_object(answer, nested);
    // An error beside anything like a token is ambiguous: call it unreadable, so that the answer is kept.
    let refused = |error: &Value| {
        if carries_token(answer) { NotTokens::Unreadable } else { NotTokens::Error(error.clone()) }
    };
    let access_token = trimmed(tokens.get("access_token"));
    let is_error = |value: &&Value| carries_error(value) && (access_token.is_none() || !says_no_error(&value["error"]));
    if let Some(erring) = [answer, tokens].into_iter().find(is_error) {
        return Err(refused(erring));
    }
    let Some(access_token) = access_token else {
        return Err([answer, tokens].into_iter().find(|value| has_code(value)).map_or(NotTokens::Unreadable, refused));
    };
    let known = default_expires_in.map(Duration::from_secs);
    let expires_in = lifetime(tokens, sent_at, &ACCESS, known)
        .or(known)
        .or_else(|| ACCESS.is_over(tokens, sent_at).then_some(UNTOLD));
    let refresh_expires_in = lifetime(tokens, sent_at, &REFRESH, None);
    Ok(IssuedTokens {
        issued_at: sent_at,
        access_expires_at: expires_in.map(|lifetime| sent_at.plus(lifetime)),
        refresh_expires_at: refresh_expires_in.map(|lifetime| sent_at.plus(lifetime)),
        scopes: tokens.get("scope").and_then(scopes).or_else(|| tokens.get("permissions").and_then(scopes)),
        tokens: TokenSet {
            access_token,
            refresh_token: refresh_token(tokens.get("refresh_token"))?,
            id_token: trimmed(tokens.get("id_token")),
            token_type: token_type(tokens.get("token_type")),
            service_url: None,
        },
    })
}

/// The type as the platform spells it. `Bearer` for one that is no scheme of HTTP, such as Slack's `user`.
fn token_type(value: Option<&Value>) -> String {
    let is_scheme = |kind: &&str| SCHEMES.iter().any(|scheme| kind.eq_ignore_ascii_case(scheme));
    value.and_then(Value::as_str).filter(is_scheme).unwrap_or("Bearer").to_owned()
}

/// True when any member may be a token by its name, at any depth and in any case. `token_type` and the like are none.
fn carries_token(answer: &Value) -> bool {
    let is_token = |(name, value): (&String, &Value)| {
        let name = name.to_ascii_lowercase();
        let about = name.rsplit_once("token").map(|(_, about)| about.trim_start_matches(['_', '-', '.', ' ']));
        about.is_some_and(|about| !ABOUT_TOKENS.iter().any(|word| about.starts_with(word)))
            && value.as_str().is_some_and(|text| !is_nothing(text))
    };
    match answer {
        Value::Object(members) => members.iter().any(is_token) || members.values().any(carries_token),
        Value::Array(items) => items.iter().any(carries_token),
        _ => false,
    }
}

/// Words after "token" that make a name that of a fact about tokens.
const ABOUT_TOKENS: [&str; 8] = ["endpoint", "error", "expir", "kind", "lifetime", "state", "status", "type"];

fn carries_error(answer: &Value) -> bool {
    match answer.get("error") {
        None | Some(Value::Null) => false,
        Some(Value::String(error)) => !error.is_empty(),
        Some(_) => true,
    }
}

/// True for an answer without tokens that is an error: wherever a code is read, one says that something is wrong. A
/// status, title or reason may be anything's, so it must be a code of the standard's, or beside a sign of failure.
fn has_code(answer: &Value) -> bool {
    let is_wrong = |code: &String| {
        !["pending", "success"].iter().any(|word| code.eq_ignore_ascii_case(word))
            && !says_no_error(&Value::from(code.as_str()))
    };
    let has_failed = ["ok", "success"].iter().any(|member| answer.get(member) == Some(&Value::Bool(false)));
    let mut codes = Said::codes_of(answer);
    for vague in ["reason", "status", "title"].iter().filter_map(|member| answer.get(member)?.as_str()) {
        let place = codes.iter().position(|code| code == vague);
        if let Some(place) = place.filter(|_| !has_failed && !is_known(vague)) {
            codes.swap_remove(place);
        }
    }
    ["code", "error_message"].iter().any(|member| answer.get(member).is_some()) || codes.iter().any(is_wrong)
}

/// True for an `error` that says that there is none, as some platforms send it beside tokens.
pub(super) fn says_no_error(error: &Value) -> bool {
    match error {
        Value::Null => true,
        Value::Bool(error) => !error,
        Value::Number(code) => code.as_f64() == Some(0.0),
        Value::String(code) => matches!(code.trim(), "" | "0") || code.trim().eq_ignore_ascii_case("ok"),
        Value::Array(errors) => errors.is_empty(),
        Value::Object(members) => members.get("code").map_or(members.is_empty(), says_no_error),
    }
}

/// The names under which platforms send the lifetime of a token.
struct Lifetimes {
    /// Seconds.
    spans: &'static [&'static str],
    /// Points in time.
    ends: &'static [&'static str],
}

/// `expires_on` is Microsoft's. `expires` was Facebook's for seconds, and is a point in time elsewhere. Zoho sends
/// `expires_in_sec` beside an `expires_in` of milliseconds.
const ACCESS: Lifetimes = Lifetimes {
    spans: &["expires_in_sec", "expires_in", "expires"],
    ends: &["expires_at", "expires_on", "expires", "expires_in"],
};
const REFRESH: Lifetimes = Lifetimes {
    spans: &["refresh_token_expires_in", "refresh_expires_in"],
    ends: &["refresh_token_expires_at", "refresh_expires_at", "refresh_token_expires_in", "refresh_expires_in"],
};

impl Lifetimes {
    /// True for an end that was before the token was asked for, by a server whose clock is late.
    fn is_over(&self, tokens: &Value, sent_at: Timestamp) -> bool {
        let end = |name: &&str| moment(tokens.get(*name)?).filter(|end| is_likely(*end, sent_at));
        self.ends.iter().find_map(end).is_some_and(|end| end <= sent_at)
    }
}

/// Lifetime of a token that does expire, nobody knows when.
const UNTOLD: Duration = Duration::from_hours(1);

/// Most that a server's clock is late.
const LATE: Duration = Duration::from_hours(24);

/// True for an end that a token can have which was asked for at `sent_at`. An earlier one is a mistake.
fn is_likely(end: Timestamp, sent_at: Timestamp) -> bool {
    end.until(sent_at) <= LATE
}

/// How long a token lives; `None` where the answer does not say. 0 or less says nothing: some platforms send it for
/// tokens that never expire. `known`: the lifetime of the platform's tokens.
fn lifetime(tokens: &Value, sent_at: Timestamp, names: &Lifetimes, known: Option<Duration>) -> Option<Duration> {
    let span = |name: &&str| {
        let seconds = number(tokens.get(*name)?)?;
        // The milliseconds of a few weeks look like a point in time, or like decades.
        if let Some(known) = known.filter(|known| is_thousandfold(seconds, *known)) {
            return Some(known);
        }
        // A point in time, even one that is just over, is likelier than decades.
        let is_time = moment_of(seconds).is_some_and(|end| is_likely(end, sent_at));
        (seconds > 0.0 && !is_time).then(|| Duration::from_secs_f64(seconds.min(LONGEST)))
    };
    let end = |name: &&str| {
        let lifetime = sent_at.until(moment(tokens.get(*name)?)?).min(Duration::from_secs_f64(LONGEST));
        (!lifetime.is_zero()).then_some(lifetime)
    };
    names.spans.iter().find_map(span).or_else(|| names.ends.iter().find_map(end))
}

/// True for a lifetime that a platform sends in milliseconds, give or take a tenth.
fn is_thousandfold(sent: f64, known: Duration) -> bool {
    let millis = known.as_secs_f64() * 1000.0;
    (sent - millis).abs() <= millis / 10.0
}

/// A point in time: RFC 3339, in UTC where it names no zone, or a number.
fn moment(value: &Value) -> Option<Timestamp> {
    let parse = |text: &str| Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}Z")));
    number(value).map_or_else(|| parse(value.as_str()?.trim()), moment_of)
}

/// Seconds since the Unix epoch; or milliseconds, where the number can be nothing else. From 2001 on.
fn moment_of(number: f64) -> Option<Timestamp> {
    const SECONDS: std::ops::Range<f64> = 1e9..1e11;
    const MILLISECONDS: std::ops::Range<f64> = 1e12..1e14;
    let seconds = if SECONDS.contains(&number) {
        number
    } else if MILLISECONDS.contains(&number) {
        number / 1000.0
    } else {
        return None;
    };
    Some(Timestamp::from_millis(0).plus(Duration::from_secs_f64(seconds)))
}

/// A finite number, sent as such or as text.
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
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    let separated = texts.iter().flat_map(|text| text.split([' ', ',', '\t', '\r', '\n']));
    let scopes = bounded(separated);
    (!scopes.is_empty()).then_some(scopes)
}

/// The granted permissions of `/me/permissions`. The others were declined or have expired.
pub(super) fn granted_permissions(answer: &Value) -> Option<Vec<String>> {
    let is_granted = |entry: &&Value| entry.get("status").and_then(Value::as_str) == Some("granted");
    let name = |entry: &'_ Value| entry.get("permission").and_then(Value::as_str).map(str::to_owned);
    let granted: Vec<String> = answer.get("data")?.as_array()?.iter().filter(is_granted).filter_map(name).collect();
    Some(bounded(granted.iter().map(String::as_str)))
}

/// At most [`bounds::MAX_SCOPES`] scopes, each in bounds.
fn bounded<'a>(scopes: impl Iterator<Item = &'a str>) -> Vec<String> {
    scopes.filter(|scope| bounds::is_scope(scope)).take(bounds::MAX_SCOPES).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use proptest::prelude::*;
    use secrecy::{ExposeSecret as _, SecretString};

    use super::*;
    use crate::platforms::{BUILT_IN, Blame};

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
            ("3", 3),
            ("\"3.2\"", 3),
            ("-1", 7200),
            ("0", 7200),
            ("\"0\"", 7200),
            ("1e20", 315_360_000),
            ("99999999999999999999999999999999", 315_360_000),
            ("1e400", 7200),
            ("NaN", 7200),
            ("null", 7200),
            ("\"soon\"", 7200),
            ("{}", 7200),
            ("true", 7200),
            ("5183944", 5_183_944),
        ] {
            let body = format!(r#"{{"access_token":"a","expires_in":{spelled}}}"#);
            assert_eq!(lifetime(&body), Some(seconds), "{spelled}");
        }
        assert_eq!(lifetime(r#"{"access_token":"a"}"#), Some(7200));
        assert!(read(br#"{"access_token":"a"}"#, SENT, None, None).unwrap().access_expires_at.is_none());
    }

    #[test]
    fn the_end_of_a_lifetime_is_read_where_the_lifetime_is_not_sent() {
        // Sent at 1,700,000,000 seconds.
        for (members, seconds) in [
            (r#""expires_at":1700003600"#, 3600),
            (r#""expires_at":"1700003600""#, 3600),
            (r#""expires_at":1700003600000"#, 3600),
            (r#""expires_at":"2023-11-14T23:13:20Z""#, 3600),
            (r#""expires_at":"2023-11-15T00:13:20.5+01:00""#, 3600),
            (r#""expires_at":"2023-11-14T23:13:20""#, 3600),
            (r#""expires_at":"2023-11-14 23:13:20""#, 3600),
            (r#""expires_in":1700003600"#, 3600),
            (r#""expires_in":1700003600000"#, 3600),
            // Decades, which only the longest lifetime can stand for.
            (r#""expires_in":1600000000"#, 315_360_000),
            (r#""expires_in":1576800000"#, 315_360_000),
            (r#""expires_in":"1000000000""#, 315_360_000),
            (r#""expires_in":1600000000000"#, 315_360_000),
            // A moment that is just over.
            (r#""expires_in":1699996400"#, 7200),
            (r#""expires_in":1699996400000"#, 7200),
            // Zoho's milliseconds, with and without the seconds beside them.
            (r#""expires_in":3600000,"expires_in_sec":3600"#, 3600),
            (r#""expires_in":7200000"#, 7200),
            (r#""expires_in":"7199000""#, 7200),
            (r#""expires_in":3600000"#, 3_600_000),
            (r#""expires_on":"1700003600","ext_expires_in":9"#, 3600),
            (r#""expires":1700003600"#, 3600),
            (r#""expires":"5183999""#, 5_183_999),
            (r#""expires_in":60,"expires_at":1700003600"#, 60),
            (r#""expires_in":0,"expires_at":1700003600"#, 3600),
            (r#""expires_at":9900003600"#, 315_360_000),
            // No time that could be meant.
            (r#""expires_at":1600000000"#, 7200),
            (r#""expires_at":0"#, 7200),
            (r#""expires_at":3600"#, 7200),
            (r#""expires_at":"later""#, 7200),
            (r#""expires_at":"soon""#, 7200),
            (r#""expires_at":null"#, 7200),
        ] {
            assert_eq!(lifetime(&format!(r#"{{"access_token":"a",{members}}}"#)), Some(seconds), "{members}");
        }
        // It is over by the server's clock, so it does expire.
        for (members, seconds) in [
            (r#""expires_at":1699996400"#, Some(3600)),
            (r#""expires_in":1699996400"#, Some(3600)),
            (r#""expires_at":1600000000"#, None),
            (r#""expires_at":"0001-01-01T00:00:00Z""#, None),
            (r#""expires_at":0"#, None),
            ("", None),
        ] {
            let body = format!(r#"{{"access_token":"a","x":1{}{members}}}"#, if members.is_empty() { "" } else { "," });
            let expires_at = read(body.as_bytes(), SENT, None, None).unwrap().access_expires_at;
            assert_eq!(expires_at.map(|at| SENT.until(at).as_secs()), seconds, "{members}");
        }
        let body = br#"{"access_token":"a","refresh_token":"r","refresh_token_expires_at":1700086400}"#;
        let refresh = read(body, SENT, None, Some(7200)).unwrap().refresh_expires_at.unwrap();
        assert_eq!(SENT.until(refresh).as_secs(), 86_400);
    }

    #[test]
    fn a_known_lifetime_in_milliseconds_is_recognised_however_long_it_is() {
        const DAY: u64 = 86_400;
        for days in [5, 7, 14, 20, 30, 60, 365, 3650] {
            let life = days * DAY;
            for sent in [life * 1000, (life - 5) * 1000] {
                let body = format!(r#"{{"access_token":"a","expires_in":{sent}}}"#);
                let issued = read(body.as_bytes(), SENT, None, Some(life)).unwrap();
                assert_eq!(issued.access_expires_at.map(|at| SENT.until(at).as_secs()), Some(life), "{sent}");
            }
        }
        let in_time = format!(r#"{{"access_token":"a","expires_in":{}}}"#, 1_700_000_000 + 60 * DAY);
        let issued = read(in_time.as_bytes(), SENT, None, Some(60 * DAY)).unwrap();
        assert_eq!(issued.access_expires_at, Some(SENT.plus(Duration::from_secs(60 * DAY))));
    }

    #[test]
    fn only_a_refresh_may_answer_without_the_nesting() {
        let slack = crate::platforms::CustomPlatform {
            token_pointer: Some("/authed_user".to_owned()),
            ..crate::platforms::CustomPlatform::default()
        };
        let slack = slack.platform(None);
        let read = |step, body: &str| {
            let read = read_of(&slack, step, body.as_bytes(), SENT, None);
            read.map(|issued| issued.tokens.access_token.expose_secret().to_owned())
        };
        let nested = r#"{"ok":true,"access_token":"xoxb","authed_user":{"id":"U","access_token":"xoxp"}}"#;
        assert_eq!(read(Step::CodeExchange, nested).unwrap(), "xoxp");
        assert_eq!(read(Step::Refresh, nested).unwrap(), "xoxp");
        for others in ["", r#","authed_user":null"#, r#","authed_user":[]"#, r#","data":[{"access_token":"xoxb"}]"#] {
            let body = format!(r#"{{"ok":true,"access_token":"xoxb"{others}}}"#);
            assert_eq!(read(Step::CodeExchange, &body).unwrap_err(), NotTokens::Unreadable, "{body}");
            assert_eq!(read(Step::Refresh, &body).unwrap(), "xoxb", "{body}");
        }
        let refused = r#"{"ok":false,"error":"invalid_code"}"#;
        assert!(matches!(read(Step::CodeExchange, refused), Err(NotTokens::Error(_))));
    }

    #[test]
    fn forms_are_read() {
        let body =
            b"access_token=gho_16C7&scope=repo%2Cgist+user&token_type=bearer&expires_in=28800&refresh_token=ghr_1\n";
        let issued = read(body, SENT, None, None).unwrap();
        assert_eq!(issued.tokens.access_token.expose_secret(), "gho_16C7");
        assert_eq!(issued.tokens.refresh_token.unwrap().expose_secret(), "ghr_1");
        assert_eq!(issued.scopes, Some(vec!["repo".to_owned(), "gist".to_owned(), "user".to_owned()]));
        assert_eq!(issued.access_expires_at, Some(SENT.plus(Duration::from_hours(8))));
        let facebook = read(b"access_token=CAAB%7Cx&expires=5183999", SENT, None, None).unwrap();
        assert_eq!(facebook.tokens.access_token.expose_secret(), "CAAB|x");
        assert!(facebook.access_expires_at.is_some());
        for odd in [
            "access_token=a&name=Ada Marlow",
            "access_token=a&name=Zoë",
            "access_token=a&scope=read write&name=[x]\\}^`",
            "\u{feff}access_token=a&name=x&",
            "name=Zo%EB&access_token=a\r\n",
            "user[name]=x&team.id=1&access_token=a&redirect=https://x.example/?a=b#c",
        ] {
            let issued = read(odd.as_bytes(), SENT, None, None).unwrap_or_else(|why| panic!("{odd}: {why:?}"));
            assert_eq!(issued.tokens.access_token.expose_secret(), "a", "{odd}");
        }
        let latin = read(b"access_token=a&name=Zo\xeb", SENT, None, None).unwrap();
        assert_eq!(latin.tokens.access_token.expose_secret(), "a");
        let refused = read(b"error=bad_verification_code&error_description=x", SENT, None, None).unwrap_err();
        assert_eq!(
            refused,
            NotTokens::Error(serde_json::json!({"error": "bad_verification_code", "error_description": "x"}))
        );
        for body in [
            "access_token=",
            "access_token=a%0Ab",
            "access_token=a b",
            "access_token=a\nb=c",
            "access_token=a&x=\0",
            "<a href=\"?access_token=a\">",
            "<p>?a=b&access_token=a",
            "Go to https://x.example/?error=1&access_token=a",
            "Sorry&access_token=a, or another token=b",
            "callback({a}) &access_token=a",
            "access_token",
            "token=a",
        ] {
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap_err(), NotTokens::Unreadable, "{body}");
        }
    }

    #[test]
    fn nothing_goes_into_a_header_that_could_break_it() {
        for token in ["a b", "a\\r\\nX-Evil: 1", "\u{e9}", "a\\ud83d", &"a".repeat(16 * 1024 + 1)] {
            for body in [
                format!(r#"{{"access_token":"{token}"}}"#),
                format!(r#"{{"access_token":"a","refresh_token":"{token}"}}"#),
            ] {
                assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap_err(), NotTokens::Unreadable, "{body}");
            }
            let body = format!(r#"{{"access_token":"a","id_token":"{token}","token_type":"{token}"}}"#);
            let issued = read(body.as_bytes(), SENT, None, None).unwrap();
            assert!(issued.tokens.id_token.is_none(), "{body}");
            assert_eq!(issued.tokens.token_type, "Bearer", "{body}");
        }
        for token in [" a", "a\\n", "\\ta \\r\\n"] {
            let body = format!(r#"{{"access_token":"{token}","refresh_token":"{token}"}}"#);
            let tokens = read(body.as_bytes(), SENT, None, None).unwrap().tokens;
            assert_eq!(tokens.access_token.expose_secret(), "a", "{body}");
            assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "a", "{body}");
        }
        let many = (0..1000).map(|n| format!("scope-{n}")).chain(["s".repeat(256)]).collect::<Vec<_>>().join(" ");
        let issued = read(format!(r#"{{"access_token":"a","scope":"{many}"}}"#).as_bytes(), SENT, None, None).unwrap();
        assert_eq!(issued.scopes.unwrap().len(), bounds::MAX_SCOPES);
    }

    #[test]
    fn a_refresh_token_is_read_or_the_answer_is_unreadable() {
        for unusable in ["7", "true", "r2", "'r2'", "[\"r\"]", r#"{"value":"r"}"#, "\"r\\u0000\"", "\"r s\""] {
            let body = format!(r#"{{"access_token":"a","refresh_token":{unusable}}}"#);
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap_err(), NotTokens::Unreadable, "{body}");
        }
        for absent in [
            "null",
            "undefined",
            "None",
            "",
            r#""null""#,
            r#""undefined""#,
            r#""None""#,
            r#""""#,
            "\" \\n\"",
            "false",
            "[]",
            "{}",
        ] {
            let body = format!(r#"{{"access_token":"a","refresh_token":{absent}}}"#);
            assert!(read(body.as_bytes(), SENT, None, None).unwrap().tokens.refresh_token.is_none(), "{body}");
        }
        let form = b"access_token=A+1&refresh_token=Nw+Zz/A==&id_token=h.p+.s&scope=read+write";
        let issued = read(form, SENT, None, None).unwrap();
        assert_eq!(issued.tokens.access_token.expose_secret(), "A+1");
        assert_eq!(issued.tokens.refresh_token.unwrap().expose_secret(), "Nw+Zz/A==");
        assert_eq!(issued.tokens.id_token.unwrap().expose_secret(), "h.p+.s");
        assert_eq!(issued.scopes.unwrap(), ["read", "write"]);
        let encoded = read(b"access_token=a&refresh_token=r%2B%2Fs%20", SENT, None, None).unwrap();
        assert_eq!(encoded.tokens.refresh_token.unwrap().expose_secret(), "r+/s");
    }

    #[test]
    fn answers_without_tokens_are_errors() {
        for body in [
            "",
            " ",
            "null",
            r#"{"access_token":"null"}"#,
            r#"{"access_token":"undefined","refresh_token":"r"}"#,
            r#"{"access_token":" None "}"#,
            r#"{"status":"success","message":"x"}"#,
            r#"{"status":"UP"}"#,
            r#"{"status":"maintenance","message":"x"}"#,
            r#"{"title":"Sign in"}"#,
            r#"{"reason":"planned work","success":true}"#,
            r#"{"errors":[{"code":"dead"}],"accessToken":"a"}"#,
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
            "{\"data\":[]}",
            "{\"data\":{}}",
            "{\"access_token\":\"a\"",
            "\u{0}",
            r#"{"error":"invalid_grant","access_token":"a"}"#,
            r#"{"error":true,"access_token":"a"}"#,
            r#"{"error":1,"access_token":"a"}"#,
            r#"{"error":["x"],"access_token":"a"}"#,
            r#"{"error":{"message":"x"},"access_token":"a"}"#,
            r#"{"error":{"code":190},"access_token":"a"}"#,
            r#"{"error":"invalid_grant","token_type":"bearer","newToken":"a"}"#,
            r#"{"error":"invalid_grant","token_v2":"a"}"#,
            r#"{"code":0,"message":"ok","data":{"access_token":"a"}}"#,
            r#"{"error":"","code":200,"result":[{"accessToken":"a"}]}"#,
            r#"{"error":{"code":190},"data":[{"access_token":"a"}]}"#,
        ] {
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap_err(), NotTokens::Unreadable, "{body}");
        }
        for body in [
            r#"{"error":"invalid_grant","error_description":"x"}"#,
            r#"{"error":{"code":190}}"#,
            r#"{"error":false}"#,
            r#"{"error":"invalid_grant","token_type":"bearer"}"#,
            r#"{"error":"invalid_grant","tokenStatus":"EXPIRED","data":{"Token-Type":"Bearer"}}"#,
            r#"{"error":"invalid_grant","token_expires_at":"2026-01-01","access_token":"","token_error":"x"}"#,
            r#"{"error":{"code":190},"data":[{}]}"#,
            r#"{"error_type":"OAuthException","code":400,"error_message":"x"}"#,
            r#"{"code":2,"message":"Authentication failed."}"#,
            r#"{"error_code":10004,"description":"the app was suspended"}"#,
            r#"{"errcode":40029,"errmsg":"invalid code"}"#,
            r#"{"errors":[{"code":"dead"}]}"#,
            r#"{"errors":[{"errorType":"invalid_grant","message":"The refresh token has expired"}],"success":false}"#,
            r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or unknown refresh token"}"#,
            r#"{"errorCode":"dead"}"#,
            r#"[{"error":"invalid_grant"}]"#,
            r#"{"meta":{"error_type":"dead"}}"#,
            r#"{"ok":false,"reason":"dead"}"#,
            r#"{"success":false,"status":"dead"}"#,
            r#"{"title":"invalid_grant"}"#,
            r#"{"status":"maintenance","errorCode":"maintenance"}"#,
            r#"{"access_token":"null","errorCode":"dead"}"#,
        ] {
            assert!(matches!(read(body.as_bytes(), SENT, None, None), Err(NotTokens::Error(_))), "{body}");
        }
    }

    #[test]
    fn tokens_are_read_where_something_is_around_them() {
        let tokens = r#"{"access_token":"a","refresh_token":"r"}"#;
        for body in [
            format!("{tokens} x"),
            format!("{tokens}\0"),
            format!("{tokens}\n<!-- x -->"),
            format!("<b>Notice</b>: x\n{tokens}"),
            format!("{tokens}\n{{}}"),
            format!("{{\"time\":3}}{tokens}"),
        ] {
            let issued = read(body.as_bytes(), SENT, None, None).unwrap_or_else(|why| panic!("{body}: {why:?}"));
            assert_eq!(issued.tokens.access_token.expose_secret(), "a", "{body}");
            assert_eq!(issued.tokens.refresh_token.unwrap().expose_secret(), "r", "{body}");
        }
        let nested = format!("{{\"data\":{tokens}}}\0");
        assert!(read(nested.as_bytes(), SENT, Some(Nested::Always("/data")), None).is_ok());
        for body in [
            format!("{tokens}{tokens}"),
            format!("{tokens}{{\"refreshToken\":\"s\"}}"),
            format!("{tokens}{{\"error\":\"invalid_grant\"}}"),
            format!("{tokens}{{\"access_token\":\"b\""),
            format!("[{tokens},"),
            format!("<html>{tokens}"),
            "{\"error\":\"invalid_grant\"}\0".to_owned(),
            "access_token=a&refresh_token=r\0".to_owned(),
        ] {
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap_err(), NotTokens::Unreadable, "{body}");
        }
    }

    #[test]
    fn a_word_of_the_operators_list_is_a_code_wherever_it_is() {
        let errors = vec![("gone".to_owned(), Blame::Reconnect)];
        let acme = Platform { errors, ..BUILT_IN.iter().map(|definition| definition()).next().unwrap() };
        let read = |body: &str| read_of(&acme, Step::Refresh, body.as_bytes(), SENT, None).unwrap_err();
        assert!(matches!(read(r#"{"status":"gone"}"#), NotTokens::Error(_)));
        assert_eq!(read(r#"{"status":"maintenance"}"#), NotTokens::Unreadable);
        assert_eq!(read(r#"{"status":"gone","new_token":"a"}"#), NotTokens::Unreadable);
    }

    #[test]
    fn token_answers_are_read_in_the_shapes_that_platforms_send() {
        let wrapped =
            read(br#"{"data":[{"access_token":"IGAA","user_id":1,"permissions":"a,b"}]}"#, SENT, None, None).unwrap();
        assert_eq!(wrapped.tokens.access_token.expose_secret(), "IGAA");
        assert_eq!(wrapped.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
        let listed = read(br#"{"access_token":"IGAA","permissions":["a","b c"]}"#, SENT, None, None).unwrap();
        assert_eq!(listed.scopes, Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        let in_lines = read(b"{\"access_token\":\"a\",\"scope\":\"a\\r\\nb\"}", SENT, None, None).unwrap();
        assert_eq!(in_lines.scopes, Some(vec!["a".to_owned(), "b".to_owned()]));
        let with_mark = read(b"\xef\xbb\xbf{\"access_token\":\"a\",\"error\":\"\"}", SENT, None, None).unwrap();
        assert_eq!(with_mark.tokens.token_type, "Bearer");
        for none in
            ["false", "0", "0.0", "null", "{}", "[]", "\"0\"", "\" \"", "\"ok\"", r#"{"code":"ok"}"#, r#"{"code":0}"#]
        {
            let body = format!(r#"{{"access_token":"a","refresh_token":"r","error":{none}}}"#);
            let tokens = read(body.as_bytes(), SENT, None, None).unwrap_or_else(|why| panic!("{none}: {why:?}")).tokens;
            assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "r", "{none}");
        }
        let tiktok = read(
            br#"{"access_token":"act","expires_in":7200,"refresh_token":"rft","refresh_expires_in":15552000,"token_type":"bearer"}"#,
            SENT,
            None,
            None,
        )
        .unwrap();
        assert_eq!(SENT.until(tiktok.refresh_expires_at.unwrap()).as_secs(), 15_552_000);
        let linkedin = BUILT_IN.iter().map(|definition| definition()).find(|found| found.name == "linkedin").unwrap();
        for (life, seconds) in [(525_600, None), (31_536_000, Some(31_536_000))] {
            let lives = format!(r#""expires_in":5184000,"refresh_token_expires_in":{life}"#);
            let body = format!(r#"{{"access_token":"a","refresh_token":"r",{lives}}}"#);
            let issued = read_of(&linkedin, Step::Refresh, body.as_bytes(), SENT, linkedin.default_expires_in).unwrap();
            assert_eq!(issued.refresh_expires_at.map(|at| SENT.until(at).as_secs()), seconds, "{life}");
        }
        let shorter = br#"{"access_token":"a","expires_in":3600,"refresh_token":"r","refresh_expires_in":1800}"#;
        let issued = read(shorter, SENT, None, None).unwrap();
        assert_eq!(issued.refresh_expires_at.map(|at| SENT.until(at).as_secs()), Some(1800));
        for never in [r#""refresh_token_expires_in":0"#, r#""refresh_expires_in":"-1""#] {
            let body = format!(r#"{{"access_token":"a","expires_in":30,"refresh_token":"r",{never}}}"#);
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap().refresh_expires_at, None, "{never}");
        }
        for (sent, kept) in [
            ("mac", "mac"),
            ("DPoP", "DPoP"),
            ("bearer", "Bearer"),
            ("user", "Bearer"),
            ("bot", "Bearer"),
            ("N_A", "Bearer"),
        ] {
            let body = format!(r#"{{"access_token":"a","token_type":"{sent}"}}"#);
            assert_eq!(read(body.as_bytes(), SENT, None, None).unwrap().tokens.token_type, kept, "{sent}");
        }
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

    #[test]
    fn fuzzed_token_answers_give_whole_tokens_or_none() {
        let words = [
            "access_token",
            "refresh_token",
            "expires_in",
            "expires_at",
            "data",
            "error",
            "scope",
            "null",
            "\"",
            "&",
            "=",
            "%0A",
            "{",
            "[",
            "-1",
            "1e400",
            "\\n",
            ",",
        ];
        crate::fuzz::run("token_answers", &words, |body| {
            for nested in [None, Some(Nested::Always("/data/0")), Some(Nested::Maybe("/data/0"))] {
                let Ok(issued) = read(body, SENT, nested, Some(60)) else { continue };
                let is_sendable = |token: &SecretString| {
                    let token = token.expose_secret();
                    !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic())
                };
                assert!(is_sendable(&issued.tokens.access_token));
                assert!(issued.tokens.refresh_token.as_ref().is_none_or(is_sendable));
                assert!(issued.access_expires_at.is_some_and(|at| at >= SENT));
                assert!(issued.refresh_expires_at.is_none_or(|at| at >= SENT));
            }
        });
    }

    proptest! {
        #[test]
        fn no_answer_without_a_token_gives_one(
            names in proptest::collection::vec("(access|refresh|id)[-_ .]?[tT]oken|data|error|token|code", 1..5),
            value in "\"[a-z]{1,5}\"|7|null|\\{\\}|\\[\\]",
            wrapped in any::<bool>(),
        ) {
            let names = names.iter().filter(|name| *name != "access_token");
            let members: Vec<String> = names.map(|name| format!("\"{name}\":{value}")).collect();
            let object = format!("{{{}}}", members.join(","));
            let body = if wrapped { format!(r#"{{"data":[{object}]}}"#) } else { object };
            prop_assert!(read(body.as_bytes(), SENT, None, Some(60)).is_err(), "{}", body);
        }

        #[test]
        fn no_object_makes_the_reader_panic_or_return_an_empty_token(
            token in "\"[a-z]{0,3}\"|null|[0-9]{1,20}|\\[\\]", expires in "-?[0-9]{1,25}(\\.[0-9]{1,3})?|\"[ -~&&[^\"\\\\]]{0,8}\"",
            scope in "\"[a-z ,]{0,8}\"|\\[\"a\"\\]|1"
        ) {
            let body = format!(r#"{{"access_token":{token},"expires_in":{expires},"scope":{scope}}}"#);
            if let Ok(issued) = read(body.as_bytes(), SENT, None, None) {
                prop_assert!(!issued.tokens.access_token.expose_secret().is_empty());
                prop_assert!(issued.access_expires_at.is_none_or(|at| at >= SENT));
            }
        }
    }
}
