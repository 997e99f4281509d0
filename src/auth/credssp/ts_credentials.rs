//! What a client delegates (MS-CSSP 2.2.1.2): looked at for its form, used for nothing, kept nowhere.
//!
//! ```text
//! TSCredentials   ::= SEQUENCE { credType [0] INTEGER, credentials [1] OCTET STRING }
//! TSPasswordCreds ::= SEQUENCE { domainName [0] OCTET STRING, userName [1] OCTET STRING, password [2] OCTET STRING }
//! ```

use der::asn1::OctetStringRef;
use der::{ErrorKind, Reader, SliceReader};

use super::ts_request::field;

/// `TSPasswordCreds`.
const PASSWORD: u32 = 1;
/// `TSSmartCardCreds`.
const SMART_CARD: u32 = 2;
/// `TSRemoteGuardCreds`.
const REMOTE_GUARD: u32 = 6;

/// Whether `octets` are credentials that the protocol knows. Nothing of them is copied: the caller wipes them.
pub(super) fn well_formed(octets: &[u8]) -> bool {
    check(octets).is_ok()
}

fn check(octets: &[u8]) -> der::Result<()> {
    let mut reader = SliceReader::new(octets)?;
    let (kind, credentials) = reader.sequence(|fields| {
        let kind: u32 = field(fields, 0)?.ok_or(ErrorKind::Failed)?;
        let credentials: OctetStringRef<'_> = field(fields, 1)?.ok_or(ErrorKind::Failed)?;
        Ok((kind, credentials))
    })?;
    reader.finish(())?;
    match kind {
        PASSWORD => check_password(credentials.as_bytes()),
        // Their insides are nobody's business here.
        SMART_CARD | REMOTE_GUARD => Ok(()),
        _ => Err(ErrorKind::Failed.into()),
    }
}

fn check_password(octets: &[u8]) -> der::Result<()> {
    let mut reader = SliceReader::new(octets)?;
    reader.sequence(|fields| {
        for number in 0..3 {
            let text: OctetStringRef<'_> = field(fields, number)?.ok_or(ErrorKind::Failed)?;
            // UTF-16.
            if !usize::try_from(text.len()).is_ok_and(|octets| octets % 2 == 0) {
                return Err(ErrorKind::Failed.into());
            }
        }
        Ok(())
    })?;
    reader.finish(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
        [&[tag, u8::try_from(content.len()).unwrap()], content].concat()
    }

    fn credentials(kind: u8, content: &[u8]) -> Vec<u8> {
        let kind = tlv(0xa0, &tlv(0x02, &[kind]));
        tlv(0x30, &[kind, tlv(0xa1, &tlv(0x04, content))].concat())
    }

    fn password(texts: &[&[u8]]) -> Vec<u8> {
        let fields = (0xa0..).zip(texts).flat_map(|(tag, text)| tlv(tag, &tlv(0x04, text)));
        tlv(0x30, &fields.collect::<Vec<u8>>())
    }

    #[test]
    fn the_forms_that_there_are_pass_and_others_do_not() {
        assert!(well_formed(&credentials(1, &password(&[b"", b"o\0", b"x\0y\0"]))));
        assert!(
            well_formed(&credentials(1, &password(&[b"", b"", b""]))),
            "restricted administration delegates nothing"
        );
        assert!(well_formed(&credentials(2, b"anything")) && well_formed(&credentials(6, b"")));
        for octets in [
            credentials(0, &password(&[b"", b"o\0", b""])),
            credentials(3, b""),
            credentials(1, b""),
            credentials(1, &password(&[b"", b"o\0"])),
            credentials(1, &password(&[b"", b"o\0", b"", b""])),
            credentials(1, &password(&[b"", b"o", b""])),
            [credentials(2, b""), b"\0".to_vec()].concat(),
            b"password".to_vec(),
            Vec::new(),
        ] {
            assert!(!well_formed(&octets), "{octets:02x?}");
        }
        let whole = credentials(1, &password(&[b"", b"o\0", b"x\0"]));
        assert!((0..whole.len()).all(|length| !well_formed(&whole[..length])));
    }
}
