//! An account at a platform, as the platform describes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bounds;
use super::secret::SecretString;

/// A connected account. Keyed by the platform's immutable id, never by a name or an e-mail address: people change
/// those, and platforms give them to others.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub platform_user_id: String,
    /// With its `@` on handle-based platforms.
    pub username: Option<String>,
    pub display_name: Option<String>,
    /// An http(s) URL: callers parse it.
    pub profile_url: Option<String>,
    /// An http(s) URL. The broker neither fetches nor shows it.
    pub image_url: Option<String>,
    /// Further public facts, such as an account type.
    pub metadata: Map<String, Value>,
}

impl Account {
    /// The account with every text in bounds. The id stays as it is: check it with [`bounds::is_id`].
    #[must_use]
    pub fn bounded(self) -> Self {
        Self {
            username: self.username.as_deref().and_then(bounds::name),
            display_name: self.display_name.as_deref().and_then(bounds::name),
            profile_url: self.profile_url.filter(|url| bounds::is_web_url(url)),
            image_url: self.image_url.filter(|url| bounds::is_web_url(url)),
            metadata: self.metadata.into_iter().map(|(key, value)| (key, bounds::fact(value))).collect(),
            ..self
        }
    }

    /// The name by which people know the account.
    #[must_use]
    pub fn label(&self) -> &str {
        self.display_name.as_deref().or(self.username.as_deref()).unwrap_or(&self.platform_user_id)
    }
}

/// The kind of an account, where a platform has several under one consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, strum::Display)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum AccountKind {
    /// A Google Business Profile location.
    Location,
    /// A LinkedIn organization's page.
    Organization,
    /// A Facebook Page.
    Page,
    /// The person (or the channel, the handle) that consented.
    Person,
}

/// An account that a consent covers and the broker can connect.
#[derive(Debug, Clone)]
pub struct FoundAccount {
    pub account: Account,
    pub kind: AccountKind,
    /// A token of the account's own, beside the grant's: a Facebook Page's.
    pub own_token: Option<SecretString>,
}

/// An account that was found and cannot be connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableAccount {
    pub platform_user_id: String,
    pub display_name: Option<String>,
    /// Completes the sentence "it cannot be connected: ...".
    pub reason: String,
    /// Advice to the account's owner.
    pub remedy: String,
    /// True when the reason is temporary: an account that is connected already is unaffected.
    #[serde(default)]
    pub is_passing: bool,
}

/// Result of one way to look for accounts, such as `GET /me/accounts` or the Pages of a business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Name for people: "your Pages", "Pages of the business Acme".
    pub route: String,
    /// Accounts found there, usable or not.
    pub found: u32,
    /// Why this way failed, for people; `None` when it did not.
    pub trouble: Option<String>,
}

/// The subject of a consent and the accounts that it covers.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The platform's immutable id of the person or account that consented. It identifies the grant when they
    /// reconnect.
    pub subject: String,
    /// Accounts that can be connected; maybe none where accounts are not the person, such as Pages.
    pub accounts: Vec<FoundAccount>,
    /// Accounts that were found and cannot be connected.
    pub unusable: Vec<UnusableAccount>,
    /// The ways in which accounts were looked for; empty where the account is the person.
    pub routes: Vec<RouteReport>,
}

/// Coverage, by a new consent, of an account that was connected under an earlier one.
#[derive(Debug)]
pub enum Coverage<'a> {
    Covered(&'a FoundAccount),
    /// The consent certainly no longer covers it.
    Lost,
    /// The account was not found, but the search was incomplete.
    Unknown,
}

impl Identity {
    /// Tells whether the consent covers an account. A failed search proves nothing about accounts that it would have
    /// found, and a temporary reason proves nothing about an unusable one.
    #[must_use]
    pub fn coverage(&self, platform_user_id: &str) -> Coverage<'_> {
        if let Some(found) = self.accounts.iter().find(|found| found.account.platform_user_id == platform_user_id) {
            return Coverage::Covered(found);
        }
        let seen = self.unusable.iter().find(|unusable| unusable.platform_user_id == platform_user_id);
        let looked_everywhere = self.routes.iter().all(|route| route.trouble.is_none());
        if seen.map_or(looked_everywhere, |unusable| !unusable.is_passing) { Coverage::Lost } else { Coverage::Unknown }
    }

    /// The identity with every text in bounds, and without the accounts whose id is not.
    #[must_use]
    pub fn bounded(self) -> Self {
        let found = |found: FoundAccount| {
            let is_id = bounds::is_id(&found.account.platform_user_id);
            is_id.then(|| FoundAccount { account: found.account.bounded(), ..found })
        };
        let unusable = |account: UnusableAccount| {
            bounds::is_id(&account.platform_user_id).then(|| UnusableAccount {
                display_name: account.display_name.as_deref().and_then(bounds::name),
                reason: bounds::sentence(&account.reason),
                ..account
            })
        };
        let route = |route: RouteReport| RouteReport { route: bounds::sentence(&route.route), ..route };
        Self {
            subject: self.subject,
            accounts: self.accounts.into_iter().filter_map(found).collect(),
            unusable: self.unusable.into_iter().filter_map(unusable).collect(),
            routes: self.routes.into_iter().map(route).collect(),
        }
    }

    /// The identity at a platform where the one account is the one that consented.
    #[must_use]
    pub fn single(account: Account) -> Self {
        Self {
            subject: account.platform_user_id.clone(),
            accounts: vec![FoundAccount { account, kind: AccountKind::Person, own_token: None }],
            unusable: Vec::new(),
            routes: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unusable(id: &str, is_passing: bool) -> UnusableAccount {
        let (reason, remedy) = ("a reason".to_owned(), "a remedy".to_owned());
        UnusableAccount { platform_user_id: id.to_owned(), display_name: None, reason, remedy, is_passing }
    }

    #[test]
    fn an_account_is_lost_only_after_a_complete_search() {
        let account = Account { platform_user_id: "found".to_owned(), ..Account::default() };
        let mut identity = Identity::single(account);
        identity.unusable = vec![unusable("taken away", false), unusable("not answered", true)];
        let told = |identity: &Identity, id: &str| match identity.coverage(id) {
            Coverage::Covered(_) => "covered",
            Coverage::Lost => "lost",
            Coverage::Unknown => "unknown",
        };
        let ids = ["found", "taken away", "not answered", "not seen"];
        assert_eq!(ids.map(|id| told(&identity, id)), ["covered", "lost", "unknown", "lost"]);
        let trouble = Some("it did not answer".to_owned());
        identity.routes = vec![RouteReport { route: "your Pages".to_owned(), found: 0, trouble }];
        assert_eq!(ids.map(|id| told(&identity, id)), ["covered", "lost", "unknown", "unknown"]);
    }
}
