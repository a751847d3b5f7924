//! Answers to a refresh and their effect on the grant. New tokens are taken only from an answer that carries them.
//! After any other answer the old ones are unchanged, byte for byte.

mod anything;

use std::io::Write as _;
use std::time::Duration;

use postpeer::domain::time::{Clock as _, Timestamp};
use serde_json::Value;

use crate::stand_in::{self, Answer, StandIn, answer};
use crate::support::TestBroker;

/// Longer than any pause of an app or a grant.
const LONGER_THAN_ANY_PAUSE: Duration = Duration::from_hours(2);

/// State of a grant after a refresh.
#[derive(Clone, Copy)]
enum Then {
    /// A new access token that lives for `life` seconds, and the old refresh token (`None`) or a new one.
    New { access: &'static str, refresh: Option<&'static str>, life: u64 },
    /// The old tokens, with this health and error.
    Old { state: &'static str, code: &'static str },
    /// The owner must reconnect. The old tokens are kept.
    Ended { code: &'static str },
}

use Then::{Ended, New, Old};

const TAKEN: Then = New { access: "new-access", refresh: Some("new-refresh"), life: 3600 };
const NO_REFRESH_TOKEN: Then = New { access: "new-access", refresh: None, life: 3600 };
const ONLY_ACCESS: Then = New { access: "new-access", refresh: None, life: 7200 };
const UNREADABLE: Then = Old { state: "refresh_in_doubt", code: "platform_answer_unreadable" };
const AWAY: Then = Old { state: "refresh_failing", code: "platform_unavailable" };
const UNAVAILABLE: Then = Old { state: "refresh_in_doubt", code: "platform_unavailable" };
const REFUSED: Then = Old { state: "refresh_failing", code: "request_refused" };
const APP_REFUSED: Then = Old { state: "refresh_failing", code: "credentials_rejected" };
const THROTTLED: Then = Old { state: "refresh_failing", code: "platform_throttled" };
const REVOKED: Then = Ended { code: "refresh_rejected" };

const GOOD: &str =
    r#"{"access_token":"new-access","refresh_token":"new-refresh","token_type":"bearer","expires_in":3600}"#;

const fn lives(life: u64) -> Then {
    New { access: "new-access", refresh: Some("new-refresh"), life }
}

const TEN_YEARS: u64 = 10 * 365 * 86_400;

/// Answers of which nothing is stored.
const TOO_LONG: [&str; 3] = ["a bomb", "a byte longer", "16 MiB"];

/// Answers with status 200 and a JSON content type.
const BODIES: &[(&str, Then)] = &[
    (GOOD, TAKEN),
    // The lifetime of the token.
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":"3600"}"#, TAKEN),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600.0}"#, TAKEN),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":" 3600 "}"#, TAKEN),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":-1}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":0}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":1e20}"#, lives(TEN_YEARS)),
    (
        r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":99999999999999999999999999999999}"#,
        lives(TEN_YEARS),
    ),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":"1e999"}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":null}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh"}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":"soon"}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":[3600]}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":true}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":1e999}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":NaN}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3}"#, lives(3)),
    // A defect in a member that is not needed.
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600,"x":"\ud83d"}"#, TAKEN),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600,"x":1e999}"#, TAKEN),
    ("{\"access_token\":\"new-access\",\"refresh_token\":\"new-refresh\",\"expires_in\":3600,\"x\":\"\n\"}", TAKEN),
    (r#"{"access_token":"new-access\ud83d","refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":"new access","refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":"new-access","refresh_token":"new\r\nrefresh","expires_in":3600}"#, UNREADABLE),
    // The refresh token. Absent means unchanged, and one that cannot be used is not lost.
    (r#"{"access_token":"new-access","expires_in":3600}"#, NO_REFRESH_TOKEN),
    (r#"{"access_token":"new-access","refresh_token":null,"expires_in":3600}"#, NO_REFRESH_TOKEN),
    (r#"{"access_token":"new-access","refresh_token":"","expires_in":3600}"#, NO_REFRESH_TOKEN),
    (r#"{"access_token":"new-access","refresh_token":17,"expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":"new-access","refresh_token":["new-refresh"],"expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh \n","expires_in":3600}"#, TAKEN),
    // The access token.
    (r#"{"access_token":"","refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":null,"refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":17,"refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":["new-access"],"refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"access_token":{"value":"new-access"},"refresh_token":"new-refresh"}"#, UNREADABLE),
    (r#"{"access_token":false}"#, UNREADABLE),
    (r#"{"refresh_token":"new-refresh","expires_in":3600}"#, UNREADABLE),
    (r#"{"accessToken":"new-access","refreshToken":"new-refresh"}"#, UNREADABLE),
    (r#"{"Access_Token":"new-access"}"#, UNREADABLE),
    // A repeated member: the last one counts, as in most parsers.
    (r#"{"access_token":"one","access_token":"new-access","refresh_token":"new-refresh","expires_in":3600}"#, TAKEN),
    (r#"{"access_token":"new-access","access_token":"","expires_in":3600}"#, UNREADABLE),
    // A wrapped object, or no object.
    (r#"{"data":[{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600}]}"#, TAKEN),
    (r#"{"data":{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600}}"#, UNREADABLE),
    (r#"{"data":[]}"#, UNREADABLE),
    (r#"[{"access_token":"new-access"}]"#, UNREADABLE),
    (r#""new-access""#, UNREADABLE),
    ("17", UNREADABLE),
    ("true", UNREADABLE),
    ("null", UNREADABLE),
    ("{}", UNREADABLE),
    ("[]", UNREADABLE),
    ("", UNREADABLE),
    (" \r\n", UNREADABLE),
    // Bytes around the object.
    ("\n\n  {\"access_token\":\"new-access\",\"refresh_token\":\"new-refresh\",\"expires_in\":3600}\r\n", TAKEN),
    ("\u{feff}{\"access_token\":\"new-access\",\"refresh_token\":\"new-refresh\",\"expires_in\":3600}", TAKEN),
    ("\u{feff}\u{feff}{\"access_token\":\"new-access\"}", ONLY_ACCESS),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600}{}"#, TAKEN),
    (r#"callback({"access_token":"new-access"})"#, ONLY_ACCESS),
    (r#")]}'{"access_token":"new-access"}"#, ONLY_ACCESS),
    (r#"{"access_token":"new-access"}{"access_token":"another"}"#, UNREADABLE),
    (r#"<!doctype html><title>Be right back</title>{"access_token":"new-access"}"#, UNREADABLE),
    (r#"{"access_token":"new-acc"#, UNREADABLE),
    ("access_token=new-access&refresh_token=new-refresh&expires_in=3600", TAKEN),
    ("<!doctype html><title>Be right back</title>", UNREADABLE),
    (
        r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600,"scope":7,"token_type":[],"x":{"access_token":"no"}}"#,
        TAKEN,
    ),
    // An empty error is no error.
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600,"error":null}"#, TAKEN),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","expires_in":3600,"error":""}"#, TAKEN),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","error":false}"#, lives(7200)),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","error":{"code":0}}"#, lives(7200)),
    // Tokens and an error contradict each other, so the answer is kept and no token is taken from it.
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","error":"invalid_grant"}"#, UNREADABLE),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","error":true}"#, UNREADABLE),
    (r#"{"access_token":"new-access","refresh_token":"new-refresh","error":{"code":1}}"#, UNREADABLE),
    (r#"{"data":[{"access_token":"new-access"}],"error":{"code":190}}"#, UNREADABLE),
    // Errors in the shapes that platforms use.
    (r#"{"error":"invalid_grant","error_description":"Token has been revoked."}"#, REVOKED),
    (r#"{"error":"invalid_grant","access_token":""}"#, REVOKED),
    (r#"{"error":"invalid_client"}"#, APP_REFUSED),
    (r#"{"error":"invalid_request","error_description":"Refresh token is invalid","log_id":"1"}"#, REFUSED),
    (r#"{"error":"temporarily_unavailable"}"#, AWAY),
    (r#"{"error":"slow_down"}"#, THROTTLED),
    (r#"{"error":{"message":"Error validating access token","type":"OAuthException","code":190}}"#, REFUSED),
    (r#"{"error":{"code":16,"status":"UNAUTHENTICATED","message":"x"}}"#, REFUSED),
    (r#"{"error":{}}"#, REFUSED),
    (r#"{"error":true}"#, REFUSED),
    (r#"{"error_type":"OAuthException","code":400,"error_message":"x"}"#, REFUSED),
    (r#"{"code":2,"message":"Authentication failed."}"#, REFUSED),
    (r#"{"errors":[{"message":"x"}]}"#, UNREADABLE),
    (r#"{"message":"error","data":{"error_code":10008,"description":"x"}}"#, UNREADABLE),
];

/// Answers with an unusual head or size.
fn odd_answers() -> Vec<(&'static str, Vec<u8>, Then)> {
    let typed = |kind: &str, body: &[u8]| answer(200, &format!("Content-Type: {kind}\r\n"), body);
    let padded = |size: usize| format!("{GOOD}{}", " ".repeat(size - GOOD.len()));
    let utf_16: Vec<u8> = GOOD.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let latin_1 = [br#"{"access_token":"new-access","x":""#.as_slice(), &[0xe9], br#""}"#].concat();
    let nested = format!(r#"{{"access_token":"new-access","x":{}{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let packed = |text: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    };
    let gzip = packed(GOOD.as_bytes());
    let mut deflate = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    deflate.write_all(GOOD.as_bytes()).unwrap();
    let deflate = deflate.finish().unwrap();
    let cut = stand_in::json(GOOD);
    let (cut, _) = cut.split_at(cut.len() - 1);
    let chunked = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{GOOD}\r\n", GOOD.len());
    vec![
        ("JSON that is called text", typed("text/plain", GOOD.as_bytes()), TAKEN),
        ("JSON that is called a page", typed("text/html; charset=iso-8859-1", GOOD.as_bytes()), TAKEN),
        ("JSON that is called a form", typed("application/x-www-form-urlencoded", GOOD.as_bytes()), TAKEN),
        ("JSON that is called nothing", answer(200, "", GOOD.as_bytes()), TAKEN),
        (
            "a form",
            typed("application/x-www-form-urlencoded", b"access_token=new-access&expires_in=3600"),
            NO_REFRESH_TOKEN,
        ),
        ("XML", typed("application/xml", b"<OAuth><access_token>new-access</access_token></OAuth>"), UNREADABLE),
        ("UTF-16", typed("application/json; charset=utf-16", &utf_16), UNREADABLE),
        ("Latin-1", typed("application/json; charset=iso-8859-1", &latin_1), ONLY_ACCESS),
        ("zeros", typed("application/json", &[0; 64]), UNREADABLE),
        ("nested without end", stand_in::json(&nested), ONLY_ACCESS),
        (
            "garbage that is called gzip",
            answer(200, "Content-Encoding: gzip\r\n", b"\x1f\x8b\x08\x00garbage"),
            UNREADABLE,
        ),
        ("gzip", answer(200, "Content-Encoding: gzip\r\n", &gzip), TAKEN),
        ("gzip that nothing calls so", answer(200, "", &gzip), TAKEN),
        ("deflate", answer(200, "Content-Encoding: deflate\r\n", &deflate), TAKEN),
        ("a bomb", answer(200, "Content-Encoding: gzip\r\n", &packed(padded(16 << 20).as_bytes())), UNREADABLE),
        ("an unknown coding", answer(200, "Content-Encoding: br\r\n", &[0x8b, 0xff, 0x03]), UNREADABLE),
        ("JSON that is called gzip", answer(200, "Content-Encoding: gzip\r\n", GOOD.as_bytes()), TAKEN),
        ("as long as an answer may be", stand_in::json(&padded(512 * 1024)), TAKEN),
        ("a byte longer", stand_in::json(&padded(512 * 1024 + 1)), UNREADABLE),
        ("16 MiB", stand_in::json(&padded(16 << 20)), UNREADABLE),
        ("cut off", cut.to_vec(), UNAVAILABLE),
        ("chunks that do not end", chunked.into_bytes(), TAKEN),
        ("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), UNAVAILABLE),
        ("nothing", Vec::new(), UNAVAILABLE),
        ("created", answer(201, "", GOOD.as_bytes()), TAKEN),
        ("no content", answer(204, "", b""), UNREADABLE),
        ("elsewhere", answer(302, "Location: /login\r\n", GOOD.as_bytes()), REFUSED),
        ("tokens, and a bad request", answer(400, "", GOOD.as_bytes()), REFUSED),
        ("tokens, and a failure", answer(502, "", GOOD.as_bytes()), UNAVAILABLE),
        ("a refusal of the grant", answer(400, "", br#"{"error":"invalid_grant"}"#), REVOKED),
        (
            "a refusal of the app or the grant",
            answer(401, "", b"Unauthorized"),
            Old { state: "refresh_failing", code: "app_or_grant_rejected" },
        ),
        ("a refusal of a proxy", answer(401, "", b"<h1>Unauthorized</h1>"), AWAY),
        ("a refusal of a firewall", answer(403, "", b"<h1>Forbidden</h1>"), AWAY),
        ("a refusal of the grant in passing", answer(503, "", br#"{"error":"invalid_grant"}"#), UNAVAILABLE),
        ("slow down", answer(429, "Retry-After: 30\r\n", b""), THROTTLED),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_that_throttles_says_how_long_to_wait() {
    let bench = Bench::start().await;
    let due = bench.due().await;
    let throttled = answer(200, "Retry-After: 600\r\n", br#"{"ok":false,"error":"ratelimited"}"#);
    bench.platform.answer_refreshes_with(Answer::Bytes(throttled));
    bench.broker.refresh_due().await;
    let detail = bench.broker.detail(&due.id).await;
    assert_eq!(detail["health"]["lastError"]["code"], "platform_throttled", "{detail}");
    let wait = bench.broker.clock.now().until(time(&detail["health"]["nextRefreshAt"]));
    assert!(wait >= Duration::from_mins(10), "{detail}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_that_comes_with_every_answer_delays_no_refresh() {
    let bench = Bench::start().await;
    let headers = "RateLimit-Limit: 100\r\nRateLimit-Remaining: 97\r\nRateLimit-Reset: 900\r\n";
    for status in [400, 502, 503] {
        let due = bench.due().await;
        bench.platform.answer_refreshes_with(Answer::Bytes(answer(status, headers, b"{}")));
        bench.broker.refresh_due().await;
        let detail = bench.broker.detail(&due.id).await;
        let wait = bench.broker.clock.now().until(time(&detail["health"]["nextRefreshAt"]));
        assert!(wait < Duration::from_mins(10), "{status} {detail}");
        bench.refresh_again(&due.id, "a reset").await;
    }
}

/// A due grant and its tokens.
struct Bench {
    broker: TestBroker,
    platform: StandIn,
}

struct Due {
    id: String,
    access: Value,
    refresh: String,
    sealed: Vec<u8>,
}

impl Bench {
    async fn start() -> Self {
        let platform = StandIn::start("quince").await;
        let broker = TestBroker::builder().toml(&platform.toml()).start().await;
        Self { broker, platform }
    }

    async fn due(&self) -> Due {
        self.platform.answer_refreshes_with(Answer::Fresh);
        let id = self.platform.connect(&self.broker, "ada").await;
        let access = self.access(&id).await;
        let refresh = access.as_str().unwrap().replace("access", "refresh");
        self.broker.clock.set(time(&self.broker.detail(&id).await["health"]["nextRefreshAt"]));
        Due { id, access, refresh, sealed: self.sealed() }
    }

    /// The current access token, without a refresh.
    async fn access(&self, id: &str) -> Value {
        let reply = self.broker.token(id, "minSeconds=0").await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json["accessToken"].clone()
    }

    fn sealed(&self) -> Vec<u8> {
        self.broker.sql().query_row("SELECT tokens FROM grants", [], |row| row.get(0)).unwrap()
    }

    fn is_answer_kept(&self) -> bool {
        self.broker.sql().query_row("SELECT answer IS NOT NULL FROM grants", [], |row| row.get(0)).unwrap()
    }

    /// Refreshes once more, with success. Returns the refresh token that the platform receives.
    async fn refresh_again(&self, id: &str, what: &str) -> String {
        self.platform.answer_refreshes_with(Answer::Fresh);
        self.broker.clock.advance(LONGER_THAN_ANY_PAUSE);
        let next = time(&self.broker.detail(id).await["health"]["nextRefreshAt"]);
        self.broker.clock.set(next.max(self.broker.clock.now()));
        assert_eq!(self.broker.refresh_due().await, 1, "{what}: the next refresh succeeds");
        self.platform.asked().pop().unwrap()
    }

    async fn end(&self, id: &str) {
        let gone = self.broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        assert_eq!(gone.status, 200, "{}", gone.text);
    }

    async fn check(&self, what: &str, answer: Vec<u8>, then: Then) {
        let due = self.due().await;
        self.platform.answer_refreshes_with(Answer::Bytes(answer));
        let refreshed = self.broker.refresh_due().await;
        let detail = self.broker.detail(&due.id).await;
        let told = (detail["health"]["state"].as_str().unwrap(), detail["health"]["lastError"]["code"].as_str());
        let now = self.broker.clock.now();
        match then {
            New { access, refresh, life } => {
                assert_eq!((refreshed, told), (1, ("ok", None)), "{what}: {detail}");
                assert_eq!(self.access(&due.id).await, access, "{what}");
                let lasts = now.until(time(&detail["accessTokenExpiresAt"]));
                assert_eq!(lasts, Duration::from_secs(life), "{what}");
                assert!(!self.is_answer_kept(), "{what}: it is read");
                let expected = refresh.unwrap_or(&due.refresh);
                assert_eq!(self.refresh_again(&due.id, what).await, expected, "{what}");
            }
            Old { state, code } => {
                assert_eq!((refreshed, told), (0, (state, Some(code))), "{what}: {detail}");
                assert_eq!(self.sealed(), due.sealed, "{what}");
                assert_eq!(self.access(&due.id).await, due.access, "{what}");
                let is_unread = code == "platform_answer_unreadable" && !TOO_LONG.contains(&what);
                let is_kept = is_unread || what == "cut off";
                assert_eq!(self.is_answer_kept(), is_kept, "{what}: a later program may understand it");
                assert!(time(&detail["health"]["nextRefreshAt"]) > now, "{what}: not at once");
                assert_eq!(self.refresh_again(&due.id, what).await, due.refresh, "{what}");
                assert_eq!(self.broker.detail(&due.id).await["health"]["state"], "ok", "{what}");
            }
            Ended { code } => {
                assert_eq!((refreshed, told), (0, ("reconnect_required", Some(code))), "{what}: {detail}");
                assert_eq!(self.sealed(), due.sealed, "{what}");
                assert_eq!(self.broker.token(&due.id, "").await.code(), "reconnect_required", "{what}");
            }
        }
        self.end(&due.id).await;
    }
}

fn time(shown: &Value) -> Timestamp {
    let at: jiff::Timestamp = shown.as_str().unwrap().parse().unwrap();
    Timestamp::from_millis(at.as_millisecond())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_loses_a_good_token() {
    let bench = Bench::start().await;
    for (body, then) in BODIES {
        bench.check(body, stand_in::json(body), *then).await;
    }
    for (what, answer, then) in odd_answers() {
        bench.check(what, answer, then).await;
    }
}
