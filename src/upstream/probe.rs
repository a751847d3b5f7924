//! Asks a platform whether it can be reached and accepts the operator's credentials. Begins and spends nothing.

use secrecy::SecretString;

use super::{OauthClient, Reachable, Upstream};
use crate::domain::platform_error::PlatformError;
use crate::oauth::{Probed, Undiscovered};
use crate::platforms::{ClientAuth, Credentials};

/// What was learned of a platform.
#[derive(Debug)]
pub enum Outcome {
    /// For each secret, the key that it is configured by; empty for a client without a secret.
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
                Err(error) if platform.may_go_without(error.is_absent) => {}
                Err(error) => return Outcome::Undiscovered(error),
            }
        }
        if let Some(key) = platform.platform().lacks() {
            return Outcome::Incomplete(key);
        }
        let Some(credentials) = &platform.credentials else { return Outcome::NoCredentials };
        let mut asked = Vec::new();
        let is_public = platform.platform().client_auth == ClientAuth::None;
        for (key, secret) in secrets(credentials, is_public) {
            let alone = Credentials { client_secret: secret, older_secrets: Vec::new(), ..credentials.clone() };
            let client: OauthClient<'_> = self.oauth_client(platform, None, alone);
            asked.push((key, client.probe(callback).await));
        }
        Outcome::Asked(asked)
    }
}

/// Each secret, with the key that configures it; an empty key for a client that has none.
fn secrets(credentials: &Credentials, is_public: bool) -> Vec<(String, SecretString)> {
    if credentials.older_secrets.is_empty() {
        let key = match &credentials.private_key {
            Some(_) => "private_key",
            None if is_public => "",
            None => "client_secret",
        };
        return vec![(key.to_owned(), credentials.client_secret.clone())];
    }
    let all = [&credentials.client_secret].into_iter().chain(&credentials.older_secrets);
    (1..).zip(all).map(|(at, secret)| (format!("entry {at} of client_secrets"), secret.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_secret_has_no_key_to_compare() {
        let key = |is_public| secrets(&Credentials::none(), is_public).remove(0).0;
        assert_eq!((key(true), key(false)), (String::new(), "client_secret".to_owned()));
    }
}
