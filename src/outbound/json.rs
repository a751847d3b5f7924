//! The one reader of JSON from outside: answers of platforms, as they come or as they were stored.
//!
//! A defect in one member never costs the others. What strict JSON refuses inside of a string, a number or a nested
//! value is mended before it is parsed; a body that is cut off, or followed by something else, is not JSON. Whoever
//! cannot ask again takes the [objects](objects_in) out of it.
//!
//! | in the body | read as |
//! | --- | --- |
//! | a byte order mark; UTF-16 behind one | UTF-8 without it |
//! | invalid UTF-8, half of a surrogate pair, `\u` without four digits | U+FFFD |
//! | a control character in a string; another escape, such as `\'` | itself |
//! | an integer beyond 64 bits, a number beyond the range, `007` | a string with the number's text |
//! | a word that says "no value", such as `nan` or `undefined`; no value, as in `{"a":}` | null |
//! | another word in the place of a value: there is one, and it cannot be used | an object that is not empty |
//! | a comma before a closing bracket | nothing |
//! | a value nested deeper than [`MAX_DEPTH`] | null |
//! | a member that is repeated | the last one |
//!
//! Invariant: where strict JSON reads a body without loss, this reader reads the same.

use serde_json::{Number, Value};
use zeroize::{Zeroize, Zeroizing};

use super::coding::unpacked;

/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;

/// Most objects that are read in a body that is not JSON.
const MAX_OBJECTS: usize = 8;

/// White space between the parts of a body.
const SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// Stands for a value that cannot be used. No longer than an escaped character.
const UNUSABLE: &str = r#"{"":0}"#;

/// Digits that a number of 64 bits always has room for.
const SAFE_DIGITS: usize = 18;

/// Reads a body; `None` when it is not JSON. Also reads a gzip body, which earlier versions stored as it came.
#[must_use]
pub fn read_json(body: &[u8]) -> Option<Value> {
    let contents = unpacked(body).ok()?;
    let text = text(contents.as_deref().map_or(body, Vec::as_slice));
    serde_json::from_str(&Mender::mend(&text)).ok()
}

/// The objects in a body that is not JSON because something is around them, such as a comment, a notice or padding. None
/// where one of them is cut off, and none in a page, which may show anything.
#[must_use]
pub fn objects_in(body: &[u8]) -> Vec<Value> {
    let Ok(contents) = unpacked(body) else { return Vec::new() };
    let text = text(contents.as_deref().map_or(body, Vec::as_slice));
    let objects = split_objects(&text).unwrap_or_default();
    objects.into_iter().filter_map(|object| serde_json::from_str(&Mender::mend(object)).ok()).collect()
}

/// `None` where an object is cut off or in an array, where there are more than [`MAX_OBJECTS`], and for a page.
fn split_objects(text: &str) -> Option<Vec<&str>> {
    let mut objects = Vec::new();
    let mut rest = text;
    while let Some((before, object)) = rest.find('{').and_then(|start| rest.split_at_checked(start)) {
        if objects.len() == MAX_OBJECTS || before.trim_end().ends_with('[') {
            return None;
        }
        let (object, after) = object.split_at_checked(length_of_object(object)?)?;
        objects.push(object);
        rest = after;
    }
    let is_page = ["<!doctype", "<html", "<script"].iter().any(|tag| names(text.as_bytes(), tag));
    (!is_page).then_some(objects)
}

/// Bytes of the object that the text begins with; `None` where it is cut off.
fn length_of_object(text: &str) -> Option<usize> {
    let (mut depth, mut is_string, mut is_escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            b'{' if !is_string => depth += 1,
            b'}' if !is_string && depth == 1 => return Some(at + 1),
            b'}' if !is_string => depth -= 1,
            _ => {}
        }
    }
    None
}

/// True when the word is in the body, in any case.
fn names(body: &[u8], word: &str) -> bool {
    body.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

/// Overwrites every string in the value.
pub fn wipe(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::String(text) => text.zeroize(),
        _ => {}
    }
}

/// True for a body that is HTML or XML: a page in the place of an answer.
#[must_use]
pub fn is_markup(body: &[u8]) -> bool {
    text(body).trim_start().starts_with('<')
}

/// True for a body that holds no tokens, however they are named: it is empty, or a page or a sentence in the place of an
/// answer. False for bytes that are no text: tokens may be packed in them.
#[must_use]
pub fn is_page(body: &[u8]) -> bool {
    is_markup(body) || (std::str::from_utf8(body).is_ok() && !names(body, "token") && !names(body, "jwt"))
}

/// The text of a body, without its byte order mark and with U+FFFD where it is invalid.
#[must_use]
pub fn text(body: &[u8]) -> Zeroizing<String> {
    let utf_16 = |body: &[u8], unit: fn([u8; 2]) -> u16| {
        let units = body.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(unit);
        let mut text = Zeroizing::new(String::with_capacity(2 * body.len()));
        text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
        text
    };
    if let Some(body) = body.strip_prefix(b"\xfe\xff") {
        return utf_16(body, u16::from_be_bytes);
    }
    if let Some(body) = body.strip_prefix(b"\xff\xfe") {
        return utf_16(body, u16::from_le_bytes);
    }
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    // Never moved while it grows: a byte becomes three at most.
    let mut text = Zeroizing::new(String::with_capacity(3 * body.len()));
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
        }
    }
    text
}

/// Rewrites a text so that strict JSON reads it.
struct Mender<'a> {
    rest: &'a str,
    mended: Zeroizing<String>,
    depth: usize,
}

impl<'a> Mender<'a> {
    fn mend(text: &'a str) -> Zeroizing<String> {
        // Never moved while it grows: a character becomes six at most.
        let mended = Zeroizing::new(String::with_capacity(6 * text.len()));
        let mut reading = Self { rest: text, mended, depth: 0 };
        while let Some(next) = reading.rest.chars().next() {
            match next {
                '"' => reading.string(),
                '{' | '[' => reading.open(next),
                '}' | ']' => reading.close(next),
                ',' => reading.comma(),
                ':' | ' ' | '\t' | '\n' | '\r' => reading.copy(next),
                _ => reading.word(),
            }
        }
        reading.mended
    }

    /// Takes a character without writing it.
    fn skip(&mut self, char: char) {
        self.rest = self.rest.get(char.len_utf8()..).unwrap_or_default();
    }

    fn copy(&mut self, char: char) {
        self.skip(char);
        self.put(char);
    }

    fn put(&mut self, char: char) {
        if self.depth <= MAX_DEPTH {
            self.mended.push(char);
        }
    }

    fn put_all(&mut self, text: &str) {
        if self.depth <= MAX_DEPTH {
            self.mended.push_str(text);
        }
    }

    /// Begins an object or an array. One that is too deep is read to its end and written as null.
    fn open(&mut self, bracket: char) {
        self.depth += 1;
        if self.depth <= MAX_DEPTH {
            return self.copy(bracket);
        }
        if self.depth == MAX_DEPTH + 1 {
            self.mended.push_str("null");
        }
        self.skip(bracket);
    }

    fn close(&mut self, bracket: char) {
        if self.depth <= MAX_DEPTH && self.last() == Some(',') {
            let length = self.mended.trim_end_matches(SPACE).len();
            self.mended.truncate(length - 1);
        }
        self.fill();
        self.copy(bracket);
        self.depth = self.depth.saturating_sub(1);
    }

    fn comma(&mut self) {
        self.fill();
        self.copy(',');
    }

    /// Writes null where a member has no value.
    fn fill(&mut self) {
        if self.last() == Some(':') {
            self.put_all("null");
        }
    }

    /// The last character written that is not a space.
    fn last(&self) -> Option<char> {
        self.mended.trim_end_matches(SPACE).chars().next_back()
    }

    /// A string, from its quote on.
    fn string(&mut self) {
        self.copy('"');
        while let Some(next) = self.rest.chars().next() {
            match next {
                '"' => return self.copy('"'),
                '\\' => self.escape(),
                '\0'..='\x1f' => {
                    self.skip(next);
                    self.put_all(&format!("\\u{:04x}", u32::from(next)));
                }
                _ => self.copy(next),
            }
        }
    }

    /// An escape, from its backslash on.
    fn escape(&mut self) {
        self.skip('\\');
        match self.rest.chars().next() {
            Some('u') => self.unicode(),
            Some(next @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
                self.put('\\');
                self.copy(next);
            }
            // Another escape stands for its character. A backslash at the end leaves the string open.
            _ => {}
        }
    }

    /// An escape such as `\ud83d\ude00`, from its `u` on.
    fn unicode(&mut self) {
        let unit = |text: &str| {
            let digits = text.strip_prefix('u')?.get(..4)?;
            let is_hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_hex.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
        };
        let first = unit(self.rest);
        let second = self.rest.get(5..).and_then(|rest| rest.strip_prefix('\\')).and_then(unit);
        let (units, length) = match (first, second) {
            (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => (vec![high, low], 11),
            (Some(unit), _) => (vec![unit], 5),
            (None, _) => (vec![0xd800], 1),
        };
        self.rest = self.rest.get(length..).unwrap_or_default();
        for char in char::decode_utf16(units) {
            match char {
                Ok(char @ ('\0'..='\x1f' | '"' | '\\')) => self.put_all(&format!("\\u{:04x}", u32::from(char))),
                Ok(char) => self.put(char),
                Err(_) => self.put(char::REPLACEMENT_CHARACTER),
            }
        }
    }

    /// A number, or a word such as `true`.
    fn word(&mut self) {
        let ends_word = |c: char| SPACE.contains(&c) || matches!(c, '"' | ',' | ':' | '[' | ']' | '{' | '}');
        let end = self.rest.find(ends_word).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        let is_integer = word.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        let is_json = match serde_json::from_str::<Number>(word) {
            // Read as a float, an integer would be rounded.
            Ok(number) => !(number.is_f64() && is_integer && word.len() > SAFE_DIGITS),
            Err(_) => matches!(word, "false" | "null" | "true"),
        };
        let is_number = word.bytes().any(|b| b.is_ascii_digit()) && word.parse::<f64>().is_ok();
        let is_value = matches!(self.last(), Some(':' | ',' | '['));
        if !is_json && is_number {
            self.put('"');
            self.put_all(word);
            self.put('"');
        } else if !is_json && is_value {
            self.put_all(if is_no_value(word) { "null" } else { UNUSABLE });
        } else {
            self.put_all(word);
        }
    }
}

/// True for a word that a server's language writes in place of a missing value or of a number that is none.
fn is_no_value(word: &str) -> bool {
    let word = word.trim_start_matches(['+', '-']).trim().to_ascii_lowercase();
    matches!(word.as_str(), "" | "inf" | "infinity" | "nan" | "nil" | "none" | "null" | "undefined")
        || word.starts_with("nan(")
        || word.starts_with("1.#")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(body: impl AsRef<[u8]>) -> Option<Value> {
        read_json(body.as_ref())
    }

    #[test]
    fn a_defect_does_not_cost_the_rest() {
        for (defect, read_as) in [
            (r#""I love \ud83d""#, json!("I love \u{fffd}")),
            (r#""\ude00 and \ud83d\ud83d\ude00""#, json!("\u{fffd} and \u{fffd}\u{1f600}")),
            (r#""\ud83d\u0041""#, json!("\u{fffd}A")),
            (r#""\ud83d\n""#, json!("\u{fffd}\n")),
            (r#""\u12 \u{1F600} \uzzzz""#, json!("\u{fffd}12 \u{fffd}{1F600} \u{fffd}zzzz")),
            (r#""\u+123""#, json!("\u{fffd}+123")),
            (r#""it\'s \x41 \0""#, json!("it's x41 0")),
            (r#""\u0000\u001f\u0022\u005c""#, json!("\0\u{1f}\"\\")),
            ("\"a\tb\nc\0d\u{7f}\"", json!("a\tb\nc\0d\u{7f}")),
            ("123456789012345678901234567890", json!("123456789012345678901234567890")),
            ("-123456789012345678901234567890", json!("-123456789012345678901234567890")),
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("-9223372036854775809", json!("-9223372036854775809")),
            ("1e3", json!(1000.0)),
            ("1234567890123.56790", json!(1_234_567_890_123.567_9)),
            ("1e999", json!("1e999")),
            ("007", json!("007")),
            ("+5", json!("+5")),
            (".5", json!(".5")),
            ("NaN", json!(null)),
            ("-Infinity", json!(null)),
            ("undefined", json!(null)),
            ("nan", json!(null)),
            ("-nan(ind)", json!(null)),
            ("inf", json!(null)),
            ("1.#QNAN", json!(null)),
            ("1e", json!({"": 0})),
            ("truefalse", json!({"": 0})),
            ("None", json!(null)),
            ("-INF", json!(null)),
            ("'it'", json!({"": 0})),
            ("r2", json!({"": 0})),
            ("\u{a0}", json!(null)),
            ("", json!(null)),
            ("[nan, -inf ,1]", json!([null, null, 1])),
            ("[1 , ]", json!([1])),
            (r#"{"a":nan,"b": }"#, json!({"a": null, "b": null})),
            (r#"{"a":",}","b":[[],],}"#, json!({"a": ",}", "b": [[]]})),
            ("\"NaN\"", json!("NaN")),
            ("\"007\"", json!("007")),
            (r#"{"a":1,"a":2}"#, json!({"a": 2})),
        ] {
            let body = format!(r#"{{"id":"1","x":{defect},"y":[true,false,null,-1.5]}}"#);
            let whole = json!({"id": "1", "x": read_as, "y": [true, false, null, -1.5]});
            assert_eq!(read(&body), Some(whole), "{defect}");
        }
    }

    #[test]
    fn objects_with_something_around_them_are_found() {
        let one = json!({"access_token": "a}{\"", "x": {"y": []}});
        let text = one.to_string();
        for around in [
            format!("{text}\n<!-- generated in 0.03 s -->"),
            format!("{text}\0"),
            format!("<br />\n<b>Deprecated</b>: {{closure}}() in /srv/x.php on line 3<br />\n{text}"),
            format!(")]}}'\n{text}"),
            format!("callback({text});"),
            format!("\u{feff}\u{feff}{text}"),
        ] {
            assert_eq!(read(&around), None, "{around}");
            assert_eq!(objects_in(around.as_bytes()), std::slice::from_ref(&one), "{around}");
        }
        assert_eq!(objects_in(format!("{text}\n{{}}\n").as_bytes()), [one.clone(), json!({})]);
        assert_eq!(objects_in("{}".repeat(MAX_OBJECTS).as_bytes()).len(), MAX_OBJECTS);
        for none in [
            String::new(),
            "access_token=a".to_owned(),
            format!("<!DOCTYPE html><title>{text}"),
            format!("{text}<SCRIPT>"),
            format!("{text}{{\"x\":"),
            format!("[{text}"),
            format!("[ {text},"),
            format!("{{\"x\":{text}"),
            "{}".repeat(MAX_OBJECTS + 1),
            "{".repeat(100_000),
        ] {
            assert!(objects_in(none.as_bytes()).is_empty(), "{none}");
        }
    }

    #[test]
    fn other_encodings_are_read() {
        let whole = json!({"name": "Zoë 😀"});
        let text = whole.to_string();
        assert_eq!(read(format!("\u{feff}{text}")), Some(whole.clone()));
        let units: Vec<u16> = format!("\u{feff}{text}").encode_utf16().collect();
        assert_eq!(read(units.iter().flat_map(|unit| unit.to_be_bytes()).collect::<Vec<_>>()), Some(whole.clone()));
        assert_eq!(read(units.iter().flat_map(|unit| unit.to_le_bytes()).collect::<Vec<_>>()), Some(whole));
        assert_eq!(read(b"{\"name\":\"Zo\xeb\"}"), Some(json!({"name": "Zo\u{fffd}"})));
        assert_eq!(read(b"{\"name\":\"\xed\xa0\xbd!\"}"), Some(json!({"name": "\u{fffd}\u{fffd}\u{fffd}!"})));
    }

    #[test]
    fn a_page_is_recognised_in_any_encoding() {
        for page in [&b"<html>"[..], b"\r\n <!DOCTYPE html>", b"\xef\xbb\xbf<p>", b"\xff\xfe<\0p\0>\0"] {
            assert!(is_markup(page), "{page:?}");
        }
        for other in [&b""[..], b"{}", b"forbidden", b"\"<p>\"", b"access_token=a"] {
            assert!(!is_markup(other), "{other:?}");
        }
    }

    #[test]
    fn a_page_holds_no_tokens() {
        for page in [&b"<input name=token>"[..], b"", b" \r\n", b"{}", b"null", b"forbidden"] {
            assert!(is_page(page), "{page:?}");
        }
        for other in [&b"{\"Tokens\":[]}"[..], b"{\"accessJwt\":7}", b"access_token=a\0", b"\x8b\x0f\x80\xff\xfe"] {
            assert!(!is_page(other), "{other:?}");
        }
    }

    #[test]
    fn what_is_too_deep_is_null() {
        let nested = |depth: usize| format!(r#"{{"id":"1","x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
        for depth in [MAX_DEPTH, MAX_DEPTH + 1, 100_000] {
            assert_eq!(read(nested(depth)).unwrap()["id"], "1", "{depth}");
        }
        let mut deepest = &read(nested(100_000)).unwrap()["x"];
        for _ in 1..MAX_DEPTH {
            deepest = &deepest[0];
        }
        assert_eq!(*deepest, Value::Null);
        let text = format!(r#"{{"x":{}{{"]":"}}\""}}{}}}"#, "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(read(text).is_some(), "brackets in strings are text");
    }

    #[test]
    fn a_body_that_is_cut_off_or_goes_on_is_no_json() {
        for body in [
            "",
            " ",
            "{",
            r#"{"access_token":"a"#,
            r#"{"access_token":"a\"#,
            r#"{"access_token":"a\ud83d"#,
            r#"{"access_token":"a""#,
            r#"{"access_token":"a"} x"#,
            r#"{"access_token":"a"}{}"#,
            r#"{"access_token":"a"]"#,
            r#"{"access_token" "a"}"#,
            r#"{"access_token":"a","#,
            r#"{"access_token":"a","x":na"#,
            r#"{"access_token":"a","x":[nan,"#,
            r#"{"access_token":"a"},"#,
            r#"{"access_token":"a",,"x":1}"#,
            r#"{"access_token":"a" nan}"#,
            r#"{"x":nan nan}"#,
            r#"{"access_token":"#,
            "{a:1}",
            r#"{"x":1,a:1}"#,
            "nan",
            "forbidden",
            "[forbidden",
            "callback({})",
            "<html>",
            "access_token=a",
        ] {
            assert_eq!(read(body), None, "{body}");
        }
        assert_eq!(read("[".repeat(100_000)), None);
    }

    #[test]
    fn fuzzed_answers_are_read_as_strict_json_or_better() {
        let words = ["\\u", "\\ud83d", "\\", "\"", "[", "{", "]", "}", ":", ",", "1e999", "-", "NaN", "\u{feff}", "é"];
        crate::fuzz::run("answers", &words, |body| {
            let read = read(body);
            if serde_json::from_slice::<Value>(body).is_ok() {
                assert!(read.is_some(), "strict JSON is refused");
            }
            assert!(objects_in(body).iter().all(Value::is_object));
            if let Some(value) = read {
                assert_eq!(read_json(value.to_string().as_bytes()), Some(value), "it is read differently again");
            }
        });
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_strict_json_reads_is_read_alike(value in json_value(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let strict: Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read(&text), Some(strict));
        }

        #[test]
        fn escapes_are_read_alike(text in r#"(\\["\\/bfnrt]|\\u[0-9a-cA-C][0-9a-f]{3}|\\ud83d\\ude00|[ -!#-\[\]-~]){0,12}"#) {
            let text = format!("\"{text}\"");
            prop_assert_eq!(read(&text), serde_json::from_str(&text).ok());
        }

        #[test]
        fn nothing_like_json_makes_the_reader_panic(body in r#"[\[\]{}",:\\ud8e0-9a-f+\-.\x00 é]{0,80}"#) {
            let strict: Option<Value> = serde_json::from_str(&body).ok();
            let read = read(&body);
            prop_assert!(strict.is_none() || read.is_some());
        }
    }
}
