//! Instagram with Instagram Login.
//! <https://developers.facebook.com/docs/instagram-platform/instagram-api-with-instagram-login/business-login>
//!
//! The documentation wraps the short-lived answer and `/me` in `{"data": […]}`; in practice they also come flat. One
//! account answers each way. The ids in the token answer and in `/me.id` are the app's own; `/me.user_id` is the
//! account's.

use serde_json::{Value, json};

use super::{Authorize, CodeRules, Endpoint, Example, Imitation, Parameter, Persona, Scopes, field_list, meta, select};
use crate::sandbox::answer::Reply;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::Problem;
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;
use crate::sandbox::world::Grant;

const BASIC: &str = "instagram_business_basic";
const PREFIX: &str = "IGAA";

pub(super) const IMITATION: Imitation = Imitation {
    name: "instagram",
    label: "Instagram",
    personas: &[
        Persona { id: "ada", user_id: "17841400000000017", name: "Ada Marlow", handle: "ada.marlow", note: "" },
        Persona {
            id: "basil",
            user_id: "17841400000000018",
            name: "",
            handle: "basil.quince",
            note: "a creator without a display name or a picture; answers come flat",
        },
        Persona {
            id: "personal",
            user_id: "17841400000000019",
            name: "Petra Personal",
            handle: "petra.at.home",
            note: "a personal account, not a professional one",
        },
    ],
    authorize: Authorize {
        path: "/oauth/authorize",
        separators: meta::SEPARATORS,
        scopes: Scopes {
            known: &[
                BASIC,
                "instagram_business_content_publish",
                "instagram_business_manage_comments",
                "instagram_business_manage_insights",
                "instagram_business_manage_messages",
            ],
            mandatory: &[BASIC],
            ..Scopes::STANDARD
        },
        parameters: &[
            Parameter { name: "enable_fb_login", words: &["0", "1"] },
            Parameter { name: "force_authentication", words: &["0", "1"] },
        ],
        code: CodeRules { life: meta::CODE, prefix: "AQ", suffix: "" },
        denial: meta::DENIAL,
        suffix: "#_",
        sent_back: meta::sent_back,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "instagram_business_basic,instagram_business_content_publish",
        authorize: &[("enable_fb_login", "0"), ("force_authentication", "1")],
        identity: "/v23.0/me?fields=user_id,username,name,profile_picture_url,account_type",
        refusals: &["error=invalid_scope&error_reason=something"],
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/oauth/access_token", step: Step::Token, answer: token },
        Endpoint {
            method: "GET",
            path: "/access_token",
            step: Step::LongLived,
            answer: |desk, call| meta::lengthen(desk, call, "ig_exchange_token", PREFIX),
        },
        Endpoint { method: "GET", path: "/refresh_access_token", step: Step::Refresh, answer: renew },
        Endpoint { method: "GET", path: "/{version}/me", step: Step::Identity, answer: me },
    ],
    refuse: meta::refuse,
    ..Imitation::STANDARD
};

/// The account's id that is scoped to the app.
fn app_scoped_id(grant: &Grant) -> u64 {
    let account: u64 = grant.persona.user_id.parse().unwrap_or(0);
    if grant.client.own { account + 2_000_000 } else { account + 1_000_000 }
}

fn answers_flat(grant: &Grant) -> bool {
    grant.persona.id == "basil"
}

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let grant = meta::exchange_code(desk, call)?;
    let token = desk.issue(&grant, TokenKind::Access, PREFIX, Some(meta::SHORT));
    let id = app_scoped_id(&grant);
    let answer: Value = if answers_flat(&grant) {
        json!({"access_token": token, "user_id": id, "permissions": grant.scopes})
    } else {
        let permissions = grant.scopes.join(",");
        json!({"data": [{"access_token": token, "user_id": id.to_string(), "permissions": permissions}]})
    };
    Ok(Reply::json(200, &answer))
}

fn renew(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let (mut answer, grant) = meta::renew(desk, call, "ig_refresh_token", PREFIX, BASIC)?;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("permissions".to_owned(), grant.scopes.join(",").into());
    }
    Ok(Reply::json(200, &answer))
}

fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    const KNOWN: [&str; 9] = [
        "account_type",
        "followers_count",
        "follows_count",
        "id",
        "media_count",
        "name",
        "profile_picture_url",
        "user_id",
        "username",
    ];
    let fields = call.query(&[], &["access_token", "fields"])?;
    let mut names = field_list(fields.find("fields").unwrap_or("id"), &KNOWN)?;
    names.push("id");
    let grant = meta::caller(desk, call, BASIC)?;
    let persona = grant.persona;
    if persona.id == "personal" {
        let trace = desk.world.random();
        return Ok(meta::graph_error(
            400,
            100,
            None,
            "The user is not an Instagram Business or Creator account.",
            &trace,
        ));
    }
    let is_named = !persona.name.is_empty();
    let user = json!({
        "id": app_scoped_id(&grant).to_string(),
        "user_id": persona.user_id,
        "username": persona.handle,
        "account_type": if answers_flat(&grant) { "MEDIA_CREATOR" } else { "BUSINESS" },
        "followers_count": 12,
        "follows_count": 3,
        "media_count": 7,
        "name": is_named.then_some(persona.name),
        "profile_picture_url": is_named.then(|| desk.picture(&grant)),
    });
    let user = select(&user, &names);
    Ok(Reply::json(200, &if answers_flat(&grant) { user } else { json!({"data": [user]}) }))
}
