//! Drivers: one contract suite that all of them run, and what is particular to the file and the fault driver.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use failbackd::backend::fault::{Admission, Behaviour, FaultDriver, Script};
use failbackd::backend::file::guest::{GuestSettings, LabGuest};
use failbackd::backend::file::io::{Access, DiskFile, Disks, RealDisks};
use failbackd::backend::file::power_cut::PowerCutDisks;
use failbackd::backend::file::{FileDriver, FileSettings, Hook, Hooks, VmDisks};
use failbackd::backend::{
    Context, Driver, DriverError, DriverErrorKind as Kind, NewPoint, Order, ProbeRefusal, Unattended, Verified,
};
use failbackd::job::{JobId, Timestamp};
use failbackd::replication::{PointId, PointKind, VmId};
use sha2::{Digest, Sha256};
use uuid::Uuid;

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

// ---- the contract suite

/// What a driver needs for the suite: [`VM`] is known to it, ready for a failback with something to move; [`STRANGER`]
/// has no recovery points.
fn contract(driver: &dyn Driver) {
    order_of_steps(driver);
    repeated_steps(driver);
    cancelled_steps(driver);
    replaced_owner(driver);
    points(driver);
}

fn order_of_steps(driver: &dyn Driver) {
    assert!(driver.describe().failback);
    let first = order(1, 1);
    driver.undo(&first, &Unattended).expect("an undo without a prepare");
    for step in [
        driver.sync_round(&first, 0, &Unattended).map(drop),
        driver.quiesce(&first, &Unattended),
        driver.verify(&first, &Unattended).map(drop),
        driver.finish(&first, &Unattended),
    ] {
        assert!(matches!(step.unwrap_err().kind, Kind::Missing | Kind::Stale), "a step without a prepare");
    }
    let plan = driver.prepare(&first, &Unattended).unwrap();
    assert_eq!(plan.octets_total, driver.probe(VM, None).unwrap().disk_octets);
    assert_eq!(driver.verify(&first, &Unattended).unwrap_err().kind, Kind::InUse, "verified before quiesce");
    assert_eq!(driver.finish(&first, &Unattended).unwrap_err().kind, Kind::InUse, "finished before quiesce");
    assert_eq!(driver.power_home(VM, true).unwrap_err().kind, Kind::InUse, "two running copies");
    assert_eq!(driver.resume_peer(VM, 1).unwrap_err().kind, Kind::InUse, "a live job's peer");
    driver.undo(&first, &Unattended).unwrap();
    assert_eq!(driver.sync_round(&first, 0, &Unattended).unwrap_err().kind, Kind::Stale, "a step after the undo");
}

fn repeated_steps(driver: &dyn Driver) {
    let again = order(2, 2);
    for _ in 0..2 {
        driver.prepare(&again, &Unattended).unwrap();
        driver.sync_round(&again, 0, &Unattended).unwrap();
    }
    for _ in 0..2 {
        driver.quiesce(&again, &Unattended).unwrap();
    }
    driver.prepare(&again, &Unattended).expect("as after a restart");
    driver.sync_round(&again, 1, &Unattended).unwrap();
    let verified = driver.verify(&again, &Unattended).unwrap();
    assert_eq!(driver.verify(&again, &Unattended).unwrap(), verified);
    for _ in 0..2 {
        driver.finish(&again, &Unattended).unwrap();
    }
    assert_eq!(driver.undo(&again, &Unattended).unwrap_err().kind, Kind::Stale, "an undo after the end");
    driver.resume_peer(VM, 3).unwrap();
    driver.resume_peer(VM, 3).unwrap();
}

fn cancelled_steps(driver: &dyn Driver) {
    let cancelled = order(3, 4);
    driver.prepare(&cancelled, &Unattended).unwrap();
    let watch = Watch { cancel_after: Some(0), ..Watch::default() };
    assert_eq!(driver.sync_round(&cancelled, 0, &watch).unwrap_err().kind, Kind::Cancelled);
    driver.quiesce(&cancelled, &Unattended).unwrap();
    driver.undo(&cancelled, &watch).expect("an undo does not heed the cancel that caused it");
    driver.undo(&cancelled, &watch).expect("a second undo");
}

fn replaced_owner(driver: &dyn Driver) {
    let (old, new) = (order(4, 5), order(4, 6));
    driver.prepare(&old, &Unattended).unwrap();
    driver.prepare(&new, &Unattended).unwrap();
    for step in [
        driver.prepare(&old, &Unattended).map(drop),
        driver.sync_round(&old, 0, &Unattended).map(drop),
        driver.quiesce(&old, &Unattended),
        driver.finish(&old, &Unattended),
        driver.undo(&old, &Unattended),
    ] {
        assert_eq!(step.unwrap_err().kind, Kind::Stale);
    }
    driver.undo(&new, &Unattended).unwrap();
    assert_eq!(driver.prepare(&old, &Unattended).unwrap_err().kind, Kind::Stale, "also when all is over");
}

fn points(driver: &dyn Driver) {
    assert_eq!(driver.recovery_points(STRANGER).unwrap(), []);
    for id in [11, 12, 13, 14] {
        let point = driver.take_point(VM, new_point(id), &Unattended).unwrap();
        assert_eq!((point.id.0, point.vm), (Uuid::from_u128(id), VM));
    }
    let ids: Vec<_> = driver.recovery_points(VM).unwrap().iter().map(|point| point.id.0.as_u128()).collect();
    assert_eq!(ids, [12, 13, 14]);
    let refused = driver.probe(VM, Some(PointId(Uuid::from_u128(11)))).unwrap_err();
    assert_eq!(refused, ProbeRefusal::UnknownPoint);
    let named = Order { point: Some(PointId(Uuid::from_u128(13))), ..order(5, 7) };
    driver.probe(VM, named.point).unwrap();
    fail_back(driver, &named).unwrap();
    driver.undo(&named, &Unattended).unwrap();
}

#[test]
fn the_file_driver_keeps_the_contract() {
    let lab = Lab::new(1);
    contract(&lab.driver());
}

#[test]
fn the_fault_driver_keeps_the_contract() {
    contract(&FaultDriver::default());
}

// ---- the file driver

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

    fn driver_with(&self, disks: Box<dyn Disks>, hooks: Hooks) -> FileDriver {
        let settings = FileSettings {
            home_host: "home".to_owned(),
            peer_host: "peer".to_owned(),
            points: self.path().join("points"),
            link_octets_per_second: None,
        };
        let driver = FileDriver::new(settings, disks);
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

#[test]
fn home_becomes_the_peer_while_its_guest_writes() {
    let lab = Lab::new(2);
    let driver = lab.driver();
    let guest = lab.guest(5);
    wait_for("the guest", || guest.blocks_written() > 20);
    let order = order(1, 1);
    let plan = driver.prepare(&order, &Unattended).unwrap();
    assert_eq!((plan.octets_total, plan.disks), (2 * IMAGE_OCTETS, 2));
    let watch = Watch::default();
    let first = driver.sync_round(&order, 0, &watch).unwrap();
    assert!(watch.progressed.load(Ordering::Relaxed));
    assert_eq!(watch.octets.load(Ordering::Relaxed), first.octets_moved);
    let written = guest.blocks_written();
    wait_for("the guest", || guest.blocks_written() > written + 20);
    let second = driver.sync_round(&order, 1, &Unattended).unwrap();
    assert!(second.octets_moved > 0, "the guest has written in between");
    driver.quiesce(&order, &Unattended).unwrap();
    let (stopped, peer) = (guest.blocks_written(), fs::read(lab.peer(0)).unwrap());
    let last = driver.sync_round(&order, 2, &Unattended).unwrap();
    assert_eq!(last.octets_left_estimate, 0);
    let verified = driver.verify(&order, &Unattended).unwrap();
    assert_eq!((verified.octets, verified.octets_left_behind), (2 * IMAGE_OCTETS, 0));
    driver.finish(&order, &Unattended).unwrap();
    lab.assert_equal();
    assert_eq!(guest.blocks_written(), stopped, "the peer stays stopped");
    assert!(fs::read(lab.peer(0)).unwrap() == peer, "and untouched");
    let home_octets = fs::metadata(lab.home(0)).unwrap().blocks() * 512;
    assert!(home_octets < 4 * MIB, "holes stay holes: {home_octets}");
    driver.power_home(VM, true).unwrap();
}

#[test]
fn little_more_than_what_differs_is_moved() {
    let lab = Lab::new(1);
    let differing = {
        let (home, peer) = (fs::read(lab.home(0)).unwrap(), fs::read(lab.peer(0)).unwrap());
        home.iter().zip(&peer).filter(|(home, peer)| home != peer).count() as u64
    };
    let driver = lab.driver();
    driver.prepare(&order(1, 1), &Unattended).unwrap();
    let round = driver.sync_round(&order(1, 1), 0, &Unattended).unwrap();
    assert!(round.octets_moved * 100 <= differing * 101, "{} for {differing}", round.octets_moved);
    lab.assert_equal();
}

#[test]
fn home_becomes_a_named_point_and_what_is_left_behind_is_counted() {
    let lab = Lab::new(2);
    let driver = lab.driver();
    let guest = lab.guest(6);
    wait_for("the guest", || guest.blocks_written() > 20);
    let point = driver.take_point(VM, new_point(21), &Unattended).unwrap();
    let written = guest.blocks_written();
    wait_for("the guest", || guest.blocks_written() > written + 20);
    let order = Order { point: Some(point.id), ..order(1, 1) };
    let verified = fail_back(&driver, &order).unwrap();
    assert!(verified.octets_left_behind > 0 && verified.octets_left_behind % 4096 == 0);
    let manifest = lab.path().join("points").join(VM.0.to_string()).join(point.id.0.to_string()).join("manifest.json");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    for index in 0..2 {
        let hash = Sha256::digest(fs::read(lab.home(index)).unwrap());
        let text: String = hash.iter().map(|octet| format!("{octet:02x}")).collect();
        assert_eq!(manifest["disks"][index]["sha256"], text, "disk {index}");
    }
    assert!(fs::read(lab.home(0)).unwrap() != fs::read(lab.peer(0)).unwrap());
    driver.finish(&order, &Unattended).unwrap();
}

#[test]
fn a_damaged_point_is_found_by_its_saved_hash() {
    let lab = Lab::new(1);
    let driver = lab.driver();
    let point = driver.take_point(VM, new_point(22), &Unattended).unwrap();
    let copy = lab.path().join("points").join(VM.0.to_string()).join(point.id.0.to_string()).join("disk0.img");
    assert!(fs::metadata(&copy).unwrap().permissions().readonly());
    fs::remove_file(&copy).unwrap();
    let mut octets = fs::read(lab.peer(0)).unwrap();
    octets[2_000_000] ^= 1;
    fs::write(&copy, octets).unwrap();
    let error = fail_back(&driver, &Order { point: Some(point.id), ..order(1, 1) }).unwrap_err();
    assert_eq!(error.kind, Kind::Mismatch);
    assert!(error.message.contains("SHA-256") && error.message.contains("disk0.img"), "{error}");
}

#[test]
fn an_undo_starts_the_peer_again() {
    let lab = Lab::new(1);
    let driver = lab.driver();
    let guest = lab.guest(7);
    driver.prepare(&order(1, 1), &Unattended).unwrap();
    driver.quiesce(&order(1, 1), &Unattended).unwrap();
    let stopped = guest.blocks_written();
    driver.undo(&order(1, 1), &Unattended).unwrap();
    wait_for("the guest", || guest.blocks_written() > stopped);
}

#[test]
fn every_step_may_find_a_new_process() {
    let lab = Lab::new(1);
    let guest = lab.guest(8);
    let order = order(1, 1);
    lab.driver().prepare(&order, &Unattended).unwrap();
    lab.driver().sync_round(&order, 0, &Unattended).unwrap();
    lab.driver().quiesce(&order, &Unattended).unwrap();
    lab.driver().sync_round(&order, 1, &Unattended).unwrap();
    lab.driver().verify(&order, &Unattended).unwrap();
    lab.driver().finish(&order, &Unattended).unwrap();
    lab.assert_equal();
    guest.end().unwrap();
}

#[test]
fn a_change_after_quiesce_is_an_error() {
    let lab = Lab::new(1);
    let driver = lab.driver();
    let order = order(1, 1);
    driver.prepare(&order, &Unattended).unwrap();
    driver.quiesce(&order, &Unattended).unwrap();
    driver.sync_round(&order, 0, &Unattended).unwrap();
    File::options().write(true).open(lab.peer(0)).unwrap().write_all_at(b"stray", 5 * MIB).unwrap();
    for step in [driver.sync_round(&order, 1, &Unattended).map(drop), driver.verify(&order, &Unattended).map(drop)] {
        let error = step.unwrap_err();
        assert_eq!(error.kind, Kind::ChangedAfterQuiesce);
        assert!(error.message.contains("peer/web01-0.img"), "{error}");
    }
    driver.undo(&order, &Unattended).unwrap();
}

#[test]
fn a_guest_that_does_not_stop_is_a_failed_hook() {
    let lab = Lab::new(1);
    let driver = lab.driver_with(Box::new(RealDisks), Hooks::default());
    let guest = lab.guest(9);
    wait_for("the guest", || guest.blocks_written() > 0);
    driver.prepare(&order(1, 1), &Unattended).unwrap();
    let error = driver.quiesce(&order(1, 1), &Unattended).unwrap_err();
    assert_eq!(error.kind, Kind::HookFailed);
    assert!(error.message.contains("a guest still runs"), "{error}");
    driver.undo(&order(1, 1), &Unattended).unwrap();
}

#[test]
fn a_home_that_is_in_use_is_not_overwritten() {
    let lab = Lab::new(1);
    let guest = GuestSettings { range: 0..4096, blocks_per_second: 100, seed: 1 };
    let guest = LabGuest::spawn(&lab.home(0), guest).unwrap();
    wait_for("the guest", || guest.blocks_written() > 0);
    let error = lab.driver().prepare(&order(1, 1), &Unattended).unwrap_err();
    assert_eq!(error.kind, Kind::InUse);
}

#[test]
fn the_reverse_direction_protects_home() {
    let lab = Lab::new(2);
    let driver = lab.driver();
    fs::remove_file(lab.peer(1)).unwrap();
    let replicated = driver.replicate(VM, new_point(31), &Unattended).unwrap();
    assert!(replicated.round.octets_moved >= 2 * MIB);
    lab.assert_equal();
    // With home's guest running: what it writes meanwhile is brought while it is frozen.
    let settings = GuestSettings { range: MIB..3 * MIB, blocks_per_second: 2000, seed: 3 };
    let guest = LabGuest::spawn(&lab.home(0), settings).unwrap();
    wait_for("the guest", || guest.blocks_written() > 50);
    driver.replicate(VM, new_point(32), &Unattended).unwrap();
    let written = guest.blocks_written();
    wait_for("the guest after its thaw", || guest.blocks_written() > written);
    assert_eq!(driver.recovery_points(VM).unwrap().len(), 2);
    drop(guest);
    let guest = lab.guest(4);
    wait_for("the guest", || guest.blocks_written() > 0);
    assert_eq!(driver.replicate(VM, new_point(33), &Unattended).unwrap_err().kind, Kind::InUse);
    assert_eq!(driver.power_home(VM, true).unwrap_err().kind, Kind::InUse, "two running copies");
}

#[test]
fn a_running_guest_without_a_freeze_hook_cannot_be_copied_into_a_point() {
    let lab = Lab::new(1);
    let driver = lab.driver_with(Box::new(RealDisks), Hooks { freeze: Hook::None, ..Hooks::lab() });
    let guest = lab.guest(10);
    wait_for("the guest", || guest.blocks_written() > 0);
    let error = driver.take_point(VM, new_point(41), &Unattended).unwrap_err();
    assert_eq!(error.kind, Kind::InUse);
    assert!(error.action.contains("freeze"), "{}", error.action);
    assert_eq!(driver.recovery_points(VM).unwrap(), []);
}

#[test]
fn admission_tells_what_is_wrong() {
    let lab = Lab::new(1);
    let driver = lab.driver();
    let missing = |refusal| matches!(refusal, Err(ProbeRefusal::Missing(path)) if path.contains("web01-0.img"));
    assert!(matches!(driver.probe(STRANGER, None), Err(ProbeRefusal::Missing(_))));
    let aside = lab.path().join("aside");
    for image in [lab.home(0), lab.peer(0)] {
        fs::rename(&image, &aside).unwrap();
        assert!(missing(driver.probe(VM, None)), "{}", image.display());
        symlink(&aside, &image).unwrap();
        assert!(matches!(driver.probe(VM, None), Err(ProbeRefusal::NotPermitted(_))), "{}", image.display());
        fs::remove_file(&image).unwrap();
        fs::create_dir(&image).unwrap();
        assert!(matches!(driver.probe(VM, None), Err(ProbeRefusal::NotPermitted(_))), "{}", image.display());
        fs::remove_dir(&image).unwrap();
        fs::rename(&aside, &image).unwrap();
    }
    fs::rename(lab.path().join("peer"), lab.path().join("unmounted")).unwrap();
    assert!(matches!(driver.probe(VM, None), Err(ProbeRefusal::PeerUnreachable(_))));
}

#[test]
fn images_that_vanish_or_shrink_are_told_with_their_path() {
    let lab = Lab::new(1);
    let driver = lab.driver();
    let order = order(1, 1);
    driver.prepare(&order, &Unattended).unwrap();
    let peer = File::options().write(true).open(lab.peer(0)).unwrap();
    peer.set_len(IMAGE_OCTETS / 2).unwrap();
    let error = driver.sync_round(&order, 0, &Unattended).unwrap_err();
    assert_eq!(error.kind, Kind::Shrunk);
    assert!(error.message.contains("peer/web01-0.img"), "{error}");
    assert_eq!(fs::metadata(lab.home(0)).unwrap().len(), IMAGE_OCTETS, "home is not cut");
    peer.set_len(IMAGE_OCTETS * 2).unwrap();
    driver.sync_round(&order, 0, &Unattended).expect("a disk may grow while the VM runs");
    lab.assert_equal();
    fs::remove_file(lab.home(0)).unwrap();
    let error = driver.sync_round(&order, 0, &Unattended).unwrap_err();
    assert_eq!(error.kind, Kind::Missing);
    assert!(error.message.contains("home/web01-0.img") && error.action.contains("put"), "{error}");
}

#[test]
fn no_two_disks_share_an_image() {
    let lab = Lab::new(1);
    let driver = lab.driver();
    driver.register(lab.entry(Hooks::default())).expect("the same VM again");
    let other = VmDisks { vm: STRANGER.0, ..lab.entry(Hooks::default()) };
    assert!(driver.register(other).unwrap_err().to_string().contains("share an image"));
    let twice = VmDisks { peer: vec![lab.home(0)], ..lab.entry(Hooks::default()) };
    assert!(driver.register(twice).is_err());
    let relative = VmDisks { peer: vec!["peer.img".into()], ..lab.entry(Hooks::default()) };
    assert!(driver.register(relative).is_err());
    let text = serde_json::to_string(&lab.entry(Hooks::lab())).unwrap();
    assert_eq!(serde_json::from_str::<VmDisks>(&text).unwrap(), lab.entry(Hooks::lab()));
}

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

/// The dropped-writes test: the power goes at every call that writes, and a random half of what was not synced is lost.
#[test]
fn a_failback_ends_verified_after_a_power_cut_at_any_moment() {
    let base: u64 = std::env::var("FAILBACKD_TEST_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(20_261);
    println!("seed {base} (set FAILBACKD_TEST_SEED for another)");
    let mut cuts = 0;
    for calls in 1.. {
        let seed = base.wrapping_add(calls);
        let lab = Lab::new(2);
        let disks = PowerCutDisks::new(Some(calls));
        let order = Order { point: None, ..order(1, 1) };
        let driver = lab.driver_with(Box::new(disks.clone()), Hooks::lab());
        let outcome = fail_back(&driver, &order).and_then(|_| driver.finish(&order, &Unattended));
        drop(driver);
        let done = outcome.is_ok();
        disks.lose_power(seed).unwrap();
        if done {
            // All was reported durable, so nothing may be missing.
            lab.assert_equal();
            break;
        }
        cuts += 1;
        let driver = lab.driver_with(Box::new(PowerCutDisks::new(None)), Hooks::lab());
        fail_back(&driver, &order).unwrap_or_else(|error| panic!("seed {seed}, cut at call {calls}: {error}"));
        driver.finish(&order, &Unattended).unwrap();
        lab.assert_equal();
    }
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn what_a_round_reports_survives_a_power_cut() {
    for seed in 1..10 {
        let lab = Lab::new(1);
        let disks = PowerCutDisks::new(None);
        let driver = lab.driver_with(Box::new(disks.clone()), Hooks::lab());
        driver.prepare(&order(1, 1), &Unattended).unwrap();
        driver.sync_round(&order(1, 1), 0, &Unattended).unwrap();
        disks.lose_power(seed).unwrap();
        lab.assert_equal();
    }
}

#[test]
fn a_half_made_point_is_never_listed() {
    for calls in 1..30 {
        let lab = Lab::new(1);
        let disks = PowerCutDisks::new(Some(calls));
        let made = lab.driver_with(Box::new(disks.clone()), Hooks::lab()).take_point(VM, new_point(51), &Unattended);
        disks.lose_power(calls).unwrap();
        let driver = lab.driver();
        let listed = driver.recovery_points(VM).unwrap();
        assert!(!listed.is_empty() || made.is_err(), "call {calls}");
        driver.take_point(VM, new_point(51), &Unattended).unwrap();
        let named = Order { point: Some(new_point(51).id), ..order(1, 1) };
        fail_back(&driver, &named).unwrap_or_else(|error| panic!("call {calls}: {error}"));
        lab.assert_equal();
    }
}

// ---- the fault driver

#[test]
fn scripts_reach_every_answer_of_the_admission_check() {
    let driver = FaultDriver::default();
    let probe = |admission| {
        driver.set_script(VM, Script { admission, ..Script::default() });
        driver.probe(VM, None)
    };
    assert!(probe(Admission::Accept).is_ok());
    assert_eq!(probe(Admission::Finished), Err(ProbeRefusal::Finished));
    assert_eq!(probe(Admission::Unknown(9)), Err(ProbeRefusal::Unknown(9)));
    assert_eq!(probe(Admission::NotSupported), Err(ProbeRefusal::NotSupported));
    assert!(matches!(probe(Admission::Unreachable), Err(ProbeRefusal::PeerUnreachable(_))));
    assert!(matches!(probe(Admission::NotPermitted), Err(ProbeRefusal::NotPermitted(_))));
    assert!(matches!(probe(Admission::Missing), Err(ProbeRefusal::Missing(_))));
}

#[test]
fn what_hangs_or_is_held_goes_on_when_released() {
    let driver = Arc::new(FaultDriver::new(Script { quiesce: Behaviour::Hang, ..Script::default() }));
    driver.hold();
    driver.prepare(&order(1, 1), &Unattended).unwrap();
    let ended = Arc::new(AtomicU64::new(0));
    let thread = std::thread::spawn({
        let (driver, ended) = (Arc::clone(&driver), Arc::clone(&ended));
        move || {
            driver.sync_round(&order(1, 1), 0, &Unattended).unwrap();
            ended.store(1, Ordering::Release);
            driver.quiesce(&order(1, 1), &Unattended).unwrap();
            ended.store(2, Ordering::Release);
        }
    });
    assert_eq!(ended.load(Ordering::Acquire), 0);
    wait_for("the round and the quiesce", || {
        driver.release();
        ended.load(Ordering::Acquire) == 2
    });
    thread.join().unwrap();
}

#[test]
fn scripts_fail_every_step() {
    let driver = FaultDriver::default();
    for (behaviour, kind) in [
        (Behaviour::OutOfSpace, Kind::OutOfSpace),
        (Behaviour::Missing, Kind::Missing),
        (Behaviour::Shrunk, Kind::Shrunk),
        (Behaviour::NotPermitted, Kind::NotPermitted),
        (Behaviour::ChangedAfterQuiesce, Kind::ChangedAfterQuiesce),
        (Behaviour::Unreachable, Kind::PeerUnreachable),
        (Behaviour::HookFailed, Kind::HookFailed),
        (Behaviour::Mismatch, Kind::Mismatch),
        (Behaviour::Io, Kind::Io),
        (Behaviour::Unknown, Kind::Unknown),
    ] {
        let failing = || behaviour.clone();
        for script in [
            Script { prepare: failing(), ..Script::default() },
            Script { sync_round: failing(), ..Script::default() },
            Script { quiesce: failing(), ..Script::default() },
            Script { verify: failing(), ..Script::default() },
        ] {
            driver.set_common_script(script);
            assert_eq!(fail_back(&driver, &order(1, 1)).unwrap_err().kind, kind);
        }
        driver.set_common_script(Script { undo: failing(), ..Script::default() });
        assert_eq!(driver.undo(&order(1, 1), &Unattended).unwrap_err().kind, kind);
    }
    let text = r#"{"admission": {"unknown": 5}, "sync_round": {"slow": 1}, "verify": "mismatch"}"#;
    let script: Script = serde_json::from_str(text).unwrap();
    assert_eq!(script.admission, Admission::Unknown(5));
    driver.set_common_script(script);
    assert_eq!(fail_back(&driver, &order(1, 1)).unwrap_err().kind, Kind::Mismatch);
}
