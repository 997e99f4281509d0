//! The program as a user runs it, against its own server of quirks: exit codes, target files, baselines, the sink.
#![expect(clippy::unwrap_used, reason = "a test that cannot begin has failed")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wsman-conform");

/// A running subcommand that has said where it listens.
struct Running {
    child: Child,
    url: String,
    output: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let url = line.split([',', '\n']).next().unwrap().to_owned();
        assert!(url.starts_with("http://127.0.0.1:"), "{line}");
        Self { child, url, output }
    }

    fn quirks(with: &str) -> Self {
        let mut arguments = vec!["quirks", "--listen", "127.0.0.1:0", "--user", "lab"];
        if !with.is_empty() {
            arguments.extend(["--with", with]);
        }
        Self::start(&arguments)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command
        .args(arguments)
        .env_remove("WSMAN_USER")
        .env_remove("WSMAN_PASSWORD")
        .env_remove("WSMAN_READER_USER")
        .env("WSMAN_SINK_PASSWORD", "secret-1");
    command
}

fn run(arguments: &[&str]) -> Output {
    program(arguments).env("WSMAN_USER", "lab").env("WSMAN_PASSWORD", "secret-1").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn scratch(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn exit_codes_tell_what_happened() {
    let good = Running::quirks("");
    let bad = Running::quirks("fault-without-reason");
    let code = |arguments: &[&str]| run(arguments).status.code().unwrap();
    assert_eq!(code(&["--target", &good.url, "--only", "FLT-02"]), 0);
    assert_eq!(code(&["--target", &bad.url, "--only", "FLT-02"]), 1);
    assert_eq!(code(&[]), 2);
    assert_eq!(code(&["--moon"]), 2);
    assert_eq!(code(&["--target", "no-such-file.toml"]), 2);
    assert_eq!(code(&["--target", "http://127.0.0.1:1/wsman"]), 3);
    assert_eq!(code(&["--target", &good.url, "--password", "other"]), 3);
    assert_eq!(code(&["--list-rules"]), 0);
    assert_eq!(code(&["--explain", "ADR-15"]), 0);
    assert_eq!(code(&["--explain", "XYZ-1"]), 2);
}

#[test]
fn a_target_that_refuses_the_login_in_words_has_the_word() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/wsman", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut request = Vec::new();
            let mut octet = [0];
            while !request.ends_with(b"</s:Envelope>") && stream.read(&mut octet).is_ok_and(|read| read == 1) {
                request.extend(octet);
            }
            let head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 26\r\nConnection: close\r\n\r\n";
            let _ = stream.write_all(format!("{head}No passwords in the clear.").as_bytes());
        }
    });
    let output = run(&["--target", &url]);
    assert_eq!(output.status.code(), Some(3));
    let told = text(&output);
    assert!(told.contains("No passwords in the clear.") && told.contains("--auth ntlm"), "{told}");
}

#[test]
fn a_second_user_who_is_not_let_in_is_told_before_anything_is_judged() {
    let good = Running::quirks("");
    let mut command = program(&["--target", &good.url, "--only", "SEC-05"]);
    command.env("WSMAN_USER", "lab").env("WSMAN_PASSWORD", "secret-1");
    let output = command.env("WSMAN_READER_USER", "nobody").env("WSMAN_READER_PASSWORD", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("credentials of the second user"), "{}", text(&output));
}

#[test]
fn a_baseline_is_a_ratchet() {
    let folder = scratch("baseline");
    let (toml, json) = (folder.join("b.toml"), folder.join("b.json"));
    let (toml, json) = (toml.to_str().unwrap(), json.to_str().unwrap());
    let good = Running::quirks("");
    let bad = Running::quirks("fault-without-reason");
    let only = ["--only", "FLT-02"];
    let with = |url: &str, more: &[&str]| run(&[&["--target", url], only.as_slice(), more].concat());
    with(&bad.url, &["--write-baseline", toml, "--json", json]);
    for file in [toml, json] {
        let again = with(&bad.url, &["--baseline", file]);
        assert_eq!(again.status.code(), Some(0), "{}", text(&again));
        let better = with(&good.url, &["--baseline", file]);
        assert_eq!(better.status.code(), Some(0));
        assert!(text(&better).contains("better than the baseline"), "{}", text(&better));
    }
    with(&good.url, &["--json", json]);
    let worse = with(&bad.url, &["--baseline", json]);
    assert_eq!(worse.status.code(), Some(1));
    assert!(text(&worse).contains("worse than the baseline"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_target_can_be_a_file_and_credentials_come_from_a_helper() {
    let folder = scratch("target");
    let server = Running::quirks("");
    let file = folder.join("t.toml");
    let description = format!(
        "[target]\nname = \"the lab\"\nurl = \"{}\"\nprofile = \"dmtf\"\nclaims = [\"put\"]\n\
         [auth]\nscheme = \"basic\"\ncommand = \"echo user=lab; echo password=secret-1\"\n",
        server.url
    );
    std::fs::write(&file, description).unwrap();
    let file = file.to_str().unwrap();
    let output = program(&["--target", file, "--only", "IDN-01"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("Target the lab") && text(&output).contains("as dmtf"));
    // What is promised has to work: a clean refusal of Put does not excuse it here.
    let promised = program(&["--target", file, "--dry-run", "--only", "XFR"]).output().unwrap();
    assert!(!text(&promised).contains("unsupported     XFR-01"), "{}", text(&promised));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn secrets_are_in_no_report() {
    let folder = scratch("secrets");
    let server = Running::quirks("");
    let json = folder.join("r.json");
    let output = run(&["--target", &server.url, "--only", "HTTP-12,SEC-01", "--json", json.to_str().unwrap()]);
    let shown = text(&output) + &std::fs::read_to_string(&json).unwrap();
    for secret in ["secret-1", "bGFiOnNlY3JldC0x"] {
        assert!(!shown.contains(secret));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_sink_tells_what_came_and_ends() {
    let mut sink = Running::start(&["sink", "--listen", "127.0.0.1:0", "--mode", "ack", "--count", "1"]);
    let address = sink.url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n<a/>").unwrap();
    let mut answer = [0_u8; 15];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let mut line = String::new();
    sink.output.read_line(&mut line).unwrap();
    assert!(line.starts_with("ack") && line.contains("POST /events"), "{line}");
    assert_eq!(sink.child.wait().unwrap().code(), Some(0));
}
