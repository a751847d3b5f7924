//! Signatures of JSON Web Tokens: the crate `jsonwebtoken` over `ring`, which TLS uses already.

use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::signature::{self, Signer, Verifier};
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey};
use ring::rand::SystemRandom;
use ring::signature as with;
use ring::{hmac, rsa};

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| {
        let signer = Ring { algorithm: *algorithm, key: key.clone() };
        if key.family() == algorithm.family() { Ok(Box::new(signer)) } else { Err(ErrorKind::InvalidKeyFormat.into()) }
    },
    verifier_factory: |algorithm, key| {
        let verifier = Ring { algorithm: *algorithm, key: key.clone() };
        if key.family() == algorithm.family() {
            Ok(Box::new(verifier))
        } else {
            Err(ErrorKind::InvalidKeyFormat.into())
        }
    },
    key_utils: KeyUtils::new_unimplemented(),
};

/// Makes the crate use `ring`. Comes before its first use.
pub(super) fn install() {
    // Fails only when it is installed already.
    let _ = PROVIDER.install_default();
}

/// A key and the algorithm that it is used with, of one family.
struct Ring<Key> {
    algorithm: Algorithm,
    key: Key,
}

impl JwtVerifier for Ring<DecodingKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

impl Verifier<Vec<u8>> for Ring<DecodingKey> {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let verified = match self.key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                let parameters = rsa(self.algorithm).ok_or_else(signature::Error::new)?;
                // Some servers write a sign byte before the number.
                let (n, e) = (without_zeros(n), without_zeros(e));
                with::RsaPublicKeyComponents { n, e }.verify(parameters, message, signature)
            }
            DecodingKeyKind::SecretOrDer(key) => match self.algorithm {
                Algorithm::EdDSA => with::UnparsedPublicKey::new(&with::ED25519, key).verify(message, signature),
                Algorithm::ES256 => {
                    with::UnparsedPublicKey::new(&with::ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
                }
                Algorithm::ES384 => {
                    with::UnparsedPublicKey::new(&with::ECDSA_P384_SHA384_FIXED, key).verify(message, signature)
                }
                algorithm => {
                    let hash = hmac(algorithm).ok_or_else(signature::Error::new)?;
                    hmac::verify(&hmac::Key::new(hash, key), message, signature)
                }
            },
        };
        verified.map_err(|_| signature::Error::new())
    }
}

fn rsa(algorithm: Algorithm) -> Option<&'static with::RsaParameters> {
    Some(match algorithm {
        Algorithm::PS256 => &with::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &with::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &with::RSA_PSS_2048_8192_SHA512,
        Algorithm::RS256 => &with::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &with::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &with::RSA_PKCS1_2048_8192_SHA512,
        _ => return None,
    })
}

fn hmac(algorithm: Algorithm) -> Option<hmac::Algorithm> {
    Some(match algorithm {
        Algorithm::HS256 => hmac::HMAC_SHA256,
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => return None,
    })
}

fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

impl JwtSigner for Ring<EncodingKey> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }
}

/// The key is PKCS#8.
impl Signer<Vec<u8>> for Ring<EncodingKey> {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, signature::Error> {
        let (key, random) = (self.key.as_bytes(), SystemRandom::new());
        let signed = match self.algorithm {
            Algorithm::EdDSA => {
                let pair =
                    with::Ed25519KeyPair::from_pkcs8_maybe_unchecked(key).map_err(|_| signature::Error::new())?;
                Ok(pair.sign(message).as_ref().to_vec())
            }
            Algorithm::ES256 | Algorithm::ES384 => {
                let curve = if self.algorithm == Algorithm::ES256 {
                    &with::ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &with::ECDSA_P384_SHA384_FIXED_SIGNING
                };
                let pair = with::EcdsaKeyPair::from_pkcs8(curve, key, &random).map_err(|_| signature::Error::new())?;
                pair.sign(&random, message).map(|signature| signature.as_ref().to_vec())
            }
            Algorithm::PS256 | Algorithm::RS256 => {
                let padding: &dyn with::RsaEncoding =
                    if self.algorithm == Algorithm::PS256 { &with::RSA_PSS_SHA256 } else { &with::RSA_PKCS1_SHA256 };
                let pair = rsa::KeyPair::from_pkcs8(key).map_err(|_| signature::Error::new())?;
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature).map(|()| signature)
            }
            _ => return Err(signature::Error::new()),
        };
        signed.map_err(|_| signature::Error::new())
    }
}

/// True for an algorithm whose verifying key can be published.
pub(super) fn is_asymmetric(algorithm: Algorithm) -> bool {
    algorithm.family() != AlgorithmFamily::Hmac
}
