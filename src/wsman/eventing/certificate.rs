//! The certificate that a subscriber wants to see at its sink, and whether the server's is one.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::soap::Fault;
use crate::wsman::fault;

/// Octets of SHA-1.
const OCTETS: usize = 20;

/// SHA-1 of a certificate (DER), by which subscribers name one: `wsman:CertificateThumbprint` of DSP0226, `Thumbprint`
/// of MS-WSMV 2.2.4.1. A name and no proof: the proof is the TLS handshake.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Thumbprint([u8; OCTETS]);

impl Thumbprint {
    /// Takes the hash.
    pub const fn new(octets: [u8; OCTETS]) -> Self {
        Self(octets)
    }

    /// Reads forty hexadecimal digits; case, and spaces and colons between them, do not count.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = [0; OCTETS];
        let mut digits = text.chars().filter(|character| !matches!(character, ' ' | ':')).map(|it| it.to_digit(16));
        for octet in &mut octets {
            let (high, low) = (digits.next()??, digits.next()??);
            *octet = u8::try_from(16 * high + low).ok()?;
        }
        digits.next().is_none().then_some(Self(octets))
    }
}

impl fmt::Display for Thumbprint {
    /// Upper-case digits and nothing between them, as Windows shows it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02X}"))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Thumbprint> for String {
    fn from(thumbprint: Thumbprint) -> Self {
        thumbprint.to_string()
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("no SHA-1 of a certificate")
    }
}

/// `auth:ClientCertificate`: which certificates will do (MS-WSMV 2.2.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Constraint {
    /// This one.
    Certificate(Thumbprint),
    /// Those that this authority issued, itself or by others.
    Issuer(Thumbprint),
}

/// What a subscriber wants of the certificate that its sink is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedCertificate {
    /// A policy's constraints: one of them must hold. Without any, each certificate will do.
    pub one_of: Vec<Constraint>,
    /// The certificate that was named by a token.
    pub named: Option<Thumbprint>,
    /// Whether a policy alone asks for it, and `wsman:Auth` does not: a refusal then speaks of the policy.
    pub by_policy: bool,
}

/// The certificate that the server shows sinks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceCertificate {
    /// Itself.
    pub own: Thumbprint,
    /// Those who issued it, as far as their certificates are known.
    pub issuers: Vec<Thumbprint>,
}

/// Why a sink cannot be shown what its subscriber wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// The server has no certificate for sinks.
    Missing,
    /// It has another one than was named by a token.
    Named {
        /// The one that was named.
        wanted: Thumbprint,
        /// The one that there is.
        own: Thumbprint,
    },
    /// It has one that no constraint of the policy admits.
    Constrained {
        /// The one that there is.
        own: Thumbprint,
    },
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "the sink is to be shown a certificate, and this server has none for sinks (eventing.certificate)",
            ),
            Self::Named { wanted, own } => write!(
                f,
                "the sink is to be shown the certificate with the thumbprint {wanted}, and this server's has {own}"
            ),
            Self::Constrained { own } => write!(
                f,
                "neither this server's certificate for sinks, whose thumbprint is {own}, nor an issuer that is known \
                 of it is one that the policy names"
            ),
        }
    }
}

impl WantedCertificate {
    /// Whether a certificate, if there is one, is what is wanted.
    pub fn check(&self, certificate: Option<&SourceCertificate>) -> Result<(), Unmet> {
        let Some(certificate) = certificate else { return Err(Unmet::Missing) };
        let own = certificate.own;
        if let Some(wanted) = self.named.filter(|named| *named != own) {
            return Err(Unmet::Named { wanted, own });
        }
        let holds = |constraint: &Constraint| match constraint {
            Constraint::Certificate(thumbprint) => *thumbprint == own,
            Constraint::Issuer(thumbprint) => certificate.issuers.contains(thumbprint),
        };
        if self.one_of.is_empty() || self.one_of.iter().any(holds) {
            return Ok(());
        }
        Err(Unmet::Constrained { own })
    }

    /// The answer to a Subscribe that wants what there is not: it names the part of the request that does.
    //= EVT-33
    pub fn refusal(&self, unmet: Unmet) -> Fault {
        match unmet {
            Unmet::Missing if !self.by_policy => fault::unsupported_feature_authorization_mode(unmet.to_string()),
            Unmet::Named { .. } => fault::unsupported_feature_format_security_token(unmet.to_string()),
            Unmet::Missing | Unmet::Constrained { .. } => fault::event_deliver_to_policy(unmet.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbprint(digit: &str) -> Thumbprint {
        Thumbprint::parse(&digit.repeat(40)).unwrap()
    }

    #[test]
    fn thumbprints_are_read_as_people_copy_them() {
        let plain = "00112233445566778899AABBCCDDEEFF00112233";
        let read = Thumbprint::parse(plain).unwrap();
        assert_eq!(read.to_string(), plain);
        assert_eq!(Thumbprint::parse(&plain.to_lowercase()), Some(read));
        assert_eq!(Thumbprint::parse("00:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00:11:22:33"), Some(read));
        assert_eq!(Thumbprint::parse("00 11 22 33 44 55 66 77 88 99 aa bb cc dd ee ff 00 11 22 33 "), Some(read));
        for bad in [
            "",
            "00",
            plain.trim_start_matches('0'),
            &format!("{plain}0"),
            &format!("{plain}00"),
            &plain.replace('F', "G"),
        ] {
            assert_eq!(Thumbprint::parse(bad), None, "{bad}");
        }
        let stored = serde_json::to_string(&read).unwrap();
        assert_eq!(stored, format!("{plain:?}"));
        assert_eq!(serde_json::from_str::<Thumbprint>(&stored).unwrap(), read);
        assert!(serde_json::from_str::<Thumbprint>("\"00\"").is_err());
    }

    #[test]
    fn a_certificate_must_be_the_named_one_and_fit_one_constraint() {
        let has = SourceCertificate { own: thumbprint("a"), issuers: vec![thumbprint("b"), thumbprint("c")] };
        let wanted = |one_of: &[Constraint], named: Option<&str>| WantedCertificate {
            one_of: one_of.to_vec(),
            named: named.map(thumbprint),
            by_policy: false,
        };
        let (own, root, other) = (
            Constraint::Certificate(thumbprint("a")),
            Constraint::Issuer(thumbprint("c")),
            Constraint::Issuer(thumbprint("a")),
        );
        for (one_of, named) in
            [(&[][..], None), (&[], Some("a")), (&[own], None), (&[other, root], None), (&[root], Some("a"))]
        {
            assert_eq!(wanted(one_of, named).check(Some(&has)), Ok(()), "{one_of:?} {named:?}");
            assert_eq!(wanted(one_of, named).check(None), Err(Unmet::Missing));
        }
        let named = Unmet::Named { wanted: thumbprint("b"), own: thumbprint("a") };
        assert_eq!(wanted(&[own], Some("b")).check(Some(&has)), Err(named));
        let constrained = Unmet::Constrained { own: thumbprint("a") };
        assert_eq!(wanted(&[other], Some("a")).check(Some(&has)), Err(constrained));
    }
}
