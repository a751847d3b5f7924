//! A finished connection: everything needed to redirect the browser or to show a page.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::failure::Failure;
use crate::domain::integration::Integration;
use crate::domain::redirect::RedirectUri;
use crate::domain::selection::Findings;

#[derive(Debug, Clone)]
pub struct Finished {
    pub platform: String,
    /// The platform's name for people.
    pub label: String,
    pub profile_id: Option<String>,
    pub profile_name: Option<String>,
    pub redirect_uri: Option<RedirectUri>,
    pub cancel_redirect_uri: Option<RedirectUri>,
    /// True when the browser arrived with a fragment that is the platform's.
    pub has_fragment: bool,
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
    /// The `Location` of a redirect to the [destination](Self::destination). An empty fragment keeps the browser from
    /// adding the platform's, which would reach the app's router.
    #[must_use]
    pub fn location(&self) -> Option<String> {
        let destination = self.destination()?;
        Some(if self.has_fragment && !destination.contains('#') { destination + "#" } else { destination })
    }

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
