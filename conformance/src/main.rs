//! `wsman-conform`: a black-box conformance suite for any WS-Management endpoint. Cases are data (`cases/*.toml`),
//! rules too (`rules/*.toml`, in our own words). The crate shares no code with any server, so that it cannot share
//! a server's mistakes.

mod catalog;
mod check;
mod content;
mod discover;
mod envelope;
mod fixture;
mod http;
mod instance;
mod model;
mod output;
mod path;
mod path_parse;
mod raw;
mod record;
mod report;
mod representation;
mod run;
mod serve;
mod session;
mod sink;
mod template;
mod text;
mod tls;
mod verdict;
mod watch;
mod xml;

use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use clap::{Parser, Subcommand, ValueEnum};

use crate::catalog::Catalog;
use crate::envelope::Credentials;
use crate::http::{Client, Target};
use crate::model::{Level, Profile};
use crate::output::Outputs;
use crate::record::Record;
use crate::report::Run;
use crate::report::matrix;
use crate::run::{Permissions, Selection};
use crate::session::Session;
use crate::sink::Sink;

/// Checks a WS-Management endpoint against the rules of the standards and of the clients in use.
///
/// Read-only unless --allow-methods is given. Exit code 1 when a MUST fails, 2 when nothing could be tested.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The endpoint, e.g. http://127.0.0.1:5985/wsman
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    /// The user for Basic authentication
    #[arg(long, env = "WSMAN_USER", value_name = "NAME")]
    user: Option<String>,
    /// The password
    #[arg(long, env = "WSMAN_PASSWORD", hide_env_values = true, value_name = "SECRET", default_value = "")]
    password: String,
    /// Accept any certificate of an https target
    #[arg(long)]
    insecure: bool,
    /// Trust the certificates of this PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Only these groups, rules or cases (ADR, ENU-14, ENU-14.a), separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    only: Vec<String>,
    /// The weakest level to run
    #[arg(long, value_enum, default_value = "may")]
    level: LevelArgument,
    /// Run the cases that call real methods too (InitiateFailback on a machine that is ready for it)
    #[arg(long)]
    allow_methods: bool,
    /// Run the cases that write and undo it
    #[arg(long)]
    allow_writes: bool,
    /// Run the cases that load the target
    #[arg(long)]
    allow_load: bool,
    /// Whose reading of the standard is binding where they differ
    #[arg(long, value_enum, default_value = "ms")]
    profile: Profile,
    /// Only the scenarios of the 2006 interoperability event
    #[arg(long)]
    plugfest: bool,
    /// Where the built-in event sink listens; needed when the target is not on this machine
    #[arg(long, value_name = "ADDRESS:PORT")]
    sink_address: Option<SocketAddr>,
    /// List the rules and how many cases cover each
    #[arg(long)]
    list_rules: bool,
    /// List the cases, what they need and their marks
    #[arg(long)]
    list_cases: bool,
    /// Explain one case or rule; with --target also run it and show the exchange
    #[arg(long, value_name = "ID")]
    explain: Option<String>,
    /// Probe the target and say which cases would run
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    outputs: Outputs,
    /// The seed of the run's identifiers, to repeat a run
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    timeout: u64,
    /// Print only what did not pass
    #[arg(long, short)]
    quiet: bool,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
enum Command {
    /// Shows many runs side by side: a row for each rule, a column for each target
    Matrix(matrix::Arguments),
}

/// The levels as the command line spells them.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LevelArgument {
    /// Only what is required
    Must,
    /// Also what is recommended
    Should,
    /// Everything
    May,
}

impl From<LevelArgument> for Level {
    fn from(level: LevelArgument) -> Self {
        match level {
            LevelArgument::Must => Self::Must,
            LevelArgument::Should => Self::Should,
            LevelArgument::May => Self::May,
        }
    }
}

/// Prints a line. A reader that has gone away (`| head`) is no error.
fn say(line: &str) {
    _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    match work(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            _ = writeln!(std::io::stderr(), "wsman-conform: {error}");
            ExitCode::from(2)
        }
    }
}

fn work(arguments: &Arguments) -> Result<ExitCode, String> {
    if let Some(Command::Matrix(runs)) = &arguments.command {
        say(matrix::work(runs)?.trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let (began, clock) = now();
    let catalog = Catalog::load()?;
    if arguments.list_rules {
        list_rules(&catalog, arguments.profile);
        return Ok(ExitCode::SUCCESS);
    }
    let only = arguments.explain.iter().chain(&arguments.only).cloned().collect();
    let selection =
        Selection { only, level: arguments.level.into(), profile: arguments.profile, plugfest: arguments.plugfest };
    if arguments.list_cases {
        list_cases(&catalog, &selection);
        return Ok(ExitCode::SUCCESS);
    }
    let Some(url) = &arguments.target else {
        let id = arguments.explain.as_ref().ok_or("--target URL is missing")?;
        return explain(&catalog, id, &[]);
    };
    let target = Target::parse(url)?;
    let seed = arguments.seed.unwrap_or_else(|| RandomState::new().hash_one(url));
    let tls = if target.is_tls { Some(tls::configuration(arguments.ca.as_deref(), arguments.insecure)?) } else { None };
    let client = Client::new(target.clone(), tls, Duration::from_secs(arguments.timeout));
    let credentials = Credentials { user: arguments.user.clone(), password: arguments.password.clone() };
    let sink = sink(arguments, &target)?;
    let has_sink = sink.is_some();
    let mut session = Session::new(target.clone(), credentials, client, seed, sink);
    session.profile = arguments.profile;
    let fixtures = fixture::probe(&mut session)?;
    let permissions = permissions(arguments, &target, has_sink);
    if arguments.dry_run {
        dry_run(&catalog, &selection, &fixtures, &permissions);
        return Ok(ExitCode::SUCCESS);
    }
    let is_shown = arguments.explain.is_none();
    if is_shown && !arguments.quiet {
        say(&format!("Target {} (seed {seed})", target.url()));
        fixtures.notes.iter().for_each(|note| say(&format!("  {note}")));
    }
    let mut tell = |result: &verdict::CaseResult| {
        if is_shown && !(arguments.quiet && result.verdict == verdict::Verdict::Pass) {
            say(&report::line(result));
        }
    };
    let cases: Vec<&model::Case> = catalog.cases.iter().filter(|case| selection.takes_case(case)).collect();
    let mut results = run::run_all(&cases, &mut session, &fixtures, &permissions, &mut tell);
    let standing = session.watch.results().into_iter().filter(|_| !arguments.plugfest);
    for result in standing.filter(|result| selection.takes(&result.id, &result.rules, result.level)) {
        tell(&result);
        results.push(result);
    }
    if let Some(id) = &arguments.explain {
        return explain(&catalog, id, &results);
    }
    let allowed = permissions.into_iter().collect();
    let (url, elapsed, profile) = (target.url(), clock.elapsed(), arguments.profile.word().to_owned());
    let run = Run { url, seed, profile, allowed, began, elapsed, fixtures, results };
    finish(arguments, &catalog, &run)
}

/// The moment of a run's beginning, for its date and for its length.
#[expect(clippy::disallowed_methods, reason = "a report has a date; nothing else of a run depends on it")]
fn now() -> (SystemTime, Instant) {
    (SystemTime::now(), Instant::now())
}

/// The built-in sink: on loopback when the target is there too, else where the user says.
fn sink(arguments: &Arguments, target: &Target) -> Result<Option<Sink>, String> {
    let is_local = matches!(target.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let address = match &arguments.sink_address {
        Some(address) => *address,
        None if is_local => SocketAddr::from(([127, 0, 0, 1], 0)),
        None => return Ok(None),
    };
    Sink::start(address, None).map(Some).map_err(|error| format!("the sink at {address}: {error}"))
}

fn permissions(arguments: &Arguments, target: &Target, has_sink: bool) -> Permissions {
    let given = [
        ("methods", arguments.allow_methods),
        ("writes", arguments.allow_writes),
        ("load", arguments.allow_load),
        ("sink", has_sink),
        ("credentials", arguments.user.is_some()),
        ("basic", arguments.user.is_some()),
        ("http", !target.is_tls),
        ("https", target.is_tls),
    ];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name.to_owned()).collect()
}

fn finish(arguments: &Arguments, catalog: &Catalog, run: &Run) -> Result<ExitCode, String> {
    arguments.outputs.write(Record::of(run, catalog, std::slice::from_ref(&arguments.password)))?;
    say(&run.summary());
    Ok(if run.is_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn list_rules(catalog: &Catalog, profile: Profile) {
    for rule in catalog.rules.iter().filter(|rule| rule.profile.is_none_or(|bound| bound == profile)) {
        let cases = catalog.cases.iter().filter(|case| case.rules.contains(&rule.id)).count();
        let standing = if watch::rules().any(|id| id == rule.id) { " + every answer" } else { "" };
        let level = rule.level_in(profile).word();
        say(&format!("{:<8} {level:<6} {cases} cases{standing}  {}", rule.id, rule.text));
        if !rule.untestable.is_empty() {
            say(&format!("{:16}not testable from outside: {}", "", rule.untestable));
        }
    }
    let uncovered: Vec<&str> = catalog.uncovered().map(|rule| rule.id.as_str()).collect();
    if !uncovered.is_empty() {
        say(&format!("Without a case: {}", uncovered.join(", ")));
    }
}

fn list_cases(catalog: &Catalog, selection: &Selection) {
    for case in catalog.cases.iter().filter(|case| selection.takes_case(case)) {
        let marks = [("plugfest", case.plugfest), ("waits", case.waits)];
        let marks = marks.iter().filter(|(_, is_set)| *is_set).map(|(mark, _)| (*mark).to_owned());
        let bound = case.profile.map(|profile| format!("profile {}", profile.word()));
        let all: Vec<String> = marks.chain(bound).chain(case.needs.iter().cloned()).collect();
        let level = case.level_in(selection.profile).word();
        let needs = if all.is_empty() { String::new() } else { format!(" [{}]", all.join(", ")) };
        say(&format!("{:<10} {level:<6} {}{needs}", case.id, case.title));
    }
}

fn dry_run(catalog: &Catalog, selection: &Selection, fixtures: &fixture::Fixtures, permissions: &Permissions) {
    fixtures.notes.iter().for_each(|note| say(&format!("  {note}")));
    for case in catalog.cases.iter().filter(|case| selection.takes_case(case)) {
        match run::missing(case, selection.profile, fixtures, permissions) {
            None => say(&format!("would run   {:<10} {}", case.id, case.title)),
            Some((verdict, why)) => say(&format!("{:<11} {:<10} {} ({why})", verdict.word(), case.id, case.title)),
        }
    }
}

fn explain(catalog: &Catalog, id: &str, results: &[verdict::CaseResult]) -> Result<ExitCode, String> {
    let is_meant = |case: &&model::Case| {
        case.id.eq_ignore_ascii_case(id) || case.rules.iter().any(|rule| rule.eq_ignore_ascii_case(id))
    };
    let cases: Vec<&model::Case> = catalog.cases.iter().filter(is_meant).collect();
    if cases.is_empty() {
        let rule = catalog
            .rules
            .iter()
            .find(|rule| rule.id.eq_ignore_ascii_case(id))
            .ok_or_else(|| format!("there is no case or rule {id:?}"))?;
        say(&format!(
            "Rule {} [{}, {}]: {}\nChecked on every answer.",
            rule.id,
            rule.level.word(),
            rule.sources(),
            rule.text
        ));
    }
    for case in cases {
        let result = results.iter().find(|result| result.id == case.id);
        say(&report::explain(catalog, case, result));
    }
    Ok(ExitCode::SUCCESS)
}
