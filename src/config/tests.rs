//! Valid and invalid configurations, with the messages about the invalid ones.

mod console;
mod meant;
mod own_platforms;
mod places;

use std::path::Path;

use secrecy::ExposeSecret as _;

use super::*;
use crate::domain::secret::SecretString;
use crate::platforms::{Accounts, Availability, Revocation};

pub(super) fn read(toml: &str) -> Result<Config, Error> {
    read_with(toml, &Environment::default())
}

pub(super) fn read_with(toml: &str, environment: &Environment) -> Result<Config, Error> {
    from_str("postpeer.toml", toml, Path::new("/etc/postpeer"), environment)
}

#[expect(clippy::disallowed_methods, reason = "these tests are about reading secrets")]
pub(super) fn plain(secret: &SecretString) -> &str {
    secret.expose_secret()
}

#[track_caller]
pub(super) fn complaint(toml: &str) -> String {
    read(toml).map(|config| config.server.public_url).unwrap_err().to_string()
}

#[track_caller]
fn complaint_with<const N: usize>(toml: &str, environment: [(&str, &str); N]) -> String {
    read_with(toml, &Environment::from(environment)).map(|config| config.server.public_url).unwrap_err().to_string()
}

#[test]
fn an_empty_file_configures_a_broker_on_loopback() {
    let config = read("").unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.public_url, "http://127.0.0.1:8080");
    assert_eq!(config.server.metrics_listen, None);
    assert_eq!(config.database, Path::new("/etc/postpeer/postpeer.db"));
    assert_eq!(config.keyring, Path::new("/etc/postpeer/postpeer.keyring"));
    assert_eq!(config.connect.state_ttl.as_secs(), 600);
    assert_eq!(config.connect.selection_ttl.as_secs(), 600);
    assert_eq!(config.refresh.ahead.as_secs(), 900);
    assert_eq!(config.refresh.concurrency, 32);
    assert!(config.refresh.enabled);
    assert_eq!(config.outbound.connect_timeout.as_secs(), 5);
    assert_eq!(config.outbound.timeout.as_secs(), 15);
    assert!(!config.outbound.allow_private_networks);
    assert_eq!(config.log, LogSettings { format: LogFormat::Text, level: LogLevel::Info });
    assert!(config.platforms.iter().all(|platform| platform.availability() == Availability::Dev));
    assert_eq!(config.platforms.bluesky().unwrap().plc_url, "https://plc.directory");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn backups_are_scheduled_where_the_section_is_there() {
    assert!(read("").unwrap().backup.is_none());
    let schedule = |backup: Backup| (backup.dir, backup.every.as_secs(), backup.keep);
    let of = |toml: &str| read(toml).unwrap().backup.map(schedule);
    assert_eq!(of("[backup]"), Some(("/etc/postpeer/backups".into(), 86_400, 7)));
    let all = "[backup]\ndir = \"/mnt/b\"\nevery = \"90m\"\nkeep = 30";
    assert_eq!(of(all), Some(("/mnt/b".into(), 5_400, 30)));
    let environment = Environment::from([("POSTPEER_BACKUP__EVERY", "2d")]);
    let from_environment = read_with("", &environment).unwrap().backup.map(schedule);
    assert_eq!(from_environment, Some(("/etc/postpeer/backups".into(), 172_800, 7)));
    for wrong in ["\"24\"", "24", "\"0h\"", "\"59s\"", "\"367d\"", "\"daily\""] {
        let said = complaint(&format!("[backup]\nevery = {wrong}"));
        assert!(said.contains("backup.every"), "{wrong}: {said}");
    }
    for wrong in ["0", "-1", "1001", "\"many\""] {
        assert!(complaint(&format!("[backup]\nkeep = {wrong}")).contains("backup.keep"), "{wrong}");
    }
    assert!(complaint("[backup]\never = \"1h\"").contains("did you mean backup.every?"));
    let warnings = read("[backup]\ndir = \".\"").unwrap().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("holds the keyring"), "{warnings:?}");
}

#[test]
fn the_environment_overrides_the_file() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n[connect]\nstate_ttl_seconds = 10\nselection_ttl_seconds = 10\n\
                [refresh]\nahead_seconds = 10";
    let environment = Environment::from([
        ("POSTPEER_CONNECT__STATE_TTL_SECONDS", "20"),
        ("POSTPEER_CONNECT__SELECTION_TTL_SECONDS", "20"),
        ("POSTPEER_CONNECT__ALLOWED_REDIRECTS", "https://a.example, https://b.example/x"),
        ("POSTPEER_OUTBOUND__ALLOW_PRIVATE_NETWORKS", "true"),
        ("POSTPEER_REFRESH__AHEAD_SECONDS", ""),
        ("POSTPEER_CONFIG", "elsewhere"),
        ("POSTPEER_SERVICE_HOST", "10.0.0.1"),
        ("POSTPEER_PORT_8080_TCP_ADDR", "10.0.0.1"),
    ]);
    let config = from_str("postpeer.toml", file, Path::new(""), &environment).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:1");
    assert_eq!(config.connect.state_ttl.as_secs(), 20);
    assert_eq!(config.connect.selection_ttl.as_secs(), 20);
    assert_eq!(config.refresh.ahead.as_secs(), 10, "an empty variable counts as unset");
    assert!(config.outbound.allow_private_networks);
    assert!(config.connect.redirects.check("https://b.example/x/y").is_ok());
    assert!(config.connect.redirects.check("https://b.example/y").is_err());
}

#[test]
fn built_in_platforms_accept_credentials_and_other_endpoints() {
    let config = read_with(
        r#"
        [platforms.twitter]
        client_id = "from-file"
        scopes = ["users.read"]
        token_url = "http://127.0.0.1:9/token"
        api_url = "http://127.0.0.1:9/"
        [platforms.tiktok]
        enabled = false
        [platforms.facebook]
        api_version = "v26.0"
        token_url = "http://127.0.0.1:9/{version}/token"
        [platforms.googlebusiness]
        api_url = "http://127.0.0.1:9/"
        [platforms.bluesky]
        plc_url = "http://127.0.0.1:9/plc/"
        "#,
        // A client id of digits stays text.
        &Environment::from([
            ("POSTPEER_PLATFORMS__TWITTER__CLIENT_ID", "0123456789"),
            ("POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET", "1e5"),
        ]),
    )
    .unwrap();
    let twitter = config.platforms.find("twitter").unwrap();
    let credentials = twitter.credentials.as_ref().unwrap();
    assert_eq!(credentials.client_id, "0123456789");
    assert_eq!(plain(&credentials.client_secret), "1e5");
    assert_eq!(twitter.platform().scopes, ["users.read"]);
    assert_eq!(twitter.platform().token_url, "http://127.0.0.1:9/token");
    assert_eq!(twitter.platform().api_url, "http://127.0.0.1:9");
    assert!(config.platforms.find("tiktok").is_none());
    let facebook = config.platforms.find("facebook").unwrap().platform();
    assert_eq!(facebook.authorize_url, "https://www.facebook.com/v26.0/dialog/oauth");
    assert_eq!(facebook.token_url, "http://127.0.0.1:9/v26.0/token");
    assert_eq!(
        facebook.revocation,
        Revocation::Delete { url: "https://graph.facebook.com/v26.0/me/permissions".into() }
    );
    let google = config.platforms.find("googlebusiness").unwrap().platform();
    assert_eq!(google.api_url, "http://127.0.0.1:9");
    let [accounts_url, locations_url] = ["http://127.0.0.1:9"; 2].map(Into::into);
    assert_eq!(google.identity.accounts, Accounts::GoogleLocations { accounts_url, locations_url });
    assert_eq!(config.platforms.bluesky().unwrap().plc_url, "http://127.0.0.1:9/plc");
}

#[test]
fn all_mistakes_are_reported_with_place_and_remedy() {
    let told = complaint_with(
        r#"
        sever = 1
        [server]
        listen = "localhost"
        public_ulr = "https://connect.example.com"
        allowed_redirects = []
        trusted_proxies = ["10.0.0.0/8", "everyone"]
        [connect]
        state_ttl_seconds = "600"
        allowed_redirects = ["http://app.example", "https://ok.example", "app"]
        [log]
        format = "xml"
        [platforms.twitter]
        client_id = 12345
        client_secert = "never-shown"
        [platforms.youtube]
        client_id = "id"
        [platforms.threads]
        client_secret = "never-shown"
        token_url = "threads.net/token"
        "#,
        [
            ("POSTPEER_REFRESH__CONCURRENCY", "many"),
            ("POSTPEER_OUTBOUND__TIMEOUT", "5"),
            ("POSTPEER_SERVER_PUBLIC_URL", "https://connect.example.com"),
        ],
    );
    assert!(!told.contains("never-shown"), "{told}");
    insta::assert_snapshot!(told, @r#"
    the configuration has 17 mistakes:
      postpeer.toml: sever is not a known key: did you mean server?
      environment variable POSTPEER_OUTBOUND__TIMEOUT: outbound.timeout is not a known key: did you mean outbound.timeout_seconds?
      postpeer.toml: platforms.twitter.client_secert is not a known key: did you mean platforms.twitter.client_secret?
      postpeer.toml: server.allowed_redirects is not a known key: did you mean connect.allowed_redirects?
      postpeer.toml: server.public_ulr is not a known key: did you mean server.public_url?
      postpeer.toml: server.listen must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080
      postpeer.toml: server.trusted_proxies has the entry "everyone", which is not a network such as 10.0.0.0/8, fd00::/8 or a single address
      postpeer.toml: connect.allowed_redirects has the entry "http://app.example", which must use https (http is allowed on loopback only)
      postpeer.toml: connect.allowed_redirects has the entry "app", which must be an absolute URL such as https://app.example/connected, its host spelled in the usual way
      postpeer.toml: connect.state_ttl_seconds must be a whole number from 1 to 86400, without quotes
      environment variable POSTPEER_REFRESH__CONCURRENCY: refresh.concurrency must be a whole number from 1 to 1000
      postpeer.toml: log.format must be "text" or "json"
      postpeer.toml: platforms.threads.client_id is missing although client_secret is set: set it, or empty both
      postpeer.toml: platforms.threads.token_url must be an absolute http(s) URL without user name, password and fragment, such as https://id.acme.example/token
      postpeer.toml: platforms.twitter.client_id must be text: put it in quotes
      postpeer.toml: platforms.youtube.client_secret is missing although client_id is set: set client_secret, client_secret_file or client_secrets, or client_auth = "none" for a client without one, or empty both
      environment variable POSTPEER_SERVER_PUBLIC_URL: server_public_url is not a setting: did you mean POSTPEER_SERVER__PUBLIC_URL, with two underscores?
    "#);
}

#[test]
fn the_public_url_follows_from_a_listener_on_loopback_only() {
    let config = read("[server]\npublic_url = \"https://Example.com/connect-svc/\"").unwrap();
    assert_eq!(config.server.public_url, "https://example.com/connect-svc");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    insta::assert_snapshot!(
        read("[server]\npublic_url = \"http://connect.example.com\"").unwrap().warnings.join("\n"),
        @"postpeer.toml: server.public_url is plain http: platforms may refuse such callback URLs, and codes can be read on the way"
    );
    insta::assert_snapshot!(complaint("[server]\nlisten = \"0.0.0.0:8080\""), @r#"postpeer.toml: server.public_url is missing, and does not follow from server.listen = "0.0.0.0:8080": set it to the URL at which browsers reach the broker, such as https://connect.example.com"#);
    insta::assert_snapshot!(complaint("[server]\npublic_url = \"https://example.com/connect?x\""), @"postpeer.toml: server.public_url must not have a query or a fragment: remove what follows the path");
}

#[test]
fn metrics_need_an_address_of_their_own() {
    let warnings = |listen: &str| {
        let config = read(&format!("[server]\nmetrics_listen = \"{listen}\"")).unwrap();
        assert_eq!(config.server.metrics_listen.unwrap().to_string(), listen);
        config.warnings.join("\n")
    };
    for quiet in ["127.0.0.1:9464", "[::1]:8080", "127.0.0.1:0"] {
        assert_eq!(warnings(quiet), "", "{quiet}");
    }
    insta::assert_snapshot!(warnings("0.0.0.0:9464"), @"postpeer.toml: server.metrics_listen is not on loopback: whoever reaches it can read the metrics, so let a firewall choose who does");
    insta::assert_snapshot!(complaint("[server]\nmetrics_listen = \"127.0.0.1:8080\""), @"postpeer.toml: server.metrics_listen is the address of server.listen: metrics need one of their own, so take another port, such as 127.0.0.1:9464");
    insta::assert_snapshot!(complaint("[server]\nmetrics_listen = \"9464\""), @"postpeer.toml: server.metrics_listen must be an IP address and a port, such as 127.0.0.1:8080 or [::]:8080");
    let both =
        "[server]\nlisten = \"127.0.0.1:0\"\nmetrics_listen = \"127.0.0.1:0\"\npublic_url = \"https://x.example\"";
    assert!(read(both).is_ok(), "the system gives two ports");
}

#[test]
fn a_secret_may_be_in_a_file() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), "from a file\n").unwrap();
    std::fs::write(dir.path().join("empty"), "\n").unwrap();
    let read = |toml: &str, environment: &Environment| {
        from_str("postpeer.toml", toml, dir.path(), environment).map(|config| {
            let twitter = config.platforms.find("twitter").unwrap().credentials.clone().unwrap();
            plain(&twitter.client_secret).to_owned()
        })
    };
    let none = Environment::default();
    let twin = "[platforms.twitter]\nclient_id = \"id\"\nclient_secret = \"\"\nclient_secret_file = \"secret\"";
    assert_eq!(read(twin, &none).unwrap(), "from a file");
    let direct = Environment::from([("POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET", "from the environment")]);
    assert_eq!(
        read(twin, &direct).unwrap(),
        "from the environment",
        "a later layer overrides the file of an earlier one"
    );
    let file = Environment::from([("POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET_FILE", "secret")]);
    assert_eq!(
        read("[platforms.twitter]\nclient_id = \"id\"\nclient_secret = \"old\"", &file).unwrap(),
        "from a file",
        "and the file overrides a value of an earlier layer"
    );
    let shown =
        |toml: &str| read(toml, &none).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR");
    insta::assert_snapshot!(
        shown("[platforms.twitter]\nclient_id = \"id\"\nclient_secret = \"x\"\nclient_secret_file = \"secret\""),
        @"postpeer.toml: platforms.twitter.client_secret and platforms.twitter.client_secret_file are both set: remove one"
    );
    insta::assert_snapshot!(shown("[platforms.twitter]\nclient_id = \"id\"\nclient_secret_file = \"nowhere\""), @"postpeer.toml: platforms.twitter.client_secret_file names DIR/nowhere, which cannot be read (No such file or directory (os error 2)): check the path and its permissions");
    insta::assert_snapshot!(shown("[platforms.twitter]\nclient_id = \"id\"\nclient_secret_file = \"empty\""), @"postpeer.toml: platforms.twitter.client_secret_file names DIR/empty, which is empty: write the secret into it");
}

#[test]
fn a_parse_error_does_not_quote_the_file() {
    let told = complaint("[platforms.twitter]\nclient_secret = \"never-shown\nclient_id = 1\n");
    assert!(!told.contains("never-shown"), "{told}");
    insta::assert_snapshot!(told, @"postpeer.toml is not valid TOML: at line 2, column 29, invalid basic string");
    insta::assert_snapshot!(complaint("[server]\nlisten = 1\nlisten = 2"), @"postpeer.toml is not valid TOML: at line 3, column 1, duplicate key `listen` in table `server`");
    insta::assert_snapshot!(complaint("server = 1\nplatforms = []"), @"
    the configuration has 2 mistakes:
      postpeer.toml: platforms must be a table: write [platforms] and its keys below
      postpeer.toml: server must be a table: write [server] and its keys below
    ");
}

#[test]
fn a_missing_file_says_how_to_make_one() {
    let missing = load(Path::new("/nowhere/postpeer.toml"), &Environment::default()).unwrap_err();
    insta::assert_snapshot!(missing, @"there is no configuration at /nowhere/postpeer.toml: `postpeer init --config /nowhere/postpeer.toml` writes one, or name another with --config FILE or POSTPEER_CONFIG");
}

#[test]
fn debug_hides_secrets() {
    let config = read("[platforms.twitter]\nclient_id = \"id\"\nclient_secret = \"never-shown\"").unwrap();
    assert!(!format!("{config:?}").contains("never-shown"));
    let environment = Environment::from([("POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET", "never-shown")]);
    assert!(!format!("{environment:?}").contains("never-shown"));
}

#[test]
fn a_proxy_comes_from_the_configuration_or_from_the_usual_variables() {
    let told = |toml: &str, variables: &[(&str, &str)]| {
        let environment: Environment = variables.iter().copied().collect();
        read_with(toml, &environment)
            .map(|config| config.outbound.proxies.to_string())
            .map_err(|error| error.to_string())
    };
    let variables = [
        ("http_proxy", "http://low.example:1"),
        ("HTTP_PROXY", "http://up.example:2"),
        ("HTTPS_PROXY", "http://ada:never-shown@s.example:3"),
        ("ALL_PROXY", "socks5://all.example"),
        ("NO_PROXY", "a.example"),
    ];
    insta::assert_snapshot!(told("", &variables).unwrap(), @"http URLs through http://low.example:1 (http_proxy), https URLs through http://s.example:3 (HTTPS_PROXY), and without a proxy: a.example,localhost,127.0.0.0/8,::1");
    insta::assert_snapshot!(told("", &variables[3..4]).unwrap(), @"http URLs through socks5://all.example:1080 (ALL_PROXY), https URLs through socks5://all.example:1080 (ALL_PROXY), and without a proxy: localhost,127.0.0.0/8,::1");
    let toml = "[outbound]\nproxy = \"http://ada:never-shown@own.example:8\"";
    insta::assert_snapshot!(told(toml, &variables).unwrap(), @"http URLs through http://own.example:8 (outbound.proxy), https URLs through http://own.example:8 (outbound.proxy), and without a proxy: a.example,localhost,127.0.0.0/8,::1");
    assert!(read_with("[outbound]\nproxy = \"\"", &Environment::default()).unwrap().outbound.proxies.is_none());
    let wrong =
        [told("[outbound]\nproxy = \"ftp://never-shown\"", &[]), told("", &[("ALL_PROXY", "ftp://never-shown")])];
    let wrong = wrong.map(Result::unwrap_err).join("\n");
    insta::assert_snapshot!(wrong, @r"
    postpeer.toml: outbound.proxy must be the URL of a proxy, such as http://proxy.example:3128 or socks5://proxy.example:1080
    environment variable ALL_PROXY: outbound.proxy must be the URL of a proxy, such as http://proxy.example:3128 or socks5://proxy.example:1080
    ");
}
