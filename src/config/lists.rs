//! Lists of tables, such as `[[access]]`: which ones there are, and what their entries may hold.

use toml::Value;

use super::access::AccessRule;
use crate::auth::CertificateRule;

/// One list of tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// Where it stands: tables, then its name.
    pub(super) path: &'static [&'static str],
    /// Every key of an entry.
    pub(super) keys: &'static [&'static str],
}

/// Every list of tables.
const LISTS: &[List] = &[
    List { path: &["access"], keys: AccessRule::KEYS },
    List { path: &["client_certificates", "rules"], keys: CertificateRule::KEYS },
];

/// The list that stands at `path`.
pub(super) fn at(path: &[String]) -> Option<List> {
    LISTS.iter().find(|list| list.path == path).copied()
}

/// The list whose name was used for a table: `[access]` where `[[access]]` is meant.
pub(super) fn above(path: &[String]) -> Option<List> {
    LISTS.iter().find(|list| list.path.len() < path.len() && list.path.iter().zip(path).all(|(a, b)| a == b)).copied()
}

/// Whether a value is a list of tables with something in it, which is written as a section an entry.
pub(super) fn has_sections(value: &Value) -> bool {
    value.as_array().is_some_and(|entries| !entries.is_empty() && entries.iter().all(Value::is_table))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize as _;
    use toml::Table;

    use super::super::Config;
    use super::super::key::nested;
    use super::*;

    #[test]
    fn the_keys_of_every_list_are_those_of_its_entries() {
        for list in LISTS {
            let path: Vec<String> = list.path.iter().map(|part| (*part).to_owned()).collect();
            let told = |key: &str| {
                let entry = Table::from_iter([(key.to_owned(), Value::Boolean(true))]);
                let config = nested(&path, Value::Array(vec![Value::Table(entry)]));
                Config::deserialize(Value::Table(config)).unwrap_err().message().to_owned()
            };
            let unknown = told("no such key");
            for key in list.keys {
                assert!(unknown.contains(&format!("`{key}`")), "{unknown}");
                assert!(!told(key).contains("unknown field"), "{key}");
            }
            let expected = unknown.split_once("expected").unwrap().1;
            assert_eq!(expected.matches('`').count(), 2 * list.keys.len(), "{unknown}");
        }
    }
}
