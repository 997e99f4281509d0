//! `[eventing]`: where events may be sent, and how many subscriptions there may be.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::endpoint::EventLimits;

/// The word for the addresses of this machine.
const LOOPBACK: &str = "loopback";

/// Subscriptions and their sinks. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventingConfig {
    /// Where events may be sent: `loopback`, an address, or a network such as `10.1.0.0/16`, each with a port behind it
    /// or not (`10.1.2.3:5986`, `[fd00::]/8`). What a host name stands for is looked up and must be among them.
    pub sinks: Vec<String>,
    /// Send events over clear text to sinks other than those of this machine.
    pub allow_unencrypted: bool,
    /// The authorities that vouch for sinks over HTTPS, PEM; empty means those that this machine trusts.
    pub authorities: PathBuf,
    /// The certificate chain, PEM, that is shown to sinks whose subscribers ask for one: the certificate, then whoever
    /// issued it. Empty: there is none. No other sink sees it.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// How long a sink may take for one message.
    pub delivery_timeout_ms: u64,
    /// Subscriptions altogether.
    pub subscriptions_max: u32,
    /// Subscriptions of one user.
    pub subscriptions_per_user_max: u32,
    /// How long a subscription lives at most without being renewed.
    pub life_max_ms: u64,
    /// Recent changes that are kept for those who have not been told of them.
    pub changes_max: u32,
}

impl Default for EventingConfig {
    fn default() -> Self {
        Self {
            sinks: vec![LOOPBACK.to_owned()],
            allow_unencrypted: false,
            authorities: PathBuf::new(),
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            delivery_timeout_ms: 10_000,
            subscriptions_max: 16_384,
            subscriptions_per_user_max: 4_096,
            life_max_ms: 7 * 24 * 3_600_000,
            changes_max: 8_192,
        }
    }
}

impl EventingConfig {
    /// The limits of the endpoint. `envelope_octets_max` bounds messages whose subscribers name no size.
    pub fn limits(&self, envelope_octets_max: usize) -> EventLimits {
        let number = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
        EventLimits {
            changes_max: number(self.changes_max),
            total_max: number(self.subscriptions_max),
            per_principal_max: number(self.subscriptions_per_user_max),
            life_ms_max: self.life_max_ms,
            envelope_octets_max,
        }
    }

    /// The addresses that may be sent to. Entries that cannot be read are left out: they are problems of the
    /// configuration.
    pub fn networks(&self) -> Vec<Network> {
        self.sinks.iter().filter_map(|text| Network::parse(text)).collect()
    }

    /// The file of the authorities that vouch for sinks, where they are not those of this machine.
    pub fn authorities(&self) -> Option<&Path> {
        given(&self.authorities)
    }

    /// The files of the certificate that sinks can be shown, and of its key.
    pub fn certificate(&self) -> Option<(&Path, &Path)> {
        Some((given(&self.certificate)?, given(&self.key)?))
    }

    /// What is wrong with it: key and problem.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let bad = self.sinks.iter().filter(|text| Network::parse(text).is_none());
        let mut problems: Vec<(&'static str, String)> = bad
            .map(|text| {
                let forms = "write loopback, 10.1.2.3, 10.1.0.0/16 or [fd00::]/8, with :PORT behind it or not";
                ("eventing.sinks", format!("{text:?} is no address: {forms}"))
            })
            .collect();
        match (given(&self.certificate), given(&self.key)) {
            (Some(_), None) => problems.push(("eventing.key", "the certificate needs its key".to_owned())),
            (None, Some(_)) => problems.push(("eventing.certificate", "the key is there without it".to_owned())),
            _ => {}
        }
        if self.delivery_timeout_ms == 0 {
            problems.push(("eventing.delivery_timeout_ms", "0 would let nothing be delivered".to_owned()));
        }
        if self.changes_max < 16 {
            problems.push(("eventing.changes_max", "at least 16 changes are kept".to_owned()));
        }
        problems
    }
}

/// A path, where one is given.
fn given(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

/// Addresses that may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// None stands for this machine.
    base: Option<IpAddr>,
    bits: u8,
    port: Option<u16>,
}

impl Network {
    /// Reads `loopback`, `ADDRESS`, `ADDRESS/BITS`, each with `:PORT` behind it or not; an IPv6 address that something
    /// follows stands in brackets.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(rest) = text.strip_prefix(LOOPBACK) {
            return Some(Self { base: None, bits: 0, port: port(rest).ok()? });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Some(Self { base: Some(address), bits: width(address), port: None });
        }
        let (address, rest) = match text.strip_prefix('[') {
            Some(inner) => inner.split_once(']')?,
            None => text.split_at(text.find(['/', ':'])?),
        };
        let address: IpAddr = address.parse().ok()?;
        let (bits, rest) = match rest.strip_prefix('/') {
            Some(rest) => rest.split_at(rest.find(':').unwrap_or(rest.len())),
            None => ("", rest),
        };
        let bits = if bits.is_empty() { width(address) } else { bits.parse().ok()? };
        (bits <= width(address)).then_some(Self { base: Some(address), bits, port: port(rest).ok()? })
    }

    /// Whether an address is one of them.
    pub fn holds(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        if self.port.is_some_and(|port| port != address.port()) {
            return false;
        }
        match (self.base, ip) {
            (None, ip) => ip.is_loopback(),
            (Some(IpAddr::V4(base)), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits);
                base.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            (Some(IpAddr::V6(base)), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits);
                base.to_bits().checked_shr(shift) == ip.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

/// `:PORT`, or nothing; the error is anything else.
fn port(text: &str) -> Result<Option<u16>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    text.strip_prefix(':').and_then(|digits| digits.parse().ok()).map(Some).ok_or(())
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(network: &str, address: &str) -> bool {
        Network::parse(network).unwrap().holds(address.parse().unwrap())
    }

    #[test]
    fn networks_hold_what_they_say() {
        assert!(holds("loopback", "127.0.0.1:80") && holds("loopback", "[::1]:80"));
        assert!(holds("loopback", "[::ffff:127.0.0.1]:80"), "an IPv4 address in IPv6's clothes");
        assert!(!holds("loopback", "10.0.0.1:80") && !holds("loopback", "0.0.0.0:80"));
        assert!(holds("loopback:5985", "127.0.0.1:5985") && !holds("loopback:5985", "127.0.0.1:5986"));
        assert!(holds("10.1.0.0/16", "10.1.255.1:1") && !holds("10.1.0.0/16", "10.2.0.1:1"));
        assert!(holds("0.0.0.0/0", "8.8.8.8:1") && !holds("0.0.0.0/0", "[fd00::1]:1"));
        assert!(holds("10.1.2.3:5986", "10.1.2.3:5986") && !holds("10.1.2.3:5986", "10.1.2.3:5985"));
        assert!(holds("[fd00::]/8:5986", "[fd12::1]:5986") && !holds("[fd00::]/8", "[fe00::1]:1"));
        assert!(holds("fd00::1", "[fd00::1]:9") && holds("10.0.0.0/8", "[::ffff:10.1.1.1]:9"));
    }

    #[test]
    fn nothing_else_is_read() {
        for bad in ["", "*", "localhost", "10.1", "10.0.0.0/33", "10.0.0.1:", "10.0.0.1:x", "[fd00::", "loopback/8"] {
            assert_eq!(Network::parse(bad), None, "{bad}");
        }
    }
}
