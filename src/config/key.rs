//! The path of a value, and tables as values with their paths.

use std::fmt;

use toml::{Table, Value};

/// What every variable of ours begins with.
pub(super) const PREFIX: &str = "FAILBACKD_";

/// The path of a value: tables, then the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) Vec<String>);

impl Key {
    pub(super) fn of(dotted: &str) -> Self {
        Self(dotted.split('.').map(str::to_owned).collect())
    }

    pub(super) fn variable(&self) -> String {
        format!("{PREFIX}{}", self.0.join("_").to_uppercase())
    }

    /// The entry of a list of tables.
    pub(super) fn entry(&self, index: usize) -> Self {
        self.below(&index.to_string())
    }

    /// A key of what is here.
    pub(super) fn below(&self, name: &str) -> Self {
        Self(self.0.iter().cloned().chain([name.to_owned()]).collect())
    }

    pub(super) fn name(&self) -> String {
        self.0.last().map(|name| quoted(name)).unwrap_or_default()
    }

    pub(super) fn table(&self) -> String {
        let tables = self.0.len().saturating_sub(1);
        self.0.iter().take(tables).map(|name| quoted(name)).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0.iter().map(|name| quoted(name)).collect::<Vec<_>>().join("."))
    }
}

pub(super) fn quoted(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { Value::String(name.to_owned()).to_string() }
}

/// Every value of a table and its tables.
pub(super) fn leaves(table: &Table) -> Vec<(Key, Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => found.extend(leaves(inner).into_iter().map(|(mut key, value)| {
                key.0.insert(0, name.clone());
                (key, value)
            })),
            value => found.push((Key(vec![name.clone()]), value.clone())),
        }
    }
    found
}

/// A table of tables with one value at the end of `path`.
pub(super) fn nested(path: &[String], value: Value) -> Table {
    let mut table = Table::new();
    match path {
        [] => {}
        [name] => {
            table.insert(name.clone(), value);
        }
        [name, rest @ ..] => {
            table.insert(name.clone(), Value::Table(nested(rest, value)));
        }
    }
    table
}

pub(super) fn merge(into: &mut Table, from: Table) {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (Some(Value::Table(into)), Value::Table(from)) => merge(into, from),
            (_, value) => {
                into.insert(name, value);
            }
        }
    }
}
