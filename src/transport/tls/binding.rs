//! The channel binding that a certificate stands for: `tls-server-end-point` (RFC 5929, section 4).

use std::sync::Arc;

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Reader as _, SliceReader, TagMode, TagNumber};
use sha2::{Digest as _, Sha224, Sha256, Sha384, Sha512};
use x509_cert::spki::AlgorithmIdentifierRef;

/// What stands before the hash in the application data of a channel binding.
const PREFIX: &[u8] = b"tls-server-end-point:";

/// RSASSA-PSS (RFC 4055): the hash stands in the parameters.
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// The hash functions that a binding is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The algorithms, of signatures and of hashes, that say another hash than SHA-256.
const OTHERS: &[(ObjectIdentifier, Hash)] = &[
    // sha224WithRSAEncryption, ecdsa-with-SHA224, SHA-224
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.14"), Hash::Sha224),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.1"), Hash::Sha224),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.4"), Hash::Sha224),
    // sha384WithRSAEncryption, ecdsa-with-SHA384, SHA-384
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3"), Hash::Sha384),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2"), Hash::Sha384),
    // sha512WithRSAEncryption, ecdsa-with-SHA512, SHA-512
    (ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13"), Hash::Sha512),
    (ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4"), Hash::Sha512),
    (ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3"), Hash::Sha512),
];

/// The binding of a certificate (DER): `tls-server-end-point:` and the hash of the whole certificate by the hash
/// function of its signature. MD5 and SHA-1 give way to SHA-256, as RFC 5929 says.
///
/// For a signature that has no hash function of its own (Ed25519, Ed448) RFC 5929 defines no binding; SHA-256 is taken,
/// as for everything that is not known here. A client that takes another one sends a binding that does not match, and
/// is refused: never one that matches by mistake.
pub(super) fn end_point(certificate: &[u8]) -> Arc<[u8]> {
    let hash = match signature_hash(certificate).unwrap_or(Hash::Sha256) {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    };
    [PREFIX, hash.as_slice()].concat().into()
}

/// The hash function of a certificate's signature. Reads no more of it than that: what is signed is skipped.
fn signature_hash(certificate: &[u8]) -> der::Result<Hash> {
    let mut reader = SliceReader::new(certificate)?;
    let algorithm = reader.sequence(|certificate| {
        let _signed: AnyRef<'_> = certificate.decode()?;
        let algorithm: AlgorithmIdentifierRef<'_> = certificate.decode()?;
        let _signature: AnyRef<'_> = certificate.decode()?;
        Ok(algorithm)
    })?;
    if algorithm.oid != RSASSA_PSS {
        return Ok(by_algorithm(algorithm.oid));
    }
    let Some(parameters) = algorithm.parameters else { return Ok(Hash::Sha256) };
    parameters.sequence(|parameters| {
        let hash = parameters.context_specific::<AlgorithmIdentifierRef<'_>>(TagNumber::N0, TagMode::Explicit)?;
        // The rest says the same of the mask, and how long the salt is.
        let _rest = parameters.read_slice(parameters.remaining_len())?;
        // Without a word it is SHA-1.
        Ok(hash.map_or(Hash::Sha256, |hash| by_algorithm(hash.oid)))
    })
}

fn by_algorithm(algorithm: ObjectIdentifier) -> Hash {
    OTHERS.iter().find(|(oid, _)| *oid == algorithm).map_or(Hash::Sha256, |(_, hash)| *hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate as far as it is looked at: something signed, the algorithm, a signature.
    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        let content = [&[0x30, 0x03, 0x02, 0x01, 0x05], algorithm, &[0x03, 0x02, 0x00, 0xff]].concat();
        [&[0x30, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
    }

    /// `AlgorithmIdentifier` with these parameters.
    fn algorithm(oid: &str, parameters: &[u8]) -> Vec<u8> {
        let oid = ObjectIdentifier::new_unwrap(oid);
        let name = [&[0x06, u8::try_from(oid.as_bytes().len()).unwrap()], oid.as_bytes()].concat();
        let content = [name.as_slice(), parameters].concat();
        [&[0x30, u8::try_from(content.len()).unwrap()], content.as_slice()].concat()
    }

    #[test]
    fn the_signature_says_the_hash() {
        for (oid, octets) in [
            ("1.2.840.113549.1.1.4", 32),  // MD5 with RSA
            ("1.2.840.113549.1.1.5", 32),  // SHA-1 with RSA
            ("1.2.840.10045.4.1", 32),     // SHA-1 with ECDSA
            ("1.2.840.113549.1.1.11", 32), // SHA-256 with RSA
            ("1.2.840.10045.4.3.2", 32),   // SHA-256 with ECDSA
            ("1.2.840.113549.1.1.14", 28),
            ("1.2.840.10045.4.3.1", 28),
            ("1.2.840.113549.1.1.12", 48),
            ("1.2.840.10045.4.3.3", 48),
            ("1.2.840.113549.1.1.13", 64),
            ("1.2.840.10045.4.3.4", 64),
            ("1.3.101.112", 32), // Ed25519
            ("1.3.101.113", 32), // Ed448
        ] {
            let certificate = certificate(&algorithm(oid, &[]));
            let binding = end_point(&certificate);
            assert!(binding.starts_with(PREFIX));
            assert_eq!(binding.len() - PREFIX.len(), octets, "{oid}");
            if octets == 32 {
                assert_eq!(&binding[PREFIX.len()..], Sha256::digest(&certificate).as_slice());
            }
        }
    }

    #[test]
    fn the_parameters_of_pss_say_the_hash() {
        let salt = [0xa2, 0x03, 0x02, 0x01, 0x30];
        let sha384 = algorithm("2.16.840.1.101.3.4.2.2", &[0x05, 0x00]);
        let hash = [&[0xa0, u8::try_from(sha384.len()).unwrap()], sha384.as_slice()].concat();
        let sequence = |content: &[u8]| [&[0x30, u8::try_from(content.len()).unwrap()], content].concat();
        for (parameters, octets) in [
            (sequence(&[hash.as_slice(), &salt].concat()), 48),
            (sequence(&hash), 48),
            (sequence(&salt), 32),
            (sequence(&[]), 32),
            (Vec::new(), 32),
        ] {
            let binding = end_point(&certificate(&algorithm("1.2.840.113549.1.1.10", &parameters)));
            assert_eq!(binding.len() - PREFIX.len(), octets, "{parameters:02x?}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_a_binding_that_nobody_sends() {
        for octets in [&b""[..], b"\x30", b"\x30\x80\x00\x00", b"nonsense"] {
            assert_eq!(end_point(octets).len(), PREFIX.len() + 32);
        }
    }
}
