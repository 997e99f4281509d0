//! Thousands of failed logins from one address while another client asks for a job.
//!
//! The attackers are a process of their own at the lowest priority: elsewhere they would be another machine, whose CPU
//! time would not be taken from the server or from the client that is measured.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::task::LocalSet;

use crate::cost::Client as _;
use crate::handshake::{self, logged_in};
use crate::lab::{self, Lab, Server};
use crate::ntlm_client::Ntlm;
use crate::polls::Asks;
use crate::process::Owned;
use crate::requests::Exchange;
use crate::table::{Bound, Figure, count, median};
use crate::wire::Wire;
use crate::{Failure, process};

/// Where the attackers come from.
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Attackers by NTLM, and by Basic: these wait for one another's passwords to be verified, and would hold up those.
const NTLM_ATTACKERS: usize = 48;
const BASIC_ATTACKERS: usize = 16;
/// Users whose passwords they guess; all other names are made up, a new one for each login.
const VICTIMS: usize = 8;
/// Attacks, each after a quiet time.
const ROUNDS: usize = 5;
/// One of so many failed logins is by Basic.
const BASIC_EVERY: usize = 10;
/// Two of so many are of a user who exists, one by Basic and one by NTLM.
const VICTIM_EVERY: usize = 50;
/// Between two questions of the client that is measured.
const PAUSE: Duration = Duration::from_millis(1);
/// What is answered to who is told to come back later.
const BUSY: u16 = 503;
const RATIO_TARGET: f64 = 1.2;
/// The longest that one attack may take.
const TIMEOUT: Duration = Duration::from_mins(2);

/// Latencies of the client that is measured, all of them.
type Latencies = Rc<RefCell<Vec<f64>>>;

/// Measures a client with and without attacks, `logins` failed ones in all.
pub(crate) async fn figures(
    server: &Server,
    lab: &Lab,
    get: &Exchange,
    logins: usize,
    quiet: Duration,
) -> Result<Vec<Figure>, Failure> {
    for victim in 0..VICTIMS {
        lab.add_user(&victim_name(victim), Some(lab::PASSWORD))?;
    }
    let latencies: Latencies = Rc::default();
    let ending = Rc::new(Cell::new(false));
    let tasks = LocalSet::new();
    let (wire, session) = logged_in(server.address).await?;
    let clients = [
        Asks::new(
            Wire::open(server.address).await?,
            &format!("Authorization: {}\r\n", lab::authorization()),
            get,
            None,
        ),
        Asks::new(wire, "", get, Some(session)),
    ];
    let mut running = Vec::new();
    for client in clients {
        running.push(tasks.spawn_local(ask(client, Rc::clone(&latencies), Rc::clone(&ending))));
    }
    let figures = tasks.run_until(rounds(server, &latencies, logins, quiet)).await;
    ending.set(true);
    tasks
        .run_until(async {
            for task in running {
                task.await??;
            }
            Ok::<(), Failure>(())
        })
        .await?;
    figures
}

async fn rounds(
    server: &Server,
    latencies: &Latencies,
    logins: usize,
    quiet: Duration,
) -> Result<Vec<Figure>, Failure> {
    let [mut quiet50, mut quiet99, mut under50, mut under99] = [const { Vec::new() }; 4];
    let [mut ratio50, mut ratio99] = [const { Vec::new() }; 2];
    let (mut refused, mut busy, mut length, mut cpu) = (0, 0, Duration::ZERO, Duration::ZERO);
    for round in 0..ROUNDS {
        latencies.take();
        tokio::time::sleep(quiet).await;
        let calm = percentiles(latencies.take())?;
        let (began, cpu_before) = (Instant::now(), process::cpu_time(server.pid())?);
        let told = attack(server.address, logins / ROUNDS, round).await?;
        length += began.elapsed();
        cpu += process::cpu_time(server.pid())?.saturating_sub(cpu_before);
        let stormy = percentiles(latencies.take())?;
        refused += told.refused;
        busy += told.busy;
        quiet50.push(calm.0);
        quiet99.push(calm.1);
        under50.push(stormy.0);
        under99.push(stormy.1);
        ratio50.push(stormy.0 / calm.0);
        ratio99.push(stormy.1 / calm.1);
    }
    let target = Some(Bound::AtMost(RATIO_TARGET));
    Ok(vec![
        Figure::new("failed logins from one address", count(refused), None),
        Figure::new("besides, told to come back later", count(busy), None),
        Figure::new("seconds that they took", length.as_secs_f64(), None),
        Figure::new("server CPU meanwhile, cores", cpu.as_secs_f64() / length.as_secs_f64(), None),
        Figure::new("another client's Get before, p50 ms", median(quiet50), None),
        Figure::new("another client's Get meanwhile, p50 ms", median(under50), None),
        Figure::new("p50 meanwhile over before", median(ratio50), target),
        Figure::new("another client's Get before, p99 ms", median(quiet99), None),
        Figure::new("another client's Get meanwhile, p99 ms", median(under99), None),
        Figure::new("p99 meanwhile over before", median(ratio99), None),
    ])
}

/// Asks until told to end.
async fn ask(mut client: Asks, latencies: Latencies, ending: Rc<Cell<bool>>) -> Result<(), Failure> {
    while !ending.get() {
        let began = Instant::now();
        client.repeat().await?;
        latencies.borrow_mut().push(began.elapsed().as_secs_f64() * 1e3);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// Median and 99th percentile.
fn percentiles(mut times: Vec<f64>) -> Result<(f64, f64), Failure> {
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(times.len() * percent / 100).copied();
    at(50).zip(at(99)).ok_or_else(|| "the client got no answer".into())
}

/// What the attackers met.
#[derive(Default)]
struct Told {
    refused: usize,
    busy: usize,
}

/// Has another process make so many failed logins.
async fn attack(server: SocketAddr, logins: usize, round: usize) -> Result<Told, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--attack", &server.to_string(), "--attack-logins", &logins.to_string()]);
    command.args(["--attack-round", &round.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut attackers = Owned(command.spawn()?);
    let began = Instant::now();
    while attackers.0.try_wait()?.is_none() {
        if began.elapsed() > TIMEOUT {
            return Err(format!("{logins} failed logins take longer than {TIMEOUT:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let output = attackers.0.stdout.take().ok_or("the attackers tell nothing")?;
    let told: Value = serde_json::from_reader(output)?;
    let number = |name| told.get(name).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    match (number("refused"), number("busy"), told.get("error")) {
        (Some(refused), Some(busy), None) => Ok(Told { refused, busy }),
        _ => Err(format!("the attack went wrong: {told}").into()),
    }
}

fn victim_name(number: usize) -> String {
    format!("victim{number}")
}

/// The attackers' process: prints what it met.
pub(crate) fn run(server: SocketAddr, logins: usize, round: usize) -> Result<String, Failure> {
    rustix::process::nice(19)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(LocalSet::new().run_until(attackers(server, logins, round)));
    Ok(match told {
        Ok(told) => json!({ "refused": told.refused, "busy": told.busy }),
        Err(failure) => json!({ "error": failure.to_string() }),
    }
    .to_string())
}

async fn attackers(server: SocketAddr, logins: usize, round: usize) -> Result<Told, Failure> {
    let mut running = Vec::new();
    for (basic, count) in [(false, NTLM_ATTACKERS), (true, BASIC_ATTACKERS)] {
        let numbers = (0..logins).filter(move |number| number.is_multiple_of(BASIC_EVERY) == basic);
        let numbers = Rc::new(RefCell::new(numbers));
        for _ in 0..count {
            let numbers = Rc::clone(&numbers);
            let mut attacker = Attacker { server, basic, wire: None, told: Told::default() };
            running.push(tokio::task::spawn_local(async move {
                loop {
                    let next = numbers.borrow_mut().next();
                    let Some(number) = next else { return Ok::<Told, Failure>(attacker.told) };
                    attacker.guess(number, round * logins + number).await?;
                }
            }));
        }
    }
    let mut all = Told::default();
    for task in running {
        let told = task.await??;
        all.refused += told.refused;
        all.busy += told.busy;
    }
    Ok(all)
}

struct Attacker {
    server: SocketAddr,
    basic: bool,
    wire: Option<Wire>,
    told: Told,
}

impl Attacker {
    /// One failed login, tried until its proof was looked at.
    async fn guess(&mut self, number: usize, unique: usize) -> Result<(), Failure> {
        let name = if number % VICTIM_EVERY < 2 { victim_name(number % VICTIMS) } else { format!("nobody{unique}") };
        let password = format!("guess{unique}");
        loop {
            let mut wire = match self.wire.take() {
                Some(wire) => wire,
                None => Wire::open_from(SOURCE, self.server).await?,
            };
            let answer = if self.basic {
                let proof = STANDARD.encode(format!("{name}:{password}"));
                wire.post("/wsman", &format!("Authorization: Basic {proof}\r\n"), b"").await?
            } else {
                let (user, password) = (name.clone(), password.clone());
                handshake::fail(&mut wire, &Ntlm { user, password, ..Ntlm::default() }).await?
            };
            let closes = answer.closes();
            self.wire = Some(wire).filter(|_| !closes);
            match answer.status {
                BUSY => self.told.busy += 1,
                // Given up without a look at the proof: too many handshakes on this connection.
                401 if closes => continue,
                401 => {
                    self.told.refused += 1;
                    return Ok(());
                }
                other => return Err(format!("the status {other} for a failed login").into()),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
