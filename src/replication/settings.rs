//! Settings of a replication relationship, and the checks that ModifyReplicationSettings makes.

use serde::{Deserialize, Serialize};

/// `Msvm_ReplicationSettingData`, as far as it can be set. Absent values (`None`) were never set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the class has these booleans")]
pub struct ReplicationSettings {
    /// `AuthenticationType`: 1 Kerberos, 2 certificate.
    pub authentication_type: u16,
    /// `CertificateThumbPrint`.
    pub certificate_thumbprint: Option<String>,
    /// `RootCertificateThumbPrint`.
    pub root_certificate_thumbprint: Option<String>,
    /// `CompressionEnabled`.
    pub compression_enabled: bool,
    /// `BypassProxyServer`.
    pub bypass_proxy: bool,
    /// `RecoveryConnectionPoint`: a host name; shown and checked, never dialled.
    pub recovery_connection_point: String,
    /// `RecoveryHostSystem`.
    pub recovery_host_system: String,
    /// `PrimaryConnectionPoint`.
    pub primary_connection_point: String,
    /// `PrimaryHostSystem`.
    pub primary_host_system: String,
    /// `RecoveryServerPortNumber`, 1 to 65535; 0 was never set.
    pub recovery_server_port: u16,
    /// `ReplicateHostKvpItems`.
    pub replicate_host_kvp: bool,
    /// `ApplicationConsistentSnapshotInterval`, hours, 0 (off) to 12.
    pub app_consistent_interval: u16,
    /// `RecoveryHistory`: further recovery points to keep, 0 to 24.
    pub recovery_history: u16,
    /// `IncludedDisks`: paths of disk settings as the client wrote them; shown back, never opened.
    pub included_disks: Vec<String>,
    /// `AutoResynchronizeEnabled`.
    pub auto_resync_enabled: bool,
    /// `AutoResynchronizeIntervalStart`, seconds of the day.
    pub auto_resync_start_s: u32,
    /// `AutoResynchronizeIntervalEnd`, seconds of the day.
    pub auto_resync_end_s: u32,
    /// `ReplicationInterval`, seconds: 30, 300 or 900.
    pub replication_interval: u16,
    /// `ReplicationProvider`: path or name of the provider; empty for the one the virtual machine has.
    pub replication_provider: String,
    /// `AdditionalSettings`: opaque text for the provider.
    pub additional_settings: String,
    /// `EnableWriteOrderPreservationAcrossDisks`: deprecated, and always true.
    pub write_order_preserved: bool,
}

impl Default for ReplicationSettings {
    /// The defaults of the class's definition.
    fn default() -> Self {
        Self {
            authentication_type: 1,
            certificate_thumbprint: None,
            root_certificate_thumbprint: None,
            compression_enabled: true,
            bypass_proxy: false,
            recovery_connection_point: String::new(),
            recovery_host_system: String::new(),
            primary_connection_point: String::new(),
            primary_host_system: String::new(),
            recovery_server_port: 0,
            replicate_host_kvp: true,
            app_consistent_interval: 0,
            recovery_history: 0,
            included_disks: Vec::new(),
            auto_resync_enabled: false,
            auto_resync_start_s: 18 * 3600 + 30 * 60,
            auto_resync_end_s: 6 * 3600,
            replication_interval: 300,
            replication_provider: String::new(),
            additional_settings: String::new(),
            write_order_preserved: true,
        }
    }
}

/// A setting that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{property} {message}")]
pub struct SettingError {
    /// The property's name in the class.
    pub property: &'static str,
    /// What is wrong with the value received.
    pub message: String,
}

/// Longest text accepted for one setting, octets. Settings are stored and shown back, so they are bounded.
pub(super) const TEXT_OCTETS_MAX: usize = 4096;
/// Most disks listed.
const DISKS_MAX: usize = 256;
/// Octets of all disks listed, as an answer writes them: an instance has to fit into an ordinary envelope.
const DISKS_OCTETS_MAX: usize = 32_768;

impl ReplicationSettings {
    /// Checks every value as ModifyReplicationSettings would, and reports the first that is wrong.
    pub fn validate(&self) -> Result<(), SettingError> {
        self.validate_numbers()?;
        self.validate_authentication()?;
        let hosts = [
            ("RecoveryConnectionPoint", &self.recovery_connection_point),
            ("RecoveryHostSystem", &self.recovery_host_system),
            ("PrimaryConnectionPoint", &self.primary_connection_point),
            ("PrimaryHostSystem", &self.primary_host_system),
        ];
        for (property, host) in hosts {
            if !host.is_empty() && !is_host_name(host) {
                return Err(wrong(property, format!("is not a host name: {}", shown(host))));
            }
        }
        let texts =
            [("ReplicationProvider", &self.replication_provider), ("AdditionalSettings", &self.additional_settings)];
        for (property, text) in texts {
            if text.len() > TEXT_OCTETS_MAX {
                return Err(wrong(property, format!("is longer than {TEXT_OCTETS_MAX} octets")));
            }
        }
        if self.included_disks.len() > DISKS_MAX {
            return Err(wrong("IncludedDisks", format!("lists more than {DISKS_MAX} disks")));
        }
        if self.included_disks.iter().any(|disk| disk.trim().is_empty() || disk.len() > TEXT_OCTETS_MAX) {
            return Err(wrong("IncludedDisks", "has an entry that is empty or too long".to_owned()));
        }
        if self.included_disks.iter().map(|disk| octets_on_the_wire(disk)).sum::<usize>() > DISKS_OCTETS_MAX {
            return Err(wrong("IncludedDisks", format!("is longer than {DISKS_OCTETS_MAX} octets in all")));
        }
        Ok(())
    }

    fn validate_numbers(&self) -> Result<(), SettingError> {
        if ![30, 300, 900].contains(&self.replication_interval) {
            let found = self.replication_interval;
            return Err(wrong("ReplicationInterval", format!("must be 30, 300 or 900 seconds, not {found}")));
        }
        if self.recovery_history > 24 {
            return Err(wrong("RecoveryHistory", format!("must be 0 to 24, not {}", self.recovery_history)));
        }
        let interval = self.app_consistent_interval;
        if interval > 12 {
            let message = format!("must be 0 to 12 hours, not {interval}");
            return Err(wrong("ApplicationConsistentSnapshotInterval", message));
        }
        if interval > 0 && self.recovery_history == 0 {
            let message = "needs a RecoveryHistory above 0".to_owned();
            return Err(wrong("ApplicationConsistentSnapshotInterval", message));
        }
        let times = [
            ("AutoResynchronizeIntervalStart", self.auto_resync_start_s),
            ("AutoResynchronizeIntervalEnd", self.auto_resync_end_s),
        ];
        for (property, seconds) in times {
            if seconds >= 86_400 {
                return Err(wrong(property, "is not a time of the day".to_owned()));
            }
        }
        if !self.write_order_preserved {
            let message = "cannot be turned off".to_owned();
            return Err(wrong("EnableWriteOrderPreservationAcrossDisks", message));
        }
        Ok(())
    }

    fn validate_authentication(&self) -> Result<(), SettingError> {
        let thumbprints = [
            ("CertificateThumbPrint", &self.certificate_thumbprint),
            ("RootCertificateThumbPrint", &self.root_certificate_thumbprint),
        ];
        for (property, thumbprint) in thumbprints {
            let hex = |text: &str| text.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b' ');
            if thumbprint.as_deref().is_some_and(|text| !hex(text) || text.len() > 256) {
                return Err(wrong(property, "is not a thumbprint in hexadecimal digits".to_owned()));
            }
        }
        let has_certificate = self.certificate_thumbprint.as_deref().is_some_and(|text| !text.trim().is_empty());
        match self.authentication_type {
            2 if !has_certificate => {
                Err(wrong("CertificateThumbPrint", "is required when AuthenticationType is 2".to_owned()))
            }
            1 | 2 => Ok(()),
            other => Err(wrong("AuthenticationType", format!("must be 1 (Kerberos) or 2 (certificate), not {other}"))),
        }
    }
}

/// Octets of a text with its markup characters and line breaks escaped, at most.
fn octets_on_the_wire(text: &str) -> usize {
    text.bytes()
        .map(|octet| if matches!(octet, b'&' | b'<' | b'>' | b'"' | b'\t' | b'\r' | b'\n') { 6 } else { 1 })
        .sum()
}

pub(super) fn wrong(property: &'static str, message: String) -> SettingError {
    SettingError { property, message }
}

/// The start of a value received, for a message.
pub(super) fn shown(value: &str) -> String {
    value.chars().take(60).flat_map(char::escape_debug).collect()
}

/// Whether a text has the shape of a DNS name or an address: letters, digits, `-`, `_`, `.`, and `:` for IPv6.
pub(super) fn is_host_name(text: &str) -> bool {
    let labels_hold = text
        .split('.')
        .all(|label| (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-'));
    let octets_hold = text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.:".contains(&octet));
    text.len() <= 253 && labels_hold && octets_hold
}

#[cfg(test)]
mod tests {
    use super::*;

    type Change = fn(&mut ReplicationSettings);

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(ReplicationSettings::default().validate(), Ok(()));
    }

    #[test]
    fn each_wrong_value_is_named() {
        let cases: &[(&str, Change)] = &[
            ("ReplicationInterval", |s| s.replication_interval = 31),
            ("RecoveryHistory", |s| s.recovery_history = 25),
            ("ApplicationConsistentSnapshotInterval", |s| (s.app_consistent_interval, s.recovery_history) = (13, 4)),
            ("ApplicationConsistentSnapshotInterval", |s| s.app_consistent_interval = 4),
            ("AuthenticationType", |s| s.authentication_type = 3),
            ("CertificateThumbPrint", |s| s.authentication_type = 2),
            ("CertificateThumbPrint", |s| s.certificate_thumbprint = Some("xyz".into())),
            ("RootCertificateThumbPrint", |s| s.root_certificate_thumbprint = Some("0g".into())),
            ("RecoveryConnectionPoint", |s| s.recovery_connection_point = "a b".into()),
            ("RecoveryHostSystem", |s| s.recovery_host_system = "-a".into()),
            ("PrimaryConnectionPoint", |s| s.primary_connection_point = "a..b".into()),
            ("PrimaryHostSystem", |s| s.primary_host_system = "x".repeat(64)),
            ("IncludedDisks", |s| s.included_disks = vec![String::new()]),
            ("IncludedDisks", |s| s.included_disks = vec!["d".into(); 257]),
            ("IncludedDisks", |s| s.included_disks = vec!["d".repeat(4_096); 9]),
            ("IncludedDisks", |s| s.included_disks = vec!["<".repeat(4_096); 2]),
            ("AdditionalSettings", |s| s.additional_settings = "x".repeat(4097)),
            ("AutoResynchronizeIntervalStart", |s| s.auto_resync_start_s = 86_400),
            ("EnableWriteOrderPreservationAcrossDisks", |s| s.write_order_preserved = false),
        ];
        for (property, change) in cases {
            let mut settings = ReplicationSettings::default();
            change(&mut settings);
            assert_eq!(settings.validate().map_err(|error| error.property), Err(*property));
        }
    }

    #[test]
    fn values_at_the_limits_are_accepted() {
        let mut settings = ReplicationSettings {
            recovery_history: 24,
            app_consistent_interval: 12,
            authentication_type: 2,
            certificate_thumbprint: Some("00 AB cd".into()),
            recovery_connection_point: "replica-1.example.com".into(),
            recovery_server_port: 443,
            included_disks: vec!["d".repeat(4_096); 8],
            ..ReplicationSettings::default()
        };
        for interval in [30, 300, 900] {
            settings.replication_interval = interval;
            assert_eq!(settings.validate(), Ok(()));
        }
    }
}
