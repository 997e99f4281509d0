//! SPNEGO tokens by hand, for a client that writes what it likes.

pub(crate) const OID_SPNEGO: &[u8] = b"\x06\x06\x2b\x06\x01\x05\x05\x02";
pub(crate) const OID_NTLM: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a";
pub(crate) const OID_KRB5: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02";
/// The same as Windows 2000 misspelt it.
pub(crate) const OID_MS_KRB5: &[u8] = b"\x06\x09\x2a\x86\x48\x82\xf7\x12\x01\x02\x02";
/// NEGOEX, which Windows offers and nobody here speaks.
pub(crate) const OID_NEGOEX: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x1e";

pub(crate) fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = match value.len() {
        short @ 0..=127 => vec![u8::try_from(short).unwrap()],
        long @ 128..=255 => vec![0x81, u8::try_from(long).unwrap()],
        long => [&[0x82][..], &u16::try_from(long).unwrap().to_be_bytes()].concat(),
    };
    [&[tag][..], &length, value].concat()
}

/// The list of mechanisms, which the MICs cover.
pub(crate) fn list(mechanisms: &[&[u8]]) -> Vec<u8> {
    tlv(0x30, &mechanisms.concat())
}

/// The first token.
pub(crate) fn init(list: &[u8], token: Option<&[u8]>) -> Vec<u8> {
    let token = token.map(|token| tlv(0xa2, &tlv(4, token))).unwrap_or_default();
    let offer = tlv(0xa0, &tlv(0x30, &[tlv(0xa0, list), token].concat()));
    tlv(0x60, &[OID_SPNEGO, &offer].concat())
}

/// A later token.
pub(crate) fn response(mechanism: Option<&[u8]>, token: Option<&[u8]>, mic: Option<&[u8]>) -> Vec<u8> {
    let mut fields = tlv(0xa0, &[0x0a, 1, 1]);
    fields.extend(mechanism.map(|it| tlv(0xa1, it)).unwrap_or_default());
    fields.extend(token.map(|it| tlv(0xa2, &tlv(4, it))).unwrap_or_default());
    fields.extend(mic.map(|it| tlv(0xa3, &tlv(4, it))).unwrap_or_default());
    tlv(0xa1, &tlv(0x30, &fields))
}

/// What an answer of the server says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) state: Option<u8>,
    pub(crate) mechanism: Option<Vec<u8>>,
    pub(crate) token: Option<Vec<u8>>,
    pub(crate) mic: Option<Vec<u8>>,
}

/// The first value and what follows it.
fn take(octets: &[u8]) -> (u8, &[u8], &[u8]) {
    let (head, length) = match octets[1] {
        0x81 => (3, usize::from(octets[2])),
        0x82 => (4, usize::from(u16::from_be_bytes([octets[2], octets[3]]))),
        short => (2, usize::from(short)),
    };
    (octets[0], &octets[head..head + length], &octets[head + length..])
}

impl Answer {
    pub(crate) fn parse(octets: &[u8]) -> Self {
        let (tag, value, rest) = take(octets);
        assert_eq!((tag, rest), (0xa1, &[][..]));
        let (tag, mut fields, rest) = take(value);
        assert_eq!((tag, rest), (0x30, &[][..]));
        let mut answer = Self::default();
        while !fields.is_empty() {
            let (tag, value, rest) = take(fields);
            match tag {
                0xa0 => answer.state = Some(take(value).1[0]),
                0xa1 => answer.mechanism = Some(value.to_vec()),
                0xa2 => answer.token = Some(take(value).1.to_vec()),
                0xa3 => answer.mic = Some(take(value).1.to_vec()),
                other => panic!("a field {other:#x}"),
            }
            fields = rest;
        }
        answer
    }
}
