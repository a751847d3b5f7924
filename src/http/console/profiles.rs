//! `/console/profiles`: make, rename and delete profiles.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::MAKING;
use super::fields::{Paged, optional, required};
use super::session::{Sent, SignedIn};
use super::view::{Section, View, go, removed};
use crate::broker::Caller;
use crate::domain::access_key::Scope;
use crate::domain::audit::Action;
use crate::domain::paging::{Listed, Window};
use crate::domain::profile::ProfileChange;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::pages::words::console::Done;
use crate::http::request::{Form, Parameters, Segment, fields};
use crate::http::{Current, State};

/// The newest profiles, of all or of one name.
const NEWEST: Window = Window { limit: 25, offset: 0 };

#[derive(Template)]
#[template(path = "console/profiles.html")]
struct Profiles<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    name: String,
    rows: Vec<Row>,
    next: Option<String>,
    /// True for a key of the whole project.
    may_make: bool,
    /// Id of the newest profile, by which a form that is sent again is known.
    latest: String,
}

struct Row {
    path: String,
    id: String,
    name: String,
    description: String,
    accounts: String,
    accounts_href: String,
}

pub(crate) async fn list(
    state: Current,
    req: HttpRequest,
    signed_in: SignedIn,
    Parameters(paged): Parameters<Paged>,
) -> Result<HttpResponse, ApiError> {
    page(&state, View::new(&state, &req, Section::Profiles), &signed_in.caller, paged, None).await
}

/// Shows a page of the list, or the profile `only`.
async fn page(
    state: &State,
    at: View<'_>,
    caller: &Caller,
    paged: Paged,
    only: Option<&str>,
) -> Result<HttpResponse, ApiError> {
    let (at, broker) = (&at, &state.broker);
    let listed = match only {
        Some(id) => Listed { items: vec![broker.get_profile(caller, id).await?], total: 1 },
        None => broker.list_profiles(caller, paged.name(), paged.window()).await?,
    };
    let rows = listed.items.into_iter().map(|profile| {
        let id = profile.id.to_string();
        Row {
            path: format!("/profiles/{id}"),
            accounts_href: at.with("/accounts", &[("profile", &id)]),
            id,
            name: profile.name,
            description: profile.description.unwrap_or_default(),
            accounts: (at.words.number)(profile.integration_count),
        }
    });
    let newest = broker.list_profiles(caller, None, NEWEST).await?.items.into_iter().next();
    let page = Profiles {
        frame: &at.frame,
        at,
        rows: rows.collect(),
        next: paged.next(at, "/profiles", listed.total),
        name: paged.name,
        may_make: caller.profile_id.is_none() && caller.may(Scope::Manage),
        latest: newest.map(|profile| profile.id.to_string()).unwrap_or_default(),
    };
    at.show(&page)
}

pub(crate) async fn create(state: Current, req: HttpRequest, sent: Sent) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    let _making = MAKING.lock().await;
    if is_sent_again(&state, caller, form).await? {
        return Ok(go(&state, &req, "/profiles", Some(Done::ProfileMadeBefore)));
    }
    let made = async {
        let (name, description) =
            (required(form, "name", fields::name)?, optional(form, "description", fields::description)?);
        Ok(state.broker.create_profile(caller, name, description).await?)
    };
    match made.await {
        Ok(_) => Ok(go(&state, &req, "/profiles", Some(Done::ProfileMade))),
        Err(error) => {
            let at = View::new(&state, &req, Section::Profiles);
            let at = at.with_returned(error, "/profiles", &sent, Scope::Read)?;
            page(&state, at, caller, Paged::default(), None).await
        }
    }
}

/// True when a profile of this name is newer than the form: it was sent twice.
async fn is_sent_again(state: &State, caller: &Caller, form: &Form) -> Result<bool, ApiError> {
    let Some(latest) = form.fields().text("latest")? else { return Ok(false) };
    let name = form.fields().text("name")?.unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        return Ok(false);
    }
    let of_name = state.broker.list_profiles(caller, Some(name.to_owned()), NEWEST).await?;
    Ok(of_name.items.iter().any(|profile| profile.name == name && profile.id.to_string() > latest))
}

pub(crate) async fn update(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    let changed = async {
        let change = ProfileChange {
            name: Some(required(form, "name", fields::name)?),
            description: Some(optional(form, "description", fields::description)?),
        };
        Ok(state.broker.update_profile(caller, &id, change).await?)
    };
    match changed.await {
        Ok(_) => Ok(go(&state, &req, "/profiles", Some(Done::ProfileChanged))),
        Err(error) => {
            let at = View::new(&state, &req, Section::Profiles);
            let at = at.with_returned(error, &format!("/profiles/{id}"), &sent, Scope::Read)?;
            page(&state, at, caller, Paged::default(), Some(&id)).await
        }
    }
}

pub(crate) async fn delete(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let deleted = state.broker.delete_profile(&sent.caller, &id).await.map(|()| Done::ProfileDeleted);
    Ok(go(&state, &req, "/profiles", Some(removed(&state, &sent, (&id, Action::ProfileDeleted), deleted).await?)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn page(at: &View<'_>, text: &str) -> String {
        let own = || text.to_owned();
        let accounts_href = at.with("/accounts", &[("profile", text)]);
        let path = format!("/profiles/{}", "x");
        let row = Row { path, id: own(), name: own(), description: own(), accounts: own(), accounts_href };
        let next = Some(at.with("/profiles", &[("name", text)]));
        let page = Profiles { frame: &at.frame, at, name: own(), rows: vec![row], next, may_make: true, latest: own() };
        page.render().unwrap()
    }
}
