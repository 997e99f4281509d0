//! What may run inside: whatever Negotiate takes.

use std::sync::Arc;
use std::time::Instant;

use super::super::mechanism::Channel;
use super::super::negotiate::{Acceptor, Demands, Family, Negotiator, Progress};
use super::super::protection::ChannelBinding;
use super::{BeginInner, InnerExchange, InnerFuture, InnerOutcome};

/// Begins handshakes with NTLM and Kerberos, raw or in SPNEGO.
pub fn negotiate(negotiator: Arc<Negotiator>) -> BeginInner {
    Arc::new(move || Box::new(Acceptor::new(Arc::clone(&negotiator), Family::Any)))
}

impl InnerExchange for Acceptor {
    fn step(self: Box<Self>, token: Vec<u8>, channel: Channel, now: Instant) -> InnerFuture {
        // `pubKeyAuth` binds to the TLS around it, not to that of HTTPS; and without keys there would be none.
        let demands = Demands { channel_binding: ChannelBinding::None, must_seal: true };
        Box::pin(async move {
            match Acceptor::step(*self, token, &channel, demands, now).await {
                Progress::Done(login) => InnerOutcome::Done {
                    token: login.token,
                    principal: login.principal,
                    context: login.protection.context,
                },
                Progress::Continue(token, exchange) => InnerOutcome::Continue { token, exchange: Box::new(exchange) },
                Progress::Rejected(refusal) | Progress::Unsealed(refusal, _) => InnerOutcome::Rejected(refusal),
                Progress::Busy => InnerOutcome::Busy,
            }
        })
    }
}
