//! Sealed bodies to messages. Oracle: what opens is sealed again, in its own style, to a body that opens to the same;
//! and whatever octets are sealed open again.
#![no_main]

use failbackd::auth::seal::{Declared, Framed, Opened, Sealed, seal};
use failbackd::auth::{SealError, SecurityContext};
use libfuzzer_sys::fuzz_target;

/// Keys that hide nothing, so that the fuzzer sees through them; they still tell a damaged message.
struct Toy(usize);

impl SecurityContext for Toy {
    fn unseal(&mut self, signature: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let (signature, message) = token.split_at_checked(signature.unwrap_or(0)).ok_or(SealError("cut"))?;
        if signature.iter().any(|octet| *octet != 1) {
            return Err(SealError("signature"));
        }
        out.extend_from_slice(message);
        Ok(())
    }

    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        out.extend_from_slice(&[1; 16]);
        out.extend_from_slice(message);
        Ok(16)
    }

    fn message_octets_max(&self) -> usize {
        self.0
    }
}

fn open(framed: &Framed) -> Option<Opened> {
    let declared = Declared::parse(&framed.content_type)?.ok()?;
    Sealed::parse(&declared, &framed.body).ok()?.open(&mut Toy(0)).ok()
}

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first() else { return };
    let essence = if kind & 1 == 0 { "multipart/encrypted" } else { "multipart/x-multi-encrypted" };
    let protocol = ["SPNEGO", "Kerberos", "CredSSP"][usize::from(kind >> 1) % 3];
    let boundary = if kind & 64 == 0 { "Encrypted Boundary" } else { "x" };
    let protocol = format!("application/HTTP-{protocol}-session-encrypted");
    let header = format!("{essence};protocol=\"{protocol}\";boundary=\"{boundary}\"");
    let piece = if kind & 128 == 0 { usize::MAX } else { 7 };
    if let Some(opened) = open(&Framed { content_type: header, body: body.to_vec() }) {
        let again = seal(opened.style, &mut Toy(piece), &opened.content_type, &opened.message).expect("seals");
        let second = open(&again).expect("what was sealed opens");
        assert_eq!((second.message, second.style), (opened.message, opened.style));
        assert_eq!(second.content_type, opened.content_type);
        let whole = seal(opened.style, &mut Toy(piece), "application/soap+xml", body).expect("seals");
        let message = open(&whole).expect("what was sealed opens").message;
        assert_eq!(message, body.strip_suffix(b"\0").map_or(body, trim));
    }
});

/// Without the NULs at the end.
fn trim(octets: &[u8]) -> &[u8] {
    let end = octets.iter().rposition(|octet| *octet != 0).map_or(0, |at| at + 1);
    &octets[..end]
}
