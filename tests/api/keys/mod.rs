//! Keys that tests sign with, and the signed tokens that they make. The private keys were made for these tests alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};
use ring::{hmac, signature};
use serde_json::{Value, json};

pub(crate) const RSA: &str = include_str!("rsa.pem");
pub(crate) const P256: &str = include_str!("p256.pem");
/// Another key of the same kind.
pub(crate) const P256_TOO: &str = include_str!("p256_too.pem");
pub(crate) const P384: &str = include_str!("p384.pem");
pub(crate) const ED25519_KEY: &str = include_str!("ed25519.pem");

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The header or the claims of a token.
pub(crate) fn part(token: &str, at: usize) -> Value {
    let part = token.split('.').nth(at).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// A token of this header and these claims, with any signature.
pub(crate) fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    token_of(header, claims.to_string(), sign)
}

/// The same with claims byte for byte.
pub(crate) fn token_of(header: &Value, claims: impl AsRef<[u8]>, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", base64url(header.to_string()), base64url(claims));
    let signature = base64url(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// Signs as an algorithm does, with the key of a PEM file.
pub(crate) fn sign(algorithm: &str, pem: &str, message: &[u8]) -> Vec<u8> {
    let (key, random) = (der(pem), SystemRandom::new());
    let ecdsa = |curve| EcdsaKeyPair::from_pkcs8(curve, &key, &random).unwrap().sign(&random, message).unwrap();
    let rsa = |padding: &'static dyn signature::RsaEncoding| {
        let pair = RsaKeyPair::from_pkcs8(&key).unwrap();
        let mut signature = vec![0; pair.public().modulus_len()];
        pair.sign(padding, &random, message, &mut signature).unwrap();
        signature
    };
    match algorithm {
        "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).as_ref().to_vec(),
        "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).as_ref().to_vec(),
        "EdDSA" | "Ed25519" => {
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).unwrap().sign(message).as_ref().to_vec()
        }
        "PS256" => rsa(&RSA_PSS_SHA256),
        "RS256" => rsa(&RSA_PKCS1_SHA256),
        other => panic!("{other}"),
    }
}

pub(crate) fn hs256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

/// The public half of the key of a PEM file.
pub(crate) fn public(algorithm: &str, pem: &str) -> Vec<u8> {
    let (key, random) = (der(pem), SystemRandom::new());
    let ecdsa = |curve| EcdsaKeyPair::from_pkcs8(curve, &key, &random).unwrap().public_key().as_ref().to_vec();
    match algorithm {
        "ES256" => ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
        "ES384" => ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
        "EdDSA" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key).unwrap().public_key().as_ref().to_vec(),
        _ => RsaKeyPair::from_pkcs8(&key).unwrap().public_key().as_ref().to_vec(),
    }
}

/// True when the token's signature is the algorithm's.
pub(crate) fn verifies(algorithm: &str, pem: &str, token: &str) -> bool {
    let with: &'static dyn VerificationAlgorithm = match algorithm {
        "ES256" => &ECDSA_P256_SHA256_FIXED,
        "ES384" => &ECDSA_P384_SHA384_FIXED,
        "EdDSA" => &ED25519,
        "PS256" => &RSA_PSS_2048_8192_SHA256,
        _ => &RSA_PKCS1_2048_8192_SHA256,
    };
    let (message, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(with, public(algorithm, pem)).verify(message.as_bytes(), &signature).is_ok()
}

/// The published half of the key of a PEM file.
pub(crate) fn jwk(algorithm: &str, pem: &str, id: &str) -> Value {
    let key = public(algorithm, pem);
    let mut jwk = match algorithm {
        "ES256" => json!({"kty": "EC", "crv": "P-256", "x": base64url(&key[1..33]), "y": base64url(&key[33..])}),
        "ES384" => json!({"kty": "EC", "crv": "P-384", "x": base64url(&key[1..49]), "y": base64url(&key[49..])}),
        "EdDSA" => json!({"kty": "OKP", "crv": "Ed25519", "x": base64url(key)}),
        _ => {
            let pair = RsaKeyPair::from_pkcs8(&der(pem)).unwrap();
            let parts = signature::RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
            // A sign byte before the number, as some servers write it.
            let n = [&[0][..], &parts.n].concat();
            json!({"kty": "RSA", "n": base64url(n), "e": base64url(parts.e)})
        }
    };
    jwk["kid"] = id.into();
    jwk["use"] = "sig".into();
    jwk["alg"] = algorithm.into();
    jwk
}
