//! The page of `postpeer demo`: connects accounts at the sandbox and lists them.
//!
//! The page acts without a key, so the demo listens on loopback and accepts only requests for its own host name, which
//! defeats DNS rebinding, and forms from its own page.

use std::collections::HashMap;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use url::Url;

use crate::broker::Caller;
use crate::broker::begin::BeginConnect;
use crate::broker::bluesky::ConnectBluesky;
use crate::broker::integrations::ListIntegrations;
use crate::domain::failure::Failure;
use crate::domain::grant::AuthStatus;
use crate::domain::integration::PlatformFilter;
use crate::domain::paging::Window;
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::http::error::{ApiError, Code};
use crate::http::request::{Form, FromQuery, Parameters, Query, Segment, peer};
use crate::http::{Current, Demo, State};

/// The most accounts and profiles that the page shows.
const SHOWN: Window = Window { limit: 100, offset: 0 };

#[derive(Template)]
#[template(path = "demo.html")]
struct Index {
    /// Path that the broker's own links begin with.
    base: String,
    notice: Option<Notice>,
    platforms: Vec<PlatformButton>,
    /// `None` if Bluesky is switched off.
    bluesky: Option<BlueskyForm>,
    accounts: Vec<AccountRow>,
    /// Number of accounts, shown or not.
    total: u64,
}

struct PlatformButton {
    name: String,
    label: String,
}

struct BlueskyForm {
    label: String,
    handle: String,
    password: String,
}

struct AccountRow {
    platform: String,
    name: String,
    handle: Option<String>,
    profile: Option<String>,
    active: bool,
    /// RFC 3339, for programs.
    connected_at: String,
    /// For people.
    connected: String,
}

/// Result of the last connection.
struct Notice {
    good: bool,
    text: String,
    more: &'static str,
}

/// Result of a connection, from the query of the redirect back to the page.
pub(crate) struct Last {
    status: Option<String>,
    platform: Option<String>,
    error: Option<String>,
}

impl FromQuery for Last {
    /// Never fails: people may have edited the URL, so unreadable parameters are ignored.
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let text = |name| query.text(name).ok().flatten();
        Ok(Self { status: text("status"), platform: text("platform"), error: text("error") })
    }
}

pub(crate) async fn index(
    state: Current,
    req: HttpRequest,
    Parameters(last): Parameters<Last>,
) -> Result<HttpResponse, ApiError> {
    let demo = demo(&state)?;
    if !asked_by_name(req.headers(), &state.settings.public_url) {
        let home = format!("{}/", state.settings.public_url);
        return Ok(super::see_other(home));
    }
    let (redirecting, others): (Vec<_>, Vec<_>) =
        state.broker.list_platforms(&PlatformFilter::All).into_iter().partition(|platform| platform.has_redirect);
    let labels: HashMap<String, String> =
        redirecting.iter().chain(&others).map(|platform| (platform.name.clone(), platform.label.clone())).collect();
    let profiles: HashMap<_, _> = state
        .broker
        .list_profiles(&demo.caller, None, SHOWN)
        .await?
        .items
        .into_iter()
        .map(|profile| (profile.id, profile.name))
        .collect();
    let everything = ListIntegrations { platforms: PlatformFilter::All, ..ListIntegrations::default() };
    let listed = state.broker.list_integrations(&demo.caller, everything, SHOWN).await?;
    let accounts = listed
        .items
        .into_iter()
        .map(|integration| {
            let name = integration.account.label().to_owned();
            AccountRow {
                platform: labels.get(&integration.platform).cloned().unwrap_or(integration.platform),
                handle: integration.account.username.filter(|handle| *handle != name),
                name,
                profile: integration.profile_id.and_then(|id| profiles.get(&id).cloned()),
                active: integration.status == AuthStatus::Active,
                connected_at: integration.created_at.to_string(),
                connected: minute(integration.created_at),
            }
        })
        .collect();
    let notice = notice(&last, &labels);
    let (handle, password) = demo.bluesky.clone();
    let bluesky = others.into_iter().next().map(|bluesky| BlueskyForm { label: bluesky.label, handle, password });
    let mut platforms: Vec<_> =
        redirecting.into_iter().map(|platform| PlatformButton { name: platform.name, label: platform.label }).collect();
    platforms.sort_by(|a, b| a.label.cmp(&b.label));
    let base = state.settings.base_path().to_owned();
    let page = Index { base, notice, platforms, bluesky, accounts, total: listed.total };
    super::answer(HttpResponse::Ok(), &page, &format!("'self' {}", demo.sandbox_origin))
}

pub(crate) async fn connect(
    state: Current,
    req: HttpRequest,
    Segment(platform): Segment,
) -> Result<HttpResponse, ApiError> {
    let demo = demo(&state)?;
    check_is_own_page(&state, req.headers())?;
    let wanted = BeginConnect {
        platform,
        redirect_uri: Some(format!("{}/", state.settings.public_url)),
        ..BeginConnect::default()
    };
    let url = state.broker.begin_connect(&caller(&state, demo, &req), wanted).await?;
    Ok(super::see_other(url))
}

pub(crate) async fn connect_bluesky(state: Current, req: HttpRequest, form: Form) -> Result<HttpResponse, ApiError> {
    let demo = demo(&state)?;
    check_is_own_page(&state, req.headers())?;
    let home = format!("{}/", state.settings.public_url);
    let field = |name| form.fields().text(name).map(Option::unwrap_or_default);
    let wanted = ConnectBluesky {
        identifier: field("identifier")?,
        password: SecretString::from(field("password")?),
        redirect_uri: Some(home.clone()),
        cancel_redirect_uri: None,
        profile_id: None,
        app_id: None,
        address: None,
    };
    let back = match state.broker.connect_bluesky(&caller(&state, demo, &req), wanted).await.map_err(ApiError::from) {
        Ok(connected) => connected.destination.unwrap_or(home),
        Err(error) => format!("{home}?status=error&platform=bluesky&error={}", error.code.as_str()),
    };
    Ok(super::see_other(back))
}

fn check_is_own_page(state: &State, headers: &HeaderMap) -> Result<(), ApiError> {
    if asked_by_name(headers, &state.settings.public_url) && super::is_from_own_page(headers) {
        return Ok(());
    }
    Err(ApiError::new(Code::CrossSite)
        .on_page("Nothing was connected", "Open the demo's own page and use the button there."))
}

/// The demo's caller, at the browser's address.
fn caller(state: &State, demo: &Demo, req: &HttpRequest) -> Caller {
    Caller { address: peer::address(req, &state.settings.trusted_proxies), ..demo.caller.clone() }
}

fn demo(state: &State) -> Result<&Demo, ApiError> {
    state.settings.demo.as_ref().ok_or_else(|| ApiError::internal("a demo route without a demo"))
}

/// True when there is one `Host` header and it is the authority of the public URL.
fn asked_by_name(headers: &HeaderMap, public_url: &str) -> bool {
    let Ok(url) = Url::parse(public_url) else { return false };
    let mut hosts = headers.get_all(header::HOST);
    hosts.next().is_some_and(|host| host.as_bytes() == url.authority().as_bytes()) && hosts.next().is_none()
}

/// Describes the last connection in fixed words; nothing of the query is repeated.
fn notice(last: &Last, labels: &HashMap<String, String>) -> Option<Notice> {
    let label = last.platform.as_ref().and_then(|name| labels.get(name)).map_or("The account", String::as_str);
    match last.status.as_deref()? {
        "cancelled" => Some(Notice {
            good: false,
            text: format!("{label} was not connected: you said no there."),
            more: "Nothing was stored. Connect again whenever you like.",
        }),
        "error" => {
            let code = last.error.as_deref();
            let failure = Failure::OF_CONNECTION.into_iter().find(|failure| Some(failure.code()) == code);
            Some(match failure {
                Some(failure) => Notice { good: false, text: failure.what_happened(label), more: failure.what_to_do() },
                None => Notice {
                    good: false,
                    text: format!("{label} was not connected."),
                    more: Code::ALL
                        .iter()
                        .find(|known| Some(known.as_str()) == code)
                        .map_or("The broker's log says why.", |known| known.sentence()),
                },
            })
        }
        "success" => Some(Notice {
            good: true,
            text: format!("{label} is connected."),
            more: "Its tokens are sealed and stored; the account is in the list below.",
        }),
        _ => None,
    }
}

/// `2026-05-03 08:33 UTC`.
fn minute(time: Timestamp) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::fixture::headers;

    #[test]
    fn only_the_host_of_the_public_url_is_answered() {
        let asked = |hosts: &[&'static str]| {
            let pairs: Vec<_> = hosts.iter().map(|host| ("host", host.as_bytes())).collect();
            asked_by_name(&headers(&pairs), "http://127.0.0.1:8080")
        };
        assert!(asked(&["127.0.0.1:8080"]));
        for wrong in
            [&[][..], &["127.0.0.1"], &["localhost:8080"], &["evil.example:8080"], &["127.0.0.1:8080", "evil.example"]]
        {
            assert!(!asked(wrong), "{wrong:?}");
        }
    }

    #[test]
    fn the_notice_repeats_nothing_of_the_query() {
        let labels = HashMap::from([("twitter".to_owned(), "X".to_owned())]);
        let say = |status: &str, platform: &str, error: &str| {
            let last = Last {
                status: Some(status.to_owned()),
                platform: Some(platform.to_owned()),
                error: Some(error.to_owned()),
            };
            notice(&last, &labels).map(|notice| notice.text)
        };
        assert_eq!(say("success", "twitter", "").as_deref(), Some("X is connected."));
        assert_eq!(say("success", "<script>", "").as_deref(), Some("The account is connected."));
        assert_eq!(
            say("error", "twitter", "no_account").as_deref(),
            Some("X has no account for you that can be connected.")
        );
        assert_eq!(say("error", "twitter", "<b>").as_deref(), Some("X was not connected."));
        assert_eq!(say("<b>", "twitter", ""), None);
    }

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(minute(Timestamp::from_millis(1_777_797_216_445)), "2026-05-03 08:33 UTC");
    }
}
