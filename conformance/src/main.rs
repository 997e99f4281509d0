//! `wsman-conform`: a black-box conformance suite for any WS-Management endpoint. Cases are data (`cases/*.toml`),
//! rules too (`rules/*.toml`, in our own words). The crate shares no code with any server, so that it cannot share
//! a server's mistakes.

mod auth;
mod baseline;
mod catalog;
mod check;
mod cli;
mod client;
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
mod quirks;
mod raw;
mod record;
mod report;
mod representation;
mod run;
mod serve;
mod session;
mod show;
mod sink;
mod sink_command;
mod target_file;
mod template;
mod text;
mod tls;
mod verdict;
mod watch;
mod work;
mod xml;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::work::Stop;

/// Prints a line. A reader that has gone away (`| head`) is no error.
fn say(line: &str) {
    _ = writeln!(std::io::stdout(), "{line}");
}

fn main() -> ExitCode {
    let (told, code) = match work::work(&cli::Arguments::parse()) {
        Ok(code) => return code,
        Err(Stop::Usage(told)) => (told, 2),
        Err(Stop::Unreachable(told)) => (told, 3),
    };
    _ = writeln!(std::io::stderr(), "wsman-conform: {told}");
    ExitCode::from(code)
}
