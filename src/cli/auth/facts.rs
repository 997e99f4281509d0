//! What the doctor looks at, gathered once: the configuration and the files that it names.

use std::collections::BTreeSet;

use crate::auth::kerberos::{Kerberos, KerberosSettings, Keytab};
use crate::auth::{UserEntry, UserFile};
use crate::config::Config;
use crate::transport::Tls;
use crate::transport::tls::{CERTIFICATE_FILE, KEY_FILE, check_client_authorities};

/// How a part that needs files stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<T> {
    /// Not configured.
    Off,
    /// Configured, and cannot work: why.
    Broken(String),
    /// At work.
    Ready(T),
}

impl<T> Part<T> {
    pub(super) fn ready(&self) -> Option<&T> {
        if let Self::Ready(it) = self { Some(it) } else { None }
    }
}

/// What clients see of the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerCertificate {
    /// SHA-256, in hexadecimal.
    pub(super) fingerprint: String,
    /// Whether its key is RSA.
    pub(super) rsa: bool,
}

/// What logins depend on.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The configuration in force.
    pub(super) config: Config,
    /// The users, or why they cannot be read.
    pub(super) users: Result<Vec<UserEntry>, String>,
    /// The services of the keytab, `HTTP/host@REALM`.
    pub(super) kerberos: Part<Vec<String>>,
    /// The server's certificate. Off where nothing was made yet.
    pub(super) certificate: Part<ServerCertificate>,
    /// How many rules map client certificates to users.
    pub(super) client_certificates: Part<usize>,
}

impl Facts {
    /// Look at everything. Nothing is made or changed.
    pub(super) fn gather(config: &Config) -> Self {
        let users = UserFile::in_directory(&config.data_dir).list().map_err(|error| error.to_string());
        Self {
            users,
            kerberos: kerberos(config),
            certificate: certificate(config),
            client_certificates: client_certificates(config),
            config: config.clone(),
        }
    }

    /// The users for whom `holds`.
    pub(super) fn users_with(&self, holds: impl Fn(&UserEntry) -> bool) -> usize {
        self.users.iter().flatten().filter(|user| holds(user)).count()
    }
}

fn kerberos(config: &Config) -> Part<Vec<String>> {
    let keytab = &config.kerberos.keytab;
    if keytab.as_os_str().is_empty() {
        return Part::Off;
    }
    let settings = config.kerberos.settings(&config.data_dir);
    match Kerberos::open(&settings) {
        Ok(_) => Part::Ready(services(&settings)),
        Err(error) => Part::Broken(error.to_string()),
    }
}

/// The names of a keytab that was opened just now, each once.
fn services(settings: &KerberosSettings) -> Vec<String> {
    let entries = Keytab::read(&settings.keytab).map(|keytab| keytab.entries).unwrap_or_default();
    let ours = entries.iter().filter(|entry| entry.service().is_some_and(|service| settings.takes(service)));
    ours.map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
}

fn certificate(config: &Config) -> Part<ServerCertificate> {
    if config.https_address().is_none() {
        return Part::Off;
    }
    let made = (config.data_dir.join(CERTIFICATE_FILE), config.data_dir.join(KEY_FILE));
    let (certificate, key) = config.certificate().unwrap_or((&made.0, &made.1));
    if config.certificate().is_none() && !certificate.exists() {
        return Part::Off;
    }
    match Tls::from_files(certificate, key) {
        Ok(tls) => Part::Ready(ServerCertificate { fingerprint: tls.fingerprint(), rsa: tls.identity().is_rsa() }),
        Err(error) => Part::Broken(error.to_string()),
    }
}

fn client_certificates(config: &Config) -> Part<usize> {
    let Some(authorities) = config.client_certificates.authorities() else { return Part::Off };
    match check_client_authorities(authorities) {
        Ok(()) => Part::Ready(config.client_certificates.rules.len()),
        Err(error) => Part::Broken(error.to_string()),
    }
}
