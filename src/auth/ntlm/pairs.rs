//! AV pairs: what the server says of itself in the challenge, and what the client's proof says of both. The client
//! repeats the server's pairs and adds its own, and its proof covers them all. //= MS-NLMP 2.2.2.1, 2.2.2.7

use super::error::NtlmError;

/// No pair stands after this one.
const EOL: u16 = 0;
/// Pairs that are read before it is given up. Ten are defined.
const PAIRS_MAX: usize = 32;

/// What a pair is about. An open number: others are carried and not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairId(pub u16);

impl PairId {
    /// The server's NetBIOS name.
    pub const NB_COMPUTER: Self = Self(1);
    /// The NetBIOS name of its domain.
    pub const NB_DOMAIN: Self = Self(2);
    /// The server's name in DNS.
    pub const DNS_COMPUTER: Self = Self(3);
    /// The DNS name of its domain.
    pub const DNS_DOMAIN: Self = Self(4);
    /// What the client does: [`INTEGRITY`] is the one bit that we look at.
    pub const FLAGS: Self = Self(6);
    /// The server's time.
    pub const TIMESTAMP: Self = Self(7);
    /// The service that the client believes to speak to (SPN).
    pub const TARGET_NAME: Self = Self(9);
    /// MD5 of the client's channel bindings; zeros when it has none.
    pub const CHANNEL_BINDINGS: Self = Self(10);
}

/// The bit of [`PairId::FLAGS`] that says that the type 3 carries an integrity code.
pub const INTEGRITY: u32 = 2;

/// A checked list of pairs, each id at most once, without what stands behind its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    /// Check a list up to its end mark, which must be there. What follows the mark is not looked at.
    pub fn parse(octets: &'a [u8]) -> Result<Self, NtlmError> {
        let mut seen: Vec<u16> = Vec::with_capacity(PAIRS_MAX);
        let mut rest = octets;
        loop {
            let (PairId(id), value, after) = next(rest).ok_or(NtlmError::Pairs)?;
            if id == EOL {
                let used = octets.len() - rest.len();
                return if value.is_empty() {
                    Ok(Self(octets.get(..used).ok_or(NtlmError::Pairs)?))
                } else {
                    Err(NtlmError::Pairs)
                };
            }
            // Two values for one id: whichever is looked at, somebody may mean the other.
            if seen.len() == PAIRS_MAX || seen.contains(&id) {
                return Err(NtlmError::Pairs);
            }
            seen.push(id);
            rest = after;
        }
    }

    /// The pairs in their order, without the end mark.
    pub fn iter(self) -> impl Iterator<Item = (PairId, &'a [u8])> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (id, value, after) = next(rest)?;
            rest = after;
            Some((id, value))
        })
    }

    /// The value under `id`.
    pub fn get(self, id: PairId) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == id).map(|(_, value)| value)
    }

    /// Whether every pair of `other` is one of these, in whatever order.
    pub fn contain(self, other: Pairs<'_>) -> bool {
        other.iter().all(|(id, value)| self.get(id) == Some(value))
    }
}

/// The pair at the start of `octets`, and what follows it.
fn next(octets: &[u8]) -> Option<(PairId, &[u8], &[u8])> {
    let ([i0, i1, l0, l1], rest) = octets.split_first_chunk()?;
    let (value, after) = rest.split_at_checked(usize::from(u16::from_le_bytes([*l0, *l1])))?;
    Some((PairId(u16::from_le_bytes([*i0, *i1])), value, after))
}

/// The octets of a list with its end mark. A value that is too long for its length field is cut, which no caller does.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (PairId, &'a [u8])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (PairId(id), value) in pairs {
        let octets = u16::try_from(value.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&octets.to_le_bytes());
        out.extend(value.iter().take(usize::from(octets)));
    }
    out.extend_from_slice(&[0; 4]);
    out
}

/// Octets of a client challenge before its pairs.
pub(super) const CLIENT_CHALLENGE_HEADER_OCTETS: usize = 28;

/// What an NTLMv2 proof covers beside the server's challenge. //= MS-NLMP 2.2.2.7
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientChallenge<'a> {
    /// The client's time, in 100 ns since 1601. It is not compared with ours: what keeps an old proof from being used
    /// again is our challenge, which is random and answered once, within the time that a connection has to log in. A
    /// comparison would only keep out clients whose clocks are wrong, and some send nonsense.
    pub timestamp: u64,
    /// The server's pairs and the client's.
    pub pairs: Pairs<'a>,
}

impl<'a> ClientChallenge<'a> {
    /// Read the part of an NT response behind the proof.
    pub fn parse(octets: &'a [u8]) -> Result<Self, NtlmError> {
        let (header, pairs) = octets.split_first_chunk::<CLIENT_CHALLENGE_HEADER_OCTETS>().ok_or(NtlmError::Pairs)?;
        // The version of the response, and the highest that the client understands; then six octets of zeros that not
        // every client writes.
        let ([1, 1, _, _, _, _, _, _], rest) = header.split_first_chunk().ok_or(NtlmError::Pairs)? else {
            return Err(NtlmError::Pairs);
        };
        let (timestamp, _) = rest.split_first_chunk().ok_or(NtlmError::Pairs)?;
        Ok(Self { timestamp: u64::from_le_bytes(*timestamp), pairs: Pairs::parse(pairs)? })
    }
}
