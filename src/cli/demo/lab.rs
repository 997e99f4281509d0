//! The laboratory: two sites with real disk images, made through the same calls that a server makes.

use super::image::{self, Size};
use crate::backend::file::guest::{GuestSettings, LabGuest};
use crate::backend::file::{FileDriver, Hooks, VmDisks};
use crate::backend::{Driver, NewPoint, Unattended};
use crate::cli::Failure;
use crate::job::Timestamp;
use crate::replication::{PointId, PointKind, VmId};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use uuid::Uuid;

/// How many recovery points a VM of the lab keeps.
const POINTS_MAX: usize = 8;
/// 4 KiB blocks that a guest writes at the peer before and after the named recovery point.
const GUEST_BLOCKS: u64 = 256;
/// The longest wait for a guest's writes.
const GUEST_PATIENCE: Duration = Duration::from_secs(60);

/// What kind of lab to make.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// How many VMs.
    pub(crate) vms: u32,
    /// How many of them fail over and are ready for a failback; they are the first ones.
    pub(crate) failed_over: u32,
    /// What each image holds, in turn.
    pub(crate) sizes: Vec<Size>,
    /// Where all pseudo-random data comes from.
    pub(crate) seed: u64,
    /// 4 KiB blocks that a guest at the peer writes each second.
    pub(crate) guest_blocks_per_second: u32,
}

/// A VM of the lab.
pub(crate) struct LabVm {
    pub(crate) name: String,
    pub(crate) id: Uuid,
    /// True when a failback of it is admitted.
    pub(crate) ready: bool,
    pub(crate) home_disks: Vec<PathBuf>,
    pub(crate) peer_disks: Vec<PathBuf>,
    /// The recovery point that was taken after the failover.
    pub(crate) point: Option<SavedPoint>,
}

/// A recovery point and what the disks held when it was taken.
pub(crate) struct SavedPoint {
    pub(crate) id: Uuid,
    /// SHA-256 of each disk.
    pub(crate) hashes: Vec<[u8; 32]>,
}

/// `web01`, `db01`, `app01`, `web02` and so on.
pub(crate) fn name_of(number: u32) -> String {
    const KINDS: [&str; 3] = ["web", "db", "app"];
    let kind = KINDS.iter().cycle().nth(usize::try_from(number % 3).unwrap_or_default()).unwrap_or(&"vm");
    format!("{kind}{:02}", (number / 3).saturating_add(1))
}

/// Makes the data directory itself; one that exists must be empty.
pub(crate) fn make_directory(data_dir: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", data_dir.display()));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(failed)?;
    if std::fs::read_dir(data_dir).map_err(failed)?.next().is_some() {
        return Err(Failure::Failed(format!(
            "{} is not empty; a lab is only made in a new or empty directory",
            data_dir.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_on_in_turn() {
        let names: Vec<String> = (0..7).map(name_of).collect();
        assert_eq!(names, ["web01", "db01", "app01", "web02", "db02", "app02", "web03"]);
        assert_eq!(name_of(299), "app100");
    }

    #[test]
    fn only_an_empty_directory_becomes_a_lab() {
        let scratch = tempfile::tempdir().unwrap();
        let data_dir = scratch.path().join("a/b");
        make_directory(&data_dir).unwrap();
        make_directory(&data_dir).unwrap();
        std::fs::write(data_dir.join("x"), "").unwrap();
        let Err(Failure::Failed(problem)) = make_directory(&data_dir) else { panic!("accepted") };
        assert!(problem.contains("not empty"), "{problem}");
    }
}
