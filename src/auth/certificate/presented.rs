//! What a client's certificate says of its holder.

use std::time::Duration;

use der::Decode as _;
use der::asn1::{ObjectIdentifier, Utf8StringRef};
use sha2::{Digest as _, Sha256};
use x509_cert::Certificate;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::name::DistinguishedName;

/// Octets of the longest certificate that is read.
const CERTIFICATE_OCTETS_MAX: usize = 64 * 1024;
/// `id-kp-clientAuth` (RFC 5280).
const CLIENT_AUTHENTICATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
/// The user principal name, an `otherName` of Microsoft's.
const USER_PRINCIPAL_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");

/// A certificate as rules look at it. Whether its issuer is to be trusted is settled before, in the TLS handshake.
#[derive(Debug)]
pub(super) struct Presented {
    /// SHA-256 of the whole certificate.
    pub(super) fingerprint: [u8; 32],
    pub(super) subject: DistinguishedName,
    pub(super) issuer: DistinguishedName,
    /// The user principal name in the subject's alternative names; none also where there are several, for nobody could
    /// say which is meant.
    pub(super) upn: Option<String>,
    /// The subject for people (RFC 4514).
    pub(super) shown: String,
    /// Until when it holds, since 1970.
    pub(super) ends: Duration,
}

impl Presented {
    /// Read a certificate (DER). The error is for the log.
    ///
    /// A certificate whose extended key usage does not name client authentication is refused, also where it has none:
    /// the handshake takes those, since they may serve any purpose. Windows refuses them as well.
    pub(super) fn parse(certificate: &[u8]) -> Result<Self, &'static str> {
        if certificate.len() > CERTIFICATE_OCTETS_MAX {
            return Err("the certificate is too long");
        }
        let unreadable = |_| "the certificate cannot be read";
        let parsed = Certificate::from_der(certificate).map_err(unreadable)?.tbs_certificate;
        let usage = parsed.get::<ExtendedKeyUsage>().map_err(unreadable)?;
        if !usage.is_some_and(|(_, usage)| usage.0.contains(&CLIENT_AUTHENTICATION)) {
            return Err("the certificate's extended key usage does not name client authentication");
        }
        let names = parsed.get::<SubjectAltName>().map_err(unreadable)?;
        let mut upns = names.iter().flat_map(|(_, names)| &names.0).filter_map(|name| match name {
            GeneralName::OtherName(other) if other.type_id == USER_PRINCIPAL_NAME => Some(&other.value),
            _ => None,
        });
        let upn = match (upns.next(), upns.next()) {
            (Some(upn), None) => upn.decode_as::<Utf8StringRef<'_>>().ok().map(|upn| upn.as_str().to_owned()),
            _ => None,
        };
        Ok(Self {
            fingerprint: Sha256::digest(certificate).into(),
            subject: DistinguishedName::of(&parsed.subject),
            issuer: DistinguishedName::of(&parsed.issuer),
            upn,
            shown: parsed.subject.to_string(),
            ends: parsed.validity.not_after.to_unix_duration(),
        })
    }
}
