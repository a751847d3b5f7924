//! Lists LinkedIn organizations, after the person. No failure here ends a connection: the person can always be
//! connected.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use url::Url;

use super::{AT_ONCE, Listing, Paging, Route, report};
use crate::domain::account::{Account, AccountKind, FoundAccount, Identity};
use crate::domain::error_chain::chain;
use crate::domain::platform_error::PlatformError;
use crate::platforms::linkedin::{
    ORGANIZATION_SCOPES, Organization, Role, next_start, organization_account, posts, read_logos, read_organizations,
    read_roles, unusable_organization,
};

const PAGING: Paging = Paging { parameter: "start", first: Some("0"), next: next_start };
/// Most organizations in one look-up.
const BATCH: usize = 50;
/// Most logos in one answer: each comes in many renditions.
const LOGOS: &str = "q=roleAssignee&state=APPROVED&count=50&projection=\
                     (elements*(role,organizationalTarget~(localizedName,vanityName,logoV2(original~:playableStreams))))";

pub(super) async fn list(mut listing: Listing<'_>, person: Account) -> Result<Identity, PlatformError> {
    let mut identity = Identity::single(person);
    if !listing.scopes.iter().any(|scope| ORGANIZATION_SCOPES.contains(&scope.as_str())) {
        return Ok(identity);
    }
    listing.headers = vec![
        ("LinkedIn-Version".into(), listing.platform.api_version.to_string()),
        ("X-Restli-Protocol-Version".into(), "2.0.0".to_owned()),
    ];
    let listing = &listing;
    let api = listing.platform.api_url.as_ref();
    let query = [("q", "roleAssignee"), ("state", "APPROVED"), ("count", "100")];
    let url = listing.url(api, "/rest/organizationAcls", &query);
    let roles = listing.route("your LinkedIn organizations".to_owned(), url, &PAGING, read_roles).await;
    let best = one_each(&roles);
    identity.routes.push(report(listing.platform, &roles.name, best.len(), roles.trouble.as_ref()));
    identity.failure = roles.trouble.as_ref().map(PlatformError::of_connection);
    if best.is_empty() {
        return Ok(identity);
    }
    let (organizations, trouble) = look_up(listing, api, &best).await;
    let logos = logos(listing, api).await;
    if trouble.is_some() {
        let found = organizations.len();
        let route = "names of your LinkedIn organizations";
        identity.routes.push(report(listing.platform, route, found, trouble.as_ref()));
    }
    for role in best {
        let organization = combined(organizations.get(&role.organization), logos.get(&role.organization));
        if posts(&role.role) {
            let account = organization_account(role, organization);
            identity.accounts.push(FoundAccount::new(account, AccountKind::Organization));
        } else {
            identity.unusable.push(unusable_organization(role, organization));
        }
    }
    Ok(identity)
}

/// One role for each organization, in the order of the listing: preferably one that may post.
fn one_each(roles: &Route<Role>) -> Vec<&Role> {
    let mut best: Vec<&Role> = Vec::new();
    for role in &roles.found {
        match best.iter_mut().find(|known| known.organization == role.organization) {
            Some(known) if posts(&role.role) && !posts(&known.role) => *known = role,
            Some(_) => {}
            None => best.push(role),
        }
    }
    best
}

/// Names by organization, and the failure that left some out.
async fn look_up(
    listing: &Listing<'_>,
    api: &str,
    roles: &[&Role],
) -> (BTreeMap<String, Organization>, Option<PlatformError>) {
    let asked: Vec<_> = roles
        .chunks(BATCH)
        .map(|batch| async move {
            let url = look_up_url(listing.url(api, "/rest/organizationsLookup", &[])?, batch);
            listing.get(&url, read_organizations).await
        })
        .collect();
    let mut named = BTreeMap::new();
    let mut trouble = None;
    let mut answers = stream::iter(asked).buffered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(organizations) => named.extend(organizations),
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    (named, trouble)
}

/// Rest.li rejects percent-encoded parentheses and commas, which `query_pairs_mut` would write.
fn look_up_url(mut url: Url, batch: &[&Role]) -> Url {
    let ids: Vec<&str> = batch.iter().map(|role| role.organization.as_str()).collect();
    url.set_query(Some(&format!("ids=List({})", ids.join(","))));
    url
}

/// Logos by organization. The look-up has only the URNs of images. A failure costs only the logos.
async fn logos(listing: &Listing<'_>, api: &str) -> BTreeMap<String, Organization> {
    let url = listing.url(api, "/v2/organizationalEntityAcls", &[]).map(|mut url| {
        url.set_query(Some(LOGOS));
        url
    });
    let route = listing.route("logos".to_owned(), url, &PAGING, read_logos).await;
    if let Some(error) = &route.trouble {
        tracing::warn!(
            platform.name = %listing.platform.name, error = %chain(error),
            next_step = %error.next_step(listing.platform.console()), found = route.found.len(),
            "cannot read all logos of the organizations: going on without them"
        );
    }
    route.found.into_iter().collect()
}

/// The organization from the look-up, completed with what came with its logo.
fn combined(named: Option<&Organization>, with_logo: Option<&Organization>) -> Organization {
    let of = |field: fn(&Organization) -> &Option<String>| {
        named.and_then(|organization| field(organization).clone()).or_else(|| field(with_logo?).clone())
    };
    Organization {
        name: of(|organization| &organization.name),
        vanity_name: of(|organization| &organization.vanity_name),
        logo_url: of(|organization| &organization.logo_url),
    }
}
