//! MOF (DSP0004 annex A): the language of the schema files, and one of the dialects of embedded instances.
//!
//! [`lex`] makes tokens, [`parse`] makes declarations of them, [`build`] makes a schema of the declarations.

pub(super) mod build;
pub(crate) mod lex;
pub(crate) mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use super::Position;

/// What is wrong in a MOF text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MofError {
    /// The name of the text.
    pub source: String,
    /// Where.
    pub position: Position,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for MofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MofError { source, position: Position { line, column }, message } = self;
        write!(f, "{source}:{line}:{column}: {message}")
    }
}

impl std::error::Error for MofError {}
