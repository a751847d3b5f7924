//! `/console/accounts/{id}`: the life of one account, and what can be done about it.
//!
//! Disconnecting asks first, within the page. Reconnecting shows the address of the page that asks its reader first,
//! for this browser or for the account's owner.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::accounts::{Offered, name_of, profiles};
use super::entries::{EntryRow, entry_row};
use super::fields;
use super::session::{Sent, SignedIn};
use super::view::{Section, Time, View, go, removed};
use crate::broker::Caller;
use crate::broker::console::Reconnects;
use crate::domain::access_key::Scope;
use crate::domain::audit::Action;
use crate::domain::integration::TokenState;
use crate::domain::scopes;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::pages::marks;
use crate::http::pages::words::console::Done;
use crate::http::request::Segment;
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "console/account.html")]
struct Account<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    /// Path of the page, below the console.
    path: String,
    id: String,
    mark: String,
    name: String,
    handle: Option<String>,
    label: String,
    user_id: String,
    profile: Option<String>,
    app: Option<String>,
    connected: Time,
    is_well: bool,
    health: &'static str,
    trouble: Option<ShownTrouble>,
    issued: Time,
    access_expires: Option<Time>,
    refresh_expires: Option<Time>,
    next_refresh: Option<Time>,
    /// Why there is no next refresh.
    no_refresh: &'static str,
    granted: Vec<String>,
    missing: Vec<String>,
    refreshes: Vec<Refresh>,
    reads: Vec<Read>,
    entries: Vec<EntryRow>,
    may_manage: bool,
    may_connect: bool,
    reconnects: Reconnects,
    /// The profiles to move it to.
    profiles: Offered,
}

struct ShownTrouble {
    code: &'static str,
    happened: String,
    next_step: String,
    at: Option<Time>,
    console: Option<&'static str>,
}

/// Outcome of a refresh.
struct Refresh {
    time: Time,
    /// Cause and code of a failure.
    failed: Option<(String, &'static str)>,
}

/// Reads of the account's token by one key.
struct Read {
    key: String,
    reads: String,
    last: Time,
}

#[derive(Template)]
#[template(path = "console/reconnect.html")]
struct Reconnect<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    name: String,
    url: String,
    back: String,
}

impl Account<'_> {
    /// Action of the form that connects it again.
    fn reconnect_path(&self) -> String {
        format!("{}/reconnect", self.path)
    }

    /// Action of the form that moves it.
    fn move_path(&self) -> String {
        move_path(&self.id)
    }
}

pub(crate) async fn show(
    state: Current,
    req: HttpRequest,
    signed_in: SignedIn,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    page(&state, View::new(&state, &req, Section::Accounts), &signed_in.caller, &id).await
}

async fn page(state: &State, at: View<'_>, caller: &Caller, id: &str) -> Result<HttpResponse, ApiError> {
    let at = &at;
    let life = state.broker.account_life(caller, id).await?;
    let (name, handle) = name_of(&life.account);
    let (words, label) = (at.frame.words, life.account.label);
    let detail = life.account.detail;
    let integration = detail.integration.clone();
    let profile_id = integration.profile_id.map(|id| id.to_string()).unwrap_or_default();
    let health = detail.token_state();
    let key_name = |id| life.keys.get(&id).cloned().unwrap_or_else(|| id.to_string());
    let page = Account {
        frame: &at.frame,
        at,
        path: format!("/accounts/{}", integration.id),
        id: integration.id.to_string(),
        mark: marks::svg(&integration.platform, &label),
        name,
        handle,
        user_id: integration.account.platform_user_id,
        profile: life.account.profile_name,
        app: integration.app.map(|app| app.name),
        connected: at.time(integration.created_at),
        is_well: health == TokenState::Ok,
        health: (at.words.health)(health),
        trouble: life.account.trouble.map(|trouble| ShownTrouble {
            code: trouble.failure.code(),
            happened: (words.cause)(trouble.failure, &label, trouble.backup_taken_at),
            next_step: (words.remedy)(trouble.failure, &integration.platform, trouble.console),
            at: trouble.at.map(|seen| at.time(seen)),
            console: trouble.console,
        }),
        issued: at.time(detail.issued_at),
        access_expires: detail.access_expires_at.map(|end| at.time(end)),
        refresh_expires: detail.refresh_expires_at.map(|end| at.time(end)),
        next_refresh: detail.due_at.map(|due| at.time(due)),
        no_refresh: if health == TokenState::Ok && detail.access_expires_at.is_none() {
            at.words.no_refresh_needed
        } else {
            at.words.never
        },
        missing: scopes::missing(&detail.requested_scopes, &detail.scopes),
        granted: detail.scopes,
        refreshes: life
            .refreshes
            .into_iter()
            .map(|past| Refresh {
                time: at.time(past.at),
                failed: past.failure.map(|failure| ((words.cause)(failure, &label, None), failure.code())),
            })
            .collect(),
        reads: detail
            .reads
            .into_iter()
            .map(|read| Read {
                key: key_name(read.access_key_id),
                reads: (at.words.number)(read.reads),
                last: at.time(read.last_at),
            })
            .collect(),
        entries: life.entries.into_iter().map(|entry| entry_row(at, entry, &life.keys)).collect(),
        may_manage: caller.may(Scope::Manage),
        may_connect: caller.may(Scope::Connect),
        reconnects: state.broker.reconnects(&integration.platform),
        profiles: profiles(state, caller, at.typed_or(&move_path(id), "profile", &profile_id)).await?,
        label,
    };
    at.show(&page)
}

pub(crate) async fn disconnect(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let disconnected = state.broker.disconnect(&sent.caller, &id).await.map(|(_, revoked)| revoked.into());
    let done = removed(&state, &sent, (&id, Action::AccountDisconnected), disconnected).await?;
    Ok(go(&state, &req, "/accounts", Some(done)))
}

pub(crate) async fn relocate(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    match state.broker.move_integration(caller, &id, fields::profile(form)?).await {
        Ok(moved) => Ok(go(&state, &req, &format!("/accounts/{}", moved.id), Some(Done::Moved))),
        Err(error) => {
            let at = View::new(&state, &req, Section::Accounts);
            let at = at.with_returned(error.into(), &move_path(&id), &sent, Scope::Read)?;
            page(&state, at, caller, &id).await
        }
    }
}

/// Action of the form that moves an account, below the console.
fn move_path(id: &str) -> String {
    format!("/accounts/{id}/move")
}

pub(crate) async fn reconnect(
    state: Current,
    req: HttpRequest,
    sent: Sent,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let Sent { caller, form, .. } = &sent;
    let server = fields::given(form, "server")?;
    let account = state.broker.get_integration(caller, &id).await?.integration;
    let at = View::new(&state, &req, Section::Accounts);
    let url = match state.broker.begin_reconnect(caller, &id, server).await {
        Ok(url) => url,
        Err(error) => {
            let path = format!("/accounts/{id}/reconnect");
            let at = at.with_returned(error.into(), &path, &sent, Scope::Read)?;
            return page(&state, at, caller, &id).await;
        }
    };
    let at = &at;
    let back = at.to(&format!("/accounts/{}", account.id));
    let page = Reconnect { frame: &at.frame, at, name: account.account.label().to_owned(), url, back };
    at.show(&page)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::accounts::tests::offered;
    use super::super::entries::tests::entry;
    use super::*;

    pub(in super::super) fn pages(at: &View<'_>, mark: &str, text: &str) -> [String; 2] {
        let own = || text.to_owned();
        let time = || Time { shown: own(), exact: own() };
        let page = Account {
            frame: &at.frame,
            at,
            path: "/accounts/x".to_owned(),
            id: own(),
            mark: mark.to_owned(),
            name: own(),
            handle: Some(own()),
            label: own(),
            user_id: own(),
            profile: Some(own()),
            app: Some(own()),
            connected: time(),
            is_well: false,
            health: "",
            trouble: Some(ShownTrouble {
                code: "",
                happened: own(),
                next_step: own(),
                at: Some(time()),
                console: Some("https://console.example/"),
            }),
            issued: time(),
            access_expires: Some(time()),
            refresh_expires: Some(time()),
            next_refresh: Some(time()),
            no_refresh: "",
            granted: vec![own()],
            missing: vec![own()],
            refreshes: vec![Refresh { time: time(), failed: Some((own(), "")) }],
            reads: vec![Read { key: own(), reads: own(), last: time() }],
            entries: vec![entry(text)],
            may_manage: true,
            may_connect: true,
            reconnects: Reconnects::RedirectOfServer,
            profiles: offered(text),
        };
        let url = format!("https://broker.example/{text}");
        let link = Reconnect { frame: &at.frame, at, name: own(), url, back: at.to("/accounts") };
        [page.render().unwrap(), link.render().unwrap()]
    }
}
