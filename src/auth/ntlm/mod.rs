//! NTLMv2 from the server's side, without I/O, clock or randomness of its own.
//!
//! ```text
//! client                                  server
//!   | -- NEGOTIATE: what I can do -------> |   Challenged::begin
//!   | <-- CHALLENGE: a random number ----- |   Challenged::token
//!   | -- AUTHENTICATE: who, and proof ---> |   Challenged::authenticate: a Claim; nothing is proved yet
//!   |                                      |   Claim::prove, with the NT hash of whom it names: Established
//! ```
//! The proof is an HMAC, under a key made of the user's NT hash and name, of the server's number and of what the client
//! says itself: its own number, a time, and AV pairs. The pairs repeat the server's own, bind the proof to a TLS
//! channel when there is one, and say whether the AUTHENTICATE carries an integrity code, which covers all three
//! messages. Both sides make the session's keys from the proof.
//!
//! The one who asks chooses what is in a type 3, so nothing there may switch a check off: the proof is compared
//! whatever else is there, the integrity code is compared when the *proved* pairs announce it, and flags that decide
//! about keys must be those of the challenge.
//!
//! Deliberately absent: LM and NTLMv1, whose proofs can be turned into passwords; anonymous sessions; sessions without
//! extended session security or with keys below 128 bits; the datagram mode; pass-through to a domain.
//!
//! Sources: [MS-NLMP] throughout; its sections stand at what follows them.

mod context;
mod error;
mod flags;
mod message;
mod pairs;
mod proof;
mod rc4;
mod text;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};
use zeroize::Zeroizing;

pub use context::{NtlmContext, SIGNATURE_OCTETS};
pub use error::NtlmError;
pub use flags::Flags;
pub use message::{Authenticate, Challenge, MESSAGE_OCTETS_MAX, MIC_OCTETS, Negotiate, SIGNATURE, kind};
pub use pairs::{ClientChallenge, INTEGRITY, PairId, Pairs, encode as encode_pairs};
pub use proof::Side;

use pairs::CLIENT_CHALLENGE_HEADER_OCTETS;
use proof::{KEY_OCTETS, Key};
use rc4::Rc4;
use text::Charset;

use crate::auth::password::NtHash;

/// Flags whose change between challenge and type 3 would change text, keys or what is done with them.
const FIXED: Flags = Flags(
    Flags::UNICODE.0
        | Flags::SIGN.0
        | Flags::SEAL.0
        | Flags::EXTENDED_SESSION_SECURITY.0
        | Flags::KEY_128.0
        | Flags::KEY_EXCHANGE.0,
);
/// What a client gets when it asks for it.
const ON_REQUEST: Flags = Flags(FIXED.0 | Flags::OEM.0 | Flags::VERSION.0 | Flags::KEY_56.0);
/// What every client gets.
const ALWAYS: Flags = Flags(
    Flags::REQUEST_TARGET.0 | Flags::NTLM.0 | Flags::ALWAYS_SIGN.0 | Flags::TARGET_TYPE_SERVER.0 | Flags::TARGET_INFO.0,
);

/// Octets of the shortest NTLMv2 response: proof, client challenge, end of its pairs. NTLMv1 has 24.
const RESPONSE_OCTETS_MIN: usize = KEY_OCTETS + CLIENT_CHALLENGE_HEADER_OCTETS + 4;

/// The names by which a server introduces itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerNames {
    /// The NetBIOS name.
    pub nb_computer: String,
    /// The NetBIOS name of its domain; a server without one says its own.
    pub nb_domain: String,
    /// The name in DNS.
    pub dns_computer: String,
    /// The DNS name of its domain.
    pub dns_domain: String,
}

impl ServerNames {
    /// Characters of the longest NetBIOS name.
    const NET_BIOS_CHARS_MAX: usize = 15;

    /// The names of a server without a domain that is `host` in DNS. Characters that such names do not have are left
    /// out.
    pub fn of_host(host: &str) -> Self {
        let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
        let dns_computer: String = host.chars().filter(allowed).take(255).collect::<String>().to_ascii_lowercase();
        let (label, domain) = dns_computer.split_once('.').unwrap_or((&dns_computer, &dns_computer));
        let nb_computer: String = label.chars().take(Self::NET_BIOS_CHARS_MAX).collect();
        let nb_computer = nb_computer.to_ascii_uppercase();
        let dns_domain = domain.to_owned();
        Self { nb_domain: nb_computer.clone(), nb_computer, dns_computer, dns_domain }
    }
}

/// A time as NTLM has it, in 100 ns since 1601, from the time since 1970.
pub fn file_time(since_1970: Duration) -> u64 {
    const SECONDS_1601_TO_1970: u64 = 11_644_473_600;
    let ticks = u64::try_from(since_1970.as_nanos() / 100).unwrap_or(u64::MAX);
    ticks.saturating_add(SECONDS_1601_TO_1970 * 10_000_000)
}

/// A handshake after its challenge.
pub struct Challenged {
    negotiate: Vec<u8>,
    challenge: Vec<u8>,
    flags: Flags,
    charset: Charset,
    server_challenge: [u8; 8],
    target_info: Vec<u8>,
}

impl Challenged {
    /// Answer a type 1. `server_challenge` must be random and new for every call: it is what makes an old proof worth
    /// nothing. `file_time` is the time now ([`file_time`]).
    pub fn begin(
        negotiate: &[u8],
        names: &ServerNames,
        server_challenge: [u8; 8],
        file_time: u64,
    ) -> Result<Self, NtlmError> {
        let asked = Negotiate::parse(negotiate)?.flags;
        let charset = Charset::of(asked).ok_or(NtlmError::NoCharset)?;
        if !asked.contains(Flags::EXTENDED_SESSION_SECURITY) {
            return Err(NtlmError::NotExtended);
        }
        if asked & (Flags::SEAL | Flags::KEY_EXCHANGE) != Flags(0) && !asked.contains(Flags::KEY_128) {
            return Err(NtlmError::Weak);
        }
        let mut flags = (asked & ON_REQUEST) | ALWAYS;
        if charset == Charset::Unicode {
            // The two exclude each other in a challenge.
            flags = flags & Flags(!Flags::OEM.0);
        }
        let target_info = encode_pairs([
            (PairId::NB_DOMAIN, &*text::to_utf16le(&names.nb_domain)),
            (PairId::NB_COMPUTER, &*text::to_utf16le(&names.nb_computer)),
            (PairId::DNS_DOMAIN, &*text::to_utf16le(&names.dns_domain)),
            (PairId::DNS_COMPUTER, &*text::to_utf16le(&names.dns_computer)),
            (PairId::TIMESTAMP, &file_time.to_le_bytes()),
        ]);
        let target_name = charset.encode(&names.nb_computer);
        let challenge = Challenge { flags, server_challenge, target_name: &target_name, target_info: &target_info };
        let challenge = challenge.encode();
        Ok(Self { negotiate: negotiate.to_vec(), challenge, flags, charset, server_challenge, target_info })
    }

    /// The type 2 for the client.
    pub fn token(&self) -> &[u8] {
        &self.challenge
    }

    /// Take a type 3 and check all that can be checked without a key. What comes of it is who the client *says* it is.
    pub fn authenticate(self, authenticate: &[u8]) -> Result<Claim, NtlmError> {
        let message = Authenticate::parse(authenticate)?;
        if message.flags.contains(Flags::ANONYMOUS) {
            return Err(NtlmError::Anonymous);
        }
        if (message.flags & FIXED) != (self.flags & FIXED) {
            return Err(NtlmError::FlagsChanged);
        }
        if message.nt_response.is_empty() && message.user.is_empty() {
            return Err(NtlmError::Anonymous);
        }
        let user = self.charset.decode_user(message.user)?;
        let domain = text::to_utf16le(&self.charset.decode(message.domain).ok_or(NtlmError::Domain)?);
        if message.nt_response.len() < RESPONSE_OCTETS_MIN {
            return Err(NtlmError::NotV2);
        }
        let (proof, client_challenge) = message.nt_response.split_first_chunk().ok_or(NtlmError::NotV2)?;
        let pairs = ClientChallenge::parse(client_challenge)?.pairs;
        if !pairs.contain(Pairs::parse(&self.target_info)?) {
            return Err(NtlmError::OtherTarget);
        }
        // As the specification has it, the key goes over the wire only where there is a use for it.
        let keyed =
            message.flags.contains(Flags::KEY_EXCHANGE) && message.flags & (Flags::SIGN | Flags::SEAL) != Flags(0);
        let session_key = match message.session_key.try_into() {
            Ok(key) if keyed => Some(key),
            _ if keyed => return Err(NtlmError::SessionKey),
            _ => None,
        };
        Ok(Claim {
            user,
            domain,
            proof: *proof,
            client_challenge: client_challenge.to_vec(),
            session_key,
            mic: mic(pairs, message.mic)?,
            bindings: bindings(pairs)?,
            target_name: pairs.get(PairId::TARGET_NAME).and_then(text::from_utf16le).filter(|name| !name.is_empty()),
            authenticate: authenticate.to_vec(),
            challenged: self,
        })
    }
}

/// The integrity code, when the pairs announce one.
fn mic(pairs: Pairs<'_>, found: Option<[u8; MIC_OCTETS]>) -> Result<Option<[u8; MIC_OCTETS]>, NtlmError> {
    let Some(flags) = pairs.get(PairId::FLAGS) else { return Ok(None) };
    let flags = u32::from_le_bytes(flags.try_into().map_err(|_| NtlmError::Pairs)?);
    if flags & INTEGRITY == 0 {
        return Ok(None);
    }
    found.map(Some).ok_or(NtlmError::NoMic)
}

/// The hash of the client's channel bindings. Zeros are how a client says that it has none.
fn bindings(pairs: Pairs<'_>) -> Result<Option<[u8; KEY_OCTETS]>, NtlmError> {
    let Some(hash) = pairs.get(PairId::CHANNEL_BINDINGS) else { return Ok(None) };
    let hash: [u8; KEY_OCTETS] = hash.try_into().map_err(|_| NtlmError::Pairs)?;
    Ok((hash != [0; KEY_OCTETS]).then_some(hash))
}

/// Who a client says it is, with a proof that nobody has looked at.
pub struct Claim {
    challenged: Challenged,
    authenticate: Vec<u8>,
    user: String,
    /// UTF-16LE, whatever character set it came in.
    domain: Vec<u8>,
    proof: [u8; KEY_OCTETS],
    client_challenge: Vec<u8>,
    session_key: Option<[u8; KEY_OCTETS]>,
    mic: Option<[u8; MIC_OCTETS]>,
    bindings: Option<[u8; KEY_OCTETS]>,
    target_name: Option<String>,
}

impl Claim {
    /// The user's name as the client sent it, without its domain field. It may still have a domain in itself.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the messages of the handshake are protected by an integrity code.
    pub fn has_mic(&self) -> bool {
        self.mic.is_some()
    }

    /// Compare the proof with the one that the owner of `hash` would send, then the integrity code. `channel` is the
    /// application data of the channel's binding (RFC 5929), where there is one.
    pub fn prove(self, hash: &NtHash, channel: Option<&[u8]>) -> Result<Established, NtlmError> {
        let base_key = self.base_key(hash)?;
        let session_key = self.session_key.map_or(base_key.clone(), |encrypted| {
            let mut key = Zeroizing::new(encrypted);
            Rc4::new(&base_key).apply(&mut *key);
            key
        });
        if let Some(mic) = self.mic {
            let (before, after) = Authenticate::around_mic(&self.authenticate).ok_or(NtlmError::NoMic)?;
            let Challenged { negotiate, challenge, .. } = &self.challenged;
            let expected = proof::hmac_md5(&session_key, &[negotiate, challenge, before, &[0; MIC_OCTETS], after]);
            if !bool::from(expected.ct_eq(&mic)) {
                return Err(NtlmError::WrongMic);
            }
        }
        let flags = self.challenged.flags;
        Ok(Established {
            flags,
            mic: self.mic.is_some(),
            binding: self.binding(channel),
            context: Box::new(NtlmContext::new(&session_key, flags, Side::Acceptor)),
            user: self.user,
            target_name: self.target_name,
        })
    }

    /// The key that both sides make from a right proof. How long it takes depends on the name's letters alone.
    fn base_key(&self, hash: &NtHash) -> Result<Key, NtlmError> {
        let mut key = Key::default();
        let mut right = Choice::from(0);
        for upper in text::upper_spellings(&self.user) {
            let response_key = proof::response_key(hash, &text::to_utf16le(&upper), &self.domain);
            let expected = proof::proof(&response_key, self.challenged.server_challenge, &self.client_challenge);
            let equal = expected.ct_eq(&self.proof);
            let base_key = proof::base_key(&response_key, &expected);
            for (to, from) in key.iter_mut().zip(base_key.iter()) {
                to.conditional_assign(from, equal);
            }
            right |= equal;
        }
        if bool::from(right) { Ok(key) } else { Err(NtlmError::WrongProof) }
    }

    fn binding(&self, channel: Option<&[u8]>) -> Binding {
        let Some(hash) = self.bindings else { return Binding::Absent };
        let matches = channel.is_some_and(|data| proof::channel_bindings(data).ct_eq(&hash).into());
        if matches { Binding::Match } else { Binding::Mismatch }
    }
}

/// What the proof says of the channel that it came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binding {
    /// It names none.
    Absent,
    /// This one.
    Match,
    /// Another one, or one where there is none.
    Mismatch,
}

/// A proved session.
#[derive(Debug)]
pub struct Established {
    /// The user's name as the client sent it.
    pub user: String,
    /// What was agreed on.
    pub flags: Flags,
    /// Whether an integrity code protects the handshake.
    pub mic: bool,
    /// Whether the proof is bound to this channel.
    pub binding: Binding,
    /// The service that the client believes to speak to, such as `http/home.example`.
    pub target_name: Option<String>,
    /// The session's keys, which stay where they are.
    pub context: Box<NtlmContext>,
}

impl Established {
    /// The host in the target's name: `home.example` of `http/home.example:5985`. A name in brackets is an IPv6 address.
    pub fn target_host(&self) -> Option<&str> {
        let (_, rest) = self.target_name.as_deref()?.split_once('/')?;
        let host = rest.split('/').next()?;
        match host.strip_prefix('[') {
            Some(inner) => inner.split(']').next(),
            None => host.split(':').next(),
        }
    }
}

impl fmt::Debug for Challenged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Challenged").field("flags", &self.flags).finish_non_exhaustive()
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Claim").field("user", &self.user).finish_non_exhaustive()
    }
}
