//! Connections whose end cannot be recorded, because the database takes no changes while the platform answers: the
//! person is told so, and no account lives on with tokens that were revoked.

use std::fs;

use postpeer::sandbox::{Step, TokenKind};

use crate::process::{Crashing, Process};
use crate::support::parameter;

/// A broker whose database was moved away while the platform held the answer of a step, and what the browser was told.
struct Scene {
    broker: Crashing,
    process: Process,
    callback: String,
}

impl Scene {
    async fn moved_at(step: Step) -> Self {
        let broker = Crashing::new(1);
        let process = broker.start(None);
        let callback = broker.consented(0, "twitter", "ada").await.unwrap();
        let platforms = broker.sandbox.handle();
        platforms.hold(step);
        let (reply, ()) = tokio::join!(broker.browse(&callback), async {
            platforms.held(step).await;
            fs::rename(broker.path("postpeer.db"), broker.path("away.db")).unwrap();
            platforms.release(step);
        });
        let location = reply.unwrap().location();
        assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"), "{location}");
        let scene = Self { broker, process, callback };
        scene.is_told_again().await;
        scene
    }

    async fn is_told_again(&self) {
        let location = self.broker.browse(&self.callback).await.unwrap().location();
        assert_eq!(parameter(&location, "error").as_deref(), Some("storage_failed"), "{location}");
    }

    fn move_back(&self) {
        fs::rename(self.broker.path("away.db"), self.broker.path("postpeer.db")).unwrap();
    }

    fn revocations(&self) -> usize {
        self.broker.sandbox.handle().requests_at("twitter", Step::Revoke).len()
    }

    async fn accounts(&self) -> serde_json::Value {
        self.broker.call(0, "/v1/connect/integrations").await.unwrap().json["integrations"].take()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_a_stored_answer_are_revoked_once_the_end_is_recorded() {
    let scene = Scene::moved_at(Step::Identity).await;
    assert_eq!(scene.revocations(), 0, "the next start would connect the account from the answer");
    scene.move_back();
    scene.broker.sandbox.handle().seen("twitter", Step::Revoke, 1).await;
    scene.is_told_again().await;
    assert_eq!(scene.accounts().await, serde_json::json!([]));
    let Scene { broker, process, callback } = scene;
    assert_eq!(process.stop(), Some(0));
    let process = broker.start(None);
    let scene = Scene { broker, process, callback };
    scene.is_told_again().await;
    assert_eq!(scene.accounts().await, serde_json::json!([]), "it came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_in_a_stored_answer_connect_the_account_where_the_end_was_not_recorded() {
    let scene = Scene::moved_at(Step::Identity).await;
    scene.process.kill();
    let (broker, callback) = (scene.broker, scene.callback);
    fs::rename(broker.path("away.db"), broker.path("postpeer.db")).unwrap();
    let process = broker.start(None);
    let location = broker.browse(&callback).await.unwrap().location();
    let id = parameter(&location, "integrationId").unwrap();
    let reply = broker.token(0, &id, "").await.unwrap();
    let delivered = broker.issued("twitter", TokenKind::Access).pop().unwrap();
    assert_eq!((reply.status, reply.json["accessToken"].as_str()), (200, Some(delivered.as_str())), "{}", reply.text);
    assert!(broker.is_alive(&reply.json["accessToken"]).await);
    assert!(broker.sandbox.handle().requests_at("twitter", Step::Revoke).is_empty());
    assert_eq!(process.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_were_never_stored_are_revoked_at_once() {
    let scene = Scene::moved_at(Step::Token).await;
    assert_eq!(scene.revocations(), 1);
    scene.process.kill();
    let (broker, callback) = (scene.broker, scene.callback);
    fs::rename(broker.path("away.db"), broker.path("postpeer.db")).unwrap();
    let process = broker.start(None);
    let location = broker.browse(&callback).await.unwrap().location();
    assert_eq!(parameter(&location, "error").as_deref(), Some("interrupted"), "{location}");
    assert_eq!(broker.call(0, "/v1/connect/integrations").await.unwrap().json["total"], 0);
    assert_eq!(process.stop(), Some(0));
}
