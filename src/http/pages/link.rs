//! `/connect/link/{token}`: the page of a connect link, on which whoever has it connects accounts, several in a row.
//!
//! After each the person comes back here with a line that says how it went. The page itself asks who they are doing it
//! for, so no other question follows. Invariant: looking at the page changes nothing, only the page itself can set out
//! for a platform or send a password, which never comes back in it, and a browser that set out has a cookie of its own.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::account_line::{self, AccountLine};
use super::confirmation::forms;
use super::frame::{Frame, chosen_language};
use super::look::Forms;
use super::words::Words;
use super::{ending, marks, see_other};
use crate::broker::Error;
use crate::broker::finished::{Ending, Finished};
use crate::broker::link_page::{How, Offer, OpenLink, SetOut, Wish};
use crate::domain::failure::Failure;
use crate::domain::id::IntegrationId;
use crate::domain::integration::{IntegrationDetail, TokenState};
use crate::domain::link::LinkStatus;
use crate::domain::secret::SecretString;
use crate::domain::selection::Findings;
use crate::http::access::limited;
use crate::http::error::{ApiError, Code, Trouble, retry_after};
use crate::http::request::{FromQuery, PASSWORD_FORM_MAX, Parameters, Query, Segment, Unread, cookies, fields, peer};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'a> {
    frame: &'a Frame<'a>,
    profile: Option<&'a str>,
    /// How the last connection went.
    told: Option<&'a Told<'a>>,
    /// The platform of that connection, by its name in the configuration and by its name for people.
    platform: &'a str,
    label: &'a str,
    missing_scopes: &'a [String],
    findings: Option<&'a Findings>,
    offers: Vec<Row<'a>>,
    /// True when something was connected through the link.
    connected: bool,
}

/// How a connection went, in a line.
struct Told<'a> {
    good: bool,
    heading: String,
    accounts: Vec<AccountLine<'a>>,
    more: String,
}

/// A platform that can be connected.
struct Row<'a> {
    mark: String,
    platform: &'a str,
    label: &'a str,
    how: How,
    accounts: Vec<Account<'a>>,
    /// The handle or server that its reader typed before. Never a password.
    typed: &'a str,
    /// Why that did not work.
    wrong: Option<&'static str>,
}

/// An account that is connected.
struct Account<'a> {
    line: AccountLine<'a>,
    good: bool,
    health: &'static str,
    /// The id to connect it again with, where that is needed and done at the platform.
    reconnect: Option<String>,
}

impl Row<'_> {
    fn is_redirect(&self) -> bool {
        self.how == How::Redirect
    }

    fn is_password(&self) -> bool {
        self.how == How::AppPassword
    }
}

#[derive(Template)]
#[template(path = "link_done.html")]
struct Done<'a> {
    frame: &'a Frame<'a>,
    heading: &'static str,
    /// What was connected, each with its platform's name for people.
    accounts: Vec<(&'a str, AccountLine<'a>)>,
}

/// What the page is to say beyond what can be connected, from its query.
pub(crate) struct Seen {
    /// The ticket of a connection that ended.
    result: Option<String>,
    /// The platform of a connection that expired.
    late: Option<String>,
    /// The account that was connected without a redirect.
    account: Option<IntegrationId>,
    /// True on the page that says that all is done.
    leaves: bool,
}

impl FromQuery for Seen {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let text = |name| query.text_if_readable(name);
        let account = text("account").and_then(|id| id.parse().ok());
        Ok(Self { result: text("result"), late: text("late"), account, leaves: text("done").is_some() })
    }
}

/// What somebody typed that did not work.
struct Mistyped {
    platform: String,
    typed: String,
    wrong: &'static str,
    status: StatusCode,
    retry_after: Option<Duration>,
}

/// See what a link connects
///
/// The page of a connect link: what can be connected through it, and what is. Looking at it uses nothing up.
#[utoipa::path(get, path = "/connect/link/{token}", operation_id = "showLink", tag = "Connect",
    params(
        ("token" = String, Path, description = "The link's token."),
        ("lang" = Option<String>, Query, description = "The page's language: `en` or `de`. Without it, the browser's."),
    ),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 404, description = "The link is not known: a page.", body = String, content_type = "text/html"),
        (status = 410, description = "The link has expired or was revoked: a page.", body = String,
            content_type = "text/html"),
    ))]
pub(crate) async fn show(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    Parameters(seen): Parameters<Seen>,
) -> Result<HttpResponse, ApiError> {
    let token = SecretString::from(token);
    let finished = match &seen.result {
        Some(ticket) => state.broker.find_result_of_link(&token, ticket).await,
        None => None,
    };
    let open = match state.broker.open_link(&token).await {
        // It expired while its person was at the platform. What was begun in time is finished, and told.
        Err(Error::LinkEnded(LinkStatus::Expired)) if let Some(finished) = &finished => {
            return ending::page(&state, &req, finished);
        }
        open => open?,
    };
    if seen.leaves {
        return done(&state, &req, &open);
    }
    let words = Words::choose(req.query_string(), req.headers());
    let told = match &finished {
        Some(finished) => tell(words, finished),
        None => open.offers.iter().find_map(|offer| tell_of(words, offer, &seen)),
    };
    page(&state, &req, &open, (told.as_ref(), finished.as_ref()), None, StatusCode::OK)
}

/// Set out for a platform
///
/// For the page itself. Sets a cookie, without which the browser cannot finish the connection.
#[utoipa::path(post, path = "/connect/link/{token}", operation_id = "submitLink", tag = "Connect",
    params(("token" = String, Path, description = "The link's token.")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`connect`: a \
        platform's name, with `server` or with `identifier` and `password` where it takes them; or `reconnect`: an account's \
        id; or `action=done`."),
    responses(
        (status = 303, description = "On to the platform, back to the page, or to the link's `redirectUri`.",),
        (status = 400, description = "What was typed does not work: the page again.", body = String,
            content_type = "text/html"),
        (status = 403, description = "The form was not sent from the page: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "The link is not known: a page.", body = String, content_type = "text/html"),
        (status = 410, description = "The link has expired or was revoked: a page.", body = String,
            content_type = "text/html"),
        (status = 413, description = "The form is larger than 8 KiB: a page.", body = String,
            content_type = "text/html"),
        (status = 415, description = "This is no form: a page.", body = String, content_type = "text/html"),
        (status = 429, description = "Too many attempts: the page again, or another one.", body = String,
            content_type = "text/html"),
        (status = 502, description = "The platform fails: the page again.", body = String, content_type = "text/html"),
    ))]
pub(crate) async fn submit(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    unread: Unread,
) -> Result<HttpResponse, ApiError> {
    super::check_is_from_own_page(&state, req.headers())?;
    let token = SecretString::from(token);
    let open = state.broker.open_link(&token).await?;
    let form = unread.of_project(open.project_id).form(PASSWORD_FORM_MAX).await?;
    let form = form.fields();
    if form.text("action")?.as_deref() == Some("done") {
        let destination = state.broker.leave_link(&token).await?;
        return Ok(see_other(destination.unwrap_or_else(|| again(&req, "done", "1"))));
    }
    let (connect, reconnect) = (form.text("connect")?, form.text("reconnect")?);
    let of_account = |id: &String| {
        let is_here = |offer: &&Offer| offer.accounts.iter().any(|it| it.integration.id.to_string() == *id);
        open.offers.iter().find(is_here)
    };
    let offer = match (&connect, &reconnect) {
        (Some(platform), None) => open.offers.iter().find(|offer| offer.platform == *platform),
        (None, Some(id)) => of_account(id),
        _ => None,
    };
    let words = Words::choose(req.query_string(), req.headers());
    let Some(offer) = offer else {
        if connect.is_some() == reconnect.is_some() {
            return Err(ApiError::new(Code::InvalidRequest));
        }
        // The account was disconnected, or the platform switched off, since the page was loaded.
        let heading = words.link.outdated.to_owned();
        let told = Told { good: false, heading, accounts: Vec::new(), more: String::new() };
        return page(&state, &req, &open, (Some(&told), None), None, StatusCode::BAD_REQUEST);
    };
    let wish = Wish {
        platform: offer.platform.clone(),
        server: form.text("server")?.filter(|_| offer.how == How::Server),
        reconnect,
        address: peer::address(&req, &state.settings.trusted_proxies),
        limited: limited(&req, &state),
    };
    let mistyped = match offer.how {
        How::AppPassword => {
            let field = |name| form.text(name).map(Option::unwrap_or_default);
            let (identifier, password) = (field("identifier")?.trim().to_owned(), field("password")?);
            match sign_in(&state, &token, wish, &identifier, &password).await {
                Ok(id) => return Ok(see_other(again(&req, "account", &id.to_string()))),
                Err(error) => mistyped(words, offer, identifier, error)?,
            }
        }
        How::Redirect | How::Server => {
            let typed = wish.server.clone().unwrap_or_default();
            match state.broker.set_out(&token, wish).await {
                Ok(SetOut { url, cookie, lives }) => return super::leave(&state, &req, url, (&cookie, lives)),
                Err(Error::PlatformUnreachable { failure, .. }) if offer.how == How::Redirect => {
                    let more = failed(words, failure, &offer.label, (false, false));
                    let told = not_connected(words, &offer.label, more);
                    return page(&state, &req, &open, (Some(&told), None), None, StatusCode::BAD_GATEWAY);
                }
                Err(error) => mistyped(words, offer, typed, error.into())?,
            }
        }
    };
    page(&state, &req, &open, (None, None), Some(&mistyped), mistyped.status)
}

/// Connects a Bluesky account.
async fn sign_in(
    state: &State,
    token: &SecretString,
    wish: Wish,
    identifier: &str,
    password: &str,
) -> Result<IntegrationId, ApiError> {
    fields::app_password(password).map_err(|_| ApiError::new(Code::BlueskyCredentialsRejected))?;
    let credentials = (identifier.to_owned(), SecretString::from(password.trim()));
    Ok(state.broker.connect_bluesky_by_link(token, wish, credentials).await?)
}

/// What the page says about an error that its person can mend. Any other has a page of its own.
fn mistyped(words: &Words, offer: &Offer, typed: String, error: ApiError) -> Result<Mistyped, ApiError> {
    let wrong = match (offer.how, error.code) {
        // The handle may be right where nobody could be asked about it.
        (How::AppPassword, Code::IdentityUnresolved) if error.trouble == Trouble::Busy => {
            (words.link.refused)(Code::PdsUnreachable)
        }
        (How::AppPassword, code) => (words.link.refused)(code),
        (How::Server, Code::InvalidParameter | Code::PlatformUnreachable | Code::UnsafeHost) => {
            Some(words.link.server_wrong)
        }
        (How::Redirect | How::Server, _) => None,
    };
    // Without a way to authenticate, 401 means nothing to a browser.
    let status = Some(error.code.status()).filter(|status| *status != StatusCode::UNAUTHORIZED);
    let status = status.unwrap_or(StatusCode::BAD_REQUEST);
    let (platform, retry_after) = (offer.platform.clone(), error.retry_after);
    wrong.map(|wrong| Mistyped { platform, typed, wrong, status, retry_after }).ok_or(error)
}

/// The address of this page with a word of what happened, relative to itself.
fn again(req: &HttpRequest, name: &str, value: &str) -> String {
    let language = chosen_language(req);
    let separator = if language.is_empty() { '?' } else { '&' };
    format!("{language}{separator}{name}={value}")
}

/// The page of the link that a connection was begun through, with how it ended, if this browser set out from it.
pub(super) fn way_back(state: &State, req: &HttpRequest, finished: &Finished) -> Option<String> {
    let browser = cookies::browser(req.headers(), state.settings.is_secure());
    let token = browser.link_token(&finished.link?)?;
    let page = page_of(state, token);
    let what = match &finished.ticket {
        Some(ticket) => again(req, "result", ticket),
        None => again(req, "late", &finished.platform),
    };
    Some(page + &what)
}

#[expect(clippy::disallowed_methods, reason = "the browser that goes there came with the token")]
fn page_of(state: &State, token: &SecretString) -> String {
    use secrecy::ExposeSecret as _;
    format!("{}/connect/link/{}", state.settings.base_path(), token.expose_secret())
}

/// How a connection through the link ended.
fn tell<'a>(words: &Words, finished: &'a Finished) -> Option<Told<'a>> {
    let label = finished.label.as_str();
    Some(match &finished.ending {
        Ending::Cancelled { at } => not_connected(words, label, (words.cancelled)(*at, label)),
        // The page shows what is connected now.
        Ending::Connected { integrations, .. } if integrations.is_empty() => return None,
        Ending::Connected { integrations, .. } => {
            let accounts = account_line::lines(integrations.iter().map(|it| &it.account));
            Told { good: true, heading: (words.connected)(label) + ":", accounts, more: String::new() }
        }
        Ending::Failed { failure, findings } => {
            let more = failed(words, *failure, label, (findings.is_some(), finished.is_account_gone));
            not_connected(words, label, more)
        }
        // A link asks for no completion.
        Ending::CompletionRequired { .. } | Ending::SelectionRequired { .. } => return None,
    })
}

/// The same where no flow tells it: an account that was connected without one, or a connection that expired.
fn tell_of<'a>(words: &Words, offer: &'a Offer, seen: &Seen) -> Option<Told<'a>> {
    let label = offer.label.as_str();
    if let Some(account) = offer.accounts.iter().find(|it| seen.account == Some(it.integration.id)) {
        let accounts = vec![AccountLine::from(&account.integration.account)];
        return Some(Told { good: true, heading: (words.connected)(label) + ":", accounts, more: String::new() });
    }
    let told = || not_connected(words, label, failed(words, Failure::FlowExpired, label, (false, false)));
    (seen.late.as_ref() == Some(&offer.platform)).then(told)
}

fn not_connected<'a>(words: &Words, label: &str, more: String) -> Told<'a> {
    Told { good: false, heading: (words.not_connected)(label), accounts: Vec::new(), more }
}

fn failed(words: &Words, failure: Failure, label: &str, (is_explained, is_account_gone): (bool, bool)) -> String {
    let told = if is_account_gone { (words.account_gone)(label) } else { words.ended(failure, is_explained, label) };
    let stored = if failure == Failure::Interrupted { words.perhaps_stored } else { words.nothing_stored };
    // The general advice leads to an app that they may not have.
    let advice = match failure {
        Failure::AccountMismatch | Failure::ExchangeRejected | Failure::FlowExpired => words.link.try_here,
        Failure::Interrupted => words.link.look_here,
        _ if is_account_gone => words.link.try_here,
        _ => told.advice,
    };
    format!("{} {stored} {advice}", told.happened)
}

fn account<'a>(words: &Words, how: How, (line, detail): (AccountLine<'a>, &IntegrationDetail)) -> Account<'a> {
    let health = detail.token_state();
    let is_lost = health == TokenState::ReconnectRequired;
    let reconnect = (is_lost && how == How::Redirect).then(|| detail.integration.id.to_string());
    Account { line, good: health == TokenState::Ok, health: (words.link.health)(health), reconnect }
}

fn page(
    state: &State,
    req: &HttpRequest,
    open: &OpenLink,
    (told, finished): (Option<&Told<'_>>, Option<&Finished>),
    mistyped: Option<&Mistyped>,
    status: StatusCode,
) -> Result<HttpResponse, ApiError> {
    let frame = &Frame::new(state, req, open.project.as_deref());
    let row = |offer| {
        let Offer { platform, label, how, accounts, .. }: &Offer = offer;
        let mistyped = mistyped.filter(|mistyped| mistyped.platform == *platform);
        let lines = account_line::lines(accounts.iter().map(|it| &it.integration.account));
        Row {
            mark: marks::svg(platform, label),
            platform,
            label,
            how: *how,
            accounts: lines.into_iter().zip(accounts).map(|shown| account(frame.words, *how, shown)).collect(),
            typed: mistyped.map_or("", |mistyped| &mistyped.typed),
            wrong: mistyped.map(|mistyped| mistyped.wrong),
        }
    };
    let (missing_scopes, findings) = match finished.map(|finished| &finished.ending) {
        Some(Ending::Connected { missing_scopes, findings, .. }) => (missing_scopes.as_slice(), findings.as_deref()),
        Some(Ending::Failed { findings, .. }) => (&[][..], findings.as_ref()),
        _ => (&[][..], None),
    };
    let page = LinkPage {
        frame,
        profile: open.profile_name.as_deref(),
        told,
        platform: finished.map_or("", |finished| &finished.platform),
        label: finished.map_or("", |finished| &finished.label),
        missing_scopes,
        findings,
        offers: open.offers.iter().map(row).collect(),
        connected: !open.connected.is_empty(),
    };
    let mut builder = HttpResponse::build(status);
    if let Some(after) = mistyped.and_then(|mistyped| mistyped.retry_after) {
        builder.insert_header((header::RETRY_AFTER, retry_after(after)));
    }
    let leads_to = open.offers.iter().filter_map(|offer| offer.leads_to.as_deref());
    frame.answer_with_form(builder, &page, forms(leads_to, open.redirect_uri.is_some()))
}

/// The page of a person who is done.
fn done(state: &State, req: &HttpRequest, open: &OpenLink) -> Result<HttpResponse, ApiError> {
    let frame = &Frame::new(state, req, open.project.as_deref());
    let accounts = open.offers.iter().flat_map(|offer| {
        let own = offer.accounts.iter().filter(|it| open.connected.contains(&it.integration.id));
        account_line::lines(own.map(|it| &it.integration.account)).into_iter().map(|line| (offer.label.as_str(), line))
    });
    let accounts: Vec<_> = accounts.collect();
    let heading = if accounts.is_empty() { frame.words.link.left } else { frame.words.link.all_done };
    frame.answer(HttpResponse::Ok(), &Done { frame, heading, accounts }, Forms::None)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The pages of this file with this text in every field.
    pub(in super::super) fn pages(
        frame: &Frame<'_>,
        mark: &str,
        text: &str,
        findings: &Findings,
        missing_scopes: &[String],
    ) -> Vec<String> {
        let line = || AccountLine { name: text, handle: Some(text), address: Some(text) };
        let told = Told { good: true, heading: text.to_owned(), accounts: vec![line(), line()], more: text.to_owned() };
        let row = |how| Row {
            mark: mark.to_owned(),
            platform: text,
            label: text,
            how,
            accounts: vec![Account { line: line(), good: false, health: "", reconnect: Some(text.to_owned()) }],
            typed: text,
            wrong: Some(""),
        };
        let page = LinkPage {
            frame,
            profile: Some(text),
            told: Some(&told),
            platform: text,
            label: text,
            missing_scopes,
            findings: Some(findings),
            offers: [How::AppPassword, How::Redirect, How::Server].map(row).into(),
            connected: true,
        };
        let done = Done { frame, heading: "", accounts: vec![(text, line())] };
        vec![page.render().unwrap(), done.render().unwrap()]
    }
}
