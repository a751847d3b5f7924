//! `Debug` texts of values that hold secrets, and the errors of a broken configuration.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use postpeer::broker::apps::{AppChange, NewApp};
use postpeer::broker::callback::Callback;
use postpeer::broker::tokens::VendedToken;
use postpeer::config::{self, Environment};
use postpeer::domain::access_key::PlainAccessKey;
use postpeer::domain::entropy::SeededEntropy;
use postpeer::domain::grant::{AuthStatus, IssuedTokens, TokenSet};
use postpeer::domain::id::{GrantId, Id as _, IntegrationId, ProjectId};
use postpeer::domain::integration::{AccountTokens, OwnTokens};
use postpeer::domain::keyring::{KeyState, WrappedKey};
use postpeer::domain::oauth_app::OauthAppChange;
use postpeer::domain::redirect::RedirectPolicy;
use postpeer::domain::renewal::Renewal;
use postpeer::domain::secret::{Digest256, Sealed, SecretString};
use postpeer::domain::time::Timestamp;
use postpeer::oauth::{AuthorizeRequest, CodeExchange};
use postpeer::platforms::Credentials;
use postpeer::vault::keyring::KeyringFile;
use postpeer::vault::{Owner, Place, Vault};

use super::assert_silent;
use super::needles::Needles;
use crate::support::{TestBroker, expose};

const MARKER: &str = "marker-3f9c2a71-of-a-secret";

fn account_tokens() -> AccountTokens {
    let sealed = || Some(Sealed::from_bytes(MARKER.as_bytes().to_vec()));
    AccountTokens {
        id: IntegrationId::from_uuid(uuid::Uuid::nil()),
        profile_id: None,
        grant_id: GrantId::from_uuid(uuid::Uuid::nil()),
        platform: "twitter".to_owned(),
        client_id: "x".to_owned(),
        platform_user_id: "1".to_owned(),
        status: AuthStatus::Active,
        lapses_at: None,
        scopes: Vec::new(),
        issued_at: Timestamp::from_millis(0),
        is_refreshed: false,
        access_expires_at: None,
        renewal: Renewal::Never,
        trouble: None,
        grant_tokens: sealed(),
        grant_generation: 1,
        own: OwnTokens { generation: 1, tokens: sealed() },
    }
}

fn needles() -> Needles {
    let mut needles = Needles::default();
    needles.add("the marker", MARKER.as_bytes());
    needles
}

fn marker() -> SecretString {
    SecretString::from(MARKER)
}

fn shown(value: &dyn Debug) -> String {
    format!("{value:?} {value:#?}")
}

#[test]
fn values_with_secrets_are_silent_about_them() {
    let needles = needles();
    let tokens = TokenSet {
        access_token: marker(),
        refresh_token: Some(marker()),
        id_token: Some(marker()),
        token_type: "Bearer".to_owned(),
        service_url: None,
    };
    let credentials = Credentials {
        client_id: "id".to_owned(),
        client_secret: marker(),
        older_secrets: vec![marker()],
        private_key: None,
    };
    let secret = marker();
    let sealed = Sealed::from_bytes(MARKER.as_bytes().to_vec());
    let values: Vec<(&str, String)> = vec![
        ("TokenSet", shown(&tokens)),
        (
            "IssuedTokens",
            shown(&IssuedTokens {
                tokens,
                issued_at: Timestamp::from_millis(0),
                access_expires_at: None,
                refresh_expires_at: None,
                scopes: None,
            }),
        ),
        ("Credentials", shown(&credentials)),
        ("Sealed", shown(&sealed)),
        ("Digest256", shown(&Digest256::of(MARKER.as_bytes()))),
        (
            "NewApp",
            shown(&NewApp {
                platform: "twitter".to_owned(),
                name: "x".to_owned(),
                client_id: "x".to_owned(),
                client_secret: marker(),
                image_url: None,
            }),
        ),
        ("AppChange", shown(&AppChange { client_secret: Some(marker()), ..AppChange::default() })),
        ("OauthAppChange", shown(&OauthAppChange { client_secret: Some(sealed), ..OauthAppChange::default() })),
        (
            "Callback",
            shown(&Callback {
                platform: "twitter".to_owned(),
                state: Some(marker()),
                code: Some(marker()),
                ..Callback::default()
            }),
        ),
        (
            "VendedToken",
            shown(&VendedToken {
                account: Arc::new(account_tokens()),
                access_token: marker(),
                token_type: "Bearer".to_owned(),
                expires_at: None,
                service_url: None,
            }),
        ),
        (
            "AuthorizeRequest",
            shown(&AuthorizeRequest {
                client_id: "id",
                redirect_uri: "http://127.0.0.1/",
                state: &secret,
                scopes: &[],
                pkce_verifier: Some(&secret),
                nonce: "",
            }),
        ),
        (
            "CodeExchange",
            shown(&CodeExchange { code: &secret, redirect_uri: "http://127.0.0.1/", pkce_verifier: Some(&secret) }),
        ),
        (
            "WrappedKey",
            shown(&WrappedKey {
                dek_id: 1,
                wrapped_by: "k".to_owned(),
                blob: MARKER.as_bytes().to_vec(),
                check_value: MARKER.as_bytes().to_vec(),
                state: KeyState::Active,
            }),
        ),
        (
            "RedirectUri",
            shown(&RedirectPolicy::default().check(&format!("https://app.example/?nonce={MARKER}")).unwrap()),
        ),
    ];
    for (name, shown) in values {
        assert!(!shown.trim().is_empty());
        assert_silent(&needles, name, shown.as_bytes());
    }
}

#[test]
fn keys_are_silent_about_themselves() {
    let entropy = SeededEntropy::new(9);
    let keyring = KeyringFile::generate(&entropy);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keyring");
    keyring.write_new(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let line = text.lines().find(|line| line.starts_with("k1")).unwrap();
    let mut needles = Needles::default();
    needles.add("the key as it is written", line.split_once(':').unwrap().1.trim().as_bytes());
    let (vault, wrapped) = Vault::initialise(&keyring, uuid::Uuid::from_u128(1), Arc::new(entropy)).unwrap();
    let [grant, other] = [1, 2].map(|id| GrantId::from_uuid(uuid::Uuid::from_u128(id)));
    let owner =
        Owner { project_id: ProjectId::from_uuid(uuid::Uuid::from_u128(3)), platform: "twitter", client_id: "c" };
    let sealed = vault.seal_text(&Place::grant_tokens(grant, 1, owner), &SecretString::from(MARKER)).unwrap();
    needles.add("the marker", MARKER.as_bytes());
    let refused = vault.open_text(&Place::grant_tokens(other, 1, owner), &sealed).unwrap_err();
    for shown in [shown(&keyring), shown(&vault), shown(&wrapped), shown(&sealed), shown(&refused), refused.to_string()]
    {
        assert_silent(&needles, &shown, shown.as_bytes());
    }
    // The error about a damaged keyring names the line, not its content.
    std::fs::write(&path, text.replace(':', ";")).unwrap();
    let error = KeyringFile::load(&path).unwrap_err();
    assert_silent(&needles, "a damaged keyring", format!("{error} {}", shown(&error)).as_bytes());

    let key = PlainAccessKey::generate(&SeededEntropy::new(10));
    let silent = shown(&key);
    let mut needles = Needles::default();
    needles.add("the access key", expose(&key.into_secret()).as_bytes());
    assert_silent(&needles, "PlainAccessKey", silent.as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_silent_about_its_secrets() {
    let needles = needles();
    let toml = format!("[platforms.twitter]\nclient_id = \"id\"\nclient_secret = \"{MARKER}\"\n");
    let environment: Environment =
        [("POSTPEER_PLATFORMS__TIKTOK__CLIENT_ID", "id"), ("POSTPEER_PLATFORMS__TIKTOK__CLIENT_SECRET", MARKER)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
    let config = config::from_str("test", &toml, Path::new("/"), &environment).unwrap();
    for name in ["twitter", "tiktok"] {
        let credentials = config.platforms.find(name).unwrap().credentials.as_ref().unwrap();
        assert_eq!(expose(&credentials.client_secret), MARKER, "{name}");
    }
    assert_silent(&needles, "Config", shown(&config).as_bytes());
    assert_silent(&needles, "Environment", shown(&environment).as_bytes());
    let broker = TestBroker::builder().toml("").start().await;
    assert_silent(&needles, "Broker", shown(&broker.config()).as_bytes());
}

#[test]
fn a_mistake_in_a_configuration_does_not_repeat_a_secret() {
    let needles = needles();
    let section = "[platforms.twitter]\nclient_id = \"id\"\n";
    let mistakes = [
        format!("{section}client_secret = [\"{MARKER}\"]\n"),
        format!("{section}client_secret = {{ value = \"{MARKER}\" }}\n"),
        format!("{section}client_secrett = \"{MARKER}\"\n"),
        format!("{section}client_secret = \"{MARKER}\nscopes = []\n"),
        format!("{section}client_secret = {MARKER}\n"),
        format!("{section}client_secret = \"{MARKER}\"\nclient_secret = \"{MARKER}\"\n"),
        format!("{section}client_secret = \"{MARKER}\"\nclient_secret_file = \"/nowhere\"\n"),
        format!("{section}client_secret = \"\"\"\n{MARKER}\n"),
        format!("[platforms.twitter]\nclient_secret = \"{MARKER}\"\n"),
        format!("[platforms]\ntwitter = \"{MARKER}\"\n"),
        format!("client_secret = \"{MARKER}\"\n"),
    ];
    for toml in &mistakes {
        let error = config::from_str("test", toml, Path::new("/"), &Environment::default()).unwrap_err();
        let text = format!("{error} {}", shown(&error));
        assert_silent(&needles, &text, text.as_bytes());
    }
    let environment = |name: &str| -> Environment { [(name.to_owned(), MARKER.to_owned())].into_iter().collect() };
    for name in [
        "POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET",
        "POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRETT",
        "POSTPEER_PLATFORMS__TWITTER",
        "POSTPEER_PLATFORMS_TWITTER__CLIENT_SECRET",
        "POSTPEER_PLATFORMS__TWITTER_CLIENT_SECRET",
        "POSTPEER_CLIENT__SECRET",
    ] {
        let result = config::from_str("test", "", Path::new("/"), &environment(name));
        let text = match result {
            Ok(config) => shown(&config),
            Err(error) => format!("{error} {}", shown(&error)),
        };
        assert_silent(&needles, name, text.as_bytes());
    }
}
