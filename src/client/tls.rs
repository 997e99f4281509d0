//! Whom to trust on the other side of TLS: an authority, one pinned certificate, or anybody.

use super::error::ClientError;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What makes a server's certificate good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// An authority that this machine trusts (`SSL_CERT_FILE`, else the bundle of the distribution).
    #[default]
    System,
    /// An authority, or a self-signed certificate, in this PEM file.
    Authority(PathBuf),
    /// Exactly the certificate with this SHA-256 fingerprint, whatever names it carries.
    Fingerprint([u8; 32]),
    /// Any certificate: the connection is sealed, but nobody knows to whom.
    Anybody,
}

/// Where distributions keep the bundle of authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl Trust {
    /// Reads a fingerprint: 64 hexadecimal digits, with or without colons, in any case.
    pub fn parse_fingerprint(text: &str) -> Result<Self, ClientError> {
        let digits: Vec<u32> = text
            .trim_start_matches("SHA256:")
            .trim_start_matches("sha256:")
            .chars()
            .filter(|character| *character != ':')
            .map(|character| character.to_digit(16).unwrap_or(u32::MAX))
            .collect();
        let mut fingerprint = [0_u8; 32];
        let wrong = || ClientError::Trust(format!("'{text}' is no SHA-256 fingerprint (64 hexadecimal digits)"));
        if digits.len() != 64 {
            return Err(wrong());
        }
        for (octet, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
            let value = pair.iter().try_fold(0_u32, |value, digit| value.checked_mul(16)?.checked_add(*digit));
            *octet = value.and_then(|value| u8::try_from(value).ok()).ok_or_else(wrong)?;
        }
        Ok(Self::Fingerprint(fingerprint))
    }

    /// The TLS settings that hold this trust, and show the certificate to whoever asks for one, if there is one.
    pub(crate) fn config(&self, shown: Option<Arc<CertifiedKey>>) -> Result<Arc<ClientConfig>, ClientError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| ClientError::Trust(error.to_string()))?;
        let pinned = |fingerprint| Arc::new(Pinned { fingerprint, provider });
        let builder = match self {
            Self::System => builder.with_root_certificates(roots(&system_bundle()?)?),
            Self::Authority(file) => builder.with_root_certificates(roots(file)?),
            Self::Fingerprint(fingerprint) => {
                builder.dangerous().with_custom_certificate_verifier(pinned(Some(*fingerprint)))
            }
            Self::Anybody => builder.dangerous().with_custom_certificate_verifier(pinned(None)),
        };
        Ok(Arc::new(match shown {
            Some(shown) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
            None => builder.with_no_client_auth(),
        }))
    }
}

/// The file of authorities that this machine trusts.
fn system_bundle() -> Result<PathBuf, ClientError> {
    if let Some(file) = std::env::var_os("SSL_CERT_FILE") {
        return Ok(PathBuf::from(file));
    }
    BUNDLES.iter().map(PathBuf::from).find(|file| file.exists()).ok_or_else(|| {
        ClientError::Trust("this machine has no list of authorities; name one, or a fingerprint".to_owned())
    })
}

fn roots(file: &Path) -> Result<RootCertStore, ClientError> {
    let wrong = |problem: &dyn std::fmt::Display| ClientError::Trust(format!("{}: {problem}", file.display()));
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))?;
    for certificate in certificates {
        // A distribution's bundle may hold a certificate that this library does not take; the others still count.
        let _ = store.add(certificate.map_err(|error| wrong(&error))?);
    }
    if store.is_empty() { Err(wrong(&"holds no certificate")) } else { Ok(store) }
}

/// Takes one certificate (or any, without a fingerprint) and still demands that the server holds its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: Option<[u8; 32]>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: [u8; 32] = Sha256::digest(end_entity.as_ref()).into();
        match self.fingerprint {
            Some(expected) if expected != found => Err(rustls::Error::General(format!(
                "the server's certificate has another fingerprint: {}",
                found.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")
            ))),
            Some(_) | None => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_in_every_usual_spelling() {
        let plain = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let expected = Trust::parse_fingerprint(plain).unwrap();
        let octets: Vec<&str> = plain.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap()).collect();
        assert_eq!(Trust::parse_fingerprint(&octets.join(":")).unwrap(), expected);
        assert_eq!(Trust::parse_fingerprint(&format!("SHA256:{plain}")).unwrap(), expected);
        for wrong in ["", "00", "zz112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"] {
            assert!(Trust::parse_fingerprint(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        std::fs::write(&file, "nothing").unwrap();
        let problem = Trust::Authority(file).config(None).unwrap_err().to_string();
        assert!(problem.contains("holds no certificate"), "{problem}");
    }
}
