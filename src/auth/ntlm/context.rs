//! Sealing and signing with the keys of an NTLM session. //= MS-NLMP 3.4.2, 3.4.3, 3.4.4.2
//!
//! ```text
//! signature:  01 00 00 00 | checksum, 8 octets | sequence number, 4 octets
//! ```
//! The checksum is half an HMAC of sequence number and message. Where keys were exchanged it is encrypted, too, with
//! the same RC4 stream as the message and after it. Sequence numbers count the messages of a direction from 0, so a
//! message that comes again, or out of its turn, is refused before anything else.

use subtle::ConstantTimeEq as _;

use super::flags::Flags;
use super::proof::{DirectionKeys, Key, Side, direction_keys, hmac_md5};
use super::rc4::Rc4;
use crate::auth::protection::{SealError, SecurityContext};

/// Octets of a signature.
pub const SIGNATURE_OCTETS: usize = 16;
const CHECKSUM_OCTETS: usize = 8;
/// The one version that signatures have.
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// One direction of a session.
struct Direction {
    keys: DirectionKeys,
    /// In the middle of its stream.
    cipher: Rc4,
    /// Of the next message.
    sequence: u32,
    /// Whether the checksum is encrypted.
    key_exchange: bool,
}

impl Direction {
    fn new(session_key: &Key, side: Side, key_exchange: bool) -> Self {
        let keys = direction_keys(session_key, side);
        let cipher = Rc4::new(&keys.seal);
        Self { keys, cipher, sequence: 0, key_exchange }
    }

    /// The number of the next message; a session that has used all numbers is over.
    fn next(&mut self) -> Result<[u8; 4], SealError> {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).ok_or(SealError("the NTLM session has no sequence numbers left"))?;
        Ok(sequence.to_le_bytes())
    }

    fn checksum(&self, sequence: [u8; 4], message: &[u8]) -> [u8; CHECKSUM_OCTETS] {
        let [c0, c1, c2, c3, c4, c5, c6, c7, ..] = hmac_md5(&self.keys.sign, &[&sequence, message]);
        [c0, c1, c2, c3, c4, c5, c6, c7]
    }

    /// The signature of SPNEGO's mechListMIC, which takes a sequence number and leaves the cipher as it was: Windows
    /// puts its state back. Nothing was sealed before, so that state is the one of a fresh cipher.
    fn mic(&mut self, message: &[u8]) -> Result<[u8; SIGNATURE_OCTETS], SealError> {
        if self.sequence != 0 {
            return Err(SealError("a mechListMIC after the first message"));
        }
        let sequence = self.next()?;
        let mut checksum = self.checksum(sequence, message);
        if self.key_exchange {
            Rc4::new(&self.keys.seal).apply(&mut checksum);
        }
        Ok(signature(checksum, sequence))
    }
}

fn signature(checksum: [u8; CHECKSUM_OCTETS], sequence: [u8; 4]) -> [u8; SIGNATURE_OCTETS] {
    let mut octets = [0; SIGNATURE_OCTETS];
    let parts = VERSION.into_iter().chain(checksum).chain(sequence);
    octets.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    octets
}

/// An NTLM session after its handshake.
pub struct NtlmContext {
    incoming: Direction,
    outgoing: Direction,
    /// Whether sealing was agreed on.
    seals: bool,
    /// Set by the first error: the two sides no longer agree on where they are.
    broken: bool,
}

impl NtlmContext {
    /// The session of `side` under a session key.
    pub(super) fn new(session_key: &Key, flags: Flags, side: Side) -> Self {
        let key_exchange = flags.contains(Flags::KEY_EXCHANGE);
        let of = |side| Direction::new(session_key, side, key_exchange);
        let (incoming, outgoing) = match side {
            Side::Acceptor => (of(Side::Initiator), of(Side::Acceptor)),
            Side::Initiator => (of(Side::Acceptor), of(Side::Initiator)),
        };
        Self { incoming, outgoing, seals: flags.contains(Flags::SEAL), broken: false }
    }

    /// Whether messages can be sealed: the handshake agreed on it.
    pub fn seals(&self) -> bool {
        self.seals
    }

    /// Our mechListMIC over `message`; only before the first message.
    pub fn mic(&mut self, message: &[u8]) -> Result<Vec<u8>, SealError> {
        self.guarded(|this| Ok(this.outgoing.mic(message)?.to_vec()))
    }

    /// Check the peer's mechListMIC over `message`; only before the first message.
    pub fn verify_mic(&mut self, message: &[u8], mic: &[u8]) -> Result<(), SealError> {
        self.guarded(|this| {
            let expected = this.incoming.mic(message)?;
            if bool::from(expected.ct_eq(mic)) { Ok(()) } else { Err(SealError("the mechListMIC is not the peer's")) }
        })
    }

    /// Run one operation unless one has failed before, and remember when this one fails.
    fn guarded<T>(&mut self, operation: impl FnOnce(&mut Self) -> Result<T, SealError>) -> Result<T, SealError> {
        if self.broken {
            return Err(SealError("the session has ended with an earlier error"));
        }
        let result = operation(self);
        self.broken = result.is_err();
        result
    }

    fn sealing(&self) -> Result<(), SealError> {
        if self.seals { Ok(()) } else { Err(SealError("the NTLM handshake did not agree on sealing")) }
    }

    fn open(&mut self, signature_octets: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.sealing()?;
        if signature_octets.is_some_and(|octets| octets != SIGNATURE_OCTETS) {
            return Err(SealError("NTLM's signatures have 16 octets"));
        }
        let (received, ciphertext) =
            token.split_first_chunk::<SIGNATURE_OCTETS>().ok_or(SealError("a sealed message that is cut off"))?;
        let direction = &mut self.incoming;
        let sequence = direction.next()?;
        let [v0, v1, v2, v3, .., s0, s1, s2, s3] = *received;
        if [v0, v1, v2, v3] != VERSION {
            return Err(SealError("a signature of another version"));
        }
        if [s0, s1, s2, s3] != sequence {
            return Err(SealError("a sealed message out of its turn"));
        }
        let before = out.len();
        out.extend_from_slice(ciphertext);
        let message = out.get_mut(before..).unwrap_or_default();
        direction.cipher.apply(message);
        let mut checksum = direction.checksum(sequence, message);
        if direction.key_exchange {
            direction.cipher.apply(&mut checksum);
        }
        if !bool::from(signature(checksum, sequence).ct_eq(received)) {
            // What nobody vouches for is not handed on.
            out.truncate(before);
            return Err(SealError("a sealed message that was changed on its way"));
        }
        Ok(())
    }

    fn close(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        self.sealing()?;
        let direction = &mut self.outgoing;
        let sequence = direction.next()?;
        let mut checksum = direction.checksum(sequence, message);
        let before = out.len();
        out.reserve(SIGNATURE_OCTETS + message.len());
        out.extend_from_slice(&[0; SIGNATURE_OCTETS]);
        out.extend_from_slice(message);
        if let Some((place, ciphertext)) = out.get_mut(before..).and_then(|token| token.split_first_chunk_mut()) {
            direction.cipher.apply(ciphertext);
            if direction.key_exchange {
                direction.cipher.apply(&mut checksum);
            }
            *place = signature(checksum, sequence);
        }
        Ok(SIGNATURE_OCTETS)
    }
}

impl SecurityContext for NtlmContext {
    fn unseal(&mut self, signature_octets: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.guarded(|this| this.open(signature_octets, token, out))
    }

    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        self.guarded(|this| this.close(message, out))
    }
}

impl std::fmt::Debug for NtlmContext {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (incoming, outgoing) = (self.incoming.sequence, self.outgoing.sequence);
        out.debug_struct("NtlmContext")
            .field("incoming", &incoming)
            .field("outgoing", &outgoing)
            .finish_non_exhaustive()
    }
}
