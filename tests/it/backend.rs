//! Drivers: one contract suite that all of them run, and what is particular to each.

#![allow(clippy::unwrap_used, clippy::panic, clippy::as_conversions, clippy::print_stdout, reason = "tests")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use failbackd::backend::file::guest::{GuestSettings, LabGuest};
use failbackd::backend::file::io::{Disks, RealDisks};
use failbackd::backend::file::{FileDriver, FileSettings, Hooks, VmDisks};
use failbackd::backend::{Context, Driver, DriverError, NewPoint, Order, Unattended, Verified};
use failbackd::job::{JobId, Timestamp};
use failbackd::replication::{PointId, PointKind, VmId};
use uuid::Uuid;

mod contract;
mod failing;
mod fault;
mod file;
mod power;

const VM: VmId = VmId(Uuid::from_u128(0xA1));
const STRANGER: VmId = VmId(Uuid::from_u128(0xB2));
const MIB: u64 = 1 << 20;

fn order(job: u128, epoch: u64) -> Order {
    Order { job: JobId(Uuid::from_u128(job)), epoch, vm: VM, vm_name: "web01".to_owned(), point: None }
}

fn new_point(id: u128) -> NewPoint {
    let taken = Timestamp(i64::try_from(id).unwrap());
    NewPoint { id: PointId(Uuid::from_u128(id)), kind: PointKind::Standard, taken, points_max: 3 }
}

/// All steps up to the end transaction, as the engine runs them.
fn fail_back(driver: &dyn Driver, order: &Order) -> Result<Verified, DriverError> {
    driver.prepare(order, &Unattended)?;
    for round in 0..3 {
        if driver.sync_round(order, round, &Unattended)?.octets_left_estimate == 0 {
            break;
        }
    }
    driver.quiesce(order, &Unattended)?;
    driver.sync_round(order, 3, &Unattended)?;
    driver.verify(order, &Unattended)
}

/// A context that is cancelled once so many octets have passed.
#[derive(Default)]
struct Watch {
    cancel_after: Option<u64>,
    octets: AtomicU64,
    progressed: AtomicBool,
}

impl Context for Watch {
    fn cancelled(&self) -> bool {
        self.cancel_after.is_some_and(|limit| self.octets.load(Ordering::Relaxed) >= limit)
    }
    fn progress(&self, octets_done: u64, octets_total: u64) {
        assert!(octets_done <= octets_total);
        self.progressed.store(true, Ordering::Relaxed);
    }
    fn throttle(&self, octets: u64) {
        self.octets.fetch_add(octets, Ordering::Relaxed);
    }
}

/// Two directories with a VM's images: data in a part of them, and a peer that differs.
struct Lab {
    directory: tempfile::TempDir,
    disks: usize,
}

const IMAGE_OCTETS: u64 = 16 * MIB;

fn random_octets(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..count.div_ceil(8)).flat_map(|_| next()).take(count).collect()
}

impl Lab {
    fn new(disks: usize) -> Self {
        let lab = Self { directory: tempfile::tempdir().unwrap(), disks };
        for index in 0..disks {
            for (site, path) in [lab.home(index), lab.peer(index)].iter().enumerate() {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let image = File::create(path).unwrap();
                image.set_len(IMAGE_OCTETS).unwrap();
                image.write_all_at(&random_octets(index as u64 + 1, 2 << 20), MIB).unwrap();
                // What the peer wrote since the failover.
                if site == 1 {
                    for grain in [0, 3, 300, 301, 3000] {
                        image.write_all_at(&random_octets(grain + 77, 4096), grain * 4096).unwrap();
                    }
                }
            }
        }
        lab
    }

    fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }
    fn home(&self, index: usize) -> PathBuf {
        self.path().join("home").join(format!("web01-{index}.img"))
    }
    fn peer(&self, index: usize) -> PathBuf {
        self.path().join("peer").join(format!("web01-{index}.img"))
    }

    fn entry(&self, hooks: Hooks) -> VmDisks {
        let disks = 0..self.disks;
        VmDisks {
            vm: VM.0,
            name: "web01".to_owned(),
            home: disks.clone().map(|index| self.home(index)).collect(),
            peer: disks.map(|index| self.peer(index)).collect(),
            hooks,
        }
    }

    fn settings(&self) -> FileSettings {
        FileSettings {
            home_host: "home".to_owned(),
            peer_host: "peer".to_owned(),
            points: self.path().join("points"),
            link_octets_per_second: None,
        }
    }

    fn driver_with(&self, disks: Box<dyn Disks>, hooks: Hooks) -> FileDriver {
        let driver = FileDriver::new(self.settings(), disks);
        driver.register(self.entry(hooks)).unwrap();
        driver
    }

    fn driver(&self) -> FileDriver {
        self.driver_with(Box::new(RealDisks), Hooks::lab())
    }

    fn assert_equal(&self) {
        for index in 0..self.disks {
            assert!(fs::read(self.home(index)).unwrap() == fs::read(self.peer(index)).unwrap(), "disk {index} differs");
        }
    }

    fn guest(&self, seed: u64) -> LabGuest {
        let settings = GuestSettings { range: MIB..3 * MIB, blocks_per_second: 2000, seed };
        LabGuest::spawn(&self.peer(0), settings).unwrap()
    }
}

/// Waits for something that another thread does.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let started = std::time::Instant::now();
    while !done() {
        assert!(started.elapsed().as_secs() < 30, "{what} took too long");
        std::thread::yield_now();
    }
}
