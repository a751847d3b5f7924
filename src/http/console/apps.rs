//! `/console/apps`: OAuth apps of the project's own. A secret is written, and never shown.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::accounts::{self, Choice};
use super::fields::{Paged, required, secret};
use super::session::{Sent, SignedIn};
use super::view::{Section, View, go, removed};
use crate::broker::Caller;
use crate::broker::apps::{AppChange, NewApp};
use crate::domain::access_key::Scope;
use crate::domain::audit::Action;
use crate::domain::integration::PlatformFilter;
use crate::domain::oauth_app::OauthApp;
use crate::domain::paging::{Listed, Window};
use crate::http::error::{ApiError, Code};
use crate::http::pages::frame::Frame;
use crate::http::pages::marks;
use crate::http::pages::words::console::Done;
use crate::http::request::{Form, Parameters, Segment, fields};
use crate::http::{Current, State};

/// The newest apps, of all or of one name.
const NEWEST: Window = Window { limit: 25, offset: 0 };

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
    /// Id of the newest app, by which a form that is sent again is known.
    latest: String,
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
    let newest = broker.list_apps(caller, PlatformFilter::All, None, NEWEST).await?.items.into_iter().next();
    let page = Apps {
        frame: &at.frame,
        at,
        rows: rows.collect(),
        next: paged.next(at, "/apps", listed.total),
        name: paged.name,
        may_make: caller.profile_id.is_none() && caller.may(Scope::Manage),
        platforms: accounts::platforms(platforms, |name| at.is_picked("/apps", "platform", name)),
        latest: newest.map(|app| app.id.to_string()).unwrap_or_default(),
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
        Ok::<_, ApiError>(state.broker.create_app(caller, app).await?)
    };
    match made.await {
        Ok(_) => Ok(go(&state, &req, "/apps", Some(Done::AppMade))),
        Err(error) => {
            if error.code == Code::DuplicateApp && is_sent_again(&state, caller, form).await? {
                return Ok(go(&state, &req, "/apps", Some(Done::AppMadeBefore)));
            }
            let at = View::new(&state, &req, Section::Apps);
            let at = at.with_returned(error, "/apps", &sent, Scope::Read)?;
            page(&state, at, caller, Paged::default(), None).await
        }
    }
}

/// True when this very app is newer than the form: it was sent twice.
async fn is_sent_again(state: &State, caller: &Caller, form: &Form) -> Result<bool, ApiError> {
    let text = |name| form.fields().text(name).map(|text| text.unwrap_or_default().trim().to_owned());
    let Some(latest) = form.fields().text("latest")? else { return Ok(false) };
    let (platform, name, client_id) = (text("platform")?, text("name")?, text("clientId")?);
    let of_name = state.broker.list_apps(caller, PlatformFilter::One(platform), Some(name.clone()), NEWEST).await?;
    let is_it = |app: &OauthApp| app.name == name && app.client_id == client_id && app.id.to_string() > latest;
    Ok(of_name.items.iter().any(is_it))
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
    let deleted = state.broker.delete_app(&sent.caller, &id).await.map(|()| Done::AppDeleted);
    Ok(go(&state, &req, "/apps", Some(removed(&state, &sent, (&id, Action::AppDeleted), deleted).await?)))
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
        let (rows, latest) = (vec![row], own());
        Apps { frame: &at.frame, at, name: own(), rows, next, may_make: true, platforms, latest }.render().unwrap()
    }
}
