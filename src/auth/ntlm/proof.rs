//! The computations of NTLMv2: keys, proofs, integrity codes. All of them are HMAC-MD5 or MD5 of something; nothing
//! here reads a message or decides anything. //= MS-NLMP 3.3.2, 3.4

use hmac::{Hmac, Mac as _};
use md5::{Digest as _, Md5};
use zeroize::Zeroizing;

use crate::auth::password::NtHash;

/// Octets of every key, proof and code.
pub(super) const KEY_OCTETS: usize = 16;

/// A key that is wiped when dropped.
pub(super) type Key = Zeroizing<[u8; KEY_OCTETS]>;

/// The keys of one direction of a session.
pub(super) struct DirectionKeys {
    pub(super) sign: Key,
    pub(super) seal: Key,
}

/// Who sends in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The client, which began the handshake.
    Initiator,
    /// The server.
    Acceptor,
}

/// HMAC-MD5 of the parts, one after the other.
pub(super) fn hmac_md5(key: &[u8; KEY_OCTETS], parts: &[&[u8]]) -> [u8; KEY_OCTETS] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// MD5 of the parts, one after the other.
fn md5(parts: &[&[u8]]) -> [u8; KEY_OCTETS] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The key of a user's proofs (`NTOWFv2`): the NT hash, bound to the user's name in upper case and the domain's name as
/// it was sent, both in UTF-16LE.
pub(super) fn response_key(hash: &NtHash, user_upper: &[u8], domain: &[u8]) -> Key {
    Zeroizing::new(hmac_md5(hash.octets(), &[user_upper, domain]))
}

/// The proof that a client sends (`NTProofStr`): of the server's challenge and of all that it says itself.
pub(super) fn proof(response_key: &Key, server_challenge: [u8; 8], client_challenge: &[u8]) -> [u8; KEY_OCTETS] {
    hmac_md5(response_key, &[&server_challenge, client_challenge])
}

/// The key that both sides have from the proof (`SessionBaseKey`, which for NTLMv2 is the `KeyExchangeKey`, too).
pub(super) fn base_key(response_key: &Key, proof: &[u8; KEY_OCTETS]) -> Key {
    Zeroizing::new(hmac_md5(response_key, &[proof]))
}

/// The keys of what `side` sends, for extended session security and 128 bits.
pub(super) fn direction_keys(session_key: &Key, side: Side) -> DirectionKeys {
    let (sign, seal): (&[u8], &[u8]) = match side {
        Side::Initiator => (
            b"session key to client-to-server signing key magic constant\0",
            b"session key to client-to-server sealing key magic constant\0",
        ),
        Side::Acceptor => (
            b"session key to server-to-client signing key magic constant\0",
            b"session key to server-to-client sealing key magic constant\0",
        ),
    };
    DirectionKeys {
        sign: Zeroizing::new(md5(&[session_key.as_slice(), sign])),
        seal: Zeroizing::new(md5(&[session_key.as_slice(), seal])),
    }
}

/// What a client's channel bindings pair holds for a channel: MD5 of `gss_channel_bindings` with no addresses and
/// `application_data`, such as `tls-server-end-point:` and a hash. Four words of zeros say that there are no addresses.
pub(super) fn channel_bindings(application_data: &[u8]) -> [u8; KEY_OCTETS] {
    let octets = u32::try_from(application_data.len()).unwrap_or(u32::MAX);
    md5(&[&[0; 16], &octets.to_le_bytes(), application_data])
}
