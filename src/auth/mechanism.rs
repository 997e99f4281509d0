//! The seam for authentication schemes, and the state that one connection keeps.
//!
//! HTTP schemes differ in whom their proof covers: Basic proves each request by itself, NTLM and Kerberos prove a
//! connection over several requests. So a scheme is a [`Mechanism`] (one for the process) that begins an [`Exchange`]
//! (one for a connection); the [`Session`] of a connection holds at most one exchange and never invents an identity.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use super::principal::Principal;

/// What a mechanism may know of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The peer's address; none on a unix socket.
    pub peer: Option<IpAddr>,
    /// Whether nobody on the way can read along (TLS).
    pub encrypted: bool,
}

/// What a step of an exchange came to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Proved. `token` is a last token for the client, already encoded for the header.
    Accepted {
        /// Who it is.
        principal: Arc<Principal>,
        /// The rest of the `WWW-Authenticate` value after the scheme, when the scheme ends with one.
        token: Option<String>,
    },
    /// The client must send more: the rest of the `WWW-Authenticate` value after the scheme.
    Continue(String),
    /// Not proved.
    Rejected,
    /// Too many proofs wait to be checked: try again later.
    Busy,
}

/// The result of a step: at hand, or later.
pub enum Step {
    /// At hand.
    Done(Outcome),
    /// Needs work elsewhere; dropping it gives the answer up.
    Wait(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

/// An authentication scheme of this server.
pub trait Mechanism: Send + Sync + 'static {
    /// The scheme's word in `Authorization`, compared without case.
    fn scheme(&self) -> &'static str;

    /// The value of its `WWW-Authenticate` line.
    fn challenge(&self) -> &'static str;

    /// Whether the client's secret itself goes over the wire, so that only an encrypted channel may carry it.
    fn sends_secret(&self) -> bool;

    /// Begin an exchange on a new connection.
    fn begin(self: Arc<Self>) -> Box<dyn Exchange>;
}

/// One connection's dealings with one mechanism.
pub trait Exchange: Send {
    /// Take the value of an `Authorization` header, with its scheme.
    fn step(&mut self, authorization: &[u8], channel: &Channel, now: Instant) -> Step;

    /// Who speaks in a request without an `Authorization` header, for schemes that prove the connection. A scheme that
    /// proves each request by itself leaves this at `None`.
    fn established(&self) -> Option<Arc<Principal>> {
        None
    }
}

/// The schemes that this server speaks, in the order in which it offers them.
#[derive(Clone, Default)]
pub struct Mechanisms {
    offered: Vec<Arc<dyn Mechanism>>,
    allow_unencrypted: bool,
}

impl Mechanisms {
    /// `allow_unencrypted` also lets schemes that send the secret itself run over clear text.
    pub fn new(offered: Vec<Arc<dyn Mechanism>>, allow_unencrypted: bool) -> Self {
        Self { offered, allow_unencrypted }
    }

    /// The `WWW-Authenticate` values to offer on `channel`, one a line. None means that nobody can log in there.
    pub fn challenges(&self, channel: &Channel) -> impl Iterator<Item = &'static str> {
        self.offered.iter().filter(|mechanism| self.permits(mechanism.as_ref(), channel)).map(|it| it.challenge())
    }

    fn permits(&self, mechanism: &dyn Mechanism, channel: &Channel) -> bool {
        channel.encrypted || self.allow_unencrypted || !mechanism.sends_secret()
    }

    fn find(&self, authorization: &[u8]) -> Option<(usize, &Arc<dyn Mechanism>)> {
        let scheme = authorization.split(|octet| *octet == b' ').next()?;
        self.offered
            .iter()
            .enumerate()
            .find(|(_, mechanism)| mechanism.scheme().as_bytes().eq_ignore_ascii_case(scheme))
    }
}

/// What [`Session::authenticate`] makes of a request.
pub enum Verdict {
    /// A mechanism is at work.
    Step(Step),
    /// No proof: offer the schemes.
    Unproved,
    /// The client sent a secret over clear text, or has no way to log in over clear text.
    ClearText,
}

/// The authentication state of one connection.
#[derive(Default)]
pub struct Session {
    active: Option<(usize, Box<dyn Exchange>)>,
}

impl Session {
    /// A connection on which nobody has proved anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judge one request by its `Authorization` header, if it has one. Without one, only a mechanism that proves whole
    /// connections can still vouch; whatever failed before leaves nothing behind.
    pub fn authenticate(
        &mut self,
        mechanisms: &Mechanisms,
        authorization: Option<&[u8]>,
        channel: &Channel,
        now: Instant,
    ) -> Verdict {
        let Some(authorization) = authorization else {
            let established = self.active.as_ref().and_then(|(_, exchange)| exchange.established());
            return match established {
                Some(principal) => Verdict::Step(Step::Done(Outcome::Accepted { principal, token: None })),
                None => refusal(mechanisms, channel),
            };
        };
        let Some((index, mechanism)) = mechanisms.find(authorization) else {
            self.active = None;
            return refusal(mechanisms, channel);
        };
        if !mechanisms.permits(mechanism.as_ref(), channel) {
            self.active = None;
            return Verdict::ClearText;
        }
        let same = self.active.take().filter(|(active, _)| *active == index);
        let (_, exchange) = self.active.insert(same.unwrap_or_else(|| (index, Arc::clone(mechanism).begin())));
        Verdict::Step(exchange.step(authorization, channel, now))
    }
}

fn refusal(mechanisms: &Mechanisms, channel: &Channel) -> Verdict {
    if mechanisms.challenges(channel).next().is_none() { Verdict::ClearText } else { Verdict::Unproved }
}

#[cfg(test)]
mod tests {
    use super::super::principal::Role;
    use super::*;

    /// Proves the connection by the word `yes`.
    struct Sticky;
    struct StickyExchange(Option<Arc<Principal>>);

    impl Mechanism for Sticky {
        fn scheme(&self) -> &'static str {
            "Sticky"
        }
        fn challenge(&self) -> &'static str {
            "Sticky"
        }
        fn sends_secret(&self) -> bool {
            false
        }
        fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
            Box::new(StickyExchange(None))
        }
    }

    impl Exchange for StickyExchange {
        fn step(&mut self, authorization: &[u8], _: &Channel, _: Instant) -> Step {
            self.0 = None;
            Step::Done(match authorization {
                b"Sticky yes" => {
                    let principal = Arc::new(Principal::for_tests("sam", Role::Viewer));
                    self.0 = Some(Arc::clone(&principal));
                    Outcome::Accepted { principal, token: None }
                }
                b"Sticky more" => Outcome::Continue("token".to_owned()),
                _ => Outcome::Rejected,
            })
        }
        fn established(&self) -> Option<Arc<Principal>> {
            self.0.clone()
        }
    }

    fn judge(session: &mut Session, authorization: Option<&[u8]>) -> &'static str {
        let mechanisms = Mechanisms::new(vec![Arc::new(Sticky)], false);
        let channel = Channel { peer: None, encrypted: false };
        match session.authenticate(&mechanisms, authorization, &channel, Instant::now()) {
            Verdict::Step(Step::Done(Outcome::Accepted { .. })) => "accepted",
            Verdict::Step(Step::Done(Outcome::Continue(_))) => "continue",
            Verdict::Step(Step::Done(Outcome::Rejected)) => "rejected",
            Verdict::Step(_) => "other",
            Verdict::Unproved => "unproved",
            Verdict::ClearText => "clear text",
        }
    }

    #[test]
    fn a_failed_or_foreign_header_ends_what_was_established() {
        let mut session = Session::new();
        assert_eq!(judge(&mut session, None), "unproved");
        assert_eq!(judge(&mut session, Some(b"sticky yes")), "rejected", "the token is the mechanism's to compare");
        assert_eq!(judge(&mut session, Some(b"Sticky yes")), "accepted");
        assert_eq!(judge(&mut session, None), "accepted");
        assert_eq!(judge(&mut session, Some(b"Sticky no")), "rejected");
        assert_eq!(judge(&mut session, None), "unproved");
        assert_eq!(judge(&mut session, Some(b"Sticky yes")), "accepted");
        assert_eq!(judge(&mut session, Some(b"Unknown yes")), "unproved");
        assert_eq!(judge(&mut session, None), "unproved");
        assert_eq!(judge(&mut session, Some(b"Sticky more")), "continue");
        assert_eq!(judge(&mut session, None), "unproved");
    }

    #[test]
    fn no_scheme_at_all_is_told_apart_from_no_proof() {
        let mut session = Session::new();
        let channel = Channel { peer: None, encrypted: true };
        let verdict = session.authenticate(&Mechanisms::default(), None, &channel, Instant::now());
        assert!(matches!(verdict, Verdict::ClearText));
    }
}
