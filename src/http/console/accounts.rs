//! `/console/accounts`: the connected accounts, those that fail first, with search and filters.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::session::SignedIn;
use super::view::{Section, Time, View};
use crate::broker::Caller;
use crate::broker::console::{COUNTED, ShownAccount, WantedAccounts};
use crate::broker::platforms::PlatformListing;
use crate::domain::integration::{PlatformFilter, TokenState};
use crate::domain::paging::Window;
use crate::http::error::ApiError;
use crate::http::pages::frame::Frame;
use crate::http::pages::marks;
use crate::http::request::{FromQuery, Parameters, Query};
use crate::http::{Current, State};

/// Most profiles that a form offers. Any other is named by its id, and the page of a profile leads to its accounts.
const OFFERED: Window = Window { limit: 50, offset: 0 };

/// The filter for accounts without a profile.
const WITHOUT: &str = "null";

/// Longest search, in characters.
const SEARCH_MAX: usize = 200;

#[derive(Template)]
#[template(path = "console/accounts.html")]
struct Accounts<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    wanted: Wanted,
    failing: String,
    platforms: Vec<Choice>,
    profiles: Vec<Choice>,
    rows: Vec<Row>,
    next: Option<String>,
}

/// An option of a select.
pub(super) struct Choice {
    pub(super) value: String,
    pub(super) name: String,
    pub(super) is_chosen: bool,
}

/// The profiles that a form offers.
pub(super) struct Offered {
    pub(super) choices: Vec<Choice>,
    pub(super) has_more: bool,
}

/// An account in the list.
struct Row {
    href: String,
    mark: String,
    name: String,
    handle: Option<String>,
    label: String,
    profile: Option<String>,
    is_well: bool,
    health: &'static str,
    /// Cause and next step.
    trouble: Option<(String, String)>,
    next_refresh: Option<Time>,
}

/// Filter of the list.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    q: String,
    platform: String,
    profile: String,
    failing: bool,
    after: Option<String>,
}

impl FromQuery for Wanted {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let text = |name| query.text_if_readable(name);
        let short = |name| text(name).unwrap_or_default().chars().take(SEARCH_MAX).collect::<String>();
        Ok(Self {
            q: short("q").trim().to_owned(),
            platform: short("platform"),
            profile: short("profile"),
            failing: text("failing").is_some(),
            after: text("after"),
        })
    }
}

pub(crate) async fn list(
    state: Current,
    req: HttpRequest,
    signed_in: SignedIn,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<HttpResponse, ApiError> {
    let (at, caller) = (&View::new(&state, &req, Section::Accounts), &signed_in.caller);
    let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let page = state.broker.list_by_health(
        caller,
        WantedAccounts {
            platform: given(&wanted.platform),
            profile_id: given(&wanted.profile),
            failing_only: wanted.failing,
            search: given(&wanted.q),
            after: wanted.after.clone(),
        },
    );
    let page = page.await?;
    let (_, failing) = count_failing(&state, at, caller).await?;
    let next = page.next.map(|after| {
        let failing = if wanted.failing { "true" } else { "" };
        let kept = [("q", &*wanted.q), ("platform", &wanted.platform), ("profile", &wanted.profile)];
        at.with("/accounts", &[&kept[..], &[("failing", failing), ("after", &after)]].concat())
    });
    let mut platforms = platforms(state.broker.list_platforms(&PlatformFilter::All), |name| name == wanted.platform);
    if !wanted.platform.is_empty() && !platforms.iter().any(|choice| choice.is_chosen) {
        let (value, name) = (wanted.platform.clone(), wanted.platform.clone());
        platforms.insert(0, Choice { value, name, is_chosen: true });
    }
    let profile = if wanted.profile == WITHOUT { "" } else { &wanted.profile };
    let page = Accounts {
        frame: &at.frame,
        at,
        failing,
        platforms,
        profiles: profiles(&state, caller, profile).await?.choices,
        rows: page.accounts.into_iter().map(|account| row(at, account)).collect(),
        next,
        wanted,
    };
    at.show(&page)
}

/// Number of the caller's failing accounts, and what to say of it.
pub(super) async fn count_failing(state: &State, at: &View<'_>, caller: &Caller) -> Result<(u64, String), ApiError> {
    let failing = state.broker.count_failing(caller).await?;
    let told = if failing > 0 || state.broker.has_accounts(caller).await? {
        (at.words.failing)(failing, u64::from(COUNTED))
    } else {
        at.words.no_account.to_owned()
    };
    Ok((failing, told))
}

/// The platforms that a form offers, by their names for people.
pub(super) fn platforms(
    listed: impl IntoIterator<Item = PlatformListing>,
    is_chosen: impl Fn(&str) -> bool,
) -> Vec<Choice> {
    let choice = |PlatformListing { name, label, .. }| Choice { is_chosen: is_chosen(&name), value: name, name: label };
    let mut choices: Vec<_> = listed.into_iter().map(choice).collect();
    choices.sort_by(|a, b| a.name.cmp(&b.name));
    choices
}

/// The profiles that a form offers, the chosen one among them, even if it is deleted.
pub(super) async fn profiles(state: &State, caller: &Caller, chosen: &str) -> Result<Offered, ApiError> {
    let listed = state.broker.list_profiles(caller, None, OFFERED).await?;
    let has_more = listed.total > u64::from(OFFERED.limit);
    let choice = |id: String, name| Choice { is_chosen: id == chosen, value: id, name };
    let mut choices: Vec<_> =
        listed.items.into_iter().map(|profile| choice(profile.id.to_string(), profile.name)).collect();
    if !chosen.is_empty() && !choices.iter().any(|choice| choice.is_chosen) {
        let name = state.broker.find_profile_name(caller, chosen).await?;
        choices.insert(0, choice(chosen.to_owned(), name.unwrap_or_else(|| chosen.to_owned())));
    }
    Ok(Offered { choices, has_more })
}

pub(super) fn name_of(account: &ShownAccount) -> (String, Option<String>) {
    let account = &account.detail.integration.account;
    (account.label().to_owned(), account.handle().map(str::to_owned))
}

fn row(at: &View<'_>, account: ShownAccount) -> Row {
    let health = account.detail.token_state();
    let (name, handle) = name_of(&account);
    let (integration, words) = (&account.detail.integration, at.frame.words);
    Row {
        href: at.to(&format!("/accounts/{}", integration.id)),
        mark: marks::svg(&integration.platform, &account.label),
        name,
        handle,
        profile: account.profile_name,
        is_well: health == TokenState::Ok,
        health: (at.words.health)(health),
        trouble: account.trouble.map(|trouble| {
            let cause = (words.cause)(trouble.failure, &account.label, trouble.backup_taken_at);
            (cause, (words.remedy)(trouble.failure, &integration.platform, trouble.console))
        }),
        next_refresh: account.detail.due_at.map(|due| at.time(due)),
        label: account.label,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn choice(text: &str) -> Choice {
        Choice { value: text.to_owned(), name: text.to_owned(), is_chosen: true }
    }

    pub(in super::super) fn offered(text: &str) -> Offered {
        Offered { choices: vec![choice(text)], has_more: true }
    }

    pub(in super::super) fn page(at: &View<'_>, mark: &str, text: &str) -> String {
        let own = || text.to_owned();
        let row = Row {
            href: at.with("/accounts", &[("q", text)]),
            mark: mark.to_owned(),
            name: own(),
            handle: Some(own()),
            label: own(),
            profile: Some(own()),
            is_well: false,
            health: "",
            trouble: Some((own(), own())),
            next_refresh: Some(Time { shown: own(), exact: own() }),
        };
        let page = Accounts {
            frame: &at.frame,
            at,
            wanted: Wanted { q: own(), platform: own(), profile: own(), failing: true, after: Some(own()) },
            failing: own(),
            platforms: vec![choice(text)],
            profiles: vec![choice(text)],
            rows: vec![row],
            next: Some(at.with("/accounts", &[("q", text)])),
        };
        page.render().unwrap()
    }
}
