//! Character encodings of envelopes, both ways.

/// Encodes text as a case names it: utf-8, utf-8-bom, utf-16le, utf-16le-bom, utf-16be-bom.
pub(crate) fn encode(text: &str, encoding: &str) -> Result<Vec<u8>, String> {
    let units = || text.encode_utf16();
    Ok(match encoding {
        "" | "utf-8" => text.as_bytes().to_vec(),
        "utf-8-bom" => [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        "utf-16le" => units().flat_map(u16::to_le_bytes).collect(),
        "utf-16le-bom" => std::iter::once(0xFEFF).chain(units()).flat_map(u16::to_le_bytes).collect(),
        "utf-16be-bom" => std::iter::once(0xFEFF).chain(units()).flat_map(u16::to_be_bytes).collect(),
        other => return Err(format!("unknown encoding {other:?}")),
    })
}

/// An answer's body as text, and the name of its encoding as found in the octets.
pub(crate) fn decode(octets: &[u8], content_type: &str) -> Result<(String, &'static str), String> {
    let says_utf16 = content_type.to_lowercase().contains("utf-16");
    match octets {
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes).map(|text| (text, "utf-16le-bom")),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes).map(|text| (text, "utf-16be-bom")),
        [_, 0, ..] if says_utf16 => utf16(octets, u16::from_le_bytes).map(|text| (text, "utf-16le")),
        [0, _, ..] if says_utf16 => utf16(octets, u16::from_be_bytes).map(|text| (text, "utf-16be")),
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest).map(|text| (text, "utf-8-bom")),
        _ => utf8(octets).map(|text| (text, "utf-8")),
    }
}

fn utf8(octets: &[u8]) -> Result<String, String> {
    String::from_utf8(octets.to_vec()).map_err(|error| format!("the answer is not UTF-8: {error}"))
}

fn utf16(octets: &[u8], join: impl Fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, odd) = octets.as_chunks::<2>();
    if !odd.is_empty() {
        return Err("the answer is UTF-16 with an odd number of octets".to_owned());
    }
    let units: Vec<u16> = pairs.iter().map(|pair| join(*pair)).collect();
    String::from_utf16(&units).map_err(|error| format!("the answer is not UTF-16: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_comes_back() {
        for encoding in ["utf-8", "utf-8-bom", "utf-16le", "utf-16le-bom", "utf-16be-bom"] {
            let octets = encode("<a>ä𝄞</a>", encoding).unwrap();
            assert_eq!(decode(&octets, "x;charset=UTF-16").unwrap(), ("<a>ä𝄞</a>".to_owned(), encoding));
        }
        assert!(encode("", "latin-1").is_err());
        assert!(decode(&[0xFF, 0xFE, 0x00, 0xD8], "").is_err());
        assert!(decode(&[0xFF, 0xFE, 0x41], "").is_err());
        assert!(decode(&[0xC3], "").is_err());
    }
}
