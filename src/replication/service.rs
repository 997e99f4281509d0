//! How this host takes part in replication: the settings of the service, and who may replicate here.
//!
//! Both are what administrators and their tools keep in Hyper-V's own classes. They are checked, stored and shown;
//! replicas arrive through the backends, so that no listener is opened and no folder is touched because of them.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::settings::{SettingError, TEXT_OCTETS_MAX, is_host_name, shown, wrong};

/// `Msvm_ReplicationServiceSettingData`, as far as it can be set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceSettings {
    /// `RecoveryServerEnabled`.
    pub recovery_server_enabled: bool,
    /// `AllowedAuthenticationType`: 0 none, 1 Kerberos, 2 certificate, 3 both.
    pub allowed_authentication_type: u16,
    /// `CertificateThumbPrint`.
    pub certificate_thumbprint: Option<String>,
    /// `HttpPort`, 1 to 65535.
    pub http_port: u16,
    /// `HttpsPort`, 1 to 65535.
    pub https_port: u16,
    /// `MonitoringStartTime`, seconds of the day; none when it was never set.
    pub monitoring_start_s: Option<u32>,
    /// `MonitoringInterval`, seconds, 3600 to 604800.
    pub monitoring_interval_s: u32,
    /// Store revision that they were read at or written with; 0 before the first write. Not stored.
    #[serde(skip)]
    pub revision: u64,
}

impl Default for ServiceSettings {
    /// The defaults of the class's definition.
    fn default() -> Self {
        Self {
            recovery_server_enabled: false,
            allowed_authentication_type: 0,
            certificate_thumbprint: None,
            http_port: 80,
            https_port: 443,
            monitoring_start_s: None,
            monitoring_interval_s: 43_200,
            revision: 0,
        }
    }
}

impl ServiceSettings {
    /// Checks every value as ModifyServiceSettings does, and reports the first that is wrong.
    pub fn validate(&self) -> Result<(), SettingError> {
        let kind = self.allowed_authentication_type;
        if kind > 3 {
            return Err(wrong("AllowedAuthenticationType", format!("must be 0 to 3, not {kind}")));
        }
        if self.recovery_server_enabled && kind == 0 {
            let message = "must be 1, 2 or 3 while RecoveryServerEnabled is true".to_owned();
            return Err(wrong("AllowedAuthenticationType", message));
        }
        let thumbprint = self.certificate_thumbprint.as_deref().unwrap_or_default();
        let hex = thumbprint.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b' ');
        if !hex || 128 < thumbprint.len() {
            return Err(wrong("CertificateThumbPrint", "is not a thumbprint in hexadecimal digits".to_owned()));
        }
        if self.recovery_server_enabled && kind >= 2 && thumbprint.trim().is_empty() {
            let message = "is required when AllowedAuthenticationType is 2 or 3".to_owned();
            return Err(wrong("CertificateThumbPrint", message));
        }
        for (property, port) in [("HttpPort", self.http_port), ("HttpsPort", self.https_port)] {
            if port == 0 {
                return Err(wrong(property, "must be 1 to 65535, not 0".to_owned()));
            }
        }
        if self.http_port == self.https_port {
            return Err(wrong("HttpsPort", format!("is the same as HttpPort ({})", self.http_port)));
        }
        if self.monitoring_start_s.is_some_and(|seconds| 86_400 <= seconds) {
            return Err(wrong("MonitoringStartTime", "is not a time of the day".to_owned()));
        }
        let interval = self.monitoring_interval_s;
        if !(3_600..=604_800).contains(&interval) {
            return Err(wrong("MonitoringInterval", format!("must be 3600 to 604800 seconds, not {interval}")));
        }
        Ok(())
    }

    /// Whether others are the same settings, whenever they were written.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Self { revision: 0, ..self.clone() } == Self { revision: 0, ..other.clone() }
    }
}

/// Most entries that are kept.
pub const AUTHORIZATIONS_MAX: usize = 1_000;

/// The place of an entry among the others: a digest of its host's name, so that a name is found without a search and
/// entries have an order that does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorizationId(pub u128);

impl AuthorizationId {
    /// The id of the entry for a host, whatever the case of its letters.
    #[must_use]
    pub fn of(host: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(host.trim().to_lowercase().as_bytes()).into();
        let (head, _) = digest.split_at(16);
        Self(head.iter().fold(0, |number, octet| number << 8 | u128::from(*octet)))
    }
}

/// `Msvm_ReplicationAuthorizationSettingData`: a primary host that may replicate here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// `AllowedPrimaryHostSystem`: a host name, `*.` and a domain, or `*`. What the entry goes by.
    pub host: String,
    /// `TrustGroup`.
    pub trust_group: String,
    /// `ReplicaStorageLocation`: shown, never opened.
    pub storage_location: String,
    /// Store revision that it was read at or written with; 0 before the first write. Not stored.
    #[serde(skip)]
    pub revision: u64,
}

impl Authorization {
    /// Its place among the others.
    #[must_use]
    pub fn id(&self) -> AuthorizationId {
        AuthorizationId::of(&self.host)
    }

    /// Checks every value as AddAuthorizationEntry does, and reports the first that is wrong.
    pub fn validate(&self) -> Result<(), SettingError> {
        let host = self.host.strip_prefix("*.").unwrap_or(&self.host);
        if self.host != "*" && !is_host_name(host) {
            let message = format!("is neither a host name, *.DOMAIN nor *: '{}'", shown(&self.host));
            return Err(wrong("AllowedPrimaryHostSystem", message));
        }
        for (property, text) in [("TrustGroup", &self.trust_group), ("ReplicaStorageLocation", &self.storage_location)]
        {
            if TEXT_OCTETS_MAX < text.len() {
                return Err(wrong(property, format!("is longer than {TEXT_OCTETS_MAX} octets")));
            }
        }
        Ok(())
    }

    /// Whether another is the same entry with the same values, whenever it was written.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        Self { revision: 0, ..self.clone() } == Self { revision: 0, ..other.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_each_wrong_value_is_named() {
        type Change = fn(&mut ServiceSettings);
        assert_eq!(ServiceSettings::default().validate(), Ok(()));
        let cases: &[(&str, Change)] = &[
            ("AllowedAuthenticationType", |s| s.allowed_authentication_type = 4),
            ("AllowedAuthenticationType", |s| s.recovery_server_enabled = true),
            ("CertificateThumbPrint", |s| (s.recovery_server_enabled, s.allowed_authentication_type) = (true, 3)),
            ("CertificateThumbPrint", |s| s.certificate_thumbprint = Some("xyz".into())),
            ("CertificateThumbPrint", |s| s.certificate_thumbprint = Some("0".repeat(129))),
            ("HttpPort", |s| s.http_port = 0),
            ("HttpsPort", |s| s.https_port = 0),
            ("HttpsPort", |s| s.https_port = 80),
            ("MonitoringStartTime", |s| s.monitoring_start_s = Some(86_400)),
            ("MonitoringInterval", |s| s.monitoring_interval_s = 3_599),
            ("MonitoringInterval", |s| s.monitoring_interval_s = 604_801),
        ];
        for (property, change) in cases {
            let mut settings = ServiceSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate().unwrap_err().property, *property);
        }
        let kerberos = ServiceSettings {
            recovery_server_enabled: true,
            allowed_authentication_type: 1,
            monitoring_start_s: Some(86_399),
            ..ServiceSettings::default()
        };
        assert_eq!(kerberos.validate(), Ok(()));
    }

    #[test]
    fn a_host_is_a_name_a_domain_or_all() {
        let entry = |host: &str| Authorization {
            host: host.to_owned(),
            trust_group: String::new(),
            storage_location: "D:\\replicas".to_owned(),
            revision: 0,
        };
        for host in ["hv01", "hv01.example.com", "*.example.com", "*"] {
            assert_eq!(entry(host).validate(), Ok(()), "{host}");
        }
        for host in ["", " ", "*.", "**", "a*.example.com", "a b"] {
            assert_eq!(entry(host).validate().unwrap_err().property, "AllowedPrimaryHostSystem", "{host}");
        }
        assert_eq!(entry("HV01").id(), entry("hv01").id());
        assert_ne!(entry("hv01").id(), entry("hv02").id());
        let long = Authorization { trust_group: "x".repeat(4_097), ..entry("a") };
        assert_eq!(long.validate().unwrap_err().property, "TrustGroup");
    }
}
