//! Bounds for the text that platforms and account owners send, before it is stored or shown.
//!
//! A name may be cut, because people only read it. An id, a URL, a scope or a token is taken whole or not at all, but
//! for the white space around it: cut or mended, it would be another one.

use serde_json::Value;
use url::Url;

/// Longest name, in characters.
pub const MAX_NAME: usize = 200;
/// Longest id, in bytes.
pub const MAX_ID: usize = 255;
/// Longest URL, in bytes.
pub const MAX_URL: usize = 2048;
/// Longest token, in bytes.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Most scopes of a grant.
pub const MAX_SCOPES: usize = 200;
/// Longest scope, in bytes.
const MAX_SCOPE: usize = 255;
/// Most members of an object or an array in an account's metadata, and its deepest nesting.
const MAX_FACTS: usize = 50;
const MAX_FACTS_DEPTH: usize = 4;

/// A name for people, without what could disturb the text around it. `None` when nothing is left.
#[must_use]
pub fn name(text: &str) -> Option<String> {
    cut(text, MAX_NAME)
}

/// A sentence that contains names.
#[must_use]
pub fn sentence(text: &str) -> String {
    cut(text, 2 * MAX_NAME).unwrap_or_default()
}

fn cut(text: &str, most: usize) -> Option<String> {
    let calm = text.chars().filter(|c| !turns_text(*c)).map(|c| if breaks_text(c) { ' ' } else { c });
    let calm: String = calm.collect();
    let kept: String = calm.trim().chars().take(most).collect();
    Some(kept.trim_end().to_owned()).filter(|name| !name.is_empty())
}

/// True for the empty text, and for a word that a server's language writes in place of a missing value. Go, C and others
/// put it in brackets: `<nil>`, `%!s(<nil>)`, `(null)`.
#[must_use]
pub fn is_nothing(text: &str) -> bool {
    let is_bracket = |c: char| matches!(c, '(' | ')' | '<' | '>' | '[' | ']' | '{' | '}' | '"' | '\'');
    let text = text.trim();
    let word = text.strip_prefix("%!s").unwrap_or(text).trim_matches(is_bracket);
    let is_word = |nothing: &&str| word.eq_ignore_ascii_case(nothing);
    text.is_empty() || ["n/a", "nan", "nil", "none", "null", "undefined"].iter().any(is_word)
}

/// True for an id. U+FFFD stands for something unknown, and what stands for nothing may stand for anybody: they could
/// make two ids one.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let is_odd = |c: char| breaks_text(c) || turns_text(c) || c == char::REPLACEMENT_CHARACTER;
    !is_nothing(text) && !is_nobody(text) && text.len() <= MAX_ID && !text.contains(is_odd)
}

/// True for what no server gives to a person: an object's name in JavaScript, no letter and no digit, or the zero of a
/// type of ids, such as `00000000-0000-0000-0000-000000000000`. A lone zero may be the first person.
fn is_nobody(text: &str) -> bool {
    let is_object = text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("[object ")) && text.ends_with(']');
    let zeros = text.chars().filter(|c| *c == '0').count();
    let signs = text.chars().filter(|c| c.is_alphanumeric()).count();
    is_object || signs == 0 || (zeros > 1 && zeros == signs)
}

/// True for an http(s) URL. Callers parse these URLs and browsers follow them.
#[must_use]
pub fn is_web_url(text: &str) -> bool {
    let is_odd = |c: char| breaks_text(c) || turns_text(c) || c.is_whitespace();
    text.len() <= MAX_URL
        && !text.contains(is_odd)
        && Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
}

/// True for a token: it goes into a header, so it has no white space and nothing beyond ASCII.
#[must_use]
pub fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// True for a scope.
#[must_use]
pub fn is_scope(text: &str) -> bool {
    let is_odd = |c: char| breaks_text(c) || turns_text(c) || c.is_whitespace() || c == char::REPLACEMENT_CHARACTER;
    (1..=MAX_SCOPE).contains(&text.len()) && !text.contains(is_odd)
}

/// A fact about an account: its texts are cut like names, and it is neither long nor deep.
#[must_use]
pub fn fact(value: Value) -> Value {
    bounded(value, MAX_FACTS_DEPTH)
}

fn bounded(value: Value, depth: usize) -> Value {
    match value {
        Value::String(text) => cut(&text, 2 * MAX_NAME).map_or(Value::Null, Value::from),
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::Null,
        Value::Array(items) => items.into_iter().take(MAX_FACTS).map(|item| bounded(item, depth - 1)).collect(),
        Value::Object(members) => members
            .into_iter()
            .take(MAX_FACTS)
            .filter_map(|(key, value)| Some((name(&key)?, bounded(value, depth - 1))))
            .collect(),
        other => other,
    }
}

/// True for a character that ends a line, or controls a terminal.
fn breaks_text(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// True for an invisible character that changes the direction of the text after it, or marks its byte order.
fn turns_text(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_calmed_and_cut() {
        for (text, read) in [
            ("Ada Marlow", Some("Ada Marlow")),
            ("  Ada\r\n\tMarlow\0 ", Some("Ada   Marlow")),
            ("\u{202e}adA \u{2066}x\u{2069}", Some("adA x")),
            ("a\u{2028}b\u{9b}31m", Some("a b 31m")),
            ("\u{1f468}\u{200d}\u{1f469}", Some("\u{1f468}\u{200d}\u{1f469}")),
            ("\u{202e} \n", None),
            ("", None),
        ] {
            assert_eq!(name(text).as_deref(), read, "{text:?}");
        }
        assert_eq!(name(&"é".repeat(300)).unwrap(), "é".repeat(200));
    }

    #[test]
    fn ids_urls_scopes_and_tokens_are_taken_whole_or_not_at_all() {
        assert!(is_id(&"1".repeat(255)) && is_id("urn:li:person:a b") && is_id("É"));
        for text in ["", " ", "a\nb", "a\0", "a\u{202e}b", "a\u{fffd}", "\u{7f}", &"1".repeat(256)] {
            assert!(!is_id(text), "{text:?}");
        }
        for text in ["0", "100", "nullable", "did:plc:none", "nilly", "(nadia)", "[objects]", "-7", "0x0", "ад"] {
            assert!(is_id(text), "{text:?}");
        }
        for text in ["null", "NULL", "undefined", "None", "NaN", "[object Object]", "[object object]", "[object Null]"]
        {
            assert!(!is_id(text), "{text:?}");
        }
        for text in ["nil", "<nil>", "%!s(<nil>)", "(null)", "<NULL>", "N/A", "\"null\""] {
            assert!(is_nothing(text) && !is_id(text), "{text:?}");
        }
        for text in
            ["-", "--", "...", "[]", "{}", "\"\"", "00", "00000000-0000-0000-0000-000000000000", &"0".repeat(24)]
        {
            assert!(!is_id(text), "{text:?}");
        }
        assert!(is_web_url("https://a.example/é?x=1#y") && is_web_url("http://127.0.0.1:1/"));
        let long = format!("https://a.example/{}", "x".repeat(2048));
        for text in ["", "a.example", "javascript:alert(1)", "https://", "https://a.example/\n", "https:// a", &long] {
            assert!(!is_web_url(text), "{text:?}");
        }
        assert!(is_token("eyJ.a-b_c~+/=|:!") && is_token(&"a".repeat(16 * 1024)));
        for text in ["", "a b", "a\r\nX: y", "a\u{fffd}", "é", "a\t", &"a".repeat(16 * 1024 + 1)] {
            assert!(!is_token(text), "{text:?}");
        }
        assert!(is_scope("https://www.googleapis.com/auth/youtube"));
        assert!(!is_scope("") && !is_scope("a b") && !is_scope(&"a".repeat(256)));
    }

    #[test]
    fn facts_are_bounded() {
        let deep = json!({"a": [[[["x"]]]], "b": "y\nz", "c": 1});
        assert_eq!(fact(deep), json!({"a": [[[null]]], "b": "y z", "c": 1}));
        assert_eq!(fact(json!(vec![1; 100])).as_array().unwrap().len(), 50);
        assert_eq!(fact(json!("x".repeat(1000))).as_str().unwrap().len(), 400);
    }

    proptest! {
        #[test]
        fn a_name_is_calm_and_calming_it_again_changes_nothing(text in any::<String>()) {
            if let Some(once) = name(&text) {
                prop_assert!(once.chars().count() <= MAX_NAME && !once.contains(breaks_text) && !once.contains(turns_text));
                prop_assert_eq!(name(&once), Some(once));
            }
        }
    }
}
