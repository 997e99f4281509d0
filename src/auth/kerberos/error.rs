//! What is wrong with a Kerberos set-up, or with a client's token.

use std::io;
use std::path::PathBuf;

use super::keytab::KeytabError;

/// Kerberos cannot be offered, or a client is not let in. The client is told nothing of it.
#[derive(Debug, thiserror::Error)]
pub enum KerberosError {
    /// MIT's library is not there, or not a fitting one.
    #[error("the Kerberos library cannot be loaded: {0} (Debian's package is libgssapi-krb5-2)")]
    Library(String),
    /// The keytab cannot be used.
    #[error("keytab {path}: {source}")]
    Keytab {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        source: KeytabError,
    },
    /// The keytab has keys, but none for a WS-Management server.
    #[error("keytab {path} has no key of HTTP/HOST or WSMAN/HOST, it has {found}")]
    NoService {
        /// The file at fault.
        path: PathBuf,
        /// The names that are there.
        found: String,
    },
    /// The replay cache cannot be used, so that no login could be accepted.
    #[error("replay cache {path}: {source}")]
    ReplayCache {
        /// The file at fault.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A path that C cannot take.
    #[error("{0:?} cannot be given to the Kerberos library: it has a NUL in it")]
    Path(PathBuf),
    /// The library does not take the keytab.
    #[error("the Kerberos library refuses keytab {path}: {text}")]
    Credential {
        /// The file at fault.
        path: PathBuf,
        /// What the library said.
        text: String,
    },
    /// The token is another mechanism's, does not open a login, or is damaged.
    #[error("the token opens no Kerberos login")]
    NotKerberos,
    /// The ticket is for a service that this server is not.
    #[error("the ticket is for {0}, not for HTTP or WSMAN on this server")]
    Service(String),
    /// The library refused the ticket.
    #[error("{why}: {text}")]
    Refused {
        /// What it comes to.
        why: &'static str,
        /// What the library said.
        text: String,
    },
    /// The ticket is good, but such a client is no user here.
    #[error("{client}: {why}")]
    Client {
        /// The whole name of the principal.
        client: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl KerberosError {
    /// What was wrong with a login, in words that do not depend on it.
    pub fn why(&self) -> &'static str {
        match self {
            Self::NotKerberos => "the token opens no Kerberos login",
            Self::Service(_) => "the ticket is for another service",
            Self::Refused { why, .. } | Self::Client { why, .. } => why,
            Self::Library(_)
            | Self::Keytab { .. }
            | Self::NoService { .. }
            | Self::ReplayCache { .. }
            | Self::Path(_)
            | Self::Credential { .. } => "Kerberos is not set up",
        }
    }

    /// The whole name of the principal, when it came to that.
    pub fn client(&self) -> Option<&str> {
        match self {
            Self::Client { client, .. } => Some(client),
            _ => None,
        }
    }

    /// What the library's answer to a token comes to.
    pub(super) fn refused(status: Status) -> Self {
        Self::Refused { why: why(status.major, status.minor), text: status.text }
    }
}

/// What the library says to a call that did not succeed, a complaint about a message's order included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// The major status of RFC 2744.
    pub(super) major: u32,
    /// The mechanism's own code; for Kerberos mostly one of `krb5.h`.
    pub(super) minor: u32,
    /// Both in words.
    pub(super) text: String,
}

impl Status {
    /// For answers of the library that it never gives.
    pub(super) fn odd(text: &str) -> Self {
        Self { major: FAILURE, minor: 0, text: text.to_owned() }
    }
}

/// `GSS_S_FAILURE`.
const FAILURE: u32 = 13 << 16;
/// `GSS_S_BAD_BINDINGS`.
const BAD_BINDINGS: u32 = 4 << 16;
/// Error 0 of RFC 4120, 7.5.9, in MIT's numbering.
const KERBEROS_ERRORS: i32 = -1_765_328_384;

fn why(major: u32, minor: u32) -> &'static str {
    if major & 0x00FF_0000 == BAD_BINDINGS {
        return "the login was made for another TLS connection";
    }
    match minor.cast_signed().wrapping_sub(KERBEROS_ERRORS) {
        31 | 41 => "the ticket was not made with the keytab's key",
        32 => "the ticket has expired",
        33 => "the ticket is not valid yet",
        34 => "the ticket's authenticator was used before",
        37 => "the clocks of client and server are too far apart",
        35 | 44 | 45 => "the keytab has no key for the ticket",
        _ => "the ticket was refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_librarys_answers_are_told_apart() {
        let krb5 = |code: i32| (KERBEROS_ERRORS + code).cast_unsigned();
        // KRB5KRB_AP_ERR_SKEW of krb5.h.
        assert_eq!(krb5(37), (-1_765_328_347_i32).cast_unsigned());
        let texts: Vec<&str> = [31, 32, 33, 34, 35, 37, 60].map(|code| why(13 << 16, krb5(code))).to_vec();
        let distinct: std::collections::BTreeSet<&str> = texts.iter().copied().collect();
        assert_eq!(distinct.len(), texts.len());
        assert_eq!(why(4 << 16, 0), "the login was made for another TLS connection");
        for minor in [0, u32::MAX, i32::MIN.cast_unsigned()] {
            assert_eq!(why(13 << 16, minor), "the ticket was refused");
        }
    }
}
