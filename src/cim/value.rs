//! CIM types and values (DSP0004 section 5.2).

use std::fmt;

use super::{CimDatetime, CimInstance, ObjectPath, Text};

/// The intrinsic types of CIM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant is the type that it names")]
pub enum CimType {
    Boolean,
    Uint8,
    Sint8,
    Uint16,
    Sint16,
    Uint32,
    Sint32,
    Uint64,
    Sint64,
    Real32,
    Real64,
    Char16,
    String,
    Datetime,
    Reference,
}

impl CimType {
    const NAMES: [(CimType, &'static str); 15] = [
        (CimType::Boolean, "boolean"),
        (CimType::Uint8, "uint8"),
        (CimType::Sint8, "sint8"),
        (CimType::Uint16, "uint16"),
        (CimType::Sint16, "sint16"),
        (CimType::Uint32, "uint32"),
        (CimType::Sint32, "sint32"),
        (CimType::Uint64, "uint64"),
        (CimType::Sint64, "sint64"),
        (CimType::Real32, "real32"),
        (CimType::Real64, "real64"),
        (CimType::Char16, "char16"),
        (CimType::String, "string"),
        (CimType::Datetime, "datetime"),
        (CimType::Reference, "reference"),
    ];

    /// The name in MOF and CIM-XML.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(cim_type, _)| *cim_type == self).map_or("", |(_, name)| name)
    }

    /// The type of a name, without regard to case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(cim_type, _)| *cim_type)
    }

    /// The smallest and largest number of an integer type.
    pub fn integer_range(self) -> Option<(i128, i128)> {
        Some(match self {
            CimType::Uint8 => (0, u8::MAX.into()),
            CimType::Sint8 => (i8::MIN.into(), i8::MAX.into()),
            CimType::Uint16 => (0, u16::MAX.into()),
            CimType::Sint16 => (i16::MIN.into(), i16::MAX.into()),
            CimType::Uint32 => (0, u32::MAX.into()),
            CimType::Sint32 => (i32::MIN.into(), i32::MAX.into()),
            CimType::Uint64 => (0, u64::MAX.into()),
            CimType::Sint64 => (i64::MIN.into(), i64::MAX.into()),
            _ => return None,
        })
    }
}

impl fmt::Display for CimType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A value of a property or parameter.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each variant holds a value of the type that it names")]
pub enum Value {
    /// No value.
    #[default]
    Null,
    Boolean(bool),
    Uint8(u8),
    Sint8(i8),
    Uint16(u16),
    Sint16(i16),
    Uint32(u32),
    Sint32(i32),
    Uint64(u64),
    Sint64(i64),
    Real32(f32),
    Real64(f64),
    /// One UTF-16 code unit.
    Char16(u16),
    String(Text),
    Datetime(CimDatetime),
    Reference(Box<ObjectPath>),
    /// An embedded instance.
    Instance(Box<CimInstance>),
    Array(Vec<Value>),
}

/// A text that is not a value of the type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversionError {
    /// The type that was wanted.
    pub cim_type: CimType,
    /// The text, cut to 64 characters.
    pub text: String,
}

impl fmt::Display for ConversionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConversionError { cim_type, text } = self;
        match (cim_type, cim_type.integer_range()) {
            (CimType::Datetime, _) => {
                write!(f, "\"{text}\" is not a datetime: yyyymmddHHMMSS.mmmmmm+utc or ddddddddHHMMSS.mmmmmm:000")
            }
            (_, Some((least, most))) => write!(f, "\"{text}\" is not a {cim_type} (a number from {least} to {most})"),
            _ => write!(f, "\"{text}\" is not a {cim_type}"),
        }
    }
}

impl std::error::Error for ConversionError {}

impl Value {
    /// Whether there is no value.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The text of a string.
    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    /// The truth of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Boolean(truth) = self { Some(*truth) } else { None }
    }

    /// The number of any integer type.
    pub fn as_integer(&self) -> Option<i128> {
        Some(match self {
            Value::Uint8(n) => (*n).into(),
            Value::Sint8(n) => (*n).into(),
            Value::Uint16(n) => (*n).into(),
            Value::Sint16(n) => (*n).into(),
            Value::Uint32(n) => (*n).into(),
            Value::Sint32(n) => (*n).into(),
            Value::Uint64(n) => (*n).into(),
            Value::Sint64(n) => (*n).into(),
            _ => return None,
        })
    }

    /// The number of an integer type, if it is one and fits.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_integer().and_then(|n| u64::try_from(n).ok())
    }

    /// The items of an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(items) = self { Some(items) } else { None }
    }

    /// The path of a reference.
    pub fn as_reference(&self) -> Option<&ObjectPath> {
        if let Value::Reference(path) = self { Some(path) } else { None }
    }

    /// The embedded instance.
    pub fn as_instance(&self) -> Option<&CimInstance> {
        if let Value::Instance(instance) = self { Some(instance) } else { None }
    }

    /// The type of a scalar; none of NULL, arrays and embedded instances.
    pub fn cim_type(&self) -> Option<CimType> {
        Some(match self {
            Value::Null | Value::Array(_) | Value::Instance(_) => return None,
            Value::Boolean(_) => CimType::Boolean,
            Value::Uint8(_) => CimType::Uint8,
            Value::Sint8(_) => CimType::Sint8,
            Value::Uint16(_) => CimType::Uint16,
            Value::Sint16(_) => CimType::Sint16,
            Value::Uint32(_) => CimType::Uint32,
            Value::Sint32(_) => CimType::Sint32,
            Value::Uint64(_) => CimType::Uint64,
            Value::Sint64(_) => CimType::Sint64,
            Value::Real32(_) => CimType::Real32,
            Value::Real64(_) => CimType::Real64,
            Value::Char16(_) => CimType::Char16,
            Value::String(_) => CimType::String,
            Value::Datetime(_) => CimType::Datetime,
            Value::Reference(_) => CimType::Reference,
        })
    }

    /// An integer as a value of an integer type; none when it does not fit.
    pub fn from_integer(cim_type: CimType, number: i128) -> Option<Value> {
        Some(match cim_type {
            CimType::Uint8 => Value::Uint8(number.try_into().ok()?),
            CimType::Sint8 => Value::Sint8(number.try_into().ok()?),
            CimType::Uint16 => Value::Uint16(number.try_into().ok()?),
            CimType::Sint16 => Value::Sint16(number.try_into().ok()?),
            CimType::Uint32 => Value::Uint32(number.try_into().ok()?),
            CimType::Sint32 => Value::Sint32(number.try_into().ok()?),
            CimType::Uint64 => Value::Uint64(number.try_into().ok()?),
            CimType::Sint64 => Value::Sint64(number.try_into().ok()?),
            _ => return None,
        })
    }

    /// Reads the text of a scalar: booleans in any case or as 1 and 0 (WMI coerces them), integers decimal or
    /// hexadecimal (`0x`), datetimes in any form of [`CimDatetime::parse`]. Blanks around all but strings are ignored.
    /// References need a schema ([`ObjectPath::parse_wmi`]) and are refused here.
    pub fn parse(cim_type: CimType, text: &str) -> Result<Value, ConversionError> {
        let error = || ConversionError { cim_type, text: text.chars().take(64).collect() };
        let trimmed = text.trim();
        match cim_type {
            CimType::String => Some(Value::String(Text::Owned(text.to_owned()))),
            CimType::Boolean => parse_boolean(trimmed).map(Value::Boolean),
            CimType::Datetime => CimDatetime::parse(trimmed).map(Value::Datetime),
            CimType::Real32 => trimmed.parse().ok().map(Value::Real32),
            CimType::Real64 => trimmed.parse().ok().map(Value::Real64),
            CimType::Char16 => parse_char16(text).map(Value::Char16),
            CimType::Reference => None,
            _ => parse_integer(trimmed).and_then(|number| Value::from_integer(cim_type, number)),
        }
        .ok_or_else(error)
    }
}

fn parse_boolean(text: &str) -> Option<bool> {
    if text == "1" || text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text == "0" || text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

//= MAP-14
fn parse_char16(text: &str) -> Option<u16> {
    let mut units = text.encode_utf16();
    let unit = units.next()?;
    units.next().is_none().then_some(unit)
}

/// A whole number, decimal or hexadecimal, with or without a sign; none beyond the range of the widest CIM types.
pub fn parse_integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    // The library would take a second sign here.
    if !digits.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let magnitude = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => i128::from_str_radix(hex, 16).ok()?,
        Some(_) => return None,
        None => digits.parse().ok()?,
    };
    Some(if negative { -magnitude } else { magnitude })
}

impl fmt::Display for Value {
    /// The text of the value as CIM-XML writes scalars; arrays in braces, embedded instances as their class id.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Boolean(v) => write!(f, "{v}"),
            Value::Uint8(v) => write!(f, "{v}"),
            Value::Sint8(v) => write!(f, "{v}"),
            Value::Uint16(v) => write!(f, "{v}"),
            Value::Sint16(v) => write!(f, "{v}"),
            Value::Uint32(v) => write!(f, "{v}"),
            Value::Sint32(v) => write!(f, "{v}"),
            Value::Uint64(v) => write!(f, "{v}"),
            Value::Sint64(v) => write!(f, "{v}"),
            Value::Real32(v) => write!(f, "{v}"),
            Value::Real64(v) => write!(f, "{v}"),
            Value::Char16(unit) => {
                write!(f, "{}", char::from_u32((*unit).into()).unwrap_or(char::REPLACEMENT_CHARACTER))
            }
            Value::String(v) => write!(f, "{v}"),
            Value::Datetime(v) => write!(f, "{v}"),
            Value::Reference(path) => write!(f, "{path:?}"),
            Value::Instance(instance) => write!(f, "instance of {:?}", instance.class),
            Value::Array(items) => {
                f.write_str("{")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str("}")
            }
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Value::$variant(value.into())
            }
        })*
    };
}

value_from! {
    bool => Boolean, u8 => Uint8, i8 => Sint8, u16 => Uint16, i16 => Sint16, u32 => Uint32, i32 => Sint32,
    u64 => Uint64, i64 => Sint64, f32 => Real32, f64 => Real64, Text => String, &'static str => String,
    String => String, std::sync::Arc<str> => String, CimDatetime => Datetime,
}

impl From<ObjectPath> for Value {
    fn from(path: ObjectPath) -> Self {
        Value::Reference(Box::new(path))
    }
}

impl From<CimInstance> for Value {
    fn from(instance: CimInstance) -> Self {
        Value::Instance(Box::new(instance))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Value::Array(items.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_value_is_small() {
        assert!(size_of::<Value>() <= 32, "{}", size_of::<Value>());
    }

    #[test]
    fn reads_scalars_as_clients_write_them() {
        let read = |cim_type, text| Value::parse(cim_type, text).ok();
        assert_eq!(read(CimType::Boolean, "TRUE"), Some(Value::Boolean(true)));
        assert_eq!(read(CimType::Boolean, " 0 "), Some(Value::Boolean(false)));
        assert_eq!(read(CimType::Boolean, "2"), None);
        assert_eq!(read(CimType::Uint16, " 443\n"), Some(Value::Uint16(443)));
        assert_eq!(read(CimType::Uint16, "0x1bb"), Some(Value::Uint16(443)));
        assert_eq!(read(CimType::Uint16, "65536"), None);
        assert_eq!(read(CimType::Uint16, "-1"), None);
        assert_eq!(read(CimType::Sint8, "-128"), Some(Value::Sint8(-128)));
        assert_eq!(read(CimType::Uint8, ""), None);
        assert_eq!(read(CimType::Sint32, "--1"), None);
        assert_eq!(read(CimType::Sint32, "0x-1"), None);
        assert_eq!(read(CimType::Uint64, "18446744073709551615"), Some(Value::Uint64(u64::MAX)));
        assert_eq!(read(CimType::String, " a "), Some(Value::String(" a ".into())));
        assert_eq!(read(CimType::Char16, "ab"), None);
    }

    #[test]
    fn says_what_would_fit() {
        let text = Value::parse(CimType::Uint16, "70000").unwrap_err().to_string();
        assert_eq!(text, "\"70000\" is not a uint16 (a number from 0 to 65535)");
    }
}
