//! `/v1/connect/integrations/{id}/token`: the only response that contains a token.
//!
//! Invariant: the access token is the only secret in the response. The view borrows it from its `SecretString`,
//! and the response is never cached.

use actix_web::HttpResponse;
use actix_web::http::header;
use actix_web::web::Bytes;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use crate::broker::Caller;
use crate::broker::tokens::VendedToken;
use crate::domain::time::Timestamp;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{FromQuery, Parameters, Query, Segment};
use crate::http::{Current, State};

/// Largest `minSeconds`: a day. No platform with refreshable tokens makes a longer time useful.
const LONGEST: u64 = 86_400;

/// Most bytes of a response besides its texts: the names of its members, and a time.
const REST: usize = 256;

/// How long the token is needed.
#[derive(Debug, Default, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// For how many seconds from now the token must be good, at least. It is refreshed first where it would not last.
    /// Absent: 300, or half of the token's life where that is less.
    #[param(minimum = 0, maximum = 86_400, required = false)]
    min_seconds: Option<u64>,
}

impl FromQuery for Wanted {
    fn from_query(query: &Query) -> Result<Self, ApiError> {
        Ok(Self { min_seconds: query.integer("minSeconds", 0..=LONGEST)? })
    }
}

/// An access token to call the platform with. Keep it no longer than it is needed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Token)]
pub(crate) struct TokenView<'a> {
    success: bool,
    #[schema(example = "twitter")]
    platform: &'a str,
    /// The platform's own id of the account.
    platform_user_id: &'a str,
    access_token: &'a str,
    #[schema(example = "Bearer")]
    token_type: &'a str,
    /// Null where the token does not expire.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// The OAuth scopes that were granted.
    scopes: &'a [String],
    /// The server that the token is for (Bluesky, Mastodon and its kind); absent where the platform has but one.
    #[serde(skip_serializing_if = "Option::is_none")]
    service_url: Option<&'a str>,
}

impl<'a> From<&'a VendedToken> for TokenView<'a> {
    #[expect(clippy::disallowed_methods, reason = "the caller asked for the token, with a key that may read it")]
    fn from(VendedToken { account, access_token, token_type, expires_at, service_url }: &'a VendedToken) -> Self {
        Self {
            success: true,
            platform: &account.platform,
            platform_user_id: &account.platform_user_id,
            access_token: access_token.expose_secret(),
            token_type,
            expires_at: *expires_at,
            scopes: &account.scopes,
            service_url: service_url.as_deref(),
        }
    }
}

impl TokenView<'_> {
    /// The response. What is written is wiped when it was sent.
    fn respond(&self) -> Result<HttpResponse, ApiError> {
        // Allocated once: a buffer that grows leaves copies of its content behind. A byte takes six at most in JSON.
        let texts = [self.platform, self.platform_user_id, self.access_token, self.token_type];
        let most = texts
            .into_iter()
            .chain(self.scopes.iter().map(String::as_str))
            .chain(self.service_url)
            .map(|text| 6 * text.len() + 8)
            .sum::<usize>();
        let mut body = Zeroizing::new(Vec::with_capacity(REST + most));
        serde_json::to_writer(&mut *body, self).map_err(ApiError::internal)?;
        Ok(HttpResponse::Ok().content_type(header::ContentType::json()).body(Bytes::from_owner(body)))
    }
}

/// Get an access token of a connected account
///
/// One that works for at least `minSeconds`: refreshed first if it would not last. Needs a key with the scope `tokens`;
/// which key read which token is recorded. A Facebook Page answers with the Page's own token, which does not expire;
/// Bluesky and Mastodon add the account's server as `serviceUrl`. The refresh token is never handed out. When the
/// platform cannot be reached, a token that still works is handed out with the time that it has left; so is a new one
/// that was refreshed several times within a minute.
#[utoipa::path(get, path = "/v1/connect/integrations/{id}/token", operation_id = "getToken", tag = "Connect",
    params(("id" = String, Path, description = "The integration's id."), Wanted),
    responses(
        (status = 200, description = "The token. Not to be cached.", body = TokenView),
        (status = 400, description = "minSeconds is out of bounds.", body = ErrorBody),
        (status = 404, description = "This project has no such integration.", body = ErrorBody),
        (status = 422, description = "The account has to be connected again, or its tokens never last that long: the code says which.", body = ErrorBody),
        (status = 503, description = "The token has expired and cannot be refreshed at the moment: Retry-After says when to ask again.", body = ErrorBody),
    ))]
pub(crate) async fn get(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<HttpResponse, ApiError> {
    TokenView::from(&read(&state, &caller, &id, wanted).await?).respond()
}

pub(crate) async fn read(
    state: &State,
    caller: &Caller,
    id: &str,
    Wanted { min_seconds }: Wanted,
) -> Result<VendedToken, ApiError> {
    let at_least = min_seconds.map(std::time::Duration::from_secs);
    Ok(state.broker.fresh_token(caller, id, at_least).await?)
}
