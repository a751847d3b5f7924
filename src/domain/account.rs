//! An account at a platform, as the platform describes it.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::bounds;
use super::failure::Failure;
use super::secret::SecretString;
use super::visible::is_blank;

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

    /// The name by which people know the account: the first text of it that shows anything.
    #[must_use]
    pub fn label(&self) -> &str {
        let shown = |text: &&str| !is_blank(text);
        let name = self.display_name.as_deref().filter(shown).or(self.username.as_deref().filter(shown));
        name.unwrap_or(&self.platform_user_id)
    }

    /// The name beside the label, where the account has another one that shows anything.
    #[must_use]
    pub fn handle(&self) -> Option<&str> {
        self.username.as_deref().filter(|handle| *handle != self.label() && !is_blank(handle))
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
    /// The same account under its other ids: a location as further parents list it.
    pub elsewhere: Vec<Account>,
}

impl FoundAccount {
    #[must_use]
    pub const fn new(account: Account, kind: AccountKind) -> Self {
        Self { account, kind, own_token: None, elsewhere: Vec::new() }
    }

    /// The account under its first id, then under the others.
    pub fn listed(&self) -> impl Iterator<Item = &Account> {
        std::iter::once(&self.account).chain(&self.elsewhere)
    }

    /// `locations/2` of a location, by which it is known whatever parent lists it.
    #[must_use]
    pub fn location(&self) -> Option<&str> {
        if self.kind == AccountKind::Location { location(&self.account.platform_user_id) } else { None }
    }

    /// True when it is the account with this id.
    #[must_use]
    pub fn is(&self, platform_user_id: &str) -> bool {
        self.listed().any(|account| account.platform_user_id == platform_user_id)
            || self.location().is_some_and(|found| location(platform_user_id) == Some(found))
    }

    /// The account under the id that it was connected by. An id never changes: where that parent does not list the
    /// location any more, only the other facts name the one that does.
    #[must_use]
    pub fn known_as(&self, platform_user_id: &str) -> Account {
        let listed = self.listed().find(|account| account.platform_user_id == platform_user_id);
        Account { platform_user_id: platform_user_id.to_owned(), ..listed.unwrap_or(&self.account).clone() }
    }
}

/// `locations/2` of `accounts/1/locations/2`.
fn location(platform_user_id: &str) -> Option<&str> {
    let (_, location) = platform_user_id.strip_prefix("accounts/")?.split_once('/')?;
    Some(location).filter(|location| location.starts_with("locations/"))
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
    /// True when the reason says nothing about the account itself: one that is connected already is unaffected.
    #[serde(default)]
    pub is_passing: bool,
}

impl UnusableAccount {
    /// The name by which people know the account.
    #[must_use]
    pub fn label(&self) -> &str {
        self.display_name.as_deref().filter(|name| !is_blank(name)).unwrap_or(&self.platform_user_id)
    }
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
    /// The failure that left accounts out, as a connection tells it; `None` after a complete search.
    pub failure: Option<Failure>,
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
    /// found, and a reason that passes proves nothing about an unusable one.
    #[must_use]
    pub fn coverage(&self, platform_user_id: &str) -> Coverage<'_> {
        if let Some(found) = self.accounts.iter().find(|found| found.is(platform_user_id)) {
            return Coverage::Covered(found);
        }
        let seen = self.unusable(platform_user_id);
        let looked_everywhere = self.routes.iter().all(|route| route.trouble.is_none());
        if seen.map_or(looked_everywhere, |unusable| !unusable.is_passing) { Coverage::Lost } else { Coverage::Unknown }
    }

    fn unusable(&self, platform_user_id: &str) -> Option<&UnusableAccount> {
        let is_same =
            |id: &str| id == platform_user_id || location(id).is_some_and(|it| location(platform_user_id) == Some(it));
        self.unusable.iter().find(|unusable| is_same(&unusable.platform_user_id))
    }

    /// The failure of a connection that was to bring this account back, which is not covered. `is_of_person`: the
    /// person who connected it may have consented. Somebody else's search is of interest only if it may do better
    /// later.
    #[must_use]
    pub fn failure_without(&self, platform_user_id: &str, is_of_person: bool) -> Failure {
        let seen = self.unusable(platform_user_id);
        if seen.is_some_and(|unusable| !unusable.is_passing) {
            return Failure::NoAccount;
        }
        let counts = |failure: &Failure| seen.is_some() || is_of_person || failure.is_transient();
        self.failure.filter(counts).unwrap_or(Failure::AccountMismatch)
    }

    /// The identity with every text of the platform's in bounds, and without the accounts whose id is not. Remedies and
    /// troubles are the broker's own sentences.
    #[must_use]
    pub fn bounded(self) -> Self {
        let found = |found: FoundAccount| {
            let is_id = bounds::is_id(&found.account.platform_user_id);
            let elsewhere = found.elsewhere.into_iter().map(Account::bounded).collect();
            is_id.then(|| FoundAccount { account: found.account.bounded(), elsewhere, ..found })
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
            failure: self.failure,
        }
    }

    /// The identity at a platform where the one account is the one that consented.
    #[must_use]
    pub fn single(account: Account) -> Self {
        Self {
            subject: account.platform_user_id.clone(),
            accounts: vec![FoundAccount::new(account, AccountKind::Person)],
            unusable: Vec::new(),
            routes: Vec::new(),
            failure: None,
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
    fn an_account_is_labelled_with_what_people_see() {
        let (zero_width, blank, shy) = (Some("\u{200b}"), Some("\u{3164}\u{fe0f} "), Some("\u{ad}"));
        for (name, username, label, handle) in [
            (Some("Ada"), Some("@ada"), "Ada", Some("@ada")),
            (Some("@ada"), Some("@ada"), "@ada", None),
            (zero_width, Some("@ada"), "@ada", None),
            (Some("Ada"), blank, "Ada", None),
            (Some("A\u{200d}da"), shy, "A\u{200d}da", None),
            (shy, blank, "42", None),
            (None, None, "42", None),
        ] {
            let own = |text: Option<&str>| text.map(str::to_owned);
            let id = "42".to_owned();
            let account = Account {
                platform_user_id: id,
                display_name: own(name),
                username: own(username),
                ..Account::default()
            };
            assert_eq!((account.label(), account.handle()), (label, handle), "{name:?} {username:?}");
        }
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

    #[test]
    fn a_location_is_itself_whatever_parent_lists_it() {
        let account = |id: &str, parent: &str| Account {
            platform_user_id: id.to_owned(),
            metadata: Map::from_iter([("account".to_owned(), parent.into())]),
            ..Account::default()
        };
        let mut found = FoundAccount::new(account("accounts/2/locations/5", "two"), AccountKind::Location);
        found.elsewhere = vec![account("accounts/1/locations/5", "one")];
        let mut identity = Identity::single(Account::default());
        identity.accounts = vec![found];
        identity.unusable = vec![unusable("accounts/2/locations/6", false)];
        for (id, parent) in
            [("accounts/2/locations/5", "two"), ("accounts/1/locations/5", "one"), ("accounts/9/locations/5", "two")]
        {
            let Coverage::Covered(found) = identity.coverage(id) else { panic!("{id}") };
            assert_eq!(found.known_as(id), account(id, parent));
        }
        assert_eq!(identity.failure_without("accounts/1/locations/6", true), Failure::NoAccount);
        for other in ["accounts/2/locations/55", "accounts/2/locations/6", "locations/5", "accounts/2", "5"] {
            assert!(matches!(identity.coverage(other), Coverage::Lost), "{other}");
        }
        identity.accounts[0].kind = AccountKind::Person;
        assert!(matches!(identity.coverage("accounts/9/locations/5"), Coverage::Lost), "ids of an operator's platform");
    }

    #[test]
    fn an_account_that_does_not_come_back_is_told_by_what_is_known() {
        use Failure::{AccountMismatch, IdentityUnavailable, NoAccount, PermissionMissing, PlatformUnavailable};
        let mut identity = Identity::single(Account::default());
        identity.unusable = vec![unusable("taken away", false), unusable("not answered", true)];
        for (failure, of_person, of_another) in [
            (None, [NoAccount, AccountMismatch, AccountMismatch], [NoAccount, AccountMismatch, AccountMismatch]),
            (
                Some(PlatformUnavailable),
                [NoAccount, PlatformUnavailable, PlatformUnavailable],
                [NoAccount, PlatformUnavailable, PlatformUnavailable],
            ),
            (
                Some(IdentityUnavailable),
                [NoAccount, IdentityUnavailable, IdentityUnavailable],
                [NoAccount, IdentityUnavailable, AccountMismatch],
            ),
            (
                Some(PermissionMissing),
                [NoAccount, PermissionMissing, PermissionMissing],
                [NoAccount, PermissionMissing, AccountMismatch],
            ),
        ] {
            identity.failure = failure;
            let told = |is_of_person| {
                ["taken away", "not answered", "not seen"].map(|id| identity.failure_without(id, is_of_person))
            };
            assert_eq!((told(true), told(false)), (of_person, of_another), "{failure:?}");
        }
    }
}
