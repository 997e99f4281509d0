//! Damage to requests: octets, tags and texts of the envelope, its encoding, and the HTTP around it. Everything follows
//! from one number, so that a run can be repeated.

use std::fmt::Write as _;

use crate::wire::Login;

/// A source of numbers (xorshift64*): good enough to choose damage by, and the same everywhere.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// A number below `end`; 0 when that is 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        usize::try_from(drawn).unwrap_or(0).checked_rem(end).unwrap_or(0)
    }

    /// Whether something happens that happens once in `times`.
    fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'t, T>(&mut self, choices: &'t [T]) -> Option<&'t T> {
        choices.get(self.below(choices.len()))
    }

    /// A range within a text of this length.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length);
        let longest = if self.once_in(4) { length } else { 24 };
        start..(start + self.below(longest) + 1).min(length)
    }
}

/// Texts that parsers stumble over, and those that other code is reached by.
const TEXTS: &[&str] = &[
    "",
    "0",
    "-1",
    "1",
    "65536",
    "4294967295",
    "4294967296",
    "18446744073709551616",
    "99999999999999999999",
    "1e9",
    "PT0S",
    "PT1S",
    "P",
    "-PT1S",
    "PT999999999999999999999S",
    "P1Y2M3DT4H5M6.789S",
    "2026-01-01T00:00:00Z",
    "true",
    "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get",
    "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put",
    "http://schemas.xmlsoap.org/ws/2004/09/transfer/Create",
    "http://schemas.xmlsoap.org/ws/2004/09/transfer/Delete",
    "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate",
    "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull",
    "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Release",
    "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Renew",
    "http://schemas.xmlsoap.org/ws/2004/08/eventing/Subscribe",
    "http://schemas.xmlsoap.org/ws/2004/08/eventing/Renew",
    "http://schemas.xmlsoap.org/ws/2004/08/eventing/Unsubscribe",
    "http://schemas.dmtf.org/wbem/wscim/1/*",
    "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*",
    "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ManagedElement",
    "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/*",
    "http://schemas.microsoft.com/wbem/wsman/1/config",
    "http://schemas.microsoft.com/wbem/wsman/1/config/listener",
    "http://schemas.microsoft.com/wbem/wsman/1/WQL",
    "http://schemas.dmtf.org/wbem/wsman/1/wsman/SelectorFilter",
    "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter",
    "http://www.w3.org/TR/1999/REC-xpath-19991116",
    "http://schemas.dmtf.org/wbem/wsman/1/wsman/Pull",
    "select * from CIM_ManagedElement",
    "select * from Msvm_ConcreteJob where JobState = 7 or JobState <> 2",
    "select a,,b from",
    "ASSOCIATORS OF {Msvm_ComputerSystem.Name='x'}",
    "REFERENCES OF {",
    "//*[",
    "/a/b[1]/@c",
    "root/virtualization/v2",
    "root\\interop",
    "root/none",
    "\u{0}",
    "\u{FFFE}",
    "\u{1F600}",
    "&#x0;",
    "&amp;",
    "]]>",
    "<a/>",
    "<![CDATA[<b>]]>",
    "xsi:nil=\"true\"",
    "s:mustUnderstand=\"1\"",
    "<!DOCTYPE a [<!ENTITY b \"c\">]>&b;",
    "<?pi x?>",
    "<!-- - -->",
    "xmlns:p=\"\"",
    "&b;",
    "uuid:00000000-0000-0000-0000-000000000000",
];

const MEDIA_TYPES: &[&str] = &[
    "",
    "application/soap+xml",
    "application/soap+xml;charset=UTF-16",
    "application/soap+xml; charset=\"utf-8\"",
    "text/xml",
    "Application/SOAP+XML;Charset=utf-8;action=\"x\"",
    "application/bogus",
    "multipart/related",
    ";;=",
    "multipart/encrypted;protocol=\"application/HTTP-SPNEGO-session-encrypted\";boundary=\"Encrypted Boundary\"",
];

const PATHS: &[&str] = &["/wsman/", "/wsman?PSVersion=5.1", "/wsman-anon/identify", "/", "/wsman/%00", "/wsmanx", "*"];

/// A damaged request.
#[derive(Debug)]
pub(crate) struct Damaged {
    /// The body as it goes out.
    pub(crate) body: Vec<u8>,
    /// Its path.
    pub(crate) path: &'static str,
    /// Its Content-Type, empty for none.
    pub(crate) media_type: &'static str,
    /// Sent in chunks of this many octets.
    chunk: Option<usize>,
    /// A Content-Length that differs from the body's by so much.
    length_off: Option<i64>,
    /// Whether what follows the request on the connection is no request: nothing may be sent behind it.
    pub(crate) breaks_framing: bool,
}

impl Damaged {
    /// One of the seeds, damaged.
    pub(crate) fn of(seeds: &[Vec<u8>], dice: &mut Dice) -> Self {
        let mut body = dice.of(seeds).cloned().unwrap_or_default();
        for _ in 0..=dice.below(2) {
            damage_body(&mut body, seeds, dice);
        }
        if dice.once_in(24)
            && let Ok(text) = std::str::from_utf8(&body)
        {
            body = utf16(text, dice);
        }
        let mut damaged = Self {
            body,
            path: "/wsman",
            media_type: "application/soap+xml;charset=UTF-8",
            chunk: None,
            length_off: None,
            breaks_framing: false,
        };
        if dice.once_in(12) {
            damaged.damage_http(dice);
        }
        damaged
    }

    fn damage_http(&mut self, dice: &mut Dice) {
        match dice.below(4) {
            0 => self.media_type = dice.of(MEDIA_TYPES).copied().unwrap_or_default(),
            1 => self.path = dice.of(PATHS).copied().unwrap_or("/wsman"),
            2 => self.chunk = Some(dice.below(64) + 1),
            _ => {
                let off = i64::try_from(dice.below(64)).unwrap_or(0) - 32;
                self.length_off = Some(off);
                self.breaks_framing = off != 0;
            }
        }
    }

    /// The request as it goes out.
    pub(crate) fn octets(&self, login: &Login) -> Vec<u8> {
        let mut head = format!("POST {} HTTP/1.1\r\nHost: x\r\n{}", self.path, login.line());
        if !self.media_type.is_empty() {
            head.push_str("Content-Type: ");
            head.push_str(self.media_type);
            head.push_str("\r\n");
        }
        let mut out;
        if let Some(size) = self.chunk {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            out = head.into_bytes();
            for piece in self.body.chunks(size) {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        } else {
            let length = i64::try_from(self.body.len()).unwrap_or(0) + self.length_off.unwrap_or(0);
            _ = write!(head, "Content-Length: {}\r\n\r\n", length.max(0));
            out = head.into_bytes();
            out.extend_from_slice(&self.body);
        }
        out
    }
}

fn damage_body(body: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut Dice) {
    let length = body.len();
    match dice.below(12) {
        0 => {
            let at = dice.below(length);
            if let Some(octet) = body.get_mut(at) {
                *octet ^= 1 << dice.below(8);
            }
        }
        1 => drop(body.drain(dice.range(length))),
        2 => {
            let copy = body.get(dice.range(length)).unwrap_or_default().to_vec();
            insert(body, dice.below(length + 1), &copy);
        }
        3 => {
            let other = dice.of(seeds).map_or(&[][..], Vec::as_slice);
            let piece = other.get(dice.range(other.len())).unwrap_or_default().to_vec();
            insert(body, dice.below(length + 1), &piece);
        }
        4 => body.truncate(dice.below(length + 1)),
        5 => insert(body, dice.below(length + 1), dice.of(TEXTS).copied().unwrap_or_default().as_bytes()),
        6 | 7 => replace_text(body, dice),
        8 => element(body, dice, |_, _| Vec::new()),
        9 => element(body, dice, |element, dice| element.repeat(1 + dice.below(8))),
        10 => attribute(body, dice),
        // An undamaged request now and then, or one that only went through the other steps.
        _ => {}
    }
}

fn insert(body: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = at.min(body.len());
    body.splice(at..at, piece.iter().copied());
}

/// Puts another text between two tags.
fn replace_text(body: &mut Vec<u8>, dice: &mut Dice) {
    let ends: Vec<usize> = positions(body, b'>');
    let Some(end) = dice.of(&ends).copied() else { return };
    let rest = body.get(end + 1..).unwrap_or_default();
    let Some(length) = rest.iter().position(|octet| *octet == b'<') else { return };
    let text = dice.of(TEXTS).copied().unwrap_or_default();
    body.splice(end + 1..end + 1 + length, text.bytes());
}

/// Changes what stands from one tag's start to the end of an element that has its name.
fn element(body: &mut Vec<u8>, dice: &mut Dice, change: impl FnOnce(&[u8], &mut Dice) -> Vec<u8>) {
    let starts: Vec<usize> = positions(body, b'<');
    let Some(start) = dice.of(&starts).copied() else { return };
    let name: Vec<u8> =
        body.get(start + 1..).unwrap_or_default().iter().copied().take_while(|o| !b" />\r\n\t".contains(o)).collect();
    let close = [b"</", name.as_slice(), b">"].concat();
    let rest = body.get(start..).unwrap_or_default();
    let Some(length) = rest.windows(close.len()).position(|window| window == close) else { return };
    let range = start..start + length + close.len();
    let changed = change(body.get(range.clone()).unwrap_or_default(), dice);
    body.splice(range, changed);
}

/// Puts another text between two quotation marks.
fn attribute(body: &mut Vec<u8>, dice: &mut Dice) {
    let quotes: Vec<usize> = positions(body, b'"');
    let Some(start) = dice.of(&quotes).copied() else { return };
    let rest = body.get(start + 1..).unwrap_or_default();
    let Some(length) = rest.iter().position(|octet| *octet == b'"') else { return };
    let text = dice.of(TEXTS).copied().unwrap_or_default();
    body.splice(start + 1..start + 1 + length, text.bytes());
}

fn positions(body: &[u8], wanted: u8) -> Vec<usize> {
    (0..).zip(body).filter(|(_, octet)| **octet == wanted).map(|(at, _)| at).collect()
}

fn utf16(text: &str, dice: &mut Dice) -> Vec<u8> {
    let big = dice.once_in(2);
    let mut out = if big { vec![0xFE, 0xFF] } else { vec![0xFF, 0xFE] };
    for unit in text.encode_utf16() {
        out.extend_from_slice(&if big { unit.to_be_bytes() } else { unit.to_le_bytes() });
    }
    if dice.once_in(4) {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_number_does_the_same_damage() {
        let seeds = vec![b"<a><b c=\"d\">e</b></a>".to_vec(), b"<f/>".to_vec()];
        let bodies = |seed| {
            let mut dice = Dice::new(seed);
            (0..500).map(|_| Damaged::of(&seeds, &mut dice).body).collect::<Vec<_>>()
        };
        assert_eq!(bodies(7), bodies(7));
        assert_ne!(bodies(7), bodies(8));
        let whole = bodies(7).iter().filter(|body| seeds.contains(body)).count();
        assert!((1..250).contains(&whole), "{whole} of 500 are undamaged");
    }

    #[test]
    fn chunks_and_lengths_are_as_said() {
        let mut damaged = Damaged::of(&[b"abc".to_vec()], &mut Dice::new(1));
        (damaged.body, damaged.chunk, damaged.length_off) = (b"abcde".to_vec(), Some(4), None);
        let login = Login::basic("u", "p");
        assert!(damaged.octets(&login).ends_with(b"4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n"));
        (damaged.chunk, damaged.length_off) = (None, Some(-2));
        assert!(damaged.octets(&login).ends_with(b"Content-Length: 3\r\n\r\nabcde"));
    }
}
