//! The limits that a document is read under, and what can be wrong with it.

use std::fmt;

/// What a peer may send in one document. Everything is checked while reading, before memory is spent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of UTF-8 text in the whole document.
    pub octets_max: usize,
    /// Elements inside each other, the root counted as one.
    pub depth_max: u16,
    /// Elements in the whole document.
    pub elements_max: u32,
    /// Attributes of one element, namespace declarations included.
    pub attributes_max: u16,
    /// Octets of one element or attribute name, its prefix included.
    pub name_octets_max: u16,
    /// Namespace declarations in scope at one place; each lookup of a prefix may walk them all.
    pub declarations_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            octets_max: 512_000,
            depth_max: 64,
            elements_max: 65_536,
            attributes_max: 64,
            name_octets_max: 256,
            declarations_max: 256,
        }
    }
}

/// A place in the text, both numbers from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Character in the line, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// Which bound of [`Limits`] was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// [`Limits::octets_max`].
    Octets,
    /// [`Limits::depth_max`].
    Depth,
    /// [`Limits::elements_max`].
    Elements,
    /// [`Limits::attributes_max`].
    Attributes,
    /// [`Limits::name_octets_max`].
    NameOctets,
    /// [`Limits::declarations_max`].
    Declarations,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Octets => "too many octets",
            Self::Depth => "elements are nested too deeply",
            Self::Elements => "too many elements",
            Self::Attributes => "too many attributes on one element",
            Self::NameOctets => "a name is too long",
            Self::Declarations => "too many namespace declarations in scope",
        })
    }
}

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XmlErrorKind {
    /// Not well-formed; the text says what.
    Malformed(String),
    /// A document type declaration. SOAP forbids it.
    Doctype,
    /// A reference to an entity that is not one of the five predefined ones; its name.
    Entity(String),
    /// A processing instruction. SOAP forbids it.
    ProcessingInstruction,
    /// A bound of [`Limits`] was passed.
    Limit(LimitKind),
    /// A prefix of an element or attribute that no declaration in scope binds.
    UnboundPrefix(String),
    /// The same attribute (by expanded name) twice on one element.
    DuplicateAttribute(String),
    /// A character that XML 1.0 does not allow, written out or as a reference; its code point.
    IllegalCharacter(u32),
    /// Something other than comments and white space after the end of the root element.
    TrailingContent,
}

impl fmt::Display for XmlErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::Doctype => f.write_str("a document type declaration is not allowed"),
            Self::Entity(name) => write!(f, "the entity {name:?} is not defined"),
            Self::ProcessingInstruction => f.write_str("a processing instruction is not allowed"),
            Self::Limit(limit) => limit.fmt(f),
            Self::UnboundPrefix(prefix) => write!(f, "the prefix {prefix:?} is not declared"),
            Self::DuplicateAttribute(name) => write!(f, "the attribute {name:?} is given twice"),
            Self::IllegalCharacter(code) => write!(f, "the character U+{code:04X} is not allowed in XML"),
            Self::TrailingContent => f.write_str("there is content after the end of the root element"),
        }
    }
}

/// Why a text is not accepted as a document, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} ({position})")]
pub struct XmlError {
    /// What is wrong.
    pub kind: XmlErrorKind,
    /// Where it is wrong.
    pub position: Position,
}

impl XmlError {
    /// An error at an octet offset of a text; the position is only worked out here, where it is needed.
    pub(super) fn at(text: &str, offset: usize, kind: XmlErrorKind) -> Self {
        Self { kind, position: position(text, offset) }
    }
}

/// Line and column of an octet offset. An offset inside a character counts as that character's start.
pub(super) fn position(text: &str, offset: usize) -> Position {
    let mut end = offset.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let before = text.get(..end).unwrap_or_default();
    let line = before.bytes().filter(|&b| b == b'\n').count();
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
    let one_based = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).saturating_add(1);
    Position { line: one_based(line), column: one_based(column) }
}
