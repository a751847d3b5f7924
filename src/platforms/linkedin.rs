//! LinkedIn: the person, and the organizations that they post for. No PKCE, one identical scope list for everybody.
//!
//! Source: LinkedIn, "Authorization Code Flow (3-legged OAuth)", "Sign In with LinkedIn using OpenID Connect",
//! "Organization Access Control by Role", "Organization Lookup API", "LinkedIn Marketing API versioning". Requesting
//! another set of scopes from the same member invalidates their earlier tokens, so the list must not vary between
//! flows. An app without the organizations' scopes connects the person only. Versions (`YYYYMM`) are retired after a
//! year or so, with HTTP 426. Only approved apps get refresh tokens. Denials come as `user_cancelled_login` or
//! `user_cancelled_authorize`. The revocation endpoint is not in the official pages (seen in one project): the broker
//! calls it, and nothing depends on its answer.

use std::collections::BTreeMap;

use jiff::civil::date;
use serde_json::Value;

use super::{
    Accounts, ApiCall, ClientAuth, Enrich, Facts, Guide, Identity, Platform, Refresh, RefreshLife, Refusal, Revocation,
    RevocationAuth, RevocationReach, RevokedToken, Rotation, Subject, Unidentified, Version, days, list, metadata,
    page_url, text,
};
use crate::domain::account::{Account, UnusableAccount};
use crate::domain::failure::Failure;

pub(crate) fn definition() -> Platform {
    Platform {
        name: "linkedin".into(),
        label: "LinkedIn".into(),
        guide: Guide {
            facts: Some(&FACTS),
            connects: "LinkedIn, the person and their organizations",
            know: "organizations need an app with the Community Management API and its scopes; refresh tokens come with \
                   approved apps only; otherwise reconnect within 60 days",
            console: "https://www.linkedin.com/developers/apps",
            credentials: "https://www.linkedin.com/developers/apps, your app, \"Auth\"; add the products \"Sign In \
                          with LinkedIn using OpenID Connect\" and \"Share on LinkedIn\"",
            setup: &[
                "To connect organizations as well, the app needs LinkedIn's approval for \"Community Management API\", which \
                 must be the only product of the app; then set scopes to [\"r_basicprofile\", \"w_member_social\", \
                 \"rw_organization_admin\", \"w_organization_social\", \"r_organization_social\"] and what else the app has. \
                 One scope that the app does not have fails every connection, and a change of scopes ends the tokens of \
                 everybody who connects again.",
            ],
            keys: &[(
                "api_version",
                "LinkedIn retires versions after a year or so; `postpeer check` warns of it, and the log says when this one is \
                 gone.",
            )],
        },
        authorize_url: "https://www.linkedin.com/oauth/v2/authorization".into(),
        token_url: "https://www.linkedin.com/oauth/v2/accessToken".into(),
        revocation: Revocation::Endpoint {
            url: "https://www.linkedin.com/oauth/v2/revoke".into(),
            client_auth: RevocationAuth::AsToken,
            token: RevokedToken::Access,
        },
        // Not documented. A member has one consent for each app, so the wider reach is assumed.
        revocation_reach: RevocationReach::ConsentToClient,
        authority: "linkedin".into(),
        subject: Subject::Person,
        api_url: "https://api.linkedin.com".into(),
        api_version: "202608".into(),
        scopes: list(&["openid", "profile", "email", "w_member_social"]),
        needed_scopes: &["openid", "profile", "r_basicprofile", "r_liteprofile"],
        client_auth: ClientAuth::Body,
        refresh: Refresh::RefreshToken { rotation: Rotation::None },
        refusals: &[REFUSALS],
        default_expires_in: Some(days(60)),
        // LinkedIn documents seconds, and shows minutes in its samples (OAuth 2.0 refresh tokens, 2026-08).
        refresh_life: RefreshLife::SecondsOrMinutes,
        ..Platform::standard(Identity {
            // An app with the Community Management API has no other product, hence no OpenID Connect.
            fallback: Some(ApiCall::get("/v2/me", &[])),
            enrich: Some(Enrich { scope: "r_basicprofile", call: ApiCall::get("/v2/me", &[]), add }),
            accounts: Accounts::LinkedInOrganizations,
            ..Identity::new(ApiCall::get("/v2/userinfo", &[]), read)
        })
    }
}

const FACTS: Facts = Facts {
    as_of: date(2026, 11, 26),
    code: "30 minutes, once",
    access_token: "60 days",
    refresh: "365 days from the consent, however often it is refreshed; approved apps only",
    // LinkedIn names the month; its first day is the safer guess.
    versions: &[Version { name: "202608", ends: Some(date(2027, 8, 1)) }],
};

/// Scopes that let the app list a person's organizations: either suffices.
pub(crate) const ORGANIZATION_SCOPES: [&str; 2] = ["r_organization_admin", "rw_organization_admin"];

/// The roles that may post for an organization; the documentation spells the second in two ways.
const POSTING_ROLES: [&str; 4] =
    ["ADMINISTRATOR", "CONTENT_ADMIN", "CONTENT_ADMINISTRATOR", "DIRECT_SPONSORED_CONTENT_POSTER"];

/// Reads the member from `/v2/userinfo` or `/v2/me`: the subject of the one is the id of the other.
fn read(answer: &Value) -> Result<Account, Unidentified> {
    Ok(Account {
        platform_user_id: text(answer, "/sub").or_else(|| text(answer, "/id")).ok_or(Unidentified::Unreadable)?,
        display_name: text(answer, "/name").or_else(|| {
            let names = [("/localizedFirstName", "/firstName"), ("/localizedLastName", "/lastName")];
            let names =
                names.map(|(name, by_locale)| text(answer, name).or_else(|| localized(answer.pointer(by_locale)?)));
            let names: Vec<String> = names.into_iter().flatten().collect();
            (!names.is_empty()).then(|| names.join(" "))
        }),
        image_url: text(answer, "/picture"),
        metadata: metadata([("type", Some("person".to_owned()))]),
        ..Account::default()
    })
}

/// Reads a name in the language that its owner prefers, else in any: `/v2/me` may have no other name.
fn localized(name: &Value) -> Option<String> {
    let locale = |part| text(name, &format!("/preferredLocale/{part}"));
    let preferred = locale("language").zip(locale("country"));
    let preferred = preferred.and_then(|(language, country)| text(name, &format!("/localized/{language}_{country}")));
    let any = || name.get("localized")?.as_object()?.values().find_map(|name| text(name, ""));
    preferred.or_else(any).or_else(|| text(name, ""))
}

const REFRESH: &str = "Refresh tokens with OAuth 2.0, API error details, 2026-11";
const CALLBACK: &str = "Authorization Code Flow (3-legged OAuth), failed requests, 2026-11";

const NEW_TOKEN: &str = "omniauth-linkedin-oauth2 issues 17 and 81, fastapi-sso issue 196, 2026-11";

const REFUSALS: &[Refusal] = &[
    Refusal { codes: &["unauthorized_scope_error"], ..Refusal::authorize(Failure::AuthorizationRefused, CALLBACK) },
    Refusal {
        codes: &["invalid_request"],
        words: &["authorization code not found"],
        ..Refusal::exchange(Failure::ExchangeRejected, CALLBACK)
    },
    // "… redirect uri … does not match authorization code. Or authorization code expired. …": mostly the latter.
    Refusal {
        codes: &["invalid_redirect_uri", "invalid_request"],
        words: &["authorization code expired"],
        ..Refusal::exchange(Failure::ExchangeRejected, "LinkedIn, \"Unable to retrieve access token\", 2026-11")
    },
    // `invalid_request` stands for a dead refresh token and for a missing parameter; only the sentence distinguishes
    // them.
    Refusal { words: &["missing"], ..Refusal::refresh(Failure::RequestRefused, REFRESH) },
    Refusal {
        codes: &["invalid_request"],
        words: &["refresh token", "expired"],
        ..Refusal::refresh(Failure::RefreshRejected, REFRESH)
    },
    Refusal {
        codes: &["invalid_request"],
        words: &["refresh token", "revoked"],
        ..Refusal::refresh(Failure::RefreshRejected, REFRESH)
    },
    Refusal {
        codes: &["invalid_request"],
        words: &["refresh token", "invalid"],
        ..Refusal::refresh(Failure::RefreshRejected, REFRESH)
    },
    // For some seconds, some of LinkedIn's servers refuse a new token. Older answers have the sentences alone.
    Refusal {
        status: Some(401),
        codes: &["65601", "EXPIRED_ACCESS_TOKEN", "REVOKED_ACCESS_TOKEN"],
        ..Refusal::api(Failure::PlatformUnavailable, NEW_TOKEN)
    },
    Refusal { status: Some(401), words: &["token used in"], ..Refusal::api(Failure::PlatformUnavailable, NEW_TOKEN) },
    Refusal {
        status: Some(401),
        words: &["unable to verify access token"],
        ..Refusal::api(Failure::PlatformUnavailable, NEW_TOKEN)
    },
    // `code`, which is mostly ACCESS_DENIED, may be absent.
    Refusal {
        status: Some(403),
        ..Refusal::api(Failure::PermissionMissing, "Authorization, \"Not enough permissions to access\", 2026-11")
    },
];

/// Adds the public name in the profile's address, which only an app with `r_basicprofile` can read.
fn add(account: &mut Account, answer: &Value) {
    if let Some(name) = text(answer, "/vanityName") {
        account.profile_url = page_url("https://www.linkedin.com/in/", &[&name]);
        account.username = Some(name);
    }
}

/// The person's role in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Role {
    /// The number in `urn:li:organization:{number}`.
    pub(crate) organization: String,
    pub(crate) role: String,
}

/// Public facts of an organization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Organization {
    pub(crate) name: Option<String>,
    pub(crate) vanity_name: Option<String>,
    pub(crate) logo_url: Option<String>,
}

/// Reads the roles of a listing, in `organizationAcls` and in the older `organizationalEntityAcls`.
pub(crate) fn read_roles(answer: &Value) -> Result<Vec<Role>, Unidentified> {
    Ok(elements(answer)?.iter().filter_map(role).collect())
}

/// `start` of the next part of a listing.
pub(crate) fn next_start(answer: &Value) -> Result<Option<String>, Unidentified> {
    let number = |pointer| answer.pointer(pointer).and_then(Value::as_u64);
    let links = answer.pointer("/paging/links").and_then(Value::as_array).into_iter().flatten();
    let has_next = links.filter_map(|link| text(link, "/rel")).any(|rel| rel == "next");
    let place = number("/paging/start").zip(number("/paging/count").filter(|count| *count > 0));
    let Some((start, count)) = place else { return if has_next { Err(Unidentified::Unreadable) } else { Ok(None) } };
    let is_full = elements(answer).is_ok_and(|elements| u64::try_from(elements.len()).is_ok_and(|len| len >= count));
    Ok((is_full || has_next).then(|| (start + count).to_string()))
}

/// Reads name and vanity name by organization.
pub(crate) fn read_organizations(answer: &Value) -> Result<BTreeMap<String, Organization>, Unidentified> {
    let results = answer.get("results").and_then(Value::as_object).ok_or(Unidentified::Unreadable)?;
    Ok(results.iter().map(|(id, organization)| (id.clone(), names(organization))).collect())
}

/// Reads name, vanity name and logo by organization, from `organizationalEntityAcls` with its targets projected.
pub(crate) fn read_logos(answer: &Value) -> Result<Vec<(String, Organization)>, Unidentified> {
    let organization = |element: &Value| {
        let target = element.get("organizationalTarget~")?;
        let logo_url = text(target, "/logoV2/original~/elements/0/identifiers/0/identifier");
        Some((role(element)?.organization, Organization { logo_url, ..names(target) }))
    };
    Ok(elements(answer)?.iter().filter_map(organization).collect())
}

/// True when a role may post.
pub(crate) fn posts(role: &str) -> bool {
    POSTING_ROLES.iter().any(|posting| posting.eq_ignore_ascii_case(role))
}

pub(crate) fn organization_account(role: &Role, organization: Organization) -> Account {
    let in_url = organization.vanity_name.as_ref().unwrap_or(&role.organization);
    Account {
        profile_url: page_url("https://www.linkedin.com/company/", &[in_url]),
        platform_user_id: role.organization.clone(),
        username: organization.vanity_name,
        display_name: organization.name,
        image_url: organization.logo_url,
        metadata: metadata([
            ("type", Some("organization".to_owned())),
            ("urn", Some(format!("urn:li:organization:{}", role.organization))),
            ("role", Some(role.role.clone())),
        ]),
    }
}

pub(crate) fn unusable_organization(role: &Role, organization: Organization) -> UnusableAccount {
    UnusableAccount {
        platform_user_id: role.organization.clone(),
        display_name: organization.name,
        reason: format!(
            "your role there ({}) does not let you post for it",
            role.role.to_lowercase().replace('_', " ")
        ),
        remedy: "Ask an administrator of the page to make you a content administrator, then connect again.".to_owned(),
        is_passing: false,
    }
}

fn elements(answer: &Value) -> Result<&Vec<Value>, Unidentified> {
    answer.get("elements").and_then(Value::as_array).ok_or(Unidentified::Unreadable)
}

/// Reads a role; `None` for another kind of entity (a school, a brand).
fn role(element: &Value) -> Option<Role> {
    let urn = text(element, "/organization").or_else(|| text(element, "/organizationalTarget"))?;
    let organization = urn.strip_prefix("urn:li:organization:")?;
    let is_number = !organization.is_empty() && organization.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Role { organization: organization.to_owned(), role: text(element, "/role").unwrap_or_default() })
}

fn names(organization: &Value) -> Organization {
    Organization {
        name: text(organization, "/localizedName"),
        vanity_name: text(organization, "/vanityName"),
        logo_url: None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_account_is_the_subject() {
        let mut account = read(&json!({"sub": "782bbtaQ", "name": "John Doe", "picture": "https://media.licdn.com/p",
            "locale": {"country": "US", "language": "en"}, "email": "x@y.example"}))
        .unwrap();
        assert_eq!(account.platform_user_id, "782bbtaQ");
        assert_eq!(account.display_name.as_deref(), Some("John Doe"));
        assert_eq!((account.username.clone(), account.profile_url.clone()), (None, None));
        add(&mut account, &json!({"id": "782bbtaQ", "vanityName": "john-doe"}));
        assert_eq!(account.username.as_deref(), Some("john-doe"));
        assert_eq!(account.profile_url.as_deref(), Some("https://www.linkedin.com/in/john-doe"));
    }

    #[test]
    fn the_locale_may_be_a_string_and_the_rest_missing() {
        assert!(read(&json!({"sub": "1", "locale": "en_US"})).is_ok());
        assert_eq!(read(&json!({"name": "John"})), Err(Unidentified::Unreadable));
    }

    #[test]
    fn without_openid_connect_the_member_is_the_same() {
        let account =
            read(&json!({"id": "782bbtaQ", "localizedFirstName": "John", "localizedLastName": "Doe"})).unwrap();
        assert_eq!(account.platform_user_id, "782bbtaQ");
        assert_eq!(account.display_name.as_deref(), Some("John Doe"));
        let names = |preferred: Value| {
            json!({"id": "1", "firstName": {"localized": {"de_DE": "Johann", "en_US": "John"}, "preferredLocale": preferred},
                "lastName": {"localized": {"en_US": "Doe"}}})
        };
        for (preferred, name) in [
            (json!({"language": "en", "country": "US"}), "John Doe"),
            (json!({"language": "fr", "country": "FR"}), "Johann Doe"),
            (json!(null), "Johann Doe"),
        ] {
            assert_eq!(read(&names(preferred)).unwrap().display_name.as_deref(), Some(name));
        }
        let plain = json!({"id": "1", "firstName": {"localized": {}}, "lastName": "Doe"});
        assert_eq!(read(&plain).unwrap().display_name.as_deref(), Some("Doe"));
        let nameless = json!({"id": "1", "firstName": {"localized": {"en_US": ""}}, "lastName": null});
        assert_eq!(read(&nameless).unwrap().display_name, None);
    }

    #[test]
    fn roles_are_read_under_both_names() {
        let answer = json!({"elements": [
            {"organization": "urn:li:organization:2414183", "role": "ADMINISTRATOR", "state": "APPROVED"},
            {"organizationalTarget": "urn:li:organization:7", "role": "ANALYST"},
            {"organization": "urn:li:organizationBrand:8", "role": "ADMINISTRATOR"},
            {"organization": "urn:li:organization:8/../x", "role": "ADMINISTRATOR"},
            {"role": "ADMINISTRATOR"},
        ]});
        let role = |organization: &str, role: &str| Role { organization: organization.into(), role: role.into() };
        assert_eq!(read_roles(&answer), Ok(vec![role("2414183", "ADMINISTRATOR"), role("7", "ANALYST")]));
        assert_eq!(read_roles(&json!({"status": 403})), Err(Unidentified::Unreadable));
        assert!(posts("CONTENT_ADMIN") && posts("CONTENT_ADMINISTRATOR") && !posts("ANALYST") && !posts(""));
        assert!(posts("administrator"));
    }

    #[test]
    fn a_listing_goes_on_while_it_is_full_or_says_so() {
        let page = |elements: usize, links: Value| json!({"elements": vec![json!({}); elements], "paging": {"start": 100, "count": 2, "links": links}});
        let more = Ok(Some("102".to_owned()));
        let next = json!([{"rel": "next", "href": "/x"}]);
        assert_eq!(next_start(&page(2, json!([]))), more);
        assert_eq!(next_start(&page(1, next.clone())), more);
        assert_eq!(next_start(&page(1, json!([{"rel": "prev", "href": "/x"}]))), Ok(None));
        assert_eq!(next_start(&json!({"elements": []})), Ok(None));
        assert_eq!(next_start(&json!({"elements": [], "paging": {"start": 0, "count": 0}})), Ok(None));
        let nowhere = json!({"elements": [], "paging": {"links": next}});
        assert_eq!(next_start(&nowhere), Err(Unidentified::Unreadable), "there is more, and no way to it");
    }

    #[test]
    fn an_organization_is_its_number_with_the_urn_beside() {
        let looked_up = read_organizations(&json!({"results": {"7": {"localizedName": "Acme", "vanityName": "acme",
            "logoV2": {"original": "urn:li:digitalmediaAsset:x"}}}, "statuses": {}, "errors": {}}))
        .unwrap();
        let role = Role { organization: "7".into(), role: "CONTENT_ADMIN".into() };
        let account = organization_account(&role, looked_up["7"].clone());
        assert_eq!(account.platform_user_id, "7");
        assert_eq!(account.username.as_deref(), Some("acme"));
        assert_eq!(account.display_name.as_deref(), Some("Acme"));
        assert_eq!(account.profile_url.as_deref(), Some("https://www.linkedin.com/company/acme"));
        assert_eq!(
            Value::Object(account.metadata),
            json!({"type": "organization", "urn": "urn:li:organization:7", "role": "CONTENT_ADMIN"})
        );
        let nameless = organization_account(&role, Organization::default());
        assert_eq!(nameless.profile_url.as_deref(), Some("https://www.linkedin.com/company/7"));
        let refused =
            unusable_organization(&Role { role: "LEAD_GEN_FORMS_MANAGER".into(), ..role }, Organization::default());
        assert_eq!(refused.reason, "your role there (lead gen forms manager) does not let you post for it");
    }

    #[test]
    fn logos_come_with_the_projection() {
        let logos = read_logos(&json!({"elements": [
            {"role": "ADMINISTRATOR", "organizationalTarget": "urn:li:organization:7", "organizationalTarget~":
                {"localizedName": "Acme", "vanityName": "acme", "logoV2": {"original~": {"elements":
                    [{"identifiers": [{"identifier": "https://media.licdn.com/l"}]}]}}}},
            {"role": "ADMINISTRATOR", "organizationalTarget": "urn:li:organization:8", "organizationalTarget~":
                {"localizedName": "Logoless"}},
            {"role": "ADMINISTRATOR", "organizationalTarget": "urn:li:organization:9"},
        ]}))
        .unwrap();
        let logos = BTreeMap::from_iter(logos);
        assert_eq!(logos["7"].logo_url.as_deref(), Some("https://media.licdn.com/l"));
        assert_eq!(logos["8"].logo_url, None);
        assert_eq!(logos["8"].name.as_deref(), Some("Logoless"));
        assert!(!logos.contains_key("9"));
    }
}
