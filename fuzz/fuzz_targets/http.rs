//! Octets on a connection of a whole server: well-formed answers, or a clean close. An input that begins with a method
//! is what the client sends; any other is the body of a POST. Oracles: the server hangs up once the client has, within
//! seconds; each answer has a status that the server means, its length, and a body that an independent reader takes for
//! an envelope; 200 never holds a fault and 500 always does; an answer relates to the message of its request. A panic
//! anywhere ends the run.
#![no_main]

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use failbackd::config::Config;
use failbackd::server::{Server, World};
use failbackd::service::NewVm;
use libfuzzer_sys::fuzz_target;
use roxmltree::Document;

/// Shared with the program that damages requests over TCP; it uses nothing else of the suite.
#[path = "../../conformance/src/bin/wsman-mutate/answer.rs"]
mod answer;

use answer::{answer_text, header, shape, text_of};

/// Statuses that an answer may have.
const STATUSES: [u16; 15] = [200, 202, 400, 401, 403, 404, 405, 408, 411, 413, 415, 417, 431, 500, 501];

/// A server that lives as long as the process, with virtual machines that have no disks.
fn socket() -> &'static PathBuf {
    static SOCKET: OnceLock<PathBuf> = OnceLock::new();
    SOCKET.get_or_init(|| {
        let directory = std::env::temp_dir().join(format!("failbackd-fuzz-{}", std::process::id()));
        let mut config = Config { data_dir: directory.clone(), fault_backend: true, ..Config::default() };
        (config.http, config.https) = ("off".to_owned(), "off".to_owned());
        config.limits.jobs_max = 64;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Box::leak(Box::new(runtime.expect("a runtime")));
        runtime.block_on(async {
            let world = World::open(&config).await.expect("a data directory");
            for name in ["web01", "db01", "app01"] {
                world.import(NewVm::protected(name, "fault"), None).await.expect("a virtual machine");
            }
            Box::leak(Box::new(Server::start(&config, world).expect("a server")));
        });
        directory.join(failbackd::server::ADMIN_SOCKET)
    })
}

fuzz_target!(|input: &[u8]| {
    let is_raw = input.starts_with(b"POST ") || input.starts_with(b"GET ");
    let mut sent = Vec::with_capacity(input.len() + 128);
    if !is_raw {
        let type_and_length = format!("Content-Type: application/soap+xml\r\nContent-Length: {}", input.len());
        sent.extend_from_slice(format!("POST /wsman HTTP/1.1\r\nHost: x\r\n{type_and_length}\r\n\r\n").as_bytes());
    }
    sent.extend_from_slice(input);
    let received = exchange(&sent);
    let answers = answers(&received);
    if !is_raw {
        let [(status, _, body)] = answers.as_slice() else { panic!("{} answers to one request", answers.len()) };
        related(input, *status, body);
    }
    for (status, head, body) in answers {
        assert!(STATUSES.contains(&status), "the status {status}");
        judge(status, head, body);
    }
});

fn exchange(sent: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket()).expect("the server listens");
    stream.set_read_timeout(Some(Duration::from_secs(4))).expect("a time limit");
    // The server may answer and close before it has read everything.
    _ = stream.write_all(sent);
    _ = stream.shutdown(Shutdown::Write);
    let mut received = Vec::new();
    match stream.read_to_end(&mut received) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("no answer and no close: {error}"),
    }
    received
}

/// Statuses, heads and bodies of whole answers; anything that is none is a finding.
fn answers(mut received: &[u8]) -> Vec<(u16, &str, &[u8])> {
    let mut found = Vec::new();
    while !received.is_empty() {
        let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&received[..end]).expect("a head is text");
        let status = head.strip_prefix("HTTP/1.1 ").or(head.strip_prefix("HTTP/1.0 ")).expect("a status line");
        let status: u16 = status[..3].parse().expect("a status");
        received = &received[end + 4..];
        if status == 100 {
            continue;
        }
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().expect("a length"))
        });
        let length = length.unwrap_or_else(|| panic!("no length: {head}"));
        assert!(length <= received.len(), "an answer of {} octets out of {length}", received.len());
        found.push((status, head, &received[..length]));
        received = &received[length..];
    }
    found
}

/// What an envelope must be; other bodies are short texts for people.
fn judge(status: u16, head: &str, body: &[u8]) {
    let Some(text) = answer_text(head, body) else { return };
    if !text.starts_with('<') {
        assert!(status != 200, "200 without an envelope: {text:.200}");
        return;
    }
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text:.2000}"));
    shape(status, &document).unwrap_or_else(|wrong| panic!("{status}, {wrong}: {text:.500}"));
}

/// An answer names the message that it answers, and a wrong message is never done.
fn related(input: &[u8], status: u16, body: &[u8]) {
    let request = text_of(input);
    let request = request.as_deref().and_then(|text| Document::parse(text).ok());
    let Some(request) = request else {
        return assert!(status != 200, "200 to what is no document: {}", String::from_utf8_lossy(input));
    };
    let answer = text_of(body).unwrap_or_default();
    let Ok(answer) = Document::parse(&answer) else { return };
    if let (200, Some(relates)) = (status, header(&answer, "RelatesTo")) {
        assert_eq!(Some(relates), header(&request, "MessageID"));
    }
}
