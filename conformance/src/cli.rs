//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::auth::Scheme;
use crate::model::{Level, Profile};
use crate::output::Outputs;
use crate::report::matrix;
use crate::{quirks, sink_command};

/// Checks a WS-Management endpoint against the rules of the standards and of the clients in use.
///
/// Read-only unless --allow-writes, --allow-methods or --allow-load is given.
/// Exit codes: 0 all held, 1 a rule failed (or, with --baseline, something got worse), 2 the command line or a file is
/// wrong, 3 the target cannot be reached or refuses the credentials.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(version, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    /// What to do instead of testing an endpoint.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The endpoint, e.g. http://127.0.0.1:5985/wsman, or a file that describes it (see README.md)
    #[arg(long, value_name = "FILE|URL")]
    pub target: Option<String>,
    #[command(flatten)]
    pub access: Access,
    /// Only these groups, rules or cases (ADR, ENU-14, ENU-14.a), separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ID")]
    pub only: Vec<String>,
    /// The weakest level to run
    #[arg(long, value_enum, default_value = "may")]
    pub level: LevelArgument,
    /// Whose reading of the standard is binding where they differ (ms when the target's file does not say)
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// Only the scenarios of the 2006 interoperability event
    #[arg(long)]
    pub plugfest: bool,
    /// Run the cases that call real methods too (InitiateFailback on a machine that is ready for it)
    #[arg(long)]
    pub allow_methods: bool,
    /// Run the cases that write and undo it
    #[arg(long)]
    pub allow_writes: bool,
    /// Run the cases that load the target
    #[arg(long)]
    pub allow_load: bool,
    /// Where the built-in event sink listens; needed when the target is not on this machine
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub sink_address: Option<SocketAddr>,
    /// The name by which the target reaches the sink, when it is not that address
    #[arg(long, value_name = "HOST", requires = "sink_address")]
    pub sink_host: Option<String>,
    /// List the rules and how many cases cover each
    #[arg(long)]
    pub list_rules: bool,
    /// List the cases, what they need and their marks
    #[arg(long)]
    pub list_cases: bool,
    /// Explain one case or rule; with --target also run it and show the exchange
    #[arg(long, value_name = "ID")]
    pub explain: Option<String>,
    /// Probe the target and say which cases would run
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub outputs: Outputs,
    /// Fail only when a case is worse than in this file: what --json or --write-baseline wrote
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Write every case that did not pass, as a baseline to be given reasons
    #[arg(long, value_name = "FILE")]
    pub write_baseline: Option<PathBuf>,
    /// Let SHOULD rules fail the run too
    #[arg(long)]
    pub strict: bool,
    /// The seed of the run's identifiers, to repeat a run
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = "30")]
    pub timeout: u64,
    /// Print only what did not pass
    #[arg(long, short)]
    pub quiet: bool,
}

/// How to get in.
#[derive(Debug, clap::Args)]
pub(crate) struct Access {
    /// How to authenticate [default: basic with a user, else none]
    #[arg(long, value_enum)]
    pub auth: Option<Scheme>,
    /// The user: NAME, DOMAIN\NAME or NAME@REALM
    #[arg(long, env = "WSMAN_USER", value_name = "NAME")]
    pub user: Option<String>,
    /// The password
    #[arg(long, env = "WSMAN_PASSWORD", hide_env_values = true, value_name = "SECRET")]
    pub password: Option<String>,
    /// Read the credentials from this file: lines user=… and password=…
    #[arg(long, value_name = "FILE")]
    pub credential_file: Option<PathBuf>,
    /// Run this program (by a shell) and read such lines from it
    #[arg(long, value_name = "COMMAND", conflicts_with = "credential_file")]
    pub credential_command: Option<String>,
    /// The client's certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate, PEM
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Accept any certificate of an https target
    #[arg(long)]
    pub insecure: bool,
    /// Trust the certificates of this PEM file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// What else the program does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows many runs side by side: a row for each rule, a column for each target
    Matrix(matrix::Arguments),
    /// An event sink that takes, refuses, stalls or acknowledges as told, for makers of event sources
    Sink(sink_command::Arguments),
    /// A server that answers as known peers do, mistakes included, for makers of clients
    Quirks(quirks::Arguments),
}

/// The levels as the command line spells them.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LevelArgument {
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_fits_together() {
        Arguments::command().debug_assert();
    }
}
