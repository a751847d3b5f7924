//! The operator's console, as a browser without scripts uses it: who gets in, what a session may do, what its pages
//! show and change, and that every route of its table keeps to the rules.

mod accounts;
mod managing;
mod rules;
mod sessions;

use std::fmt::Write as _;

use postpeer::domain::access_key::Scope;

use crate::support::{Reply, TestBroker, expose};

/// A broker with a console.
pub(crate) async fn start() -> TestBroker {
    TestBroker::builder().toml("[console]\n").start().await
}

/// A browser that is signed in, or not.
pub(crate) struct Operator<'a> {
    broker: &'a TestBroker,
    /// Address of the listener.
    url: String,
    cookie: String,
}

impl<'a> Operator<'a> {
    /// Signs in with the broker's own key.
    pub(crate) async fn of(broker: &'a TestBroker) -> Self {
        Self::with(broker, &broker.key).await
    }

    /// Signs in with this key.
    pub(crate) async fn with(broker: &'a TestBroker, key: &str) -> Self {
        let mut operator = Self::nobody(broker);
        let reply = operator.sign_in(key).await;
        assert_eq!((reply.status, reply.location().as_str()), (303, "/console/sign-in?signed-in=1"), "{}", reply.text);
        operator
    }

    /// Signs in with a new key of these scopes.
    pub(crate) async fn may(broker: &'a TestBroker, scopes: &[Scope]) -> Self {
        let (_, key) = broker.broker().create_access_key("default", "made", scopes).await.unwrap();
        Self::with(broker, &expose(&key)).await
    }

    /// The session's token.
    pub(crate) fn token(&self) -> String {
        self.cookie.split_once('=').unwrap().1.to_owned()
    }

    pub(crate) fn nobody(broker: &'a TestBroker) -> Self {
        Self { broker, url: broker.url.clone(), cookie: String::new() }
    }

    /// Sends the form of the sign-in page, and keeps the cookie.
    pub(crate) async fn sign_in(&mut self, key: &str) -> Reply {
        let reply = self.send("POST", "/console/sign-in", Some(&format!("key={}", encoded(key)))).await;
        if let Some((cookie, _)) = reply.header("set-cookie").split_once(';') {
            cookie.clone_into(&mut self.cookie);
        }
        reply
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, None).await
    }

    /// A page that must be there.
    pub(crate) async fn page(&self, path: &str) -> String {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        reply.text
    }

    /// Sends a form with the session's hidden field.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let body = self.form(fields).await;
        self.send("POST", path, Some(&body)).await
    }

    /// Sends a form that must lead on. Returns where.
    pub(crate) async fn done(&self, path: &str, fields: &[(&str, &str)]) -> String {
        let reply = self.post(path, fields).await;
        assert_eq!(reply.status, 303, "{path}: {}", reply.text);
        reply.location()
    }

    /// The same, and the page there with its notice, which comes once.
    pub(crate) async fn told(&self, path: &str, fields: &[(&str, &str)]) -> (String, String) {
        let reply = self.post(path, fields).await;
        assert_eq!(reply.status, 303, "{path}: {}", reply.text);
        let (notice, flags) = reply.header("set-cookie").split_once("; ").expect("a notice");
        assert!(notice.starts_with("postpeer-notice="), "{notice}");
        assert_eq!(flags, "Path=/console; Max-Age=60; HttpOnly; SameSite=Strict");
        let shown = self.request("GET", &reply.location(), None).header("cookie", notice);
        let shown = Reply::of(shown.send().await.unwrap()).await;
        assert_eq!(shown.status, 200, "{path}: {}", shown.text);
        assert!(shown.header("set-cookie").starts_with("postpeer-notice=; Path=/console; Max-Age=0;"), "{path}");
        (reply.location(), shown.text)
    }

    /// The fields with the session's hidden one.
    pub(crate) async fn form(&self, fields: &[(&str, &str)]) -> String {
        let mut body = format!("session={}", self.hidden().await);
        for (name, value) in fields {
            write!(body, "&{name}={}", encoded(value)).unwrap();
        }
        body
    }

    /// The hidden field of the session's forms.
    async fn hidden(&self) -> String {
        let page = self.page("/console").await;
        let value = page.split("name=\"session\" value=\"").nth(1).expect("a form with the hidden field");
        value.split('"').next().unwrap().to_owned()
    }

    pub(crate) fn request(&self, method: &str, path: &str, form: Option<&str>) -> reqwest::RequestBuilder {
        let mut request = self.broker.request(method, &format!("{}{path}", self.url));
        if !self.cookie.is_empty() {
            request = request.header("cookie", &self.cookie);
        }
        match form {
            Some(form) => request
                .header("content-type", "application/x-www-form-urlencoded")
                .header("sec-fetch-site", "same-origin")
                .body(form.to_owned()),
            None => request,
        }
    }

    async fn send(&self, method: &str, path: &str, form: Option<&str>) -> Reply {
        Reply::of(self.request(method, path, form).send().await.unwrap()).await
    }
}

/// Where the link with this text leads.
pub(crate) fn link(page: &str, text: &str) -> String {
    let (before, _) = page.split_once(&format!(">{text}</a>")).unwrap_or_else(|| panic!("no link {text:?}: {page}"));
    let address = before.rsplit_once("href=\"").unwrap().1.split('"').next().unwrap();
    address.replace("&#38;", "&")
}

/// As a browser encodes a field of a form.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
