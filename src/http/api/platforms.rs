//! `/v1/platforms`, and the platform filter that other lists share.

use actix_web::web::Json;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::broker::Broker;
use crate::broker::platforms::PlatformListing;
use crate::domain::integration::PlatformFilter;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{FromQuery, Parameters, Query, invalid_parameter};

/// A platform of this broker.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Platform)]
pub(crate) struct PlatformView {
    #[schema(example = "twitter")]
    name: String,
    /// Its name for people.
    #[schema(example = "X")]
    label: String,
    status: PlatformStatus,
}

/// `prod`: ready to be connected. `dev`: the operator has not configured credentials; an app of your own (`appId`) will
/// do.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PlatformStatus {
    Dev,
    Prod,
}

impl From<PlatformListing> for PlatformView {
    fn from(listing: PlatformListing) -> Self {
        let status = if listing.is_configured { PlatformStatus::Prod } else { PlatformStatus::Dev };
        Self { name: listing.name, label: listing.label, status }
    }
}

/// The platforms of this broker.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PlatformList)]
pub(crate) struct PlatformList {
    platforms: Vec<PlatformView>,
}

/// Which platforms a list is about.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WhichPlatforms {
    /// Only this platform.
    #[param(example = "twitter")]
    pub(crate) platform: Option<String>,
    /// `custom`: those beyond the ten known names as well.
    #[param(inline)]
    pub(crate) include: Option<Include>,
}

/// What a list shows besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum Include {
    Custom,
}

impl FromQuery for WhichPlatforms {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            platform: query.text("platform")?,
            include: query.choice("include", &["custom"])?.map(|_| Include::Custom),
        })
    }
}

impl WhichPlatforms {
    /// Converts to the broker's filter. An unknown platform is an error.
    pub(crate) fn filter(self, broker: &Broker) -> Result<PlatformFilter, ApiError> {
        let Some(name) = self.platform else {
            return Ok(self.include.map_or(PlatformFilter::Contract, |Include::Custom| PlatformFilter::All));
        };
        check_known(broker, &name)?;
        Ok(PlatformFilter::One(name))
    }
}

/// Returns an error, which lists the known names, for a platform that this broker does not know.
pub(crate) fn check_known(broker: &Broker, name: &str) -> Result<(), ApiError> {
    if broker.knows_platform(name) {
        return Ok(());
    }
    let names: Vec<String> =
        broker.list_platforms(&PlatformFilter::All).into_iter().map(|platform| platform.name).collect();
    Err(invalid_parameter("platform", &format!("must be a platform of this broker: {}", names.join(", "))))
}

/// List the platforms
#[utoipa::path(get, path = "/v1/platforms", operation_id = "listPlatforms", tag = "Platforms",
    params(WhichPlatforms),
    responses(
        (status = 200, description = "The platforms that this broker knows, by name.", body = PlatformList),
        (status = 400, description = "A query parameter is out of bounds.", body = ErrorBody),
    ))]
pub(crate) async fn list(
    state: Current,
    _: Authenticated,
    Parameters(which): Parameters<WhichPlatforms>,
) -> Result<Json<PlatformList>, ApiError> {
    let filter = which.filter(&state.broker)?;
    let platforms = state.broker.list_platforms(&filter).into_iter().map(PlatformView::from).collect();
    Ok(Json(PlatformList { platforms }))
}
