//! A stand-in for a VM in laboratories and tests: a thread that writes to an image as a guest would.
//!
//! The convention, for each image:
//! * A guest that runs holds a shared `flock` on the image. Who gets the exclusive lock knows that none runs.
//! * `IMAGE.stop` asks it to stop, and keeps it stopped while it is there.
//! * `IMAGE.freeze` asks it to hold its writes; it answers with `IMAGE.frozen` once what it wrote is on the medium.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::blocks::{GRAIN_OCTETS, widen};

/// How often a guest and those who wait for one look at the control files.
const POLL: Duration = Duration::from_millis(5);

/// How a lab guest writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestSettings {
    /// The octets of the image among which it picks 4 KiB blocks to overwrite.
    pub range: Range<u64>,
    /// How many blocks a second.
    pub blocks_per_second: u32,
    /// Seed of what it writes and where.
    pub seed: u64,
}

/// A lab guest's host: a thread that runs the guest whenever it isn't asked to stop, until this is dropped.
pub struct LabGuest {
    ended: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl LabGuest {
    /// Puts a guest on `image`. It starts at once unless `IMAGE.stop` is there.
    pub fn spawn(image: &Path, settings: GuestSettings) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(image)?;
        let (ended, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let host =
            Host { file, image: image.to_owned(), settings, ended: Arc::clone(&ended), written: Arc::clone(&written) };
        let thread = std::thread::Builder::new().name("lab-guest".to_owned()).spawn(move || host.run())?;
        Ok(Self { ended, written, thread: Some(thread) })
    }

    /// Blocks that it has written so far.
    pub fn blocks_written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Ends the guest as a power switch would, and tells how its writes went.
    pub fn end(mut self) -> io::Result<()> {
        self.ended.store(true, Ordering::Release);
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into())))
    }
}

impl Drop for LabGuest {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // The outcome matters to those who call `end`.
            drop(thread.join());
        }
    }
}

/// What the thread owns.
struct Host {
    file: File,
    image: PathBuf,
    settings: GuestSettings,
    ended: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Host {
    fn run(self) -> io::Result<()> {
        let mut random = self.settings.seed | 1;
        while !self.ended.load(Ordering::Acquire) {
            if control(&self.image, "stop").exists() || !self.power_on()? {
                std::thread::sleep(POLL);
                continue;
            }
            let written = self.write_until_stopped(&mut random);
            rustix::fs::flock(&self.file, FlockOperation::Unlock)?;
            written?;
        }
        Ok(())
    }

    /// Takes the shared lock; false while somebody has the exclusive one.
    fn power_on(&self) -> io::Result<bool> {
        match rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write_until_stopped(&self, random: &mut u64) -> io::Result<()> {
        let started = Instant::now();
        let mut due = 0;
        while !self.ended.load(Ordering::Acquire) && !control(&self.image, "stop").exists() {
            if control(&self.image, "freeze").exists() {
                self.file.sync_data()?;
                let frozen = control(&self.image, "frozen");
                if !frozen.exists() {
                    fs::write(frozen, b"")?;
                }
                std::thread::sleep(POLL);
                continue;
            }
            let target = u128::from(self.settings.blocks_per_second) * started.elapsed().as_millis() / 1000;
            while due < target {
                self.write_block(random)?;
                due += 1;
                if due % 64 == 0 {
                    break; // the control files are looked at in between
                }
            }
            if due >= target {
                std::thread::sleep(POLL);
            }
        }
        self.file.sync_data()
    }

    fn write_block(&self, random: &mut u64) -> io::Result<()> {
        let grain = widen(GRAIN_OCTETS);
        let Range { start, end } = self.settings.range;
        let count = (end.saturating_sub(start) / grain).max(1);
        let offset = start + next_random(random) % count * grain;
        let mut block = [0; GRAIN_OCTETS];
        for word in block.chunks_exact_mut(8) {
            word.copy_from_slice(&next_random(random).to_le_bytes());
        }
        self.file.write_all_at(&block, offset)?;
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

/// Xorshift: the guest's data only has to be incompressible and repeatable.
fn next_random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The control file `IMAGE.suffix`.
fn control(image: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(image);
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// What a lab's hooks do to the guest of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Stop, and stay stopped: waits until no guest runs.
    Stop,
    /// Run again, if a guest's host is there.
    Start,
    /// Hold all writes: waits until the guest says so, or until none runs.
    Freeze,
    /// Go on writing.
    Thaw,
}

/// Carries out a lab's hook on one image. Returns whether it was done before `give_up` said true.
pub fn request(image: &Path, request: Request, give_up: &dyn Fn() -> bool) -> io::Result<bool> {
    match request {
        Request::Stop => {
            fs::write(control(image, "stop"), b"")?;
            wait(give_up, || is_off(image))
        }
        Request::Start => {
            remove(&control(image, "stop"))?;
            Ok(true)
        }
        Request::Freeze => {
            remove(&control(image, "frozen"))?;
            fs::write(control(image, "freeze"), b"")?;
            wait(give_up, || Ok(control(image, "frozen").exists() || is_off(image)?))
        }
        Request::Thaw => {
            remove(&control(image, "freeze"))?;
            remove(&control(image, "frozen"))?;
            Ok(true)
        }
    }
}

/// Whether no guest runs on the image: an exclusive lock can be had, or is had by who asks for the guest to stop.
fn is_off(image: &Path) -> io::Result<bool> {
    let file = File::open(image)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => return Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => {}
        Err(error) => return Err(error.into()),
    }
    // A shared lock beside it means a guest; none can be had beside an exclusive one, which is the driver's.
    Ok(rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK))
}

fn wait(give_up: &dyn Fn() -> bool, done: impl Fn() -> io::Result<bool>) -> io::Result<bool> {
    loop {
        if done()? {
            return Ok(true);
        }
        if give_up() {
            return Ok(false);
        }
        std::thread::sleep(POLL);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient() -> impl Fn() -> bool {
        let started = Instant::now();
        move || started.elapsed() > Duration::from_secs(20)
    }

    #[test]
    fn a_guest_stops_starts_and_freezes_on_request() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        File::create(&image).unwrap().set_len(1 << 20).unwrap();
        let settings = GuestSettings { range: 0..1 << 20, blocks_per_second: 10_000, seed: 42 };
        let guest = LabGuest::spawn(&image, settings).unwrap();
        let wrote = |from: u64| wait(&patient(), || Ok(guest.blocks_written() > from)).unwrap();
        assert!(wrote(10));
        assert!(request(&image, Request::Freeze, &patient()).unwrap());
        let frozen = fs::read(&image).unwrap();
        assert_eq!(fs::read(&image).unwrap(), frozen);
        let count = guest.blocks_written();
        request(&image, Request::Thaw, &patient()).unwrap();
        assert!(wrote(count));
        assert!(request(&image, Request::Stop, &patient()).unwrap());
        let count = guest.blocks_written();
        let stopped = fs::read(&image).unwrap();
        assert_ne!(stopped, frozen);
        request(&image, Request::Start, &patient()).unwrap();
        assert!(wrote(count));
        guest.end().unwrap();
    }
}
