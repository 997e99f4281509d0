//! The file driver on a file system that fails.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use failbackd::backend::file::Hooks;
use failbackd::backend::file::io::{Access, DiskFile, Disks, RealDisks};
use failbackd::backend::{Driver, DriverErrorKind as Kind, Unattended};

use super::{Lab, VM, order};

/// Real files below one directory whose writes fail with an error number.
struct Failing {
    below: PathBuf,
    errno: i32,
    writes_left: Arc<AtomicU64>,
}

struct FailingFile {
    real: Box<dyn DiskFile>,
    errno: i32,
    writes_left: Arc<AtomicU64>,
}

impl FailingFile {
    fn spend(&self) -> io::Result<()> {
        let spent = self.writes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| io::Error::from_raw_os_error(self.errno))
    }
}

impl failbackd::blocks::Blocks for FailingFile {
    fn length(&self) -> io::Result<u64> {
        self.real.length()
    }
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.real.read_at(offset, buffer)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.real.write_at(offset, data)
    }
    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.real.punch(offset, length)
    }
    fn next_data(&self, from: u64) -> io::Result<Option<std::ops::Range<u64>>> {
        self.real.next_data(from)
    }
    fn sync(&self) -> io::Result<()> {
        self.real.sync()
    }
}

impl DiskFile for FailingFile {
    fn stamp(&self) -> io::Result<failbackd::backend::file::io::Stamp> {
        self.real.stamp()
    }
    fn try_lock(&self) -> io::Result<bool> {
        self.real.try_lock()
    }
    fn set_length(&self, octets: u64) -> io::Result<()> {
        self.real.set_length(octets)
    }
    fn forget_cache(&self) {}
    fn clone_from(&self, _source: &dyn DiskFile) -> io::Result<bool> {
        Ok(false)
    }
    fn as_file(&self) -> Option<&File> {
        None
    }
}

impl Disks for Failing {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        let real = RealDisks.open(path, access)?;
        if !path.starts_with(&self.below) {
            return Ok(real);
        }
        Ok(Box::new(FailingFile { real, errno: self.errno, writes_left: Arc::clone(&self.writes_left) }))
    }
    fn read_small(&self, path: &Path) -> io::Result<Vec<u8>> {
        RealDisks.read_small(path)
    }
    fn write_small(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        // A full disk takes no small files either.
        if self.writes_left.load(Ordering::Relaxed) == 0 && path.starts_with(&self.below) {
            return Err(io::Error::from_raw_os_error(self.errno));
        }
        RealDisks.write_small(path, octets)
    }
    fn remove_small(&self, path: &Path) -> io::Result<()> {
        RealDisks.remove_small(path)
    }
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisks.create_directory(path)
    }
    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        RealDisks.list(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisks.rename(from, to)
    }
    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        RealDisks.remove_directory(path)
    }
    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        RealDisks.make_read_only(path)
    }
}

#[test]
fn errors_of_home_leave_the_source_untouched_and_can_be_undone() {
    for (errno, kind, words) in [
        (rustix::io::Errno::NOSPC, Kind::OutOfSpace, "make room"),
        (rustix::io::Errno::ACCESS, Kind::NotPermitted, "daemon's user"),
        (rustix::io::Errno::ROFS, Kind::NotPermitted, "mount"),
        (rustix::io::Errno::IO, Kind::Io, "kernel's log"),
    ] {
        let lab = Lab::new(1);
        let below = lab.path().join("home");
        let disks = Failing { below, errno: errno.raw_os_error(), writes_left: Arc::new(AtomicU64::new(2)) };
        let driver = lab.driver_with(Box::new(disks), Hooks::lab());
        let (peer, modified) = (fs::read(lab.peer(0)).unwrap(), fs::metadata(lab.peer(0)).unwrap().modified().unwrap());
        driver.prepare(&order(1, 1), &Unattended).unwrap();
        let error = driver.sync_round(&order(1, 1), 0, &Unattended).unwrap_err();
        assert_eq!(error.kind, kind);
        assert!(
            error.message.contains("home/web01-0.img") && error.action.contains(words),
            "{error}: {}",
            error.action
        );
        if kind == Kind::OutOfSpace {
            driver.undo(&order(1, 1), &Unattended).expect("an undo needs no space");
            driver.power_home(VM, true).expect("and leaves nothing claimed");
        }
        assert!(fs::read(lab.peer(0)).unwrap() == peer);
        assert_eq!(fs::metadata(lab.peer(0)).unwrap().modified().unwrap(), modified);
    }
}
