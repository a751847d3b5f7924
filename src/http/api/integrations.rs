//! `/v1/connect/integrations`: connected accounts.

mod token_health;
mod view;

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::{Bytes, Json};
use utoipa::{IntoParams, ToSchema};

pub(crate) use self::view::IntegrationView;
use self::view::{IntegrationAnswer, IntegrationDetailAnswer, IntegrationList};
use super::DoneView;
use super::platforms::{Include, WhichPlatforms};
use crate::broker::integrations::{ListIntegrations, Revoked};
use crate::domain::paging::Window;
use crate::domain::weigh::Weigh;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{Body, FromMembers, FromQuery, Members, OFFSET_MAX, Parameters, Query, Segment, fields};

/// Which integrations to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct WantedIntegrations {
    /// Only those at this platform.
    #[param(example = "twitter")]
    platform: Option<String>,
    /// `custom`: those beyond the ten known names as well.
    #[param(inline)]
    include: Option<Include>,
    /// Only those of this profile; `null` for those without one.
    profile_id: Option<String>,
    /// Only those whose display name, username or platform user id contains this, in whatever case. A whole
    /// integration id matches too.
    q: Option<String>,
    /// How many at most.
    #[param(minimum = 1, maximum = 100, default = 20, required = false)]
    limit: u32,
    /// How many to skip.
    #[param(minimum = 0, maximum = 9_007_199_254_740_991_i64, default = 0, required = false)]
    offset: u64,
    /// By time of creation: `desc`, the newest first, or `asc`. Without it, `desc`.
    #[param(inline, required = false)]
    sort: Sort,
}

/// By time of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Sort {
    Asc,
    Desc,
}

impl FromQuery for WantedIntegrations {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let WhichPlatforms { platform, include } = WhichPlatforms::from_query(query)?;
        Ok(Self {
            platform,
            include,
            profile_id: query.text("profileId")?,
            q: query.text("q")?,
            limit: query.limit(20)?,
            offset: query.integer("offset", 0..=OFFSET_MAX)?.unwrap_or(0),
            sort: if query.choice("sort", &["asc", "desc"])? == Some("asc") { Sort::Asc } else { Sort::Desc },
        })
    }
}

/// Where to move an integration.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct Move {
    /// The profile to move it to; null: out of any.
    #[schema(required)]
    profile_id: Option<String>,
}

impl FromMembers for Move {
    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        let profile_id = fields::nullable(members, "profileId", fields::any)?
            .ok_or_else(|| fields::invalid("profileId", "is required: the id of a profile, or null"))?;
        members.refuse_others()?;
        Ok(Self { profile_id })
    }
}

/// List the connected accounts
#[utoipa::path(get, path = "/v1/connect/integrations", operation_id = "listIntegrations", tag = "Connect",
    params(WantedIntegrations),
    responses(
        (status = 200, description = "The integrations of the project that match.", body = IntegrationList),
        (status = 400, description = "A query parameter is out of bounds.", body = ErrorBody),
    ))]
pub(crate) async fn list(
    state: Current,
    Authenticated(caller): Authenticated,
    Parameters(wanted): Parameters<WantedIntegrations>,
) -> Result<HttpResponse, ApiError> {
    let WantedIntegrations { platform, include, profile_id, q, limit, offset, sort } = wanted;
    let filter = ListIntegrations {
        platforms: WhichPlatforms { platform, include }.filter(&state.broker)?,
        profile_id,
        search: q.filter(|q| !q.is_empty()),
        oldest_first: sort == Sort::Asc,
    };
    let render = |listed| {
        let body = serde_json::to_vec(&IntegrationList::from(listed)).ok()?;
        // Without what the vector has to spare.
        Some(RenderedList(body.into_boxed_slice().into()))
    };
    let shown = state.broker.show_integrations(&caller, filter, Window { limit, offset }, render).await?;
    let RenderedList(body) = shown.ok_or_else(|| ApiError::internal("a list does not fit JSON"))?;
    Ok(HttpResponse::Ok().content_type(header::ContentType::json()).body(body))
}

/// The body of an [`IntegrationList`].
#[derive(Clone)]
struct RenderedList(Bytes);

impl Weigh for RenderedList {
    fn weight(&self) -> usize {
        self.0.len()
    }
}

/// Look at a connected account
///
/// With the scopes that were granted, what is known of its tokens, and how the broker gets on with keeping them alive: the
/// last error in plain words, and the next step. Never the tokens.
#[utoipa::path(get, path = "/v1/connect/integrations/{id}", operation_id = "getIntegration", tag = "Connect",
    params(("id" = String, Path, description = "The integration's id.")),
    responses(
        (status = 200, description = "The integration.", body = IntegrationDetailAnswer),
        (status = 404, description = "This project has no such integration.", body = ErrorBody),
    ))]
pub(crate) async fn get(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<IntegrationDetailAnswer>, ApiError> {
    let detail = state.broker.get_integration(&caller, &id).await?;
    let platform = &detail.integration.platform;
    let (label, console) = (state.broker.label(platform), state.broker.console(platform));
    Ok(Json(IntegrationDetailAnswer::new(detail, &label, console)))
}

/// Move a connected account to another profile
///
/// Its tokens stay as they are.
#[utoipa::path(patch, path = "/v1/connect/integrations/{id}", operation_id = "moveIntegration", tag = "Connect",
    params(("id" = String, Path, description = "The integration's id.")),
    request_body = Move,
    responses(
        (status = 200, description = "The integration as it is now.", body = IntegrationAnswer),
        (status = 400, description = "The body is malformed.", body = ErrorBody),
        (status = 404, description = "This project has no such integration, or no such profile.", body = ErrorBody),
        (status = 409, description = "The account is connected under that profile already.", body = ErrorBody),
    ))]
pub(crate) async fn relocate(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
    Body(wanted): Body<Move>,
) -> Result<Json<IntegrationAnswer>, ApiError> {
    Ok(Json(state.broker.move_integration(&caller, &id, wanted.profile_id).await?.into()))
}

/// Disconnect an account
///
/// Asks the platform to revoke the consent, where it takes that and no other integration lives on it, and erases the
/// tokens here. The message says how that went. An account that its owner connects again meanwhile stays: `success` is
/// false then.
#[utoipa::path(delete, path = "/v1/connect/integrations/{id}", operation_id = "disconnectIntegration", tag = "Connect",
    params(("id" = String, Path, description = "The integration's id.")),
    responses(
        (status = 200, description = "It is disconnected, unless `success` is false.", body = DoneView),
        (status = 404, description = "This project has no such integration.", body = ErrorBody),
    ))]
pub(crate) async fn disconnect(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<DoneView>, ApiError> {
    let (label, revoked) = state.broker.disconnect(&caller, &id).await?;
    let message = match revoked {
        Revoked::KeptForOthers => {
            format!("Disconnected. The consent at {label} was left alone, because other connected accounts live on it.")
        }
        Revoked::NotConfirmed => format!(
            "Disconnected, and the tokens are erased here. {label} did not confirm that it revoked them: the account's \
             owner can remove the app in the settings there."
        ),
        Revoked::Reconnected => {
            "The account was connected again meanwhile, so it stays: disconnect it again to end that.".to_owned()
        }
        Revoked::Unsupported => format!(
            "Disconnected, and the tokens are erased here. {label} has no way to revoke them: the account's owner can \
             remove the app in the settings there."
        ),
        Revoked::Yes => format!("Disconnected. {label} revoked the tokens, and they are erased here."),
    };
    // No 409: SDKs repeat that, and would end the connection that is newer than this call.
    let is_done = revoked != Revoked::Reconnected;
    Ok(Json(if is_done { DoneView::new(message) } else { DoneView::not(message) }))
}
