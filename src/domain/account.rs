//! An account at a platform, as the platform describes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::secret::SecretString;

/// Who connected. Keyed by the platform's immutable id, never by a name or an e-mail address, which people change and
/// platforms hand on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub platform_user_id: String,
    /// With its `@` on handle-based platforms.
    pub username: Option<String>,
    pub display_name: Option<String>,
    /// An http(s) URL, or nothing: callers parse it.
    pub profile_url: Option<String>,
    /// An http(s) URL, or nothing. Never fetched and never shown by the broker.
    pub image_url: Option<String>,
    /// Further public facts, such as an account type.
    pub metadata: Map<String, Value>,
}

impl Account {
    /// What a person would recognise the account by.
    #[must_use]
    pub fn label(&self) -> &str {
        self.display_name.as_deref().or(self.username.as_deref()).unwrap_or(&self.platform_user_id)
    }
}

/// What kind of account it is, where a platform has several under one consent.
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

/// An account that a consent covers and that can be connected.
#[derive(Debug, Clone)]
pub struct FoundAccount {
    pub account: Account,
    pub kind: AccountKind,
    /// A token of the account's own, beside the grant's: a Facebook Page's.
    pub own_token: Option<SecretString>,
}

/// An account that was seen and cannot be connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnusableAccount {
    pub platform_user_id: String,
    pub display_name: Option<String>,
    /// Completes "it cannot be connected: ...", for a person.
    pub reason: String,
    /// What the person does about it.
    pub remedy: String,
    /// Whether it is so for the moment only, which says nothing against an account that is connected already.
    #[serde(default)]
    pub is_passing: bool,
}

/// What one way of looking for accounts brought: `GET /me/accounts`, the Pages of a business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteReport {
    /// For a person: "your Pages", "Pages of the business Acme".
    pub route: String,
    /// Accounts found there, usable or not.
    pub found: u32,
    /// Why it could not be looked at, for a person; `None` when it could.
    pub trouble: Option<String>,
}

/// Who consented, and the accounts that the consent covers.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The platform's immutable id of the person (or account) that consented: what a renewed grant is recognised by.
    pub subject: String,
    /// Those that can be connected; may be none where a platform's accounts are not the person.
    pub accounts: Vec<FoundAccount>,
    /// Those that were seen and cannot.
    pub unusable: Vec<UnusableAccount>,
    /// How they were looked for; empty where the account is the person.
    pub routes: Vec<RouteReport>,
}

/// Whether a consent covers an account that was connected under an earlier one.
#[derive(Debug)]
pub enum Coverage<'a> {
    Covered(&'a FoundAccount),
    /// Certainly not any more.
    Lost,
    /// It was not seen, and not everything could be looked at.
    Unknown,
}

impl Identity {
    /// Whether the consent still covers an account. A way of looking that failed for the moment proves nothing about the
    /// accounts that it would have brought, nor does an account that could not be asked about.
    #[must_use]
    pub fn coverage(&self, platform_user_id: &str) -> Coverage<'_> {
        if let Some(found) = self.accounts.iter().find(|found| found.account.platform_user_id == platform_user_id) {
            return Coverage::Covered(found);
        }
        let seen = self.unusable.iter().find(|unusable| unusable.platform_user_id == platform_user_id);
        let looked_everywhere = self.routes.iter().all(|route| route.trouble.is_none());
        if seen.map_or(looked_everywhere, |unusable| !unusable.is_passing) { Coverage::Lost } else { Coverage::Unknown }
    }

    /// Of a platform where the one account is who consented.
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
    fn an_account_is_lost_only_when_that_is_certain() {
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
