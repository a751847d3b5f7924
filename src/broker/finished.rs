//! A finished connection: everything needed to redirect the browser or to show a page.

use secrecy::{ExposeSecret, SecretString};

use crate::domain::failure::Failure;
use crate::domain::id::FlowId;
use crate::domain::integration::Integration;
use crate::domain::redirect::RedirectUri;
use crate::domain::secret::Digest256;
use crate::domain::selection::Findings;

/// Longest addition to a caller's redirect URI, in bytes: servers refuse long request lines. With the fragment, it
/// stays under 2 kB.
const ADDED_MAX: usize = 1998;

#[derive(Debug, Clone)]
pub struct Finished {
    /// Every line of the log about the connection has it. `None` where only the redirect of an expired one is known.
    pub flow_id: Option<FlowId>,
    pub platform: String,
    /// The platform's name for people.
    pub label: String,
    /// The page where the operator manages the app, where it is known.
    pub console: Option<&'static str>,
    /// The permissions that it takes to read whose account it is, for a connection that lacks one.
    pub needed_scopes: Vec<String>,
    /// Name of the project; `None` where only the redirect of an expired connection is known.
    pub project: Option<String>,
    pub profile_id: Option<String>,
    pub profile_name: Option<String>,
    pub redirect_uri: Option<RedirectUri>,
    pub cancel_redirect_uri: Option<RedirectUri>,
    /// Digest of the token of the connect link that it was begun through: its page tells how it ended.
    pub link: Option<Digest256>,
    /// True when the browser arrived with a fragment that is the platform's.
    pub has_fragment: bool,
    /// Shows this ending again for some minutes; `None` where the connection is gone already.
    pub ticket: Option<String>,
    /// True when the same connection may be begun again with the ticket.
    pub may_retry: bool,
    /// True when the account to connect again is not connected any more, so that no attempt can bring it back.
    pub is_account_gone: bool,
    pub ending: Ending,
}

/// Where a person said no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelledAt {
    /// On the broker's page for choosing accounts.
    Choice,
    /// On the page that asks before the platform does.
    Confirmation,
    Platform,
}

#[derive(Debug, Clone)]
pub enum Ending {
    Cancelled {
        at: CancelledAt,
    },
    /// The caller must complete the connection first.
    CompletionRequired {
        flow_id: FlowId,
    },
    Connected {
        /// All that were connected, as it is told for ever after.
        ids: Vec<String>,
        /// Those of them that are still there.
        integrations: Vec<Integration>,
        /// The scopes that the person left out.
        missing_scopes: Vec<String>,
        /// Why further accounts may be missing, where nobody was asked to choose.
        findings: Option<Box<Findings>>,
    },
    Failed {
        failure: Failure,
        /// Where accounts were looked for, when the search did not bring the one to connect.
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
    /// The `Location` of a redirect to the [destination](Self::destination).
    #[must_use]
    pub fn location(&self) -> Option<String> {
        self.destination().map(|destination| self.ending_fragment(destination))
    }

    /// The `Location` of a redirect of the browser that the platform sent. An empty fragment keeps the browser from
    /// adding the platform's, which every further redirect would hand on until it reaches the app's router.
    #[must_use]
    pub fn ending_fragment(&self, location: String) -> String {
        if self.has_fragment && !location.contains('#') { location + "#" } else { location }
    }

    /// The hosted page on which the person chooses, and the selection token for another one. `None` where there is
    /// nothing to choose. Not for logs: both are secret.
    #[expect(clippy::disallowed_methods, reason = "the person chooses with the selection token, so it leads the way")]
    #[must_use]
    pub fn choice(&self) -> Option<(String, String)> {
        let Ending::SelectionRequired { token, page, .. } = &self.ending else { return None };
        let token = token.expose_secret();
        Some((format!("{page}{token}"), token.to_owned()))
    }

    /// True when the browser goes next to the hosted page on which the person chooses.
    #[must_use]
    pub fn leads_to_choice(&self) -> bool {
        self.choice().is_some_and(|(page, _)| self.destination() == Some(page))
    }

    /// Where the browser goes next; `None`: to one of our pages. Carries ids and codes, and of all tokens only a
    /// selection's.
    #[must_use]
    pub fn destination(&self) -> Option<String> {
        let platform = ("platform", self.platform.as_str());
        match &self.ending {
            Ending::Cancelled { .. } => {
                let uri = self.cancel_redirect_uri.as_ref().or(self.redirect_uri.as_ref())?;
                Some(uri.with(&[("status", "cancelled"), platform, ("error", "access_denied")]))
            }
            Ending::CompletionRequired { flow_id } => {
                let uri = self.redirect_uri.as_ref()?;
                Some(uri.with(&[("status", "completion_required"), platform, ("flowId", &flow_id.to_string())]))
            }
            Ending::Connected { ids, .. } => {
                let profile = self.profile_id.as_deref();
                Some(after_success(self.redirect_uri.as_ref()?, &self.platform, profile, ids))
            }
            Ending::Failed { failure, .. } => {
                Some(self.redirect_uri.as_ref()?.with(&[("status", "error"), platform, ("error", failure.code())]))
            }
            Ending::SelectionRequired { headless, .. } => {
                let (page, token) = self.choice()?;
                Some(match &self.redirect_uri {
                    Some(uri) if *headless => {
                        uri.with(&[("status", "selection_required"), platform, ("selectionToken", &token)])
                    }
                    _ => page,
                })
            }
        }
    }
}

/// The redirect after a success. Names as many integrations as fit into [`ADDED_MAX`], and the number of all where that
/// leaves some out.
pub(super) fn after_success(uri: &RedirectUri, platform: &str, profile: Option<&str>, ids: &[String]) -> String {
    let with = |named: &[String], count: Option<&str>| {
        let named = named.join(",");
        let mut parameters = vec![("status", "success"), ("platform", platform), ("integrationId", named.as_str())];
        parameters.extend(profile.map(|id| ("profileId", id)));
        parameters.extend(count.map(|count| ("integrationCount", count)));
        uri.with(&parameters)
    };
    let fits = |text: &String| text.len() <= uri.as_str().len() + ADDED_MAX;
    let (all, count) = (with(ids, None), ids.len().to_string());
    if fits(&all) {
        return all;
    }
    let first = |named: usize| with(ids.get(..named).unwrap_or_default(), Some(&count));
    let fewer: Vec<usize> = (1..ids.len()).collect();
    first(fewer.partition_point(|named| fits(&first(*named))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::redirect::RedirectPolicy;

    #[test]
    fn a_redirect_names_as_many_accounts_as_fit() {
        let uri = RedirectPolicy::default().check("https://app.example/back?nonce=1").unwrap();
        for profile_id in [None, Some(format!("prof_{}", "b".repeat(32)))] {
            let mut cut_before = false;
            for count in (0..60).chain([450, 10_000]) {
                let ids: Vec<String> = (0..count).map(|number| format!("int_{number:032x}")).collect();
                let location = after_success(&uri, "facebook", profile_id.as_deref(), &ids);
                let added = location.len() - uri.as_str().len();
                assert!(added < 2000, "{count}: {added}");
                let query: std::collections::BTreeMap<String, String> =
                    url::Url::parse(&location).unwrap().query_pairs().into_owned().collect();
                assert_eq!(query.get("profileId"), profile_id.as_ref());
                let named: Vec<&str> = query["integrationId"].split(',').filter(|id| !id.is_empty()).collect();
                assert_eq!(named, ids[..named.len()], "the first ones, in order");
                let is_cut = named.len() < count;
                assert_eq!(query.get("integrationCount"), is_cut.then(|| count.to_string()).as_ref(), "{count}");
                assert!(!is_cut || added + "%2C".len() + ids[0].len() >= ADDED_MAX - "&integrationCount=10000".len());
                assert!(is_cut || !cut_before, "{count}");
                cut_before = is_cut;
            }
            assert!(cut_before);
        }
    }
}
