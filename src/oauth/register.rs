//! Registers an app at a server that a person named, as Mastodon has it (`POST /api/v1/apps`), and asks whether a
//! server still knows one.
//!
//! Invariant: only an explicit `invalid_client` means that a server has lost an app. Whatever else it answers, the app
//! that is known is used.

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::OauthClient;
use super::error_answer::{ErrorAnswer, token_refusal};
use super::identity::endpoint;
use crate::domain::bounds;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Authorization, Body, Request};
use crate::platforms::{Credentials, Server, ServerFromUser, UNKNOWN_CLIENT};

/// What a server is told of the app.
#[derive(Debug)]
pub struct AppToRegister<'a> {
    /// Name for people.
    pub name: &'a str,
    pub callback_url: &'a str,
    /// All scopes that a connection may ask for.
    pub scopes: &'a [String],
    pub website: &'a str,
}

/// Why there is no app at a server.
#[derive(Debug, thiserror::Error)]
pub enum Unregistered {
    /// The server did not take the app, or does not answer.
    #[error("the app could not be registered")]
    Failed(#[source] PlatformError),
    /// There is no such server, or it is one of another kind.
    #[error("no server of this kind is there")]
    NotThere(#[source] PlatformError),
}

impl OauthClient<'_> {
    /// Registers an app, once. The client's own credentials are not used.
    ///
    /// # Errors
    ///
    /// The server did not register it.
    pub async fn register(&self, app: &AppToRegister<'_>) -> Result<Credentials, Unregistered> {
        let (platform, step) = (&*self.platform, Step::Registration);
        let unusable = || PlatformError::new(&platform.name, step, Failure::PlatformAnswerUnreadable);
        let (Some(servers), Some(server)) = (&platform.server_from_user, &platform.server) else {
            return Err(Unregistered::Failed(unusable()));
        };
        let request = request(servers, server, app).map_err(|_| Unregistered::NotThere(unusable()))?;
        let answer = match self.send(step, request).await {
            Ok(answer) => answer,
            Err(error) => {
                let is_without_host = error.is_without_host();
                let error = error.at(&platform.name, step);
                return Err(if is_without_host { Unregistered::NotThere(error) } else { Unregistered::Failed(error) });
            }
        };
        if !answer.is_success() {
            let error = token_refusal(platform, step, &answer);
            let is_of_other_kind = matches!(answer.status, 300..=399 | 404 | 405 | 410);
            return Err(if is_of_other_kind { Unregistered::NotThere(error) } else { Unregistered::Failed(error) });
        }
        let status = answer.status;
        read(&answer.json()).ok_or_else(|| Unregistered::NotThere(unusable().answered(status, None)))
    }

    /// False when the server says explicitly that it does not know the client. Also keeps the app alive at servers that
    /// delete apps without tokens (Mastodon 4.2): <https://docs.joinmastodon.org/methods/apps/#create>.
    pub async fn is_known(&self, scopes: &[String]) -> bool {
        let (platform, step) = (&*self.platform, Step::Registration);
        let mut fields =
            vec![("grant_type", "client_credentials".into()), ("scope", SecretString::from(scopes.join(" ")))];
        let authorization = self.authenticate(step, &mut fields);
        let (Ok(authorization), Ok(url)) = (authorization, endpoint(platform, step, &platform.token_url)) else {
            return true;
        };
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        match self.send(step, Request::post(url, authorization, Body::Form(fields))).await {
            Ok(answer) if matches!(answer.status, 400 | 401) => {
                ErrorAnswer::read(&answer.json(), &answer.sent).code.as_deref() != Some(UNKNOWN_CLIENT)
            }
            _ => true,
        }
    }
}

fn request(servers: &ServerFromUser, server: &Server, app: &AppToRegister<'_>) -> Result<Request, url::ParseError> {
    let fields = [
        ("client_name", app.name.to_owned()),
        ("redirect_uris", app.callback_url.to_owned()),
        ("scopes", app.scopes.join(" ")),
        ("website", app.website.to_owned()),
    ];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect();
    let url = Url::parse(&format!("{}{}", server.origin(), servers.register_path))?;
    Ok(Request::post(url, Authorization::None, Body::Form(fields)))
}

/// The credentials in the answer, within bounds.
fn read(answer: &Value) -> Option<Credentials> {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let client_id = text("client_id").filter(|id| bounds::is_id(id) && bounds::is_token(id))?.to_owned();
    let client_secret = text("client_secret").filter(|secret| bounds::is_token(secret)).map(SecretString::from)?;
    Some(Credentials { client_id, client_secret, older_secrets: Vec::new(), private_key: None })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn credentials_are_read_within_bounds() {
        let long = "x".repeat(300);
        for (answer, client_id) in [
            (json!({"id": "563419", "client_id": "TWhM-tNS", "client_secret": "ZEaFUFmF"}), Some("TWhM-tNS")),
            (json!({"client_id": "TWhM-tNS"}), None),
            (json!({"client_id": 7, "client_secret": "s"}), None),
            (json!({"client_id": "", "client_secret": "s"}), None),
            (json!({"client_id": "a b", "client_secret": "s"}), None),
            (json!({"client_id": "a", "client_secret": "a\nb"}), None),
            (json!({"client_id": long, "client_secret": "s"}), None),
            (json!(["client_id"]), None),
            (Value::Null, None),
        ] {
            assert_eq!(read(&answer).map(|read| read.client_id).as_deref(), client_id, "{answer}");
        }
    }
}
