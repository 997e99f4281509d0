//! An ordinary client that wants to be served whatever else goes on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::wire::{Connection, Login};

const IDENTIFY: &str = "<s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" \
    xmlns:i=\"http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd\"><s:Header/><s:Body><i:Identify/>\
    </s:Body></s:Envelope>";
/// Between two requests.
const PAUSE: Duration = Duration::from_millis(20);
/// Longer than this an ordinary request must not wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// One Identify, on a connection of its own.
pub(crate) fn once(target: SocketAddr, login: &Login) -> Result<(), String> {
    let request = format!(
        "POST /wsman HTTP/1.1\r\nHost: x\r\n{}Content-Type: application/soap+xml;charset=UTF-8\r\n\
         Content-Length: {}\r\n\r\n{IDENTIFY}",
        login.line(),
        IDENTIFY.len()
    );
    match Connection::new(target, PATIENCE).exchange(request.as_bytes(), false) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("status {}", answer.status)),
        Err(failure) => Err(format!("{failure:?}")),
    }
}

/// Asks again and again until it is over; the longest time that an answer took.
pub(crate) fn client(target: SocketAddr, login: &Login, over: &AtomicBool, failed: impl Fn(String)) -> Duration {
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        if let Err(why) = once(target, login) {
            failed(why);
        }
        slowest = slowest.max(began.elapsed());
        std::thread::sleep(PAUSE);
    }
    slowest
}
