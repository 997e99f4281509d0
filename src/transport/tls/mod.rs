//! TLS: the certificate from the configuration, or one of our own made at the first start.

mod binding;
mod clients;
mod make;

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::auth::Identity;

/// The self-made certificate's name in the data directory.
pub const CERTIFICATE_FILE: &str = "certificate.pem";
/// Its key's.
pub const KEY_FILE: &str = "certificate.key";

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file at fault.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not PEM, or has nothing of use in it.
    #[error("{path}: {problem}")]
    Content {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key cannot be used together.
    #[error("the certificate and its key cannot be used: {0}")]
    Pair(#[from] rustls::Error),
    /// Making a certificate failed.
    #[error("making a certificate failed: {0}")]
    Make(#[from] rcgen::Error),
}

/// Where certificate and key are, and the authorities whose certificates clients may present.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    certificate: PathBuf,
    key: PathBuf,
    authorities: Option<PathBuf>,
}

/// The TLS side of a listener. New connections use what was loaded last.
pub struct Tls {
    source: Source,
    current: ArcSwap<Loaded>,
}

/// What one reading of the files gave. A connection keeps the one that it began with.
pub(super) struct Loaded {
    config: Arc<ServerConfig>,
    fingerprint: String,
    binding: Arc<[u8]>,
    identity: Identity,
}

impl Loaded {
    /// Takes a connection through the handshake.
    pub(super) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        Arc::clone(&self.config).into()
    }

    /// The channel binding of the connections that this served.
    pub(super) fn binding(&self) -> &Arc<[u8]> {
        &self.binding
    }
}

impl Tls {
    /// Use a certificate chain and its key, both PEM.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let source = Source { certificate: certificate.to_owned(), key: key.to_owned(), authorities: None };
        let current = ArcSwap::from_pointee(load(&source)?);
        Ok(Self { source, current })
    }

    /// Use the self-made certificate of a data directory; make it first when it is not there, for `host_name` and this
    /// machine's loopback names, valid from (a day before) `now`.
    pub fn self_made(data_dir: &Path, host_name: &str, now: OffsetDateTime) -> Result<Self, TlsError> {
        let (certificate, key) = (data_dir.join(CERTIFICATE_FILE), data_dir.join(KEY_FILE));
        let source = Source { certificate, key, authorities: None };
        if !source.certificate.exists() || !source.key.exists() {
            make::make(&source, host_name, now)?;
        }
        let current = ArcSwap::from_pointee(load(&source)?);
        Ok(Self { source, current })
    }

    /// Let clients present a certificate that one of these authorities (PEM) issued, for client authentication. None at
    /// all may be presented too; any other ends the handshake.
    pub fn with_client_authorities(mut self, authorities: &Path) -> Result<Self, TlsError> {
        self.source.authorities = Some(authorities.to_owned());
        self.reload()?;
        Ok(self)
    }

    /// Read all files again; the connections that are up keep what they have. After an error everything stays as it
    /// was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(load(&self.source)?));
        Ok(())
    }

    /// SHA-256 of the server's certificate (DER): upper-case hexadecimal with colons, as browsers and openssl print it.
    pub fn fingerprint(&self) -> String {
        self.current.load().fingerprint.clone()
    }

    /// Where the certificate in use was read from.
    pub fn certificate_file(&self) -> &Path {
        &self.source.certificate
    }

    /// The channel binding (RFC 5929) of connections that begin now: `tls-server-end-point:` and the hash of the
    /// certificate.
    pub fn binding(&self) -> Arc<[u8]> {
        Arc::clone(&self.current.load().binding)
    }

    /// What a CredSSP handshake that begins now is to show: the same certificate, whether there is an HTTPS listener or
    /// not.
    pub fn identity(&self) -> Identity {
        self.current.load().identity.clone()
    }

    /// What the next connection is served with.
    pub(super) fn current(&self) -> Arc<Loaded> {
        self.current.load_full()
    }
}

/// Whether a file of client authorities (PEM) could be used.
pub fn check_client_authorities(authorities: &Path) -> Result<(), TlsError> {
    clients::verifier(authorities, &Arc::new(rustls::crypto::ring::default_provider())).map(drop)
}

/// Reads a certificate chain and its key, both PEM, that belong together.
pub fn certified(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    certified_key(certificate, key, &rustls::crypto::ring::default_provider()).map(Arc::new)
}

fn load(source: &Source) -> Result<Loaded, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = Arc::new(certified_key(&source.certificate, &source.key, &provider)?);
    let certificate = certified.end_entity_cert()?;
    let (fingerprint, binding) = (fingerprint(certificate), binding::end_point(certificate));
    let identity = Identity::new(Arc::clone(&certified))?;

    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?;
    let builder = match &source.authorities {
        Some(authorities) => builder.with_client_cert_verifier(clients::verifier(authorities, &provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    // Nothing but HTTP/1.1: authentication belongs to a connection.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if source.authorities.is_some() {
        // A session that is taken up again brings the client's certificate along without a new look at its dates.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Loaded { config: Arc::new(config), fingerprint, binding, identity })
}

fn certified_key(path: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let content = |problem: String| TlsError::Content { path: path.to_owned(), problem };
    let pem = read(path)?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| content(format!("not a PEM certificate: {error}")))?;
    if chain.is_empty() {
        return Err(content("no certificate in it".to_owned()));
    }
    let pem = zeroize::Zeroizing::new(read(key)?);
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| TlsError::Content {
        path: key.to_owned(),
        problem: format!("not a PEM private key: {error}"),
    })?;
    Ok(CertifiedKey::from_der(chain, key, provider)?)
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}

fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::new();
    for octet in Sha256::digest(certificate) {
        let separator = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{separator}{octet:02X}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use time::Duration;

    use super::*;

    #[test]
    fn a_certificate_is_made_once_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let first = Tls::self_made(directory.path(), "home.example", now).unwrap();
        let again = Tls::self_made(directory.path(), "home.example", now).unwrap();
        assert_eq!(first.fingerprint(), again.fingerprint());
        assert_eq!(first.fingerprint().len(), 95);
        let mode = fs::metadata(directory.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        first.reload().unwrap();
    }

    #[test]
    fn a_certificate_with_another_key_is_refused() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        Tls::self_made(one.path(), "a", now).unwrap();
        Tls::self_made(other.path(), "b", now).unwrap();
        let mixed = Tls::from_files(&one.path().join(CERTIFICATE_FILE), &other.path().join(KEY_FILE));
        assert!(matches!(mixed, Err(TlsError::Pair(_))));
        let none = Tls::from_files(&one.path().join("none.pem"), &one.path().join(KEY_FILE));
        assert!(none.err().unwrap().to_string().contains("none.pem"));
        let swapped = Tls::from_files(&one.path().join(KEY_FILE), &one.path().join(KEY_FILE));
        assert!(matches!(swapped, Err(TlsError::Content { .. })));
    }
    #[test]
    fn authorities_are_read_with_the_certificate_and_nothing_changes_without_them() {
        let directory = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(20_000);
        let file = directory.path().join("clients.pem");
        let tls = || Tls::self_made(directory.path(), "home.example", now).unwrap().with_client_authorities(&file);
        assert!(matches!(tls(), Err(TlsError::File { .. })));
        for nonsense in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&file, nonsense).unwrap();
            let told = tls().err().unwrap().to_string();
            assert!(told.contains("clients.pem"), "{told}");
        }
        fs::copy(directory.path().join(CERTIFICATE_FILE), &file).unwrap();
        let tls = tls().unwrap();
        let (binding, config) = (tls.binding(), Arc::clone(&tls.current().config));
        fs::write(&file, "").unwrap();
        assert!(matches!(tls.reload(), Err(TlsError::Content { .. })));
        assert!(Arc::ptr_eq(&config, &tls.current().config), "what was there stays");
        assert_eq!(binding, tls.binding());
    }
}
