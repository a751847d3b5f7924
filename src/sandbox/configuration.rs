//! The broker's settings for the sandbox, and the clients that the sandbox knows.

use super::bluesky;
use super::imitations::{Example, IMITATIONS, Imitation};
use super::step::{Step, UnknownPlatform};

/// An OAuth app at a platform of the sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) secret: String,
    /// True for an app that a caller brings, false for the operator's.
    pub(super) own: bool,
    /// True when the platform has reviewed the app, which lets it do more. The second app is reviewed everywhere, the
    /// operator's only by LinkedIn.
    pub(super) approved: bool,
}

impl Client {
    /// The three clients that every platform knows: the operator's, a caller's own, and a self-serve one.
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
    clients(platform).map(|[client, _, _]| client)
}

/// Client id and secret of a second app, for callers that bring their own.
pub fn own_client(platform: &str) -> Result<(String, String), UnknownPlatform> {
    clients(platform).map(|[_, own, _]| own)
}

/// Client id and secret of a third app, which no platform has reviewed.
pub fn self_serve_client(platform: &str) -> Result<(String, String), UnknownPlatform> {
    clients(platform).map(|[_, _, self_serve]| self_serve)
}

/// Id and secret of each client.
fn clients(platform: &str) -> Result<[(String, String); 3], UnknownPlatform> {
    Ok(Client::all(find(platform)?.name).map(|client| (client.id, client.secret)))
}

/// The requests of a broker that makes no mistake.
pub fn example(platform: &str) -> Result<&'static Example, UnknownPlatform> {
    find(platform).map(|imitation| &imitation.example)
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

/// A fragment of `postpeer.toml` that directs the broker to this sandbox: a `[platforms.NAME]` section for each
/// platform, and `[outbound]`, which lets it call a Bluesky server on this machine. `base_url` is
/// [`Sandbox::base_url`](super::Sandbox::base_url).
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
    fn every_platform_has_a_section_with_the_real_paths() {
        let toml = configuration("http://127.0.0.1:9/");
        // One of each kind: an operator's own, with a version, with scopes, without revocation, without OAuth.
        let kinds = ["acme", "facebook", "linkedin", "pinterest", "bluesky"].map(|name| format!("[platforms.{name}]"));
        let is_shown =
            |section: &&str| kinds.iter().any(|kind| section.starts_with(kind)) || !section.contains("platforms");
        let shown: Vec<&str> = toml.split("\n\n").filter(is_shown).collect();
        assert_eq!(toml.matches("[platforms.").count(), platforms().count() + 1);
        insta::assert_snapshot!(shown.join("\n\n"), @r#"
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

        [platforms.bluesky]
        resolver_url = "http://127.0.0.1:9/bluesky"
        plc_url = "http://127.0.0.1:9/bluesky/plc"

        [outbound]
        allow_private_networks = true
        "#);
    }

    #[test]
    fn every_platform_has_two_clients() {
        for platform in platforms() {
            assert_ne!(client(platform).unwrap(), own_client(platform).unwrap());
        }
        assert!(client("myspace").unwrap_err().to_string().contains("twitter"));
    }
}
