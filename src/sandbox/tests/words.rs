//! Every platform's answers and refusals in its own words, a snapshot each: written from the platform's
//! documentation, and read again when one changes. `INSTA_UPDATE=always cargo test --lib sandbox` writes them.

use std::fmt::Write as _;

use serde_json::Value;

use super::bench::{id_name, imitation, token_form, token_path, with};
use super::*;
use crate::sandbox::{Answer, Fault, Step, platforms};

/// Takes out what differs from one error to the next.
fn without_traces(value: &mut Value) {
    if let Value::Object(members) = value {
        for (name, member) in members {
            if matches!(name.as_str(), "fbtrace_id" | "log_id") {
                *member = "<trace>".into();
            }
            without_traces(member);
        }
    }
}

/// Status and body.
fn told(bench: &Bench, platform: &str, got: &Got) -> String {
    let mut body = bench.redacted(platform, got);
    without_traces(&mut body);
    format!("{} {body}", got.status)
}

fn words(platform: &str) -> String {
    let bench = Bench::start();
    let mut text = String::new();
    let mut line = |what: &str, got: &Got| writeln!(text, "{what}: {}", told(&bench, platform, got)).unwrap();
    for persona in imitation(platform).personas {
        let tokens = bench.connect(platform, &Answer::allow().account(persona.id));
        line(&format!("{}'s tokens", persona.id), &tokens);
        line(&format!("{} is", persona.id), &bench.identity(platform, &tokens.access_token()));
    }
    let tokens = bench.connect(platform, &Answer::allow());
    let refresh = tokens.text("/refresh_token");
    if !refresh.is_empty() {
        line("refreshed", &bench.refresh(platform, &refresh));
        line("unknown refresh token", &bench.refresh(platform, "unknown"));
    }
    let form = || token_form(platform, &bench.code(platform, &Answer::allow()));
    for (what, name, value) in [
        ("unknown code", "code", Some("guessed")),
        ("missing parameter", "redirect_uri", None),
        ("unknown grant type", "grant_type", Some("client_credentials")),
        ("another redirect_uri", "redirect_uri", Some("http://127.0.0.1:8080/elsewhere")),
        ("another verifier", "code_verifier", Some("another-verifier-of-forty-three-characters-.")),
        ("unknown client in the body", id_name(platform), Some("somebody-else")),
    ] {
        line(what, &bench.exchange(platform, &with(form(), name, value)));
    }
    let used = form();
    bench.exchange(platform, &used);
    line("used code", &bench.exchange(platform, &used));
    let path = token_path(platform);
    line("wrong secret in the header", &bench.post(&path, &form(), Some("Basic aWQ6c2VjcmV0")));
    line("revoked token", &bench.identity(platform, &revoked(&bench, platform)));
    for step in [Step::Token, Step::Identity] {
        for fault in [Fault::Expired, Fault::Revoked, Fault::RateLimited, Fault::ServerError] {
            bench.control.fail_next(platform, step, fault, 1).unwrap();
            let got = if step == Step::Token {
                bench.exchange(platform, &form())
            } else {
                bench.identity(platform, "whatever")
            };
            line(&format!("{step} {}", fault.into_str()), &got);
        }
    }
    text
}

fn revoked(bench: &Bench, platform: &str) -> String {
    let token = bench.connect(platform, &Answer::allow()).access_token();
    bench.control.revoke_all(platform);
    token
}

#[test]
fn every_platform_answers_in_its_own_words() {
    insta::with_settings!({omit_expression => true, prepend_module_to_snapshot => false}, {
        for platform in platforms() {
            insta::assert_snapshot!(platform, words(platform));
        }
    });
}
