//! Client certificates: the login of whoever holds the key of a certificate that a rule gives to a user.
//!
//! The handshake of TLS has proved the key, and that an authority of the configuration issued the certificate. Which
//! user it is, rules say ([`CertificateRule`]); what the user may do, the users file. A certificate is presented with
//! the connection and not with a request, and browsers and proxies present one without being asked, so a request counts
//! only when it says by its header that it wants to be judged by it. Without that header a certificate authenticates
//! nobody.

mod name;
mod presented;
mod rules;

use std::sync::Arc;
use std::time::Instant;

use super::mechanism::{Accepted, Channel, Exchange, Mechanism, Outcome, Proof, Refusal, Step};
use super::negotiate::Clock;
use super::principal::Principal;
use super::users::Users;
use presented::Presented;

pub use rules::{CertificateRule, CertificateRules, RuleError};

/// The value of the `Authorization` header, and the name of this mechanism among Identify's security profiles
/// (DSP0226, annex on security profiles: `HTTPS_MUTUAL`).
pub const SCHEME: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual";

/// The most characters of a subject in the log.
const SHOWN_CHARS_MAX: usize = 256;

/// The mechanism: one for the process.
pub struct Certificate {
    users: Arc<Users>,
    rules: CertificateRules,
    clock: Clock,
}

impl Certificate {
    /// `rules` say which user a certificate belongs to, and `clock` whether it still holds: the handshake has looked at
    /// its dates, but a connection may live longer than the certificate that it began with.
    pub fn new(users: Arc<Users>, rules: CertificateRules, clock: Clock) -> Self {
        Self { users, rules, clock }
    }

    fn judge(&self, authorization: &[u8], channel: &Channel, now: Instant) -> Result<Arc<Principal>, Refusal> {
        if !authorization.trim_ascii().eq_ignore_ascii_case(SCHEME.as_bytes()) {
            return Err(Refusal::nameless("the header has more in it than the name of its scheme"));
        }
        let Some(certificate) = channel.certificate.as_deref().filter(|_| channel.encrypted) else {
            return Err(Refusal::nameless("the client presented no certificate"));
        };
        let presented = Presented::parse(certificate).map_err(Refusal::nameless)?;
        let shown = || presented.shown.chars().take(SHOWN_CHARS_MAX).collect::<String>();
        if presented.ends < (self.clock)() {
            return Err(Refusal::of(shown(), "the certificate has expired since the connection began"));
        }
        let Some(user) = self.rules.user(&presented) else {
            return Err(Refusal::of(shown(), "no rule gives this certificate to a user"));
        };
        self.principal(user, now).ok_or_else(|| {
            Refusal::of(shown(), "the user to whom a rule gives this certificate is not in the users file")
        })
    }

    /// The user of this name.
    fn principal(&self, name: &str, now: Instant) -> Option<Arc<Principal>> {
        let find = || self.users.proved(name, "certificate", now);
        find().or_else(|| {
            // Perhaps somebody was just added.
            self.users.refresh();
            find()
        })
    }
}

impl Mechanism for Certificate {
    fn scheme(&self) -> &'static str {
        SCHEME
    }

    /// Nothing to offer: whoever has a certificate was asked for it in the handshake.
    fn challenge(&self) -> Option<&'static str> {
        None
    }

    fn sends_secret(&self) -> bool {
        false
    }

    fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
        Box::new(CertificateExchange(self))
    }
}

/// A header says "judge me by my certificate", for its own request.
struct CertificateExchange(Arc<Certificate>);

impl Exchange for CertificateExchange {
    fn step(self: Box<Self>, authorization: &[u8], channel: &Channel, now: Instant) -> Step {
        Step::Done(match self.0.judge(authorization, channel, now) {
            Ok(principal) => Outcome::Accepted(Accepted { principal, token: None, proof: Proof::Request }),
            Err(refusal) => Outcome::Rejected(refusal),
        })
    }
}

#[cfg(test)]
mod tests;
