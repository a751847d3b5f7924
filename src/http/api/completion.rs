//! `POST /v1/connect/flows/{id}/complete`: confirms a connection that was begun with `completion=true`.

use actix_web::web::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::integrations::IntegrationView;
use super::selection::{RouteView, UnusableView};
use crate::broker::finished::{Ending, Finished};
use crate::domain::selection::Findings;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::Segment;

/// A completed connection.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CompletedFlow)]
pub(crate) struct CompletedView {
    success: bool,
    /// `success`, or `selection_required` where the person still has to choose accounts.
    #[schema(example = "success")]
    status: &'static str,
    #[schema(example = "twitter")]
    platform: String,
    #[schema(required)]
    profile_id: Option<String>,
    /// The connected accounts; none while the person has to choose.
    integrations: Vec<IntegrationView>,
    /// Accounts that were seen beside the only one on offer, and cannot be connected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    unusable: Vec<UnusableView>,
    /// How further accounts were looked for, where some may be missing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    routes: Vec<RouteView>,
    /// With `selection_required`: the page on which the person chooses, and comes back to `redirectUri` from.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    selection_url: Option<String>,
    /// With `selection_required`: for a page of your own in place of that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    selection_token: Option<String>,
}

impl From<Finished> for CompletedView {
    fn from(finished: Finished) -> Self {
        let (selection_url, selection_token) = finished.choice().unzip();
        let (integrations, findings) = match finished.ending {
            Ending::Connected { integrations, findings, .. } => {
                (integrations, findings.map(|it| *it).unwrap_or_default())
            }
            _ => (Vec::new(), Findings::default()),
        };
        Self {
            success: true,
            status: if selection_url.is_some() { "selection_required" } else { "success" },
            platform: finished.platform,
            profile_id: finished.profile_id,
            integrations: integrations.into_iter().map(IntegrationView::from).collect(),
            unusable: findings.unusable.into_iter().map(UnusableView::from).collect(),
            routes: findings.routes.into_iter().map(RouteView::from).collect(),
            selection_url,
            selection_token,
        }
    }
}

/// Complete a connection
///
/// Call this when the browser is back at your `redirectUri`, and whoever is signed in there is the user for whom you began.
/// Until then the tokens are sealed and unused; ten minutes after the browser came back they are revoked and erased.
/// Repeating the call gives the same answer, for ten minutes; without the accounts that were disconnected meanwhile.
#[utoipa::path(post, path = "/v1/connect/flows/{id}/complete", operation_id = "completeFlow", tag = "Connect",
    params(("id" = String, Path, description = "The `flowId`.", example = "flow_019a1b2c3d4e7f809a1b2c3d4e5f6071")),
    responses(
        (status = 200, description = "The account is connected, or the person has to choose accounts.", body = CompletedView),
        (status = 404, description = "No connection of yours waits under this id, or it is too late.", body = ErrorBody),
        (status = 409, description = "The browser is not back yet, the connection ended without an account, or it is \
            another account than the one that `reconnect` names.", body = ErrorBody),
    ))]
pub(crate) async fn complete(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<CompletedView>, ApiError> {
    Ok(Json(Box::pin(state.broker.complete_connect(&caller, &id)).await?.into()))
}
