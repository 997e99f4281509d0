//! The file driver.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use failbackd::backend::file::guest::{GuestSettings, LabGuest};
use failbackd::backend::file::io::RealDisks;
use failbackd::backend::file::{FileDriver, FileSettings, Hook, Hooks, VmDisks};
use failbackd::backend::{Context, Driver, DriverErrorKind as Kind, Order, ProbeRefusal, Unattended};
use sha2::{Digest, Sha256};

use super::{IMAGE_OCTETS, Lab, MIB, STRANGER, VM, Watch, fail_back, new_point, order, wait_for};

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
    assert!(verified.octets_left_behind > 0 && verified.octets_left_behind.is_multiple_of(4096));
    let manifest = lab.path().join("points").join(VM.0.to_string()).join(point.id.0.to_string()).join("manifest.json");
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    for index in 0..2 {
        let hash = Sha256::digest(fs::read(lab.home(index)).unwrap());
        let text = format!("{hash:x}");
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

#[test]
fn a_hard_link_is_not_a_copy() {
    let lab = Lab::new(1);
    fs::remove_file(lab.home(0)).unwrap();
    fs::hard_link(lab.peer(0), lab.home(0)).unwrap();
    let error = lab.driver().prepare(&order(1, 1), &Unattended).unwrap_err();
    assert_eq!(error.kind, Kind::NotPermitted);
    assert!(error.message.contains("the same file"), "{error}");
}

/// Cancelled once it has been asked a few times: the step has begun, and looks at it again and again.
struct CancelledWhenAsked(AtomicU64);

impl Context for CancelledWhenAsked {
    fn cancelled(&self) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) >= 5
    }
    fn progress(&self, _octets_done: u64, _octets_total: u64) {}
    fn throttle(&self, _octets: u64) {}
}

#[test]
fn a_cancel_during_a_slow_transfer_is_felt_at_once() {
    let lab = Lab::new(1);
    let settings = FileSettings { link_octets_per_second: Some(1000), ..lab.settings() };
    let driver = FileDriver::new(settings, Box::new(RealDisks));
    driver.register(lab.entry(Hooks::lab())).unwrap();
    driver.prepare(&order(1, 1), &Unattended).unwrap();
    let started = Instant::now();
    let error = driver.sync_round(&order(1, 1), 0, &CancelledWhenAsked(AtomicU64::new(0))).unwrap_err();
    assert_eq!(error.kind, Kind::Cancelled);
    assert!(started.elapsed().as_secs() < 2, "the whole transfer would take more than 20 s");
    driver.undo(&order(1, 1), &Unattended).unwrap();
}
