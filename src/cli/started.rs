//! What a start says in the log: the platforms that are on and off, the database, and what to do next.

use crate::app::App;
use crate::store;

/// Logs what the broker serves. A count that cannot be read is left out: the broker may start on a full disk.
pub(super) fn report(app: &App) {
    let listings = app.config.platforms.listings();
    let names = |enabled: bool| {
        let named = listings.iter().filter(|listing| listing.enabled == enabled).map(|listing| listing.name);
        named.collect::<Vec<_>>().join(" ")
    };
    let (on, off) = (names(true), names(false));
    tracing::info!(on, off, "platforms");
    let counted = app.work().block_on(app.broker.count_keys_and_accounts()).ok();
    let (keys, accounts) = counted.unzip();
    tracing::info!(
        database.path = %app.config.database.display(), database.schema = store::schema_version(), accounts,
        access_keys = keys, "database"
    );
    for step in next_steps(!on.is_empty(), keys, accounts) {
        tracing::info!("next: {step}");
    }
}

fn next_steps(any_platform: bool, keys: Option<u64>, accounts: Option<u64>) -> Vec<&'static str> {
    let mut steps = Vec::new();
    if !any_platform {
        steps.push(
            "give at least one platform its credentials in the configuration, and restart: `postpeer check` says how",
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
    use super::*;

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
