//! What the commands print. A reader that went away (`| head`) ends the output, not the program with a panic.

use crate::client::{Instance, Value};
use serde_json::{Map, json};
use std::fmt::Write as _;
use std::io::{IsTerminal, Write};

/// Prints one line on standard output.
pub(crate) fn line(text: &str) {
    let mut output = std::io::stdout().lock();
    let _ = writeln!(output, "{text}").and_then(|()| output.flush());
}

/// Prints one line on standard error.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// True when somebody watches, so that bars may move.
pub(crate) fn on_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Columns under a heading, as wide as their widest cell; the last one is not padded.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = heading.iter().map(|cell| cell.chars().count()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heading: Vec<String> = heading.iter().map(|cell| (*cell).to_owned()).collect();
    let mut text = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut printed = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(printed, "{cell:width$}  ");
        }
        text.push_str(printed.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Name and value under each other.
pub(crate) fn pairs(pairs: &[(String, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let lines: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{name:width$} : {}", indent(value, width)).trim_end().to_owned())
        .collect();
    lines.join("\n")
}

/// Further lines of a value start below its first.
fn indent(value: &str, width: usize) -> String {
    value.lines().collect::<Vec<_>>().join(&format!("\n{:1$}", "", width.saturating_add(3)))
}

/// One value on one line.
pub(crate) fn value_text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::Reference(reference) => reference_text(reference),
        Value::Instance(instance) => {
            let inner: Vec<String> =
                instance.properties.iter().map(|(name, value)| format!("{name}={}", value_text(value))).collect();
            format!("{}{{{}}}", instance.class, inner.join(", "))
        }
        Value::List(values) => values.iter().map(value_text).collect::<Vec<_>>().join(", "),
    }
}

/// A reference in the form that the command line takes: `epr:Class?key=value&key=value`.
pub(crate) fn reference_text(reference: &crate::soap::EndpointReference) -> String {
    let uri = reference.resource_uri.as_deref().unwrap_or_default();
    let class = uri.rsplit('/').next().unwrap_or(uri);
    let selectors: Vec<String> = reference
        .selectors
        .0
        .iter()
        .map(|selector| match &selector.value {
            crate::soap::SelectorValue::Text(text) => format!("{}={}", selector.name, super::arguments::escape(text)),
            crate::soap::SelectorValue::Reference(inner) => format!("{}={}", selector.name, reference_text(inner)),
        })
        .collect();
    format!("epr:{class}?{}", selectors.join("&"))
}

/// Label and value of what is told of an instance; what is empty is left out.
pub(crate) fn told(rows: &[(&str, String)]) -> String {
    let told = rows.iter().filter(|(_, value)| !value.is_empty());
    pairs(&told.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Vec<_>>())
}

/// An instance as name and value under each other; null properties last, in one line.
pub(crate) fn instance_text(instance: &Instance) -> String {
    let (null, set): (Vec<_>, Vec<_>) = instance.properties.iter().partition(|(_, value)| matches!(value, Value::Null));
    let mut rows: Vec<(String, String)> =
        set.into_iter().map(|(name, value)| (name.clone(), value_text(value))).collect();
    if !null.is_empty() {
        let names: Vec<&str> = null.into_iter().map(|(name, _)| name.as_str()).collect();
        rows.push(("(null)".to_owned(), names.join(" ")));
    }
    pairs(&rows)
}

/// An instance as JSON. The protocol's text stays text: a client without the schema does not guess at numbers.
pub(crate) fn instance_json(instance: &Instance) -> serde_json::Value {
    let mut object = Map::new();
    for (name, value) in &instance.properties {
        object.insert(name.clone(), value_json(value));
    }
    serde_json::Value::Object(object)
}

/// A value as JSON.
fn value_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Text(text) => json!(text),
        Value::Reference(reference) => reference_json(reference),
        Value::Instance(instance) => instance_json(instance),
        Value::List(values) => values.iter().map(value_json).collect(),
    }
}

/// A reference as JSON.
pub(crate) fn reference_json(reference: &crate::soap::EndpointReference) -> serde_json::Value {
    let mut selectors = Map::new();
    for selector in &reference.selectors.0 {
        let value = match &selector.value {
            crate::soap::SelectorValue::Text(text) => json!(text),
            crate::soap::SelectorValue::Reference(inner) => reference_json(inner),
        };
        selectors.insert(selector.name.clone(), value);
    }
    json!({ "resource_uri": reference.resource_uri, "selectors": selectors })
}

/// A method's return value with its meaning (Msvm_ReplicationService; 4097 and 4099 of CIM_Job).
pub(crate) fn return_value(value: u64) -> String {
    let meaning = match value {
        4097 => "Invalid state transition",
        4099 => "Busy",
        32768 => "Failed",
        32769 => "Access denied",
        32770 => "Not supported",
        32771 => "Status is unknown",
        32772 => "Timeout",
        32773 => "Invalid parameter",
        32774 => "System is in use",
        32775 => "Invalid state for this operation",
        32776 => "Incorrect data type",
        32777 => "System is not available",
        32778 => "Out of memory",
        32779 => "File not found",
        _ => return value.to_string(),
    };
    format!("{value} ({meaning})")
}

/// A GUID as Hyper-V spells it.
pub(crate) fn guid(id: uuid::Uuid) -> String {
    format!("{:X}", id.hyphenated())
}

/// A moment of the protocol for a reader, to the second: `2026-01-02 03:04:05Z`. Nothing for the FILETIME zero, which
/// stands for never.
pub(crate) fn moment(instance: &Instance, property: &str) -> String {
    let text = instance.text(property).unwrap_or_default();
    match text.split_once('T') {
        Some(("1601-01-01", _)) | None => String::new(),
        Some((day, time)) => format!("{day} {}Z", time.trim_end_matches('Z').split('.').next().unwrap_or_default()),
    }
}

/// Octets for a reader: `12.3 MiB`.
pub(crate) fn octets(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut whole = count;
    let mut rest = 0;
    let mut name = "";
    for unit in UNITS {
        if whole < 1024 {
            break;
        }
        rest = (whole & 1023).saturating_mul(10) >> 10;
        whole >>= 10;
        name = unit;
    }
    format!("{whole}.{rest} {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["web01".to_owned(), "3".to_owned()], vec!["a".to_owned(), String::new()]];
        assert_eq!(table(&["Name", "State"], &rows), "Name   State\nweb01  3\na");
    }

    #[test]
    fn octets_are_told_in_the_unit_that_fits() {
        for (count, text) in [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (64 << 20, "64.0 MiB")] {
            assert_eq!(octets(count), text);
        }
        assert!(octets(u64::MAX).ends_with("PiB"));
    }

    #[test]
    fn an_instance_prints_what_is_set_and_names_what_is_null() {
        let instance = Instance {
            class: "X".to_owned(),
            namespace: String::new(),
            properties: vec![
                ("Name".to_owned(), Value::Text("web01".to_owned())),
                ("No".to_owned(), Value::Null),
                ("List".to_owned(), Value::List(vec![Value::Text("1".to_owned()), Value::Text("2".to_owned())])),
            ],
        };
        assert_eq!(instance_text(&instance), "Name   : web01\nList   : 1, 2\n(null) : No");
        assert_eq!(instance_json(&instance).to_string(), r#"{"List":["1","2"],"Name":"web01","No":null}"#);
    }
}
