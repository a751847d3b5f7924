//! `POST /v1/connect/bluesky/auth`: connects a Bluesky account with an app password.

use actix_web::web::Json;
use secrecy::SecretString;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::connect::{Connection, ConnectionScopes};
use super::integrations::IntegrationView;
use crate::broker::bluesky::{ConnectBluesky, ConnectedBluesky};
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{Body, FromMembers, Members, PASSWORD_FORM_MAX, Parameters, fields, invalid_parameter};

/// What an account is connected with.
#[derive(Debug, ToSchema)]
#[schema(as = BlueskyCredentials)]
pub(crate) struct BlueskyCredentials {
    /// The handle, or the DID.
    #[schema(example = "alice.bsky.social")]
    identifier: String,
    /// An app password, made at <https://bsky.app/settings/app-passwords>; never the account's own.
    #[schema(value_type = String, format = Password, min_length = 1, max_length = 512, example = "abcd-efgh-2345-mnop",
        pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$")]
    password: SecretString,
}

impl FromMembers for BlueskyCredentials {
    const BODY_MAX: usize = PASSWORD_FORM_MAX;

    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        let identifier = fields::required(members, "identifier", fields::any)?;
        let password = Zeroizing::new(fields::required(members, "password", fields::app_password)?);
        let password = SecretString::from(password.trim());
        members.refuse_others()?;
        Ok(Self { identifier, password })
    }
}

/// A connected account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ConnectedAccount)]
pub(crate) struct ConnectedView {
    success: bool,
    /// What was done, for a person.
    message: String,
    integration: IntegrationView,
    /// Your `redirectUri` with `status`, `platform` and `integrationId` added to its query: where you may send the
    /// person now. Absent where you gave none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uri")]
    redirect_uri: Option<String>,
}

/// Connect a Bluesky account
///
/// Bluesky has no redirect: have the person make an app password and send it here with their handle. The password is
/// sent on to the account's own server, once, and not kept. Connecting the same account again keeps the integration's
/// id. An account is signed in to five times in five minutes at most. No browser takes part: `redirectUri` is only returned,
/// completed, and `headless` has no effect.
#[utoipa::path(post, path = "/v1/connect/bluesky/auth", operation_id = "connectBluesky", tag = "Connect",
    params(Connection),
    request_body = BlueskyCredentials,
    responses(
        (status = 200, description = "The account is connected.", body = ConnectedView),
        (status = 400, description = "The identifier is none (`invalid_identifier`), the password is the account's own \
            (`app_password_required`), the account is deactivated or worse (`account_inactive`), its server is not on \
            the public internet (`unsafe_host`), or a parameter or member is out of bounds.", body = ErrorBody),
        (status = 401, description = "The account's server does not accept handle and password \
            (`bluesky_credentials_rejected`); or no access key, or one that is not valid.", body = ErrorBody),
        (status = 403, description = "Bluesky is switched off here; or the access key lacks the scope `connect`, does \
            not work from this address, or is bound to another profile.",
            body = ErrorBody),
        (status = 404, description = "This project has no such profile, app or integration.", body = ErrorBody),
        (status = 409, description = "It is another account than the one that `reconnect` names (`account_mismatch`).",
            body = ErrorBody),
        (status = 413, description = "The body is larger than 8 KiB.", body = ErrorBody),
        (status = 429, description = "Too many attempts at this account, or by this caller.", body = ErrorBody),
        (status = 502, description = "The account or its server was not found (`identity_unresolved`), the server cannot \
            be reached (`pds_unreachable`), or answers for another account (`did_mismatch`).", body = ErrorBody),
    ))]
pub(crate) async fn connect(
    state: Current,
    Authenticated(caller): Authenticated,
    Parameters((wanted, scopes)): Parameters<(Connection, ConnectionScopes)>,
    Body(credentials): Body<BlueskyCredentials>,
) -> Result<Json<ConnectedView>, ApiError> {
    let BlueskyCredentials { identifier, password } = credentials;
    if scopes.scopes.is_some() {
        return Err(invalid_parameter("scopes", "cannot be given for Bluesky: an app password has none"));
    }
    if scopes.server.is_some() {
        return Err(invalid_parameter("server", "must not be set: an account's own server is found by its handle"));
    }
    if scopes.completion {
        let why = "cannot be given for Bluesky: your backend sends the app password itself, so nobody else finishes it";
        return Err(invalid_parameter("completion", why));
    }
    // `headless` has no effect: a Bluesky account is never one of several.
    let Connection { redirect_uri, cancel_redirect_uri, headless: _, profile_id, app_id, reconnect } = wanted;
    let wanted =
        ConnectBluesky { identifier, password, redirect_uri, cancel_redirect_uri, profile_id, app_id, reconnect };
    let ConnectedBluesky { integration, label, destination } = state.broker.connect_bluesky(&caller, wanted).await?;
    Ok(Json(ConnectedView {
        success: true,
        message: format!("{} is connected to {label}.", integration.account.label()),
        integration: integration.into(),
        redirect_uri: destination,
    }))
}
