//! The certificate authorities that servers are checked against: this machine's, and those that browsers trust, because
//! an empty container has none.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use webpki_root_certs::TLS_SERVER_ROOT_CERTS;

/// Read when the first client needs them, and shared by all that are built from the same settings: a machine has a few
/// hundred, in as many files.
#[derive(Debug, Clone, Default)]
pub struct Roots(Arc<OnceLock<Arc<RootCertStore>>>);

impl Roots {
    /// The TLS settings of a client. It speaks HTTP/1.1.
    pub(super) fn tls(&self) -> ClientConfig {
        // Fails only when a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let roots = self.0.get_or_init(|| Arc::new(read())).clone();
        let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        tls
    }
}

fn read() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(
            // Its sentence names the cause.
            error = %error.to_string(),
            "certificate authorities of this machine cannot be read: look at SSL_CERT_FILE and SSL_CERT_DIR, if they are set"
        );
    }
    let embedded = TLS_SERVER_ROOT_CERTS.iter().cloned();
    // Most are in both, and many machines keep each twice.
    let all: HashSet<CertificateDer<'static>> = found.certs.into_iter().chain(embedded).collect();
    let mut roots = RootCertStore::empty();
    let (_added, ignored) = roots.add_parsable_certificates(all);
    if ignored > 0 {
        tracing::debug!(ignored, "some certificate authorities of this machine cannot be used");
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_authority_that_browsers_trust_is_there() {
        let (roots, mut embedded) = (read(), RootCertStore::empty());
        let (added, _) = embedded.add_parsable_certificates(TLS_SERVER_ROOT_CERTS.iter().cloned());
        assert!(added > 100, "{added}");
        assert!(embedded.roots.iter().all(|root| roots.roots.contains(root)));
    }

    #[test]
    fn clients_of_the_same_settings_share_them() {
        let roots = Roots::default();
        let _tls = [roots.tls(), roots.clone().tls()];
        assert_eq!(Arc::strong_count(roots.0.get().unwrap()), 3);
    }
}
