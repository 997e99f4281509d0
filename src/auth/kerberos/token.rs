//! The outside of a client's token: which mechanism it is for, and whose ticket it holds.
//!
//! The library behind [`super::gss`] hands a token to whatever mechanism its wrapper names, so the wrapper is read here
//! first. The ticket's service stands in clear in it, and nobody vouches for it: it chooses the key that must fit.

/// 1.2.840.113554.1.2.2, the Kerberos mechanism.
pub(super) const MECHANISM: &[u8] = b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// 1.2.840.48018.1.2.2, the same as early versions of Windows wrote it by mistake.
pub(super) const MECHANISM_OF_WINDOWS: &[u8] = b"\x2a\x86\x48\x82\xf7\x12\x01\x02\x02";
/// The kind of token that opens a login (RFC 4121, 4.1).
const AP_REQ: &[u8] = &[1, 0];

/// Tags of DER.
const OID: u8 = 0x06;
const GENERAL_STRING: u8 = 0x1B;
const SEQUENCE: u8 = 0x30;
/// `[APPLICATION 0]`: an initial token (RFC 2743, 3.1).
const INITIAL: u8 = 0x60;
/// `[APPLICATION 1]`: a ticket.
const TICKET: u8 = 0x61;
/// `[APPLICATION 14]`: an AP-REQ.
const REQUEST: u8 = 0x6E;

/// The components of the service that the ticket in an initial Kerberos token is for. None when the octets are not such
/// a token: another mechanism's, one that does not open a login, or damaged.
pub fn asked_service(token: &[u8]) -> Option<Vec<&[u8]>> {
    let mut rest = whole(token, INITIAL)?;
    let mechanism = next(&mut rest, OID)?;
    if mechanism != MECHANISM && mechanism != MECHANISM_OF_WINDOWS {
        return None;
    }
    let request = whole(whole(rest.strip_prefix(AP_REQ)?, REQUEST)?, SEQUENCE)?;
    let ticket = whole(whole(field(request, 3)?, TICKET)?, SEQUENCE)?;
    let name = whole(field(ticket, 2)?, SEQUENCE)?;
    let mut rest = whole(field(name, 1)?, SEQUENCE)?;
    let mut components = Vec::new();
    while !rest.is_empty() {
        components.push(next(&mut rest, GENERAL_STRING)?);
    }
    Some(components)
}

/// The content of the field `[number]` of a sequence.
fn field(mut sequence: &[u8], number: u8) -> Option<&[u8]> {
    loop {
        let (tag, content) = element(&mut sequence)?;
        if tag == 0xA0 | number {
            return Some(content);
        }
    }
}

/// The content of the one element that `octets` are.
fn whole(mut octets: &[u8], tag: u8) -> Option<&[u8]> {
    next(&mut octets, tag).filter(|_| octets.is_empty())
}

/// The content of the next element, which must have this tag.
fn next<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    element(rest).filter(|(found, _)| *found == tag).map(|(_, content)| content)
}

/// Tag and content of the next element. Lengths are definite; tags are one octet, as all are here.
fn element<'a>(rest: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (tag, after) = rest.split_first()?;
    let (first, mut after) = after.split_first()?;
    let length = match *first {
        short @ ..=0x7F => usize::from(short),
        long @ 0x81..=0x84 => {
            let (octets, behind) = after.split_at_checked(usize::from(long & 0x7F))?;
            after = behind;
            octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet))
        }
        _ => return None,
    };
    let (content, behind) = after.split_at_checked(length)?;
    *rest = behind;
    Some((*tag, content))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short @ ..0x80) => out.push(short),
            Ok(long) => out.extend_from_slice(&[0x81, long]),
            Err(_) => {
                out.push(0x82);
                out.extend_from_slice(&u16::try_from(content.len()).unwrap().to_be_bytes());
            }
        }
        out.extend(content);
        out
    }

    /// A token of the right shape, for `components` of a service.
    fn token(mechanism: &[u8], kind: &[u8], components: &[&str]) -> Vec<u8> {
        let strings: Vec<Vec<u8>> = components.iter().map(|it| der(GENERAL_STRING, &[it.as_bytes()])).collect();
        let strings: Vec<&[u8]> = strings.iter().map(Vec::as_slice).collect();
        let name = der(SEQUENCE, &[&der(0xA0, &[&[2, 1, 2]]), &der(0xA1, &[&der(SEQUENCE, &strings)])]);
        let sealed = der(0xA3, &[&[0x55; 300]]);
        let ticket =
            [&der(0xA0, &[&[2, 1, 5]])[..], &der(0xA1, &[&der(GENERAL_STRING, &[b"R"])]), &der(0xA2, &[&name])];
        let ticket = der(TICKET, &[&der(SEQUENCE, &[&ticket.concat(), &sealed])]);
        let request = [&der(0xA0, &[&[2, 1, 5]])[..], &der(0xA1, &[&[2, 1, 14]]), &der(0xA2, &[&[3, 2, 0, 0]])];
        let request = der(REQUEST, &[&der(SEQUENCE, &[&request.concat(), &der(0xA3, &[&ticket]), &sealed])]);
        der(INITIAL, &[&der(OID, &[mechanism]), kind, &request])
    }

    fn service(token: &[u8]) -> Option<String> {
        let components = asked_service(token)?;
        Some(components.into_iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join("/"))
    }

    #[test]
    fn the_service_of_a_ticket_is_found() {
        let whole = token(MECHANISM, AP_REQ, &["HTTP", "server.example.com"]);
        assert_eq!(service(&whole).as_deref(), Some("HTTP/server.example.com"));
        let windows = token(MECHANISM_OF_WINDOWS, AP_REQ, &["WSMAN", "server"]);
        assert_eq!(service(&windows).as_deref(), Some("WSMAN/server"));
        assert_eq!(service(&token(MECHANISM, AP_REQ, &[])).as_deref(), Some(""));
    }

    #[test]
    fn other_mechanisms_are_refused() {
        let oids: [&[u8]; 6] = [
            b"\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a", // NTLM
            b"\x2b\x06\x01\x05\x05\x02",                 // SPNEGO
            b"\x2b\x06\x01\x05\x02\x05",                 // IAKERB
            b"\x2b\x05\x01\x05\x02",                     // Kerberos before RFC 1964
            b"\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x03", // user to user
            b"",
        ];
        for oid in oids {
            assert_eq!(service(&token(oid, AP_REQ, &["HTTP", "a"])), None, "{oid:x?}");
        }
        assert_eq!(service(b"NTLMSSP\0\x01\0\0\0"), None);
    }

    #[test]
    fn tokens_that_do_not_open_a_login_are_refused() {
        for kind in [&[2, 0][..], &[3, 0], &[4, 0], &[4, 4], &[5, 4], &[]] {
            assert_eq!(service(&token(MECHANISM, kind, &["HTTP", "a"])), None, "{kind:?}");
        }
        let whole = token(MECHANISM, AP_REQ, &["HTTP", "a"]);
        for end in 0..whole.len() {
            assert_eq!(service(&whole[..end]), None, "cut at {end}");
        }
        assert_eq!(service(&[&whole[..], &[0]].concat()), None, "an octet too many");
        assert_eq!(service(&[INITIAL, 0x80, 0, 0]), None, "no definite length");
        assert_eq!(service(&[INITIAL, 0x85, 0, 0, 0, 0, 0]), None, "five octets of length");
        assert_eq!(service(&[INITIAL, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_a_panic(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = asked_service(&octets);
        }

        #[test]
        fn a_changed_octet_is_read_without_a_panic(at in 0_usize..800, octet: u8) {
            let mut octets = token(MECHANISM, AP_REQ, &["HTTP", "server.example.com"]);
            let at = at % octets.len();
            octets[at] = octet;
            let _ = asked_service(&octets);
        }
    }
}
