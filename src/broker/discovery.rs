//! Finds out how the servers of an operator's own platforms are used, and keeps what they said for a start without
//! them.
//!
//! Only configured issuers are asked, never one that a caller names. What is kept is sealed, because it decides where
//! codes and client secrets go: nobody who can only write to the database can change that.

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::{ExposeSecret, SecretString};

use super::{Broker, Error};
use crate::domain::error_chain::chain;
use crate::domain::failure::Failure;
use crate::domain::time::Timestamp;
use crate::platforms::{ConfiguredPlatform, Metadata};
use crate::store::discovered;
use crate::vault::Place;

/// Time for which connections begin without a server's metadata before it is asked again, where they can.
const ASK_AGAIN_AFTER: Duration = Duration::from_mins(10);

/// Why a server's metadata is not known.
#[derive(Debug, Clone)]
pub(super) struct Undiscovered {
    /// A sentence without its full stop.
    why: String,
    /// True when the server publishes none.
    is_absent: bool,
}

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
                Err(error) => {
                    tracing::warn!(issuer, error = %chain(&error), "cannot open what a platform said of itself");
                }
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
                Err(error) => {
                    tracing::warn!(issuer, error = %chain(&error), "what was kept of a platform cannot be used");
                }
            }
        }
    }

    /// Asks every server that has not answered since the start, side by side. True when no answer is missing that a
    /// later round should bring.
    pub async fn discover_all(&self) -> bool {
        let asked = self.upstream.platforms().iter().filter(|platform| platform.awaits_discovery());
        let answered = join_all(asked.map(async |platform| match self.discover(platform).await {
            Ok(()) => true,
            Err(why) => why.is_absent && platform.is_complete_as_written(),
        }));
        answered.await.into_iter().all(|is_answered| is_answered)
    }

    /// Makes sure that the broker knows how the platform is used. What its server says may make checks stricter, so
    /// that nothing begins without it unless the settings alone are enough.
    pub(super) async fn ensure_discovered(&self, platform: &ConfiguredPlatform) -> Result<(), Error> {
        let asked = if platform.needs_discovery() && !self.goes_without_for_now(platform) {
            self.discover(platform).await
        } else {
            Ok(())
        };
        let label = &platform.platform().label;
        match (platform.platform().lacks(), asked) {
            (None, Ok(())) => Ok(()),
            (None, Err(why)) if platform.may_go_without(why.is_absent) => {
                self.without_metadata().insert(platform.platform().name.to_string(), self.clock.now());
                Ok(())
            }
            (_, Err(Undiscovered { why, .. })) => Err(Error::PlatformUnreachable {
                failure: Failure::PlatformUnavailable,
                sentence: format!(
                    "{label} cannot be connected at the moment: {why}. Try again later; if it lasts, the operator checks \
                     issuer in [platforms.{}]",
                    platform.platform().name
                ),
            }),
            (Some(key), Ok(())) => Err(Error::PlatformUnreachable {
                failure: Failure::PlatformAnswerUnreadable,
                sentence: format!(
                    "{label} cannot be connected: its server does not say what the operator would set as {key}"
                ),
            }),
        }
    }

    /// True when the server had nothing to say a short while ago, and the platform works without.
    fn goes_without_for_now(&self, platform: &ConfiguredPlatform) -> bool {
        let now = self.clock.now();
        let asked_at = self.without_metadata().get(platform.platform().name.as_ref()).copied();
        asked_at.is_some_and(|asked_at| asked_at.until(now) < ASK_AGAIN_AFTER)
    }

    fn without_metadata(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.without_metadata.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a server, or joins the call in flight.
    async fn discover(&self, platform: &ConfiguredPlatform) -> Result<(), Undiscovered> {
        let (name, broker) = (platform.platform().name.to_string(), self.clone());
        let work = {
            let name = name.clone();
            move || async move { broker.ask_server(&name).await }
        };
        let failed = || Err(Undiscovered { why: "the broker failed".to_owned(), is_absent: false });
        self.discoveries.start(&self.tasks, name, work).result().await.unwrap_or_else(failed)
    }

    async fn ask_server(&self, name: &str) -> Result<(), Undiscovered> {
        let Some(platform) = self.upstream.platforms().find(name).filter(|platform| platform.awaits_discovery()) else {
            return Ok(());
        };
        match self.tasks.unless_draining(self.upstream.discover(platform)).await {
            Some(Ok((issuer, metadata))) => {
                platform.adopt(&metadata);
                tracing::info!(platform.name = name, issuer, "the platform's server says how it is used");
                self.keep_discovered(issuer, &metadata).await;
                Ok(())
            }
            Some(Err(error)) => {
                let why = Undiscovered { why: error.to_string(), is_absent: error.is_absent };
                let (meanwhile, missing) = (meanwhile(platform, &why), missing(platform));
                tracing::warn!(
                    platform.name = name,
                    "{error}: {meanwhile}. Check issuer in [platforms.{name}], or set {missing} there"
                );
                Err(why)
            }
            None => Err(Undiscovered { why: "the broker is shutting down".to_owned(), is_absent: false }),
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

/// The settings without which a platform cannot do without its issuer's metadata.
fn missing(platform: &ConfiguredPlatform) -> &'static str {
    match platform.platform().lacks() {
        Some("identity_url") => {
            "identity_url (or identity_from = \"id_token\", where the server has no userinfo endpoint)"
        }
        Some("jwks_url") | None => "jwks_url",
        Some(_) => "the endpoints and jwks_url",
    }
}

/// Tells what connections go by while the server does not say how it is used.
fn meanwhile(platform: &ConfiguredPlatform, why: &Undiscovered) -> &'static str {
    if !platform.needs_discovery() {
        "what it said before goes on to count"
    } else if !platform.may_go_without(why.is_absent) {
        "nobody can connect before it answers"
    } else if platform.may_go_without(false) {
        "the settings alone count, and callbacks need not name their issuer"
    } else {
        "the settings alone count, id_tokens are not verified, and callbacks need not name their issuer"
    }
}
