//! The SPNEGO part of a handshake: which mechanism, and the MICs of the list that it was chosen from. //= RFC 4178 5
//!
//! A MIC is due from the client when the chosen mechanism was not its first choice, since then somebody may have taken
//! a better one off the list; and when its NTLM login has an integrity code, since such a client always sends one, and
//! without this rule whoever changes the list would just drop it. Where the client sends one, it gets ours.

use der::asn1::ObjectIdentifier;

use super::acceptor::{End, Family, Kind, Login, Proved, Scene, Stage, authenticate};
use crate::auth::mechanism::Refusal;
use crate::auth::ntlm::{self, Challenged};
use crate::auth::spnego::{KRB5, MS_KRB5, NTLMSSP, NegState, NegTokenInit, NegTokenResp};

/// What a handshake does next.
pub(super) enum Reply {
    /// It is done.
    Done(Login),
    /// It sends this and goes on.
    Continue(Vec<u8>, Stage),
}

/// A handshake after the client's offer.
pub(super) struct Negotiated {
    /// The client's list of mechanisms, as it was sent.
    list: Vec<u8>,
    mechanism: ObjectIdentifier,
    kind: Kind,
    /// Whether another mechanism stood first.
    mic_due: bool,
    progress: Inner,
}

/// How far the chosen mechanism is.
enum Inner {
    /// Its first token is due.
    Due,
    /// NTLM has challenged.
    Challenged(Challenged),
    /// It is done but for the client's MIC.
    Mic(Box<Proved>),
}

/// Which of our mechanisms an identifier names.
fn kind(mechanism: ObjectIdentifier) -> Option<Kind> {
    match mechanism {
        NTLMSSP => Some(Kind::Ntlm),
        KRB5 | MS_KRB5 => Some(Kind::Kerberos),
        _ => None,
    }
}

impl Negotiated {
    /// Take the client's offer.
    pub(super) async fn first(family: Family, offer: &[u8], scene: Scene<'_>) -> Result<Reply, End> {
        let offer = NegTokenInit::parse(offer).map_err(|_| End::nameless("a SPNEGO token that is damaged"))?;
        let available = |kind: &Kind| family.allows(*kind) && (*kind == Kind::Ntlm || scene.shared.kerberos.is_some());
        let mut choices = offer.mechanisms.iter().enumerate();
        let chosen = choices.find_map(|(index, it)| Some((index, *it, kind(*it).filter(available)?)));
        let Some((index, mechanism, kind)) = chosen else {
            return Err(End::nameless("none of the client's mechanisms is offered here"));
        };
        let mic_due = index != 0;
        let list = offer.mechanisms_der.to_vec();
        let this = Self { list, mechanism, kind, mic_due, progress: Inner::Due };
        match offer.token {
            // Made for the first mechanism on the list.
            Some(token) if !mic_due => this.mechanism_token(token, None, Some(mechanism), scene).await,
            _ => {
                let state = if mic_due { NegState::RequestMic } else { NegState::Incomplete };
                let answer = NegTokenResp { state: Some(state), mechanism: Some(mechanism), token: None, mic: None };
                Ok(Reply::Continue(answer.encode(), Stage::Negotiated(this)))
            }
        }
    }

    /// Take a later token.
    pub(super) async fn later(mut self, token: &[u8], scene: Scene<'_>) -> Result<Reply, End> {
        let NegTokenResp { state, mechanism, token, mic } =
            NegTokenResp::parse(token).map_err(|_| End::nameless("a token of another mechanism than was agreed on"))?;
        if state == Some(NegState::Rejected) || mechanism.is_some_and(|named| named != self.mechanism) {
            return Err(End::nameless("the client does not take the mechanism that was chosen"));
        }
        match (std::mem::replace(&mut self.progress, Inner::Due), token) {
            (Inner::Mic(proved), None | Some([])) => self.finish_mic(*proved, mic),
            (Inner::Mic(_), Some(_)) => Err(End::nameless("a token after the mechanism's last")),
            (_, None) => Err(End::nameless("a SPNEGO token without a mechanism's token")),
            (progress, Some(token)) => {
                self.progress = progress;
                self.mechanism_token(token, mic, None, scene).await
            }
        }
    }

    /// Take a token of the chosen mechanism. `named` goes into the answer: the mechanism, when this is the first one.
    async fn mechanism_token(
        mut self,
        token: &[u8],
        mic: Option<&[u8]>,
        named: Option<ObjectIdentifier>,
        scene: Scene<'_>,
    ) -> Result<Reply, End> {
        match (self.kind, std::mem::replace(&mut self.progress, Inner::Due)) {
            (Kind::Ntlm, Inner::Due) if ntlm::kind(token) == Some(1) => {
                let challenged = scene.challenge(token)?;
                let state = Some(NegState::Incomplete);
                let answer = NegTokenResp { state, mechanism: named, token: Some(challenged.token()), mic: None };
                let answer = answer.encode();
                self.progress = Inner::Challenged(challenged);
                Ok(Reply::Continue(answer, Stage::Negotiated(self)))
            }
            (Kind::Ntlm, Inner::Challenged(challenged)) => {
                let proved = authenticate(challenged, token, scene).await?;
                self.finish(proved, None, mic, named)
            }
            (Kind::Kerberos, Inner::Due) => {
                let (proved, token) = scene.kerberos(token).await?;
                self.finish(proved, token.as_deref(), mic, named)
            }
            _ => Err(End::nameless("a token of another mechanism than was agreed on")),
        }
    }

    /// The mechanism is done: exchange the MICs, if there are any to exchange.
    fn finish(
        mut self,
        mut proved: Proved,
        token: Option<&[u8]>,
        mic: Option<&[u8]>,
        named: Option<ObjectIdentifier>,
    ) -> Result<Reply, End> {
        let (state, ours) = match mic {
            Some(mic) => {
                self.verify(&mut proved, mic)?;
                (NegState::Completed, true)
            }
            // The client waits for the server's part before it sends its own.
            None if self.mic_due && token.is_some() => (NegState::Incomplete, true),
            None if self.mic_due || proved.mic => return Err(no_mic(&proved)),
            None => (NegState::Completed, false),
        };
        let ours = if ours { Some(self.sign(&mut proved)?) } else { None };
        let answer = NegTokenResp { state: Some(state), mechanism: named, token, mic: ours.as_deref() }.encode();
        if state == NegState::Completed {
            return Ok(Reply::Done(proved.into_login(Some(answer))));
        }
        self.progress = Inner::Mic(Box::new(proved));
        Ok(Reply::Continue(answer, Stage::Negotiated(self)))
    }

    /// Take the MIC that was all that was missing.
    fn finish_mic(self, mut proved: Proved, mic: Option<&[u8]>) -> Result<Reply, End> {
        let Some(mic) = mic else { return Err(no_mic(&proved)) };
        self.verify(&mut proved, mic)?;
        let answer = NegTokenResp { state: Some(NegState::Completed), ..NegTokenResp::default() };
        Ok(Reply::Done(proved.into_login(Some(answer.encode()))))
    }

    fn verify(&self, proved: &mut Proved, mic: &[u8]) -> Result<(), End> {
        proved.keys.verify_mic(&self.list, mic).map_err(|error| refused(proved, error.0))
    }

    fn sign(&self, proved: &mut Proved) -> Result<Vec<u8>, End> {
        proved.keys.mic(&self.list).map_err(|error| refused(proved, error.0))
    }
}

fn no_mic(proved: &Proved) -> End {
    refused(proved, "the mechListMIC is missing")
}

fn refused(proved: &Proved, why: &'static str) -> End {
    End::Rejected(Refusal::of(proved.principal.name(), why))
}
