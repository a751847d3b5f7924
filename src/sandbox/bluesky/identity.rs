//! Identities at Bluesky: handles, DID documents, profiles.

use serde_json::{Value, json};

use super::accounts::{self, BlueskyAccount, Document, STRAYS, Standing};
use super::{NAME, Refused, parameters, session};
use crate::sandbox::answer::{Reply, without_nulls};
use crate::sandbox::call::{Call, form_decoded};
use crate::sandbox::serve::WHY;
use crate::sandbox::world::World;

/// The handle's DID, unverified.
pub(super) fn resolve(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    resolve_where(call, |account| world.bluesky.standing(account) != Standing::Deleted)
}

/// The same at the PDS, which resolves its accounts while they are in use.
pub(super) fn resolve_own(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    resolve_where(call, |account| world.bluesky.standing(account).is_active())
}

fn resolve_where(call: &Call, is_known: impl Fn(&BlueskyAccount) -> bool) -> Result<Reply, Refused> {
    let handle = parameters(call, &["handle"], &[])?.get("handle").to_ascii_lowercase();
    if !is_handle(&handle) {
        return Err(Refused::invalid("Error: handle must be a valid handle"));
    }
    let strays = STRAYS.iter().find(|stray| stray.handle == handle).map(|stray| stray.did);
    let account = accounts::find(&handle).filter(|account| is_known(account));
    let did = account.map(|account| account.did).or(strays).ok_or_else(unresolved)?;
    Ok(Reply::json(200, &json!({"did": did})))
}

pub(super) fn unresolved() -> Refused {
    Refused::new(400, "HandleNotFound", "Unable to resolve handle")
}

fn is_handle(text: &str) -> bool {
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(inside) && !label.starts_with('-') && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(is_label)
}

/// The directory's document of a DID.
pub(super) fn document(world: &mut World, call: &Call) -> Reply {
    let did = form_decoded(call.path.strip_prefix("/plc/").unwrap_or_default());
    let of_account = accounts::find(&did).filter(|account| account.did == did);
    let document = of_account.map(|account| document_of(world, account)).or_else(|| stray_document(world, &did));
    let Some(document) = document else {
        let message = format!("DID not registered: {did}");
        return Reply::json(404, &json!({"message": message})).header(WHY, message);
    };
    Reply::typed(200, "application/did+ld+json; charset=utf-8", document.to_string().into_bytes())
}

/// Basil's document names the server by a full id, after another service.
pub(super) fn document_of(world: &World, account: &BlueskyAccount) -> Value {
    let pds = |id: &str| service(id, "AtprotoPersonalDataServer", &world.pds_url);
    let services = if account.handle == "basil.test" {
        let labeler = service("#atproto_labeler", "AtprotoLabeler", "https://labels.invalid");
        json!([labeler, pds(&format!("{}#atproto_pds", account.did))])
    } else {
        json!([pds("#atproto_pds")])
    };
    whole(account.did, account.handle, &services)
}

fn stray_document(world: &World, did: &str) -> Option<Value> {
    let stray = STRAYS.iter().find(|stray| stray.did == did)?;
    let services = match stray.document {
        Document::Foreign | Document::Missing => return None,
        Document::ServerWithPath => {
            json!([service("#atproto_pds", "AtprotoPersonalDataServer", &format!("{}/somewhere", world.pds_url))])
        }
        Document::WithoutServer => json!([]),
    };
    Some(whole(did, stray.handle, &services))
}

fn service(id: &str, kind: &str, endpoint: &str) -> Value {
    json!({"id": id, "type": kind, "serviceEndpoint": endpoint})
}

fn whole(did: &str, handle: &str, services: &Value) -> Value {
    json!({
        "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
        "id": did,
        "alsoKnownAs": [format!("at://{handle}")],
        "verificationMethod": [{
            "id": format!("{did}#atproto"),
            "type": "Multikey",
            "controller": did,
            "publicKeyMultibase": "zQ3shSandboxKeyThatVerifiesNothing",
        }],
        "service": services,
    })
}

/// The AppView's public profile.
pub(super) fn public_profile(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    let actor = parameters(call, &["actor"], &[])?.get("actor");
    let account = accounts::find(actor).ok_or_else(|| Refused::invalid("Profile not found"))?;
    match world.bluesky.standing(account) {
        Standing::Deleted => Err(Refused::invalid("Profile not found")),
        Standing::Deactivated => Err(Refused::new(400, "AccountDeactivated", "Account is deactivated")),
        Standing::TakenDown => Err(Refused::new(400, "AccountTakedown", "Account has been suspended")),
        Standing::Active | Standing::SecondFactor => {
            let is_named = !account.display_name.is_empty();
            let file = account.handle.strip_suffix(".test").unwrap_or_default();
            let profile = json!({
                "did": account.did,
                "handle": account.handle,
                "followersCount": 1,
                "followsCount": 2,
                "postsCount": 3,
                "labels": [],
                "avatar": is_named.then(|| format!("{}/{NAME}/pictures/{file}.svg", world.base_url)),
                "displayName": is_named.then_some(account.display_name),
            });
            Ok(Reply::json(200, &without_nulls(profile)))
        }
    }
}

/// The same through the PDS, with a session.
pub(super) fn own_profile(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    let account = session::access(world, call)?;
    if world.bluesky.standing(account) == Standing::Deactivated {
        return Err(Refused::new(401, "AccountDeactivated", "Account is deactivated"));
    }
    public_profile(world, call)
}

/// A record of a repository: the profile is the only one.
pub(super) fn record(world: &mut World, call: &Call) -> Result<Reply, Refused> {
    let fields = parameters(call, &["repo", "collection", "rkey"], &["cid"])?;
    let account = accounts::find(fields.get("repo"))
        .ok_or_else(|| Refused::invalid(&format!("Could not find repo: {}", fields.get("repo"))))?;
    if !world.bluesky.standing(account).is_active() {
        return Err(Refused::invalid("Could not locate record"));
    }
    let (collection, key) = (fields.get("collection"), fields.get("rkey"));
    let uri = format!("at://{}/{collection}/{key}", account.did);
    if (collection, key) != ("app.bsky.actor.profile", "self") || account.display_name.is_empty() {
        return Err(Refused::new(400, "RecordNotFound", &format!("Could not locate record: {uri}")));
    }
    let cid = "bafkreisandboxsandboxsandboxsandboxsandboxsandboxsandboxsand";
    let avatar = json!({"$type": "blob", "ref": {"$link": cid}, "mimeType": "image/svg+xml", "size": 400});
    let value = json!({
        "$type": "app.bsky.actor.profile",
        "displayName": account.display_name,
        "description": "",
        "avatar": avatar,
    });
    Ok(Reply::json(200, &json!({"uri": uri, "cid": cid, "value": value})))
}
