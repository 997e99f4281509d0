//! XML as octets: a flat tape under limits, and an escaping writer.
//!
//! This layer knows nothing of SOAP. Octets become text in [`text`], text becomes a [`Document`] under [`Limits`], and
//! answers are written with [`Writer`]. Nothing here recurses, so no nesting can exhaust the stack.

mod attribute;
mod build;
mod declaration;
mod document;
mod error;
pub mod name;
mod reference;
#[cfg(test)]
mod tests;
pub mod text;
mod writer;

pub use document::{Attribute, Attributes, Children, Declarations, Document, Element};
pub use error::{LimitKind, Limits, Position, XmlError, XmlErrorKind};
pub use writer::Writer;
