//! TLS: which certificates are trusted and shown.

use std::path::Path;
use std::sync::Arc;

use crate::client::Tls;
use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, ServerConfig, SignatureScheme};

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
    let key_octets = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error.to_string()))?;
    let known = trusting(authority, insecure)?.with_client_auth_cert(certificates(chain)?, key_octets);
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
    Ok(builder.with_root_certificates(roots(path)?))
}

/// What the server's side shows: a chain and its key. With authorities, clients must show a certificate of theirs.
pub(crate) fn server(chain: &Path, key: &Path, clients: Option<&Path>) -> Result<Arc<ServerConfig>, String> {
    let told = |path: &Path, error: String| format!("{}: {error}", path.display());
    let certificates = certificates(chain)?;
    let key_octets = PrivateKeyDer::from_pem_file(key).map_err(|error| told(key, error.to_string()))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| told(path, error.to_string()))?)
        }
    };
    builder.with_single_cert(certificates, key_octets).map(Arc::new).map_err(|error| told(chain, error.to_string()))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let told = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    CertificateDer::pem_file_iter(path).map_err(told)?.map(|certificate| certificate.map_err(told)).collect()
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(roots)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{AsWhom, Credentials, Scheme};
    use crate::client::Client;
    use crate::http::{Failure, Request, Target};
    use crate::serve::{Incoming, Reaction, Secure, listen_with};
    use std::net::SocketAddr;
    use std::time::Duration;

    #[test]
    fn certificates_are_shown_and_wanted_on_both_sides() {
        let folder = std::env::temp_dir().join(format!("wsman-conform-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = (folder.join("c.pem"), folder.join("k.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let server = server(&chain, &key, Some(&chain)).unwrap();
        let der = made.cert.der().to_vec();
        let ok = move |incoming: &Incoming| {
            let status = if incoming.certificate.as_ref() == Some(&der) { 200 } else { 403 };
            Reaction::Answer { status, headers: Vec::new(), body: Vec::new() }
        };
        let tls: Secure = (server, |_| ());
        let address = listen_with(SocketAddr::from(([127, 0, 0, 1], 0)), Some(tls), ok).unwrap();
        let target = Target::parse(&format!("https://localhost:{}/x", address.port())).unwrap();
        let credentials = Credentials { scheme: Scheme::Certificate, ..Credentials::default() };
        let send = |identity: Option<(&Path, &Path)>, whom: AsWhom| {
            let tls = configuration(Some(&chain), false, identity).unwrap();
            let mut client = Client::new(target.clone(), Some(tls), Duration::from_secs(5), credentials.clone());
            let (method, path) = ("POST".to_owned(), "/x".to_owned());
            client.send(&Request { method, path, whom, ..Request::default() }).map(|answer| answer.status)
        };
        let identity = Some((chain.as_path(), key.as_path()));
        assert_eq!(send(identity, AsWhom::User), Ok(200));
        assert!(matches!(send(identity, AsWhom::Nobody), Err(Failure::Closed | Failure::Other(_))));
        assert!(send(None, AsWhom::User).is_err());
        assert!(configuration(None, false, None).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
