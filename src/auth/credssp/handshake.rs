//! One CredSSP handshake from the server's side (MS-CSSP 3.1.5).
//!
//! ```text
//!   Tls --> Nego --> PublicKey --> Credentials --> accepted
//!            | ^ |                  ^
//!            '-' '------------------'   the last token and pubKeyAuth in one message
//! ```

use std::sync::Arc;
use std::time::Instant;

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::super::mechanism::{Accepted, Channel, Outcome, Proof, Refusal};
use super::super::principal::Principal;
use super::super::protection::{Protection, SealError, SecurityContext};
use super::ts_request::{NONCE_OCTETS, TsRequest};
use super::tunnel::{Identity, Tunnel, TunnelContext};
use super::{CredSsp, CredSspExchange, InnerExchange, InnerOutcome, LENIENT, ts_credentials};
use base64::Engine as _;

/// The version that is spoken.
const VERSION: u32 = 6;
/// The oldest version whose `pubKeyAuth` proves what it should.
const VERSION_MIN: u32 = 5;
/// The most tokens of a handshake: two for TLS, five for the longest inner handshake that there is, and some.
const STEPS_MAX: u32 = 16;

/// What `pubKeyAuth` of the client hashes before the nonce.
const CLIENT_MAGIC: &[u8] = b"CredSSP Client-To-Server Binding Hash\0";
/// What the server's hashes.
const SERVER_MAGIC: &[u8] = b"CredSSP Server-To-Client Binding Hash\0";

/// `STATUS_LOGON_FAILURE`.
const LOGON_FAILURE: u32 = 0xc000_006d;
/// `STATUS_REVISION_MISMATCH`.
const REVISION_MISMATCH: u32 = 0xc000_0059;

/// A handshake between two tokens.
pub(super) struct Handshake {
    tunnel: Tunnel,
    identity: Identity,
    stage: Stage,
    /// The client's version, once it has said it.
    version: Option<u32>,
    nonce: Option<[u8; NONCE_OCTETS]>,
    steps: u32,
}

/// What comes next.
enum Stage {
    /// A token of the inner handshake.
    Nego(Box<dyn InnerExchange>),
    /// The client's `pubKeyAuth`.
    PublicKey(Login),
    /// The client's credentials.
    Credentials(Login),
}

/// Who the inner handshake proved, and its keys.
struct Login {
    principal: Arc<Principal>,
    context: Box<dyn SecurityContext>,
}

/// How a message ends a handshake: the NTSTATUS for the client, and the refusal for the log.
struct Failure {
    status: u32,
    refusal: Refusal,
}

impl Failure {
    fn new(status: u32, why: &'static str) -> Self {
        Self { status, refusal: Refusal::nameless(why) }
    }
}

impl From<&'static str> for Failure {
    fn from(why: &'static str) -> Self {
        Self::new(LOGON_FAILURE, why)
    }
}

impl From<SealError> for Failure {
    fn from(error: SealError) -> Self {
        error.0.into()
    }
}

/// What comes of a message inside the TLS.
enum Progress {
    /// An answer, and the handshake goes on.
    Answer(TsRequest, Stage),
    /// Proved.
    Accepted(Arc<Principal>),
    Busy,
}

impl Handshake {
    pub(super) fn begin(mechanism: &CredSsp) -> Result<Self, rustls::Error> {
        let identity = (mechanism.identity)();
        let tunnel = Tunnel::new(&identity)?;
        let stage = Stage::Nego((mechanism.inner)());
        Ok(Self { tunnel, identity, stage, version: None, nonce: None, steps: 0 })
    }

    /// Take a token of the client's.
    pub(super) async fn step(
        mut self: Box<Self>,
        mechanism: Arc<CredSsp>,
        token: Vec<u8>,
        channel: Channel,
        now: Instant,
    ) -> Outcome {
        self.steps = self.steps.saturating_add(1);
        if self.steps > STEPS_MAX {
            return Outcome::Rejected(Refusal::nameless("the handshake takes too many tokens"));
        }
        let (mut this, message) = match self.open(&mechanism, token).await {
            Ok(opened) => opened,
            Err(outcome) => return outcome,
        };
        if message.is_empty() {
            // TLS has something to say of its own; perhaps nothing but that the client may go on.
            let token = LENIENT.encode(this.tunnel.answer());
            return Outcome::Continue {
                token,
                exchange: Box::new(CredSspExchange { mechanism, handshake: Some(this) }),
            };
        }
        let Ok(request) = TsRequest::parse(&message) else {
            return Outcome::Rejected(Refusal::nameless("the message inside CredSSP is no TSRequest"));
        };
        if let Err(failure) = this.note(&request) {
            return this.reject(failure);
        }
        let Self { mut tunnel, identity, stage, version, nonce, steps } = *this;
        match stage.take(request, nonce, &identity, channel, now).await {
            Ok(Progress::Answer(answer, stage)) => {
                let Ok(token) = token_of(&mut tunnel, &answer) else {
                    return Outcome::Rejected(Refusal::nameless("the answer inside CredSSP could not be sealed"));
                };
                let handshake = Some(Box::new(Self { tunnel, identity, stage, version, nonce, steps }));
                Outcome::Continue { token, exchange: Box::new(CredSspExchange { mechanism, handshake }) }
            }
            Ok(Progress::Accepted(principal)) => accept(&mechanism, &principal, tunnel, now),
            Ok(Progress::Busy) => Outcome::Busy,
            Err(failure) => reject(tunnel, version, failure),
        }
    }

    /// What the records of a token carried. The handshake of TLS costs the better part of a millisecond with a key of
    /// RSA, so it is computed on a thread that may block, a few at a time.
    async fn open(mut self: Box<Self>, mechanism: &CredSsp, token: Vec<u8>) -> Result<(Box<Self>, Vec<u8>), Outcome> {
        let mut message = Vec::new();
        let result = if self.tunnel.is_handshaking() {
            let permit = Arc::clone(&mechanism.computing).acquire_owned().await;
            let computed = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                let result = self.tunnel.take(&token, &mut message);
                (self, message, result)
            });
            let Ok((this, opened, result)) = computed.await else { return Err(Outcome::Busy) };
            (self, message) = (this, opened);
            result
        } else {
            let result = self.tunnel.take(&token, &mut message);
            if message.is_empty() && result.is_ok() {
                return Err(Outcome::Rejected(Refusal::nameless("the token carries no message")));
            }
            result
        };
        match result {
            Ok(()) => Ok((self, message)),
            Err(error) => {
                // An alert tells the client what is wrong.
                let alert = self.tunnel.answer();
                let refusal = Refusal::nameless(error.0);
                Err(Outcome::Rejected(if alert.is_empty() { refusal } else { refusal.with(LENIENT.encode(alert)) }))
            }
        }
    }

    /// Look at what every message has: the version, and perhaps the nonce.
    fn note(&mut self, request: &TsRequest) -> Result<(), Failure> {
        if self.version.is_some_and(|version| version != request.version) {
            return Err("the client changed its version of CredSSP".into());
        }
        self.version = Some(request.version);
        if request.version < VERSION_MIN {
            let why = "the client's CredSSP is older than version 5: it must be updated (CVE-2018-0886)";
            return Err(Failure::new(REVISION_MISMATCH, why));
        }
        if request.error_code.is_some() {
            return Err("the client gave up".into());
        }
        match (self.nonce, request.client_nonce) {
            (Some(before), Some(now)) if before != now => Err("the client changed its nonce".into()),
            (before, now) => {
                self.nonce = before.or(now);
                Ok(())
            }
        }
    }

    fn reject(self, failure: Failure) -> Outcome {
        reject(self.tunnel, self.version, failure)
    }
}

impl Stage {
    async fn take(
        self,
        request: TsRequest,
        nonce: Option<[u8; NONCE_OCTETS]>,
        identity: &Identity,
        channel: Channel,
        now: Instant,
    ) -> Result<Progress, Failure> {
        match self {
            Self::Nego(exchange) => {
                let TsRequest { nego_token: Some(token), auth_info: None, pub_key_auth, .. } = request else {
                    return Err("a token of the inner handshake must come next".into());
                };
                match exchange.step(token, channel, now).await {
                    InnerOutcome::Continue { token, exchange } if pub_key_auth.is_none() => {
                        let answer = TsRequest { version: VERSION, nego_token: Some(token), ..TsRequest::default() };
                        Ok(Progress::Answer(answer, Self::Nego(exchange)))
                    }
                    InnerOutcome::Continue { .. } => {
                        Err("pubKeyAuth came before the end of the inner handshake".into())
                    }
                    InnerOutcome::Done { context: None, .. } => Err("the inner handshake agreed on no keys".into()),
                    InnerOutcome::Done { token, principal, context: Some(context) } => {
                        let login = Login { principal, context };
                        if let Some(proof) = pub_key_auth {
                            return login.bind(token, &proof, nonce, identity);
                        }
                        // Clients look for a token until they send pubKeyAuth.
                        let token = Some(token.unwrap_or_default());
                        let answer = TsRequest { version: VERSION, nego_token: token, ..TsRequest::default() };
                        Ok(Progress::Answer(answer, Self::PublicKey(login)))
                    }
                    InnerOutcome::Rejected(refusal) => Err(Failure { status: LOGON_FAILURE, refusal }),
                    InnerOutcome::Busy => Ok(Progress::Busy),
                }
            }
            Self::PublicKey(login) => match request {
                TsRequest { nego_token: None, auth_info: None, pub_key_auth: Some(proof), .. } => {
                    login.bind(None, &proof, nonce, identity)
                }
                _ => Err("pubKeyAuth must come next".into()),
            },
            Self::Credentials(login) => match request {
                TsRequest { nego_token: None, pub_key_auth: None, auth_info: Some(sealed), .. } => {
                    login.forget(&sealed).map(Progress::Accepted)
                }
                _ => Err("credentials must come next".into()),
            },
        }
    }
}

impl Login {
    /// Check that the client sees our public key, and show it that we do.
    fn bind(
        mut self,
        token: Option<Vec<u8>>,
        proof: &[u8],
        nonce: Option<[u8; NONCE_OCTETS]>,
        identity: &Identity,
    ) -> Result<Progress, Failure> {
        let name = self.principal.name().to_owned();
        let named = |why| Failure { status: LOGON_FAILURE, refusal: Refusal::of(name.as_str(), why) };
        let nonce = nonce.ok_or_else(|| named("the client sent no nonce"))?;
        let mut hash = Vec::with_capacity(proof.len());
        self.context.unseal(None, proof, &mut hash).map_err(|error| named(error.0))?;
        if !bool::from(hash.ct_eq(&binding(CLIENT_MAGIC, &nonce, identity))) {
            return Err(named("the client was shown another public key: somebody sits in between"));
        }
        let mut sealed = Vec::new();
        let ours = binding(SERVER_MAGIC, &nonce, identity);
        self.context.seal(&ours, &mut sealed).map_err(|error| named(error.0))?;
        let answer =
            TsRequest { version: VERSION, nego_token: token, pub_key_auth: Some(sealed), ..TsRequest::default() };
        Ok(Progress::Answer(answer, Stage::Credentials(self)))
    }

    /// Open the credentials, look at their form, and wipe them.
    fn forget(mut self, sealed: &[u8]) -> Result<Arc<Principal>, Failure> {
        let named = |why| Failure { status: LOGON_FAILURE, refusal: Refusal::of(self.principal.name(), why) };
        // Room for all of it from the start: a buffer that grows leaves copies behind.
        let mut credentials = Zeroizing::new(Vec::with_capacity(sealed.len()));
        self.context.unseal(None, sealed, &mut credentials).map_err(|error| named(error.0))?;
        if !ts_credentials::well_formed(&credentials) {
            return Err(named("the delegated credentials have no form that is known"));
        }
        Ok(self.principal)
    }
}

/// What `pubKeyAuth` of one side says.
fn binding(magic: &[u8], nonce: &[u8; NONCE_OCTETS], identity: &Identity) -> [u8; 32] {
    Sha256::new().chain_update(magic).chain_update(nonce).chain_update(identity.public_key()).finalize().into()
}

/// The value after the scheme that carries a message.
fn token_of(tunnel: &mut Tunnel, message: &TsRequest) -> Result<String, SealError> {
    let octets = message.encode().map_err(|_| SealError("the answer is too long"))?;
    // What TLS has to say of its own goes first.
    let mut records = tunnel.answer();
    tunnel.put(&octets, &mut records)?;
    Ok(LENIENT.encode(records))
}

/// The login holds: under the name of this mechanism, if the user is still one.
fn accept(mechanism: &CredSsp, principal: &Arc<Principal>, tunnel: Tunnel, now: Instant) -> Outcome {
    let Some(principal) = mechanism.users.renew(principal, now) else {
        return Outcome::Rejected(Refusal::of(principal.name(), "the user was removed during the handshake"));
    };
    let (name, role, generation) = (principal.name().to_owned(), principal.role(), principal.generation());
    Outcome::Accepted(Accepted {
        principal: Arc::new(Principal::new(name, role, "credssp", generation, principal.account())),
        token: None,
        proof: Proof::Connection(Protection {
            context: Some(Box::new(TunnelContext(tunnel))),
            sealing: mechanism.sealing,
        }),
    })
}

/// Refuse, with the status in a last message for those who know it: versions 2 and 5 have no `errorCode`.
fn reject(mut tunnel: Tunnel, version: Option<u32>, Failure { status, refusal }: Failure) -> Outcome {
    let answer = TsRequest { version: VERSION, error_code: Some(status), ..TsRequest::default() };
    let told = matches!(version, Some(3 | 4 | 6..)).then(|| token_of(&mut tunnel, &answer).ok()).flatten();
    Outcome::Rejected(match told {
        Some(token) => refusal.with(token),
        None => refusal,
    })
}
