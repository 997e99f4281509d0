//! Octets to text and back: UTF-8 and UTF-16, strictly, answered as asked.
//!
//! In order: a byte order mark; the shape of the first two octets (`<` in UTF-16); the charset parameter of the
//! Content-Type; the encoding that the XML declaration names. An answer is written in the encoding of its request, with
//! a byte order mark if a UTF-16 request had one; UTF-8 answers never carry one.

use std::borrow::Cow;

/// The encoding of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8, written without a byte order mark.
    #[default]
    Utf8,
    /// UTF-16, little-endian.
    Utf16Le {
        /// Whether it begins with a byte order mark.
        bom: bool,
    },
    /// UTF-16, big-endian.
    Utf16Be {
        /// Whether it begins with a byte order mark.
        bom: bool,
    },
}

impl Encoding {
    /// The name for a Content-Type's charset parameter.
    pub const fn charset(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Utf16Le { bom: true } | Self::Utf16Be { bom: true } => "UTF-16",
            Self::Utf16Le { bom: false } => "UTF-16LE",
            Self::Utf16Be { bom: false } => "UTF-16BE",
        }
    }
}

/// Why octets are not text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The charset parameter or the XML declaration names an encoding that is not spoken here.
    #[error("the encoding {0:?} is not supported; UTF-8 and UTF-16 are")]
    UnknownCharset(String),
    /// Not valid in the encoding it is in.
    #[error("octet {offset} is not valid {charset}")]
    Malformed {
        /// Name of the encoding.
        charset: &'static str,
        /// Octets before the first that is wrong, the byte order mark counted.
        offset: usize,
    },
}

impl TextError {
    /// The encoding to answer in: that of the request as far as it is known (DSP0226 R13.1-5: UTF-8 otherwise).
    pub fn answer_in(&self) -> Encoding {
        match self {
            Self::Malformed { charset: "UTF-16LE", .. } => Encoding::Utf16Le { bom: true },
            Self::Malformed { charset: "UTF-16BE", .. } => Encoding::Utf16Be { bom: true },
            _ => Encoding::Utf8,
        }
    }
}

/// Decode a message. `charset` is the parameter of its Content-Type, if it had one. UTF-8 is borrowed.
//= ENV-07, ENV-10, ENV-23
pub fn decode<'a>(octets: &'a [u8], charset: Option<&str>) -> Result<(Cow<'a, str>, Encoding), TextError> {
    match octets {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest, 3),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, Encoding::Utf16Le { bom: true }),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, Encoding::Utf16Be { bom: true }),
        // No UTF-8 document can begin like this.
        [b'<', 0, ..] => utf16(octets, Encoding::Utf16Le { bom: false }),
        [0, b'<', ..] => utf16(octets, Encoding::Utf16Be { bom: false }),
        _ => match charset.map(|name| name.trim_matches(|c: char| c == '"' || c == '\'' || c.is_whitespace())) {
            Some(name) if !name.is_empty() => by_charset(octets, name),
            _ => {
                let declared = declared_encoding(octets);
                if declared.is_empty() || is_utf8_name(&declared) || is_name(&declared, "utf-16") {
                    // "UTF-16" on octets that are plainly not: something on the way recoded the message.
                    utf8(octets, 0)
                } else {
                    Err(TextError::UnknownCharset(declared))
                }
            }
        },
    }
}

fn by_charset<'a>(octets: &'a [u8], charset: &str) -> Result<(Cow<'a, str>, Encoding), TextError> {
    if is_utf8_name(charset) {
        return utf8(octets, 0);
    }
    // A declaration or an element in single octets, whatever the header says: a sender that labels wrongly.
    let plain = octets.starts_with(b"<") && octets.get(1).is_some_and(u8::is_ascii_graphic);
    if is_name(charset, "utf-16") || is_name(charset, "utf-16le") {
        return if plain { utf8(octets, 0) } else { utf16(octets, Encoding::Utf16Le { bom: false }) };
    }
    if is_name(charset, "utf-16be") {
        return if plain { utf8(octets, 0) } else { utf16(octets, Encoding::Utf16Be { bom: false }) };
    }
    Err(TextError::UnknownCharset(charset.chars().take(64).collect()))
}

fn is_name(name: &str, expected: &str) -> bool {
    let letters =
        |s: &str| s.bytes().filter(|b| *b != b'-' && *b != b'_').map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    letters(name) == letters(expected)
}

fn is_utf8_name(name: &str) -> bool {
    is_name(name, "utf-8") || is_name(name, "us-ascii") || is_name(name, "ascii")
}

/// The encoding that an XML declaration in single octets names; empty when it names none.
fn declared_encoding(octets: &[u8]) -> String {
    let head = octets.get(..octets.len().min(256)).unwrap_or_default();
    let declaration = head.strip_prefix(b"<?xml").and_then(|rest| rest.split(|b| *b == b'>').next());
    let text = String::from_utf8_lossy(declaration.unwrap_or_default());
    let Some((_, after)) = text.split_once("encoding") else {
        return String::new();
    };
    let value = after.trim_start().trim_start_matches('=').trim_start();
    let mut parts = value.split(['"', '\'']);
    parts.nth(1).unwrap_or_default().chars().take(64).collect()
}

fn utf8(octets: &[u8], skipped: usize) -> Result<(Cow<'_, str>, Encoding), TextError> {
    let text = std::str::from_utf8(octets)
        .map_err(|error| TextError::Malformed { charset: "UTF-8", offset: skipped + error.valid_up_to() })?;
    Ok((Cow::Borrowed(text), Encoding::Utf8))
}

//= ENV-11
fn utf16<'a>(octets: &[u8], encoding: Encoding) -> Result<(Cow<'a, str>, Encoding), TextError> {
    let (little, bom) = match encoding {
        Encoding::Utf16Be { bom } => (false, bom),
        Encoding::Utf16Le { bom } => (true, bom),
        Encoding::Utf8 => (true, false),
    };
    let charset = if little { "UTF-16LE" } else { "UTF-16BE" };
    let skipped = if bom { 2 } else { 0 };
    let (pairs, rest) = octets.as_chunks::<2>();
    let units = pairs.iter().map(|pair| if little { u16::from_le_bytes(*pair) } else { u16::from_be_bytes(*pair) });
    let mut text = String::with_capacity(octets.len());
    let mut offset = skipped;
    for character in char::decode_utf16(units) {
        let character = character.map_err(|_| TextError::Malformed { charset, offset })?;
        offset += character.len_utf16() * 2;
        text.push(character);
    }
    if !rest.is_empty() {
        return Err(TextError::Malformed { charset, offset });
    }
    Ok((Cow::Owned(text), encoding))
}

/// Encode an answer, given as UTF-8. Octets that are not UTF-8 (none are ever written here) become U+FFFD.
//= ENV-08, ENV-10
pub fn encode(text: Vec<u8>, encoding: Encoding) -> Vec<u8> {
    let (little, bom) = match encoding {
        Encoding::Utf8 => return text,
        Encoding::Utf16Le { bom } => (true, bom),
        Encoding::Utf16Be { bom } => (false, bom),
    };
    let text = String::from_utf8_lossy(&text);
    let mut out = Vec::with_capacity(text.len() * 2 + 2);
    let mark = bom.then_some(0xFEFF);
    for unit in mark.into_iter().chain(text.encode_utf16()) {
        out.extend_from_slice(&if little { unit.to_le_bytes() } else { unit.to_be_bytes() });
    }
    out
}
