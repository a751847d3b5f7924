//! A client with several secrets, so that one is replaced without a gap.
//!
//! Invariant: the next secret is tried only after the platform refused the client itself, which it does before it looks
//! at a code or a token: nothing is spent twice. At a refresh, a refusal that may blame client or grant counts as well:
//! it spent nothing either, and it stays the answer unless another secret is taken. The secret that was taken last is
//! tried first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use secrecy::{ExposeSecret as _, SecretString};

use super::OauthClient;
use super::error_answer::ErrorAnswer;
use super::tokens::{self, Nested, NotTokens};
use crate::domain::failure::Failure;
use crate::domain::platform_error::{PlatformError, Step};
use crate::domain::secret::Digest256;
use crate::outbound::{self, Answer, Request};

/// Digests of the secrets that were taken last, by platform and client id. Only clients with several are in it: one
/// that has a single secret again is forgotten with its next call.
#[derive(Debug, Default, Clone)]
pub(super) struct Accepted(Arc<Mutex<HashMap<(String, String), Digest256>>>);

impl OauthClient<'_> {
    /// Sends a request that proves who the client is, under each of its secrets until the platform does not refuse the
    /// client. `request` makes it for the client that it gets.
    pub(super) async fn send_as_client(
        &self,
        step: Step,
        request: impl Fn(&OauthClient<'_>) -> Result<Request, PlatformError>,
    ) -> Result<Result<Answer, outbound::Error>, PlatformError> {
        let secrets = self.secrets();
        let Some((first, others)) = secrets.split_first() else { return Ok(self.send(step, request(self)?).await) };
        let client = self.with(first);
        let mut answer = client.send(step, request(&client)?).await;
        if others.is_empty() {
            self.accepted().remove(&self.key());
            return Ok(answer);
        }
        let (mut taken, mut refusal) = (first, self.refusal_of_client(step, &answer));
        for secret in others {
            let Some(before) = refusal else { break };
            tracing::warn!(platform.name = %self.platform.name, "a secret of the client was refused: trying the next one");
            let client = self.with(secret);
            let next = client.send(step, request(&client)?).await;
            refusal = self.refusal_of_client(step, &next);
            if refusal.is_some() && before == Failure::AppOrGrantRejected {
                // That another secret is wrong says nothing of the grant, which the answer before may blame.
                refusal = Some(before);
            } else {
                (taken, answer) = (secret, next);
            }
        }
        if refusal.is_none() {
            self.remember(taken, &answer);
        }
        Ok(answer)
    }

    /// The client under the secret that was taken last.
    pub(super) fn preferred(&self) -> OauthClient<'_> {
        self.secrets().first().map_or_else(|| self.clone(), |secret| self.with(secret))
    }

    /// All secrets, beginning with the one that was taken last.
    fn secrets(&self) -> Vec<SecretString> {
        let mut secrets = vec![self.credentials.client_secret.clone()];
        secrets.extend(self.credentials.older_secrets.iter().cloned());
        if secrets.len() > 1
            && let Some(accepted) = self.accepted().get(&self.key())
            && let Some(at) = secrets.iter().position(|secret| digest(secret) == *accepted)
        {
            secrets.swap(0, at);
        }
        secrets
    }

    fn with(&self, secret: &SecretString) -> OauthClient<'_> {
        let mut client = self.clone();
        client.credentials.client_secret = secret.clone();
        client
    }

    fn remember(&self, secret: &SecretString, answer: &Result<Answer, outbound::Error>) {
        if answer.as_ref().is_ok_and(Answer::is_success) {
            self.accepted().insert(self.key(), digest(secret));
        }
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, HashMap<(String, String), Digest256>> {
        self.engine.accepted.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self) -> (String, String) {
        (self.platform.name.to_string(), self.credentials.client_id.clone())
    }

    /// The failure, where it blames the client's credentials, or may blame them at a refresh.
    fn refusal_of_client(&self, step: Step, answer: &Result<Answer, outbound::Error>) -> Option<Failure> {
        let answer = answer.as_ref().ok()?;
        let failure = self.error_in(answer)?.failure(&self.platform, step, answer.status);
        let is_doubtful = step == Step::Refresh && failure == Failure::AppOrGrantRejected;
        (is_doubtful || failure == Failure::CredentialsRejected).then_some(failure)
    }

    /// The error that a token endpoint answers with, if it is one.
    pub(super) fn error_in(&self, answer: &Answer) -> Option<ErrorAnswer> {
        if !answer.is_success() {
            return Some(ErrorAnswer::of_token_endpoint(answer));
        }
        // TikTok sends errors with status 200.
        match tokens::read(&answer.body, self.engine.clock.now(), Nested::of(&self.platform, Step::Refresh), None) {
            Err(NotTokens::Error(error)) => Some(ErrorAnswer::read(&error, &answer.sent)),
            Ok(_) | Err(NotTokens::Unreadable) => None,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "hashing is how a secret is recognised without being kept")]
fn digest(secret: &SecretString) -> Digest256 {
    Digest256::of(secret.expose_secret().as_bytes())
}
