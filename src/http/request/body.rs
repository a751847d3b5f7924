//! Request bodies: a JSON object, or the fields of an HTML form, with limits on size and time.
//!
//! Replaces actix's own extractors, which wait for a slow body for ever, take the last of duplicate members and show
//! serde's messages to callers. Invariant: a handler sees only complete bodies, and a JSON body is one object without
//! duplicate members. All bodies together take no more than [`BodyRoom`], but for short forms. A body may hold a password
//! or a client secret: every copy that is made here is wiped when it is dropped. Those of the HTTP stack are wiped when
//! their memory is given back, by the allocator in `main.rs`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::http::header;
use actix_web::{FromRequest, HttpMessage as _, HttpRequest};
use futures_util::StreamExt as _;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};
use zeroize::{Zeroize as _, Zeroizing};

use super::query::Query;
use super::{fields, spelling};
use crate::domain::id::{AccessKeyId, ProjectId};
use crate::http::Current;
use crate::http::context::Context;
use crate::http::error::{ApiError, Code};

/// Longest form that anyone can send, in bytes: enough for a key or the name of a button. It takes nothing of the room
/// for bodies: its connection holds more than that, and nobody who fills the room keeps the operator from signing in.
pub(crate) const FORM_MAX: usize = 2 * 1024;
/// Longest choice of accounts, in bytes, as a form or in JSON: enough for the most that a person may choose, with ids of
/// the length that platforms use.
pub(crate) const CHOICE_BODY_MAX: usize = 512 * 1024;
/// Longest form with a name and a password, or body with both, in bytes: enough whatever their characters.
pub(crate) const PASSWORD_FORM_MAX: usize = 8 * 1024;
/// Answer to a body that the HTTP stack could not read: its framing is wrong, whatever is in it.
const BAD_FRAMING: &str =
    "The body did not arrive whole: send its Content-Length, or chunks without extensions and trailers.";
/// Retry-After when there is no room for a body: those that are being read end soon.
const ROOM_RETRY_AFTER: Duration = Duration::from_secs(2);

/// A type that is read from the members of a JSON body.
pub(crate) trait FromMembers: Sized {
    /// Longest body, in bytes.
    const BODY_MAX: usize = 64 * 1024;

    fn from_members(members: &mut Members) -> Result<Self, ApiError>;
}

/// Room for the bodies that are being read, in bytes. Bounds what clients can make the broker hold that send a body and
/// do not finish it. Invariant: bodies with one key fill a quarter, those of a project's people half, and those of one
/// project half where there are several.
pub(crate) struct BodyRoom {
    bytes: usize,
    taken: Mutex<Taken>,
}

/// Bytes that are taken by each.
type Taken = HashMap<Sharer, usize>;

/// Who shares the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sharer {
    All,
    Key(AccessKeyId),
    /// All people of a project: they have no key.
    PeopleOf(ProjectId),
    Project(ProjectId),
}

/// Room that a body takes, until it is dropped.
struct Held {
    room: Arc<BodyRoom>,
    /// Those who pay for it, each with the most that it may take.
    sharers: Vec<(Sharer, usize)>,
    bytes: usize,
}

impl BodyRoom {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who pay for a body with this key, or of a person without one. `parts`: as of [`Broker::parts`].
    fn sharers(&self, project: ProjectId, key: Option<AccessKeyId>, parts: u8) -> Vec<(Sharer, usize)> {
        let sender = match key {
            Some(key) => (Sharer::Key(key), self.bytes / 4),
            None => (Sharer::PeopleOf(project), self.bytes / 2),
        };
        vec![sender, (Sharer::Project(project), self.bytes / usize::from(parts)), (Sharer::All, self.bytes)]
    }
}

impl Held {
    /// Takes room for more of the body.
    fn grow(&mut self, bytes: usize) -> Result<(), ApiError> {
        let mut taken = self.room.taken();
        let has_room = |(sharer, most): &(Sharer, usize)| taken.get(sharer).copied().unwrap_or(0) + bytes <= *most;
        if !self.sharers.iter().all(has_room) {
            return Err(ApiError::new(Code::Overloaded).retry_after(ROOM_RETRY_AFTER).closing());
        }
        for (sharer, _) in &self.sharers {
            *taken.entry(*sharer).or_default() += bytes;
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        for (sharer, _) in &self.sharers {
            if let Entry::Occupied(mut bytes) = taken.entry(*sharer) {
                *bytes.get_mut() -= self.bytes;
                if *bytes.get() == 0 {
                    bytes.remove();
                }
            }
        }
    }
}

/// Extracts a JSON body.
pub(crate) struct Body<T>(pub(crate) T);

impl<T: FromMembers + 'static> FromRequest for Body<T> {
    type Error = ApiError;
    type Future = Pin<Box<dyn Future<Output = Result<Self, ApiError>>>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let unread = Unread::of(req, payload);
        Box::pin(async move { unread.members().await.map(Self) })
    }
}

/// The fields of a form, still encoded.
pub(crate) struct Form(Zeroizing<String>);

impl Form {
    pub(crate) fn fields(&self) -> Query<'_> {
        Query::new(&self.0)
    }
}

/// Extracts a body that is not read yet, for routes without a key: they look up what the caller may do first.
pub(crate) struct Unread {
    req: HttpRequest,
    payload: Payload,
    /// The project of its sender, who has no key.
    project: Option<ProjectId>,
}

impl FromRequest for Unread {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(req: &HttpRequest, payload: &mut Payload) -> Self::Future {
        ready(Ok(Self::of(req, payload)))
    }
}

impl Unread {
    fn of(req: &HttpRequest, payload: &mut Payload) -> Self {
        Self { req: req.clone(), payload: payload.take(), project: None }
    }

    /// The same body, from one of the people of a project.
    pub(crate) fn of_project(self, project: ProjectId) -> Self {
        Self { project: Some(project), ..self }
    }

    /// Reads a form of at most `max` bytes. More than [`FORM_MAX`] only for whoever has shown a session or a token:
    /// forms that are sent slowly fill the room for bodies, and somebody's project has to pay for it.
    pub(crate) async fn form(self, max: usize) -> Result<Form, ApiError> {
        let (body, _held) = self.read("application/x-www-form-urlencoded", max).await?;
        // Browsers percent-encode everything, so other bytes are not a form.
        let fields = std::str::from_utf8(&body).map_err(|_| ApiError::new(Code::InvalidRequest))?;
        Ok(Form(Zeroizing::new(fields.to_owned())))
    }

    /// Reads a JSON body.
    pub(crate) async fn members<T: FromMembers>(self) -> Result<T, ApiError> {
        if self.is_missing() {
            return Err(ApiError::with(Code::InvalidJson, "The body is missing: it must be one JSON object in UTF-8."));
        }
        let (body, _held) = self.read("application/json", T::BODY_MAX).await?;
        let mut members = Members::parse(&body)?;
        let read = T::from_members(&mut members)?;
        members.refuse_respelt().map(|()| read)
    }

    /// True when the request announces neither a body nor the type of one.
    fn is_missing(&self) -> bool {
        let headers = self.req.headers();
        let length = headers.get(header::CONTENT_LENGTH).map(header::HeaderValue::as_bytes);
        !headers.contains_key(header::CONTENT_TYPE)
            && !headers.contains_key(header::TRANSFER_ENCODING)
            && length.is_none_or(|length| length == b"0")
    }

    async fn read(self, media_type: &str, max: usize) -> Result<(Zeroizing<Vec<u8>>, Held), ApiError> {
        let Self { req, mut payload, project } = self;
        let too_large = || {
            ApiError::with(Code::BodyTooLarge, format!("The request body is larger than {} KiB.", max / 1024)).closing()
        };
        // An empty list names no coding, and upper and lower case are alike (RFC 9110, section 8.4.1).
        let is_none = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
        let mut codings = req
            .headers()
            .get_all(header::CONTENT_ENCODING)
            .flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
        let is_encoded = codings.any(|coding| !is_none(coding.trim_ascii()));
        if is_encoded || !req.content_type().eq_ignore_ascii_case(media_type) {
            let sentence = format!("Send the body as Content-Type: {media_type}, without a Content-Encoding.");
            return Err(ApiError::with(Code::UnsupportedMediaType, sentence));
        }
        let announced = req.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if announced.is_some_and(|length: u64| length > max as u64) {
            return Err(too_large());
        }
        let state = Current::of(&req)?;
        let caller = Context::of(&req, |context| {
            context.caller.as_ref().map(|caller| (caller.project_id, caller.access_key_id))
        })?;
        let sharers = match caller.or(project.map(|project| (project, None))) {
            Some((project, key)) => state.bodies.sharers(project, key, state.broker.parts().await?),
            None if max <= FORM_MAX => Vec::new(),
            None => return Err(ApiError::internal("a long body that no project pays for")),
        };
        let whole = async {
            let mut body = Zeroizing::new(Vec::new());
            let mut held = Held { room: state.bodies.clone(), sharers, bytes: 0 };
            while let Some(chunk) = payload.next().await {
                let chunk = chunk.map_err(|error| {
                    ApiError::with(Code::InvalidRequest, BAD_FRAMING).because(error.to_string()).closing()
                })?;
                if body.len() + chunk.len() > max {
                    return Err(too_large());
                }
                held.grow(chunk.len())?;
                append(&mut body, &chunk);
            }
            Ok((body, held))
        };
        let within = state.settings.body_deadline;
        tokio::time::timeout(within, whole).await.map_err(|_| ApiError::new(Code::RequestTimeout).closing())?
    }
}

/// Like `extend_from_slice`, which would leave a copy of what is there whenever it has to move.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let length = body.len() + chunk.len();
    if length > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(length.max(2 * body.capacity())));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

/// The members of a JSON object. Reading a member removes it.
pub(crate) struct Members {
    left: Map<String, Value>,
    /// Names that were asked for.
    known: Vec<&'static str>,
    /// Those that were not there.
    absent: Vec<&'static str>,
}

impl Members {
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        // The parser's message could contain a secret, so it is dropped and not even logged.
        serde_json::from_slice(body).map_err(|_| ApiError::new(Code::InvalidJson))
    }

    /// Removes and returns a member; `None` if it is absent.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<Value> {
        let value = self.left.remove(name);
        if value.is_none() {
            self.absent.push(name);
        }
        self.known.push(name);
        value
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.left.contains_key(name)
    }

    /// Returns an error if a member that is left has the name of one that is missing, in other letters: such as
    /// `image_url`. Beside `imageUrl` it is an unknown member like any other.
    fn refuse_respelt(&self) -> Result<(), ApiError> {
        let respelt = self.left.keys().find_map(|given| spelling::same_letters(given, &self.absent));
        respelt.map_or(Ok(()), |name| Err(misspelt(name)))
    }

    /// Returns an error if members are left. For bodies without additional members.
    pub(crate) fn refuse_others(&self) -> Result<(), ApiError> {
        if self.left.is_empty() {
            return Ok(());
        }
        let known = &self.known;
        Err(match self.left.keys().find_map(|given| spelling::meant(given, known)) {
            Some(name) => misspelt(name),
            None => fields::invalid(
                "The body",
                &format!("has a member that is not known here: it takes {}", known.join(", ")),
            ),
        })
    }
}

fn misspelt(name: &str) -> ApiError {
    fields::invalid(name, "is misspelt in the body: write it exactly like that")
}

impl Drop for Members {
    fn drop(&mut self) {
        self.left.values_mut().for_each(wipe);
    }
}

/// Wipes the texts in a value.
fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Unique)
    }
}

/// Reads an object without duplicate members: parsers disagree on which duplicate counts.
struct Unique;

impl<'de> Visitor<'de> for Unique {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Members, A::Error> {
        let mut left = Map::new();
        while let Some((name, value)) = access.next_entry::<String, Value>()? {
            if left.insert(name, value).is_some() {
                return Err(A::Error::custom("duplicate member"));
            }
        }
        Ok(Members { left, known: Vec::new(), absent: Vec::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_grows_is_whole_and_texts_are_wiped_in_depth() {
        let mut body = Zeroizing::new(Vec::new());
        for chunk in [&b"ab"[..], b"", b"c", b"defghijk"] {
            append(&mut body, chunk);
        }
        assert_eq!(body.as_slice(), b"abcdefghijk");
        let mut value = serde_json::json!({"a": ["secret", 1, {"b": "secret"}], "c": null});
        wipe(&mut value);
        assert_eq!(value, serde_json::json!({"a": ["", 1, {"b": ""}], "c": null}));
    }

    #[test]
    fn a_member_in_other_letters_is_refused_and_an_unknown_one_is_not() {
        let read = |body: &str| {
            let mut members = Members::parse(body.as_bytes()).unwrap_or_else(|_| panic!("{body}"));
            members.take("imageUrl");
            members.refuse_respelt().map_err(|error| error.sentence.to_string())
        };
        for body in ["{\"image_url\":1}", "{\"ImageURL\":1}", "{\"image-url\":1,\"x\":1}"] {
            assert!(read(body).unwrap_err().contains("imageUrl is misspelt in the body"), "{body}");
        }
        for body in [
            "{\"imageUrl\":1}",
            "{\"imageUrl\":1,\"image-url\":1}",
            "{\"image_url\":1,\"imageUrl\":null}",
            "{\"imageUrls\":1}",
            "{\"image\":1}",
            "{}",
        ] {
            assert!(read(body).is_ok(), "{body}");
        }
    }

    #[test]
    fn a_body_is_exactly_one_json_object() {
        assert!(Members::parse(b" {\"a\": 1, \"b\": [{}]} ").is_ok());
        let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let nested = "[".repeat(60_000);
        let nested_member = format!("{{\"a\":{}", "[".repeat(60_000));
        for bad in [
            &b""[..],
            b"null",
            b"[]",
            b"\"a\"",
            b"1",
            b"{",
            b"{} x",
            b"{}{}",
            b"{'a': 1}",
            b"{\"a\": 1, \"a\": 1}",
            b"{\"a\": 1, \"\\u0061\": 2}",
            b"{\"a\": \"\\ud800\"}",
            b"{\"a\": \"\xff\"}",
            b"{\"a\": NaN}",
            b"\xef\xbb\xbf{}",
            &utf16,
            nested.as_bytes(),
            nested_member.as_bytes(),
        ] {
            let error = Members::parse(bad).err().unwrap_or_else(|| panic!("took {:?}", String::from_utf8_lossy(bad)));
            assert_eq!(error.code, Code::InvalidJson);
            assert_eq!(error.sentence, Code::InvalidJson.sentence());
        }
    }
}
