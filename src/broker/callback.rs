//! Matches a callback to its flow, lets exactly one attempt finish it, and answers every repeat with the same result.
//!
//! A browser repeats itself: it reloads, prerenders, sends twice. The first callback of a flow starts the
//! [exchange](super::exchange); callbacks that come meanwhile wait for it, and later ones find its outcome in the
//! flow's row.

use secrecy::{ExposeSecret, SecretString};

use super::begin::state_digest;
use super::error::CallbackRefusal;
use super::{Broker, Error};
use crate::domain::failure::Failure;
use crate::domain::flow::{Flow, FlowStage, Outcome};
use crate::domain::id::IntegrationId;
use crate::domain::integration::Integration;
use crate::domain::redirect::RedirectUri;
use crate::domain::secret::Digest256;
use crate::domain::selection::Findings;
use crate::store::{flows, integrations, profiles, selections};

/// Path of the hosted selection page; the selection token follows.
const SELECTION_PAGE: &str = "/connect/selection/";

/// Parameters that a platform sent the browser back with, each at most once.
#[derive(Debug, Default)]
pub struct Callback {
    pub platform: String,
    pub state: Option<SecretString>,
    pub code: Option<SecretString>,
    pub error: Option<String>,
    pub error_reason: Option<String>,
    /// The issuer (RFC 9207), where the platform sends it.
    pub issuer: Option<String>,
}

/// A finished connection: everything needed to redirect the browser or to show a page.
#[derive(Debug, Clone)]
pub struct Finished {
    pub platform: String,
    /// The platform's name for people.
    pub label: String,
    pub profile_id: Option<String>,
    pub profile_name: Option<String>,
    pub redirect_uri: Option<RedirectUri>,
    pub cancel_redirect_uri: Option<RedirectUri>,
    pub ending: Ending,
}

#[derive(Debug, Clone)]
pub enum Ending {
    Cancelled,
    Connected(Vec<Integration>),
    Failed {
        failure: Failure,
        /// Where accounts were looked for, when none can be connected.
        findings: Option<Findings>,
    },
    /// The person must choose accounts.
    SelectionRequired {
        token: SecretString,
        /// The hosted selection page; the token follows.
        page: String,
        /// True when the caller shows a selection page of its own.
        headless: bool,
    },
}

impl Finished {
    /// Where the browser goes next; `None`: to one of our pages. Carries ids and codes, and of all tokens only a
    /// selection's.
    #[expect(clippy::disallowed_methods, reason = "the person chooses with the selection token, so it leads the way")]
    #[must_use]
    pub fn destination(&self) -> Option<String> {
        let platform = ("platform", self.platform.as_str());
        match &self.ending {
            Ending::Cancelled => {
                let uri = self.cancel_redirect_uri.as_ref().or(self.redirect_uri.as_ref())?;
                Some(uri.with(&[("status", "cancelled"), platform, ("error", "access_denied")]))
            }
            Ending::Connected(integrations) => {
                let ids =
                    integrations.iter().map(|integration| integration.id.to_string()).collect::<Vec<_>>().join(",");
                let mut parameters = vec![("status", "success"), platform, ("integrationId", ids.as_str())];
                if let Some(profile_id) = &self.profile_id {
                    parameters.push(("profileId", profile_id));
                }
                Some(self.redirect_uri.as_ref()?.with(&parameters))
            }
            Ending::Failed { failure, .. } => {
                Some(self.redirect_uri.as_ref()?.with(&[("status", "error"), platform, ("error", failure.code())]))
            }
            Ending::SelectionRequired { token, page, headless } => {
                let token = token.expose_secret();
                Some(match &self.redirect_uri {
                    Some(uri) if *headless => {
                        uri.with(&[("status", "selection_required"), platform, ("selectionToken", token)])
                    }
                    _ => format!("{page}{token}"),
                })
            }
        }
    }
}

/// The message of a callback. An error beside a code is an error.
pub(super) enum Answer {
    Code(SecretString),
    /// The person denied the consent.
    Denied,
    /// The platform refused, with its own code reduced to harmless characters.
    Refused(String),
}

impl Answer {
    fn of(callback: &Callback) -> Option<Self> {
        let present = |text: &&String| !text.is_empty();
        if let Some(error) = callback.error.as_ref().filter(present) {
            // LinkedIn has two codes of its own; Threads documents a misspelt one but gives the reason.
            let denied =
                matches!(error.as_str(), "access_denied" | "user_cancelled_authorize" | "user_cancelled_login")
                    || callback.error_reason.as_deref() == Some("user_denied");
            return Some(if denied {
                Self::Denied
            } else {
                Self::Refused(
                    error
                        .chars()
                        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
                        .take(64)
                        .collect(),
                )
            });
        }
        callback.code.as_ref().and_then(clean_code).map(Self::Code)
    }

    /// Digest that tells a reload from a different answer under the same state.
    fn fingerprint(&self) -> Digest256 {
        match self {
            Self::Code(code) => fingerprint("code", code),
            Self::Denied => Digest256::of(b"denied"),
            Self::Refused(_) => Digest256::of(b"refused"),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "hashing is how a code is recognised without being kept")]
fn fingerprint(kind: &str, code: &SecretString) -> Digest256 {
    Digest256::of(format!("{kind}:{}", code.expose_secret()).as_bytes())
}

/// The code without the fragment `#_` that Meta's platforms append and that something on the way may take for part of
/// it.
#[expect(clippy::disallowed_methods, reason = "cutting a suffix takes a look at it")]
fn clean_code(code: &SecretString) -> Option<SecretString> {
    let code = code.expose_secret();
    let code = code.strip_suffix("#_").unwrap_or(code);
    (!code.is_empty()).then(|| SecretString::from(code))
}

impl Broker {
    /// Finishes the flow that the callback belongs to. A repeated callback gets the same answer, without asking the
    /// platform again. `Error::CallbackRefused` when it belongs to none.
    pub async fn finish_connect(&self, callback: Callback) -> Result<Finished, Error> {
        let refused = |why| Err(Error::CallbackRefused(why));
        let Some(state) = &callback.state else { return refused(CallbackRefusal::UnknownState) };
        let digest = state_digest(state);
        let Some(flow) = self.store.read(move |db| flows::find_by_state(db, &digest)).await? else {
            return refused(CallbackRefusal::UnknownState);
        };
        if flow.platform != callback.platform {
            return refused(CallbackRefusal::OtherPlatform);
        }
        let Some(platform) = self.upstream.platforms().find(&flow.platform) else {
            return refused(CallbackRefusal::OtherPlatform);
        };
        if self.clock.now() >= flow.expires_at {
            return refused(CallbackRefusal::Expired);
        }
        if let (Some(given), Some(expected)) = (&callback.issuer, &platform.platform.issuer)
            && given != expected
        {
            return refused(CallbackRefusal::OtherIssuer);
        }
        let Some(answer) = Answer::of(&callback) else { return refused(CallbackRefusal::Malformed) };
        let fingerprint = answer.fingerprint();

        let mut flow = flow;
        if flow.stage.outcome().is_none() {
            let (id, broker) = (flow.id, self.clone());
            let work = move || async move { broker.exchange(flow, answer, fingerprint).await };
            self.exchanges.start(&self.tasks, id, work).result().await;
            let Some(completed) = self.store.read(move |db| flows::find_by_state(db, &digest)).await? else {
                return refused(CallbackRefusal::Expired);
            };
            flow = completed;
        }
        match flow.stage.consumed_by() {
            Some(consumed_by) if consumed_by != fingerprint => refused(CallbackRefusal::AlreadyUsed),
            _ => self.finished(flow).await,
        }
    }

    /// The ending of a flow. A flow that was consumed and has no outcome was cut off by a stop.
    pub(super) async fn finished(&self, flow: Flow) -> Result<Finished, Error> {
        let outcome = match flow.stage {
            FlowStage::Pending { .. } => Outcome::failed(Failure::StorageFailed),
            FlowStage::Answered { .. } | FlowStage::Consumed { .. } => Outcome::failed(Failure::Interrupted),
            FlowStage::Ended { outcome, .. } => outcome,
        };
        let (project, flow_id, profile_id) = (flow.project_id, flow.id, flow.profile_id);
        let now = self.clock.now();
        let (profile_name, ending) = self
            .store
            .read(move |db| {
                let profile_name = profile_id.map(|id| profiles::find_name(db, project, id)).transpose()?.flatten();
                let ending = match outcome {
                    Outcome::Cancelled => Ok(Ending::Cancelled),
                    Outcome::Connected { integration_ids } => {
                        let ids = integration_ids.iter().filter_map(|id| id.parse::<IntegrationId>().ok());
                        let mut connected = Vec::new();
                        for id in ids {
                            connected.extend(integrations::find(db, project, id)?.map(|found| found.judged(now)));
                        }
                        Ok(Ending::Connected(connected))
                    }
                    Outcome::Failed { failure, findings } => Ok(Ending::Failed { failure, findings }),
                    Outcome::SelectionRequired => Err(selections::find_by_flow(db, project, flow_id)?),
                };
                Ok::<_, Error>((profile_name, ending))
            })
            .await?;
        let ending = match ending {
            Ok(ending) => ending,
            Err(Some(selection)) if selection.is_open(self.clock.now()) => Ending::SelectionRequired {
                token: self.open_token(&selection)?,
                page: format!("{}{SELECTION_PAGE}", self.settings.public_url),
                headless: flow.headless,
            },
            Err(_) => return Err(Error::CallbackRefused(CallbackRefusal::Expired)),
        };
        Ok(Finished {
            label: self.label(&flow.platform),
            platform: flow.platform,
            profile_id: profile_id.map(|id| id.to_string()),
            profile_name,
            redirect_uri: self.checked_again(flow.redirect_uri),
            cancel_redirect_uri: self.checked_again(flow.cancel_redirect_uri),
            ending,
        })
    }

    /// The flow's redirect, if it is still allowed: the operator may have changed the list since it began.
    pub(super) fn checked_again(&self, uri: Option<String>) -> Option<RedirectUri> {
        uri.and_then(|uri| self.settings.redirects.check(&uri).ok())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "tests look at what they made")]

    use super::*;

    fn callback(error: Option<&str>, reason: Option<&str>, code: Option<&str>) -> Callback {
        Callback {
            error: error.map(str::to_owned),
            error_reason: reason.map(str::to_owned),
            code: code.map(SecretString::from),
            ..Callback::default()
        }
    }

    #[test]
    fn a_denial_is_told_from_a_refusal() {
        for (error, reason) in [
            ("access_denied", None),
            ("user_cancelled_login", None),
            ("user_cancelled_authorize", None),
            ("acceess_denied", Some("user_denied")),
        ] {
            assert!(matches!(Answer::of(&callback(Some(error), reason, None)), Some(Answer::Denied)), "{error}");
        }
        for error in ["invalid_scope", "server_error", "unauthorized_scope_error", "<script>alert(1)</script>"] {
            let Some(Answer::Refused(code)) = Answer::of(&callback(Some(error), None, Some("code"))) else {
                panic!("{error}")
            };
            assert!(code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'), "{code}");
        }
    }

    #[test]
    fn nothing_is_no_answer_and_the_fragment_mark_is_cut_off() {
        assert!(Answer::of(&callback(None, None, None)).is_none());
        assert!(Answer::of(&callback(Some(""), None, Some(""))).is_none());
        assert!(Answer::of(&callback(None, None, Some("#_"))).is_none());
        let Some(Answer::Code(code)) = Answer::of(&callback(None, None, Some("AQ#_"))) else { panic!() };
        assert_eq!(code.expose_secret(), "AQ");
    }
}
