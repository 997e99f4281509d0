//! From a path, perhaps a partial one, to the one instance that it names.

use std::ops::ControlFlow;

use crate::cim::{CimError, CimInstance, ClassId, ObjectPath, Query, Schema, Value};

use super::msvm::{named_vm, parse_guid};
use super::{Dimension, Flow, Found, Key, Permissions, Provider, ReadContext, Registry, Sink};

/// Whether an instance has the key values of a path. Strings compare without regard to case (MS-WSMV 3.1.4.1.2), GUIDs
/// whatever their spelling. A key that is a reference may be written to a superclass and with fewer keys.
//= RES-11, RES-13
pub fn keys_match(schema: &Schema, instance: &CimInstance, path: &ObjectPath) -> bool {
    path.keys.iter().all(|(slot, value)| same_key(schema, instance.get(*slot), value))
}

fn same_key(schema: &Schema, own: &Value, wanted: &Value) -> bool {
    match (own, wanted) {
        (Value::String(a), Value::String(b)) => a.eq_ignore_ascii_case(b) || same_guid(a, b),
        (Value::Reference(own), Value::Reference(wanted)) => {
            let same = |(slot, value): &(u16, Value)| own.key(*slot).is_some_and(|own| same_key(schema, own, value));
            schema.is_a(own.class, wanted.class) && wanted.keys.iter().all(same)
        }
        (a, b) => a == b,
    }
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
    match find(registry, cx, path)? {
        Some(instance) => Ok(instance),
        None if may_be_kept(registry, cx, path) => Err(kept(registry, cx, path)),
        // Of a class whose instances are many, or may be, none was named.
        None if path.keys.is_empty() && !cx.schema.class(path.class).keys.is_empty() => {
            let class = &cx.schema.class(path.class).name;
            Err(CimError::missing_keys(format!("there is no {class} now, and no selector says which one is meant")))
        }
        None => Err(CimError::not_found(nothing(path, cx.schema))),
    }
}

fn find(registry: &Registry, cx: &ReadContext<'_>, path: &ObjectPath) -> Result<Option<CimInstance>, CimError> {
    let classes = registry.served(path.class, cx.schema);
    let admitted = classes.iter().filter(|class| cx.admits(**class));
    let mut searched = Vec::new();
    for provider in admitted.filter_map(|class| registry.provider(*class)) {
        match provider.find(cx, path) {
            Found::Instance(instance) if keys_match(cx.schema, &instance, path) => return Ok(Some(instance)),
            Found::Instance(_) | Found::Nothing => {}
            Found::Unnamed => searched.push(provider),
        }
    }
    let mut matches = Matches { schema: cx.schema, path, found: Vec::new() };
    // The keys that are given are found by index where there is one: with one end of an association, its pairs.
    let query = Query::equal(path.class, path.keys.clone());
    for provider in searched {
        if provider.enumerate(cx, Some(&query), None, &mut matches) == Flow::Stopped {
            break;
        }
    }
    let mut found = matches.found.into_iter();
    match (found.next(), found.next()) {
        (Some(_), Some(_)) => Err(too_few_keys(path, cx.schema)),
        (found, _) => Ok(found),
    }
}

/// Whether the access limits keep something from the caller that this path could name.
fn may_be_kept(registry: &Registry, cx: &ReadContext<'_>, path: &ObjectPath) -> bool {
    let kept = |class: &ClassId| {
        let about_vms = registry.provider(*class).is_some_and(Provider::is_about_vms);
        !cx.admits(*class) || (about_vms && cx.view.is_limited())
    };
    !cx.permissions.are_unlimited() && registry.served(path.class, cx.schema).iter().any(kept)
}

/// What a caller is told of whom something may be kept: the same whether it is there or not. The log says which.
fn kept(registry: &Registry, cx: &ReadContext<'_>, path: &ObjectPath) -> CimError {
    let unlimited = Permissions::unlimited();
    let whole = ReadContext { view: cx.view.whole(), permissions: &unlimited, ..*cx };
    let missing = match find(registry, &whole, path) {
        Ok(Some(instance)) => {
            let class = &cx.schema.class(instance.class).name;
            cx.permissions
                .check(Dimension::Classes, class)
                .err()
                .map_or_else(|| cx.permissions.limiting(Dimension::Vms), |missing| missing.to_string())
        }
        Ok(None) | Err(_) => NO_SUCH.to_owned(),
    };
    CimError::access_denied(format!("{}{OR_KEPT}", nothing(path, cx.schema)), missing)
}

/// What is told of a virtual machine that a caller with limits named, and that is not among those left to the caller.
pub(super) fn vm_kept(cx: &ReadContext<'_>, value: &Value) -> CimError {
    let unlimited = Permissions::unlimited();
    let whole = ReadContext { view: cx.view.whole(), permissions: &unlimited, ..*cx };
    let missing = match named_vm(&whole, value) {
        Ok(Some(vm)) => cx.permissions.check(Dimension::Vms, &vm.name).err().map(|missing| missing.to_string()),
        Ok(None) | Err(_) => None,
    };
    let text = format!("there is no such virtual machine{OR_KEPT}");
    CimError::access_denied(text, missing.unwrap_or_else(|| NO_SUCH.to_owned()))
}

/// What is added to the text that tells of nothing.
const OR_KEPT: &str = ", or the access limits of this user do not allow it";
/// What the log says when nothing was kept.
const NO_SUCH: &str = "nothing: it does not exist";

/// Collects at most two instances with the keys of a path: one more than names something.
struct Matches<'p> {
    schema: &'p Schema,
    path: &'p ObjectPath,
    found: Vec<CimInstance>,
}

impl Sink for Matches<'_> {
    fn push(&mut self, _: Key, instance: CimInstance) -> ControlFlow<()> {
        if keys_match(self.schema, &instance, self.path) {
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

fn nothing(path: &ObjectPath, schema: &Schema) -> String {
    let class = schema.class(path.class);
    let keys: Vec<String> = path
        .keys
        .iter()
        .filter_map(|(slot, value)| {
            let property = class.property_at(*slot)?;
            let text = match value {
                Value::String(text) => text.to_string(),
                Value::Reference(path) => path.to_relative_string(schema, ".", schema.namespace_of(path.class)),
                other => other.to_string(),
            };
            Some(format!("{}='{text}'", property.name))
        })
        .collect();
    let keys = if keys.is_empty() { "these keys".to_owned() } else { keys.join(", ") };
    format!("there is no {} with {keys}", class.name)
}
