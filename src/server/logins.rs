//! Which ways of logging in a server offers, from the configuration.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::auth::certificate::{Certificate, CertificateRules};
use crate::auth::credssp::{self, CurrentIdentity};
use crate::auth::negotiate::{self, Clock, NegotiateSettings, Negotiator};
use crate::auth::ntlm::ServerNames;
#[cfg(feature = "pam")]
use crate::auth::pam::PamService;
use crate::auth::{Basic, CredSsp, Kerberos, Mechanism, Mechanisms, Throttle, UserFile, Users, UsersError};
use crate::config::Config;
use crate::job::Message;
use crate::transport::Tls;

use super::ids;

/// The users of the data directory, read again whenever their file changes.
pub(super) fn users(config: &Config) -> Result<Users, UsersError> {
    let mut random = [0; 16];
    ids::fill(&mut random);
    let recheck = Duration::from_millis(config.limits.users_recheck_ms);
    Users::open(UserFile::in_directory(&config.data_dir), recheck, random, Instant::now())
}

/// What the mechanisms are made of.
pub(super) struct Parts<'p> {
    pub(super) config: &'p Config,
    pub(super) host_name: &'p str,
    pub(super) users: &'p Arc<Users>,
    pub(super) certificates: CertificateRules,
    /// The certificate that CredSSP shows; there when CredSSP is on.
    pub(super) tls: Option<Arc<Tls>>,
}

/// The mechanisms, in the order in which clients are to see them.
pub(super) fn mechanisms(parts: Parts<'_>) -> Mechanisms {
    let Parts { config, host_name, users, certificates, tls } = parts;
    let login = &config.login;
    let throttle = Arc::new(Throttle::new(config.limits.throttle()));
    let clock: Clock = Arc::new(|| SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default());
    let negotiator = Arc::new(Negotiator {
        users: Arc::clone(users),
        throttle: Arc::clone(&throttle),
        kerberos: kerberos(config),
        names: ServerNames::of_host(host_name),
        require_mic: login.require_mic,
        clock: Arc::clone(&clock),
    });
    let mut offered: Vec<Arc<dyn Mechanism>> = Vec::new();
    if login.negotiate {
        let settings = NegotiateSettings {
            advertise_ntlm: login.advertise_ntlm,
            channel_binding: login.channel_binding,
            allow_unencrypted: config.allow_unencrypted,
        };
        offered.extend(negotiate::mechanisms(&negotiator, settings));
    }
    if let Some(tls) = tls.filter(|_| login.credssp) {
        let identity = credssp_identity(tls);
        let inner = credssp::negotiate(negotiator);
        let computations_max = config.limits.basic(cores()).verifications_max;
        let credssp = CredSsp::new(Arc::clone(users), identity, inner, login.channel_binding, computations_max);
        offered.push(Arc::new(credssp));
    }
    if login.basic {
        offered.push(Arc::new(basic(config, users, &throttle)));
    }
    if config.client_certificates.authorities().is_some() {
        offered.push(Arc::new(Certificate::new(Arc::clone(users), certificates, clock)));
    }
    Mechanisms::new(offered, Arc::clone(users), config.allow_unencrypted, config.limits.handshakes_max)
}

/// Kerberos, where it is wanted and everything that it needs is there. The log says once why it is not offered.
fn kerberos(config: &Config) -> Option<Kerberos> {
    if !config.kerberos.is_on() {
        tracing::info!("Kerberos is not offered: [kerberos] names no keytab");
        return None;
    }
    match Kerberos::open(&config.kerberos.settings(&config.data_dir)) {
        Ok(kerberos) => {
            let services = kerberos.services().collect::<Vec<_>>().join(", ");
            let realms = kerberos.realms().collect::<Vec<_>>().join(", ");
            tracing::info!(services, realms, "Kerberos is offered");
            Some(kerberos)
        }
        Err(error) => {
            tracing::error!(message_id = Message::KERBEROS_MISSING.id, %error, "Kerberos is not offered");
            None
        }
    }
}

/// The server's certificate as it is when a client asks.
fn credssp_identity(tls: Arc<Tls>) -> CurrentIdentity {
    if !tls.identity().is_rsa() {
        let path = tls.certificate_file().display();
        tracing::warn!(message_id = Message::CREDSSP_KEY.id, %path, "some clients will not take it for CredSSP");
    }
    Arc::new(move || tls.identity())
}

fn basic(config: &Config, users: &Arc<Users>, throttle: &Arc<Throttle>) -> Basic {
    let mut secret = [0; 32];
    ids::fill(&mut secret);
    let basic = Basic::new(Arc::clone(users), Arc::clone(throttle), config.limits.basic(cores()), &secret);
    #[cfg(feature = "pam")]
    if !config.login.pam_service.is_empty() {
        return basic.with_pam(PamService(config.login.pam_service.clone()));
    }
    basic
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The security profiles of DSP0226 that are offered, for Identify.
//= SEC-02, SEC-03
pub(super) fn profiles(config: &Config) -> Vec<&'static str> {
    let mut profiles = Vec::new();
    let http = config.http_address().is_some();
    let https = config.https_address().is_some();
    if http && config.login.basic && config.allow_unencrypted {
        profiles.push("http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/basic");
    }
    if http && config.login.negotiate {
        profiles.push("http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/http/spnego-kerberos");
    }
    if https && config.login.basic {
        profiles.push("http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/basic");
    }
    if https && config.login.negotiate {
        profiles.push("http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/spnego-kerberos");
    }
    if https && config.client_certificates.authorities().is_some() {
        profiles.push("http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual");
    }
    profiles
}
