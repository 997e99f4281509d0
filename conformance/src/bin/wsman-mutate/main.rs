//! `wsman-mutate`: sends very many damaged requests to a WS-Management endpoint over loopback, and holds every answer
//! against what must be true of any answer: it comes in time, its status is one that means something, its body is
//! well-formed, a request that is not well-formed is never answered 200, an answer names the message that it answers.
//! Meanwhile an ordinary client must be served throughout, and with `--pid` the server must live and keep its memory.

mod answer;
mod damage;
mod judge;
mod seeds;
mod steady;
mod wire;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;

use damage::{Damaged, Dice};
use judge::Finding;
use wire::{Connection, Login};

/// Sends damaged requests to a WS-Management endpoint and judges its answers.
///
/// Only to an endpoint that you may break. Exit code 1 when there is a finding, 2 when it could not be tried.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The endpoint on this machine: 127.0.0.1:PORT
    #[arg(long, value_name = "ADDRESS")]
    target: std::net::SocketAddr,
    /// Files and folders with requests to damage: *.xml, *.http, and *.txt with whole exchanges
    #[arg(long, value_name = "PATH", num_args = 1.., required = true)]
    seeds: Vec<PathBuf>,
    /// How many requests
    #[arg(long, default_value = "1000000")]
    count: u64,
    /// Connections at once
    #[arg(long, default_value = "8")]
    connections: u64,
    /// The seed of the damage, to repeat it (with one connection, exactly)
    #[arg(long, default_value = "1")]
    seed: u64,
    /// The user for Basic authentication
    #[arg(long, env = "WSMAN_USER", value_name = "NAME")]
    user: String,
    /// The password
    #[arg(long, env = "WSMAN_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    password: String,
    /// The server's process: it must live, and its memory must not grow by more than a tenth
    #[arg(long, value_name = "PID")]
    pid: Option<u32>,
    /// Where to write the requests that made a finding
    #[arg(long, value_name = "DIR", default_value = "findings")]
    out: PathBuf,
}

/// A server that takes longer for an answer hangs.
const PATIENCE: Duration = Duration::from_secs(20);
/// Findings after which it ends.
const FINDINGS_MAX: usize = 20;

/// What all threads share.
struct Run {
    arguments: Arguments,
    seeds: Vec<Vec<u8>>,
    login: Login,
    sent: AtomicU64,
    over: AtomicBool,
    statuses: Mutex<BTreeMap<u16, u64>>,
    findings: Mutex<Vec<String>>,
}

impl Run {
    fn find(&self, finding: &str, request: &[u8], answer: &str) {
        let mut findings = self.findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let number = findings.len();
        findings.push(finding.to_owned());
        say(&format!("finding {number}: {finding}"));
        let written = std::fs::create_dir_all(&self.arguments.out)
            .and_then(|()| std::fs::write(self.arguments.out.join(format!("{number}.request")), request))
            .and_then(|()| std::fs::write(self.arguments.out.join(format!("{number}.answer")), answer));
        if let Err(error) = written {
            say(&format!("  it could not be kept: {error}"));
        }
        if FINDINGS_MAX <= findings.len() {
            self.over.store(true, Ordering::Relaxed);
        }
    }

    /// Takes the next request, unless there were enough.
    fn next(&self) -> Option<u64> {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        (number < self.arguments.count && !self.over.load(Ordering::Relaxed)).then_some(number)
    }
}

fn say(line: &str) {
    _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.target.ip().is_loopback() {
        say("wsman-mutate: the target is not on this machine's loopback addresses");
        return ExitCode::from(2);
    }
    let seeds = match seeds::read(&arguments.seeds) {
        Ok(seeds) if !seeds.is_empty() => seeds,
        Ok(_) => {
            say("wsman-mutate: there is no request in these folders");
            return ExitCode::from(2);
        }
        Err(error) => {
            say(&format!("wsman-mutate: {error}"));
            return ExitCode::from(2);
        }
    };
    let login = Login::basic(&arguments.user, &arguments.password);
    if let Err(why) = steady::once(arguments.target, &login) {
        say(&format!("wsman-mutate: an ordinary request is not answered: {why}"));
        return ExitCode::from(2);
    }
    let run = Run {
        arguments,
        seeds,
        login,
        sent: AtomicU64::new(0),
        over: AtomicBool::new(false),
        statuses: Mutex::default(),
        findings: Mutex::default(),
    };
    work(&run)
}

fn work(run: &Run) -> ExitCode {
    let began = Instant::now();
    let mut growth = None;
    let slowest = std::thread::scope(|scope| {
        let steady = scope.spawn(|| {
            steady::client(run.arguments.target, &run.login, &run.over, |why| {
                run.find(&format!("the ordinary client was not served: {why}"), b"", "");
            })
        });
        let workers: Vec<_> =
            (0..run.arguments.connections).map(|number| scope.spawn(move || worker(run, number))).collect();
        // The first quarter fills what is there to be filled: caches, tables with a limit.
        let quarter = run.arguments.count / 4;
        let mut before = None;
        while workers.iter().any(|worker| !worker.is_finished()) {
            std::thread::sleep(Duration::from_millis(50));
            if before.is_none() && quarter <= run.sent.load(Ordering::Relaxed) {
                before = run.arguments.pid.map(resident_kib);
            }
        }
        if let (Some(pid), Some(before)) = (run.arguments.pid, before) {
            growth = Some((before, resident_kib(pid)));
        }
        run.over.store(true, Ordering::Relaxed);
        steady.join().unwrap_or_default()
    });
    match growth {
        Some((Some(before), Some(after))) => {
            say(&format!("resident memory: {before} KiB after a quarter, {after} KiB at the end"));
            if before + before / 10 < after {
                run.find(&format!("memory grew from {before} to {after} KiB"), b"", "");
            }
        }
        Some(_) => run.find("the server's process is gone", b"", ""),
        None => {}
    }
    let statuses = run.statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (status, count) in statuses.iter() {
        say(&format!("{}: {count}", if *status == 0 { "closed".to_owned() } else { status.to_string() }));
    }
    let findings = run.findings.lock().unwrap_or_else(std::sync::PoisonError::into_inner).len();
    let answered: u64 = statuses.values().sum();
    say(&format!(
        "{answered} damaged requests in {:.1} s (seed {}), {findings} findings; the ordinary client waited {} ms \
         at most",
        began.elapsed().as_secs_f64(),
        run.arguments.seed,
        slowest.as_millis()
    ));
    if findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn worker(run: &Run, number: u64) {
    let mut dice = Dice::new(run.arguments.seed.wrapping_mul(1_000_003).wrapping_add(number));
    let mut connection = Connection::new(run.arguments.target, PATIENCE);
    let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
    while run.next().is_some() {
        let damaged = Damaged::of(&run.seeds, &mut dice);
        let sent = damaged.octets(&run.login);
        let answer = connection.exchange(&sent, damaged.breaks_framing);
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        *statuses.entry(status).or_default() += 1;
        if let Err(Finding(finding)) = judge::judge(&damaged, answer.as_ref()) {
            let body = answer.map(|answer| String::from_utf8_lossy(&answer.body).into_owned()).unwrap_or_default();
            run.find(&finding, &sent, &body);
        }
    }
    let mut all = run.statuses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for (status, count) in statuses {
        *all.entry(status).or_default() += count;
    }
}

/// Resident memory of a process in KiB; none when it is gone.
fn resident_kib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().split(' ').next()?.parse().ok()
}
