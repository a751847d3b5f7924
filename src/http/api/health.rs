//! Health checks: liveness, readiness, and whether an access key is valid.

use actix_web::web::Json;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};

/// Yes.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Health)]
pub(crate) struct HealthView {
    ok: bool,
}

const OK: Json<HealthView> = Json(HealthView { ok: true });

/// Whether the process answers
///
/// Asks nothing of the database: for a supervisor that restarts what is dead.
#[utoipa::path(get, path = "/healthz", operation_id = "isAlive", tag = "Health",
    responses((status = 200, description = "It does.", body = HealthView)))]
pub(crate) async fn alive() -> Json<HealthView> {
    OK
}

/// Whether the broker can work
///
/// The database can be read and written and has room, and the sealing keys are loaded: for a load balancer.
#[utoipa::path(get, path = "/readyz", operation_id = "isReady", tag = "Health",
    responses((status = 200, description = "It can.", body = HealthView),
        (status = 503, description = "It cannot: `error` says why.", body = ErrorBody)))]
pub(crate) async fn ready(state: Current) -> Result<Json<HealthView>, ApiError> {
    Ok(state.broker.check_ready().await.map(|()| OK)?)
}

/// Whether the service is there
#[utoipa::path(get, path = "/v1/health", operation_id = "healthCheck", tag = "Health",
    responses((status = 200, description = "It is.", body = HealthView)))]
pub(crate) async fn check() -> Json<HealthView> {
    OK
}

/// Whether the access key is good
///
/// Any valid key will do, whatever its scopes.
#[utoipa::path(get, path = "/v1/health/auth", operation_id = "healthCheckAuth", tag = "Health",
    responses((status = 200, description = "It is.", body = HealthView)))]
pub(crate) async fn check_key(_: Authenticated) -> Json<HealthView> {
    OK
}
