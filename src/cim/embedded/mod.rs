//! Instances in strings: what a parameter with the qualifier `EmbeddedInstance` holds.
//!
//! Five dialects arrive in practice and all are read, whatever the client:
//!
//! | dialect | marks |
//! |---|---|
//! | MI_XML | attributes NAME, TYPE, MODIFIED; NULL is an empty PROPERTY |
//! | WMI DTD 2.0 | QUALIFIER children, CLASSORIGIN, PROPAGATED |
//! | CIM DTD 2.0 | begins with system properties (`__PATH` …) |
//! | minimal | only the properties that are set |
//! | MOF | `instance of Class { name = value; };` |
//!
//! The XML ones may be wrapped in CIM, DECLARATION, DECLGROUP. Values are written in the first.

mod mof;
#[cfg(test)]
mod tests;
mod write;
mod xml;

use std::fmt;

use super::schema::{Class, ClassId, Property, Schema};
use super::value::{CimType, Value};
use super::{CimDatetime, CimInstance, ObjectPath, Position};
use crate::xml::Limits;

pub use write::write_cim_xml;

/// An instance that was read, as far as its text goes.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddedInstance {
    /// The class that the text names: the expected one or one below it.
    pub class: ClassId,
    /// Slots and values in the order of the text. A property that stands there without a value has [`Value::Null`]:
    /// most dialects list every property, so this does not mean that somebody wants it cleared. System properties are
    /// left out; keys and other properties that cannot be set are not.
    pub set: Vec<(u16, Value)>,
}

impl EmbeddedInstance {
    /// The value of a slot, if the text has the property and it is not NULL.
    pub fn value(&self, slot: u16) -> Option<&Value> {
        self.set.iter().find(|(known, _)| *known == slot).map(|(_, value)| value).filter(|value| !value.is_null())
    }

    /// An instance with these values and NULL elsewhere.
    pub fn into_instance(self, schema: &Schema) -> CimInstance {
        let mut instance = CimInstance::empty(schema.class(self.class));
        for (slot, value) in self.set {
            instance.set(slot, value);
        }
        instance
    }
}

/// Why a text is not an instance, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedError {
    /// What is wrong.
    pub kind: EmbeddedErrorKind,
    /// Where: of a property, its element or name.
    pub position: Position,
}

/// What is wrong with an embedded instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EmbeddedErrorKind {
    /// The text has not the form of any dialect; what was expected.
    Malformed(String),
    /// It is an instance of another class.
    WrongClass {
        /// The class that the text names.
        found: String,
        /// The class that was wanted.
        expected: String,
    },
    /// The class has no such property.
    UnknownProperty {
        /// The property.
        property: String,
        /// The class.
        class: String,
    },
    /// A property stands twice.
    DuplicateProperty {
        /// The property.
        property: String,
    },
    /// The TYPE is not the property's type. As a method's answer this is `ReturnValue` 32776.
    TypeMismatch {
        /// The property.
        property: String,
        /// The type of the schema, with `[]` for an array.
        declared: String,
        /// The type in the text.
        found: String,
    },
    /// The text of a value is not of the type.
    BadValue {
        /// The property.
        property: String,
        /// What is wrong with the value.
        reason: String,
    },
}

impl fmt::Display for EmbeddedErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use EmbeddedErrorKind as Kind;
        match self {
            Kind::Malformed(message) => f.write_str(message),
            Kind::WrongClass { found, expected } => {
                write!(f, "an instance of {found} stands where one of {expected} belongs")
            }
            Kind::UnknownProperty { property, class } => write!(f, "{class} has no property \"{property}\""),
            Kind::DuplicateProperty { property } => write!(f, "the property {property} stands twice"),
            Kind::TypeMismatch { property, declared, found } => {
                write!(f, "the type of {property} is {declared}, not {found}")
            }
            Kind::BadValue { property, reason } => write!(f, "the value of {property}: {reason}"),
        }
    }
}

impl fmt::Display for EmbeddedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.position, self.kind)
    }
}

impl std::error::Error for EmbeddedError {}

/// Reads an instance of `expected` or of a class below it from any of the dialects. The limits are those of the message
/// that the text came in. Positions count from the first character of `text`.
pub fn parse_embedded(
    text: &str,
    expected: ClassId,
    schema: &Schema,
    limits: &Limits,
) -> Result<EmbeddedInstance, EmbeddedError> {
    let body = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let blanks = text.strip_suffix(body).unwrap_or_default();
    let reading = Reading { schema, expected, start: Position::START.after(blanks) };
    let malformed = |message: String| Err(reading.error(Position::START, EmbeddedErrorKind::Malformed(message)));
    if body.len() > limits.octets_max {
        return malformed(format!("longer than {} octets", limits.octets_max));
    }
    if body.starts_with('<') {
        xml::read(&reading, body, limits)
    } else if body.is_empty() {
        malformed("expected an <INSTANCE> element or MOF text (instance of Class), found nothing".to_owned())
    } else {
        mof::read(&reading, body)
    }
}

/// What every dialect needs while it reads.
struct Reading<'s> {
    schema: &'s Schema,
    expected: ClassId,
    /// Where the text without leading blanks begins.
    start: Position,
}

impl<'s> Reading<'s> {
    /// An error at a position of the text without leading blanks.
    fn error(&self, at: impl Into<Position>, kind: EmbeddedErrorKind) -> EmbeddedError {
        let at = at.into();
        let column = if at.line == 1 { self.start.column.saturating_add(at.column) - 1 } else { at.column };
        EmbeddedError { kind, position: Position { line: self.start.line.saturating_add(at.line) - 1, column } }
    }

    fn malformed<T>(&self, at: impl Into<Position>, message: &str) -> Result<T, EmbeddedError> {
        Err(self.error(at, EmbeddedErrorKind::Malformed(message.to_owned())))
    }

    fn class(&self, name: &str, at: impl Into<Position>) -> Result<&'s Class, EmbeddedError> {
        let namespace = self.schema.class(self.expected).namespace;
        match self.schema.find_in(namespace, name).map(|id| self.schema.class(id)) {
            Some(class) if self.schema.is_a(class.id, self.expected) => Ok(class),
            _ => {
                let expected = self.schema.class(self.expected).name.to_string();
                Err(self.error(at, EmbeddedErrorKind::WrongClass { found: shown(name), expected }))
            }
        }
    }

    /// Finds a property that is not in `set` yet; none for system properties, and for unknown ones without a value:
    /// they say nothing.
    fn property<'c>(
        &self,
        class: &'c Class,
        set: &Slots,
        name: &str,
        has_value: bool,
        at: impl Into<Position>,
    ) -> Result<Option<(u16, &'c Property)>, EmbeddedError> {
        if name.starts_with("__") {
            return Ok(None);
        }
        let Some((slot, property)) = class.property(name) else {
            if !has_value {
                return Ok(None);
            }
            let class = class.name.to_string();
            return Err(self.error(at, EmbeddedErrorKind::UnknownProperty { property: shown(name), class }));
        };
        if set.taken(slot) {
            let property = property.name.to_string();
            return Err(self.error(at, EmbeddedErrorKind::DuplicateProperty { property }));
        }
        Ok(Some((slot, property)))
    }

    fn mismatch(&self, property: &Property, found: &str, at: impl Into<Position>) -> EmbeddedError {
        let declared = type_name(property.cim_type, property.is_array);
        let property = property.name.to_string();
        self.error(at, EmbeddedErrorKind::TypeMismatch { property, declared, found: shown(found) })
    }

    fn bad_value(&self, property: &Property, reason: String, at: impl Into<Position>) -> EmbeddedError {
        self.error(at, EmbeddedErrorKind::BadValue { property: property.name.to_string(), reason })
    }

    /// A scalar from its text. Datetimes have the form of DSP0004 only, as real hosts want it.
    fn scalar(&self, property: &Property, text: &str, at: impl Into<Position>) -> Result<Value, EmbeddedError> {
        let value = match property.cim_type {
            CimType::Datetime => CimDatetime::parse_dsp0004(text.trim()).map(Value::Datetime).ok_or_else(|| {
                let text = shown(text);
                format!("\"{text}\" is not in the form yyyymmddHHMMSS.mmmmmm+utc or ddddddddHHMMSS.mmmmmm:000")
            }),
            CimType::Reference => {
                let namespace = self.schema.class(self.expected).namespace;
                ObjectPath::parse_wmi_in(text, namespace, self.schema).map(Value::from).map_err(|e| e.to_string())
            }
            cim_type => Value::parse(cim_type, text).map_err(|error| error.to_string()),
        };
        value.map_err(|reason| self.bad_value(property, reason, at))
    }
}

/// The values that were read, with a fast answer to whether a slot is among them.
struct Slots {
    values: Vec<(u16, Value)>,
    taken: Vec<bool>,
}

impl Slots {
    fn new(class: &Class) -> Self {
        Slots { values: Vec::new(), taken: vec![false; class.properties.len()] }
    }

    fn taken(&self, slot: u16) -> bool {
        self.taken.get(usize::from(slot)).copied().unwrap_or(false)
    }

    fn add(&mut self, slot: u16, value: Value) {
        if let Some(taken) = self.taken.get_mut(usize::from(slot)) {
            *taken = true;
        }
        self.values.push((slot, value));
    }
}

fn type_name(cim_type: CimType, is_array: bool) -> String {
    format!("{cim_type}{}", if is_array { "[]" } else { "" })
}

/// As much of a peer's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}
