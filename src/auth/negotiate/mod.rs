//! The HTTP schemes Negotiate (RFC 4559), NTLM and Kerberos: tokens in headers, and what a login must show there.
//!
//! All three run one [`Acceptor`] that knows nothing of HTTP. Negotiate takes whatever it can: raw NTLM, raw Kerberos,
//! and either in SPNEGO, each answered in the wrapping that it came in. NTLM takes raw NTLM, Kerberos takes Kerberos.

mod acceptor;
mod spnego;

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use acceptor::{Acceptor, Demands, Family, Login, Negotiator, Progress};

use super::basic::LENIENT;
use super::mechanism::{Accepted, Channel, Exchange, Mechanism, Outcome, Proof, Refusal, Step};
use super::protection::ChannelBinding;
use super::spnego::TOKEN_OCTETS_MAX;

/// What the time is: since 1970.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;

/// How the three schemes behave.
#[derive(Clone, Copy, Debug)]
pub struct NegotiateSettings {
    /// Name the scheme NTLM among those on offer. It is taken in any case.
    pub advertise_ntlm: bool,
    /// What a login over TLS must show of its channel.
    pub channel_binding: ChannelBinding,
    /// Whether messages in clear are taken on a channel that is not encrypted.
    pub allow_unencrypted: bool,
}

/// The three schemes, in the order in which they are to be offered; Kerberos only when it is there.
pub fn mechanisms(negotiator: &Arc<Negotiator>, settings: NegotiateSettings) -> Vec<Arc<dyn Mechanism>> {
    let NegotiateSettings { channel_binding, allow_unencrypted, advertise_ntlm } = settings;
    let scheme = |family, advertised| -> Arc<dyn Mechanism> {
        let negotiator = Arc::clone(negotiator);
        Arc::new(Negotiate { negotiator, family, advertised, channel_binding, allow_unencrypted })
    };
    let mut schemes = vec![scheme(Family::Any, true)];
    if negotiator.kerberos.is_some() {
        schemes.push(scheme(Family::Kerberos, true));
    }
    schemes.push(scheme(Family::Ntlm, advertise_ntlm));
    schemes
}

/// One of the three schemes.
struct Negotiate {
    negotiator: Arc<Negotiator>,
    family: Family,
    advertised: bool,
    channel_binding: ChannelBinding,
    allow_unencrypted: bool,
}

impl Mechanism for Negotiate {
    fn scheme(&self) -> &'static str {
        match self.family {
            Family::Any => "Negotiate",
            Family::Kerberos => "Kerberos",
            Family::Ntlm => "NTLM",
        }
    }

    fn challenge(&self) -> Option<&'static str> {
        self.advertised.then(|| self.scheme())
    }

    fn sends_secret(&self) -> bool {
        false
    }

    fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
        let acceptor = Acceptor::new(Arc::clone(&self.negotiator), self.family);
        Box::new(Handshake { scheme: self, acceptor })
    }
}

/// A handshake over HTTP.
struct Handshake {
    scheme: Arc<Negotiate>,
    acceptor: Acceptor,
}

impl Exchange for Handshake {
    fn step(self: Box<Self>, authorization: &[u8], channel: &Channel, now: Instant) -> Step {
        let Self { scheme, acceptor } = *self;
        let Some(token) = token(authorization) else {
            return Step::Done(Outcome::Rejected(Refusal::nameless("the header has no token")));
        };
        let demands = Demands {
            channel_binding: scheme.channel_binding,
            must_seal: !channel.encrypted && !scheme.allow_unencrypted,
        };
        let channel = channel.clone();
        Step::Wait(Box::pin(async move {
            match acceptor.step(token, &channel, demands, now).await {
                Progress::Done(Login { principal, token, protection }) => Outcome::Accepted(Accepted {
                    principal,
                    token: token.map(|token| STANDARD.encode(token)),
                    proof: Proof::Connection(protection),
                }),
                Progress::Continue(token, acceptor) => {
                    Outcome::Continue { token: STANDARD.encode(token), exchange: Box::new(Self { scheme, acceptor }) }
                }
                Progress::Rejected(refusal) => Outcome::Rejected(refusal),
                Progress::Unsealed(refusal, text) => Outcome::Unsealed(refusal, text),
                Progress::Busy => Outcome::Busy,
            }
        }))
    }
}

/// The token in the value of an `Authorization` header; none when there is none, or too much of it.
fn token(authorization: &[u8]) -> Option<Vec<u8>> {
    let space = authorization.iter().position(|octet| *octet == b' ')?;
    let encoded = authorization.get(space..)?.trim_ascii();
    if encoded.len() / 4 * 3 > TOKEN_OCTETS_MAX {
        return None;
    }
    LENIENT.decode(encoded).ok().filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_follows_the_scheme() {
        for value in [&b"Negotiate YWI="[..], b"negotiate   YWI= ", b"NTLM YWI"] {
            assert_eq!(token(value).as_deref(), Some(&b"ab"[..]));
        }
        for value in [&b"Negotiate"[..], b"Negotiate ", b"Negotiate !", b"Negotiate YWI=YWI=", b""] {
            assert_eq!(token(value), None);
        }
        let long = |octets: usize| [b"Negotiate ", STANDARD.encode(vec![0; octets]).as_bytes()].concat();
        assert!(token(&long(TOKEN_OCTETS_MAX - 3)).is_some());
        assert!(token(&long(TOKEN_OCTETS_MAX + 3)).is_none());
    }
}
