//! `/v1/connect/{platform}/selection/{token}`: choosing accounts from a page of the caller's own.
//!
//! No access key: the selection token, which the caller got on its `redirectUri`, is an authorization for this one
//! choice. Selections that are unknown, spent, expired or another platform's are answered alike.

use std::collections::BTreeSet;

use actix_web::web::{Data, Json};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::State;
use super::body::{Body, FromMembers, Members};
use super::error::{ApiError, ErrorBody};
use super::fields;
use super::routes::Segment;
use super::views::{IntegrationView, web_url};
use crate::broker::callback::{Ending, Finished};
use crate::broker::selection::{Choice, Choices};
use crate::domain::account::{AccountKind, RouteReport, UnusableAccount};
use crate::domain::secret::SecretString;
use crate::domain::selection::CHOICE_MAX;

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
        }
    }
}

/// Which accounts to connect.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct SelectedAccounts {
    /// Ids of accounts on offer; one that is named twice counts once.
    #[schema(value_type = Vec<String>, min_items = 1, max_items = 10_000)]
    selected_account_ids: BTreeSet<String>,
}

impl FromMembers for SelectedAccounts {
    /// Room for the longest choice with ids as platforms have them.
    const BODY_MAX: usize = 512 * 1024;

    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        let wrong = || {
            fields::invalid(
                "selectedAccountIds",
                &format!("must be a list of 1 to {CHOICE_MAX} ids of accounts on offer"),
            )
        };
        let Some(Value::Array(items)) = members.take("selectedAccountIds") else { return Err(wrong()) };
        members.refuse_others(&["selectedAccountIds"])?;
        if items.is_empty() || items.len() > CHOICE_MAX {
            return Err(wrong());
        }
        let ids = items.into_iter().map(|item| match item {
            Value::String(id) => Ok(id),
            _ => Err(wrong()),
        });
        Ok(Self { selected_account_ids: ids.collect::<Result<_, _>>()? })
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
    /// `profileId` added to its query. Absent where the connection has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    redirect_uri: Option<String>,
    integrations: Vec<IntegrationView>,
}

impl From<Finished> for SelectionDone {
    fn from(finished: Finished) -> Self {
        let redirect_uri = finished.destination();
        let integrations = match finished.ending {
            Ending::Connected(integrations) => integrations,
            Ending::Cancelled | Ending::Failed { .. } | Ending::SelectionRequired { .. } => Vec::new(),
        };
        let count = integrations.len();
        Self {
            success: true,
            platform: finished.platform,
            message: format!("{count} account{} connected.", if count == 1 { "" } else { "s" }),
            redirect_uri,
            integrations: integrations.into_iter().map(IntegrationView::from).collect(),
        }
    }
}

/// The two operations of a platform whose consent can cover several accounts.
macro_rules! operations {
    ($module:ident, $platform:literal, $path:literal, $get:literal, $submit:literal, $what:literal) => {
        pub(crate) mod $module {
            use super::*;

            #[doc = concat!("See which ", $what, " can be connected")]
            ///
            /// For a connection that was begun with `headless=true` and came back with `status=selection_required`:
            /// the accounts that the person can choose from, and what became of those that may be missing.
            #[utoipa::path(get, path = $path, operation_id = $get, tag = "Connect",
                params(("token" = String, Path, min_length = 1, description = "The `selectionToken`.")),
                responses(
                    (status = 200, description = "The choice.", body = SelectionView),
                    (status = 404, description = "The token is unknown, spent or expired, or another platform's.",
                        body = ErrorBody),
                    (status = 500, description = "The broker failed.", body = ErrorBody),
                    (status = 503, description = "The broker has too much to do right now.", body = ErrorBody),
                ))]
            pub(crate) async fn get(
                state: Data<State>,
                Segment(token): Segment,
            ) -> Result<Json<SelectionView>, ApiError> {
                Ok(Json(state.broker.get_selection(Some($platform), &SecretString::from(token)).await?.into()))
            }

            #[doc = concat!("Connect the chosen ", $what)]
            ///
            /// Connects these accounts and no others. The first valid choice spends the token; the same choice, sent
            /// again within a minute, is answered again.
            #[utoipa::path(post, path = $path, operation_id = $submit, tag = "Connect",
                params(("token" = String, Path, min_length = 1, description = "The `selectionToken`.")),
                request_body = SelectedAccounts,
                responses(
                    (status = 200, description = "They are connected.", body = SelectionDone),
                    (status = 400, description = "The body is malformed, or names an account that is not on offer: the \
                        token is not spent.", body = ErrorBody),
                    (status = 404, description = "The token is unknown, spent by another choice, or expired, or another \
                        platform's.", body = ErrorBody),
                    (status = 413, description = "The body is larger than 512 KiB.", body = ErrorBody),
                    (status = 500, description = "The broker failed.", body = ErrorBody),
                    (status = 503, description = "The broker has too much to do right now.", body = ErrorBody),
                    (status = 507, description = "The broker's disk is full.", body = ErrorBody),
                ))]
            pub(crate) async fn submit(
                state: Data<State>,
                Segment(token): Segment,
                Body(choice): Body<SelectedAccounts>,
            ) -> Result<Json<SelectionDone>, ApiError> {
                let (token, chosen) = (SecretString::from(token), choice.selected_account_ids);
                Ok(Json(state.broker.choose_accounts(Some($platform), &token, chosen).await?.into()))
            }
        }
    };
}

operations!(
    facebook,
    "facebook",
    "/v1/connect/facebook/selection/{token}",
    "getFacebookSelection",
    "submitFacebookSelection",
    "Facebook Pages"
);
operations!(
    googlebusiness,
    "googlebusiness",
    "/v1/connect/googlebusiness/selection/{token}",
    "getGoogleBusinessSelection",
    "submitGoogleBusinessSelection",
    "Google Business Profile locations"
);
operations!(
    linkedin,
    "linkedin",
    "/v1/connect/linkedin/selection/{token}",
    "getLinkedInSelection",
    "submitLinkedInSelection",
    "LinkedIn accounts"
);
