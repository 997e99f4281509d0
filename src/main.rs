//! The command `failbackd`; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    failbackd::cli::main()
}
