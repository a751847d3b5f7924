//! `/console/keys`: access keys are made, shown once and revoked. A key makes and revokes no stronger one than itself.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use secrecy::ExposeSecret as _;

use super::MAKING;
use super::accounts::{Offered, profiles};
use super::fields::{given, profile, required};
use super::session::{Sent, SignedIn};
use super::view::{Section, Time, View, go, removed};
use crate::broker::Caller;
use crate::broker::console::ListedKey;
use crate::domain::access_key::Scope;
use crate::domain::audit::Action;
use crate::domain::id::AccessKeyId;
use crate::domain::key_limits::{Expiry, Limits};
use crate::domain::network::Network;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::pages::words::console::Done;
use crate::http::request::{Form, FromQuery, Parameters, Query, Segment, fields};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "console/keys.html")]
struct Keys<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    rows: Vec<Row>,
    next: Option<String>,
    /// The scopes that a new key may have.
    scopes: Vec<&'static str>,
    profiles: Offered,
    /// The key is bound to a profile, and so are those that it makes.
    is_bound: bool,
    /// Id of the newest key, by which a form that is sent again is known.
    latest: String,
}

struct Row {
    path: String,
    id: String,
    name: String,
    hint: String,
    scopes: String,
    profile: Option<String>,
    networks: String,
    made: Time,
    used: Option<Time>,
    expires: Option<Time>,
    revoked: Option<Time>,
    is_revocable: bool,
    /// The key of this session.
    is_own: bool,
}

/// Shows a new key, once.
#[derive(Template)]
#[template(path = "console/key_made.html")]
struct Made<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    name: String,
    key: &'a str,
}

/// Where a page of keys begins.
pub(crate) struct Place(Option<AccessKeyId>);

impl FromQuery for Place {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self(query.text_if_readable("after").and_then(|after| after.parse().ok())))
    }
}

pub(crate) async fn list(
    state: Current,
    req: HttpRequest,
    signed_in: SignedIn,
    Parameters(Place(after)): Parameters<Place>,
) -> Result<HttpResponse, ApiError> {
    page(&state, View::new(&state, &req, Section::Keys), &signed_in.caller, after).await
}

async fn page(
    state: &State,
    at: View<'_>,
    caller: &Caller,
    after: Option<AccessKeyId>,
) -> Result<HttpResponse, ApiError> {
    let at = &at;
    let found = state.broker.list_keys(caller, after).await?;
    let latest = match after {
        Some(_) => state.broker.list_keys(caller, None).await?.keys.first().map(|listed| listed.key.id),
        None => found.keys.first().map(|listed| listed.key.id),
    };
    let page = Keys {
        frame: &at.frame,
        at,
        rows: found.keys.into_iter().map(|key| row(at, key, caller.access_key_id)).collect(),
        next: found.next.map(|next| at.with("/keys", &[("after", &next.to_string())])),
        scopes: caller.scopes.iter().map(Scope::into_str).collect(),
        profiles: profiles(state, caller, at.typed("/keys", "profile")).await?,
        is_bound: caller.profile_id.is_some(),
        latest: latest.map(|id| id.to_string()).unwrap_or_default(),
    };
    at.show(&page)
}

#[expect(clippy::disallowed_methods, reason = "a new key is shown once, to whoever made it")]
pub(crate) async fn create(state: Current, req: HttpRequest, sent: Sent) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    let _making = MAKING.lock().await;
    if is_sent_again(&state, caller, form).await? {
        return Ok(go(&state, &req, "/keys", Some(Done::KeyMadeBefore)));
    }
    let made = async {
        let (name, (limits, expires)) = (required(form, "name", fields::any)?, limits(form)?);
        Ok(state.broker.make_key(caller, &name, limits, expires).await?)
    };
    let at = View::new(&state, &req, Section::Keys);
    match made.await {
        Ok((made, key)) => at.show(&Made { frame: &at.frame, at: &at, name: made.name, key: key.expose_secret() }),
        Err(error) => {
            let at = at.with_returned(error, "/keys", &sent, Scope::Manage)?;
            page(&state, at, caller, None).await
        }
    }
}

pub(crate) async fn revoke(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let revoked = state.broker.revoke_access_key_as(&sent.caller, &id).await.map(|()| Done::KeyRevoked);
    let done = removed(&state, &sent, (&id, Action::AccessKeyRevoked), revoked).await?;
    let is_own = sent.caller.access_key_id.is_some_and(|own| own.to_string() == id);
    Ok(go(&state, &req, if is_own { "/sign-in" } else { "/keys" }, Some(done)))
}

/// True when a key of this name is newer than the form, as after a reload of the page that shows it.
async fn is_sent_again(state: &State, caller: &Caller, form: &Form) -> Result<bool, ApiError> {
    let fields = form.fields();
    let latest = fields.text("latest")?.and_then(|id| id.parse::<AccessKeyId>().ok());
    let Some(latest) = latest else { return Ok(false) };
    let name = fields.text("name")?.unwrap_or_default();
    let keys = state.broker.list_keys(caller, None).await?.keys;
    Ok(keys.iter().take_while(|listed| listed.key.id != latest).any(|listed| listed.key.name == name.trim()))
}

/// Reads the limits of a new key. Limits that are left open are inherited from the key that makes it.
fn limits(form: &Form) -> Result<(Limits, Option<Expiry>), ApiError> {
    let invalid = |name: &str, why: String| fields::invalid(name, &format!("is {why}"));
    let mut scopes = Vec::new();
    for scope in form.fields().texts("scope") {
        scopes.push(scope?.parse::<Scope>().map_err(|_| invalid("scope", "unknown".to_owned()))?);
    }
    let profile_id = profile(form)?.map(|id| id.parse().map_err(|_| invalid("profile", "unknown".to_owned())));
    let expires = given(form, "expires")?.map(|text| text.parse::<Expiry>()).transpose();
    let expires = expires.map_err(|why| invalid("expires", why.to_string()))?;
    let networks = given(form, "networks")?.unwrap_or_default();
    let networks = networks.split([',', ' ', '\n']).map(str::trim).filter(|text| !text.is_empty());
    let networks: Result<Vec<Network>, _> = networks.map(str::parse).collect();
    let limits = Limits {
        scopes,
        profile_id: profile_id.transpose()?,
        networks: networks.map_err(|why| invalid("networks", why.to_string()))?,
        expires_at: None,
    };
    Ok((limits, expires))
}

fn row(at: &View<'_>, listed: ListedKey, own: Option<AccessKeyId>) -> Row {
    let ListedKey { key, is_revocable } = listed;
    let scopes: Vec<&str> = key.limits.scopes.iter().map(Scope::into_str).collect();
    let networks: Vec<String> = key.limits.networks.iter().map(ToString::to_string).collect();
    Row {
        path: format!("/keys/{}", key.id),
        id: key.id.to_string(),
        name: key.name,
        hint: key.hint,
        scopes: scopes.join(", "),
        profile: key.limits.profile_id.map(|id| id.to_string()),
        networks: networks.join(", "),
        made: at.time(key.created_at),
        used: key.last_used_at.map(|used| at.time(used)),
        expires: key.limits.expires_at.map(|end| at.time(end)),
        revoked: key.revoked_at.map(|end| at.time(end)),
        is_revocable,
        is_own: own == Some(key.id),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::accounts::tests::offered;
    use super::*;

    pub(in super::super) fn pages(at: &View<'_>, text: &str) -> [String; 2] {
        let own = || text.to_owned();
        let time = || Time { shown: own(), exact: own() };
        let row = Row {
            path: "/keys/x".to_owned(),
            id: own(),
            name: own(),
            hint: own(),
            scopes: own(),
            profile: Some(own()),
            networks: own(),
            made: time(),
            used: Some(time()),
            expires: Some(time()),
            revoked: None,
            is_revocable: true,
            is_own: true,
        };
        let next = Some(at.with("/keys", &[("after", text)]));
        let (scopes, profiles) = (vec!["read"], offered(text));
        let list =
            Keys { frame: &at.frame, at, rows: vec![row], next, scopes, profiles, is_bound: false, latest: own() };
        let made = Made { frame: &at.frame, at, name: own(), key: text };
        [list.render().unwrap(), made.render().unwrap()]
    }
}
