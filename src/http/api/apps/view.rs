//! Responses of `/v1/apps`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::oauth_app::OauthApp;
use crate::domain::paging::Listed;
use crate::domain::time::Timestamp;
use crate::http::request::NamedPage;

/// A caller's own OAuth app at a platform. Its secret is never returned.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = App)]
pub(crate) struct AppView {
    /// What `appId` takes when an account is connected.
    #[schema(example = "app_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    id: String,
    #[schema(example = "twitter")]
    platform: String,
    name: String,
    #[schema(required, format = "uri")]
    image_url: Option<String>,
    client_id: String,
    /// Integrations connected under this app now, whatever their `authStatus`.
    #[schema(minimum = 0)]
    integration_count: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<OauthApp> for AppView {
    fn from(app: OauthApp) -> Self {
        Self {
            id: app.id.to_string(),
            platform: app.platform,
            name: app.name,
            image_url: app.image_url,
            client_id: app.client_id,
            integration_count: app.integration_count,
            created_at: app.created_at,
            updated_at: app.updated_at,
        }
    }
}

/// One app.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AppAnswer)]
pub(crate) struct AppAnswer {
    success: bool,
    app: AppView,
}

impl From<OauthApp> for AppAnswer {
    fn from(app: OauthApp) -> Self {
        Self { success: true, app: app.into() }
    }
}

/// A page of apps.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AppList)]
pub(crate) struct AppList {
    success: bool,
    /// How many there are on all pages.
    #[schema(minimum = 0)]
    total: u64,
    #[schema(minimum = 1)]
    page: u64,
    #[schema(minimum = 1)]
    limit: u32,
    apps: Vec<AppView>,
}

impl AppList {
    pub(crate) fn new(listed: Listed<OauthApp>, page: &NamedPage) -> Self {
        Self {
            success: true,
            total: listed.total,
            page: page.page,
            limit: page.limit,
            apps: listed.items.into_iter().map(AppView::from).collect(),
        }
    }
}
