//! `/console/apps`: OAuth apps of the project's own. A secret is written, and never shown.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::accounts::{self, Choice};
use super::fields::{Paged, required, secret};
use super::session::{Sent, SignedIn};
use super::view::{Section, View, go};
use crate::broker::Caller;
use crate::broker::apps::{AppChange, NewApp};
use crate::domain::access_key::Scope;
use crate::domain::integration::PlatformFilter;
use crate::domain::paging::Listed;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::pages::marks;
use crate::http::pages::words::console::Done;
use crate::http::request::{Parameters, Segment, fields};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "console/apps.html")]
struct Apps<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    name: String,
    rows: Vec<Row>,
    next: Option<String>,
    /// True for a key of the whole project.
    may_make: bool,
    platforms: Vec<Choice>,
}

struct Row {
    path: String,
    id: String,
    mark: String,
    label: String,
    name: String,
    client_id: String,
    accounts: String,
}

impl Row {
    /// Action of the form for another secret.
    fn secret_path(&self) -> String {
        format!("{}/secret", self.path)
    }
}

pub(crate) async fn list(
    state: Current,
    req: HttpRequest,
    signed_in: SignedIn,
    Parameters(paged): Parameters<Paged>,
) -> Result<HttpResponse, ApiError> {
    page(&state, View::new(&state, &req, Section::Apps), &signed_in.caller, paged, None).await
}

/// Shows a page of the list, or the app `only`.
async fn page(
    state: &State,
    at: View<'_>,
    caller: &Caller,
    paged: Paged,
    only: Option<&str>,
) -> Result<HttpResponse, ApiError> {
    let (at, broker) = (&at, &state.broker);
    let listed = match only {
        Some(id) => Listed { items: vec![broker.get_app(caller, id).await?], total: 1 },
        None => broker.list_apps(caller, PlatformFilter::All, paged.name(), paged.window()).await?,
    };
    let rows = listed.items.into_iter().map(|app| {
        let label = state.broker.label(&app.platform);
        Row {
            path: format!("/apps/{}", app.id),
            id: app.id.to_string(),
            mark: marks::svg(&app.platform, &label),
            label,
            name: app.name,
            client_id: app.client_id,
            accounts: (at.words.number)(app.integration_count),
        }
    });
    let platforms = state.broker.list_platforms(&PlatformFilter::All).into_iter().filter(|one| one.has_redirect);
    let page = Apps {
        frame: &at.frame,
        at,
        rows: rows.collect(),
        next: paged.next(at, "/apps", listed.total),
        name: paged.name,
        may_make: caller.profile_id.is_none() && caller.may(Scope::Manage),
        platforms: accounts::platforms(platforms, |name| at.is_picked("/apps", "platform", name)),
    };
    at.show(&page)
}

pub(crate) async fn create(state: Current, req: HttpRequest, sent: Sent) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    let made = async {
        let app = NewApp {
            platform: required(form, "platform", fields::any)?,
            name: required(form, "name", fields::name)?,
            client_id: required(form, "clientId", fields::credential)?,
            client_secret: secret(form, "clientSecret")?,
            image_url: None,
        };
        Ok(state.broker.create_app(caller, app).await?)
    };
    match made.await {
        Ok(_) => Ok(go(&state, &req, "/apps", Some(Done::AppMade))),
        Err(error) => {
            let at = View::new(&state, &req, Section::Apps);
            let at = at.with_returned(error, "/apps", &sent, Scope::Read)?;
            page(&state, at, caller, Paged::default(), None).await
        }
    }
}

pub(crate) async fn replace_secret(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    let replaced = async {
        let change = AppChange { client_secret: Some(secret(form, "clientSecret")?), ..AppChange::default() };
        Ok(state.broker.update_app(caller, &id, change).await?)
    };
    match replaced.await {
        Ok(_) => Ok(go(&state, &req, "/apps", Some(Done::SecretReplaced))),
        Err(error) => {
            let at = View::new(&state, &req, Section::Apps);
            let at = at.with_returned(error, &format!("/apps/{id}/secret"), &sent, Scope::Read)?;
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
    state.broker.delete_app(&sent.caller, &id).await?;
    Ok(go(&state, &req, "/apps", Some(Done::AppDeleted)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::accounts::tests::choice;
    use super::*;

    pub(in super::super) fn page(at: &View<'_>, mark: &str, text: &str) -> String {
        let own = || text.to_owned();
        let row = Row {
            path: "/apps/x".to_owned(),
            id: own(),
            mark: mark.to_owned(),
            label: own(),
            name: own(),
            client_id: own(),
            accounts: own(),
        };
        let next = Some(at.with("/apps", &[("name", text)]));
        let platforms = vec![choice(text)];
        Apps { frame: &at.frame, at, name: own(), rows: vec![row], next, may_make: true, platforms }.render().unwrap()
    }
}
