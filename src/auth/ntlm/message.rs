//! The three messages of NTLM as octets: NEGOTIATE (type 1), CHALLENGE (type 2), AUTHENTICATE (type 3).
//!
//! A message is a header of fixed size and a payload. A field of the header is a length and an offset that point into
//! the payload, so a sender can point anywhere: each is checked against the message before it is followed. Nothing here
//! knows a key. //= MS-NLMP 2.2.1

use super::error::NtlmError;
use super::flags::Flags;

/// What every message begins with.
pub const SIGNATURE: [u8; 8] = *b"NTLMSSP\0";
/// The longest message that is read. Real ones have some hundred octets; one with every field as long as a careful
/// client would make it stays below a tenth of this.
pub const MESSAGE_OCTETS_MAX: usize = 16 * 1024;
/// Octets of a message integrity code.
pub const MIC_OCTETS: usize = 16;

/// A type 1 without its fields: all that the oldest clients send.
const NEGOTIATE_OCTETS_MIN: usize = 16;
const NEGOTIATE_HEADER_OCTETS: usize = 32;
const CHALLENGE_HEADER_OCTETS: usize = 48;
const AUTHENTICATE_HEADER_OCTETS: usize = 64;
/// The Version structure, after the header of every type.
const VERSION_OCTETS: usize = 8;
/// Where the integrity code of a type 3 stands.
const MIC_OFFSET: usize = AUTHENTICATE_HEADER_OCTETS + VERSION_OCTETS;

/// The type of an NTLM message: 1, 2 or 3, or whatever stands there; none when it is no NTLM message.
pub fn kind(octets: &[u8]) -> Option<u32> {
    let (kind, _) = octets.strip_prefix(&SIGNATURE)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*kind))
}

/// A message under its limits, with the checks that all types share.
#[derive(Clone, Copy)]
struct Reader<'a> {
    octets: &'a [u8],
    /// Fields may not point below this.
    header_octets: usize,
}

impl<'a> Reader<'a> {
    fn new(octets: &'a [u8], expected: u32, header_octets: usize) -> Result<Self, NtlmError> {
        if octets.len() > MESSAGE_OCTETS_MAX {
            return Err(NtlmError::TooLong);
        }
        if kind(octets) != Some(expected) {
            return Err(NtlmError::Kind);
        }
        Ok(Self { octets, header_octets })
    }

    fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], NtlmError> {
        let rest = self.octets.get(at..).ok_or(NtlmError::CutOff)?;
        rest.first_chunk().copied().ok_or(NtlmError::CutOff)
    }

    fn flags(&self, at: usize) -> Result<Flags, NtlmError> {
        Ok(Flags(u32::from_le_bytes(self.array(at)?)))
    }

    /// The field whose length, capacity and offset stand at `at`. Where nothing is, clients put any offset.
    fn field(&self, at: usize) -> Result<&'a [u8], NtlmError> {
        let [l0, l1, _, _, o0, o1, o2, o3] = self.array(at)?;
        let octets = usize::from(u16::from_le_bytes([l0, l1]));
        if octets == 0 {
            return Ok(&[]);
        }
        let start = usize::try_from(u32::from_le_bytes([o0, o1, o2, o3])).map_err(|_| NtlmError::Field)?;
        if start < self.header_octets {
            return Err(NtlmError::Field);
        }
        let end = start.checked_add(octets).ok_or(NtlmError::Field)?;
        self.octets.get(start..end).ok_or(NtlmError::Field)
    }
}

/// Builds a message: the header first, then what its fields point at.
struct Builder {
    header: Vec<u8>,
    payload: Vec<u8>,
    /// Octets of the whole header: where the payload will stand.
    header_octets: usize,
}

impl Builder {
    fn new(kind: u32, header_octets: usize) -> Self {
        let mut header = Vec::with_capacity(header_octets + 256);
        header.extend_from_slice(&SIGNATURE);
        header.extend_from_slice(&kind.to_le_bytes());
        Self { header, payload: Vec::new(), header_octets }
    }

    fn put(mut self, octets: &[u8]) -> Self {
        self.header.extend_from_slice(octets);
        self
    }

    /// Fields of ours and those that were read are never as long as their length can say.
    fn field(mut self, content: &[u8]) -> Self {
        let octets = u16::try_from(content.len()).unwrap_or(u16::MAX);
        let start = u32::try_from(self.header_octets + self.payload.len()).unwrap_or(u32::MAX);
        self.header.extend_from_slice(&octets.to_le_bytes());
        self.header.extend_from_slice(&octets.to_le_bytes());
        self.header.extend_from_slice(&start.to_le_bytes());
        self.payload.extend_from_slice(content);
        self
    }

    fn finish(self) -> Vec<u8> {
        let mut message = self.header;
        message.extend_from_slice(&self.payload);
        message
    }
}

/// NEGOTIATE: what the client can do. //= MS-NLMP 2.2.1.1
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiate<'a> {
    /// What the client offers.
    pub flags: Flags,
    /// The client's domain in the OEM character set. Nothing depends on it.
    pub domain: &'a [u8],
    /// The client's machine in the OEM character set. Nothing depends on it.
    pub workstation: &'a [u8],
}

impl<'a> Negotiate<'a> {
    /// Read a type 1. Its two names may be missing, with their fields.
    pub fn parse(octets: &'a [u8]) -> Result<Self, NtlmError> {
        let reader = Reader::new(octets, 1, NEGOTIATE_HEADER_OCTETS)?;
        let flags = reader.flags(12)?;
        if octets.len() == NEGOTIATE_OCTETS_MIN {
            return Ok(Self { flags, domain: &[], workstation: &[] });
        }
        Ok(Self { flags, domain: reader.field(16)?, workstation: reader.field(24)? })
    }

    /// The message, without a version.
    pub fn encode(&self) -> Vec<u8> {
        let builder = Builder::new(1, NEGOTIATE_HEADER_OCTETS).put(&self.flags.0.to_le_bytes());
        builder.field(self.domain).field(self.workstation).finish()
    }
}

/// CHALLENGE: what the server takes of it, and the number that the client's proof must cover. //= MS-NLMP 2.2.1.2
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// What both can do.
    pub flags: Flags,
    /// Random, and never used twice.
    pub server_challenge: [u8; 8],
    /// The server's name, in UTF-16LE or OEM as the flags say.
    pub target_name: &'a [u8],
    /// The server's AV pairs.
    pub target_info: &'a [u8],
}

impl<'a> Challenge<'a> {
    /// Windows 10 in NTLM's present revision: clients log it and decide nothing by it.
    const VERSION: [u8; VERSION_OCTETS] = [10, 0, 0, 0, 0, 0, 0, 15];

    /// Read a type 2.
    pub fn parse(octets: &'a [u8]) -> Result<Self, NtlmError> {
        let reader = Reader::new(octets, 2, CHALLENGE_HEADER_OCTETS)?;
        Ok(Self {
            flags: reader.flags(20)?,
            server_challenge: reader.array(24)?,
            target_name: reader.field(12)?,
            target_info: reader.field(40)?,
        })
    }

    /// The message. A client that did not ask for the version gets none: old ones take it for the payload.
    pub fn encode(&self) -> Vec<u8> {
        let versioned = self.flags.contains(Flags::VERSION);
        let header_octets = CHALLENGE_HEADER_OCTETS + if versioned { VERSION_OCTETS } else { 0 };
        let builder = Builder::new(2, header_octets)
            .field(self.target_name)
            .put(&self.flags.0.to_le_bytes())
            .put(&self.server_challenge)
            .put(&[0; 8])
            .field(self.target_info);
        if versioned { builder.put(&Self::VERSION).finish() } else { builder.finish() }
    }
}

/// AUTHENTICATE: who the client is, and its proof. //= MS-NLMP 2.2.1.3
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticate<'a> {
    /// What the two have agreed on.
    pub flags: Flags,
    /// The answer for servers of the nineties; not looked at.
    pub lm_response: &'a [u8],
    /// The proof, and what it covers beside the challenge.
    pub nt_response: &'a [u8],
    /// The domain that the client names, in UTF-16LE or OEM as the flags say.
    pub domain: &'a [u8],
    /// The user, likewise.
    pub user: &'a [u8],
    /// The client's machine, likewise. Nothing depends on it.
    pub workstation: &'a [u8],
    /// The session key, encrypted, when the flags say that keys are exchanged.
    pub session_key: &'a [u8],
    /// What stands in the place of the integrity code, when no field claims that place. Whether it is one is told by
    /// the AV pairs of the proof.
    pub mic: Option<[u8; MIC_OCTETS]>,
}

impl<'a> Authenticate<'a> {
    /// Read a type 3.
    pub fn parse(octets: &'a [u8]) -> Result<Self, NtlmError> {
        let reader = Reader::new(octets, 3, AUTHENTICATE_HEADER_OCTETS)?;
        // A payload that begins before the code's end leaves no place for one.
        let roomy = Reader { header_octets: MIC_OFFSET + MIC_OCTETS, ..reader };
        let places = [12, 20, 28, 36, 44, 52];
        let mic = places.iter().all(|at| roomy.field(*at).is_ok()).then(|| reader.array(MIC_OFFSET).ok()).flatten();
        Ok(Self {
            flags: reader.flags(60)?,
            lm_response: reader.field(12)?,
            nt_response: reader.field(20)?,
            domain: reader.field(28)?,
            user: reader.field(36)?,
            workstation: reader.field(44)?,
            session_key: reader.field(52)?,
            mic,
        })
    }

    /// The message, with a version of zeros when there is an integrity code, which stands behind it.
    pub fn encode(&self) -> Vec<u8> {
        let header_octets = self.mic.map_or(AUTHENTICATE_HEADER_OCTETS, |_| MIC_OFFSET + MIC_OCTETS);
        let builder = Builder::new(3, header_octets)
            .field(self.lm_response)
            .field(self.nt_response)
            .field(self.domain)
            .field(self.user)
            .field(self.workstation)
            .field(self.session_key)
            .put(&self.flags.0.to_le_bytes());
        let Some(mic) = self.mic else { return builder.finish() };
        builder.put(&[0; VERSION_OCTETS]).put(&mic).finish()
    }

    /// The type 3 in `octets` around its integrity code: what comes before and what comes after.
    pub(super) fn around_mic(octets: &[u8]) -> Option<(&[u8], &[u8])> {
        Some((octets.get(..MIC_OFFSET)?, octets.get(MIC_OFFSET + MIC_OCTETS..)?))
    }
}
