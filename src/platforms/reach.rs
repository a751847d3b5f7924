//! Decides which platforms share a person's consent, so that a revocation at one of them may end tokens of another.
//!
//! Invariant: where it is doubtful, a consent counts as shared. Tokens that are not revoked expire; a consent that is
//! revoked by mistake costs an account.

use std::sync::LazyLock;

use url::Url;

use super::{BUILT_IN, ConfiguredPlatform, Platform, Registry, Revocation, RevocationReach, Subject, Text, bluesky};

/// Consents that a revocation ends besides its own.
#[derive(Debug, Clone, Copy)]
pub struct Reached<'a> {
    /// Name of the platform.
    pub platform: &'a str,
    /// True when only consents with the same subject are reached; else all people's may be.
    pub is_same_person: bool,
    project_of: Option<fn(&str) -> Option<&str>>,
}

impl Reached<'_> {
    /// True when only consents to the same client are reached; else [`Self::may_share`] tells.
    #[must_use]
    pub fn is_same_client(&self) -> bool {
        self.project_of.is_none()
    }

    /// True when one consent may cover both clients: `other`, at this platform, and the one whose consent is revoked.
    #[must_use]
    pub fn may_share(&self, client_id: &str, other: &str) -> bool {
        let project = |client_id| self.project_of.and_then(|project_of| project_of(client_id));
        client_id == other || project(client_id).is_some_and(|of_one| project(other) == Some(of_one))
    }
}

impl Registry {
    /// True where a person's consent is known to be to one client id alone.
    #[must_use]
    pub fn are_consents_to_one_client(&self, platform: &str) -> bool {
        let reach = self.find_any(platform).map(|known| known.platform().revocation_reach);
        reach == Some(RevocationReach::ConsentToClient)
    }

    /// Consents that a revocation at a platform reaches: those at every platform that shares its consents. `in_use`:
    /// the platforms that have any. One of these that is not configured counts as well, because its servers are unknown.
    /// Empty where a revocation ends its own tokens only.
    #[must_use]
    pub fn reached_by_revocation<'a>(&'a self, platform: &str, in_use: &'a [String]) -> Vec<Reached<'a>> {
        let Some(revoking) = self.find_any(platform).map(ConfiguredPlatform::platform) else { return Vec::new() };
        if revoking.revocation == Revocation::Unsupported {
            return Vec::new();
        }
        let all = self.iter_all().map(ConfiguredPlatform::platform);
        let sharing: Vec<&Platform> = all.filter(|other| other.shares_consents_with(revoking)).collect();
        if sharing.iter().all(|platform| platform.revocation_reach == RevocationReach::Tokens) {
            return Vec::new();
        }
        let tells_person = |platform: &Platform| platform.subject == Subject::Person;
        let is_same_person =
            |other: &Platform| other.authority == revoking.authority && tells_person(other) && tells_person(revoking);
        let project_of = sharing.iter().find_map(|platform| platform.project_of);
        let reached = |platform, is_same_person| Reached { platform, is_same_person, project_of };
        let is_unknown = |name: &&String| *name != bluesky::NAME && self.find_any(name).is_none();
        let unknown = in_use.iter().filter(is_unknown).map(|name| reached(name, false));
        sharing.iter().map(|other| reached(&other.name, is_same_person(other))).chain(unknown).collect()
    }
}

/// Hosts at which the built-in platforms issue and revoke tokens, with who honours these. A gateway that the operator
/// put in place of one is not among them.
static HOSTS: LazyLock<Vec<(String, Text)>> = LazyLock::new(|| {
    let hosts = |platform: &Platform| platform.servers().filter_map(host).collect::<Vec<_>>();
    let platforms = BUILT_IN.iter().map(|definition| definition());
    platforms
        .flat_map(|platform| hosts(&platform).into_iter().map(move |host| (host, platform.authority.clone())))
        .collect()
});

impl Platform {
    /// True when one consent to one client may cover both platforms, whatever the operator calls them: an endpoint or
    /// the issuer is the same, or the same built-in platform's servers are used. Those have several URLs for one thing,
    /// such as a path for each version.
    fn shares_consents_with(&self, other: &Self) -> bool {
        let shares = |one: Option<&str>, other: Option<&str>| {
            let (one, other) = (one.and_then(normalised), other.and_then(normalised));
            one.is_some() && one == other
        };
        let theirs = other.authorities();
        self.authorities().iter().any(|authority| theirs.contains(authority))
            || shares(Some(&self.authorize_url), Some(&other.authorize_url))
            || shares(Some(&self.token_url), Some(&other.token_url))
            || shares(self.revocation.url(), other.revocation.url())
            || shares(self.issuer.as_deref(), other.issuer.as_deref())
    }

    /// Everybody who may honour the tokens.
    fn authorities(&self) -> Vec<&str> {
        let used: Vec<String> = self.servers().filter_map(host).collect();
        let of_hosts = HOSTS.iter().filter(|(host, _)| used.contains(host)).map(|(_, authority)| authority.as_ref());
        [self.authority.as_ref()].into_iter().chain(of_hosts).collect()
    }

    /// URLs of the servers that issue and revoke the tokens.
    fn servers(&self) -> impl Iterator<Item = &str> {
        let optional = [self.revocation.url(), self.issuer.as_deref()];
        [self.authorize_url.as_ref(), self.token_url.as_ref()].into_iter().chain(optional.into_iter().flatten())
    }
}

/// The host of a URL; `None` for a path at a server that a person names.
fn host(url: &str) -> Option<String> {
    Some(Url::parse(url).ok()?.host_str()?.to_owned())
}

/// A URL however it is spelt, as far as it identifies an endpoint. `None` where it is not known yet.
fn normalised(url: &str) -> Option<String> {
    let Ok(parsed) = Url::parse(url) else { return Some(url.to_owned()).filter(|path| !path.is_empty()) };
    let host = parsed.host_str().unwrap_or_default();
    Some(format!("{host}:{:?}{}", parsed.port_or_known_default(), parsed.path().trim_end_matches('/')))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::platforms::{Credentials, CustomPlatform, IdentityPointers};

    /// A platform of an operator's own, with a server of its own but for what `change` sets.
    fn custom(name: &str, change: impl FnOnce(&mut CustomPlatform)) -> (CustomPlatform, Option<Credentials>, bool) {
        let url = |path: &str| Some(format!("https://{name}.example{path}"));
        let mut platform = CustomPlatform {
            name: name.to_owned(),
            authorize_url: url("/authorize"),
            token_url: url("/token"),
            identity_url: url("/me"),
            identity: IdentityPointers { id: "/sub".to_owned(), ..IdentityPointers::default() },
            ..CustomPlatform::default()
        };
        change(&mut platform);
        (platform, None, true)
    }

    /// A platform that is copied from another, and still points at that one's servers, would send its secrets there.
    #[test]
    fn hosts_of_built_in_platforms_belong_to_one_authority() {
        let mut owners: BTreeMap<String, Text> = BTreeMap::new();
        for platform in BUILT_IN.iter().map(|definition| definition()) {
            let (name, authority) = (&platform.name, &platform.authority);
            assert!(
                authority == name || ["google", "meta"].contains(&authority.as_ref()),
                "{name} has the authority {authority}: a platform alone at its authority is one itself"
            );
            let urls = [platform.api_url.as_ref(), platform.guide.console];
            let of_accounts = platform.identity.accounts.hosts().into_iter().flatten().map(AsRef::as_ref);
            for host in platform.servers().chain(urls).chain(of_accounts).filter_map(host) {
                let owner = owners.entry(host.clone()).or_insert_with(|| authority.clone());
                assert_eq!(owner, authority, "{name} uses {host}, which another platform uses");
            }
        }
    }

    fn revoking(name: &str, revoke_url: &str) -> (CustomPlatform, Option<Credentials>, bool) {
        custom(name, |platform| platform.revoke_url = Some(revoke_url.to_owned()))
    }

    #[test]
    fn a_revocation_reaches_who_shares_the_authority_or_the_endpoint() {
        let google = "https://oauth2.googleapis.com/revoke";
        let acme = "https://acme.example/revoke";
        let customs = vec![
            revoking("acme", acme),
            revoking("acme2", "https://ACME.example/revoke/"),
            revoking("drive", google),
            revoking("google", google),
        ];
        let registry = Registry::new(BTreeMap::new(), customs);
        for (platform, expected) in [
            ("acme", vec![("acme", true), ("acme2", false)]),
            ("bluesky", vec![]),
            ("drive", vec![("drive", true), ("google", false), ("googlebusiness", false), ("youtube", false)]),
            ("facebook", vec![("facebook", true), ("instagram", false), ("threads", false)]),
            ("google", vec![("drive", false), ("google", true), ("googlebusiness", false), ("youtube", false)]),
            ("googlebusiness", vec![("drive", false), ("google", false), ("googlebusiness", true), ("youtube", false)]),
            ("instagram", vec![]),
            ("linkedin", vec![("linkedin", true)]),
            ("tiktok", vec![("tiktok", true)]),
            ("twitter", vec![]),
            ("unknown", vec![]),
            ("youtube", vec![("drive", false), ("google", false), ("googlebusiness", false), ("youtube", false)]),
        ] {
            let reached = registry.reached_by_revocation(platform, &[]);
            let reached: Vec<_> = reached.iter().map(|reached| (reached.platform, reached.is_same_person)).collect();
            assert_eq!(reached, expected, "{platform}");
        }
    }

    #[test]
    fn a_revocation_may_reach_a_platform_that_is_not_configured() {
        let registry = Registry::new(BTreeMap::new(), vec![revoking("acme", "https://acme.example/revoke")]);
        let in_use = ["acme", "bluesky", "facebook", "gone", "youtube"].map(str::to_owned);
        for (platform, expected) in [
            ("acme", vec!["acme", "gone"]),
            ("linkedin", vec!["linkedin", "gone"]),
            ("youtube", vec!["googlebusiness", "youtube", "gone"]),
            ("bluesky", vec![]),
            ("gone", vec![]),
            ("twitter", vec![]),
        ] {
            let reached = registry.reached_by_revocation(platform, &in_use);
            assert_eq!(reached.iter().map(|reached| reached.platform).collect::<Vec<_>>(), expected, "{platform}");
            let of_gone = reached.iter().find(|reached| reached.platform == "gone");
            assert!(of_gone.is_none_or(|reached| !reached.is_same_person), "{platform}");
        }
    }

    #[test]
    fn clients_of_one_google_project_share_consents() {
        let drive = revoking("drive", "https://oauth2.googleapis.com/revoke");
        let registry = Registry::new(BTreeMap::new(), vec![drive, revoking("acme", "https://acme.example/revoke")]);
        let in_use = ["gone".to_owned()];
        // Two clients, and whether a revocation at Google and elsewhere may reach from one to the other.
        for (one, other, expected) in [
            ("12-a.apps.googleusercontent.com", "12-a.apps.googleusercontent.com", [true, true]),
            ("12-a.apps.googleusercontent.com", "12-b.apps.googleusercontent.com", [true, false]),
            ("12-a.apps.googleusercontent.com", "12.apps.googleusercontent.com", [true, false]),
            ("12-a.apps.googleusercontent.com", "123-a.apps.googleusercontent.com", [false, false]),
            ("12-a.apps.googleusercontent.com", "client", [false, false]),
            ("client", "another", [false, false]),
        ] {
            let may_reach = |platform: &str, other_platform: &str, one: &str, other: &str| {
                let reached = registry.reached_by_revocation(platform, &in_use);
                let reached = reached.iter().find(|reached| reached.platform == other_platform).unwrap();
                reached.may_share(one, other)
            };
            for (one, other) in [(one, other), (other, one)] {
                for (platform, other_platform, expected) in [
                    ("youtube", "youtube", expected[0]),
                    ("youtube", "googlebusiness", expected[0]),
                    ("googlebusiness", "drive", expected[0]),
                    ("drive", "youtube", expected[0]),
                    ("drive", "gone", expected[0]),
                    ("youtube", "gone", expected[0]),
                    ("acme", "acme", expected[1]),
                    ("acme", "gone", expected[1]),
                    ("facebook", "instagram", expected[1]),
                ] {
                    let may_reach = may_reach(platform, other_platform, one, other);
                    assert_eq!(may_reach, expected, "{platform}, {other_platform}: {one}, {other}");
                }
            }
        }
    }

    /// Sets a URL of a platform.
    type Set = fn(&mut CustomPlatform, Option<String>);

    /// The names of those that a revocation at the platform reaches besides itself.
    fn others(registry: &Registry, platform: &str) -> Vec<String> {
        let reached = registry.reached_by_revocation(platform, &[]);
        reached.iter().map(|reached| reached.platform.to_owned()).filter(|name| name != platform).collect()
    }

    #[test]
    fn a_platform_without_a_revocation_shares_the_consent_of_its_server() {
        let set = |url: &str| Some(url.to_owned());
        let acme = || revoking("acme", "https://acme.example/revoke");
        // The settings of another platform, a platform that revokes, and whether its revocation reaches the other.
        let cases: [(Set, &str, &str, bool); 17] = [
            (|of, url| of.token_url = url, "https://acme.example/token", "acme", true),
            (|of, url| of.token_url = url, "https://ACME.example:443/token/", "acme", true),
            (|of, url| of.token_url = url, "https://acme.example/realms/b/token", "acme", false),
            (|of, url| of.token_url = url, "https://acme.example:8443/token", "acme", false),
            (|of, url| of.authorize_url = url, "https://acme.example/authorize?tenant=b", "acme", true),
            (|of, url| of.identity_url = url, "https://acme.example/me", "acme", false),
            (|of, url| of.token_url = url, "https://oauth2.googleapis.com/token", "youtube", true),
            (|of, url| of.token_url = url, "https://oauth2.googleapis.com/token", "googlebusiness", true),
            (|of, url| of.authorize_url = url, "https://accounts.google.com/o/oauth2/auth", "youtube", true),
            (|of, url| of.token_url = url, "https://accounts.google.com/o/oauth2/token", "youtube", true),
            (|of, url| of.issuer = url, "https://accounts.google.com", "youtube", true),
            (|of, url| of.issuer = url, "https://accounts.google.com/", "youtube", true),
            (|of, url| of.identity_url = url, "https://www.googleapis.com/drive/v3/about", "youtube", false),
            (|of, url| of.token_url = url, "https://graph.facebook.com/v19.0/oauth/access_token", "facebook", true),
            (|of, url| of.authorize_url = url, "https://www.instagram.com/oauth/authorize", "facebook", true),
            (|of, url| of.token_url = url, "https://graph.facebook.com.evil.example/token", "facebook", false),
            (|of, url| of.token_url = url, "https://www.linkedin.com/oauth/v2/accessToken", "linkedin", true),
        ];
        for (change, url, platform, is_reached) in cases {
            let other = custom("other", |of| change(of, set(url)));
            let registry = Registry::new(BTreeMap::new(), vec![acme(), other]);
            assert_eq!(others(&registry, platform).contains(&"other".to_owned()), is_reached, "{platform}: {url}");
            assert_eq!(others(&registry, "other"), Vec::<String>::new(), "it revokes nothing: {url}");
        }
        // Two that wait for their servers' metadata have no endpoint in common.
        let issuer = |name, url: &str| {
            custom(name, |of| {
                *of = CustomPlatform { name: of.name.clone(), issuer: set(url), ..CustomPlatform::default() };
                of.revoke_url = Some(format!("https://{name}.example/revoke"));
            })
        };
        let issuers = vec![issuer("one", "https://id.example/a"), issuer("two", "https://id.example/b")];
        assert_eq!(others(&Registry::new(BTreeMap::new(), issuers), "one"), Vec::<String>::new());
        let issuers = vec![issuer("one", "https://id.example/a"), issuer("two", "https://id.example/a/")];
        assert_eq!(others(&Registry::new(BTreeMap::new(), issuers), "one"), ["two"]);
    }
}
