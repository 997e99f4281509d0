//! The file driver on a machine that loses power.

use failbackd::backend::file::Hooks;
use failbackd::backend::file::power_cut::PowerCutDisks;
use failbackd::backend::{Driver, Order, Unattended};

use super::{Lab, VM, fail_back, new_point, order};

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
