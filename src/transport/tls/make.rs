//! The certificate that a first start makes.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use time::{Duration, OffsetDateTime};

use super::{Source, TlsError};

/// For how long a self-made certificate holds. It is trusted by its fingerprint, so nothing is won by a short life.
const LIFE: Duration = Duration::days(10 * 365);

/// Make a certificate and its key for `host_name` and this machine's loopback names, valid from a day before `now`.
pub(super) fn make(source: &Source, host_name: &str, now: OffsetDateTime) -> Result<(), TlsError> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !host_name.is_empty() && !names.iter().any(|name| name.eq_ignore_ascii_case(host_name)) {
        names.insert(0, host_name.to_owned());
    }
    let mut params = rcgen::CertificateParams::new(names)?;
    params.not_before = now - Duration::DAY;
    params.not_after = now + LIFE;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let common_name = if host_name.is_empty() { "failbackd" } else { host_name };
    params.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    // Without a certificate both are made anew: a crash between the two writes leaves no pair that does not fit.
    remove(&source.certificate)?;
    write(&source.key, key.serialize_pem().as_bytes(), 0o600)?;
    write(&source.certificate, certificate.pem().as_bytes(), 0o644)
}

fn remove(path: &Path) -> Result<(), TlsError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(TlsError::File { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, octets: &[u8], mode: u32) -> Result<(), TlsError> {
    remove(path)?;
    let write = || {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(path)?;
        file.write_all(octets)?;
        file.sync_all()
    };
    write().map_err(|source| TlsError::File { path: path.to_owned(), source })
}
