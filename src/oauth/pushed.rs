//! Pushed authorization requests (RFC 9126): the client sends the parameters to the platform itself, and the browser
//! carries a reference to them.

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::OauthClient;
use super::authorize::{AuthorizeRequest, authorize_url, in_parts};
use super::error_answer::token_refusal;
use super::identity::endpoint;
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::outbound::{Body, Request};

/// Longest accepted reference, in bytes.
const MAX_REFERENCE: usize = 2048;

impl OauthClient<'_> {
    /// The URL to send the person to. Where the platform wants it, the parameters are pushed first, once.
    ///
    /// # Errors
    ///
    /// The platform refused the parameters or did not answer.
    pub async fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> Result<Url, PlatformError> {
        let (platform, step) = (&*self.platform, Step::PushedAuthorization);
        let unusable = || PlatformError::new(&platform.name, step, Failure::PlatformAnswerUnreadable);
        let Some(par_url) = &platform.par_url else {
            return authorize_url(platform, request).map_err(|error| unusable().caused_by(error));
        };
        let (mut base, asked) = in_parts(platform, request).map_err(|error| unusable().caused_by(error))?;
        let url = endpoint(platform, step, par_url)?;
        let pushed = |client: &OauthClient<'_>| {
            let mut credentials = Vec::new();
            let authorization = client.authenticate(step, &mut credentials)?;
            let is_in = |name: &str| credentials.iter().any(|(known, _)| *known == name);
            let asked = asked.iter().filter(|(name, _)| !is_in(name));
            let asked = asked.map(|(name, value)| (name.clone(), SecretString::from(value.as_str())));
            let fields = credentials.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).chain(asked);
            Ok(Request::post(url.clone(), authorization, Body::Form(fields.collect())))
        };
        let answer = self.send_as_client(step, pushed).await?.map_err(|error| error.at(&platform.name, step))?;
        if !answer.is_success() {
            return Err(token_refusal(platform, step, &answer));
        }
        let json = answer.json();
        let reference = json.get("request_uri").and_then(Value::as_str);
        let reference = reference.filter(|reference| (1..=MAX_REFERENCE).contains(&reference.len()));
        let reference = reference.ok_or_else(|| unusable().answered(answer.status, None))?;
        base.query_pairs_mut()
            .append_pair(platform.client_id_name, request.client_id)
            .append_pair("request_uri", reference);
        Ok(base)
    }
}
