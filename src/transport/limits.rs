//! What a peer may take of this server before it gives something up.

use std::time::Duration;

/// The limits of connections and of HTTP messages.
#[derive(Clone, Debug)]
pub struct TransportLimits {
    /// Connections over TCP at the same time, all listeners together. More wait in the kernel's queue.
    pub connections_max: usize,
    /// Connections over TCP on which nobody has logged in yet; half of them from one address. More are closed at once.
    pub newcomers_max: usize,
    /// Octets of a request line with its headers (a Kerberos ticket with many groups needs tens of thousands).
    pub header_octets_max: usize,
    /// Octets of a body from a caller who is not authenticated.
    pub body_octets_anonymous_max: u64,
    /// Octets of a body from an authenticated caller.
    pub body_octets_max: u64,
    /// Octets of a refused body that are read and dropped, so that the client gets to read the refusal.
    pub drain_octets_max: u64,
    /// For how long they are.
    pub drain_timeout: Duration,
    /// How long a TLS handshake, and a request's headers from their first octet, may take. A connection on which nobody
    /// has logged in yet is closed after as long.
    pub header_timeout: Duration,
    /// How long a connection may take to its first login, whatever happens on it.
    pub login_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long a client may take no octet of an answer.
    pub write_timeout: Duration,
    /// How long an authenticated connection may rest between two requests.
    pub idle_timeout: Duration,
}

impl Default for TransportLimits {
    fn default() -> Self {
        Self {
            connections_max: 4096,
            newcomers_max: 3072,
            header_octets_max: 64 * 1024,
            body_octets_anonymous_max: 64 * 1024,
            body_octets_max: 512 * 1024,
            drain_octets_max: 16 * 1024 * 1024,
            drain_timeout: Duration::from_secs(5),
            header_timeout: Duration::from_secs(15),
            login_timeout: Duration::from_mins(1),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(15),
        }
    }
}
