//! A request to a platform, read strictly.
//!
//! Invariant: a parameter is never dropped silently. An endpoint names the parameters that it requires and allows;
//! anything else (a repeated name, an empty value, an unknown parameter) is a [`Problem`].

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::multipart;
use super::problem::{Dead, Problem};
use super::record::first;

/// Headers that are recorded.
pub(super) const HEADERS: [&str; 8] = [
    "accept",
    "authorization",
    "cache-control",
    "content-type",
    "linkedin-version",
    "origin",
    "user-agent",
    "x-restli-protocol-version",
];

/// Parameters that are codes or tokens.
const CREDENTIALS: [&str; 5] = ["access_token", "code", "fb_exchange_token", "refresh_token", "token"];

pub(super) type Pairs = Vec<(String, String)>;

/// A request below `{base}/{platform}`.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Pairs,
    /// The query undecoded, for platforms that look at its escapes.
    pub(super) raw_query: String,
    /// The sent ones among [`HEADERS`], by lower-case name.
    pub(super) headers: Pairs,
    pub(super) body: Body,
}

/// Body of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Form(Pairs),
    /// The members of a JSON object of texts.
    Json(Pairs),
    Multipart(Pairs),
    None,
    /// Another content type.
    Other(String),
}

impl Body {
    pub(super) fn read(content_type: Option<&str>, bytes: &[u8]) -> Self {
        let Some(content_type) = content_type else {
            return if bytes.is_empty() { Self::None } else { Self::Other("none".to_owned()) };
        };
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/json" => serde_json::from_slice::<BTreeMap<String, String>>(bytes).map_or_else(
                |_| Self::Other(format!("{essence} (no object of texts)")),
                |object| Self::Json(object.into_iter().collect()),
            ),
            "application/x-www-form-urlencoded" => Self::Form(pairs(bytes)),
            "multipart/form-data" => multipart::fields(content_type, bytes)
                .map_or_else(|| Self::Other(format!("{essence} (unreadable)")), Self::Multipart),
            _ => Self::Other(essence),
        }
    }

    pub(super) fn fields(&self) -> &[(String, String)] {
        match self {
            Self::Form(fields) | Self::Json(fields) | Self::Multipart(fields) => fields,
            Self::None | Self::Other(_) => &[],
        }
    }
}

/// Decodes `application/x-www-form-urlencoded`.
pub(super) fn pairs(bytes: &[u8]) -> Pairs {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

/// Parameters that were checked against the required and allowed ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(&'a [(String, String)]);

impl<'a> Fields<'a> {
    pub(super) fn check(pairs: &'a [(String, String)], required: &[&str], optional: &[&str]) -> Result<Self, Problem> {
        for (at, (name, value)) in pairs.iter().enumerate() {
            let what = if pairs.iter().take(at).any(|(earlier, _)| earlier == name) {
                "sent twice"
            } else if !required.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
                "not known here"
            } else if value.is_empty() {
                "empty"
            } else {
                continue;
            };
            return Err(Problem::Parameter(format!("the parameter {name} is {what}")));
        }
        match required.iter().find(|name| first(pairs, name).is_none()) {
            Some(name) => Err(Problem::Parameter(format!("the parameter {name} is missing"))),
            None => Ok(Self(pairs)),
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'a str> {
        first(self.0, name)
    }

    /// A required parameter.
    pub(super) fn get(&self, name: &str) -> &'a str {
        self.find(name).unwrap_or_default()
    }

    /// Checks the required parameter `grant_type`.
    pub(super) fn expect_grant_type(&self, wanted: &str) -> Result<(), Problem> {
        match self.get("grant_type") {
            given if given == wanted => Ok(()),
            given => Err(Problem::GrantType(given.to_owned())),
        }
    }

    /// Checks a parameter that has one allowed value.
    pub(super) fn expect(&self, name: &str, value: &str) -> Result<(), Problem> {
        match self.find(name) {
            Some(given) if given != value => {
                Err(Problem::Parameter(format!("the parameter {name} is '{given}' where only '{value}' is known")))
            }
            _ => Ok(()),
        }
    }
}

impl Call {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        first(&self.headers, name)
    }

    /// A form body with these parameters and no query.
    pub(super) fn form(&self, required: &[&str], optional: &[&str]) -> Result<Fields<'_>, Problem> {
        match &self.body {
            Body::Form(_) => self.fields(required, optional),
            Body::Json(_) => Err(Problem::ContentType("application/json".to_owned())),
            Body::Multipart(_) => Err(Problem::ContentType("multipart/form-data".to_owned())),
            Body::None => Err(Problem::ContentType("none".to_owned())),
            Body::Other(content_type) => Err(Problem::ContentType(content_type.clone())),
        }
    }

    /// A form or multipart body with these parameters and no query.
    pub(super) fn form_or_multipart(&self, required: &[&str], optional: &[&str]) -> Result<Fields<'_>, Problem> {
        match &self.body {
            Body::Multipart(_) => self.fields(required, optional),
            Body::Form(_) | Body::Json(_) | Body::None | Body::Other(_) => self.form(required, optional),
        }
    }

    fn fields(&self, required: &[&str], optional: &[&str]) -> Result<Fields<'_>, Problem> {
        if let Some((name, _)) = self.query.first() {
            return Err(Problem::Parameter(format!("the parameter {name} is in the query and belongs in the body")));
        }
        Fields::check(self.body.fields(), required, optional)
    }

    /// A query with these parameters.
    pub(super) fn query(&self, required: &[&str], optional: &[&str]) -> Result<Fields<'_>, Problem> {
        Fields::check(&self.query, required, optional)
    }

    /// An unchecked field of the body, to find out what a request is for.
    pub(super) fn peek(&self, name: &str) -> Option<&str> {
        first(self.body.fields(), name)
    }

    pub(super) fn bearer(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ").filter(|token| !token.is_empty())
    }

    /// The access token, in the query or as bearer, once.
    pub(super) fn access_token(&self) -> Result<&str, Problem> {
        match (first(&self.query, "access_token"), self.bearer()) {
            (Some(token), None) | (None, Some(token)) => Ok(token),
            (None, None) => Err(Problem::Token(Dead::Unknown)),
            (Some(_), Some(_)) => Err(Problem::Parameter("the access token was sent twice".to_owned())),
        }
    }

    /// Client id and secret of `Authorization: Basic`, each form-decoded (RFC 6749 section 2.3.1).
    pub(super) fn basic(&self) -> Option<(String, String)> {
        let decoded = STANDARD.decode(self.header("authorization")?.strip_prefix("Basic ")?).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((form_decoded(id), form_decoded(secret)))
    }

    /// All codes and tokens in the request.
    pub(super) fn credentials(&self) -> impl Iterator<Item = &str> {
        let fields = self.body.fields().iter().chain(&self.query);
        fields
            .filter(|(name, _)| CREDENTIALS.contains(&name.as_str()))
            .map(|(_, value)| value.as_str())
            .chain(self.bearer())
    }
}

/// `value` alone, percent-decoded with `+` as a space.
pub(super) fn form_decoded(value: &str) -> String {
    let escaped = value.replace('=', "%3D").replace('&', "%26");
    url::form_urlencoded::parse(escaped.as_bytes()).next().map(|(name, _)| name.into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn missing_unknown_repeated_and_empty_parameters_are_named() {
        for (sent, sentence) in [
            (&[("b", "1")][..], "the parameter a is missing"),
            (&[("a", "1"), ("z", "1")][..], "the parameter z is not known here"),
            (&[("a", "1"), ("a", "1")][..], "the parameter a is sent twice"),
            (&[("a", "")][..], "the parameter a is empty"),
        ] {
            let sent = list(sent);
            let problem = Fields::check(&sent, &["a"], &["b"]).unwrap_err();
            assert_eq!(problem.to_string(), sentence);
        }
        assert!(Fields::check(&list(&[("b", "2"), ("a", "1")]), &["a"], &["b"]).is_ok());
    }

    #[test]
    fn basic_credentials_are_form_decoded() {
        let call = |id: &str, secret: &str| Call {
            method: "POST".to_owned(),
            path: "/token".to_owned(),
            query: Vec::new(),
            raw_query: String::new(),
            headers: list(&[("authorization", &format!("Basic {}", STANDARD.encode(format!("{id}:{secret}"))))]),
            body: Body::None,
        };
        assert_eq!(call("a%2Fb", "c%3Ad+e=").basic(), Some(("a/b".to_owned(), "c:d e=".to_owned())));
        assert_eq!(call("", "").basic(), Some((String::new(), String::new())));
    }
}
