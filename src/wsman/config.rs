//! The configuration of the service as WinRM shows it (`winrm get winrm/config`): what of it holds here, read-only.
//! Clients read the sizes and the timeout from it before they do anything large.

use std::fmt;
use std::sync::Arc;

use crate::xml::Writer;

/// The resource URI of the whole configuration; its parts are below it.
pub const CONFIG: &str = "http://schemas.microsoft.com/wbem/wsman/1/config";

/// A part of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigPart<'u> {
    /// All of it.
    Whole,
    /// How the service is set up.
    Service,
    /// Where it listens: one instance a listener.
    Listener,
    /// A part that has no meaning here, by its name.
    Foreign(&'u str),
}

impl<'u> ConfigPart<'u> {
    /// The part that a resource URI names, if it is one of the configuration.
    pub fn of(uri: &'u str) -> Option<Self> {
        let uri = uri.trim();
        let head = uri.get(..CONFIG.len()).filter(|head| head.eq_ignore_ascii_case(CONFIG))?;
        let rest = uri.get(head.len()..).unwrap_or_default();
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let part = rest.trim_matches('/');
        Some(match part.to_ascii_lowercase().as_str() {
            "" => Self::Whole,
            "service" => Self::Service,
            "listener" => Self::Listener,
            _ => Self::Foreign(part),
        })
    }
}

/// The configuration as far as WinRM has words for it.
#[derive(Clone, Debug, Default)]
pub struct WinrmConfig {
    /// The largest envelope, in octets.
    pub envelope_octets_max: u64,
    /// The longest time of an operation, in milliseconds.
    pub timeout_ms: u64,
    /// The most items of a page.
    pub items_max: u32,
    /// Enumerations that one user may have open.
    pub contexts_per_user_max: u32,
    /// How long an enumeration lives that nobody pulls, in milliseconds.
    pub context_timeout_ms: u64,
    /// Connections at the same time.
    pub connections_max: u64,
    /// Whether passwords and messages may go over clear text.
    pub allow_unencrypted: bool,
    /// The ways of logging in.
    pub login: WinrmLogin,
    /// Where the service listens.
    pub listeners: Vec<WinrmListener>,
    /// The certificate in use, if there is one.
    pub certificate: Option<CurrentText>,
}

/// The ways of logging in.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each way is on or off by itself")]
pub struct WinrmLogin {
    /// Basic.
    pub basic: bool,
    /// Kerberos.
    pub kerberos: bool,
    /// Negotiate.
    pub negotiate: bool,
    /// Client certificates.
    pub certificate: bool,
    /// CredSSP.
    pub credssp: bool,
    /// `CbtHardeningLevel`: what a login over TLS must show of its channel.
    pub channel_binding: &'static str,
}

/// One listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WinrmListener {
    /// `*`, or `IP:` and the address.
    pub address: String,
    /// `HTTP` or `HTTPS`.
    pub transport: &'static str,
    /// The port.
    pub port: u16,
    /// The name of this host in the certificate; empty without one.
    pub host_name: String,
    /// The addresses.
    pub listening_on: Vec<String>,
    /// Whether only this machine itself reaches it.
    pub is_local: bool,
}

/// A text that may change while the server runs, as it is when it is asked for.
#[derive(Clone)]
pub struct CurrentText(pub Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for CurrentText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.0)())
    }
}

/// What stands after the host in the URL of the service.
const URL_PREFIX: &str = "wsman";

impl WinrmConfig {
    /// Writes `cfg:Config`.
    pub fn write(&self, w: &mut Writer<'_>) {
        w.open("cfg:Config");
        w.attribute("xmlns:cfg", CONFIG);
        w.close();
        number(w, "cfg:MaxEnvelopeSizekb", self.envelope_octets_max / 1_024);
        number(w, "cfg:MaxTimeoutms", self.timeout_ms);
        number(w, "cfg:MaxBatchItems", u64::from(self.items_max));
        w.start("cfg:Service");
        self.write_service_settings(w);
        w.end("cfg:Service");
        w.end("cfg:Config");
    }

    /// Writes `cfg:Service`.
    pub fn write_service(&self, w: &mut Writer<'_>) {
        w.open("cfg:Service");
        w.attribute("xmlns:cfg", &format!("{CONFIG}/service"));
        w.close();
        self.write_service_settings(w);
        w.end("cfg:Service");
    }

    fn write_service_settings(&self, w: &mut Writer<'_>) {
        number(w, "cfg:MaxConcurrentOperationsPerUser", u64::from(self.contexts_per_user_max));
        number(w, "cfg:EnumerationTimeoutms", self.context_timeout_ms);
        number(w, "cfg:MaxConnections", self.connections_max);
        truth(w, "cfg:AllowUnencrypted", self.allow_unencrypted);
        let WinrmLogin { basic, kerberos, negotiate, certificate, credssp, channel_binding } = self.login;
        w.start("cfg:Auth");
        for (element, is_on) in [
            ("cfg:Basic", basic),
            ("cfg:Kerberos", kerberos),
            ("cfg:Negotiate", negotiate),
            ("cfg:Certificate", certificate),
            ("cfg:CredSSP", credssp),
        ] {
            truth(w, element, is_on);
        }
        w.leaf("cfg:CbtHardeningLevel", channel_binding);
        w.end("cfg:Auth");
        w.start("cfg:DefaultPorts");
        w.leaf("cfg:HTTP", "5985");
        w.leaf("cfg:HTTPS", "5986");
        w.end("cfg:DefaultPorts");
        w.leaf("cfg:IPv4Filter", "*");
        w.leaf("cfg:IPv6Filter", "*");
        w.leaf("cfg:CertificateThumbprint", &self.thumbprint());
        truth(w, "cfg:AllowRemoteAccess", self.listeners.iter().any(|listener| !listener.is_local));
    }

    fn thumbprint(&self) -> String {
        self.certificate.as_ref().map(|CurrentText(current)| current()).unwrap_or_default()
    }

    /// Writes `cfg:Listener`.
    pub fn write_listener(&self, w: &mut Writer<'_>, listener: &WinrmListener) {
        w.open("cfg:Listener");
        w.attribute("xmlns:cfg", &format!("{CONFIG}/listener"));
        w.close();
        w.leaf("cfg:Address", &listener.address);
        w.leaf("cfg:Transport", listener.transport);
        w.leaf("cfg:Port", &listener.port.to_string());
        w.leaf("cfg:Hostname", &listener.host_name);
        truth(w, "cfg:Enabled", true);
        w.leaf("cfg:URLPrefix", URL_PREFIX);
        let is_tls = listener.transport == "HTTPS";
        w.leaf("cfg:CertificateThumbprint", &if is_tls { self.thumbprint() } else { String::new() });
        for address in &listener.listening_on {
            w.leaf("cfg:ListeningOn", address);
        }
        w.end("cfg:Listener");
    }

    /// The listener that these selectors name.
    pub fn listener(&self, address: &str, transport: &str) -> Option<&WinrmListener> {
        let is = |listener: &&WinrmListener| {
            listener.address.eq_ignore_ascii_case(address) && listener.transport.eq_ignore_ascii_case(transport)
        };
        self.listeners.iter().find(is)
    }
}

fn number(w: &mut Writer<'_>, element: &str, number: u64) {
    w.leaf(element, &number.to_string());
}

fn truth(w: &mut Writer<'_>, element: &str, is: bool) {
    w.leaf(element, if is { "true" } else { "false" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_configuration_s_own_uris_name_it() {
        for (uri, expected) in [
            (CONFIG, Some(ConfigPart::Whole)),
            (" http://schemas.microsoft.com/WBEM/wsman/1/Config/ ", Some(ConfigPart::Whole)),
            ("http://schemas.microsoft.com/wbem/wsman/1/config/Service", Some(ConfigPart::Service)),
            ("http://schemas.microsoft.com/wbem/wsman/1/config/listener", Some(ConfigPart::Listener)),
            ("http://schemas.microsoft.com/wbem/wsman/1/config/winrs", Some(ConfigPart::Foreign("winrs"))),
            ("http://schemas.microsoft.com/wbem/wsman/1/configuration", None),
            ("http://schemas.microsoft.com/wbem/wsman/1/wmi/root/config", None),
        ] {
            assert_eq!(ConfigPart::of(uri), expected, "{uri}");
        }
    }
}
