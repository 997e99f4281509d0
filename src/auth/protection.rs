//! What protects the messages of a connection after a login: sealing (encryption with integrity), and whether it may be
//! left out.

use std::fmt;

/// A sealed message that is not what it should be, or a message that cannot be sealed. The client is told only that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SealError(pub &'static str);

/// The keys of a login, with the sequence numbers of both directions. After an error a context must not be used again.
pub trait SecurityContext: Send {
    /// Open one sealed message: `token` is a signature with the ciphertext after it, as they follow the length in a
    /// part of `multipart/encrypted`. `signature_octets` is that length, where the sender said one: a context that
    /// knows how long its signatures are refuses another. Appends the message to `out`.
    fn unseal(&mut self, signature_octets: Option<usize>, token: &[u8], out: &mut Vec<u8>) -> Result<(), SealError>;

    /// Seal one message: appends signature and ciphertext to `out`, and returns the octets of the signature.
    fn seal(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<usize, SealError>;

    /// The most octets of a message; longer ones are sealed in several parts (`multipart/x-multi-encrypted`).
    fn message_octets_max(&self) -> usize {
        usize::MAX
    }
}

/// Whether a connection's messages must be sealed even where the channel is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Yes: nothing else shows that the one who logged in is the one who speaks.
    Required,
    /// No.
    Optional,
}

/// What protects a connection's messages.
pub struct Protection {
    /// Seals and opens; none when the handshake agreed on no keys.
    pub context: Option<Box<dyn SecurityContext>>,
    /// Whether messages in clear are refused on an encrypted channel. On any other they always are, unless the
    /// configuration allows them.
    pub sealing: Sealing,
}

impl fmt::Debug for Protection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let context = self.context.as_ref().map(|_| "keys");
        out.debug_struct("Protection").field("context", &context).field("sealing", &self.sealing).finish()
    }
}

/// What a login over TLS must show of the channel that it runs in (`tls-server-end-point`, RFC 5929), so that nobody
/// can pass it on from another connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelBinding {
    /// Bindings are not looked at (behind a proxy that ends TLS no binding can match).
    None,
    /// A binding that is there must match.
    Relaxed,
    /// A binding that is there must match; an NTLM login without one must seal its messages, for only who knows the
    /// password can.
    #[default]
    Sealed,
    /// A matching binding must be there.
    Strict,
}
