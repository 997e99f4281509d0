//! Whether a sink was shown the certificate: TLS shows it to those who ask for it in the handshake, and only to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};

/// Sees what becomes of the certificate in the handshake of one connection.
#[derive(Debug)]
pub(super) struct Witness {
    resolver: Arc<dyn ResolvesClientCert>,
    asked: AtomicBool,
    shown: AtomicBool,
}

impl Witness {
    /// These settings for one connection, with a witness.
    pub(super) fn of(config: &ClientConfig) -> (Arc<ClientConfig>, Arc<Self>) {
        let resolver = Arc::clone(&config.client_auth_cert_resolver);
        let witness = Arc::new(Self { resolver, asked: AtomicBool::default(), shown: AtomicBool::default() });
        let mut config = config.clone();
        config.client_auth_cert_resolver = Arc::<Self>::clone(&witness);
        // Nothing is shown in a session that is taken up again.
        config.resumption = Resumption::disabled();
        (Arc::new(config), witness)
    }

    /// After the handshake: why the sink has not seen the certificate, if it has not.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        if self.shown.load(Ordering::Relaxed) {
            Ok(())
        } else if self.asked.load(Ordering::Relaxed) {
            Err("the sink takes no signature that the key of the certificate for sinks can make")
        } else {
            Err("the sink is to be shown a certificate, and does not ask for one in the TLS handshake")
        }
    }
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, authorities: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        let found = self.resolver.resolve(authorities, schemes)?;
        found.key.choose_scheme(schemes)?;
        self.shown.store(true, Ordering::Relaxed);
        Some(found)
    }

    fn has_certs(&self) -> bool {
        self.resolver.has_certs()
    }
}

#[cfg(test)]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::PrivatePkcs8KeyDer;

    use super::*;

    //= EVT-33
    #[test]
    fn a_certificate_is_shown_to_whoever_asks_for_it_and_takes_its_signature() {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
        let config = config.with_root_certificates(RootCertStore::empty());
        let config = config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap();
        let (own, witness) = Witness::of(&config);
        assert!(witness.check().unwrap_err().contains("does not ask"));
        let resolver = &own.client_auth_cert_resolver;
        assert!(resolver.has_certs() && resolver.resolve(&[], &[SignatureScheme::RSA_PSS_SHA256]).is_none());
        assert!(witness.check().unwrap_err().contains("signature"));
        assert!(resolver.resolve(&[], &[SignatureScheme::ECDSA_NISTP256_SHA256]).is_some());
        assert_eq!(witness.check(), Ok(()));
        assert!(Witness::of(&config).1.check().is_err(), "each connection has its own");
    }
}
