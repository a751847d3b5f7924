//! `--probe`: what platforms say of the operator's credentials, as findings.

use crate::app::Ports;
use crate::app::probe::{Outcome, Probed, Reachable, Suspect, Verdict, probe};
use crate::cli::failure::{Exit, Failure};
use crate::cli::finding::Finding;
use crate::cli::platforms::callback_url;
use crate::config::Config;
use crate::domain::error_chain::chain;

const CHECK: &str = "probe";

/// Asks these platforms.
pub(super) fn examine(config: &Config, names: &[&str]) -> Result<Vec<Finding>, Failure> {
    say!(
        "Asking {}.",
        if names.is_empty() { "nobody: no platform has credentials".to_owned() } else { names.join(", ") }
    );
    let outcomes = probe(config, &Ports::system(), names, |name| callback_url(config, name))?;
    Ok(names.iter().zip(outcomes).flat_map(|(name, outcome)| findings(config, name, outcome)).collect())
}

fn findings(config: &Config, name: &str, outcome: Outcome) -> Vec<Finding> {
    let section = format!("[platforms.{name}]");
    match outcome {
        Outcome::Asked(asked) => asked
            .into_iter()
            .map(|(key, probed)| match probed {
                Ok(probed) => told(config, name, &key, &probed),
                Err(error) => {
                    Finding::error(Exit::Config, CHECK, name, format!("it cannot be asked: {}", chain(&error)))
                        .remedy(format!("correct token_url in {section}"))
                }
            })
            .collect(),
        Outcome::Directories(servers) => servers.iter().map(|server| directory(name, server)).collect(),
        Outcome::Incomplete(key) => {
            let message = format!("its server does not say what would be set as {key}");
            vec![Finding::error(Exit::Config, CHECK, name, message).remedy(format!("set {key} in {section}"))]
        }
        Outcome::NoCredentials => {
            let message = "it has no client id and no secret, so there is nothing to ask";
            let remedy = format!("set client_id and client_secret in {section}");
            vec![Finding::error(Exit::Config, CHECK, name, message).remedy(remedy)]
        }
        Outcome::NoServerYet => {
            let message = "each person names a server there, and the broker registers itself at it: there is nothing to ask \
                           before";
            vec![Finding::note(CHECK, name, message)]
        }
        Outcome::Undiscovered(error) => {
            let remedy =
                format!("where the server was reached, correct issuer in {section}, or set the endpoints there");
            vec![Finding::error(Exit::Unavailable, CHECK, name, error.to_string()).remedy(remedy)]
        }
    }
}

/// `key`: the one that configures the secret; empty where there is none.
fn told(config: &Config, name: &str, key: &str, probed: &Probed) -> Finding {
    let console = config.platforms.console(name);
    let place = console.unwrap_or("the platform");
    let section = format!("[platforms.{name}]");
    let answered = answered(probed);
    let and_key = if key.is_empty() { String::new() } else { format!(" and {key}") };
    match &probed.verdict {
        Verdict::Accepted => {
            let message = format!("it accepts client_id{and_key}, and refused only the made-up code{answered}");
            Finding::ok(CHECK, name, message)
        }
        Verdict::Failed(failure) => {
            let told = failure.what_happened(&config.platforms.label(name));
            let message = format!("{}{answered}", told.trim_end_matches('.'));
            if failure.is_transient() {
                return Finding::error(Exit::Unavailable, CHECK, name, message).remedy("probe it again later");
            }
            Finding::warning(CHECK, name, message).remedy(failure.next_step(name, console))
        }
        Verdict::Refused(suspect) => {
            let what = match suspect {
                Suspect::ClientId => "client_id".to_owned(),
                Suspect::ClientSecret | Suspect::Either if key.is_empty() => "client_id without a secret".to_owned(),
                Suspect::ClientSecret => key.to_owned(),
                Suspect::Either => format!("client_id or {key}, and does not say which"),
            };
            let or_how = match console {
                Some(_) => "",
                None if key == "private_key" => {
                    ", and private_key_audience, private_key_algorithm and private_key_id with the server's documentation"
                }
                None => ", or try another client_auth (\"body\" or \"basic\"): the server may want them otherwise",
            };
            let remedy = format!("compare client_id{and_key} of {section} with the app at {place}{or_how}");
            Finding::error(Exit::Config, CHECK, name, format!("it refuses {what}{answered}")).remedy(remedy)
        }
        Verdict::Untold if probed.status.is_some_and(|status| matches!(status, 300..400 | 404 | 405)) => {
            let message = format!("nothing at its token_url takes requests for tokens{answered}");
            Finding::error(Exit::Config, CHECK, name, message).remedy(format!("correct token_url in {section}"))
        }
        Verdict::Untold => {
            let message =
                format!("it was reached, and its answer does not tell whether it accepts the credentials{answered}");
            Finding::note(CHECK, name, message).remedy("connect an account to find out")
        }
        Verdict::Unreachable(error) => {
            let how =
                if error.is_before_sending() { "it cannot be reached" } else { "it gave no answer that can be used" };
            Finding::error(Exit::Unavailable, CHECK, name, format!("{how}: {}", error.in_words()))
        }
    }
}

fn answered(probed: &Probed) -> String {
    match (probed.status, &probed.code) {
        (None, _) => String::new(),
        (Some(status), None) => format!(" (HTTP {status})"),
        (Some(status), Some(code)) => format!(" (HTTP {status}, {code})"),
    }
}

fn directory(name: &str, server: &Reachable) -> Finding {
    let Reachable { key, url, answer } = server;
    let remedy = format!("correct {key} in [platforms.{name}], if this is not the server that was meant");
    match answer {
        Ok(status) if *status < 500 => Finding::ok(CHECK, name, format!("{key} answers: {url}")),
        Ok(status) => {
            let message = format!("{key} fails with HTTP {status}: {url}");
            Finding::error(Exit::Unavailable, CHECK, name, message).remedy(remedy)
        }
        Err(error) => {
            let message = format!("{key} cannot be reached, {url}: {}", error.in_words());
            let remedy = if error.is_of_proxy() { String::new() } else { remedy };
            Finding::error(Exit::Unavailable, CHECK, name, message).remedy(remedy)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Environment};
    use crate::domain::failure::Failure as Failing;
    use crate::outbound;

    #[test]
    fn an_own_server_may_want_the_credentials_in_another_form() {
        let toml = r#"
            [platforms.twitter]
            client_id = "id"
            client_secret = "secret"
            [platforms.acme]
            client_id = "id"
            client_secret = "secret"
            authorize_url = "https://id.acme.example/auth"
            token_url = "https://id.acme.example/token"
            identity_url = "https://id.acme.example/me"
            identity = { id = "/sub" }
        "#;
        let config = config::from_str("x", toml, Path::new(""), &Environment::default()).unwrap();
        let remedy = |name, key| {
            let verdict = Verdict::Refused(Suspect::Either);
            told(&config, name, key, &Probed { verdict, status: Some(401), code: None }).remedy
        };
        assert!(remedy("acme", "client_secret").contains("another client_auth (\"body\" or \"basic\")"));
        assert!(remedy("acme", "private_key").contains("private_key_audience"));
        assert!(!remedy("twitter", "client_secret").contains("client_auth"));
        let probed =
            |verdict| told(&config, "acme", "client_secret", &Probed { verdict, status: Some(500), code: None });
        assert_eq!(probed(Verdict::Failed(Failing::PlatformUnavailable)).remedy, "probe it again later");
        let large = probed(Verdict::Unreachable(outbound::Error::TooLarge)).message;
        assert!(large.starts_with("it gave no answer that can be used: the answer is larger"), "{large}");
    }
}
