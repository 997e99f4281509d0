//! NTLMv2's arithmetic (MS-NLMP 3.3.2, 3.4): hashes, keys, and one direction of a session's protection.

use hmac::{Hmac, Mac as _};
use md4::Md4;
use md5::{Digest as _, Md5};

/// Magic constants of MS-NLMP 3.4.5.2 and 3.4.5.3, with their final zero.
const SIGN_TO_SERVER: &[u8] = b"session key to client-to-server signing key magic constant\0";
const SIGN_TO_CLIENT: &[u8] = b"session key to server-to-client signing key magic constant\0";
const SEAL_TO_SERVER: &[u8] = b"session key to client-to-server sealing key magic constant\0";
const SEAL_TO_CLIENT: &[u8] = b"session key to server-to-client sealing key magic constant\0";

/// The octets of a text in UTF-16LE.
pub(super) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// MD5.
pub(super) fn md5(data: &[u8]) -> [u8; 16] {
    Md5::digest(data).into()
}

/// HMAC-MD5.
pub(super) fn hmac_md5(key: &[u8], data: &[u8]) -> [u8; 16] {
    // An HMAC takes a key of any length, so that the empty array is never seen.
    Hmac::<Md5>::new_from_slice(key).map_or([0; 16], |mac| mac.chain_update(data).finalize().into_bytes().into())
}

/// NTOWFv2: the key that user, domain and password make.
pub(super) fn one_way(user: &str, domain: &str, password: &str) -> [u8; 16] {
    let hash = Md4::digest(utf16(password));
    hmac_md5(&hash, &utf16(&format!("{}{domain}", user.to_uppercase())))
}

/// RC4, which NTLM cannot do without.
#[derive(Clone)]
pub(super) struct Rc4 {
    state: [u8; 256],
    first: u8,
    second: u8,
}

impl Rc4 {
    /// A stream from a key.
    pub(super) fn new(key: &[u8]) -> Self {
        let mut state: [u8; 256] = std::array::from_fn(|at| u8::try_from(at).unwrap_or(0));
        let mut second = 0_u8;
        for (at, octet) in (0..=255_u8).zip(key.iter().cycle()) {
            second = second.wrapping_add(get(&state, at)).wrapping_add(*octet);
            state.swap(usize::from(at), usize::from(second));
        }
        Self { state, first: 0, second: 0 }
    }

    /// The next octets of the stream over the data.
    pub(super) fn apply(&mut self, data: &[u8]) -> Vec<u8> {
        let next = |octet: &u8| {
            self.first = self.first.wrapping_add(1);
            self.second = self.second.wrapping_add(get(&self.state, self.first));
            self.state.swap(usize::from(self.first), usize::from(self.second));
            let sum = get(&self.state, self.first).wrapping_add(get(&self.state, self.second));
            octet ^ get(&self.state, sum)
        };
        data.iter().map(next).collect()
    }
}

fn get(state: &[u8; 256], at: u8) -> u8 {
    state.get(usize::from(at)).copied().unwrap_or(0)
}

/// One direction of a session with extended security, 128 bits and a key of its own.
pub(super) struct Direction {
    sign_key: [u8; 16],
    stream: Rc4,
    sequence: u32,
}

impl Direction {
    /// What the client sends with, and what it receives with.
    pub(super) fn both(session_key: &[u8]) -> (Self, Self) {
        let one = |sign: &[u8], seal: &[u8]| Self {
            sign_key: md5(&[session_key, sign].concat()),
            stream: Rc4::new(&md5(&[session_key, seal].concat())),
            sequence: 0,
        };
        (one(SIGN_TO_SERVER, SEAL_TO_SERVER), one(SIGN_TO_CLIENT, SEAL_TO_CLIENT))
    }

    fn signature(&mut self, message: &[u8]) -> Vec<u8> {
        let number = self.sequence.to_le_bytes();
        self.sequence = self.sequence.wrapping_add(1);
        let hash = hmac_md5(&self.sign_key, &[number.as_slice(), message].concat());
        let checksum = self.stream.apply(hash.get(..8).unwrap_or(&[]));
        [1_u32.to_le_bytes().as_slice(), &checksum, &number].concat()
    }

    /// Signature and ciphertext of the next message.
    pub(super) fn seal(&mut self, message: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let ciphertext = self.stream.apply(message);
        (self.signature(message), ciphertext)
    }

    /// The next message, when its signature is right.
    pub(super) fn unseal(&mut self, signature: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, String> {
        let message = self.stream.apply(ciphertext);
        if self.signature(&message) != signature {
            return Err("the answer's signature does not match".to_owned());
        }
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hexadecimal: &str) -> Vec<u8> {
        let pairs = hexadecimal.as_bytes().chunks(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    #[test]
    fn the_arithmetic_is_that_of_the_specification() {
        // MS-NLMP 4.2.4.1.1: user, domain and password of the examples.
        assert_eq!(one_way("User", "Domain", "Password").to_vec(), octets("0c868a403bfd7a93a3001ef22ef02e3f"));
        // RFC 6229: the first octets of the stream of the key 0102030405.
        let mut stream = Rc4::new(&[1, 2, 3, 4, 5]);
        assert_eq!(stream.apply(&[0; 16]), octets("b2396305f03dc027ccc3524a0a1118a8"));
        // RFC 2202, test case 2 of HMAC-MD5.
        let expected = octets("750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(hmac_md5(b"Jefe", b"what do ya want for nothing?").to_vec(), expected);
    }

    #[test]
    fn both_directions_fit() {
        let (mut send, _) = Direction::both(&[9; 16]);
        let (mut take, _) = Direction::both(&[9; 16]);
        for message in [b"one".as_slice(), b"", b"three"] {
            let (signature, ciphertext) = send.seal(message);
            assert_eq!(signature.len(), 16);
            assert_eq!(take.unseal(&signature, &ciphertext).unwrap(), message);
        }
        let (mut signature, ciphertext) = send.seal(b"four");
        signature[5] ^= 1;
        assert!(take.unseal(&signature, &ciphertext).is_err());
    }
}
