//! Running the hooks that stop and start a VM.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};

use super::guest;
use super::settings::{Hook, VmDisks};
use crate::backend::{DriverError, DriverErrorKind};
use crate::replication::Site;

/// How often a program that runs is looked at.
const POLL: Duration = Duration::from_millis(10);

/// How much of what a hook said goes into an error.
const SAID_OCTETS_MAX: u64 = 2_000;

/// One run of a hook.
pub(super) struct HookRun<'a> {
    /// The VM it is for.
    pub(super) vm: &'a VmDisks,
    /// Which copy's VM is meant.
    pub(super) site: Site,
    /// That site's host, as configured.
    pub(super) host: &'a str,
    /// What is wanted of the VM.
    pub(super) request: guest::Request,
    /// Whether to give up early.
    pub(super) cancelled: &'a dyn Fn() -> bool,
}

impl HookRun<'_> {
    /// Runs it to its end.
    pub(super) fn run(&self) -> Result<(), DriverError> {
        let deadline = Instant::now() + self.vm.hooks.timeout();
        match self.hook() {
            Hook::None => Ok(()),
            Hook::Lab => self.lab(deadline),
            Hook::Command(argv) => self.command(argv, deadline),
        }
    }

    fn hook(&self) -> &Hook {
        let hooks = &self.vm.hooks;
        match (self.request, self.site) {
            (guest::Request::Stop, Site::Peer) => &hooks.peer_stop,
            (guest::Request::Start, Site::Peer) => &hooks.peer_start,
            (guest::Request::Stop, Site::Home) => &hooks.home_stop,
            (guest::Request::Start, Site::Home) => &hooks.home_start,
            (guest::Request::Freeze, _) => &hooks.freeze,
            (guest::Request::Thaw, _) => &hooks.thaw,
        }
    }

    /// As in the inventory's keys.
    fn name(&self) -> &'static str {
        match (self.request, self.site) {
            (guest::Request::Stop, Site::Peer) => "peer_stop",
            (guest::Request::Start, Site::Peer) => "peer_start",
            (guest::Request::Stop, Site::Home) => "home_stop",
            (guest::Request::Start, Site::Home) => "home_start",
            (guest::Request::Freeze, _) => "freeze",
            (guest::Request::Thaw, _) => "thaw",
        }
    }

    fn images(&self) -> &[PathBuf] {
        match self.site {
            Site::Home => &self.vm.home,
            Site::Peer => &self.vm.peer,
        }
    }

    fn failed(&self, what: &str) -> DriverError {
        let (name, vm) = (self.name(), &self.vm.name);
        let action =
            format!("run the hook by hand, see why it does not succeed, and start again once {vm} can be reached");
        DriverError::new(DriverErrorKind::HookFailed, format!("the hook {name} of {vm} {what}"), action)
    }

    fn lab(&self, deadline: Instant) -> Result<(), DriverError> {
        for image in self.images() {
            let give_up = || Instant::now() >= deadline || (self.cancelled)();
            match guest::request(image, self.request, &give_up) {
                Ok(true) => {}
                Ok(false) if (self.cancelled)() => return Err(DriverError::cancelled()),
                Ok(false) => return Err(self.failed(&format!("ran out of time: a guest runs on {}", image.display()))),
                Err(error) => return Err(self.failed(&format!("failed on {}: {error}", image.display()))),
            }
        }
        Ok(())
    }

    fn command(&self, argv: &[String], deadline: Instant) -> Result<(), DriverError> {
        let Some((program, arguments)) = argv.split_first() else {
            return Err(self.failed("is an empty list"));
        };
        let not_started = |error: io::Error| self.failed(&format!("could not be started ({program}): {error}"));
        // What the program says goes to memory that nobody has to drain, so that it can never be blocked by us.
        let mut said = File::from(
            rustix::fs::memfd_create("hook", MemfdFlags::CLOEXEC).map_err(|errno| not_started(errno.into()))?,
        );
        let output = said.try_clone().map_err(not_started)?;
        let errors = said.try_clone().map_err(not_started)?;
        let (site, host) = (if self.site == Site::Home { "home" } else { "peer" }, self.host);
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("FAILBACKD_VM", self.vm.vm.to_string())
            .env("FAILBACKD_VM_NAME", &self.vm.name)
            .env("FAILBACKD_SIDE", site)
            .env("FAILBACKD_HOST", host)
            .env("FAILBACKD_HOOK", self.name())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(not_started)?;
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline && !(self.cancelled)() => std::thread::sleep(POLL),
                Ok(None) => {
                    kill_group(child.id());
                    drop(child.wait());
                    let cancelled = (self.cancelled)();
                    return Err(if cancelled {
                        DriverError::cancelled()
                    } else {
                        self.failed("ran out of time and was killed")
                    });
                }
                Err(error) => return Err(self.failed(&format!("could not be waited for: {error}"))),
            }
        };
        if status.success() { Ok(()) } else { Err(self.failed(&outcome(status, &mut said))) }
    }
}

/// The program and what it started; it got a process group of its own.
fn kill_group(id: u32) {
    if let Some(group) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        // It may have ended in between, which is what is wanted.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

/// How it ended and the end of what it said.
fn outcome(status: ExitStatus, said: &mut File) -> String {
    let mut text = Vec::new();
    let length = said.metadata().map_or(0, |metadata| metadata.len());
    let read = said
        .seek(SeekFrom::Start(length.saturating_sub(SAID_OCTETS_MAX)))
        .and_then(|_| said.take(SAID_OCTETS_MAX).read_to_end(&mut text));
    match read {
        Ok(1..) => format!("ended with {status}: {}", String::from_utf8_lossy(&text).trim()),
        _ => format!("ended with {status}"),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::settings::Hooks;
    use super::*;

    fn run(argv: &[&str], timeout_ms: u64, cancelled: bool) -> Result<(), DriverError> {
        let hook = Hook::Command(argv.iter().map(|&word| word.to_owned()).collect());
        let vm = VmDisks {
            vm: uuid::Uuid::from_u128(7),
            name: "web01".to_owned(),
            home: vec![Path::new("/nowhere").to_owned()],
            peer: vec![],
            hooks: Hooks { peer_stop: hook, timeout_ms, ..Hooks::default() },
        };
        let request = guest::Request::Stop;
        HookRun { vm: &vm, site: Site::Peer, host: "peer", request, cancelled: &|| cancelled }.run()
    }

    #[test]
    fn a_program_that_succeeds() {
        let check =
            "test \"$FAILBACKD_VM_NAME $FAILBACKD_SIDE $FAILBACKD_HOOK\" = 'web01 peer peer_stop' && test -z \"$HOME\"";
        run(&["sh", "-c", check], 60_000, false).unwrap();
    }

    #[test]
    fn a_program_that_fails_is_told_with_what_it_said() {
        let error = run(&["sh", "-c", "echo no such domain >&2; exit 3"], 60_000, false).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::HookFailed);
        assert!(error.message.contains("exit status: 3: no such domain"), "{error}");
    }

    #[test]
    fn a_program_that_is_not_there() {
        let error = run(&["/nonexistent/program"], 60_000, false).unwrap_err();
        assert!(error.message.contains("could not be started"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let error = run(&["sh", "-c", "sleep 1000 & wait"], 50, false).unwrap_err();
        assert!(error.message.contains("ran out of time"), "{error}");
        let error = run(&["sleep", "1000"], 60_000, true).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Cancelled);
    }
}
