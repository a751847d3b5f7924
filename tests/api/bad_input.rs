//! Requests that must be refused with the right status and code, in the usual envelope, without storing anything or
//! repeating a secret.

use postpeer::sandbox::{Answer, Step};
use serde_json::json;

use crate::refusals::{SECRET, World, bare, callback, refuse, row};
use crate::support::{Reply, TestBroker, parameter};

#[tokio::test(flavor = "multi_thread")]
async fn keys() {
    let broker = TestBroker::start().await;
    let bad = |lines: &[&str]| {
        let mut row = bare("GET", "/v1/profiles", 401, "invalid_access_key");
        row.headers = lines.iter().map(|line| (*line).to_owned()).collect();
        row
    };
    refuse(
        &broker,
        vec![
            bad(&[]),
            bad(&["x-access-key:"]),
            bad(&["x-access-key: nonsense"]),
            bad(&["x-access-key: {key}x"]),
            bad(&["x-access-key: Bearer {key}"]),
            bad(&["x-access-key: \"{key}\""]),
            bad(&["x-access-key: {key}, {key}"]),
            bad(&["x-access-key: {key},"]),
            bad(&["x-access-key: {key}\u{e9}"]),
            bad(&["x-access-key: \u{fffd}"]),
            bad(&[&format!("x-access-key: {{key}}{}", "x".repeat(10_000))]),
            bad(&["x-access-key: {key}", "x-access-key: {key}"]),
            bad(&["x-access-key: {key}", "x-access-key: nonsense"]),
            bad(&["x-access-key: nonsense", "x-access-key: {key}"]),
            bad(&["x-access-key: {key}", "X-Access-Key:"]),
            bad(&["authorization: Bearer {key}"]),
            bad(&["authorization: Basic {key}"]),
            bad(&["cookie: x-access-key={key}"]),
            bad(&["x_access_key: {key}"]),
            bare("GET", "/v1/profiles?x-access-key={key}", 401, "invalid_access_key"),
            bare("GET", "/v1/profiles?access_key={key}&accessKey={key}", 401, "invalid_access_key"),
            bare("POST", "/v1/profiles", 401, "invalid_access_key").json("{\"name\":\"a\",\"x-access-key\":\"{key}\"}"),
        ],
    )
    .await;
    // White space around a header's value does not belong to it (RFC 9110, section 5.5).
    let key = &broker.key;
    let reply = broker
        .raw(
            format!("GET /v1/profiles HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-access-key:\t {key} \t\r\n\r\n")
                .as_bytes(),
        )
        .await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn beginnings() {
    let broker = TestBroker::start().await;
    let unknown = |name: &str| row("GET", format!("/v1/connect/{name}"), 403, "platform_not_available");
    let with = |query: &str, status, code| row("GET", format!("/v1/connect/twitter?{query}"), status, code);
    let long = "a".repeat(5000);
    let mut rows = vec![
        unknown("myspace"),
        unknown("Twitter"),
        unknown("TWITTER"),
        unknown("twitter%00"),
        unknown("twitter%20"),
        unknown("twitter%2fcallback"),
        unknown("twitter;x=1"),
        unknown("tw%69tter%ff"),
        unknown("..%2f..%2fetc"),
        unknown("__proto__"),
        unknown(&long),
        unknown("bluesky"),
        row("GET", "/v1/connect/twitter/", 404, "not_found"),
        row("GET", "/v1/connect//twitter", 404, "not_found"),
        row("GET", "/v1/connect", 404, "not_found"),
        row("GET", "/v1/connect/", 404, "not_found"),
        row("GET", "/v1//connect/twitter", 404, "not_found"),
        row("GET", "/v1/connect/./twitter", 404, "not_found"),
        row("GET", "/v1/connect/twitter/../twitter", 404, "not_found"),
        row("GET", "/V1/connect/twitter", 404, "not_found"),
        row("GET", "/", 404, "not_found"),
        with(&format!("redirectUri=https://app.example/{}", "a".repeat(9000)), 414, "uri_too_long"),
        with("redirectUri=https://a.example&redirectUri=https://a.example", 400, "repeated_parameter"),
        with("cancelRedirectUri=https://a.example&cancelRedirectUri=https://b.example", 400, "repeated_parameter"),
        with("redirectUri=https://a.example/%ff", 400, "invalid_parameter"),
        with("redirectUri=https://a.example/%2", 400, "invalid_parameter"),
        with("profileId={their profile}", 404, "profile_not_found"),
        with("profileId={gone}", 404, "profile_not_found"),
        with("profileId=prof_00000000000000000000000000000000", 404, "profile_not_found"),
        with("profileId={app}", 404, "profile_not_found"),
        with("profileId=../", 404, "profile_not_found"),
        with("profileId=", 404, "profile_not_found"),
        with("profileId=null", 404, "profile_not_found"),
        with("profileId=%00", 404, "profile_not_found"),
        with("profileId={profile}%20", 404, "profile_not_found"),
        with("profileId={profile}'%20OR%201=1--", 404, "profile_not_found"),
        with(&format!("profileId={long}"), 404, "profile_not_found"),
        with("profileId={profile}&profileId={profile}", 400, "repeated_parameter"),
        with("appId={their app}", 404, "app_not_found"),
        with("appId=app_00000000000000000000000000000000", 404, "app_not_found"),
        with("appId={profile}", 404, "app_not_found"),
        with(&format!("appId={long}"), 404, "app_not_found"),
        with("appId={tiktok app}", 400, "app_platform_mismatch"),
        with("appId={app}&appId={app}", 400, "repeated_parameter"),
    ];
    for value in ["maybe", "TRUE", "True", "", "1", "0", "yes", "true%20", "null", "%ff"] {
        rows.push(with(&format!("headless={value}"), 400, "invalid_parameter"));
    }
    rows.push(with("headless=true&headless=true", 400, "repeated_parameter"));
    for method in ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"] {
        rows.push(row(method, "/v1/connect/twitter", 405, "method_not_allowed"));
    }
    refuse(&broker, rows).await;

    let told = broker.get("/v1/connect/myspace").await;
    for platform in ["twitter", "youtube", "acme"] {
        assert!(told.json["error"].as_str().unwrap().contains(platform), "{}", told.text);
    }
    let told = broker.get("/v1/connect/bluesky").await;
    assert!(told.json["error"].as_str().unwrap().contains("POST /v1/connect/bluesky/auth"), "{}", told.text);
    // A missing resource and another project's get the same answer.
    let world = World::of(&TestBroker::start().await).await;
    let unknown = broker.get("/v1/connect/twitter?profileId=prof_x").await;
    let foreign = broker.get(&world.fill("/v1/connect/twitter?profileId={their profile}")).await;
    assert_eq!(unknown.json["error"], foreign.json["error"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn callbacks() {
    let broker = TestBroker::start().await;
    let long = "a".repeat(7000);
    let mut rows = vec![
        callback(""),
        callback("code={code}"),
        callback("state=&code={code}"),
        callback("state&code={code}"),
        callback("state={state}x&code={code}"),
        callback("state={state}%20&code={code}"),
        callback("state=unknown&code={code}"),
        callback("STATE={state}&code={code}"),
        callback("state[]={state}&code={code}"),
        callback("state={state};code={code}"),
        callback("state={state}&state={state}&code={code}"),
        callback("state={state}&st%61te=x&code={code}"),
        callback("state={state}&code={code}&code={code}"),
        callback("state={state}&code={code}&code=secret-marker"),
        callback("state={state}&error=a&error=access_denied"),
        callback("state={state}&code={code}&iss=https://a.example&iss=https://a.example"),
        callback("state={state}&code={code}&error_reason=a&error_reason=b"),
        callback("state=%ff%fe&code={code}"),
        callback("state=%&code={code}"),
        callback("state=%00&code={code}"),
        callback("state={state}%00&code={code}"),
        callback(format!("state={long}&code={{code}}")),
        bare("GET", "/v1/connect/pinterest/callback?state={state}&code={code}", 400, ""),
        bare("GET", "/v1/connect/myspace/callback?state={state}&code={code}", 400, ""),
        bare("GET", "/v1/connect/Twitter/callback?state={state}&code={code}", 400, ""),
        bare("GET", "/v1/connect/twitter/callback/?state={state}&code={code}", 404, ""),
        // No platform has that name, and a path below it belongs to an integration.
        bare("GET", "/v1/connect/integrations/callback?state={state}&code={code}", 401, "invalid_access_key"),
        bare("GET", "/v1/connect/twitter/callback?state={state}&code={code}", 503, "").header("purpose: prefetch"),
        bare("POST", "/v1/connect/twitter/callback", 405, "")
            .header("content-type: application/x-www-form-urlencoded")
            .body("state={state}&code={code}"),
    ];
    for method in ["POST", "OPTIONS", "HEAD", "PUT", "DELETE"] {
        rows.push(bare(method, "/v1/connect/twitter/callback?state={state}&code={code}", 405, ""));
    }
    refuse(&broker, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies() {
    let broker = TestBroker::start().await;
    let post = |status, code| row("POST", "/v1/profiles", status, code);
    let invalid = |body: &[u8]| post(400, "invalid_json").json(body);
    let good = "{\"name\":\"secret-marker\"}";
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let rows = vec![
        invalid(b""),
        invalid(b"null"),
        invalid(b"[]"),
        invalid(b"[{\"name\":\"secret-marker\"}]"),
        invalid(b"\"secret-marker\""),
        invalid(b"{\"name\":\"secret-marker\""),
        invalid(b"{\"name\":\"secret-marker\"} x"),
        invalid(b"{\"name\":\"secret-marker\"}{}"),
        invalid(b"{\"name\":\"a\",\"name\":\"secret-marker\"}"),
        invalid(b"{\"name\":\"a\",\"n\\u0061me\":\"secret-marker\"}"),
        invalid(b"{'name':'secret-marker'}"),
        invalid(b"{\"name\":secret-marker}"),
        invalid(b"\xef\xbb\xbf{\"name\":\"secret-marker\"}"),
        invalid(b"{\"name\":\"\xff\"}"),
        invalid(b"{\"name\":\"\\ud800\"}"),
        invalid(b"{\"name\":\"a\0\"}"),
        invalid(b"name=secret-marker"),
        invalid(&utf16),
        invalid("[".repeat(60_000).as_bytes()),
        invalid(format!("{{\"name\":{}", "[".repeat(60_000)).as_bytes()),
        post(415, "unsupported_media_type").body(good),
        post(415, "unsupported_media_type").header("content-type: text/plain").body(good),
        post(415, "unsupported_media_type").header("content-type: application/x-www-form-urlencoded").body("name=a"),
        post(415, "unsupported_media_type").header("content-type: multipart/form-data; boundary=x").body("--x--"),
        post(415, "unsupported_media_type").header("content-type: application/jsonp").body(good),
        post(415, "unsupported_media_type").header("content-type: application/json, text/plain").body(good),
        post(415, "unsupported_media_type").header("content-encoding: gzip").json(good),
        post(415, "unsupported_media_type").header("content-encoding: identity, gzip").json(good),
        post(400, "invalid_json"),
        post(400, "invalid_json").header("content-length: 0"),
        post(415, "unsupported_media_type").header("content-type: text/plain").header("content-length: 0"),
        post(413, "body_too_large").header("content-type: application/json").header("content-length: 3000000000"),
        post(413, "body_too_large").header("content-type: application/json").header("content-length: 65537"),
        row("PATCH", "/v1/profiles/{profile}", 400, "invalid_json").json("null"),
        row("PATCH", "/v1/apps/{app}", 400, "invalid_json").json("[]"),
        row("PATCH", "/v1/connect/integrations/{integration}", 400, "invalid_json").json(""),
        row("POST", "/v1/apps", 415, "unsupported_media_type").body("{}"),
    ];
    refuse(&broker, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists() {
    let broker = TestBroker::start().await;
    let mut rows = Vec::new();
    let limits = ["0", "101", "-1", "1e3", "1.5", "9999999999999999999", "abc", "", "%20", "+5", "0x10", "%D9%A3"];
    for list in ["/v1/apps", "/v1/profiles/", "/v1/connect/integrations"] {
        for limit in limits {
            rows.push(row("GET", format!("{list}?limit={limit}"), 400, "invalid_parameter"));
        }
        rows.push(row("GET", format!("{list}?limit=5&limit=5"), 400, "repeated_parameter"));
    }
    for list in ["/v1/apps/", "/v1/profiles"] {
        for page in ["0", "-1", "90071992547410", "99999999999999999999", "x", ""] {
            rows.push(row("GET", format!("{list}?page={page}"), 400, "invalid_parameter"));
        }
        rows.push(row("GET", format!("{list}?name="), 400, "invalid_parameter"));
        rows.push(row("GET", format!("{list}?name={}", "a".repeat(201)), 400, "invalid_parameter"));
        rows.push(row("GET", format!("{list}?name=%c3%28"), 400, "invalid_parameter"));
    }
    for query in
        ["offset=-1", "offset=9007199254740992", "offset=x", "offset=", "sort=evil", "sort=ASC", "sort=", "q=%zz"]
    {
        rows.push(row("GET", format!("/v1/connect/integrations?{query}"), 400, "invalid_parameter"));
    }
    for list in ["/v1/apps", "/v1/platforms", "/v1/connect/integrations"] {
        for platform in ["myspace", "Twitter", "", "twitter,tiktok", "%00"] {
            rows.push(row("GET", format!("{list}?platform={platform}"), 400, "invalid_parameter"));
        }
        rows.push(row("GET", format!("{list}?platform=twitter&platform=tiktok"), 400, "repeated_parameter"));
    }
    rows.push(row("GET", "/v1/connect/integrations?include=all", 400, "invalid_parameter"));
    rows.push(row("GET", "/v1/connect/integrations?q=a&q=b", 400, "repeated_parameter"));
    refuse(&broker, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members() {
    let broker = TestBroker::start().await;
    let mut rows = Vec::new();
    let invalid = |method, target: &str, body: String| row(method, target, 400, "invalid_request").json(body);
    let name = |name: &str| format!("{{\"name\":\"{name}\"}}");
    for bad in [
        String::new(),
        "   ".to_owned(),
        "\\u3000\\u00a0".to_owned(),
        "a".repeat(201),
        "\u{1f389}".repeat(201),
        "a\\u0000".to_owned(),
        "a\\nb".to_owned(),
        "a\\u007fb".to_owned(),
        "a\\u202eb".to_owned(),
        "a\\u2066b".to_owned(),
    ] {
        rows.push(invalid("POST", "/v1/profiles", name(&bad)));
        rows.push(invalid("PATCH", "/v1/profiles/{profile}", name(&bad)));
        rows.push(invalid("PATCH", "/v1/apps/{app}", name(&bad)));
    }
    for body in ["{}", "{\"name\":null}", "{\"name\":1}", "{\"name\":[\"a\"]}", "{\"Name\":\"a\"}"] {
        rows.push(invalid("POST", "/v1/profiles/", body.to_owned()));
    }
    rows.push(invalid("POST", "/v1/profiles", format!("{{\"name\":\"a\",\"description\":\"{}\"}}", "a".repeat(1001))));
    rows.push(invalid("POST", "/v1/profiles", "{\"name\":\"a\",\"description\":1}".to_owned()));
    rows.push(invalid("PATCH", "/v1/profiles/{profile}", "{\"name\":null}".to_owned()));
    rows.push(invalid("PATCH", "/v1/profiles/{profile}", "{\"description\":false}".to_owned()));

    let app = json!({"platform": "youtube", "name": "Ours", "clientId": "cid", "clientSecret": SECRET});
    for (member, bad) in [
        ("platform", json!("bluesky")),
        ("platform", json!("myspace")),
        ("platform", json!("")),
        ("platform", json!(null)),
        ("name", json!("")),
        ("clientId", json!("")),
        ("clientId", json!("c\u{0}")),
        ("clientId", json!("\u{e9}")),
        ("clientId", json!("a".repeat(2049))),
        ("clientId", json!(7)),
        ("clientSecret", json!("")),
        ("clientSecret", json!(null)),
        ("clientSecret", json!("secret-marker\n")),
        ("clientSecret", json!([SECRET])),
        ("clientSecret", json!(format!("{SECRET}{}", "a".repeat(2048)))),
        ("imageUrl", json!("javascript:alert(1)")),
        ("imageUrl", json!("data:image/png,x")),
        ("imageUrl", json!("//cdn.example/x")),
        ("imageUrl", json!("https://cdn.example/a b")),
        ("imageUrl", json!("")),
        ("imageUrl", json!(format!("https://cdn.example/{}", "a".repeat(2048)))),
    ] {
        let mut body = app.clone();
        body[member] = bad.clone();
        rows.push(invalid("POST", "/v1/apps", body.to_string()));
        if member != "platform" && member != "clientId" && (member, &bad) != ("imageUrl", &json!(null)) {
            rows.push(invalid("PATCH", "/v1/apps/{app}", json!({member: bad}).to_string()));
        }
    }
    for member in ["platform", "name", "clientId", "clientSecret"] {
        let mut body = app.clone();
        body.as_object_mut().unwrap().remove(member);
        rows.push(invalid("POST", "/v1/apps/", body.to_string()));
    }
    rows.push(invalid("PATCH", "/v1/apps/{app}", "{\"clientId\":\"cid\"}".to_owned()));
    rows.push(invalid("PATCH", "/v1/apps/{app}", "{\"platform\":\"twitter\"}".to_owned()));
    rows.push(invalid("PATCH", "/v1/apps/{app}", "{\"authorizeUrl\":\"http://169.254.169.254/\"}".to_owned()));
    rows.push(invalid("PATCH", "/v1/apps/{app}", "{\"name\":null}".to_owned()));
    rows.push(
        row("POST", "/v1/apps", 409, "duplicate_app")
            .json(json!({"platform": "twitter", "name": "x", "clientId": "cid", "clientSecret": SECRET}).to_string()),
    );

    let integration = "/v1/connect/integrations/{integration}";
    for body in ["{}", "{\"profileId\":1}", "{\"profileId\":null,\"username\":\"@x\"}", "{\"profileid\":null}"] {
        rows.push(invalid("PATCH", integration, body.to_owned()));
    }
    for body in ["{\"profileId\":\"\"}", "{\"profileId\":\"prof_x\"}", "{\"profileId\":\"null\"}"] {
        rows.push(row("PATCH", integration, 404, "profile_not_found").json(body));
    }
    refuse(&broker, rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn things_that_are_not_there() {
    let broker = TestBroker::start().await;
    let mut rows = Vec::new();
    for (collection, own, code) in [
        ("/v1/apps", "app", "app_not_found"),
        ("/v1/profiles", "prof", "profile_not_found"),
        ("/v1/connect/integrations", "int", "integration_not_found"),
    ] {
        let change = if own == "int" { "{\"profileId\":null}" } else { "{\"name\":\"x\"}" };
        for id in [
            format!("{own}_00000000000000000000000000000000"),
            format!("{own}_"),
            "x".to_owned(),
            "%00".to_owned(),
            "%ff".to_owned(),
            "..%2f".to_owned(),
            "{their profile}".to_owned(),
            "{their app}".to_owned(),
            "{gone}".to_owned(),
            "null".to_owned(),
            "a".repeat(5000),
        ] {
            rows.push(row("GET", format!("{collection}/{id}"), 404, code));
            rows.push(row("DELETE", format!("{collection}/{id}"), 404, code));
            rows.push(row("PATCH", format!("{collection}/{id}"), 404, code).json(change));
        }
        rows.push(row("GET", format!("{collection}/x/"), 404, "not_found"));
        rows.push(row("GET", format!("{collection}//"), 404, "not_found"));
    }
    refuse(&broker, rows).await;
}

/// Text that a platform, or the author of a forged link, puts into an error is shown nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_words_of_our_own() {
    let broker = TestBroker::start().await;
    let long = "d".repeat(6000);
    for (query, cancel, expected) in [
        (
            "error=access_denied&error_description=<script>",
            true,
            "https://app.example/no?status=cancelled&platform=twitter&error=access_denied",
        ),
        (
            "error=%3Cscript%3E",
            true,
            "https://app.example/back?status=error&platform=twitter&error=authorization_refused",
        ),
        (
            "error=access_denied",
            false,
            "https://app.example/back?status=cancelled&platform=twitter&error=access_denied",
        ),
        (
            "error=x%0d%0aset-cookie:a",
            false,
            "https://app.example/back?status=error&platform=twitter&error=authorization_refused",
        ),
        (
            "error=server_error&code=secret-marker",
            false,
            "https://app.example/back?status=error&platform=twitter&error=platform_unavailable",
        ),
        (
            &format!("error=x&error_description={long}"),
            false,
            "https://app.example/back?status=error&platform=twitter&error=authorization_refused",
        ),
        (
            &format!("error={long}"),
            false,
            "https://app.example/back?status=error&platform=twitter&error=authorization_refused",
        ),
    ] {
        let cancel = if cancel { "&cancelRedirectUri=https://app.example/no" } else { "" };
        let url = broker.begin("twitter", &format!("redirectUri=https://app.example/back{cancel}")).await;
        let state = parameter(&url, "state").unwrap();
        let request = format!("/v1/connect/twitter/callback?state={state}&{query}");
        let reply = broker.browse(&request).await;
        assert_eq!((reply.status, reply.location().as_str()), (303, expected), "{query}");
        assert_eq!(reply.text, "", "{query}");
        // The state is consumed: a repeat gets the same answer, and a code comes too late.
        assert_eq!(broker.browse(&request).await.location(), expected);
        let late = broker.browse(&format!("/v1/connect/twitter/callback?state={state}&code=x")).await;
        assert_eq!((late.status, late.location().as_str()), (400, ""), "{query}");

        let url = broker.begin("twitter", "").await;
        let state = parameter(&url, "state").unwrap();
        let page = broker.browse(&format!("/v1/connect/twitter/callback?state={state}&{query}")).await;
        assert_eq!(page.status, 200, "{query}");
        for echoed in ["<script", "set-cookie", "ddddd", SECRET, &state] {
            assert!(!page.text.contains(echoed), "{query}: {}", page.text);
        }
    }
    assert!(broker.sandbox().requests_at("twitter", Step::Token).is_empty());
}

/// No other site's page may read an answer (CORS).
#[tokio::test(flavor = "multi_thread")]
async fn no_origin_is_let_in() {
    let broker = TestBroker::start().await;
    for (method, path) in
        [("GET", "/v1/health"), ("OPTIONS", "/v1/profiles"), ("GET", "/v1/profiles"), ("GET", "/nothing")]
    {
        let reply = broker
            .request(method, path)
            .header("origin", "https://evil.example")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "x-access-key")
            .header("x-access-key", &broker.key);
        let reply = Reply::of(reply.send().await.unwrap()).await;
        assert!(reply.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{method} {path}");
    }
}

/// A parameter that is ignored because of its spelling leaves a person stranded. Routes without a key take whatever
/// platforms add.
#[tokio::test(flavor = "multi_thread")]
async fn misspelt_parameters() {
    let broker = TestBroker::start().await;
    let id = broker.connect("twitter", "").await;
    let token = format!("/v1/connect/integrations/{id}/token");
    let back = "https%3A%2F%2Fapp.example%2F";
    for (path, wrong, right) in [
        ("/v1/connect/twitter", format!("redirect_uri={back}"), "redirectUri"),
        ("/v1/connect/twitter", format!("redirectUri={back}&redirect_uri={back}"), "redirectUri"),
        ("/v1/connect/twitter", format!("redirectUrl={back}"), "redirectUri"),
        ("/v1/connect/twitter", format!("redirect%55RI={back}"), "redirectUri"),
        ("/v1/connect/twitter", format!("cancel-redirect-uri={back}"), "cancelRedirectUri"),
        ("/v1/connect/twitter", "Headless=true".to_owned(), "headless"),
        ("/v1/connect/twitter", "profile_id=x".to_owned(), "profileId"),
        ("/v1/connect/twitter", "appid=x".to_owned(), "appId"),
        ("/v1/connect/integrations", "platforms=twitter".to_owned(), "platform"),
        ("/v1/connect/integrations", "profile_id=x".to_owned(), "profileId"),
        ("/v1/connect/integrations", "offest=1".to_owned(), "offset"),
        ("/v1/connect/integrations", "Q=x".to_owned(), "q"),
        ("/v1/platforms", "includes=custom".to_owned(), "include"),
        ("/v1/profiles", "Limit=1".to_owned(), "limit"),
        ("/v1/apps", "Name=x".to_owned(), "name"),
        ("/v1/apps", "plattform=x".to_owned(), "platform"),
        (&token, "min_seconds=1".to_owned(), "minSeconds"),
    ] {
        let reply = broker.get(&format!("{path}?{wrong}")).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_parameter"), "{path}?{wrong}: {}", reply.text);
        let told = reply.json["error"].as_str().unwrap();
        assert_eq!(told, format!("{right} is misspelt in the query: write it exactly like that."), "{path}?{wrong}");
    }
    let (account, secret) = ("ada.test", SECRET);
    let body = json!({"identifier": account, "password": secret});
    let told = broker.call("POST", "/v1/connect/bluesky/auth?redirect_uri=x", Some(body)).await;
    assert_eq!(told.json["error"], "redirectUri is misspelt in the query: write it exactly like that.");
    let told = broker.call("PATCH", "/v1/apps/x", Some(json!({"client_secret": secret}))).await;
    assert_eq!(told.json["error"], "clientSecret is misspelt in the body: write it exactly like that.");

    for good in ["/v1/connect/twitter?state=x&lang=y&utm_source=z&_=1", "/v1/profiles?pages=2&pag=1&id=x"] {
        assert_eq!(broker.get(good).await.status, 200, "{good}");
    }
    let url = broker.begin("tiktok", &format!("redirectUri={back}")).await;
    let callback = format!("{}&scopes=x&Code=y&State=z&errors=e", broker.consent(&url, &Answer::allow()));
    assert!(broker.browse(&callback).await.location().contains("status=success"));
    assert_eq!(broker.browse("/v1/health?limits=1&redirect_uri=x").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coding_that_changes_nothing_is_taken_however_it_is_written() {
    let broker = TestBroker::start().await;
    for (number, coding) in ["identity", "Identity", "", ",", "identity, ,Identity"].into_iter().enumerate() {
        let request = broker.request("POST", "/v1/profiles/").header("x-access-key", &broker.key);
        let request = request.header("content-encoding", coding).header("content-type", "application/json");
        let request = request.body(json!({"name": format!("P{number}")}).to_string());
        assert_eq!(request.send().await.unwrap().status(), 201, "{coding:?}");
    }
}
