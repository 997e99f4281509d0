//! Where in a file things stand.

use std::collections::BTreeMap;

use toml::de::{DeArray, DeTable};

/// Where in the document things stand.
#[derive(Default)]
pub(super) struct Places {
    /// The line of every key.
    pub(super) lines: BTreeMap<Vec<String>, usize>,
    /// The line of every entry of a list of tables, under its index, and of the keys in it.
    pub(super) entries: BTreeMap<Vec<String>, usize>,
    /// Tables without anything in them.
    pub(super) empty_tables: Vec<(usize, Vec<String>)>,
}

impl Places {
    pub(super) fn note(&mut self, table: &DeTable<'_>, text: &str, path: &mut Vec<String>) {
        for (name, value) in table {
            path.push(name.get_ref().to_string());
            let line = line_at(text, name.span().start);
            self.lines.insert(path.clone(), line);
            if let Some(inner) = value.get_ref().as_table() {
                if inner.is_empty() {
                    self.empty_tables.push((line, path.clone()));
                }
                self.note(inner, text, path);
            } else if let Some(entries) = value.get_ref().as_array() {
                self.note_entries(entries, text, path);
            }
            path.pop();
        }
    }

    fn note_entries(&mut self, entries: &DeArray<'_>, text: &str, path: &mut Vec<String>) {
        for (index, entry) in entries.iter().enumerate() {
            let Some(table) = entry.get_ref().as_table() else { continue };
            path.push(index.to_string());
            self.entries.insert(path.clone(), line_at(text, entry.span().start));
            for name in table.keys() {
                path.push(name.get_ref().to_string());
                self.entries.insert(path.clone(), line_at(text, name.span().start));
                path.pop();
            }
            path.pop();
        }
    }
}

fn line_at(text: &str, octet: usize) -> usize {
    1 + text.as_bytes().iter().take(octet).filter(|octet| **octet == b'\n').count()
}
