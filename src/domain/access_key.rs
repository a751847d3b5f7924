//! Access keys: the values of the header `x-access-key`.
//!
//! A key is `ppk_` + 43 base62 digits (256 random bits) + 6 base62 digits of checksum, so that secret scanners find it
//! and a mistyped one is refused without a look-up. Only its SHA-256 is stored: at this entropy a slow hash
//! would protect nothing and cost every request.

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest as _, Sha256};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use super::entropy::Entropy;
use super::id::{AccessKeyId, ProjectId};
use super::key_limits::Limits;
use super::secret::Digest256;
use super::time::Timestamp;

/// A permission of an access key.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Display, EnumString, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[strum(parse_err_ty = UnknownScope, parse_err_fn = UnknownScope::new)]
pub enum Scope {
    /// Start connections.
    Connect,
    /// Write profiles, apps and integrations.
    Manage,
    /// Read everything but tokens.
    Read,
    /// Read access tokens.
    Tokens,
}

impl Scope {
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The scopes of a key that is created without naming any: all but reading tokens.
    pub const DEFAULT: [Self; 3] = [Self::Connect, Self::Manage, Self::Read];
}

#[derive(Debug, Clone, thiserror::Error)]
#[error("'{0}' is not a scope: use connect, manage, read or tokens")]
pub struct UnknownScope(String);

impl UnknownScope {
    fn new(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// An access key as stored, without the key itself.
#[derive(Debug, Clone)]
pub struct AccessKey {
    pub id: AccessKeyId,
    pub project_id: ProjectId,
    pub name: String,
    /// The first characters of the key, by which people recognise it in a list.
    pub hint: String,
    pub limits: Limits,
    pub created_at: Timestamp,
    /// The last use of all but the latest minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

/// The key itself, shown once when it is created.
#[derive(Debug)]
pub struct PlainAccessKey(SecretString);

/// Wrong prefix, length, alphabet or checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed access key")]
pub struct MalformedAccessKey;

impl PlainAccessKey {
    /// Never changes: secret scanners know keys by it.
    pub const PREFIX: &'static str = "ppk_";
    const BODY: usize = 43;
    const CHECKSUM: usize = 6;

    #[must_use]
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut random = zeroize::Zeroizing::new([0_u8; 32]);
        entropy.fill(random.as_mut());
        let body = base62(random.as_ref(), Self::BODY);
        let checksum = checksum(&body);
        Self(SecretString::from(format!("{}{body}{checksum}", Self::PREFIX)))
    }

    /// Checks the shape and the checksum only. The store decides whether the key exists.
    pub fn parse(text: &str) -> Result<Self, MalformedAccessKey> {
        let rest = text.strip_prefix(Self::PREFIX).ok_or(MalformedAccessKey)?;
        if rest.len() != Self::BODY + Self::CHECKSUM || !rest.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(MalformedAccessKey);
        }
        let (body, given) = rest.split_at_checked(Self::BODY).ok_or(MalformedAccessKey)?;
        if checksum(body) != given {
            return Err(MalformedAccessKey);
        }
        Ok(Self(SecretString::from(text)))
    }

    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "hashing is how a key is looked up and stored")]
    pub fn digest(&self) -> Digest256 {
        Digest256::of(self.0.expose_secret().as_bytes())
    }

    /// The first characters, by which people recognise the key in a list.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "eight characters leave over 200 bits unknown")]
    pub fn hint(&self) -> String {
        self.0.expose_secret().chars().take(Self::PREFIX.len() + 4).collect()
    }

    /// The key in full, for the one time that it is shown.
    #[must_use]
    pub fn into_secret(self) -> SecretString {
        self.0
    }
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// `bytes` as a big-endian number in base 62, left-padded with `0` to `width` digits.
fn base62(bytes: &[u8], width: usize) -> String {
    let mut number = bytes.to_vec();
    let mut digits = Vec::with_capacity(width);
    for _ in 0..width {
        let mut remainder = 0_u32;
        for byte in &mut number {
            let value = remainder * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(u8::MAX);
            remainder = value % 62;
        }
        let digit = usize::try_from(remainder).ok().and_then(|i| BASE62.get(i)).copied().unwrap_or(b'0');
        digits.push(char::from(digit));
    }
    zeroize::Zeroize::zeroize(&mut number);
    digits.iter().rev().collect()
}

/// Six base62 digits of SHA-256 over the body. Detects typing errors, not forgery.
fn checksum(body: &str) -> String {
    let digest = Sha256::digest(body.as_bytes());
    base62(digest.get(..4).unwrap_or_default(), PlainAccessKey::CHECKSUM)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests read the keys that they generate")]

    use super::*;
    use crate::domain::entropy::SeededEntropy;

    #[test]
    fn a_generated_key_is_read_back_and_any_changed_character_is_not() {
        let key = PlainAccessKey::generate(&SeededEntropy::new(7)).into_secret();
        let text = key.expose_secret();
        assert_eq!(text.len(), 53);
        assert!(PlainAccessKey::parse(text).is_ok());
        for at in 0..text.len() {
            let mut changed: Vec<char> = text.chars().collect();
            changed[at] = if changed[at] == 'x' { 'y' } else { 'x' };
            let changed: String = changed.into_iter().collect();
            assert!(PlainAccessKey::parse(&changed).is_err(), "position {at}");
        }
    }

    #[test]
    fn fuzzed_keys_are_taken_as_they_were_made_only() {
        crate::fuzz::run("access_keys", &["ppk_", "0", "z", " ", "\n", "é"], |text| {
            let text = String::from_utf8_lossy(text);
            let Ok(key) = PlainAccessKey::parse(&text) else { return };
            let key = key.into_secret();
            let body = text.strip_prefix("ppk_").unwrap();
            assert_eq!((key.expose_secret(), body.len()), (text.as_ref(), 49));
            assert_eq!(checksum(&body[..43]), body[43..]);
        });
    }

    #[test]
    fn debug_is_silent() {
        let key = PlainAccessKey::generate(&SeededEntropy::new(7));
        assert!(!format!("{key:?}").contains("ppk_"));
    }
}
