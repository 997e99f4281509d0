//! What every driver promises.

use failbackd::backend::fault::FaultDriver;
use failbackd::backend::{Driver, DriverErrorKind as Kind, Order, ProbeRefusal, Unattended};
use failbackd::replication::PointId;
use uuid::Uuid;

use super::{Lab, STRANGER, VM, Watch, fail_back, new_point, order};

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
