//! The broker's settings for the sandbox, and the clients that the sandbox knows.

use super::bluesky;
use super::imitations::{IMITATIONS, Imitation};
use super::step::{Step, UnknownPlatform};

/// An OAuth app at a platform of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
    /// Not the operator's app but one that a caller brings.
    pub(super) own: bool,
    /// The platform has reviewed it, and lets it do more than an app that anybody can register. The apps that
    /// callers bring are reviewed everywhere, the operator's only by LinkedIn.
    pub(super) approved: bool,
}

impl Client {
    /// The three clients that every platform knows.
    pub(super) fn all(platform: &str) -> [Self; 3] {
        [
            Self {
                id: format!("sandbox-{platform}-client"),
                secret: format!("sandbox-{platform}-secret-not-real"),
                own: false,
                approved: platform == "linkedin",
            },
            // Characters that Basic authentication and forms must escape.
            Self {
                id: format!("sandbox-{platform}-own-client"),
                secret: format!("sandbox-{platform}+own/secret%not=real"),
                own: true,
                approved: true,
            },
            Self {
                id: format!("sandbox-{platform}-self-serve-client"),
                secret: format!("sandbox-{platform}-self-serve-secret-not-real"),
                own: true,
                approved: false,
            },
        ]
    }

    pub(super) fn find(platform: &str, id: &str) -> Option<Self> {
        Self::all(platform).into_iter().find(|client| client.id == id)
    }
}

/// The platforms with OAuth that the sandbox imitates, in alphabetical order: all but Bluesky.
pub fn platforms() -> impl Iterator<Item = &'static str> {
    IMITATIONS.iter().map(|imitation| imitation.name)
}

/// Client id and secret of the app that [`configuration`] configures.
pub fn client(platform: &str) -> Result<(String, String), UnknownPlatform> {
    pair(platform, false)
}

/// Client id and secret of a second app, for callers that bring their own.
pub fn own_client(platform: &str) -> Result<(String, String), UnknownPlatform> {
    pair(platform, true)
}

/// Client id and secret of a third app, which anybody could register and nobody has reviewed.
pub fn self_serve_client(platform: &str) -> Result<(String, String), UnknownPlatform> {
    let client = Client::all(find(platform)?.name).into_iter().find(|client| client.own && !client.approved);
    client.map(|client| (client.id, client.secret)).ok_or_else(|| unknown(platform))
}

fn pair(platform: &str, own: bool) -> Result<(String, String), UnknownPlatform> {
    let imitation = find(platform)?;
    let client = Client::all(imitation.name).into_iter().find(|client| client.own == own);
    client.map(|client| (client.id, client.secret)).ok_or_else(|| unknown(platform))
}

pub(super) fn find(platform: &str) -> Result<&'static Imitation, UnknownPlatform> {
    IMITATIONS.iter().copied().find(|imitation| imitation.name == platform).ok_or_else(|| unknown(platform))
}

/// The name of any platform, with OAuth or without.
pub(super) fn known(platform: &str) -> Result<&'static str, UnknownPlatform> {
    if platform == bluesky::NAME { Ok(bluesky::NAME) } else { find(platform).map(|imitation| imitation.name) }
}

fn unknown(platform: &str) -> UnknownPlatform {
    UnknownPlatform(platform.to_owned(), platforms().chain([bluesky::NAME]).collect::<Vec<_>>().join(", "))
}

/// A fragment of `postpeer.toml` with which the broker talks to this sandbox and nobody else: a `[platforms.NAME]`
/// section for each, and `[outbound]`, which lets it talk to a Bluesky server on this machine. `base_url` is [`Sandbox::base_url`](super::Sandbox::base_url).
#[must_use]
pub fn configuration(base_url: &str) -> String {
    let base_url = base_url.trim_end_matches('/');
    let sections = IMITATIONS.iter().map(|imitation| section(imitation, &format!("{base_url}/{}", imitation.name)));
    let bluesky =
        format!("[platforms.bluesky]\nresolver_url = \"{base_url}/bluesky\"\nplc_url = \"{base_url}/bluesky/plc\"\n\n");
    let outbound = "[outbound]\nallow_private_networks = true\n".to_owned();
    sections.chain([bluesky, outbound]).collect()
}

fn section(imitation: &Imitation, base: &str) -> String {
    let [client, ..] = Client::all(imitation.name);
    let path = |step| imitation.endpoints.iter().find(|endpoint| endpoint.step == step).map(|endpoint| endpoint.path);
    let mut lines = vec![
        format!("[platforms.{}]", imitation.name),
        format!("client_id = \"{}\"", client.id),
        format!("client_secret = \"{}\"", client.secret),
        format!("authorize_url = \"{base}{}\"", imitation.authorize.path),
    ];
    lines.extend(path(Step::Token).map(|path| format!("token_url = \"{base}{path}\"")));
    if imitation.revocable {
        lines.extend(path(Step::Revoke).map(|path| format!("revoke_url = \"{base}{path}\"")));
    }
    lines.extend(imitation.scopes.map(|scopes| format!("scopes = {scopes:?}")));
    match imitation.custom {
        Some(further) => lines.push(further.trim().replace("{base}", base)),
        None => lines.push(format!("api_url = \"{base}\"")),
    }
    lines.join("\n") + "\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_for_every_platform_with_the_real_path_tails() {
        let toml = configuration("http://127.0.0.1:9/");
        insta::assert_snapshot!(toml, @r#"
        [platforms.acme]
        client_id = "sandbox-acme-client"
        client_secret = "sandbox-acme-secret-not-real"
        authorize_url = "http://127.0.0.1:9/acme/auth"
        token_url = "http://127.0.0.1:9/acme/token"
        revoke_url = "http://127.0.0.1:9/acme/revoke"
        label = "Acme"
        identity_url = "http://127.0.0.1:9/acme/me"
        scopes = ["openid", "profile", "offline_access"]
        client_auth = "basic"
        pkce = "s256"
        authorize_params = { prompt = "consent" }
        identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }

        [platforms.facebook]
        client_id = "sandbox-facebook-client"
        client_secret = "sandbox-facebook-secret-not-real"
        authorize_url = "http://127.0.0.1:9/facebook/{version}/dialog/oauth"
        token_url = "http://127.0.0.1:9/facebook/{version}/oauth/access_token"
        revoke_url = "http://127.0.0.1:9/facebook/{version}/me/permissions"
        api_url = "http://127.0.0.1:9/facebook"

        [platforms.googlebusiness]
        client_id = "sandbox-googlebusiness-client"
        client_secret = "sandbox-googlebusiness-secret-not-real"
        authorize_url = "http://127.0.0.1:9/googlebusiness/o/oauth2/v2/auth"
        token_url = "http://127.0.0.1:9/googlebusiness/token"
        revoke_url = "http://127.0.0.1:9/googlebusiness/revoke"
        api_url = "http://127.0.0.1:9/googlebusiness"

        [platforms.instagram]
        client_id = "sandbox-instagram-client"
        client_secret = "sandbox-instagram-secret-not-real"
        authorize_url = "http://127.0.0.1:9/instagram/oauth/authorize"
        token_url = "http://127.0.0.1:9/instagram/oauth/access_token"
        api_url = "http://127.0.0.1:9/instagram"

        [platforms.linkedin]
        client_id = "sandbox-linkedin-client"
        client_secret = "sandbox-linkedin-secret-not-real"
        authorize_url = "http://127.0.0.1:9/linkedin/oauth/v2/authorization"
        token_url = "http://127.0.0.1:9/linkedin/oauth/v2/accessToken"
        revoke_url = "http://127.0.0.1:9/linkedin/oauth/v2/revoke"
        scopes = ["openid", "profile", "email", "w_member_social", "rw_organization_admin", "w_organization_social", "r_organization_social"]
        api_url = "http://127.0.0.1:9/linkedin"

        [platforms.pinterest]
        client_id = "sandbox-pinterest-client"
        client_secret = "sandbox-pinterest-secret-not-real"
        authorize_url = "http://127.0.0.1:9/pinterest/oauth/"
        token_url = "http://127.0.0.1:9/pinterest/v5/oauth/token"
        api_url = "http://127.0.0.1:9/pinterest"

        [platforms.threads]
        client_id = "sandbox-threads-client"
        client_secret = "sandbox-threads-secret-not-real"
        authorize_url = "http://127.0.0.1:9/threads/oauth/authorize"
        token_url = "http://127.0.0.1:9/threads/oauth/access_token"
        api_url = "http://127.0.0.1:9/threads"

        [platforms.tiktok]
        client_id = "sandbox-tiktok-client"
        client_secret = "sandbox-tiktok-secret-not-real"
        authorize_url = "http://127.0.0.1:9/tiktok/v2/auth/authorize/"
        token_url = "http://127.0.0.1:9/tiktok/v2/oauth/token/"
        revoke_url = "http://127.0.0.1:9/tiktok/v2/oauth/revoke/"
        api_url = "http://127.0.0.1:9/tiktok"

        [platforms.twitter]
        client_id = "sandbox-twitter-client"
        client_secret = "sandbox-twitter-secret-not-real"
        authorize_url = "http://127.0.0.1:9/twitter/i/oauth2/authorize"
        token_url = "http://127.0.0.1:9/twitter/2/oauth2/token"
        revoke_url = "http://127.0.0.1:9/twitter/2/oauth2/revoke"
        api_url = "http://127.0.0.1:9/twitter"

        [platforms.youtube]
        client_id = "sandbox-youtube-client"
        client_secret = "sandbox-youtube-secret-not-real"
        authorize_url = "http://127.0.0.1:9/youtube/o/oauth2/v2/auth"
        token_url = "http://127.0.0.1:9/youtube/token"
        revoke_url = "http://127.0.0.1:9/youtube/revoke"
        api_url = "http://127.0.0.1:9/youtube"

        [platforms.bluesky]
        resolver_url = "http://127.0.0.1:9/bluesky"
        plc_url = "http://127.0.0.1:9/bluesky/plc"

        [outbound]
        allow_private_networks = true
        "#);
    }

    #[test]
    fn every_platform_has_two_clients_and_others_have_none() {
        for platform in platforms() {
            assert_ne!(client(platform).unwrap(), own_client(platform).unwrap());
        }
        assert!(client("myspace").unwrap_err().to_string().contains("twitter"));
    }
}
