//! RC4, which is broken as ciphers go and is what NTLM seals with; nothing else may use it.
//!
//! These lines are ours since the crate was too slow: it goes through its generic machinery octet by octet. And the key
//! stream is made eight octets at a time: where octets of the message are written in between, the processor has to
//! assume that they may be the state. That is 800 MB/s where a loop over octets does 600, and with HMAC-MD5 beside it,
//! which does 600 itself, it decides about 345 MB/s of sealed messages.

use zeroize::Zeroize as _;

/// Octets of the stream that are made at a time.
const WORD_OCTETS: usize = 8;

/// A key's stream, from where it stands. Wiped when dropped.
pub(super) struct Rc4 {
    state: [u8; 256],
    i: u8,
    j: u8,
}

impl Rc4 {
    /// The stream of a key from its start.
    pub(super) fn new(key: &[u8; 16]) -> Self {
        let mut state = [0; 256];
        for (octet, value) in state.iter_mut().zip(0_u8..=255) {
            *octet = value;
        }
        let mut j = 0_u8;
        for (i, key) in key.iter().cycle().take(256).enumerate() {
            j = j.wrapping_add(state[i]).wrapping_add(*key);
            state.swap(i, usize::from(j));
        }
        Self { state, i: 0, j: 0 }
    }

    /// Encrypt or decrypt in place, and move on by as much.
    pub(super) fn apply(&mut self, octets: &mut [u8]) {
        let state = &mut self.state;
        let (mut i, mut j) = (self.i, self.j);
        let mut next = || {
            // An index of eight bits is never outside of 256 places.
            i = i.wrapping_add(1);
            let at_i = state[usize::from(i)];
            j = j.wrapping_add(at_i);
            let at_j = state[usize::from(j)];
            state[usize::from(i)] = at_j;
            state[usize::from(j)] = at_i;
            state[usize::from(at_i.wrapping_add(at_j))]
        };
        let (words, rest) = octets.as_chunks_mut();
        for word in words {
            let stream: [u8; WORD_OCTETS] = std::array::from_fn(|_| next());
            *word = (u64::from_le_bytes(*word) ^ u64::from_le_bytes(stream)).to_le_bytes();
        }
        for octet in rest {
            *octet ^= next();
        }
        (self.i, self.j) = (i, j);
    }
}

impl Drop for Rc4 {
    fn drop(&mut self) {
        self.state.zeroize();
        self.i.zeroize();
        self.j.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_that_of_rfc_6229() {
        let mut octets = [0; 256];
        let mut stream = Rc4::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        let (start, end) = octets.split_at_mut(17);
        stream.apply(start);
        stream.apply(end);
        for (at, expected) in [
            (0, 0x9ac7_cc9a_609d_1ef7_b293_2899_cde4_1b97_u128),
            (16, 0x5248_c495_9014_126a_6e8a_84f1_1d1a_9e1c),
            (240, 0x0659_02e4_b620_f6cc_36c8_589f_6643_2f2b),
        ] {
            let found: [u8; 16] = octets[at..at + 16].try_into().unwrap();
            assert_eq!(u128::from_be_bytes(found), expected, "{at}");
        }
    }
}
