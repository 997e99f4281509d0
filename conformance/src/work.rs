//! A run from the command line to its exit code.

use std::hash::{BuildHasher, RandomState};
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::auth::{self, Credentials, Scheme};
use crate::baseline::{self, Baseline};
use crate::catalog::Catalog;
use crate::cli::{Access, Arguments, Command};
use crate::client::{Client, Tls};
use crate::http::Target;
use crate::model::Case;
use crate::record::Record;
use crate::report::{self, Run, matrix};
use crate::run::{self, Permissions, Selection};
use crate::session::Session;
use crate::sink::Sink;
use crate::target_file::TargetFile;
use crate::verdict::{CaseResult, Verdict};
use crate::{fixture, quirks, say, show, sink_command, tls};

/// Why there is no run.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The command line or a file is wrong.
    Usage(String),
    /// The target does not answer, or not to these credentials.
    Unreachable(String),
}

impl From<String> for Stop {
    fn from(told: String) -> Self {
        Self::Usage(told)
    }
}

/// Does what the command line says.
pub(crate) fn work(arguments: &Arguments) -> Result<ExitCode, Stop> {
    match &arguments.command {
        Some(Command::Matrix(runs)) => {
            say(matrix::work(runs)?.trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Sink(arguments)) => {
            sink_command::work(arguments)?;
            return Ok(ExitCode::SUCCESS);
        }
        Some(Command::Quirks(arguments)) => {
            quirks::work(arguments)?;
            return Ok(ExitCode::SUCCESS);
        }
        None => {}
    }
    let catalog = Catalog::load()?;
    let file = target_file(arguments)?;
    let profile = arguments.profile.or(file.as_ref().and_then(|file| file.target.profile)).unwrap_or_default();
    let only = arguments.explain.iter().chain(&arguments.only).cloned().collect();
    let selection = Selection { only, level: arguments.level.into(), profile, plugfest: arguments.plugfest };
    if arguments.list_rules {
        show::list_rules(&catalog, profile);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.list_cases {
        show::list_cases(&catalog, &selection);
        return Ok(ExitCode::SUCCESS);
    }
    match (&file, &arguments.explain) {
        (Some(file), _) => test(arguments, &catalog, &selection, file),
        (None, Some(id)) => {
            show::explain(&catalog, id, &[])?;
            Ok(ExitCode::SUCCESS)
        }
        (None, None) => Err(Stop::Usage("--target FILE|URL is missing; --help tells the rest".to_owned())),
    }
}

/// What `--target` names: a file as it is, a URL as a file that says no more.
fn target_file(arguments: &Arguments) -> Result<Option<TargetFile>, Stop> {
    let Some(text) = &arguments.target else { return Ok(None) };
    if !text.contains("://") {
        return Ok(Some(TargetFile::read(Path::new(text))?));
    }
    let mut file = TargetFile::default();
    file.target.url.clone_from(text);
    Ok(Some(file))
}

fn test(arguments: &Arguments, catalog: &Catalog, selection: &Selection, file: &TargetFile) -> Result<ExitCode, Stop> {
    let (began, clock) = now();
    let expected = arguments.baseline.as_deref().map(Baseline::read).transpose()?;
    let target = Target::parse(&file.target.url)?;
    let seed = arguments.seed.unwrap_or_else(|| RandomState::new().hash_one(target.url()));
    let credentials = credentials(&arguments.access, file)?;
    if credentials.scheme == Scheme::Certificate && !target.is_tls {
        return Err(Stop::Usage("a certificate is shown over https only".to_owned()));
    }
    let tls = if target.is_tls { Some(tls(&arguments.access, file)?) } else { None };
    let client = Client::new(target.clone(), tls, Duration::from_secs(arguments.timeout), credentials.clone());
    let sink = sink(arguments, &target)?;
    let permissions = permissions(arguments, &target, &credentials, sink.is_some());
    let mut session = Session::new(target.clone(), client, seed, sink);
    session.profile = selection.profile;
    let known = file.fixtures()?;
    let fixtures = fixture::probe(&mut session, known, &file.fixture.many_uri).map_err(Stop::Unreachable)?;
    if permissions.contains("reader") {
        fixture::probe_reader(&mut session, &fixtures).map_err(Stop::Unreachable)?;
    }
    if arguments.dry_run {
        show::dry_run(catalog, selection, &fixtures, &permissions);
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.explain.is_none() && !arguments.quiet {
        let name = Some(file.target.name.as_str()).filter(|name| !name.is_empty());
        let name = name.map(|name| format!("{name}, ")).unwrap_or_default();
        say(&format!("Target {name}{} as {} (seed {seed})", target.url(), selection.profile.word()));
        fixtures.notes.iter().for_each(|note| say(&format!("  {note}")));
    }
    let results = all_results(arguments, catalog, selection, &mut session, &fixtures, &permissions);
    if let Some(id) = &arguments.explain {
        show::explain(catalog, id, &results)?;
    }
    let allowed = permissions.into_iter().collect();
    let (url, elapsed, profile) = (target.url(), clock.elapsed(), selection.profile);
    let run = Run { url, seed, profile, allowed, began, elapsed, fixtures, results };
    finish(arguments, catalog, &run, &credentials.secrets(), expected.as_ref())
}

fn all_results(
    arguments: &Arguments,
    catalog: &Catalog,
    selection: &Selection,
    session: &mut Session,
    fixtures: &fixture::Fixtures,
    permissions: &Permissions,
) -> Vec<CaseResult> {
    let cases: Vec<&Case> = catalog.cases.iter().filter(|case| selection.takes_case(case)).collect();
    let bar = progress(arguments, cases.len());
    let tell = |result: &CaseResult| {
        let is_shown = arguments.explain.is_none() && !(arguments.quiet && result.verdict == Verdict::Pass);
        if is_shown {
            bar.suspend(|| say(&report::line(result)));
        }
        bar.inc(1);
        bar.set_message(result.id.clone());
    };
    let mut results = run::run_all(&cases, session, fixtures, permissions, &mut |result| tell(result));
    let standing = session.watch.results().into_iter().filter(|_| !arguments.plugfest);
    for result in standing.filter(|result| selection.takes(&result.id, &result.rules, result.level)) {
        tell(&result);
        results.push(result);
    }
    bar.finish_and_clear();
    results
}

/// A bar on a terminal; elsewhere one that nobody sees.
fn progress(arguments: &Arguments, cases: usize) -> ProgressBar {
    let is_seen = std::io::stderr().is_terminal() && arguments.explain.is_none();
    let place = if is_seen { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(u64::try_from(cases).ok(), place);
    match ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The moment of a run's beginning, for its date and for its length.
#[expect(clippy::disallowed_methods, reason = "a report has a date; nothing else of a run depends on it")]
fn now() -> (SystemTime, Instant) {
    (SystemTime::now(), Instant::now())
}

/// The credentials: the command line before the environment before the target's file.
fn credentials(access: &Access, file: &TargetFile) -> Result<Credentials, String> {
    let auth = &file.auth;
    let path = access.credential_file.as_ref().or(auth.file.as_ref());
    let command = access.credential_command.as_ref().or(auth.command.as_ref());
    let (told_user, told_password) = match (path, command) {
        (Some(path), _) => auth::read_file(path)?,
        (None, Some(command)) => auth::run_helper(command)?,
        (None, None) => (None, None),
    };
    let variable = auth.password_env.as_ref().and_then(|name| std::env::var(name).ok());
    let user = told_user.or_else(|| access.user.clone()).or_else(|| auth.user.clone()).unwrap_or_default();
    let password = told_password.or_else(|| access.password.clone()).or(variable).unwrap_or_default();
    let guess = if user.is_empty() { Scheme::None } else { Scheme::Basic };
    let scheme = access.auth.or(auth.scheme).unwrap_or(guess);
    if matches!(scheme, Scheme::Basic | Scheme::Ntlm) && user.is_empty() {
        return Err("this way to authenticate needs a user (WSMAN_USER, --user or --credential-command)".to_owned());
    }
    let reader = std::env::var("WSMAN_READER_USER").ok().filter(|name| !name.is_empty());
    let reader = reader.map(|name| (name, std::env::var("WSMAN_READER_PASSWORD").unwrap_or_default()));
    Ok(Credentials { scheme, user, password, reader })
}

fn tls(access: &Access, file: &TargetFile) -> Result<Tls, String> {
    let authority = access.ca.as_ref().or(file.target.ca.as_ref());
    let chain = access.certificate.as_ref().or(file.auth.certificate.as_ref());
    let key = access.key.as_ref().or(file.auth.key.as_ref());
    let identity = chain.zip(key).map(|(chain, key)| (chain.as_path(), key.as_path()));
    tls::configuration(authority.map(PathBuf::as_path), access.insecure || file.target.insecure, identity)
}

/// The built-in sink: on loopback when the target is there too, else where the user says.
fn sink(arguments: &Arguments, target: &Target) -> Result<Option<Sink>, String> {
    let is_local = matches!(target.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let address = match &arguments.sink_address {
        Some(address) => *address,
        None if is_local => SocketAddr::from(([127, 0, 0, 1], 0)),
        None => return Ok(None),
    };
    let sink = Sink::start(address, arguments.sink_host.as_deref());
    sink.map(Some).map_err(|error| format!("the sink at {address}: {error}"))
}

fn permissions(arguments: &Arguments, target: &Target, who: &Credentials, has_sink: bool) -> Permissions {
    let (scheme, has_reader) = (who.scheme, who.reader.is_some());
    let given = [
        ("methods", arguments.allow_methods),
        ("writes", arguments.allow_writes),
        ("load", arguments.allow_load),
        ("sink", has_sink),
        ("credentials", scheme != Scheme::None),
        ("basic", scheme == Scheme::Basic),
        ("password", matches!(scheme, Scheme::Basic | Scheme::Ntlm)),
        ("reader", has_reader && matches!(scheme, Scheme::Basic | Scheme::Ntlm)),
        ("sealed", matches!(scheme, Scheme::Ntlm | Scheme::Kerberos) && !target.is_tls),
        ("http", !target.is_tls),
        ("https", target.is_tls),
    ];
    given.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name.to_owned()).collect()
}

fn finish(
    arguments: &Arguments,
    catalog: &Catalog,
    run: &Run,
    secrets: &[String],
    expected: Option<&Baseline>,
) -> Result<ExitCode, Stop> {
    arguments.outputs.write(Record::of(run, catalog, secrets))?;
    if let Some(path) = &arguments.write_baseline {
        let text = baseline::write(&run.url, &run.results);
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    say(&run.summary());
    let Some(expected) = expected else {
        return Ok(if run.is_failed(arguments.strict) { ExitCode::FAILURE } else { ExitCode::SUCCESS });
    };
    let comparison = expected.compare(&run.results);
    comparison.better.iter().for_each(|line| say(&format!("better than the baseline: {line}")));
    comparison.worse.iter().for_each(|line| say(&format!("worse than the baseline: {line}")));
    Ok(if comparison.worse.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
