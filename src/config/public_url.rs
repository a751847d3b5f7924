//! The broker's own URL, from which callback URLs and all links of its pages are built.

use url::Url;

/// Parses the broker's own URL. It may have a path, with or without a trailing slash: see [`base`].
///
/// # Errors
///
/// The problem; it completes a sentence that begins with the key.
pub fn parse_public_url(text: &str) -> Result<Url, &'static str> {
    const NOT_A_URL: &str = "must be an absolute http(s) URL, such as https://connect.example.com";
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let (Some(url), Some((_, rest))) = (url, text.split_once("://")) else { return Err(NOT_A_URL) };
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password: remove what is before the @");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must not have a query or a fragment: remove what follows the path");
    }
    // The path as it was written: the parser resolves dots and turns backslashes.
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
    if path.strip_suffix('/').unwrap_or(path).split('/').skip(1).any(|segment| !is_plain_segment(segment)) {
        return Err(
            "must have a plain path: letters, digits and - . _ ~ between single slashes, such as https://example.com/connect",
        );
    }
    if url.path().trim_end_matches('/') != path.trim_end_matches('/') {
        return Err(NOT_A_URL);
    }
    Ok(url)
}

/// True for a segment of a path that proxies, platforms and browsers all leave as it is.
fn is_plain_segment(segment: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain)
}

/// Start of the broker's own URLs: its URL without a trailing slash.
#[must_use]
pub fn base(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_url_may_have_a_path() {
        for (written, url) in [
            ("https://connect.example.com", "https://connect.example.com"),
            ("https://connect.example.com/", "https://connect.example.com"),
            ("HTTPS://Connect.Example.com:443", "https://connect.example.com"),
            ("http://localhost:9000", "http://localhost:9000"),
            ("http://[::1]:9000/", "http://[::1]:9000"),
            ("https://example.com/connect-svc", "https://example.com/connect-svc"),
            ("https://example.com/connect-svc/", "https://example.com/connect-svc"),
            ("HTTPS://Example.com:443/Tools/post_peer.2/", "https://example.com/Tools/post_peer.2"),
            ("http://localhost:9000/~ada", "http://localhost:9000/~ada"),
        ] {
            assert_eq!(base(&parse_public_url(written).unwrap()), url);
        }
        let not_a_url = "must be an absolute http(s) URL, such as https://connect.example.com";
        let no_path = "must have a plain path: letters, digits and - . _ ~ between single slashes, such as https://example.com/connect";
        for (wrong, why) in [
            ("connect.example.com", not_a_url),
            ("/connect", not_a_url),
            ("//example.com/connect", not_a_url),
            ("ftp://connect.example.com", not_a_url),
            ("https:example.com", not_a_url),
            ("https:/example.com/connect", not_a_url),
            (r"https:\\example.com", not_a_url),
            (r"https://example.com\connect", not_a_url),
            (r"https://example.com/a\b", no_path),
            ("https:///example.com", not_a_url),
            ("https://example.com//", no_path),
            ("https://example.com/connect//", no_path),
            ("https://example.com//connect", no_path),
            ("https://example.com/a//b", no_path),
            ("https://example.com/a/../b", no_path),
            ("https://example.com/..", no_path),
            ("https://example.com/./a", no_path),
            ("https://example.com/%2e%2e/a", no_path),
            ("https://example.com/a%2Fb", no_path),
            ("https://example.com/a b", no_path),
            ("https://example.com/caf\u{e9}", no_path),
            ("https://example.com/a;b", no_path),
            ("https://connect.example.com/?x", "must not have a query or a fragment: remove what follows the path"),
            ("https://example.com/a?", "must not have a query or a fragment: remove what follows the path"),
            ("https://example.com/a#", "must not have a query or a fragment: remove what follows the path"),
            ("https://example.com#a", "must not have a query or a fragment: remove what follows the path"),
            ("https://user@example.com/a", "must not carry a user name or password: remove what is before the @"),
            ("https://user:pw@example.com", "must not carry a user name or password: remove what is before the @"),
        ] {
            assert_eq!(parse_public_url(wrong).unwrap_err(), why, "{wrong}");
        }
    }
}
