//! `GET /v1/connect/{platform}`: begins a connection.

use actix_web::web::Json;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use crate::broker::begin::{BeginConnect, Begun};
use crate::domain::scopes::split;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{FromQuery, Parameters, Query, Segment};

/// How to connect.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Connection {
    /// Where the browser goes when all is done, with `status`, `platform` and `integrationId` (or `error`) added to the
    /// query. Without it: to a page of the broker. To be sure who came back, use `bindingHash` or `completion`.
    ///
    /// `status` is `success`, `cancelled`, `error`, `selection_required` or `completion_required`. `integrationId` may be
    /// several ids, separated by commas. At most 2 kB are added: where not all ids fit, `integrationCount` is the number
    /// of all, and the integrations list has them. With `status=error`, `error` is `access_not_approved`,
    /// `account_inactive`, `account_mismatch`, `account_throttled`, `api_not_enabled`, `api_version_retired`,
    /// `app_missing`, `app_not_public`, `app_or_grant_rejected`, `authorization_refused`, `billing_limit_reached`,
    /// `blocked_by_administrator`, `callback_url_rejected`, `credentials_rejected`, `exchange_rejected`, `flow_expired`,
    /// `id_token_rejected`, `identity_unavailable`, `interrupted`, `no_account`, `permission_missing`,
    /// `platform_answer_unreadable`, `platform_throttled`, `platform_unavailable` or `storage_failed`. With
    /// `status=cancelled`, it is `access_denied`.
    ///
    /// The URI's own query is kept byte for byte. It cannot have `error`, `flowId`, `integrationCount`, `integrationId`,
    /// `missingScopes`, `selectionToken` or `status`, nor a `platform` or `profileId` other than this connection's.
    #[param(format = "uri", max_length = 2048, example = "https://app.example/connected")]
    pub(super) redirect_uri: Option<String>,
    /// Where the browser goes when the person says no; without it, to `redirectUri`.
    #[param(format = "uri", max_length = 2048)]
    pub(super) cancel_redirect_uri: Option<String>,
    /// Whether your own page lets the person choose, where a consent covers several accounts.
    #[param(default = false, required = false)]
    pub(super) headless: bool,
    /// The profile to bind the account to. Without it, that of the access key, if the key is bound to one.
    pub(super) profile_id: Option<String>,
    /// The OAuth app of your own to connect under; without it, the operator's.
    pub(super) app_id: Option<String>,
    /// The integration whose account must come back, of this platform and, where you give one, of `profileId`. If it
    /// does not, the connection fails (with `account_mismatch` where others come), and nothing is changed. Of several
    /// accounts, it alone is connected.
    #[param(example = "int_0198f1c0a1b27c3d8e4f5a6b7c8d9e0f")]
    pub(super) reconnect: Option<String>,
}

/// What a connection with a redirect may have besides: its scopes, the account's server, and who may finish it.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct ConnectionScopes {
    /// The OAuth scopes to ask for, separated by commas or spaces: some of those that the operator configured (`scopes` and
    /// `optional_scopes` of the platform). Those that it takes to read whose account it is, and to keep its tokens alive,
    /// are added. Without it, all of `scopes`. The answer to a scope that is not among them names them.
    #[param(example = "tweet.read,users.read")]
    pub(super) scopes: Option<String>,
    /// The server of the account, where the platform is many servers (Mastodon and its kind): its name as the person
    /// types it, such as `mastodon.social`, or their address there, such as `@ada@mastodon.social`. Required there, and
    /// refused elsewhere.
    #[param(example = "mastodon.social")]
    pub(super) server: Option<String>,
    /// The SHA-256 of the cookie `__Secure-postpeer-binding`, in base64url without padding. Your app sets that cookie, with
    /// a random value, for a domain that it shares with the broker. A browser that comes back from the platform without
    /// it is refused (`browser_mismatch`) before the platform is asked for anything.
    #[param(
        pattern = "^[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]$",
        example = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    )]
    pub(super) binding_hash: Option<String>,
    /// True to connect nothing before your backend confirms that the right person came back. The answer then has a
    /// `flowId`, which the browser brings to `redirectUri` with `status=completion_required`: complete the connection only
    /// if whoever is signed in there is the user for whom you began.
    #[param(default = false, required = false)]
    pub(super) completion: bool,
}

impl FromQuery for ConnectionScopes {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            scopes: query.text("scopes")?,
            server: query.text("server")?,
            binding_hash: query.text("bindingHash")?,
            completion: query.boolean("completion", false)?,
        })
    }
}

impl FromQuery for Connection {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self {
            redirect_uri: query.text("redirectUri")?,
            cancel_redirect_uri: query.text("cancelRedirectUri")?,
            headless: query.boolean("headless", false)?,
            profile_id: query.text("profileId")?,
            app_id: query.text("appId")?,
            reconnect: query.text("reconnect")?,
        })
    }
}

/// Where to send the person.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AuthorizeUrl)]
pub(crate) struct AuthorizeUrl {
    /// The platform's consent page, for this connection; or a page of the broker that asks first and leads there, where
    /// the operator set `confirm` under `[connect]`.
    #[schema(format = "uri", example = "https://x.com/i/oauth2/authorize?state=9Xl2")]
    url: String,
    /// The connection to complete; only with `completion=true`. Keep it on your server, in the session of your user: who
    /// knows it can open `redirectUri` with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "flow_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    flow_id: Option<String>,
}

/// Begin a connection
///
/// Gives the URL of the platform's consent page: send your user's browser there. It comes back through the broker to
/// your `redirectUri`. The URL is good for one connection and a few minutes.
#[utoipa::path(get, path = "/v1/connect/{platform}", operation_id = "getOAuthUrl", tag = "Connect",
    params(("platform" = String, Path, description = "The platform's name.", example = "twitter"), Connection,
        ConnectionScopes),
    responses(
        (status = 200, description = "Where to send the person.", body = AuthorizeUrl),
        (status = 400, description = "A query parameter is out of bounds, `scopes` names one that the platform does not \
            have here, the app or `reconnect` is another platform's, or the operator allows no connection that any browser \
            could finish (`binding_required`).",
            body = ErrorBody),
        (status = 403, description = "The platform is not available here, or is not connected this way; or the access key \
            lacks the scope `connect`, does not work from this address, or is bound to another profile.", body = ErrorBody),
        (status = 404, description = "This project has no such profile, app or integration.", body = ErrorBody),
        (status = 429, description = "Too many connections are waiting to be finished, or too many servers were asked.",
            body = ErrorBody),
        (status = 500, description = "The operator has not configured the platform's credentials.", body = ErrorBody),
        (status = 502, description = "The platform's server does not say how it is used, or does not answer \
            (`platform_unavailable`).", body = ErrorBody),
    ))]
pub(crate) async fn begin(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(platform): Segment,
    Parameters((wanted, scopes)): Parameters<(Connection, ConnectionScopes)>,
) -> Result<Json<AuthorizeUrl>, ApiError> {
    let Connection { redirect_uri, cancel_redirect_uri, headless, profile_id, app_id, reconnect } = wanted;
    let ConnectionScopes { scopes, server, binding_hash, completion } = scopes;
    let scopes = scopes.map(|text| split(&text).map(str::to_owned).collect());
    let wanted = BeginConnect {
        platform,
        redirect_uri,
        cancel_redirect_uri,
        headless,
        profile_id,
        app_id,
        scopes,
        server,
        reconnect,
        binding_hash,
        asks_first: false,
        completion,
    };
    let Begun { url, to_complete } = state.broker.begin_connect(&caller, wanted).await?;
    Ok(Json(AuthorizeUrl { url, flow_id: to_complete.map(|id| id.to_string()) }))
}
