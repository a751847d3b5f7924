//! Bodies and headers with a secret in them: bytes that are wiped when the HTTP client drops them.
//!
//! The client does not copy them, but for the head of a request, which it writes into a buffer of its own. Over TLS,
//! what it keeps of a body is encrypted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderValue;
use secrecy::SecretString;
use url::form_urlencoded;
use zeroize::Zeroizing;

use super::{Authorization, Body, Error, Request, expose, read_json, wipe};
use crate::domain::echo::Sent;

/// Bytes that are wiped once the last part of them is dropped.
pub(super) fn bytes(secret: Vec<u8>) -> Bytes {
    Bytes::from_owner(Zeroizing::new(secret))
}

/// The fields as `application/x-www-form-urlencoded`.
pub(super) fn form(fields: &[(String, SecretString)]) -> Bytes {
    // Allocated once: a text that grows leaves copies of itself behind. A byte takes three at most.
    let most = fields.iter().map(|(name, value)| 3 * (name.len() + expose(value).len()) + 2).sum();
    let mut form = form_urlencoded::Serializer::new(String::with_capacity(most));
    for (name, value) in fields {
        form.append_pair(name, expose(value));
    }
    bytes(form.finish().into_bytes())
}

/// The value of the header `Authorization`.
///
/// # Errors
///
/// [`Error::Unsendable`] for a token with a line break, say.
pub(super) fn authorization(authorization: &Authorization) -> Result<Option<HeaderValue>, Error> {
    let text = match authorization {
        Authorization::Basic { user, password } => {
            let pair = Zeroizing::new([user, ":", expose(password)].concat());
            let mut text = String::with_capacity("Basic ".len() + pair.len().div_ceil(3) * 4);
            text.push_str("Basic ");
            STANDARD.encode_string(pair.as_bytes(), &mut text);
            text
        }
        Authorization::Bearer(token) => ["Bearer ", expose(token)].concat(),
        Authorization::None => return Ok(None),
    };
    let mut value = HeaderValue::from_maybe_shared(bytes(text.into_bytes())).map_err(|_| Error::Unsendable)?;
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The secrets of a request: what its `Authorization` says, as it is sent and by itself, and each parameter.
pub(super) fn sent(request: &Request) -> Sent {
    let mut sent = Sent::default();
    for (name, value) in request.url.query_pairs() {
        sent.add_parameter(&name, &value);
    }
    if let Authorization::Basic { password, .. } = &request.authorization {
        sent.add(expose(password));
    }
    let header = authorization(&request.authorization).ok().flatten();
    if let Some((_, value)) = header.as_ref().and_then(|header| header.to_str().ok()?.split_once(' ')) {
        sent.add(value);
    }
    match &request.body {
        Body::Empty => {}
        Body::Form(fields) | Body::Multipart(fields) => {
            for (name, value) in fields {
                sent.add_parameter(name, expose(value));
            }
        }
        Body::Json(text) => {
            let mut members = read_json(expose(text).as_bytes()).unwrap_or_default();
            for (name, value) in members.as_object().into_iter().flatten() {
                sent.add_parameter(name, value.as_str().unwrap_or_default());
            }
            wipe(&mut members);
        }
    }
    sent
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_encoded_without_growing() {
        let fields = [("code", "a b&c=d\u{e4}"), ("", ""), ("redirect_uri", "https://x.example/?y=%20")];
        let fields = fields.map(|(name, value)| (name.to_owned(), SecretString::from(value)));
        assert_eq!(form(&fields), "code=a+b%26c%3Dd%C3%A4&=&redirect_uri=https%3A%2F%2Fx.example%2F%3Fy%3D%2520");
        assert_eq!(form(&[]), "");
    }

    #[test]
    fn a_header_shows_nothing_of_its_secret() {
        let basic = Authorization::Basic { user: "client".to_owned(), password: SecretString::from("p:\u{e4}") };
        let value = authorization(&basic).unwrap().unwrap();
        assert_eq!(value, format!("Basic {}", STANDARD.encode("client:p:\u{e4}")).as_str());
        let bearer = authorization(&Authorization::Bearer(SecretString::from("t0ken"))).unwrap().unwrap();
        assert_eq!(bearer, "Bearer t0ken");
        assert_eq!(format!("{value:?}{bearer:?}"), "SensitiveSensitive");
        assert!(authorization(&Authorization::None).unwrap().is_none());
        let broken = Authorization::Bearer(SecretString::from("a\nb"));
        assert!(matches!(authorization(&broken), Err(Error::Unsendable)));
    }

    #[test]
    fn the_secrets_of_a_request_are_wherever_it_has_parameters() {
        let secret = || SecretString::from("s3cret-of-the-test");
        let request = |query: &str, authorization, body| {
            Request::post(format!("https://a.example/?{query}").parse().unwrap(), authorization, body)
        };
        let fields = || vec![("token".to_owned(), secret())];
        let json = SecretString::from(r#"{"token":"s3cret-of-the-test"}"#);
        let basic = Authorization::Basic { user: "client".to_owned(), password: secret() };
        for (request, is_secret) in [
            (request("a=s3cret-of-the-test", Authorization::None, Body::Empty), true),
            (request("scope=s3cret-of-the-test", Authorization::None, Body::Empty), false),
            (request("", Authorization::Bearer(secret()), Body::Empty), true),
            (request("", basic, Body::Empty), true),
            (request("", Authorization::None, Body::Form(fields())), true),
            (request("", Authorization::None, Body::Multipart(fields())), true),
            (request("", Authorization::None, Body::Json(json)), true),
        ] {
            for code in ["s3cret-of-the-test", &STANDARD.encode("client:s3cret-of-the-test")] {
                assert_eq!(sent(&request).is_repeated_by(code), is_secret, "{code}");
            }
        }
    }
}
