//! Presets against the answers that the servers' documentation records, on a local server in place of theirs.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::any_server::{AnyServer, come_back};
use crate::stand_in::{answer as whole, json as answer};
use crate::support::{TestBroker, parameter};

/// `id:secret`, in the header.
const BASIC: &str = "Basic aWQ6c2VjcmV0";

struct Recorded {
    preset: &'static str,
    /// Answers of the token and the identity endpoint. Documents with them stand above the preset in
    /// `src/platforms/presets.toml`.
    tokens: &'static str,
    identity: &'static str,
    /// Id, user name and name of the account.
    account: [Option<&'static str>; 3],
    /// The access token and its scopes.
    token: (&'static str, &'static [&'static str]),
    /// Parameters of the authorize URL.
    authorize: &'static [(&'static str, &'static str)],
    /// The way in which the client authenticates.
    is_basic: bool,
    /// Method and further header of the identity call.
    asked: (&'static str, Option<(&'static str, &'static str)>),
    /// The token that a disconnect revokes.
    revoked: Option<&'static str>,
}

const USUAL: Recorded = Recorded {
    preset: "",
    tokens: "",
    identity: "",
    account: [None; 3],
    token: ("", &[]),
    authorize: &[],
    is_basic: true,
    asked: ("GET", None),
    revoked: None,
};

const RECORDED: &[Recorded] = &[
    Recorded {
        preset: "discord",
        tokens: r#"{"access_token":"6qrZcUqja7812RVdnEKjpzOL4CvHBFG","token_type":"Bearer","expires_in":604800,
            "refresh_token":"D43f5y0ahjqew82jZ4NViEr2YafMKhue","scope":"identify"}"#,
        identity: r#"{"id":"80351110224678912","username":"nelly","discriminator":"1337",
            "avatar":"8342729096ea3675442027381ff50dfe","global_name":"Nelly","verified":true}"#,
        account: [Some("80351110224678912"), Some("nelly"), Some("Nelly")],
        token: ("6qrZcUqja7812RVdnEKjpzOL4CvHBFG", &["identify"]),
        authorize: &[("scope", "identify"), ("code_challenge_method", "S256")],
        revoked: Some("D43f5y0ahjqew82jZ4NViEr2YafMKhue"),
        ..USUAL
    },
    Recorded {
        preset: "dropbox",
        tokens: r#"{"access_token":"sl.u.AbX9y6Fe3AuH5o66","expires_in":14400,"token_type":"bearer",
            "scope":"account_info.read","refresh_token":"nBiM85CZALsAAAAAAAAAAQXHBoNpN","uid":"12345",
            "account_id":"dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"}"#,
        identity: r#"{"account_id":"dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc","name":{"given_name":"Franz",
            "surname":"Ferdinand","display_name":"Franz Ferdinand (Personal)"},"email":"franz@dropbox.com",
            "email_verified":true,"disabled":false}"#,
        account: [
            Some("dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc"),
            Some("franz@dropbox.com"),
            Some("Franz Ferdinand (Personal)"),
        ],
        token: ("sl.u.AbX9y6Fe3AuH5o66", &["account_info.read"]),
        authorize: &[("token_access_type", "offline"), ("force_reapprove", "true"), ("scope", "account_info.read")],
        asked: ("POST", None),
        ..USUAL
    },
    Recorded {
        preset: "github",
        // As the broker asks for it; a form without `Accept`, which is read as well.
        tokens: r#"{"access_token":"gho_16C7e42F292c6912E7710c838347Ae178B4a","scope":"read:user,gist",
            "token_type":"bearer"}"#,
        identity: r#"{"login":"octocat","id":1,"node_id":"MDQ6VXNlcjE=",
            "avatar_url":"https://github.com/images/error/octocat_happy.gif","name":"monalisa octocat"}"#,
        account: [Some("1"), Some("octocat"), Some("monalisa octocat")],
        token: ("gho_16C7e42F292c6912E7710c838347Ae178B4a", &["read:user", "gist"]),
        authorize: &[("scope", "read:user"), ("code_challenge_method", "S256")],
        is_basic: false,
        ..USUAL
    },
    Recorded {
        preset: "notion",
        tokens: r#"{"access_token":"secret_e202e8c9-0990","token_type":"bearer","refresh_token":"nrt_4991","bot_id":
            "16d84278-ab0e-484c-9bdd-b35da3bd8905","duplicated_template_id":null,"owner":{"workspace":true},
            "workspace_icon":"https://website.domain/images/image.png","workspace_name":"Ada's Notion Workspace"}"#,
        identity: r#"{"object":"user","id":"16d84278-ab0e-484c-9bdd-b35da3bd8905","name":"pied piper","avatar_url":null,
            "type":"bot","bot":{"owner":{"type":"user","user":{"object":"user","id":"5389a034-eb5c-47b5-8a9e-f79c99ef166c",
            "name":"christine makenotion","type":"person"}},"workspace_name":"Ada Lovelace's Notion"}}"#,
        account: [
            Some("16d84278-ab0e-484c-9bdd-b35da3bd8905"),
            Some("christine makenotion"),
            Some("Ada Lovelace's Notion"),
        ],
        token: ("secret_e202e8c9-0990", &[]),
        authorize: &[("owner", "user")],
        asked: ("GET", Some(("notion-version", "2022-06-28"))),
        ..USUAL
    },
    Recorded {
        preset: "slack",
        tokens: r#"{"ok":true,"app_id":"A0KRD7HC3","authed_user":{"id":"U1234","scope":"chat:write,users:read",
            "access_token":"xoxp-1234","token_type":"user"},"team":{"id":"T9TK3CUKW","name":"Slack Softball Team"}}"#,
        identity: r#"{"ok":true,"url":"https://subarachnoid.slack.com/","team":"Subarachnoid Workspace","user":"grace",
            "team_id":"T12345678","user_id":"U1234"}"#,
        account: [Some("U1234"), Some("grace"), Some("grace")],
        token: ("xoxp-1234", &["chat:write", "users:read"]),
        authorize: &[("user_scope", "users:read")],
        asked: ("POST", None),
        ..USUAL
    },
    Recorded {
        preset: "spotify",
        tokens: r#"{"access_token":"NgCXRK...MzYjw","token_type":"Bearer","scope":"user-read-private user-read-email",
            "expires_in":3600,"refresh_token":"NgAagA...Um_SHo"}"#,
        identity: r#"{"display_name":"Smedjan","id":"smedjan","images":[{"url":"https://i.scdn.co/image/ab67","height":300,
            "width":300}],"product":"premium","type":"user","uri":"spotify:user:smedjan"}"#,
        account: [Some("smedjan"), Some("smedjan"), Some("Smedjan")],
        token: ("NgCXRK...MzYjw", &["user-read-private", "user-read-email"]),
        authorize: &[("scope", "user-read-private"), ("show_dialog", "true")],
        ..USUAL
    },
    Recorded {
        preset: "strava",
        tokens: r#"{"token_type":"Bearer","expires_at":4070908800,"expires_in":21600,"refresh_token":"e5n567567",
            "access_token":"a4b945687g","athlete":{"id":1234567890987654321}}"#,
        identity: r#"{"id":1234567890987654321,"username":"marianne_t","resource_state":3,"firstname":"Marianne",
            "lastname":"Teutenberg","profile":"https://xxxxxx.cloudfront.net/pictures/athletes/large.jpg"}"#,
        account: [Some("1234567890987654321"), Some("marianne_t"), Some("Marianne")],
        token: ("a4b945687g", &["read"]),
        authorize: &[("scope", "read"), ("approval_prompt", "force")],
        is_basic: false,
        ..USUAL
    },
    Recorded {
        preset: "twitch",
        tokens: r#"{"access_token":"rfx2uswqe8l4g1mkagrvg5tv0ks3","expires_in":14124,
            "refresh_token":"5b93chm6hdve3mycz05zfzatkfdenfspp1h1ar2xxdalen01","scope":["user:read:email"],
            "token_type":"bearer"}"#,
        identity: r#"{"data":[{"id":"141981764","login":"twitchdev","display_name":"TwitchDev","type":"",
            "profile_image_url":"https://static-cdn.jtvnw.net/jtv_user_pictures/8a6381c7.png"}]}"#,
        account: [Some("141981764"), Some("twitchdev"), Some("TwitchDev")],
        token: ("rfx2uswqe8l4g1mkagrvg5tv0ks3", &["user:read:email"]),
        authorize: &[("scope", "user:read:email"), ("force_verify", "true")],
        is_basic: false,
        asked: ("GET", Some(("client-id", "id"))),
        revoked: Some("rfx2uswqe8l4g1mkagrvg5tv0ks3"),
    },
    Recorded {
        preset: "zoom",
        tokens: r#"{"access_token":"eyJhbGciOiJIUzUxMiJ9","token_type":"bearer","refresh_token":"eyJhbGciOiJIUzUxMiK0",
            "expires_in":3599,"scope":"user:read:user","api_url":"https://api.zoom.us"}"#,
        identity: r#"{"id":"KDcuGIm1QgePTO8WbOqwIQ","first_name":"Jill","last_name":"Chill","display_name":"Jill Chill",
            "email":"jchill@example.com","type":2,"pic_url":"https://zoom.us/p/v2/KDcu"}"#,
        account: [Some("KDcuGIm1QgePTO8WbOqwIQ"), Some("jchill@example.com"), Some("Jill Chill")],
        token: ("eyJhbGciOiJIUzUxMiJ9", &["user:read:user"]),
        authorize: &[("code_challenge_method", "S256")],
        revoked: Some("eyJhbGciOiJIUzUxMiJ9"),
        ..USUAL
    },
];

async fn server() -> AnyServer {
    let answers: BTreeMap<String, &str> = RECORDED
        .iter()
        .flat_map(|recorded| {
            let Recorded { preset, tokens, identity, .. } = recorded;
            [(format!("/{preset}/token"), *tokens), (format!("/{preset}/me"), *identity)]
        })
        .collect();
    AnyServer::start(move |asked, _| answer(answers.get(&asked.path).unwrap_or(&""))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_preset_connects_by_the_recorded_answers() {
    let server = server().await;
    let url = &server.url;
    let section = |Recorded { preset, revoked, .. }: &Recorded| {
        let revoke_url = revoked.map_or_else(String::new, |_| format!("revoke_url = \"{url}/{preset}/revoke\"\n"));
        format!(
            "[platforms.{preset}]\npreset = \"{preset}\"\nclient_id = \"id\"\nclient_secret = \"secret\"\n\
             token_url = \"{url}/{preset}/token\"\nidentity_url = \"{url}/{preset}/me\"\n{revoke_url}"
        )
    };
    let broker = TestBroker::builder().toml(&RECORDED.iter().map(section).collect::<String>()).start().await;
    for recorded in RECORDED {
        let preset = recorded.preset;
        let (authorize, location) = come_back(&broker, preset, "code=c&state={state}").await;
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{preset}: {location}"));
        for (name, value) in recorded.authorize {
            assert_eq!(parameter(&authorize, name).as_deref(), Some(*value), "{preset}: {authorize}");
        }
        let detail = broker.detail(&id).await;
        let account = ["platformUserId", "username", "displayName"].map(|key| detail[key].as_str());
        assert_eq!(account, recorded.account, "{preset}");
        let token = broker.token(&id, "").await.json;
        let (access_token, scopes) = recorded.token;
        assert_eq!((&token["accessToken"], &token["scopes"]), (&json!(access_token), &json!(scopes)), "{preset}");
        assert_eq!(token["tokenType"], "Bearer", "{preset}");

        let asked = server.asked();
        let [exchange, identity] = asked.as_slice() else { panic!("{preset}: {asked:?}") };
        assert_eq!(exchange.header("accept"), "application/json", "{preset}");
        if recorded.is_basic {
            assert_eq!(exchange.header("authorization"), BASIC, "{preset}");
        } else {
            assert_eq!(exchange.field("client_secret").as_deref(), Some("secret"), "{preset}");
        }
        let is_json = exchange.header("content-type") == "application/json";
        assert_eq!(is_json, preset == "notion");
        if is_json {
            let body: Value = serde_json::from_str(&exchange.body).unwrap();
            assert_eq!((&body["grant_type"], &body["code"]), (&json!("authorization_code"), &json!("c")));
        }
        let (method, header) = recorded.asked;
        assert_eq!((identity.method.as_str(), identity.body.as_str()), (method, ""), "{preset}");
        assert_eq!(identity.header("authorization"), format!("Bearer {access_token}"), "{preset}");
        if let Some((name, value)) = header {
            assert_eq!(identity.header(name), value, "{preset}");
        }

        let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
        assert_eq!(gone.status, 200, "{preset}: {}", gone.text);
        let revoked: Vec<_> = server.asked().iter().map(|asked| asked.field("token")).collect();
        let expected: Vec<_> = recorded.revoked.iter().map(|token| Some((*token).to_owned())).collect();
        assert_eq!(revoked, expected, "{preset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_that_a_server_refuses_is_blamed_as_it_documents() {
    const ACCOUNT: &str = "reconnect_required";
    for (preset, status, refusal, auth_status, code) in [
        ("discord", 400, r#"{"error":"invalid_grant"}"#, ACCOUNT, "refresh_rejected"),
        ("dropbox", 400, r#"{"error":"invalid_grant","error_description":"x"}"#, ACCOUNT, "refresh_rejected"),
        ("github", 200, r#"{"error":"bad_refresh_token","error_uri":"x"}"#, ACCOUNT, "refresh_rejected"),
        ("github", 200, r#"{"error":"incorrect_client_credentials"}"#, "active", "credentials_rejected"),
        ("slack", 200, r#"{"ok":false,"error":"invalid_refresh_token"}"#, ACCOUNT, "refresh_rejected"),
        ("slack", 200, r#"{"ok":false,"error":"bad_client_secret"}"#, "active", "credentials_rejected"),
        ("slack", 200, r#"{"ok":false,"error":"token_revoked"}"#, ACCOUNT, "refresh_rejected"),
        ("slack", 200, r#"{"ok":false,"error":"ratelimited"}"#, "active", "platform_throttled"),
        (
            "spotify",
            400,
            r#"{"error":"invalid_grant","error_description":"Refresh token revoked"}"#,
            ACCOUNT,
            "refresh_rejected",
        ),
        (
            "strava",
            400,
            r#"{"message":"Bad Request","errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}"#,
            ACCOUNT,
            "refresh_rejected",
        ),
        (
            "strava",
            401,
            r#"{"message":"Authorization Error","errors":[{"resource":"Application","field":"","code":"invalid"}]}"#,
            "active",
            "credentials_rejected",
        ),
        (
            "strava",
            429,
            r#"{"message":"Rate Limit Exceeded","errors":[{"resource":"Application","field":"rate limit","code":"exceeded"}]}"#,
            "active",
            "platform_throttled",
        ),
        (
            "strava",
            503,
            r#"{"errors":[{"resource":"RefreshToken","field":"refresh_token","code":"invalid"}]}"#,
            "active",
            "platform_unavailable",
        ),
        (
            "twitch",
            400,
            r#"{"error":"Bad Request","status":400,"message":"Invalid refresh token"}"#,
            ACCOUNT,
            "refresh_rejected",
        ),
        ("zoom", 400, r#"{"reason":"Invalid Token!","error":"invalid_request"}"#, ACCOUNT, "refresh_rejected"),
    ] {
        let identity = RECORDED.iter().find(|recorded| recorded.preset == preset).unwrap().identity;
        let server = AnyServer::start(move |asked, _| match asked.path.as_str() {
            "/token" if asked.field("code").is_some() => answer(if preset == "slack" {
                r#"{"ok":true,"authed_user":{"access_token":"a","refresh_token":"r","expires_in":3600}}"#
            } else {
                r#"{"access_token":"a","refresh_token":"r","expires_in":3600}"#
            }),
            "/token" => whole(status, "", refusal.as_bytes()),
            _ => answer(identity),
        })
        .await;
        let url = &server.url;
        let section = format!(
            "[platforms.{preset}]\npreset = \"{preset}\"\nclient_id = \"id\"\nclient_secret = \"secret\"\n\
             token_url = \"{url}/token\"\nidentity_url = \"{url}/me\"\n"
        );
        let broker = TestBroker::builder().toml(&section).start().await;
        let (_, location) = come_back(&broker, preset, "code=c&state={state}").await;
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{preset}: {location}"));
        broker.clock.advance(Duration::from_hours(1));
        assert_eq!(broker.refresh_due().await, 0, "{preset} {refusal}");
        let detail = broker.detail(&id).await;
        assert_eq!(
            (&detail["authStatus"], &detail["health"]["lastError"]["code"]),
            (&json!(auth_status), &json!(code)),
            "{preset} {refusal}: {detail}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_of_the_identity_call_that_comes_with_200_passes_like_others() {
    for (refusal, told) in [
        (r#"{"ok":false,"error":"fatal_error"}"#, None),
        (r#"{"ok":false,"error":"ratelimited"}"#, None),
        (r#"{"ok":false,"error":"missing_scope"}"#, Some("permission_missing")),
    ] {
        let slack = RECORDED.iter().find(|recorded| recorded.preset == "slack").unwrap();
        let refusals = AtomicU32::new(0);
        let server = AnyServer::start(move |asked, _| match asked.path.as_str() {
            "/token" => answer(slack.tokens),
            _ if refusals.fetch_add(1, Ordering::Relaxed) == 0 => answer(refusal),
            _ => answer(slack.identity),
        })
        .await;
        let url = &server.url;
        let section = format!(
            "[platforms.slack]\nclient_id = \"id\"\nclient_secret = \"secret\"\ntoken_url = \"{url}/token\"\n\
             identity_url = \"{url}/me\"\n"
        );
        let broker = TestBroker::builder().toml(&section).start().await;
        let (_, location) = come_back(&broker, "slack", "code=c&state={state}").await;
        assert_eq!(parameter(&location, "error").as_deref(), told, "{refusal}: {location}");
        assert_eq!(parameter(&location, "integrationId").is_some(), told.is_none(), "{refusal}: {location}");
        let calls = server.asked().iter().filter(|asked| asked.path == "/me").count();
        assert_eq!(calls, if told.is_none() { 2 } else { 1 }, "{refusal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presets_with_an_issuer_connect_by_their_discovery_documents() {
    // https://accounts.google.com/.well-known/openid-configuration and
    // https://gitlab.com/.well-known/openid-configuration, under the local server's host.
    let server = AnyServer::start(|asked, url| match asked.path.as_str() {
        "/google/.well-known/openid-configuration" => answer(
            &json!({
                "issuer": format!("{url}/google"),
                "authorization_endpoint": format!("{url}/google/o/oauth2/v2/auth"),
                "token_endpoint": format!("{url}/google/token"),
                "userinfo_endpoint": format!("{url}/google/v1/userinfo"),
                "revocation_endpoint": format!("{url}/google/revoke"),
                "jwks_uri": format!("{url}/google/oauth2/v3/certs"),
                "id_token_signing_alg_values_supported": ["RS256"],
                "scopes_supported": ["openid", "email", "profile"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "code_challenge_methods_supported": ["plain", "S256"],
            })
            .to_string(),
        ),
        "/gitlab/.well-known/openid-configuration" => answer(
            &json!({
                "issuer": format!("{url}/gitlab"),
                "authorization_endpoint": format!("{url}/gitlab/oauth/authorize"),
                "token_endpoint": format!("{url}/gitlab/oauth/token"),
                "userinfo_endpoint": format!("{url}/gitlab/oauth/userinfo"),
                "revocation_endpoint": format!("{url}/gitlab/oauth/revoke"),
                "jwks_uri": format!("{url}/gitlab/oauth/discovery/keys"),
                "scopes_supported": ["api", "read_user", "openid", "profile", "email"],
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
                "id_token_signing_alg_values_supported": ["RS256"],
            })
            .to_string(),
        ),
        "/google/token" | "/gitlab/oauth/token" => answer(
            r#"{"access_token":"1/fFAGRNJru1FTz70BzhT3Zg","expires_in":3920,"token_type":"Bearer",
               "scope":"openid profile","refresh_token":"1//xEoDL4iW3cxlI7yDbSRFYNG01kVKM2C"}"#,
        ),
        "/google/v1/userinfo" => answer(r#"{"sub":"110248495921238986420","name":"Elisa G Beckett"}"#),
        "/gitlab/oauth/userinfo" => answer(r#"{"sub":"2","name":"Administrator","preferred_username":"root"}"#),
        _ => answer(""),
    })
    .await;
    let url = &server.url;
    let section = |preset: &str| {
        format!(
            "[platforms.{preset}]\npreset = \"{preset}\"\nissuer = \"{url}/{preset}\"\nclient_id = \"id\"\nclient_secret = \"secret\"\n"
        )
    };
    let broker = TestBroker::builder().toml(&(section("google") + &section("gitlab"))).start().await;
    for (preset, authorize, account) in [
        (
            "google",
            &[("access_type", "offline"), ("prompt", "consent"), ("scope", "openid profile email")][..],
            ["110248495921238986420", "Elisa G Beckett"],
        ),
        ("gitlab", &[("scope", "openid profile"), ("code_challenge_method", "S256")], ["2", "Administrator"]),
    ] {
        let (url, location) = come_back(&broker, preset, "code=c&state={state}").await;
        for (name, value) in authorize {
            assert_eq!(parameter(&url, name).as_deref(), Some(*value), "{preset}: {url}");
        }
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{preset}: {location}"));
        let detail = broker.detail(&id).await;
        assert_eq!(["platformUserId", "displayName"].map(|key| detail[key].as_str().unwrap()), account, "{preset}");
    }
}
