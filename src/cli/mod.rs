//! The command line: one file a subcommand. What it defines also makes the shell completions and the man pages.

pub(crate) mod arguments;
pub mod auth;
pub mod check_config;
pub mod client;
pub mod completions;
pub mod demo;
pub(crate) mod follow;
pub mod job;
pub mod logging;
pub mod man;
pub(crate) mod place;
pub(crate) mod print;
pub mod serve;
pub(crate) mod source;
pub mod user;
pub mod vm;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// How a command ended when it did not succeed. clap itself answers a wrong command line with 2.
#[derive(Debug)]
pub enum Failure {
    /// 1: it did not work; the text says what happened and what to do.
    Failed(String),
    /// 2: the values given cannot be meant.
    Usage(String),
    /// 3: the server refused: a SOAP fault, or a ReturnValue that is neither 0 nor 4096.
    Refused(String),
    /// 4: the job that was followed did not complete.
    Job(String),
}

impl Failure {
    fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 3,
            Self::Job(_) => 4,
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Failed(text) | Self::Usage(text) | Self::Refused(text) | Self::Job(text) => text,
        }
    }

    /// A failure from any error that explains itself.
    pub(crate) fn from_error(error: &dyn std::fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<crate::client::ClientError> for Failure {
    fn from(error: crate::client::ClientError) -> Self {
        use crate::client::ClientError;
        match error {
            ClientError::Fault(_) => Self::Refused(error.to_string()),
            ClientError::Target(_) | ClientError::Trust(_) => Self::Usage(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a subcommand gives.
pub type Outcome = Result<(), Failure>;

const EXIT_CODES: &str = "\
Exit codes:
  0  it worked
  1  it did not work
  2  the command line or a value on it is wrong
  3  the server refused (a SOAP fault, or a ReturnValue other than 0 and 4096)
  4  the job that was followed did not complete";

/// A WS-Management/CIM server that looks like a Hyper-V Replica host and runs failback on a pluggable replication
/// backend.
///
/// `failbackd demo` shows a whole failback with real disk images; `failbackd serve` serves a data directory.
#[derive(Debug, Parser)]
#[command(name = "failbackd", version, propagate_version = true)]
#[command(after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a data directory
    Serve(serve::Arguments),
    /// Show a whole failback with real disk images, then serve on
    Demo(demo::Arguments),
    /// Say who may log in
    #[command(subcommand_required = true, arg_required_else_help = true)]
    User(user::UserArgs),
    /// Explain how clients log in
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Auth(auth::AuthArgs),
    /// Import, list and show virtual machines
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Vm(vm::Arguments),
    /// List, show and cancel jobs
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Job(job::Arguments),
    /// Talk to any WS-Management server
    #[command(subcommand_required = true, arg_required_else_help = true)]
    Client(Box<client::Arguments>),
    /// Print the configuration in force, or what is wrong with it
    CheckConfig(CheckConfig),
    /// Print the completions of a shell
    Completions(completions::Arguments),
    /// Write the man pages into a directory
    Man(man::Arguments),
}

/// What `check-config` takes: what `serve` does.
#[derive(Debug, clap::Args)]
struct CheckConfig {
    #[command(flatten)]
    flags: crate::config::ServeFlags,
}

/// Parses the command line, runs the subcommand and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::User(arguments) => user::user(&arguments, &environment(), &mut std::io::stdin().lock())
            .map(|text| print::line(text.trim_end()))
            .map_err(|error| Failure::from_error(&error)),
        Command::Auth(arguments) => auth::auth(&arguments, &environment()).map(|text| print::line(text.trim_end())),
        Command::Vm(arguments) => vm::run(arguments),
        Command::Job(arguments) => job::run(arguments),
        Command::Client(arguments) => client::run(*arguments),
        Command::CheckConfig(arguments) => {
            check_config::check_config(&arguments.flags, &environment()).map(|text| print::line(text.trim_end()))
        }
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print::note(&format!("failbackd: {}", failure.text()));
            ExitCode::from(failure.code())
        }
    }
}

/// A runtime for a command that only waits for one server.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no runtime: {error}")))?;
    runtime.block_on(future)
}

/// The process's environment, as far as it is text.
pub(crate) fn environment() -> std::collections::BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A random number from the operating system, for seeds and names.
pub(crate) fn random() -> Result<u64, Failure> {
    let mut octets = [0; 8];
    getrandom::fill(&mut octets).map_err(|error| Failure::Failed(format!("no random octets: {error}")))?;
    Ok(u64::from_le_bytes(octets))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together_and_every_argument_is_explained() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        let mut waiting = vec![command];
        while let Some(command) = waiting.pop() {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {} has no help", command.get_name(), argument.get_id());
            }
            waiting.extend(command.get_subcommands().cloned());
        }
    }
}
