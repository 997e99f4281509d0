//! Which ways of logging in there are: `[login]` and `[kerberos]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::auth::kerberos::SERVICES;
use crate::auth::{ChannelBinding, KerberosSettings};

/// The replay cache's name in the data directory.
const REPLAY_CACHE_FILE: &str = "kerberos-replays";

/// The mechanisms that are offered, and what they must show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file that is on or off by itself")]
pub struct LoginConfig {
    /// Negotiate: Kerberos where a keytab is given, and NTLM for users whose NT hash is stored (`user add --ntlm`).
    pub negotiate: bool,
    /// Name the scheme NTLM among those on offer, for clients that look for it. It is taken in any case, as a part of
    /// Negotiate.
    pub advertise_ntlm: bool,
    /// Refuse NTLM logins without a message integrity code. Some older clients send none.
    pub require_mic: bool,
    /// Basic; over TLS only, unless `allow_unencrypted` is set.
    pub basic: bool,
    /// The PAM service that checks the passwords of Basic for users who have none in the users file; empty means none.
    /// Needs a server that was built with the feature `pam`.
    pub pam_service: String,
    /// CredSSP: the client hands its password over, which this server checks and forgets.
    pub credssp: bool,
    /// What a login over TLS must show of its channel: `none`, `relaxed`, `sealed` or `strict`.
    pub channel_binding: ChannelBinding,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            negotiate: true,
            advertise_ntlm: false,
            require_mic: false,
            basic: true,
            pam_service: String::new(),
            credssp: false,
            channel_binding: ChannelBinding::default(),
        }
    }
}

impl LoginConfig {
    /// What is wrong with the values taken together: key and problem.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        if self.pam_service.is_empty() || cfg!(feature = "pam") {
            return Vec::new();
        }
        vec![("login.pam_service", "this server was built without PAM (cargo feature pam)".to_owned())]
    }
}

/// Kerberos.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KerberosConfig {
    /// The keytab with the keys of `HTTP/host` and `WSMAN/host`; empty means no Kerberos.
    pub keytab: PathBuf,
    /// The services that clients may ask for. Some clients ask for `host`, whose key other programs of the machine have
    /// too: add it only where they are to be taken all the same.
    pub services: Vec<String>,
    /// The realms whose users may log in, as the users of the same names; empty takes those of the keytab.
    pub realms: Vec<String>,
}

impl Default for KerberosConfig {
    fn default() -> Self {
        Self { keytab: PathBuf::new(), services: SERVICES.map(str::to_owned).to_vec(), realms: Vec::new() }
    }
}

impl KerberosConfig {
    /// Whether Kerberos is wanted.
    pub fn is_on(&self) -> bool {
        !self.keytab.as_os_str().is_empty()
    }

    /// What the acceptor needs.
    pub fn settings(&self, data_dir: &Path) -> KerberosSettings {
        KerberosSettings {
            keytab: self.keytab.clone(),
            services: self.services.clone(),
            realms: self.realms.clone(),
            replay_cache: data_dir.join(REPLAY_CACHE_FILE),
        }
    }
}
