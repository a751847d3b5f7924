//! Responses of the selection operations.

use serde::Serialize;
use utoipa::ToSchema;

use crate::broker::finished::{Ending, Finished};
use crate::broker::selection::{Choice, Choices};
use crate::domain::account::{AccountKind, RouteReport, UnusableAccount};
use crate::http::api::integrations::IntegrationView;
use crate::http::api::web_url;

/// The accounts that a consent covers, to choose from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Selection)]
pub(crate) struct SelectionView {
    success: bool,
    #[schema(example = "facebook")]
    platform: String,
    /// How long the choice can still be made.
    #[schema(minimum = 0)]
    expires_in_seconds: u64,
    accounts: Vec<ChoiceView>,
    /// Accounts that were seen and cannot be connected, with the reason: "why is my Page missing?".
    unusable: Vec<UnusableView>,
    /// How accounts were looked for.
    routes: Vec<RouteView>,
    /// The OAuth scopes that were granted.
    scopes: Vec<String>,
    /// The OAuth scopes that were asked for and not granted; empty where the platform does not say what it granted.
    missing_scopes: Vec<String>,
}

/// An account to choose.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SelectionAccount)]
pub(crate) struct ChoiceView {
    /// What `selectedAccountIds` takes.
    #[schema(example = "page:1029384756")]
    id: String,
    #[serde(rename = "type")]
    kind: KindView,
    /// The platform's own id of the account.
    platform_user_id: String,
    #[schema(required)]
    display_name: Option<String>,
    #[schema(required)]
    username: Option<String>,
    #[schema(required, format = "uri")]
    image_url: Option<String>,
}

/// What kind of account it is.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = SelectionAccountType)]
pub(crate) enum KindView {
    Location,
    Organization,
    Page,
    Person,
}

impl From<AccountKind> for KindView {
    fn from(kind: AccountKind) -> Self {
        match kind {
            AccountKind::Location => Self::Location,
            AccountKind::Organization => Self::Organization,
            AccountKind::Page => Self::Page,
            AccountKind::Person => Self::Person,
        }
    }
}

/// An account that was seen and cannot be connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = UnusableAccount)]
pub(crate) struct UnusableView {
    platform_user_id: String,
    #[schema(required)]
    display_name: Option<String>,
    /// Why not, for a person.
    reason: String,
    /// What the person does about it.
    remedy: String,
}

impl From<UnusableAccount> for UnusableView {
    fn from(account: UnusableAccount) -> Self {
        let UnusableAccount { platform_user_id, display_name, reason, remedy, is_passing: _ } = account;
        Self { platform_user_id, display_name, reason, remedy }
    }
}

/// What one way of looking for accounts brought.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SelectionRoute)]
pub(crate) struct RouteView {
    /// Where was looked, for a person.
    route: String,
    /// Accounts seen there.
    found: u32,
    /// Why it could not be looked at; null when it could.
    #[schema(required)]
    trouble: Option<String>,
}

impl From<RouteReport> for RouteView {
    fn from(report: RouteReport) -> Self {
        let RouteReport { route, found, trouble } = report;
        Self { route, found, trouble }
    }
}

impl From<Choices> for SelectionView {
    fn from(choices: Choices) -> Self {
        let account = |Choice { id, kind, account }: Choice| ChoiceView {
            id,
            kind: kind.into(),
            platform_user_id: account.platform_user_id,
            display_name: account.display_name,
            username: account.username,
            image_url: account.image_url.as_deref().and_then(web_url),
        };
        Self {
            success: true,
            platform: choices.platform,
            expires_in_seconds: choices.expires_in.as_secs(),
            accounts: choices.accounts.into_iter().map(account).collect(),
            unusable: choices.findings.unusable.into_iter().map(UnusableView::from).collect(),
            routes: choices.findings.routes.into_iter().map(RouteView::from).collect(),
            scopes: choices.findings.scopes,
            missing_scopes: choices.missing_scopes,
        }
    }
}

/// The accounts are connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SelectionDone)]
pub(crate) struct SelectionDone {
    success: bool,
    platform: String,
    /// What was done, for a person.
    message: String,
    /// Where the browser goes next: the connection's `redirectUri` with `status`, `platform`, `integrationId` and
    /// `profileId` added to its query. Absent where the connection has none. `integrationId` has as many ids as fit into
    /// 2 kB, separated by commas; where that leaves some out, `integrationCount` is the number of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    redirect_uri: Option<String>,
    /// The connected accounts. The same choice sent again tells those that are still connected.
    integrations: Vec<IntegrationView>,
}

impl From<Finished> for SelectionDone {
    fn from(finished: Finished) -> Self {
        let redirect_uri = finished.destination();
        let (ids, integrations) = match finished.ending {
            Ending::Connected { ids, integrations, .. } => (ids, integrations),
            Ending::Cancelled { .. }
            | Ending::CompletionRequired { .. }
            | Ending::Failed { .. }
            | Ending::SelectionRequired { .. } => (Vec::new(), Vec::new()),
        };
        let count = ids.len();
        let since = match count - integrations.len().min(count) {
            0 => String::new(),
            gone => format!(" {gone} of them {} disconnected since.", if gone == 1 { "was" } else { "were" }),
        };
        Self {
            success: true,
            platform: finished.platform,
            message: format!("{count} account{} connected.{since}", if count == 1 { "" } else { "s" }),
            redirect_uri,
            integrations: integrations.into_iter().map(IntegrationView::from).collect(),
        }
    }
}
