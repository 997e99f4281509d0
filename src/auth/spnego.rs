//! SPNEGO's tokens: how a client and a server agree on a mechanism inside `Negotiate`. //= RFC 4178 4.2, RFC 2743 3.1
//!
//! ```text
//! client                                           server
//!   | -- InitialToken(SPNEGO, NegTokenInit:         |
//!   |      mechanisms in order, token of the first) |
//!   |    <-- NegTokenResp: state, mechanism, token -|
//!   | -- NegTokenResp: token, MIC of the list ----> |
//!   |    <-- NegTokenResp: completed, our MIC ------|
//! ```
//! Without the MIC, somebody between the two could take the better mechanisms off the list.
//!
//! These are the octets alone; who decides is `auth::negotiate`. The rules of DER are kept as the `der` crate keeps
//! them (definite and shortest lengths, nothing after the end): every client that was recorded writes DER.

use der::asn1::ObjectIdentifier;
use der::{Decode as _, Encode as _, Header, Length, Reader as _, SliceReader, Tag, TagNumber};

/// SPNEGO itself.
pub const SPNEGO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.2");
/// Kerberos 5.
pub const KRB5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113554.1.2.2");
/// Kerberos 5 as Windows 2000 misspelt it. Windows still names it first.
pub const MS_KRB5: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.48018.1.2.2");
/// NTLM.
pub const NTLMSSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.2.10");

/// The longest token that is read: a Kerberos ticket can list hundreds of groups.
pub const TOKEN_OCTETS_MAX: usize = 64 * 1024;
/// The most mechanisms that a client may offer. Windows offers four.
pub const MECHANISMS_MAX: usize = 16;

/// A token that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a GSS or SPNEGO token that is damaged")]
pub struct SpnegoError;

impl From<der::Error> for SpnegoError {
    fn from(_: der::Error) -> Self {
        Self
    }
}

/// The first token of a GSS mechanism: `[APPLICATION 0] { thisMech, innerContextToken }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InitialToken<'a> {
    /// Whose token it is.
    pub mechanism: ObjectIdentifier,
    /// What that mechanism says.
    pub inner: &'a [u8],
}

impl<'a> InitialToken<'a> {
    const TAG: Tag = Tag::Application { constructed: true, number: TagNumber::N0 };
    /// What such a token begins with.
    pub const FIRST_OCTET: u8 = 0x60;

    /// Take the wrapping off.
    pub fn parse(octets: &'a [u8]) -> Result<Self, SpnegoError> {
        let mut reader = Fields::new(whole(octets, Self::TAG)?)?;
        let mechanism = reader.oid()?;
        Ok(Self { mechanism, inner: reader.rest()? })
    }

    /// Put it on.
    pub fn encode(&self) -> Vec<u8> {
        tlv(Self::TAG, &[oid(self.mechanism), self.inner.to_vec()].concat())
    }
}

/// A client's offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NegTokenInit<'a> {
    /// In the client's order of preference; never empty.
    pub mechanisms: Vec<ObjectIdentifier>,
    /// The same as it was sent: what the MICs of both sides cover.
    pub mechanisms_der: &'a [u8],
    /// The first token of the first mechanism.
    pub token: Option<&'a [u8]>,
    /// A MIC of the list, which has no place in a first token but for the grammar's sake.
    pub mic: Option<&'a [u8]>,
}

impl<'a> NegTokenInit<'a> {
    const TAG: Tag = explicit(TagNumber::N0);

    /// Read an offer: what the initial token of SPNEGO holds. The form that servers send (`NegTokenInit2`, with hints
    /// in the place of the MIC) is read, too. //= MS-SPNG 2.2.1
    pub fn parse(octets: &'a [u8]) -> Result<Self, SpnegoError> {
        let mut fields = Fields::new(whole(whole(octets, Self::TAG)?, Tag::Sequence)?)?;
        let mechanisms_der = fields.explicit(TagNumber::N0)?.ok_or(SpnegoError)?;
        let mut list = Fields::new(whole(mechanisms_der, Tag::Sequence)?)?;
        let mut mechanisms = Vec::new();
        while !list.is_empty() {
            if mechanisms.len() == MECHANISMS_MAX {
                return Err(SpnegoError);
            }
            mechanisms.push(list.oid()?);
        }
        if mechanisms.is_empty() {
            return Err(SpnegoError);
        }
        // Flags that ask for services of the mechanism. They are not protected, and RFC 4178 has them ignored.
        if let Some(flags) = fields.explicit(TagNumber::N1)? {
            whole(flags, Tag::BitString)?;
        }
        let token = fields.octets(TagNumber::N2)?;
        let third = fields.explicit(TagNumber::N3)?;
        let fourth = fields.octets(TagNumber::N4)?;
        let mic = match third {
            Some(hints) if whole(hints, Tag::Sequence).is_ok() => fourth,
            Some(mic) if fourth.is_none() => Some(whole(mic, Tag::OctetString)?),
            None if fourth.is_none() => None,
            _ => return Err(SpnegoError),
        };
        fields.end()?;
        Ok(Self { mechanisms, mechanisms_der, token, mic })
    }

    /// The octets of a list of mechanisms.
    pub fn encode_mechanisms(mechanisms: &[ObjectIdentifier]) -> Vec<u8> {
        tlv(Tag::Sequence, &mechanisms.iter().flat_map(|it| oid(*it)).collect::<Vec<_>>())
    }

    /// The offer's octets, with the list as `mechanisms_der` has it.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = tlv(explicit(TagNumber::N0), self.mechanisms_der);
        fields.extend(octets(TagNumber::N2, self.token));
        fields.extend(octets(TagNumber::N3, self.mic));
        tlv(Self::TAG, &tlv(Tag::Sequence, &fields))
    }
}

/// How far a negotiation is, in the server's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegState {
    /// It is done.
    Completed,
    /// The client must send more.
    Incomplete,
    /// It has failed.
    Rejected,
    /// The client must send more, and the lists' MICs must be exchanged.
    RequestMic,
}

impl NegState {
    fn to_octet(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Incomplete => 1,
            Self::Rejected => 2,
            Self::RequestMic => 3,
        }
    }

    fn from_octet(octet: u8) -> Result<Self, SpnegoError> {
        match octet {
            0 => Ok(Self::Completed),
            1 => Ok(Self::Incomplete),
            2 => Ok(Self::Rejected),
            3 => Ok(Self::RequestMic),
            _ => Err(SpnegoError),
        }
    }
}

/// Every later token, of either side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NegTokenResp<'a> {
    /// How far it is. Clients may leave it out.
    pub state: Option<NegState>,
    /// The mechanism that the server chose; in its first answer only.
    pub mechanism: Option<ObjectIdentifier>,
    /// The mechanism's token.
    pub token: Option<&'a [u8]>,
    /// The sender's MIC of the client's list of mechanisms.
    pub mic: Option<&'a [u8]>,
}

impl<'a> NegTokenResp<'a> {
    const TAG: Tag = explicit(TagNumber::N1);
    /// What such a token begins with.
    pub const FIRST_OCTET: u8 = 0xa1;

    /// Read a token. Later tokens have no GSS wrapping.
    pub fn parse(octets: &'a [u8]) -> Result<Self, SpnegoError> {
        if octets.len() > TOKEN_OCTETS_MAX {
            return Err(SpnegoError);
        }
        let mut fields = Fields::new(whole(whole(octets, Self::TAG)?, Tag::Sequence)?)?;
        let state = match fields.explicit(TagNumber::N0)? {
            Some(state) => match whole(state, Tag::Enumerated)? {
                [octet] => Some(NegState::from_octet(*octet)?),
                _ => return Err(SpnegoError),
            },
            None => None,
        };
        let mechanism = match fields.explicit(TagNumber::N1)? {
            Some(mechanism) => Some(ObjectIdentifier::from_der(mechanism)?),
            None => None,
        };
        let (token, mic) = (fields.octets(TagNumber::N2)?, fields.octets(TagNumber::N3)?);
        fields.end()?;
        Ok(Self { state, mechanism, token, mic })
    }

    /// The token's octets.
    pub fn encode(&self) -> Vec<u8> {
        let state = self.state.map(|state| tlv(Tag::Enumerated, &[state.to_octet()]));
        let mechanism = self.mechanism.map(oid);
        let mut fields = state.map(|it| tlv(explicit(TagNumber::N0), &it)).unwrap_or_default();
        fields.extend(mechanism.map(|it| tlv(explicit(TagNumber::N1), &it)).unwrap_or_default());
        fields.extend(octets(TagNumber::N2, self.token));
        fields.extend(octets(TagNumber::N3, self.mic));
        tlv(Self::TAG, &tlv(Tag::Sequence, &fields))
    }
}

/// The tag of an explicitly tagged field.
const fn explicit(number: TagNumber) -> Tag {
    Tag::ContextSpecific { constructed: true, number }
}

/// The value of `octets`, which are one value of that tag and nothing else.
fn whole(octets: &[u8], tag: Tag) -> Result<&[u8], SpnegoError> {
    if octets.len() > TOKEN_OCTETS_MAX {
        return Err(SpnegoError);
    }
    let mut reader = SliceReader::new(octets)?;
    let value = value(&mut reader, tag)?;
    if reader.is_finished() { Ok(value) } else { Err(SpnegoError) }
}

/// The next value, which is one of that tag.
fn value<'a>(reader: &mut SliceReader<'a>, tag: Tag) -> Result<&'a [u8], SpnegoError> {
    let header = Header::decode(reader)?;
    if header.tag != tag {
        return Err(SpnegoError);
    }
    Ok(reader.read_slice(header.length)?)
}

/// Values one after the other, such as the fields of a SEQUENCE.
struct Fields<'a>(SliceReader<'a>);

impl<'a> Fields<'a> {
    fn new(octets: &'a [u8]) -> Result<Self, SpnegoError> {
        Ok(Self(SliceReader::new(octets)?))
    }

    fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    fn end(self) -> Result<(), SpnegoError> {
        if self.is_empty() { Ok(()) } else { Err(SpnegoError) }
    }

    fn rest(mut self) -> Result<&'a [u8], SpnegoError> {
        let octets = self.0.remaining_len();
        Ok(self.0.read_slice(octets)?)
    }

    fn oid(&mut self) -> Result<ObjectIdentifier, SpnegoError> {
        Ok(ObjectIdentifier::decode(&mut self.0)?)
    }

    /// What is in the next field, if that field has this number.
    fn explicit(&mut self, number: TagNumber) -> Result<Option<&'a [u8]>, SpnegoError> {
        let tag = explicit(number);
        if self.is_empty() || self.0.peek_tag()? != tag {
            return Ok(None);
        }
        value(&mut self.0, tag).map(Some)
    }

    /// The OCTET STRING in the next field, if that field has this number.
    fn octets(&mut self, number: TagNumber) -> Result<Option<&'a [u8]>, SpnegoError> {
        self.explicit(number)?.map(|value| whole(value, Tag::OctetString)).transpose()
    }
}

/// One value in DER. What we write is far below the lengths that cannot be written.
fn tlv(tag: Tag, value: &[u8]) -> Vec<u8> {
    let length = Length::try_from(value.len()).unwrap_or(Length::ZERO);
    let mut out = Header { tag, length }.to_der().unwrap_or_default();
    out.extend_from_slice(value);
    out
}

fn oid(mechanism: ObjectIdentifier) -> Vec<u8> {
    tlv(Tag::ObjectIdentifier, mechanism.as_bytes())
}

/// An optional OCTET STRING in a field of that number.
fn octets(number: TagNumber, value: Option<&[u8]>) -> Vec<u8> {
    value.map(|value| tlv(explicit(number), &tlv(Tag::OctetString, value))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    fn recorded(vectors: &str, name: &str) -> Vec<u8> {
        let line = vectors.lines().find_map(|line| line.strip_prefix(name)).expect("the line is there");
        STANDARD.decode(line.trim()).unwrap()
    }

    #[test]
    fn what_clients_send_is_read_and_written_again() {
        for vectors in [include_str!("ntlm/vectors/pypsrp.txt"), include_str!("ntlm/vectors/omicli.txt")] {
            let octets = recorded(vectors, "first");
            let initial = InitialToken::parse(&octets).unwrap();
            assert_eq!((initial.mechanism, initial.encode()), (SPNEGO, octets.clone()));
            let offer = NegTokenInit::parse(initial.inner).unwrap();
            assert_eq!(offer.mechanisms, [NTLMSSP]);
            assert!(offer.token.unwrap().starts_with(b"NTLMSSP\0\x01"));
            assert_eq!((offer.mic, offer.encode().as_slice()), (None, initial.inner));
            assert_eq!(NegTokenInit::encode_mechanisms(&offer.mechanisms), offer.mechanisms_der);

            let octets = recorded(vectors, "challenge");
            let answer = NegTokenResp::parse(&octets).unwrap();
            assert_eq!((answer.state, answer.mechanism), (Some(NegState::Incomplete), Some(NTLMSSP)));
            assert_eq!(answer.encode(), octets);

            let octets = recorded(vectors, "last");
            let last = NegTokenResp::parse(&octets).unwrap();
            assert_eq!((last.state, last.mechanism, last.mic.unwrap().len()), (Some(NegState::Incomplete), None, 16));
            assert_eq!(last.encode(), octets);
        }
    }

    #[test]
    fn a_servers_hints_are_no_mic() {
        let list = NegTokenInit::encode_mechanisms(&[MS_KRB5, KRB5, NTLMSSP]);
        let hints = tlv(explicit(TagNumber::N3), &tlv(Tag::Sequence, b""));
        let flags = tlv(explicit(TagNumber::N1), &tlv(Tag::BitString, &[1, 0x80]));
        let mic = octets(TagNumber::N4, Some(b"mic"));
        let offer = |fields: &[&[u8]]| {
            let fields = [&tlv(explicit(TagNumber::N0), &list)[..], &fields.concat()].concat();
            tlv(NegTokenInit::TAG, &tlv(Tag::Sequence, &fields))
        };
        let both = offer(&[&flags, &hints, &mic]);
        assert_eq!(NegTokenInit::parse(&both).unwrap().mic, Some(&b"mic"[..]));
        assert_eq!(NegTokenInit::parse(&offer(&[&hints])).unwrap().mic, None);
        assert_eq!(NegTokenInit::parse(&offer(&[&octets(TagNumber::N3, Some(b"x"))])).unwrap().mic, Some(&b"x"[..]));
        for wrong in [offer(&[&mic]), offer(&[&hints, &flags]), offer(&[&flags, &flags]), offer(&[&[5, 0]])] {
            assert_eq!(NegTokenInit::parse(&wrong), Err(SpnegoError), "{wrong:x?}");
        }
    }

    #[test]
    fn there_are_limits() {
        let offer = |count: usize| {
            let list = NegTokenInit::encode_mechanisms(&vec![KRB5; count]);
            NegTokenInit { mechanisms: Vec::new(), mechanisms_der: &list, token: None, mic: None }.encode()
        };
        assert_eq!(NegTokenInit::parse(&offer(MECHANISMS_MAX)).unwrap().mechanisms.len(), MECHANISMS_MAX);
        assert_eq!(NegTokenInit::parse(&offer(MECHANISMS_MAX + 1)), Err(SpnegoError));
        assert_eq!(NegTokenInit::parse(&offer(0)), Err(SpnegoError));
        let long = vec![7; TOKEN_OCTETS_MAX];
        assert!(InitialToken::parse(&InitialToken { mechanism: KRB5, inner: &long[..1000] }.encode()).is_ok());
        assert_eq!(InitialToken::parse(&InitialToken { mechanism: KRB5, inner: &long }.encode()), Err(SpnegoError));
        let answer = NegTokenResp { token: Some(&long), ..NegTokenResp::default() }.encode();
        assert_eq!(NegTokenResp::parse(&answer), Err(SpnegoError));
    }

    #[test]
    fn what_is_no_der_is_refused() {
        for octets in [
            &b""[..],
            b"\xa1",
            b"\xa1\x80\x30\x00\x00\x00",
            b"\xa1\x81\x02\x30\x00",
            b"\xa1\x84\xff\xff\xff\xff\x30\x00",
            b"\xa1\x02\x30\x00\x00",
            b"\xa1\x07\x30\x05\xa0\x03\x0a\x01\x04",
            b"\xa1\x08\x30\x06\xa0\x04\x0a\x02\x00\x01",
            b"\xa1\x06\x30\x04\xa3\x02\x05\x00",
        ] {
            assert_eq!(NegTokenResp::parse(octets), Err(SpnegoError), "{octets:x?}");
        }
        assert_eq!(NegTokenResp::parse(b"\xa1\x02\x30\x00"), Ok(NegTokenResp::default()));
    }

    proptest! {
        #[test]
        fn nothing_makes_the_parsers_panic(octets: Vec<u8>, head in prop::sample::select(vec![0x60_u8, 0xa0, 0xa1])) {
            let framed = [vec![head], Length::try_from(octets.len()).unwrap().to_der().unwrap(), octets.clone()].concat();
            for octets in [octets, framed] {
                let _ = InitialToken::parse(&octets);
                let _ = NegTokenInit::parse(&octets);
                let _ = NegTokenResp::parse(&octets);
            }
        }

        #[test]
        fn what_is_written_reads_back(state in prop::option::of(0_u8..4), chosen: bool, token: Option<Vec<u8>>, mic: Option<Vec<u8>>) {
            let state = state.map(|octet| NegState::from_octet(octet).unwrap());
            let (token, mic) = (token.as_deref(), mic.as_deref());
            let answer = NegTokenResp { state, mechanism: chosen.then_some(KRB5), token, mic };
            let written = answer.encode();
            prop_assert_eq!(NegTokenResp::parse(&written), Ok(answer));
            let mechanisms = vec![MS_KRB5, NTLMSSP];
            let list = NegTokenInit::encode_mechanisms(&mechanisms);
            let offer = NegTokenInit { mechanisms, mechanisms_der: &list, token, mic };
            let written = offer.encode();
            prop_assert_eq!(NegTokenInit::parse(&written), Ok(offer));
        }
    }
}
