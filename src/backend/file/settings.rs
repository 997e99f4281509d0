//! What an administrator sets: the two sites, and each VM's disks and hooks. All of it can be stored as a record.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The two sites and the link between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// Name of the site that this endpoint serves, for messages and hooks.
    pub home_host: String,
    /// Name of the other site.
    pub peer_host: String,
    /// Directory in which recovery points are kept, one directory a VM. It belongs to the peer site and is mounted
    /// here.
    pub points: PathBuf,
    /// The most octets a second that all transfers together may move; none means no limit.
    #[serde(default)]
    pub link_octets_per_second: Option<u64>,
}

/// A VM's entry in the inventory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmDisks {
    /// The VM's GUID.
    pub vm: Uuid,
    /// Its name, for messages and hooks.
    pub name: String,
    /// Raw images of home's copy, in the order of the VM's disks.
    pub home: Vec<PathBuf>,
    /// Raw images of the peer's copy, in the same order.
    pub peer: Vec<PathBuf>,
    /// How the guests are stopped and started.
    #[serde(default)]
    pub hooks: Hooks,
}

impl VmDisks {
    /// The same with every image's directory resolved, for an import: later no symbolic link is followed, so that a
    /// link in a path that the administrator meant has to be looked through once, now.
    pub fn resolved(mut self) -> io::Result<Self> {
        for path in self.home.iter_mut().chain(&mut self.peer) {
            let directory = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
            *path = directory.canonicalize()?.join(name);
        }
        Ok(self)
    }
}

/// What is run to stop and start a VM, and to hold it still while a recovery point is copied.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hooks {
    /// Stops the peer's VM; must also succeed when it is stopped already.
    pub peer_stop: Hook,
    /// Starts the peer's VM; must also succeed when it runs already.
    pub peer_start: Hook,
    /// Starts home's VM; likewise.
    pub home_start: Hook,
    /// Stops home's VM; likewise.
    pub home_stop: Hook,
    /// Makes the VM of the side named in FAILBACKD_SIDE hold its writes, with what it has in memory written out.
    pub freeze: Hook,
    /// Undoes `freeze`.
    pub thaw: Hook,
    /// The longest that any of them may take, in milliseconds.
    pub timeout_ms: u64,
}

impl Hooks {
    /// The hooks of a VM whose guest is a [`super::guest::LabGuest`].
    pub fn lab() -> Self {
        Self {
            peer_stop: Hook::Lab,
            peer_start: Hook::Lab,
            home_start: Hook::Lab,
            home_stop: Hook::Lab,
            freeze: Hook::Lab,
            thaw: Hook::Lab,
            timeout_ms: DEFAULT_TIMEOUT_MS,
        }
    }

    /// `timeout_ms`, with the default for a record that does not say.
    pub(super) fn timeout(&self) -> std::time::Duration {
        let timeout_ms = if self.timeout_ms == 0 { DEFAULT_TIMEOUT_MS } else { self.timeout_ms };
        std::time::Duration::from_millis(timeout_ms)
    }
}

/// A guest that shuts down in an orderly way rarely needs more than this.
const DEFAULT_TIMEOUT_MS: u64 = 120_000;

/// One hook.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Nothing is run: somebody else starts and stops this VM. The locks on the images are still looked at.
    #[default]
    None,
    /// The control files of a [`super::guest::LabGuest`].
    Lab,
    /// A program and its arguments; no shell. Its environment is PATH and the FAILBACKD_ variables that the manual
    /// lists.
    Command(Vec<String>),
}
