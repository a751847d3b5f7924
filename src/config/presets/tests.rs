//! Tests of the presets that need no server.

use super::*;
use crate::config::EXAMPLE;
use crate::config::tests::{complaint, read};
use crate::platforms::{Availability, ClientAuth, Pkce, Revocation, Subject, TokenBody, built_in_names};

fn with_credentials(section: &str, lines: &str) -> Config {
    read(&format!("[platforms.{section}]\nclient_id = \"id\"\nclient_secret = \"secret\"\n{lines}")).unwrap()
}

fn without_credentials(section: &str, lines: &str) -> Config {
    read(&format!("[platforms.{section}]\n{lines}")).unwrap()
}

#[test]
fn client_id_and_secret_are_all_that_a_preset_lacks() {
    assert_eq!(
        listed(),
        "discord, dropbox, github, gitlab, google, mastodon, microsoft, notion, slack, spotify, strava, twitch, zoom"
    );
    for name in names() {
        assert!(built_in_names().iter().all(|built_in| built_in != name), "{name}");
        // Nobody has credentials at servers that people name.
        let with_credentials = if name == "mastodon" { without_credentials } else { with_credentials };
        let config = with_credentials(name, "");
        assert_eq!(config.warnings, [""; 0], "{name}");
        let configured = config.platforms.find(name).unwrap();
        let platform = configured.platform();
        assert!(platform.lacks().is_none() || configured.awaits_discovery(), "{name} lacks {:?}", platform.lacks());
        assert!(platform.label.starts_with(char::is_uppercase), "{name}");
        let Guide { know, console, facts, .. } = platform.guide;
        assert!(!know.is_empty() && !know.contains(['|', '\n']) && !know.ends_with('.'), "{name}: {know:?}");
        assert_eq!(console.starts_with("https://"), !configured.has_servers(), "{name}: {console:?}");
        assert_eq!(configured.availability(), Availability::Prod, "{name}");
        assert_eq!(facts.unwrap().as_of.to_string(), "2026-11-26", "{name}");
        let named = with_credentials("mine", &format!("preset = \"{name}\""));
        let mine = named.platforms.find("mine").unwrap().platform();
        assert_eq!((&mine.label, &mine.token_url), (&platform.label, &platform.token_url), "{name} under another name");
    }
}

#[test]
fn what_the_operator_writes_wins_over_the_preset() {
    let config = with_credentials(
        "github",
        r#"
        preset = "notion"
        label = "Wiki"
        authorize_params = { owner = "", extra = "x" }
        identity = { name = "/name" }
        identity_headers = { Notion-Version = "2025-09-03" }
        pkce = "s256"
        "#,
    );
    let wiki = config.platforms.find("github").unwrap().platform();
    assert_eq!((wiki.label.as_ref(), wiki.pkce, wiki.body), ("Wiki", Pkce::S256, TokenBody::Json));
    assert_eq!(wiki.authorize_params, [("extra".into(), "x".into())]);
    assert_eq!(wiki.identity.call.headers, [("Notion-Version".to_owned(), "2025-09-03".to_owned())]);
    let answer = serde_json::json!({"id": "b1", "name": "Bot", "bot": {"owner": {"user": {"name": "Ada"}}}});
    let account = wiki.identity.read.read(&answer).unwrap();
    assert_eq!(account.platform_user_id, "b1");
    assert_eq!((account.username.as_deref(), account.display_name.as_deref()), (Some("Ada"), Some("Bot")));

    let config = with_credentials("microsoft", "authorize_params = { domain_hint = \"organizations\" }");
    let params = &config.platforms.find("microsoft").unwrap().platform().authorize_params;
    assert_eq!(
        *params,
        [("domain_hint".into(), "organizations".into()), ("prompt".into(), "select_account".into())],
        "parameters are added"
    );

    let config = with_credentials("work", "preset = \"gitlab\"\nissuer = \"https://git.example.com\"");
    let work = config.platforms.find("work").unwrap();
    assert_eq!((work.issuer(), work.platform().label.as_ref()), (Some("https://git.example.com"), "GitLab"));
}

#[test]
fn a_preset_says_where_an_id_is_a_persons_unless_the_operator_names_another_id() {
    let subject = |section: &str, lines: &str| {
        let config =
            if section == "mastodon" { without_credentials(section, lines) } else { with_credentials(section, lines) };
        config.platforms.find(section).unwrap().platform().subject
    };
    for name in names() {
        let expected = if ["notion", "slack"].contains(&name) { Subject::Account } else { Subject::Person };
        assert_eq!(subject(name, ""), expected, "{name}");
    }
    for (lines, expected) in [
        ("identity = { id = \"/data/0/channel\" }", Subject::Account),
        ("identity_url = \"https://api.twitch.tv/helix/channels\"", Subject::Account),
        ("identity = { name = \"/data/0/login\" }", Subject::Person),
        ("identity = { id = \"/data/0/id\" }\nsubject = \"person\"", Subject::Person),
        ("subject = \"account\"", Subject::Account),
    ] {
        assert_eq!(subject("mine", &format!("preset = \"twitch\"\n{lines}")), expected, "{lines}");
    }
    insta::assert_snapshot!(complaint("[platforms.twitch]\nsubject = \"people\""), @r#"postpeer.toml: platforms.twitch.subject must be "account" or "person""#);
}

#[test]
fn a_section_with_a_server_of_its_own_uses_no_preset_unless_it_names_one() {
    let own = "authorize_url = \"https://g.example/a\"\ntoken_url = \"https://g.example/t\"\n\
               identity_url = \"https://g.example/i\"\nidentity = { id = \"/id\" }";
    for lines in [own.to_owned(), format!("preset = \"\"\n{own}")] {
        let config = with_credentials("github", &lines);
        let github = config.platforms.find("github").unwrap().platform();
        assert_eq!((github.label.as_ref(), github.client_auth), ("github", ClientAuth::Basic), "{lines}");
        assert!(github.scopes.is_empty() && github.guide.facts.is_none(), "{lines}");
    }
    let named = with_credentials("github", &format!("preset = \"github\"\n{own}"));
    let github = named.platforms.find("github").unwrap().platform();
    assert_eq!((github.token_url.as_ref(), github.client_auth), ("https://g.example/t", ClientAuth::Body));
}

#[test]
fn nothing_of_another_server_goes_to_the_one_of_the_preset() {
    let own = "authorize_url = \"https://g.example/a\"\ntoken_url = \"https://g.example/t\"";
    let told = ["discord", "google", "twitch"]
        .map(|name| complaint(&format!("[platforms.{name}]\nclient_id = \"id\"\nclient_secret = \"secret\"\n{own}")));
    assert!(told.iter().all(|told| told.contains("needs ") && told.contains("identity_url")), "{told:?}");
    assert!(told.iter().all(|told| !told.contains("did you mean") && !told.contains("or preset")), "{told:?}");
    insta::assert_snapshot!(complaint(&format!(
        "[platforms.slack]\nclient_id = \"id\"\nclient_secret = \"secret\"\npreset = \"slack\"\n{own}"
    )), @"postpeer.toml: platforms.slack needs identity_url, or issuer: authorize_url and token_url are at another server than the preset slack, so none of the preset's URLs is used");

    let own = format!("preset = \"discord\"\n{own}\nidentity_url = \"https://g.example/i\"");
    let config = with_credentials("discord", &own);
    assert_eq!(config.platforms.find("discord").unwrap().platform().revocation, Revocation::Unsupported);
    assert!(config.warnings.iter().any(|told| told.contains("revoke_url")), "{:?}", config.warnings);
    let with_own = with_credentials("discord", &format!("{own}\nrevoke_url = \"https://g.example/r\""));
    assert_eq!(with_own.warnings, [""; 0]);
    let beside = with_credentials("dropbox", "token_url = \"https://www.dropbox.com/oauth2/token\"");
    assert_eq!(
        beside.platforms.find("dropbox").unwrap().platform().identity.call.path,
        "https://api.dropboxapi.com/2/users/get_current_account"
    );
}

#[test]
fn a_setting_of_its_own_leaves_the_rest_of_the_preset() {
    let tenant = "issuer = \"https://login.example/tenant/v2.0\"";
    for lines in [tenant.to_owned(), format!("preset = \"microsoft\"\n{tenant}")] {
        let config = with_credentials("microsoft", &lines);
        let microsoft = config.platforms.find("microsoft").unwrap();
        let platform = microsoft.platform();
        assert_eq!(microsoft.issuer(), Some("https://login.example/tenant/v2.0"));
        assert_eq!((platform.label.as_ref(), platform.scopes.last().unwrap().as_ref()), ("Microsoft", "User.Read"));
        assert_eq!(platform.authorize_params, [("prompt".into(), "select_account".into())]);
    }
    for key in ["authorize_url", "token_url", "identity_url"] {
        let config = with_credentials("github", &format!("{key} = \"https://g.example/x\""));
        let github = config.platforms.find("github").unwrap().platform();
        assert_eq!((github.label.as_ref(), github.client_auth), ("GitHub", ClientAuth::Body), "{key}");
        let urls = [&github.authorize_url, &github.token_url, &github.identity.call.path];
        assert_eq!(urls.iter().filter(|url| url.as_ref() == "https://g.example/x").count(), 1, "{key}: {urls:?}");
    }
    // No server of GitHub's kind publishes how it is used.
    let config = with_credentials("github", "issuer = \"https://id.example\"");
    let github = config.platforms.find("github").unwrap();
    assert_eq!((github.issuer(), github.platform().label.as_ref()), (Some("https://id.example"), "github"));
}

#[test]
fn a_wrong_preset_is_told_with_the_right_ones() {
    let told = [
        "[platforms.mine]\npreset = \"githab\"",
        "[platforms.mine]\npreset = 1",
        "[platforms.githab]\nclient_id = \"id\"\nclient_secret = \"secret\"",
        "[platforms.github]\npreset = \"\"\ntoken_url = \"https://g.example/t\"",
    ]
    .map(complaint);
    insta::assert_snapshot!(told.join("\n"), @r#"
    postpeer.toml: platforms.mine.preset is none of the presets (discord, dropbox, github, gitlab, google, mastodon, microsoft, notion, slack, spotify, strava, twitch, zoom): did you mean github?
    postpeer.toml: platforms.mine.preset must be text: put it in quotes
    postpeer.toml: platforms.githab is a platform of your own and needs issuer, or authorize_url, token_url, identity_url, identity.id, or preset (one of discord, dropbox, github, gitlab, google, mastodon, microsoft, notion, slack, spotify, strava, twitch, zoom); or did you mean platforms.github?
    postpeer.toml: platforms.github is a platform of your own and needs issuer, or authorize_url, identity_url, identity.id, or preset (one of discord, dropbox, github, gitlab, google, mastodon, microsoft, notion, slack, spotify, strava, twitch, zoom); or did you mean preset = "github"?
    "#);
    assert!(
        complaint("[platforms.twitter]\npreset = \"github\"").contains("platforms.twitter.preset is not a known key")
    );
}

#[test]
fn readme_and_example_list_the_presets() {
    let readme = include_str!("../../../README.md");
    for name in names() {
        let know = guide(name).unwrap().know;
        let label = alone(name, "https://connect.example.com").unwrap().platforms.label(name);
        let row = format!("\n| `{name}` | {label} | {know} |\n");
        assert!(readme.contains(&row), "README.md lacks the row{row}");
    }
    let line = format!("# {}.\n", listed());
    assert!(EXAMPLE.contains(&line), "postpeer.toml.example lacks the line\n{line}");
}

#[test]
fn servers_that_people_name_are_described_by_paths_and_without_credentials() {
    let pleroma = r#"
        [platforms.pleroma]
        server_from_user = true
        authorize_url = "/oauth/authorize"
        token_url = "/oauth/token"
        identity_url = "/api/v1/accounts/verify_credentials"
        identity = { id = "/id" }
        scopes = ["read"]
        client_name = "Acme"
        "#;
    let config = read(pleroma).unwrap();
    let servers = config.platforms.find("pleroma").unwrap().platform().server_from_user.clone().unwrap();
    assert_eq!((servers.register_path.as_ref(), servers.client_name.as_deref()), ("/api/v1/apps", Some("Acme")));
    let told = [
        "client_id = \"c\"\nclient_secret = \"s\"",
        "issuer = \"https://id.example\"",
        "register_path = \"https://id.example/apps\"",
        "revoke_url = \"//id.example/revoke\"",
        "client_auth = \"none\"",
    ]
    .map(|line| complaint(&format!("{pleroma}{line}")));
    insta::assert_snapshot!(told.join("\n"), @r#"
    postpeer.toml: platforms.pleroma.client_id must not be set together with server_from_user: the broker registers itself at each server
    postpeer.toml: platforms.pleroma.issuer cannot be set together with server_from_user
    postpeer.toml: platforms.pleroma.register_path must be a path at each server, such as /oauth/token: server_from_user is true
    postpeer.toml: platforms.pleroma.revoke_url must be a path at each server, such as /oauth/token: server_from_user is true
    postpeer.toml: platforms.pleroma.client_auth must be "body" or "basic": each server gives the broker a secret
    "#);
    let config = with_credentials("github", "register_path = \"/apps\"");
    insta::assert_snapshot!(config.warnings.join("\n"), @"postpeer.toml: platforms.github.register_path has no effect without server_from_user = true");
}
