//! Tokens in, tokens out, and at the end a login: NTLM and Kerberos, raw or in SPNEGO, without HTTP.
//!
//! ```text
//!           initial token            last token
//!   Start ----------------> Agreed ----------------> done
//!     ^  '-- Kerberos: done  |  '-- Kerberos, second choice: Mic --> done
//!     '----------------------'
//!         another initial token begins anew
//! ```
//! Which mechanism a handshake has, and whether in SPNEGO, is settled by its first token. A later token of anything
//! else ends it.

use std::sync::Arc;
use std::time::Instant;

use super::Clock;
use super::spnego::{Negotiated, Reply};
use crate::auth::kerberos::{Kerberos, KerberosContext, KerberosDone};
use crate::auth::mechanism::{Channel, Refusal};
use crate::auth::ntlm::{self, Binding, Challenged, Claim, Established, NtlmContext, NtlmError, ServerNames};
use crate::auth::principal::Principal;
use crate::auth::protection::{ChannelBinding, Protection, SealError, Sealing, SecurityContext};
use crate::auth::spnego::{InitialToken, KRB5, MS_KRB5, SPNEGO};
use crate::auth::throttle::{Throttle, Turn};
use crate::auth::users::{Users, bare_name};

/// How often one handshake may begin anew.
const RESTARTS_MAX: u8 = 4;

/// What all handshakes of the process share.
pub struct Negotiator {
    /// Who may log in.
    pub users: Arc<Users>,
    /// Slows guesses down.
    pub throttle: Arc<Throttle>,
    /// Kerberos, where it is set up.
    pub kerberos: Option<Kerberos>,
    /// How this server introduces itself in NTLM.
    pub names: ServerNames,
    /// Refuse NTLM logins without an integrity code.
    pub require_mic: bool,
    /// For NTLM's challenges.
    pub clock: Clock,
}

/// The mechanisms that a handshake may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// All that are there, raw or in SPNEGO.
    Any,
    /// Raw NTLM.
    Ntlm,
    /// Kerberos, raw or in SPNEGO.
    Kerberos,
}

/// What the surroundings of a handshake ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// What a login must show of its channel.
    pub channel_binding: ChannelBinding,
    /// Whether a login without keys to seal with is worth nothing.
    pub must_seal: bool,
}

/// A login.
pub struct Login {
    /// Who it is.
    pub principal: Arc<Principal>,
    /// The last token for the client, if there is one.
    pub token: Option<Vec<u8>>,
    /// The keys, and whether they must be used.
    pub protection: Protection,
}

/// What a token came to.
pub enum Progress {
    /// A login.
    Done(Login),
    /// A token for the client, and the handshake as it stands now.
    Continue(Vec<u8>, Acceptor),
    /// No login.
    Rejected(Refusal),
    /// Proved, but without the keys that such a login needs: the text tells the client's user what to do.
    Unsealed(Refusal, &'static str),
    /// Too many logins of this user wait: try again later.
    Busy,
}

/// Why a handshake ends without a login; becomes a [`Progress`].
pub(super) enum End {
    Rejected(Refusal),
    Unsealed(Refusal, &'static str),
    Busy,
}

impl End {
    pub(super) fn nameless(why: &'static str) -> Self {
        Self::Rejected(Refusal::nameless(why))
    }

    fn of(user: &str, why: &'static str) -> Self {
        Self::Rejected(Refusal::of(user, why))
    }
}

impl From<NtlmError> for End {
    fn from(error: NtlmError) -> Self {
        Self::nameless(error.why())
    }
}

impl From<End> for Progress {
    fn from(end: End) -> Self {
        match end {
            End::Rejected(refusal) => Self::Rejected(refusal),
            End::Unsealed(refusal, text) => Self::Unsealed(refusal, text),
            End::Busy => Self::Busy,
        }
    }
}

/// One handshake.
pub struct Acceptor {
    pub(super) shared: Arc<Negotiator>,
    pub(super) family: Family,
    stage: Stage,
    restarts: u8,
}

/// How far a handshake is, and in which wrapping.
pub(super) enum Stage {
    /// Nothing has come yet.
    Start,
    /// Raw NTLM after its challenge.
    Raw(Challenged),
    /// SPNEGO.
    Negotiated(Negotiated),
}

/// The mechanism of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Ntlm,
    Kerberos,
}

/// The keys of a login.
pub(super) enum Keys {
    Ntlm(Box<NtlmContext>),
    Kerberos(KerberosContext),
}

impl Keys {
    pub(super) fn mic(&mut self, message: &[u8]) -> Result<Vec<u8>, SealError> {
        match self {
            Self::Ntlm(context) => context.mic(message),
            Self::Kerberos(context) => context.mic(message),
        }
    }

    pub(super) fn verify_mic(&mut self, message: &[u8], mic: &[u8]) -> Result<(), SealError> {
        match self {
            Self::Ntlm(context) => context.verify_mic(message, mic),
            Self::Kerberos(context) => context.verify_mic(message, mic),
        }
    }
}

/// Somebody proved, and judged by the demands.
pub(super) struct Proved {
    pub(super) principal: Arc<Principal>,
    pub(super) keys: Keys,
    can_seal: bool,
    sealing: Sealing,
    /// Whether NTLM's integrity code protects the handshake.
    pub(super) mic: bool,
}

impl Proved {
    pub(super) fn into_login(self, token: Option<Vec<u8>>) -> Login {
        let context: Box<dyn SecurityContext> = match self.keys {
            Keys::Ntlm(context) => context,
            Keys::Kerberos(context) => Box::new(context),
        };
        let context = Some(context).filter(|_| self.can_seal);
        Login { principal: self.principal, token, protection: Protection { context, sealing: self.sealing } }
    }
}

/// What a handshake may know while it takes one token.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) shared: &'a Arc<Negotiator>,
    pub(super) channel: &'a Channel,
    pub(super) demands: Demands,
    pub(super) now: Instant,
}

impl Acceptor {
    /// A handshake that has seen nothing yet.
    pub fn new(shared: Arc<Negotiator>, family: Family) -> Self {
        Self { shared, family, stage: Stage::Start, restarts: 0 }
    }

    /// Take a token of the client's.
    pub async fn step(mut self, token: Vec<u8>, channel: &Channel, demands: Demands, now: Instant) -> Progress {
        let stage = std::mem::replace(&mut self.stage, Stage::Start);
        let initial = ntlm::kind(&token) == Some(1) || token.first() == Some(&InitialToken::FIRST_OCTET);
        let stage = match stage {
            Stage::Start => Stage::Start,
            _ if initial && self.restarts == RESTARTS_MAX => return End::nameless("too many first tokens").into(),
            _ if initial => {
                self.restarts += 1;
                Stage::Start
            }
            stage => stage,
        };
        let shared = Arc::clone(&self.shared);
        let scene = Scene { shared: &shared, channel, demands, now };
        let result = match stage {
            Stage::Start => first(self.family, &token, scene).await,
            Stage::Raw(challenged) => {
                authenticate(challenged, &token, scene).await.map(|it| Reply::Done(it.into_login(None)))
            }
            Stage::Negotiated(negotiated) => negotiated.later(&token, scene).await,
        };
        match result {
            // The last token may come long after the one that proved it.
            Ok(Reply::Done(login)) => match shared.users.renew(&login.principal, now) {
                Some(principal) => Progress::Done(Login { principal, ..login }),
                None => End::of(login.principal.name(), "the user was removed during the handshake").into(),
            },
            Ok(Reply::Continue(token, stage)) => Progress::Continue(token, Self { stage, ..self }),
            Err(end) => end.into(),
        }
    }
}

/// Take the first token, whose wrapping decides about that of the answers.
async fn first(family: Family, token: &[u8], scene: Scene<'_>) -> Result<Reply, End> {
    let allowed = |kind| {
        let other = End::nameless("a token of another mechanism than the scheme's");
        if family.allows(kind) { Ok(()) } else { Err(other) }
    };
    if ntlm::kind(token).is_some() {
        allowed(Kind::Ntlm)?;
        let challenged = scene.challenge(token)?;
        return Ok(Reply::Continue(challenged.token().to_vec(), Stage::Raw(challenged)));
    }
    let initial = InitialToken::parse(token).map_err(|_| End::nameless("a token of no mechanism that is known"))?;
    match initial.mechanism {
        SPNEGO if family != Family::Ntlm => Negotiated::first(family, initial.inner, scene).await,
        KRB5 | MS_KRB5 => {
            allowed(Kind::Kerberos)?;
            let (proved, token) = scene.kerberos(token).await?;
            Ok(Reply::Done(proved.into_login(token)))
        }
        _ => Err(End::nameless("a token of a mechanism that is not offered")),
    }
}

impl Family {
    pub(super) fn allows(self, kind: Kind) -> bool {
        match self {
            Self::Any => true,
            Self::Ntlm => kind == Kind::Ntlm,
            Self::Kerberos => kind == Kind::Kerberos,
        }
    }
}

impl Scene<'_> {
    /// Answer NTLM's first message.
    pub(super) fn challenge(self, negotiate: &[u8]) -> Result<Challenged, End> {
        let mut server_challenge = [0; 8];
        getrandom::fill(&mut server_challenge).map_err(|_| End::nameless("the system gave no random octets"))?;
        let time = ntlm::file_time((self.shared.clock)());
        Ok(Challenged::begin(negotiate, &self.shared.names, server_challenge, time)?)
    }

    /// Have Kerberos judge a token, on a thread that may block; also gives its answer to the client.
    pub(super) async fn kerberos(self, token: &[u8]) -> Result<(Proved, Option<Vec<u8>>), End> {
        let Some(kerberos) = &self.shared.kerberos else { return Err(End::nameless("Kerberos is not set up")) };
        let binding = self.channel.binding.as_deref().filter(|_| self.demands.channel_binding != ChannelBinding::None);
        let (exchange, token) = (kerberos.begin(binding), token.to_vec());
        let done = tokio::task::spawn_blocking(move || exchange.step(&token)).await;
        let KerberosDone { token, user, client, channel_bound, confidential, context, .. } = match done {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => {
                let user = error.client().map(str::to_owned);
                return Err(End::Rejected(Refusal { user, why: error.why(), token: None }));
            }
            // The thread died.
            Err(_) => return Err(End::Busy),
        };
        self.shared.users.refresh();
        let principal = self.shared.users.proved(&user, "kerberos", self.now);
        let principal = principal.ok_or_else(|| End::of(&client, "the principal is no user here"))?;
        let binding = if channel_bound { Binding::Match } else { Binding::Absent };
        let judged = Judged { user: &client, kind: Kind::Kerberos, binding, can_seal: confidential };
        let sealing = judged.by(self)?;
        let keys = Keys::Kerberos(context);
        Ok((Proved { principal, keys, can_seal: confidential, sealing, mic: false }, token))
    }
}

/// Take NTLM's last message.
pub(super) async fn authenticate(challenged: Challenged, token: &[u8], scene: Scene<'_>) -> Result<Proved, End> {
    let claim = challenged.authenticate(token)?;
    let user = claim.user().to_owned();
    if scene.shared.require_mic && !claim.has_mic() {
        return Err(End::of(&user, NtlmError::NoMic.why()));
    }
    // Here the user and the address are known, and the proof was not looked at: who guesses waits here.
    let (wait, attempt) = match scene.shared.throttle.turn(scene.channel.peer, bare_name(&user), scene.now) {
        Turn::Now(attempt) => (None, attempt),
        Turn::After(wait, attempt) => (Some(wait), attempt),
        Turn::Never => return Err(End::Busy),
    };
    if let Some(wait) = wait {
        tokio::time::sleep(wait).await;
    }
    match prove(claim, &user, scene) {
        Ok((principal, session)) => {
            attempt.succeeded();
            let can_seal = session.context.seals();
            let sealing = Judged { user: &user, kind: Kind::Ntlm, binding: session.binding, can_seal }.by(scene)?;
            let keys = Keys::Ntlm(session.context);
            Ok(Proved { principal, keys, can_seal, sealing, mic: session.mic })
        }
        Err(error) => {
            // Whoever knows the password has guessed nothing, whatever else was wrong.
            if error == NtlmError::WrongProof {
                attempt.failed(Instant::now());
            }
            Err(End::of(&user, error.why()))
        }
    }
}

/// Check a claim. Nobody's proof is computed as a user's is, and is wrong whatever it says.
fn prove(claim: Claim, user: &str, scene: Scene<'_>) -> Result<(Arc<Principal>, Established), NtlmError> {
    // A login can afford a look at the file: a user who was just added can log in.
    scene.shared.users.refresh();
    let candidate = scene.shared.users.ntlm_candidate(user, scene.now);
    let session = claim.prove(&candidate.hash, scene.channel.binding.as_deref())?;
    let principal = candidate.proved("ntlm").ok_or(NtlmError::WrongProof)?;
    Ok((principal, session))
}

/// A proof, as far as the demands look at it.
struct Judged<'a> {
    user: &'a str,
    kind: Kind,
    binding: Binding,
    can_seal: bool,
}

impl Judged<'_> {
    /// Whether the login must seal its messages, or why it is worth nothing.
    fn by(&self, scene: Scene<'_>) -> Result<Sealing, End> {
        let encrypted = scene.channel.encrypted;
        let sealing = match (scene.demands.channel_binding, self.binding) {
            (ChannelBinding::None, _) | (_, Binding::Match) => Sealing::Optional,
            // Also where there is no TLS: the client sees some, so somebody stands between.
            (_, Binding::Mismatch) => return Err(End::of(self.user, "the login was made for another TLS connection")),
            (ChannelBinding::Strict, Binding::Absent) if encrypted => {
                return Err(End::of(self.user, "the login is not bound to its TLS connection"));
            }
            // Whoever passes an NTLM login on from elsewhere does not have its keys. A Kerberos ticket is made for this
            // server: whoever a client is lured to elsewhere has no use for it. (Who sits on the way to this very
            // server, or has its clients take another's certificate, does: against them there is Strict.)
            (ChannelBinding::Sealed, Binding::Absent) if encrypted && self.kind == Kind::Ntlm => Sealing::Required,
            (_, Binding::Absent) => Sealing::Optional,
        };
        let text = if scene.demands.must_seal {
            CLEAR
        } else if sealing == Sealing::Required {
            UNBOUND
        } else {
            return Ok(sealing);
        };
        if self.can_seal {
            return Ok(sealing);
        }
        Err(End::Unsealed(Refusal::of(self.user, "the client can neither seal its messages nor bind its login"), text))
    }
}

/// For a client on clear text that cannot seal.
const CLEAR: &str = "This listener is not encrypted, and your client logged in without message encryption. Use the \
                     HTTPS listener, or a client that encrypts its messages, or start the server with \
                     --allow-unencrypted (allow_unencrypted = true) to take them in clear.";
/// For a client on TLS that can neither seal nor bind.
const UNBOUND: &str = "Your client logged in by NTLM without binding the login to this TLS connection and without \
                       message encryption, so that somebody between could have passed the login on. Use a client \
                       that does one of the two, or set channel_binding = \"relaxed\" in the server's configuration, \
                       table [login].";
