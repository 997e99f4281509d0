//! Servers with limits of their own: documents that are as deep as they are long, and clients that take their time.

use std::time::{Duration, Instant};

use failbackd::config::Limits;

use super::lab::{Expected, Lab, Request, TRANSFER, head, refused};

fn told(words: &'static str) -> Expected {
    ("s:Sender", "w:SchemaValidationError", "", 2_150_858_817, words)
}

fn around(body: &str) -> String {
    Request::new(&format!("{TRANSFER}Get"), "Msvm_ComputerSystem").body(body).envelope()
}

#[test]
fn depth_is_refused_at_the_limit_and_without_a_stack() {
    let roomy = 12 * 1024 * 1024;
    let nested = around(&"<a>".repeat(10 * 1024 * 1024 / 3));
    for depth_max in [64, u16::MAX] {
        let limits = Limits { envelope_octets_max: roomy, depth_max, elements_max: u32::MAX, ..Limits::default() };
        let lab = Lab::start(&limits);
        let began = Instant::now();
        let reply = lab.send("viewer", &nested);
        refused(&lab, "10 MB of nested elements", &reply, told("nested"));
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    }
}

#[test]
fn width_and_repetition_are_refused_fast() {
    let lab = Lab::start(&Limits { envelope_octets_max: 12 * 1024 * 1024, ..Limits::default() });
    let attributes = (0..100).map(|at| format!(" a{at}=\"\"")).collect::<Vec<_>>().concat();
    let names = format!("<{}/>", "x".repeat(300));
    for (what, body, words) in [
        ("elements", "<a/>".repeat(2_000_000), "elements"),
        ("attributes", format!("<x{attributes}/>"), "attributes"),
        ("names", names, "name"),
    ] {
        let began = Instant::now();
        refused(&lab, what, &lab.send("viewer", around(&body)), told(words));
        assert!(began.elapsed() < Duration::from_secs(20), "{what}: {:?}", began.elapsed());
    }
    // A long text is told by its beginning, not repeated.
    let long = "&quot;".repeat(500_000);
    let envelope = around("").replace("transfer/Get", &format!("transfer/{long}"));
    let reply = lab.send("viewer", envelope);
    assert_eq!(reply.status, 500);
    assert!(reply.body.len() < 8_192, "{} octets", reply.body.len());
    lab.still_answers("a long action");
    let method = Request::invoke("Msvm_ConcreteJob", "Nope", "").envelope().replace("/Nope<", &format!("/{long}<"));
    let reply = lab.send("operator", method);
    assert_eq!((reply.status, reply.fault().subcode.as_str()), (500, "a:ActionNotSupported"));
    // A quote is six octets on the wire.
    assert!(reply.body.len() < 32_768, "{} octets", reply.body.len());
}

#[test]
fn who_trickles_is_let_go_and_keeps_nobody_waiting() {
    let limits = Limits { header_timeout_ms: 1_500, body_timeout_ms: 1_500, ..Limits::default() };
    let lab = Lab::start(&limits);
    let mut slow: Vec<_> = (0..64).map(|_| lab.connect()).collect();
    let request = format!("{}{}", head("Content-Length: 100000\r\n"), "<");
    // Half of them stop in the headers, half in the body.
    let stops = [request.len() / 2, request.len()];
    for (at, client) in slow.iter_mut().enumerate() {
        client.send(&request.as_bytes()[..stops[at % 2]]);
    }
    lab.still_answers("64 slow connections");
    for (at, client) in slow.iter_mut().enumerate() {
        if let Some(reply) = client.reply() {
            assert_eq!(reply.status, 408, "{at}");
        }
        assert!(client.closed(), "{at}");
    }
    lab.still_answers("they are gone");
}
