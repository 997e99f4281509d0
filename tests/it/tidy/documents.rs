//! What the documents of the project promise, compared with what is there.

use std::collections::BTreeSet;
use std::path::Path;

use super::layers::{ANYTHING, LAYERS};

/// The invariants of the design by name; ARCHITECTURE.md tells each one and names the files that hold it.
pub(super) const INVARIANTS: &[&str] = &[
    "Durable before answered",
    "One pure function per machine",
    "Parse, then check, then act",
    "A limit on everything",
    "Open numbers",
    "Closed and open sets",
    "Bounded enumeration contexts",
    "No identity without proof, no sight beyond it",
    "Absences are written down",
];

/// The layer table as ARCHITECTURE.md shows it.
pub(super) fn layer_rows() -> Vec<String> {
    LAYERS.iter().map(|(name, row)| format!("| `{name}` | {} |", row_text(row))).collect()
}

fn row_text(row: &[&str]) -> String {
    match row {
        [] => "nothing of ours".to_owned(),
        _ if row == ANYTHING => "every row above".to_owned(),
        _ => row.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" "),
    }
}

/// The lines of the section under the heading `## title`.
pub(super) fn section<'t>(document: &'t str, title: &str) -> Vec<&'t str> {
    let heading = format!("## {title}");
    let lines = document.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| !line.starts_with("## ")).collect()
}

/// Layer rows that differ from [`LAYERS`], in either direction.
pub(super) fn layer_table_errors(document: &str) -> Vec<String> {
    let lines = section(document, "Layers");
    let shown: Vec<&str> = lines.into_iter().filter(|line| line.starts_with("| `")).collect();
    let wanted = layer_rows();
    if shown == wanted {
        return Vec::new();
    }
    vec![format!("the table under `## Layers` in ARCHITECTURE.md should read:\n{}", wanted.join("\n"))]
}

/// Module folders and files of `src` that the `## Modules` section does not list, and rows for what is gone.
pub(super) fn module_errors(document: &str, present: &BTreeSet<String>) -> Vec<String> {
    let lines = section(document, "Modules");
    let listed: BTreeSet<String> =
        lines.iter().filter_map(|line| line.strip_prefix("| `src/")?.split('`').next()).map(str::to_owned).collect();
    let missing = present.difference(&listed).map(|name| format!("ARCHITECTURE.md does not name src/{name}"));
    let gone = listed.difference(present).map(|name| format!("ARCHITECTURE.md names src/{name}, which is not there"));
    missing.chain(gone).collect()
}

/// Invariants that the document lacks, adds or orders differently, and holders that do not exist.
pub(super) fn invariant_errors(document: &str, root: &Path) -> Vec<String> {
    let lines = section(document, "Invariants");
    let mut errors = Vec::new();
    let mut names = Vec::new();
    for line in lines.iter().filter(|line| line.starts_with(|c: char| c.is_ascii_digit())) {
        let name = line.split("**").nth(1).unwrap_or_default().trim_end_matches('.');
        names.push(name);
        let held = line.split("Held by ").nth(1).unwrap_or_default();
        let holders: Vec<&str> = held.split('`').skip(1).step_by(2).collect();
        if holders.is_empty() {
            errors.push(format!("invariant {name:?} does not say what holds it"));
        }
        for holder in holders.into_iter().filter(|holder| !root.join(holder).exists()) {
            errors.push(format!("invariant {name:?} is held by {holder}, which is not there"));
        }
    }
    if names != INVARIANTS {
        errors.push(format!("ARCHITECTURE.md lists the invariants {names:?}, the list here is {INVARIANTS:?}"));
    }
    errors
}
