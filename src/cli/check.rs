//! `postpeer check`: checks all that `serve` would see, lists the callback URLs to register, and asks the platforms
//! whether they accept the credentials.

mod probe;
mod start;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure};
use super::finding::{Finding, as_json, as_text, conclude};
use super::platforms::{find, guide, state, to_register, to_register_or_why, wrapped};
use super::settings::{ConfigFile, mistakes, warnings};
use super::{output, process};
use crate::config::{Config, Environment};
use crate::domain::time::{Clock, SystemClock};
use crate::platforms::About;
use crate::platforms::registry::Listing;

/// Check the configuration and all that `serve` would see: keyring, database, folders, addresses, permissions
///
/// Prints every mistake at once, or each platform with the callback URL to register there. Changes nothing. Exits with
/// 0 if there is no error, with 78 on a mistake in configuration, keyring or permissions, 66 if the database is
/// missing, 65 if it is damaged, 69 if an address is taken or a platform cannot be reached, 74 on an I/O error.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  postpeer check\n  postpeer check --config /etc/postpeer/postpeer.toml\n  postpeer check --probe              # asks each configured platform\n  postpeer check --probe twitter --json"
)]
pub(super) struct Arguments {
    /// Also ask these platforms [default: all that have credentials] whether they can be reached and accept client id
    /// and secret
    ///
    /// Sends a made-up authorization code, which a platform refuses only after it has accepted the client. No person is
    /// asked, and nothing is connected.
    #[arg(long, value_name = "PLATFORM", num_args = 0..)]
    probe: Option<Vec<String>>,
    /// Print JSON: {"findings": [{"check", "severity", "subject", "message", "remedy"}], "worst", "platforms"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments, environment: &Environment) -> Result<(), Failure> {
    let config = match arguments.config.read(environment) {
        Ok(config) => config,
        Err(error) if arguments.json => {
            let findings = mistakes(&error);
            output::result(&document(&findings, Vec::new()).to_string())?;
            return conclude(&findings);
        }
        Err(error) => return Err(error.into()),
    };
    process::harden();
    let probed = arguments.probe.as_deref().map(|names| to_probe(&config, names)).transpose()?;
    let mut findings = warnings(&config, &SystemClock);
    findings.extend(advice(&config, &SystemClock));
    findings.extend(start::examine(&config, &arguments.config, environment));
    if let Some(names) = &probed {
        findings.extend(probe::examine(&config, names)?);
    }
    let probed = probed.unwrap_or_default();
    output::result(&if arguments.json {
        json(&config, &findings).to_string()
    } else {
        text(&config, &findings, &probed)
    })?;
    conclude(&findings)
}

/// The platforms to ask: those that were named, else all that have credentials.
fn to_probe<'a>(config: &'a Config, names: &[String]) -> Result<Vec<&'a str>, Failure> {
    if names.is_empty() {
        // Bluesky is ready without credentials, and so are servers that people name: nothing there could refuse them.
        let has_credentials = |name| config.platforms.find(name).is_some_and(|one| one.credentials.is_some());
        let ready = config.platforms.listings().into_iter().filter(Listing::is_ready);
        return Ok(ready.map(|one| one.name).filter(|name| has_credentials(name)).collect());
    }
    let found = |name: &String| {
        let listing = find(config, name)?;
        if !listing.enabled {
            let message = format!("{name} is switched off: set enabled = true in [platforms.{name}] to ask it");
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(listing.name)
    };
    names.iter().map(found).collect()
}

/// Advice that would make a working configuration safer.
fn advice(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let server = &config.server;
    // The broker speaks plain HTTP, so a proxy terminates TLS.
    let proxy = (server.public_url.starts_with("https:") && server.trusted_proxies.is_empty()).then(|| {
        let message = "it is empty, so the log and the audit trail have the address of the proxy in front of the broker, and not \
                       those of its clients";
        Finding::note("configuration", "server.trusted_proxies", message).remedy("name the address of that proxy")
    });
    let unchecked = config.platforms.remarks(clock.now().day()).into_iter();
    let unchecked = unchecked.filter(|remark| remark.about == About::Issuer).map(|remark| {
        let subject = format!("[platforms.{}]", remark.platform);
        Finding::note("configuration", subject, remark.sentence).remedy(remark.remedy)
    });
    proxy.into_iter().chain(unchecked).collect()
}

fn text(config: &Config, findings: &[Finding], probed: &[&str]) -> String {
    let mut sections = vec![report(config)];
    sections.extend(probed.iter().filter_map(|name| find(config, name).ok()).map(|listing| setup(config, &listing)));
    sections.push(as_text(findings));
    sections.join("\n\n")
}

/// Lists what an operator sets up at a platform: the callback URL, where, and the known traps.
fn setup(config: &Config, listing: &Listing<'_>) -> String {
    let guide = guide(config, listing.name);
    let mut lines = vec![
        format!("{} ({})", listing.label, listing.name),
        wrapped("callback URL", &to_register_or_why(config, listing)),
    ];
    let notes = [("console", guide.console), ("know", guide.know)].into_iter();
    let notes = notes.chain(guide.setup.iter().map(|setup| ("setup", *setup))).filter(|(_, note)| !note.is_empty());
    lines.extend(notes.map(|(name, note)| wrapped(name, note)));
    lines.join("\n")
}

fn json(config: &Config, findings: &[Finding]) -> Value {
    let platform = |listing: &Listing<'_>| {
        let guide = guide(config, listing.name);
        json!({
            "name": listing.name,
            "label": listing.label,
            "state": state(listing),
            "callbackUrl": to_register(config, listing).ok(),
            "console": guide.console,
            "know": guide.know,
            "setup": guide.setup,
        })
    };
    document(findings, config.platforms.listings().iter().map(platform).collect())
}

/// `platforms`: none where the configuration has mistakes.
fn document(findings: &[Finding], platforms: Vec<Value>) -> Value {
    let mut document = as_json(findings);
    if let Some(document) = document.as_object_mut() {
        document.insert("platforms".to_owned(), Value::Array(platforms));
    }
    document
}

/// Lists each platform with its state and the callback URL to register there.
fn report(config: &Config) -> String {
    let ready =
        config.platforms.listings().into_iter().map(|platform| {
            [platform.name.to_owned(), state(&platform).to_owned(), to_register_or_why(config, &platform)]
        });
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
            [platforms.mastodon]
        "#;
        let config = config::from_str("x", toml, Path::new(""), &Environment::default()).unwrap();
        insta::assert_snapshot!(as_text(&advice(&config, &SystemClock)), @r"
        note     configuration  server.trusted_proxies: it is empty, so the log and the audit trail have the address of the proxy in front of the broker, and not those of its clients
                                -> name the address of that proxy
        note     configuration  [platforms.acme]: it has no issuer, so a callback that another server sends is not recognised by its iss
                                -> set issuer, where the server has one and its id_tokens have the nonce of the connection
        ");
        let report = report(&config);
        let shown = ["PLATFORM", "acme", "bluesky", "facebook", "googlebusiness", "mastodon", "tiktok", "twitter"];
        let is_shown = |line: &&str| shown.iter().any(|name| line.split(' ').next() == Some(name));
        assert_eq!(report.trim_end().lines().count(), 1 + config.platforms.listings().len());
        insta::assert_snapshot!(report.lines().filter(is_shown).collect::<Vec<_>>().join("\n"), @"
        PLATFORM        STATE           CALLBACK URL TO REGISTER
        acme            no credentials  https://connect.example.com/v1/connect/acme/callback
        bluesky         prod            none: it has no redirect
        facebook        no credentials  https://connect.example.com/v1/connect/facebook/callback
        googlebusiness  no credentials  https://connect.example.com/v1/connect/googlebusiness/callback
        mastodon        prod            none: the broker registers itself
        tiktok          off             https://connect.example.com/v1/connect/tiktok/callback
        twitter         prod            https://connect.example.com/v1/connect/twitter/callback
        ");
        let names = |named: &[&str]| {
            to_probe(&config, &named.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .map_err(|failure| failure.message)
        };
        assert_eq!(names(&[]).unwrap(), ["twitter"], "those without credentials are asked by name only");
        assert_eq!(names(&["bluesky"]).unwrap(), ["bluesky"]);
        assert_eq!(names(&["acme", "twitter"]).unwrap(), ["acme", "twitter"]);
        assert_eq!(names(&["twiter"]).unwrap_err(), "there is no platform \"twiter\": did you mean twitter?");
        assert!(names(&["tiktok"]).unwrap_err().contains("enabled = true"));
        let toml = toml.replace("https://id.acme.example/token", "http://id.acme.example/token");
        let config = config::from_str("x", &toml, Path::new(""), &Environment::default()).unwrap();
        let printed = as_text(&[warnings(&config, &SystemClock), advice(&config, &SystemClock)].concat());
        let remarks = config.platforms.remarks(SystemClock.now().day());
        assert_eq!(remarks.iter().filter(|remark| remark.platform == "acme").count(), 2, "{remarks:?}");
        for remark in remarks {
            assert!(printed.contains(&remark.sentence) && printed.contains(remark.remedy), "{remark:?}: {printed}");
        }
        let document = json(&config, &[]);
        let platforms = document["platforms"].as_array().unwrap();
        assert_eq!(platforms.len(), config.platforms.listings().len());
        let unregistered = platforms.iter().filter(|one| one["callbackUrl"].is_null());
        assert_eq!(unregistered.map(|one| &one["name"]).collect::<Vec<_>>(), ["bluesky", "mastodon"]);
    }
}
