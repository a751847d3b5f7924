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
pub fn authorize_url(platform: &Platform, request: &AuthorizeRequest<'_>) -> Result<Url, InvalidEndpoint> {
    let (mut url, query) = in_parts(platform, request)?;
    url.query_pairs_mut().extend_pairs(query);
    Ok(url)
}

/// The URL without the parameters of the request, and these.
#[expect(clippy::disallowed_methods, reason = "state and verifier go into the URL, the verifier only hashed")]
pub(super) fn in_parts(
    platform: &Platform,
    request: &AuthorizeRequest<'_>,
) -> Result<(Url, Vec<(String, String)>), InvalidEndpoint> {
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
    let scope = request.scopes.join(platform.scope_separator.as_str());
    let mut query = vec![
        ("response_type", "code"),
        (platform.client_id_name, request.client_id),
        ("state", request.state.expose_secret()),
    ];
    if let Some(challenge) = &challenge {
        query.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
    }
    query.push(("redirect_uri", request.redirect_uri));
    if !scope.is_empty() {
        query.push(("scope", &scope));
    }
    if platform.id_tokens.is_some() {
        query.push(("nonce", request.nonce));
    }
    query.extend(platform.authorize_params.iter().map(|(name, value)| (name.as_ref(), value.as_ref())));
    // RFC 6749, section 3.1: no parameter is sent twice.
    let is_set = |name: &str| query.iter().any(|(set, _)| *set == name);
    // The callback reads the query alone, where the answer comes unless another mode is asked for.
    let is_dropped = |name: &str, value: &str| is_set(name) || (name == "response_mode" && value != "query");
    if url.query_pairs().any(|(name, value)| is_dropped(&name, &value)) {
        let kept: Vec<_> = url.query_pairs().into_owned().filter(|(name, value)| !is_dropped(name, value)).collect();
        url.set_query(None);
        if !kept.is_empty() {
            url.query_pairs_mut().extend_pairs(kept);
        }
    }
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok((url, query.into_iter().map(owned).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platforms::{CustomPlatform, Metadata};

    #[test]
    fn a_parameter_of_the_servers_own_url_is_kept_unless_the_broker_or_the_operator_sets_it() {
        let platform = CustomPlatform {
            issuer: Some("https://id.example".to_owned()),
            scopes: Some(vec!["openid".to_owned(), "offline_access".to_owned()]),
            ..CustomPlatform::default()
        };
        let url = |platform: &CustomPlatform, query: &str| {
            let found = Metadata {
                authorization_endpoint: Some(format!("https://id.example/a?{query}")),
                ..Metadata::default()
            };
            let request = AuthorizeRequest {
                client_id: "us",
                redirect_uri: "https://b.example/c",
                state: &SecretString::from("s"),
                scopes: &["openid".to_owned()],
                pkce_verifier: None,
                nonce: "n",
            };
            authorize_url(&platform.platform(Some(&found)), &request).unwrap().to_string()
        };
        let ours = "response_type=code&client_id=us&state=s&redirect_uri=https%3A%2F%2Fb.example%2Fc&scope=openid";
        for (query, kept) in [
            ("tenant=1%20x", "tenant=1%20x&"),
            ("tenant=1%20x&state=old&scope=x", "tenant=1+x&"),
            ("client_id=old", ""),
            ("response_mode=form_post", ""),
            ("a=b&response_mode=form_post", "a=b&"),
            ("response_mode=query", "response_mode=query&"),
        ] {
            assert_eq!(url(&platform, query), format!("https://id.example/a?{kept}{ours}&prompt=consent"), "{query}");
        }
        let chosen = url(&platform, "prompt=login");
        assert_eq!(chosen, format!("https://id.example/a?prompt=login&{ours}"));
        let platform =
            CustomPlatform { authorize_params: vec![("prompt".to_owned(), "select_account".to_owned())], ..platform };
        assert_eq!(url(&platform, "prompt=login"), format!("https://id.example/a?{ours}&prompt=select_account"));
        let removed = ["keep", "prompt"].map(|name| (name.to_owned(), String::new())).to_vec();
        let platform = CustomPlatform { authorize_params: removed, ..platform };
        assert_eq!(url(&platform, "prompt=login&keep=1&a=b"), format!("https://id.example/a?a=b&{ours}"));
    }
}
