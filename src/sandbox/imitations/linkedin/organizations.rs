//! The organizations of LinkedIn's members.
//! <https://learn.microsoft.com/linkedin/marketing/community-management/organizations/organization-access-control-by-role>
//!
//! `/rest` requires a current version and Rest.li 2.0, which takes lists only with unescaped parentheses and commas. A
//! look-up returns names without picture URLs; those come with a projection below `/v2`.

use serde_json::{Map, Value, json};

use super::super::select;
use super::Persona;
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::{Call, Fields};
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::Problem;
use crate::sandbox::serve::WHY;
use crate::sandbox::world::Grant;

/// Oldest and newest current version, a bit more than a year apart.
const VERSIONS: std::ops::RangeInclusive<u32> = 202_510..=202_611;

const USUAL: usize = 10;
const MOST: usize = 100;

/// A role of a member.
struct Role {
    organization: Organization,
    name: &'static str,
    state: &'static str,
}

#[derive(Clone)]
struct Organization {
    id: u32,
    name: String,
    vanity_name: String,
    has_logo: bool,
}

impl Organization {
    fn new(id: u32, name: &str, vanity_name: &str) -> Self {
        Self { id, name: name.to_owned(), vanity_name: vanity_name.to_owned(), has_logo: true }
    }

    fn urn(&self) -> String {
        format!("urn:li:organization:{}", self.id)
    }

    fn client(number: u32) -> Self {
        Self::new(3_000_000 + number, &format!("Client no. {number}"), &format!("client-{number}"))
    }
}

/// The roles of a member, approved or not.
fn roles_of(persona: &Persona) -> Vec<Role> {
    let role = |organization, name| Role { organization, name, state: "APPROVED" };
    match persona.id {
        "ada" => vec![
            role(Organization::new(2_414_183, "Marlow & Daughters", "marlow-daughters"), "ADMINISTRATOR"),
            role(
                Organization {
                    has_logo: false, ..Organization::new(2_414_184, "Harbour <b>Lights</b> 🦊", "harbour")
                },
                "CONTENT_ADMINISTRATOR",
            ),
        ],
        "agency" => (1..=120).map(|number| role(Organization::client(number), "ADMINISTRATOR")).collect(),
        "analyst" => {
            let both = Organization::new(2_414_185, "Two Roles Ltd", "two-roles");
            let pending = Organization::new(2_414_187, "Not approved yet", "not-yet");
            vec![
                role(both.clone(), "ANALYST"),
                role(both, "DIRECT_SPONSORED_CONTENT_POSTER"),
                role(Organization::new(2_414_186, "Only to look at", "only-to-look-at"), "ANALYST"),
                Role { organization: pending, name: "ADMINISTRATOR", state: "REQUESTED" },
            ]
        }
        _ => Vec::new(),
    }
}

/// A mistake in the headers of a request below `/rest`, in LinkedIn's words.
fn objection(call: &Call) -> Option<Reply> {
    let say = |status: u16, code: &str, message: String| {
        Reply::json(status, &json!({"status": status, "code": code, "message": message})).header(WHY, message)
    };
    let Some(version) = call.header("linkedin-version") else {
        let message = "A version must be present. Please specify a version by adding the LinkedIn-Version header.";
        return Some(say(400, "VERSION_MISSING", message.to_owned()));
    };
    let known = version
        .parse::<u32>()
        .is_ok_and(|number| version.len() == 6 && (1..=12).contains(&(number % 100)) && VERSIONS.contains(&number));
    if !known {
        return Some(say(426, "NONEXISTENT_VERSION", format!("Requested version {version} is not active")));
    }
    if call.header("x-restli-protocol-version") != Some("2.0.0") {
        let message = "X-Restli-Protocol-Version must be 2.0.0 for this resource";
        return Some(say(400, "ILLEGAL_ARGUMENT", message.to_owned()));
    }
    None
}

/// The grant of a token that may list organizations.
fn permitted(desk: &Desk<'_>, call: &Call) -> Result<Grant, Problem> {
    let grant = desk.bearer(call, &[])?;
    if grant.has("r_organization_admin") || grant.has("rw_organization_admin") {
        Ok(grant)
    } else {
        Err(Problem::Scope("r_organization_admin or rw_organization_admin".to_owned()))
    }
}

/// The roles that a finder's parameters select, with `paging`.
fn found(call: &Call, fields: Fields<'_>, grant: &Grant) -> Result<(Vec<Role>, Value), Problem> {
    if fields.get("q") != "roleAssignee" {
        return Err(Problem::Parameter(format!("the sandbox has no finder '{}'", fields.get("q"))));
    }
    let number = |name: &str, otherwise: usize| match fields.find(name) {
        None => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| Problem::Parameter(format!("{name} is no number: {text}"))),
    };
    let (start, count) = (number("start", 0)?, number("count", USUAL)?);
    if !(1..=MOST).contains(&count) {
        return Err(Problem::Parameter(format!("count must be between 1 and {MOST}")));
    }
    let wanted = |name: &str, value: &str| fields.find(name).is_none_or(|wanted| wanted == value);
    let all = roles_of(grant.persona);
    let all: Vec<Role> =
        all.into_iter().filter(|role| wanted("state", role.state) && wanted("role", role.name)).collect();
    let link = |rel: &str, start: usize| {
        let others = call.query.iter().filter(|(name, _)| !matches!(name.as_str(), "count" | "start"));
        let others = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
        let href = format!("{}?{others}&count={count}&start={start}", call.path);
        json!({"rel": rel, "type": "application/json", "href": href})
    };
    let mut links = Vec::new();
    if start > 0 {
        links.push(link("prev", start.saturating_sub(count)));
    }
    if start + count < all.len() {
        links.push(link("next", start + count));
    }
    let paging = json!({"start": start, "count": count, "links": links});
    Ok((all.into_iter().skip(start).take(count).collect(), paging))
}

pub(super) fn roles(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let grant = permitted(desk, call)?;
    if let Some(objection) = objection(call) {
        return Ok(objection);
    }
    let fields = call.query(&["q"], &["count", "role", "start", "state"])?;
    let (roles, paging) = found(call, fields, &grant)?;
    let elements: Vec<Value> = roles
        .iter()
        .map(|role| {
            json!({
                "organization": role.organization.urn(),
                "role": role.name,
                "roleAssignee": format!("urn:li:person:{}", grant.persona.user_id),
                "state": role.state,
            })
        })
        .collect();
    Ok(Reply::json(200, &json!({"elements": elements, "paging": paging})))
}

pub(super) fn look_up(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let grant = permitted(desk, call)?;
    if let Some(objection) = objection(call) {
        return Ok(objection);
    }
    let ids = call
        .raw_query
        .strip_prefix("ids=List(")
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| Problem::Parameter("ids is not List(…) with its parentheses as they are".to_owned()))?;
    let all = roles_of(grant.persona);
    let (mut results, mut statuses, mut errors) = (Map::new(), Map::new(), Map::new());
    for id in ids.split(',') {
        let number: u32 = id.parse().map_err(|_| {
            Problem::Parameter(format!("'{id}' is no organization's number: are the commas as they are?"))
        })?;
        let found = all.iter().map(|role| &role.organization).find(|organization| organization.id == number);
        if let Some(organization) = found {
            results.insert(id.to_owned(), view(organization));
        } else {
            statuses.insert(id.to_owned(), 404.into());
            errors.insert(id.to_owned(), json!({"status": 404, "message": "Could not find organization"}));
        }
    }
    Ok(Reply::json(200, &json!({"results": results, "statuses": statuses, "errors": errors})))
}

fn view(organization: &Organization) -> Value {
    let urn = format!("urn:li:digitalmediaAsset:C4D0BAQ{}", organization.id);
    without_nulls(json!({
        "id": organization.id,
        "localizedName": organization.name,
        "name": {"localized": {"en_US": organization.name}, "preferredLocale": {"country": "US", "language": "en"}},
        "vanityName": organization.vanity_name,
        "primaryOrganizationType": "NONE",
        "logoV2": organization.has_logo.then(|| json!({"cropped": urn, "original": urn})),
    }))
}

/// The older finder, whose projection resolves references.
pub(super) fn roles_with_targets(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let grant = permitted(desk, call)?;
    let fields = call.query(&["q"], &["count", "projection", "role", "start", "state"])?;
    let (roles, paging) = found(call, fields, &grant)?;
    let projection = match fields.find("projection") {
        Some(text) => Some(Projection::read(text)?),
        None => None,
    };
    let picture = desk.picture(&grant);
    let elements: Vec<Value> = roles
        .iter()
        .map(|role| {
            let element = json!({
                "organizationalTarget": role.organization.urn(),
                "role": role.name,
                "roleAssignee": format!("urn:li:person:{}", grant.persona.user_id),
                "state": role.state,
            });
            match &projection {
                Some(projection) => projection.apply(&element, &role.organization, &picture),
                None => element,
            }
        })
        .collect();
    Ok(Reply::json(200, &json!({"elements": elements, "paging": paging})))
}

/// `(elements*(role,organizationalTarget~(localizedName,logoV2(original~:playableStreams))))`.
struct Projection {
    members: Vec<String>,
    /// Members of the organization, where it is to be resolved.
    target: Option<Vec<String>>,
    resolves_logo: bool,
}

impl Projection {
    fn read(text: &str) -> Result<Self, Problem> {
        let unreadable = || Problem::Parameter(format!("the projection cannot be read: {text}"));
        let inner = text.strip_prefix("(elements*(").and_then(|rest| rest.strip_suffix("))")).ok_or_else(unreadable)?;
        let mut projection = Self { members: Vec::new(), target: None, resolves_logo: false };
        for member in split(inner).ok_or_else(unreadable)? {
            let Some(target) = member.strip_prefix("organizationalTarget~") else {
                projection.members.push(member.to_owned());
                continue;
            };
            projection.members.push("organizationalTarget".to_owned());
            let target = target.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).ok_or_else(unreadable)?;
            let names = split(target).ok_or_else(unreadable)?;
            projection.resolves_logo = names.contains(&"logoV2(original~:playableStreams)");
            let names = names.iter().map(|name| name.split('(').next().unwrap_or_default().to_owned());
            projection.target = Some(names.collect());
        }
        Ok(projection)
    }

    fn apply(&self, element: &Value, organization: &Organization, picture: &str) -> Value {
        let members: Vec<&str> = self.members.iter().map(String::as_str).collect();
        let mut element = select(element, &members);
        if let (Some(target), Some(element)) = (&self.target, element.as_object_mut()) {
            let target: Vec<&str> = target.iter().map(String::as_str).collect();
            let mut view = select(&view(organization), &target);
            if self.resolves_logo
                && let Some(logo) = view.get_mut("logoV2").and_then(Value::as_object_mut)
            {
                let identifier = json!({"identifier": picture, "index": 0, "mediaType": "image/svg+xml"});
                logo.insert("original~".to_owned(), json!({"elements": [{"identifiers": [identifier]}]}));
            }
            element.insert("organizationalTarget~".to_owned(), view);
        }
        element
    }
}

/// Parts between commas outside parentheses; `None` when a parenthesis is not closed.
fn split(text: &str) -> Option<Vec<&str>> {
    let (mut depth, mut start, mut parts) = (0_u32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.checked_sub(1)?,
            ',' if depth == 0 => {
                parts.push(text.get(start..at)?);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..)?);
    (depth == 0).then_some(parts)
}
