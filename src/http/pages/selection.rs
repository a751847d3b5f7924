//! `/connect/selection/{token}`: the broker's own page for choosing accounts.
//!
//! The page works without script. Search and "tick all" submit the same form and lead back to the page, with the ticks
//! in its query, so that the browser's Back finds them again. Where there are more than fit into a URL, the page is
//! shown in place. Accounts that are ticked but not shown are carried along as hidden fields. Invariant: the token is
//! in the URL and nowhere on the page, and only this page can submit the form.

use std::collections::BTreeSet;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;

use super::account_line::{self, AccountLine};
use super::frame::{self, Frame, Language};
use super::look::Forms;
use super::words::{CountedButton, Words};
use super::{ending, marks, see_other};
use crate::broker::selection::{Choice, Choices};
use crate::domain::secret::SecretString;
use crate::domain::selection::{CHOICE_MAX, Findings};
use crate::http::error::{ApiError, Code};
use crate::http::request::{CHOICE_BODY_MAX, FromQuery, Parameters, Query, Segment, Unread, invalid_parameter, peer};
use crate::http::{Current, State};

/// The page offers a search when there are more accounts than this.
const SEARCH_ABOVE: usize = 12;
/// Longest search text, in code points.
const SEARCH_MAX: usize = 200;
/// Longest query that a button leads to, in bytes. Servers on the way take twice as much.
const ADDRESS_MAX: usize = 4096;

#[derive(Template)]
#[template(path = "selection.html")]
struct Selection<'a> {
    frame: &'a Frame<'a>,
    mark: &'a str,
    platform: &'a str,
    label: &'a str,
    profile: Option<&'a str>,
    /// Number of accounts, shown or not.
    total: usize,
    minutes: u64,
    /// True when nothing is ticked that could be connected.
    alert: bool,
    searchable: bool,
    search: &'a str,
    rows: Vec<Row<'a>>,
    /// Ids that are ticked but not shown.
    hidden: Vec<&'a str>,
    ticked: usize,
    counted: &'static CountedButton,
    /// The page in another language, with the present ticks: these submit the form.
    languages: Vec<Language>,
    findings: &'a Findings,
    missing_scopes: &'a [String],
}

struct Row<'a> {
    id: &'a str,
    ticked: bool,
    line: AccountLine<'a>,
    kind: &'static str,
}

impl<'a> Row<'a> {
    fn new((line, choice): (AccountLine<'a>, &'a Choice), ticked: &BTreeSet<String>, words: &Words) -> Self {
        Self { id: &choice.id, ticked: ticked.contains(&choice.id), line, kind: (words.kind)(choice.kind) }
    }
}

/// The submitted form.
pub(crate) struct Filled {
    search: String,
    ticked: BTreeSet<String>,
    /// True when all accounts are to be ticked beforehand.
    ticks_all: bool,
    button: Option<Button>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Button {
    Cancel,
    Connect,
    TickAll,
    UntickAll,
}

impl FromQuery for Filled {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let search = query.text("q")?.unwrap_or_default();
        if search.chars().nth(SEARCH_MAX).is_some() {
            return Err(invalid_parameter("q", &format!("must be at most {SEARCH_MAX} characters long")));
        }
        let ticked: Vec<String> = query.texts("account").collect::<Result<_, _>>()?;
        if ticked.len() > CHOICE_MAX {
            return Err(invalid_parameter("account", &format!("is given more than {CHOICE_MAX} times")));
        }
        let button = match query.text("action")?.as_deref() {
            Some("cancel") => Some(Button::Cancel),
            Some("connect") => Some(Button::Connect),
            Some("all") => Some(Button::TickAll),
            Some("none") => Some(Button::UntickAll),
            // A search, or anything else, shows the page again.
            _ => None,
        };
        let ticks_all = query.text("tick")?.as_deref() == Some("all");
        Ok(Self { search, ticked: ticked.into_iter().collect(), ticks_all, button })
    }
}

/// Choose accounts on a page
///
/// Where a consent covers several accounts, the person's browser is sent here, unless the connection was begun with
/// `headless=true` and has a `redirectUri`.
#[utoipa::path(get, path = "/connect/selection/{token}", operation_id = "showSelectionPage", tag = "Connect",
    params(
        ("token" = String, Path, description = "The selection token."),
        ("q" = Option<String>, Query, max_length = 200, description = "Only accounts whose name, handle or id has this."),
        ("account" = Option<Vec<String>>, Query, description = "Accounts to tick beforehand."),
        ("tick" = Option<String>, Query, description = "`all`: tick all accounts beforehand."),
        ("lang" = Option<String>, Query, description = "The page's language: `en` or `de`. Without it, the browser's."),
    ),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 303, description = "The choice was not made in time: on to the connection's `redirectUri`, with \
            `status=error` and `error=flow_expired`."),
        (status = 400, description = "A query parameter is out of bounds: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "There is nothing to choose here any more: a page.", body = String,
            content_type = "text/html"),
        (status = 429, description = "Too many unknown tokens came from this address, see `Retry-After`: a page.",
            body = String, content_type = "text/html"),
    ))]
pub(crate) async fn show(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    Parameters(filled): Parameters<Filled>,
) -> Result<HttpResponse, ApiError> {
    let token = SecretString::from(token);
    match state.broker.get_selection(None, &token).await {
        Ok(choices) => {
            let Filled { search, mut ticked, ticks_all, .. } = filled;
            if ticks_all {
                ticked.extend(choices.accounts.iter().map(|choice| choice.id.clone()));
            }
            Page { state: &state, req: &req, choices: &choices }.render(HttpResponse::Ok(), &search, &ticked, false)
        }
        Err(error) => closed(&state, &req, &token, false, error.into()).await,
    }
}

/// Submit the page's form
///
/// For the page itself. Connects what is ticked, cancels, or shows the page again with other ticks or fewer accounts.
#[utoipa::path(post, path = "/connect/selection/{token}", operation_id = "submitSelectionPage", tag = "Connect",
    params(("token" = String, Path, description = "The selection token.")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "`account` \
        (repeated), `q`, and `action`: `connect`, `cancel`, `all`, `none` or `search`."),
    responses(
        (status = 200, description = "The page again, where its query would be too long.", body = String,
            content_type = "text/html"),
        (status = 303, description = "On to the connection's `redirectUri` (or `cancelRedirectUri`), as after any \
            connection; or to this page with the ticks in its query."),
        (status = 400, description = "Nothing is ticked, or something that is not on offer: a page.", body = String,
            content_type = "text/html"),
        (status = 403, description = "The form was not sent from the page: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "There is nothing to choose here any more: a page.", body = String,
            content_type = "text/html"),
        (status = 413, description = "The form is larger than 512 KiB: a page.", body = String,
            content_type = "text/html"),
        (status = 415, description = "This is no form: a page.", body = String, content_type = "text/html"),
        (status = 429, description = "Too many unknown tokens came from this address, see `Retry-After`: a page.",
            body = String, content_type = "text/html"),
        (status = 503, description = "The broker has too much to do right now: a page.", body = String,
            content_type = "text/html"),
    ))]
pub(crate) async fn submit(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    unread: Unread,
) -> Result<HttpResponse, ApiError> {
    super::check_is_from_own_page(&state, req.headers())?;
    let token = SecretString::from(token);
    let project = state.broker.ensure_selection(None, &token).await.map_err(ApiError::from)?;
    let filled = Filled::from_query(&unread.of_project(project).form(CHOICE_BODY_MAX).await?.fields())?;
    let cancels = filled.button == Some(Button::Cancel);
    match press(&state, &req, &token, filled).await {
        Err(error) => closed(&state, &req, &token, cancels, error).await,
        answered => answered,
    }
}

/// Does what the form's button says.
async fn press(
    state: &State,
    req: &HttpRequest,
    token: &SecretString,
    filled: Filled,
) -> Result<HttpResponse, ApiError> {
    let Filled { search, mut ticked, button, .. } = filled;
    let address = peer::address(req, &state.settings.trusted_proxies);
    match button {
        Some(Button::Cancel) => ending::show(state, req, &state.broker.cancel_selection(token, address).await?),
        Some(Button::Connect) if !ticked.is_empty() => {
            ending::show(state, req, &state.broker.choose_accounts(None, token, ticked, address).await?)
        }
        Some(Button::Connect) => {
            let choices = state.broker.get_selection(None, token).await?;
            Page { state, req, choices: &choices }.render(HttpResponse::BadRequest(), &search, &ticked, true)
        }
        Some(Button::TickAll | Button::UntickAll) | None => {
            let choices = state.broker.get_selection(None, token).await?;
            for choice in choices.accounts.iter().filter(|choice| matches(choice, &search)) {
                match button {
                    Some(Button::TickAll) => drop(ticked.insert(choice.id.clone())),
                    Some(Button::UntickAll) => drop(ticked.remove(&choice.id)),
                    _ => {}
                }
            }
            let page = Page { state, req, choices: &choices };
            match page.address(&search, &ticked) {
                Some(address) => Ok(see_other(address)),
                None => page.render(HttpResponse::Ok(), &search, &ticked, false),
            }
        }
    }
}

/// Answers where there is nothing to choose: a selection that ended before it was made sends its person back to the
/// app.
async fn closed(
    state: &State,
    req: &HttpRequest,
    token: &SecretString,
    cancels: bool,
    error: ApiError,
) -> Result<HttpResponse, ApiError> {
    if error.code == Code::SelectionNotFound
        && let Some(ended) = state.broker.ended_selection(token, cancels).await?
    {
        return ending::show(state, req, &ended);
    }
    Err(error)
}

/// A page to show.
struct Page<'a> {
    state: &'a State,
    req: &'a HttpRequest,
    choices: &'a Choices,
}

impl Page<'_> {
    fn render(
        &self,
        builder: HttpResponseBuilder,
        search: &str,
        ticked: &BTreeSet<String>,
        alert: bool,
    ) -> Result<HttpResponse, ApiError> {
        let choices = self.choices;
        let frame = &Frame::new(self.state, self.req, choices.project.as_deref());
        let (shown, others): (Vec<_>, Vec<_>) = choices.accounts.iter().partition(|choice| matches(choice, search));
        let hidden: Vec<&str> =
            others.iter().filter(|choice| ticked.contains(&choice.id)).map(|choice| choice.id.as_str()).collect();
        let lines = account_line::lines(shown.iter().map(|choice| &choice.account));
        let rows: Vec<_> = lines.into_iter().zip(shown).map(|shown| Row::new(shown, ticked, frame.words)).collect();
        let page = Selection {
            frame,
            mark: &marks::svg(&choices.platform, &choices.label),
            platform: &choices.platform,
            label: &choices.label,
            profile: choices.profile_name.as_deref(),
            total: choices.accounts.len(),
            minutes: choices.expires_in.as_secs().div_ceil(60),
            alert,
            searchable: choices.accounts.len() > SEARCH_ABOVE,
            search,
            ticked: hidden.len() + rows.iter().filter(|row| row.ticked).count(),
            rows,
            hidden,
            counted: &frame.words.connect_counted,
            languages: frame::others("", frame.words),
            findings: &choices.findings,
            missing_scopes: &choices.missing_scopes,
        };
        let leads_to_app = choices.redirect_uri.is_some() || choices.cancel_redirect_uri.is_some();
        frame.answer_with_form(builder, &page, if leads_to_app { Forms::Anywhere } else { Forms::Own })
    }

    /// The query that shows this page again, relative to its own address; `None` where it would be too long.
    fn address(&self, search: &str, ticked: &BTreeSet<String>) -> Option<String> {
        let mut added = frame::chosen_language(self.req);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if !search.is_empty() {
            query.append_pair("q", search);
        }
        if self.choices.accounts.iter().all(|choice| ticked.contains(&choice.id)) {
            query.append_pair("tick", "all");
        } else {
            query.extend_pairs(ticked.iter().map(|id| ("account", id)));
        }
        let query = query.finish();
        added.push(if added.is_empty() { '?' } else { '&' });
        added.push_str(&query);
        (added.len() <= ADDRESS_MAX).then_some(added)
    }
}

/// True when an account matches the search.
fn matches(choice: &Choice, search: &str) -> bool {
    let search = search.trim().to_lowercase();
    let account = &choice.account;
    [account.display_name.as_deref(), account.username.as_deref(), Some(account.platform_user_id.as_str())]
        .into_iter()
        .flatten()
        .any(|text| text.to_lowercase().contains(&search))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The page with this text in every field.
    pub(in super::super) fn page(
        frame: &Frame<'_>,
        mark: &str,
        text: &str,
        findings: &Findings,
        missing_scopes: &[String],
    ) -> String {
        let line = AccountLine { name: text, handle: Some(text), address: Some(text) };
        let row = Row { id: text, ticked: true, line, kind: "Page" };
        let page = Selection {
            frame,
            mark,
            platform: text,
            label: text,
            profile: Some(text),
            total: 2,
            minutes: 1,
            alert: true,
            searchable: true,
            search: text,
            rows: vec![row],
            hidden: vec![text],
            ticked: 2,
            counted: &frame.words.connect_counted,
            languages: frame::others(text, frame.words),
            findings,
            missing_scopes,
        };
        page.render().unwrap()
    }
    use crate::domain::account::{Account, AccountKind};

    #[test]
    fn accounts_are_found_by_name_handle_and_id() {
        let choice = Choice {
            id: "page:1029".to_owned(),
            kind: AccountKind::Page,
            account: Account {
                platform_user_id: "1029".to_owned(),
                username: Some("@TheMill".to_owned()),
                display_name: Some("The Old M\u{fc}hle".to_owned()),
                ..Account::default()
            },
        };
        for found in ["", " ", "old", "M\u{dc}HLE", "@themill", "029", " old "] {
            assert!(matches(&choice, found), "{found}");
        }
        for missed in ["new", "page:", "%", "_"] {
            assert!(!matches(&choice, missed), "{missed}");
        }
    }
}
