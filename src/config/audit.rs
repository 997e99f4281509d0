//! `[audit]`: who did what, in a file of its own.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::OFF;

/// The file's name in the data directory.
const FILE_NAME: &str = "audit.jsonl";

/// The audit log: one JSON object a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditConfig {
    /// The file; empty means `audit.jsonl` in the data directory, `off` none.
    pub file: String,
    /// Record also what only reads and succeeds, or fails for another reason than want of permission.
    pub reads: bool,
    /// Change nothing that cannot be recorded: each change is announced in the file before it is carried out.
    pub required: bool,
}

impl AuditConfig {
    /// The file's path, unless it is off.
    pub fn path(&self, data_dir: &Path) -> Option<PathBuf> {
        match self.file.as_str() {
            OFF => None,
            "" => Some(data_dir.join(FILE_NAME)),
            file => Some(PathBuf::from(file)),
        }
    }
}
