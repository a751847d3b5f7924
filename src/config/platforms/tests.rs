//! Tests of `[platforms.NAME]`.

use crate::config::tests::{complaint, plain, read, read_with};
use crate::config::{Environment, from_str};
use crate::platforms::{Accounts, ClientAuth, Pkce, ScopeSeparator};

#[test]
fn scopes_in_one_text_are_told_apart() {
    let config = read("[platforms.twitter]\nscopes = [\"a,b\", \"c d\", \"e, f\", \"a:g\"]").unwrap();
    let scopes = &config.platforms.find("twitter").unwrap().platform().scopes;
    assert!(scopes.starts_with(&["a", "b", "c", "d", "e", "f", "a:g"].map(Into::into)), "{scopes:?}");
}

#[test]
fn what_still_stands_as_in_the_example_is_told() {
    let acme = |lines: &str| {
        let toml = format!(
            "[platforms.acme]\nissuer = \"https://id.example\"\nclient_id = \"id\"\nclient_secret = \"secret\"\n{lines}"
        );
        read(&toml).unwrap().warnings.join("\n")
    };
    let headers = |value: &str| acme(&format!("identity_headers = {{ X-Tok = '{value}' }}"));
    assert_eq!(headers("{client_id}").as_str(), "");
    for value in ["{access_token}", "{clientid}", "{client_id} {x}"] {
        assert!(headers(value).contains("acme.identity_headers has braces"), "{value}: {}", headers(value));
    }
    for (key, url, expected) in [
        ("token_url", "https://login.example/TENANT-ID/token", "acme.token_url has the placeholder"),
        ("authorize_url", "https://login.example/{tenant}/authorize", "acme.authorize_url has braces"),
    ] {
        let told = acme(&format!("{key} = \"{url}\""));
        assert!(told.contains(expected), "{told}");
    }
    let graphql = acme("identity_url = \"https://api.example/graphql?query={me{id,displayName}}\"");
    assert!(!graphql.contains("braces"), "{graphql}");
    let microsoft = "[platforms.microsoft]\nissuer = \"https://login.example/TENANT-ID/v2.0\"\n\
                     client_id = \"the-id-that-the-server-gave-you\"\nclient_secret = \"x\"";
    let told = read(microsoft).unwrap().warnings.join("\n");
    assert!(
        told.contains("microsoft.issuer has the placeholder") && told.contains("microsoft.client_id is the"),
        "{told}"
    );
}

#[test]
fn what_may_go_stale_at_a_built_in_platform_is_mended_by_configuration() {
    let config = read(
        r#"
        [platforms.googlebusiness]
        accounts_url = "https://accounts.example/"
        locations_url = "https://locations.example"
        authorize_params = { prompt = "", hl = "de" }
        [platforms.linkedin]
        api_version = "202709"
        pkce = "s256"
        [platforms.pinterest]
        client_auth = "body"
        token_params = { continuous_refresh = "" }
        [platforms.tiktok]
        pkce = "s256_hex"
        scope_separator = " "
        [platforms.twitter]
        client_id = "public"
        client_auth = "none"
        refresh_params = { resource = "x" }
        "#,
    )
    .unwrap();
    let platform = |name: &str| config.platforms.find(name).unwrap().platform();
    let google = platform("googlebusiness");
    let [accounts_url, locations_url] = ["https://accounts.example", "https://locations.example"].map(Into::into);
    assert_eq!(google.identity.accounts, Accounts::GoogleLocations { accounts_url, locations_url });
    assert_eq!(google.api_url, "https://www.googleapis.com");
    let params: Vec<String> = google.authorize_params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(params, ["access_type=offline", "hl=de"]);
    assert_eq!((platform("linkedin").api_version.as_ref(), platform("linkedin").pkce), ("202709", Pkce::S256));
    assert!(platform("pinterest").exchange_params.is_empty());
    assert_eq!(platform("pinterest").client_auth, ClientAuth::Body);
    assert_eq!((platform("tiktok").pkce, platform("tiktok").scope_separator), (Pkce::S256Hex, ScopeSeparator::Space));
    assert_eq!(platform("twitter").refresh_params, [("resource".into(), "x".into())]);
    assert_eq!(config.platforms.find("twitter").unwrap().credentials.as_ref().unwrap().client_id, "public");
    for (key, parameter) in
        [("authorize_params", "state"), ("token_params", "code"), ("refresh_params", "refresh_token")]
    {
        let told = complaint(&format!("[platforms.twitter]\n{key} = {{ {parameter} = \"x\" }}"));
        assert!(told.contains("must not set a parameter that the broker sets itself"), "{told}");
    }
}

#[test]
fn a_base_of_calls_has_no_query() {
    for (platform, key) in [
        ("bluesky", "plc_url"),
        ("bluesky", "resolver_url"),
        ("googlebusiness", "accounts_url"),
        ("googlebusiness", "api_url"),
        ("googlebusiness", "locations_url"),
        ("twitter", "api_url"),
    ] {
        for query in ["?a=b", "?", "v2?a=b"] {
            let told = complaint(&format!("[platforms.{platform}]\n{key} = \"https://x.example/{query}\""));
            assert!(told.contains(&format!("platforms.{platform}.{key} must have no query")), "{told}");
        }
    }
    // A whole URL may have a query.
    read("[platforms.twitter]\ntoken_url = \"https://x.example/token?a=b\"").unwrap();
}

#[test]
fn a_version_is_written_as_the_platform_writes_it() {
    let mistakes = |platform: &str, version: &str| {
        let read = read(&format!("[platforms.{platform}]\napi_version = \"{version}\""));
        read.map(|config| config.warnings.len()).map_err(|error| error.to_string())
    };
    for (platform, version) in [
        ("facebook", "v27.0"),
        ("facebook", "v100.1"),
        ("instagram", "v9.0"),
        ("linkedin", "202801"),
        ("linkedin", "202812"),
        ("threads", "v2.0"),
    ] {
        assert_eq!(mistakes(platform, version), Ok(0), "{platform} {version}");
    }
    for (platform, version) in [
        ("facebook", "27.0"),
        ("facebook", "v27"),
        ("facebook", "v27.0/me"),
        ("facebook", "V27.0"),
        ("facebook", "v27.0.1"),
        ("facebook", "v.0"),
        ("linkedin", "20280"),
        ("linkedin", "2028-01"),
        ("linkedin", "v202801"),
        ("linkedin", "202800"),
        ("linkedin", "202813"),
    ] {
        let told = mistakes(platform, version).unwrap_err();
        assert!(told.contains("must be written like"), "{platform} {version}: {told}");
    }
    assert_eq!(mistakes("twitter", "2"), Ok(1), "X's version is in the paths of its calls");
}

#[test]
fn an_answer_that_the_callback_cannot_read_is_refused() {
    let acme = |more: &str, query: &str| {
        format!(
            "[platforms.acme]\nauthorize_url = \"https://a.example/a{query}\"\ntoken_url = \"https://a.example/t\"\n\
             identity_url = \"https://a.example/i\"\nidentity = {{ id = \"/id\" }}\n{more}"
        )
    };
    let twitter = |query: &str| format!("[platforms.twitter]\nauthorize_url = \"https://x.example/a{query}\"");
    for mode in ["form_post", "fragment", "form_post.jwt", "FORM_POST", "web_message"] {
        for toml in [
            acme("", &format!("?response_mode={mode}")),
            acme("", &format!("?a=b&response%5Fmode={mode}#")).replace('#', ""),
            acme(&format!("authorize_params = {{ response_mode = \"{mode}\" }}"), ""),
            twitter(&format!("?response_mode={mode}")),
            format!("[platforms.twitter]\nauthorize_params = {{ response_mode = \"{mode}\" }}"),
        ] {
            let told = complaint(&toml);
            assert!(
                told.contains("authorize_") && told.contains("asks for a response_mode other than query"),
                "{told}"
            );
            assert!(!told.contains('\n'), "{told}");
        }
    }
    for toml in [
        acme("authorize_params = { response_mode = \"query\" }", ""),
        acme("authorize_params = { response_mode = \"\" }", "?response_mode=query&mode=form_post"),
        twitter("?response_mode=query"),
        "[platforms.twitter]\nauthorize_params = { response_mode = \"\" }".to_owned(),
    ] {
        assert!(read(&toml).is_ok(), "{toml}");
    }
    insta::assert_snapshot!(complaint(&twitter("?response_mode=form_post")), @"postpeer.toml: platforms.twitter.authorize_url asks for a response_mode other than query: the platform would send its answer in a form or a fragment, which the callback does not read. Remove response_mode");
}

#[test]
fn an_issuer_is_enough_for_a_platform_of_the_operators_own() {
    let config = read("[platforms.acme]\nissuer = \"https://id.acme.example/\"").unwrap();
    let acme = config.platforms.find("acme").unwrap();
    assert!(acme.is_own() && acme.awaits_discovery() && !acme.is_complete_as_written());
    assert_eq!(acme.issuer(), Some("https://id.acme.example/"));
    assert_eq!(config.warnings, [""; 0]);
    let plain = read("[platforms.acme]\nissuer = \"http://id.acme.example\"").unwrap();
    insta::assert_snapshot!(plain.warnings.join("\n"), @"postpeer.toml: platforms.acme.issuer is plain http: secrets and tokens can be read in transit");
    for (issuer, why) in [
        ("id.acme.example", "must be an absolute https URL without query or fragment, such as https://id.acme.example"),
        (
            "https://id.acme.example?a=b",
            "must be an absolute https URL without query or fragment, such as https://id.acme.example",
        ),
        (
            "https://u@id.acme.example",
            "must be an absolute https URL without query or fragment, such as https://id.acme.example",
        ),
        (
            "https://id.acme.example/.well-known/openid-configuration",
            "must be the issuer alone: remove /.well-known/ and what follows it",
        ),
    ] {
        let told = complaint(&format!("[platforms.acme]\nissuer = \"{issuer}\""));
        assert_eq!(told, format!("postpeer.toml: platforms.acme.issuer {why}"), "{issuer}");
    }
}

#[test]
fn a_private_key_is_checked_when_it_is_configured() {
    let dir = tempfile::tempdir().unwrap();
    let keys = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/keys");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    for name in ["ed25519.pem", "p256.pem", "p384.pem", "rsa.pem"] {
        std::fs::copy(keys.join(name), dir.path().join(name)).unwrap();
    }
    write("old.pem", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n");
    write("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIE\n-----END ENCRYPTED PRIVATE KEY-----\n");
    write("public.pem", "-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----\n");
    write("unknown.pem", "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n");
    write("text.pem", "never-shown");
    let read = |lines: &str| {
        let toml = format!("[platforms.acme]\nissuer = \"https://id.acme.example\"\nclient_id = \"id\"\n{lines}");
        from_str("postpeer.toml", &toml, dir.path(), &Environment::default())
    };
    for name in ["ed25519.pem", "p256.pem", "p384.pem", "rsa.pem"] {
        let config = read(&format!("private_key_file = \"{name}\"")).unwrap();
        let acme = config.platforms.find("acme").unwrap();
        assert_eq!(acme.platform().client_auth, ClientAuth::PrivateKeyJwt, "{name}");
        assert!(acme.credentials.as_ref().unwrap().private_key.is_some(), "{name}");
    }
    let told: Vec<String> = [
        "client_auth = \"private_key_jwt\"",
        "client_secret = \"x\"\nprivate_key_id = \"k\"",
        "private_key_file = \"nowhere.pem\"",
        "private_key_file = \"old.pem\"",
        "private_key_file = \"locked.pem\"",
        "private_key_file = \"public.pem\"",
        "private_key_file = \"unknown.pem\"",
        "private_key_file = \"text.pem\"",
        "private_key_file = \"p256.pem\"\nclient_auth = \"basic\"",
        "private_key_file = \"p256.pem\"\nclient_secret = \"x\"",
        "private_key_file = \"p256.pem\"\nprivate_key_algorithm = \"RS256\"",
        "private_key_file = \"rsa.pem\"\nprivate_key_algorithm = \"HS256\"",
    ]
    .into_iter()
    .map(|lines| read(lines).map(|_| ()).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR"))
    .map(|told| told.replace("postpeer.toml: platforms.acme.", ""))
    .collect();
    insta::assert_snapshot!(told.join("\n"), @r#"
    private_key_file is missing: set it to the file with the client's private key, in PKCS#8 and PEM
    private_key_file is missing: set it to the file with the client's private key, in PKCS#8 and PEM
    private_key_file names DIR/nowhere.pem, which cannot be read (No such file or directory (os error 2)): check the path and its permissions
    private_key (or the file that private_key_file names) is not in PKCS#8: convert it with `openssl pkcs8 -topk8 -nocrypt -in key.pem -out pkcs8.pem`
    private_key (or the file that private_key_file names) is encrypted: decrypt it with `openssl pkcs8 -in key.pem -out plain.pem`
    private_key (or the file that private_key_file names) is a public key: the private one is needed
    private_key (or the file that private_key_file names) is of a kind that is not supported: use RSA with 2048 to 8192 bits, EC on P-256 or P-384, or Ed25519
    private_key (or the file that private_key_file names) is not a private key in PEM format: it must begin with -----BEGIN PRIVATE KEY-----
    client_auth is "basic" although a private key is set: write "private_key_jwt", or remove the key
    client_secret is set although client_auth = "private_key_jwt" needs no secret: remove one of the two
    private_key_algorithm does not fit the key, which signs with ES256
    private_key_algorithm must be "EdDSA" or "ES256" or "ES384" or "PS256" or "RS256"
    "#);
}

#[test]
fn what_needs_an_issuer_says_so() {
    let told = complaint(
        r#"
        [platforms.acme]
        authorize_url = "https://id.acme.example/auth"
        token_url = "https://id.acme.example/token"
        identity_from = "id_token"
        identity = { id = "/sub" }
        jwks_url = "https://id.acme.example/jwks"
        par = true
        "#,
    );
    insta::assert_snapshot!(told, @"
    the configuration has 3 mistakes:
      postpeer.toml: platforms.acme.identity_from needs issuer: an id_token proves nothing unless its issuer is known
      postpeer.toml: platforms.acme.jwks_url needs issuer: the keys verify the id_tokens of the issuer
      postpeer.toml: platforms.acme.par needs par_url or issuer: no endpoint is known to push requests to
    ");
}

#[test]
fn several_secrets_stand_in_place_of_one() {
    let toml = |lines: &str| format!("[platforms.twitter]\nclient_id = \"id\"\n{lines}");
    let secrets =
        |lines: &str| read(&toml(lines)).unwrap().platforms.find("twitter").unwrap().credentials.clone().unwrap();
    let read = secrets("client_secrets = [\"new\", \" old \"]");
    assert_eq!((plain(&read.client_secret), read.older_secrets.iter().map(plain).collect()), ("new", vec!["old"]));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    std::fs::write(&file, "new\n\n old\nolder\n").unwrap();
    let read = secrets(&format!("client_secrets_file = {file:?}"));
    assert_eq!((plain(&read.client_secret), read.older_secrets.len()), ("new", 2));
    // The environment wins, whichever of the two it has.
    for (line, variable, expected) in [
        ("client_secrets = [\"new\", \"old\"]", "POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRET", "one"),
        ("client_secret = \"old\"", "POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRETS", "one"),
    ] {
        let config = read_with(&toml(line), &Environment::from([(variable, "one")])).unwrap();
        let credentials = config.platforms.find("twitter").unwrap().credentials.clone().unwrap();
        assert_eq!((plain(&credentials.client_secret), credentials.older_secrets.len()), (expected, 0), "{variable}");
    }
    for (lines, why) in [
        ("client_secret = \"a\"\nclient_secrets = [\"b\"]", "put all secrets into client_secrets"),
        ("client_secrets = [\"a\", \"\"]", "holds an empty secret"),
        ("client_secrets = [\"a\", \"b\", \" a \"]", "holds the same secret twice"),
        ("client_secrets = \"a\"", "must be a list of texts"),
        ("client_secrets = []", "is missing although client_id is set"),
        ("client_secrets = [\"a\"]\nclient_auth = \"none\"", "needs no secret"),
    ] {
        let told = complaint(&toml(lines));
        assert!(told.contains(why) && !told.contains('\n'), "{lines}: {told}");
    }
}

/// A platform without discovery, with its authorize and identity URL, and further lines.
fn acme(authorize_url: &str, identity_url: &str, more: &str) -> String {
    format!(
        "[platforms.acme]\nauthorize_url = \"{authorize_url}\"\ntoken_url = \"https://a.example/t\"\n\
         identity_url = \"{identity_url}\"\nidentity = {{ id = \"/id\" }}\n{more}"
    )
}

const AUTHORIZE: &str = "https://a.example/a";
const IDENTITY: &str = "https://a.example/i";

#[test]
fn a_url_carries_no_password_and_no_parameter_of_the_brokers_own() {
    for toml in [
        acme(AUTHORIZE, "https://us:never-shown@a.example/i", ""),
        acme(AUTHORIZE, "https://a.example/i#x", ""),
        acme(AUTHORIZE, IDENTITY, "revoke_url = \"https://us@a.example/r\""),
        acme(AUTHORIZE, IDENTITY, "par_url = \"https://:never-shown@a.example/p\""),
        "[platforms.twitter]\ntoken_url = \"https://us:never-shown@a.example/t\"".to_owned(),
        "[platforms.bluesky]\nplc_url = \"https://us:never-shown@a.example\"".to_owned(),
    ] {
        let told = complaint(&toml);
        assert!(told.contains("_url must be an absolute http(s) URL without user name, password"), "{told}");
        assert!(!told.contains("never-shown"), "{told}");
    }
    let copied = "?tenant=1&response_type=code&client_id=OLD&state=1";
    for toml in [
        acme(&format!("{AUTHORIZE}{copied}"), IDENTITY, ""),
        format!("[platforms.twitter]\nauthorize_url = \"{AUTHORIZE}{copied}\""),
    ] {
        let told = complaint(&toml);
        let why = "authorize_url must not set a parameter that the broker sets itself: response_type, client_id, state";
        assert!(told.ends_with(why), "{told}");
    }
    assert!(read(&acme("https://a.example/a?tenant=1", IDENTITY, "")).is_ok());
}

#[test]
fn scopes_are_told_apart_and_must_be_scopes() {
    let toml = acme(AUTHORIZE, IDENTITY, "scopes = [\"a b\", \"c\", \"\", \" x \"]\noptional_scopes = [\"d  e\"]");
    let config = read(&toml).unwrap();
    let platform = config.platforms.find("acme").unwrap().platform();
    assert_eq!(
        (&platform.scopes[..], &platform.optional_scopes[..]),
        (&["a", "b", "c", "x"].map(Into::into)[..], &["d", "e"].map(Into::into)[..])
    );
    for key in ["scopes", "optional_scopes"] {
        let long = "a".repeat(300);
        for section in [acme(AUTHORIZE, IDENTITY, ""), "[platforms.twitter]\n".to_owned()] {
            let told = complaint(&format!("{section}{key} = [\"{long}\"]"));
            assert!(told.contains(&format!("{key} has the entry aaa")) && told.contains("no scope"), "{told}");
        }
    }
    let from_environment = [("POSTPEER_PLATFORMS__ACME__SCOPES", "[\"a\",\"b\"]")];
    let told = read_with(&acme(AUTHORIZE, IDENTITY, ""), &Environment::from(from_environment)).unwrap_err().to_string();
    assert!(told.contains("without brackets and quotes"), "{told}");
    let told =
        read("[platforms.acme]\nissuer = \"https://a.example\"\nidentity_from = \"id_token\"\nscopes = [\"profile\"]");
    insta::assert_snapshot!(told.unwrap().warnings.join("\n"), @"postpeer.toml: platforms.acme.scopes lacks openid: without it, servers send no id_token to tell who connected");
}

#[test]
fn the_environment_names_the_secrets_of_the_file_or_a_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secrets");
    std::fs::write(&file, "from a file\n").unwrap();
    let file = file.display().to_string();
    let list = "[platforms.twitter]\nclient_id = \"id\"\nclient_secrets = [\"p\", \"q\"]";
    let named = format!("[platforms.twitter]\nclient_id = \"id\"\nclient_secrets_file = {file:?}");
    for (toml, variable, value, expected) in [
        (list, "POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRETS_FILE", &*file, "from a file"),
        (&*named, "POSTPEER_PLATFORMS__TWITTER__CLIENT_SECRETS", "mine", "mine"),
    ] {
        let config = read_with(toml, &Environment::from([(variable, value)])).unwrap();
        let credentials = config.platforms.find("twitter").unwrap().credentials.clone().unwrap();
        assert_eq!((plain(&credentials.client_secret), credentials.older_secrets.len()), (expected, 0), "{variable}");
    }
    assert!(complaint(&format!("{named}\nclient_secrets = [\"p\"]")).contains("are both set: remove one"));
}

#[test]
fn a_mistake_in_the_environment_is_told_in_variables() {
    let environment = |variable: &str, value: &str, toml: &str| {
        read_with(toml, &Environment::from([(variable, value)])).unwrap_err().to_string()
    };
    let told =
        environment("POSTPEER_PLATFORMS__ACME__IDENTITY", "/id", "[platforms.acme]\nissuer = \"https://a.example\"");
    insta::assert_snapshot!(told, @"environment variable POSTPEER_PLATFORMS__ACME__IDENTITY: platforms.acme.identity must be a table: set a variable for each of its keys, such as POSTPEER_PLATFORMS__ACME__IDENTITY__ID");
    let told = environment("POSTPEER_PLATFORMS__SLACK__AUTHORIZE_PARAMS", "{ a = \"b\" }", "[platforms.slack]");
    assert!(told.contains("such as POSTPEER_PLATFORMS__SLACK__AUTHORIZE_PARAMS__NAME"), "{told}");
    let told =
        environment("POSTPEER_PLATFORMS__ACM__CLIENT_ID", "id", "[platforms.acme]\nissuer = \"https://a.example\"");
    assert!(told.contains("or did you mean platforms.acme?"), "{told}");
}

#[test]
fn a_platform_of_many_servers_is_not_advised_to_set_an_issuer() {
    let urls = "authorize_url = \"/a\"\ntoken_url = \"/t\"\nidentity_url = \"/i\"\nidentity = { id = \"/id\" }";
    let config = read(&format!("[platforms.many]\nserver_from_user = true\n{urls}")).unwrap();
    assert_eq!(config.platforms.remarks(jiff::civil::date(2026, 11, 27)), []);
    let config = read(&acme(AUTHORIZE, IDENTITY, "")).unwrap();
    assert_eq!(config.platforms.remarks(jiff::civil::date(2026, 11, 27)).len(), 1);
}
