//! From a path, perhaps a partial one, to the one instance that it names.

use std::ops::ControlFlow;

use crate::cim::{CimError, CimInstance, ObjectPath, Schema, Value};

use super::msvm::parse_guid;
use super::{Flow, Found, Key, Provider, ReadContext, Registry, Sink};

/// Whether an instance has the key values of a path. Strings compare without regard to case (MS-WSMV 3.1.4.1.2), GUIDs
/// whatever their spelling.
//= RES-13
pub fn keys_match(instance: &CimInstance, path: &ObjectPath) -> bool {
    path.keys.iter().all(|(slot, value)| match (instance.get(*slot), value) {
        (Value::String(a), Value::String(b)) => a.eq_ignore_ascii_case(b) || same_guid(a, b),
        (a, b) => a == b,
    })
}

fn same_guid(a: &str, b: &str) -> bool {
    parse_guid(a).is_some_and(|a| parse_guid(b) == Some(a))
}

/// The text of a string key in a path.
pub fn text_of(path: &ObjectPath, slot: u16) -> Option<&str> {
    path.keys.iter().find_map(|(key, value)| match value {
        Value::String(text) if *key == slot => Some(&**text),
        _ => None,
    })
}

pub(super) fn get(registry: &Registry, cx: &ReadContext<'_>, path: &ObjectPath) -> Result<CimInstance, CimError> {
    let classes = registry.served(path.class, cx.schema);
    let providers: Vec<&dyn Provider> = classes.iter().filter_map(|class| registry.provider(*class)).collect();
    let mut searched = Vec::new();
    for provider in providers {
        match provider.find(cx, path) {
            Found::Instance(instance) if keys_match(&instance, path) => return Ok(instance),
            Found::Instance(_) | Found::Nothing => {}
            Found::Unnamed => searched.push(provider),
        }
    }
    let mut matches = Matches { path, found: Vec::new() };
    for provider in searched {
        if provider.enumerate(cx, None, None, &mut matches) == Flow::Stopped {
            break;
        }
    }
    let mut found = matches.found.into_iter();
    match (found.next(), found.next()) {
        (Some(instance), None) => Ok(instance),
        (Some(_), Some(_)) => Err(too_few_keys(path, cx.schema)),
        (None, _) => Err(not_found(path, cx.schema)),
    }
}

/// Collects at most two instances with the keys of a path: one more than names something.
struct Matches<'p> {
    path: &'p ObjectPath,
    found: Vec<CimInstance>,
}

impl Sink for Matches<'_> {
    fn push(&mut self, _: Key, instance: CimInstance) -> ControlFlow<()> {
        if keys_match(&instance, self.path) {
            self.found.push(instance);
        }
        if self.found.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

fn too_few_keys(path: &ObjectPath, schema: &Schema) -> CimError {
    let class = schema.class(path.class);
    let given = |slot: &u16| path.keys.iter().any(|(key, _)| key == slot);
    let missing: Vec<&str> = class
        .keys
        .iter()
        .filter(|slot| !given(slot))
        .filter_map(|slot| class.property_at(*slot))
        .map(|property| &*property.name)
        .collect();
    CimError::missing_keys(format!(
        "the selectors given match more than one {}; add {}",
        class.name,
        if missing.is_empty() { "the class of the instance".to_owned() } else { missing.join(", ") }
    ))
}

fn not_found(path: &ObjectPath, schema: &Schema) -> CimError {
    let class = schema.class(path.class);
    let keys: Vec<String> = path
        .keys
        .iter()
        .filter_map(|(slot, value)| {
            let property = class.property_at(*slot)?;
            let text = if let Value::String(text) = value { text.to_string() } else { format!("{value:?}") };
            Some(format!("{}='{text}'", property.name))
        })
        .collect();
    CimError::not_found(format!(
        "there is no {} with {}",
        class.name,
        if keys.is_empty() { "these keys".to_owned() } else { keys.join(", ") }
    ))
}
