//! Whose certificates clients may present.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use super::{TlsError, read};

/// A verifier for the certificates that the authorities of a PEM file issued. A client may also present none; one that
/// presents a certificate of another issuer, one that has expired, or one for another purpose fails in the handshake.
pub(super) fn verifier(
    authorities: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let pem = read(authorities)?;
    let content = |problem: String| TlsError::Content { path: authorities.to_owned(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| content(format!("not a PEM certificate: {error}")))?;
        roots.add(certificate).map_err(|error| content(format!("not the certificate of an authority: {error}")))?;
    }
    if roots.is_empty() {
        return Err(content("no certificate in it".to_owned()));
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| content(error.to_string()))
}
