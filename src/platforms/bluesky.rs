//! Bluesky: no OAuth app and no redirect, but app passwords (<https://atproto.com/specs/xrpc#app-passwords>).
//!
//! It is not a [`Platform`](super::Platform): it has no OAuth endpoints, so the OAuth engine never sees it.

use jiff::civil::date;
use serde_json::Value;

use super::{Blame, Facts, Guide, handle, metadata};
use crate::domain::account::Account;
use crate::domain::bounds;

/// As in URLs and configuration.
pub const NAME: &str = "bluesky";

/// Texts for operators.
pub const GUIDE: Guide = Guide {
    connects: "Bluesky and other servers of the AT Protocol",
    know: "no app and no redirect: handle and app password go to `POST /v1/connect/bluesky/auth`; the password is not kept",
    credentials: "",
    console: "",
    facts: Some(&Facts {
        as_of: date(2026, 11, 26),
        code: "none: there is no redirect",
        access_token: "2 hours at the reference server",
        refresh: "90 days at the reference server, from each refresh; the one before stays good for 2 hours",
        versions: &[],
    }),
    setup: &[],
    keys: &[],
};

/// Stands for the client id in every grant, since there is no OAuth app.
pub const CLIENT_ID: &str = "bluesky";

/// The operator's settings for Bluesky.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bluesky {
    pub enabled: bool,
    /// Name shown to people.
    pub label: String,
    /// Resolves handles that do not resolve themselves, and shows public profiles; without a trailing slash.
    pub resolver_url: String,
    /// The directory of did:plc; without a trailing slash.
    pub plc_url: String,
    /// The operator's meanings of codes that servers refuse with.
    pub errors: Vec<(String, Blame)>,
}

impl Default for Bluesky {
    fn default() -> Self {
        Self {
            enabled: true,
            label: "Bluesky".to_owned(),
            resolver_url: "https://public.api.bsky.app".to_owned(),
            plc_url: "https://plc.directory".to_owned(),
            errors: Vec::new(),
        }
    }
}

/// Makes the account of a DID. `profile` is the answer of `app.bsky.actor.getProfile`.
#[must_use]
pub fn account(did: &str, name: Option<&str>, service_url: &str, profile: Option<&Value>) -> Account {
    let text = |member: &str| {
        let text = profile?.get(member)?.as_str()?.trim();
        (!text.is_empty()).then(|| text.to_owned())
    };
    Account {
        platform_user_id: did.to_owned(),
        username: name.and_then(handle),
        display_name: text("displayName").as_deref().and_then(bounds::name).or_else(|| name.map(str::to_owned)),
        profile_url: Some(format!("https://bsky.app/profile/{}", name.unwrap_or(did))),
        image_url: text("avatar").filter(|url| bounds::is_web_url(url)),
        metadata: metadata([
            ("did", Some(did.to_owned())),
            ("serviceUrl", Some(service_url.trim_end_matches('/').to_owned())),
        ]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

    #[test]
    fn an_account_has_what_its_profile_says() {
        let profile =
            json!({"did": DID, "handle": "x", "displayName": " Alice ", "avatar": "https://cdn.example/a.jpg"});
        let account = account(DID, Some("alice.bsky.social"), "https://pds.host/", Some(&profile));
        insta::assert_debug_snapshot!(account, @r#"
        Account {
            platform_user_id: "did:plc:ewvi7nxzyoun6zhxrhs64oiz",
            username: Some(
                "@alice.bsky.social",
            ),
            display_name: Some(
                "Alice",
            ),
            profile_url: Some(
                "https://bsky.app/profile/alice.bsky.social",
            ),
            image_url: Some(
                "https://cdn.example/a.jpg",
            ),
            metadata: {
                "did": String("did:plc:ewvi7nxzyoun6zhxrhs64oiz"),
                "serviceUrl": String("https://pds.host"),
            },
        }
        "#);
    }

    #[test]
    fn without_a_profile_the_handle_or_the_did_is_the_name() {
        let named = account(DID, Some("alice.bsky.social"), "https://pds.host", None);
        assert_eq!(named.label(), "alice.bsky.social");
        let nameless =
            account(DID, None, "https://pds.host", Some(&json!({"displayName": "", "avatar": "javascript:x"})));
        assert_eq!(nameless.label(), DID);
        assert_eq!((nameless.username, nameless.image_url), (None, None));
        assert_eq!(nameless.profile_url.unwrap(), format!("https://bsky.app/profile/{DID}"));
        let long = json!({"displayName": "a".repeat(641)});
        let account = account(DID, Some("alice.bsky.social"), "https://pds.host", Some(&long));
        assert_eq!(account.label(), "a".repeat(200));
    }
}
