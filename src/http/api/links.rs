//! `/v1/connect/links`: links to a hosted page on which whoever has one connects accounts.
//!
//! Invariant: a link's address is told once, in the answer to the call that made it.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Json;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::DoneView;
use super::integrations::IntegrationView;
use crate::broker::links::{LinkState, NewLink};
use crate::domain::link::{LIFE_MAX, LIFE_MIN, Link, LinkStatus};
use crate::domain::secret::SecretString;
use crate::domain::time::Timestamp;
use crate::http::Current;
use crate::http::access::Authenticated;
use crate::http::error::{ApiError, ErrorBody};
use crate::http::request::{Body, FromMembers, Members, Segment, fields};

/// Most names of platforms.
const PLATFORMS_MAX: usize = 100;

/// A link to make. Every member may be left out or null.
#[derive(Debug, ToSchema)]
#[schema(as = NewLink, rename_all = "camelCase")]
pub(crate) struct Wanted {
    /// The profile to bind the accounts to. Without it, that of the access key, if the key is bound to one.
    profile_id: Option<String>,
    /// Names of the platforms that can be connected through the link; without it, all that can be connected now.
    #[schema(min_items = 1, max_items = 100, example = json!(["twitter", "bluesky"]))]
    platforms: Option<Vec<String>>,
    /// Where the page's last button leads, under the rules for `redirectUri` when a connection is begun: with
    /// `status=success`, and `platform` and `integrationId` of all that was connected, separated by commas; or with
    /// `status=cancelled`. Without it, to a page that says that all is done.
    #[schema(format = "uri", max_length = 2048, example = "https://app.example/connected")]
    redirect_uri: Option<String>,
    /// How long the link works. It never outlives the access key that makes it.
    #[schema(value_type = Option<u64>, minimum = 60, maximum = 2_592_000, default = 86_400)]
    expires_in_seconds: Option<Duration>,
}

impl FromMembers for Wanted {
    const BODY_MAX: usize = 16 * 1024;

    fn from_members(members: &mut Members) -> Result<Self, ApiError> {
        let profile_id = fields::nullable(members, "profileId", fields::any)?.flatten();
        let redirect_uri = fields::nullable(members, "redirectUri", fields::any)?.flatten();
        let wrong = || fields::invalid("platforms", &format!("must be a list of 1 to {PLATFORMS_MAX} names"));
        let platforms = match members.take("platforms") {
            None | Some(Value::Null) => None,
            Some(Value::Array(names)) if (1..=PLATFORMS_MAX).contains(&names.len()) => {
                let names = names.into_iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(wrong));
                Some(names.collect::<Result<_, _>>()?)
            }
            Some(_) => return Err(wrong()),
        };
        let (least, most) = (LIFE_MIN.as_secs(), LIFE_MAX.as_secs());
        let expires_in_seconds = match members.take("expiresInSeconds") {
            None | Some(Value::Null) => None,
            Some(seconds) => {
                let seconds = whole(&seconds).filter(|seconds| (least..=most).contains(seconds));
                let wrong =
                    || fields::invalid("expiresInSeconds", &format!("must be an integer from {least} to {most}"));
                Some(Duration::from_secs(seconds.ok_or_else(wrong)?))
            }
        };
        members.refuse_others()?;
        Ok(Self { profile_id, platforms, redirect_uri, expires_in_seconds })
    }
}

/// Reads an integer. To JSON, `60.0` is one.
fn whole(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| number.as_f64()?.to_string().parse().ok())
}

/// A connect link.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Link)]
pub(crate) struct LinkView {
    #[schema(example = "link_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    id: String,
    /// The address to send to the person: whoever has it can use it. Only in the answer to the call that makes the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(
        format = "uri",
        example = "https://connect.example/connect/link/PZlN3kVYhUy4rA7sW2xQbT0cE9mJ6gD1fHoI8pRnLv5"
    )]
    url: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    platforms: Vec<String>,
    /// The profile that accounts are bound to; null without one.
    #[schema(required)]
    profile_id: Option<String>,
    #[schema(example = "open")]
    status: LinkStatusView,
    /// Those of the latest 200 accounts connected through it that still are; for all of a profile's, list integrations
    /// by `profileId`. Only in the answer to the call that looks at the link.
    #[serde(skip_serializing_if = "Option::is_none")]
    integrations: Option<Vec<IntegrationView>>,
}

/// `open`: nothing was connected through it so far. `used`: something was, and it still works. `expired`. `revoked`, by a
/// call or with its access key or profile.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LinkStatus)]
enum LinkStatusView {
    Expired,
    Open,
    Revoked,
    Used,
}

impl From<LinkStatus> for LinkStatusView {
    fn from(status: LinkStatus) -> Self {
        match status {
            LinkStatus::Expired => Self::Expired,
            LinkStatus::Open => Self::Open,
            LinkStatus::Revoked => Self::Revoked,
            LinkStatus::Used => Self::Used,
        }
    }
}

impl LinkView {
    fn new(link: Link, status: LinkStatus) -> Self {
        Self {
            id: link.id.to_string(),
            url: None,
            expires_at: link.expires_at,
            platforms: link.platforms,
            profile_id: link.profile_id.map(|id| id.to_string()),
            status: status.into(),
            integrations: None,
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the address is told once, to whoever makes the link")]
    fn with_url(self, url: &SecretString) -> Self {
        Self { url: Some(url.expose_secret().to_owned()), ..self }
    }
}

/// One link.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = LinkAnswer)]
pub(crate) struct LinkAnswer {
    success: bool,
    link: LinkView,
}

/// Make a connect link
///
/// A link to a page of the broker on which whoever has it connects accounts, several in a row, without a front end of
/// yours. It may be opened any number of times until it expires or is revoked; a preview uses nothing up. An account is
/// connected only in the browser that set out from the page.
#[utoipa::path(post, path = "/v1/connect/links", operation_id = "createLink", tag = "Connect",
    request_body = Wanted,
    responses(
        (status = 201, description = "The link, with its `url`.", body = LinkAnswer),
        (status = 400, description = "A member is out of bounds, `platforms` names one that cannot be connected here, or \
            `redirectUri` is not allowed.", body = ErrorBody),
        (status = 403, description = "The access key lacks the scope `connect`, does not work from this address, or is bound \
            to another profile.", body = ErrorBody),
        (status = 404, description = "This project has no such profile.", body = ErrorBody),
        (status = 413, description = "The body is larger than 16 KiB.", body = ErrorBody),
        (status = 429, description = "The project has 20,000 links, or there were too many calls. See `Retry-After`.",
            body = ErrorBody),
    ))]
pub(crate) async fn create(
    state: Current,
    Authenticated(caller): Authenticated,
    Body(wanted): Body<Wanted>,
) -> Result<HttpResponse, ApiError> {
    let Wanted { profile_id, platforms, redirect_uri, expires_in_seconds } = wanted;
    let wanted = NewLink { profile_id, platforms, redirect_uri, life: expires_in_seconds };
    let (link, url) = state.broker.create_link(&caller, wanted).await?;
    let link = LinkView::new(link, LinkStatus::Open).with_url(&url);
    Ok(HttpResponse::Created().json(LinkAnswer { success: true, link }))
}

/// Look at a connect link
///
/// Without its `url`, with what was connected through it. A link is forgotten a day after its end.
#[utoipa::path(get, path = "/v1/connect/links/{id}", operation_id = "getLink", tag = "Connect",
    params(("id" = String, Path, description = "The link's id.")),
    responses(
        (status = 200, description = "The link.", body = LinkAnswer),
        (status = 404, description = "This project has no such link.", body = ErrorBody),
    ))]
pub(crate) async fn get(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<LinkAnswer>, ApiError> {
    let LinkState { link, status, integrations } = state.broker.get_link(&caller, &id).await?;
    let integrations = Some(integrations.into_iter().map(IntegrationView::from).collect());
    Ok(Json(LinkAnswer { success: true, link: LinkView { integrations, ..LinkView::new(link, status) } }))
}

/// Revoke a connect link
///
/// Nothing can be connected through it from then on. What was connected stays.
#[utoipa::path(delete, path = "/v1/connect/links/{id}", operation_id = "revokeLink", tag = "Connect",
    params(("id" = String, Path, description = "The link's id.")),
    responses(
        (status = 200, description = "It is revoked.", body = DoneView),
        (status = 404, description = "This project has no such link.", body = ErrorBody),
    ))]
pub(crate) async fn revoke(
    state: Current,
    Authenticated(caller): Authenticated,
    Segment(id): Segment,
) -> Result<Json<DoneView>, ApiError> {
    state.broker.revoke_link(&caller, &id).await?;
    Ok(Json(DoneView::new("The link is revoked. What was connected through it stays connected.")))
}
