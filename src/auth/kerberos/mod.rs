//! Kerberos, through MIT's library where it is installed.
//!
//! The library `libgssapi_krb5.so.2` (Debian: libgssapi-krb5-2) is opened at run time: building needs no Kerberos
//! package, and without the library Kerberos is not offered. It is given the Kerberos mechanism and one keytab alone,
//! whatever else is configured on the machine, and it reads `krb5.conf` as every Kerberos program does.
//!
//! What is checked beyond what the library does: the token's wrapper names Kerberos before the library sees it; only
//! the keys of the services HTTP and WSMAN are tried; the client's realm is one that is allowed, and its name has no
//! instance (`alice/admin` is not `alice`); `auth_to_local` rules of `krb5.conf` have no say. A delegated credential is
//! not taken.
//!
//! # Replays
//! The library remembers each authenticator for as long as clocks may differ (five minutes) in one file, ours, which
//! it locks: a second process, or the next one, refuses what the first has seen. It is named to the library with the
//! credential, so that neither `KRB5RCACHENAME` nor `krb5.conf` can turn it off.
//!
//! # Channel binding
//! The library refuses a binding that differs from ours. A client that gives none is let in, and
//! [`KerberosDone::channel_bound`] tells; a binding whose hash is all zeros counts as none. Versions before 1.19 never
//! tell, and refuse clients that give none while we give one. So with them only clients that bind get in over TLS, and
//! they count as not bound: with `channel_binding = "strict"` nobody gets in. That is never more than was asked for.

mod context;
mod error;
mod gss;
pub mod keytab;
pub mod token;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use context::KerberosContext;
pub use error::KerberosError;
use gss::{Credential, FLAG_ANONYMOUS, FLAG_CHANNEL_BOUND, FLAG_CONFIDENTIAL, FLAG_INTEGRITY};
pub use keytab::{Keytab, KeytabEntry, KeytabError};

/// The services that a WS-Management server has: WinRM's own, and what most clients ask for.
pub const SERVICES: [&str; 2] = ["HTTP", "WSMAN"];

/// Where Kerberos finds what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KerberosSettings {
    /// The keys of this server's services.
    pub keytab: PathBuf,
    /// The services that clients may ask for, compared without case as Windows does: usually [`SERVICES`].
    pub services: Vec<String>,
    /// The realms whose users may log in; when empty, those of the keytab's keys of these services. Compared with case,
    /// as Kerberos does.
    pub realms: Vec<String>,
    /// The file of the replay cache, in a directory that nobody else can write. Made when it is missing.
    pub replay_cache: PathBuf,
}

/// Kerberos, ready to accept logins: one for the process.
#[derive(Clone)]
pub struct Kerberos(Arc<Ready>);

struct Ready {
    /// By the service's name as the keytab spells it.
    credentials: Vec<(String, Credential)>,
    realms: BTreeSet<String>,
}

impl fmt::Debug for Kerberos {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services: Vec<&str> = self.services().collect();
        out.debug_struct("Kerberos").field("services", &services).field("realms", &self.0.realms).finish()
    }
}

impl KerberosSettings {
    /// Whether clients may ask for this service.
    pub fn takes(&self, service: &str) -> bool {
        self.services.iter().any(|ours| ours.eq_ignore_ascii_case(service))
    }
}

impl Kerberos {
    /// Open the library and check the keytab. Blocks, also on looking up this machine's own name. New keys in the file
    /// are used without opening anew; new services and realms are not.
    pub fn open(settings: &KerberosSettings) -> Result<Self, KerberosError> {
        let path = &settings.keytab;
        let keytab = Keytab::read(path).map_err(|source| KerberosError::Keytab { path: path.clone(), source })?;
        let mut services: Vec<&str> = keytab.entries.iter().filter_map(KeytabEntry::service).collect();
        services.retain(|service| settings.takes(service));
        services.sort_unstable();
        services.dedup();
        if services.is_empty() {
            let found: BTreeSet<String> = keytab.entries.iter().map(ToString::to_string).collect();
            let found = found.into_iter().collect::<Vec<_>>().join(", ");
            return Err(KerberosError::NoService { path: path.clone(), found });
        }
        check_replay_cache(&settings.replay_cache)
            .map_err(|source| KerberosError::ReplayCache { path: settings.replay_cache.clone(), source })?;
        let gss = gss::load().map_err(KerberosError::Library)?;
        let (file, replay_cache) = (residual("FILE:", path)?, residual("file2:", &settings.replay_cache)?);
        let mut credentials = Vec::new();
        for service in services {
            let credential = Credential::acquire(gss, service, &file, &replay_cache)
                .map_err(|status| KerberosError::Credential { path: path.clone(), text: status.text })?;
            credentials.push((service.to_owned(), credential));
        }
        let realms: BTreeSet<String> = if settings.realms.is_empty() {
            keytab.realms(|service| settings.takes(service)).into_iter().map(str::to_owned).collect()
        } else {
            settings.realms.iter().cloned().collect()
        };
        Ok(Self(Arc::new(Ready { credentials, realms })))
    }

    /// The services whose keys are there, as the keytab spells them.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.0.credentials.iter().map(|(service, _)| service.as_str())
    }

    /// The realms whose users may log in.
    pub fn realms(&self) -> impl Iterator<Item = &str> {
        self.0.realms.iter().map(String::as_str)
    }

    /// Begin a login over a channel with this binding (`tls-server-end-point:` and a hash). Without one, the client's
    /// binding is not looked at.
    pub fn begin(&self, binding: Option<&[u8]>) -> KerberosExchange {
        KerberosExchange { ready: Arc::clone(&self.0), binding: binding.map(<[u8]>::to_vec) }
    }
}

/// Whether the library will be able to use the file, or to make it. It is not made here: whoever only wants to know may
/// be another user than the server, and a file of theirs would keep the server out.
fn check_replay_cache(path: &Path) -> io::Result<()> {
    match OpenOptions::new().read(true).write(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            fs::metadata(directory).map(|_| ())
        }
        Err(error) => Err(error),
    }
}

/// A path with the prefix that tells the library the kind of file.
fn residual(prefix: &str, path: &Path) -> Result<CString, KerberosError> {
    let octets = [prefix.as_bytes(), path.as_os_str().as_bytes()].concat();
    CString::new(octets).map_err(|_| KerberosError::Path(path.to_owned()))
}

/// A login that has begun. Kerberos has one round: the client's token is judged, and that is the end.
pub struct KerberosExchange {
    ready: Arc<Ready>,
    binding: Option<Vec<u8>>,
}

/// A login that was accepted.
pub struct KerberosDone {
    /// For the client, when it asked the server to prove itself too.
    pub token: Option<Vec<u8>>,
    /// The client's name without its realm: a user name, if there is such a user.
    pub user: String,
    /// The whole name of the principal, for the log.
    pub client: String,
    /// Whether the client gave the binding of this very channel.
    pub channel_bound: bool,
    /// Whether messages can be sealed: not when the client did not ask for it, and not with keys of old types (RC4,
    /// DES). Give the service AES keys then.
    pub confidential: bool,
    /// For how long the ticket is good. Nothing here enforces it: a login lasts as long as its connection.
    pub lifetime: Duration,
    /// Seals, opens and signs.
    pub context: KerberosContext,
}

impl KerberosExchange {
    /// Judge a client's token, as it is outside of SPNEGO. Blocks on files (some 0.2 ms): run it on a blocking thread.
    pub fn step(self, token: &[u8]) -> Result<KerberosDone, KerberosError> {
        let asked = token::asked_service(token).ok_or(KerberosError::NotKerberos)?;
        let asked: Vec<_> = asked.into_iter().map(String::from_utf8_lossy).collect();
        let credential = match asked.as_slice() {
            [service, _host] => self.ready.find(service),
            _ => None,
        };
        let credential =
            credential.ok_or_else(|| KerberosError::Service(asked.join("/").escape_debug().to_string()))?;
        let accepted = credential.accept(token, self.binding.as_deref()).map_err(KerberosError::refused)?;
        let service = String::from_utf8_lossy(&accepted.service);
        if service.split_once('/').is_none_or(|(service, _)| self.ready.find(service).is_none()) {
            return Err(KerberosError::Service(service.into_owned()));
        }
        let anonymous = accepted.flags & FLAG_ANONYMOUS != 0;
        let (user, client) = self.ready.user(&accepted.client, anonymous)?;
        let agreed = FLAG_CONFIDENTIAL | FLAG_INTEGRITY;
        let context = KerberosContext::new(accepted.context, accepted.flags & agreed == agreed);
        Ok(KerberosDone {
            token: Some(accepted.token).filter(|token| !token.is_empty()),
            user,
            client,
            channel_bound: self.binding.is_some() && accepted.flags & FLAG_CHANNEL_BOUND != 0,
            confidential: context.can_seal(),
            lifetime: Duration::from_secs(accepted.seconds.into()),
            context,
        })
    }
}

impl Ready {
    /// The credential for a service, spelled as in the keytab or else in another case.
    fn find(&self, service: &str) -> Option<&Credential> {
        let exact = self.credentials.iter().find(|(known, _)| known == service);
        let found = exact.or_else(|| self.credentials.iter().find(|(known, _)| known.eq_ignore_ascii_case(service)));
        found.map(|(_, credential)| credential)
    }

    /// The user name of a principal, and its whole name.
    fn user(&self, principal: &[u8], anonymous: bool) -> Result<(String, String), KerberosError> {
        let shown = String::from_utf8_lossy(principal);
        // The library writes a backslash before a separator that is part of a component. Nobody's name needs that, and
        // whoever takes such a name apart may be fooled.
        let usual = !shown.contains(|c: char| c.is_control() || matches!(c, '\\' | char::REPLACEMENT_CHARACTER));
        let client = if usual { shown.into_owned() } else { shown.escape_debug().to_string() };
        let refuse = |why| Err(KerberosError::Client { client: client.clone(), why });
        let Some((name, realm)) = client.rsplit_once('@').filter(|_| usual) else {
            return refuse("the principal's name has unusual characters");
        };
        if anonymous {
            return refuse("the client is anonymous");
        }
        if !self.realms.contains(realm) {
            return refuse("the principal is of another realm");
        }
        if name.contains(['/', '@']) {
            return refuse("the principal has an instance");
        }
        if name.is_empty() {
            return refuse("the principal has no name");
        }
        Ok((name.to_owned(), client.clone()))
    }
}

#[cfg(test)]
mod tests;
