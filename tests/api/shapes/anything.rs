//! Random answers to a refresh: noise, damaged good answers, and the parts of good answers in any order.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::{Bench, GOOD};
use crate::stand_in::{self, Answer};

/// Random bodies per run.
const CASES: u32 = 96;

/// Every string member of that name, at any depth, without the white space around it: no token has any.
fn members<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| members(item, name, found)),
        Value::Object(object) => {
            found.extend(object.get(name).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty()));
            object.values().for_each(|value| members(value, name, found));
        }
        _ => {}
    }
}

/// JSON built from the parts of token answers.
fn answers_in_pieces() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z ]{0,8}".prop_map(Value::from),
        prop::sample::select(
            &["invalid_grant", "invalid_client", "slow_down", "server_error", "3600", "", "Bearer"][..]
        )
        .prop_map(Value::from),
    ];
    let name = prop::sample::select(
        &["access_token", "refresh_token", "expires_in", "error", "data", "code", "scope", "error_type", "id_token"][..],
    );
    leaf.prop_recursive(3, 24, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(name.clone().prop_map(str::to_owned), inner, 0..6)
                .prop_map(|members| members.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let damaged = (0..GOOD.len(), any::<u8>(), any::<bool>()).prop_map(|(at, byte, is_cut)| {
        let mut body = GOOD.as_bytes().to_vec();
        body[at] = byte;
        body.truncate(if is_cut { at } else { GOOD.len() });
        body
    });
    let sound = (any::<[bool; 4]>(), answers_in_pieces()).prop_map(|(has, odd)| {
        let all = [
            ("access_token", json!("new-access")),
            ("refresh_token", json!("new-refresh")),
            ("expires_in", json!(3600)),
        ];
        let mut body: serde_json::Map<String, Value> = all
            .into_iter()
            .zip(has)
            .filter(|(_, has)| *has)
            .map(|((name, value), _)| (name.to_owned(), value))
            .collect();
        if has[3] {
            body.insert("error".to_owned(), odd);
        }
        Value::from(body).to_string().into_bytes()
    });
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..64),
        damaged,
        sound,
        answers_in_pieces().prop_map(|answer| answer.to_string().into_bytes()),
    ]
}

#[test]
fn no_random_answer_overwrites_a_good_token() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let bench = runtime.block_on(Bench::start());
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let run = runner.run(&bodies(), |body| {
        runtime.block_on(check_anything(&bench, &body));
        Ok(())
    });
    run.unwrap();
}

/// Asserts that the grant has its old tokens, or those in the body.
async fn check_anything(bench: &Bench, body: &[u8]) {
    let shown = String::from_utf8_lossy(body);
    let read: Value = postpeer::outbound::read_json(body).unwrap_or(Value::Null);
    let (mut access, mut refresh) = (Vec::new(), Vec::new());
    members(&read, "access_token", &mut access);
    members(&read, "refresh_token", &mut refresh);

    let due = bench.due().await;
    bench.platform.answer_refreshes_with(Answer::Bytes(stand_in::answer(200, "", body)));
    let refreshed = bench.broker.refresh_due().await;
    let detail = bench.broker.detail(&due.id).await;
    if detail["authStatus"] == "active" {
        let token = bench.access(&due.id).await;
        if refreshed == 1 {
            assert!(access.contains(&token.as_str().unwrap()), "{shown}");
            refresh.push(&due.refresh);
        } else {
            assert_eq!((&token, bench.sealed()), (&due.access, due.sealed), "{shown}");
            refresh = vec![&due.refresh];
        }
        let asked = bench.refresh_again(&due.id, &shown).await;
        assert!(refresh.contains(&asked.as_str()), "{shown}: {asked}");
    } else {
        assert!(shown.contains("invalid_grant"), "{shown}");
        assert_eq!(bench.sealed(), due.sealed, "{shown}");
    }
    bench.end(&due.id).await;
}
