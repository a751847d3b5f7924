//! Sessions on an account's server: begins one with an app password, refreshes it, ends it.
//!
//! A password is sent once and never retried, because each attempt counts against the account. A session that turns out
//! to be useless is ended again.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::did::Did;
use super::document::Document;
use super::error::{AccountState, Error, Trouble};
use super::locate::Located;
use super::token::Claims;
use super::{Engine, measured, refusal};
use crate::domain::failure::Failure;
use crate::domain::grant::{IssuedTokens, TokenSet};
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::time::Timestamp;
use crate::outbound::{self, Authorization, Body, Request, objects_in, read_json, wipe};
use crate::platforms::{bluesky, token};

/// Lifetime of an access token that does not name one: the reference server's.
const ACCESS_LASTS: Duration = Duration::from_hours(2);

/// Time limit for ending a useless session.
const END_WITHIN: Duration = Duration::from_secs(3);

/// A refreshed session.
#[derive(Debug)]
pub struct RefreshedSession {
    /// Names the server that hosts the account now.
    pub issued: IssuedTokens,
    /// The reason why the account cannot be used, although its session goes on.
    pub inactive: Option<AccountState>,
}

/// A server's answer to a new or a refreshed session.
struct Begun {
    access: SecretString,
    refresh: SecretString,
    did: String,
    active: Option<bool>,
    status: Option<String>,
    did_doc: Option<Value>,
}

impl Begun {
    /// `None` when the answer is no session, or several. What is around it is ignored.
    fn read(body: &[u8]) -> Option<Self> {
        let mut objects = read_json(body).map_or_else(|| objects_in(body), |answer| vec![answer]);
        let mut begun: Vec<Self> = objects.iter().filter_map(Self::of).collect();
        objects.iter_mut().for_each(wipe);
        begun.pop().filter(|_| begun.is_empty())
    }

    fn of(answer: &Value) -> Option<Self> {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        let begun = token(answer.get("accessJwt")).zip(token(answer.get("refreshJwt"))).zip(text("did"));
        begun.map(|((access, refresh), did)| Self {
            access,
            refresh,
            did,
            active: answer.get("active").and_then(|active| active.as_bool().or_else(|| active.as_str()?.parse().ok())),
            status: text("status"),
            did_doc: answer.get("didDoc").cloned(),
        })
    }

    fn inactive(&self) -> Option<AccountState> {
        let state = AccountState::named(self.status.as_deref());
        // Where the server does not say, its reason does.
        let is_active = self.active.unwrap_or(state == AccountState::Unavailable);
        (!is_active).then_some(state)
    }
}

impl Engine {
    /// Begins a session on the server of an identity, with an app password. Returns its tokens.
    ///
    /// # Errors
    ///
    /// There is no usable session. A useless one has been ended, if its server allowed it.
    pub async fn create_session(&self, located: &Located, password: &SecretString) -> Result<IssuedTokens, Error> {
        if is_of_bluesky(&located.service_url) && !looks_like_app_password(password) {
            // App passwords there have one form. Any other password is the account's own and must not be sent.
            return Err(Error::AppPasswordRequired);
        }
        let sent_at = self.clock.now();
        let url = method(&located.service_url, "com.atproto.server.createSession")
            .ok_or(Error::PdsUnreachable(Trouble::Unreadable))?;
        let body = Body::Json(credentials(located.did.as_str(), password));
        let request = Request::post(url, Authorization::None, body);
        let answer = measured("session", self.guard.send_once(request)).await.map_err(no_answer)?;
        if !answer.is_success() {
            return Err(refusal::of_new_session(&answer));
        }
        let begun = Begun::read(&answer.body).ok_or(Error::PdsUnreachable(Trouble::Unreadable))?;
        let inactive = begun.inactive();
        let (access, refresh) = (begun.access, begun.refresh);
        let claims = Claims::of(&access);
        let useless = if begun.did != located.did.as_str() {
            Some(Error::DidMismatch)
        } else if let Some(state) = inactive {
            Some(Error::AccountInactive(state))
        } else {
            refused_scope(claims.scope.as_deref())
        };
        if let Some(useless) = useless {
            self.abandon(&located.service_url, &refresh).await;
            return Err(useless);
        }
        Ok(issued(&located.service_url, access, refresh, claims, sent_at))
    }

    /// Asks for the next tokens of a session, once. Returns the body of a success as it came: store it before
    /// [`Engine::read_session`] reads it. For two hours, a server accepts the same refresh token again and answers with
    /// the same successor.
    ///
    /// # Errors
    ///
    /// The server refused or did not answer.
    pub async fn refresh_session(
        &self,
        service_url: &Url,
        refresh_token: &SecretString,
    ) -> Result<Zeroizing<Vec<u8>>, PlatformError> {
        self.with_refresh_token(Step::Refresh, service_url, "com.atproto.server.refreshSession", refresh_token).await
    }

    /// Reads the answer to a refresh of the session of `did`, which was sent to `service_url` at `sent_at`.
    ///
    /// # Errors
    ///
    /// There is no session in it, or another account's.
    pub fn read_session(
        &self,
        did: &str,
        service_url: &Url,
        answer: &[u8],
        sent_at: Timestamp,
    ) -> Result<RefreshedSession, PlatformError> {
        let failed = |failure| failed(Step::Refresh, failure).in_answer();
        let begun = Begun::read(answer).ok_or_else(|| {
            if outbound::is_cut_off(answer) {
                return PlatformError::cut_off(bluesky::NAME, Step::Refresh);
            }
            PlatformError { is_page: outbound::is_page(answer), ..failed(Failure::PlatformAnswerUnreadable) }
        })?;
        if begun.did != did {
            return Err(failed(Failure::RefreshRejected).caused_by("the account's server answered for another account"));
        }
        let inactive = begun.inactive();
        let moved = begun.did_doc.as_ref().and_then(|document| self.server_of(did, document));
        let (access, refresh) = (begun.access, begun.refresh);
        let claims = Claims::of(&access);
        let service_url = moved.as_ref().unwrap_or(service_url);
        Ok(RefreshedSession { issued: issued(service_url, access, refresh, claims, sent_at), inactive })
    }

    /// The server in the account's document, because accounts move. `None` when the guard refuses it or there is none.
    fn server_of(&self, did: &str, document: &Value) -> Option<Url> {
        let document = Document::read(&Did::parse(did)?, document, self.guard.allows_private_networks()).ok()?;
        self.guard.check(&document.service_url).ok()?;
        Some(document.service_url)
    }

    /// Calls a method, once, with the refresh token instead of the access token. Returns the body of a success.
    async fn with_refresh_token(
        &self,
        step: Step,
        service_url: &Url,
        name: &str,
        refresh_token: &SecretString,
    ) -> Result<Zeroizing<Vec<u8>>, PlatformError> {
        let url = method(service_url, name).ok_or_else(|| failed(step, Failure::PlatformAnswerUnreadable))?;
        let request = Request::post(url, Authorization::Bearer(refresh_token.clone()), Body::Empty);
        let answer = measured(step.into_str(), self.guard.send_once(request)).await;
        // A confirmation that was cut off is none.
        let answer = answer.or_else(|error| if step == Step::Refresh { error.answer() } else { Err(error) });
        let answer = answer.map_err(|error| error.at(bluesky::NAME, step))?;
        if answer.is_success() { Ok(answer.body) } else { Err(refusal::of_session(step, &answer)) }
    }

    /// Ends a session that is not kept, in one short attempt.
    pub async fn abandon(&self, service_url: &Url, refresh_token: &SecretString) {
        let ended = tokio::time::timeout(END_WITHIN, self.delete_session(service_url, refresh_token)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("cannot end a session that is not kept: it ends when it expires");
        }
    }

    /// Ends a session, and with it the refresh token.
    ///
    /// # Errors
    ///
    /// The server did not confirm.
    pub async fn delete_session(&self, service_url: &Url, refresh_token: &SecretString) -> Result<(), PlatformError> {
        let method = "com.atproto.server.deleteSession";
        let step = Step::Revocation;
        let body = self.with_refresh_token(step, service_url, method, refresh_token).await?;
        // A proxy's page confirms nothing.
        if outbound::is_markup(&body) { Err(failed(step, Failure::PlatformAnswerUnreadable)) } else { Ok(()) }
    }
}

/// The URL of a method of a server.
pub(super) fn method(service_url: &Url, name: &str) -> Option<Url> {
    Url::parse(&format!("{}/xrpc/{name}", service_url.as_str().trim_end_matches('/'))).ok()
}

/// The error of a call without an answer.
fn no_answer(error: outbound::Error) -> Error {
    match error {
        outbound::Error::Refused(refused) => Error::UnsafeHost(refused),
        error => Error::PdsUnreachable(Trouble::NoAnswer(error)),
    }
}

fn issued(
    service_url: &Url,
    access: SecretString,
    refresh: SecretString,
    claims: Claims,
    sent_at: Timestamp,
) -> IssuedTokens {
    IssuedTokens {
        issued_at: sent_at,
        access_expires_at: Some(claims.expires_after(sent_at).unwrap_or_else(|| sent_at.plus(ACCESS_LASTS))),
        refresh_expires_at: Claims::of(&refresh).expires_after(sent_at),
        scopes: Some(claims.scope.into_iter().collect()),
        tokens: TokenSet {
            access_token: access,
            refresh_token: Some(refresh),
            id_token: None,
            token_type: "Bearer".to_owned(),
            service_url: Some(service_url.as_str().trim_end_matches('/').to_owned()),
        },
    }
}

/// The reason why tokens of this scope are useless; `None` when they are usable.
fn refused_scope(scope: Option<&str>) -> Option<Error> {
    match scope {
        Some("com.atproto.access") => Some(Error::AppPasswordRequired),
        Some("com.atproto.appPass" | "com.atproto.appPassPrivileged") => None,
        Some("com.atproto.signupQueued") => Some(Error::AccountInactive(AccountState::Queued)),
        Some("com.atproto.takendown") => Some(Error::AccountInactive(AccountState::TakenDown)),
        Some(_) | None => {
            // Servers may name their scopes as they like.
            tracing::warn!("the access token does not say that it comes from an app password: accepting it");
            None
        }
    }
}

fn failed(step: Step, failure: Failure) -> PlatformError {
    PlatformError::new(bluesky::NAME, step, failure)
}

#[expect(clippy::disallowed_methods, reason = "this is what the password is for")]
fn credentials(identifier: &str, password: &SecretString) -> SecretString {
    SecretString::from(serde_json::json!({"identifier": identifier, "password": password.expose_secret()}).to_string())
}

/// True for the servers that Bluesky runs.
fn is_of_bluesky(service_url: &Url) -> bool {
    match service_url.host() {
        Some(Host::Domain(name)) => name == "bsky.social" || name.ends_with(".host.bsky.network"),
        _ => false,
    }
}

/// True for four groups of four letters and digits, the form of Bluesky's app passwords.
#[expect(clippy::disallowed_methods, reason = "only its form is looked at")]
fn looks_like_app_password(password: &SecretString) -> bool {
    let mut groups = password.expose_secret().split('-');
    let is_group = |group: &str| group.len() == 4 && group.bytes().all(|b| b.is_ascii_alphanumeric());
    groups.by_ref().take(4).filter(|group| is_group(group)).count() == 4 && groups.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_tell_an_app_password_from_the_accounts_own() {
        assert!(matches!(refused_scope(Some("com.atproto.access")), Some(Error::AppPasswordRequired)));
        for taken in [Some("com.atproto.appPass"), Some("com.atproto.appPassPrivileged"), Some("new"), None] {
            assert!(refused_scope(taken).is_none(), "{taken:?}");
        }
        for unusable in ["com.atproto.takendown", "com.atproto.signupQueued"] {
            assert!(matches!(refused_scope(Some(unusable)), Some(Error::AccountInactive(_))), "{unusable}");
        }
    }

    #[test]
    fn a_session_is_read_where_something_is_around_it() {
        let session = r#"{"accessJwt":"a","refreshJwt":"r","did":"did:plc:x"}"#;
        for body in [session.to_owned(), format!("{session}\0"), format!("notice\n{session}\n{{}}")] {
            assert_eq!(Begun::read(body.as_bytes()).map(|begun| begun.did).as_deref(), Some("did:plc:x"), "{body}");
        }
        for body in [format!("{session}{session}"), format!("{session}{{"), format!("<html>{session}")] {
            assert!(Begun::read(body.as_bytes()).is_none(), "{body}");
        }
    }

    #[test]
    fn an_account_is_inactive_also_where_only_its_status_says_so() {
        for (members, expected) in [
            ("", None),
            (r#","active":true"#, None),
            (r#","active":true,"status":"suspended""#, None),
            (r#","status":"new""#, None),
            (r#","active":false"#, Some(AccountState::Unavailable)),
            (r#","active":false,"status":"takendown""#, Some(AccountState::TakenDown)),
            (r#","active":"false","status":"suspended""#, Some(AccountState::Suspended)),
            (r#","status":"deactivated""#, Some(AccountState::Deactivated)),
        ] {
            let body = format!(r#"{{"accessJwt":"a","refreshJwt":"r","did":"did:plc:x"{members}}}"#);
            assert_eq!(Begun::read(body.as_bytes()).unwrap().inactive(), expected, "{members}");
        }
    }

    #[test]
    fn app_passwords_of_blueskys_servers_have_one_form() {
        for (url, is) in [
            ("https://bsky.social", true),
            ("https://amanita.us-east.host.bsky.network", true),
            ("https://host.bsky.network.evil.example", false),
            ("https://evilbsky.social", false),
            ("https://pds.example", false),
        ] {
            assert_eq!(is_of_bluesky(&Url::parse(url).unwrap()), is, "{url}");
        }
        let looks = |password: &str| looks_like_app_password(&SecretString::from(password));
        assert!(looks("abcd-efgh-2345-mnop"));
        for other in
            ["", "hunter2", "abcd-efgh-2345", "abcd-efgh-2345-mnop-qrst", "abcd-efgh-2345-mno", "a b d-efgh-2345-mnop"]
        {
            assert!(!looks(other), "{other}");
        }
    }

    #[test]
    fn a_method_is_below_the_servers_url() {
        let at = |url: &str| method(&Url::parse(url).unwrap(), "a.b").map(String::from);
        assert_eq!(at("https://pds.host").as_deref(), Some("https://pds.host/xrpc/a.b"));
        assert_eq!(at("http://127.0.0.1:9/bluesky/").as_deref(), Some("http://127.0.0.1:9/bluesky/xrpc/a.b"));
    }
}
