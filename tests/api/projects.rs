//! Two projects on one broker: neither can see, change or detect the other's resources.

use std::collections::BTreeMap;

use actix_web::ResponseError as _;
use postpeer::broker::error::StoreError;
use postpeer::broker::projects::Disconnected;
use postpeer::broker::{Caller, Error};
use postpeer::domain::access_key::Scope;
use postpeer::domain::project::Holdings;
use postpeer::http::error::ApiError;
use postpeer::http::routes::{Access, ROUTES};
use postpeer::sandbox::{Answer, Step};
use serde_json::{Value, json};

use crate::support::{TestBroker, parameter};

/// A project with one resource of each kind.
struct Tenant {
    key: String,
    app: String,
    /// A connection that waits for its caller.
    flow: String,
    integrations: Vec<String>,
    link: String,
    profile: String,
}

impl Tenant {
    async fn of(broker: &TestBroker, project: &str) -> Self {
        let key = broker.key(project, Scope::ALL).await;
        let app = json!({"platform": "twitter", "name": project, "clientId": "same", "clientSecret": "cs"});
        let app = broker.call_as(&key, "POST", "/v1/apps", Some(app)).await;
        let profile = broker.call_as(&key, "POST", "/v1/profiles", Some(json!({"name": project}))).await;
        let profile = profile.json["profile"]["id"].as_str().unwrap().to_owned();
        let mut integrations = Vec::new();
        for platform in ["twitter", "youtube"] {
            let url = Self::begin(broker, &key, platform, &format!("&profileId={profile}")).await;
            let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
            integrations.push(parameter(&location, "integrationId").unwrap_or_else(|| panic!("{location}")));
        }
        let begun = broker.call_as(&key, "GET", "/v1/connect/threads?completion=true", None).await;
        broker.browse(&broker.consent(begun.json["url"].as_str().unwrap(), &Answer::allow())).await;
        let flow = begun.json["flowId"].as_str().unwrap().to_owned();
        let link = broker.call_as(&key, "POST", "/v1/connect/links", Some(json!({"profileId": profile}))).await;
        let link = link.json["link"]["id"].as_str().unwrap().to_owned();
        Self { flow, key, app: app.json["app"]["id"].as_str().unwrap().to_owned(), integrations, link, profile }
    }

    async fn begin(broker: &TestBroker, key: &str, platform: &str, query: &str) -> String {
        let path = format!("/v1/connect/{platform}?redirectUri=https://app.example/back{query}");
        let reply = broker.call_as(key, "GET", &path, None).await;
        reply.json["url"].as_str().unwrap_or_else(|| panic!("{}", reply.text)).to_owned()
    }

    /// Everything that the project can see.
    async fn all(&self, broker: &TestBroker) -> Vec<Value> {
        let mut seen = Vec::new();
        for path in [
            "/v1/apps?limit=100",
            "/v1/profiles?limit=100",
            "/v1/connect/integrations?limit=100&include=custom",
            &format!("/v1/apps/{}", self.app),
            &format!("/v1/profiles/{}", self.profile),
            &format!("/v1/connect/integrations/{}", self.integrations[0]),
            &format!("/v1/connect/links/{}", self.link),
            &format!("/v1/connect/integrations/{}", self.integrations[1]),
        ] {
            let reply = broker.call_as(&self.key, "GET", path, None).await;
            assert_eq!(reply.status, 200, "{path}: {}", reply.text);
            seen.push(reply.json);
        }
        seen
    }

    fn ids(&self) -> [&str; 5] {
        [&self.app, &self.link, &self.profile, &self.integrations[0], &self.integrations[1]]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ids_of_one_are_nothing_to_the_other() {
    let broker = TestBroker::start().await;
    let ours = Tenant::of(&broker, "default").await;
    let theirs = Tenant::of(&broker, "theirs").await;
    let before = broker.stored();
    let mut tried = 0;
    for (caller, owner) in [(&ours, &theirs), (&theirs, &ours)] {
        for route in ROUTES.iter().filter(|route| route.access != Access::Public && route.paths[0].contains("{id}")) {
            let body = match (route.method.as_str(), route.paths[0]) {
                ("PATCH", "/v1/connect/integrations/{id}") => Some(json!({"profileId": null})),
                ("PATCH", _) => Some(json!({"name": "taken over"})),
                _ => None,
            };
            let send = async |id: &str| {
                let path = route.paths[0].replace("{id}", id);
                let mut reply = broker.call_as(&caller.key, route.method.as_str(), &path, body.clone()).await;
                reply.json.as_object_mut().unwrap().remove("requestId");
                (reply.status, reply.json)
            };
            // The other project's ids, of the right kind and of others, are as unknown as made-up ones.
            let unknown = send("int_00000000000000000000000000000000").await;
            assert_eq!(unknown.0, 404);
            for id in owner.ids().into_iter().chain([&*owner.flow]) {
                assert_eq!(send(id).await, unknown, "{} {}", route.method, route.paths[0]);
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 156, "thirteen routes take an id");
    assert!(broker.stored() == before, "something was written");
    assert!(broker.sandbox().requests_at("twitter", postpeer::sandbox::Step::Revoke).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_in_bodies_and_queries_are_as_unknown() {
    let broker = TestBroker::start().await;
    let ours = Tenant::of(&broker, "default").await;
    let theirs = Tenant::of(&broker, "theirs").await;
    let before = broker.stored();
    let told = async |path: &str, body: Option<Value>| {
        let method = if body.is_some() { "PATCH" } else { "GET" };
        let mut reply = broker.call_as(&ours.key, method, path, body).await;
        reply.json.as_object_mut().unwrap().remove("requestId");
        (reply.status, reply.json)
    };
    let prof = "prof_00000000000000000000000000000000";
    let app = "app_00000000000000000000000000000000";
    let at = "/v1/connect/twitter";
    let own = format!("/v1/connect/integrations/{}", ours.integrations[0]);
    let unknown = told(&format!("{at}?profileId={prof}"), None).await;
    assert_eq!(unknown.0, 404);
    assert_eq!(told(&format!("{at}?profileId={}", theirs.profile), None).await, unknown);
    assert_eq!(told(&own, Some(json!({"profileId": prof}))).await, unknown);
    assert_eq!(told(&own, Some(json!({"profileId": theirs.profile}))).await, unknown);
    let unknown = told(&format!("{at}?appId={app}"), None).await;
    assert_eq!(unknown.0, 404);
    assert_eq!(told(&format!("{at}?appId={}", theirs.app), None).await, unknown);
    // An app of another platform would be a 400, if it were ours.
    assert_eq!(told(&format!("/v1/connect/tiktok?appId={}", theirs.app), None).await, unknown);

    let list = "/v1/connect/integrations";
    let empty = (200, json!({"success": true, "total": 0, "integrations": []}));
    assert_eq!(told(&format!("{list}?profileId={}", theirs.profile), None).await, empty);
    assert_eq!(told(&format!("{list}?q={}", theirs.integrations[0]), None).await, empty);
    assert!(broker.stored() == before, "something was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_show_ones_own() {
    let broker = TestBroker::start().await;
    let ours = Tenant::of(&broker, "default").await;
    let before = ours.all(&broker).await;
    let theirs = Tenant::of(&broker, "theirs").await;
    assert_eq!(ours.all(&broker).await, before);
    for (own, other) in [(&ours, &theirs), (&theirs, &ours)] {
        let seen = format!("{:?}", own.all(&broker).await);
        for id in own.ids() {
            assert!(seen.contains(id), "{id}");
        }
        for id in other.ids() {
            assert!(!seen.contains(id), "{id}");
        }
    }
    // Neither project notices the other's changes. The same account or client id is no conflict.
    for path in [
        format!("/v1/connect/integrations/{}", theirs.integrations[0]),
        format!("/v1/connect/integrations/{}", theirs.integrations[1]),
        format!("/v1/profiles/{}", theirs.profile),
        format!("/v1/apps/{}", theirs.app),
    ] {
        let reply = broker.call_as(&theirs.key, "DELETE", &path, None).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
    }
    assert_eq!(ours.all(&broker).await, before);
}

/// A connection belongs to the project that began it, whichever browser returns.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_lands_in_the_project_that_began_it() {
    let broker = TestBroker::start().await;
    let ours = broker.key("default", Scope::ALL).await;
    let theirs = broker.key("theirs", Scope::ALL).await;
    let url = Tenant::begin(&broker, &ours, "twitter", "").await;
    let callback = broker.consent(&url, &Answer::allow());
    // Another browser, which sends the other project's key and names its resources.
    let reply = broker
        .request("GET", &format!("{callback}&profileId=x&appId=y&redirectUri=https://evil.example/"))
        .header("x-access-key", &theirs)
        .header("cookie", "session=another")
        .send()
        .await
        .unwrap();
    let location = reply.headers()["location"].to_str().unwrap();
    assert!(location.starts_with("https://app.example/back?status=success&"), "{location}");
    let id = parameter(location, "integrationId").unwrap();
    let seen = async |key: &str| broker.call_as(key, "GET", &format!("/v1/connect/integrations/{id}"), None).await;
    assert_eq!((seen(&ours).await.status, seen(&theirs).await.status), (200, 404));

    // The other project connects the same account: two independent integrations.
    let url = Tenant::begin(&broker, &theirs, "twitter", "").await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    assert_ne!(parameter(&location, "integrationId").unwrap(), id);
    assert_eq!((seen(&ours).await.status, seen(&theirs).await.status), (200, 404));
}

/// The rows of a project in every table that has such rows, from the schema.
fn rows_of(broker: &TestBroker, project: &str) -> BTreeMap<String, u32> {
    let db = broker.sql();
    let mut tables = db
        .prepare(
            "SELECT t.name FROM pragma_table_list AS t JOIN pragma_table_info(t.name) AS c
             WHERE t.schema = 'main' AND t.type = 'table' AND c.name = 'project_id'",
        )
        .unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
    assert!(tables.len() >= 11, "{tables:?}");
    let count = |table: &String| {
        let sql = format!("SELECT count(*) FROM {table} WHERE project_id = ?1");
        db.query_row(&sql, [project], |row| row.get(0)).unwrap()
    };
    tables.iter().map(|table| (table.clone(), count(table))).collect()
}

/// The number of sealed values whose bytes are in the files of the database.
fn found_in_files(broker: &TestBroker, sealed: &[Vec<u8>]) -> usize {
    let files = broker.database();
    sealed.iter().filter(|value| contains(&files, value)).count()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_project_leaves_its_audit_trail_and_nothing_else() {
    let broker = TestBroker::start().await;
    let ours = Tenant::of(&broker, "default").await;
    let kept = ours.all(&broker).await;
    let theirs = Tenant::of(&broker, "theirs").await;
    let caller = broker.broker().authenticate(&theirs.key, None).await.unwrap();
    broker.broker().sign_in(&caller).await.unwrap();
    // Under an app of their own, several accounts of one consent, a choice and a completion that wait, a late redirect,
    // and a read token.
    let path = format!("/v1/connect/integrations/{}/token", theirs.integrations[0]);
    for _ in 0..3 {
        assert_eq!(broker.call_as(&theirs.key, "GET", &path, None).await.status, 200);
    }
    let (client_id, secret) = postpeer::sandbox::own_client("twitter").unwrap();
    let app = json!({"platform": "twitter", "name": "Own", "clientId": client_id, "clientSecret": secret});
    let app = broker.call_as(&theirs.key, "POST", "/v1/apps", Some(app)).await;
    let app = format!("&appId={}", app.json["app"]["id"].as_str().unwrap());
    let url = Tenant::begin(&broker, &theirs.key, "twitter", &app).await;
    broker.browse(&broker.consent(&url, &Answer::allow())).await;
    let begun = Tenant::begin(&broker, &theirs.key, "youtube", "").await;
    let callback = broker.consent(&begun, &Answer::allow());
    let url = Tenant::begin(&broker, &theirs.key, "facebook", "").await;
    let choice = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    let late = "INSERT INTO late_redirects (credential, project_id, platform, redirect_uri, expired_at)
        SELECT CAST(zeroblob(32) AS BLOB), id, 'x', 'https://app.example/', 0 FROM projects WHERE name = 'theirs'";
    broker.sql().execute(late, []).unwrap();

    let (project, holdings) = broker.broker().find_deletable_project("theirs").await.unwrap();
    let expected = Holdings { profiles: 1, accounts: 3, apps: 2, keys: 1, grants: 3, pending: 3 };
    assert_eq!(holdings, expected);
    let before = rows_of(&broker, &project.id.to_string());
    assert!(before.values().all(|rows| *rows > 0), "every table has rows of it: {before:?}");
    let sealed: Vec<Vec<u8>> = broker
        .sql()
        .prepare(
            "SELECT tokens FROM grants WHERE project_id = ?1 UNION ALL SELECT client_secret FROM oauth_apps WHERE project_id = ?1
             UNION ALL SELECT payload FROM selections WHERE project_id = ?1
             UNION ALL SELECT pkce_verifier FROM flows WHERE project_id = ?1 AND pkce_verifier IS NOT NULL",
        )
        .unwrap()
        .query_map([project.id.to_string()], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(found_in_files(&broker, &sealed), sealed.len());
    assert!(sealed.len() >= 6, "{}", sealed.len());

    let done = broker.broker().delete_project(project.id, |_| ()).await.unwrap();
    // Their channel lives on the same consent as ours, so the platform was not asked.
    assert_eq!(done, Disconnected { revoked: 2, shared: 1, ..Disconnected::default() });
    assert_eq!(done.all(), 3);
    // As for a second command, while this one was at work.
    let again = broker.broker().delete_project(project.id, |_| ()).await.unwrap();
    assert_eq!(again, Disconnected::default());
    let left: Vec<_> = rows_of(&broker, &project.id.to_string()).into_iter().filter(|(_, rows)| *rows > 0).collect();
    assert!(matches!(&left[..], [(table, _)] if table == "audit"), "{left:?}");
    assert_eq!(found_in_files(&broker, &sealed), 0, "sealed values are erased");
    let projects = broker.broker().list_projects().await.unwrap();
    assert_eq!(projects.iter().map(|project| project.name.as_str()).collect::<Vec<_>>(), ["default"]);

    // Their key is none, their connections lead nowhere, and what was counted in memory disturbs nobody.
    assert_eq!(broker.call_as(&theirs.key, "GET", "/v1/health/auth", None).await.code(), "invalid_access_key");
    assert_eq!(broker.browse(&callback).await.status, 400);
    assert_eq!(broker.browse(&choice).await.status, 404);
    broker.broker().write_token_reads().await.unwrap();
    broker.broker().write_key_uses(true).await.unwrap();
    assert_eq!(ours.all(&broker).await, kept);
    let id = project.id.to_string();
    let trail: Vec<String> = broker
        .sql()
        .prepare("SELECT actor || ' ' || action FROM audit WHERE project_id = ?1 ORDER BY id DESC LIMIT 5")
        .unwrap()
        .query_map([&id], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let by_operator = [
        "project.deleted",
        "account.disconnected",
        "account.disconnected",
        "account.disconnected",
        "access_key.revoked",
    ];
    assert_eq!(trail, by_operator.map(|action| format!("command_line {action}")));
    // A call that was let in before the key was gone.
    let late = Caller::operator(project.id);
    let refused = broker.broker().create_profile(&late, "late".to_owned(), None).await.unwrap_err();
    assert!(matches!(refused, Error::Store(StoreError::Orphan(_))), "{refused:?}");
    let told = ApiError::from(refused);
    assert_eq!((told.status_code().as_u16(), told.to_string().contains("deleted in the same moment")), (503, true));
    // The same name is free again.
    let again = broker.broker().create_project("theirs").await.unwrap();
    assert_ne!(again.id, project.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consent_of_several_accounts_is_revoked_with_the_last_of_them() {
    let broker = TestBroker::start().await;
    let key = broker.key("theirs", Scope::ALL).await;
    let url = Tenant::begin(&broker, &key, "facebook", "&headless=true").await;
    let location = broker.browse(&broker.consent(&url, &Answer::allow())).await.location();
    let path = format!("/v1/connect/facebook/selection/{}", parameter(&location, "selectionToken").unwrap());
    let offered = broker.browse(&path).await;
    let ids: Vec<_> =
        offered.json["accounts"].as_array().unwrap().iter().map(|account| account["id"].clone()).collect();
    assert!(ids.len() > 1);
    let chosen = broker.call("POST", &path, Some(json!({"selectedAccountIds": ids}))).await;
    assert_eq!(chosen.status, 200, "{}", chosen.text);
    let (project, holdings) = broker.broker().find_deletable_project("theirs").await.unwrap();
    assert_eq!((holdings.accounts, holdings.grants), (ids.len() as u64, 1));
    let done = broker.broker().delete_project(project.id, |_| ()).await.unwrap();
    assert_eq!(done.all(), ids.len() as u64);
    assert!(done.revoked >= 1 && done.not_confirmed + done.unsupported == 0, "{done:?}");
    assert!(!broker.sandbox().requests_at("facebook", Step::Revoke).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_project_and_one_that_is_not_there_are_not_deleted() {
    let broker = TestBroker::start().await;
    let refused = broker.broker().find_deletable_project("default").await;
    assert!(matches!(&refused, Err(Error::Invalid(why)) if why.contains("part of every broker")), "{refused:?}");
    assert!(matches!(broker.broker().find_deletable_project("nowhere").await, Err(Error::NotFound(_))));
}
