//! The fault-injecting driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use failbackd::backend::fault::{Admission, Behaviour, FaultDriver, Script};
use failbackd::backend::{Driver, DriverErrorKind as Kind, ProbeRefusal, Unattended};

use super::{VM, fail_back, order, wait_for};

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
