//! `postpeer connect`: the link that it prints, beside a running broker, and what it waits for.

use std::io::Read as _;

use super::own_address::own_address;
use super::{Instance, Running, Signal, ask_with, postpeer, refused, succeeded, text};

#[test]
fn a_link_is_printed_alone_and_opens_a_page_of_the_running_broker() {
    let instance = Instance::new();
    let broker = Running::start(&mut instance.command(&["serve"]), "listening");
    let output = instance.run(&["connect", "bluesky"]);
    let printed = succeeded(&output);
    let link = printed.trim_end();
    assert_eq!(printed, format!("{link}\n"), "nothing but the link");
    let (_, token) = link.split_once("/connect/link/").unwrap();
    assert_eq!(token.len(), 43, "{link}");
    let said = text(&output.stderr);
    assert!(said.contains("the page connects bluesky") && said.contains("only this once"), "{said}");
    assert!(!said.contains(token), "the link is a secret");
    let page = ask_with(&broker.url(), "GET", &format!("/connect/link/{token}"), "accept: */*");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Bluesky"), "{page}");
    let (_, rest) = said.split_once("`postpeer connect --revoke ").unwrap_or_else(|| panic!("{said}"));
    let id = rest.split('`').next().unwrap();
    for _ in 0..2 {
        assert!(text(&instance.run(&["connect", "--revoke", id]).stderr).contains(&format!("Revoked {id}")));
    }
    let page = ask_with(&broker.url(), "GET", &format!("/connect/link/{token}"), "accept: */*");
    assert!(page.starts_with("HTTP/1.1 410"), "{page}");
    broker.stop(Signal::TERM);
    succeeded(&instance.run(&["project", "create", "other"]));
    let elsewhere = refused(&instance.run(&["connect", "--revoke", id, "--project", "other"]), 64);
    assert!(elsewhere.contains("postpeer audit"), "{elsewhere}");
    let output = instance.run(&["connect", "bluesky", "--project", "other"]);
    succeeded(&output);
    assert!(text(&output.stderr).contains(" --project other` ends it"), "{}", text(&output.stderr));
    refused(&instance.run(&["connect", "bluesky", "--revoke", id]), 64);

    let unknown = refused(&instance.run(&["connect", "nothing"]), 64);
    assert!(unknown.contains("there is no platform \"nothing\""), "{unknown}");
    for (name, told) in [
        ("twiter", "did you mean twitter?"),
        ("twitter", "has no credentials: set client_id"),
        ("github", "no section [platforms.github]"),
    ] {
        let said = refused(&instance.run(&["connect", name]), 64);
        assert!(said.contains(told), "{said}");
    }
    refused(&instance.run(&["connect", "--project", "nothing"]), 64);
    let nobody = "prof_00000000000000000000000000000000";
    refused(&instance.run(&["connect", "--profile", nobody]), 64);
}

#[test]
fn waiting_ends_with_an_account_or_with_the_link() {
    let instance = Instance::new();
    for (what, code, told) in [
        ("connected = '[\"int_00000000000000000000000000000000\"]'", 0, "Waiting until"),
        ("expires_at = 1", 69, "the link is expired, and nothing was connected"),
        ("revoked_at = 1, mac = NULL, mac_dek_id = NULL", 69, "the link is revoked, and nothing was connected"),
    ] {
        let mut waiting = Running::start(&mut instance.command(&["connect", "--wait"]), "Waiting until");
        assert!(waiting.child.try_wait().unwrap().is_none(), "it ended before anything happened");
        instance
            .sql(&format!("UPDATE links SET {what} WHERE connected = '[]' AND expires_at > 1 AND revoked_at IS NULL"));
        let mut stdout = waiting.child.stdout.take().unwrap();
        let (exit, said) = waiting.wait();
        assert_eq!(exit, Some(code), "{what}: {said}");
        assert!(said.contains(told), "{what}: {said}");
        let mut printed = String::new();
        stdout.read_to_string(&mut printed).unwrap();
        assert_eq!(printed.lines().count(), 1, "{printed}");
    }
}

/// The demo prints one as well.
#[test]
fn the_link_of_a_demo_opens() {
    let address = own_address().to_string();
    let demo = Running::start(&mut postpeer(&["demo", "--listen", &address]), "The access key:");
    let token = demo.said.split("/connect/link/").nth(1).unwrap().split_whitespace().next().unwrap();
    let page = ask_with(&format!("http://{address}"), "GET", &format!("/connect/link/{token}"), "accept: */*");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("Demo app"), "{page}");
}
