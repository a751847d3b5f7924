//! Google Business Profile: Google's OAuth 2.0, and the locations of every account that the person manages.
//!
//! Source: "Using OAuth 2.0 for Web Server Applications" (Google Identity); My Business Account Management API v1,
//! `accounts.list` (at most 20 to a page); My Business Business Information API v1, `accounts.locations.list` (at
//! most 100 to a page, `readMask` is required). A personal account lists only the locations that it owns itself, so
//! the locations of all accounts are listed, and one location may appear under several, or move from one to another.
//! Posts are made through an account, so the id holds both ids: that of the account which listed the location when it
//! was connected. The location alone decides whether it is the same, and `account` in the metadata is the account that
//! lists it as of the last connection. A Cloud project that Google has not approved has a quota of 0: it
//! gets the answer of a rate limit, and waiting does not help.

use serde_json::Value;

use super::{
    Accounts, ApiCall, Guide, Identity, Platform, Refusal, Subject, Unidentified, list, metadata, text, youtube,
};
use crate::domain::account::{Account, UnusableAccount};
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "googlebusiness".into(),
        label: "Google Business Profile".into(),
        guide: Guide {
            facts: Some(&youtube::FACTS),
            connects: "Google Business Profile",
            know: "the APIs' quota is 0 until Google approves the Cloud project for them",
            console: "https://console.cloud.google.com/apis",
            credentials: "as for YouTube; enable the APIs \"My Business Account Management\" and \"My Business Business \
                          Information\". Until Google approves the project's request for access (\"Application for Basic \
                          API Access\") their quota is 0, and every connection ends with access_not_approved",
            keys: &[
                (
                    "accounts_url",
                    "Hosts of the two APIs; api_url stands for both and for the one that names the person.",
                ),
                ("locations_url", ""),
            ],
            ..Guide::default()
        },
        subject: Subject::Person,
        scopes: list(&["openid", "profile", "email", "https://www.googleapis.com/auth/business.manage"]),
        needed_scopes: &["openid", "profile", "https://www.googleapis.com/auth/business.manage"],
        refusals: &[REFUSALS, youtube::GOOGLE],
        identity: Identity {
            accounts: Accounts::GoogleLocations {
                accounts_url: "https://mybusinessaccountmanagement.googleapis.com".into(),
                locations_url: "https://mybusinessbusinessinformation.googleapis.com".into(),
            },
            ..Identity::new(ApiCall::get("/oauth2/v2/userinfo", &[]), read)
        },
        ..youtube::definition()
    }
}

/// Fields of a location.
pub(crate) const READ_MASK: &str = "name,title,storefrontAddress,metadata,websiteUri";

/// Reads the Google user.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    Ok(Account {
        platform_user_id: text(answer, "/id").ok_or(Unidentified::Unreadable)?,
        display_name: text(answer, "/name"),
        image_url: text(answer, "/picture"),
        ..Account::default()
    })
}

const PREREQUISITES: &str = "Business Profile APIs, prerequisites; dataconnector issue 52, 2026-11";

/// A project that Google has not approved has a limit of 0 requests; others have hundreds per minute.
const REFUSALS: &[Refusal] = &[
    Refusal { status: Some(429), codes: &["quota_limit=0"], ..Refusal::api(Failure::AccessNotApproved, PREREQUISITES) },
    Refusal {
        status: Some(429),
        codes: &["RATE_LIMIT_EXCEEDED"],
        ..Refusal::api(Failure::PlatformThrottled, PREREQUISITES)
    },
    // Without details, only the sentence tells.
    Refusal {
        status: Some(429),
        codes: &["RESOURCE_EXHAUSTED"],
        words: &["requests per minute"],
        ..Refusal::api(Failure::AccessNotApproved, PREREQUISITES)
    },
];

/// A Business Profile account: personal, or a group of locations.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct BusinessAccount {
    /// `accounts/1`.
    pub(crate) name: String,
    /// Name shown to people.
    pub(crate) label: String,
}

/// A location as a listing has it.
#[derive(Debug, PartialEq)]
pub(crate) struct Location {
    /// `locations/2`, the same under every account that lists it.
    pub(crate) name: String,
    pub(crate) account: Account,
    pub(crate) takes_posts: bool,
}

/// Reads a list, which Google leaves out when it is empty.
fn items<'a>(answer: &'a Value, name: &str) -> Result<&'a [Value], Unidentified> {
    match answer.get(name) {
        Some(Value::Array(items)) => Ok(items),
        None | Some(Value::Null) if answer.is_object() && answer.get("error").is_none() => Ok(&[]),
        _ => Err(Unidentified::Unreadable),
    }
}

pub(crate) fn read_accounts(answer: &Value) -> Result<Vec<BusinessAccount>, Unidentified> {
    let account = |entry: &Value| {
        let name = resource(entry, "accounts/")?;
        Some(BusinessAccount { label: text(entry, "/accountName").unwrap_or_else(|| name.clone()), name })
    };
    Ok(items(answer, "accounts")?.iter().filter_map(account).collect())
}

/// Reads the locations that `parent` lists.
pub(crate) fn read_locations(parent: &BusinessAccount, answer: &Value) -> Result<Vec<Location>, Unidentified> {
    Ok(items(answer, "locations")?.iter().filter_map(|entry| location(parent, entry)).collect())
}

#[expect(clippy::unnecessary_wraps, reason = "as for the other listings, whose next page may have no name")]
pub(crate) fn next_page(answer: &Value) -> Result<Option<String>, Unidentified> {
    Ok(text(answer, "/nextPageToken"))
}

pub(crate) fn unusable_location(location: &Location) -> UnusableAccount {
    UnusableAccount {
        platform_user_id: location.account.platform_user_id.clone(),
        display_name: location.account.display_name.clone(),
        reason: "Google takes no posts for this location".to_owned(),
        remedy: "Check in Google Business Profile that the location is verified and open and that its category allows \
                 posts, then connect again."
            .to_owned(),
        is_passing: false,
    }
}

fn location(parent: &BusinessAccount, entry: &Value) -> Option<Location> {
    let name = resource(entry, "locations/")?;
    Some(Location {
        account: Account {
            platform_user_id: format!("{}/{name}", parent.name),
            username: None,
            display_name: text(entry, "/title"),
            profile_url: text(entry, "/metadata/mapsUri").or_else(|| text(entry, "/websiteUri")),
            image_url: None,
            metadata: metadata([
                ("type", Some("location".to_owned())),
                ("account", Some(parent.name.clone())),
                ("accountName", Some(parent.label.clone())),
                ("location", Some(name.clone())),
                // The locations of a chain share a title; the address distinguishes them.
                ("address", address(entry)),
            ]),
        },
        name,
        // Google leaves false members out.
        takes_posts: entry.pointer("/metadata/canOperateLocalPost") == Some(&Value::Bool(true)),
    })
}

fn address(entry: &Value) -> Option<String> {
    let address = entry.get("storefrontAddress")?;
    let lines = address.get("addressLines").and_then(Value::as_array).into_iter().flatten();
    let parts: Vec<String> = lines
        .filter_map(|line| line.as_str().map(str::to_owned))
        .chain(["/postalCode", "/locality"].iter().filter_map(|part| text(address, part)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Reads a resource name, which must be safe in the path of a URL: the prefix, then letters, digits, `-` and `_`.
fn resource(entry: &Value, prefix: &str) -> Option<String> {
    let harmless = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    text(entry, "/name").filter(|name| name.strip_prefix(prefix).is_some_and(harmless))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parent() -> BusinessAccount {
        BusinessAccount { name: "accounts/1".into(), label: "Acme".into() }
    }

    #[test]
    fn accounts_are_those_with_a_resource_name() {
        let accounts = read_accounts(&json!({"accounts": [
            {"name": "accounts/1", "accountName": "Acme", "type": "LOCATION_GROUP", "role": "OWNER"},
            {"name": "accounts/2", "type": "PERSONAL"},
            {"name": "accounts/../x"},
            {"name": "accounts/"},
            {"accountName": "nameless"},
        ], "nextPageToken": "n"}))
        .unwrap();
        assert_eq!(accounts, [parent(), BusinessAccount { name: "accounts/2".into(), label: "accounts/2".into() }]);
    }

    #[test]
    fn a_location_is_known_by_account_and_location() {
        let answer = json!({"locations": [
            {"name": "locations/2", "title": "Acme Bakery", "websiteUri": "https://acme.example",
             "storefrontAddress": {"addressLines": ["1 Main St"], "locality": "Springfield", "postalCode": "12345"},
             "metadata": {"mapsUri": "https://maps.google.com/?cid=2", "canOperateLocalPost": true}},
            {"name": "locations/3", "title": "Closed", "websiteUri": "https://acme.example",
             "metadata": {"canOperateLocalPost": false}},
            {"name": "locations/4", "metadata": {"hasPendingEdits": true}},
        ]});
        let locations = read_locations(&parent(), &answer).unwrap();
        let account = &locations[0].account;
        assert_eq!(account.platform_user_id, "accounts/1/locations/2");
        assert_eq!(account.display_name.as_deref(), Some("Acme Bakery"));
        assert_eq!(account.profile_url.as_deref(), Some("https://maps.google.com/?cid=2"));
        assert_eq!(
            Value::Object(account.metadata.clone()),
            json!({"type": "location", "account": "accounts/1", "accountName": "Acme", "location": "locations/2",
                "address": "1 Main St, 12345, Springfield"})
        );
        assert_eq!(locations[1].account.profile_url.as_deref(), Some("https://acme.example"));
        let taking: Vec<bool> = locations.iter().map(|location| location.takes_posts).collect();
        assert_eq!(taking, [true, false, false], "what is false is left out");
    }

    #[test]
    fn an_empty_list_may_be_left_out_and_an_error_is_none() {
        assert_eq!(read_accounts(&json!({})), Ok(Vec::new()));
        assert_eq!(read_locations(&parent(), &json!({})), Ok(Vec::new()));
        assert_eq!(read_accounts(&json!({"error": {"code": 500}})), Err(Unidentified::Unreadable));
        assert_eq!(read_accounts(&json!(null)), Err(Unidentified::Unreadable));
        assert_eq!(read_accounts(&json!({"accounts": {}})), Err(Unidentified::Unreadable));
    }
}
