//! Threads. <https://developers.facebook.com/docs/threads/get-started/get-access-tokens-and-permissions>
//!
//! `user_id` is a JSON number beyond 2^53 in the token answer and a string in the identity; redirects end in `#_`.

use serde_json::json;

use super::{Authorize, CodeRules, Endpoint, Example, Imitation, Persona, Scopes, field_list, meta, select};
use crate::sandbox::answer::Reply;
use crate::sandbox::call::Call;
use crate::sandbox::desk::Desk;
use crate::sandbox::problem::Problem;
use crate::sandbox::record::TokenKind;
use crate::sandbox::step::Step;

const BASIC: &str = "threads_basic";
const PREFIX: &str = "THQVJ";

pub(super) const IMITATION: Imitation = Imitation {
    name: "threads",
    label: "Threads",
    personas: &[
        Persona { id: "ada", user_id: "17841405793187218", name: "Ada Marlow", handle: "ada.marlow", note: "" },
        Persona {
            id: "basil",
            user_id: "17841405793187219",
            name: "",
            handle: "basil.quince",
            note: "no display name and no picture",
        },
    ],
    authorize: Authorize {
        path: "/oauth/authorize",
        separators: meta::SEPARATORS,
        scopes: Scopes {
            known: &[
                BASIC,
                "threads_content_publish",
                "threads_delete",
                "threads_manage_insights",
                "threads_manage_replies",
                "threads_read_replies",
            ],
            mandatory: &[BASIC],
            ..Scopes::STANDARD
        },
        code: CodeRules { life: meta::CODE, prefix: "AQ", suffix: "" },
        denial: meta::DENIAL,
        suffix: "#_",
        sent_back: meta::sent_back,
        ..Authorize::STANDARD
    },
    example: Example {
        scope: "threads_basic,threads_content_publish",
        identity: "/v1.0/me?fields=id,username,name,threads_profile_picture_url",
        // As Threads spells it in its documentation.
        denials: &["error=acceess_denied&error_reason=user_denied&error_description=x"],
        ..Example::STANDARD
    },
    endpoints: &[
        Endpoint { method: "POST", path: "/oauth/access_token", step: Step::Token, answer: token },
        Endpoint {
            method: "GET",
            path: "/access_token",
            step: Step::LongLived,
            answer: |desk, call| meta::lengthen(desk, call, "th_exchange_token", PREFIX),
        },
        Endpoint { method: "GET", path: "/refresh_access_token", step: Step::Refresh, answer: renew },
        Endpoint { method: "GET", path: "/debug_token", step: Step::Inspect, answer: debug_token },
        Endpoint { method: "GET", path: "/v1.0/me", step: Step::Identity, answer: me },
    ],
    refuse: meta::refuse,
    ..Imitation::STANDARD
};

fn token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let grant = meta::exchange_code(desk, call)?;
    let user_id: u64 = grant.persona.user_id.parse().map_err(|_| Problem::ServerError)?;
    let token = desk.issue(&grant, TokenKind::Access, PREFIX, Some(meta::SHORT));
    Ok(Reply::json(200, &json!({"access_token": token, "user_id": user_id})))
}

fn renew(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let (answer, _) = meta::renew(desk, call, "th_refresh_token", PREFIX, BASIC)?;
    Ok(Reply::json(200, &answer))
}

/// Inspects a token. The caller's token may be the same.
fn debug_token(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    let fields = call.query(&["input_token"], &["access_token"])?;
    meta::caller(desk, call, BASIC)?;
    let (_, grant) = desk.access(fields.find("input_token").unwrap_or_default(), &[])?;
    Ok(Reply::json(
        200,
        &json!({"data": {"is_valid": true, "scopes": grant.scopes, "type": "USER", "user_id": grant.persona.user_id}}),
    ))
}

fn me(desk: &mut Desk<'_>, call: &Call) -> Result<Reply, Problem> {
    const KNOWN: [&str; 6] =
        ["id", "is_verified", "name", "threads_biography", "threads_profile_picture_url", "username"];
    let fields = call.query(&[], &["access_token", "fields"])?;
    let mut names = field_list(fields.find("fields").unwrap_or("id"), &KNOWN)?;
    names.push("id");
    let grant = meta::caller(desk, call, BASIC)?;
    let persona = grant.persona;
    let is_named = !persona.name.is_empty();
    let user = json!({
        "id": persona.user_id,
        "username": persona.handle,
        "is_verified": false,
        "threads_biography": "",
        "name": is_named.then_some(persona.name),
        "threads_profile_picture_url": is_named.then(|| desk.picture(&grant)),
    });
    Ok(Reply::json(200, &select(&user, &names)))
}
