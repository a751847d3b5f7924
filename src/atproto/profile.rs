//! An account's name and picture. No connection depends on them.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;
use url::Url;

use super::locate::Located;
use super::session::method;
use super::{Engine, measured};
use crate::domain::account::Account;
use crate::outbound::{Answer, Authorization, Error, Request};
use crate::platforms::{Bluesky, bluesky};

/// Time limit per server: someone waits, and only a name and a picture depend on it.
const WITHIN: Duration = Duration::from_secs(2);

impl Engine {
    /// The account with its public profile, as far as one is found: from the account's server, which knows what the
    /// public view hides; else from the public view; else from the record itself, on servers that no view knows.
    pub async fn account(&self, directory: &Bluesky, located: &Located, access_token: &SecretString) -> Account {
        let profile = match self.profile_from_server(located, access_token).await {
            Some(profile) => Some(profile),
            None => match self.profile_from_view(directory, located).await {
                Some(profile) => Some(profile),
                None => self.profile_from_record(located).await,
            },
        };
        located.account(profile.as_ref())
    }

    async fn profile_from_server(&self, located: &Located, access_token: &SecretString) -> Option<Value> {
        let mut url = method(&located.service_url, GET_PROFILE)?;
        url.query_pairs_mut().append_pair("actor", located.did.as_str());
        let request = Request { authorization: Authorization::Bearer(access_token.clone()), ..Request::get(url) };
        answered(self.guard.send(request)).await.filter(|profile| is_of(profile, located))
    }

    async fn profile_from_view(&self, directory: &Bluesky, located: &Located) -> Option<Value> {
        let mut url = Url::parse(&format!("{}/xrpc/{GET_PROFILE}", directory.resolver_url)).ok()?;
        url.query_pairs_mut().append_pair("actor", located.did.as_str());
        answered(self.outbound.send(Request::get(url))).await.filter(|profile| is_of(profile, located))
    }

    async fn profile_from_record(&self, located: &Located) -> Option<Value> {
        let mut url = method(&located.service_url, "com.atproto.repo.getRecord")?;
        url.query_pairs_mut()
            .append_pair("repo", located.did.as_str())
            .append_pair("collection", "app.bsky.actor.profile")
            .append_pair("rkey", "self");
        let record = answered(self.guard.send(Request::get(url))).await?;
        let mut profile = record.get("value").filter(|value| value.is_object())?.clone();
        // The record has the picture's content id, and the server has its bytes.
        let picture = profile.pointer("/avatar/ref/$link").and_then(Value::as_str).and_then(|cid| {
            let mut url = method(&located.service_url, "com.atproto.sync.getBlob")?;
            url.query_pairs_mut().append_pair("did", located.did.as_str()).append_pair("cid", cid);
            Some(Value::from(url.as_str()))
        });
        if let Some(profile) = profile.as_object_mut() {
            profile.insert("avatar".to_owned(), picture.unwrap_or(Value::Null));
        }
        Some(profile)
    }
}

impl Located {
    /// The account as its identity describes it, without a profile.
    #[must_use]
    pub fn bare_account(&self) -> Account {
        self.account(None)
    }

    fn account(&self, profile: Option<&Value>) -> Account {
        let handle = self.handle.as_ref().map(super::Handle::as_str);
        bluesky::account(self.did.as_str(), handle, self.service_url.as_str(), profile).bounded()
    }
}

const GET_PROFILE: &str = "app.bsky.actor.getProfile";

/// The JSON of a success; `None` for any other answer, or none in time.
async fn answered(call: impl Future<Output = Result<Answer, Error>>) -> Option<Value> {
    let answer = tokio::time::timeout(WITHIN, measured("identity", call)).await.ok()?.ok()?;
    answer.is_success().then(|| answer.json())
}

fn is_of(profile: &Value, located: &Located) -> bool {
    profile.get("did").and_then(Value::as_str) == Some(located.did.as_str())
}
