//! No text from outside becomes markup: each page is drawn with each payload in every field that a platform, a caller
//! or the operator controls, and must have the tags and attributes that it has with plain text.

use askama::Template;

use super::confirmation::tests as confirmation;
use super::demo::tests as demo;
use super::ending::tests as ending;
use super::frame::{self, Frame};
use super::link::tests as link;
use super::look::Looks;
use super::selection::tests as selection;
use super::words::LANGUAGES;
use super::{Problem, marks};
use crate::domain::account::{RouteReport, UnusableAccount};
use crate::domain::identity::{Identities, Identity};
use crate::domain::selection::Findings;
use crate::http::console::tests as console;

const PAYLOADS: &str = include_str!("../../../tests/support/payloads.txt");

/// A page without its text and without the values of its attributes.
fn skeleton(page: &str) -> String {
    let (mut kept, mut in_tag, mut quote) = (String::new(), false, None);
    for c in page.chars() {
        match (in_tag, quote) {
            (false, _) if c == '<' => in_tag = true,
            (true, None) if c == '>' => in_tag = false,
            (true, None) if c == '"' || c == '\'' => quote = Some(c),
            (true, Some(open)) if c == open => quote = None,
            (false, _) | (true, Some(_)) => continue,
            (true, None) => {}
        }
        kept.push(c);
    }
    kept
}

/// Every page, with this text in every field.
fn pages(text: &str) -> Vec<String> {
    let url = Some(format!("https://app.example/?{text}"));
    let general = Identity {
        app_name: Some(text.to_owned()),
        home_url: url.clone(),
        support_url: url.clone(),
        privacy_url: url,
        ..Identity::default()
    };
    let looks = Looks::new(&Identities { general, ..Identities::default() });
    let mark = marks::svg("acme", text);
    let findings = Findings {
        unusable: vec![UnusableAccount {
            platform_user_id: text.to_owned(),
            display_name: Some(text.to_owned()),
            reason: text.to_owned(),
            remedy: text.to_owned(),
            is_passing: false,
        }],
        routes: vec![RouteReport { route: text.to_owned(), found: 1, trouble: Some(text.to_owned()) }],
        scopes: vec![text.to_owned()],
    };
    let scopes = [text.to_owned()];
    let mut drawn = Vec::new();
    for words in LANGUAGES {
        let around = || Frame {
            words,
            look: looks.of(None),
            base: "",
            app: looks.app_name(None),
            languages: frame::others(text, words),
            request_id: text.to_owned(),
        };
        let frame = &around();
        let problem = Problem {
            frame,
            mark: &mark,
            heading: &(words.not_connected)(text),
            happened: text,
            stored: Some(text),
            needed: &scopes,
            advice: text,
            retry: Some("/".to_owned()),
            platform: text,
            label: text,
            findings: Some(&findings),
            connection: Some(text.to_owned()),
            code: text,
            detail: text,
            next_step: text,
        };
        drawn.push(problem.render().unwrap());
        drawn.push(confirmation::page(frame, &mark, text));
        drawn.extend(ending::pages(frame, &mark, text, &findings, &scopes));
        drawn.extend(link::pages(frame, &mark, text, &findings, &scopes));
        drawn.push(selection::page(frame, &mark, text, &findings, &scopes));
        drawn.extend(demo::pages(frame, &mark, text));
        drawn.extend(console::pages(&console::view(around(), text), &mark, text));
    }
    drawn
}

#[test]
fn no_payload_becomes_markup_in_any_field_of_any_page() {
    let plain: Vec<String> = pages("plain").iter().map(|page| skeleton(page)).collect();
    assert!(PAYLOADS.lines().count() >= 40 && plain.len() >= 12);
    for payload in PAYLOADS.lines() {
        for (page, plain) in pages(payload).iter().zip(&plain) {
            assert_eq!(skeleton(page), *plain, "{payload}");
            assert!(!page.contains(" href=\"javascript:") && !page.contains("formaction=\"javascript:"), "{payload}");
        }
    }
}

#[test]
fn a_skeleton_shows_what_breaks_out() {
    let skeleton = |text: &str| skeleton(&format!("<p title=\"x\">{text}</p>"));
    assert_eq!(skeleton("a > b"), "<p title=\"\"></p>");
    assert_ne!(skeleton("<b>"), skeleton(""));
    assert_ne!(
        super::escaping::skeleton("<p title=\"a\" onclick=\"b\">"),
        super::escaping::skeleton("<p title=\"a\">")
    );
}
