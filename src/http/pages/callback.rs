//! `GET /v1/connect/{platform}/callback`: platforms send the browser back to it.
//!
//! A person sees the response, so it is always a redirect or a page. Invariant: nothing that the platform (or the
//! author of a forged link) sent is shown or passed on, a prefetch or an embedding changes nothing, and a callback
//! without a pending flow never redirects.

use std::time::Duration;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use zeroize::Zeroizing;

use super::ending;
use crate::broker::callback::Callback;
use crate::broker::error::CallbackRefusal;
use crate::domain::secret::SecretString;
use crate::http::Current;
use crate::http::error::{ApiError, Code};
use crate::http::request::{Query, Segment, cookies, peer};

/// Longest state, in bytes. Ours have 51, see `domain::flow`.
const STATE_MAX: usize = 512;
/// Longest authorization code, in bytes. The longest that platforms send have about two thousand.
const CODE_MAX: usize = 4 * 1024;

/// Finish a connection
///
/// For platforms to send the browser to: register `<public URL>/v1/connect/{platform}/callback` as the redirect URI of
/// your app there. Once it is done the browser goes on to the `redirectUri` of the connection, or sees how it went.
#[utoipa::path(get, path = "/v1/connect/{platform}/callback", operation_id = "finishConnection", tag = "Connect",
    params(
        ("platform" = String, Path, description = "The platform's name; of many servers, with `@` and the server's.",
            example = "twitter"),
        ("state" = Option<String>, Query, description = "What the connection is recognised by."),
        ("code" = Option<String>, Query, description = "The authorization code, where the person said yes."),
        ("error" = Option<String>, Query, description = "Why there is none."),
        ("error_reason" = Option<String>, Query, description = "Some platforms tell more."),
        ("error_code" = Option<String>, Query, description = "Facebook's number, beside `error` or instead of it."),
        ("iss" = Option<String>, Query, description = "The issuer (RFC 9207), where the platform sends it."),
    ),
    responses(
        (status = 200, description = "A page that says that the connection expired before.", body = String,
            content_type = "text/html"),
        (status = 303, description = "On to the page that says how it went, or to the connection's `redirectUri`, with `status` (`success`, `cancelled`, \
            `error`, `selection_required` or `completion_required`), `platform`, and `integrationId` (several ids separated by \
            commas, with `integrationCount` where not all fit) and `profileId`, `error`, `selectionToken`, or `flowId`, added to its query; or \
            to the page for choosing accounts. From platforms that add a fragment, the URL ends with an empty one."),
        (status = 400, description = "The answer belongs to no connection that is waiting for it, or to one that only \
            another browser can finish (`browser_mismatch`): a page.",
            body = String, content_type = "text/html"),
        (status = 429, description = "Too many unknown states came from this address, see `Retry-After`: a page.",
            body = String, content_type = "text/html"),
        (status = 500, description = "The broker failed: a page.", body = String, content_type = "text/html"),
        (status = 503, description = "The broker has too much to do, or the browser prefetches or embeds it: a page.",
            body = String, content_type = "text/html"),
    ))]
pub(crate) async fn finish(
    state: Current,
    req: HttpRequest,
    Segment(place): Segment,
) -> Result<HttpResponse, ApiError> {
    refuse_prefetch(req.headers())?;
    let (platform, server) = match place.split_once('@') {
        Some((platform, server)) => (platform.to_owned(), Some(server.to_owned())),
        None => (place, None),
    };
    let address = peer::address(&req, &state.settings.trusted_proxies);
    let browser = cookies::browser(req.headers(), state.settings.is_secure());
    let callback = Callback { server, browser, address, ..read(platform, &Query::new(req.query_string()))? };
    ending::show(&state, &req, &state.broker.finish_connect(callback).await?)
}

/// Reads what the platform sent. A repeated parameter is refused and the state is not consumed, because an attacker may
/// have added the second one (RFC 6749, section 3.1).
fn read(platform: String, query: &Query) -> Result<Callback, ApiError> {
    let malformed = |error| ApiError::from(CallbackRefusal::Malformed).because(error);
    let state = query.text("state").map_err(malformed)?.map(without_fragment);
    if state.as_ref().is_some_and(|state| state.len() > STATE_MAX) {
        return Err(CallbackRefusal::Malformed.into());
    }
    let mut is_garbled = false;
    // A known state ends its connection, however garbled the rest is.
    let mut text = |name| match query.text(name) {
        Err(error) if error.code != Code::RepeatedParameter => {
            is_garbled = true;
            Ok(None)
        }
        value => value.map(|value| value.map(without_fragment)).map_err(malformed),
    };
    let (code, error, error_reason, error_code, issuer) =
        (text("code")?, text("error")?, text("error_reason")?, text("error_code")?, text("iss")?);
    is_garbled |= code.as_ref().is_some_and(|code| code.len() > CODE_MAX || code.contains(char::is_control));
    // A text that becomes a secret without a copy may leave one behind, because it has to shrink.
    let secret = |text: String| SecretString::from(Zeroizing::new(text).as_str());
    let (state, code) = (state.map(secret), code.map(secret));
    // A sentence only adds to the codes: one that is no text, or comes twice, is ignored.
    let error_description = query.text("error_description").unwrap_or_default();
    let callback =
        Callback { platform, state, code, error, error_reason, error_code, error_description, ..Callback::default() };
    Ok(Callback { issuer, is_garbled, ..callback })
}

/// Cuts off the fragment that Meta's platforms and Reddit append to the URL, and that something on the way may take for
/// part of the last parameter and encode once or twice.
fn without_fragment(mut text: String) -> String {
    const FRAGMENTS: [&str; 5] = ["#_", "#_=_", "%23_", "%23_=_", "%23_%3D_"];
    let cut = FRAGMENTS.iter().find_map(|fragment| text.strip_suffix(fragment)).map(str::len);
    // In place: the text may be secret.
    text.truncate(cut.unwrap_or(text.len()));
    text
}

/// Refuses a browser that fetches the page ahead of its user, or into another page. Going on would use something up
/// before the user arrives.
pub(super) fn refuse_prefetch(headers: &HeaderMap) -> Result<(), ApiError> {
    if is_prefetch(headers) || is_embedded(headers) {
        Err(ApiError::new(Code::PrefetchRefused).retry_after(Duration::ZERO))
    } else {
        Ok(())
    }
}

fn is_prefetch(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-purpose", "x-moz"].iter().any(|name| {
        headers.get_all(*name).filter_map(|value| value.to_str().ok()).any(|value| {
            value.split([';', ',']).any(|word| {
                ["prefetch", "prerender", "preview"].iter().any(|ahead| word.trim().eq_ignore_ascii_case(ahead))
            })
        })
    })
}

/// True when a page loads the callback as an image, a frame or the like: its person does not see the answer, and may
/// not know of it.
fn is_embedded(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-dest").any(|destination| destination != "document")
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::http::error::Trouble;
    use crate::http::tests::fixture::headers;

    #[test]
    fn prefetches_are_recognised() {
        for (name, value) in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("sec-purpose", "prefetch;anonymous-client-ip"),
            ("purpose", "prefetch"),
            ("x-purpose", "preview"),
            ("x-moz", "Prefetch"),
        ] {
            assert!(is_prefetch(&headers(&[(name, value.as_bytes())])), "{name}: {value}");
        }
        for (name, value) in [("sec-purpose", ""), ("sec-fetch-dest", "document"), ("purpose", "navigate")] {
            assert!(!is_prefetch(&headers(&[(name, value.as_bytes())])), "{name}: {value}");
        }
    }

    #[test]
    fn only_a_visit_is_no_embedding() {
        let is_embedded = |values: &[&'static str]| {
            let pairs: Vec<_> = values.iter().map(|value| ("sec-fetch-dest", value.as_bytes())).collect();
            is_embedded(&headers(&pairs))
        };
        assert!(!is_embedded(&[]) && !is_embedded(&["document"]));
        for embedded in ["empty", "image", "iframe", "frame", "embed", "object", "script", "", "Document"] {
            assert!(is_embedded(&[embedded]) && is_embedded(&["document", embedded]), "{embedded}");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test looks for bytes that no header may hold")]
    #[test]
    fn fuzzed_callback_queries_are_read_within_bounds() {
        let words = ["&state=", "&code=", "&error=", "&iss=", "%", "%ff", "%00", "%0D%0A", "&", "=", "+", "#_", "%26"];
        crate::fuzz::run("callback_queries", &words, |query| {
            match read("twitter".to_owned(), &Query::new(&String::from_utf8_lossy(query))) {
                Ok(callback) => {
                    assert!(callback.state.is_none_or(|state| state.expose_secret().len() <= STATE_MAX));
                    let code = callback.code.unwrap_or_default();
                    let code = code.expose_secret();
                    assert!(callback.is_garbled || (code.len() <= CODE_MAX && !code.contains(char::is_control)));
                }
                Err(error) => assert_eq!(error.code, Code::CallbackRefused),
            }
        });
    }

    #[expect(clippy::disallowed_methods, reason = "the test compares it")]
    #[test]
    fn a_fragment_is_no_part_of_the_last_parameter() {
        for fragment in ["", "%23_", "%23_=_", "%23_%3D_", "%2523_", "%2523_%253D_"] {
            let read = |name| {
                let query = format!("state=S_&{name}=T_{fragment}");
                let query = if name == "state" { format!("code=a&state=T_{fragment}") } else { query };
                read("facebook".to_owned(), &Query::new(&query)).unwrap()
            };
            assert_eq!(read("state").state.unwrap().expose_secret(), "T_", "{fragment}");
            assert_eq!(read("code").code.unwrap().expose_secret(), "T_", "{fragment}");
            assert_eq!(read("error").error.unwrap(), "T_", "{fragment}");
            assert_eq!(read("error_reason").error_reason.unwrap(), "T_", "{fragment}");
            assert_eq!(read("error_code").error_code.unwrap(), "T_", "{fragment}");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the test compares it")]
    #[test]
    fn only_repeated_parameters_and_a_malformed_state_are_refused() {
        let read = |query: &str| read("twitter".to_owned(), &Query::new(query));
        let callback =
            read("state=s&code=a%2Bb%23_&scope=x&scope=y&error_description=%ff&iss=https%3A%2F%2Fx").unwrap();
        assert_eq!(callback.state.unwrap().expose_secret(), "s");
        assert_eq!(callback.code.unwrap().expose_secret(), "a+b");
        assert_eq!(callback.issuer.as_deref(), Some("https://x"));
        assert!(!callback.is_garbled);
        let long_state = format!("state={}", "a".repeat(513));
        for bad in [
            "state=a&state=b",
            "state=a&code=b&code=b",
            "error=a&error=b",
            "error_code=1&error_code=1",
            "iss=a&iss=b",
            "state=%ff%fe",
            &long_state,
        ] {
            let error = read(bad).unwrap_err();
            assert_eq!(error.code, Code::CallbackRefused, "{bad}");
            assert_eq!(error.trouble, Trouble::Garbled);
        }
        let (long, longest) = (format!("code={}", "a".repeat(4097)), format!("code={}", "a".repeat(4096)));
        for (query, is_garbled) in [
            ("code=%ff", true),
            ("code=a%00", true),
            ("code=a%0D%0Ab", true),
            ("code=a&iss=%ff", true),
            ("error=%ff", true),
            (&long, true),
            (&longest, false),
            ("code=", false),
            ("error=a%0D%0Ab", false),
        ] {
            assert_eq!(read(&format!("state=s&{query}")).unwrap().is_garbled, is_garbled, "{query}");
        }
    }
}
