//! Which ways of logging in a server offers, from the configuration.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::auth::certificate::{Certificate, CertificateRules};
#[cfg(feature = "pam")]
use crate::auth::pam::PamService;
use crate::auth::{Basic, Mechanism, Mechanisms, Throttle, UserFile, Users, UsersError};
use crate::config::Config;

use super::ids;

/// The users of the data directory, read again whenever their file changes.
pub(super) fn users(config: &Config) -> Result<Users, UsersError> {
    let mut random = [0; 16];
    ids::fill(&mut random);
    let recheck = Duration::from_millis(config.limits.users_recheck_ms);
    Users::open(UserFile::in_directory(&config.data_dir), recheck, random, Instant::now())
}

/// The mechanisms, in the order in which clients are to see them.
pub(super) fn mechanisms(config: &Config, users: &Arc<Users>, certificates: CertificateRules) -> Mechanisms {
    let throttle = Arc::new(Throttle::new(config.limits.throttle()));
    let mut offered: Vec<Arc<dyn Mechanism>> = Vec::new();
    if config.login.basic {
        offered.push(Arc::new(basic(config, users, &throttle)));
    }
    if config.client_certificates.authorities().is_some() {
        offered.push(Arc::new(Certificate::new(Arc::clone(users), certificates)));
    }
    Mechanisms::new(offered, Arc::clone(users), config.allow_unencrypted, config.limits.handshakes_max)
}

fn basic(config: &Config, users: &Arc<Users>, throttle: &Arc<Throttle>) -> Basic {
    let mut secret = [0; 32];
    ids::fill(&mut secret);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let basic = Basic::new(Arc::clone(users), Arc::clone(throttle), config.limits.basic(cores), &secret);
    #[cfg(feature = "pam")]
    if !config.login.pam_service.is_empty() {
        return basic.with_pam(PamService(config.login.pam_service.clone()));
    }
    basic
}

/// The security profiles of DSP0226 that are offered, for Identify.
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
