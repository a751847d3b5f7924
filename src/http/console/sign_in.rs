//! `/console/sign-in` and `/console/sign-out`: an access key becomes a session, and the session ends.

use actix_web::http::{StatusCode, header};
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
use crate::http::pages::is_from_console;
use crate::http::pages::look::Forms;
use crate::http::pages::words::console::NoSignIn;
use crate::http::request::{FORM_MAX, Unread, cookies, peer};
use crate::http::{Current, State};

#[derive(Template)]
#[template(path = "console/sign_in.html")]
struct SignIn<'a> {
    frame: &'a Frame<'a>,
    at: &'a View<'a>,
    /// Why the last attempt failed.
    alert: Option<&'static str>,
}

pub(crate) async fn show(state: Current, req: HttpRequest) -> Result<HttpResponse, ApiError> {
    page(&state, &req, None)
}

pub(crate) async fn submit(state: Current, req: HttpRequest, unread: Unread) -> Result<HttpResponse, ApiError> {
    if !is_from_console(req.headers(), &state.settings) {
        return Err(ApiError::new(Code::CrossSite));
    }
    let form = unread.form(FORM_MAX).await?;
    let key = form.fields().text("key")?.unwrap_or_default();
    match begin(&state, &req, key.trim()).await {
        Ok(token) => with_cookie(&state, go(&state, &req, "", None), Some(token)),
        Err(broker::Error::AuthenticationRequired) => {
            state.broker.spend(Cost::Misses, None, limited(&req, &state))?;
            page(&state, &req, Some(NoSignIn::WrongKey))
        }
        Err(broker::Error::ScopeMissing(_)) => page(&state, &req, Some(NoSignIn::MayNotManage)),
        Err(broker::Error::KeyUnusable(Unusable::Expired(_))) => page(&state, &req, Some(NoSignIn::Expired)),
        Err(broker::Error::KeyUnusable(Unusable::Address(_))) => page(&state, &req, Some(NoSignIn::OtherNetwork)),
        Err(error) => Err(error.into()),
    }
}

pub(crate) async fn sign_out(state: Current, req: HttpRequest, sent: Sent) -> Result<HttpResponse, ApiError> {
    state.broker.sign_out(&sent.caller, &sent.token).await?;
    with_cookie(&state, go(&state, &req, "/sign-in", None), None)
}

async fn begin(state: &State, req: &HttpRequest, key: &str) -> Result<SessionToken, broker::Error> {
    let caller = state.broker.authenticate(key, peer::address(req, &state.settings.trusted_proxies)).await?;
    state.broker.spend(Cost::Writes, Some(&caller), limited(req, state))?;
    state.broker.sign_in(&caller).await
}

fn with_cookie(state: &State, mut answer: HttpResponse, token: Option<SessionToken>) -> Result<HttpResponse, ApiError> {
    let (base, is_secure) = (state.settings.base_path(), state.settings.is_console_secure());
    let cookie = cookies::set_session(token, base, is_secure).map_err(ApiError::internal)?;
    answer.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(answer)
}

fn page(state: &State, req: &HttpRequest, failed: Option<NoSignIn>) -> Result<HttpResponse, ApiError> {
    let at = &View::new(state, req, Section::None);
    let status = failed.map_or(StatusCode::OK, |_| StatusCode::FORBIDDEN);
    let page = SignIn { frame: &at.frame, at, alert: failed.map(at.words.no_sign_in) };
    at.answer(HttpResponse::build(status), &page, Forms::Own)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn page(at: &View<'_>) -> String {
        SignIn { frame: &at.frame, at, alert: Some("") }.render().unwrap()
    }
}
