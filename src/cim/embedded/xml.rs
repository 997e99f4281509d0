//! The dialects in XML: `<INSTANCE CLASSNAME="…"><PROPERTY NAME="…" TYPE="…"><VALUE>…</VALUE></PROPERTY>…</INSTANCE>`.

use super::{EmbeddedError, EmbeddedErrorKind, EmbeddedInstance, Reading, Slots, type_name};
use crate::cim::Position;
use crate::cim::schema::{Class, Property};
use crate::cim::value::{CimType, Value};
use crate::xml::{Document, Element, Limits};

/// Elements around an instance (DSP0201).
const WRAPPERS: [&str; 8] = [
    "CIM",
    "DECLARATION",
    "DECLGROUP",
    "DECLGROUP.WITHNAME",
    "DECLGROUP.WITHPATH",
    "VALUE.OBJECT",
    "VALUE.NAMEDOBJECT",
    "VALUE.NAMEDINSTANCE",
];
/// Attributes of INSTANCE.
const OF_INSTANCE: &[&str] = &["CLASSNAME"];
/// Attributes of the three PROPERTY elements, in all dialects.
const OF_PROPERTY: &[&str] = &[
    "NAME",
    "TYPE",
    "CLASSORIGIN",
    "PROPAGATED",
    "MODIFIED",
    "EmbeddedObject",
    "EMBEDDEDOBJECT",
    "ARRAYSIZE",
    "REFERENCECLASS",
];

/// Which element a property stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Scalar,
    Array,
    Reference,
}

pub(super) fn read(reading: &Reading<'_>, text: &str, limits: &Limits) -> Result<EmbeddedInstance, EmbeddedError> {
    let document = Document::parse(text, limits).map_err(|error| {
        let at = Position { line: error.position.line, column: error.position.column };
        reading.error(at, EmbeddedErrorKind::Malformed(error.kind.to_string()))
    })?;
    let instance = unwrap(reading, document.root())?;
    check_attributes(reading, instance, OF_INSTANCE)?;
    let Some(name) = instance.attribute("", "CLASSNAME") else {
        return reading.malformed(instance, "INSTANCE has no CLASSNAME");
    };
    let class = reading.class(&name, instance)?;
    let mut slots = Slots::new(class);
    for child in instance.children() {
        let form = match child.local() {
            "QUALIFIER" => continue,
            "PROPERTY" => Form::Scalar,
            "PROPERTY.ARRAY" => Form::Array,
            "PROPERTY.REFERENCE" => Form::Reference,
            other => return reading.malformed(child, &format!("expected a PROPERTY in INSTANCE, found {other}")),
        };
        property(reading, class, &mut slots, child, form)?;
    }
    Ok(EmbeddedInstance { class: class.id, set: slots.values })
}

/// Where an element begins is counted through the text before it, so that it is only asked for an error.
impl From<Element<'_>> for Position {
    fn from(element: Element<'_>) -> Self {
        let position = element.position();
        Position { line: position.line, column: position.column }
    }
}

/// The one INSTANCE inside the wrappers. Class declarations beside it are passed over.
fn unwrap<'d>(reading: &Reading<'_>, root: Element<'d>) -> Result<Element<'d>, EmbeddedError> {
    let mut element = root;
    while element.local() != "INSTANCE" {
        if !WRAPPERS.contains(&element.local()) {
            let message = format!("expected an INSTANCE element, found {}", element.local());
            return reading.malformed(element, &message);
        }
        let mut inner =
            element.children().filter(|child| child.local() == "INSTANCE" || WRAPPERS.contains(&child.local()));
        let Some(first) = inner.next() else {
            return reading.malformed(element, &format!("expected an INSTANCE in {}", element.local()));
        };
        if let Some(second) = inner.next() {
            return reading.malformed(second, "expected one INSTANCE, found a second");
        }
        element = first;
    }
    Ok(element)
}

/// Attributes with a namespace (xml:lang) are let through.
fn check_attributes(reading: &Reading<'_>, element: Element<'_>, known: &[&str]) -> Result<(), EmbeddedError> {
    match element.attributes().find(|found| found.namespace.is_empty() && !known.contains(&found.local)) {
        Some(unknown) => {
            let message = format!("{} has no attribute \"{}\"", element.local(), super::shown(unknown.local));
            reading.malformed(element, &message)
        }
        None => Ok(()),
    }
}

fn property(
    reading: &Reading<'_>,
    class: &Class,
    slots: &mut Slots,
    element: Element<'_>,
    form: Form,
) -> Result<(), EmbeddedError> {
    check_attributes(reading, element, OF_PROPERTY)?;
    let Some(name) = element.attribute("", "NAME") else {
        return reading.malformed(element, &format!("{} has no NAME", element.local()));
    };
    let content = content(reading, element)?;
    let found = reading.property(class, slots, &name, content.is_some(), element)?;
    let Some((slot, property)) = found else { return Ok(()) };
    check_type(reading, property, element, form)?;
    let value = match content {
        None => Value::Null,
        Some(content) if property.is_array => array(reading, property, content)?,
        Some(content) => single(reading, property, content)?,
    };
    slots.add(slot, value);
    Ok(())
}

/// The one VALUE element of a property, if it has any.
fn content<'d>(reading: &Reading<'_>, element: Element<'d>) -> Result<Option<Element<'d>>, EmbeddedError> {
    let mut values = element.children().filter(|child| child.local() != "QUALIFIER");
    let first = values.next();
    if let Some(other) = first.filter(|first| !first.local().starts_with("VALUE")) {
        let message = format!("expected a VALUE in {}, found {}", element.local(), other.local());
        return reading.malformed(other, &message);
    }
    match values.next() {
        Some(second) => reading.malformed(second, &format!("expected one VALUE in {}", element.local())),
        None => Ok(first),
    }
}

fn check_type(
    reading: &Reading<'_>,
    property: &Property,
    element: Element<'_>,
    form: Form,
) -> Result<(), EmbeddedError> {
    let found = if form == Form::Reference {
        CimType::Reference.name().to_owned()
    } else {
        let Some(written) = element.attribute("", "TYPE") else {
            return reading.malformed(element, &format!("{} {} has no TYPE", element.local(), property.name));
        };
        match CimType::from_name(&written) {
            Some(cim_type) => type_name(cim_type, form == Form::Array),
            None => written.into_owned(),
        }
    };
    if found == type_name(property.cim_type, property.is_array) {
        return Ok(());
    }
    Err(reading.mismatch(property, &found, element))
}

/// A scalar from its VALUE. An empty one is a string without characters, and an error for every other type.
fn single(reading: &Reading<'_>, property: &Property, element: Element<'_>) -> Result<Value, EmbeddedError> {
    if !matches!(element.local(), "VALUE" | "VALUE.REFERENCE") || !element.is_leaf() {
        let message = format!("expected text in VALUE of {}", property.name);
        return reading.malformed(element, &message);
    }
    let text = element.text();
    if text.is_empty() && property.cim_type != CimType::String {
        let reason = format!("an empty VALUE is no {}: leave VALUE out for NULL", property.cim_type);
        return Err(reading.bad_value(property, reason, element));
    }
    reading.scalar(property, &text, element)
}

/// An array from its VALUE.ARRAY, or from a single VALUE.
fn array(reading: &Reading<'_>, property: &Property, element: Element<'_>) -> Result<Value, EmbeddedError> {
    if element.local() != "VALUE.ARRAY" && element.local() != "VALUE.REFARRAY" {
        return single(reading, property, element).map(|item| Value::Array(vec![item]));
    }
    let mut items = Vec::new();
    for child in element.children() {
        items.push(if child.local() == "VALUE.NULL" { Value::Null } else { single(reading, property, child)? });
    }
    Ok(Value::Array(items))
}
