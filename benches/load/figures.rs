//! What is measured besides requests: memory, durable calls, and a long enumeration.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::client::{Connection, Target};
use crate::lab::{self, Lab, Server};
use crate::requests::{self, Exchange};
use crate::table::{Bound, Figure, count};
use crate::{Failure, process, report, store};

/// Connections over which durable calls are made, and transactions in flight at the bare store beside them.
const CALLERS: usize = 64;

/// How long the jobs of one start may take, all together.
const JOBS_TIMEOUT: Duration = Duration::from_mins(5);

/// Instances that one Pull asks for.
const PAGE: usize = 1000;

fn kib(octets: u64) -> f64 {
    f64::from(u32::try_from(octets / 64).unwrap_or(u32::MAX)) / 16.0
}

/// Resident memory of a fresh server, and what an idle connection that was used once adds to it.
pub(crate) async fn memory(lab: &Lab, connections: usize) -> Result<Vec<Figure>, Failure> {
    let bare = lab.serve_bare().await?;
    let (bare_idle, bare_each) = connection_octets(&bare, report::BARE, connections).await?;
    let ours = lab.serve().await?;
    let (ours_idle, ours_each) = connection_octets(&ours, report::OURS, connections).await?;
    drop(ours);
    let sealed = lab.serve_tls().await?;
    let (_, sealed_each) = connection_octets(&sealed, report::OURS, connections).await?;
    let above = |each: u64| kib(each) - kib(bare_each);
    Ok(vec![
        Figure::new("resident when idle, KiB", kib(ours_idle), Some(Bound::AtMost(15.0 * 1024.0))),
        Figure::new("resident when idle, the bare server, KiB", kib(bare_idle), None),
        Figure::new("an idle connection, the bare server, KiB", kib(bare_each), None),
        Figure::new("an idle connection, above the bare server's, KiB", above(ours_each), Some(Bound::AtMost(8.0))),
        Figure::new(
            "an idle connection with TLS, above the bare server's without, KiB",
            above(sealed_each),
            Some(Bound::AtMost(64.0)),
        ),
    ])
}

/// Resident octets before, and what each of many connections adds.
async fn connection_octets(server: &Server, name: &str, connections: usize) -> Result<(u64, u64), Failure> {
    let target = crate::target(server, name, &Exchange::identify(), 300);
    let idle = process::resident_octets(server.pid())?;
    // The first login costs the memory of its password hash, once.
    Connection::open(&target).await?.exchange().await?;
    let before = process::resident_octets(server.pid())?;
    let mut held = Vec::new();
    for _ in 0..connections {
        let mut connection = Connection::open(&target).await?;
        connection.exchange().await?;
        held.push(connection);
    }
    let after = process::resident_octets(server.pid())?;
    Ok((idle, after.saturating_sub(before) / u64::try_from(connections.max(1))?))
}

/// Starts a job on each of many VMs whose transfers wait, beside the same load on the bare store; then starts the
/// server anew without the brake, and sees all jobs to their ends.
pub(crate) async fn durable(vms: usize) -> Result<Vec<Figure>, Failure> {
    let lab = Lab::diskless(vms)?;
    let server = lab.serve_held().await?;
    let began = Instant::now();
    let mut times = submit(&server, &lab).await?;
    let rate = count(times.len()) / began.elapsed().as_secs_f64();
    drop(server);
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3);
    let length = Duration::from_secs(if vms < 5000 { 1 } else { 5 });
    let raw = store::run_in(lab.directory(), CALLERS, length).await?;
    let began = Instant::now();
    let server = lab.serve_diskless().await?;
    all_completed(&server, &lab).await?;
    let jobs_rate = count(times.len()) / began.elapsed().as_secs_f64();
    Ok(vec![
        Figure::new("calls, or transactions of the bare store, in flight", count(raw.in_flight), None),
        Figure::new("durable Invoke, accepted/s", rate, None),
        Figure::new("the bare store, durable transactions/s", raw.per_second, None),
        Figure::new("accepted/s over the bare store's", rate / raw.per_second, Some(Bound::AtLeast(0.4))),
        Figure::new("durable Invoke, p50 ms", at(50), None),
        Figure::new("durable Invoke, p99 ms", at(99), Some(Bound::AtMost(50.0))),
        Figure::new("the bare store, p50 ms", raw.p50_ms, None),
        Figure::new("the bare store, p99 ms", raw.p99_ms, None),
        Figure::new("jobs without disks run to their end after a start, jobs/s", jobs_rate, None),
    ])
}

/// Calls InitiateFailback once for each VM; answers how long each call took.
async fn submit(server: &Server, lab: &Lab) -> Result<Vec<Duration>, Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let vms: Arc<[String]> = lab.ready().into();
    let address = server.address;
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let (next, vms) = (Arc::clone(&next), Arc::clone(&vms));
        tasks.spawn(async move {
            let mut times = Vec::new();
            let mut connection = None;
            while let Some(vm) = vms.get(next.fetch_add(1, Ordering::Relaxed)) {
                let target = Target::new(address, "/wsman", &lab::authorization(), &Exchange::invoke(vm).body);
                let open = match connection.take() {
                    Some(open) => open,
                    None => Connection::open(&target).await?,
                };
                let open = connection.insert(open);
                open.point_at(&target);
                let began = Instant::now();
                let answer = String::from_utf8(open.exchange().await?)?;
                times.push(began.elapsed());
                if requests::element_text(&answer, "ReturnValue") != Some("4096") {
                    return Err(format!("InitiateFailback of {vm}: {answer}").into());
                }
            }
            Ok::<_, Failure>(times)
        });
    }
    let mut times = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        times.extend(ended??);
    }
    Ok(times)
}

/// Waits until no job is left that has not completed; one that failed is an error.
async fn all_completed(server: &Server, lab: &Lab) -> Result<(), Failure> {
    let deadline = Instant::now() + JOBS_TIMEOUT;
    let target = |condition: &str| {
        let query = format!("SELECT JobState FROM Msvm_ConcreteJob WHERE {condition}");
        crate::target(server, report::OURS, &Exchange::query("jobs", &query, 1), 0)
    };
    let mut connection = Connection::open(&target("JobState < 7")).await?;
    loop {
        connection.point_at(&target("JobState < 7"));
        let answer = String::from_utf8(connection.exchange().await?)?;
        if requests::element_text(&answer, "EnumerateResponse").is_none() {
            return Err(format!("the jobs cannot be asked for: {answer}").into());
        }
        if !answer.contains("JobState>") {
            break;
        }
        if Instant::now() > deadline {
            return Err(format!("jobs are not done after {JOBS_TIMEOUT:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    connection.point_at(&target("JobState > 7"));
    let answer = String::from_utf8(connection.exchange().await?)?;
    if answer.contains("JobState>") {
        return Err(format!("of {} jobs some failed: {answer}", lab.ready().len()).into());
    }
    Ok(())
}

/// Enumerates many recovery points, twice: the first time warms the server up, the second must add no memory.
pub(crate) async fn enumeration(lab: &Lab, points: usize) -> Result<Vec<Figure>, Failure> {
    let made = lab.add_points(points)?;
    let server = lab.serve().await?;
    let resident = process::resident_octets(server.pid())?;
    let peak = enumerate(&server, made).await?.0;
    let (again, length) = enumerate(&server, made).await?;
    Ok(vec![
        Figure::new("recovery points enumerated", count(made), None),
        Figure::new(
            "instances/s on one connection",
            count(made) / length.as_secs_f64(),
            Some(Bound::AtLeast(50_000.0)),
        ),
        Figure::new("resident before, KiB", kib(resident), None),
        Figure::new("resident at most in the first enumeration, KiB more", kib(peak.saturating_sub(resident)), None),
        Figure::new("in the second, KiB more", kib(again.saturating_sub(peak)), Some(Bound::AtMost(1024.0))),
    ])
}

/// One enumeration by Pulls: the most memory that was resident between or after them, and how long it took.
async fn enumerate(server: &Server, expected: usize) -> Result<(u64, Duration), Failure> {
    const CLASS: &str = "Msvm_VirtualSystemSettingData";
    let target = |exchange: &Exchange| crate::target(server, report::OURS, exchange, 0);
    let mut connection = Connection::open(&target(&Exchange::enumerate(CLASS))).await?;
    let began = Instant::now();
    let mut resident = 0;
    let mut found = 0;
    let mut pages = 0_usize;
    let mut answer = String::from_utf8(connection.exchange().await?)?;
    while !answer.contains("EndOfSequence") {
        let context = requests::element_text(&answer, "EnumerationContext")
            .ok_or_else(|| format!("an answer without context: {answer}"))?;
        connection.point_at(&target(&Exchange::pull(CLASS, context, PAGE)));
        answer = String::from_utf8(connection.exchange().await?)?;
        // The present settings of the virtual machines are of the class, too.
        found += answer.matches(">Microsoft:Hyper-V:Snapshot:Replica:").count();
        if pages.is_multiple_of(64) {
            resident = resident.max(process::resident_octets(server.pid())?);
        }
        pages += 1;
    }
    let length = began.elapsed();
    // A short enumeration ends before it is looked at again.
    resident = resident.max(process::resident_octets(server.pid())?);
    if found != expected {
        return Err(format!("{found} recovery points were enumerated, {expected} are there").into());
    }
    Ok((resident, length))
}
