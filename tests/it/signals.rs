//! A server that is told to stop ends in order, at whatever moment.

use std::time::Duration;

use crate::process::Served;

#[test]
fn a_server_that_is_told_to_stop_while_it_starts_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    // The moment at which its sockets are open, and before anything else is looked at.
    let ready = Served::spawn(&data, &[]).ready();
    assert!(ready.terminate().0.success());
    // The store's file is what a start opens first.
    std::fs::remove_dir_all(&data).unwrap();
    let starting = Served::spawn(&data, &[]);
    while !data.join("failbackd.redb").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(starting.terminate().0.success());
    assert!(!data.join("admin.sock").exists());
}
