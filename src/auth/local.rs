//! The local administrator: whoever runs the server, or root, asking over the machine's own socket.

use std::os::fd::AsFd;

use super::principal::{Principal, Role};

/// The local administrator's name. No user of the users file may have it: enumeration contexts, their quota and
/// repeated calls belong to a name.
pub(super) const NAME: &str = "local";

/// How the local administrator is proved.
pub(super) const MECHANISM: &str = "local";

/// Why the peer of a unix socket is not the local administrator.
#[derive(Debug, thiserror::Error)]
pub enum LocalRefusal {
    /// The peer is someone else.
    #[error("user id {0} is neither the server's own nor root's")]
    Stranger(u32),
    /// The kernel did not say who the peer is.
    #[error("the peer of the socket is unknown: {0}")]
    Unknown(#[from] std::io::Error),
}

/// The local administrator, when the kernel says that the peer of the connected unix `socket` runs under the server's
/// own user id or as root. The kernel's word is the proof, so nothing is asked of the client.
pub fn local_administrator(socket: impl AsFd) -> Result<Principal, LocalRefusal> {
    let peer = rustix::net::sockopt::socket_peercred(socket).map_err(std::io::Error::from)?;
    let own = rustix::process::geteuid();
    if peer.uid == own || peer.uid.is_root() {
        Ok(Principal::new(NAME.to_owned(), Role::Administrator, MECHANISM, 0, None))
    } else {
        Err(LocalRefusal::Stranger(peer.uid.as_raw()))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_same_user_is_the_local_administrator() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let principal = local_administrator(&ours).unwrap();
        assert_eq!(
            (principal.name(), principal.role(), principal.mechanism()),
            ("local", Role::Administrator, "local")
        );
    }

    #[test]
    fn a_socket_of_another_family_proves_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = listener.accept().unwrap().0;
        drop(client);
        assert!(local_administrator(&server).is_err());
    }
}
