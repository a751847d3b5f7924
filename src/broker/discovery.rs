//! Finds out how the servers of an operator's own platforms are used, and keeps what they said for a start without
//! them.
//!
//! Only configured issuers are asked, never one that a caller names. What is kept is sealed, because it decides where
//! codes and client secrets go: nobody who can only write to the database can change that.

use secrecy::{ExposeSecret, SecretString};

use super::{Broker, Error};
use crate::domain::error_chain::chain;
use crate::platforms::{ConfiguredPlatform, Metadata};
use crate::store::discovered;
use crate::vault::Place;

impl Broker {
    /// Puts in place what the servers last said. Comes before everything that needs a platform.
    pub async fn restore_discovered(&self) {
        let kept = match self.store.read(discovered::list).await {
            Ok(kept) => kept,
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot read what platforms said of themselves");
                return;
            }
        };
        for (issuer, sealed) in kept {
            match self.vault.open_text(&Place::discovered(&issuer), &sealed) {
                Ok(document) => self.restore(&issuer, &document),
                Err(error) => tracing::warn!(issuer, error = %error, "cannot open what a platform said of itself"),
            }
        }
    }

    #[expect(clippy::disallowed_methods, reason = "what a server publishes is sealed against changes only")]
    fn restore(&self, issuer: &str, document: &SecretString) {
        let document = serde_json::from_str(document.expose_secret()).unwrap_or_default();
        let metadata = Metadata::read(issuer, &document);
        for platform in self.upstream.platforms().iter_all().filter(|platform| platform.issuer() == Some(issuer)) {
            match &metadata {
                Ok(metadata) => platform.restore(metadata),
                Err(error) => tracing::warn!(issuer, error = %error, "what was kept of a platform cannot be used"),
            }
        }
    }

    /// Asks every server that has not answered since the start. True when no answer is missing that a later round
    /// could bring.
    pub async fn discover_all(&self) -> bool {
        let mut is_done = true;
        for platform in self.upstream.platforms().iter().filter(|platform| platform.awaits_discovery()) {
            let is_found = self.discover(platform).await.is_ok();
            is_done &= is_found || platform.is_complete_as_written();
        }
        is_done
    }

    /// Makes sure that the broker knows how the platform is used.
    pub(super) async fn ensure_discovered(&self, platform: &ConfiguredPlatform) -> Result<(), Error> {
        let asked = match platform.platform().lacks() {
            Some(_) if platform.awaits_discovery() => self.discover(platform).await,
            _ => Ok(()),
        };
        let label = &platform.platform().label;
        match (platform.platform().lacks(), asked) {
            (None, _) => Ok(()),
            (Some(_), Err(why)) => Err(Error::PlatformUnreachable(format!(
                "{label} cannot be connected at the moment: {why}. Try again later; if it lasts, the operator checks \
                     issuer in [platforms.{}]",
                platform.platform().name
            ))),
            (Some(key), Ok(())) => Err(Error::PlatformUnreachable(format!(
                "{label} cannot be connected: its server does not say what the operator would set as {key}"
            ))),
        }
    }

    /// Asks a server, or joins the call in flight. The error is a sentence without its full stop.
    async fn discover(&self, platform: &ConfiguredPlatform) -> Result<(), String> {
        let (name, broker) = (platform.platform().name.to_string(), self.clone());
        let work = {
            let name = name.clone();
            move || async move { broker.ask_server(&name).await }
        };
        self.discoveries
            .start(&self.tasks, name, work)
            .result()
            .await
            .unwrap_or_else(|| Err("the broker failed".to_owned()))
    }

    async fn ask_server(&self, name: &str) -> Result<(), String> {
        let Some(platform) = self.upstream.platforms().find(name).filter(|platform| platform.awaits_discovery()) else {
            return Ok(());
        };
        match self.upstream.discover(platform).await {
            Ok((issuer, metadata)) => {
                platform.adopt(&metadata);
                tracing::info!(platform.name = name, issuer, "the platform's server says how it is used");
                self.keep_discovered(issuer, &metadata).await;
                Ok(())
            }
            Err(why) => {
                tracing::warn!(
                    platform.name = name,
                    "{why}: check issuer in [platforms.{name}], or set the endpoints there"
                );
                Err(why.to_string())
            }
        }
    }

    async fn keep_discovered(&self, issuer: &str, metadata: &Metadata) {
        let now = self.clock.now();
        let kept = async {
            let document = SecretString::from(serde_json::json!(metadata).to_string());
            let sealed = self.vault.seal_text(&Place::discovered(issuer), &document)?;
            let issuer = issuer.to_owned();
            self.store.write(move |tx| discovered::put(tx, &issuer, &sealed, now)).await?;
            Ok::<_, Error>(())
        };
        if let Err(error) = kept.await {
            tracing::warn!(issuer, error = %chain(&error), "cannot keep what a platform said of itself");
        }
    }
}
