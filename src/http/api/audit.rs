//! `GET /v1/audit`: the audit trail of the caller's project.

use actix_web::web::Json;
use serde::Serialize;
use utoipa::openapi::schema::{KnownFormat, Object, OneOf, Schema, SchemaFormat, Type};
use utoipa::{IntoParams, ToSchema};

use crate::domain::audit::{Entry, Recorded, Since};
use crate::domain::time::Timestamp;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{FromQuery, Parameters, Query, invalid_parameter};

/// Which entries to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wanted {
    /// Where to begin: a time (RFC 3339, with its entries), or the `id` of the last entry that you read (without it).
    /// Absent: with the oldest.
    #[param(schema_with = since_schema, required = false, example = "2026-05-03T08:00:00Z")]
    since: Since,
    /// How many at most.
    #[param(minimum = 1, maximum = 100, default = 50, required = false)]
    limit: u32,
}

fn since_schema() -> Schema {
    let time =
        Object::builder().schema_type(Type::String).format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let id = Object::builder().schema_type(Type::String).pattern(Some("^[0-9]{1,19}$"));
    Schema::OneOf(OneOf::builder().item(time).item(id).build())
}

impl FromQuery for Wanted {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        let since = query.text("since")?.map(|text| {
            let is_offset = text.contains('T') && text.contains(' ');
            let advice = if is_offset { "; write the + of an offset as %2B" } else { "" };
            text.parse().map_err(|error| invalid_parameter("since", &format!("{error}{advice}")))
        });
        let since: Option<Since> = since.transpose()?;
        Ok(Self { since: since.unwrap_or(Since::BEGINNING), limit: query.limit(50)? })
    }
}

/// Something that was changed, or a token that was handed out.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuditEntry)]
struct EntryView {
    /// Grows from entry to entry.
    #[schema(minimum = 1, example = 4711)]
    id: u64,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// Who acted: `access_key` (a caller), `command_line` (the operator), `demo_page`, `link` (whoever has a connect link, in
    /// a browser), `person` (an account's owner in a browser), or `schedule` (the broker itself).
    actor: &'static str,
    /// The key that acted; for a person, the key that began their connection; for a link, the key that made it. Null for
    /// others.
    #[schema(required)]
    access_key_id: Option<String>,
    /// The connect link that it was done through.
    #[schema(required)]
    link_id: Option<String>,
    /// The client's address, where there is one.
    #[schema(required)]
    address: Option<String>,
    /// What was done: `access_key.created`, `access_key.revoked`, `account.connected`, `account.disconnected`,
    /// `account.moved`, `app.created`, `app.deleted`, `app.secret_replaced`, `app.updated`, `connection.awaits_completion`,
    /// `connection.completed`, `connection.ended` (without an account), `console.signed_in`, `console.signed_out`,
    /// `link.created`, `link.revoked`, `profile.created`, `profile.deleted`, `profile.updated`, `project.created`,
    /// `project.deleted`, `selection.offered`, or `token.read`.
    #[schema(example = "account.connected")]
    action: &'static str,
    /// Id of what it was done to.
    #[schema(example = "int_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    object: String,
    /// The profile that it was done to, or of the account that it was done to.
    #[schema(required)]
    profile_id: Option<String>,
    /// The connection that it was part of; entries of one connection have the same.
    #[schema(required)]
    flow_id: Option<String>,
    /// `done`; for `connection.ended`, `cancelled` or the failure; for `account.disconnected`, `revoked`,
    /// `kept_for_others`, `not_confirmed`, `unsupported`, or `reconnected` where it stays.
    #[schema(example = "done")]
    outcome: String,
}

impl From<Recorded> for EntryView {
    fn from(recorded: Recorded) -> Self {
        let Recorded { id, at, project_id: _, entry } = recorded;
        let Entry { by, action, object, profile_id, flow_id, outcome } = entry;
        Self {
            id,
            at,
            actor: by.actor.into_str(),
            access_key_id: by.access_key_id.map(|id| id.to_string()),
            link_id: by.link_id.map(|id| id.to_string()),
            address: by.address.map(|address| address.to_string()),
            action: action.into_str(),
            object,
            profile_id: profile_id.map(|id| id.to_string()),
            flow_id: flow_id.map(|id| id.to_string()),
            outcome: outcome.into_owned(),
        }
    }
}

/// A part of the trail.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditTrail)]
pub(crate) struct TrailView {
    success: bool,
    /// Oldest first. As many as `limit`: there may be more.
    entries: Vec<EntryView>,
}

/// Read the audit trail
///
/// Who changed what in this project, or was handed a token: when, from where, and how it went. Oldest first; to go on,
/// or to follow the trail, give the last `id` as `since`. Reads of a token by the same key within a minute are one entry.
/// Entries are never changed, and deleted when they are as old as the operator keeps them. A key that is bound to a profile
/// reads the entries about that profile and its accounts.
#[utoipa::path(get, path = "/v1/audit", operation_id = "listAudit", tag = "Audit",
    params(Wanted),
    responses(
        (status = 200, description = "Entries of the trail.", body = TrailView),
        (status = 400, description = "A query parameter is out of bounds.", body = ErrorBody),
    ))]
pub(crate) async fn list(
    state: Current,
    Authenticated(caller): Authenticated,
    Parameters(Wanted { since, limit }): Parameters<Wanted>,
) -> Result<Json<TrailView>, ApiError> {
    let entries = state.broker.audit_trail(&caller, since, limit).await?;
    Ok(Json(TrailView { success: true, entries: entries.into_iter().map(EntryView::from).collect() }))
}
