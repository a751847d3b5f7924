//! Asks a platform whether it can be reached and accepts the operator's credentials. Begins and spends nothing.

use secrecy::SecretString;

use super::{OauthClient, Reachable, Upstream};
use crate::domain::platform_error::PlatformError;
use crate::oauth::{Probed, Undiscovered};
use crate::platforms::Credentials;

/// What was learned of a platform.
#[derive(Debug)]
pub enum Outcome {
    /// For each secret, the key that it is configured by.
    Asked(Vec<(String, Result<Probed, PlatformError>)>),
    /// Of Bluesky: the servers at which a connection begins.
    Directories(Vec<Reachable>),
    /// The platform's server does not say what this setting would.
    Incomplete(&'static str),
    NoCredentials,
    /// Each person names a server there: there is none to ask yet.
    NoServerYet,
    Undiscovered(Undiscovered),
}

impl Upstream {
    /// Asks an enabled platform, with its issuer first where it has one. `callback`: the callback URL of the platform.
    pub async fn probe(&self, name: &str, callback: &str) -> Outcome {
        let Some(platform) = self.platforms.find(name) else {
            return Outcome::Directories(match self.platforms.bluesky() {
                Some(bluesky) => self.atproto.probe(bluesky).await,
                None => Vec::new(),
            });
        };
        if platform.has_servers() {
            return Outcome::NoServerYet;
        }
        if platform.awaits_discovery() {
            match self.discover(platform).await {
                Ok((_, metadata)) => platform.adopt(&metadata),
                Err(error) => return Outcome::Undiscovered(error),
            }
        }
        if let Some(key) = platform.platform().lacks() {
            return Outcome::Incomplete(key);
        }
        let Some(credentials) = &platform.credentials else { return Outcome::NoCredentials };
        let mut asked = Vec::new();
        for (key, secret) in secrets(credentials) {
            let alone = Credentials { client_secret: secret, older_secrets: Vec::new(), ..credentials.clone() };
            let client: OauthClient<'_> = self.oauth_client(platform, None, alone);
            asked.push((key, client.probe(callback).await));
        }
        Outcome::Asked(asked)
    }
}

/// Each secret, with the key that configures it.
fn secrets(credentials: &Credentials) -> Vec<(String, SecretString)> {
    if credentials.older_secrets.is_empty() {
        let key = if credentials.private_key.is_some() { "private_key" } else { "client_secret" };
        return vec![(key.to_owned(), credentials.client_secret.clone())];
    }
    let all = [&credentials.client_secret].into_iter().chain(&credentials.older_secrets);
    (1..).zip(all).map(|(at, secret)| (format!("entry {at} of client_secrets"), secret.clone())).collect()
}
