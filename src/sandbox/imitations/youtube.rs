//! YouTube: Google's OAuth 2.0 and the Data API's list of one's own channels.
//! <https://developers.google.com/youtube/v3/docs/channels/list>

use serde_json::json;

use super::{Authorize, Challenge, CodeRules, Endpoint, Example, Imitation, Persona, Pkce, Scopes, google};
use crate::sandbox::answer::Reply;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::Problem;
use crate::sandbox::step::Step;

const READONLY: &str = "https://www.googleapis.com/auth/youtube.readonly";

pub(super) const IMITATION: Imitation = Imitation {
    name: "youtube",
    label: "YouTube (Google)",
    personas: &[
        Persona { id: "ada", user_id: "UC4Rk0sandboxAdaMarlowX0", name: "Ada Marlow", handle: "adamarlow", note: "" },
        Persona {
            id: "basil",
            user_id: "UC4Rk0sandboxBasilQuinc1",
            name: "Basil <b>Quince</b> & Söhne 🦊",
            handle: "",
            note: "a channel without a handle or a picture",
        },
        Persona { id: "viewer", user_id: "", name: "Vera Viewer", handle: "", note: "has no channel" },
    ],
    authorize: Authorize {
        path: "/o/oauth2/v2/auth",
        scopes: Scopes {
            known: &[
                "email",
                "https://www.googleapis.com/auth/youtube",
                "https://www.googleapis.com/auth/youtube.force-ssl",
                READONLY,
                "https://www.googleapis.com/auth/youtube.upload",
                "https://www.googleapis.com/auth/youtubepartner",
                "https://www.googleapis.com/auth/yt-analytics.readonly",
                "openid",
                "profile",
            ],
            fixed: Some(google::IDENTITY_SCOPES),
            ..Scopes::STANDARD
        },
        parameters: google::PARAMETERS,
        pkce: |_| Pkce::Optional(Challenge::Base64Url),
        code: CodeRules { life: 600, prefix: "4/0", suffix: "" },
        granted_scope: Some(("scope", " ")),
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "openid profile email https://www.googleapis.com/auth/youtube.upload \
                https://www.googleapis.com/auth/youtube.readonly",
        authorize: google::AUTHORIZE,
        pkce: true,
        identity: "/youtube/v3/channels?part=snippet&mine=true",
        refusals: &["error=admin_policy_enforced", "error=org_internal"],
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/token", step: Step::Token, answer: google::token },
        Endpoint { method: "POST", path: "/revoke", step: Step::Revoke, answer: google::revoke },
        Endpoint { method: "GET", path: "/oauth2/v2/userinfo", step: Step::Identity, answer: google::userinfo },
        Endpoint { method: "GET", path: "/youtube/v3/channels", step: Step::Identity, answer: channels },
    ],
    refuse: google::refuse,
    revocable: true,
    ..Imitation::STANDARD
};

fn channels(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&["part", "mine"], &["maxResults"])?;
    fields.expect("mine", "true")?;
    if let Some(part) = fields.get("part").split(',').find(|part| !["id", "snippet"].contains(part)) {
        return Err(Problem::Parameter(format!("the sandbox has no part '{part}'")));
    }
    let grant = desk.bearer(call, &[])?;
    if !grant.scopes.iter().any(|scope| {
        matches!(
            scope.strip_prefix("https://www.googleapis.com/auth/youtube"),
            Some("" | ".force-ssl" | ".readonly" | "partner")
        )
    }) {
        return Err(Problem::Scope(READONLY.to_owned()));
    }
    let persona = grant.persona;
    let items = if persona.user_id.is_empty() {
        json!([])
    } else if persona.handle.is_empty() {
        json!([{
            "kind": "youtube#channel",
            "id": persona.user_id,
            "snippet": {"title": persona.name, "description": "", "thumbnails": {}},
        }])
    } else {
        json!([{
            "kind": "youtube#channel",
            "id": persona.user_id,
            "snippet": {
                "title": persona.name,
                "description": "",
                "customUrl": format!("@{}", persona.handle),
                "thumbnails": {"default": {"url": desk.picture(&grant), "width": 88, "height": 88}},
            },
        }])
    };
    let total = items.as_array().map_or(0, Vec::len);
    Ok(Reply::json(
        200,
        &json!({
            "kind": "youtube#channelListResponse",
            "pageInfo": {"totalResults": total, "resultsPerPage": 5},
            "items": items,
        }),
    ))
}
