//! A file system whose machine can lose power, for tests of what is durable when.
//!
//! Everything goes to the real files at once, so that what runs sees its own writes; beside that each image's unsynced
//! writes are remembered with what they replaced. After the cut all further input and output fails, and a choice by a
//! seed keeps or drops each page of each unsynced write on its own, as a disk's cache would. What was synced stays.
//! Small files are durable when their call returns, which is what [`Disks::write_small`] promises.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::io::{Access, DiskFile, Disks, RealDisks, Stamp};
use crate::blocks::{Blocks, narrow, widen};

/// What a medium writes as a whole.
const PAGE_OCTETS: usize = 4096;

/// What is remembered of one page of an unsynced write.
struct Change {
    offset: u64,
    before: Vec<u8>,
    after: Vec<u8>,
}

/// What all files share.
#[derive(Default)]
struct Machine {
    /// Writing calls until the power goes; none for never.
    calls_left: Option<u64>,
    unsynced: HashMap<PathBuf, Vec<Change>>,
}

/// [`Disks`] on a machine that can lose power. Clones are the same machine.
#[derive(Clone, Default)]
pub struct PowerCutDisks {
    machine: Arc<Mutex<Machine>>,
}

impl PowerCutDisks {
    /// A machine that loses power after `calls` calls that write or sync; none for when [`Self::lose_power`] says so.
    pub fn new(calls: Option<u64>) -> Self {
        Self { machine: Arc::new(Mutex::new(Machine { calls_left: calls, ..Machine::default() })) }
    }

    /// Cuts the power now, and settles by `seed` which unsynced pages have reached the medium. Whoever still has files
    /// open gets errors. Afterwards the files are what a new boot finds; boot with a new machine.
    pub fn lose_power(&self, seed: u64) -> io::Result<()> {
        let mut machine = self.state();
        machine.calls_left = Some(0);
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        for (path, changes) in machine.unsynced.drain() {
            let image = RealDisks.open(&path, Access::Write)?;
            for change in changes.iter().rev() {
                image.write_at(change.offset, &change.before)?;
            }
            for change in &changes {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                if random & 0x100 != 0 {
                    image.write_at(change.offset, &change.after)?;
                }
            }
        }
        Ok(())
    }

    /// Whether the power is gone.
    pub fn is_dark(&self) -> bool {
        self.state().calls_left == Some(0)
    }

    fn state(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that changes something; fails once the power is gone.
    fn spend(&self) -> io::Result<()> {
        let mut machine = self.state();
        match &mut machine.calls_left {
            Some(0) => Err(dark()),
            Some(left) => {
                *left -= 1;
                if *left == 0 { Err(dark()) } else { Ok(()) }
            }
            None => Ok(()),
        }
    }

    fn need_power(&self) -> io::Result<()> {
        if self.is_dark() { Err(dark()) } else { Ok(()) }
    }
}

fn dark() -> io::Error {
    io::Error::other("the power is gone")
}

impl Disks for PowerCutDisks {
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn DiskFile>> {
        self.need_power()?;
        let real = RealDisks.open(path, access)?;
        Ok(Box::new(CutFile { real, path: path.to_owned(), disks: self.clone() }))
    }

    fn read_small(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.need_power()?;
        RealDisks.read_small(path)
    }

    fn write_small(&self, path: &Path, octets: &[u8]) -> io::Result<()> {
        self.spend()?;
        RealDisks.write_small(path, octets)
    }

    fn remove_small(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        RealDisks.remove_small(path)
    }

    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        RealDisks.create_directory(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.need_power()?;
        RealDisks.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.spend()?;
        RealDisks.rename(from, to)?;
        let mut machine = self.state();
        let below: Vec<PathBuf> = machine.unsynced.keys().filter(|path| path.starts_with(from)).cloned().collect();
        for path in below {
            if let (Ok(rest), Some(changes)) = (path.strip_prefix(from), machine.unsynced.remove(&path)) {
                machine.unsynced.insert(to.join(rest), changes);
            }
        }
        Ok(())
    }

    fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        self.state().unsynced.retain(|image, _| !image.starts_with(path));
        RealDisks.remove_directory(path)
    }

    fn make_read_only(&self, path: &Path) -> io::Result<()> {
        self.spend()?;
        RealDisks.make_read_only(path)
    }
}

/// An image on such a machine.
struct CutFile {
    real: Box<dyn DiskFile>,
    path: PathBuf,
    disks: PowerCutDisks,
}

impl CutFile {
    /// Does a change and remembers it page by page. The power may go in its midst, with part of it done.
    fn change(&self, offset: u64, length: usize, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut before = vec![0; length];
        self.real.read_at(offset, &mut before)?;
        let powered = self.disks.spend();
        run()?;
        let mut after = vec![0; length];
        self.real.read_at(offset, &mut after)?;
        let mut machine = self.disks.state();
        let changes = machine.unsynced.entry(self.path.clone()).or_default();
        for (index, (before, after)) in before.chunks(PAGE_OCTETS).zip(after.chunks(PAGE_OCTETS)).enumerate() {
            let offset = offset + widen(index * PAGE_OCTETS);
            changes.push(Change { offset, before: before.to_vec(), after: after.to_vec() });
        }
        powered
    }
}

impl Blocks for CutFile {
    fn length(&self) -> io::Result<u64> {
        self.disks.need_power()?;
        self.real.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.disks.need_power()?;
        self.real.read_at(offset, buffer)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.disks.need_power()?;
        self.change(offset, data.len(), || self.real.write_at(offset, data))
    }

    fn punch(&self, offset: u64, length: u64) -> io::Result<()> {
        self.disks.need_power()?;
        self.change(offset, narrow(length, usize::MAX), || self.real.punch(offset, length))
    }

    fn next_data(&self, from: u64) -> io::Result<Option<Range<u64>>> {
        self.disks.need_power()?;
        self.real.next_data(from)
    }

    fn sync(&self) -> io::Result<()> {
        self.disks.spend()?;
        // No need to wait for a real medium: this one is simulated.
        self.disks.state().unsynced.remove(&self.path);
        Ok(())
    }
}

impl DiskFile for CutFile {
    fn stamp(&self) -> io::Result<Stamp> {
        self.disks.need_power()?;
        self.real.stamp()
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.disks.need_power()?;
        self.real.try_lock()
    }

    fn set_length(&self, octets: u64) -> io::Result<()> {
        self.disks.spend()?;
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
