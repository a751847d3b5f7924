//! Resolves a handle or a DID to the identity and its server.
//!
//! A handle is looked up in three places at once: DNS, the handle's own web server, and the operator's resolver. The
//! document of each identity found is fetched at once, because a handle counts only when the document claims it in
//! return. Among those, DNS wins over the web server, and the web server over the resolver. Once one place has found an
//! identity, a place that hangs is no longer waited for, but DNS always gets the time of one good answer.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use url::Url;

use super::did::Did;
use super::document::Document;
use super::error::{Error, Trouble, Unresolved};
use super::handle::{Handle, Identifier};
use super::{Engine, measured};
use crate::domain::error_chain::chain;
use crate::outbound::{self, Request};
use crate::platforms::Bluesky;

/// Time that DNS has before another place's answer counts.
const DNS_HEAD_START: Duration = Duration::from_millis(250);

/// Time limit for checking that a DID's handle leads back to it. Only the account's name depends on it.
const HANDLE_WITHIN: Duration = Duration::from_secs(3);

/// An identity, with its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    pub did: Did,
    /// The handle, if one leads to the identity and the identity claims it.
    pub handle: Option<Handle>,
    /// True when the identity claims a handle, and nobody could be asked where it leads.
    pub is_handle_unchecked: bool,
    /// The account's server, checked by the guard.
    pub service_url: Url,
}

impl Located {
    /// An identity without a handle.
    fn at(service_url: Url, did: &Did) -> Self {
        Self { did: did.clone(), handle: None, is_handle_unchecked: false, service_url }
    }
}

/// Places to look up a handle, the most trusted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Dns,
    WebServer,
    Resolver,
}

/// News while a handle is looked up.
enum Event {
    Checked(Did, Result<Located, Error>),
    Found(Place, Result<Did, Unresolved>),
    HeadStartOver,
}

impl Engine {
    /// Finds an identity and its server.
    ///
    /// # Errors
    ///
    /// [`Error::IdentityUnresolved`] or [`Error::UnsafeHost`].
    pub async fn locate(&self, directory: &Bluesky, identifier: &Identifier) -> Result<Located, Error> {
        match identifier {
            Identifier::Did(did) => {
                let document = self.document(directory, did).await?;
                let nameless = Located::at(document.service_url, did);
                Ok(match document.handles.into_iter().next() {
                    Some(handle) => self.verified(directory, nameless, handle).await,
                    None => nameless,
                })
            }
            Identifier::Handle(handle) => self.locate_handle(directory, handle, Search::default()).await,
        }
    }

    async fn locate_handle(&self, directory: &Bluesky, handle: &Handle, mut search: Search) -> Result<Located, Error> {
        let mut events: FuturesUnordered<BoxFuture<'_, Event>> = FuturesUnordered::new();
        let found_at = |place| move |did: Option<Did>| Event::Found(place, did.ok_or(Unresolved::HandleUnknown));
        events.push(self.ask_dns(handle).map(found_at(Place::Dns)).boxed());
        events.push(self.ask_web_server(handle).map(found_at(Place::WebServer)).boxed());
        events.push(self.ask_resolver(directory, handle).map(|did| Event::Found(Place::Resolver, did)).boxed());
        events.push(tokio::time::sleep(DNS_HEAD_START).map(|()| Event::HeadStartOver).boxed());

        while let Some(event) = events.next().await {
            match event {
                Event::Checked(did, result) => {
                    search.checked.insert(did, Some(result));
                }
                Event::Found(place, did) => {
                    if let Ok(did) = &did
                        && !search.checked.contains_key(did)
                    {
                        search.checked.insert(did.clone(), None);
                        let check = self.check(directory, did.clone(), handle);
                        events.push(check.map(|(did, result)| Event::Checked(did, result)).boxed());
                    }
                    search.found.insert(place, did);
                }
                Event::HeadStartOver => search.head_start_over = true,
            }
            if let Some(end) = search.end() {
                return end;
            }
        }
        Err(Error::IdentityUnresolved(Unresolved::HandleUnknown))
    }

    /// Checks that the identity claims the handle, and finds its server.
    async fn check(&self, directory: &Bluesky, did: Did, handle: &Handle) -> (Did, Result<Located, Error>) {
        let result = match self.document(directory, &did).await {
            Ok(document) if document.claims(handle) => {
                Ok(Located { handle: Some(handle.clone()), ..Located::at(document.service_url, &did) })
            }
            Ok(_) => Err(Error::IdentityUnresolved(Unresolved::HandleNotClaimed)),
            Err(error) => Err(error),
        };
        (did, result)
    }

    /// The identity, with the handle that it claims if the handle leads back to it.
    async fn verified(&self, directory: &Bluesky, nameless: Located, handle: Handle) -> Located {
        let named = Located { handle: Some(handle.clone()), ..nameless.clone() };
        let search = Search::knowing(named);
        let located = tokio::time::timeout(HANDLE_WITHIN, self.locate_handle(directory, &handle, search)).await;
        match located {
            Ok(Ok(located)) if located.did == nameless.did => return located,
            Ok(Err(Error::IdentityUnresolved(why))) if why.is_outage() => {
                tracing::warn!(did = %nameless.did, error = %chain(&why), "cannot check the handle of this identity");
            }
            Err(_) => tracing::warn!(did = %nameless.did, "checking the handle of this identity took too long"),
            Ok(_) => {
                tracing::debug!(did = %nameless.did, "the handle of this identity does not lead back to it: going on without it");
                return nameless;
            }
        }
        Located { is_handle_unchecked: true, ..nameless }
    }

    async fn ask_dns(&self, handle: &Handle) -> Option<Did> {
        let texts = self.dns.texts(&format!("_atproto.{handle}")).await.ok()?;
        let mut dids = texts.iter().filter_map(|text| text.strip_prefix("did="));
        // Two different DIDs are ambiguous.
        let (did, None) = (dids.next()?, dids.next()) else { return None };
        Did::parse(did)
    }

    async fn ask_web_server(&self, handle: &Handle) -> Option<Did> {
        let url = Url::parse(&format!("https://{handle}/.well-known/atproto-did")).ok()?;
        let answer =
            measured("handle", self.guard.get_following(url)).await.ok().filter(outbound::Answer::is_success)?;
        let text = std::str::from_utf8(&answer.body).ok()?;
        Did::parse(text.lines().next()?.trim())
    }

    /// Asks the resolver, which looks at DNS and at the web server itself: its no is one for all three places.
    async fn ask_resolver(&self, directory: &Bluesky, handle: &Handle) -> Result<Did, Unresolved> {
        let unreachable = Unresolved::ResolverUnreachable;
        let url = format!("{}/xrpc/com.atproto.identity.resolveHandle", directory.resolver_url);
        let mut url = Url::parse(&url).map_err(|_| Unresolved::HandleUnknown)?;
        url.query_pairs_mut().append_pair("handle", handle.as_str());
        let answer = measured("handle", self.outbound.send(Request::get(url))).await;
        let answer = answer.map_err(|error| unreachable(Trouble::NoAnswer(error)))?;
        let json = answer.json();
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        match (answer.status, text("error")) {
            (200, _) => text("did").and_then(Did::parse).ok_or(unreachable(Trouble::Unreadable)),
            // The reference server says `InvalidRequest`. Whatever the word, there is nothing but the handle to blame.
            (400, Some(_)) | (404, Some("HandleNotFound")) => Err(Unresolved::HandleUnknown),
            (status, _) => Err(unreachable(Trouble::Status(status))),
        }
    }

    async fn document(&self, directory: &Bluesky, did: &Did) -> Result<Document, Error> {
        let unreachable = |error| Error::IdentityUnresolved(Unresolved::DirectoryUnreachable(Trouble::NoAnswer(error)));
        let answer = if let Some(url) = did.web_document() {
            measured("document", self.guard.send(Request::get(url))).await.map_err(|error| match error {
                outbound::Error::Refused(refused) => Error::UnsafeHost(refused),
                error => unreachable(error),
            })?
        } else {
            let url = Url::parse(&format!("{}/{did}", directory.plc_url))
                .map_err(|_| Error::IdentityUnresolved(Unresolved::DidUnknown))?;
            measured("document", self.outbound.send(Request::get(url))).await.map_err(unreachable)?
        };
        let unresolved = match answer.status {
            200 => None,
            404 | 410 => Some(Unresolved::DidUnknown),
            status => Some(Unresolved::DirectoryUnreachable(Trouble::Status(status))),
        };
        if let Some(unresolved) = unresolved {
            return Err(Error::IdentityUnresolved(unresolved));
        }
        let document = Document::read(did, &answer.json(), self.guard.allows_private_networks())
            .map_err(Error::IdentityUnresolved)?;
        self.guard.check(&document.service_url).map_err(Error::UnsafeHost)?;
        Ok(document)
    }
}

/// The state of a handle's look-up.
#[derive(Default)]
struct Search {
    /// The answers so far, by place.
    found: BTreeMap<Place, Result<Did, Unresolved>>,
    /// The identities found; `None` while an identity is checked.
    checked: BTreeMap<Did, Option<Result<Located, Error>>>,
    head_start_over: bool,
}

impl Search {
    /// A look-up that starts with an identity whose document claims the handle.
    fn knowing(located: Located) -> Self {
        Self { checked: BTreeMap::from([(located.did.clone(), Some(Ok(located)))]), ..Self::default() }
    }

    /// Takes the result; `None` while more must be known.
    fn end(&mut self) -> Option<Result<Located, Error>> {
        let mut why_not = None;
        for place in [Place::Dns, Place::WebServer, Place::Resolver] {
            match self.found.get(&place) {
                None if place == Place::Dns && !self.head_start_over => return None,
                None | Some(Err(_)) => {}
                Some(Ok(did)) => match self.checked.get(did) {
                    None | Some(None) => return None,
                    Some(Some(Ok(located))) => return Some(Ok(located.clone())),
                    Some(Some(Err(_))) => why_not = why_not.or(Some(did.clone())),
                },
            }
        }
        if self.found.len() < 3 {
            return None;
        }
        if let Some(why_not) = why_not.and_then(|did| self.checked.remove(&did).flatten()) {
            return Some(why_not);
        }
        let unknown = self.found.remove(&Place::Resolver).and_then(Result::err).unwrap_or(Unresolved::HandleUnknown);
        Some(Err(Error::IdentityUnresolved(unknown)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn did(letter: char) -> Did {
        Did::parse(&format!("did:plc:{}", letter.to_string().repeat(24))).unwrap()
    }

    /// `checked`: true for an identity that claims the handle; `None` while it is checked.
    fn end(
        found: &[(Place, Option<char>)],
        checked: &[(char, Option<bool>)],
        head_start_over: bool,
    ) -> Option<Result<Did, String>> {
        let result = |letter: char, claims: bool| {
            if !claims {
                return Err(Error::IdentityUnresolved(Unresolved::HandleNotClaimed));
            }
            Ok(Located::at(Url::parse("https://pds.host").unwrap(), &did(letter)))
        };
        let mut search = Search {
            found: found
                .iter()
                .map(|(place, letter)| (*place, letter.map(did).ok_or(Unresolved::HandleUnknown)))
                .collect(),
            checked: checked
                .iter()
                .map(|(letter, claims)| (did(*letter), claims.map(|claims| result(*letter, claims))))
                .collect(),
            head_start_over,
        };
        search.end().map(|end| end.map(|located| located.did).map_err(|error| format!("{error:?}")))
    }

    #[test]
    fn dns_wins_over_the_web_server_and_that_over_the_resolver() {
        use Place::{Dns, Resolver, WebServer};
        let all = [(Dns, Some('a')), (WebServer, Some('b')), (Resolver, Some('c'))];
        let checked = [('a', Some(true)), ('b', Some(true)), ('c', Some(true))];
        assert_eq!(end(&all, &checked, false), Some(Ok(did('a'))));
        assert_eq!(end(&all[1..], &checked, true), Some(Ok(did('b'))));
        assert_eq!(end(&all[2..], &checked, true), Some(Ok(did('c'))));
        let dns_without = [(Dns, None), (WebServer, None), (Resolver, Some('c'))];
        assert_eq!(end(&dns_without, &checked, false), Some(Ok(did('c'))));
    }

    #[test]
    fn a_more_trusted_place_is_waited_for_only_while_it_may_win() {
        use Place::{Dns, Resolver, WebServer};
        let resolver = [(Resolver, Some('c'))];
        assert_eq!(end(&resolver, &[('c', Some(true))], false), None, "DNS has its head start");
        assert_eq!(end(&resolver, &[('c', None)], true), None, "the document is on its way");
        let both = [(Dns, Some('a')), (Resolver, Some('c'))];
        assert_eq!(end(&both, &[('a', None), ('c', Some(true))], true), None, "DNS has said who");
        let failed = [('a', Some(false)), ('c', Some(true))];
        assert_eq!(end(&both, &failed, true), Some(Ok(did('c'))), "DNS named an identity that does not claim it");
        assert_eq!(end(&[(Dns, Some('a')), (WebServer, None)], &[('a', Some(false))], true), None);
    }

    #[test]
    fn when_all_places_fail_the_most_trusted_reason_is_returned() {
        use Place::{Dns, Resolver, WebServer};
        let nobody = [(Dns, None), (WebServer, None), (Resolver, None)];
        assert!(end(&nobody, &[], false).unwrap().unwrap_err().contains("HandleUnknown"));
        let one = [(Dns, None), (WebServer, Some('b')), (Resolver, Some('b'))];
        let why = end(&one, &[('b', Some(false))], false).unwrap().unwrap_err();
        assert!(why.contains("HandleNotClaimed"), "{why}");
    }
}
