//! The dialect in MOF: `instance of Class { name = value; };`.

use super::{EmbeddedError, EmbeddedErrorKind, EmbeddedInstance, Reading, Slots, type_name};
use crate::cim::Position;
use crate::cim::mof::parse::{self, Declaration, InstanceDeclaration, Literal, LiteralKind};
use crate::cim::schema::Property;
use crate::cim::value::{CimType, Value};

pub(super) fn read(reading: &Reading<'_>, text: &str) -> Result<EmbeddedInstance, EmbeddedError> {
    let declarations = parse::parse("", text)
        .map_err(|error| reading.error(error.position, EmbeddedErrorKind::Malformed(error.message)))?;
    let mut instances = declarations.into_iter();
    let Some(Declaration::Instance(instance)) = instances.next() else {
        return reading.malformed(Position::START, "expected \"instance of\" and a class");
    };
    if instances.next().is_some() {
        return reading.malformed(instance.class.position, "expected one instance, found more");
    }
    let InstanceDeclaration { class: name, properties } = instance;
    let class = reading.class(&name.text, name.position)?;
    let mut slots = Slots::new(class);
    for (name, literal) in properties {
        let has_value = literal.kind != LiteralKind::Null;
        let found = reading.property(class, &slots, &name.text, has_value, name.position)?;
        let Some((slot, property)) = found else { continue };
        slots.add(slot, value(reading, property, &literal)?);
    }
    Ok(EmbeddedInstance { class: class.id, set: slots.values })
}

fn value(reading: &Reading<'_>, property: &Property, literal: &Literal) -> Result<Value, EmbeddedError> {
    match &literal.kind {
        LiteralKind::Null => Ok(Value::Null),
        LiteralKind::Array(items) if property.is_array => {
            items.iter().map(|item| scalar(reading, property, item)).collect::<Result<_, _>>().map(Value::Array)
        }
        kind if property.is_array => Err(reading.mismatch(property, kind_name(kind), literal.position)),
        LiteralKind::Array(_) => Err(reading.mismatch(property, &type_name(property.cim_type, true), literal.position)),
        _ => scalar(reading, property, literal),
    }
}

/// A scalar. MOF has no types at values, so the kind of the literal must suit the property.
fn scalar(reading: &Reading<'_>, property: &Property, literal: &Literal) -> Result<Value, EmbeddedError> {
    let at = literal.position;
    let is_number = property.cim_type.integer_range().is_some();
    match (&literal.kind, property.cim_type) {
        (LiteralKind::Null, _) => Ok(Value::Null),
        (LiteralKind::Boolean(truth), CimType::Boolean) => Ok(Value::Boolean(*truth)),
        (LiteralKind::Char(unit), CimType::Char16) => Ok(Value::Char16(*unit)),
        (LiteralKind::Text(text), CimType::String | CimType::Datetime | CimType::Reference) => {
            reading.scalar(property, text, at)
        }
        (LiteralKind::Integer(number), cim_type)
            if is_number || matches!(cim_type, CimType::Boolean | CimType::Real32 | CimType::Real64) =>
        {
            reading.scalar(property, &number.to_string(), at)
        }
        (LiteralKind::Real(number), CimType::Real32 | CimType::Real64) => {
            reading.scalar(property, &number.to_string(), at)
        }
        (kind, _) => Err(reading.mismatch(property, kind_name(kind), at)),
    }
}

fn kind_name(kind: &LiteralKind) -> &'static str {
    match kind {
        LiteralKind::Null => "null",
        LiteralKind::Boolean(_) => "boolean",
        LiteralKind::Integer(_) => "a whole number",
        LiteralKind::Real(_) => "a number with a fraction",
        LiteralKind::Char(_) => "char16",
        LiteralKind::Text(_) => "string",
        LiteralKind::Alias(_) => "a name",
        LiteralKind::Array(_) => "an array",
    }
}
