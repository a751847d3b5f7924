//! `/v1/apps`: OAuth apps that callers bring.

mod view;

use actix_web::HttpResponse;
use actix_web::web::Json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use self::view::{AppAnswer, AppList};
use super::DoneView;
use super::platforms::WhichPlatforms;
use crate::broker::apps::{AppChange, NewApp};
use crate::domain::secret::SecretString;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{Body, FromMembers, Members, NamedPage, Parameters, Segment, fields};

/// An app to register.
#[derive(Debug, ToSchema)]
#[schema(as = NewApp, rename_all = "camelCase")]
pub(crate) struct NewAppBody {
    /// The platform that it is registered at.
    #[schema(example = "twitter")]
    platform: String,
    /// Visible text in one line, counted in code points.
    #[schema(
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8][^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$",
        example = "Acme on X"
    )]
    name: String,
    /// As the platform gave it.
    #[schema(min_length = 1, max_length = 2048, pattern = "^[ -~]*[!-~][ -~]*$")]
    client_id: String,
    /// As the platform gave it. It is sealed before it is stored, and never returned.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 2048,
        pattern = "^[ -~]*[!-~][ -~]*$")]
    client_secret: SecretString,
    /// An icon: an http or https URL.
    #[schema(format = "uri", max_length = 2048, pattern = r"^https?://[A-Za-z0-9\[]")]
    image_url: Option<String>,
}

impl FromMembers for NewAppBody {
    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        Ok(Self {
            platform: fields::required(members, "platform", fields::any)?,
            name: fields::required(members, "name", fields::name)?,
            client_id: fields::required(members, "clientId", fields::credential)?.trim().to_owned(),
            client_secret: trimmed(fields::required(members, "clientSecret", fields::credential)?),
            image_url: fields::nullable_url(members, "imageUrl")?.flatten(),
        })
    }
}

/// What to change of an app; what is left out stays as it is.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(crate) struct AppChanges {
    /// Visible text in one line, counted in code points.
    #[schema(
        nullable = false,
        min_length = 1,
        max_length = 200,
        pattern = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*[^\s\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8][^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"
    )]
    name: Option<String>,
    /// An http or https URL; null takes it away.
    #[schema(value_type = Option<String>, format = "uri", max_length = 2048, pattern = r"^https?://[A-Za-z0-9\[]")]
    #[expect(clippy::option_option, reason = "left out, null and a text are three things")]
    image_url: Option<Option<String>>,
    /// The app's new secret at the platform.
    #[schema(value_type = Option<String>, nullable = false, format = Password, min_length = 1, max_length = 2048,
        pattern = "^[ -~]*[!-~][ -~]*$")]
    client_secret: Option<SecretString>,
}

impl FromMembers for AppChanges {
    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        for name in ["clientId", "platform"] {
            if members.has(name) {
                return Err(fields::invalid(
                    name,
                    "cannot be changed, because the tokens of connected accounts are bound to it: register another \
                     app and connect the accounts under that one",
                ));
            }
        }
        let changes = Self {
            name: fields::optional(members, "name", fields::name)?,
            image_url: fields::nullable_url(members, "imageUrl")?,
            client_secret: fields::optional(members, "clientSecret", fields::credential)?.map(trimmed),
        };
        members.refuse_others()?;
        Ok(changes)
    }
}

/// A client secret without the spaces around it: people paste them along.
fn trimmed(secret: String) -> SecretString {
    Zeroizing::new(secret).trim().into()
}

/// List your OAuth apps
#[utoipa::path(get, path = "/v1/apps/", operation_id = "listApps", tag = "Apps",
    params(WhichPlatforms, NamedPage),
    responses(
        (status = 200, description = "A page of the project's apps.", body = AppList),
        (status = 400, description = "A query parameter is out of bounds.", body = ErrorBody),
    ))]
pub(crate) async fn list(
    state: Current,
    Authenticated(caller): Authenticated,
    Parameters(wanted): Parameters<(WhichPlatforms, NamedPage)>,
) -> Result<Json<AppList>, ApiError> {
    let (which, page) = wanted;
    let platforms = which.filter(&state.broker)?;
    let listed = state.broker.list_apps(&caller, platforms, page.name.clone(), page.window()).await?;
    Ok(Json(AppList::new(listed, &page)))
}

/// Register an OAuth app of your own
///
/// Keeps the credentials of an app that you registered at a platform. Give its id as `appId` when an account is
/// connected.
#[utoipa::path(post, path = "/v1/apps/", operation_id = "createApp", tag = "Apps",
    request_body = NewAppBody,
    responses(
        (status = 201, description = "The new app.", body = AppAnswer),
        (status = 400, description = "The body is malformed, a member of it is out of bounds, or the platform takes no \
            apps.", body = ErrorBody),
        (status = 409, description = "The project has an app with this platform and client id.", body = ErrorBody),
    ))]
pub(crate) async fn create(
    state: Current,
    Authenticated(caller): Authenticated,
    Body(wanted): Body<NewAppBody>,
) -> Result<HttpResponse, ApiError> {
    let NewAppBody { platform, name, client_id, client_secret, image_url } = wanted;
    let app = state.broker.create_app(&caller, NewApp { platform, name, client_id, client_secret, image_url }).await?;
    Ok(HttpResponse::Created().json(AppAnswer::from(app)))
}

/// Look at an OAuth app
#[utoipa::path(get, path = "/v1/apps/{id}", operation_id = "getApp", tag = "Apps",
    params(("id" = String, Path, description = "The app's id.")),
    responses(
        (status = 200, description = "The app.", body = AppAnswer),
        (status = 404, description = "This project has no such app.", body = ErrorBody),
    ))]
pub(crate) async fn get(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<AppAnswer>, ApiError> {
    Ok(Json(state.broker.get_app(&caller, &id).await?.into()))
}

/// Change an OAuth app
///
/// Its name, its image, or its secret after you rotated that at the platform. Platform and client id stay: tokens are
/// bound to them. An empty object changes nothing and is answered with the app as it is.
#[utoipa::path(patch, path = "/v1/apps/{id}", operation_id = "updateApp", tag = "Apps",
    params(("id" = String, Path, description = "The app's id.")),
    request_body = AppChanges,
    responses(
        (status = 200, description = "The app as it is now.", body = AppAnswer),
        (status = 400, description = "The body is malformed, a member of it is out of bounds, or unknown.",
            body = ErrorBody),
        (status = 404, description = "This project has no such app.", body = ErrorBody),
    ))]
pub(crate) async fn update(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
    Body(wanted): Body<AppChanges>,
) -> Result<Json<AppAnswer>, ApiError> {
    let AppChanges { name, image_url, client_secret } = wanted;
    Ok(Json(state.broker.update_app(&caller, &id, AppChange { name, image_url, client_secret }).await?.into()))
}

/// Delete an OAuth app
///
/// Refused while an integration is connected under it, whatever its `authStatus`: without the app it could be neither
/// refreshed nor connected again.
#[utoipa::path(delete, path = "/v1/apps/{id}", operation_id = "deleteApp", tag = "Apps",
    params(("id" = String, Path, description = "The app's id.")),
    responses(
        (status = 200, description = "It is deleted.", body = DoneView),
        (status = 404, description = "This project has no such app.", body = ErrorBody),
        (status = 409, description = "Integrations are connected under it, as its `integrationCount` says.",
            body = ErrorBody),
    ))]
pub(crate) async fn delete(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<DoneView>, ApiError> {
    state.broker.delete_app(&caller, &id).await?;
    Ok(Json(DoneView::new("The app is deleted, and its secret erased.")))
}
