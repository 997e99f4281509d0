//! All limits in one struct.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::{BasicSettings, ThrottleSettings};
use crate::transport::TransportLimits;

/// What a peer may take of this server: `[limits]`. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Octets of an authenticated request's body (DSP0226 asks for 8,192 at least).
    pub envelope_octets_max: usize,
    /// Octets of a body from a caller who is not authenticated.
    pub body_octets_anonymous_max: usize,
    /// Octets of a refused body that are read and dropped so that its sender gets to read the refusal.
    pub drain_octets_max: u64,
    /// For how long they are.
    pub drain_timeout_ms: u64,
    /// Octets of a request line with its headers.
    pub header_octets_max: usize,
    /// Connections over TCP at the same time, all listeners together.
    pub connections_max: usize,
    /// Connections over TCP on which nobody has logged in yet, half of them from one address; more are closed at once.
    pub newcomers_max: usize,
    /// A connection's time to its first login, whatever happens on it.
    pub login_timeout_ms: u64,
    /// A request's headers from their first octet, a TLS handshake, and a connection before its first login.
    pub header_timeout_ms: u64,
    /// A request's body.
    pub body_timeout_ms: u64,
    /// A client that takes no octet of an answer.
    pub write_timeout_ms: u64,
    /// An authenticated connection between two requests.
    pub idle_timeout_ms: u64,
    /// Requests in flight, and steps of jobs, when the server is told to stop.
    pub shutdown_timeout_ms: u64,
    /// An operation whose request names no OperationTimeout, and the longest that one can ask for.
    pub operation_timeout_ms: u64,
    /// A backend's check of a virtual machine before its failback is admitted.
    pub admission_timeout_ms: u64,
    /// Nested elements.
    pub depth_max: u16,
    /// Elements of an envelope.
    pub elements_max: u32,
    /// Attributes of an element.
    pub attributes_max: u16,
    /// Octets of an element's or attribute's name.
    pub name_octets_max: u16,
    /// Selectors of a reference.
    pub selectors_max: u16,
    /// Enumerations that one user may have open.
    pub contexts_per_principal_max: u32,
    /// An enumeration that nobody pulls.
    pub context_timeout_ms: u64,
    /// Jobs that are kept, live and finished.
    pub jobs_max: u32,
    /// Password verifications that may wait for their turn.
    pub password_queue_max: usize,
    /// Verified credentials that are remembered.
    pub credentials_max: usize,
    /// For how long they are; 0 verifies every request anew.
    pub credential_life_ms: u64,
    /// How long a login waits after a wrong password of the same user from the same address; doubles with each further
    /// one.
    pub login_delay_ms: u64,
    /// The longest such wait.
    pub login_delay_max_ms: u64,
    /// Handshakes of a connection that end without a login; then it is closed.
    pub handshakes_max: u32,
    /// How long a change of the users file may go unnoticed by those who are logged in.
    pub users_recheck_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            envelope_octets_max: 512 * 1024,
            body_octets_anonymous_max: 64 * 1024,
            drain_octets_max: 16 * 1024 * 1024,
            drain_timeout_ms: 5_000,
            header_octets_max: 64 * 1024,
            connections_max: 4_096,
            newcomers_max: 3_072,
            login_timeout_ms: 60_000,
            header_timeout_ms: 15_000,
            body_timeout_ms: 30_000,
            write_timeout_ms: 30_000,
            idle_timeout_ms: 900_000,
            shutdown_timeout_ms: 10_000,
            operation_timeout_ms: 60_000,
            admission_timeout_ms: 10_000,
            depth_max: 64,
            elements_max: 65_536,
            attributes_max: 64,
            name_octets_max: 256,
            selectors_max: 64,
            contexts_per_principal_max: 2_048,
            context_timeout_ms: 600_000,
            jobs_max: 100_000,
            password_queue_max: 64,
            credentials_max: 1_024,
            credential_life_ms: 60_000,
            login_delay_ms: 250,
            login_delay_max_ms: 4_000,
            handshakes_max: 16,
            users_recheck_ms: 500,
        }
    }
}

impl Limits {
    /// What the transport is to hold to.
    pub fn transport(&self) -> TransportLimits {
        TransportLimits {
            connections_max: self.connections_max,
            newcomers_max: self.newcomers_max,
            login_timeout: Duration::from_millis(self.login_timeout_ms),
            header_octets_max: self.header_octets_max,
            body_octets_anonymous_max: octets(self.body_octets_anonymous_max),
            body_octets_max: octets(self.envelope_octets_max),
            drain_octets_max: self.drain_octets_max,
            drain_timeout: Duration::from_millis(self.drain_timeout_ms),
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            write_timeout: Duration::from_millis(self.write_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
        }
    }

    /// The longest that an operation may be waited for.
    pub fn operation_timeout(&self) -> Duration {
        Duration::from_millis(self.operation_timeout_ms)
    }

    /// What password verification is to hold to on a machine of `cores`: one core is left to everybody else.
    pub fn basic(&self, cores: usize) -> BasicSettings {
        BasicSettings {
            verifications_max: cores.saturating_sub(1).max(1),
            queue_max: self.password_queue_max,
            cache_entries_max: self.credentials_max,
            cache_life: Duration::from_millis(self.credential_life_ms),
        }
    }

    /// What guessing of passwords is to hold to.
    pub fn throttle(&self) -> ThrottleSettings {
        ThrottleSettings {
            delay: Duration::from_millis(self.login_delay_ms),
            delay_max: Duration::from_millis(self.login_delay_max_ms),
        }
    }

    /// Values under which nothing would work: key and problem.
    pub(super) fn problems(&self) -> Vec<(&'static str, String)> {
        let least = [
            ("limits.envelope_octets_max", octets(self.envelope_octets_max), 8_192),
            ("limits.body_octets_anonymous_max", octets(self.body_octets_anonymous_max), 1_024),
            ("limits.header_octets_max", octets(self.header_octets_max), 8_192),
            ("limits.connections_max", octets(self.connections_max), 4),
            ("limits.newcomers_max", octets(self.newcomers_max), 2),
            ("limits.login_timeout_ms", self.login_timeout_ms, 1),
            ("limits.header_timeout_ms", self.header_timeout_ms, 1),
            ("limits.body_timeout_ms", self.body_timeout_ms, 1),
            ("limits.write_timeout_ms", self.write_timeout_ms, 1),
            ("limits.idle_timeout_ms", self.idle_timeout_ms, 1),
            ("limits.operation_timeout_ms", self.operation_timeout_ms, 1),
            ("limits.admission_timeout_ms", self.admission_timeout_ms, 1),
            ("limits.depth_max", u64::from(self.depth_max), 16),
            ("limits.elements_max", u64::from(self.elements_max), 64),
            ("limits.attributes_max", u64::from(self.attributes_max), 16),
            ("limits.name_octets_max", u64::from(self.name_octets_max), 64),
            ("limits.selectors_max", u64::from(self.selectors_max), 4),
            ("limits.contexts_per_principal_max", u64::from(self.contexts_per_principal_max), 1),
            ("limits.handshakes_max", u64::from(self.handshakes_max), 1),
            ("limits.jobs_max", u64::from(self.jobs_max), 1),
        ];
        let too_small = least.into_iter().filter(|(_, value, least)| value < least);
        too_small
            .map(|(key, value, least)| (key, format!("{value} is less than {least}, the least that works")))
            .collect()
    }
}

fn octets(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
