//! TLS without a socket: its records travel in the tokens of a handshake, and in sealed messages afterwards.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use rustls::server::{ServerConnection, StoresServerSessions};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ProtocolVersion, ServerConfig};
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::super::protection::{SealError, SecurityContext};

/// Octets of a record's head: type, version, length.
const HEAD_OCTETS: usize = 5;
/// The most octets that a record protects.
const FRAGMENT_OCTETS_MAX: usize = 16 * 1024;
/// The most octets of a record after its head (RFC 5246, section 6.2.3).
const RECORD_OCTETS_MAX: usize = FRAGMENT_OCTETS_MAX + 2048;
/// The type of records with data of the application.
const APPLICATION_DATA: u8 = 23;

/// What a server shows of itself inside CredSSP: the TLS configuration, and the key to which the inner handshake is
/// bound.
#[derive(Clone, Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
    public_key: Arc<[u8]>,
    rsa: bool,
}

impl Identity {
    /// The identity of a certificate: TLS 1.2 and 1.3, no certificate of the client's, no resumption.
    pub fn new(certified: Arc<CertifiedKey>) -> Result<Self, rustls::Error> {
        let described = certified.key.public_key();
        let described = described.as_ref().and_then(|key| SubjectPublicKeyInfoRef::try_from(key.as_ref()).ok());
        let described =
            described.ok_or_else(|| rustls::Error::General("the certificate's key cannot be read".to_owned()))?;
        let public_key = described.subject_public_key.raw_bytes().into();
        let rsa = certified.key.algorithm() == rustls::SignatureAlgorithm::RSA;
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.session_storage = Arc::new(Forgetful);
        config.send_tls13_tickets = 1;
        Ok(Self { config: Arc::new(config), public_key, rsa })
    }

    /// The octets of `subjectPublicKey` in the certificate (MS-CSSP 3.1.5: what both sides hash).
    pub(super) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Whether the key is of RSA. Clients in Python take no other for CredSSP.
    pub fn is_rsa(&self) -> bool {
        self.rsa
    }
}

/// Says that it keeps sessions, and keeps none. In TLS 1.3 the client speaks last in the handshake; with a ticket there
/// is an answer to that, and clients that take an answer without a token for a broken one find a token. Whoever comes
/// with such a ticket gets a whole handshake.
#[derive(Debug)]
struct Forgetful;

impl StoresServerSessions for Forgetful {
    fn put(&self, _: Vec<u8>, _: Vec<u8>) -> bool {
        true
    }
    fn get(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn take(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn can_cache(&self) -> bool {
        true
    }
}

/// One TLS connection, the server's side of it.
pub(super) struct Tunnel(ServerConnection);

impl Tunnel {
    pub(super) fn new(identity: &Identity) -> Result<Self, rustls::Error> {
        ServerConnection::new(Arc::clone(&identity.config)).map(Self)
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Take whole records, and append what they carried to `out`. After an error the tunnel is of no use but for
    /// [`Tunnel::answer`], which may have an alert.
    pub(super) fn take(&mut self, mut records: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        if !whole_records(records, |_| true) {
            return Err(SealError("the TLS records are cut or badly framed"));
        }
        while !records.is_empty() {
            let broken = SealError("the TLS records cannot be opened");
            let taken = self.0.read_tls(&mut records).map_err(|_| broken)?;
            let state = self.0.process_new_packets().map_err(|_| broken)?;
            if state.peer_has_closed() || taken == 0 {
                return Err(SealError("the client ended the TLS connection"));
            }
            match self.0.reader().read_to_end(out) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(broken),
                _ => {}
            }
        }
        Ok(())
    }

    /// The records that wait to be sent.
    pub(super) fn answer(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing into memory does not fail.
        while self.0.wants_write() && self.0.write_tls(&mut out).is_ok_and(|written| written > 0) {}
        out
    }

    /// Put a message into records and append them to `out`. One of up to 16 KiB makes one record.
    pub(super) fn put(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        for fragment in message.chunks(FRAGMENT_OCTETS_MAX) {
            let failed = |_| SealError("TLS takes no more messages");
            self.0.writer().write_all(fragment).map_err(failed)?;
            out.append(&mut self.answer());
        }
        Ok(())
    }

    /// What stands for a signature: in front of the records, clients want to be told of how many octets the end of a
    /// record consists. With the ciphers of TLS 1.2 that are served it is 16 (the tag), in TLS 1.3 17 (the inner type
    /// as well).
    fn signature_octets(&self) -> usize {
        if self.0.protocol_version() == Some(ProtocolVersion::TLSv1_3) { 17 } else { 16 }
    }
}

/// Whether `octets` are one or more records, the last one complete, of wanted types.
fn whole_records(octets: &[u8], wanted: impl Fn(u8) -> bool) -> bool {
    let mut rest = octets;
    loop {
        let Some(([kind, 3, _, high, low], behind)) = rest.split_first_chunk::<HEAD_OCTETS>() else { return false };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(next) = behind.get(length..) else { return false };
        if length > RECORD_OCTETS_MAX || !wanted(*kind) {
            return false;
        }
        if next.is_empty() {
            return true;
        }
        rest = next;
    }
}

/// The keys of a CredSSP login: those of its TLS connection (MS-WSMV 2.2.9.1.3).
///
/// A sealed message is one or more records; the two fields that hold signature and ciphertext elsewhere hold the head
/// and the tail of them, cut where the sender said a signature ends. That cut means nothing, and clients compute it
/// wrongly for ciphers that they do not know, so it is not looked at. The numbers of records see to it that no message
/// is taken twice or out of order.
pub(super) struct TunnelContext(pub(super) Tunnel);

impl SecurityContext for TunnelContext {
    fn unseal(&mut self, _: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        // Neither alerts nor another handshake belong into a message.
        if !whole_records(token, |kind| kind == APPLICATION_DATA) {
            return Err(SealError("the message is not a whole number of TLS records with data"));
        }
        self.0.take(token, out)
    }

    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError> {
        if message.len() > FRAGMENT_OCTETS_MAX {
            return Err(SealError("the message is too long for one TLS record"));
        }
        self.0.put(message, out)?;
        Ok(self.0.signature_octets())
    }

    fn message_octets_max(&self) -> usize {
        FRAGMENT_OCTETS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_whole() {
        let any = |octets: &[u8]| whole_records(octets, |_| true);
        assert!(any(b"\x16\x03\x01\x00\x02ab") && any(b"\x16\x03\x01\x00\x02ab\x17\x03\x03\x00\x00"));
        assert!(!whole_records(b"\x16\x03\x01\x00\x02ab", |kind| kind == APPLICATION_DATA));
        for octets in [
            &b""[..],
            b"\x16",
            b"\x16\x03\x01\x00",
            b"\x16\x03\x01\x00\x02a",
            b"\x16\x03\x01\x00\x02ab\x17",
            b"\x16\x03\x01\x00\x02abc",
            b"\x16\x02\x01\x00\x02ab",
            &[b"\x17\x03\x03\x48\x01".as_slice(), &vec![0; 0x4801]].concat(),
        ] {
            assert!(!any(octets));
        }
    }
}
