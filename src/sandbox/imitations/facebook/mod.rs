//! Facebook: Pages. <https://developers.facebook.com/docs/facebook-login/guides/advanced/manual-flow>
//!
//! A person's permissions belong to person and app, not to a token: a later consent changes what earlier tokens can
//! do, and one that leaves a Page out takes it from them. A declined permission is offered again only with
//! `auth_type=rerequest`. A Page's token lives as long as the user token that it was requested with, and does not
//! expire when that one is long-lived. Redirects end in `#_=_`.

mod graph;
mod pages;
mod token;

use super::meta;
use super::{Authorize, Challenge, Choice, CodeRules, Endpoint, Example, Imitation, Parameter, Persona, Pkce, Scopes};
use crate::sandbox::step::Step;
use crate::sandbox::world::{Grant, World};

pub(super) const IMITATION: Imitation = Imitation {
    name: "facebook",
    label: "Facebook",
    personas: &[
        Persona { id: "ada", user_id: "122100000000000017", name: "Ada Marlow", handle: "", note: "three Pages" },
        Persona {
            id: "basil",
            user_id: "122100000000000018",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "",
            note: "one Page, without a user name or a picture; the long-lived token comes without expires_in",
        },
        Persona {
            id: "analyst",
            user_id: "122100000000000019",
            name: "Ana Lyst",
            handle: "",
            note: "two Pages, one of them only to look at (no CREATE_CONTENT)",
        },
        Persona { id: "nobody", user_id: "122100000000000020", name: "Nora Body", handle: "", note: "no Page" },
        Persona {
            id: "business",
            user_id: "122100000000000021",
            name: "Bea Manager",
            handle: "",
            note: "Pages behind Business Manager only: /me/accounts is empty, and some come without a token",
        },
        Persona { id: "agency", user_id: "122100000000000022", name: "Agatha Ency", handle: "", note: "250 Pages" },
    ],
    authorize: Authorize {
        path: "/{version}/dialog/oauth",
        separators: meta::SEPARATORS,
        scopes: Scopes {
            known: &[
                "business_management",
                "email",
                "instagram_basic",
                "instagram_content_publish",
                "pages_manage_engagement",
                "pages_manage_metadata",
                "pages_manage_posts",
                "pages_messaging",
                "pages_read_engagement",
                "pages_read_user_content",
                "pages_show_list",
                "public_profile",
                "read_insights",
            ],
            fixed: Some(&["public_profile"]),
            ..Scopes::STANDARD
        },
        parameters: &[
            Parameter { name: "auth_type", words: &["reauthenticate", "rerequest"] },
            Parameter { name: "display", words: &["page", "popup", "touch"] },
        ],
        pkce: |_| Pkce::Optional(Challenge::Base64Url),
        code: CodeRules { life: 600, prefix: "AQ", suffix: "" },
        denial: &[
            ("error", "access_denied"),
            ("error_code", "200"),
            ("error_description", "Permissions error"),
            ("error_reason", "user_denied"),
        ],
        suffix: "#_=_",
        sent_back: meta::sent_back,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "pages_show_list,pages_manage_posts,pages_read_engagement,business_management",
        identity: "/v25.0/me?fields=id,name,picture",
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/{version}/oauth/access_token", step: Step::Token, answer: token::token },
        Endpoint { method: "GET", path: "/{version}/oauth/access_token", step: Step::Token, answer: token::token },
        Endpoint { method: "GET", path: "/{version}/debug_token", step: Step::Inspect, answer: token::debug },
        Endpoint { method: "GET", path: "/{version}/me/permissions", step: Step::Inspect, answer: token::permissions },
        Endpoint { method: "DELETE", path: "/{version}/me/permissions", step: Step::Revoke, answer: token::remove },
        Endpoint { method: "GET", path: "/{version}/me", step: Step::Identity, answer: graph::me },
        Endpoint { method: "GET", path: "/{version}/me/accounts", step: Step::Accounts, answer: graph::accounts },
        Endpoint { method: "GET", path: "/{version}/me/businesses", step: Step::Accounts, answer: graph::businesses },
        Endpoint { method: "GET", path: "/{version}/{id}/owned_pages", step: Step::Accounts, answer: graph::owned },
        Endpoint { method: "GET", path: "/{version}/{id}/client_pages", step: Step::Accounts, answer: graph::clients },
        Endpoint { method: "GET", path: "/{version}/{id}", step: Step::Accounts, answer: graph::page },
    ],
    refuse: token::refuse,
    revocable: true,
    choice: Some(Choice { pages: on_the_consent_page, decided }),
    ..Imitation::STANDARD
};

fn on_the_consent_page(persona: &Persona) -> Vec<super::Page> {
    pages::of(persona).into_iter().map(|page| super::Page { id: page.id, name: page.name }).collect()
}

/// The pages of a grant's person that stayed ticked.
fn visible(grant: &Grant) -> Vec<pages::Page> {
    let ticked = |page: &pages::Page| grant.pages.as_ref().is_none_or(|ticked| ticked.contains(&page.id));
    pages::of(grant.persona).into_iter().filter(ticked).collect()
}

/// Applies a new decision to the person's earlier grants to this app.
fn decided(world: &mut World, id: u64) {
    let Some(new) = world.grants.get(&id).cloned() else { return };
    let of_same = |grant: &Grant| !grant.revoked && grant.is_of_same_person(&new);
    let earlier = world.grants.values().filter(|grant| grant.id != id && of_same(grant)).max_by_key(|grant| grant.id);
    let (mut granted, mut asked) = (new.scopes.clone(), new.asked.clone());
    if let Some(earlier) = earlier {
        if new.parameter("auth_type") != Some("rerequest") {
            granted.retain(|scope| earlier.has(scope) || !earlier.asked.contains(scope));
        }
        granted.extend(earlier.scopes.iter().filter(|scope| !new.asked.contains(scope)).cloned());
        asked.extend(earlier.asked.iter().filter(|scope| !new.asked.contains(scope)).cloned());
    }
    for grant in world.grants.values_mut().filter(|grant| of_same(grant)) {
        grant.scopes.clone_from(&granted);
        grant.asked.clone_from(&asked);
        grant.pages.clone_from(&new.pages);
    }
}
