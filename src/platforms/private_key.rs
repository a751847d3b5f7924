//! The private key that a client signs its assertions with, instead of sending a secret (RFC 7523).

use std::fmt;
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::rsa;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::domain::secret::SecretString;

/// A signature algorithm, by its name in JSON Web Tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub enum SigningAlgorithm {
    EdDSA,
    ES256,
    ES384,
    PS256,
    RS256,
}

/// The key. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct PrivateKey {
    /// PKCS#8.
    der: Arc<Zeroizing<Vec<u8>>>,
    kind: Kind,
    /// The id under which the server knows its public half.
    pub id: Option<String>,
    /// Chosen by the operator; else by the kind of key and what the server accepts.
    pub algorithm: Option<SigningAlgorithm>,
    /// Name of the server in assertions, where the operator sets it.
    pub audience: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ed25519,
    P256,
    P384,
    Rsa,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({:?})", self.kind)
    }
}

impl PrivateKey {
    /// Reads a key in PEM format.
    ///
    /// # Errors
    ///
    /// Why the text is no such key, and what to do. It completes a sentence that begins with the text.
    #[expect(clippy::disallowed_methods, reason = "a key is parsed from its text")]
    pub fn from_pem(pem: &SecretString) -> Result<Self, &'static str> {
        let pem = pem.expose_secret();
        let Ok(der) = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()) else {
            return Err(match pem {
                pem if pem.contains("ENCRYPTED") => {
                    "is encrypted: decrypt it with `openssl pkcs8 -in key.pem -out plain.pem`"
                }
                pem if pem.contains("PRIVATE KEY-----") => {
                    "is not in PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt -in key.pem -out pkcs8.pem`"
                }
                pem if pem.contains("PUBLIC KEY-----") => "is a public key: the private one is needed",
                _ => "is not a private key in PEM format: it must begin with -----BEGIN PRIVATE KEY-----",
            });
        };
        let der = Arc::new(Zeroizing::new(der.secret_pkcs8_der().to_vec()));
        let kind = kind(&der).ok_or(
            "is of a kind that is not supported: use RSA with 2048 to 8192 bits, EC on P-256 or P-384, or Ed25519",
        )?;
        Ok(Self { der, kind, id: None, algorithm: None, audience: None })
    }

    /// The key with what the operator says of it.
    #[must_use]
    pub fn used_as(self, id: Option<String>, algorithm: Option<SigningAlgorithm>, audience: Option<String>) -> Self {
        Self { id, algorithm, audience, ..self }
    }

    /// The key in PKCS#8.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The algorithms that the key can sign with, the usual one first.
    #[must_use]
    pub fn algorithms(&self) -> &'static [SigningAlgorithm] {
        match self.kind {
            Kind::Ed25519 => &[SigningAlgorithm::EdDSA],
            Kind::P256 => &[SigningAlgorithm::ES256],
            Kind::P384 => &[SigningAlgorithm::ES384],
            Kind::Rsa => &[SigningAlgorithm::RS256, SigningAlgorithm::PS256],
        }
    }
}

fn kind(der: &[u8]) -> Option<Kind> {
    let random = SystemRandom::new();
    let on = |curve| EcdsaKeyPair::from_pkcs8(curve, der, &random).is_ok();
    if rsa::KeyPair::from_pkcs8(der).is_ok() {
        Some(Kind::Rsa)
    } else if on(&ECDSA_P256_SHA256_FIXED_SIGNING) {
        Some(Kind::P256)
    } else if on(&ECDSA_P384_SHA384_FIXED_SIGNING) {
        Some(Kind::P384)
    } else {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).is_ok().then_some(Kind::Ed25519)
    }
}
