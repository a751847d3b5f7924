//! The life of a selection and its accounts: reloads, expiry, purging, consenting again with fewer accounts, and
//! disconnecting one of several.

use std::time::Duration;

use postpeer::sandbox::{Answer, Fault, Step};
use serde_json::{Value, json};

use super::{ADA, BACK, arrive, choice, choose, ids, look, offered, text, total};
use crate::support::{Reply, TestBroker, parameter};

/// Ada's pages, as her consent page names them.
const PAGES: [&str; 3] = ["101000000000001", "101000000000002", "101000000000003"];

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

async fn statuses(broker: &TestBroker, integrations: &[String]) -> Vec<(Value, Value)> {
    let mut found = Vec::new();
    for id in integrations {
        let reply = broker.get(&format!("/v1/connect/integrations/{id}")).await;
        let integration = &reply.json["integration"];
        found.push((integration["authStatus"].clone(), integration["authFailureReason"].clone()));
    }
    found
}

fn own_tokens(broker: &TestBroker) -> Vec<(String, u32, Option<Vec<u8>>)> {
    let db = broker.sql();
    let mut statement =
        db.prepare("SELECT platform_user_id, generation, tokens FROM integrations ORDER BY platform_user_id").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_of_the_callback_leads_to_the_same_place() {
    let broker = TestBroker::start().await;
    for query in [format!("{BACK}&headless=true"), BACK.to_owned(), "headless=true".to_owned(), String::new()] {
        let (callback, location) = arrive(&broker, "facebook", &query, &Answer::allow()).await;
        let asked = broker.sandbox().requests().len();
        let headless = query.contains("headless") && query.contains("redirectUri");
        let own_page = format!("{}/connect/selection/", broker.url);
        assert_eq!(location.starts_with("https://app.example/back?nonce=1&status=selection_required&"), headless);
        assert_eq!(location.starts_with(&own_page), !headless, "{location}");
        broker.clock.advance(Duration::from_mins(9));
        assert_eq!(broker.browse(&callback).await.location(), location);
        assert_eq!(broker.sandbox().requests().len(), asked, "the platform is asked nothing");

        let token =
            parameter(&location, "selectionToken").unwrap_or_else(|| location.rsplit('/').next().unwrap().to_owned());
        let done = choose(&broker, "facebook", &token, &ADA[..1]).await;
        assert_eq!(done.status, 200, "{}", done.text);
        let reply = broker.browse(&callback).await;
        if query.contains("redirectUri") {
            assert_eq!(reply.location(), text(&done.json["redirectUri"]), "it is connected by now");
        } else {
            assert_eq!(done.json.get("redirectUri"), None);
            assert_eq!((reply.status, reply.location().as_str()), (200, ""));
            assert!(reply.text.contains("Facebook is connected"), "{}", reply.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_says_how_long_a_choice_waits() {
    let broker = TestBroker::builder().setting("POSTPEER_CONNECT__SELECTION_TTL_SECONDS", "30").start().await;
    let (callback, location) = arrive(&broker, "facebook", &format!("{BACK}&headless=true"), &Answer::allow()).await;
    let token = parameter(&location, "selectionToken").unwrap();
    assert_eq!(look(&broker, "facebook", &token).await.json["expiresInSeconds"], 30);
    broker.clock.advance(Duration::from_millis(29_999));
    assert_eq!(look(&broker, "facebook", &token).await.json["expiresInSeconds"], 0);
    broker.clock.advance(Duration::from_millis(1));
    assert_eq!(look(&broker, "facebook", &token).await.status, 404);
    let reply = broker.browse(&callback).await;
    assert_eq!(parameter(&reply.location(), "error").as_deref(), Some("flow_expired"), "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_who_chooses_too_late_is_sent_back_to_the_app() {
    let broker = TestBroker::start().await;
    let cancel = "cancelRedirectUri=https://app.example/no";
    let (callback, page) = arrive(&broker, "facebook", &format!("{BACK}&{cancel}"), &Answer::allow()).await;
    let (other_callback, other_page) = arrive(&broker, "facebook", "", &Answer::allow()).await;
    let token = page.rsplit('/').next().unwrap().to_owned();
    let press = async |page: &str, button: &str| {
        let form = format!("account={}&action={button}", ADA[0]);
        let request = broker.request("POST", page).header("content-type", "application/x-www-form-urlencoded");
        Reply::of(request.body(form).send().await.unwrap()).await
    };
    broker.clock.advance(Duration::from_mins(10));
    for round in ["before the purge", "after the purge"] {
        let mut replies = vec![broker.browse(&callback).await, broker.browse(&page).await];
        for button in ["connect", "all", "search"] {
            replies.push(press(&page, button).await);
        }
        for reply in replies {
            let location = reply.location();
            let expired = "https://app.example/back?nonce=1&status=error&platform=facebook&error=flow_expired";
            assert_eq!((reply.status, location.as_str()), (303, expired), "{round}: {}", reply.text);
        }
        let location = press(&page, "cancel").await.location();
        let cancelled = "https://app.example/no?status=cancelled&platform=facebook&error=access_denied";
        assert_eq!(location, cancelled, "{round}");

        // Callers of the API get the contract's code.
        for reply in [look(&broker, "facebook", &token).await, choose(&broker, "facebook", &token, &ADA).await] {
            assert_eq!((reply.status, reply.code()), (404, "selection_not_found"), "{round}");
        }
        // Without a redirect, our page says where to go.
        for reply in [broker.browse(&other_page).await, press(&other_page, "connect").await] {
            assert_eq!((reply.status, reply.location().as_str()), (404, ""), "{round}: {}", reply.text);
            assert!(reply.text.contains("start again there"), "{round}: {}", reply.text);
        }
        assert_eq!(broker.browse(&other_callback).await.location(), "", "{round}");
        broker.broker().purge_expired().await.unwrap();
        assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 2, "what the two held, once each");
    }
    let left: u32 = broker.sql().query_row("SELECT count(*) FROM late_redirects", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 2, "of the state and of the token");
    assert_eq!(total(&broker).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_was_made_leaves_no_late_redirect() {
    let broker = TestBroker::start().await;
    let (callback, page) = arrive(&broker, "facebook", BACK, &Answer::allow()).await;
    let token = page.rsplit('/').next().unwrap().to_owned();
    assert_eq!(choose(&broker, "facebook", &token, &ADA[..1]).await.status, 200);
    broker.clock.advance(Duration::from_mins(11));
    for round in ["before the purge", "after the purge"] {
        assert_eq!(broker.browse(&page).await.status, 404, "{round}");
        broker.broker().purge_expired().await.unwrap();
    }
    let reply = broker.browse(&callback).await;
    assert_eq!((reply.status, reply.location().as_str()), (400, ""), "it is not told that it failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_that_nobody_made_leaves_nothing_behind() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let (payload, sealed_token): (Vec<u8>, Vec<u8>) = broker
        .sql()
        .query_row("SELECT payload, token_text FROM selections", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    // A database page from its middle: the first and last ones are shared with other rows.
    let (from, to) = (payload.len() / 2, payload.len() / 2 + 64);
    let needles = [&payload[from..to], &sealed_token[..]];
    assert!(needles.iter().all(|needle| contains(&broker.database(), needle)), "the test looks for the wrong bytes");
    for secret in [token.as_bytes(), b"Harbour Lights"] {
        assert!(!contains(&broker.database(), secret), "it is sealed");
    }

    broker.clock.advance(Duration::from_millis(599_999));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(offered(&broker, "facebook", &token).await.len(), 3, "not yet");
    broker.clock.advance(Duration::from_millis(1));
    assert_eq!(look(&broker, "facebook", &token).await.status, 404);
    assert_eq!(broker.broker().purge_expired().await.unwrap(), 1);

    let revoked = broker.sandbox().requests_at("facebook", Step::Revoke);
    assert_eq!(revoked.iter().map(|request| request.status).collect::<Vec<_>>(), [Some(200)]);
    let database = broker.database();
    assert!(needles.iter().all(|needle| !contains(&database, needle)), "what it held is still in a file");
    let left: u32 = broker
        .sql()
        .query_row("SELECT (SELECT count(*) FROM selections) + (SELECT count(*) FROM flows)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 1, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_that_somebody_lives_on_is_not_revoked() {
    let broker = TestBroker::start().await;
    let first = choice(&broker, "facebook", "", &Answer::allow()).await;
    let second = choice(&broker, "facebook", "", &Answer::allow()).await;
    let connected = choose(&broker, "facebook", &first, &ADA[..1]).await;
    assert_eq!(connected.status, 200, "{}", connected.text);
    broker.clock.advance(Duration::from_mins(11));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(look(&broker, "facebook", &second).await.status, 404);
    assert!(broker.sandbox().requests_at("facebook", Step::Revoke).is_empty(), "that would end the connected one too");

    // The last selection of an unused consent does revoke it.
    broker.call("DELETE", &format!("/v1/connect/integrations/{}", ids(&connected)[0]), None).await;
    broker.sandbox().clear();
    choice(&broker, "facebook", "", &Answer::allow()).await;
    broker.clock.advance(Duration::from_mins(9));
    choice(&broker, "facebook", "", &Answer::allow()).await;
    broker.clock.advance(Duration::from_mins(1));
    broker.broker().purge_expired().await.unwrap();
    assert!(broker.sandbox().requests_at("facebook", Step::Revoke).is_empty(), "the other choice can still be made");
    broker.clock.advance(Duration::from_mins(9));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_goes_on_where_the_platform_does_not_answer() {
    let broker = TestBroker::start().await;
    for persona in ["ada", "agency", "business"] {
        choice(&broker, "facebook", "", &Answer::allow().account(persona)).await;
    }
    broker.sandbox().fail_next("facebook", Step::Revoke, Fault::Drop, 1).unwrap();
    broker.sandbox().fail_next("facebook", Step::Revoke, Fault::ServerError, 1).unwrap();
    broker.clock.advance(Duration::from_mins(10));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 3);
    let left: u32 = broker.sql().query_row("SELECT count(*) FROM selections", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn consenting_again_renews_all_that_is_covered_and_marks_what_is_not() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let connected = ids(&choose(&broker, "facebook", &token, &ADA).await);
    let before = own_tokens(&broker);
    assert!(before.iter().all(|(_, generation, tokens)| *generation == 1 && tokens.is_some()), "a Page has its own");

    let active = (json!("active"), Value::Null);
    let lost = (json!("reconnect_required"), json!("access_revoked"));
    let token = choice(&broker, "facebook", "", &Answer::allow().pages(&PAGES[..2])).await;
    assert_eq!(offered(&broker, "facebook", &token).await, ADA[..2]);
    assert_eq!(statuses(&broker, &connected).await, vec![active.clone(); 3], "nothing happens before the choice");
    let chosen = choose(&broker, "facebook", &token, &ADA[..1]).await;
    assert_eq!(ids(&chosen), connected[..1], "the same account keeps its id");
    assert_eq!(statuses(&broker, &connected).await, [active.clone(), active.clone(), lost.clone()]);
    let after = own_tokens(&broker);
    assert_eq!(after.iter().map(|(_, generation, _)| *generation).collect::<Vec<_>>(), [2, 2, 1]);
    assert!(before[0].2 != after[0].2 && before[1].2 != after[1].2, "not chosen is not left behind");

    // A single account needs no selection. It is renewed and marked like any other.
    let only = broker.connect_with("facebook", "", &Answer::allow().pages(&PAGES[1..2])).await;
    assert_eq!(only, connected[1]);
    assert_eq!(statuses(&broker, &connected).await, [lost.clone(), active.clone(), lost]);

    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    choose(&broker, "facebook", &token, &ADA[1..2]).await;
    assert_eq!(statuses(&broker, &connected).await, vec![active; 3], "what is covered again works again");
    assert_eq!(total(&broker).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_while_looking_is_no_proof_that_an_account_is_lost() {
    let broker = TestBroker::start().await;
    let business = Answer::allow().account("business");
    let token = choice(&broker, "facebook", "", &business).await;
    let all = offered(&broker, "facebook", &token).await;
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let connected = ids(&choose(&broker, "facebook", &token, &all).await);

    // The listing fails midway. Connected accounts stay as they are.
    let callback = broker.consent(&broker.begin("facebook", &format!("{BACK}&headless=true")).await, &business);
    broker.sandbox().fail_next("facebook", Step::Accounts, Fault::ServerError, 3).unwrap();
    broker.browse(&callback).await;
    broker.sandbox().clear();
    assert_eq!(statuses(&broker, &connected).await, vec![(json!("active"), Value::Null); 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_of_several_accounts_takes_the_consent_along() {
    let broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let connected = ids(&choose(&broker, "facebook", &token, &ADA).await);
    let delete = |id: &String| {
        let path = format!("/v1/connect/integrations/{id}");
        let broker = &broker;
        async move { broker.call("DELETE", &path, None).await }
    };
    let gone = delete(&connected[0]).await;
    assert!(text(&gone.json["message"]).contains("was left alone"), "{}", gone.text);
    assert!(broker.sandbox().requests_at("facebook", Step::Revoke).is_empty());
    assert_eq!(own_tokens(&broker).len(), 2, "its own token is gone with it");

    // The last two at once: each could assume that the other stays.
    let gone = futures_util::future::join(delete(&connected[1]), delete(&connected[2])).await;
    assert_eq!((gone.0.status, gone.1.status), (200, 200));
    assert!(!broker.sandbox().requests_at("facebook", Step::Revoke).is_empty());
    let left: u32 = broker
        .sql()
        .query_row("SELECT (SELECT count(*) FROM grants) + (SELECT count(*) FROM integrations)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_deleted_takes_its_choices_along() {
    let broker = TestBroker::start().await;
    let (client_id, client_secret) = postpeer::sandbox::own_client("facebook").unwrap();
    let app = json!({"platform": "facebook", "name": "Ours", "clientId": client_id, "clientSecret": client_secret});
    let app = broker.call("POST", "/v1/apps/", Some(app)).await;
    let app = text(&app.json["app"]["id"]);
    let headless = choice(&broker, "facebook", &format!("&appId={app}"), &Answer::allow()).await;
    let here = &broker;
    let page = |query: String| async move {
        let (callback, location) = arrive(here, "facebook", &query, &Answer::allow()).await;
        (callback, location.strip_prefix(&here.url).unwrap().to_owned())
    };
    let (callback, with_redirect) = page(format!("{BACK}&appId={app}")).await;
    let (_, without_redirect) = page(format!("appId={app}")).await;
    let others = choice(&broker, "facebook", "", &Answer::allow().account("agency")).await;
    broker.sandbox().clear();
    assert_eq!(broker.call("DELETE", &format!("/v1/apps/{app}"), None).await.status, 200);
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 3, "each consent is given back");

    for reply in [look(&broker, "facebook", &headless).await, choose(&broker, "facebook", &headless, &ADA).await] {
        assert_eq!((reply.status, reply.code()), (404, "selection_not_found"), "{}", reply.text);
        assert!(reply.text.contains("app of this connection is not configured here any more"), "{}", reply.text);
    }
    let back = "https://app.example/back?nonce=1&status=error&platform=facebook&error=app_missing";
    assert_eq!(broker.browse(&callback).await.location(), back);
    for action in ["connect", "cancel", "search"] {
        let form = format!("account={}&action={action}", ADA[0]);
        let request = broker.request("POST", &with_redirect).header("origin", &broker.url);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        assert_eq!(Reply::of(request.send().await.unwrap()).await.location(), back, "{action}");
    }
    assert_eq!(broker.browse(&with_redirect).await.location(), back);
    let told = broker.browse(&without_redirect).await.text;
    assert!(told.contains("app_missing") && told.contains("Nothing was connected"), "{told}");
    assert!(!told.contains("made already"), "{told}");

    assert_eq!(total(&broker).await, 0);
    let audited = "SELECT count(*) FROM audit WHERE outcome = 'app_missing'";
    assert_eq!(broker.sql().query_row(audited, [], |row| row.get::<_, u32>(0)).unwrap(), 3);
    assert!(!offered(&broker, "facebook", &others).await.is_empty(), "another app's choice waits on");
    broker.clock.advance(Duration::from_hours(1));
    broker.broker().purge_expired().await.unwrap();
    assert_eq!(broker.sandbox().requests_at("facebook", Step::Revoke).len(), 4, "revoked once each");
}

/// A client that hangs up drops its call in the middle.
#[tokio::test(flavor = "multi_thread")]
async fn a_choice_whose_client_hangs_up_is_made_to_its_end() {
    let mut broker = TestBroker::start().await;
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    let chosen = offered(&broker, "facebook", &token).await.into_iter().take(1).collect();
    let db = broker.sql();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    let caller = broker.broker().clone();
    let token = token.into();
    let call = caller.choose_accounts(None, &token, chosen, None);
    assert!(futures_util::FutureExt::now_or_never(call).is_none(), "the database was not held");
    drop(caller);
    db.execute_batch("COMMIT").unwrap();
    drop(db);
    broker.restart().await;
    assert_eq!(total(&broker).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_choice_under_an_app_that_the_operator_replaced_ends_without_an_account() {
    let mut broker = TestBroker::start().await;
    let builder = TestBroker::builder().setting("POSTPEER_PLATFORMS__FACEBOOK__CLIENT_ID", "another");
    let platforms = builder.start().await.config().platforms.clone();
    let token = choice(&broker, "facebook", "", &Answer::allow()).await;
    broker.restart_with(|config| config.platforms = platforms).await;
    for _ in 0..2 {
        let reply = choose(&broker, "facebook", &token, &ADA).await;
        assert_eq!((reply.status, reply.code()), (404, "selection_not_found"), "{}", reply.text);
        assert!(reply.text.contains("app of this connection is not configured here any more"), "{}", reply.text);
    }
    let audited = "SELECT count(*) FROM audit WHERE outcome = 'app_missing'";
    assert_eq!(broker.sql().query_row(audited, [], |row| row.get::<_, u32>(0)).unwrap(), 1);
    assert_eq!(total(&broker).await, 0);
}
