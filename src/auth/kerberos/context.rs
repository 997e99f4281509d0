//! What a Kerberos login leaves behind: sealing and signing of the connection's messages.

use super::error::Status;
use super::gss::Context;
use crate::auth::protection::{SealError, SecurityContext};

/// The part of a token that every one has (RFC 4121, 4.2.6), with the number in its second half.
const FIXED_OCTETS: usize = 16;
/// The first octets of a sealed message, and of a signature.
const SEALED: &[u8] = &[5, 4];
const SIGNED: &[u8] = &[4, 4];

/// The keys of a Kerberos login, with the sequence numbers of both directions.
///
/// A sealed message is a token of RFC 4121: 60 octets of signature with AES, then the ciphertext, as long as the
/// message. Tokens of before (RFC 1964, for RC4 and DES) are not taken: they pad each message by an octet that WinRM
/// has no place for. Sealing 500 KB takes milliseconds, so long messages belong on a blocking thread.
pub struct KerberosContext {
    context: Context,
    /// Octets of a signature; none when messages cannot be sealed.
    signature_octets: Option<usize>,
    /// The number that the client's next token must have; none before its first.
    next: Option<u64>,
    /// Whether nothing has failed yet.
    usable: bool,
}

impl KerberosContext {
    /// `agreed`: the handshake agreed on encryption.
    pub(super) fn new(context: Context, agreed: bool) -> Self {
        let signature_octets = context.signature_octets().ok().filter(|_| agreed);
        Self { context, signature_octets, next: None, usable: true }
    }

    /// Whether messages can be sealed.
    pub(super) fn can_seal(&self) -> bool {
        self.signature_octets.is_some()
    }

    /// Sign a message, for SPNEGO's mechListMIC (RFC 4178).
    pub fn mic(&mut self, message: &[u8]) -> Result<Vec<u8>, SealError> {
        self.guarded(|this| this.context.mic(message).map_err(|status| complaint(&status)))
    }

    /// Check the client's signature of a message.
    pub fn verify_mic(&mut self, message: &[u8], mic: &[u8]) -> Result<(), SealError> {
        self.guarded(|this| {
            this.context.verify_mic(message, mic).map_err(|status| complaint(&status))?;
            // Signatures of RFC 1964 hide their number: nothing sealed will follow them that could be out of order.
            number(mic, SIGNED).map_or(Ok(()), |number| this.take_number(number))
        })
    }

    /// Run what must not fail: a context is not used again after an error.
    fn guarded<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T, SealError>) -> Result<T, SealError> {
        if !std::mem::replace(&mut self.usable, false) {
            return Err(SealError("the login's keys are no longer good"));
        }
        let result = run(self);
        self.usable = result.is_ok();
        result
    }

    /// The signature's length, when messages can be sealed.
    fn sealing(&self) -> Result<usize, SealError> {
        self.signature_octets.ok_or(SealError("the login has no keys to seal with"))
    }

    /// Hold a token that is authentic to its order. The library does so too, but only when the client has asked for it.
    fn take_number(&mut self, number: u64) -> Result<(), SealError> {
        if self.next.is_some_and(|next| next != number) {
            return Err(SealError("a message out of order"));
        }
        self.next = Some(number.wrapping_add(1));
        Ok(())
    }

    /// Open the token that stands in `out` from `start` on, where nothing but the message stays.
    fn open(&mut self, signature_octets: usize, out: &mut Vec<u8>, start: usize) -> Result<(), SealError> {
        let token = out.get_mut(start..).unwrap_or_default();
        let octets = token.len();
        if octets < signature_octets {
            return Err(SealError("octets that are no Kerberos message"));
        }
        let number = number(token, SEALED)?;
        let message = self.context.unwrap(token).map_err(|status| complaint(&status))?;
        // A token says in clear how much of it is filling, and versions of the library before 1.21.3 take any number:
        // a message could be cut short on its way. So it must be as long as its token leaves it room.
        if signature_octets.checked_add(message.len()) != Some(octets) {
            return Err(SealError("a signature of a wrong length"));
        }
        self.take_number(number)?;
        out.truncate(start + message.end);
        out.drain(start..start + message.start);
        Ok(())
    }
}

impl SecurityContext for KerberosContext {
    fn unseal(&mut self, signature_octets: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        self.guarded(|this| {
            let usual = this.sealing()?;
            // What the sender said stands in clear, as the count of filling does: the two could be changed together.
            if signature_octets.is_some_and(|stated| stated != usual) {
                return Err(SealError("a signature of a wrong length"));
            }
            let start = out.len();
            out.extend_from_slice(token);
            let opened = this.open(usual, out, start);
            if opened.is_err() {
                out.truncate(start);
            }
            opened
        })
    }

    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        self.guarded(|this| {
            let signature_octets = this.sealing()?;
            let start = out.len();
            out.resize(start + signature_octets, 0);
            out.extend_from_slice(message);
            let token = out.get_mut(start..).unwrap_or_default();
            let (signature, message) = token.split_at_mut(signature_octets);
            if let Err(status) = this.context.wrap(signature, message) {
                // What stands there may still be the message in clear.
                out.truncate(start);
                return Err(complaint(&status));
            }
            Ok(signature_octets)
        })
    }
}

/// The sequence number of a token of this kind.
fn number(token: &[u8], kind: &[u8]) -> Result<u64, SealError> {
    let number = token.get(FIXED_OCTETS / 2..FIXED_OCTETS).filter(|_| token.starts_with(kind));
    let number = number.and_then(|number| number.try_into().ok()).map(u64::from_be_bytes);
    number.ok_or(SealError("octets that are no Kerberos message"))
}

/// What the library says to a message.
fn complaint(status: &Status) -> SealError {
    SealError(match status.major {
        // The supplementary bits of RFC 2744, 3.9.1: duplicate, too old, late, and one is missing.
        2 => "a message that came before",
        4 | 8 | 16 => "a message out of order",
        _ => "a message that is not the client's, or was changed",
    })
}
