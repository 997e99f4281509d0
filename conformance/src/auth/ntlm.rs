//! An NTLMv2 client (MS-NLMP): its three messages with integrity code and channel binding, then sealing.

use std::time::{SystemTime, UNIX_EPOCH};

use super::ntlm_keys::{Direction, Rc4, hmac_md5, md5, one_way, utf16};
use super::{Mechanism, end_point};

const MAGIC: &[u8; 8] = b"NTLMSSP\0";
/// Unicode, target name, sign, seal, NTLM, always sign, extended security, target information, version, 128 bits, key
/// exchange, 56 bits (MS-NLMP 2.2.2.5).
const FLAGS: u32 = 0xE288_8235;
/// The flags without which a session cannot be sealed as this client does: extended security, 128 bits, key exchange.
const NEEDED: u32 = 0x6008_0000;
/// Windows 10, build 17763, NTLM revision 15.
const VERSION: [u8; 8] = [10, 0, 0x63, 0x45, 0, 0, 0, 15];
/// AV_PAIR kinds.
const END: u16 = 0;
const AV_FLAGS: u16 = 6;
const TIMESTAMP: u16 = 7;
const TARGET_NAME: u16 = 9;
const BINDINGS: u16 = 10;
/// In AV_FLAGS: the third message has an integrity code.
const HAS_MIC: u32 = 2;
/// Where the integrity code stands in the third message: behind six fields, the flags and the version.
const MIC_AT: usize = 72;
/// Seconds from 1601, where Windows' clock begins, to 1970.
const EPOCH_SECONDS: u64 = 11_644_473_600;

/// The client's side of one login.
pub(crate) struct Client {
    user: String,
    domain: String,
    password: String,
    host: String,
    bindings: [u8; 16],
    negotiate: Vec<u8>,
    is_done: bool,
    directions: Option<(Direction, Direction)>,
}

/// What of the server's challenge counts.
struct Challenge {
    flags: u32,
    nonce: [u8; 8],
    pairs: Vec<(u16, Vec<u8>)>,
}

impl Client {
    /// A login as `NAME`, `DOMAIN\NAME` or `NAME@REALM`.
    pub(crate) fn new(user: &str, password: &str, host: &str, certificate: Option<&[u8]>) -> Result<Self, String> {
        if user.is_empty() {
            return Err("NTLM needs a user".to_owned());
        }
        let (domain, user) = user.split_once('\\').unwrap_or(("", user));
        let bindings = certificate.map_or([0; 16], |certificate| {
            let data = end_point(certificate);
            let size = u32::try_from(data.len()).unwrap_or(0).to_le_bytes();
            md5(&[[0; 16].as_slice(), &size, &data].concat())
        });
        let (domain, user) = (domain.to_owned(), user.to_owned());
        let (password, host) = (password.to_owned(), host.to_owned());
        let (negotiate, is_done, directions) = (Vec::new(), false, None);
        Ok(Self { user, domain, password, host, bindings, negotiate, is_done, directions })
    }

    fn first(&mut self) -> Vec<u8> {
        let mut out = head(1);
        out.extend(FLAGS.to_le_bytes());
        out.extend([0; 16]); // Neither domain nor workstation.
        out.extend(VERSION);
        self.negotiate.clone_from(&out);
        out
    }

    fn third(&mut self, token: &[u8]) -> Result<Vec<u8>, String> {
        let challenge = Challenge::read(token)?;
        if challenge.flags & NEEDED != NEEDED {
            return Err(format!("the server does not offer what sealing needs (flags {:#x})", challenge.flags));
        }
        let mut pairs = challenge.pairs.clone();
        let time = pairs.iter().find(|(kind, _)| *kind == TIMESTAMP).map(|(_, value)| value.clone());
        pairs.retain(|(kind, _)| ![AV_FLAGS, TARGET_NAME, BINDINGS].contains(kind));
        pairs.push((AV_FLAGS, HAS_MIC.to_le_bytes().to_vec()));
        pairs.push((TARGET_NAME, utf16(&format!("HTTP/{}", self.host))));
        pairs.push((BINDINGS, self.bindings.to_vec()));
        let time = time.unwrap_or_else(now);
        let client_nonce: [u8; 8] = random()?;
        let blob = [&[1, 1, 0, 0, 0, 0, 0, 0], time.as_slice(), &client_nonce, &[0; 4], &write_pairs(&pairs), &[0; 4]];
        let blob = blob.concat();
        let key = one_way(&self.user, &self.domain, &self.password);
        let proof = hmac_md5(&key, &[challenge.nonce.as_slice(), &blob].concat());
        let base_key = hmac_md5(&key, &proof);
        let session_key: [u8; 16] = random()?;
        let sent_key = Rc4::new(&base_key).apply(&session_key);
        let response = [proof.as_slice(), &blob].concat();
        let fields = [vec![0; 24], response, utf16(&self.domain), utf16(&self.user), Vec::new(), sent_key];
        let mut out = head(3);
        let mut offset = MIC_AT + 16;
        for field in &fields {
            let (size, at) = (u16::try_from(field.len()), u32::try_from(offset));
            let (size, at) = (size.map_err(|error| error.to_string())?, at.map_err(|error| error.to_string())?);
            out.extend(size.to_le_bytes());
            out.extend(size.to_le_bytes());
            out.extend(at.to_le_bytes());
            offset += field.len();
        }
        out.extend((challenge.flags & FLAGS).to_le_bytes());
        out.extend(VERSION);
        out.extend([0; 16]);
        out.extend(fields.concat());
        let mic = hmac_md5(&session_key, &[self.negotiate.as_slice(), token, &out].concat());
        if let Some(place) = out.get_mut(MIC_AT..MIC_AT + 16) {
            place.copy_from_slice(&mic);
        }
        self.directions = Some(Direction::both(&session_key));
        Ok(out)
    }
}

impl Mechanism for Client {
    fn scheme(&self) -> &'static str {
        "Negotiate"
    }

    fn protocol(&self) -> &'static str {
        "application/HTTP-SPNEGO-session-encrypted"
    }

    fn step(&mut self, token: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        match token {
            None if self.negotiate.is_empty() => Ok(Some(self.first())),
            Some(token) if !self.is_done => {
                self.is_done = true;
                self.third(token).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn seal(&mut self, message: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
        let (send, _) = self.directions.as_mut().ok_or("the login is not complete")?;
        Ok(send.seal(message))
    }

    fn unseal(&mut self, signature: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, String> {
        let (_, take) = self.directions.as_mut().ok_or("the login is not complete")?;
        take.unseal(signature, ciphertext)
    }
}

fn head(kind: u32) -> Vec<u8> {
    [MAGIC.as_slice(), &kind.to_le_bytes()].concat()
}

impl Challenge {
    fn read(token: &[u8]) -> Result<Self, String> {
        let number = |at: usize| -> Option<u32> {
            token.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map(u32::from_le_bytes)
        };
        let short = |at: usize| token.get(at..at + 2).and_then(|octets| octets.try_into().ok()).map(u16::from_le_bytes);
        let read = || {
            if token.get(..8)? != MAGIC || number(8)? != 2 {
                return None;
            }
            let nonce = token.get(24..32)?.try_into().ok()?;
            let (size, at) = (usize::from(short(40)?), usize::try_from(number(44)?).ok()?);
            let pairs = read_pairs(token.get(at..at.checked_add(size)?)?)?;
            Some(Self { flags: number(20)?, nonce, pairs })
        };
        read().ok_or_else(|| "the server's token is no NTLM challenge".to_owned())
    }
}

fn read_pairs(mut info: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let mut pairs = Vec::new();
    while let Some((kind, rest)) = info.split_first_chunk::<2>() {
        let (size, rest) = rest.split_first_chunk::<2>()?;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*size)))?;
        match u16::from_le_bytes(*kind) {
            END => break,
            kind => pairs.push((kind, value.to_vec())),
        }
        info = rest;
    }
    Some(pairs)
}

fn write_pairs(pairs: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, value) in pairs {
        out.extend(kind.to_le_bytes());
        out.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
        out.extend(value);
    }
    out.extend([0; 4]);
    out
}

/// The time as Windows counts it, for servers that send none.
#[expect(clippy::disallowed_methods, reason = "a proof holds the time; the server compares it with its own")]
fn now() -> Vec<u8> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ticks = (since.as_secs() + EPOCH_SECONDS) * 10_000_000 + u64::from(since.subsec_nanos()) / 100;
    ticks.to_le_bytes().to_vec()
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    use ring::rand::SecureRandom as _;
    let mut out = [0; N];
    ring::rand::SystemRandom::new().fill(&mut out).map_err(|_| "no randomness".to_owned())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(flags: u32) -> Vec<u8> {
        let info = write_pairs(&[(2, utf16("D")), (TIMESTAMP, vec![7; 8])]);
        let mut out = head(2);
        out.extend([0; 8]);
        out.extend(flags.to_le_bytes());
        out.extend([0x11; 8]);
        out.extend([0; 8]);
        let size = u16::try_from(info.len()).unwrap().to_le_bytes();
        out.extend(size);
        out.extend(size);
        out.extend(56_u32.to_le_bytes());
        out.extend(VERSION);
        out.extend(info);
        out
    }

    #[test]
    fn three_messages_make_a_login() {
        let mut client = Client::new("D\\alice", "secret", "h", Some(b"certificate")).unwrap();
        let first = client.step(None).unwrap().unwrap();
        assert_eq!(first.len(), 40);
        assert!(client.seal(b"x").is_err());
        let challenge = challenge(FLAGS);
        let third = client.step(Some(&challenge)).unwrap().unwrap();
        assert_eq!(client.step(Some(b"")).unwrap(), None);
        let short = |at: usize| usize::from(u16::from_le_bytes(third[at..at + 2].try_into().unwrap()));
        let field = |at: usize| &third[short(at + 4)..short(at + 4) + short(at)];
        assert_eq!((field(28), field(36)), (utf16("D").as_slice(), utf16("alice").as_slice()));
        // The proof is that of the password, and the integrity code that of the session's key.
        let (proof, blob) = field(20).split_at(16);
        let key = one_way("alice", "D", "secret");
        assert_eq!(proof, hmac_md5(&key, &[&[0x11; 8], blob].concat()));
        let session_key = Rc4::new(&hmac_md5(&key, proof)).apply(field(52));
        let mut without = third.clone();
        without[MIC_AT..MIC_AT + 16].fill(0);
        let mic = hmac_md5(&session_key, &[first.as_slice(), &challenge, &without].concat());
        assert_eq!(&third[MIC_AT..MIC_AT + 16], mic);
        let (mut taken, _) = Direction::both(&session_key);
        let (signature, ciphertext) = client.seal(b"hello").unwrap();
        assert_eq!(taken.unseal(&signature, &ciphertext).unwrap(), b"hello");
    }

    #[test]
    fn bad_challenges_are_told() {
        for token in [b"".to_vec(), head(2), challenge(1), challenge(FLAGS)[..60].to_vec()] {
            let mut client = Client::new("alice", "", "h", None).unwrap();
            client.step(None).unwrap();
            assert!(client.step(Some(&token)).is_err());
        }
        assert!(Client::new("", "", "h", None).is_err());
    }
}
