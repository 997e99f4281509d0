//! Passwords at rest: argon2id in PHC string format.
//!
//! Pure: the caller brings the salt, and the time that it costs is the caller's to schedule.

use argon2::password_hash::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use subtle::ConstantTimeEq as _;

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
}

/// A stored password hash, ready to verify against.
#[derive(Clone, Debug)]
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
        let mut output = vec![0; self.output.len()];
        derive(&self.params, password, &self.salt, &mut output).is_ok() && bool::from(output.ct_eq(&self.output))
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
