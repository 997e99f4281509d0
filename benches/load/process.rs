//! What the kernel knows of a process, and processes that end with their owner.

use std::fs;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::Failure;

/// The unit of the times in `/proc/PID/stat`: a hundredth of a second on every Linux that the project runs on.
const TICK: Duration = Duration::from_millis(10);

/// A child that is killed when this goes.
pub(crate) struct Owned(pub(crate) Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // It may have ended by itself, which its measurements have shown by then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// CPU time of the process in user and kernel mode, all threads.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; behind it come single words.
    let (_, words) = stat.rsplit_once(')').ok_or("no name in /proc/PID/stat")?;
    let mut times = words.split_whitespace().skip(11);
    let mut next = || -> Result<u32, Failure> { Ok(times.next().ok_or("/proc/PID/stat is short")?.parse()?) };
    Ok(TICK * (next()? + next()?))
}

/// Resident memory of the process.
pub(crate) fn resident_octets(pid: u32) -> Result<u64, Failure> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}

/// 1,024 connections need more descriptors than the usual soft limit; the servers inherit it.
pub(crate) fn raise_descriptor_limit() -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}
