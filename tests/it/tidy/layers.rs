//! The direction of dependencies between the modules of `src`, and what the core modules may not touch.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{PathUse, SourceFile, paths};

/// What each module may use of ours. A row names only rows above it, so the graph cannot have a cycle.
/// Adding an edge is a design change: say why in the commit, and change the table in ARCHITECTURE.md with it.
pub(super) const LAYERS: &[(&str, &[&str])] = &[
    ("xml", &[]),
    ("job", &[]),
    ("auth", &[]),
    ("blocks", &[]),
    ("store", &[]),
    ("soap", &["xml"]),
    ("wsman", &["soap", "xml"]),
    ("cim", &["xml"]),
    ("wscim", &["cim", "wsman", "soap", "xml"]),
    ("client", &["wscim", "wsman", "soap", "xml", "cim"]),
    ("replication", &["job"]),
    ("backend", &["replication", "job", "blocks"]),
    ("service", &["replication", "job", "store", "backend", "blocks"]),
    ("provider", &["replication", "job", "cim", "auth"]),
    ("endpoint", &["provider", "replication", "job", "wscim", "wsman", "soap", "xml", "cim", "auth"]),
    ("transport", &["endpoint", "auth"]),
    ("config", ANYTHING),
    ("server", ANYTHING),
    ("cli", ANYTHING),
    ("main", ANYTHING),
];

/// The composition may use every row above it.
pub(super) const ANYTHING: &[&str] = &["*"];

/// Modules that are functions of their arguments: no runtime, no clock, no files, no randomness.
pub(super) const CORE: &[&str] =
    &["xml", "soap", "wsman", "cim", "wscim", "job", "replication", "provider", "endpoint"];

/// Paths that no core module may name outside its own tests.
const BANNED_IN_CORE: &[&str] = &[
    "tokio",
    "tokio_rustls",
    "hyper",
    "hyper_util",
    "socket2",
    "rustix",
    "redb",
    "rand",
    "getrandom",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::time::Instant",
    "Uuid::new_v4",
    "Uuid::now_v7",
    "uuid::Uuid::new_v4",
    "uuid::Uuid::now_v7",
];

/// What `module` may use; `None` when the table has no such row.
pub(super) fn allowed(module: &str) -> Option<Vec<&'static str>> {
    let position = LAYERS.iter().position(|(name, _)| *name == module)?;
    let (_, row) = LAYERS.get(position)?;
    if *row == ANYTHING {
        return Some(LAYERS.iter().take(position).map(|(name, _)| *name).collect());
    }
    Some(row.to_vec())
}

/// Rows that name a row at or below themselves.
pub(super) fn table_errors(table: &[(&str, &[&str])]) -> Vec<String> {
    let mut above: BTreeSet<&str> = BTreeSet::new();
    let mut errors = Vec::new();
    for (name, row) in table {
        for used in row.iter().filter(|used| **used != "*" && !above.contains(**used)) {
            errors.push(format!("row {name} names {used}, which does not stand above it"));
        }
        if !above.insert(name) {
            errors.push(format!("row {name} stands there twice"));
        }
    }
    errors
}

/// Every use of one module by another that the table does not allow.
pub(super) fn layer_errors(files: &[SourceFile]) -> Vec<String> {
    let macros = macros(files);
    let mut errors = Vec::new();
    for file in files.iter().filter(|file| file.layer() != "lib") {
        let layer = file.layer();
        let Some(allowed) = allowed(layer) else {
            errors.push(format!("{layer} has no row in the layer table: {}", file.path));
            continue;
        };
        let mut uses: Vec<(&str, usize)> = Vec::new();
        for (name, line) in macro_calls(file) {
            if let Some(homes) = macros.get(name)
                && !homes.contains(layer)
            {
                uses.extend(homes.iter().map(|home| (*home, line)));
            }
        }
        let found = paths(file);
        for path in &found {
            match target(file, path) {
                Target::Module(name) => match macros.get(name) {
                    Some(homes) if homes.contains(layer) => {}
                    Some(homes) => uses.extend(homes.iter().map(|home| (*home, path.line))),
                    None => uses.push((name, path.line)),
                },
                Target::Root => errors.push(format!(
                    "{layer} takes the crate's root as a whole, which hides what it uses, at {}:{}",
                    file.path, path.line
                )),
                Target::Foreign => {}
            }
        }
        uses.sort_by_key(|(_, line)| *line);
        uses.dedup();
        for (target, line) in uses.into_iter().filter(|(target, _)| *target != layer && !allowed.contains(target)) {
            errors.push(format!("{layer} may not use crate::{target} at {}:{line}", file.path));
        }
    }
    errors
}

enum Target<'p> {
    /// The first segment below the crate's root.
    Module(&'p str),
    /// A glob over the root, or another name for it.
    Root,
    /// Not a path of ours, or one that stays in its module.
    Foreign,
}

fn target<'p>(file: &SourceFile, path: &'p PathUse) -> Target<'p> {
    let first = path.segments.first().map_or("", String::as_str);
    let supers = path.segments.iter().take_while(|segment| *segment == "super").count();
    let (base, rest) = match first {
        "crate" => (0, 1),
        "failbackd" if file.layer() == "main" => (0, 1),
        "super" => (path.module.len().saturating_sub(supers), supers),
        "self" => (path.module.len(), 1),
        _ => return Target::Foreign,
    };
    let full: Vec<&'p String> = path.module.iter().take(base).chain(path.segments.iter().skip(rest)).collect();
    match full.first().map(|segment| segment.as_str()) {
        Some("*" | "self") => Target::Root,
        Some(name) => Target::Module(name),
        None if path.in_use => Target::Root,
        None => Target::Foreign,
    }
}

/// Which modules define a macro of that name.
fn macros(files: &[SourceFile]) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in files {
        for window in file.tokens.windows(3) {
            if let [keyword, mark, name] = window
                && keyword.text == "macro_rules"
                && mark.text == "!"
            {
                found.entry(&name.text).or_default().insert(file.layer());
            }
        }
    }
    found
}

fn macro_calls(file: &SourceFile) -> impl Iterator<Item = (&str, usize)> {
    file.tokens.windows(2).filter_map(|window| match window {
        [name, mark] if name.is_ident && mark.text == "!" => Some((name.text.as_str(), name.line)),
        _ => None,
    })
}

/// Every mention of the outside world in a core module.
pub(super) fn core_errors(files: &[SourceFile]) -> Vec<String> {
    let mut errors = Vec::new();
    for file in files.iter().filter(|file| CORE.contains(&file.layer())) {
        for path in paths(file).iter().filter(|path| !path.in_test && (path.segments.len() > 1 || path.in_use)) {
            for banned in BANNED_IN_CORE {
                if names(&path.segments, banned) {
                    errors.push(format!("{} may not touch {banned} at {}:{}", file.layer(), file.path, path.line));
                }
            }
        }
    }
    errors
}

fn names(segments: &[String], banned: &str) -> bool {
    let mut wanted = banned.split("::");
    let mut have = segments.iter();
    wanted.all(|want| have.next().is_some_and(|segment| segment == want || segment == "*"))
}
