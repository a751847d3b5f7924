//! `/v1/profiles`: labels that group integrations.

mod view;

use actix_web::HttpResponse;
use actix_web::web::Json;
use utoipa::ToSchema;

use self::view::{ProfileAnswer, ProfileList};
use super::DoneView;
use crate::domain::profile::ProfileChange;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{Body, FromMembers, Members, NamedPage, Parameters, Segment, fields};

/// A profile to make.
#[derive(Debug, ToSchema)]
pub(crate) struct NewProfile {
    /// Visible text in one line, counted in code points.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8][^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$",
        example = "Acme"
    )]
    name: String,
    /// What it is for.
    #[schema(
        max_length = 1000,
        pattern = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$"
    )]
    description: Option<String>,
}

impl FromMembers for NewProfile {
    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        Ok(Self {
            name: fields::required(members, "name", fields::name)?,
            description: fields::nullable(members, "description", fields::description)?.flatten(),
        })
    }
}

/// What to change of a profile; what is left out stays as it is.
#[derive(Debug, ToSchema)]
pub(crate) struct ProfileChanges {
    /// Visible text in one line, counted in code points.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8][^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
    )]
    name: Option<String>,
    /// Null takes it away.
    #[schema(max_length = 1000, value_type = Option<String>,
        pattern = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]*$")]
    #[expect(clippy::option_option, reason = "left out, null and a text are three things")]
    description: Option<Option<String>>,
}

impl FromMembers for ProfileChanges {
    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        Ok(Self {
            name: fields::optional(members, "name", fields::name)?,
            description: fields::nullable(members, "description", fields::description)?,
        })
    }
}

/// List the profiles
#[utoipa::path(get, path = "/v1/profiles/", operation_id = "listProfiles", tag = "Profiles",
    params(NamedPage),
    responses(
        (status = 200, description = "A page of the project's profiles.", body = ProfileList),
        (status = 400, description = "A query parameter is out of bounds.", body = ErrorBody),
    ))]
pub(crate) async fn list(
    state: Current,
    Authenticated(caller): Authenticated,
    Parameters(page): Parameters<NamedPage>,
) -> Result<Json<ProfileList>, ApiError> {
    let listed = state.broker.list_profiles(&caller, page.name.clone(), page.window()).await?;
    Ok(Json(ProfileList::new(listed, &page)))
}

/// Create a profile
///
/// A profile groups integrations under a label: for a brand, a customer, a user of yours. Give its id as `profileId`
/// when an account is connected.
#[utoipa::path(post, path = "/v1/profiles/", operation_id = "createProfile", tag = "Profiles",
    request_body = NewProfile,
    responses(
        (status = 201, description = "The new profile.", body = ProfileAnswer),
        (status = 400, description = "The body is malformed, or a member of it out of bounds.", body = ErrorBody),
    ))]
pub(crate) async fn create(
    state: Current,
    Authenticated(caller): Authenticated,
    Body(wanted): Body<NewProfile>,
) -> Result<HttpResponse, ApiError> {
    let profile = state.broker.create_profile(&caller, wanted.name, wanted.description).await?;
    Ok(HttpResponse::Created().json(ProfileAnswer::from(profile)))
}

/// Look at a profile
#[utoipa::path(get, path = "/v1/profiles/{id}", operation_id = "getProfile", tag = "Profiles",
    params(("id" = String, Path, description = "The profile's id.")),
    responses(
        (status = 200, description = "The profile.", body = ProfileAnswer),
        (status = 404, description = "This project has no such profile.", body = ErrorBody),
    ))]
pub(crate) async fn get(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<ProfileAnswer>, ApiError> {
    Ok(Json(state.broker.get_profile(&caller, &id).await?.into()))
}

/// Change a profile
///
/// An empty object changes nothing and is answered with the profile as it is.
#[utoipa::path(patch, path = "/v1/profiles/{id}", operation_id = "updateProfile", tag = "Profiles",
    params(("id" = String, Path, description = "The profile's id.")),
    request_body = ProfileChanges,
    responses(
        (status = 200, description = "The profile as it is now.", body = ProfileAnswer),
        (status = 400, description = "The body is malformed, or a member of it out of bounds.", body = ErrorBody),
        (status = 404, description = "This project has no such profile.", body = ErrorBody),
    ))]
pub(crate) async fn update(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
    Body(wanted): Body<ProfileChanges>,
) -> Result<Json<ProfileAnswer>, ApiError> {
    let change = ProfileChange { name: wanted.name, description: wanted.description };
    Ok(Json(state.broker.update_profile(&caller, &id, change).await?.into()))
}

/// Delete a profile
///
/// It is no longer listed. Integrations that are bound to it stay connected and keep its id as their `profileId`.
#[utoipa::path(delete, path = "/v1/profiles/{id}", operation_id = "deleteProfile", tag = "Profiles",
    params(("id" = String, Path, description = "The profile's id.")),
    responses(
        (status = 200, description = "It is deleted.", body = DoneView),
        (status = 404, description = "This project has no such profile.", body = ErrorBody),
    ))]
pub(crate) async fn delete(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<DoneView>, ApiError> {
    state.broker.delete_profile(&caller, &id).await?;
    Ok(Json(DoneView::new("The profile is deleted. Its integrations stay connected.")))
}
