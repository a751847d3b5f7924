//! `postpeer check`: checks the configuration and lists the callback URLs to register.

use clap::Args;

use super::failure::Failure;
use super::output;
use super::platforms::{callback_url, state};
use super::settings::{ConfigFile, warnings};
use crate::config::{Config, Environment};
use crate::domain::time::SystemClock;

/// Check the configuration; print every mistake, or each platform with the callback URL to register
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  postpeer check\n  postpeer check --config /etc/postpeer/postpeer.toml")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    let config = arguments.config.load(environment)?;
    for warning in warnings(&config, &SystemClock) {
        eprintln!("warning: {warning}");
    }
    for advice in advice(&config) {
        eprintln!("advice: {advice}");
    }
    output::result(&report(&config))
}

/// Advice that would make a working configuration safer.
fn advice(config: &Config) -> Vec<String> {
    // A preset has the issuer where its server has one.
    let unchecked = config.platforms.iter().filter(|configured| {
        configured.is_own() && configured.platform().issuer.is_none() && configured.platform().guide.facts.is_none()
    });
    unchecked
        .map(|configured| {
            format!(
                "[platforms.{}] has no issuer: set it, where the server has one, and a callback that another server sends \
                 is recognised by its iss",
                configured.platform().name
            )
        })
        .collect()
}

/// Lists each platform with its state and the callback URL to register there.
fn report(config: &Config) -> String {
    let ready = config
        .platforms
        .listings()
        .into_iter()
        .map(|platform| [platform.name.to_owned(), state(&platform).to_owned(), callback_url(config, &platform)]);
    let mut rows: Vec<[String; 3]> = ready.collect();
    rows.sort();
    rows.insert(0, ["PLATFORM", "STATE", "CALLBACK URL TO REGISTER"].map(str::to_owned));
    output::table(&rows)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn the_report_has_the_state_and_callback_url_of_each_platform() {
        let toml = r#"
            [server]
            public_url = "https://connect.example.com"
            [platforms.twitter]
            client_id = "id"
            client_secret = "secret"
            [platforms.tiktok]
            enabled = false
            [platforms.acme]
            authorize_url = "https://id.acme.example/auth"
            token_url = "https://id.acme.example/token"
            identity_url = "https://id.acme.example/me"
            identity = { id = "/sub" }
        "#;
        let config = config::from_str("x", toml, Path::new(""), &Environment::default(), &[]).unwrap();
        let [advice] = advice(&config).try_into().unwrap();
        insta::assert_snapshot!(advice, @"[platforms.acme] has no issuer: set it, where the server has one, and a callback that another server sends is recognised by its iss");
        let report = report(&config);
        let shown = ["PLATFORM", "acme", "bluesky", "facebook", "googlebusiness", "tiktok", "twitter"];
        let is_shown = |line: &&str| shown.iter().any(|name| line.split(' ').next() == Some(name));
        assert_eq!(report.trim_end().lines().count(), 1 + config.platforms.listings().len());
        insta::assert_snapshot!(report.lines().filter(is_shown).collect::<Vec<_>>().join("\n"), @"
        PLATFORM        STATE           CALLBACK URL TO REGISTER
        acme            no credentials  https://connect.example.com/v1/connect/acme/callback
        bluesky         prod            none: it has no redirect
        facebook        no credentials  https://connect.example.com/v1/connect/facebook/callback
        googlebusiness  no credentials  https://connect.example.com/v1/connect/googlebusiness/callback
        tiktok          off             https://connect.example.com/v1/connect/tiktok/callback
        twitter         prod            https://connect.example.com/v1/connect/twitter/callback
        ");
    }
}
