//! Google Business Profile: Google's OAuth 2.0, and the accounts and locations that a person manages.
//! <https://developers.google.com/my-business/reference/accountmanagement/rest/v1/accounts/list>,
//! <https://developers.google.com/my-business/reference/businessinformation/rest/v1/accounts.locations/list>
//!
//! Google's three hosts are one here. `readMask` is required; pages have a largest size and may be shorter than
//! requested; empty and false members are left out of answers.

use serde_json::{Value, json};

use super::{Authorize, Challenge, CodeRules, Endpoint, Example, Imitation, Persona, Pkce, Scopes, google, select};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::{Call, Fields};
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::Problem;
use crate::sandbox::step::Step;

const MANAGE: &str = "https://www.googleapis.com/auth/business.manage";

const ACCOUNTS_MOST: usize = 20;
const LOCATIONS_USUAL: usize = 10;
const LOCATIONS_MOST: usize = 100;

pub(super) const IMITATION: Imitation = Imitation {
    name: "googlebusiness",
    label: "Google Business Profile",
    personas: &[
        Persona {
            id: "ada",
            user_id: "",
            name: "Ada Marlow",
            handle: "",
            note: "three locations, one in two accounts",
        },
        Persona {
            id: "basil",
            user_id: "",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "",
            note: "one location, without an address on the map",
        },
        Persona { id: "nobody", user_id: "", name: "Nora Body", handle: "", note: "an account without locations" },
        Persona {
            id: "closed",
            user_id: "",
            name: "Clo Sed",
            handle: "",
            note: "three locations, two of which take no posts",
        },
        Persona {
            id: "chain",
            user_id: "",
            name: "Charlie Chain",
            handle: "",
            note: "40 locations over two accounts, listed in short pages",
        },
    ],
    authorize: Authorize {
        path: "/o/oauth2/v2/auth",
        scopes: Scopes {
            known: &["email", MANAGE, "openid", "profile"],
            fixed: Some(google::IDENTITY_SCOPES),
            ..Scopes::STANDARD
        },
        parameters: google::PARAMETERS,
        pkce: |_| Pkce::Optional(Challenge::Base64Url),
        code: CodeRules { life: 600, prefix: "4/0", suffix: "" },
        granted_scope: Some(("scope", " ")),
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "openid profile email https://www.googleapis.com/auth/business.manage",
        authorize: google::AUTHORIZE,
        pkce: true,
        identity: "/oauth2/v2/userinfo",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/token", step: Step::Token, answer: google::token },
        Endpoint { method: "POST", path: "/revoke", step: Step::Revoke, answer: google::revoke },
        Endpoint { method: "GET", path: "/oauth2/v2/userinfo", step: Step::Identity, answer: google::userinfo },
        Endpoint { method: "GET", path: "/v1/accounts", step: Step::Accounts, answer: accounts },
        Endpoint { method: "GET", path: "/v1/accounts/{id}/locations", step: Step::Accounts, answer: locations },
        Endpoint { method: "GET", path: "/v1/locations/{id}", step: Step::Accounts, answer: location },
    ],
    refuse: google::refuse,
    revocable: true,
    ..Imitation::STANDARD
};

/// An account with its locations.
struct Account {
    id: &'static str,
    name: String,
    kind: &'static str,
    locations: Vec<Location>,
}

#[derive(Clone)]
struct Location {
    id: String,
    title: String,
    /// As its metadata says; `None`: the member is left out, which means no.
    takes_posts: Option<bool>,
    on_the_map: bool,
}

fn shop(id: &str, title: &str) -> Location {
    Location { id: id.to_owned(), title: title.to_owned(), takes_posts: Some(true), on_the_map: true }
}

fn accounts_of(persona: &Persona) -> Vec<Account> {
    let personal = |id, locations| Account { id, name: persona.name.to_owned(), kind: "PERSONAL", locations };
    let group = |id, name: &str, locations| Account { id, name: name.to_owned(), kind: "LOCATION_GROUP", locations };
    match persona.id {
        "ada" => {
            let harbour = shop("301000000000000002", "Marlow & Daughters, Harbour");
            let bakery = shop("301000000000000001", "Marlow & Daughters, Bakery");
            let market = shop("301000000000000003", "Marlow & Daughters, Market");
            vec![
                personal("111000000000000000001", vec![bakery, harbour.clone()]),
                group("111000000000000000002", "Marlow family", vec![harbour, market]),
            ]
        }
        "basil" => vec![personal(
            "112000000000000000001",
            vec![Location { on_the_map: false, ..shop("302000000000000001", "Quince <b>Repairs</b> & Söhne 🦊") }],
        )],
        "chain" => {
            let numbered =
                |number: usize| shop(&format!("3040000000000000{number:02}"), &format!("Branch no. {number}"));
            vec![
                personal("114000000000000000001", (1..=16).map(numbered).collect()),
                group("114000000000000000002", "Franchise", (16..=40).map(numbered).collect()),
            ]
        }
        "closed" => vec![personal(
            "115000000000000000001",
            vec![
                shop("305000000000000001", "Open for posts"),
                Location { takes_posts: Some(false), ..shop("305000000000000002", "Posts switched off") },
                Location { takes_posts: None, ..shop("305000000000000003", "Nothing said of posts") },
            ],
        )],
        _ => vec![personal("113000000000000000001", Vec::new())],
    }
}

/// The requested part of a list, and the token of the next part.
fn part<T: Clone>(
    all: &[T],
    fields: Fields<'_>,
    usual: usize,
    most: usize,
    at_once: usize,
) -> Result<(Vec<T>, Option<String>), Problem> {
    let size = match fields.find("pageSize").map(str::parse::<usize>) {
        None => usual,
        Some(Ok(size)) if (1..=most).contains(&size) => size,
        Some(_) => return Err(Problem::Parameter(format!("page_size must be between 1 and {most}"))),
    };
    let from = match fields.find("pageToken") {
        None => 0,
        Some(token) => token
            .strip_prefix("next-")
            .and_then(|at| at.parse::<usize>().ok())
            .ok_or_else(|| Problem::Parameter("Request contains an invalid argument: page_token".to_owned()))?,
    };
    let end = from + size.min(at_once);
    let next = (end < all.len()).then(|| format!("next-{end}"));
    Ok((all.iter().skip(from).take(end - from).cloned().collect(), next))
}

/// An answer without its empty members.
fn listed(name: &str, items: &[Value], next: Option<&str>) -> Reply {
    let items = (!items.is_empty()).then_some(items);
    Reply::json(200, &without_nulls(json!({name: items, "nextPageToken": next})))
}

fn accounts(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&[], &["filter", "pageSize", "pageToken", "parentAccount"])?;
    let grant = desk.bearer(call, &[MANAGE])?;
    let all: Vec<Value> = accounts_of(grant.persona)
        .iter()
        .map(|account| {
            json!({
                "name": format!("accounts/{}", account.id),
                "accountName": account.name,
                "type": account.kind,
                "role": "PRIMARY_OWNER",
                "verificationState": "UNVERIFIED",
                "vettedState": "NOT_VETTED",
            })
        })
        .collect();
    let at_once = if grant.persona.id == "chain" { 1 } else { ACCOUNTS_MOST };
    let (items, next) = part(&all, fields, ACCOUNTS_MOST, ACCOUNTS_MOST, at_once)?;
    Ok(listed("accounts", &items, next.as_deref()))
}

fn locations(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&["readMask"], &["filter", "orderBy", "pageSize", "pageToken"])?;
    let mask = read_mask(fields.get("readMask"))?;
    let grant = desk.bearer(call, &[MANAGE])?;
    let id = call.path.split('/').nth(3).unwrap_or_default();
    let Some(account) = accounts_of(grant.persona).into_iter().find(|account| account.id == id) else {
        return Ok(google::api_error(403, "PERMISSION_DENIED", "The caller does not have permission"));
    };
    let at_once = if grant.persona.id == "chain" { 9 } else { LOCATIONS_MOST };
    let (items, next) = part(&account.locations, fields, LOCATIONS_USUAL, LOCATIONS_MOST, at_once)?;
    let items: Vec<Value> = items.iter().map(|location| view(location, &mask)).collect();
    Ok(listed("locations", &items, next.as_deref()))
}

fn location(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let mask = read_mask(call.query(&["readMask"], &[])?.get("readMask"))?;
    let grant = desk.bearer(call, &[MANAGE])?;
    let id = call.path.split('/').nth(3).unwrap_or_default();
    let mut all = accounts_of(grant.persona).into_iter().flat_map(|account| account.locations);
    match all.find(|location| location.id == id) {
        Some(location) => Ok(Reply::json(200, &view(&location, &mask))),
        None => Ok(google::api_error(404, "NOT_FOUND", "Requested entity was not found.")),
    }
}

/// Members of a location by a field mask: `metadata.mapsUri` gives the whole of `metadata` here.
fn read_mask(mask: &str) -> Result<Vec<&str>, Problem> {
    const KNOWN: [&str; 11] = [
        "categories",
        "languageCode",
        "latlng",
        "metadata",
        "name",
        "openInfo",
        "phoneNumbers",
        "profile",
        "storefrontAddress",
        "title",
        "websiteUri",
    ];
    let names: Vec<&str> = mask.split(',').map(|path| path.split('.').next().unwrap_or_default()).collect();
    match names.iter().find(|name| !KNOWN.contains(name)) {
        Some(name) => Err(Problem::Parameter(format!("Invalid field mask provided: '{name}'"))),
        None => Ok(names),
    }
}

fn view(location: &Location, mask: &[&str]) -> Value {
    let metadata = json!({
        "hasVoiceOfMerchant": true,
        "placeId": format!("ChIJ{}", location.id),
        "mapsUri": location.on_the_map.then(|| format!("https://maps.google.com/maps?cid={}", location.id)),
        "canOperateLocalPost": location.takes_posts,
    });
    let address = json!({"regionCode": "GB", "locality": "Sandbox", "addressLines": ["1 Made-up Street"]});
    let all = json!({
        "name": format!("locations/{}", location.id),
        "languageCode": "en",
        "title": location.title,
        "storefrontAddress": location.on_the_map.then_some(address),
        "websiteUri": format!("https://shop-{}.example/", location.id),
        "metadata": without_nulls(metadata),
    });
    select(&all, mask)
}
