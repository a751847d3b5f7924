//! `/connect/selection/{token}`: the broker's own page for choosing accounts.
//!
//! The page works without script. Search and "tick all" submit the same form and show the page again; accounts that are
//! ticked but not shown are carried along as hidden fields. They are POSTs, because hundreds of ticks do not fit into a
//! URL. Invariant: the token is in the URL and nowhere on the page, and only this page can submit the form.

use std::collections::BTreeSet;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use askama::Template;

use super::ending;
use crate::broker::selection::{Choice, Choices};
use crate::domain::account::AccountKind;
use crate::domain::secret::SecretString;
use crate::domain::selection::{CHOICE_MAX, Findings};
use crate::http::error::{ApiError, Code};
use crate::http::request::{Form, FromQuery, Parameters, Query, Segment, invalid_parameter, peer};
use crate::http::{Current, State};

/// The page offers a search when there are more accounts than this.
const SEARCH_ABOVE: usize = 12;
/// Longest search text, in code points.
const SEARCH_MAX: usize = 200;

#[derive(Template)]
#[template(path = "selection.html")]
struct Selection<'a> {
    label: &'a str,
    profile: Option<&'a str>,
    /// Number of accounts, shown or not.
    total: usize,
    minutes: u64,
    /// What the person has to correct.
    alert: Option<&'static str>,
    searchable: bool,
    search: &'a str,
    rows: Vec<Row<'a>>,
    /// Ids that are ticked but not shown.
    hidden: Vec<&'a str>,
    ticked: usize,
    findings: &'a Findings,
    missing_scopes: &'a [String],
}

struct Row<'a> {
    id: &'a str,
    ticked: bool,
    initials: String,
    name: &'a str,
    /// `None` if it equals the name.
    handle: Option<&'a str>,
    kind: &'static str,
}

impl<'a> Row<'a> {
    fn new(choice: &'a Choice, ticked: &BTreeSet<String>) -> Self {
        let name = choice.account.label();
        Self {
            id: &choice.id,
            ticked: ticked.contains(&choice.id),
            initials: initials(name),
            name,
            handle: choice.account.username.as_deref().filter(|handle| *handle != name),
            kind: match choice.kind {
                AccountKind::Location => "Location",
                AccountKind::Organization => "Organization",
                AccountKind::Page => "Page",
                AccountKind::Person => "Personal profile",
            },
        }
    }
}

/// The submitted form.
pub(crate) struct Filled {
    search: String,
    ticked: BTreeSet<String>,
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
        Ok(Self { search, ticked: ticked.into_iter().collect(), button })
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
    ),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 303, description = "The choice was not made in time: on to the connection's `redirectUri`, with \
            `status=error` and `error=flow_expired`."),
        (status = 400, description = "A query parameter is out of bounds: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "There is nothing to choose here any more: a page.", body = String,
            content_type = "text/html"),
    ))]
pub(crate) async fn show(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    Parameters(filled): Parameters<Filled>,
) -> Result<HttpResponse, ApiError> {
    let token = SecretString::from(token);
    match state.broker.get_selection(None, &token).await {
        Ok(choices) => render(HttpResponse::Ok(), &choices, &filled.search, &filled.ticked, None),
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
        (status = 200, description = "The page again, or one that says how it went.", body = String,
            content_type = "text/html"),
        (status = 303, description = "On to the connection's `redirectUri` (or `cancelRedirectUri`), as after any \
            connection."),
        (status = 400, description = "Nothing is ticked, or something that is not on offer: a page.", body = String,
            content_type = "text/html"),
        (status = 403, description = "The form was not sent from the page: a page.", body = String,
            content_type = "text/html"),
        (status = 404, description = "There is nothing to choose here any more: a page.", body = String,
            content_type = "text/html"),
        (status = 413, description = "The form is larger than 512 KiB: a page.", body = String,
            content_type = "text/html"),
        (status = 415, description = "This is no form: a page.", body = String, content_type = "text/html"),
    ))]
pub(crate) async fn submit(
    state: Current,
    req: HttpRequest,
    Segment(token): Segment,
    form: Form,
) -> Result<HttpResponse, ApiError> {
    if !super::is_from_own_page(req.headers()) {
        return Err(ApiError::new(Code::CrossSite).on_page(
            "Nothing was connected",
            "Open the page for choosing accounts itself, and use the buttons there.",
        ));
    }
    let filled = Filled::from_query(&form.fields())?;
    let (token, cancels) = (SecretString::from(token), filled.button == Some(Button::Cancel));
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
    let Filled { search, mut ticked, button } = filled;
    let address = peer::address(req, &state.settings.trusted_proxies);
    match button {
        Some(Button::Cancel) => ending::show(req, &state.broker.cancel_selection(token, address).await?),
        Some(Button::Connect) if !ticked.is_empty() => {
            ending::show(req, &state.broker.choose_accounts(None, token, ticked, address).await?)
        }
        Some(Button::Connect) => {
            let choices = state.broker.get_selection(None, token).await?;
            let alert = Some("Tick at least one account first.");
            render(HttpResponse::BadRequest(), &choices, &search, &ticked, alert)
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
            render(HttpResponse::Ok(), &choices, &search, &ticked, None)
        }
    }
}

/// Answers where there is nothing to choose: an expired selection sends its person back to the app.
async fn closed(
    state: &State,
    req: &HttpRequest,
    token: &SecretString,
    cancels: bool,
    error: ApiError,
) -> Result<HttpResponse, ApiError> {
    if error.code == Code::SelectionNotFound
        && let Some(late) = state.broker.late_selection(token, cancels).await?
    {
        return ending::show(req, &late);
    }
    Err(error)
}

fn render(
    mut builder: HttpResponseBuilder,
    choices: &Choices,
    search: &str,
    ticked: &BTreeSet<String>,
    alert: Option<&'static str>,
) -> Result<HttpResponse, ApiError> {
    let (shown, others): (Vec<_>, Vec<_>) = choices.accounts.iter().partition(|choice| matches(choice, search));
    let hidden: Vec<&str> =
        others.iter().filter(|choice| ticked.contains(&choice.id)).map(|choice| choice.id.as_str()).collect();
    let rows: Vec<Row<'_>> = shown.into_iter().map(|choice| Row::new(choice, ticked)).collect();
    let page = Selection {
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
        findings: &choices.findings,
        missing_scopes: &choices.missing_scopes,
    };
    // With `no-referrer`, browsers send `Origin: null` with the form. `same-origin` still hides the URL from other
    // sites.
    builder.insert_header((header::REFERRER_POLICY, "same-origin"));
    // Browsers apply the policy to the redirect after the form as well.
    let mut form_action = "'self'".to_owned();
    for uri in choices.redirect_uri.iter().chain(&choices.cancel_redirect_uri) {
        form_action.push(' ');
        form_action.push_str(uri.origin());
    }
    super::answer(builder, &page, &form_action)
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

/// The initials of a name's first two words, shown in place of a picture.
fn initials(name: &str) -> String {
    let words = name.split_whitespace().filter_map(|word| word.chars().find(|c| c.is_alphanumeric()));
    words.take(2).flat_map(char::to_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::account::Account;

    #[test]
    fn initials_are_letters_or_empty() {
        for (name, expected) in [
            ("Ada Lovelace", "AL"),
            ("ada", "A"),
            ("  the  old  mill ", "TO"),
            ("@handle", "H"),
            ("\u{2014} \u{fc}ber", "\u{dc}"),
            ("\u{1f389}", ""),
            ("", ""),
        ] {
            assert_eq!(initials(name), expected, "{name}");
        }
    }

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
