//! The scopes of one connection.

use super::Platform;

impl Platform {
    /// The scopes that a caller may choose from: the configured ones and the optional ones.
    #[must_use]
    pub fn allowed_scopes(&self) -> Vec<String> {
        let mut allowed: Vec<String> = Vec::new();
        for scope in self.scopes.iter().chain(&self.optional_scopes) {
            if !allowed.iter().any(|known| known == scope) {
                allowed.push(scope.to_string());
            }
        }
        allowed
    }

    /// The scopes to ask for, in the configured order: the configured ones, or those that the caller wants and those
    /// that the broker needs. `None` when the caller wants none, or one that is not allowed.
    #[must_use]
    pub fn requested_scopes(&self, wanted: Option<&[String]>) -> Option<Vec<String>> {
        let Some(wanted) = wanted else {
            return Some(self.scopes.iter().map(ToString::to_string).collect());
        };
        let mut requested = self.allowed_scopes();
        if wanted.is_empty() || !wanted.iter().all(|scope| requested.contains(scope)) {
            return None;
        }
        requested.retain(|scope| {
            let is_needed = self.needed_scopes.contains(&scope.as_str()) && self.scopes.iter().any(|own| own == scope);
            is_needed || wanted.contains(scope)
        });
        Some(requested)
    }
}

#[cfg(test)]
mod tests {
    use crate::platforms::{BUILT_IN, Platform};

    fn platform(name: &str) -> Platform {
        BUILT_IN.iter().map(|definition| definition()).find(|platform| platform.name == name).unwrap()
    }

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_connection_asks_for_what_its_caller_wants_and_what_the_broker_needs() {
        let mut twitter = platform("twitter");
        let configured = "tweet.read tweet.write users.read media.write offline.access";
        twitter.optional_scopes = vec!["dm.read".into(), "tweet.read".into()];
        for (wanted, expected) in [
            (None, Some(configured)),
            (Some("tweet.write"), Some("tweet.read tweet.write users.read offline.access")),
            (Some("dm.read media.write"), Some("tweet.read users.read media.write offline.access dm.read")),
            (Some("users.read users.read"), Some("tweet.read users.read offline.access")),
            (Some(""), None),
            (Some("tweet.read dm.write"), None),
            (Some("TWEET.READ"), None),
        ] {
            let wanted = wanted.map(list);
            assert_eq!(twitter.requested_scopes(wanted.as_deref()), expected.map(list), "{wanted:?}");
        }
        assert_eq!(twitter.allowed_scopes(), list(&format!("{configured} dm.read")));
        // An operator whose app lacks a scope is not made to ask for it.
        twitter.scopes = vec!["tweet.write".into()];
        assert_eq!(twitter.requested_scopes(Some(&list("tweet.write"))), Some(list("tweet.write")));
    }

    #[test]
    fn every_built_in_platform_is_configured_with_what_it_needs() {
        for platform in BUILT_IN.iter().map(|definition| definition()) {
            let configured = platform.requested_scopes(None).unwrap();
            for scope in &configured {
                let requested = platform.requested_scopes(Some(std::slice::from_ref(scope))).unwrap();
                assert!(requested.len() <= configured.len() && requested.contains(scope), "{}", platform.name);
            }
            let is_needed = |scope: &&String| platform.needed_scopes.contains(&scope.as_str());
            assert!(configured.iter().any(|scope| is_needed(&scope)), "{} needs no scope?", platform.name);
        }
    }
}
