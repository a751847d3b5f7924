//! LinkedIn's organizations: versions, unescaped lists, and roles that may not post.

use serde_json::{Value, json};

use super::bench::{authorize_query, token_form, with};
use super::*;
use crate::sandbox::Answer;

const SCOPES: &str = "openid profile email w_member_social rw_organization_admin w_organization_social";
const ROLES: &str = "/linkedin/rest/organizationAcls?q=roleAssignee&state=APPROVED";
const TARGETS: &str = "/linkedin/v2/organizationalEntityAcls?q=roleAssignee&state=APPROVED";

fn token(bench: &Bench, account: &str) -> String {
    let query = with(authorize_query("linkedin"), "scope", Some(SCOPES));
    let code = bench.callback_of("linkedin", &query, &Answer::allow().account(account))[0].1.clone();
    bench.exchange("linkedin", &token_form("linkedin", &code)).text("/access_token")
}

fn rest_of(bench: &Bench, target: &str, token: &str, version: &str, protocol: &str) -> Got {
    let bearer = format!("Bearer {token}");
    let mut headers = vec![("Authorization", bearer.as_str())];
    headers.extend(
        [("LinkedIn-Version", version), ("X-Restli-Protocol-Version", protocol)]
            .iter()
            .filter(|(_, value)| !value.is_empty()),
    );
    bench.send("GET", target, &headers, "").unwrap()
}

fn rest(bench: &Bench, target: &str, token: &str) -> Got {
    rest_of(bench, target, token, "202608", "2.0.0")
}

fn organizations(got: &Got) -> Vec<(String, String)> {
    let elements = got.json()["elements"].as_array().cloned().unwrap_or_else(|| panic!("{}", got.body));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    elements.iter().map(|element| (text(&element["organization"]), text(&element["role"]))).collect()
}

#[test]
fn roles_are_listed_by_member() {
    let bench = Bench::start();
    let got = rest(&bench, ROLES, &token(&bench, "ada"));
    assert_eq!(
        got.json(),
        json!({
            "elements": [
                {"organization": "urn:li:organization:2414183", "role": "ADMINISTRATOR",
                 "roleAssignee": "urn:li:person:782bbtaQad", "state": "APPROVED"},
                {"organization": "urn:li:organization:2414184", "role": "CONTENT_ADMINISTRATOR",
                 "roleAssignee": "urn:li:person:782bbtaQad", "state": "APPROVED"},
            ],
            "paging": {"start": 0, "count": 10, "links": []},
        })
    );
    assert_eq!(organizations(&rest(&bench, ROLES, &token(&bench, "basil"))), []);
    let analyst = token(&bench, "analyst");
    let roles: Vec<String> = organizations(&rest(&bench, ROLES, &analyst)).into_iter().map(|(_, role)| role).collect();
    assert_eq!(roles, ["ANALYST", "DIRECT_SPONSORED_CONTENT_POSTER", "ANALYST"]);
    let whatever = rest(&bench, "/linkedin/rest/organizationAcls?q=roleAssignee", &analyst);
    assert_eq!(organizations(&whatever).len(), 4, "one is not approved");
    let without = bench.connect("linkedin", &Answer::allow()).text("/access_token");
    assert_eq!(rest(&bench, ROLES, &without).status, 403);
    assert_eq!(bench.get_as("/linkedin/v2/userinfo", &analyst).status, 200);
}

#[test]
fn roles_come_in_parts() {
    let bench = Bench::start();
    let agency = token(&bench, "agency");
    let first = rest(&bench, &format!("{ROLES}&count=100&start=0"), &agency);
    assert_eq!(organizations(&first).len(), 100);
    assert_eq!(first.text("/paging/links/0/rel"), "next");
    let next = rest(&bench, &format!("/linkedin{}", first.text("/paging/links/0/href")), &agency);
    assert_eq!((organizations(&next).len(), next.text("/paging/links/0/rel")), (20, "prev".to_owned()));
    assert_eq!(rest(&bench, &format!("{ROLES}&count=101"), &agency).why(), (400, "count must be between 1 and 100"));
}

#[test]
fn a_current_version_and_the_protocol_are_required() {
    let bench = Bench::start();
    let ada = token(&bench, "ada");
    for version in ["202501", "209901", "202613", "202600", "2026-8", "20260801", "1"] {
        let got = rest_of(&bench, ROLES, &ada, version, "2.0.0");
        let message = format!("Requested version {version} is not active");
        assert_eq!(got.json(), json!({"status": 426, "code": "NONEXISTENT_VERSION", "message": message}));
        assert_eq!(got.status, 426);
    }
    for version in ["202510", "202601", "202611"] {
        assert_eq!(rest_of(&bench, ROLES, &ada, version, "2.0.0").status, 200, "{version}");
    }
    let missing = rest_of(&bench, ROLES, &ada, "", "2.0.0");
    assert_eq!((missing.status, missing.text("/code")), (400, "VERSION_MISSING".to_owned()));
    for protocol in ["", "1.0.0"] {
        assert_eq!(rest_of(&bench, ROLES, &ada, "202608", protocol).status, 400);
    }
}

#[test]
fn names_are_looked_up_with_an_unescaped_list() {
    let bench = Bench::start();
    let ada = token(&bench, "ada");
    let look_up = |ids: &str| rest(&bench, &format!("/linkedin/rest/organizationsLookup?{ids}"), &ada);
    let got = look_up("ids=List(2414183,2414184,99)").json();
    let named = &got["results"]["2414183"];
    assert_eq!(
        (&named["localizedName"], &named["vanityName"]),
        (&json!("Marlow & Daughters"), &json!("marlow-daughters"))
    );
    assert!(named["logoV2"]["original"].as_str().unwrap().starts_with("urn:li:"), "no address");
    assert_eq!((&got["statuses"]["99"], got["results"]["2414184"].get("logoV2")), (&json!(404), None));
    for escaped in ["ids=List%282414183%29", "ids=List(2414183%2C2414184)", "ids=2414183", "ids=List()", ""] {
        let got = look_up(escaped);
        assert_eq!((got.status, got.text("/code")), (400, "ILLEGAL_ARGUMENT".to_owned()), "{escaped}");
    }
}

#[test]
fn logos_come_with_a_projection() {
    let bench = Bench::start();
    let ada = token(&bench, "ada");
    let projection =
        "(elements*(role,organizationalTarget~(localizedName,vanityName,logoV2(original~:playableStreams))))";
    let got = bench.get_as(&format!("{TARGETS}&projection={projection}"), &ada);
    let elements = bench.redacted("linkedin", &got)["elements"].clone();
    assert_eq!(
        elements[0],
        json!({
            "organizationalTarget": "urn:li:organization:2414183", "role": "ADMINISTRATOR",
            "organizationalTarget~": {
                "localizedName": "Marlow & Daughters", "vanityName": "marlow-daughters",
                "logoV2": {
                    "cropped": "urn:li:digitalmediaAsset:C4D0BAQ2414183",
                    "original": "urn:li:digitalmediaAsset:C4D0BAQ2414183",
                    "original~": {"elements": [{"identifiers": [{
                        "identifier": "{base}/linkedin/pictures/ada.svg", "index": 0, "mediaType": "image/svg+xml",
                    }]}]},
                },
            },
        })
    );
    assert_eq!(elements[1]["organizationalTarget~"].get("logoV2"), None);
    let plain = bench.get_as(TARGETS, &ada).json();
    assert_eq!(plain["elements"][0].get("organizationalTarget~"), None);
    assert_eq!(bench.get_as(&format!("{TARGETS}&projection=(elements*(role)"), &ada).status, 400);
}
