//! Measures what logins and sealed messages cost, beside a bare HTTP server that answers the same requests.
//!
//! `cargo bench --bench login` prints a table. Each server is a process of its own, so that its CPU time can be read
//! apart from the clients'; what is sealed in this process is measured by the clock. Any error makes the exit code 1.
//!
//! Kerberos is measured where a realm is given, as for the tests: with what `conformance/clients/kdc start` prints
//! exported, `FAILBACKD_TEST_KDC` its directory and `FAILBACKD_TEST_PYTHON` a Python that has pyspnego.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints what it measured")]

#[path = "login/attack.rs"]
mod attack;
#[path = "load/bare.rs"]
mod bare;
#[path = "load/client.rs"]
#[expect(dead_code, reason = "the bench load uses the rest")]
mod client;
#[path = "login/cost.rs"]
mod cost;
#[path = "login/handshake.rs"]
mod handshake;
#[path = "login/kerberos.rs"]
mod kerberos;
#[path = "../tests/it/kerberos/lab.rs"]
#[expect(dead_code, clippy::unwrap_used, clippy::panic, reason = "the tests' own, which stops at what is unexpected")]
mod kerberos_lab;
#[path = "load/lab.rs"]
#[expect(dead_code, reason = "the bench load uses the rest")]
mod lab;
#[path = "../tests/it/login/ntlm_client.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::as_conversions,
    reason = "the tests' own, which stops at what is unexpected"
)]
mod ntlm_client;
#[path = "login/polls.rs"]
mod polls;
#[path = "load/process.rs"]
mod process;
#[path = "load/requests.rs"]
#[expect(dead_code, reason = "the bench load uses the rest")]
mod requests;
#[path = "login/sealing.rs"]
mod sealing;
#[path = "../tests/it/login/spnego.rs"]
#[expect(dead_code, clippy::unwrap_used, clippy::panic, reason = "the tests' own, which stops at what is unexpected")]
mod spnego;
#[path = "load/table.rs"]
mod table;
#[path = "load/tls.rs"]
mod tls;
#[path = "login/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;

use lab::Lab;
use table::Figure;

/// What goes wrong in a bench ends it, with its text.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Failed logins of the attack.
const FAILED_LOGINS: usize = 10_000;

/// Measure logins and sealed messages.
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
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
    /// Measure only this: handshake, kerberos, sealing, polls, attack.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Serve fixed answers on this port: the bare server itself, started by the bench.
    #[arg(long, hide = true)]
    bare: Option<u16>,
    /// Make failed logins at this server: the attackers, started by the bench.
    #[arg(long, hide = true, requires = "attack_logins")]
    attack: Option<SocketAddr>,
    #[arg(long, hide = true, default_value_t = 0)]
    attack_logins: usize,
    #[arg(long, hide = true, default_value_t = 0)]
    attack_round: usize,
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
    let outcome = match (options.bare, options.attack) {
        (Some(port), _) => bare::serve(port).map(|()| String::new()),
        (_, Some(server)) => attack::run(server, options.attack_logins, options.attack_round),
        _ => measure(&options),
    };
    match outcome {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("login: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything; answers what to print.
fn measure(options: &Options) -> Result<String, Failure> {
    process::raise_descriptor_limit()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let realm = std::env::var_os("FAILBACKD_TEST_KDC").and_then(|_| kerberos_lab::Lab::open("bench"));
    let figures = runtime.block_on(figures(options, realm.as_ref()))?;
    if options.json {
        let figures: Vec<_> = figures.iter().map(|it| json!({ "name": it.name, "value": it.value })).collect();
        return Ok(json!({ "figures": figures }).to_string());
    }
    let rows: Vec<String> = figures.iter().map(Figure::row).collect();
    let note = if realm.is_none() { kerberos::MISSING } else { "" };
    let runs = options.runs;
    Ok(format!(
        "Median of {runs} runs.\n\n| logins | measured | target | |\n|---|--:|---|---|\n{}\n\n{note}",
        rows.join("\n")
    ))
}

async fn figures(options: &Options, realm: Option<&kerberos_lab::Lab>) -> Result<Vec<Figure>, Failure> {
    let (runs, length) = (options.runs, Duration::from_millis(options.measure_ms));
    let wanted = |part: &str| options.only.is_empty() || options.only.iter().any(|only| only == part);
    let lab = Lab::diskless(1)?;
    let configuration = lab.directory().join("bench.toml");
    if let Some(realm) = realm {
        lab.add_user(&realm.user, None)?;
        std::fs::write(&configuration, kerberos::configuration(realm))?;
    } else {
        std::fs::write(&configuration, "")?;
    }
    let ours = lab.serve_diskless_with(&[("FAILBACKD_CONFIG", &configuration.to_string_lossy())]).await?;
    let bare = lab.serve_bare().await?;
    let get = polls::finished_job(&ours, &lab).await?;
    let mut figures = Vec::new();
    if wanted("handshake") {
        figures.extend(handshake::figures(&ours, &bare, runs, length).await?);
    }
    if let Some(realm) = realm.filter(|_| wanted("kerberos")) {
        figures.extend(kerberos::figures(realm, &ours, &bare, runs, kerberos::logins(length)).await?);
    }
    if wanted("sealing") {
        figures.extend(sealing::ntlm_figures(runs)?);
    }
    if wanted("polls") {
        figures.extend(polls::sealed_figures(&ours, &get, runs, length).await?);
        figures.extend(polls::cached_figures(&ours, &bare, &get, runs, length).await?);
    }
    if wanted("attack") {
        let (logins, quiet) = if options.short { (500, length) } else { (FAILED_LOGINS, 4 * length) };
        figures.extend(attack::figures(&ours, &lab, &get, logins, quiet).await?);
    }
    Ok(figures)
}
