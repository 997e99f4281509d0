//! The client side of TLS: which certificates are trusted.

use std::path::Path;
use std::sync::Arc;

use crate::client::Tls;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

/// Configurations that trust the certificates of a PEM file, or with `insecure` any certificate at all; with and
/// without the client's certificate chain and key.
pub(crate) fn configuration(
    authority: Option<&Path>,
    insecure: bool,
    identity: Option<(&Path, &Path)>,
) -> Result<Tls, String> {
    let unknown = Arc::new(trusting(authority, insecure)?.with_no_client_auth());
    let Some((chain, key)) = identity else { return Ok(Tls { known: Arc::clone(&unknown), unknown }) };
    let told = |path: &Path, error: String| format!("{}: {error}", path.display());
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_file_iter(chain).map_err(|error| told(chain, error.to_string()))? {
        certificates.push(certificate.map_err(|error| told(chain, error.to_string()))?);
    }
    let key_octets = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error.to_string()))?;
    let known = trusting(authority, insecure)?.with_client_auth_cert(certificates, key_octets);
    Ok(Tls { known: Arc::new(known.map_err(|error| told(chain, error.to_string()))?), unknown })
}

fn trusting(authority: Option<&Path>, insecure: bool) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    if insecure {
        return Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))));
    }
    let path = authority.ok_or("an https target needs --ca FILE, or --insecure for a self-signed certificate")?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| format!("{}: {error}", path.display()))? {
        let certificate = certificate.map_err(|error| format!("{}: {error}", path.display()))?;
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(builder.with_root_certificates(roots))
}

/// Accepts whatever the server shows: for labs with self-signed certificates. Signatures are still verified.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
