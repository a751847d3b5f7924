//! Responses of `/v1/profiles`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::paging::Listed;
use crate::domain::profile::Profile;
use crate::domain::time::Timestamp;
use crate::http::request::NamedPage;

/// A label that groups integrations.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Profile)]
pub(crate) struct ProfileView {
    /// What `profileId` takes.
    #[schema(example = "prof_019a1b2c3d4e7f809a1b2c3d4e5f6071")]
    id: String,
    name: String,
    #[schema(required)]
    description: Option<String>,
    /// Integrations bound to this profile now.
    #[schema(minimum = 0)]
    integration_count: u64,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Profile> for ProfileView {
    fn from(profile: Profile) -> Self {
        Self {
            id: profile.id.to_string(),
            name: profile.name,
            description: profile.description,
            integration_count: profile.integration_count,
            created_at: profile.created_at,
            updated_at: profile.updated_at,
        }
    }
}

/// One profile.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProfileAnswer)]
pub(crate) struct ProfileAnswer {
    success: bool,
    profile: ProfileView,
}

impl From<Profile> for ProfileAnswer {
    fn from(profile: Profile) -> Self {
        Self { success: true, profile: profile.into() }
    }
}

/// A page of profiles.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProfileList)]
pub(crate) struct ProfileList {
    success: bool,
    /// How many there are on all pages.
    #[schema(minimum = 0)]
    total: u64,
    #[schema(minimum = 1)]
    page: u64,
    #[schema(minimum = 1)]
    limit: u32,
    profiles: Vec<ProfileView>,
}

impl ProfileList {
    pub(crate) fn new(listed: Listed<Profile>, page: &NamedPage) -> Self {
        Self {
            success: true,
            total: listed.total,
            page: page.page,
            limit: page.limit,
            profiles: listed.items.into_iter().map(ProfileView::from).collect(),
        }
    }
}
