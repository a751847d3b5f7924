//! `/console/sign-in` and `/console/sign-out`: an access key becomes a session, and the session ends.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::session::Sent;
use super::view::{Section, View, go};
use crate::broker;
use crate::broker::console::SessionToken;
use crate::domain::budget::Cost;
use crate::domain::key_limits::Unusable;
use crate::http::access::limited;
use crate::http::error::{ApiError, Code};
use crate::http::pages::frame::Frame;
use crate::http::pages::words::console::NoSignIn;
use crate::http::pages::{is_from_asked_host, is_from_console, see_other};
use crate::http::request::{FORM_MAX, Query, Unread, cookies, peer};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignIn<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    /// Why the last attempt failed, or why the session is over.
    alert: Option<&'static str>,
    /// The console's own address, where it was opened under another.
    address: Option<String>,
}

pub(crate) async fn show(state: Current, req: HttpRequest) -> Result<HttpResponse, ApiError> {
    let why = cookies::notice(req.headers()).and_then(|name| name.parse().ok());
    let ended = why.filter(|why| [NoSignIn::Ended, NoSignIn::EndedUnchanged].contains(why));
    let is_after = Query::new(req.query_string()).text_if_readable("signed-in").is_some();
    let keeps_none = cookies::sessions(req.headers(), state.settings.is_console_secure()).is_empty();
    if is_after && !keeps_none {
        return Ok(go(&state, &req, &wanted(&req), None));
    }
    page(&state, &req, if is_after { Some(NoSignIn::NoCookies) } else { ended }, StatusCode::OK)
}

pub(crate) async fn submit(state: Current, req: HttpRequest, unread: Unread) -> Result<HttpResponse, ApiError> {
    if !is_from_console(req.headers(), &state.settings) {
        // Its own page sent the form, but the public URL names another host.
        if is_from_asked_host(req.headers()) {
            return refuse(&state, &req, NoSignIn::OtherAddress);
        }
        return Err(ApiError::new(Code::CrossSite));
    }
    let form = unread.form(FORM_MAX).await?;
    let key = form.fields().text("key")?.unwrap_or_default();
    match begin(&state, &req, key.trim()).await {
        Ok(token) => {
            // This page leads on if the browser kept the cookie, and says so if it did not.
            let at = View::new(&state, &req, Section::None);
            let answer = see_other(at.with("/sign-in", &[("to", &wanted(&req)), ("signed-in", "1")]));
            with_cookie(&state, answer, Some(token))
        }
        Err(broker::Error::AuthenticationRequired) => {
            state.broker.spend(Cost::Misses, None, limited(&req, &state)).await?;
            refuse(&state, &req, NoSignIn::WrongKey)
        }
        Err(broker::Error::ScopeMissing(_)) => refuse(&state, &req, NoSignIn::MayNotManage),
        Err(broker::Error::KeyUnusable(Unusable::Expired(_))) => refuse(&state, &req, NoSignIn::Expired),
        Err(broker::Error::KeyUnusable(Unusable::Address(_))) => refuse(&state, &req, NoSignIn::OtherNetwork),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn sign_out(state: Current, req: HttpRequest, sent: Sent) -> Result<HttpResponse, ApiError> {
    state.broker.sign_out(&sent.caller, &sent.token).await?;
    with_cookie(&state, go(&state, &req, "/sign-in", None), None)
}

async fn begin(state: &State, req: &HttpRequest, key: &str) -> Result<SessionToken, broker::Error> {
    let caller = state.broker.authenticate(key, peer::address(req, &state.settings.trusted_proxies)).await?;
    state.broker.spend_on_sign_in(&caller, limited(req, state)).await?;
    state.broker.sign_in(&caller).await
}

fn with_cookie(state: &State, mut answer: HttpResponse, token: Option<SessionToken>) -> Result<HttpResponse, ApiError> {
    let (base, is_secure) = (state.settings.base_path(), state.settings.is_console_secure());
    let cookie = cookies::set_session(token, base, is_secure).map_err(ApiError::internal)?;
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(answer)
}

/// The page that was asked for before the sign-in, behind `/console`; empty for the overview. Whatever the address says
/// stays on this host.
fn wanted(req: &HttpRequest) -> String {
    let to = Query::new(req.query_string()).text_if_readable("to").unwrap_or_default();
    let is_page = to.starts_with('/') && to.bytes().all(|byte| byte.is_ascii_graphic()) && !to.contains("..");
    if is_page { to } else { String::new() }
}

fn refuse(state: &State, req: &HttpRequest, why: NoSignIn) -> Result<HttpResponse, ApiError> {
    page(state, req, Some(why), StatusCode::FORBIDDEN)
}

fn page(state: &State, req: &HttpRequest, why: Option<NoSignIn>, status: StatusCode) -> Result<HttpResponse, ApiError> {
    let at = &View::new(state, req, Section::None);
    let is_elsewhere = why == Some(NoSignIn::OtherAddress);
    let address = is_elsewhere.then(|| format!("{}/console", state.settings.public_url));
    let page = SignIn { frame: &at.frame, at, alert: why.map(at.words.no_sign_in), address };
    at.answer(status, &page)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn page(at: &View<'_>, text: &str) -> String {
        SignIn { frame: &at.frame, at, alert: Some(""), address: Some(format!("https://{text}")) }.render().unwrap()
    }
}
