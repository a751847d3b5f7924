//! Query parameters, parsed strictly: actix would take the last of a repeated key and replace bytes that are not UTF-8.
//!
//! Invariant: a parameter that a route reads occurs once, decodes cleanly and is within its limits; otherwise the error
//! names it. Unknown parameters are ignored, whatever they contain, because platforms add their own to a callback. On a
//! route with an access key, one that is almost a known parameter is an error: there the caller wrote it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::future::{Ready, ready};
use std::ops::RangeInclusive;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest};
use utoipa::IntoParams;

use super::spelling;
use crate::domain::paging::Window;
use crate::domain::profile::NAME_MAX;
use crate::http::context::Context;
use crate::http::error::{ApiError, Code};

/// Largest `offset`, and largest `page` times `limit`: the largest integer that a JavaScript number holds exactly.
pub(crate) const OFFSET_MAX: u64 = 9_007_199_254_740_991;
/// Largest `page`.
pub(crate) const PAGE_MAX: u64 = 90_071_992_547_409;
/// Largest `limit`.
pub(crate) const LIMIT_MAX: u64 = 100;

/// A type that is read from the query.
pub(crate) trait FromQuery: Sized {
    fn from_query(query: &Query) -> Result<Self, ApiError>;
}

/// Two groups of parameters of one route.
impl<A: FromQuery, B: FromQuery> FromQuery for (A, B) {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok((A::from_query(query)?, B::from_query(query)?))
    }
}

/// Extracts all query parameters of a route.
pub(crate) struct Parameters<T>(pub(crate) T);

impl<T: FromQuery> FromRequest for Parameters<T> {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, _: &mut Payload) -> Self::Future {
        let query = Query::new(req.query_string());
        let mut read = T::from_query(&query);
        if Context::of(req, |context| context.caller.is_some()).unwrap_or_default() {
            read = read.and_then(|read| query.refuse_misspelt().map(|()| read));
        }
        ready(read.map(Self))
    }
}

/// A query string, still encoded.
pub(crate) struct Query<'a> {
    text: &'a str,
    /// The known parameters: those that were read.
    known: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, known: RefCell::default() }
    }

    /// Returns an error if a parameter is almost one that was read.
    fn refuse_misspelt(&self) -> Result<(), ApiError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let known: Vec<&str> = self.known.borrow().iter().copied().collect();
        let meant = self.pairs().find_map(|(key, _)| spelling::meant(&decode(key)?, &known));
        match meant {
            Some(name) => Err(invalid_parameter(name, "is misspelt in the query: write it exactly like that")),
            None => Ok(()),
        }
    }

    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.text.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
    }

    /// The text of a parameter; `None` if it is absent.
    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, ApiError> {
        let mut texts = self.texts(name);
        let Some(text) = texts.next() else { return Ok(None) };
        if texts.next().is_some() {
            return Err(ApiError::with(
                Code::RepeatedParameter,
                format!("{name} is given more than once: give it at most once."),
            ));
        }
        text.map(Some)
    }

    /// The text of a parameter of a page, whose address people edit: one that cannot be read counts as absent.
    pub(crate) fn text_if_readable(&self, name: &'static str) -> Option<String> {
        self.text(name).ok().flatten()
    }

    /// The texts of a parameter that may be repeated, in order.
    pub(crate) fn texts(&self, name: &'static str) -> impl Iterator<Item = Result<String, ApiError>> {
        self.known.borrow_mut().insert(name);
        self.pairs()
            // A key that does not decode belongs to no parameter of ours.
            .filter(move |(key, _)| decode(key).as_deref() == Some(name))
            .map(move |(_, value)| {
                decode(value)
                    .map(Cow::into_owned)
                    .ok_or_else(|| invalid_parameter(name, "is not percent-encoded UTF-8"))
            })
    }

    /// The text of a parameter, 1 to `max` code points long; `None` if it is absent.
    pub(crate) fn short_text(&self, name: &'static str, max: usize) -> Result<Option<String>, ApiError> {
        match self.text(name)? {
            Some(text) if text.is_empty() || text.chars().nth(max).is_some() => {
                Err(invalid_parameter(name, &format!("must be 1 to {max} characters long")))
            }
            text => Ok(text),
        }
    }

    pub(crate) fn boolean(&self, name: &'static str, default: bool) -> Result<bool, ApiError> {
        Ok(self.choice(name, &["false", "true"])?.map_or(default, |choice| choice == "true"))
    }

    /// One of `choices`; `None` if the parameter is absent.
    pub(crate) fn choice(
        &self,
        name: &'static str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match choices.iter().copied().find(|choice| *choice == text) {
            Some(choice) => Ok(Some(choice)),
            None => Err(invalid_parameter(name, &format!("must be {}", choices.join(" or ")))),
        }
    }

    /// A whole number in decimal digits; `None` if the parameter is absent.
    pub(crate) fn integer(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, ApiError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|number| digits && range.contains(number)).map(Some).ok_or_else(|| {
            invalid_parameter(name, &format!("must be a whole number from {} to {}", range.start(), range.end()))
        })
    }

    /// `limit`, 1 to 100.
    pub(crate) fn limit(&self, default: u32) -> Result<u32, ApiError> {
        let limit = self.integer("limit", 1..=LIMIT_MAX)?.unwrap_or(u64::from(default));
        u32::try_from(limit).map_err(ApiError::internal)
    }
}

/// A page of a list that can be narrowed by name.
#[derive(Debug, Clone, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NamedPage {
    /// Which page, from 1.
    #[param(minimum = 1, maximum = 90_071_992_547_409_i64, default = 1, required = false)]
    pub(crate) page: u64,
    /// How many on a page.
    #[param(minimum = 1, maximum = 100, default = 50, required = false)]
    pub(crate) limit: u32,
    /// Only those whose name contains this, in whatever case.
    #[param(min_length = 1, max_length = 200)]
    pub(crate) name: Option<String>,
}

impl FromQuery for NamedPage {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            page: query.integer("page", 1..=PAGE_MAX)?.unwrap_or(1),
            limit: query.limit(50)?,
            name: query.short_text("name", NAME_MAX)?,
        })
    }
}

impl NamedPage {
    pub(crate) fn window(&self) -> Window {
        Window { limit: self.limit, offset: self.page.saturating_sub(1).saturating_mul(u64::from(self.limit)) }
    }
}

/// Builds the error for an invalid parameter; `what` completes the sentence that begins with its name.
pub(crate) fn invalid_parameter(name: &str, what: &str) -> ApiError {
    ApiError::with(Code::InvalidParameter, format!("{name} {what}."))
}

/// Decodes `application/x-www-form-urlencoded`; `None` if anything is malformed.
fn decode(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            b'+' => b' ',
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn text_is_decoded_once() {
        let query = Query::new("a=1&b=x%20y+z&c=%25&empty=&flag&%64=enc&u=%C3%A9");
        assert_eq!(query.text("a").unwrap().as_deref(), Some("1"));
        assert_eq!(query.text("b").unwrap().as_deref(), Some("x y z"));
        assert_eq!(query.text("c").unwrap().as_deref(), Some("%"));
        assert_eq!(query.text("empty").unwrap().as_deref(), Some(""));
        assert_eq!(query.text("flag").unwrap().as_deref(), Some(""));
        assert_eq!(query.text("d").unwrap().as_deref(), Some("enc"));
        assert_eq!(query.text("u").unwrap().as_deref(), Some("\u{e9}"));
        assert_eq!(query.text("missing").unwrap(), None);
        assert_eq!(Query::new("").text("").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn a_parameter_that_is_almost_a_known_one_is_refused() {
        let check = |text: &str| {
            let query = Query::new(text);
            <(NamedPage, Other)>::from_query(&query).and_then(|_| query.refuse_misspelt())
        };
        for good in ["", "page=1&limit=2", "page=1&limit=2&profileId=x&_=1&state=x", "pages=1", "%ff=1", "&&="] {
            assert!(check(good).is_ok(), "{good}");
        }
        insta::assert_snapshot!(sentence(check("page=1&profile_id=x")), @"invalid_parameter: profileId is misspelt in the query: write it exactly like that.");
        for (bad, name) in [
            ("LIMIT=1", "limit"),
            ("limit=1&limits=1", "limit"),
            ("%70rofile%5Fid=x", "profileId"),
            ("profileid", "profileId"),
            ("Page=1", "page"),
        ] {
            let sentence = sentence(check(bad));
            assert!(sentence.starts_with(&format!("invalid_parameter: {name} is misspelt")), "{sentence}");
        }
    }

    struct Other;

    impl FromQuery for Other {
        fn from_query(query: &Query) -> Result<Self, ApiError> {
            query.text("profileId").map(|_| Self)
        }
    }

    #[test]
    fn repeated_parameters_keep_their_order() {
        let query = Query::new("a=2&b=x&%61=1%203&a=2&a");
        let texts = |query: &Query, name| query.texts(name).collect::<Result<Vec<_>, _>>();
        assert_eq!(texts(&query, "a").unwrap(), ["2", "1 3", "2", ""]);
        assert!(texts(&query, "c").unwrap().is_empty());
        assert!(texts(&Query::new("a=1&a=%ff"), "a").is_err());
    }

    #[test]
    fn repeated_and_malformed_parameters_are_refused_only_when_read() {
        let query = Query::new("a=1&a=1&b=%ff&c=%zz&d=%4&e=2&%ff=1&x=1&%78=2");
        insta::assert_snapshot!(sentence(query.text("a")), @"repeated_parameter: a is given more than once: give it at most once.");
        insta::assert_snapshot!(sentence(query.text("b")), @"invalid_parameter: b is not percent-encoded UTF-8.");
        assert!(query.text("c").is_err());
        assert!(query.text("d").is_err());
        assert!(query.text("x").is_err(), "two spellings of one key");
        assert_eq!(query.text("e").unwrap().as_deref(), Some("2"));
    }

    #[test]
    fn numbers_are_decimal_digits_in_range() {
        for good in ["1", "100", "007"] {
            assert!(Query::new(&format!("limit={good}")).limit(20).is_ok(), "{good}");
        }
        for bad in ["0", "101", "-1", "+5", "%2B5", "1e3", "1.0", "9999999999999999999999", "abc", "", "%20", "\u{663}"]
        {
            let sentence = sentence(Query::new(&format!("limit={bad}")).limit(20));
            assert_eq!(sentence, "invalid_parameter: limit must be a whole number from 1 to 100.", "{bad}");
        }
        assert_eq!(Query::new("").limit(20).unwrap(), 20);
        let window = |query: &str| NamedPage::from_query(&Query::new(query)).map(|page| page.window());
        assert!(window("page=0").is_err());
        assert_eq!(window("").unwrap(), Window { limit: 50, offset: 0 });
        assert_eq!(window("page=3&limit=10").unwrap(), Window { limit: 10, offset: 20 });
        assert!(window(&format!("page={PAGE_MAX}&limit=100")).unwrap().offset <= OFFSET_MAX);
    }

    #[test]
    fn booleans_and_choices_are_exact() {
        assert!(Query::new("headless=true").boolean("headless", false).unwrap());
        assert!(!Query::new("headless=false").boolean("headless", true).unwrap());
        assert!(Query::new("").boolean("headless", true).unwrap());
        for bad in ["TRUE", "1", "0", "yes", "", "maybe", "true%20"] {
            let sentence = sentence(Query::new(&format!("headless={bad}")).boolean("headless", false));
            assert_eq!(sentence, "invalid_parameter: headless must be false or true.", "{bad}");
        }
        assert_eq!(Query::new("sort=asc").choice("sort", &["asc", "desc"]).unwrap(), Some("asc"));
        assert!(Query::new("sort=evil").choice("sort", &["asc", "desc"]).is_err());
    }

    #[test]
    fn short_text_counts_code_points() {
        let emoji = "%F0%9F%8E%89".repeat(200);
        assert!(Query::new(&format!("name={emoji}")).short_text("name", 200).is_ok());
        assert!(Query::new(&format!("name={emoji}x")).short_text("name", 200).is_err());
        assert!(Query::new("name=").short_text("name", 200).is_err());
    }
}
