//! The document of an identity: the handles that it claims, and the server that hosts its account. Read strictly,
//! because its owner wrote it.

use serde_json::Value;
use url::Url;

use super::did::Did;
use super::error::Unresolved;
use super::handle::Handle;
use crate::domain::bounds;

/// Most handles of a document that are read.
const MAX_CLAIMS: usize = 100;

/// The parts of a DID document that the broker needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Document {
    /// In the owner's order of preference.
    pub(super) handles: Vec<Handle>,
    /// The account's server: an origin.
    pub(super) service_url: Url,
}

impl Document {
    /// # Errors
    ///
    /// The document is another identity's, is malformed, or names no server.
    pub(super) fn read(did: &Did, json: &Value, allow_test: bool) -> Result<Self, Unresolved> {
        if json.get("id").and_then(Value::as_str) != Some(did.as_str()) {
            return Err(Unresolved::DocumentMalformed);
        }
        let claims = json.get("alsoKnownAs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let handles = claims
            .iter()
            .take(MAX_CLAIMS)
            .filter_map(|claim| Handle::parse(claim.as_str()?.strip_prefix("at://")?, allow_test).ok())
            .collect();
        let services = json.get("service").and_then(Value::as_array).ok_or(Unresolved::NoServer)?;
        let whole_id = format!("{did}#atproto_pds");
        let service = services
            .iter()
            .find(|service| {
                let text = |name| service.get(name).and_then(Value::as_str);
                text("type") == Some("AtprotoPersonalDataServer")
                    && text("id").is_some_and(|id| id == "#atproto_pds" || id == whole_id)
            })
            .ok_or(Unresolved::NoServer)?;
        let endpoint = service.get("serviceEndpoint").and_then(Value::as_str).ok_or(Unresolved::NoServer)?;
        let service_url = Url::parse(endpoint).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && endpoint.len() <= bounds::MAX_URL
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
        });
        Ok(Self { handles, service_url: service_url.ok_or(Unresolved::DocumentMalformed)? })
    }

    pub(super) fn claims(&self, handle: &Handle) -> bool {
        self.handles.contains(handle)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DID: &str = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";

    fn read(json: &Value) -> Result<Document, Unresolved> {
        Document::read(&Did::parse(DID).unwrap(), json, false)
    }

    fn service(id: &str, kind: &str, endpoint: &Value) -> Value {
        json!({"id": DID, "service": [{"id": id, "type": kind, "serviceEndpoint": endpoint}]})
    }

    #[test]
    fn a_document_names_handles_and_server() {
        let document = read(&json!({
            "@context": ["https://www.w3.org/ns/did/v1"],
            "id": DID,
            "alsoKnownAs": ["https://alice.example", 7, "at://Alice.bsky.social", "at://handle.invalid", "at://b.com"],
            "service": [
                {"id": "#other", "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://other.host"},
                {"id": format!("{DID}#atproto_pds"), "type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://pds.host"},
            ],
        }))
        .unwrap();
        assert_eq!(document.handles.iter().map(Handle::as_str).collect::<Vec<_>>(), ["alice.bsky.social", "b.com"]);
        assert_eq!(document.service_url.as_str(), "https://pds.host/");
    }

    #[test]
    fn fuzzed_documents_name_an_origin_and_handles_of_the_internet() {
        let words = [
            "\"",
            ",",
            ":",
            "{",
            "}",
            "[",
            "]",
            "at://",
            "https://",
            "http://",
            "#atproto_pds",
            DID,
            "//",
            "@",
            "\\",
            "?",
            "#",
            "127.0.0.1",
            ".local",
            "file://",
            "serviceEndpoint",
            "null",
        ];
        crate::fuzz::run("did_documents", &words, |json| {
            let Some(json) = crate::outbound::read_json(json) else { return };
            let Ok(document) = read(&json) else { return };
            let url = document.service_url;
            assert!(matches!(url.scheme(), "http" | "https") && url.has_host(), "{url}");
            assert_eq!((url.path(), url.query(), url.fragment()), ("/", None, None), "{url}");
            assert!(document.handles.len() <= MAX_CLAIMS);
            for handle in document.handles {
                assert_eq!(Handle::parse(handle.as_str(), false), Ok(handle));
            }
        });
    }

    #[test]
    fn malformed_documents_are_refused() {
        let pds = "AtprotoPersonalDataServer";
        assert!(read(&service("#atproto_pds", pds, &json!("https://pds.host"))).unwrap().handles.is_empty());
        for wrong in [
            json!(null),
            json!([]),
            json!({}),
            json!({"id": "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "service": []}),
            json!({"id": DID}),
            json!({"id": DID, "service": {"id": "#atproto_pds"}}),
            service("#atproto_labeler", pds, &json!("https://pds.host")),
            service("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa#atproto_pds", pds, &json!("https://pds.host")),
            service("#atproto_pds", "AtprotoLabeler", &json!("https://pds.host")),
            service("#atproto_pds", pds, &json!({"uri": "https://pds.host"})),
            service("#atproto_pds", pds, &json!("pds.host")),
            service("#atproto_pds", pds, &json!("file:///etc/passwd")),
            service("#atproto_pds", pds, &json!("javascript:alert(1)")),
            service("#atproto_pds", pds, &json!("https://pds.host/path")),
            service("#atproto_pds", pds, &json!("https://pds.host/?x")),
            service("#atproto_pds", pds, &json!("https://pds.host/#x")),
            service("#atproto_pds", pds, &json!("https://")),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
    }
}
