//! Platforms of an operator's own, and mistakes in any platform's section.

use super::*;

#[test]
fn an_operator_defines_a_platform_of_their_own() {
    let config = read(
        r#"
        [platforms.acme]
        label = "Acme"
        client_id = "id"
        client_secret = "secret"
        authorize_url = "https://id.acme.example/auth"
        token_url = "https://id.acme.example/token"
        revoke_url = "https://id.acme.example/revoke"
        identity_url = "https://id.acme.example/me"
        scopes = ["openid", "profile"]
        client_auth = "body"
        pkce = "none"
        authorize_params = { prompt = "consent" }
        identity = { id = "/sub", username = "/preferred_username", name = "/name", image = "/picture" }
        "#,
    )
    .unwrap();
    let acme = config.platforms.find("acme").unwrap();
    assert!(acme.is_custom());
    assert_eq!(acme.platform().label, "Acme");
    assert_eq!(acme.availability(), Availability::Prod);
    assert_eq!(acme.platform().authorize_params, [("prompt".into(), "consent".into())]);
}

#[test]
fn an_incomplete_platform_lists_what_it_needs() {
    insta::assert_snapshot!(complaint("[platforms.twiter]\nclient_id = \"id\"\nclient_secret = \"x\""), @"postpeer.toml: platforms.twiter is a platform of your own and needs issuer, or authorize_url, token_url, identity_url, identity.id, or preset (one of discord, dropbox, github, gitlab, google, mastodon, microsoft, notion, slack, spotify, strava, twitch, zoom); or did you mean platforms.twitter?");
    insta::assert_snapshot!(complaint_with("", [("POSTPEER_PLATFORMS__ACME__LABEL", "Acme")]), @"environment variable POSTPEER_PLATFORMS__ACME: platforms.acme is a platform of your own and needs issuer, or authorize_url, token_url, identity_url, identity.id, or preset (one of discord, dropbox, github, gitlab, google, mastodon, microsoft, notion, slack, spotify, strava, twitch, zoom)");
    insta::assert_snapshot!(
        complaint(
            r#"
            [platforms.acme]
            authorize_url = "id.acme.example"
            token_url = "https://id.acme.example/token"
            identity_url = "https://id.acme.example/me"
            pkce = "plain"
            authorize_params = { state = "x", max_age = 5 }
            identity = { id = "sub", mail = "/mail" }
            "#
        ),
        @r#"
        the configuration has 6 mistakes:
          postpeer.toml: platforms.acme.identity.mail is not a known key: remove it, or use one of id, image, name, url, username
          postpeer.toml: platforms.acme.pkce must be "s256" or "none"
          postpeer.toml: platforms.acme.authorize_params.max_age must be text: put it in quotes
          postpeer.toml: platforms.acme.authorize_url must be an absolute http(s) URL without user name, password and fragment, such as https://id.acme.example/token
          postpeer.toml: platforms.acme.authorize_params must not set a parameter that the broker sets itself: state
          postpeer.toml: platforms.acme.identity.id must be a JSON pointer that begins with a slash, such as /sub or /data/id
        "#
    );
    insta::assert_snapshot!(
        complaint(
            r#"
            [platforms.acme]
            client_id = "id"
            client_secret = "never-shown"
            authorize_url = "https://id.acme.example/auth"
            token_url = "https://id.acme.example/token"
            identity_url = "https://id.acme.example/me"
            identity_method = "put"
            identity_headers = { Authorization = "x" }
            scope_separator = ";"
            client_auth = "none"
            pkce = "none"
            token_body = "xml"
            token_pointer = "authed_user"
            token_params = { client_secret = "x" }
            refresh_params = { scope = "x" }
            scope_on_refresh = true
            identity = { id = "/sub" }
            [platforms.other]
            authorize_url = "https://id.acme.example/auth"
            token_url = "https://id.acme.example/token"
            identity_url = "https://id.acme.example/me"
            identity_headers = { "Two words" = "x" }
            identity = { id = "/sub" }
            "#
        ),
        @r#"
        the configuration has 10 mistakes:
          postpeer.toml: platforms.acme.client_secret is set although client_auth = "none" needs no secret: remove one of the two
          postpeer.toml: platforms.acme.identity_method must be "get" or "post"
          postpeer.toml: platforms.acme.scope_separator must be "," or " "
          postpeer.toml: platforms.acme.token_body must be "form" or "json" or "multipart"
          postpeer.toml: platforms.acme.token_params must not set a parameter that the broker sets itself: client_secret
          postpeer.toml: platforms.acme.scope_on_refresh sends the granted scopes: remove it, or scope from refresh_params
          postpeer.toml: platforms.acme.identity_headers must not set a header that the broker sets itself: Authorization
          postpeer.toml: platforms.acme.pkce must be "s256" for a public client (client_auth = "none"): PKCE is all that proves who sends the code
          postpeer.toml: platforms.acme.token_pointer must be a JSON pointer that begins with a slash, such as /sub or /data/id
          postpeer.toml: platforms.other.identity_headers must be names and values of HTTP headers: Two words is none
        "#
    );
    insta::assert_snapshot!(
        complaint(
            r#"
            [platforms.pinterest]
            errors = { "283" = "ignore", "a b" = "app", "1" = "retry", "2" = "" }
            [platforms.bluesky]
            errors = "reconnect"
            "#
        ),
        @r#"
        the configuration has 4 mistakes:
          postpeer.toml: platforms.bluesky.errors must be a table of texts, such as { token_gone = "reconnect" }
          postpeer.toml: platforms.pinterest.errors.2 is empty: name what the code means, "app", "reconnect" or "retry"
          postpeer.toml: platforms.pinterest.errors.283 must be "app" or "reconnect" or "retry"
          postpeer.toml: platforms.pinterest.errors.a b is no code of a platform: it has up to 64 letters, digits, dots, _ and -
        "#
    );
    insta::assert_snapshot!(complaint("[platforms.integrations]\nlabel = \"x\"\n[platforms.\"Ac/me\"]\nlabel = \"x\""), @"
    the configuration has 2 mistakes:
      postpeer.toml: platforms.Ac/me is not a valid name: use up to 64 lower-case ASCII letters, digits, - and _, beginning with a letter or digit
      postpeer.toml: platforms.integrations is reserved for the broker's own URLs: give the platform another name
    ");
}

#[test]
fn a_name_for_people_is_one_line() {
    for section in ["twitter", "bluesky", "acme"] {
        let told = complaint(&format!("[platforms.{section}]\nlabel = \"X\\u001b[31m\""));
        assert!(told.contains(&format!("platforms.{section}.label must be one line, without control")), "{told}");
    }
}
