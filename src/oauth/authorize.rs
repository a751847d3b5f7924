//! The authorize URL: where a person is sent to consent.

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
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

/// A URL in the configuration that is none.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not an absolute URL")]
pub struct InvalidEndpoint {
    pub what: &'static str,
    #[source]
    pub source: url::ParseError,
}

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
/// When the platform's authorize URL or the redirect URI is no URL.
#[expect(clippy::disallowed_methods, reason = "state and verifier go into the URL, the verifier only hashed")]
pub fn authorize_url(platform: &Platform, request: &AuthorizeRequest<'_>) -> Result<Url, InvalidEndpoint> {
    let invalid = |what| move |source| InvalidEndpoint { what, source };
    let client = BasicClient::new(ClientId::new(request.client_id.to_owned()))
        .set_auth_uri(AuthUrl::new(platform.authorize_url.to_string()).map_err(invalid("authorize_url"))?)
        .set_redirect_uri(RedirectUrl::new(request.redirect_uri.to_owned()).map_err(invalid("the callback URL"))?);
    let state = CsrfToken::new(request.state.expose_secret().to_owned());
    let mut authorize = client.authorize_url(|| state);
    if !request.scopes.is_empty() {
        // The crate joins scopes with spaces only, so they come to it as one.
        authorize = authorize.add_scope(Scope::new(request.scopes.join(platform.scope_separator.as_str())));
    }
    if platform.id_tokens.is_some() {
        authorize = authorize.add_extra_param("nonce", request.nonce);
    }
    for (name, value) in &platform.authorize_params {
        authorize = authorize.add_extra_param(name.as_ref(), value.as_ref());
    }
    if let Some(verifier) = request.pkce_verifier {
        authorize = match platform.pkce {
            Pkce::S256Hex | Pkce::S256HexOnLoopback => authorize
                .add_extra_param("code_challenge", hex::encode(Sha256::digest(verifier.expose_secret().as_bytes())))
                .add_extra_param("code_challenge_method", "S256"),
            Pkce::None | Pkce::S256 => authorize.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(
                &PkceCodeVerifier::new(verifier.expose_secret().to_owned()),
            )),
        };
    }
    let (mut url, _) = authorize.url();
    if platform.client_id_name != "client_id" {
        let renamed: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| match name.as_ref() {
                "client_id" => (platform.client_id_name.to_owned(), value.into_owned()),
                _ => (name.into_owned(), value.into_owned()),
            })
            .collect();
        url.query_pairs_mut().clear().extend_pairs(renamed);
    }
    Ok(url)
}
