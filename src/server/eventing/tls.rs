//! TLS towards sinks: whom it must be, and who this server is to the sinks of those subscribers that ask for it.
//!
//! There are two kinds of settings, and no connection of one kind is ever used for the other: a sink of whose
//! subscriber nobody asked for the certificate never sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use der::Decode as _;
use der::asn1::ObjectIdentifier;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use tokio::sync::OnceCell;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, ExtendedKeyUsage, SubjectKeyIdentifier};
use x509_cert::{Certificate, TbsCertificate};

use crate::client::{ClientError, Trust};
use crate::config::EventingConfig;
use crate::transport::{TlsError, certified};
use crate::wsman::eventing::{SourceCertificate, Thumbprint, Unmet, WantedCertificate};

/// `id-kp-clientAuth` and `anyExtendedKeyUsage` (RFC 5280).
const CLIENT_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// Why there is no TLS towards sinks.
#[derive(Debug, thiserror::Error)]
pub enum SinkTlsError {
    /// The certificate for sinks, or its key, cannot be used.
    #[error("eventing.certificate: {0}")]
    Certificate(#[from] TlsError),
    /// The authorities that vouch for sinks cannot be used.
    #[error("eventing.authorities: {0}")]
    Authorities(#[from] ClientError),
}

/// Whether what the configuration says of TLS towards sinks could be used.
pub fn check_sink_tls(config: &EventingConfig) -> Result<(), SinkTlsError> {
    SinkTls::open(config).map(drop)
}

/// TLS towards sinks. New connections use what was read last.
pub(super) struct SinkTls {
    source: Source,
    readings: AtomicU64,
    current: ArcSwap<Loaded>,
}

/// Where the files are.
struct Source {
    trust: Trust,
    certificate: Option<(PathBuf, PathBuf)>,
}

/// What one reading of the files gave.
struct Loaded {
    /// Tells it from earlier readings: their connections are not used any more.
    reading: u64,
    shown: Option<(Arc<CertifiedKey>, SourceCertificate)>,
    plain: Settings,
    showing: Settings,
}

/// Settings that are made when they are first needed: a machine may have no list of authorities, and no sink of HTTPS.
type Settings = OnceCell<Arc<ClientConfig>>;

/// Why there are no settings for a sink.
#[derive(Debug)]
pub(super) enum Unsettled {
    /// It cannot be shown what its subscriber wants.
    Unmet(Unmet),
    /// There is nobody who could vouch for it.
    Untrusting(String),
}

/// By what a connection over TLS differs from others to the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// By which reading of the files it was made.
    pub(super) reading: u64,
    /// Whether the certificate is shown.
    pub(super) shows: bool,
}

impl SinkTls {
    pub(super) fn open(config: &EventingConfig) -> Result<Self, SinkTlsError> {
        let trust = config.authorities().map_or(Trust::System, |file| Trust::Authority(file.to_owned()));
        let certificate = config.certificate().map(|(chain, key)| (chain.to_owned(), key.to_owned()));
        let source = Source { trust, certificate };
        // What is named is read at once, so that a start tells what is wrong with it.
        let needed = matches!(source.trust, Trust::Authority(_));
        let current = ArcSwap::from_pointee(load(&source, 0, (needed, needed))?);
        Ok(Self { source, readings: AtomicU64::new(0), current })
    }

    /// Reads the files again. After an error everything stays as it was.
    pub(super) fn reload(&self) -> Result<(), SinkTlsError> {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let current = self.current.load_full();
        // Settings that were needed are made anew before anything takes the place of those in use.
        let needed = (current.plain.initialized(), current.showing.initialized());
        self.current.store(Arc::new(load(&self.source, reading, needed)?));
        Ok(())
    }

    /// The certificate that there is for sinks.
    pub(super) fn certificate(&self) -> Option<SourceCertificate> {
        self.current.load().shown.as_ref().map(|(_, certificate)| certificate.clone())
    }

    /// The settings for the sink of a subscription. Where its subscriber wants the sink to see a certificate, it sees
    /// that one or gets nothing: whoever connects asks a [`Witness`](super::witness::Witness).
    //= EVT-33
    pub(super) async fn settings(
        &self,
        wanted: Option<&WantedCertificate>,
    ) -> Result<(Kind, Arc<ClientConfig>), Unsettled> {
        let current = self.current.load_full();
        let kind = Kind { reading: current.reading, shows: wanted.is_some() };
        let Some(wanted) = wanted else { return Ok((kind, self.made(&current.plain, None).await?)) };
        let shown = current.shown.as_ref();
        wanted.check(shown.map(|(_, certificate)| certificate)).map_err(Unsettled::Unmet)?;
        Ok((kind, self.made(&current.showing, shown.map(|(key, _)| Arc::clone(key))).await?))
    }

    /// Settings that there are, or new ones. The list of authorities is read where it may block.
    async fn made(
        &self,
        settings: &Settings,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<Arc<ClientConfig>, Unsettled> {
        let config = settings.get_or_try_init(|| async {
            let trust = self.source.trust.clone();
            let made = tokio::task::spawn_blocking(move || trust.config(shown)).await;
            made.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
        });
        config.await.map(Arc::clone).map_err(Unsettled::Untrusting)
    }
}

/// Reads the files, and makes those settings that are needed: of connections that show no certificate, and of those
/// that do.
fn load(source: &Source, reading: u64, needed: (bool, bool)) -> Result<Loaded, SinkTlsError> {
    let shown = source.certificate.as_ref().map(|(chain, key)| {
        let certified = certified(chain, key).map_err(|error| match error {
            TlsError::Pair(_) => {
                let problem = format!("cannot be used as the key of the certificate in {}", chain.display());
                TlsError::Content { path: key.clone(), problem }
            }
            error => error,
        })?;
        let read = describe(&certified.cert);
        let certificate = read.map_err(|problem| TlsError::Content { path: chain.clone(), problem })?;
        Ok::<_, TlsError>((certified, certificate))
    });
    let shown = shown.transpose()?;
    let made = |needed: bool, shown: Option<&(Arc<CertifiedKey>, SourceCertificate)>| {
        let config = needed.then(|| source.trust.config(shown.map(|(key, _)| Arc::clone(key)))).transpose()?;
        Ok::<_, ClientError>(Settings::new_with(config))
    };
    let (plain, showing) = (made(needed.0, None)?, made(needed.1, shown.as_ref())?);
    Ok(Loaded { reading, shown, plain, showing })
}

/// The names of a certificate: its own, and those of the certificates behind it that issued it, one by one.
fn describe(chain: &[CertificateDer<'_>]) -> Result<SourceCertificate, String> {
    let read = |certificate: &CertificateDer<'_>| {
        Certificate::from_der(certificate).map(|read| read.tbs_certificate).map_err(|_| "cannot be read".to_owned())
    };
    let (own, others) = chain.split_first().ok_or("no certificate in it")?;
    let certificate = read(own)?;
    let usage =
        certificate.get::<ExtendedKeyUsage>().map_err(|_| "its extended key usage cannot be read".to_owned())?;
    if usage.is_some_and(|(_, usage)| !usage.0.contains(&CLIENT_AUTHENTICATION) && !usage.0.contains(&ANY_USAGE)) {
        return Err("its extended key usage does not name client authentication: no sink would take it".to_owned());
    }
    let (mut issuers, mut below) = (Vec::new(), certificate);
    for other in others {
        let above = read(other)?;
        if issued(&above, &below) {
            issuers.push(thumbprint(other));
            below = above;
        }
    }
    Ok(SourceCertificate { own: thumbprint(own), issuers })
}

/// Whether one certificate names the other as its issuer: by the name, and where both say which key it is, by that too.
fn issued(above: &TbsCertificate, below: &TbsCertificate) -> bool {
    let wanted = below.get::<AuthorityKeyIdentifier>().ok().flatten().and_then(|(_, key)| key.key_identifier);
    let key = above.get::<SubjectKeyIdentifier>().ok().flatten().map(|(_, key)| key.0);
    above.subject == below.issuer && (wanted.is_none() || key.is_none() || wanted == key)
}

fn thumbprint(certificate: &CertificateDer<'_>) -> Thumbprint {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
    Thumbprint::new(hash.as_ref().try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

    use super::*;
    use crate::wsman::eventing::Constraint;

    struct Made {
        pem: String,
        key: KeyPair,
        params: CertificateParams,
        thumbprint: Thumbprint,
    }

    fn make(name: &str, usage: &[ExtendedKeyUsagePurpose], issuer: Option<&Made>) -> Made {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = usage.to_vec();
        params.is_ca = if usage.is_empty() { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params.use_authority_key_identifier_extension = issuer.is_some();
        let key = KeyPair::generate().unwrap();
        let certificate = match issuer {
            None => params.self_signed(&key).unwrap(),
            Some(made) => {
                let issuer = Issuer::new(made.params.clone(), KeyPair::from_pem(&made.key.serialize_pem()).unwrap());
                params.signed_by(&key, &issuer).unwrap()
            }
        };
        Made { pem: certificate.pem(), thumbprint: thumbprint(certificate.der()), key, params }
    }

    fn config(directory: &Path, chain: &str, key: &KeyPair) -> EventingConfig {
        let (certificate, key_file) = (directory.join("c.pem"), directory.join("k.pem"));
        std::fs::write(&certificate, chain).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        EventingConfig { certificate, key: key_file, ..EventingConfig::default() }
    }

    #[tokio::test]
    async fn a_certificate_is_known_by_itself_and_by_those_who_issued_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = make("root", &[], None);
        let stranger = make("stranger", &[], None);
        let middle = make("middle", &[], Some(&root));
        // One that was renewed: the name is the same, and the key is another.
        let newer = make("middle", &[], Some(&root));
        let own = make("own", &[ExtendedKeyUsagePurpose::ClientAuth], Some(&middle));
        let chain = [&own, &newer, &middle, &stranger, &root].map(|made| made.pem.as_str()).concat();
        let mut config = config(directory.path(), &chain, &own.key);
        config.authorities = directory.path().join("c.pem");
        let tls = SinkTls::open(&config).unwrap();
        let expected = SourceCertificate { own: own.thumbprint, issuers: vec![middle.thumbprint, root.thumbprint] };
        assert_eq!(tls.certificate(), Some(expected));
        let wanted = |one_of: &[Constraint]| WantedCertificate { one_of: one_of.to_vec(), ..Default::default() };
        let (plain, _) = tls.settings(None).await.unwrap();
        let (any, _) = tls.settings(Some(&wanted(&[]))).await.unwrap();
        assert_ne!(plain, any, "no connection of one is used for the other");
        let (by_root, settings) = tls.settings(Some(&wanted(&[Constraint::Issuer(root.thumbprint)]))).await.unwrap();
        assert!(any == by_root && settings.client_auth_cert_resolver.has_certs());
        let other = tls.settings(Some(&wanted(&[Constraint::Issuer(stranger.thumbprint)]))).await;
        assert!(matches!(other, Err(Unsettled::Unmet(Unmet::Constrained { .. }))));
        tls.reload().unwrap();
        assert_ne!(tls.settings(Some(&wanted(&[]))).await.unwrap().0, any, "nor is one of an earlier reading");
        std::fs::write(&config.key, stranger.key.serialize_pem()).unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(tls.certificate().unwrap().own, own.thumbprint, "what was there stays");
    }

    #[tokio::test]
    async fn what_no_sink_would_take_is_told_with_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let own = make("own", &[ExtendedKeyUsagePurpose::ClientAuth], None);
        let server = make("server", &[ExtendedKeyUsagePurpose::ServerAuth], None);
        let told = |config: &EventingConfig| check_sink_tls(config).unwrap_err().to_string();
        let text = told(&config(directory.path(), &server.pem, &server.key));
        assert!(text.contains("c.pem") && text.contains("client authentication"), "{text}");
        let text = told(&config(directory.path(), &own.pem, &server.key));
        assert!(
            text.starts_with("eventing.certificate: ") && text.contains("k.pem: cannot be used as the key"),
            "{text}"
        );
        let text = told(&config(directory.path(), "", &own.key));
        assert!(text.contains("c.pem: no certificate"), "{text}");
        let good = config(directory.path(), &own.pem, &own.key);
        check_sink_tls(&good).unwrap();
        let text = told(&EventingConfig { key: "/nonexistent.key".into(), ..good.clone() });
        assert!(text.contains("/nonexistent.key: "), "{text}");
        let text = told(&EventingConfig { authorities: "/nonexistent.pem".into(), ..good });
        assert!(text.starts_with("eventing.authorities: /nonexistent.pem: "), "{text}");
        let without = SinkTls::open(&EventingConfig::default()).unwrap();
        let unmet = without.settings(Some(&WantedCertificate::default())).await;
        assert!(matches!(unmet, Err(Unsettled::Unmet(Unmet::Missing))), "{unmet:?}");
    }

    #[tokio::test]
    async fn settings_in_use_give_way_only_to_new_ones_that_are_whole() {
        let directory = tempfile::tempdir().unwrap();
        let root = make("root", &[], None);
        let (file, reads) =
            (directory.path().join("roots.pem"), || Trust::Authority(directory.path().join("roots.pem")));
        std::fs::write(&file, &root.pem).unwrap();
        // As with the system's list, nothing is read before it is needed.
        let source = || Source { trust: reads(), certificate: None };
        let current = ArcSwap::from_pointee(load(&source(), 0, (false, false)).unwrap());
        let tls = SinkTls { source: source(), readings: AtomicU64::new(0), current };
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(tls.settings(None).await, Err(Unsettled::Untrusting(_))));
        tls.reload().unwrap();
        std::fs::write(&file, &root.pem).unwrap();
        let (kind, _) = tls.settings(None).await.unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(tls.reload().is_err());
        assert_eq!(tls.settings(None).await.unwrap().0, kind, "what is in use stays");
        std::fs::write(&file, &root.pem).unwrap();
        tls.reload().unwrap();
        std::fs::remove_file(&file).unwrap();
        assert_ne!(tls.settings(None).await.unwrap().0, kind, "it was made before anybody asked");
    }
}
