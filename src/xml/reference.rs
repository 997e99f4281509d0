//! Character and predefined entity references, line ends and the characters that XML 1.0 allows.

use super::error::XmlErrorKind;
use std::borrow::Cow;

/// Whether XML 1.0 allows this character (production `Char`).
pub(super) const fn is_xml_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..)
}

/// The first character that XML does not allow: its octet offset and code point.
pub(super) fn find_illegal(text: &str) -> Option<(usize, u32)> {
    // Two branch-free passes that the compiler turns into vector code; nearly all texts end here. Only U+FFFE and
    // U+FFFF are illegal above the controls, and both begin with the octet EF.
    let suspicious = |b: u8| (b < 0x20 && b != b'\t' && b != b'\n' && b != b'\r') || b == 0xEF;
    let any = text.as_bytes().chunks(64).any(|chunk| chunk.iter().fold(false, |found, b| found | suspicious(*b)));
    if !any {
        return None;
    }
    text.char_indices().find(|(_, c)| !is_xml_char(*c)).map(|(at, c)| (at, u32::from(c)))
}

/// Resolve one reference, given what stands between `&` and `;`.
pub(super) fn resolve(name: &str) -> Result<char, XmlErrorKind> {
    match name {
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "amp" => return Ok('&'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => {}
    }
    let Some(number) = name.strip_prefix('#') else {
        return Err(XmlErrorKind::Entity(name.chars().take(64).collect()));
    };
    let malformed = || XmlErrorKind::Malformed(String::from("a character reference is not a number"));
    let (digits, radix) = number.strip_prefix('x').map_or((number, 10), |digits| (digits, 16));
    // from_str_radix would take a sign.
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let significant = digits.trim_start_matches('0');
    if significant.len() > 8 {
        return Err(XmlErrorKind::IllegalCharacter(u32::MAX));
    }
    let code =
        u32::from_str_radix(if significant.is_empty() { "0" } else { significant }, radix).map_err(|_| malformed())?;
    char::from_u32(code).filter(|c| is_xml_char(*c)).ok_or(XmlErrorKind::IllegalCharacter(code))
}

/// Check every reference in an attribute value; the error comes with its offset in the value.
pub(super) fn check(value: &str) -> Result<(), (usize, XmlErrorKind)> {
    let mut at = 0;
    while let Some(found) = value.get(at..).and_then(|rest| rest.find('&')) {
        let start = at + found;
        let rest = value.get(start + 1..).unwrap_or_default();
        let Some(length) = rest.find(';') else {
            return Err((start, XmlErrorKind::Malformed(String::from("a reference has no end"))));
        };
        resolve(rest.get(..length).unwrap_or_default()).map_err(|kind| (start, kind))?;
        at = start + length + 2;
    }
    Ok(())
}

/// How white space in a raw text is treated.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    /// Character data: only line ends become LF (XML 1.0 section 2.11).
    LineEnds,
    /// Attribute values: every white space character becomes a blank (XML 1.0 section 3.3.3).
    Attribute,
}

/// Append a checked raw text with its references resolved and its white space normalised.
pub(super) fn unescape_into(out: &mut String, raw: &str, space: Space, references: bool) {
    let line_end = if space == Space::Attribute { ' ' } else { '\n' };
    let mut rest = raw;
    while let Some(at) = rest.find(|c: char| match c {
        '&' => references,
        '\r' => true,
        '\n' | '\t' => space == Space::Attribute,
        _ => false,
    }) {
        let (plain, tail) = rest.split_at(at);
        out.push_str(plain);
        if let Some(tail) = tail.strip_prefix('&') {
            let (name, after) = tail.split_once(';').unwrap_or((tail, ""));
            // Every reference was checked while parsing, so this never loses one.
            out.extend(resolve(name).ok());
            rest = after;
        } else if let Some(after) = tail.strip_prefix("\r\n") {
            out.push(line_end);
            rest = after;
        } else {
            out.push(if tail.starts_with('\t') { ' ' } else { line_end });
            rest = tail.get(1..).unwrap_or_default();
        }
    }
    out.push_str(rest);
}

/// The normalised value of a checked raw attribute value; borrowed when there is nothing to change.
pub(super) fn attribute_value(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|b| matches!(b, b'&' | b'\r' | b'\n' | b'\t')) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    unescape_into(&mut out, raw, Space::Attribute, true);
    Cow::Owned(out)
}
