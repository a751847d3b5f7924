//! The authorize request: mistakes, and how each platform reports them.

use super::bench::{CALLBACK, VERIFIER, authorize_query, id_name, imitation, with, without_pkce};
use super::*;
use crate::sandbox::imitations::Imitation;
use crate::sandbox::{Answer, platforms, self_serve_client};

#[track_caller]
fn refused(bench: &Bench, platform: &str, name: &str, value: Option<&str>, status: u16, why: &str) {
    let url = bench.authorize_url(platform, &with(authorize_query(platform), name, value));
    let refused = bench.control.consent(&url, &Answer::allow()).unwrap_err();
    assert_eq!((refused.status, refused.why.as_str()), (status, why), "{platform} with {name} {value:?}");
}

#[track_caller]
fn sent_back(bench: &Bench, platform: &str, name: &str, value: Option<&str>, error: &str) {
    let query = with(authorize_query(platform), name, value);
    let callback = bench.callback_of(platform, &query, &Answer::allow());
    assert_eq!(callback[0], ("error".to_owned(), error.to_owned()), "{platform} with {name} {value:?}");
}

#[test]
fn wrong_clients_and_redirects_are_never_sent_back() {
    let bench = Bench::start();
    for platform in platforms() {
        let (status, id) = (imitation(platform).authorize.page_status, id_name(platform));
        let refuses = |name, value, why: &str| refused(&bench, platform, name, value, status, why);
        refuses(id, Some("somebody-else"), &format!("{id} names no client of this platform"));
        refuses(id, None, &format!("{id} is missing"));
        refuses("redirect_uri", None, "redirect_uri is missing");
        let away = "redirect_uri leads away from this machine: the sandbox sends browsers to localhost, 127.0.0.1 and [::1] only";
        refuses("redirect_uri", Some("https://broker.example/cb"), away);
        refuses("redirect_uri", Some("http://localhost.evil.example/cb"), away);
        refuses("redirect_uri", Some("/cb"), "redirect_uri is not an absolute URL");
        refuses("redirect_uri", Some("javascript:alert(1)"), "redirect_uri is not an http or https URL");
        refuses("redirect_uri", Some("http://127.0.0.1/#x"), "redirect_uri carries a fragment or credentials");
    }
    refused(
        &bench,
        "tiktok",
        "redirect_uri",
        Some("http://127.0.0.1/cb?flow=1"),
        400,
        "redirect_uri carries a query, which this platform refuses",
    );
    let misnamed = with(authorize_query("tiktok"), "client_key", None);
    let misnamed = with(misnamed, "client_id", Some("sandbox-tiktok-client"));
    let error = bench.control.consent(&bench.authorize_url("tiktok", &misnamed), &Answer::allow()).unwrap_err();
    assert_eq!(error.why, "client_key is missing");
}

#[test]
fn scopes_are_separated_as_the_platform_wants() {
    let bench = Bench::start();
    for platform in platforms() {
        let Imitation { authorize, example, .. } = imitation(platform);
        let [separator] = authorize.separators else { continue };
        let wrong = example.scope.replace(*separator, if *separator == ' ' { "," } else { " " });
        let query = with(authorize_query(platform), "scope", Some(&wrong));
        match bench.control.consent(&bench.authorize_url(platform, &query), &Answer::allow()) {
            Err(refused) => {
                let why = format!("scopes are separated by '{separator}' here, not as in '{wrong}'");
                assert_eq!((refused.status, refused.why), (authorize.page_status, why), "{platform}");
            }
            Ok(location) => assert!(location.contains("error=invalid_scope"), "{platform}: {location}"),
        }
    }
    sent_back(&bench, "tiktok", "scope", Some("user.info.basic user.info.profile"), "invalid_scope");
    sent_back(&bench, "acme", "scope", Some("openid,profile"), "invalid_scope");
    sent_back(&bench, "acme", "scope", Some("openid admin"), "invalid_scope");
    for scope in ["threads_basic threads_content_publish", "threads_basic,threads_content_publish"] {
        let query = with(authorize_query("threads"), "scope", Some(scope));
        assert_eq!(bench.callback_of("threads", &query, &Answer::allow())[0].0, "code");
    }
    refused(&bench, "twitter", "scope", Some("tweet.read nonsense"), 400, "the scope 'nonsense' is not known here");
    refused(&bench, "twitter", "scope", None, 400, "the scope '' is not known here");
    refused(
        &bench,
        "threads",
        "scope",
        Some("threads_content_publish"),
        400,
        "the scope threads_basic is missing, which every request needs",
    );
}

#[test]
fn linkedin_names_a_scope_that_the_app_does_not_have() {
    let bench = Bench::start();
    let self_serve = with(authorize_query("linkedin"), "client_id", Some(&self_serve_client("linkedin").unwrap().0));
    let query = with(self_serve, "scope", Some("openid rw_organization_admin"));
    let callback = bench.callback_of("linkedin", &query, &Answer::allow());
    assert_eq!(callback[0], ("error".to_owned(), "unauthorized_scope_error".to_owned()));
    refused(&bench, "linkedin", "scope", Some("openid admin"), 401, "the scope 'admin' is not known here");
    let query = with(authorize_query("linkedin"), "scope", Some("openid rw_organization_admin"));
    assert_eq!(bench.callback_of("linkedin", &query, &Answer::allow())[0].0, "code");
}

#[test]
fn challenges_are_required_optional_or_refused() {
    let bench = Bench::start();
    let base64url = authorize_query("twitter").into_iter().find(|(name, _)| name == "code_challenge").unwrap().1;
    let hex = authorize_query("tiktok").into_iter().find(|(name, _)| name == "code_challenge").unwrap().1;
    refused(&bench, "twitter", "code_challenge", None, 400, "code_challenge is missing");
    refused(&bench, "tiktok", "code_challenge", None, 400, "code_challenge is missing");
    sent_back(&bench, "acme", "code_challenge", None, "invalid_request");
    sent_back(&bench, "acme", "code_challenge_method", Some("plain"), "invalid_request");
    for method in [None, Some("plain"), Some("s256")] {
        let why = "code_challenge_method is not S256";
        refused(&bench, "twitter", "code_challenge_method", method, 400, why);
        refused(&bench, "youtube", "code_challenge_method", method, 400, why);
    }
    let why = "code_challenge is not the hexadecimal SHA-256 that this platform wants on loopback";
    refused(&bench, "tiktok", "code_challenge", Some(&base64url), 400, why);
    let why = "code_challenge is not the base64url of a SHA-256";
    refused(&bench, "twitter", "code_challenge", Some(&hex), 400, why);
    refused(&bench, "twitter", "code_challenge", Some(VERIFIER.trim_end_matches('k')), 400, why);
    for platform in without_pkce() {
        let status = imitation(platform).authorize.page_status;
        let why = "code_challenge is not part of this platform's flow";
        refused(&bench, platform, "code_challenge", Some(&base64url), status, why);
        refused(&bench, platform, "code_challenge_method", Some("S256"), status, why);
    }
}

#[test]
fn other_parameters_are_checked() {
    let bench = Bench::start();
    refused(&bench, "twitter", "state", None, 400, "state is missing");
    let long = "s".repeat(501);
    refused(&bench, "twitter", "state", Some(&long), 400, "state is longer than 500 characters");
    let just = with(authorize_query("twitter"), "state", Some(&long[1..]));
    assert_eq!(bench.callback_of("twitter", &just, &Answer::allow())[1].1.len(), 500);
    refused(&bench, "twitter", "access_type", Some("offline"), 400, "the parameter access_type is not known here");
    refused(
        &bench,
        "youtube",
        "include_granted_scopes",
        Some("true"),
        400,
        "the parameter include_granted_scopes is not known here",
    );
    refused(&bench, "youtube", "prompt", Some("force"), 400, "prompt does not know 'force'");
    let why = "response_type is token where only code is known";
    refused(&bench, "instagram", "response_type", Some("token"), 400, why);
    sent_back(&bench, "acme", "response_type", Some("token"), "unsupported_response_type");
    sent_back(&bench, "acme", "state", None, "invalid_request");
    let mut twice = authorize_query("threads");
    twice.push(("state".to_owned(), "another".to_owned()));
    let error = bench.control.consent(&bench.authorize_url("threads", &twice), &Answer::allow()).unwrap_err();
    assert_eq!(error.why, "the parameter state is sent twice");
}

#[test]
fn a_person_who_declines_is_sent_back_in_the_platforms_own_words() {
    let bench = Bench::start();
    for platform in platforms() {
        let mut wanted = pairs(imitation(platform).authorize.denial);
        wanted.push(("state".to_owned(), "a state/with=signs".to_owned()));
        assert_eq!(bench.callback(platform, &Answer::deny()), wanted, "{platform}");
        assert_eq!(bench.control.issued(platform), [], "{platform} issued something");
    }
}

#[test]
fn redirects_keep_the_callback_to_the_letter() {
    let bench = Bench::start();
    let go = |platform: &str, redirect: &str| {
        let query = with(authorize_query(platform), "redirect_uri", Some(redirect));
        bench.control.consent(&bench.authorize_url(platform, &query), &Answer::allow()).unwrap()
    };
    assert!(go("twitter", "http://localhost:1/cb?x=%2f+&&y").starts_with("http://localhost:1/cb?x=%2f+&&y&code="));
    assert!(go("linkedin", "http://localhost:1/cb?x=1").starts_with("http://localhost:1/cb?code="), "stripped");
    assert!(go("youtube", "http://[::1]:1").starts_with("http://[::1]:1?code=4%2F0"));
    for platform in ["instagram", "threads"] {
        let location = go(platform, CALLBACK);
        assert!(location.ends_with("&state=a+state%2Fwith%3Dsigns#_"), "{location}");
    }
    assert!(!go("twitter", CALLBACK).contains('#'));
}
