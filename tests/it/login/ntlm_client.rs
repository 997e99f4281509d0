//! An NTLM client that does what the test says, right or wrong. Written from the specification and not from the
//! server's code, so that no misreading can cancel out.

use hmac::{Hmac, Mac as _};
use md4::Md4;
use md5::{Digest as _, Md5};

pub(crate) const UNICODE: u32 = 0x1;
pub(crate) const OEM: u32 = 0x2;
pub(crate) const SIGN: u32 = 0x10;
pub(crate) const SEAL: u32 = 0x20;
pub(crate) const ANONYMOUS: u32 = 0x800;
pub(crate) const EXTENDED: u32 = 0x8_0000;
pub(crate) const KEY_128: u32 = 0x2000_0000;
pub(crate) const KEY_EXCHANGE: u32 = 0x4000_0000;

/// What pywinrm and pypsrp ask for.
pub(crate) const USUAL: u32 = 0xe208_8237;
/// What curl asks for: no keys, one's own character set.
pub(crate) const CURL: u32 = 0x0008_8206;

const MIC_FLAG: u32 = 2;

/// What stands in the place of the message integrity code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mic {
    /// None, and none is announced.
    Absent,
    /// The right one.
    Right,
    /// One is announced, and zeros stand there.
    Zeroed,
    /// One is announced, and the payload stands in its place.
    NoPlace,
}

/// What is sent for a proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Right,
    /// The right length and all else, with zeros for the proof.
    Zeros,
    /// NTLMv1 with extended session security: 24 octets.
    V1,
    /// An LM response and no NT response.
    Lm,
    Nothing,
}

/// Which AV pairs the client repeats of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    All,
    /// None of them.
    Nothing,
    /// All, with another timestamp.
    OtherTime,
}

/// A client: who it is, and what it does wrong.
#[derive(Clone, Debug)]
pub(crate) struct Ntlm {
    pub(crate) user: String,
    pub(crate) domain: String,
    pub(crate) password: String,
    /// Of the type 1.
    pub(crate) flags: u32,
    /// Bits that the type 3 has otherwise than the challenge.
    pub(crate) flipped: u32,
    pub(crate) mic: Mic,
    pub(crate) proof: Proof,
    pub(crate) target: Target,
    /// The application data of the channel's binding.
    pub(crate) binding: Option<Vec<u8>>,
    /// Whether the encrypted session key is sent although keys are exchanged.
    pub(crate) sends_key: bool,
    /// The user's octets as they are, in the place of `user`.
    pub(crate) user_octets: Option<Vec<u8>>,
    /// Changes the type 3 after everything else.
    pub(crate) spoil: fn(&mut Vec<u8>),
}

impl Default for Ntlm {
    fn default() -> Self {
        Self {
            user: "otto".to_owned(),
            domain: "HOME".to_owned(),
            password: "secret".to_owned(),
            flags: USUAL,
            flipped: 0,
            mic: Mic::Right,
            proof: Proof::Right,
            target: Target::All,
            binding: None,
            sends_key: true,
            user_octets: None,
            spoil: |_| (),
        }
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = Hmac::<Md5>::new_from_slice(key).unwrap();
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn md5(parts: &[&[u8]]) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// The RC4 key stream, octet by octet, as the textbook has it.
struct Stream {
    s: Vec<usize>,
    i: usize,
    j: usize,
}

impl Stream {
    fn new(key: &[u8]) -> Self {
        let mut s: Vec<usize> = (0..256).collect();
        let mut j = 0;
        for i in 0..256 {
            j = (j + s[i] + usize::from(key[i % key.len()])) % 256;
            s.swap(i, j);
        }
        Self { s, i: 0, j: 0 }
    }

    fn apply(&mut self, octets: &[u8]) -> Vec<u8> {
        let mut next = || {
            self.i = (self.i + 1) % 256;
            self.j = (self.j + self.s[self.i]) % 256;
            self.s.swap(self.i, self.j);
            u8::try_from(self.s[(self.s[self.i] + self.s[self.j]) % 256]).unwrap()
        };
        octets.iter().map(|octet| octet ^ next()).collect()
    }
}

/// A field of a type 2: its content.
fn field(message: &[u8], at: usize) -> &[u8] {
    let octets = usize::from(u16::from_le_bytes([message[at], message[at + 1]]));
    let start = u32::from_le_bytes(message[at + 4..at + 8].try_into().unwrap()) as usize;
    &message[start..start + octets]
}

pub(crate) fn word(message: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(message[at..at + 4].try_into().unwrap())
}

impl Ntlm {
    /// A client that is another one in some respects.
    pub(crate) fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut client = Self::default();
        change(&mut client);
        client
    }

    /// The type 1.
    pub(crate) fn negotiate(&self) -> Vec<u8> {
        let fields = [0, 0, 0, 0, 40, 0, 0, 0].repeat(2);
        [b"NTLMSSP\0\x01\0\0\0", &self.flags.to_le_bytes()[..], &fields, &[6, 1, 0, 0, 0, 0, 0, 15]].concat()
    }

    /// The type 3 that answers `challenge`, and the session that comes of it.
    pub(crate) fn authenticate(&self, challenge: &[u8]) -> (Vec<u8>, Session) {
        assert_eq!(&challenge[..12], b"NTLMSSP\0\x02\0\0\0");
        let granted = word(challenge, 20);
        let flags = granted ^ self.flipped;
        let server_challenge = &challenge[24..32];
        let text = |text: &str| if granted & UNICODE == 0 { text.as_bytes().to_vec() } else { utf16(text) };

        let hash = Md4::digest(utf16(&self.password));
        let response_key = hmac(&hash, &[&utf16(&self.user.to_uppercase()), &utf16(&self.domain)]);
        let blob =
            [&[1, 1, 0, 0, 0, 0, 0, 0][..], &[9; 8], &[0xaa; 8], &[0; 4], &self.pairs(field(challenge, 40)), &[0; 4]];
        let blob = blob.concat();
        let right = hmac(&response_key, &[server_challenge, &blob]);
        let base_key = hmac(&response_key, &[&right]);
        let nt_response = match self.proof {
            Proof::Right => [&right[..], &blob].concat(),
            Proof::Zeros => [&[0; 16][..], &blob].concat(),
            Proof::V1 => vec![7; 24],
            Proof::Lm | Proof::Nothing => Vec::new(),
        };
        let lm_response = if self.proof == Proof::Nothing { Vec::new() } else { vec![0; 24] };
        let exchanges = flags & KEY_EXCHANGE != 0 && flags & (SIGN | SEAL) != 0;
        let chosen = md5(&[b"chosen by the client", server_challenge]);
        let session_key = if exchanges { chosen } else { base_key };
        let sent_key =
            if exchanges && self.sends_key { Stream::new(&base_key).apply(&session_key) } else { Vec::new() };

        let user = self.user_octets.clone().unwrap_or_else(|| text(&self.user));
        let payload = [lm_response, nt_response, text(&self.domain), user, text("CLIENT"), sent_key];
        let mut start = if matches!(self.mic, Mic::Right | Mic::Zeroed) { 88 } else { 64 };
        let header = start;
        let mut message = b"NTLMSSP\0\x03\0\0\0".to_vec();
        for part in &payload {
            let octets = u16::try_from(part.len()).unwrap().to_le_bytes();
            message.extend([octets, octets].concat());
            message.extend(u32::try_from(start).unwrap().to_le_bytes());
            start += part.len();
        }
        message.extend(flags.to_le_bytes());
        message.resize(header, 0);
        message.extend(payload.concat());
        if self.mic == Mic::Right {
            let mic = hmac(&session_key, &[&self.negotiate(), challenge, &message]);
            message[72..88].copy_from_slice(&mic);
        }
        (self.spoil)(&mut message);
        (message, Session::new(session_key, flags))
    }

    /// The AV pairs of the proof, with their end mark.
    fn pairs(&self, offered: &[u8]) -> Vec<u8> {
        let mut pairs: Vec<(u16, Vec<u8>)> = Vec::new();
        let mut rest = offered;
        while word(rest, 0) != 0 {
            let id = u16::from_le_bytes([rest[0], rest[1]]);
            let octets = usize::from(u16::from_le_bytes([rest[2], rest[3]]));
            pairs.push((id, rest[4..4 + octets].to_vec()));
            rest = &rest[4 + octets..];
        }
        match self.target {
            Target::All => (),
            Target::Nothing => pairs.clear(),
            Target::OtherTime => pairs.iter_mut().filter(|(id, _)| *id == 7).for_each(|(_, time)| time[0] ^= 1),
        }
        if self.mic != Mic::Absent {
            pairs.push((6, MIC_FLAG.to_le_bytes().to_vec()));
        }
        if let Some(data) = &self.binding {
            let octets = u32::try_from(data.len()).unwrap().to_le_bytes();
            pairs.push((10, md5(&[&[0; 16], &octets, data]).to_vec()));
        }
        pairs.push((9, utf16("http/home.example")));
        pairs.push((0, Vec::new()));
        let pair = |(id, value): &(u16, Vec<u8>)| {
            [&id.to_le_bytes()[..], &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat()
        };
        pairs.iter().flat_map(pair).collect()
    }
}

/// One direction's keys and place.
struct Direction {
    sign: [u8; 16],
    seal: [u8; 16],
    stream: Stream,
    sequence: u32,
}

impl Direction {
    fn new(session_key: &[u8; 16], way: &str) -> Self {
        let key = |kind| md5(&[session_key, format!("session key to {way} {kind} key magic constant\0").as_bytes()]);
        let seal = key("sealing");
        Self { sign: key("signing"), seal, stream: Stream::new(&seal), sequence: 0 }
    }
}

/// The client's end of a session.
pub(crate) struct Session {
    outgoing: Direction,
    incoming: Direction,
    key_exchange: bool,
    pub(crate) seals: bool,
}

impl Session {
    fn new(session_key: [u8; 16], flags: u32) -> Self {
        Self {
            outgoing: Direction::new(&session_key, "client-to-server"),
            incoming: Direction::new(&session_key, "server-to-client"),
            key_exchange: flags & KEY_EXCHANGE != 0,
            seals: flags & SEAL != 0,
        }
    }

    /// Signature and ciphertext.
    pub(crate) fn seal(&mut self, message: &[u8]) -> Vec<u8> {
        let Direction { sign, stream, sequence, .. } = &mut self.outgoing;
        let number = sequence.to_le_bytes();
        *sequence += 1;
        let ciphertext = stream.apply(message);
        let mut checksum = hmac(sign, &[&number, message])[..8].to_vec();
        if self.key_exchange {
            checksum = stream.apply(&checksum);
        }
        [&[1, 0, 0, 0][..], &checksum, &number, &ciphertext].concat()
    }

    /// The message in signature and ciphertext.
    pub(crate) fn unseal(&mut self, token: &[u8]) -> Vec<u8> {
        let Direction { sign, stream, sequence, .. } = &mut self.incoming;
        let number = sequence.to_le_bytes();
        *sequence += 1;
        let message = stream.apply(&token[16..]);
        let mut checksum = hmac(sign, &[&number, &message])[..8].to_vec();
        if self.key_exchange {
            checksum = stream.apply(&checksum);
        }
        assert_eq!(token[..16], [&[1, 0, 0, 0][..], &checksum, &number].concat());
        message
    }

    /// The MIC of SPNEGO's list, which takes a number and leaves the stream where it is.
    pub(crate) fn mic(&mut self, list: &[u8]) -> Vec<u8> {
        mic(&mut self.outgoing, self.key_exchange, list)
    }

    /// What the server's MIC of the list must be.
    pub(crate) fn expected_mic(&mut self, list: &[u8]) -> Vec<u8> {
        mic(&mut self.incoming, self.key_exchange, list)
    }
}

fn mic(direction: &mut Direction, key_exchange: bool, list: &[u8]) -> Vec<u8> {
    let number = direction.sequence.to_le_bytes();
    assert_eq!(direction.sequence, 0);
    direction.sequence += 1;
    let mut checksum = hmac(&direction.sign, &[&number, list])[..8].to_vec();
    if key_exchange {
        checksum = Stream::new(&direction.seal).apply(&checksum);
    }
    [&[1, 0, 0, 0][..], &checksum, &number].concat()
}
