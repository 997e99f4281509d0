//! Sealed messages as they go over HTTP: `multipart/encrypted` and `multipart/x-multi-encrypted` (MS-WSMV 2.2.9.1).
//! Framing only, without I/O and without keys; [`Sealed::open`] and [`seal`] lend both to a [`SecurityContext`].
//!
//! ```text
//! --Encrypted Boundary␍␊
//! ␉Content-Type: application/HTTP-SPNEGO-session-encrypted␍␊
//! ␉OriginalContent: type=application/soap+xml;charset=UTF-8;Length=390␍␊
//! --Encrypted Boundary␍␊
//! ␉Content-Type: application/octet-stream␍␊
//! <u32 LE: octets of the signature><signature><ciphertext>--Encrypted Boundary--␍␊
//! ```
//! It looks like MIME (RFC 2046) and is not: no empty line ends the headers, no line end comes before a delimiter, and
//! some clients begin the headers with a tab and take only answers that do, while others take only answers that do not.
//! So an answer mirrors its request: see [`Style`]. The second media type repeats the pair of parts for each 16 KiB.

use std::str;

use super::protection::{SealError, SecurityContext};

/// The boundary that every implementation uses, though the header may name another.
const BOUNDARY: &str = "Encrypted Boundary";
/// The longest boundary, and the most octets of one header line.
const LINE_OCTETS_MAX: usize = 512;
/// Octets that framing and sealing may add to a message, for each part of 16 KiB and once more.
const PART_OVERHEAD_OCTETS: u64 = 1024;
/// The smallest part that a client splits a message into.
const PART_OCTETS: u64 = 16 * 1024;

/// The largest sealed body that holds a message of `octets`.
pub fn sealed_octets_max(octets: u64) -> u64 {
    octets.saturating_add((octets / PART_OCTETS).saturating_add(2).saturating_mul(PART_OVERHEAD_OCTETS))
}

/// What is wrong with the framing of a sealed message; said to the client, for it tells nothing of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header names a protocol that is none of the three.
    #[error("its protocol is none of application/HTTP-SPNEGO-, -Kerberos- and -CredSSP-session-encrypted")]
    Protocol,
    /// The header has no boundary, or one that is empty or too long.
    #[error("its Content-Type names no boundary")]
    Boundary,
    /// A delimiter, a header line or the closing delimiter is not where it must be.
    #[error("it has no {0} where one must be")]
    Missing(&'static str),
    /// The signature is said to be longer than the part.
    #[error("the signature is said to be longer than the part that holds it")]
    Signature,
    /// `OriginalContent` cannot be read.
    #[error("OriginalContent does not have the form type=TYPE;Length=OCTETS")]
    OriginalContent,
    /// The parts name different contents.
    #[error("its parts name different OriginalContent types")]
    Mixed,
    /// A message is not as long as its `Length` says.
    #[error("Length says {said} octets, the message has {found}")]
    Length {
        /// As declared.
        said: usize,
        /// As opened.
        found: usize,
    },
}

/// Why a sealed message was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The framing.
    #[error("the sealed message is damaged: {0}")]
    Frame(#[from] FrameError),
    /// The keys do not open it.
    #[error("the sealed message cannot be opened: {0}")]
    Seal(#[from] SealError),
}

/// The words of the `protocol` parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Negotiate; Kerberos too, as most clients call it.
    Spnego,
    /// Kerberos, as some call it.
    Kerberos,
    /// CredSSP.
    CredSsp,
}

impl Protocol {
    const ALL: [Self; 3] = [Self::Spnego, Self::Kerberos, Self::CredSsp];

    /// The media type that stands for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Spnego => "application/HTTP-SPNEGO-session-encrypted",
            Self::Kerberos => "application/HTTP-Kerberos-session-encrypted",
            Self::CredSsp => "application/HTTP-CredSSP-session-encrypted",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.as_str().eq_ignore_ascii_case(text))
    }
}

/// What the `Content-Type` of a sealed message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    protocol: Protocol,
    boundary: String,
    /// `multipart/x-multi-encrypted`.
    multi: bool,
}

impl Declared {
    /// Read a `Content-Type`. None when it is not that of a sealed message.
    pub fn parse(content_type: &str) -> Option<Result<Self, FrameError>> {
        let mut parts = split_parameters(content_type);
        let essence = parts.next().unwrap_or_default();
        let multi = essence.eq_ignore_ascii_case("multipart/x-multi-encrypted");
        if !multi && !essence.eq_ignore_ascii_case("multipart/encrypted") {
            return None;
        }
        let (mut protocol, mut boundary) = (None, None);
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            if name.trim().eq_ignore_ascii_case("protocol") {
                protocol = Protocol::parse(value);
            } else if name.trim().eq_ignore_ascii_case("boundary") {
                boundary = Some(value).filter(|it| !it.is_empty() && it.len() <= LINE_OCTETS_MAX / 2);
            }
        }
        Some(match (protocol, boundary) {
            (Some(protocol), Some(boundary)) => Ok(Self { protocol, boundary: boundary.to_owned(), multi }),
            (None, _) => Err(FrameError::Protocol),
            (_, None) => Err(FrameError::Boundary),
        })
    }
}

/// The `;`-separated parts of a media type, trimmed; a quoted string may hold a `;`.
pub fn split_parameters(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |c| {
            quoted ^= c == '"';
            c == ';' && !quoted
        })
        .map(str::trim)
}

/// How a client writes its sealed messages, and so wants to read the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The word for the mechanism.
    pub protocol: Protocol,
    /// Whether a tab begins the header lines.
    pub tab: bool,
}

/// A sealed message, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed<'b> {
    /// How it is written.
    pub style: Style,
    /// The media type of the message within.
    pub content_type: &'b str,
    parts: Vec<Part<'b>>,
}

/// One sealed piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part<'b> {
    /// Octets of the piece in clear.
    octets: usize,
    signature_octets: usize,
    /// Signature and ciphertext.
    token: &'b [u8],
}

/// A message that was opened.
#[derive(Clone, PartialEq, Eq)]
pub struct Opened {
    /// Its media type.
    pub content_type: String,
    /// Its octets.
    pub message: Vec<u8>,
    /// How to write the answer.
    pub style: Style,
}

impl<'b> Sealed<'b> {
    /// Take the body of a message apart.
    pub fn parse(declared: &Declared, body: &'b [u8]) -> Result<Self, FrameError> {
        let delimiter = format!("--{}", declared.boundary);
        let body = body.strip_suffix(b"\r\n").unwrap_or(body);
        let body = body.strip_suffix(b"--").and_then(|body| body.strip_suffix(delimiter.as_bytes()));
        let mut rest = body.ok_or(FrameError::Missing("closing delimiter"))?;
        let mut sealed: Option<Self> = None;
        loop {
            let mut lines = Lines { rest, tab: None };
            lines.delimiter(&delimiter)?;
            let protocol = lines.header("Content-Type")?;
            if Protocol::parse(protocol) != Some(declared.protocol) {
                return Err(FrameError::Protocol);
            }
            let original = lines.header("OriginalContent")?;
            let (content_type, octets) = original_content(original).ok_or(FrameError::OriginalContent)?;
            lines.delimiter(&delimiter)?;
            let octet_stream = lines.header("Content-Type")?;
            if !octet_stream.eq_ignore_ascii_case("application/octet-stream") {
                return Err(FrameError::Missing("part of the type application/octet-stream"));
            }
            let style = Style { protocol: declared.protocol, tab: lines.tab == Some(true) };
            // What follows is binary. Only where there may be several parts is the next one searched for, by all that
            // its head begins with.
            let next = if declared.multi { find_part(lines.rest, &delimiter, declared.protocol) } else { None };
            let (payload, after) = lines.rest.split_at(next.unwrap_or(lines.rest.len()));
            let part = Part::parse(octets, payload)?;
            match &mut sealed {
                None => sealed = Some(Self { style, content_type, parts: vec![part] }),
                Some(sealed) if sealed.content_type == content_type => sealed.parts.push(part),
                Some(_) => return Err(FrameError::Mixed),
            }
            if next.is_none() {
                return sealed.ok_or(FrameError::Missing("part"));
            }
            rest = after;
        }
    }

    /// Open the message. After an error the context must not be used again.
    pub fn open(&self, context: &mut dyn SecurityContext) -> Result<Opened, OpenError> {
        let room = self.parts.iter().map(|part| part.token.len()).sum();
        let mut message = Vec::with_capacity(room);
        for part in &self.parts {
            let before = message.len();
            context.unseal(Some(part.signature_octets), part.token, &mut message)?;
            let found = message.len().saturating_sub(before);
            if found != part.octets {
                return Err(FrameError::Length { said: part.octets, found }.into());
            }
        }
        strip_padding(&mut message, self.content_type);
        Ok(Opened { content_type: self.content_type.to_owned(), message, style: self.style })
    }
}

impl<'b> Part<'b> {
    fn parse(octets: usize, payload: &'b [u8]) -> Result<Self, FrameError> {
        let (length, token) = payload.split_first_chunk().ok_or(FrameError::Signature)?;
        let signature_octets = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        if signature_octets > token.len() {
            return Err(FrameError::Signature);
        }
        Ok(Self { octets, signature_octets, token })
    }
}

/// Reads the head of a part line by line.
struct Lines<'b> {
    rest: &'b [u8],
    /// Whether the last header began with a tab.
    tab: Option<bool>,
}

impl<'b> Lines<'b> {
    fn line(&mut self) -> Option<&'b [u8]> {
        let window = self.rest.get(..self.rest.len().min(LINE_OCTETS_MAX))?;
        let end = window.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.rest.get(..end)?;
        self.rest = self.rest.get(end + 2..)?;
        Some(line)
    }

    fn delimiter(&mut self, delimiter: &str) -> Result<(), FrameError> {
        match self.line() {
            Some(line) if line == delimiter.as_bytes() => Ok(()),
            _ => Err(FrameError::Missing("delimiter")),
        }
    }

    /// The value of the header that must come next.
    fn header(&mut self, name: &'static str) -> Result<&'b str, FrameError> {
        let line = self.line().and_then(|line| str::from_utf8(line).ok()).ok_or(FrameError::Missing(name))?;
        self.tab = Some(line.starts_with('\t'));
        let (found, value) = line.trim_start().split_once(':').ok_or(FrameError::Missing(name))?;
        if !found.eq_ignore_ascii_case(name) {
            return Err(FrameError::Missing(name));
        }
        Ok(value.trim())
    }
}

/// `type=TYPE;Length=OCTETS`, where TYPE has parameters of its own.
fn original_content(value: &str) -> Option<(&str, usize)> {
    let at = value.to_ascii_lowercase().rfind(";length=")?;
    let (kind, length) = value.split_at_checked(at)?;
    let octets = length.split_once('=')?.1.trim();
    let kind = kind.split_at_checked("type=".len()).filter(|(name, _)| name.eq_ignore_ascii_case("type="))?.1.trim();
    // parse() would take a sign.
    let digits = !octets.is_empty() && octets.bytes().all(|octet| octet.is_ascii_digit());
    if kind.is_empty() || !digits {
        return None;
    }
    Some((kind, octets.parse().ok()?))
}

/// Where the next pair of parts begins.
fn find_part(octets: &[u8], delimiter: &str, protocol: Protocol) -> Option<usize> {
    let heads = ["\t", ""].map(|tab| format!("{delimiter}\r\n{tab}Content-Type: {}\r\n", protocol.as_str()));
    let mut from = 0;
    loop {
        let rest = octets.get(from..)?;
        let dash = from + rest.iter().position(|octet| *octet == b'-')?;
        let candidate = octets.get(dash..)?;
        if heads.iter().any(|head| candidate.starts_with(head.as_bytes())) {
            return Some(dash);
        }
        from = dash + 1;
    }
}

/// Some clients fill a message up with NULs to a multiple of 16 octets and count them. XML has no NUL; in UTF-16 half
/// of a character may be one, so whole characters go there.
fn strip_padding(message: &mut Vec<u8>, content_type: &str) {
    let unit = if content_type.to_ascii_lowercase().contains("utf-16") { 2 } else { 1 };
    while message.len() >= unit && message.iter().rev().take(unit).all(|octet| *octet == 0) {
        message.truncate(message.len() - unit);
    }
}

/// A sealed message for the wire.
pub struct Framed {
    /// The value of the `Content-Type` header.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Seal a message of the given media type. After an error the context must not be used again.
pub fn seal(
    style: Style,
    context: &mut dyn SecurityContext,
    content_type: &str,
    message: &[u8],
) -> Result<Framed, SealError> {
    let protocol = style.protocol.as_str();
    let tab = if style.tab { "\t" } else { "" };
    let piece_octets = context.message_octets_max().max(1);
    let multi = message.len() > piece_octets;
    let mut body = Vec::with_capacity(message.len() + 512 * (message.len() / piece_octets + 2));
    let mut rest = message;
    // An empty message is one empty part.
    loop {
        let (piece, after) = rest.split_at(rest.len().min(piece_octets));
        let head = format!(
            "--{BOUNDARY}\r\n{tab}Content-Type: {protocol}\r\n{tab}OriginalContent: type={content_type};Length={}\r\n\
             --{BOUNDARY}\r\n{tab}Content-Type: application/octet-stream\r\n",
            piece.len()
        );
        body.extend_from_slice(head.as_bytes());
        let length_at = body.len();
        body.extend_from_slice(&[0; 4]);
        let signature_octets = context.seal(piece, &mut body)?;
        let length = u32::try_from(signature_octets).map_err(|_| SealError("the signature is too long"))?;
        if let Some(place) = body.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_le_bytes());
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    body.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
    let essence = if multi { "multipart/x-multi-encrypted" } else { "multipart/encrypted" };
    Ok(Framed { content_type: format!("{essence};protocol=\"{protocol}\";boundary=\"{BOUNDARY}\""), body })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Seals with a sum and a xor: enough to see what went where.
    struct Toy {
        piece_octets: usize,
    }

    impl SecurityContext for Toy {
        fn unseal(&mut self, signature: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
            let (sum, sealed) = token.split_at_checked(signature.unwrap()).ok_or(SealError("short"))?;
            let start = out.len();
            out.extend(sealed.iter().map(|octet| octet ^ 0x5a));
            let found = out[start..].iter().fold(0_u8, |sum, octet| sum.wrapping_add(*octet));
            if sum == [found, 7] { Ok(()) } else { Err(SealError("sum")) }
        }
        fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
            out.push(message.iter().fold(0_u8, |sum, octet| sum.wrapping_add(*octet)));
            out.push(7);
            out.extend(message.iter().map(|octet| octet ^ 0x5a));
            Ok(2)
        }
        fn message_octets_max(&self) -> usize {
            self.piece_octets
        }
    }

    const SOAP: &str = "application/soap+xml;charset=UTF-8";
    const STYLE: Style = Style { protocol: Protocol::Spnego, tab: true };

    fn open(framed: &Framed) -> Result<Opened, OpenError> {
        let declared = Declared::parse(&framed.content_type).expect("sealed")?;
        Sealed::parse(&declared, &framed.body)?.open(&mut Toy { piece_octets: 0 })
    }

    fn sealed(message: &[u8]) -> Framed {
        seal(STYLE, &mut Toy { piece_octets: usize::MAX }, SOAP, message).unwrap()
    }

    #[test]
    fn a_message_is_framed_as_clients_expect_it() {
        let framed = sealed(b"<x/>");
        let expected = "multipart/encrypted;protocol=\"application/HTTP-SPNEGO-session-encrypted\";\
                        boundary=\"Encrypted Boundary\"";
        assert_eq!(framed.content_type, expected);
        let mut body = b"--Encrypted Boundary\r\n\tContent-Type: application/HTTP-SPNEGO-session-encrypted\r\n\
            \tOriginalContent: type=application/soap+xml;charset=UTF-8;Length=4\r\n--Encrypted Boundary\r\n\
            \tContent-Type: application/octet-stream\r\n"
            .to_vec();
        body.extend_from_slice(&[2, 0, 0, 0, 0x21, 7, b'<' ^ 0x5a, b'x' ^ 0x5a, b'/' ^ 0x5a, b'>' ^ 0x5a]);
        body.extend_from_slice(b"--Encrypted Boundary--\r\n");
        assert_eq!(String::from_utf8_lossy(&framed.body), String::from_utf8_lossy(&body));
        let opened = open(&framed).unwrap();
        assert_eq!((opened.content_type.as_str(), &opened.message[..], opened.style), (SOAP, &b"<x/>"[..], STYLE));
    }

    #[test]
    fn the_tab_is_seen_and_mirrored() {
        let style = Style { protocol: Protocol::Kerberos, tab: false };
        let framed = seal(style, &mut Toy { piece_octets: 100 }, SOAP, b"x").unwrap();
        assert!(!framed.body.contains(&b'\t'));
        assert_eq!(open(&framed).unwrap().style, style);
    }

    #[test]
    fn long_messages_are_split_where_the_context_says_so() {
        let message: Vec<u8> = (0..40_000_u32).map(|at| u8::try_from(at % 251 + 1).unwrap()).collect();
        let framed = seal(STYLE, &mut Toy { piece_octets: 16_384 }, SOAP, &message).unwrap();
        assert!(framed.content_type.starts_with("multipart/x-multi-encrypted;"));
        assert_eq!(open(&framed).unwrap().message, message);
    }

    #[test]
    fn a_delimiter_in_the_ciphertext_is_ciphertext() {
        for text in
            ["--Encrypted Boundary--\r\n", "--Encrypted Boundary\r\n\tContent-Type: application/octet-stream\r\n"]
        {
            let message: Vec<u8> = text.bytes().map(|octet| octet ^ 0x5a).collect();
            assert_eq!(open(&sealed(&message)).unwrap().message, message);
        }
    }

    #[test]
    fn padding_is_taken_off_by_characters() {
        for (content_type, message, left) in [
            (SOAP, &b"<x/>\0\0\0"[..], &b"<x/>"[..]),
            (SOAP, b"\0\0", b""),
            ("application/soap+xml;charset=UTF-16", b"<\0>\0\0\0\0\0", b"<\0>\0"),
            ("application/soap+xml;charset=utf-16", b"\0<\0>\0\0", b"\0<\0>"),
        ] {
            let framed = seal(STYLE, &mut Toy { piece_octets: 100 }, content_type, message).unwrap();
            assert_eq!(open(&framed).unwrap().message, left, "{content_type}");
        }
    }

    #[test]
    fn what_is_damaged_is_named() {
        let good = sealed(b"<x/>");
        let text = |from: &str, to: &str| {
            let body = good.body.clone();
            let at = (0..body.len()).find(|at| body[*at..].starts_with(from.as_bytes())).expect(from);
            let body = [&body[..at], to.as_bytes(), &body[at + from.len()..]].concat();
            open(&Framed { content_type: good.content_type.clone(), body }).err()
        };
        let frame = |error| Some(OpenError::Frame(error));
        assert_eq!(text("", ""), None);
        assert_eq!(text("Boundary--\r\n", "Boundary\r\n"), frame(FrameError::Missing("closing delimiter")));
        assert_eq!(text("Length=4", "Length=5"), frame(FrameError::Length { said: 5, found: 4 }));
        for bad in ["Length=", "Length=+4", "Length=-4", "Length=4x", "Size=4", "Length=99999999999999999999999"] {
            assert_eq!(text("Length=4", bad), frame(FrameError::OriginalContent), "{bad}");
        }
        assert_eq!(text("type=application", "application"), frame(FrameError::OriginalContent));
        assert_eq!(text("OriginalContent", "Original"), frame(FrameError::Missing("OriginalContent")));
        assert_eq!(text("HTTP-SPNEGO", "HTTP-Kerberos"), frame(FrameError::Protocol));
        assert_eq!(
            text("octet-stream", "soap"),
            frame(FrameError::Missing("part of the type application/octet-stream"))
        );
        assert_eq!(text("\u{2}\0\0\0", "\u{7f}\u{7f}\u{7f}\u{7f}"), frame(FrameError::Signature));
        assert_eq!(text("!\u{7}", "?\u{7}"), Some(OpenError::Seal(SealError("sum"))));
        let mut split = seal(STYLE, &mut Toy { piece_octets: 2 }, SOAP, b"<x/>").unwrap();
        let at = (0..split.body.len()).find(|at| split.body[*at..].starts_with(b"UTF-8")).unwrap();
        split.body[at + 4] = b'9';
        assert_eq!(open(&split).err(), frame(FrameError::Mixed));
    }

    #[test]
    fn the_header_must_name_protocol_and_boundary() {
        let parse = |value: &str| Declared::parse(value).map(Result::err);
        assert_eq!(parse("application/soap+xml"), None);
        assert_eq!(parse("multipart/encrypted"), Some(Some(FrameError::Protocol)));
        let protocol = "protocol=\"application/HTTP-spnego-session-encrypted\"";
        assert_eq!(parse(&format!("multipart/encrypted;{protocol}")), Some(Some(FrameError::Boundary)));
        assert_eq!(parse(&format!("Multipart/Encrypted; {protocol}; boundary=x")), Some(None));
        assert_eq!(parse("multipart/encrypted;protocol=x;boundary=y"), Some(Some(FrameError::Protocol)));
    }

    proptest! {
        #[test]
        fn anything_may_come(body in proptest::collection::vec(any::<u8>(), 0..400), multi: bool, cut in 0_usize..400) {
            let declared = Declared { protocol: Protocol::Spnego, boundary: BOUNDARY.to_owned(), multi };
            let _ = Sealed::parse(&declared, &body);
            let good = sealed(&body).body;
            let _ = Sealed::parse(&declared, &good[..cut.min(good.len())]);
        }

        #[test]
        fn what_is_sealed_opens(message in proptest::collection::vec(1_u8.., 0..2000), piece_octets in 1_usize..700) {
            let framed = seal(STYLE, &mut Toy { piece_octets }, SOAP, &message).unwrap();
            prop_assert_eq!(open(&framed).unwrap().message, message);
        }
    }
}
