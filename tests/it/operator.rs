//! What an operator can get wrong, or meet: data directories, ports, files, full volumes, stops, and disks that break.

use std::fs::{self, File, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use failbackd::backend::file::guest::{GuestSettings, LabGuest};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::process::{
    Lab, PATIENCE, PROGRAM, Served, Wire, cancel, failback, field, invoke, job_of, number, program, returned, same,
    stop_file,
};

const SLOW: (&str, &str) = ("FAILBACKD_LINK_OCTETS_PER_SECOND_MAX", "1500000");
const SMALL: &[&str] = &["--size", "8", "--data", "3"];

/// `serve` with these arguments, which must end by itself.
fn refused(data: &Path, arguments: &[&str]) -> Output {
    let mut command = program();
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "off", "--data-dir"]).arg(data).args(arguments);
    ended(&mut command)
}

fn ended(command: &mut Command) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.wait_with_output().unwrap()
}

/// It ended with this code, and said all of this.
fn check_refusal(output: &Output, code: i32, said: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in said {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
    assert!(!text.contains("panicked"), "{text}");
}

/// Waits until something on disk, or elsewhere, is so.
fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "{what} took too long");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// How far the data of a virtual machine is, as the marker beside home's image says.
fn marker_says(lab: &Lab, vm: &str, phase: &str) -> bool {
    let mut path = lab.home(vm).into_os_string();
    path.push(".failback");
    fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"{phase}\"")))
}

fn start(wire: &Wire, message: &str, vm: &str) -> String {
    let answer = wire.ask(&failback(message, vm, ""));
    assert_eq!(returned(&answer), 4096, "{answer}");
    job_of(&answer).unwrap()
}

/// The job failed with this message, which names `what`; the virtual machine can be failed back again.
fn check_failure(wire: &Wire, job: &str, vm: &str, message_id: &str, what: &str) {
    let ended = wire.end_of(job);
    assert_eq!(number(&ended, "JobState"), 10, "{ended}");
    let errors = wire.ask(&invoke("uuid:errors", "Msvm_ConcreteJob", &[("InstanceID", job)], "GetErrorEx", ""));
    assert!(errors.contains(message_id) && errors.contains(what), "{message_id}, {what}: {errors}");
    let description = field(&ended, "ErrorDescription").unwrap_or_default();
    assert!(description.contains(what), "{what}: {description}");
    assert_eq!(number(&wire.vm(vm), "ReplicationState"), 2);
}

fn check_success(lab: &Lab, wire: &Wire, job: &str, vm: &str) {
    let ended = wire.end_of(job);
    assert_eq!(number(&ended, "JobState"), 7, "{ended}");
    assert!(same(&lab.home(vm), &lab.peer(vm)), "home and peer of {vm} differ");
}

#[test]
fn a_data_directory_that_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, b"no directory").unwrap();
    check_refusal(&refused(&file, &[]), 1, &["data directory", &file.display().to_string()]);
    // A directory of somebody else: as root, the server is run as a user who is nobody.
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("failbackd");
    fs::copy(PROGRAM, &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["serve", "--http", "127.0.0.1:0", "--https", "off", "--data-dir"]).arg(&closed);
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    check_refusal(&ended(&mut command), 1, &[&closed.display().to_string(), "Permission denied"]);
}

#[test]
fn a_data_directory_that_others_may_write_to() {
    let lab = Lab::prepare(1, SMALL);
    for (mode, told) in [(0o755, 0), (0o775, 1), (0o757, 2), (0o700, 2)] {
        fs::set_permissions(&lab.data, Permissions::from_mode(mode)).unwrap();
        let server = lab.serve(&[]);
        let log = server.log();
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("FBD4003")).collect();
        assert_eq!(lines.len(), told, "{mode:o}: {log}");
        let mode = format!("{mode:04o}");
        let named = |line: &&str| line.contains(&mode) && line.contains(lab.data.to_str().unwrap());
        assert!(told == 0 || mode == "0700" || lines.last().is_some_and(named), "{lines:?}");
        assert!(server.terminate().0.success());
    }
}

#[test]
fn a_damaged_store_is_named_and_left_alone() {
    let lab = Lab::prepare(1, SMALL);
    let store = lab.data.join("failbackd.redb");
    let whole = fs::read(&store).unwrap();
    let damages: [(&str, Vec<u8>); 3] = [
        ("empty", Vec::new()),
        ("cut short", whole[..whole.len() / 3].to_vec()),
        ("overwritten", vec![0xA5; whole.len()]),
    ];
    for (damage, octets) in damages {
        fs::write(&store, &octets).unwrap();
        check_refusal(&refused(&lab.data, &[]), 1, &["failbackd.redb", "is damaged", "backup"]);
        assert!(fs::read(&store).unwrap() == octets, "the {damage} store was changed");
    }
    fs::write(&store, whole).unwrap();
    lab.serve(&[]).kill();
}

#[test]
fn a_start_on_a_full_volume_is_refused_and_harmless() {
    let lab = Lab::prepare(2, SMALL);
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$@\"", "sh", PROGRAM, "serve", "--http", "127.0.0.1:0"]);
    command.args(["--https", "off", "--data-dir"]).arg(&lab.data);
    check_refusal(&ended(&mut command), 1, &["full", "free space"]);
    let server = lab.serve(&[]);
    let wire = lab.wire(server.address());
    let job = start(&wire, "uuid:1", &lab.vms[0].id);
    check_success(&lab, &wire, &job, &lab.vms[0].name);
}

#[test]
fn ports_and_directories_that_are_taken() {
    let lab = Lab::prepare(1, SMALL);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = program();
    command.args(["serve", "--https", "off", "--http", &address, "--data-dir"]).arg(&lab.data);
    check_refusal(&ended(&mut command), 1, &[&address, "the port is taken", "--http"]);
    let server = lab.serve(&[]);
    let directory = lab.data.display().to_string();
    check_refusal(&refused(&lab.data, &[]), 1, &[&directory, "in use by another failbackd server"]);
    // The first one has not noticed.
    assert_eq!(number(&lab.wire(server.address()).vm(&lab.vms[0].id), "EnabledState"), 2);
}

#[test]
fn a_configuration_with_an_unknown_key() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("failbackd.toml");
    fs::write(&file, "http = \"off\"\n\n[limits]\njob_max = 3\n").unwrap();
    let config = file.display().to_string();
    let said = [config.as_str(), "line 4", "limits.job_max", "limits.jobs_max"];
    check_refusal(&refused(directory.path(), &["--config", &config]), 2, &said);
    assert!(!directory.path().join("failbackd.redb").exists(), "nothing was begun");
}

#[test]
fn a_users_file_that_others_can_read() {
    let lab = Lab::prepare(1, SMALL);
    let users = failbackd::auth::UserFile::in_directory(&lab.data);
    fs::set_permissions(users.path(), Permissions::from_mode(0o644)).unwrap();
    check_refusal(&refused(&lab.data, &[]), 1, &["0644", "chmod 600", &users.path().display().to_string()]);
    fs::set_permissions(users.path(), Permissions::from_mode(0o600)).unwrap();
    lab.serve(&[]).kill();
}

/// Lets files of a process grow no more, or again. The process ignores the signal that goes with it.
fn let_write(server: &Served, allowed: bool) {
    let pid = Pid::from_raw(i32::try_from(server.id()).unwrap()).unwrap();
    let current = if allowed { None } else { Some(0) };
    prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum: None }).unwrap();
}

#[test]
fn a_full_volume_refuses_what_is_new_and_fails_what_runs() {
    let lab = Lab::prepare(3, SMALL);
    let (web, db) = (&lab.vms[0], &lab.vms[1]);
    let mut command = Command::new("sh");
    let script = "trap '' XFSZ; exec \"$@\"";
    command.args(["-c", script, "sh", PROGRAM, "serve", "--http", "127.0.0.1:0", "--https", "off"]);
    command.args(["--allow-unencrypted", "--data-dir"]).arg(&lab.data).env(SLOW.0, SLOW.1);
    let server = Served::spawn_command(&mut command, &lab.data).ready();
    let wire = lab.wire(server.address());
    let running = start(&wire, "uuid:1", &web.id);
    wait_for("the copy", || number(&wire.job(&running), "PercentComplete") > 5);
    let_write(&server, false);
    let answer = wire.ask(&failback("uuid:2", &db.id, ""));
    assert_eq!(returned(&answer), 32768, "{answer}");
    assert_eq!(job_of(&answer), None);
    // What is read needs no space.
    assert_eq!(number(&wire.vm(&db.id), "ReplicationState"), 2);
    assert_eq!(number(&wire.vm(&web.id), "ReplicationState"), 13);
    wait_for("the undo", || !marker_says(&lab, &web.name, "claimed"));
    let_write(&server, true);
    check_failure(&wire, &running, &web.id, "FBD2001", &lab.home(&web.name).display().to_string());
    assert!(!stop_file(&lab.peer(&web.name)).exists(), "the peer runs as before");
    for (message, vm) in [("uuid:2", db), ("uuid:3", web)] {
        let job = start(&wire, message, &vm.id);
        check_success(&lab, &wire, &job, &vm.name);
    }
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[test]
fn a_stop_keeps_running_failbacks_for_the_next_start() {
    let lab = Lab::prepare(2, SMALL);
    let vm = &lab.vms[0];
    let server = lab.serve(&[("FAILBACKD_LINK_OCTETS_PER_SECOND_MAX", "300000")]);
    let wire = lab.wire(server.address());
    let job = start(&wire, "uuid:1", &vm.id);
    wait_for("the copy", || number(&wire.job(&job), "PercentComplete") > 1);
    let (status, took) = server.terminate();
    assert!(status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
    assert!(marker_says(&lab, &vm.name, "claimed"), "the job had ended before the stop");
    let server = lab.serve(&[]);
    let wire = lab.wire(server.address());
    check_success(&lab, &wire, &job, &vm.name);
    assert_eq!(job_of(&wire.ask(&failback("uuid:1", &vm.id, ""))), Some(job));
}

#[test]
fn a_stop_does_not_wait_for_a_hook_that_hangs() {
    let lab = Lab::prepare(2, SMALL);
    let vm = &lab.vms[0];
    let file = lab.data.with_extension("toml");
    let text = format!(
        "[limits]\nshutdown_timeout_ms = 300\n[vm.{}.hooks]\npeer_stop = [\"sleep\", \"15\"]\n\
         peer_start = [\"sleep\", \"15\"]\n",
        vm.name
    );
    fs::write(&file, text).unwrap();
    let config = file.display().to_string();
    let server = lab.serve(&[("FAILBACKD_CONFIG", &config)]);
    let wire = lab.wire(server.address());
    let job = start(&wire, "uuid:1", &vm.id);
    wait_for("the stop of the peer", || marker_says(&lab, &vm.name, "quiescing"));
    // Undoing it means to start the peer, which hangs as well.
    assert_eq!(returned(&wire.ask(&cancel(&job))), 0);
    wait_for("the cancel", || number(&wire.job(&job), "JobState") == 6);
    let (status, took) = server.terminate();
    assert!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}");
    // With hooks that work, the cancel is carried out.
    let server = lab.serve(&[]);
    let wire = lab.wire(server.address());
    let ended = wire.end_of(&job);
    assert_eq!(number(&ended, "JobState"), 8, "{ended}");
    assert_eq!(number(&wire.vm(&vm.id), "ReplicationState"), 2);
    assert!(marker_says(&lab, &vm.name, "idle"));
}

#[test]
fn images_that_are_missing_or_closed_at_admission() {
    let lab = Lab::prepare(2, SMALL);
    let vm = &lab.vms[0];
    let server = lab.serve(&[]);
    let wire = lab.wire(server.address());
    let answer = |message| returned(&wire.ask(&failback(message, &vm.id, "")));
    for (message, image) in [("uuid:1", lab.home(&vm.name)), ("uuid:2", lab.peer(&vm.name))] {
        let aside = image.with_extension("aside");
        fs::rename(&image, &aside).unwrap();
        assert_eq!(answer(message), 32779);
        // A link is never followed, whoever put it there.
        std::os::unix::fs::symlink(&aside, &image).unwrap();
        assert_eq!(answer(message), 32769);
        fs::remove_file(&image).unwrap();
        fs::rename(&aside, &image).unwrap();
    }
    let peer = lab.data.join("peer");
    fs::rename(&peer, lab.data.join("aside")).unwrap();
    assert_eq!(answer("uuid:3"), 32777);
    fs::rename(lab.data.join("aside"), &peer).unwrap();
    for message_id in ["FBD1001", "FBD1012", "FBD1014"] {
        server.has_logged(message_id);
    }
    let job = start(&wire, "uuid:4", &vm.id);
    check_success(&lab, &wire, &job, &vm.name);
}

#[test]
fn images_that_break_while_their_job_waits() {
    let lab = Lab::prepare(5, SMALL);
    let server = lab.serve(&[SLOW, ("FAILBACKD_MAX_ACTIVE_TRANSFERS", "1")]);
    let wire = lab.wire(server.address());
    let jobs: Vec<String> = (0..4).map(|index| start(&wire, &format!("uuid:{index}"), &lab.vms[index].id)).collect();
    assert_eq!(number(&wire.job(&jobs[3]), "JobState"), 2);
    let images: Vec<_> = lab.vms.iter().map(|vm| lab.peer(&vm.name)).collect();
    fs::rename(&images[1], images[1].with_extension("aside")).unwrap();
    let shrunk = File::options().write(true).open(&images[2]).unwrap();
    shrunk.set_len(1 << 20).unwrap();
    fs::rename(&images[3], images[3].with_extension("aside")).unwrap();
    std::os::unix::fs::symlink(images[3].with_extension("aside"), &images[3]).unwrap();
    check_success(&lab, &wire, &jobs[0], &lab.vms[0].name);
    for (index, message_id) in [(1, "FBD2002"), (2, "FBD2003"), (3, "FBD2004")] {
        check_failure(&wire, &jobs[index], &lab.vms[index].id, message_id, &images[index].display().to_string());
    }
    assert_eq!(shrunk.metadata().unwrap().len(), 1 << 20, "the source is not touched");
}

#[test]
fn a_change_after_the_stop_of_the_peer_is_found_and_kept() {
    let lab = Lab::prepare(2, SMALL);
    let vm = &lab.vms[0];
    let peer = lab.peer(&vm.name);
    let guest = GuestSettings { range: 0..8 << 20, blocks_per_second: 500, seed: 7 };
    let guest = LabGuest::spawn(&peer, guest).unwrap();
    let server = lab.serve(&[SLOW]);
    let wire = lab.wire(server.address());
    let job = start(&wire, "uuid:1", &vm.id);
    wait_for("the stop of the peer", || marker_says(&lab, &vm.name, "quiesced"));
    guest.end().unwrap();
    // What the guest wrote in the first round is still on its way.
    let image = File::options().read(true).write(true).open(&peer).unwrap();
    image.write_all_at(b"somebody", 5 << 20).unwrap();
    let expected = fs::read(&peer).unwrap();
    check_failure(&wire, &job, &vm.id, "FBD2005", &peer.display().to_string());
    assert!(fs::read(&peer).unwrap() == expected, "the source is not touched");
    assert!(!stop_file(&peer).exists(), "the peer runs again");
    let job = start(&wire, "uuid:2", &vm.id);
    check_success(&lab, &wire, &job, &vm.name);
}

#[test]
fn commands_tell_the_same_with_a_server_and_without() {
    let lab = Lab::prepare(2, SMALL);
    let (web, db) = (&lab.vms[0], &lab.vms[1]);
    let server = lab.serve(&[]);
    let wire = lab.wire(server.address());
    let done = start(&wire, "uuid:1", &web.id);
    check_success(&lab, &wire, &done, &web.name);
    let commands: [&[&str]; 7] = [
        &["vm", "list"],
        &["vm", "list", "--json"],
        &["vm", "show", &web.name],
        &["vm", "show", &db.id.to_lowercase(), "--json"],
        &["job", "list"],
        &["job", "show", &done],
        &["job", "show", &done, "--json"],
    ];
    let say = |arguments: &&[&str]| {
        let said = ended(program().args(*arguments).arg("--data-dir").arg(&lab.data));
        assert!(said.status.success(), "{said:?}");
        let text = String::from_utf8(said.stdout).unwrap();
        // How long a machine has been on changes while one looks.
        text.lines().filter(|line| !line.contains("OnTimeInMilliseconds")).collect::<Vec<_>>().join("\n")
    };
    let with: Vec<String> = commands.iter().map(say).collect();
    assert!(server.terminate().0.success());
    let without: Vec<String> = commands.iter().map(say).collect();
    for (with, without) in with.iter().zip(&without) {
        assert_eq!(with, without);
    }
    assert!(without[2].contains("State            : Failback complete"), "{}", without[2]);
    assert!(without[5].contains(&format!("Name      : Initiate Failback: {}", web.name)), "{}", without[5]);
    let unknown = ["job", "show", "00000000-0000-0000-0000-000000000001", "--data-dir"];
    check_refusal(&ended(program().args(unknown).arg(&lab.data)), 1, &["there is no job"]);
    let _server = lab.serve(&[]);
    check_refusal(&ended(program().args(unknown).arg(&lab.data)), 1, &["there is no job"]);
}
