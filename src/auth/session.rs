//! The schemes that a server speaks, and the authentication state that one connection keeps.
//!
//! ```text
//!             header: begin              Continue
//!   Nobody ------------------> (step) ------------> Handshake
//!     ^  ^                     |    ^                   |
//!     |  '---------------------'    '-------------------' header of the same scheme: step
//!     |    Rejected, Busy, dropped
//!     |                        | Accepted for the connection
//!     |   header, failure      v
//!     '------------------ Established
//! ```
//! Whatever is not drawn leads to Nobody. While a step is under way the state is Nobody: a step that is given up leaves
//! nothing behind.

use std::sync::Arc;
use std::time::Instant;

use super::mechanism::{Accepted, Channel, Exchange, Mechanism, Outcome, Proof, Refusal, Step};
use super::principal::Principal;
use super::protection::Protection;
use super::users::Users;

/// The schemes that this server speaks, in the order in which it offers them.
#[derive(Clone)]
pub struct Mechanisms {
    offered: Vec<Arc<dyn Mechanism>>,
    users: Arc<Users>,
    allow_unencrypted: bool,
    handshakes_max: u32,
}

impl Mechanisms {
    /// `users` are asked whether whoever logged in earlier is still one of them. `allow_unencrypted` also lets schemes
    /// that send the secret itself run over clear text. `handshakes_max` bounds the handshakes of a connection that end
    /// without a login.
    pub fn new(
        offered: Vec<Arc<dyn Mechanism>>,
        users: Arc<Users>,
        allow_unencrypted: bool,
        handshakes_max: u32,
    ) -> Self {
        Self { offered, users, allow_unencrypted, handshakes_max }
    }

    /// Schemes without users, four handshakes a connection.
    #[cfg(test)]
    pub(crate) fn for_tests(offered: Vec<Arc<dyn Mechanism>>) -> Self {
        let file = super::users::UserFile::in_directory(std::path::Path::new("/nonexistent"));
        let users = Users::open(file, std::time::Duration::from_mins(1), [0; 16], Instant::now());
        Self::new(offered, Arc::new(users.expect("no file is no error")), false, 4)
    }

    /// The `WWW-Authenticate` values to offer on `channel`, one a line. None means that nobody can log in there.
    pub fn challenges(&self, channel: &Channel) -> impl Iterator<Item = &'static str> {
        self.offered.iter().filter(|it| self.permits(it.as_ref(), channel)).filter_map(|it| it.challenge())
    }

    /// Whether messages in clear are taken on a channel that is not encrypted.
    pub fn allow_unencrypted(&self) -> bool {
        self.allow_unencrypted
    }

    fn permits(&self, mechanism: &dyn Mechanism, channel: &Channel) -> bool {
        channel.encrypted || self.allow_unencrypted || !mechanism.sends_secret()
    }

    /// The word of the scheme that an `Authorization` header is for, when it is one of these.
    pub fn scheme(&self, authorization: &[u8]) -> Option<&'static str> {
        self.find(authorization).map(|(_, mechanism)| mechanism.scheme())
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
    /// The connection's login vouches for the request.
    Established(Arc<Principal>),
    /// A mechanism is at work; its outcome goes to [`Session::settle`].
    Step(UnderWay, Step),
    /// No proof: offer the schemes.
    Unproved,
    /// The client sent a secret over clear text, or has no way to log in over clear text.
    ClearText,
    /// Too many handshakes without a login: the connection is to be closed.
    TooMany,
}

/// A step under way: the mechanism that makes it.
#[derive(Clone, Copy, Debug)]
pub struct UnderWay(usize);

/// What came of a step, for the transport to send.
pub enum Settled {
    /// This is who asks; a last token for the client may be left to send.
    Accepted(Arc<Principal>, Option<String>),
    /// The client must send more: the rest of the `WWW-Authenticate` value after the scheme.
    Continue(String),
    /// Not let in.
    Rejected(Refusal),
    /// Not let in for want of sealing: the text tells what to do.
    Unsealed(Refusal, &'static str),
    /// Try again later.
    Busy,
}

/// The authentication state of one connection.
#[derive(Default)]
pub struct Session {
    state: State,
    /// Handshakes begun since the last login.
    handshakes: u32,
}

#[derive(Default)]
enum State {
    #[default]
    Nobody,
    Handshake(usize, Box<dyn Exchange>),
    Established(Established),
}

struct Established {
    principal: Arc<Principal>,
    protection: Protection,
}

impl Session {
    /// A connection on which nobody has proved anything.
    pub fn new() -> Self {
        Self::default()
    }

    /// Judge one request by its `Authorization` header, if it has one. Without one, only a login that covers the whole
    /// connection can still vouch; whatever failed before leaves nothing behind.
    pub fn authenticate(
        &mut self,
        mechanisms: &Mechanisms,
        authorization: Option<&[u8]>,
        channel: &Channel,
        now: Instant,
    ) -> Verdict {
        let state = std::mem::take(&mut self.state);
        let Some(authorization) = authorization else {
            let State::Established(mut established) = state else { return refusal(mechanisms, channel) };
            // The user may have been removed since, or given another role.
            let Some(principal) = mechanisms.users.renew(&established.principal, now) else {
                return refusal(mechanisms, channel);
            };
            established.principal = Arc::clone(&principal);
            self.state = State::Established(established);
            return Verdict::Established(principal);
        };
        let Some((index, mechanism)) = mechanisms.find(authorization) else { return refusal(mechanisms, channel) };
        if !mechanisms.permits(mechanism.as_ref(), channel) {
            return Verdict::ClearText;
        }
        let exchange = match state {
            State::Handshake(active, exchange) if active == index => exchange,
            _ => {
                if self.handshakes >= mechanisms.handshakes_max {
                    return Verdict::TooMany;
                }
                self.handshakes += 1;
                Arc::clone(mechanism).begin()
            }
        };
        Verdict::Step(UnderWay(index), exchange.step(authorization, channel, now))
    }

    /// Take the outcome of the step that [`Session::authenticate`] began.
    pub fn settle(&mut self, UnderWay(index): UnderWay, outcome: Outcome) -> Settled {
        match outcome {
            Outcome::Accepted(Accepted { principal, token, proof }) => {
                self.handshakes = 0;
                if let Proof::Connection(protection) = proof {
                    let principal = Arc::clone(&principal);
                    self.state = State::Established(Established { principal, protection });
                }
                Settled::Accepted(principal, token)
            }
            Outcome::Continue { token, exchange } => {
                self.state = State::Handshake(index, exchange);
                Settled::Continue(token)
            }
            Outcome::Rejected(refusal) => Settled::Rejected(refusal),
            Outcome::Unsealed(refusal, text) => Settled::Unsealed(refusal, text),
            Outcome::Busy => Settled::Busy,
        }
    }

    /// What protects the messages of the login that covers this connection; none when no login does.
    pub fn protection(&mut self) -> Option<&mut Protection> {
        match &mut self.state {
            State::Established(established) => Some(&mut established.protection),
            _ => None,
        }
    }

    /// End the login of this connection, if there is one: a message was not what its keys say.
    pub fn end(&mut self) {
        self.state = State::Nobody;
    }
}

fn refusal(mechanisms: &Mechanisms, channel: &Channel) -> Verdict {
    // Where nothing is offered over TLS, certificates are what there is: nothing else would help there either.
    let nothing = mechanisms.challenges(channel).next().is_none();
    if nothing && !channel.encrypted { Verdict::ClearText } else { Verdict::Unproved }
}

#[cfg(test)]
mod tests {
    use super::super::principal::Role;
    use super::super::protection::Sealing;
    use super::*;

    /// Proves the connection by the word `yes`.
    struct Sticky;
    struct StickyExchange;

    impl Mechanism for Sticky {
        fn scheme(&self) -> &'static str {
            "Sticky"
        }
        fn challenge(&self) -> Option<&'static str> {
            Some("Sticky")
        }
        fn sends_secret(&self) -> bool {
            false
        }
        fn begin(self: Arc<Self>) -> Box<dyn Exchange> {
            Box::new(StickyExchange)
        }
    }

    impl Exchange for StickyExchange {
        fn step(self: Box<Self>, authorization: &[u8], _: &Channel, _: Instant) -> Step {
            Step::Done(match authorization {
                b"Sticky yes" => Outcome::Accepted(Accepted {
                    principal: Arc::new(Principal::for_tests("sam", Role::Viewer)),
                    token: None,
                    proof: Proof::Connection(Protection { context: None, sealing: Sealing::Optional }),
                }),
                b"Sticky more" => Outcome::Continue { token: "token".to_owned(), exchange: self },
                _ => Outcome::Rejected(Refusal::nameless("no")),
            })
        }
    }

    fn judge(session: &mut Session, authorization: Option<&[u8]>) -> &'static str {
        let mechanisms = Mechanisms::for_tests(vec![Arc::new(Sticky)]);
        match session.authenticate(&mechanisms, authorization, &Channel::default(), Instant::now()) {
            Verdict::Established(_) => "established",
            Verdict::Step(under_way, Step::Done(outcome)) => match session.settle(under_way, outcome) {
                Settled::Accepted(..) => "accepted",
                Settled::Continue(_) => "continue",
                Settled::Rejected(_) => "rejected",
                _ => "other",
            },
            Verdict::Step(_, Step::Wait(_)) => "wait",
            Verdict::Unproved => "unproved",
            Verdict::ClearText => "clear text",
            Verdict::TooMany => "too many",
        }
    }

    #[test]
    fn a_failed_or_foreign_header_ends_what_was_established() {
        let mut session = Session::new();
        assert_eq!(judge(&mut session, None), "unproved");
        assert_eq!(judge(&mut session, Some(b"sticky yes")), "rejected", "the token is the mechanism's to compare");
        assert_eq!(judge(&mut session, Some(b"Sticky yes")), "accepted");
        assert_eq!(judge(&mut session, None), "established");
        assert_eq!(judge(&mut session, Some(b"Sticky no")), "rejected");
        assert_eq!(judge(&mut session, None), "unproved");
        assert_eq!(judge(&mut session, Some(b"Sticky yes")), "accepted");
        assert_eq!(judge(&mut session, Some(b"Unknown yes")), "unproved");
        assert_eq!(judge(&mut session, None), "unproved");
        assert_eq!(judge(&mut session, Some(b"Sticky more")), "continue");
        assert_eq!(judge(&mut session, None), "unproved");
    }

    #[test]
    fn a_connection_that_never_gets_in_is_given_up() {
        let mut session = Session::new();
        for _ in 0..3 {
            assert_eq!(judge(&mut session, Some(b"Sticky no")), "rejected");
        }
        assert_eq!(judge(&mut session, Some(b"Sticky yes")), "accepted", "the fourth may still get in");
        for _ in 0..4 {
            assert_eq!(judge(&mut session, Some(b"Sticky no")), "rejected");
        }
        assert_eq!(judge(&mut session, Some(b"Sticky yes")), "too many");
    }

    #[test]
    fn no_scheme_at_all_is_told_apart_from_no_proof() {
        let verdict = |encrypted| {
            let channel = Channel { encrypted, ..Channel::default() };
            Session::new().authenticate(&Mechanisms::for_tests(Vec::new()), None, &channel, Instant::now())
        };
        assert!(matches!(verdict(false), Verdict::ClearText));
        assert!(matches!(verdict(true), Verdict::Unproved), "more encryption would not help");
    }
}
