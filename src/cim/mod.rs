//! The CIM model (DSP0004): schema, values, instances, paths, queries.
//!
//! Everything here is resolved against a [`Schema`] once: classes are [`ClassId`]s, properties are slots in the list of
//! their class, and an instance is a vector of values by slot. A property has the same slot in its class and in every
//! class below, so what is resolved against a base class also reads instances of its subclasses.

pub mod association;
pub(crate) mod characters;
pub mod class_xml;
pub mod datetime;
pub mod embedded;
pub mod enumeration;
pub mod error;
pub mod instance;
pub mod method;
pub mod mof;
pub mod name;
pub mod path;
pub mod pattern;
pub mod schema;
pub mod text;
pub mod value;
pub mod wql;

pub use association::{AssociationQuery, Related};
pub use class_xml::{ClassParts, write_class_xml};
pub use datetime::CimDatetime;
pub use embedded::{EmbeddedError, EmbeddedErrorKind, EmbeddedInstance, parse_embedded, write_cim_xml};
pub use error::{Blame, CimError, CimStatus};
pub use instance::CimInstance;
pub use method::{Argument, MethodInput, MethodResult};
pub use mof::MofError;
pub use path::{ObjectPath, PathError};
pub use pattern::Pattern;
pub use schema::{
    Class, ClassId, DEFAULT_NAMESPACE, Embedded, Method, MethodId, Namespace, NamespaceId, Parameter, Property,
    Qualifier, Schema, ValueMap,
};
pub use text::Text;
pub use value::{CimType, ConversionError, Value};
pub use wql::{AssociatorsOf, Parsed, Query, Resolved, WqlError};

/// A place in a text: line and column, both counted from one, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from one.
    pub line: u32,
    /// Column in characters, from one.
    pub column: u32,
}

impl Position {
    /// The first character of a text.
    pub const START: Position = Position { line: 1, column: 1 };

    /// The position after `text`, when `text` starts at `self`.
    pub(crate) fn after(self, text: &str) -> Position {
        text.chars().fold(self, |at, c| {
            if c == '\n' {
                Position { line: at.line.saturating_add(1), column: 1 }
            } else {
                Position { line: at.line, column: at.column.saturating_add(1) }
            }
        })
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}
