//! Text in NTLM's messages: UTF-16LE, or the client's own character set, of which only ASCII is known.

use super::error::NtlmError;
use super::flags::Flags;

/// Characters of the longest user name that is read. Names in directories end at 104; ours are shorter.
const NAME_CHARS_MAX: usize = 256;

/// How the text of a handshake is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    /// UTF-16LE.
    Unicode,
    /// The client's own. Which one that is nobody says, so only ASCII can be read.
    Oem,
}

impl Charset {
    /// The character set that the flags agree on; Unicode where both are named.
    pub(super) fn of(flags: Flags) -> Option<Self> {
        if flags.contains(Flags::UNICODE) {
            Some(Self::Unicode)
        } else {
            flags.contains(Flags::OEM).then_some(Self::Oem)
        }
    }

    /// `octets` as text; none when they are not.
    pub(super) fn decode(self, octets: &[u8]) -> Option<String> {
        match self {
            Self::Unicode => from_utf16le(octets),
            Self::Oem => octets.is_ascii().then(|| octets.iter().copied().map(char::from).collect()),
        }
    }

    /// Our own ASCII text in this character set.
    pub(super) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Unicode => to_utf16le(text),
            Self::Oem => text.as_bytes().to_vec(),
        }
    }

    /// A user's name that is fit to be looked up, compared and told in a log.
    pub(super) fn decode_user(self, octets: &[u8]) -> Result<String, NtlmError> {
        let name = self.decode(octets).ok_or(NtlmError::Name)?;
        let fit = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
        if fit { Ok(name) } else { Err(NtlmError::Name) }
    }
}

/// UTF-16LE as text; none when it is odd in length or has half a surrogate pair.
pub(super) fn from_utf16le(octets: &[u8]) -> Option<String> {
    let (units, rest) = octets.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit));
    if rest.is_empty() { char::decode_utf16(units).collect::<Result<_, _>>().ok() } else { None }
}

/// Text in UTF-16LE.
pub(super) fn to_utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The spellings in upper case under which clients may have computed their proof. Windows changes characters one by one
/// and leaves those alone that become several; other clients write `SS` for a sharp s. They differ in few names.
pub(super) fn upper_spellings(name: &str) -> Vec<String> {
    let single = |c: char| {
        let mut upper = c.to_uppercase();
        match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => c,
        }
    };
    let by_character: String = name.chars().map(single).collect();
    let whole = name.to_uppercase();
    if whole == by_character { vec![whole] } else { vec![by_character, whole] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_upper_cased_as_clients_do() {
        assert_eq!(upper_spellings("Otto"), ["OTTO"]);
        assert_eq!(upper_spellings("j\u{f6}rg"), ["J\u{d6}RG"]);
        assert_eq!(upper_spellings("wei\u{df}"), ["WEI\u{df}", "WEISS"]);
    }

    #[test]
    fn what_is_not_text_is_refused() {
        for (charset, octets) in [
            (Charset::Unicode, &b"a\0b"[..]),
            (Charset::Unicode, &[0x00, 0xd8]),
            (Charset::Unicode, &[0x00, 0xdc, 0x41, 0x00]),
            (Charset::Oem, b"j\xf6rg"),
        ] {
            assert_eq!(charset.decode(octets), None, "{octets:x?}");
            assert_eq!(charset.decode_user(octets), Err(NtlmError::Name));
        }
        let long = "n".repeat(NAME_CHARS_MAX);
        assert_eq!(Charset::Unicode.decode_user(&to_utf16le(&long)).as_deref(), Ok(long.as_str()));
        for name in ["", "a\nb", "\u{7f}", "a\0", "\u{85}", &format!("{long}n")] {
            assert_eq!(Charset::Unicode.decode_user(&to_utf16le(name)), Err(NtlmError::Name), "{name:?}");
        }
    }
}
