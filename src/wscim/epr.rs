//! Endpoint references to and from object paths (DSP0227 6, DSP0230).

use crate::cim::{CimInstance, CimType, Class, ClassId, NamespaceId, ObjectPath, Schema, Value};
use crate::soap::{EndpointReference, Fault, Selector, SelectorSet, SelectorValue};
use crate::wsman::fault;

use super::instance::value_text;
use super::resource::{CLASS_SELECTOR, Family, Resource};

/// The object path that a class and a selector set name. Keys may be missing: the provider decides whether what is
/// there names one instance. Unknown, repeated and mistyped selectors are faults.
//= RES-04, RES-06, RES-09, RES-13
pub fn object_path(class: ClassId, selectors: &SelectorSet, schema: &Schema) -> Result<ObjectPath, Fault> {
    let declared = schema.class(class);
    let mut keys: Vec<(u16, Value)> = Vec::with_capacity(selectors.0.len());
    for selector in &selectors.0 {
        if selector.name.eq_ignore_ascii_case(CLASS_SELECTOR) {
            continue;
        }
        let (slot, property) = match declared.property(&selector.name) {
            Some((slot, property)) if property.is_key => (slot, property),
            _ => return Err(unexpected(declared, &selector.name)),
        };
        if keys.iter().any(|(known, _)| *known == slot) {
            return Err(fault::invalid_selectors_duplicate(format!(
                "the selector {} is given more than once",
                property.name
            )));
        }
        keys.push((slot, key_value(property.cim_type, selector, declared.namespace, schema)?));
    }
    Ok(ObjectPath { namespace: None, class, keys })
}

fn unexpected(class: &Class, name: &str) -> Fault {
    let keys: Vec<&str> =
        class.keys.iter().filter_map(|slot| class.properties.get(usize::from(*slot))).map(|p| &*p.name).collect();
    fault::invalid_selectors_unexpected(format!(
        "'{name}' is not a key of {}; its keys are {}",
        class.name,
        if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
    ))
}

fn key_value(cim_type: CimType, selector: &Selector, namespace: NamespaceId, schema: &Schema) -> Result<Value, Fault> {
    match (&selector.value, cim_type) {
        (SelectorValue::Reference(epr), CimType::Reference) => {
            Ok(Value::Reference(Box::new(path_from_epr(epr, schema)?)))
        }
        (SelectorValue::Text(text), CimType::Reference) => match ObjectPath::parse_wmi_in(text, namespace, schema) {
            Ok(path) => Ok(Value::Reference(Box::new(path))),
            Err(error) => {
                Err(fault::invalid_selectors_type_mismatch(format!("the selector {}: {error}", selector.name)))
            }
        },
        (SelectorValue::Text(text), _) => Value::parse(cim_type, text).map_err(|error| {
            fault::invalid_selectors_type_mismatch(format!("the selector {} holds '{text}': {error}", selector.name))
        }),
        (SelectorValue::Reference(_), _) => Err(fault::invalid_selectors_type_mismatch(format!(
            "the selector {} holds a reference where a {cim_type} belongs",
            selector.name
        ))),
    }
}

/// The object path that an endpoint reference names, in any URI family.
pub fn path_from_epr(epr: &EndpointReference, schema: &Schema) -> Result<ObjectPath, Fault> {
    let resource = Resource::resolve(epr.resource_uri.as_deref().unwrap_or_default(), &epr.selectors, schema)?;
    object_path(resource.class()?, &epr.selectors, schema)
}

/// The endpoint reference of an object path, in the URI family of the request: keys in their order (an `InstanceID`
/// first, since scripts take the first selector), the namespace last.
//= RES-19, RES-20
pub fn path_to_epr(path: &ObjectPath, family: Family, schema: &Schema) -> EndpointReference {
    let class = schema.class(path.class);
    let mut selectors = Vec::with_capacity(path.keys.len() + 1);
    for (slot, value) in &path.keys {
        let Some(property) = class.properties.get(usize::from(*slot)) else { continue };
        let value = match value {
            Value::Reference(path) => SelectorValue::Reference(Box::new(path_to_epr(path, family, schema))),
            simple => SelectorValue::Text(value_text(simple).into_owned()),
        };
        let selector = Selector { name: property.name.to_string(), value };
        if property.name.eq_ignore_ascii_case("InstanceID") {
            selectors.insert(0, selector);
        } else {
            selectors.push(selector);
        }
    }
    if family.names_namespace() {
        let namespace = SelectorValue::Text(schema.namespace_of(path.class).to_string());
        selectors.push(Selector { name: CLASS_SELECTOR.to_owned(), value: namespace });
    }
    EndpointReference::anonymous(family.class_uri(path.class, schema), SelectorSet(selectors))
}

/// The object path of an instance: its class and the values of its keys.
pub fn path_of(instance: &CimInstance, schema: &Schema) -> ObjectPath {
    let keys = schema.class(instance.class).keys.iter().map(|slot| (*slot, instance.get(*slot).clone())).collect();
    ObjectPath { namespace: None, class: instance.class, keys }
}
