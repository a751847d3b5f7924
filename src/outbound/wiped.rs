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

use super::{Authorization, Error, expose};

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
}
