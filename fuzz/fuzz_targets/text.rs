//! Octets to text. Oracle: what was decoded encodes to octets that decode to the same text.
#![no_main]

use failbackd::xml::text::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Ok((text, encoding)) = decode(octets, None) {
        // A second byte order mark is a character of the text, and would be taken for the first. A NUL, which XML has
        // not, makes octets look like UTF-16.
        if text.starts_with('\u{FEFF}') || text.contains('\0') {
            return;
        }
        let again = encode(text.clone().into_owned().into_bytes(), encoding);
        let (second, same) = decode(&again, Some(encoding.charset())).expect("what was written reads back");
        assert_eq!((second, same), (text, encoding));
    }
});
