//! `postpeer platforms`: what the broker knows of each platform.

use clap::{Args, Subcommand};

use super::failure::{Exit, Failure};
use super::output;
use super::settings::ConfigFile;
use crate::config::{Config, Environment, nearest_word, presets};
use crate::platforms::registry::{ConfiguredPlatform, Listing};
use crate::platforms::{Availability, Bluesky, Facts, Guide, Platform, Revocation, bluesky};

/// List the platforms, or show what the broker knows of one
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  postpeer platforms show facebook", disable_help_subcommand = true)]
pub(super) enum Command {
    List(List),
    Show(Show),
}

/// List all platforms; needs no configuration, and applies the one that is there
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer platforms list")]
pub(super) struct List {
    #[command(flatten)]
    config: ConfigFile,
}

/// Show the endpoints, scopes, lifetimes, API version and setup notes of a platform or a preset
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  postpeer platforms show facebook")]
pub(super) struct Show {
    /// Name of the platform, as in `postpeer platforms list`
    name: String,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(command: Command, environment: &Environment) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => output::result(&list(&arguments.config.load_or_defaults(environment)?)),
        Command::Show(arguments) => {
            output::result(&show(&arguments.config.load_or_defaults(environment)?, &arguments.name)?)
        }
    }
}

/// State of a platform, in the words of `check` and of these commands.
pub(super) const fn state(platform: &Listing<'_>) -> &'static str {
    match (platform.enabled, platform.availability) {
        (false, _) => "off",
        (true, Availability::Dev) => "no credentials",
        (true, Availability::Prod) => "prod",
    }
}

/// The platform of that name. The error names one that may be meant.
pub(super) fn find<'a>(config: &'a Config, name: &str) -> Result<Listing<'a>, Failure> {
    let listings = config.platforms.listings();
    let known: Vec<&str> = listings.iter().map(|listing| listing.name).collect();
    let guess = nearest_word(name, &known).map_or_else(String::new, |near| format!(": did you mean {near}?"));
    let unknown = || Failure::new(Exit::Usage, format!("there is no platform \"{name}\"{guess}"));
    listings.into_iter().find(|listing| listing.name == name).ok_or_else(unknown)
}

/// Texts about a platform that there is, for operators.
pub(super) fn guide(config: &Config, name: &str) -> Guide {
    config.platforms.find_any(name).map_or(bluesky::GUIDE, |configured| configured.platform().guide)
}

/// The URL to which a platform sends browsers back.
pub(super) fn callback_url(config: &Config, name: &str) -> String {
    format!("{}/v1/connect/{name}/callback", config.server.public_url)
}

/// The callback URL that an operator registers at a platform. The error says why there is none to register.
pub(super) fn to_register(config: &Config, platform: &Listing<'_>) -> Result<String, &'static str> {
    if !platform.has_callback {
        return Err("none: it has no redirect");
    }
    if config.platforms.find_any(platform.name).is_some_and(ConfiguredPlatform::has_servers) {
        return Err("none: the broker registers itself");
    }
    Ok(callback_url(config, platform.name))
}

/// The callback URL, or why there is none to register, for a table.
pub(super) fn to_register_or_why(config: &Config, platform: &Listing<'_>) -> String {
    to_register(config, platform).unwrap_or_else(str::to_owned)
}

fn list(config: &Config) -> String {
    let row = |listing: Listing<'_>| {
        let facts = guide(config, listing.name).facts;
        let as_of = facts.map_or_else(|| "from your configuration".to_owned(), |facts| facts.as_of.to_string());
        [listing.name.to_owned(), listing.label.to_owned(), state(&listing).to_owned(), as_of]
    };
    let mut rows = vec![["NAME", "PLATFORM", "STATE", "FACTS AS OF"].map(str::to_owned)];
    rows.extend(config.platforms.listings().into_iter().map(row));
    format!("{}\n\nKnown servers, added with [platforms.NAME]: {}", output::table(&rows), presets::listed())
}

fn show(config: &Config, name: &str) -> Result<String, Failure> {
    if let Ok(listing) = find(config, name) {
        return Ok(describe(config, &listing, state(&listing)));
    }
    if let Some(preset) = presets::alone(name, &config.server.public_url)
        && let Ok(listing) = find(&preset, name)
    {
        return Ok(describe(&preset, &listing, &format!("not set up; [platforms.{name}] does")));
    }
    let names: Vec<&str> = config.platforms.listings().iter().map(|listing| listing.name).collect();
    let known: Vec<&str> = names.iter().copied().chain(presets::names().map(|name| -> &str { name })).collect();
    let guess =
        nearest_word(name, &known).map_or_else(|| ".".to_owned(), |nearest| format!(": did you mean {nearest}?"));
    let (names, presets) = (names.join(", "), presets::listed());
    let message =
        format!("there is no platform \"{name}\"{guess} The platforms are {names}, and these have presets: {presets}");
    Err(Failure::new(Exit::Usage, message))
}

fn describe(config: &Config, listing: &Listing<'_>, state: &str) -> String {
    let name = listing.name;
    let (configured, guide) = (config.platforms.find_any(name), guide(config, name));
    let of_protocol = match configured {
        Some(configured) => of_oauth(configured.platform()),
        None => of_bluesky(config.platforms.bluesky().unwrap_or(&Bluesky::default())),
    };
    let mut rows = vec![
        ("state", state.to_owned()),
        ("callback URL", shown_callback(config, listing)),
        ("facts as of", guide.facts.map_or_else(String::new, |facts| facts.as_of.to_string())),
    ];
    if let Some(issuer) = configured.and_then(|configured| configured.issuer()) {
        let from_issuer = ["client secret", "disconnect", "issuer", "PKCE", "revocation"];
        rows.push((
            "issuer",
            format!("{issuer}, which publishes what is not shown here; it is asked by `postpeer serve`"),
        ));
        rows.extend(of_protocol.into_iter().filter(|(name, _)| !from_issuer.contains(name)));
    } else {
        rows.extend(of_protocol);
    }
    rows.extend(lives(guide.facts));
    rows.extend(notes(&guide));
    let rows = rows.into_iter().filter(|(_, fact)| !fact.is_empty());
    let lines = rows.map(|(name, fact)| wrapped(name, &fact));
    format!("{} ({name})\n\n{}", listing.label, lines.collect::<Vec<_>>().join("\n"))
}

fn shown_callback(config: &Config, listing: &Listing<'_>) -> String {
    match to_register(config, listing) {
        Err(_) if listing.has_callback => {
            format!(
                "{}/v1/connect/{}@SERVER/callback, which the broker registers itself",
                config.server.public_url, listing.name
            )
        }
        url => url.unwrap_or_else(str::to_owned),
    }
}

fn of_oauth(platform: &Platform) -> Vec<(&'static str, String)> {
    let revocation = match &platform.revocation {
        Revocation::Delete { url } => format!("DELETE {url}"),
        Revocation::Endpoint { url, .. } => url.to_string(),
        Revocation::Unsupported => "none".to_owned(),
    };
    let version = match platform.version().map(|version| version.ends) {
        Some(Some(ends)) => format!("{}, which ends on {ends}", platform.api_version),
        Some(None) => format!("{}; no end announced", platform.api_version),
        None => platform.api_version.to_string(),
    };
    let versions = platform.guide.facts.map_or(&[][..], |facts| facts.versions);
    let others = versions.iter().map(|version| version.name).filter(|other| *other != platform.api_version);
    let parameters = platform.authorize_params.iter().map(|(name, value)| format!("{name}={value}"));
    vec![
        ("issuer", platform.issuer.as_deref().unwrap_or_default().to_owned()),
        ("authorize", platform.authorize_url.to_string()),
        ("token", platform.token_url.to_string()),
        ("revocation", revocation),
        ("API", platform.api_url.to_string()),
        ("API version", version),
        ("also works with", others.collect::<Vec<_>>().join(", ")),
        ("scopes", platform.scopes.join(" ")),
        ("parameters", parameters.collect::<Vec<_>>().join(" ")),
        ("client secret", format!("sent as {}", <&str>::from(platform.client_auth))),
        ("PKCE", <&str>::from(platform.pkce).to_owned()),
        ("renewal", platform.renewal()),
        ("disconnect", format!("ends {}", platform.disconnect_ends())),
    ]
}

fn of_bluesky(bluesky: &Bluesky) -> Vec<(&'static str, String)> {
    vec![
        ("handles", bluesky.resolver_url.clone()),
        ("directory", bluesky.plc_url.clone()),
        ("renewal", "with a refresh token, which each refresh replaces".to_owned()),
        ("disconnect", "ends the session".to_owned()),
    ]
}

fn lives(facts: Option<&Facts>) -> Vec<(&'static str, String)> {
    let Some(facts) = facts else { return Vec::new() };
    let facts = [("code lives", facts.code), ("access token", facts.access_token), ("refresh token", facts.refresh)];
    facts.map(|(name, fact)| (name, fact.to_owned())).to_vec()
}

fn notes(guide: &Guide) -> Vec<(&'static str, String)> {
    let notes = [("credentials", guide.credentials), ("know", guide.know)].into_iter();
    notes.chain(guide.setup.iter().map(|setup| ("setup", *setup))).map(|(name, note)| (name, note.to_owned())).collect()
}

/// A fact in lines of at most 100 columns, behind its name.
pub(super) fn wrapped(name: &str, fact: &str) -> String {
    let mut lines = vec![format!("{name:<16}")];
    for word in fact.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + word.chars().count() < 100 || line.trim().is_empty() => {
                line.push_str(if line.ends_with(' ') { "" } else { " " });
                line.push_str(word);
            }
            _ => lines.push(format!("{:<16}{word}", "")),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn config(toml: &str) -> Config {
        config::from_str("x", toml, Path::new(""), &Environment::default()).unwrap()
    }

    #[test]
    fn a_platform_is_shown_as_it_is_configured() {
        let shown = show(&config("[platforms.facebook]\napi_version = \"v27.0\""), "facebook").unwrap();
        insta::assert_snapshot!(shown, @r#"
        Facebook (facebook)

        state           no credentials
        callback URL    http://127.0.0.1:8080/v1/connect/facebook/callback
        facts as of     2026-11-26
        authorize       https://www.facebook.com/v27.0/dialog/oauth
        token           https://graph.facebook.com/v27.0/oauth/access_token
        revocation      DELETE https://graph.facebook.com/v27.0/me/permissions
        API             https://graph.facebook.com
        API version     v27.0; no end announced
        also works with v25.0
        scopes          pages_show_list pages_manage_posts pages_read_engagement business_management
        parameters      auth_type=rerequest
        client secret   sent as body
        PKCE            none
        renewal         the token is exchanged again; where that brings no time, its owner reconnects
        disconnect      ends the person's whole consent to your app
        code lives      minutes, once (not documented)
        access token    60 days for a person's long-lived token; a Page's does not expire
        refresh token   the person's token itself, for as long as it lives
        credentials     https://developers.facebook.com, your app, "App settings", "Basic": the app id and
                        secret
        know            Pages of a business portfolio need `business_management`; a Page's token does not
                        expire, the person's behind it lives for 60 days and is prolonged where Facebook
                        lets it
        "#);
        let shown = show(&config(""), "bluesky").unwrap();
        insta::assert_snapshot!(shown, @"
        Bluesky (bluesky)

        state           prod
        callback URL    none: it has no redirect
        facts as of     2026-11-26
        handles         https://public.api.bsky.app
        directory       https://plc.directory
        renewal         with a refresh token, which each refresh replaces
        disconnect      ends the session
        code lives      none: there is no redirect
        access token    2 hours at the reference server
        refresh token   90 days at the reference server, from each refresh; the one before stays good for 2
                        hours
        know            no app and no redirect: handle and app password go to `POST
                        /v1/connect/bluesky/auth`; the password is not kept
        ");
    }

    #[test]
    fn every_platform_is_listed_and_can_be_shown() {
        let config = config("");
        let list = list(&config);
        for listing in config.platforms.listings() {
            assert!(list.lines().any(|line| line.split(' ').next() == Some(listing.name)), "{}", listing.name);
            assert!(show(&config, listing.name).unwrap().contains("2026-"), "{}", listing.name);
        }
        assert!(list.ends_with(&presets::listed()), "{list}");
        for preset in presets::names() {
            let shown = show(&config, preset).unwrap();
            let at = if preset == "mastodon" { "@SERVER" } else { "" };
            assert!(shown.contains(&format!("http://127.0.0.1:8080/v1/connect/{preset}{at}/callback")), "{shown}");
            assert!(shown.contains("\nfacts as of") && shown.contains("\nknow"), "{shown}");
        }
        let github = show(&config, "github").unwrap();
        insta::assert_snapshot!(github, @"
        GitHub (github)

        state           not set up; [platforms.github] does
        callback URL    http://127.0.0.1:8080/v1/connect/github/callback
        facts as of     2026-11-26
        authorize       https://github.com/login/oauth/authorize
        token           https://github.com/login/oauth/access_token
        revocation      none
        scopes          read:user
        client secret   sent as body
        PKCE            s256
        renewal         with a refresh token, which a refresh may replace
        disconnect      ends nothing there; the tokens are erased here
        credentials     https://github.com/settings/developers
        know            tokens of an OAuth app do not expire, those of a GitHub App are refreshed; a
                        disconnect revokes nothing there
        ");
        for (name, nearest) in [("twiter", "twitter"), ("mastadon", "mastodon"), ("blusky", "bluesky")] {
            let told = show(&config, name).unwrap_err().message;
            assert!(
                told.starts_with(&format!("there is no platform \"{name}\": did you mean {nearest}? The ")),
                "{told}"
            );
        }
        assert!(show(&config, "zebra").unwrap_err().message.starts_with("there is no platform \"zebra\". The "));
    }
}
