//! Tests of `[platforms.NAME]`.

use crate::config::tests::{complaint, read};
use crate::platforms::{Accounts, ClientAuth, Pkce, ScopeSeparator};

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
    let platform = |name: &str| &config.platforms.find(name).unwrap().platform;
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
