//! Measures what a Kerberos login and sealed messages cost the server, without HTTP around them.
//!
//! Needs a realm and a client, as `tests/it/kerberos.rs` does: `conformance/clients/kdc run cargo bench --bench kerberos`.
//! Times are of the clock on the wall, without client and KDC; on a busy machine the fastest tell more than the medians.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints what it measured, and ends when it cannot"
)]
#![allow(clippy::panic, dead_code, reason = "the tests' laboratory, of which a part is used")]

#[path = "../tests/it/kerberos/lab.rs"]
mod lab;

use std::time::{Duration, Instant};

use failbackd::auth::SecurityContext as _;
use lab::{Ask, Lab};

/// Logins, and messages of each size.
const LOGINS: usize = 300;
const MESSAGES: usize = 100;
const SIZES: [usize; 2] = [2_048, 500_000];

fn main() {
    let Some(lab) = Lab::open("bench") else { return };
    let (server, mut client) = (lab.server(), lab.client());
    let tokens: Vec<Vec<u8>> = (0..LOGINS).map(|_| client.login(Ask::default()).token).collect();
    let times = tokens.iter().map(|token| timed(|| server.begin(None).step(token).unwrap()).1);
    print("login", None, times.collect());
    let refused = tokens.iter().map(|token| timed(|| assert!(server.begin(None).step(token).is_err())).1);
    print("replay refused", None, refused.collect());
    let (login, mut done) = client.established(&server, Ask::default());
    for octets in SIZES {
        let message = vec![b'x'; octets];
        let mut out = Vec::new();
        let mut times = Vec::new();
        for _ in 0..MESSAGES {
            let (signature, ciphertext) = client.seal(&login, &message);
            let token = [signature.as_slice(), &ciphertext].concat();
            out.clear();
            let (result, time) = timed(|| done.context.unseal(Some(signature.len()), &token, &mut out));
            result.unwrap();
            assert_eq!(out, message);
            times.push(time);
        }
        print("unseal", Some(octets), times);
        let times = (0..MESSAGES).map(|_| {
            out.clear();
            let (result, time) = timed(|| done.context.seal(&message, &mut out));
            result.unwrap();
            time
        });
        print("seal", Some(octets), times.collect());
    }
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = run();
    (result, began.elapsed())
}

fn print(name: &str, octets: Option<usize>, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let rate = octets
        .and_then(|octets| u32::try_from(octets).ok())
        .map_or(String::new(), |octets| format!(", {:.0} MB/s", f64::from(octets) / at(50).as_secs_f64() / 1e6));
    let size = octets.map_or(String::new(), |octets| format!(" {octets} octets"));
    println!("{name}{size}: fastest {:?}, median {:?}, 99 % {:?}{rate}", at(0), at(50), at(99));
}
