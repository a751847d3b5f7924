//! Logs a start: the platforms that are on and off, the database, and what to do next.

use crate::app::App;
use crate::platforms::Availability;
use crate::platforms::registry::Listing;
use crate::store;

/// Logs what the broker serves. A count that cannot be read is left out: the broker may start on a full disk.
pub(super) fn report(app: &App) {
    let (on, off) = on_and_off(&app.config.platforms.listings());
    tracing::info!(on, off, "platforms");
    let counted = app.work().block_on(app.broker.count_keys_and_accounts()).ok();
    let (keys, accounts) = counted.unzip();
    tracing::info!(
        database.path = %app.config.database.display(), database.schema = store::schema_version(), accounts,
        access_keys = keys, "database"
    );
    for key in app.work().block_on(app.broker.list_expiring_keys()).unwrap_or_default() {
        let expires_at = key.limits.expires_at.map(tracing::field::display);
        tracing::warn!(
            access_key.id = %key.id, access_key.name = key.name, expires_at,
            "an access key expires soon: give its callers another one (`postpeer access-key create`), then revoke it"
        );
    }
    let any_platform = is_any_set_up(&app.config.platforms.listings(), accounts);
    for step in next_steps(any_platform, keys, accounts) {
        tracing::info!("next: {step}");
    }
}

/// The platforms that can be connected, and the others with the reason.
fn on_and_off(listings: &[Listing<'_>]) -> (String, String) {
    let names = |belongs: fn(&Listing<'_>) -> bool| {
        let named = listings.iter().filter(|listing| belongs(listing)).map(|listing| listing.name);
        named.collect::<Vec<_>>().join(" ")
    };
    let on = names(|one| one.enabled && one.availability == Availability::Prod);
    let off = [
        ("disabled", names(|one| !one.enabled)),
        ("no client id", names(|one| one.enabled && one.availability == Availability::Dev)),
    ];
    let off = off.into_iter().filter(|(_, names)| !names.is_empty()).map(|(why, names)| format!("{why}: {names}"));
    (on, off.collect::<Vec<_>>().join("; "))
}

/// True when accounts can be connected at a platform that the operator set up. Bluesky needs no setup, so it counts
/// only where accounts are connected.
fn is_any_set_up(listings: &[Listing<'_>], accounts: Option<u64>) -> bool {
    let mut on = listings.iter().filter(|one| one.is_ready());
    on.any(|one| one.has_callback || accounts.is_some_and(|count| count > 0))
}

fn next_steps(any_platform: bool, keys: Option<u64>, accounts: Option<u64>) -> Vec<&'static str> {
    let mut steps = Vec::new();
    if !any_platform {
        steps.push(
            "give at least one platform its credentials in the configuration, and reload it with SIGHUP (variables of the \
             environment take a restart): `postpeer check` says how",
        );
    }
    if keys == Some(0) {
        steps.push("create an access key for your app with `postpeer access-key create`");
    }
    if steps.is_empty() && accounts == Some(0) {
        steps.push("connect an account: GET /v1/connect/{platform} with your access key returns the URL to open");
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{self, Environment};
    use crate::platforms::built_in_names;

    #[test]
    fn a_platform_without_a_client_id_is_off() {
        let toml = "[platforms.twitter]\nclient_id = \"i\"\nclient_secret = \"s\"\n[platforms.tiktok]\nenabled = false";
        let config = config::from_str("x", toml, Path::new(""), &Environment::default()).unwrap();
        let (on, off) = on_and_off(&config.platforms.listings());
        assert_eq!(on, "bluesky twitter");
        let names = built_in_names();
        let others = names.iter().filter(|name| !["bluesky", "tiktok", "twitter"].contains(&name.as_ref()));
        let others = others.map(AsRef::as_ref).collect::<Vec<&str>>().join(" ");
        assert_eq!(off, format!("disabled: tiktok; no client id: {others}"));
    }

    #[test]
    fn bluesky_alone_is_set_up_once_somebody_uses_it() {
        let is_set_up = |toml: &str, accounts| {
            let config = config::from_str("x", toml, Path::new(""), &Environment::default()).unwrap();
            is_any_set_up(&config.platforms.listings(), accounts)
        };
        assert_eq!([None, Some(0), Some(1)].map(|accounts| is_set_up("", accounts)), [false, false, true]);
        let off = "[platforms.bluesky]\nenabled = false";
        assert!(!is_set_up(off, Some(1)));
        for on in ["[platforms.twitter]\nclient_id = \"i\"\nclient_secret = \"s\"", "[platforms.mastodon]"] {
            assert!(is_set_up(on, Some(0)), "{on}");
        }
    }

    #[test]
    fn the_next_step_is_the_one_that_is_missing() {
        let first_words = |platform, keys, accounts| {
            next_steps(platform, keys, accounts).iter().map(|step| step.split(' ').next().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(first_words(false, Some(0), Some(0)), ["give", "create"]);
        assert_eq!(first_words(true, Some(1), Some(0)), ["connect"]);
        assert_eq!(first_words(true, Some(1), Some(7)), [""; 0]);
        assert_eq!(first_words(true, None, None), [""; 0]);
    }
}
