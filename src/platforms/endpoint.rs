//! Rules for the URLs and parameters that an operator writes.

use url::{Url, form_urlencoded};

/// Parameters of the authorize URL that the broker sets.
const AUTHORIZE_OWN: &[&str] = &[
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "nonce",
    "request_uri",
    "code_challenge",
    "code_challenge_method",
];

/// Parameters of a token request that the broker sets.
const TOKEN_OWN: &[&str] = &[
    "grant_type",
    "code",
    "redirect_uri",
    "code_verifier",
    "refresh_token",
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
];

/// Why the parameters of that key cannot be set: some of them are the broker's own.
#[must_use]
pub fn sets_brokers_own(key: &str, parameters: &[(String, String)]) -> Option<String> {
    let own = if key.starts_with("authorize_") { AUTHORIZE_OWN } else { TOKEN_OWN };
    let names = parameters.iter().map(|(name, _)| name.as_str()).filter(|name| own.contains(name));
    let names: Vec<&str> = names.collect();
    (!names.is_empty()).then(|| format!("must not set a parameter that the broker sets itself: {}", names.join(", ")))
}

/// The parameters in the query of a URL, or of a path.
#[must_use]
pub fn parameters_of(url: &str) -> Vec<(String, String)> {
    let before_fragment = url.split('#').next().unwrap_or_default();
    let query = before_fragment.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// The URL, or path, without the parameters of its query that have an empty value among `changes`.
#[must_use]
pub(super) fn without_removed(url: &str, changes: &[(String, String)]) -> String {
    let Some((base, query)) = url.split_once('?') else { return url.to_owned() };
    let is_removed = |name: &str| changes.iter().any(|(changed, value)| value.is_empty() && changed == name);
    let is_kept = |pair: &&str| !form_urlencoded::parse(pair.as_bytes()).any(|(name, _)| is_removed(&name));
    let kept: Vec<&str> = query.split('&').filter(is_kept).collect();
    if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) }
}

/// True for an absolute http(s) URL that can be called or visited. A user name and password in it would take the place
/// of the client's or the token's authorization.
#[must_use]
pub fn is_endpoint(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none()
}

/// The complaint about a text that is no endpoint.
pub const NO_ENDPOINT: &str = "must be an absolute http(s) URL without user name, password and fragment, such as \
                               https://id.acme.example/token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_carries_no_authorization_and_no_fragment() {
        for (url, is_right) in [
            ("https://id.example/token?tenant=1", true),
            ("http://127.0.0.1:9/token", true),
            ("https://id.example/token#", false),
            ("https://user@id.example/token", false),
            ("https://user:password@id.example/token", false),
            ("https://:password@id.example/token", false),
            ("ftp://id.example/token", false),
            ("mailto:ada@id.example", false),
        ] {
            assert_eq!(is_endpoint(&Url::parse(url).unwrap()), is_right, "{url}");
        }
    }

    #[test]
    fn parameters_are_those_of_the_query_alone() {
        let names = |url| parameters_of(url).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("https://id.example/a?x=1&st%61te=2#y=3"), ["x", "state"]);
        assert_eq!(names("/oauth/authorize?lang=de"), ["lang"]);
        assert_eq!(names("https://id.example/a#?state=1"), [""; 0]);
    }

    #[test]
    fn an_empty_value_removes_a_parameter_of_the_url() {
        let changes = [("keep", "1"), ("prompt", ""), ("a b", "")].map(|(name, value)| (name.into(), value.into()));
        for (url, expected) in [
            ("https://id.example/a?prompt=x&keep=%201&p%72ompt&a+b=c&x", "https://id.example/a?keep=%201&x"),
            ("https://id.example/a?prompt=x", "https://id.example/a"),
            ("https://id.example/prompt", "https://id.example/prompt"),
            ("/oauth/authorize?prompt=&lang=de", "/oauth/authorize?lang=de"),
        ] {
            assert_eq!(without_removed(url, &changes), expected);
        }
    }
}
