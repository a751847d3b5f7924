//! People without an account to connect, and consents that cover less than was requested.

use postpeer::sandbox::{self, Answer, Step};

use super::{BACK, ending};
use crate::logs;
use crate::support::{TestBroker, parameter};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_without_an_account_to_connect_gets_no_account() {
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
    insta::assert_snapshot!(lines.join("\n"), @r#"
    youtube: no_account
        connection failed error=youtube, identity call: no_account (HTTP 200) who_can_help="account_owner" next_step=Nothing to do here: the owner needs an account at youtube that can be connected.
        the tokens were not kept, so they were revoked platform.name=youtube
    instagram: no_account
        connection failed error=instagram, identity call: no_account (HTTP 400, 100) who_can_help="account_owner" next_step=Nothing to do here: the owner needs an account at instagram that can be connected.
        the tokens were not kept; the platform has no revocation, so they expire unused platform.name=instagram
    "#);
}

/// A consent without a refresh token, after one with: the stored one stays.
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
