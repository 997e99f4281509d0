//! Measures the server over TCP, side by side with a bare HTTP server that answers as many octets without looking.
//!
//! `cargo bench --bench load` prints a table: throughput, latency and server CPU per request, ours, bare and the ratio.
//! Each server is a process of its own, so that its CPU time can be read apart from the load's. The two take turns
//! within a run, so that a noisy neighbour disturbs both. Any error of any request makes the exit code 1.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]

#[path = "load/bare.rs"]
mod bare;
#[path = "load/client.rs"]
mod client;
#[path = "load/figures.rs"]
mod figures;
#[path = "load/lab.rs"]
mod lab;
#[path = "load/process.rs"]
mod process;
#[path = "load/report.rs"]
mod report;
#[path = "load/requests.rs"]
mod requests;
#[path = "engine/store.rs"]
mod store;
#[path = "load/table.rs"]
mod table;
#[path = "load/tls.rs"]
mod tls;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use client::{Load, Target};
use lab::{Lab, Server};
use report::{Cell, Report, Sample};
use requests::Exchange;
use table::{Bound, Figure, median};

/// What goes wrong in a bench ends it, with its text.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Measure failbackd against a bare HTTP server.
#[derive(Parser)]
struct Options {
    /// Runs of which the median is printed.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Length of one measurement, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    measure_ms: u64,
    /// One short run, to see that nothing fails.
    #[arg(long)]
    short: bool,
    /// Numbers of connections; 1, 16, 64, 256 and 1,024 by default, the last three with --short.
    #[arg(long, value_delimiter = ',')]
    connections: Vec<usize>,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
    /// Serve fixed answers on this port: the bare server itself, started by the bench.
    #[arg(long, hide = true)]
    bare: Option<u16>,
    /// What cargo passes to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut options = Options::parse();
    if options.short {
        options.runs = 1;
        options.measure_ms = options.measure_ms.min(250);
    }
    if options.connections.is_empty() {
        options.connections = if options.short { vec![64, 256, 1024] } else { vec![1, 16, 64, 256, 1024] };
    }
    let outcome = match options.bare {
        Some(port) => bare::serve(port).map(|()| Vec::new()),
        None => measure(&options),
    };
    match outcome {
        Ok(errors) if errors.is_empty() => ExitCode::SUCCESS,
        Ok(errors) => {
            eprintln!("{} errors:\n{}", errors.len(), errors.join("\n"));
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("load: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything and prints it; answers the errors that requests met.
fn measure(options: &Options) -> Result<Vec<String>, Failure> {
    process::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let lab = Lab::prepare(options.runs)?;
    let mut report = Report::default();
    runtime.block_on(async {
        loads(&lab, options, &mut report).await?;
        let (starts, vms, points) = if options.short { (1, 500, 2_000) } else { (5, 20_000, 100_000) };
        report.figures.push(Figure {
            name: "from the start of a small clean store to the first answer, ms",
            value: median(start_times(starts).await?),
            target: Some(Bound::AtMost(50.0)),
        });
        report.figures.extend(figures::memory(&lab, 1000).await?);
        report.figures.extend(figures::enumeration(&lab, points).await?);
        report.figures.extend(figures::durable(vms).await?);
        Ok::<_, Failure>(())
    })?;
    println!("{}", if options.json { report.json() } else { report.markdown() });
    Ok(report.errors)
}

/// From starting the process to the first answer, in milliseconds.
async fn start_times(count: usize) -> Result<Vec<f64>, Failure> {
    let lab = Lab::diskless(3)?;
    let mut times = Vec::new();
    for _ in 0..count {
        let server = lab.serve_diskless().await?;
        times.push(server.started_in.as_secs_f64() * 1000.0);
    }
    Ok(times)
}

async fn loads(lab: &Lab, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let load = Load {
        warm: Duration::from_millis(options.measure_ms / 4),
        measure: Duration::from_millis(options.measure_ms),
    };
    let ours = lab.serve().await?;
    let bare = lab.serve_bare().await?;
    for run in 0..options.runs {
        for exchange in exchanges(&ours, run).await? {
            let size = first_answer(&ours, &exchange).await?;
            let target_ours = target(&ours, report::OURS, &exchange, size);
            let target_bare = target(&bare, report::BARE, &exchange, size);
            for &connections in &options.connections {
                let cell = Cell { operation: exchange.name, connections };
                let errors = &mut report.errors;
                // They take turns at going first as well.
                let (ours, bare) = if run % 2 == 0 {
                    let ours = sample(&load, cell, report::OURS, &ours, &target_ours, errors).await?;
                    (ours, sample(&load, cell, report::BARE, &bare, &target_bare, errors).await?)
                } else {
                    let bare = sample(&load, cell, report::BARE, &bare, &target_bare, errors).await?;
                    (sample(&load, cell, report::OURS, &ours, &target_ours, errors).await?, bare)
                };
                report.add(cell, ours, bare);
            }
        }
    }
    Ok(())
}

async fn sample(
    load: &Load,
    cell: Cell,
    name: &str,
    server: &Server,
    target: &Target,
    errors: &mut Vec<String>,
) -> Result<Sample, Failure> {
    let outcome = load.run(target, cell.connections, server.pid()).await?;
    let place = format!("{} at {} connections, {name}", cell.operation, cell.connections);
    errors.extend(outcome.errors.iter().map(|error| format!("{place}: {error}")));
    Ok(Sample::from(outcome))
}

/// One job is run to its end, so that the exchanges have something to ask for.
async fn exchanges(ours: &Server, run: usize) -> Result<Vec<Exchange>, Failure> {
    let ask = async |exchange: Exchange| -> Result<String, Failure> {
        let target = target(ours, report::OURS, &exchange, 0);
        let answer = client::Connection::open(&target).await?.exchange().await?;
        Ok(String::from_utf8(answer)?)
    };
    let systems = ask(Exchange::enumerate_systems()).await?;
    let (vm, job) = match requests::vm_named(&systems, &lab::vm_name(run)) {
        Some(vm) => {
            let answer = ask(Exchange::invoke(&vm)).await?;
            let job = requests::job_of(&answer).ok_or_else(|| format!("InitiateFailback of {vm}: {answer}"))?;
            (vm, job)
        }
        None => return Err(format!("the lab has no VM {}: {systems}", lab::vm_name(run)).into()),
    };
    let deadline = tokio::time::Instant::now() + Duration::from_mins(3);
    loop {
        let answer = ask(Exchange::get_job(&job)).await?;
        match requests::element_text(&answer, "JobState") {
            Some("7") => break,
            Some("2" | "3" | "4") if tokio::time::Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            _ => return Err(format!("the job {job} did not complete: {answer}").into()),
        }
    }
    Ok(vec![
        Exchange::identify(),
        Exchange::get_job(&job),
        Exchange::query_job(&job),
        Exchange::enumerate_systems(),
        Exchange::invoke(&vm),
    ])
}

/// The first answer is read as a whole: it must be what was asked for. Answers its length.
async fn first_answer(ours: &Server, exchange: &Exchange) -> Result<usize, Failure> {
    let target = target(ours, report::OURS, exchange, 0);
    let answer = String::from_utf8(client::Connection::open(&target).await?.exchange().await?)?;
    exchange.check(&answer)?;
    Ok(answer.len())
}

fn target(server: &Server, name: &str, exchange: &Exchange, size: usize) -> Target {
    let path = if name == report::BARE { format!("/{size}") } else { "/wsman".to_owned() };
    Target::new(server.address, &path, &lab::authorization(), &exchange.body).sealed(server.sealed)
}
