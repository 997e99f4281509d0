//! The messages of CredSSP inside its TLS (MS-CSSP 2.2.1), in DER.
//!
//! ```text
//! TSRequest ::= SEQUENCE {
//!     version     [0] INTEGER,
//!     negoTokens  [1] SEQUENCE OF SEQUENCE { negoToken [0] OCTET STRING } OPTIONAL,
//!     authInfo    [2] OCTET STRING OPTIONAL,
//!     pubKeyAuth  [3] OCTET STRING OPTIONAL,
//!     errorCode   [4] INTEGER OPTIONAL,
//!     clientNonce [5] OCTET STRING OPTIONAL
//! }
//! ```
//! Both directions send the same message. What is longer than it needs to be, out of order or unknown is refused.

use der::asn1::{AnyRef, ContextSpecific, OctetStringRef};
use der::{Decode, Encode, EncodeValue, ErrorKind, Length, Reader, SliceReader, Tag, TagMode, TagNumber, Tagged};

/// Octets of the longest message that is read: room for a Kerberos ticket with many groups.
pub const TS_REQUEST_OCTETS_MAX: usize = 64 * 1024;
/// Octets of a nonce.
pub const NONCE_OCTETS: usize = 32;

/// A message that is none, or cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TsRequestError(&'static str);

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TsRequest {
    /// The version of the protocol that the sender speaks.
    pub version: u32,
    /// A token of the inner handshake (SPNEGO, or bare NTLM or Kerberos). The list may hold one at most: nobody sends
    /// more, and two would leave open which counts.
    pub nego_token: Option<Vec<u8>>,
    /// `TSCredentials`, sealed with the keys of the inner handshake.
    pub auth_info: Option<Vec<u8>>,
    /// What binds the inner handshake to this TLS connection, sealed likewise.
    pub pub_key_auth: Option<Vec<u8>>,
    /// Why the server ends the handshake: an NTSTATUS.
    pub error_code: Option<u32>,
    /// The client's nonce, part of what `pub_key_auth` hashes.
    pub client_nonce: Option<[u8; NONCE_OCTETS]>,
}

impl TsRequest {
    /// Read one message, and nothing behind it.
    pub fn parse(octets: &[u8]) -> Result<Self, TsRequestError> {
        if octets.len() > TS_REQUEST_OCTETS_MAX {
            return Err(TsRequestError("the TSRequest is too long"));
        }
        Self::from_der(octets).map_err(|_| TsRequestError("the message is no TSRequest"))
    }

    /// The message's octets.
    pub fn encode(&self) -> Result<Vec<u8>, TsRequestError> {
        self.to_der().map_err(|_| TsRequestError("the TSRequest is too long to be sent"))
    }

    fn from_der(octets: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(octets)?;
        let request = reader.sequence(|fields| {
            let version = field(fields, 0)?.ok_or(ErrorKind::Failed)?;
            let tokens: Option<NegoTokens> = field(fields, 1)?;
            let auth_info = octet_string(fields, 2)?;
            let pub_key_auth = octet_string(fields, 3)?;
            let error_code = field::<_, i64>(fields, 4)?.map(status).transpose()?;
            let nonce = octet_string(fields, 5)?.map(<[u8; NONCE_OCTETS]>::try_from);
            let client_nonce = nonce.transpose().map_err(|_| ErrorKind::Failed)?;
            let nego_token = tokens.and_then(|tokens| tokens.0);
            Ok(Self { version, nego_token, auth_info, pub_key_auth, error_code, client_nonce })
        })?;
        reader.finish(request)
    }

    fn to_der(&self) -> der::Result<Vec<u8>> {
        let mut fields = Vec::new();
        put(&mut fields, TagNumber::N0, self.version)?;
        if let Some(token) = &self.nego_token {
            let mut one = Vec::new();
            put(&mut one, TagNumber::N0, OctetStringRef::new(token)?)?;
            let one = AnyRef::new(Tag::Sequence, &one)?.to_der()?;
            put(&mut fields, TagNumber::N1, AnyRef::new(Tag::Sequence, &one)?)?;
        }
        for (number, octets) in [(TagNumber::N2, &self.auth_info), (TagNumber::N3, &self.pub_key_auth)] {
            if let Some(octets) = octets {
                put(&mut fields, number, OctetStringRef::new(octets)?)?;
            }
        }
        if let Some(code) = self.error_code {
            // Windows writes the four octets of an NTSTATUS, which makes a negative number of every error.
            put(&mut fields, TagNumber::N4, code.cast_signed())?;
        }
        if let Some(nonce) = &self.client_nonce {
            put(&mut fields, TagNumber::N5, OctetStringRef::new(nonce)?)?;
        }
        AnyRef::new(Tag::Sequence, &fields)?.to_der()
    }
}

/// An NTSTATUS, whether it was written as a negative number or as a large one.
fn status(code: i64) -> der::Result<u32> {
    let signed = i32::try_from(code).map(i32::cast_unsigned);
    signed.or_else(|_| u32::try_from(code)).map_err(|_| ErrorKind::Failed.into())
}

/// The token in `negoTokens`; none in an empty list.
struct NegoTokens(Option<Vec<u8>>);

impl<'a> Decode<'a> for NegoTokens {
    fn decode<R: Reader<'a>>(reader: &mut R) -> der::Result<Self> {
        reader.sequence(|tokens| {
            if tokens.is_finished() {
                return Ok(Self(None));
            }
            let token = tokens.sequence(|token| Ok(octet_string(token, 0)?.ok_or(ErrorKind::Failed)?))?;
            Ok(Self(Some(token)))
        })
    }
}

/// The field of that number, when it is the next one.
pub(super) fn field<'a, R: Reader<'a>, T: Decode<'a>>(reader: &mut R, number: u8) -> der::Result<Option<T>> {
    if reader.peek_byte() != Some(0xa0 | number) {
        return Ok(None);
    }
    ContextSpecific::<T>::decode(reader).map(|field| Some(field.value))
}

fn octet_string<'a, R: Reader<'a>>(reader: &mut R, number: u8) -> der::Result<Option<Vec<u8>>> {
    Ok(field::<_, OctetStringRef<'a>>(reader, number)?.map(|octets| octets.as_bytes().to_vec()))
}

fn put<T: EncodeValue + Tagged>(out: &mut Vec<u8>, tag_number: TagNumber, value: T) -> der::Result<Length> {
    ContextSpecific { tag_number, tag_mode: TagMode::Explicit, value }.encode_to_vec(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> TsRequest {
        TsRequest {
            version: 6,
            nego_token: Some(b"token".to_vec()),
            auth_info: Some(vec![1; 300]),
            pub_key_auth: Some(Vec::new()),
            error_code: Some(0xc000_006d),
            client_nonce: Some([7; NONCE_OCTETS]),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let empty = TsRequest { version: 2, ..TsRequest::default() };
        for request in [whole(), empty, TsRequest { error_code: Some(5), nego_token: Some(Vec::new()), ..whole() }] {
            let octets = request.encode().unwrap();
            assert_eq!(TsRequest::parse(&octets), Ok(request));
        }
    }

    #[test]
    fn the_octets_are_those_of_other_implementations() {
        let request = TsRequest { version: 6, nego_token: Some(b"AB".to_vec()), ..TsRequest::default() };
        let octets = b"\x30\x11\xa0\x03\x02\x01\x06\xa1\x0a\x30\x08\x30\x06\xa0\x04\x04\x02AB";
        assert_eq!(request.encode().unwrap(), octets);
        let error = TsRequest { version: 6, error_code: Some(0xc000_006d), ..TsRequest::default() };
        assert_eq!(error.encode().unwrap(), b"\x30\x0d\xa0\x03\x02\x01\x06\xa4\x06\x02\x04\xc0\x00\x00\x6d");
        let unsigned = b"\x30\x0e\xa0\x03\x02\x01\x06\xa4\x07\x02\x05\x00\xc0\x00\x00\x6d";
        assert_eq!(TsRequest::parse(unsigned), Ok(error));
    }

    #[test]
    fn a_message_is_read_whole_or_not_at_all() {
        let octets = whole().encode().unwrap();
        for length in 0..octets.len() {
            assert!(TsRequest::parse(&octets[..length]).is_err(), "{length}");
        }
        assert!(TsRequest::parse(&[octets.as_slice(), b"\0"].concat()).is_err(), "something follows");
        let long = TsRequest { auth_info: Some(vec![0; TS_REQUEST_OCTETS_MAX]), ..whole() };
        assert!(TsRequest::parse(&long.encode().unwrap()).is_err());
        for octets in [
            &b"\x30\x00"[..],
            b"\x30\x05\xa0\x03\x04\x01\x06",         // a version that is no number
            b"\x30\x05\xa0\x03\x02\x01\xff",         // a negative one
            b"\x30\x80\xa0\x03\x02\x01\x06\x00\x00", // no length
            b"\x30\x81\x05\xa0\x03\x02\x01\x06",     // a length that is longer than it needs to be
            b"\x30\x09\xa0\x03\x02\x01\x06\xa6\x02\x04\x00", // an unknown field
            b"\x30\x0a\xa3\x02\x04\x00\xa0\x03\x02\x01\x06\x00", // out of order
            b"\x30\x0a\xa0\x03\x02\x01\x06\xa5\x03\x04\x01\x00", // a nonce of one octet
            b"\x30\x09\xa0\x03\x02\x01\x06\x83\x02\x04\x00", // not constructed
            b"\x30\x17\xa0\x03\x02\x01\x06\xa1\x10\x30\x0e\x30\x05\xa0\x03\x04\x01A\x30\x05\xa0\x03\x04\x01B", // two
            b"\xff\xff\xff\xff",
        ] {
            assert!(TsRequest::parse(octets).is_err(), "{octets:02x?}");
        }
        assert_eq!(TsRequest::parse(b"\x30\x09\xa0\x03\x02\x01\x06\xa1\x02\x30\x00").unwrap().nego_token, None);
    }
}
