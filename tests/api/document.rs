//! Checks the OpenAPI document against the API. Every operation is called, and its answer must have every member that
//! the document requires and none that it does not describe.

use std::collections::BTreeSet;

use postpeer::sandbox;
use serde_json::{Value, json};

use crate::support::{Reply, TestBroker};

/// The schemas of a document.
struct Document(Value);

impl Document {
    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self.resolve(self.0.pointer(reference.trim_start_matches('#')).unwrap()),
            None => schema,
        }
    }

    /// Properties and required members of a schema, including those of `allOf`.
    fn members<'a>(&'a self, schema: &'a Value) -> (Vec<(&'a str, &'a Value)>, Vec<&'a str>) {
        let schema = self.resolve(schema);
        let (mut properties, mut required) = (Vec::new(), Vec::new());
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let (more, needed) = self.members(part);
            properties.extend(more);
            required.extend(needed);
        }
        properties.extend(
            schema["properties"].as_object().into_iter().flatten().map(|(name, schema)| (name.as_str(), schema)),
        );
        required.extend(schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str));
        (properties, required)
    }

    /// Differences between a value and its schema. `at` is the value's place.
    fn mismatches(&self, schema: &Value, value: &Value, at: &str) -> Vec<String> {
        let schema = self.resolve(schema);
        if let Some(choices) = schema["oneOf"].as_array() {
            let fits = choices.iter().any(|choice| self.mismatches(choice, value, at).is_empty());
            return if fits { Vec::new() } else { vec![format!("{at} is none of the choices: {value}")] };
        }
        let mut wrong = Vec::new();
        let kinds: Vec<&str> = match &schema["type"] {
            Value::String(kind) => vec![kind],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ if schema["allOf"].is_array() => vec!["object"],
            other => panic!("{at}: a schema without a type: {other}"),
        };
        let kind = match value {
            Value::Array(_) => "array",
            Value::Bool(_) => "boolean",
            Value::Null => "null",
            Value::Number(number) if number.is_u64() || number.is_i64() => "integer",
            Value::Number(_) => "number",
            Value::Object(_) => "object",
            Value::String(_) => "string",
        };
        if !kinds.contains(&kind) {
            return vec![format!("{at} is {kind}, not {kinds:?}")];
        }
        if let Some(allowed) = schema["enum"].as_array()
            && !allowed.contains(value)
        {
            wrong.push(format!("{at} is {value}, not of {allowed:?}"));
        }
        if let (Some("uri"), Some(text)) = (schema["format"].as_str(), value.as_str())
            && url::Url::parse(text).is_err()
        {
            wrong.push(format!("{at} is no URI: {text}"));
        }
        if let (Some("date-time"), Some(_)) = (schema["format"].as_str(), value.as_str())
            && !crate::resources::is_time(value)
        {
            wrong.push(format!("{at} is no time: {value}"));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            wrong.extend(self.mismatches(&schema["items"], item, &format!("{at}[{index}]")));
        }
        if let Some(object) = value.as_object() {
            let (properties, required) = self.members(schema);
            wrong.extend(
                required.iter().filter(|name| !object.contains_key(**name)).map(|name| format!("{at} lacks {name}")),
            );
            for (name, value) in object {
                match properties.iter().find(|(known, _)| known == name) {
                    Some((_, schema)) => wrong.extend(self.mismatches(schema, value, &format!("{at}.{name}"))),
                    // An object without described members may have any.
                    None if properties.is_empty() => {}
                    None => wrong.push(format!("{at} has {name}, which is not described")),
                }
            }
        }
        wrong
    }

    /// Method and path of each operation at these paths.
    fn operations(&self, at: impl Fn(&str) -> bool) -> BTreeSet<(String, String)> {
        let paths = self.0["paths"].as_object().unwrap();
        paths
            .iter()
            .filter(|(path, _)| at(path))
            .flat_map(|(path, item)| item.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())))
            .collect()
    }

    /// Differences between an answer and the document.
    fn judge(&self, operation: &Value, reply: &Reply) -> Vec<String> {
        let response = &operation["responses"][reply.status.to_string()];
        if response.is_null() {
            return vec![format!("{} is not described", reply.status)];
        }
        let kind = reply.header("content-type").split(';').next().unwrap();
        match response["content"].as_object() {
            None if reply.text.is_empty() => Vec::new(),
            None => vec!["a body is not described".to_owned()],
            Some(content) => match content.get(kind) {
                Some(content) if kind == "application/json" => {
                    let mut wrong = self.mismatches(&content["schema"], &reply.json, "$");
                    // An error's codes are the names of the examples.
                    if let Some(code) = reply.json["code"].as_str()
                        && content["examples"][code].is_null()
                    {
                        wrong.push(format!("the code {code} is not described"));
                    }
                    wrong
                }
                Some(_) => Vec::new(),
                None => vec![format!("{kind:?} is not described")],
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_as_described() {
    let broker = TestBroker::start().await;
    let document = Document(broker.get("/documentation/json").await.json);
    assert!(document.0["openapi"].as_str().unwrap().starts_with("3."));
    let (client, secret) = sandbox::own_client("twitter").unwrap();
    let app = json!({"platform": "twitter", "name": "Own", "clientId": client, "clientSecret": secret});
    let made = broker.call("POST", "/v1/apps/", Some(app.clone())).await;
    let app_id = made.json["app"]["id"].as_str().unwrap();
    let made = broker.call("POST", "/v1/profiles/", Some(json!({"name": "One"}))).await;
    let profile_id = made.json["profile"]["id"].as_str().unwrap();
    let own = broker.connect("twitter", &format!("appId={app_id}&profileId={profile_id}")).await;
    let plain = broker.connect("youtube", "").await;
    broker.connect("acme", "").await;
    let ada = sandbox::bluesky_accounts().first().unwrap();
    let bluesky = "/v1/connect/bluesky/auth";
    let [ada_signs_in, basil_signs_in] = ["ada.test", "basil.test"].map(|handle| {
        let account = sandbox::bluesky_accounts().iter().find(|account| account.handle == handle).unwrap();
        Some(json!({"identifier": account.handle, "password": account.app_password}))
    });
    let at_bluesky = broker.call("POST", bluesky, basil_signs_in).await.json["integration"]["id"].clone();
    let at_bluesky = at_bluesky.as_str().unwrap();
    let connect = "/v1/connect/{platform}";
    let callback = "/v1/connect/{platform}/callback";
    let integration = "/v1/connect/integrations/{id}";
    let token = "/v1/connect/integrations/{id}/token";
    let finish = async |query: &str| {
        let url = broker.begin("twitter", query).await;
        broker.consent(&url, &sandbox::Answer::allow())
    };
    let too_late = finish("").await;
    broker.clock.advance(std::time::Duration::from_mins(10));
    let (to_page, to_caller) = (finish("").await, finish("redirectUri=https://app.example/").await);
    let declined = broker.consent(&broker.begin("twitter", "").await, &sandbox::Answer::deny());
    let (result, retry) = (broker.visit(&declined).await.location(), "/connect/result/{ticket}/retry");
    let page = broker.visit(&result).await.text;
    let icon = page.split("rel=\"icon\" href=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let complete = "/v1/connect/flows/{id}/complete";
    let to_complete = async |platform: &str, answer: Option<sandbox::Answer>| {
        let begun = broker.get(&format!("/v1/connect/{platform}?completion=true")).await.json;
        if let Some(answer) = answer {
            broker.browse(&broker.consent(begun["url"].as_str().unwrap(), &answer)).await;
        }
        complete.replace("{id}", begun["flowId"].as_str().unwrap())
    };
    let profile = Some(json!({"name": "Two", "description": "d"}));
    let other_app = Some(json!({"platform": "tiktok", "name": "n", "clientId": "c", "clientSecret": "s"}));

    let mut visited = BTreeSet::new();
    for (status, method, template, path, body) in [
        (200, "get", "/documentation", String::new(), None),
        (200, "get", "/documentation/json", String::new(), None),
        (200, "get", "/healthz", String::new(), None),
        (200, "get", "/readyz", String::new(), None),
        (200, "get", "/v1/health", String::new(), None),
        (200, "get", "/v1/health/auth", String::new(), None),
        (200, "get", "/v1/platforms", "/v1/platforms?include=custom".to_owned(), None),
        (400, "get", "/v1/platforms", "/v1/platforms?platform=x".to_owned(), None),
        (200, "get", "/v1/apps/", String::new(), None),
        (400, "get", "/v1/apps/", "/v1/apps?limit=0".to_owned(), None),
        (201, "post", "/v1/apps/", String::new(), other_app),
        (400, "post", "/v1/apps/", String::new(), Some(json!({}))),
        (409, "post", "/v1/apps/", String::new(), Some(app)),
        (200, "get", "/v1/apps/{id}", format!("/v1/apps/{app_id}"), None),
        (404, "get", "/v1/apps/{id}", "/v1/apps/x".to_owned(), None),
        (200, "patch", "/v1/apps/{id}", format!("/v1/apps/{app_id}"), Some(json!({"name": "New"}))),
        (400, "patch", "/v1/apps/{id}", format!("/v1/apps/{app_id}"), Some(json!({"clientId": "x"}))),
        (404, "patch", "/v1/apps/{id}", "/v1/apps/x".to_owned(), Some(json!({}))),
        (409, "delete", "/v1/apps/{id}", format!("/v1/apps/{app_id}"), None),
        (200, "get", "/v1/audit", String::new(), None),
        (400, "get", "/v1/audit", "/v1/audit?since=x".to_owned(), None),
        (200, "get", "/v1/profiles/", String::new(), None),
        (400, "get", "/v1/profiles/", "/v1/profiles?page=0".to_owned(), None),
        (201, "post", "/v1/profiles/", String::new(), profile),
        (400, "post", "/v1/profiles/", String::new(), Some(json!([]))),
        (200, "get", "/v1/profiles/{id}", format!("/v1/profiles/{profile_id}"), None),
        (404, "get", "/v1/profiles/{id}", "/v1/profiles/x".to_owned(), None),
        (200, "patch", "/v1/profiles/{id}", format!("/v1/profiles/{profile_id}"), Some(json!({"name": "New"}))),
        (400, "patch", "/v1/profiles/{id}", format!("/v1/profiles/{profile_id}"), Some(json!({"name": ""}))),
        (404, "patch", "/v1/profiles/{id}", "/v1/profiles/x".to_owned(), Some(json!({}))),
        (200, "get", connect, format!("/v1/connect/twitter?profileId={profile_id}"), None),
        (200, "get", connect, "/v1/connect/twitter?completion=true".to_owned(), None),
        (200, "post", complete, to_complete("threads", Some(sandbox::Answer::allow())).await, None),
        (200, "post", complete, to_complete("facebook", Some(sandbox::Answer::allow())).await, None),
        (409, "post", complete, to_complete("threads", None).await, None),
        (409, "post", complete, to_complete("threads", Some(sandbox::Answer::deny())).await, None),
        (404, "post", complete, "/v1/connect/flows/x/complete".to_owned(), None),
        (400, "get", connect, "/v1/connect/twitter?redirectUri=x".to_owned(), None),
        (403, "get", connect, "/v1/connect/myspace".to_owned(), None),
        (404, "get", connect, "/v1/connect/twitter?appId=x".to_owned(), None),
        (
            200,
            "post",
            bluesky,
            bluesky.to_owned(),
            Some(json!({"identifier": ada.handle, "password": ada.app_password})),
        ),
        (400, "post", bluesky, bluesky.to_owned(), Some(json!({"identifier": ada.handle}))),
        (404, "post", bluesky, format!("{bluesky}?reconnect=x"), ada_signs_in.clone()),
        (409, "post", bluesky, format!("{bluesky}?reconnect={at_bluesky}"), ada_signs_in),
        (
            401,
            "post",
            bluesky,
            bluesky.to_owned(),
            Some(json!({"identifier": ada.handle, "password": "aaaa-aaaa-aaaa-aaaa"})),
        ),
        (200, "get", callback, too_late, None),
        (303, "get", callback, to_page, None),
        (303, "get", callback, to_caller, None),
        (200, "get", "/connect/result/{ticket}", result.clone(), None),
        (404, "get", "/connect/result/{ticket}", "/connect/result/x".to_owned(), None),
        (303, "get", retry, format!("{result}/retry"), None),
        (404, "get", retry, "/connect/result/x/retry".to_owned(), None),
        (200, "get", "/assets/{file}", icon, None),
        (404, "get", "/assets/{file}", "/assets/x".to_owned(), None),
        (400, "get", callback, "/v1/connect/twitter/callback".to_owned(), None),
        (200, "get", "/v1/connect/integrations", "/v1/connect/integrations?include=custom".to_owned(), None),
        (400, "get", "/v1/connect/integrations", "/v1/connect/integrations?sort=x".to_owned(), None),
        (200, "get", integration, format!("/v1/connect/integrations/{own}"), None),
        (200, "get", integration, format!("/v1/connect/integrations/{plain}"), None),
        (404, "get", integration, "/v1/connect/integrations/x".to_owned(), None),
        (200, "get", token, format!("/v1/connect/integrations/{plain}/token?minSeconds=60"), None),
        (400, "get", token, format!("/v1/connect/integrations/{plain}/token?minSeconds=x"), None),
        (404, "get", token, "/v1/connect/integrations/x/token".to_owned(), None),
        (422, "get", token, format!("/v1/connect/integrations/{plain}/token?minSeconds=86400"), None),
        (200, "patch", integration, format!("/v1/connect/integrations/{own}"), Some(json!({"profileId": profile_id}))),
        // The callback above connected the same account without a profile.
        (409, "patch", integration, format!("/v1/connect/integrations/{own}"), Some(json!({"profileId": null}))),
        (400, "patch", integration, format!("/v1/connect/integrations/{own}"), Some(json!({}))),
        (404, "patch", integration, "/v1/connect/integrations/x".to_owned(), Some(json!({"profileId": null}))),
        (200, "delete", integration, format!("/v1/connect/integrations/{own}"), None),
        (404, "delete", integration, format!("/v1/connect/integrations/{own}"), None),
        (200, "delete", "/v1/apps/{id}", format!("/v1/apps/{app_id}"), None),
        (404, "delete", "/v1/apps/{id}", format!("/v1/apps/{app_id}"), None),
        (200, "delete", "/v1/profiles/{id}", format!("/v1/profiles/{profile_id}"), None),
        (404, "delete", "/v1/profiles/{id}", format!("/v1/profiles/{profile_id}"), None),
    ] {
        let operation = &document.0["paths"][template][method];
        assert!(operation.is_object(), "{method} {template} is not described");
        let path = if path.is_empty() { template } else { &path };
        let reply = broker.call(&method.to_uppercase(), path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
        assert_eq!(document.judge(operation, &reply), Vec::<String>::new(), "{method} {path}: {}", reply.text);
        assert!(reply.header("x-request-id").starts_with("req_"), "{method} {path}");
        if status < 400 {
            visited.insert((method.to_owned(), template.to_owned()));
        }
        // The same call without the key that it needs.
        if operation["security"].is_array() {
            let bare = Reply::of(broker.request(&method.to_uppercase(), path).send().await.unwrap()).await;
            assert_eq!(bare.status, 401, "{method} {path}");
            assert_eq!(document.judge(operation, &bare), Vec::<String>::new(), "{method} {path}: {}", bare.text);
        }
    }
    let elsewhere = ["/selection/", "/confirm/", "/link/", "/links"];
    let described = document.operations(|path| !elsewhere.iter().any(|part| path.contains(part)));
    assert_eq!(visited, described, "an operation is described and not called here, or the other way round");
}

/// The same for account selection, which needs no key and has forms.
#[tokio::test(flavor = "multi_thread")]
async fn choices_are_as_described() {
    let broker = TestBroker::start().await;
    let document = Document(broker.get("/documentation/json").await.json);
    let mut visited = BTreeSet::new();
    for platform in ["facebook", "googlebusiness", "linkedin"] {
        let template = format!("/v1/connect/{platform}/selection/{{token}}");
        for (status, method, path, body) in choices(&broker, platform).await {
            let reply = broker.call(&method.to_uppercase(), &path, body).await;
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text);
            let operation = &document.0["paths"][&template][method];
            assert_eq!(document.judge(operation, &reply), Vec::<String>::new(), "{method} {path}: {}", reply.text);
            visited.insert((method.to_owned(), template.clone()));
        }
    }
    let template = "/connect/selection/{token}";
    let url = broker.begin("facebook", "").await;
    let page = broker.browse(&broker.consent(&url, &sandbox::Answer::allow())).await.location();
    for (status, method, form) in [
        (200, "get", ""),
        (303, "post", "action=all"),
        (400, "post", "action=connect"),
        (303, "post", "action=cancel"),
        (404, "get", ""),
    ] {
        let mut request = broker.request(&method.to_uppercase(), &page);
        if method == "post" {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, status, "{method} {form}: {}", reply.text);
        let operation = &document.0["paths"][template][method];
        assert_eq!(document.judge(operation, &reply), Vec::<String>::new(), "{method} {form}: {}", reply.text);
        visited.insert((method.to_owned(), template.to_owned()));
    }
    let described = document.operations(|path| path.contains("/selection/"));
    assert_eq!(visited, described, "an operation is described and not called here, or the other way round");
}

/// The same for connect links and their page.
#[tokio::test(flavor = "multi_thread")]
async fn links_are_as_described() {
    let broker = TestBroker::start().await;
    let document = Document(broker.get("/documentation/json").await.json);
    let (all, one, template) = ("/v1/connect/links", "/v1/connect/links/{id}", "/connect/link/{token}");
    let mut visited = BTreeSet::new();
    let mut judge = |method: &str, template: &str, status: u16, reply: &Reply| {
        assert_eq!(reply.status, status, "{method} {template}: {}", reply.text);
        let operation = &document.0["paths"][template][method];
        assert_eq!(document.judge(operation, reply), Vec::<String>::new(), "{method} {template}: {}", reply.text);
        visited.insert((method.to_owned(), template.to_owned()));
    };
    let made = broker.call("POST", all, Some(json!({"platforms": ["bluesky", "twitter"]}))).await;
    judge("post", all, 201, &made);
    let page = made.json["link"]["url"].as_str().unwrap().to_owned();
    let path = format!("{all}/{}", made.json["link"]["id"].as_str().unwrap());
    judge("post", all, 400, &broker.call("POST", all, Some(json!({"redirectUri": "x"}))).await);
    judge("post", all, 404, &broker.call("POST", all, Some(json!({"profileId": "x"}))).await);
    let ada = sandbox::bluesky_accounts().first().unwrap();
    let signs_in = format!("connect=bluesky&identifier={}&password={}", ada.handle, ada.app_password);
    for (status, method, form) in [
        (200, "get", ""),
        (303, "post", "connect=twitter"),
        (303, "post", signs_in.as_str()),
        (303, "post", "action=done"),
        (400, "post", "connect=bluesky&identifier=x&password="),
        (400, "post", "connect=nothing"),
    ] {
        let request = broker.request(&method.to_uppercase(), &page);
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.to_owned());
        judge(method, template, status, &Reply::of(request.send().await.unwrap()).await);
    }
    judge("get", one, 200, &broker.get(&path).await);
    judge("delete", one, 200, &broker.call("DELETE", &path, None).await);
    for method in ["get", "delete"] {
        judge(method, one, 404, &broker.call(&method.to_uppercase(), &format!("{all}/x"), None).await);
    }
    for (page, status) in [(page.as_str(), 410), ("/connect/link/x", 404)] {
        judge("get", template, status, &broker.visit(page).await);
        judge("post", template, status, &Reply::of(broker.request("POST", page).send().await.unwrap()).await);
    }
    let described = document.operations(|path| path.contains("/link/") || path.contains("/links"));
    assert_eq!(visited, described, "an operation is described and not called here, or the other way round");
}

/// The same for the page that asks before the platform does.
#[tokio::test(flavor = "multi_thread")]
async fn confirmations_are_as_described() {
    let broker = TestBroker::builder().setting("POSTPEER_CONNECT__CONFIRM", "true").start().await;
    let document = Document(broker.get("/documentation/json").await.json);
    let template = "/connect/confirm/{token}";
    let page = broker.begin("twitter", "").await;
    for (status, method, form, site) in [
        (200, "get", "", "none"),
        (303, "post", "action=continue", "same-origin"),
        (403, "post", "action=continue", "cross-site"),
        (400, "post", "action=x", "same-origin"),
        (303, "post", "action=cancel", "same-origin"),
        (404, "post", "action=continue", "same-origin"),
        (404, "get", "", "none"),
    ] {
        let mut request = broker.request(&method.to_uppercase(), &page).header("sec-fetch-site", site);
        if method == "post" {
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        let reply = Reply::of(request.send().await.unwrap()).await;
        assert_eq!(reply.status, status, "{method} {form}: {}", reply.text);
        let operation = &document.0["paths"][template][method];
        assert_eq!(document.judge(operation, &reply), Vec::<String>::new(), "{method} {form}: {}", reply.text);
    }
    let described = document.operations(|path| path.contains("/confirm/"));
    let called = ["get", "post"].map(|method| (method.to_owned(), template.to_owned()));
    assert_eq!(described, BTreeSet::from(called));
}

/// Requests about a selection, with the status of the answer.
async fn choices(broker: &TestBroker, platform: &str) -> Vec<(u16, &'static str, String, Option<Value>)> {
    let url = broker.begin(platform, "headless=true&redirectUri=https://app.example/").await;
    let location = broker.browse(&broker.consent(&url, &sandbox::Answer::allow())).await.location();
    let token = crate::support::parameter(&location, "selectionToken").unwrap();
    let path = |token: &str| format!("/v1/connect/{platform}/selection/{token}");
    let offered = broker.get(&path(&token)).await.json;
    let all: Vec<&Value> = offered["accounts"].as_array().unwrap().iter().map(|account| &account["id"]).collect();
    vec![
        (200, "get", path(&token), None),
        (404, "get", path("x"), None),
        (400, "post", path(&token), Some(json!({"selectedAccountIds": []}))),
        (404, "post", path("x"), Some(json!({"selectedAccountIds": ["x"]}))),
        (200, "post", path(&token), Some(json!({"selectedAccountIds": all}))),
    ]
}

/// The checks above can fail.
#[test]
fn a_mismatch_is_found() {
    let document = Document(json!({"components": {"schemas": {"Kind": {"type": "string", "enum": ["a", "b"]}}}}));
    let schema = json!({
        "type": "object",
        "required": ["id", "kind"],
        "properties": {
            "id": {"type": "string"},
            "kind": {"$ref": "#/components/schemas/Kind"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "when": {"type": ["string", "null"], "format": "date-time"},
            "url": {"oneOf": [{"type": "null"}, {"type": "string", "format": "uri"}]},
        },
    });
    let wrong = |value: Value| document.mismatches(&schema, &value, "$").join("; ");
    assert_eq!(wrong(json!({"id": "x", "kind": "a", "tags": ["y"], "when": null, "url": "https://a"})), "");
    assert_eq!(wrong(json!({"kind": "c"})), "$ lacks id; $.kind is \"c\", not of [String(\"a\"), String(\"b\")]");
    assert_eq!(wrong(json!({"id": 1, "kind": "a"})), "$.id is integer, not [\"string\"]");
    assert_eq!(wrong(json!({"id": "x", "kind": "a", "more": 1})), "$ has more, which is not described");
    assert_eq!(wrong(json!({"id": "x", "kind": "a", "tags": [1]})), "$.tags[0] is integer, not [\"string\"]");
    assert_eq!(wrong(json!({"id": "x", "kind": "a", "when": "today"})), "$.when is no time: \"today\"");
    assert_eq!(wrong(json!({"id": "x", "kind": "a", "url": "nowhere"})), "$.url is none of the choices: \"nowhere\"");
    assert_eq!(wrong(json!([])), "$ is array, not [\"object\"]");
}
