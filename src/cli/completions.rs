//! `completions`: a script for a shell, made from the same definitions as the help.

use super::{Cli, Outcome};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell; install its script where that shell looks for completions
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
pub fn run(arguments: &Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "failbackd", &mut script);
    super::print::line(String::from_utf8_lossy(&script).trim_end());
    Ok(())
}
