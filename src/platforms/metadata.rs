//! The facts that an authorization server publishes about itself (OpenID Connect Discovery 1.0, RFC 8414).
//!
//! Read as strictly as it matters: a document of another issuer, or one that names an endpoint without TLS, is refused
//! as a whole; a member that the broker does not need, or cannot read, costs nothing else.

use serde::Serialize;
use serde_json::Value;
use url::Url;

/// Longest accepted endpoint, in bytes.
const MAX_URL: usize = 2048;

/// Most accepted words of a list, such as scopes.
const MAX_WORDS: usize = 512;

/// Stands for the tenant in the issuer that Microsoft's document for several tenants names.
const TENANT: &str = "{tenantid}";

/// The members of the document that the broker acts on. Serializes to a document that reads the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Metadata {
    /// In the server's own spelling.
    pub issuer: String,
    pub authorization_endpoint: Option<String>,
    pub token_endpoint: Option<String>,
    pub userinfo_endpoint: Option<String>,
    pub revocation_endpoint: Option<String>,
    pub pushed_authorization_request_endpoint: Option<String>,
    pub jwks_uri: Option<String>,
    pub scopes_supported: Option<Vec<String>>,
    pub code_challenge_methods_supported: Option<Vec<String>>,
    pub token_endpoint_auth_methods_supported: Option<Vec<String>>,
    pub token_endpoint_auth_signing_alg_values_supported: Option<Vec<String>>,
    pub id_token_signing_alg_values_supported: Option<Vec<String>>,
    pub authorization_response_iss_parameter_supported: bool,
    pub require_pushed_authorization_requests: bool,
}

/// Why a document is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error("its {0} is not an https URL")]
    Endpoint(&'static str),
    #[error("it has no issuer")]
    NoIssuer,
    #[error("it is the document of another issuer: {0}")]
    OtherIssuer(String),
}

impl Metadata {
    /// Reads the document of the issuer that the operator configured. The two spellings may differ in a slash at the
    /// end, because operators copy either; from here on, the server's counts to the letter.
    ///
    /// # Errors
    ///
    /// The document is another issuer's, or an endpoint is no URL of a secure server. Plain http is accepted where the
    /// operator's own URL of the issuer is plain http.
    pub fn read(issuer: &str, document: &Value) -> Result<Self, MetadataError> {
        let named = document.get("issuer").and_then(Value::as_str).ok_or(MetadataError::NoIssuer)?;
        if named.trim_end_matches('/') != issuer.trim_end_matches('/') && !is_for_tenants(issuer, named) {
            return Err(MetadataError::OtherIssuer(printable(named)));
        }
        let may_be_plain = Url::parse(issuer).is_ok_and(|url| url.scheme() == "http");
        let needed = |name: &'static str| match document.get(name) {
            None | Some(Value::Null) => Ok(None),
            // Some servers leave a line of their template empty.
            Some(Value::String(url)) if url.trim().is_empty() => Ok(None),
            Some(Value::String(url)) if is_secure_endpoint(url, may_be_plain) => Ok(Some(url.clone())),
            Some(_) => Err(MetadataError::Endpoint(name)),
        };
        // Left out where it is no URL at all. A server that names one without TLS is believed in no part.
        let endpoint = |name: &'static str| match document.get(name).and_then(Value::as_str).map(Url::parse) {
            Some(Ok(_)) => needed(name),
            None | Some(Err(_)) => Ok(None),
        };
        let words = |name: &str| {
            let words = document.get(name)?.as_array()?.iter().filter_map(Value::as_str);
            Some(words.take(MAX_WORDS).map(str::to_owned).collect())
        };
        let flag = |name: &str| match document.get(name) {
            Some(Value::Bool(promise)) => *promise,
            Some(Value::String(promise)) => promise.eq_ignore_ascii_case("true"),
            Some(promise) => promise.as_u64() == Some(1),
            None => false,
        };
        Ok(Self {
            issuer: named.to_owned(),
            authorization_endpoint: needed("authorization_endpoint")?,
            token_endpoint: needed("token_endpoint")?,
            userinfo_endpoint: endpoint("userinfo_endpoint")?,
            revocation_endpoint: endpoint("revocation_endpoint")?,
            pushed_authorization_request_endpoint: endpoint("pushed_authorization_request_endpoint")?,
            jwks_uri: endpoint("jwks_uri")?,
            scopes_supported: words("scopes_supported"),
            code_challenge_methods_supported: words("code_challenge_methods_supported"),
            token_endpoint_auth_methods_supported: words("token_endpoint_auth_methods_supported"),
            token_endpoint_auth_signing_alg_values_supported: words("token_endpoint_auth_signing_alg_values_supported"),
            id_token_signing_alg_values_supported: words("id_token_signing_alg_values_supported"),
            authorization_response_iss_parameter_supported: flag("authorization_response_iss_parameter_supported"),
            require_pushed_authorization_requests: flag("require_pushed_authorization_requests"),
        })
    }

    /// True when a list that the server may leave out has the word, in capital letters or small ones; `None` where it is
    /// left out.
    pub(super) fn has(list: Option<&Vec<String>>, word: &str) -> Option<bool> {
        list.map(|list| list.iter().any(|listed| listed.eq_ignore_ascii_case(word)))
    }
}

/// True when a document of Microsoft's for the accounts of several tenants names its issuer as it should: with a
/// placeholder, since each id_token names its own tenant.
fn is_for_tenants(issuer: &str, named: &str) -> bool {
    let base = ["/common/v2.0", "/organizations/v2.0"].iter().find_map(|several| issuer.strip_suffix(several));
    base.is_some_and(|base| named == format!("{base}/{TENANT}/v2.0"))
}

/// True when the issuer stands for that of any tenant, so that it is no server's name.
#[must_use]
pub fn is_of_any_tenant(issuer: &str) -> bool {
    issuer.contains(TENANT)
}

/// True when `named` is the issuer to the letter; where that is one of any tenant, with an accepted tenant put in.
#[must_use]
pub fn is_issuer(issuer: &str, named: &str, accepts: impl Fn(&str) -> bool) -> bool {
    let Some((before, after)) = issuer.split_once(TENANT) else { return named == issuer };
    let tenant = named.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    let is_id = |tenant: &str| !tenant.is_empty() && tenant.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    tenant.is_some_and(|tenant| is_id(tenant) && accepts(tenant))
}

fn is_secure_endpoint(url: &str, may_be_plain: bool) -> bool {
    let is_secure = |url: &Url| url.scheme() == "https" || (may_be_plain && url.scheme() == "http");
    url.len() <= MAX_URL && Url::parse(url).is_ok_and(|url| is_secure(&url) && super::is_endpoint(&url))
}

/// A name from a document, reduced to what may be logged and shown.
fn printable(name: &str) -> String {
    name.chars().filter(char::is_ascii_graphic).take(200).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://id.example/realms/one";

    #[test]
    fn the_document_must_be_of_the_issuer_and_a_slash_at_the_end_is_forgiven() {
        for (configured, named) in
            [(ISSUER, ISSUER), (ISSUER, "https://id.example/realms/one/"), ("https://a.example/", "https://a.example")]
        {
            assert_eq!(Metadata::read(configured, &json!({"issuer": named})).unwrap().issuer, named);
        }
        for named in [
            "https://id.example/realms/two",
            "https://ID.example/realms/one",
            "https://id.example:443/realms/one",
            "http://id.example/realms/one",
            "",
            "x\u{202e}y",
        ] {
            let refused = Metadata::read(ISSUER, &json!({"issuer": named})).unwrap_err();
            assert!(matches!(refused, MetadataError::OtherIssuer(_)), "{named}");
            assert!(refused.to_string().is_ascii(), "{refused}");
        }
        for document in [json!({}), json!([]), json!(null), json!({"issuer": 1})] {
            assert_eq!(Metadata::read(ISSUER, &document), Err(MetadataError::NoIssuer), "{document}");
        }
    }

    #[test]
    fn an_issuer_of_any_tenant_is_read_from_microsofts_document_alone() {
        let template = "https://login.example/{tenantid}/v2.0";
        for tenants in ["common", "organizations"] {
            let configured = format!("https://login.example/{tenants}/v2.0");
            assert_eq!(Metadata::read(&configured, &json!({"issuer": template})).unwrap().issuer, template);
        }
        for (configured, named) in [
            ("https://login.example/consumers/v2.0", template),
            ("https://login.example/common/v2.0", "https://other.example/{tenantid}/v2.0"),
            ("https://login.example/common/v2.0", "https://login.example/{tenantid}/v1.0"),
            ("https://login.example/common/v2.0", "https://login.example/{tenantid}/v2.0/{tenantid}"),
            ("https://login.example/common", template),
            ("https://login.example/x", "https://login.example/{tenantid}"),
        ] {
            let refused = Metadata::read(configured, &json!({"issuer": named})).unwrap_err();
            assert!(matches!(refused, MetadataError::OtherIssuer(_)), "{configured} {named}");
        }
        let is = |named: &str, tenant: &str| is_issuer(template, named, |named| named == tenant);
        assert!(is("https://login.example/9188040d-6c67/v2.0", "9188040d-6c67"));
        assert!(!is("https://login.example/9188040d-6c67/v2.0", "72f988bf-86f1"));
        for (named, tenant) in [
            (template, "{tenantid}"),
            ("https://login.example//v2.0", ""),
            ("https://login.example/a/b/v2.0", "a/b"),
            ("https://login.example/v2.0", "v2.0"),
            ("https://evil.example/a/v2.0", "a"),
        ] {
            assert!(!is(named, tenant), "{named}");
        }
        assert!(is_issuer(ISSUER, ISSUER, |_| false) && !is_issuer(ISSUER, template, |_| true));
    }

    #[test]
    fn an_endpoint_without_tls_is_refused_unless_the_issuer_has_none() {
        for wrong in [
            json!("http://id.example/token"),
            json!("/token"),
            json!("javascript:alert(1)"),
            json!("https://user@id.example/token"),
            json!("https://:password@id.example/token"),
            json!("https://id.example/token#x"),
            json!(format!("https://id.example/{}", "a".repeat(MAX_URL))),
            json!(["https://id.example/token"]),
        ] {
            let document = json!({"issuer": ISSUER, "token_endpoint": wrong});
            assert_eq!(Metadata::read(ISSUER, &document), Err(MetadataError::Endpoint("token_endpoint")), "{document}");
        }
        for absent in [json!(null), json!(""), json!(" ")] {
            let document = json!({"issuer": ISSUER, "revocation_endpoint": absent});
            assert_eq!(Metadata::read(ISSUER, &document).unwrap().revocation_endpoint, None, "{document}");
        }
        for unreadable in [json!("/revoke"), json!(["https://id.example/revoke"]), json!(7), json!({})] {
            let document = json!({"issuer": ISSUER, "revocation_endpoint": unreadable, "jwks_uri": unreadable});
            let metadata = Metadata::read(ISSUER, &document).unwrap();
            assert_eq!((metadata.revocation_endpoint, metadata.jwks_uri), (None, None), "{document}");
        }
        let document = json!({"issuer": ISSUER, "revocation_endpoint": "http://id.example/revoke"});
        assert_eq!(Metadata::read(ISSUER, &document), Err(MetadataError::Endpoint("revocation_endpoint")));
        let plain = json!({"issuer": "http://127.0.0.1:9", "token_endpoint": "http://127.0.0.1:9/token"});
        assert!(Metadata::read("http://127.0.0.1:9", &plain).unwrap().token_endpoint.is_some());
    }

    #[test]
    fn what_is_kept_reads_the_same_and_what_is_not_needed_costs_nothing() {
        let document = json!({
            "issuer": ISSUER,
            "token_endpoint": "https://id.example/token",
            "scopes_supported": ["openid", 7, "profile"],
            "code_challenge_methods_supported": "S256",
            "authorization_response_iss_parameter_supported": true,
            "require_pushed_authorization_requests": "yes",
            "service_documentation": {"x": "\u{fffd}"},
        });
        let metadata = Metadata::read(ISSUER, &document).unwrap();
        assert_eq!(metadata.scopes_supported, Some(vec!["openid".to_owned(), "profile".to_owned()]));
        assert_eq!(metadata.code_challenge_methods_supported, None);
        assert!(metadata.authorization_response_iss_parameter_supported);
        assert!(!metadata.require_pushed_authorization_requests);
        assert_eq!(Metadata::read(ISSUER, &json!(metadata)).unwrap(), metadata);
        for (promise, is_kept) in [(json!("true"), true), (json!("True"), true), (json!(1), true), (json!("1"), false)]
        {
            let document = json!({"issuer": ISSUER, "require_pushed_authorization_requests": promise});
            assert_eq!(Metadata::read(ISSUER, &document).unwrap().require_pushed_authorization_requests, is_kept);
        }
        let methods = vec!["s256".to_owned()];
        assert_eq!(Metadata::has(Some(&methods), "S256"), Some(true));
    }
}
