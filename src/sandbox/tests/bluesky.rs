//! Bluesky: from a handle to a session, and the life of sessions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::sandbox::{BlueskyAccount, Fault, Standing, Step, bluesky_accounts};

const CREATE: &str = "/xrpc/com.atproto.server.createSession";
const REFRESH: &str = "/xrpc/com.atproto.server.refreshSession";
const DELETE: &str = "/xrpc/com.atproto.server.deleteSession";
const GET: &str = "/xrpc/com.atproto.server.getSession";

fn account(handle: &str) -> &'static BlueskyAccount {
    bluesky_accounts().iter().find(|account| account.handle == handle).unwrap()
}

fn post(bench: &Bench, target: &str, token: Option<&str>, body: &Value) -> Got {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut headers: Vec<(&str, &str)> =
        bearer.as_deref().map(|bearer| ("Authorization", bearer)).into_iter().collect();
    let text = if body.is_null() { String::new() } else { body.to_string() };
    if !body.is_null() {
        headers.push(("Content-Type", "application/json"));
    }
    Bench::send_to(bench.sandbox.pds_url(), "POST", target, &headers, &text).unwrap()
}

fn at_pds(bench: &Bench, target: &str, token: &str) -> Got {
    let bearer = format!("Bearer {token}");
    Bench::send_to(bench.sandbox.pds_url(), "GET", target, &[("Authorization", &bearer)], "").unwrap()
}

fn sign_in(bench: &Bench, identifier: &str, password: &str) -> Got {
    post(bench, CREATE, None, &json!({"identifier": identifier, "password": password}))
}

/// Access and refresh token.
fn session(bench: &Bench, handle: &str) -> (String, String) {
    tokens(&sign_in(bench, handle, account(handle).app_password))
}

fn tokens(got: &Got) -> (String, String) {
    assert_eq!(got.why(), (200, ""), "{}", got.body);
    (got.text("/accessJwt"), got.text("/refreshJwt"))
}

fn claims(jwt: &str) -> Value {
    let parts: Vec<&str> = jwt.split('.').collect();
    assert_eq!(parts.len(), 3, "{jwt}");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap()
}

fn refused(got: &Got) -> (u16, String) {
    (got.status, got.text("/error"))
}

fn refusal(status: u16, error: &str) -> (u16, String) {
    (status, error.to_owned())
}

#[test]
fn a_handle_resolves_to_a_server() {
    let bench = Bench::start();
    for account in bluesky_accounts() {
        let resolve =
            |handle: &str| bench.get(&format!("/bluesky/xrpc/com.atproto.identity.resolveHandle?handle={handle}"));
        assert_eq!(resolve(account.handle).json(), json!({"did": account.did}));
        assert_eq!(resolve(&account.handle.to_uppercase()).status, 200);
        let document = bench.get(&format!("/bluesky/plc/{}", account.did)).json();
        assert_eq!(document["id"], account.did);
        assert_eq!(document["alsoKnownAs"], json!([format!("at://{}", account.handle)]));
        let services = document["service"].as_array().unwrap();
        let server = services.iter().find(|service| service["type"] == "AtprotoPersonalDataServer").unwrap();
        assert_eq!(server["serviceEndpoint"], bench.sandbox.pds_url());
        assert_eq!(server["id"] == "#atproto_pds", account.handle != "basil.test");
    }
    let escaped = account("ada.test").did.replace(':', "%3A");
    assert_eq!(bench.get(&format!("/bluesky/plc/{escaped}")).status, 200);
    let origin = url::Url::parse(bench.sandbox.pds_url()).unwrap();
    assert_eq!(origin.path(), "/");
    assert_ne!(bench.sandbox.pds_url(), bench.sandbox.base_url());
}

#[test]
fn broken_handles_do_not_resolve_to_a_server() {
    let bench = Bench::start();
    let resolve =
        |handle: &str| bench.get(&format!("/bluesky/xrpc/com.atproto.identity.resolveHandle?handle={handle}"));
    assert_eq!(refused(&resolve("nobody.test")), refusal(400, "HandleNotFound"));
    for bad in ["%40ada.test", "ada", "a..b", "-a.test", "ada.test%20"] {
        assert_eq!(refused(&resolve(bad)), refusal(400, "InvalidRequest"), "{bad}");
    }
    let document = |handle: &str| bench.get(&format!("/bluesky/plc/{}", resolve(handle).text("/did")));
    assert_eq!(document("ghost.test").status, 404);
    assert_eq!(document("impostor.test").json()["alsoKnownAs"], json!(["at://ada.test"]));
    assert_eq!(document("noserver.test").json()["service"], json!([]));
    assert!(document("path.test").text("/service/0/serviceEndpoint").ends_with("/somewhere"));
    assert_eq!(bench.get("/bluesky/plc/ada.test").status, 404, "a DID is wanted");
}

#[test]
fn both_kinds_of_password_open_a_session() {
    let bench = Bench::start();
    let ada = account("ada.test");
    let got = sign_in(&bench, "ada.test", ada.app_password);
    let (access, refresh) = tokens(&got);
    let answer = got.json();
    assert_eq!(
        (&answer["did"], &answer["handle"], &answer["active"], answer.get("status")),
        (&json!(ada.did), &json!("ada.test"), &json!(true), None)
    );
    assert_eq!(answer["didDoc"]["service"][0]["serviceEndpoint"], bench.sandbox.pds_url());
    let seconds = bench::NOW / 1000;
    let read = claims(&access);
    assert_eq!(
        (&read["scope"], &read["sub"], &read["iat"], &read["exp"]),
        (&json!("com.atproto.appPass"), &json!(ada.did), &json!(seconds), &json!(seconds + 7200))
    );
    let read = claims(&refresh);
    assert_eq!((&read["scope"], &read["exp"]), (&json!("com.atproto.refresh"), &json!(seconds + 90 * 24 * 3600)));
    for identifier in [ada.did, "ADA.test", "ada@example.com"] {
        assert_eq!(sign_in(&bench, identifier, ada.app_password).status, 200, "{identifier}");
    }
    let main = sign_in(&bench, "ada.test", ada.password);
    assert_eq!(claims(&tokens(&main).0)["scope"], "com.atproto.access");
    let privileged = session(&bench, "basil.test").0;
    assert_eq!(claims(&privileged)["scope"], "com.atproto.appPassPrivileged");
    let issued: Vec<String> = bench.control.issued("bluesky").into_iter().map(|issued| issued.value).collect();
    assert!(issued.contains(&access) && issued.contains(&refresh));
}

#[test]
fn accounts_out_of_use_are_refused() {
    let bench = Bench::start();
    let wrong = refusal(401, "AuthenticationRequired");
    let (ada, cleo, theo) = (account("ada.test"), account("cleo.test"), account("theo.test"));
    assert_eq!(refused(&sign_in(&bench, "ada.test", "wrong")), wrong);
    assert_eq!(sign_in(&bench, "nobody.test", "wrong").json(), sign_in(&bench, "ada.test", cleo.app_password).json());
    assert_eq!(refused(&sign_in(&bench, "@ada.test", ada.app_password)), wrong);
    assert_eq!(refused(&sign_in(&bench, "theo.test", theo.app_password)), wrong);
    assert_eq!(refused(&sign_in(&bench, "theo.test", theo.password)), refusal(401, "AccountTakedown"));
    assert_eq!(sign_in(&bench, "cleo.test", cleo.app_password).status, 200);
    assert_eq!(refused(&sign_in(&bench, "cleo.test", cleo.password)), refusal(401, "AuthFactorTokenRequired"));
    let body = json!({"identifier": "cleo.test", "password": cleo.password, "authFactorToken": "SAND2-BOX34"});
    assert_eq!(post(&bench, CREATE, None, &body).status, 200);
    let dora = sign_in(&bench, "dora.test", account("dora.test").app_password);
    assert_eq!((&dora.json()["active"], &dora.json()["status"]), (&json!(false), &json!("deactivated")));
    let profile = at_pds(&bench, "/xrpc/app.bsky.actor.getProfile?actor=dora.test", &tokens(&dora).0);
    assert_eq!(refused(&profile), refusal(401, "AccountDeactivated"));
    for (body, why) in [
        (json!({"identifier": "ada.test"}), "Error: Input the parameter password is missing"),
        (
            json!({"identifier": "ada.test", "password": "x", "scope": "y"}),
            "Error: Input the parameter scope is not known here",
        ),
        (
            json!({"identifier": "ada.test", "password": null}),
            "Request encoding must be application/json, an object of texts",
        ),
        (json!("ada.test"), "Request encoding must be application/json, an object of texts"),
    ] {
        assert_eq!(post(&bench, CREATE, None, &body).why(), (400, why));
    }
}

#[test]
fn sign_ins_are_limited() {
    let bench = Bench::start();
    let once = || sign_in(&bench, "ada.test", "wrong");
    let first = once();
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), (Some("30"), Some("29")));
    for _ in 1..30 {
        assert_eq!(once().status, 401);
    }
    bench.advance(100);
    let limited = once();
    assert_eq!(refused(&limited), refusal(429, "RateLimitExceeded"));
    assert_eq!((limited.header("retry-after"), limited.header("ratelimit-policy")), (Some("200"), Some("30;w=300")));
    assert_eq!(sign_in(&bench, "basil.test", "wrong").status, 401, "each account by itself");
    bench.advance(200);
    assert_eq!(once().status, 401);
}

#[test]
fn a_refresh_token_yields_one_successor_for_two_hours() {
    let bench = Bench::start();
    let (access, first) = session(&bench, "ada.test");
    let refresh = |token: &str| post(&bench, REFRESH, Some(token), &Value::Null);
    let second = tokens(&refresh(&first)).1;
    bench.advance(2 * 3600 - 1);
    let again = tokens(&refresh(&first)).1;
    let id = |token: &str| claims(token)["jti"].clone();
    assert_eq!(id(&again), id(&second), "the same successor");
    assert_ne!(id(&first), id(&second));
    let expiry = |token: &str| claims(token)["exp"].as_i64().unwrap();
    assert_eq!(expiry(&again) - expiry(&second), 2 * 3600 - 1, "spelt anew, it says 90 days anew");
    bench.advance(1);
    assert_eq!(refresh(&first).json(), revoked());
    let third = tokens(&refresh(&again)).1;
    assert_eq!(id(&third), id(&tokens(&refresh(&second)).1), "either spelling of the second");
    assert_eq!(refused(&at_pds(&bench, GET, &access)), refusal(400, "ExpiredToken"));
    bench.advance(90 * 24 * 3600);
    assert_eq!(refresh(&third).json(), json!({"error": "ExpiredToken", "message": "Token has expired"}));
}

fn revoked() -> Value {
    json!({"error": "ExpiredToken", "message": "Token has been revoked"})
}

#[test]
fn a_predecessor_yields_the_newest_and_restores_a_deleted_successor() {
    let bench = Bench::start();
    let id = |token: &str| claims(token)["jti"].clone();
    let refresh = |token: &str| post(&bench, REFRESH, Some(token), &Value::Null);
    let (_, first) = session(&bench, "ada.test");
    let second = tokens(&refresh(&first)).1;
    let third = tokens(&refresh(&second)).1;
    let by_first = tokens(&refresh(&first)).1;
    assert_eq!(by_first, second, "in the same second, the same text");
    assert_eq!(id(&tokens(&refresh(&by_first)).1), id(&third));
    assert_eq!(bench.control.bluesky_sessions(), 3);

    assert_eq!(post(&bench, DELETE, Some(&third), &Value::Null).status, 200);
    assert_eq!(refresh(&third).json(), revoked());
    assert_eq!(id(&tokens(&refresh(&second)).1), id(&third));
    assert_eq!(refresh(&third).status, 200, "alive again");
    for token in [&third, &second, &first] {
        assert_eq!(post(&bench, DELETE, Some(token), &Value::Null).status, 200);
    }
    assert_eq!(refresh(&first).json(), revoked());
}

#[test]
fn access_tokens_of_one_second_are_equal() {
    let bench = Bench::start();
    let (one, other) = (session(&bench, "ada.test"), session(&bench, "ada.test"));
    assert_eq!(one.0, other.0);
    assert_ne!(one.1, other.1);
    bench.advance(1);
    assert_ne!(session(&bench, "ada.test").0, one.0);
}

#[test]
fn controls_change_an_accounts_standing() {
    let bench = Bench::start();
    let ada = account("ada.test");
    let refresh = |token: &str| post(&bench, REFRESH, Some(token), &Value::Null);
    let resolves = |base: &str| {
        let target = "/xrpc/com.atproto.identity.resolveHandle?handle=ada.test";
        let got = match base {
            "" => Bench::send_to(bench.sandbox.pds_url(), "GET", target, &[], "").unwrap(),
            base => bench.get(&format!("{base}{target}")),
        };
        got.status == 200 || refused(&got) != refusal(400, "HandleNotFound")
    };
    let gone = json!({
        "error": "InvalidRequest",
        "message": format!("Could not find user info for account: {}", ada.did),
    });
    assert!(resolves(""));

    let (access, token) = session(&bench, "ada.test");
    assert!(bench.control.bluesky_stand(ada.did, Standing::Deactivated));
    let answer = refresh(&token).json();
    assert_eq!((&answer["active"], &answer["status"]), (&json!(false), &json!("deactivated")));
    assert!(!resolves("") && resolves("/bluesky"));
    assert!(bench.control.bluesky_stand(ada.did, Standing::Active));
    let answer = refresh(&token).json();
    assert_eq!((&answer["active"], answer.get("status")), (&json!(true), None));

    assert!(bench.control.bluesky_stand(ada.did, Standing::TakenDown));
    assert_eq!(refused(&refresh(&token)), refusal(401, "AccountTakedown"));
    assert_eq!(at_pds(&bench, GET, &access).json(), gone);
    bench.control.clear();
    assert_eq!(refresh(&token).json(), revoked(), "also when it is over");

    let (_, token) = session(&bench, "ada.test");
    assert!(bench.control.bluesky_stand(ada.did, Standing::Deleted));
    assert_eq!(refresh(&token).json(), gone);
    assert_eq!(post(&bench, DELETE, Some(&token), &Value::Null).status, 200);
    assert_eq!(refused(&sign_in(&bench, "ada.test", ada.app_password)), refusal(401, "AuthenticationRequired"));
    assert!(!resolves("") && !resolves("/bluesky"));
    assert_eq!(bench.control.bluesky_sessions(), 0);
    assert!(!bench.control.bluesky_stand("did:plc:x", Standing::Deleted));
}

#[test]
fn access_and_refresh_tokens_are_not_interchangeable() {
    let bench = Bench::start();
    let (access, refresh) = session(&bench, "ada.test");
    assert_eq!(at_pds(&bench, GET, &access).text("/handle"), "ada.test");
    assert_eq!(refused(&at_pds(&bench, GET, &refresh)), refusal(400, "InvalidToken"));
    let no_token = json!({"error": "InvalidToken", "message": "Token could not be verified"});
    assert_eq!(post(&bench, REFRESH, Some(&access), &Value::Null).json(), no_token);
    assert_eq!(post(&bench, DELETE, Some(&access), &Value::Null).json(), no_token);
    assert_eq!(refused(&post(&bench, REFRESH, None, &Value::Null)), refusal(401, "AuthMissing"));
    assert_eq!(refused(&post(&bench, REFRESH, Some("x.y.z"), &Value::Null)), refusal(400, "InvalidToken"));
    let with_body = post(&bench, REFRESH, Some(&refresh), &json!({}));
    assert_eq!(with_body.why(), (400, "A request body was provided when none was expected"));
    assert_eq!(post(&bench, DELETE, Some(&refresh), &Value::Null).status, 200);
    assert_eq!(post(&bench, REFRESH, Some(&refresh), &Value::Null).json(), revoked());
    let (_, old) = session(&bench, "ada.test");
    bench.advance(100 * 24 * 3600);
    assert_eq!(post(&bench, DELETE, Some(&old), &Value::Null).status, 200, "also when it has expired");
    let steps: Vec<Step> = bench.control.requests().iter().map(|request| request.step).collect();
    assert_eq!(&steps[..3], [Step::Session, Step::Inspect, Step::Inspect]);
}

#[test]
fn profiles_and_records_are_served() {
    let bench = Bench::start();
    let ada = account("ada.test");
    let public = bench.get(&format!("/bluesky/xrpc/app.bsky.actor.getProfile?actor={}", ada.did));
    let answer = bench.redacted("bluesky", &public);
    assert_eq!(
        (&answer["did"], &answer["displayName"], &answer["avatar"]),
        (&json!(ada.did), &json!("Ada Marlow"), &json!("{base}/bluesky/pictures/ada.svg"))
    );
    let (access, _) = session(&bench, "ada.test");
    let own = at_pds(&bench, "/xrpc/app.bsky.actor.getProfile?actor=ada.test", &access);
    assert_eq!(own.json(), public.json());
    let basil = bench.get("/bluesky/xrpc/app.bsky.actor.getProfile?actor=basil.test").json();
    assert_eq!((basil.get("displayName"), basil.get("avatar")), (None, None));
    let theo = bench.get("/bluesky/xrpc/app.bsky.actor.getProfile?actor=theo.test");
    assert_eq!(refused(&theo), refusal(400, "AccountTakedown"));
    let record = |repo: &str| {
        let target =
            format!("/xrpc/com.atproto.repo.getRecord?repo={repo}&collection=app.bsky.actor.profile&rkey=self");
        Bench::send_to(bench.sandbox.pds_url(), "GET", &target, &[], "").unwrap()
    };
    assert_eq!(record(ada.did).text("/value/displayName"), "Ada Marlow");
    assert_eq!(refused(&record("basil.test")), refusal(400, "RecordNotFound"));
    assert_eq!(
        refused(&bench.get("/bluesky/xrpc/com.atproto.server.createSession")),
        refusal(501, "MethodNotImplemented")
    );
    let wrong = Bench::send_to(bench.sandbox.pds_url(), "GET", CREATE, &[], "").unwrap();
    assert_eq!(refused(&wrong), refusal(400, "InvalidRequest"));
    assert_eq!(Bench::send_to(bench.sandbox.pds_url(), "GET", "/twitter/2/users/me", &[], "").unwrap().status, 404);
}

#[test]
fn faults_and_impersonation_can_be_ordered() {
    let bench = Bench::start();
    let (ada, basil) = (account("ada.test"), account("basil.test"));
    let (access, refresh) = session(&bench, "ada.test");
    bench.control.fail_next("bluesky", Step::DidDocument, Fault::Oversized, 1).unwrap();
    assert!(bench.get(&format!("/bluesky/plc/{}", ada.did)).body.len() > 16_000_000);
    bench.control.fail_next("bluesky", Step::Session, Fault::RateLimited, 1).unwrap();
    let limited = sign_in(&bench, "ada.test", ada.app_password);
    assert_eq!((refused(&limited), limited.header("retry-after")), (refusal(429, "RateLimitExceeded"), Some("30")));
    bench.control.fail_next("bluesky", Step::Refresh, Fault::Lost, 1).unwrap();
    let bearer = format!("Bearer {refresh}");
    let lost = Bench::send_to(bench.sandbox.pds_url(), "POST", REFRESH, &[("Authorization", &bearer)], "");
    assert!(lost.is_none());
    assert_eq!(post(&bench, REFRESH, Some(&refresh), &Value::Null).status, 200, "a lost answer loses nothing");

    bench.control.bluesky_impersonate(basil.did);
    let lie = sign_in(&bench, "ada.test", ada.app_password);
    assert_eq!((lie.text("/did"), lie.text("/handle")), (basil.did.to_owned(), "basil.test".to_owned()));
    assert_eq!(claims(&tokens(&lie).0)["sub"], basil.did);
    assert_eq!(post(&bench, REFRESH, Some(&refresh), &Value::Null).text("/did"), basil.did);
    bench.control.clear();
    assert_eq!(sign_in(&bench, "ada.test", ada.app_password).text("/did"), ada.did);

    bench.control.revoke_all("bluesky");
    assert_eq!(post(&bench, REFRESH, Some(&refresh), &Value::Null).json(), revoked());
    assert_eq!(at_pds(&bench, GET, &access).status, 200, "until it expires");
    bench.control.expire_access("bluesky");
    assert_eq!(refused(&at_pds(&bench, GET, &access)), refusal(400, "ExpiredToken"));
}

#[test]
fn controls_work_over_http() {
    let bench = Bench::start();
    let control = |path: &str, body: &Value| {
        bench.send("POST", path, &[("Content-Type", "application/json")], &body.to_string()).unwrap().status
    };
    let order = json!({"platform": "bluesky", "step": "resolve", "fault": "500"});
    assert_eq!(control("/_control/faults", &order), 200);
    assert_eq!(bench.get("/bluesky/xrpc/com.atproto.identity.resolveHandle?handle=ada.test").status, 500);
    assert_eq!(control("/_control/impersonate", &json!({"did": "did:plc:x"})), 200);
    assert_eq!(sign_in(&bench, "ada.test", account("ada.test").app_password).text("/did"), "did:plc:x");
    assert_eq!(control("/_control/revoke", &json!({"platform": "bluesky"})), 200);
    let ada = account("ada.test");
    for (did, standing, status) in [(ada.did, "deleted", 200), (ada.did, "asleep", 400), ("did:plc:x", "deleted", 400)]
    {
        assert_eq!(control("/_control/standing", &json!({"did": did, "standing": standing})), status, "{standing}");
    }
    assert_eq!(sign_in(&bench, "ada.test", ada.app_password).status, 401);
}
