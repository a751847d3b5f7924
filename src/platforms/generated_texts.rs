//! Generated texts that people read: in `README.md`, the table of platforms and that of failures; in
//! `postpeer.toml.example`, the sections of the platforms.
//!
//! They are written from the platforms' values and the names of failures, so that nobody writes them twice. The test
//! fails while a file differs, and `INSTA_UPDATE=always cargo test --lib platforms::generated_texts` writes it.

use std::fs;
use std::path::Path;

use super::{BUILT_IN, CONTRACT_NAMES, Guide, Platform, Revocation, Text, bluesky};
use crate::domain::failure::Failure;

const WIDTH: usize = 119;

/// The part of a text between two marks, which stay.
fn replace(text: &str, from: &str, to: &str, part: &str) -> String {
    let (before, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from:?}"));
    let (_, after) = rest.split_once(to).unwrap_or_else(|| panic!("no {to:?}"));
    format!("{before}{from}{part}{to}{after}")
}

fn readme(platforms: &[Platform]) -> String {
    let row = |name: &str, guide: &Guide, ends: &str| {
        let listed = if CONTRACT_NAMES.contains(&name) {
            String::new()
        } else {
            format!("; not one of the SDKs' ten: listed with `?platform={name}` or `?include=custom`")
        };
        format!("| `{name}` | {} | {ends} | {}{listed} |\n", guide.connects, guide.know)
    };
    let mut rows: Vec<String> =
        platforms.iter().map(|platform| row(&platform.name, &platform.guide, platform.disconnect_ends())).collect();
    rows.push(row(bluesky::NAME, &bluesky::GUIDE, "the session"));
    rows.sort();
    let head = "\n| name | platform | a disconnect ends | what to know before |\n| --- | --- | --- | --- |\n";
    format!("{head}{}\n", rows.concat())
}

/// Comment lines no longer than [`WIDTH`]; `first` begins the first line, `next` the others.
fn comment(first: &str, next: &str, text: &str) -> String {
    let mut lines = vec![first.to_owned()];
    for word in text.split(' ') {
        let line = lines.last_mut().unwrap();
        if line.chars().count() + word.chars().count() < WIDTH {
            line.push_str(if line.ends_with(' ') { "" } else { " " });
            line.push_str(word);
        } else {
            lines.push(format!("{next}{word}"));
        }
    }
    lines.join("\n") + "\n"
}

fn section(platform: &Platform, has_every_key: bool) -> String {
    let guide = &platform.guide;
    let fact = |name: &str, fact: &str| comment(&format!("#   {name:<12} "), &format!("#{}", " ".repeat(16)), fact);
    let callback = format!("https://connect.example.com/v1/connect/{}/callback", platform.name);
    let mut parts = vec![
        format!("# {}\n", guide.connects),
        fact("credentials:", guide.credentials),
        fact("callback:", &callback),
        fact("renewal:", &platform.renewal()),
        fact("disconnect:", &format!("ends {}", platform.disconnect_ends())),
    ];
    parts.extend(guide.setup.iter().map(|paragraph| format!("#\n{}", comment("# ", "# ", paragraph))));
    parts.push(format!("[platforms.{}]\nclient_id = \"\"\nclient_secret = \"\"\n", platform.name));
    for (key, value, usual_comment) in keys(platform) {
        let own = guide.keys.iter().find(|(of, _)| *of == key).map(|(_, comment)| *comment);
        let is_shown = has_every_key || own.is_some() || matches!(key, "scopes" | "api_version");
        if !is_shown || value == "\"\"" {
            continue;
        }
        let words = own.or(Some(usual_comment).filter(|_| has_every_key)).filter(|words| !words.is_empty());
        parts.extend(words.map(|words| comment("# ", "# ", words)));
        parts.push(format!("#{key} = {value}\n"));
    }
    parts.concat()
}

/// The optional keys of a section: name, default, and the comment that they have in the first section.
fn keys(platform: &Platform) -> Vec<(&'static str, String, &'static str)> {
    let text = |text: &str| format!("{text:?}");
    let revoke_url = match &platform.revocation {
        Revocation::Delete { url } | Revocation::Endpoint { url, .. } => url.as_ref(),
        Revocation::Unsupported => "",
    };
    let table = |pairs: &[(Text, Text)]| match pairs {
        [] => "{}".to_owned(),
        pairs => {
            let pairs = pairs.iter().map(|(name, value)| format!("{name} = {value:?}"));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
    };
    let [accounts_url, locations_url] =
        platform.identity.accounts.hosts().map_or([""; 2], |hosts| hosts.map(AsRef::as_ref));
    vec![
        (
            "client_secret_file",
            text(&format!("{}.secret", platform.name)),
            "Instead of client_secret: a file that holds the secret and nothing else.",
        ),
        (
            "client_secrets",
            "[\"new\", \"old\"]".to_owned(),
            "Several in place of one, while a secret is replaced: the next is tried where the platform refuses the client \
             with the one before.",
        ),
        (
            "client_secrets_file",
            text(&format!("{}.secrets", platform.name)),
            "A file that holds one of them in each line.",
        ),
        ("enabled", "true".to_owned(), "false: the platform is neither listed nor connected."),
        ("label", text(&platform.label), "Name shown to people."),
        (
            "scopes",
            format!("{:?}", platform.scopes),
            "What people are asked to permit. With fewer, the broker may be unable to find out who connected.",
        ),
        (
            "optional_scopes",
            format!("{:?}", platform.optional_scopes),
            "Further scopes that the app has: asked for only where a caller names them in ?scopes= of a connection.",
        ),
        (
            "authorize_url",
            text(&platform.authorize_url),
            "Endpoints, for a gateway or a test: the platform's own unless set.",
        ),
        ("token_url", text(&platform.token_url), ""),
        ("revoke_url", text(revoke_url), ""),
        ("api_url", text(&platform.api_url), "Base of the platform's API."),
        (
            "api_version",
            text(&platform.api_version),
            "Version of the platform's API, where it has one: in the paths of calls, and for {version} in URLs.",
        ),
        ("accounts_url", text(accounts_url), ""),
        ("locations_url", text(locations_url), ""),
        (
            "authorize_params",
            table(&platform.authorize_params),
            "Further parameters of the authorize URL: added to the platform's own, or in place of one; \"\" removes one.",
        ),
        ("token_params", table(&platform.exchange_params), "The same for the code exchange, and for refreshes."),
        ("refresh_params", table(&platform.refresh_params), ""),
        (
            "scope_separator",
            text(platform.scope_separator.as_str()),
            "Between scopes in the authorize URL: \" \" or \",\".",
        ),
        (
            "client_auth",
            text(platform.client_auth.into()),
            "How the secret is sent to the token endpoint: \"basic\" (header), \"body\", or \"none\" for a client without one.",
        ),
        (
            "pkce",
            text(platform.pkce.into()),
            "\"s256\", \"none\", or TikTok's \"s256_hex\" (hexadecimal) and \"s256_hex_on_loopback\".",
        ),
        (
            "token_lifetime_seconds",
            platform.default_expires_in.map_or_else(|| text(""), |seconds| seconds.to_string()),
            "How long an access token lives where the answer does not say, or says it in milliseconds.",
        ),
        (
            "errors",
            "{ \"283\" = \"reconnect\" }".to_owned(),
            "What codes of the platform mean, where the broker reads them wrong: \"reconnect\" (the account's owner connects \
             again), \"app\" (the credentials are wrong) or \"retry\". A code is a word or number in the platform's error \
             answer, which the log shows: error, code, subcode, reason, title. An answer with 429 or a status above 500 is \
             throttling or an outage whatever it says.",
        ),
    ]
}

/// The failures of a connection, with who can help.
fn failures() -> String {
    let row = |failure: Failure| {
        let (code, help) = (failure.code(), failure.who_can_help().code());
        let mut happened = failure.what_happened("the platform");
        happened.get_mut(..1).unwrap().make_ascii_uppercase();
        format!("| `{code}` | `{help}` | {happened} |\n")
    };
    let rows: String = Failure::OF_CONNECTION.into_iter().map(row).collect();
    format!("\n| `error` | who can help | what happened |\n| --- | --- | --- |\n{rows}\n")
}

fn example(platforms: &[Platform]) -> String {
    let sections = platforms.iter().enumerate().map(|(at, platform)| section(platform, at == 0));
    sections.collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
#[expect(clippy::disallowed_methods, reason = "insta's own switch, which writes these texts as well")]
fn readme_and_example_tell_what_the_platforms_say() {
    let platforms: Vec<Platform> = BUILT_IN.iter().map(|definition| definition()).collect();
    let updates = std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always");
    for (file, from, to, part) in [
        ("README.md", "<!-- platforms: generated -->\n", "<!-- end -->", readme(&platforms)),
        ("README.md", "<!-- failures: generated -->\n", "<!-- end of failures -->", failures()),
        ("postpeer.toml.example", "shown for the first.\n\n", "# Bluesky: no app", example(&platforms)),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let text = fs::read_to_string(&path).unwrap();
        let wanted = replace(&text, from, to, &part);
        if updates && text != wanted {
            fs::write(&path, &wanted).unwrap();
        } else {
            assert!(
                text == wanted,
                "{file} differs from src/platforms: `INSTA_UPDATE=always cargo test --lib platforms::generated_texts` writes\n{part}"
            );
        }
    }
}

#[test]
fn every_platform_says_what_people_should_know() {
    for platform in BUILT_IN.iter().map(|definition| definition()) {
        let Guide { connects, know, credentials, setup, keys, .. } = platform.guide;
        for text in [connects, know, credentials] {
            assert!(!text.is_empty(), "{} lacks a text in its guide", platform.name);
        }
        for text in [connects, know, credentials].iter().chain(setup).chain(keys.iter().map(|(_, comment)| comment)) {
            assert!(!text.contains(['\n', '|']) && !text.contains("  "), "{}: {text:?}", platform.name);
        }
    }
}
