//! The page of `postpeer demo`: connects accounts at the sandbox and lists them.
//!
//! The page acts without a key, so the demo listens on loopback and accepts only requests for its own host name, which
//! defeats DNS rebinding, and forms from its own page.

use std::collections::HashMap;

use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use serde::Serialize;
use url::Url;

use super::frame::{Frame, chosen_language};
use super::look::Forms;
use super::marks;
use super::words::{DemoWords, Words};
use crate::broker::begin::BeginConnect;
use crate::broker::bluesky::ConnectBluesky;
use crate::broker::finished::CancelledAt;
use crate::broker::integrations::ListIntegrations;
use crate::broker::platforms::PlatformListing;
use crate::broker::{Caller, Error};
use crate::domain::failure::Failure;
use crate::domain::grant::AuthStatus;
use crate::domain::integration::PlatformFilter;
use crate::domain::paging::Window;
use crate::domain::secret::SecretString;
use crate::http::access::Authenticated;
use crate::http::api::{integrations, tokens};
use crate::http::error::{ApiError, Code};
use crate::http::request::{FromQuery, PASSWORD_FORM_MAX, Parameters, Query, Segment, Unread, peer};
use crate::http::{Current, Demo, State};

/// The most accounts and profiles that the page shows.
const SHOWN: Window = Window { limit: 100, offset: 0 };

#[derive(Template)]
#[template(path = "demo.html")]
struct Index<'a> {
    frame: &'a Frame<'a>,
    words: &'static DemoWords,
    /// The query of links to pages in the same language.
    lang: String,
    notice: Option<Notice>,
    platforms: Vec<PlatformButton>,
    /// `None` if Bluesky is switched off.
    bluesky: Option<BlueskyForm>,
    accounts: Vec<AccountRow>,
    /// Number of accounts, shown or not.
    total: u64,
}

struct PlatformButton {
    mark: String,
    name: String,
    label: String,
}

struct BlueskyForm {
    mark: String,
    label: String,
    handle: String,
    password: String,
}

struct AccountRow {
    id: String,
    mark: String,
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
    /// The language of `more`.
    lang: &'static str,
}

/// What the API answers about an account.
#[derive(Template)]
#[template(path = "demo_account.html")]
struct AccountPage<'a> {
    frame: &'a Frame<'a>,
    heading: &'static str,
    lead: &'static str,
    account: &'a str,
    json: &'a str,
    lang: String,
}

/// Result of a connection, from the query of the redirect back to the page.
pub(crate) struct Last {
    status: Option<String>,
    platform: Option<String>,
    error: Option<String>,
}

impl FromQuery for Last {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let text = |name| query.text_if_readable(name);
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
        return Ok(super::see_other(home(&state, &req)));
    }
    let frame = &Frame::new(&state, &req, None);
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
            let account = &integration.account;
            let platform = labels.get(&integration.platform).unwrap_or(&integration.platform);
            AccountRow {
                id: integration.id.to_string(),
                mark: marks::svg(&integration.platform, platform),
                platform: platform.clone(),
                name: account.label().to_owned(),
                handle: account.handle().map(str::to_owned),
                profile: integration.profile_id.and_then(|id| profiles.get(&id).cloned()),
                active: integration.status == AuthStatus::Active,
                connected_at: integration.created_at.to_string(),
                connected: (frame.words.time)(integration.created_at),
            }
        })
        .collect();
    let notice = notice(&last, &labels, frame.words);
    let (handle, password) = demo.bluesky.clone();
    let bluesky = others.into_iter().next().map(|bluesky| BlueskyForm {
        mark: marks::svg(&bluesky.name, &bluesky.label),
        label: bluesky.label,
        handle,
        password,
    });
    let button = |platform: PlatformListing| PlatformButton {
        mark: marks::svg(&platform.name, &platform.label),
        name: platform.name,
        label: platform.label,
    };
    let mut platforms: Vec<_> = redirecting.into_iter().map(button).collect();
    platforms.sort_by(|a, b| a.label.cmp(&b.label));
    let (words, lang) = (&frame.words.demo, chosen_language(&req));
    let page = Index { frame, words, lang, notice, platforms, bluesky, accounts, total: listed.total };
    frame.answer(HttpResponse::Ok(), &page, Forms::OwnAnd(&demo.sandbox_origin))
}

pub(crate) async fn connect(
    state: Current,
    req: HttpRequest,
    Segment(platform): Segment,
) -> Result<HttpResponse, ApiError> {
    let demo = demo(&state)?;
    check_is_own_page(&state, req.headers())?;
    let wanted = BeginConnect { platform, redirect_uri: Some(home(&state, &req)), ..BeginConnect::default() };
    let url = state.broker.begin_connect(&caller(&state, demo, &req), wanted).await?.url;
    Ok(super::see_other(url))
}

pub(crate) async fn connect_bluesky(
    state: Current,
    req: HttpRequest,
    unread: Unread,
) -> Result<HttpResponse, ApiError> {
    let demo = demo(&state)?;
    check_is_own_page(&state, req.headers())?;
    let unread = unread.of_project(demo.caller.project_id);
    let (form, home) = (unread.form(PASSWORD_FORM_MAX).await?, home(&state, &req));
    let field = |name| form.fields().text(name).map(Option::unwrap_or_default);
    let wanted = ConnectBluesky {
        identifier: field("identifier")?,
        password: SecretString::from(field("password")?),
        redirect_uri: Some(home.clone()),
        cancel_redirect_uri: None,
        profile_id: None,
        app_id: None,
        reconnect: None,
    };
    let back = match state.broker.connect_bluesky(&caller(&state, demo, &req), wanted).await.map_err(ApiError::from) {
        Ok(connected) => connected.destination.unwrap_or(home),
        Err(error) => with(&home, &format!("status=error&platform=bluesky&error={}", error.code.as_str())),
    };
    Ok(super::see_other(back))
}

/// What the API tells of an account.
pub(crate) async fn details(state: Current, req: HttpRequest, Segment(id): Segment) -> Result<HttpResponse, ApiError> {
    let caller = caller(&state, demo(&state)?, &req);
    check_is_asked_by_name(&state, req.headers())?;
    let answer = integrations::get(Current::of(&req)?, Authenticated(caller), Segment(id.clone())).await?;
    let words = &Frame::new(&state, &req, None).words.demo;
    account_page(&state, &req, &id, (words.details, words.details_lead), &answer.into_inner()).await
}

/// The account's access token, as the API answers it. It is the sandbox's, so it opens nothing anywhere else.
pub(crate) async fn token(state: Current, req: HttpRequest, Segment(id): Segment) -> Result<HttpResponse, ApiError> {
    let caller = caller(&state, demo(&state)?, &req);
    check_is_own_page(&state, req.headers())?;
    let token = tokens::read(&state, &caller, &id, tokens::Wanted::default()).await?;
    let words = &Frame::new(&state, &req, None).words.demo;
    account_page(&state, &req, &id, (words.token, words.token_lead), &tokens::TokenView::from(&token)).await
}

pub(crate) async fn disconnect(
    state: Current,
    req: HttpRequest,
    Segment(id): Segment,
) -> Result<HttpResponse, ApiError> {
    let caller = caller(&state, demo(&state)?, &req);
    check_is_own_page(&state, req.headers())?;
    let disconnected = async {
        let platform = state.broker.get_integration(&caller, &id).await?.integration.platform;
        state.broker.disconnect(&caller, &id).await?;
        Ok(format!("&platform={platform}"))
    };
    let of_platform = match disconnected.await {
        // The button was pressed twice.
        Err(Error::NotFound(_)) => String::new(),
        disconnected => disconnected?,
    };
    Ok(super::see_other(with(&home(&state, &req), &format!("status=disconnected{of_platform}"))))
}

async fn account_page(
    state: &State,
    req: &HttpRequest,
    id: &str,
    (heading, lead): (&'static str, &'static str),
    answer: &impl Serialize,
) -> Result<HttpResponse, ApiError> {
    let frame = &Frame::new(state, req, None);
    let json = serde_json::to_string_pretty(answer).map_err(ApiError::internal)?;
    let account = state.broker.get_integration(&caller(state, demo(state)?, req), id).await?.integration.account;
    let lang = chosen_language(req);
    let page = AccountPage { frame, heading, lead, account: account.label(), json: &json, lang };
    frame.answer(HttpResponse::Ok(), &page, Forms::None)
}

/// The demo's page, in the language that the person chose.
fn home(state: &State, req: &HttpRequest) -> String {
    format!("{}/{}", state.settings.public_url, chosen_language(req))
}

/// Adds to a URL's query.
fn with(url: &str, query: &str) -> String {
    format!("{url}{}{query}", if url.contains('?') { '&' } else { '?' })
}

fn check_is_asked_by_name(state: &State, headers: &HeaderMap) -> Result<(), ApiError> {
    if asked_by_name(headers, &state.settings.public_url) { Ok(()) } else { Err(ApiError::new(Code::CrossSite)) }
}

fn check_is_own_page(state: &State, headers: &HeaderMap) -> Result<(), ApiError> {
    check_is_asked_by_name(state, headers)?;
    super::check_is_from_own_page(state, headers)
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

/// Describes what was done last in fixed words; nothing of the query is repeated.
fn notice(last: &Last, labels: &HashMap<String, String>, words: &Words) -> Option<Notice> {
    let demo = &words.demo;
    let label = last.platform.as_ref().and_then(|name| labels.get(name)).map_or(demo.the_account, String::as_str);
    let mut lang = words.code;
    let (good, text, more) = match last.status.as_deref()? {
        "cancelled" => (false, (words.cancelled)(CancelledAt::Platform, label), words.nothing_stored),
        "disconnected" => (true, (demo.disconnected)(label), demo.disconnected_more),
        "error" => {
            let code = last.error.as_deref();
            let failure = Failure::OF_CONNECTION.into_iter().find(|failure| Some(failure.code()) == code);
            if let Some(told) = failure.map(|failure| (words.failure)(failure, label)) {
                (false, told.happened, told.advice)
            } else {
                let code = Code::ALL.iter().copied().find(|known| Some(known.as_str()) == code);
                let refused = code.and_then(words.link.refused);
                if refused.is_none() && code.is_some() {
                    lang = "en";
                }
                let more = refused.or(code.map(Code::sentence)).unwrap_or(demo.log_says);
                (false, (words.not_connected)(label) + ".", more)
            }
        }
        "success" => (true, (words.connected)(label) + ".", demo.stored),
        _ => return None,
    };
    Some(Notice { good, text, more, lang })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::words::LANGUAGES;
    use super::*;
    use crate::http::tests::fixture::headers;

    /// The pages of this file with this text in every field.
    pub(in super::super) fn pages(frame: &Frame<'_>, mark: &str, text: &str) -> Vec<String> {
        let (mark, text) = (|| mark.to_owned(), || text.to_owned());
        let account = AccountRow {
            id: text(),
            mark: mark(),
            platform: text(),
            name: text(),
            handle: Some(text()),
            profile: Some(text()),
            active: false,
            connected_at: text(),
            connected: text(),
        };
        let index = Index {
            frame,
            words: &frame.words.demo,
            lang: "?lang=de".to_owned(),
            notice: Some(Notice { good: false, text: text(), more: "", lang: "" }),
            platforms: vec![PlatformButton { mark: mark(), name: text(), label: text() }],
            bluesky: Some(BlueskyForm { mark: mark(), label: text(), handle: text(), password: text() }),
            accounts: vec![account],
            total: 2,
        };
        let (account, json, lang) = (&text(), &text(), String::new());
        let page = AccountPage { frame, heading: "", lead: "", account, json, lang };
        vec![index.render().unwrap(), page.render().unwrap()]
    }

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
            let [en, _] = LANGUAGES;
            notice(&last, &labels, en).map(|notice| notice.text)
        };
        for (words, told, lang) in [
            (LANGUAGES[0], "Handle and app password do not belong together.", "en"),
            (LANGUAGES[1], "Handle und App-Passwort gehören nicht zusammen.", "de"),
        ] {
            let text = |text: &str| Some(text.to_owned());
            let last = |error| Last { status: text("error"), platform: text("bluesky"), error: text(error) };
            let refused = notice(&last("bluesky_credentials_rejected"), &labels, words).unwrap();
            assert!(refused.more.contains(told) && refused.lang == lang, "{}", refused.more);
            let other = notice(&last("request_timeout"), &labels, words).unwrap();
            assert_eq!((other.more, other.lang), (Code::RequestTimeout.sentence(), "en"));
        }
        assert_eq!(say("success", "twitter", "").as_deref(), Some("X is connected."));
        assert_eq!(say("success", "<script>", "").as_deref(), Some("The account is connected."));
        assert_eq!(
            say("error", "twitter", "no_account").as_deref(),
            Some("X has no account of yours that can be connected.")
        );
        assert_eq!(say("error", "twitter", "<b>").as_deref(), Some("X was not connected."));
        assert_eq!(say("<b>", "twitter", ""), None);
    }
}
