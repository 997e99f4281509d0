//! The configuration in WinRM's words, for clients that ask the service for it.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::auth::ChannelBinding;
use crate::config::Config;
use crate::transport::Tls;
use crate::wsman::{CurrentText, WinrmConfig, WinrmListener, WinrmLogin};

/// Where the service listens, as far as it does.
pub(super) struct Bound<'b> {
    pub(super) host_name: &'b str,
    pub(super) http: Option<SocketAddr>,
    pub(super) https: Option<SocketAddr>,
    pub(super) tls: Option<&'b Arc<Tls>>,
}

pub(super) fn config(config: &Config, bound: &Bound<'_>, items_max: u32) -> WinrmConfig {
    let limits = &config.limits;
    let login = &config.login;
    let http = bound.http.map(|address| listener("HTTP", address, ""));
    let https = bound.https.map(|address| listener("HTTPS", address, bound.host_name));
    WinrmConfig {
        envelope_octets_max: octets(limits.envelope_octets_max),
        timeout_ms: limits.operation_timeout_ms,
        items_max,
        contexts_per_user_max: limits.contexts_per_principal_max,
        context_timeout_ms: limits.context_timeout_ms,
        connections_max: octets(limits.connections_max),
        allow_unencrypted: config.allow_unencrypted,
        login: WinrmLogin {
            basic: login.basic,
            kerberos: login.negotiate && config.kerberos.is_on(),
            negotiate: login.negotiate,
            certificate: config.client_certificates.authorities().is_some(),
            credssp: login.credssp,
            channel_binding: match login.channel_binding {
                ChannelBinding::None => "None",
                ChannelBinding::Relaxed | ChannelBinding::Sealed => "Relaxed",
                ChannelBinding::Strict => "Strict",
            },
        },
        listeners: http.into_iter().chain(https).collect(),
        certificate: bound.https.and(bound.tls).map(|tls| {
            let tls = Arc::clone(tls);
            CurrentText(Arc::new(move || tls.fingerprint().replace(':', "")))
        }),
    }
}

fn listener(transport: &'static str, address: SocketAddr, host_name: &str) -> WinrmListener {
    let ip = address.ip();
    WinrmListener {
        address: if ip.is_unspecified() { "*".to_owned() } else { format!("IP:{ip}") },
        transport,
        port: address.port(),
        host_name: host_name.to_owned(),
        listening_on: vec![ip.to_string()],
        is_local: ip.is_loopback(),
    }
}

fn octets(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
