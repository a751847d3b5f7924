//! Accounts that are not like the others: without a name, a handle or a picture, with markup in the name, without
//! anything to connect, and consents that cover less than was asked for.

use postpeer::sandbox::{self, Answer, Step};
use serde_json::Value;

use super::{BACK, ending};
use crate::logs;
use crate::support::{TestBroker, parameter};

#[tokio::test(flavor = "multi_thread")]
async fn an_account_may_lack_what_others_have() {
    let broker = TestBroker::start().await;
    let mut lines = Vec::new();
    for platform in sandbox::platforms() {
        let url = broker.begin(platform, BACK).await;
        let location = broker.browse(&broker.consent(&url, &Answer::allow().account("basil"))).await.location();
        let id = parameter(&location, "integrationId").unwrap_or_else(|| panic!("{platform}: {location}"));
        let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
        let members = ["platformUserId", "username", "displayName", "profileUrl", "imageUrl", "platformMetadata"];
        let told: Vec<String> = members.iter().map(|name| detail["integration"][name].to_string()).collect();
        lines.push(format!("{platform}: {}", told.join(" ")).replace(broker.sandbox_url(), "[sandbox]"));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    acme: "b7a1c0de-0002" null "Basil <b>Quince</b> & Söhne 🦊" null null {}
    facebook: "104000000000001" null "Basil <b>Quince</b> & Söhne 🦊" "https://www.facebook.com/104000000000001" null {"category":"Brand","type":"page"}
    googlebusiness: "accounts/112000000000000000001/locations/302000000000000001" null "Quince <b>Repairs</b> & Söhne 🦊" "https://shop-302000000000000001.example/" null {"account":"accounts/112000000000000000001","accountName":"Basil <b>Quince</b> & Söhne 🦊","location":"locations/302000000000000001","type":"location"}
    instagram: "17841400000000018" "@basil.quince" "basil.quince" "https://www.instagram.com/basil.quince/" null {"accountType":"MEDIA_CREATOR"}
    linkedin: "782bbtaQba" null "Basil <b>Quince</b> & Söhne 🦊" null null {"type":"person"}
    pinterest: "549755885176" "basilquince" "basilquince" "https://www.pinterest.com/basilquince/" null {"accountType":"PINNER"}
    threads: "17841405793187219" "@basil.quince" "basil.quince" "https://www.threads.net/@basil.quince" null {}
    tiktok: "-000BasilQuinceSandboxOpenId" "@basil_quince" "Basil <b>Quince</b> & Söhne 🦊" "https://www.tiktok.com/@basil_quince" "[sandbox]/tiktok/pictures/basil.svg" {"unionId":"union--000BasilQuinceSandboxOpenId"}
    twitter: "1465329001122334455" "@basilquince" "Basil <b>Quince</b> & Söhne 🦊" "https://x.com/basilquince" null {}
    youtube: "UC4Rk0sandboxBasilQuinc1" null "Basil <b>Quince</b> & Söhne 🦊" "https://www.youtube.com/channel/UC4Rk0sandboxBasilQuinc1" null {}
    "#);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_no_account_to_connect_is_told_so() {
    logs::capture();
    let broker = TestBroker::builder().seed(122).start().await;
    let mut lines = Vec::new();
    for (platform, account) in [("youtube", "viewer"), ("instagram", "personal")] {
        let url = broker.begin(platform, BACK).await;
        let callback = broker.consent(&url, &Answer::allow().account(account));
        lines.push(format!("{platform}: {}", ending(&broker, &callback).await));
        assert_eq!(broker.sandbox().requests_at(platform, Step::Identity).len(), 1, "asking again would not help");
    }
    assert_eq!(broker.sandbox().requests_at("youtube", Step::Revoke).len(), 1);
    assert_eq!(broker.get("/v1/connect/integrations").await.json["total"], 0);
    insta::assert_snapshot!(lines.join("\n"), @r"
    youtube: no_account
        connection failed error=youtube, identity call: no_account (HTTP 200) next_step=Nothing to do here: the owner needs an account at youtube that can be connected.
        the tokens were not kept, and revoked platform.name=youtube
    instagram: no_account
        connection failed error=instagram, identity call: no_account (HTTP 400, 100) next_step=Nothing to do here: the owner needs an account at instagram that can be connected.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=instagram
    ");
}

/// As few scopes as each platform lets a person grant.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_granted_is_not_recorded_and_what_is_missing_is_told() {
    logs::capture();
    let broker = TestBroker::builder().seed(123).start().await;
    let mut lines = Vec::new();
    for platform in sandbox::platforms() {
        let url = broker.begin(platform, BACK).await;
        let callback = broker.consent(&url, &Answer::allow().fault("denied_scopes"));
        let told = ending(&broker, &callback).await;
        let location = broker.browse(&callback).await.location();
        let recorded = match parameter(&location, "integrationId") {
            Some(id) => {
                broker.get(&format!("/v1/connect/integrations/{id}")).await.json["integration"]["scopes"].clone()
            }
            None => Value::Null,
        };
        lines.push(format!("{platform}: {recorded} {told}"));
    }
    let text = lines.join("\n");
    insta::assert_snapshot!(text.lines().filter(|line| !line.contains("account connected")).collect::<Vec<_>>().join("\n"), @r#"
    acme: ["openid"] success
    facebook: null a page to choose on
        waiting for a choice of accounts selection.id=sel_019decf8b8bd7005a1bdb502ec369a00 platform.name=facebook accounts=3
    googlebusiness: null permission_missing
        connection failed error=googlebusiness, listing of accounts: permission_missing (HTTP 403, PERMISSION_DENIED) next_step=Check that the scopes of [platforms.googlebusiness] are enabled for the app at the platform, and that the owner ticked them.
        the tokens were not kept, and revoked platform.name=googlebusiness
    instagram: ["instagram_business_basic"] success
    linkedin: null permission_missing
        connection failed error=linkedin, identity call: permission_missing (HTTP 403, ACCESS_DENIED) next_step=Check that the scopes of [platforms.linkedin] are enabled for the app at the platform, and that the owner ticked them.
        the tokens were not kept, and revoked platform.name=linkedin
    pinterest: null identity_unavailable
        connection failed error=pinterest, identity call: identity_unavailable (HTTP 401, 3) next_step=If it happens to everyone, check that the scopes of [platforms.pinterest] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept; the platform has no revocation, so they lapse when they expire platform.name=pinterest
    threads: ["threads_basic"] success
    tiktok: ["user.info.basic"] success
    twitter: null identity_unavailable
        connection failed error=twitter, identity call: identity_unavailable (HTTP 403) next_step=If it happens to everyone, check that the scopes of [platforms.twitter] are enabled for the app at the platform, and enough for it to say who connected.
        the tokens were not kept, and revoked platform.name=twitter
    youtube: null permission_missing
        connection failed error=youtube, identity call: permission_missing (HTTP 403, PERMISSION_DENIED) next_step=Check that the scopes of [platforms.youtube] are enabled for the app at the platform, and that the owner ticked them.
        the tokens were not kept, and revoked platform.name=youtube
    "#);
}

/// A consent without a refresh token, after one with: the one that is there is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_consent_never_takes_the_refresh_token_away() {
    let broker = TestBroker::start().await;
    let id = broker.connect("acme", "").await;
    let url = broker.begin("acme", BACK).await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow().fault("denied_scopes"))).await.location();
    assert_eq!(parameter(&location, "integrationId").as_deref(), Some(id.as_str()), "{location}");
    let detail = broker.get(&format!("/v1/connect/integrations/{id}")).await.json;
    assert_eq!(detail["integration"]["tokenStatus"]["autoRefreshes"], true);
    let gone = broker.call("DELETE", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!(gone.status, 200);
    let refresh: Vec<String> = broker
        .sandbox()
        .issued("acme")
        .into_iter()
        .filter(|issued| issued.kind == sandbox::TokenKind::Refresh)
        .map(|issued| issued.value)
        .collect();
    let revoked = broker.sandbox().requests_at("acme", Step::Revoke);
    assert_eq!(revoked.iter().map(|request| request.field("token").unwrap()).collect::<Vec<_>>(), refresh);
}
