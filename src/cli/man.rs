//! `man`: the man pages, made from the same definitions as the help.

use super::{Cli, Failure, Outcome};
use clap::{Args, CommandFactory};
use std::path::PathBuf;

/// What `man` takes.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The directory to write failbackd.1, failbackd-serve.1 and so on into; made if missing
    directory: PathBuf,
}

/// Writes the pages.
pub fn run(arguments: &Arguments) -> Outcome {
    let directory = &arguments.directory;
    std::fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory))
        .map_err(|error| Failure::Failed(format!("{}: {error}", directory.display())))?;
    super::print::line(&format!("wrote the man pages into {}", directory.display()));
    Ok(())
}
