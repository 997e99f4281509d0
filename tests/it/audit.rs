//! The audit log of a real server: what it records, what it never holds, and what becomes of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use failbackd::auth::password::SALT_OCTETS;
use failbackd::auth::{Role, UserFile};
use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Lab, PATIENCE, Served, Wire, cancel, failback, get, job_of, number, program, returned};
use crate::transport::CHEAP;

const SMALL: &[&str] = &["--size", "8", "--data", "3"];
/// What the wrong password looks like anywhere.
const WRONG: &str = "correct horse battery staple";

/// A lab with a viewer and a configuration file.
fn lab(config: &str) -> (Lab, String) {
    let lab = Lab::prepare(2, SMALL);
    let users = UserFile::in_directory(&lab.data);
    users.add("vera", Role::Viewer, b"vera's secret", [5; SALT_OCTETS], CHEAP).unwrap();
    let file = lab.data.with_extension("toml");
    fs::write(&file, config).unwrap();
    (lab, file.display().to_string())
}

fn audit_file(lab: &Lab) -> PathBuf {
    lab.data.join("audit.jsonl")
}

fn lines(lab: &Lab) -> Vec<Value> {
    let text = fs::read_to_string(audit_file(lab)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The lines with these members.
fn with(lines: &[Value], members: &[(&str, &str)]) -> Vec<Value> {
    let has = |line: &&Value| members.iter().all(|(name, value)| line[*name] == *value);
    lines.iter().filter(has).cloned().collect()
}

#[test]
fn logins_calls_and_refusals_are_recorded_without_a_secret() {
    let rule = "[[access]]\nusers = [\"ve*\"]\nvms = [\"nothing\"]\n";
    let (lab, config) = lab(rule);
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config)]);
    let (wire, vm) = (lab.wire(server.address()), &lab.vms[0]);
    assert_eq!(fs::metadata(audit_file(&lab)).unwrap().permissions().mode() & 0o7777, 0o600);
    let answer = wire.ask(&failback("uuid:\u{1F600}", &vm.id, ""));
    assert_eq!(returned(&answer), 4096);
    // The line is there before the answer is.
    let call = with(&lines(&lab), &[("operation", "Invoke")]).pop().unwrap();
    let job = job_of(&answer).unwrap();
    for (member, value) in [
        ("event", "request"),
        ("user", lab.user.as_str()),
        ("mechanism", "basic"),
        ("class", "Msvm_ReplicationService"),
        ("method", "InitiateFailback"),
        ("keys", "CreationClassName=Msvm_ReplicationService"),
        ("vm", vm.name.as_str()),
        ("outcome", "returned"),
        ("job", job.as_str()),
        ("message_id", "uuid:\u{1F600}"),
    ] {
        assert_eq!(call[member], value, "{member} of {call}");
    }
    assert_eq!(
        (&call["return_value"], &call["encrypted"], &call["sealed"]),
        (&4096.into(), &false.into(), &false.into())
    );
    assert!(call["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{call}");
    assert!(call["time"].as_str().unwrap().ends_with('Z'), "{call}");
    wire.end_of(&job);
    // Many requests, one login: the password was checked once.
    let logins = with(&lines(&lab), &[("event", "login"), ("user", &lab.user), ("outcome", "ok")]);
    assert_eq!(logins.len(), 1, "{logins:?}");
    assert!(with(&lines(&lab), &[("operation", "Get")]).is_empty(), "what only reads is not recorded");
    assert_eq!(returned(&wire.ask(&cancel(&job))), 4097);
    let ended = with(&lines(&lab), &[("method", "RequestStateChange")]).pop().unwrap();
    assert_eq!((&ended["job"], &ended["vm"]), (&job.as_str().into(), &vm.name.as_str().into()));

    let viewer = Wire::new(server.address(), "VERA", "vera's secret");
    assert_eq!(viewer.post(&failback("uuid:2", &vm.id, "")).unwrap().0, 500);
    let refused = with(&lines(&lab), &[("user", "vera"), ("operation", "Invoke")]).pop().unwrap();
    assert_eq!((&refused["outcome"], &refused["missing"]), (&"AccessDenied".into(), &"role operator".into()));
    let system = get("Msvm_ComputerSystem", &[("Name", &vm.id)]);
    assert_eq!(viewer.post(&system).unwrap().0, 500);
    let refused = with(&lines(&lab), &[("user", "vera"), ("operation", "Get")]).pop().unwrap();
    assert_eq!((&refused["role"], &refused["missing"]), (&"viewer".into(), &"vms of access rule 1".into()));
    assert_eq!(refused["keys"], format!("Name={}", vm.id));
    server.has_logged("\"missing\":\"vms of access rule 1\"");
    assert!(!server.log().contains("internal error"), "{}", server.log());

    let name = "mal\u{9b}ory\n{\"event\":\"login\"";
    assert_eq!(Wire::new(server.address(), name, WRONG).post(&system).unwrap().0, 401);
    let refused = with(&lines(&lab), &[("event", "login"), ("outcome", "refused")]).pop().unwrap();
    assert_eq!(refused["user"], "mal\\u{9b}ory\\u{a}{\"event\"", "cut at the colon: {refused}");
    assert_eq!((&refused["mechanism"], &refused["why"]), (&"Basic".into(), &"wrong password or unknown user".into()));
    let listed = program().args(["job", "list", "--data-dir"]).arg(&lab.data).output().unwrap();
    assert!(listed.status.success(), "{listed:?}");
    let local = with(&lines(&lab), &[("mechanism", "local")]).pop().unwrap();
    assert_eq!((&local["user"], &local["peer"]), (&"local".into(), &"local".into()));

    let log = server.log();
    assert!(server.terminate().0.success());
    let events = lines(&lab);
    assert_eq!((&events[0]["event"], &events[events.len() - 1]["event"]), (&"start".into(), &"stop".into()));
    let audit = fs::read_to_string(audit_file(&lab)).unwrap();
    let sent = BASE64_STANDARD.encode(format!("{}:{}", lab.user, lab.password));
    for secret in [WRONG, "vera's secret", &lab.password, &sent, "battery", &BASE64_STANDARD.encode(WRONG)] {
        assert!(!audit.contains(secret) && !log.contains(secret), "{secret} was written down");
    }
}

#[test]
fn reads_are_recorded_when_asked_for_and_nothing_when_it_is_off() {
    let (lab, config) = lab("audit.reads = true\n");
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config)]);
    let wire = lab.wire(server.address());
    wire.vm(&lab.vms[0].id);
    let read = with(&lines(&lab), &[("operation", "Get"), ("outcome", "ok")]).pop().unwrap();
    assert!(read["keys"].as_str().unwrap().contains(&lab.vms[0].id), "{read}");
    assert!(server.terminate().0.success());
    fs::remove_file(audit_file(&lab)).unwrap();
    let server = lab.serve(&[("FAILBACKD_AUDIT_FILE", "off")]);
    lab.wire(server.address()).vm(&lab.vms[0].id);
    assert!(server.terminate().0.success());
    assert!(!audit_file(&lab).exists());
}

#[test]
fn a_hangup_opens_the_file_again() {
    let lab = Lab::prepare(2, SMALL);
    let server = lab.serve(&[]);
    let aside = lab.data.join("audit.1");
    fs::rename(audit_file(&lab), &aside).unwrap();
    server.signal(Signal::HUP);
    server.has_logged("FBD4022");
    let answer = lab.wire(server.address()).ask(&failback("uuid:1", &lab.vms[0].id, ""));
    assert_eq!(returned(&answer), 4096);
    assert_eq!(with(&lines(&lab), &[("operation", "Invoke")]).len(), 1);
    assert_eq!(fs::metadata(audit_file(&lab)).unwrap().permissions().mode() & 0o7777, 0o600);
    assert!(!fs::read_to_string(aside).unwrap().contains("Invoke"));
    assert!(server.terminate().0.success());
}

#[test]
fn a_file_that_is_full_stops_nothing_unless_it_must_be_written() {
    let (lab, config) = lab("audit.file = \"/dev/full\"\naudit.required = true\n");
    let vm = &lab.vms[0].id;
    let refused = |server: &Served, wire: &Wire| {
        assert_eq!(returned(&wire.ask(&failback("uuid:1", vm, ""))), 32768);
        assert_eq!(number(&wire.vm(vm), "ReplicationState"), 2, "nothing was changed");
        server.has_logged("audit log, which the configuration requires");
    };
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config)]);
    let wire = lab.wire(server.address());
    refused(&server, &wire);
    refused(&server, &wire);
    server.has_logged("FBD4020");
    let told = server.log().lines().filter(|line| line.contains("FBD4020")).count();
    assert_eq!(told, 1, "once a minute");
    assert!(server.terminate().0.success());
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config), ("FAILBACKD_AUDIT_REQUIRED", "false")]);
    let wire = lab.wire(server.address());
    let job = job_of(&wire.ask(&failback("uuid:1", vm, ""))).unwrap();
    wire.end_of(&job);
    assert!(server.terminate().0.success());
    // A cancel changes something too: it is not even looked at whether the job could be cancelled.
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config)]);
    assert_eq!(returned(&lab.wire(server.address()).ask(&cancel(&job))), 4);
    assert!(server.terminate().0.success());
}

#[test]
fn a_change_that_must_be_recorded_is_recorded_twice() {
    let (lab, config) = lab("audit.required = true\n");
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config)]);
    let wire = lab.wire(server.address());
    let job = job_of(&wire.ask(&failback("uuid:1", &lab.vms[0].id, ""))).unwrap();
    let (announced, answered) = (lines(&lab), lines(&lab));
    let announced = with(&announced, &[("event", "change"), ("message_id", "uuid:1")]).pop().unwrap();
    assert_eq!((&announced["vm"], &announced["job"]), (&lab.vms[0].name.as_str().into(), &Value::Null));
    assert_eq!(with(&answered, &[("event", "request"), ("job", &job)]).len(), 1);
}

#[test]
fn a_place_that_cannot_be_written_is_told_at_the_start() {
    let lab = Lab::prepare(1, SMALL);
    let place = lab.data.join("none").join("audit.jsonl").display().to_string();
    let started = Instant::now();
    let mut server = Served::spawn(&lab.data, &[("FAILBACKD_AUDIT_FILE", &place)]);
    assert!(!server.wait_end().success());
    assert!(started.elapsed() < PATIENCE);
    let log = server.log();
    assert!(log.contains(&place) && log.contains("[audit]"), "{log}");
}
