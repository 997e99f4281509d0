//! The lexical part of a start tag: names and attributes, as raw slices of the text.

/// One attribute as written: offsets are into the tag's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RawAttribute<'a> {
    /// Name with its prefix.
    pub(super) name: &'a str,
    /// Raw value between the quotes.
    pub(super) value: &'a str,
    /// Offset of the name.
    pub(super) name_at: usize,
    /// Offset of the value.
    pub(super) value_at: usize,
}

/// What is wrong in a tag, and at which offset of its content.
pub(super) type TagError = (usize, &'static str);

/// Walks over the attributes of a tag, strictly as XML 1.0 section 3.1 has them.
pub(super) struct RawAttributes<'a> {
    content: &'a str,
    at: usize,
}

const fn is_space(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t' | b'\r' | b'\n')
}

impl<'a> RawAttributes<'a> {
    /// Attributes of a tag's content (without the angle brackets and the closing slash), after its name.
    pub(super) const fn new(content: &'a str, name_octets: usize) -> Self {
        Self { content, at: name_octets }
    }

    fn skip_space(&mut self) -> bool {
        let bytes = self.content.as_bytes();
        let start = self.at;
        while bytes.get(self.at).copied().is_some_and(is_space) {
            self.at += 1;
        }
        self.at > start
    }

    /// The next attribute, or `None` at the end of the tag.
    pub(super) fn next(&mut self) -> Result<Option<RawAttribute<'a>>, TagError> {
        let spaced = self.skip_space();
        let bytes = self.content.as_bytes();
        if self.at >= bytes.len() {
            return Ok(None);
        }
        if !spaced {
            return Err((self.at, "attributes must be separated by white space"));
        }
        let name_at = self.at;
        while bytes.get(self.at).copied().is_some_and(|b| b != b'=' && !is_space(b)) {
            self.at += 1;
        }
        let name = self.content.get(name_at..self.at).unwrap_or_default();
        self.skip_space();
        if bytes.get(self.at) != Some(&b'=') {
            return Err((self.at, "an attribute has no value"));
        }
        self.at += 1;
        self.skip_space();
        let Some(&quote) = bytes.get(self.at).filter(|b| matches!(b, b'"' | b'\'')) else {
            return Err((self.at, "an attribute value is not quoted"));
        };
        let value_at = self.at + 1;
        let rest = bytes.get(value_at..).unwrap_or_default();
        let Some(length) = rest.iter().position(|&b| b == quote || b == b'<') else {
            return Err((value_at, "an attribute value has no end"));
        };
        if rest.get(length) == Some(&b'<') {
            return Err((value_at + length, "'<' is not allowed in an attribute value"));
        }
        self.at = value_at + length + 1;
        let value = self.content.get(value_at..value_at + length).unwrap_or_default();
        Ok(Some(RawAttribute { name, value, name_at, value_at }))
    }
}

fn is_name_start(c: char) -> bool {
    matches!(c, 'A'..='Z' | '_' | 'a'..='z' | '\u{C0}'..='\u{D6}' | '\u{D8}'..='\u{F6}' | '\u{F8}'..='\u{2FF}'
        | '\u{370}'..='\u{37D}' | '\u{37F}'..='\u{1FFF}' | '\u{200C}'..='\u{200D}' | '\u{2070}'..='\u{218F}'
        | '\u{2C00}'..='\u{2FEF}' | '\u{3001}'..='\u{D7FF}' | '\u{F900}'..='\u{FDCF}' | '\u{FDF0}'..='\u{FFFD}'
        | '\u{10000}'..='\u{EFFFF}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c) || matches!(c, '-' | '.' | '0'..='9' | '\u{B7}' | '\u{300}'..='\u{36F}' | '\u{203F}'..='\u{2040}')
}

/// One octet of an ASCII name after its first character.
const fn is_plain(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.')
}

fn is_ncname(name: &str) -> bool {
    let Some((first, rest)) = name.as_bytes().split_first() else {
        return false;
    };
    if (first.is_ascii_alphabetic() || *first == b'_') && rest.iter().copied().all(is_plain) {
        return true;
    }
    let mut characters = name.chars();
    characters.next().is_some_and(is_name_start) && characters.all(is_name_char)
}

/// Split a qualified name into prefix and local part; `None` when it is not one (Namespaces in XML 1.0 section 4).
pub(super) fn split_name(name: &str) -> Option<(&str, &str)> {
    let (prefix, local) = match name.bytes().position(|b| b == b':') {
        None => ("", name),
        Some(at) => (name.get(..at).filter(|prefix| is_ncname(prefix))?, name.get(at + 1..)?),
    };
    is_ncname(local).then_some((prefix, local))
}
