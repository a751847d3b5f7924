//! The only owner of an HTTP client: every call to a platform goes through here.
//!
//! [`Outbound`] calls hosts that the operator configured, [`Guard`] hosts that a user chose. Invariants: every call
//! ends within its time-out, no answer grows past [`MAX_ANSWER`] even when it was compressed, no redirect is followed
//! unasked, TLS is never relaxed, and no error text carries a URL (it may hold a token).

mod addresses;
mod coding;
mod connections;
mod dns;
mod guard;
mod json;
mod measure;
mod roots;
mod wiped;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;
use zeroize::Zeroizing;

use crate::domain::echo::Sent;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::proxy::Proxies;

pub use addresses::is_public;
pub use dns::{Dns, DnsError};
pub use guard::{Guard, Refused};
pub use json::{is_markup, is_page, objects_in, read_json, text, wipe};
pub use measure::measured;
pub use roots::Roots;

use connections::Connections;

/// Longest accepted answer, in bytes: as it was sent, and without its content coding.
pub const MAX_ANSWER: usize = 512 * 1024;

/// Ends what came of an answer that was cut off, also where that is stored. No form has it, so a part of one is never
/// read as the whole.
const CUT_OFF: &[u8] = b"\0\0\x18";

/// Longest `Retry-After`; longer ones are cut.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(1);

/// Settings of the HTTP client.
#[derive(Debug, Clone)]
pub struct Settings {
    pub connect_timeout: Duration,
    /// Time limit of the whole call, from the first byte sent to the last byte received.
    pub timeout: Duration,
    /// True when [`Guard`] may call hosts in a private network.
    pub allow_private_networks: bool,
    pub proxies: Proxies,
    pub roots: Roots,
}

/// An HTTP request.
pub struct Request {
    pub method: Method,
    pub url: Url,
    pub authorization: Authorization,
    /// Other headers, none of them secret.
    pub headers: Vec<(Cow<'static, str>, String)>,
    pub body: Body,
}

impl Request {
    /// A request without credentials, further headers or a body.
    #[must_use]
    pub const fn get(url: Url) -> Self {
        Self { method: Method::GET, url, authorization: Authorization::None, headers: Vec::new(), body: Body::Empty }
    }

    /// A request without further headers.
    #[must_use]
    pub const fn post(url: Url, authorization: Authorization, body: Body) -> Self {
        Self { method: Method::POST, url, authorization, headers: Vec::new(), body }
    }
}

/// The `Authorization` header of a call.
pub enum Authorization {
    Basic { user: String, password: SecretString },
    Bearer(SecretString),
    None,
}

/// The body of a request.
pub enum Body {
    Empty,
    /// `application/x-www-form-urlencoded`.
    Form(Vec<(String, SecretString)>),
    /// `application/json`, already serialized.
    Json(SecretString),
    /// `multipart/form-data`.
    Multipart(Vec<(String, SecretString)>),
}

/// An answer of any status.
pub struct Answer {
    pub status: u16,
    /// Wiped on drop: token answers pass through here.
    pub body: Zeroizing<Vec<u8>>,
    /// The wait that the platform asks for; at most an hour.
    pub retry_after: Option<Duration>,
    /// True when the headers say to wait: by `Retry-After`, or because no request is left in this window.
    pub is_throttled: bool,
    /// The secrets of its request.
    pub sent: Sent,
}

impl Answer {
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; null when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        read_json(&self.body).unwrap_or(Value::Null)
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer {{ status: {}, body: {} bytes }}", self.status, self.body.len())
    }
}

/// The reason why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the HTTP client could not be set up")]
    Client(#[source] reqwest::Error),
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// A success whose body broke off. What came of it may hold tokens.
    #[error("the answer was cut off")]
    CutOff { answer: Box<Answer>, source: Box<Error> },
    #[error("the connection broke before the answer was complete")]
    Interrupted(#[source] reqwest::Error),
    #[error("the host must not be called: {0}")]
    Refused(Refused),
    #[error("the answer is larger than {MAX_ANSWER} bytes")]
    TooLarge,
    #[error("the answer took too long")]
    Timeout(#[source] reqwest::Error),
    #[error("the redirects took too long")]
    TooSlow,
    #[error("the host's name does not resolve")]
    Unresolved(#[source] DnsError),
    #[error("the token holds a character that no header can carry")]
    Unsendable,
}

impl Error {
    /// True when the platform cannot have received the request.
    #[must_use]
    pub fn is_before_sending(&self) -> bool {
        match self {
            Self::Client(_) | Self::Connect(_) | Self::Refused(_) | Self::Unresolved(_) | Self::Unsendable => true,
            Self::CutOff { .. } | Self::Interrupted(_) | Self::TooLarge | Self::Timeout(_) | Self::TooSlow => false,
        }
    }

    /// True when the name leads to no host that may be called.
    #[must_use]
    pub fn is_without_host(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Unresolved(_) => true,
            Self::Connect(error) => guard::is_unresolved(error),
            _ => false,
        }
    }

    /// The part that came of an answer that was cut off, for a call whose answer comes only once.
    ///
    /// # Errors
    ///
    /// Nothing came that may hold tokens.
    pub fn answer(self) -> Result<Answer, Self> {
        match self {
            Self::CutOff { answer, .. } => Ok(*answer),
            error => Err(error),
        }
    }

    /// The error of the step that the call was made for.
    #[must_use]
    pub fn at(self, platform: &str, step: Step) -> PlatformError {
        let failure = match self {
            Self::TooLarge => Failure::PlatformAnswerUnreadable,
            _ => Failure::PlatformUnavailable,
        };
        let (may_have_acted, is_ours) = (!self.is_before_sending(), self.is_ours());
        PlatformError { may_have_acted, is_ours, ..PlatformError::new(platform, step, failure) }.caused_by(self)
    }

    fn from_reqwest(error: reqwest::Error) -> Self {
        let error = error.without_url();
        if let Some(refused) = guard::refusal(&error) {
            Self::Refused(refused)
        } else if error.is_connect() {
            Self::Connect(error)
        } else if error.is_timeout() {
            Self::Timeout(error)
        } else {
            Self::Interrupted(error)
        }
    }
}

/// The HTTP client. Cheap to clone.
#[derive(Clone)]
pub struct Outbound(Connections);

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outbound")
    }
}

impl Outbound {
    /// # Errors
    ///
    /// The TLS stack cannot be set up, or a proxy's URL cannot be used.
    pub fn new(settings: &Settings) -> Result<Self, Error> {
        Connections::new(settings.timeout, || builder(settings)).map(Self)
    }

    /// Makes a call that may arrive twice. It is repeated once, at once, when the connection broke before the answer
    /// began: an idle connection may have been forgotten by the other side.
    ///
    /// # Errors
    ///
    /// There is no complete answer. An answer with an error status is an [`Answer`].
    pub async fn send(&self, request: Request) -> Result<Answer, Error> {
        finish(self.0.ask(&request, "application/json").await?, &request).await
    }

    /// Makes a call that must not arrive twice: it spends a code or a token. It has a connection of its own.
    ///
    /// # Errors
    ///
    /// As [`Outbound::send`].
    pub async fn send_once(&self, request: Request) -> Result<Answer, Error> {
        finish(self.0.spend(&request, "application/json").await?, &request).await
    }
}

/// The common settings of all clients.
#[expect(clippy::disallowed_methods, reason = "the one place where an HTTP client is built")]
fn builder(settings: &Settings) -> Result<reqwest::ClientBuilder, Error> {
    let builder = reqwest::Client::builder()
        .connect_timeout(settings.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_backend_preconfigured(settings.roots.tls())
        .user_agent(concat!("postpeer/", env!("CARGO_PKG_VERSION")));
    let Proxies { http, https, no_proxy } = &settings.proxies;
    let ways = [
        http.as_ref().map(|proxy| reqwest::Proxy::http(expose(&proxy.url))),
        https.as_ref().map(|proxy| reqwest::Proxy::https(expose(&proxy.url))),
    ];
    ways.into_iter().flatten().try_fold(builder, |builder, proxy| {
        let proxy = proxy.map_err(|error| Error::Client(error.without_url()))?;
        Ok(builder.proxy(proxy.no_proxy(reqwest::NoProxy::from_string(no_proxy))))
    })
}

/// Sends a request, once, and reads the head of its answer. The whole call ends within `within`.
async fn begin(
    client: &reqwest::Client,
    request: &Request,
    accept: &'static str,
    within: Duration,
) -> Result<reqwest::Response, Error> {
    let mut builder = client
        .request(request.method.clone(), request.url.clone())
        .timeout(within)
        .header(header::ACCEPT, accept)
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some(value) = wiped::authorization(&request.authorization)? {
        builder = builder.header(header::AUTHORIZATION, value);
    }
    for (name, value) in &request.headers {
        builder = builder.header(name.as_ref(), value);
    }
    builder = match &request.body {
        Body::Empty => builder,
        Body::Form(fields) => {
            builder.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(wiped::form(fields))
        }
        Body::Json(text) => {
            builder.header(header::CONTENT_TYPE, "application/json").body(wiped::bytes(expose(text).into()))
        }
        Body::Multipart(fields) => {
            builder.multipart(fields.iter().fold(reqwest::multipart::Form::new(), |form, (name, value)| {
                form.text(name.clone(), expose(value).to_owned())
            }))
        }
    };
    builder.send().await.map_err(Error::from_reqwest)
}

/// Reads the body of the answer to a request, up to [`MAX_ANSWER`].
async fn finish(mut response: reqwest::Response, request: &Request) -> Result<Answer, Error> {
    if response.content_length().is_some_and(|length| length > MAX_ANSWER as u64) {
        return Err(Error::TooLarge);
    }
    let mut body = Zeroizing::new(Vec::new());
    let cut_off = loop {
        match response.chunk().await.map_err(Error::from_reqwest) {
            Ok(Some(chunk)) if body.len() + chunk.len() > MAX_ANSWER => return Err(Error::TooLarge),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let host = response.url().host_str().unwrap_or_default();
    let body = coding::decoded(host, response.headers(), body)?;
    let (status, headers) = (response.status().as_u16(), response.headers());
    let (retry_after, is_throttled) = (retry_after(status, headers), is_throttled(headers));
    let mut answer = Answer { status, body, retry_after, is_throttled, sent: wiped::sent(request) };
    match cut_off {
        None => Ok(answer),
        Some(error) if !answer.is_success() || is_page(&answer.body) => Err(error),
        Some(source) => {
            answer.body.extend_from_slice(CUT_OFF);
            Err(Error::CutOff { answer: Box::new(answer), source: Box::new(source) })
        }
    }
}

/// True for what came of an answer that was [cut off](Error::CutOff).
#[must_use]
pub fn is_cut_off(body: &[u8]) -> bool {
    body.ends_with(CUT_OFF)
}

/// The wait that the platform asks for: `Retry-After` in seconds or as a date, else `RateLimit-Reset`, which AT
/// Protocol servers send as a time and others in seconds from now, as the IETF's draft has it. GitHub sends
/// `X-RateLimit-Reset`, Reddit the same in seconds, and X `x-rate-limit-reset`. Many send a reset with every answer, so
/// it counts where no request is left until then, and the draft's with status 429 as well. Dates are compared with the
/// answer's `Date`, so only the platform's clock counts.
fn retry_after(status: u16, headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim);
    let now = || httpdate::parse_http_date(text(&header::DATE)?).ok();
    let after = if let Some(after) = text(&header::RETRY_AFTER) {
        // Some servers send a fraction.
        match after.parse::<f64>() {
            Ok(seconds) if seconds >= 0.0 => Duration::from_secs_f64(seconds.min(MAX_RETRY_AFTER.as_secs_f64())),
            _ => httpdate::parse_http_date(after).ok()?.duration_since(now()?).unwrap_or_default(),
        }
    } else {
        let is_spent = is_throttled(headers);
        let of_draft = text(&RATE_LIMIT_RESET).filter(|_| is_spent || status == 429);
        let of_spent = || X_RESETS.iter().find_map(text).filter(|_| is_spent);
        let reset = Duration::from_secs(of_draft.or_else(of_spent)?.parse().ok()?);
        if reset <= LONGEST_WINDOW {
            reset
        } else {
            (std::time::UNIX_EPOCH + reset.min(LAST_RESET)).duration_since(now()?).ok()?
        }
    };
    Some(after.min(MAX_RETRY_AFTER))
}

fn is_throttled(headers: &HeaderMap) -> bool {
    // Reddit counts in fractions.
    let is_zero =
        |name: &&str| headers.get(*name).is_some_and(|left| matches!(left.as_bytes().trim_ascii(), b"0" | b"0.0"));
    headers.contains_key(header::RETRY_AFTER)
        || ["ratelimit-remaining", "x-rate-limit-remaining", "x-ratelimit-remaining"].iter().any(is_zero)
}

/// Names of the time at which requests are allowed again: X's ("Rate limits", 2026-11), and GitHub's and Reddit's.
const X_RESETS: [HeaderName; 2] =
    [HeaderName::from_static("x-rate-limit-reset"), HeaderName::from_static("x-ratelimit-reset")];
const RATE_LIMIT_RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Longest wait for which a reset is taken for seconds from now: as a time it would be in January 1970.
const LONGEST_WINDOW: Duration = Duration::from_hours(30 * 24);

/// The year 2500, since the Unix epoch. Later times are mistakes, and some overflow.
const LAST_RESET: Duration = Duration::from_hours(4_645_896);

#[expect(clippy::disallowed_methods, reason = "this is where a secret leaves for the platform it belongs to")]
fn expose(secret: &SecretString) -> &str {
    secret.expose_secret()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    /// A server that answers one connection with these bytes and returns the request.
    fn server(answer: impl Into<Vec<u8>>) -> (Url, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        let answer = answer.into();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = vec![0; 64 * 1024];
            let read = stream.read(&mut asked).unwrap();
            // The client closes the connection when an answer is too long.
            let _ = stream.write_all(&answer);
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        (url, thread)
    }

    fn outbound() -> Outbound {
        Outbound::new(&Settings {
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(15),
            allow_private_networks: false,
            roots: Roots::default(),
            proxies: Proxies::default(),
        })
        .unwrap()
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let (url, thread) = server(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
        );
        let answer = outbound().send(Request::get(url)).await.unwrap();
        assert_eq!((answer.status, answer.retry_after), (302, Some(Duration::from_secs(7))));
        assert!(thread.join().unwrap().contains("accept: application/json"));
    }

    #[test]
    fn the_wait_is_read_in_each_form() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        for (headers, seconds) in [
            (&[("retry-after", "7")][..], Some(7)),
            (&[("retry-after", " 7 ")], Some(7)),
            (&[("retry-after", "7200")], Some(3600)),
            (&[("retry-after", "900.5")], Some(900)),
            (&[("retry-after", "-7")], None),
            (&[("retry-after", "18446744073709551616")], Some(3600)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT"), ("date", date)], Some(60)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:48:37 GMT"), ("date", date)], Some(0)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT")], None),
            (&[("retry-after", "soon"), ("date", date)], None),
            (&[("ratelimit-reset", "784111807"), ("date", date)], Some(30)),
            (&[("ratelimit-reset", "18446744073709551615"), ("date", date)], Some(3600)),
            (&[("ratelimit-reset", "784111807"), ("retry-after", "5"), ("date", date)], Some(5)),
            (&[("ratelimit-reset", "30"), ("date", date)], Some(30)),
            (&[("ratelimit-reset", "900")], Some(900)),
            (&[("ratelimit-reset", "86400"), ("date", date)], Some(3600)),
            (&[("ratelimit-reset", "784111700"), ("date", date)], None),
            (&[("ratelimit-reset", "-1"), ("date", date)], None),
            (&[("x-ratelimit-remaining", "0.0"), ("x-ratelimit-reset", "120")], Some(120)),
            (&[("x-ratelimit-remaining", "598.0"), ("x-ratelimit-reset", "120")], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "784111807"), ("date", date)], Some(30)),
            (&[("x-ratelimit-remaining", "9"), ("x-ratelimit-reset", "784111807"), ("date", date)], None),
            (&[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "784111807"), ("date", date)], Some(30)),
            (&[("x-rate-limit-remaining", "9"), ("x-rate-limit-reset", "784111807"), ("date", date)], None),
            (&[], None),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(HeaderName::from_static(name), value.parse().unwrap());
            }
            assert_eq!(retry_after(429, &map).map(|after| after.as_secs()), seconds, "{headers:?}");
            let is_told = headers.iter().any(|(name, value)| {
                *name == "retry-after" || name.ends_with("-remaining") && ["0", "0.0"].contains(value)
            });
            assert_eq!(is_throttled(&map), is_told, "{headers:?}");
        }
    }

    #[test]
    fn a_reset_that_comes_with_every_answer_is_no_wait() {
        for (headers, seconds) in [
            (&[("ratelimit-remaining", "97"), ("ratelimit-reset", "900")][..], None),
            (&[("ratelimit-reset", "900")], None),
            (&[("ratelimit-reset", "784111807"), ("date", "Sun, 06 Nov 1994 08:49:37 GMT")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "900")], Some(900)),
            (&[("ratelimit-remaining", "97"), ("ratelimit-reset", "900"), ("retry-after", "5")], Some(5)),
        ] {
            let headers: HeaderMap =
                headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
            for status in [200, 400, 403, 500, 502, 503] {
                let wait = retry_after(status, &headers).map(|wait| wait.as_secs());
                assert_eq!(wait, seconds, "{status} {headers:?}");
            }
        }
    }

    #[test]
    fn fuzzed_waits_last_an_hour_at_most() {
        let words = [
            "retry-after: ",
            "date: ",
            "ratelimit-reset: ",
            "\n",
            "18446744073709551615",
            "-",
            ".",
            " GMT",
            "0000",
            "é",
        ];
        crate::fuzz::run("waits", &words, |lines| {
            let mut map = HeaderMap::new();
            for line in lines.split(|byte| *byte == b'\n') {
                let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
                let name = HeaderName::from_bytes(&line[..colon]);
                let value = http::HeaderValue::from_bytes(&line[colon + 1..]);
                if let (Ok(name), Ok(value)) = (name, value) {
                    map.append(name, value);
                }
            }
            assert!(retry_after(429, &map).is_none_or(|wait| wait <= MAX_RETRY_AFTER));
        });
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut() {
        let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for _ in 0..40 {
            answer.extend_from_slice(b"8000\r\n");
            answer.extend(std::iter::repeat_n(b'x', 0x8000));
            answer.extend_from_slice(b"\r\n");
        }
        let (url, thread) = server(answer);
        assert!(matches!(outbound().send(Request::get(url)).await, Err(Error::TooLarge)));
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn what_came_of_an_answer_that_may_hold_tokens_is_kept_when_it_is_cut_off() {
        let json = r#"{"access_token":"a"}"#;
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{json}\r\n", json.len());
        let sized = |body: &str| format!("Content-Length: {}\r\n\r\n{body}", body.len() + 2);
        for (head, rest, kept) in [
            ("200 OK", chunked, Some(json)),
            ("201 Created", sized(json), Some(json)),
            ("200 OK", sized("access_token=a&refresh"), Some("access_token=a&refresh")),
            ("200 OK", sized("{\"acc"), None),
            ("200 OK", sized("<p>token"), None),
            ("200 OK", sized(""), None),
            ("400 Bad Request", sized(json), None),
        ] {
            let (url, thread) = server(format!("HTTP/1.1 {head}\r\n{rest}"));
            let cut_off = outbound().send_once(Request::get(url)).await.unwrap_err();
            assert!(!cut_off.is_before_sending() && !format!("{cut_off:?}").contains("token"), "{cut_off:?}");
            let body = cut_off.answer().map(|answer| answer.body).ok();
            assert_eq!(body.map(|body| body.to_vec()), kept.map(|kept| [kept.as_bytes(), CUT_OFF].concat()));
            thread.join().unwrap();
        }
    }

    #[tokio::test]
    async fn no_error_carries_the_url() {
        let (url, thread) = server("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        let url = url.join("/?access_token=marker").unwrap();
        let broken = outbound().send(Request::get(url)).await.unwrap_err();
        assert!(matches!(broken, Error::Interrupted(_)), "{broken:?}");
        thread.join().unwrap();
        let nobody = outbound()
            .send(Request::get(Url::parse("http://127.0.0.1:1/?access_token=marker").unwrap()))
            .await
            .unwrap_err();
        assert!(nobody.is_before_sending(), "{nobody:?}");
        for error in [broken, nobody] {
            let mut text = format!("{error:?} {error}");
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text.extend([format!("{inner:?}"), inner.to_string()]);
                source = inner.source();
            }
            assert!(!text.contains("marker"), "{text}");
        }
    }

    #[tokio::test]
    async fn forms_and_basic_credentials_are_encoded() {
        let (url, thread) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        let authorization = Authorization::Basic { user: "id".into(), password: SecretString::from("secret") };
        let body = Body::Form(vec![("a b".into(), SecretString::from("c&d"))]);
        let headers = vec![("x-version".into(), "7".into())];
        let request = Request { headers, ..Request::post(url, authorization, body) };
        let answer = outbound().send(request).await.unwrap();
        assert!(answer.is_success());
        let asked = thread.join().unwrap();
        assert!(asked.contains("authorization: Basic aWQ6c2VjcmV0"), "{asked}");
        assert!(asked.contains("a+b=c%26d"), "{asked}");
        assert!(asked.contains("x-version: 7"), "{asked}");
    }
}
