//! The URIs to which a browser may be redirected after a connection.
//!
//! Invariant: an accepted URI is emitted byte for byte, with only our own parameters added, and every browser that
//! parses it ends at the origin that was checked. A spelling that parsers read differently (an IP address in an odd
//! notation, user info, a backslash, a tab) is refused, not repaired. What the app reads from the query is the
//! broker's: a caller's URI cannot carry our parameters.

use std::fmt;

use url::{Host, Url};

/// Maximum length of a URI, in bytes.
pub const MAX_LENGTH: usize = 2048;

/// Parameters that the broker adds. The caller may say the true `platform` and `profileId` itself.
const OURS: [&str; 9] = [
    "error",
    "flowId",
    "integrationCount",
    "integrationId",
    "missingScopes",
    "platform",
    "profileId",
    "selectionToken",
    "status",
];

/// A parameter's name without what servers drop from it: white space, and brackets, which make a list of `a[]` and are
/// dropped from `[a]` and `a]`.
fn as_servers_read(name: &str) -> &str {
    name.split(['[', ']']).map(str::trim).find(|part| !part.is_empty()).unwrap_or_default()
}

/// True for a decoded text that servers read differently: some end it at a control character, and some drop or replace
/// bytes that are not UTF-8.
fn is_garbled(decoded: &str) -> bool {
    decoded.contains(|c: char| c.is_control() || c == char::REPLACEMENT_CHARACTER)
}

/// Why a redirect URI is refused. `Display` completes "redirectUri ...".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(
        "must be plain ASCII without spaces, control characters, quotes, angle brackets or backslashes: percent-encode them"
    )]
    Characters,
    #[error(
        "must not have an encoded slash, backslash, dot, semicolon or percent sign, control characters, bytes that are not \
         UTF-8, or a segment such as ..; in its path"
    )]
    EncodedPath,
    #[error("must not have a fragment (#...)")]
    Fragment,
    #[error("must have a host of letters, digits and hyphens, such as app.example")]
    Host,
    #[error("must use https (http is allowed on loopback only)")]
    Insecure,
    #[error("must be at most {MAX_LENGTH} bytes long")]
    Length,
    #[error("is not in the operator's list connect.allowed_redirects")]
    NotListed,
    #[error(
        "must not have the broker's own parameters in its query ({}), nor a platform or profileId other than this connection's",
        OURS.join(", ")
    )]
    OurParameter,
    #[error("must not have a control character, or bytes that are not UTF-8, in the name of a parameter")]
    ParameterName,
    /// Only in the operator's list.
    #[error("must not have a query (?...): list it without one, and a redirectUri may have any query")]
    Query,
    #[error("must use https, or an app's own scheme whose address the operator lists in connect.allowed_redirects")]
    Scheme,
    #[error("must be an absolute URL such as https://app.example/connected, its host spelled in the usual way")]
    Spelling,
    #[error("must not carry a user name or password")]
    UserInfo,
    /// Only in the operator's list.
    #[error("has a *, and there are no wildcards: list each origin, such as https://app.example")]
    Wildcard,
}

/// A URI that passed the policy, exactly as the caller spelled it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    origin: String,
}

impl fmt::Debug for RedirectUri {
    /// Shows the origin only: the query may carry the caller's nonce.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedirectUri({})", self.origin)
    }
}

impl RedirectUri {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Checks that the caller's query says nothing that the broker would say about a connection at this platform and
    /// under this profile.
    ///
    /// # Errors
    ///
    /// [`Refused::OurParameter`], and [`Refused::ParameterName`] for a name that some servers read as one of ours.
    pub fn check_query(&self, platform: &str, profile: Option<&str>) -> Result<(), Refused> {
        let query = self.text.split_once('?').map_or("", |(_, query)| query);
        // Some servers take a semicolon for a separator as well.
        for (name, value) in query.split(';').flat_map(|part| url::form_urlencoded::parse(part.as_bytes())) {
            let is_ours = match name.as_ref() {
                "platform" => value != platform,
                "profileId" => Some(value.as_ref()) != profile,
                name if is_garbled(name) => return Err(Refused::ParameterName),
                name => OURS.iter().any(|ours| ours.eq_ignore_ascii_case(as_servers_read(name))),
            };
            if is_ours {
                return Err(Refused::OurParameter);
            }
        }
        Ok(())
    }

    /// Appends `parameters` to the query, and leaves the caller's own query as it is.
    #[must_use]
    pub fn with(&self, parameters: &[(&str, &str)]) -> String {
        let added = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let separator = match self.text.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        format!("{}{separator}{added}", self.text)
    }
}

/// The allowed redirect URIs: the operator's list, or, without one, any https URL and http on loopback.
#[derive(Debug, Clone, Default)]
pub struct RedirectPolicy {
    allowed: Vec<Allowed>,
}

#[derive(Debug, Clone)]
enum Allowed {
    /// A URI of an app's own scheme (`myapp://connected`). Matches a URI that is identical before its query.
    Exact(String),
    /// An origin and a path. Matches every URI at or below that path, compared by whole segments.
    Prefix(Url),
}

impl RedirectPolicy {
    /// Parses the operator's list. An entry is an origin, an origin and a path prefix, or a URI of an app's own scheme.
    ///
    /// # Errors
    ///
    /// The first entry that is none of these, and the reason.
    pub fn parse<S: AsRef<str>>(entries: &[S]) -> Result<Self, (String, Refused)> {
        let allowed = entries
            .iter()
            .map(|entry| {
                let entry = entry.as_ref();
                let refused = |reason| (entry.to_owned(), reason);
                if entry.contains('*') {
                    return Err(refused(Refused::Wildcard));
                }
                let url = Url::parse(entry).map_err(|_| refused(Refused::Spelling))?;
                if url.query().is_some() {
                    return Err(refused(Refused::Query));
                }
                if matches!(url.scheme(), "http" | "https") {
                    check_web(entry, &url).map_err(refused)?;
                    return Ok(Allowed::Prefix(url));
                }
                check_own_scheme(entry, &url).map_err(refused)?;
                Ok(Allowed::Exact(entry.to_owned()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self { allowed })
    }

    /// Checks a caller's URI.
    ///
    /// # Errors
    ///
    /// The first rule that the URI breaks.
    pub fn check(&self, text: &str) -> Result<RedirectUri, Refused> {
        if text.len() > MAX_LENGTH {
            return Err(Refused::Length);
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'`')) {
            return Err(Refused::Characters);
        }
        let url = Url::parse(text).map_err(|_| Refused::Spelling)?;
        if url.fragment().is_some() {
            return Err(Refused::Fragment);
        }
        if !matches!(url.scheme(), "http" | "https") {
            let bare = text.split_once('?').map_or(text, |(bare, _)| bare);
            let listed = self.allowed.iter().any(|entry| matches!(entry, Allowed::Exact(exact) if exact == bare));
            return if listed {
                check_own_scheme(bare, &url)?;
                Ok(RedirectUri { text: text.to_owned(), origin: format!("{}:", url.scheme()) })
            } else {
                Err(Refused::Scheme)
            };
        }
        check_web(text, &url)?;
        if !self.allowed.is_empty() {
            let covering = |entry: &Allowed| match entry {
                Allowed::Prefix(prefix) if covers(prefix, &url) => Some(has_path(prefix)),
                _ => None,
            };
            // The entry that allows most decides.
            match self.allowed.iter().filter_map(covering).min() {
                None => return Err(Refused::NotListed),
                Some(true) if is_ambiguous(&url) => return Err(Refused::EncodedPath),
                Some(_) => {}
            }
        }
        Ok(RedirectUri { text: text.to_owned(), origin: url.origin().ascii_serialization() })
    }
}

fn check_own_scheme(text: &str, url: &Url) -> Result<(), Refused> {
    if matches!(url.scheme(), "javascript" | "data" | "file" | "blob" | "about" | "vbscript" | "ftp" | "ws" | "wss") {
        return Err(Refused::Scheme);
    }
    if url.fragment().is_some() {
        return Err(Refused::Fragment);
    }
    if text.contains('@') {
        return Err(Refused::UserInfo);
    }
    Ok(())
}

/// Checks the rules for http and https, which hold with and without a list.
fn check_web(text: &str, url: &Url) -> Result<(), Refused> {
    if url.fragment().is_some() {
        return Err(Refused::Fragment);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refused::UserInfo);
    }
    // The broker emits the caller's spelling, so it must already begin the way every parser would write it.
    let host = url.host_str().ok_or(Refused::Spelling)?;
    let start = format!("{}://{host}", url.scheme());
    let given = text.get(..start.len()).ok_or(Refused::Spelling)?;
    if !given.eq_ignore_ascii_case(&start) {
        return Err(Refused::Spelling);
    }
    let rest = text.get(start.len()..).ok_or(Refused::Spelling)?;
    let authority_ends = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest.get(..authority_ends).ok_or(Refused::Spelling)? {
        "" => {}
        port if port.strip_prefix(':').is_some_and(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit())) => {}
        _ => return Err(Refused::Spelling),
    }
    if host.ends_with('.') {
        return Err(Refused::Spelling);
    }
    if let Some(Host::Domain(name)) = url.host()
        && !is_dns_name(name)
    {
        return Err(Refused::Host);
    }
    if url.scheme() == "http" && !is_loopback(url) {
        return Err(Refused::Insecure);
    }
    Ok(())
}

/// True when the URL's host is this machine, by name or by literal address.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// True for a name that DNS can hold. Anything else would reach the Content-Security-Policy, where `;` ends a
/// directive.
fn is_dns_name(name: &str) -> bool {
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// True when an entry of the list allows only a part of its origin.
fn has_path(prefix: &Url) -> bool {
    !prefix.path().trim_end_matches('/').is_empty()
}

/// True when a server might take the path for another one: after decoding it once or twice, and without parameters
/// (`..;x`) or white space.
fn is_ambiguous(url: &Url) -> bool {
    let path = url.path().to_ascii_lowercase();
    // Decodes what would separate fields of a form as well.
    let as_name = path.replace('+', "%2b").replace('&', "%26").replace('=', "%3d");
    let decoded: String = url::form_urlencoded::parse(as_name.as_bytes()).map(|(name, _)| name).collect();
    let is_dots = |segment: &str| matches!(segment.split(';').next().map(str::trim), Some("." | ".."));
    ["%2e", "%2f", "%3b"].iter().any(|code| path.contains(code))
        // A percent sign that is left belongs to `%25`, or to no escape: some servers read `%u002e` as a dot.
        || decoded.contains(['%', '\\'])
        || is_garbled(&decoded)
        || decoded.split('/').any(is_dots)
}

/// True when both have the same origin and the prefix's path is made of the first segments of the URL's path.
fn covers(prefix: &Url, url: &Url) -> bool {
    if prefix.origin() != url.origin() {
        return false;
    }
    let wanted = prefix.path().trim_end_matches('/');
    url.path().strip_prefix(wanted).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy(entries: &[&str]) -> RedirectPolicy {
        RedirectPolicy::parse(entries).unwrap()
    }

    #[test]
    fn without_a_list_any_https_and_http_on_loopback_are_allowed() {
        let any = policy(&[]);
        for good in [
            "https://ok.example",
            "https://ok.example/",
            "https://ok.example:8443/a/b?x=1&y=%20",
            "https://ok.example:443/",
            "HTTPS://OK.example/path",
            "http://localhost:3000/done",
            "http://127.0.0.1/",
            "http://[::1]:9000/x",
            "https://xn--bcher-kva.example/",
            "https://ok.example/a@b?c=d@e",
            "https://ok.example?x=1",
        ] {
            assert_eq!(any.check(good).unwrap_or_else(|refused| panic!("{good} {refused}")).as_str(), good);
        }
    }

    #[test]
    fn a_uri_of_exactly_the_longest_length_is_accepted() {
        let of = |length: usize| format!("https://ok.example/{}", "a".repeat(length - 19));
        assert!(policy(&[]).check(&of(MAX_LENGTH)).is_ok());
        assert_eq!(policy(&[]).check(&of(MAX_LENGTH + 1)), Err(Refused::Length));
    }

    #[test]
    fn a_scheme_is_not_blamed_on_a_list_that_there_is_not() {
        for uri in ["myapp://done", "ftp://ok.example/", "javascript:alert(1)"] {
            assert_eq!(policy(&[]).check(uri), Err(Refused::Scheme), "{uri}");
        }
        assert_eq!(policy(&["https://ok.example"]).check("https://evil.example/"), Err(Refused::NotListed));
    }

    #[test]
    fn a_list_takes_no_entry_that_could_never_be_safe() {
        for (entry, why) in [
            ("javascript:alert(1)", Refused::Scheme),
            ("data:text/html,x", Refused::Scheme),
            ("file:///etc/passwd", Refused::Scheme),
            ("https://ok.example/in?tenant=1", Refused::Query),
            ("https://ok.example?", Refused::Query),
            ("myapp://done?x=1", Refused::Query),
            ("myapp://done?", Refused::Query),
            ("myapp://done#x", Refused::Fragment),
            ("myapp://x@done", Refused::UserInfo),
            ("https://user@ok.example/", Refused::UserInfo),
            ("https://:password@ok.example/", Refused::UserInfo),
            ("https://ok.example/#x", Refused::Fragment),
            ("http://ok.example/", Refused::Insecure),
            ("ok.example", Refused::Spelling),
        ] {
            assert_eq!(RedirectPolicy::parse(&[entry]).unwrap_err(), (entry.to_owned(), why));
        }
    }

    #[test]
    fn only_the_origin_is_printed() {
        let listed = policy(&["https://ok.example:8443/in", "myapp://done"]);
        for (uri, origin) in [
            ("https://ok.example:8443/in/side?nonce=never-shown", "https://ok.example:8443"),
            ("myapp://done?nonce=never-shown", "myapp:"),
        ] {
            let accepted = listed.check(uri).unwrap();
            assert_eq!(format!("{accepted:?}"), format!("RedirectUri({origin})"));
        }
    }

    #[test]
    fn the_known_tricks_are_refused_with_and_without_a_list() {
        let listed = policy(&["https://ok.example", "https://other.example/app"]);
        let any = policy(&[]);
        let long = format!("https://ok.example/{}", "a".repeat(9000));
        for bad in [
            "",
            " ",
            "/",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/%09/evil.example",
            "relative/path",
            "https:",
            "https:/",
            "https://",
            "https:evil.example",
            "https:/evil.example",
            "https:\\\\evil.example",
            "https:///evil.example",
            "https:////evil.example",
            "https://user@ok.example/",
            "https://ok.example@evil.example/",
            "https://@ok.example/",
            "https://:@ok.example/",
            "https://:pw@ok.example/",
            "https://ok.example\\@evil.example/",
            "https://ok.example%40evil.example/",
            "https://ok.example\t.evil.example/",
            "https://ok.example/\n",
            "https://ok.example/\r\nSet-Cookie: a=b",
            " https://ok.example/",
            "https://ok.example/ ",
            "https://ok.example/\u{0}",
            "https://ok.example/#fragment",
            "https://ok.example/#",
            "https://ok.example.",
            "https://ok.example./",
            "https://OK.example./x",
            "https://b\u{fc}cher.example/",
            "https://\u{ff4f}k.example/",
            "https://ok\u{3002}example/",
            "http://ok.example/",
            "http://192.168.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.1/",
            "http://[::ffff:127.0.0.1]/",
            "https://2130706433/",
            "javascript:alert(1)",
            "JavaScript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "ftp://ok.example/",
            "blob:https://ok.example/x",
            "about:blank",
            "vbscript:x",
            "ws://ok.example/",
            "myapp://connected",
            "https://ok.example:x/",
            "https://ok.example:99999/",
            "https://[::1",
            "https://ok.example:/",
            "https://ok.example/<script>",
            "https://ok.example/\"x",
            "htt\tps://ok.example/",
            long.as_str(),
        ] {
            assert!(listed.check(bad).is_err(), "listed took {bad:?}");
            assert!(any.check(bad).is_err(), "no list took {bad:?}");
        }
    }

    #[test]
    fn a_list_allows_exact_origins_and_whole_path_segments() {
        let listed =
            policy(&["https://ok.example", "https://other.example/app", "http://localhost:3000", "myapp://done"]);
        for good in [
            "https://ok.example/anything?x=1",
            "https://ok.example:443/",
            "https://other.example/app",
            "https://other.example/app/deep?x",
            "http://localhost:3000/x",
            "myapp://done",
            "myapp://done?nonce=1",
        ] {
            assert!(listed.check(good).is_ok(), "{good}: {:?}", listed.check(good));
        }
        for bad in [
            "https://ok.example.evil/",
            "https://evil-ok.example/",
            "https://sub.ok.example/",
            "https://ok.example:8443/",
            "https://other.example/",
            "https://other.example/apple",
            "https://other.example/app/../secret",
            "https://other.example/app/%2e%2e/secret",
            "http://localhost:3001/",
            "http://localhost/",
            "myapp://other",
            "myapp://done/deeper",
            "myapp://x@done",
            "otherapp://done",
            "https://evil.example/?https://ok.example",
        ] {
            assert_eq!(listed.check(bad).map(|_| ()).map_err(|_| ()), Err(()), "{bad}");
        }
    }

    /// The lines of `redirect/targets.txt`, which `tests/browser/redirects.py` opens in Chromium.
    #[test]
    fn each_target_of_the_table_is_allowed_or_refused() {
        let (mut listed, mut tested) = (RedirectPolicy::default(), 0);
        let lines = include_str!("redirect/targets.txt").lines();
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with("# ")) {
            let (verdict, target) = line.split_once(' ').unwrap_or((line, ""));
            if verdict == "list" {
                listed = policy(&target.split_whitespace().collect::<Vec<_>>());
                continue;
            }
            let target = unescaped(target);
            let checked = listed.check(&target).and_then(|uri| uri.check_query("twitter", Some("prof_1")));
            assert_eq!(if checked.is_ok() { "yes" } else { "no" }, verdict, "{target:?}: {checked:?}");
            tested += 1;
        }
        assert!(tested >= 160, "{tested}");
    }

    /// Replaces `\\u{…}` by the character.
    fn unescaped(text: &str) -> String {
        let mut parts = text.split("\\u{");
        let mut whole = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (code, rest) = part.split_once('}').unwrap();
            whole.extend(char::from_u32(u32::from_str_radix(code, 16).unwrap()));
            whole.push_str(rest);
        }
        whole
    }

    #[test]
    fn our_parameters_are_added_and_the_rest_stays_byte_for_byte() {
        let any = policy(&[]);
        let with = |text: &str| any.check(text).unwrap().with(&[("status", "success"), ("platform", "twitter")]);
        assert_eq!(with("https://ok.example"), "https://ok.example?status=success&platform=twitter");
        assert_eq!(with("https://ok.example/a?"), "https://ok.example/a?status=success&platform=twitter");
        assert_eq!(
            with("https://ok.example/a?x=%2f+&&y"),
            "https://ok.example/a?x=%2f+&&y&status=success&platform=twitter"
        );
        assert_eq!(with("https://ok.example/a?x&"), "https://ok.example/a?x&status=success&platform=twitter");
    }

    #[test]
    fn fuzzed_redirects_stay_where_the_list_allows() {
        let listed = policy(&["https://ok.example/in", "myapp://done"]);
        let words = [
            "https://",
            "http://",
            "//",
            "/",
            "\\",
            "@",
            ":",
            "?",
            "#",
            "%2f",
            "%2e",
            "..",
            "/..",
            "%09",
            "\t",
            ".",
            "[::1]",
            "127.0.0.1",
            "ok.example",
            "evil.example",
            "/in",
            "myapp://done",
            "javascript:",
            "\u{ff0e}",
            "%5c",
            ";",
        ];
        crate::fuzz::run("redirects", &words, |text| {
            let Ok(accepted) = listed.check(&String::from_utf8_lossy(text)) else { return };
            let emitted = accepted.with(&[("status", "success")]);
            assert!(emitted.is_ascii() && emitted.starts_with(accepted.as_str()), "{emitted}");
            let url = Url::parse(&emitted).unwrap();
            if url.scheme() == "myapp" {
                assert_eq!(emitted.split('?').next(), Some("myapp://done"));
                return;
            }
            assert_eq!(url.origin().ascii_serialization(), "https://ok.example", "{emitted}");
            assert!(url.path() == "/in" || url.path().starts_with("/in/"), "{emitted}");
            assert_eq!(url.query_pairs().last().unwrap(), ("status".into(), "success".into()), "{emitted}");
        });
    }

    proptest! {
        #[test]
        fn an_emitted_uri_parses_to_a_listed_origin(
            text in "(https?|HTTPS|x)?:?[/\\\\]{0,3}([a-z.@:\\\\%0-9\\[\\]]{0,12})(ok\\.example)?[a-z.@:/\\\\?#%0-9&\t]{0,16}"
        ) {
            let listed = policy(&["https://ok.example/in"]);
            if let Ok(accepted) = listed.check(&text) {
                let emitted = Url::parse(&accepted.with(&[("status", "success")])).unwrap();
                prop_assert_eq!(emitted.origin().ascii_serialization(), "https://ok.example");
                prop_assert!(emitted.path() == "/in" || emitted.path().starts_with("/in/"));
                prop_assert!(emitted.query_pairs().any(|(k, v)| k == "status" && v == "success"));
            }
        }
    }
}
