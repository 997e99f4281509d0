//! From errors of the operating system to what a person is told: one table.

use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::io::Errno;

use crate::backend::{DriverError, DriverErrorKind, ProbeRefusal};
use crate::blocks::{BlockError, End};

/// Which copy of a disk a path belongs to, for messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Home,
    Peer,
    Point,
}

impl Copy {
    fn word(self) -> &'static str {
        match self {
            Self::Home => "home's image",
            Self::Peer => "the peer's image",
            Self::Point => "the recovery point's file",
        }
    }
}

/// What errno says about the reason, independent of what was done.
fn kind_of(error: &io::Error) -> DriverErrorKind {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => return DriverErrorKind::OutOfSpace,
        Some(Errno::LOOP | Errno::ROFS) => return DriverErrorKind::NotPermitted,
        Some(
            Errno::TIMEDOUT | Errno::STALE | Errno::NOTCONN | Errno::HOSTDOWN | Errno::HOSTUNREACH | Errno::NETUNREACH,
        ) => {
            return DriverErrorKind::PeerUnreachable;
        }
        _ => {}
    }
    match error.kind() {
        ErrorKind::NotFound => DriverErrorKind::Missing,
        ErrorKind::PermissionDenied | ErrorKind::InvalidInput | ErrorKind::IsADirectory | ErrorKind::NotADirectory => {
            DriverErrorKind::NotPermitted
        }
        ErrorKind::UnexpectedEof => DriverErrorKind::Shrunk,
        _ => DriverErrorKind::Io,
    }
}

/// What to do about it.
fn action_for(kind: DriverErrorKind, path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match kind {
        DriverErrorKind::OutOfSpace => format!("make room on the file system that holds {path}, then start again"),
        DriverErrorKind::Missing => format!("put {path} back, or correct the VM's disks in the inventory"),
        DriverErrorKind::NotPermitted if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            format!("{path} goes through a symbolic link, which is never followed: import the VM with its real path")
        }
        DriverErrorKind::NotPermitted if error.kind() == ErrorKind::InvalidInput => {
            format!("name a regular file (a raw image) instead of {path}")
        }
        DriverErrorKind::NotPermitted => {
            format!(
                "let the daemon's user read and write {path} and search its directories; see `ls -l` and the \
                 mount's options"
            )
        }
        DriverErrorKind::Shrunk => format!("find out who cut {path} short, then start again"),
        DriverErrorKind::PeerUnreachable => format!("mount the peer's directory again so that {path} can be read"),
        _ => format!("look at the kernel's log about the device that holds {path}, then start again"),
    }
}

/// `doing` is what was tried, as in "open" or "write the marker of".
pub(super) fn from_io(copy: Copy, path: &Path, doing: &str, error: &io::Error) -> DriverError {
    let kind = kind_of(error);
    let reason = match kind {
        DriverErrorKind::Shrunk => "it is shorter than it was".to_owned(),
        DriverErrorKind::NotPermitted if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
            "a part of the path is a symbolic link".to_owned()
        }
        _ => error.to_string(),
    };
    let message = format!("cannot {doing} {} {}: {reason}", copy.word(), path.display());
    DriverError::new(kind, message, action_for(kind, path, error))
}

/// A failure of the block engine; `source` and `target` name what was compared or copied.
pub(super) fn from_blocks(error: &BlockError, source: (Copy, &Path), target: (Copy, &Path)) -> DriverError {
    match error {
        BlockError::Cancelled => DriverError::cancelled(),
        BlockError::Io { end: End::Source, offset, error } => {
            from_io(source.0, source.1, &format!("read octet {offset} of"), error)
        }
        BlockError::Io { end: End::Target, offset, error } => {
            from_io(target.0, target.1, &format!("read or write octet {offset} of"), error)
        }
    }
}

/// The same for an admission check.
pub(super) fn refusal(copy: Copy, path: &Path, error: &io::Error) -> ProbeRefusal {
    let what = format!("{} {}", copy.word(), path.display());
    match kind_of(error) {
        // The peer's directory is a mount: when all of it is gone, it is the peer that is gone.
        DriverErrorKind::Missing if copy == Copy::Peer && !path.parent().is_some_and(Path::is_dir) => {
            ProbeRefusal::PeerUnreachable(format!("{what}: its directory is not there"))
        }
        DriverErrorKind::Missing => ProbeRefusal::Missing(what),
        DriverErrorKind::PeerUnreachable => ProbeRefusal::PeerUnreachable(format!("{what}: {error}")),
        _ => ProbeRefusal::NotPermitted(format!("{what}: {error}")),
    }
}
