//! The files that a run leaves behind, as the command line asks for them.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::record::Record;
use crate::report;

/// Where the results go, besides the terminal.
#[derive(Debug, Args)]
pub(crate) struct Outputs {
    /// Write the results as JSON, for `matrix` and --baseline
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the results as a page to read, DIR/index.html
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
    /// Leave what went over the wire out of these files
    #[arg(long)]
    no_wire: bool,
}

impl Outputs {
    /// Writes what was asked for. The error names the file.
    pub(crate) fn write(&self, record: Record) -> Result<(), String> {
        let record = if self.no_wire { record.without_wire() } else { record };
        if let Some(path) = &self.json {
            write(path, &record.json()?)?;
        }
        if let Some(path) = &self.junit {
            write(path, &report::junit(&record))?;
        }
        if let Some(folder) = &self.html {
            write_folder(folder, &[("index.html".to_owned(), report::page(&record, None))])?;
        }
        Ok(())
    }
}

/// Writes files into a folder that is made if need be.
pub(crate) fn write_folder(folder: &Path, files: &[(String, String)]) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    files.iter().try_for_each(|(name, text)| write(&folder.join(name), text))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
