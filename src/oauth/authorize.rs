//! The authorize URL: where a person is sent to consent.

use oauth2::{PkceCodeChallenge, PkceCodeVerifier};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use crate::domain::redirect::is_loopback;
use crate::platforms::{Pkce, Platform};

/// The parts of an authorize URL that the platform does not fix.
#[derive(Debug)]
pub struct AuthorizeRequest<'a> {
    pub client_id: &'a str,
    pub redirect_uri: &'a str,
    pub state: &'a SecretString,
    pub scopes: &'a [String],
    /// Given exactly where [`takes_pkce`] says so.
    pub pkce_verifier: Option<&'a SecretString>,
    /// Binds the id_token to the connection. Sent where the platform's id_tokens are verified.
    pub nonce: &'a str,
}

/// The platform's authorize URL is none.
#[derive(Debug, thiserror::Error)]
#[error("authorize_url is not an absolute URL")]
pub struct InvalidEndpoint(#[from] url::ParseError);

/// True when the platform takes PKCE for this redirect URI.
#[must_use]
pub fn takes_pkce(platform: &Platform, redirect_uri: &str) -> bool {
    match platform.pkce {
        Pkce::None => false,
        Pkce::S256 | Pkce::S256Hex => true,
        Pkce::S256HexOnLoopback => Url::parse(redirect_uri).is_ok_and(|url| is_loopback(&url)),
    }
}

/// The URL to send the person to.
///
/// # Errors
///
/// When the platform's authorize URL is no URL.
#[expect(clippy::disallowed_methods, reason = "state and verifier go into the URL, the verifier only hashed")]
pub fn authorize_url(platform: &Platform, request: &AuthorizeRequest<'_>) -> Result<Url, InvalidEndpoint> {
    let mut url = Url::parse(&platform.authorize_url)?;
    let challenge = request.pkce_verifier.map(|verifier| {
        let verifier = verifier.expose_secret();
        match platform.pkce {
            Pkce::S256Hex | Pkce::S256HexOnLoopback => hex::encode(Sha256::digest(verifier.as_bytes())),
            Pkce::None | Pkce::S256 => {
                let verifier = PkceCodeVerifier::new(verifier.to_owned());
                PkceCodeChallenge::from_code_verifier_sha256(&verifier).as_str().to_owned()
            }
        }
    });
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair(platform.client_id_name, request.client_id)
        .append_pair("state", request.state.expose_secret());
    if let Some(challenge) = &challenge {
        query.append_pair("code_challenge", challenge).append_pair("code_challenge_method", "S256");
    }
    query.append_pair("redirect_uri", request.redirect_uri);
    if !request.scopes.is_empty() {
        query.append_pair("scope", &request.scopes.join(platform.scope_separator.as_str()));
    }
    if platform.id_tokens.is_some() {
        query.append_pair("nonce", request.nonce);
    }
    query.extend_pairs(&platform.authorize_params);
    drop(query);
    Ok(url)
}
