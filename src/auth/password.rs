//! Passwords at rest: argon2id in PHC string format, and the NT hash that NTLM needs.
//!
//! Pure: the caller brings the salt, and the time that it costs is the caller's to schedule.

use std::fmt::{self, Write as _};

use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use md4::{Digest as _, Md4};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

/// Octets of salt in a new hash.
pub const SALT_OCTETS: usize = 16;
/// Octets of output in a new hash.
const OUTPUT_OCTETS: usize = 32;
/// The most memory that a stored hash may ask for, in KiB: a typing error in the file must not take the machine down.
const MEMORY_KIB_MAX: u32 = 1024 * 1024;

/// What one verification costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes. Verifications are limited to one a core, so more than one lane only changes the cost of an attack.
    pub lanes: u32,
}

impl Default for Cost {
    /// 19 MiB, two passes: about 20 ms on a core of today.
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2, lanes: 1 }
    }
}

/// A password or a stored hash that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Not a PHC string, or one of another algorithm.
    #[error("not an argon2id hash: {0}")]
    NotArgon2id(String),
    /// The parameters are outside what argon2id or this server allows.
    #[error("argon2id parameters out of range: {0}")]
    Parameters(String),
    /// Not 32 hexadecimal digits.
    #[error("not an NT hash: 32 hexadecimal digits are due")]
    NotNtHash,
}

/// A stored password hash, ready to verify against. Wiped when dropped.
#[derive(Clone)]
pub struct StoredPassword {
    params: Params,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl StoredPassword {
    /// Hash `password` (any octets, also none) with `salt` at `cost`.
    pub fn create(password: &[u8], salt: [u8; SALT_OCTETS], cost: Cost) -> Result<Self, PasswordError> {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(OUTPUT_OCTETS))
            .map_err(|error| PasswordError::Parameters(error.to_string()))?;
        let mut output = vec![0; OUTPUT_OCTETS];
        derive(&params, password, &salt, &mut output)?;
        Ok(Self { params, salt: salt.to_vec(), output })
    }

    /// Read a PHC string (`$argon2id$v=19$m=..,t=..,p=..$salt$hash`).
    pub fn parse(phc: &str) -> Result<Self, PasswordError> {
        let bad = |why: &str| PasswordError::NotArgon2id(why.to_owned());
        let hash = PasswordHash::new(phc).map_err(|error| PasswordError::NotArgon2id(error.to_string()))?;
        if hash.algorithm.as_str() != Algorithm::Argon2id.as_str() {
            return Err(bad("another algorithm"));
        }
        if hash.version.is_some_and(|version| version != u32::from(Version::V0x13)) {
            return Err(bad("another version"));
        }
        let params = Params::try_from(&hash).map_err(|error| PasswordError::Parameters(error.to_string()))?;
        if params.m_cost() > MEMORY_KIB_MAX {
            return Err(PasswordError::Parameters(format!("m={} is more than {MEMORY_KIB_MAX}", params.m_cost())));
        }
        let salt = hash.salt.ok_or_else(|| bad("no salt"))?;
        let mut octets = [0; 64];
        let salt = salt.decode_b64(&mut octets).map_err(|_| bad("the salt is not Base64"))?.to_vec();
        let output = hash.hash.ok_or_else(|| bad("no hash"))?.as_bytes().to_vec();
        Ok(Self { params, salt, output })
    }

    /// A stored password that nothing matches, at the given cost: what the password of an unknown user is checked
    /// against, so that the time does not tell whether the user exists.
    pub(super) fn decoy(random: [u8; SALT_OCTETS], cost: Cost) -> Self {
        let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(OUTPUT_OCTETS)).unwrap_or_default();
        // Somebody would have to find a password whose hash under this salt is the salt twice; and even a
        // match lets nobody in, for there is no user to let in.
        Self { params, salt: random.to_vec(), output: random.repeat(2) }
    }

    /// The PHC string of this hash; [`StoredPassword::parse`] reads it back.
    pub fn to_phc(&self) -> String {
        format!(
            "$argon2id$v=19$m={},t={},p={}${}${}",
            self.params.m_cost(),
            self.params.t_cost(),
            self.params.p_cost(),
            STANDARD_NO_PAD.encode(&self.salt),
            STANDARD_NO_PAD.encode(&self.output)
        )
    }

    /// What a verification costs.
    pub fn cost(&self) -> Cost {
        Cost { memory_kib: self.params.m_cost(), passes: self.params.t_cost(), lanes: self.params.p_cost() }
    }

    /// Whether `password` is the one. Takes the full cost whatever the answer; compares in constant time.
    pub fn verify(&self, password: &[u8]) -> bool {
        let mut output = Zeroizing::new(vec![0; self.output.len()]);
        derive(&self.params, password, &self.salt, &mut output).is_ok() && bool::from(output.ct_eq(&self.output))
    }
}

impl fmt::Debug for StoredPassword {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StoredPassword").field("cost", &self.cost()).finish_non_exhaustive()
    }
}

impl Drop for StoredPassword {
    fn drop(&mut self) {
        self.output.zeroize();
    }
}

/// The NT hash of a password: MD4 of its UTF-16LE form, without a salt. Whoever has it can log in by NTLM without the
/// password, so it is as secret as that. Wiped when dropped. //= MS-NLMP 3.3.1 NTOWFv1
#[derive(Clone)]
pub struct NtHash(Zeroizing<[u8; NtHash::OCTETS]>);

impl NtHash {
    /// Octets of a hash.
    pub const OCTETS: usize = 16;

    /// The hash of a password.
    pub fn of(password: &str) -> Self {
        let mut hash = Md4::new();
        for unit in password.encode_utf16() {
            hash.update(unit.to_le_bytes());
        }
        Self(Zeroizing::new(hash.finalize().into()))
    }

    /// Read 32 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let mut octets = Zeroizing::new([0; Self::OCTETS]);
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != Self::OCTETS || !rest.is_empty() {
            return Err(PasswordError::NotNtHash);
        }
        for (octet, [high, low]) in octets.iter_mut().zip(pairs) {
            let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            let (high, low) = digit(*high).zip(digit(*low)).ok_or(PasswordError::NotNtHash)?;
            *octet = high << 4 | low;
        }
        Ok(Self(octets))
    }

    /// A hash that no password is known to have: what the proofs of an unknown user are checked against.
    pub(super) fn decoy(random: [u8; Self::OCTETS]) -> Self {
        Self(Zeroizing::new(random))
    }

    /// 32 hexadecimal digits; [`NtHash::parse`] reads them back.
    pub fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * Self::OCTETS));
        for octet in self.0.iter() {
            // Writing to a string cannot fail.
            let _ = write!(text, "{octet:02x}");
        }
        text
    }

    /// Whether `password` is the one; octets that are not UTF-8 are nobody's. Compares in constant time.
    pub fn verify(&self, password: &[u8]) -> bool {
        let Ok(password) = std::str::from_utf8(password) else { return false };
        Self::of(password).0.ct_eq(self.0.as_slice()).into()
    }

    /// The secret itself, for the computations of NTLM.
    pub(super) fn octets(&self) -> &[u8; Self::OCTETS] {
        &self.0
    }
}

impl fmt::Debug for NtHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("NtHash(..)")
    }
}

/// Fill `output` with argon2id of `password`.
fn derive(params: &Params, password: &[u8], salt: &[u8], output: &mut [u8]) -> Result<(), PasswordError> {
    // glibc gives an allocation above 32 MiB pages of its own and returns them at once; a smaller one that is freed
    // moves its threshold up and stays in the heap for good. Only the blocks in use are ever touched.
    const OWN_PAGES_BLOCKS: usize = 33 * 1024;
    let blocks = params.block_count();
    let mut memory: Vec<Block> = Vec::with_capacity(blocks.max(OWN_PAGES_BLOCKS));
    memory.resize(blocks, Block::new());
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_into_with_memory(password, salt, output, &mut memory)
        .map_err(|error| PasswordError::Parameters(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

    #[test]
    fn a_hash_round_trips_and_verifies_only_its_password() {
        let stored = StoredPassword::create("p\u{e4}ss:wort".as_bytes(), [7; SALT_OCTETS], CHEAP).unwrap();
        let again = StoredPassword::parse(&stored.to_phc()).unwrap();
        assert_eq!(again.cost(), CHEAP);
        assert!(again.verify("p\u{e4}ss:wort".as_bytes()));
        for wrong in ["", "p\u{e4}ss", "p\u{e4}ss:wort ", "P\u{e4}ss:wort"] {
            assert!(!again.verify(wrong.as_bytes()), "{wrong:?}");
        }
    }

    #[test]
    fn a_published_vector_verifies() {
        // The reference implementation's own example: password "password", salt "somesalt".
        let phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
        assert!(StoredPassword::parse(phc).unwrap().verify(b"password"));
    }

    #[test]
    fn nt_hashes_are_those_of_the_specification() {
        // MS-NLMP 4.2.2.1.2: the password "Password".
        let hash = NtHash::of("Password");
        assert_eq!(hash.to_hex().as_str(), "a4f49c406510bdcab6824ee7c30fd852");
        assert!(NtHash::parse("A4F49C406510BDCAB6824EE7C30FD852").unwrap().verify(b"Password"));
        for wrong in [&b"password"[..], b"", b"Password ", b"\xff"] {
            assert!(!hash.verify(wrong), "{wrong:?}");
        }
        for text in [
            "",
            "a4",
            "a4f49c406510bdcab6824ee7c30fd85",
            "a4f49c406510bdcab6824ee7c30fd8522",
            "a4f49c406510bdcab6824ee7c30fd85g",
            "+4f49c406510bdcab6824ee7c30fd852",
        ] {
            assert_eq!(NtHash::parse(text).err(), Some(PasswordError::NotNtHash), "{text}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let stored = StoredPassword::create(b"secret", [7; SALT_OCTETS], CHEAP).unwrap();
        for shown in [format!("{stored:?}"), format!("{:?}", NtHash::of("secret"))] {
            assert!(shown.contains("..") && shown.len() < 120, "{shown}");
        }
    }

    #[test]
    fn other_algorithms_and_absurd_costs_are_refused() {
        for phc in [
            "",
            "plain",
            "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=4000000000,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ",
        ] {
            assert!(StoredPassword::parse(phc).is_err(), "{phc}");
        }
    }
}
