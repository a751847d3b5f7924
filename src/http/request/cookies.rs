//! The cookies that tell a browser from others. No other cookie is read.

use actix_web::http::header::{self, HeaderMap};

use crate::domain::binding::{APP_COOKIE, Browser};
use crate::domain::secret::Digest256;

/// Reads the cookies of every `Cookie` header (RFC 6265, section 4.2.1).
pub(crate) fn browser(headers: &HeaderMap) -> Browser {
    let mut browser = Browser::default();
    for text in headers.get_all(header::COOKIE).filter_map(|value| value.to_str().ok()) {
        for (name, value) in text.split(';').filter_map(|pair| pair.trim().split_once('=')) {
            if name == APP_COOKIE {
                browser.app.push(Digest256::of(value.as_bytes()));
            }
        }
    }
    browser
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn every_cookie_of_the_name_counts_and_no_other() {
        let pairs: [(_, &[u8]); 3] = [
            ("cookie", b"a=1; __Secure-postpeer-binding=one;__Secure-postpeer-binding=t=w o; b"),
            ("cookie", b"\xff; __Secure-postpeer-binding=lost"),
            (
                "cookie",
                b"__secure-postpeer-binding=other; x__Secure-postpeer-binding=other; __Secure-postpeer-binding=",
            ),
        ];
        let expected = [&b"one"[..], b"t=w o", b""].map(Digest256::of);
        assert_eq!(browser(&headers(&pairs)).app, expected);
    }
}
