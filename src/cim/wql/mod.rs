//! WQL, the query language of WMI: `SELECT properties FROM class WHERE condition`. [`AssociatorsOf`] reads its other
//! form, `ASSOCIATORS OF {path} WHERE …`.
//!
//! [`Query::parse`] reads the text, [`Query::resolve`] finds classes and properties in the schema and converts literals
//! to the types of their properties, [`Query::matches`] asks an instance. What a missing value makes unknown is handled
//! as in SQL: a comparison with NULL is neither true nor false, and only what is true is selected.
//!
//! Strings are compared without regard to case, as WMI does. A comparison with an array property holds when it holds
//! for one of the items.

mod eval;
mod lex;
mod parse;
mod related;
mod resolve;
#[cfg(test)]
mod tests;

pub use related::AssociatorsOf;

use std::fmt;

use super::CimInstance;
use super::schema::{ClassId, NamespaceId, Schema};
use super::value::Value;

/// What a query may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the text.
    pub octets_max: usize,
    /// Depth of parentheses and NOT.
    pub depth_max: u16,
    /// Comparisons in the condition.
    pub terms_max: u16,
    /// Properties in the list of the SELECT.
    pub properties_max: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { octets_max: 16_384, depth_max: 32, terms_max: 256, properties_max: 512 }
    }
}

/// A query, as far as its state says: [`Parsed`] or [`Resolved`].
#[derive(Clone, Debug, PartialEq)]
pub struct Query<State> {
    state: State,
}

/// The text was read; its names are not checked yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    projection: Option<Vec<parse::Name>>,
    class: parse::Name,
    /// `WITHIN n`, of queries for events.
    within: Option<f64>,
    condition: Option<Condition<parse::Term>>,
}

/// Names are classes and slots of a schema, literals are values of the right type.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    class: ClassId,
    projection: Option<Vec<u16>>,
    condition: Option<Condition<resolve::Term>>,
}

/// How terms are joined.
#[derive(Clone, Debug, PartialEq)]
enum Condition<Term> {
    /// AND of two or more.
    All(Vec<Condition<Term>>),
    /// OR of two or more.
    Any(Vec<Condition<Term>>),
    Not(Box<Condition<Term>>),
    Term(Term),
}

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What is wrong in a query, and at which character of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WqlError {
    /// The character, counted from one.
    pub position: u32,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for WqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {} of the query: {}", self.position, self.message)
    }
}

impl std::error::Error for WqlError {}

impl Query<Parsed> {
    /// Reads a query under the default [`Limits`].
    pub fn parse(text: &str) -> Result<Self, WqlError> {
        Self::parse_within(text, &Limits::default())
    }

    /// Reads a query under limits.
    pub fn parse_within(text: &str, limits: &Limits) -> Result<Self, WqlError> {
        parse::parse(text, limits).map(|state| Query { state })
    }

    /// The name of the class as written.
    pub fn class_name(&self) -> &str {
        &self.state.class.text
    }

    /// The seconds of `WITHIN`: how late an event may be told. Only queries for events have it.
    pub fn within(&self) -> Option<f64> {
        self.state.within
    }

    /// Looks up all names in the default namespace and converts all literals.
    pub fn resolve(&self, schema: &Schema) -> Result<Query<Resolved>, WqlError> {
        self.resolve_in(NamespaceId::DEFAULT, schema)
    }

    /// Looks up all names in a namespace and converts all literals.
    pub fn resolve_in(&self, namespace: NamespaceId, schema: &Schema) -> Result<Query<Resolved>, WqlError> {
        resolve::resolve(&self.state, namespace, schema).map(|state| Query { state })
    }
}

impl fmt::Display for Query<Parsed> {
    /// The query in one spelling: parsing it again gives the same query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        parse::print(&self.state, f)
    }
}

impl Query<Resolved> {
    /// All instances of a class.
    pub fn all(class: ClassId) -> Self {
        Query { state: Resolved { class, projection: None, condition: None } }
    }

    /// The instances of a class whose properties have all of these values.
    pub fn equal(class: ClassId, values: Vec<(u16, Value)>) -> Self {
        let term = |(slot, value)| Condition::Term(resolve::Term::equal(slot, value));
        let terms: Vec<_> = values.into_iter().map(term).collect();
        let condition = if terms.is_empty() { None } else { Some(Condition::All(terms)) };
        Query { state: Resolved { class, projection: None, condition } }
    }

    /// The class after FROM; instances of classes below it are selected, too.
    pub fn class(&self) -> ClassId {
        self.state.class
    }

    /// The slots after SELECT in the order written; none stands for `*`. System properties (`__PATH`) are left out.
    pub fn projection(&self) -> Option<&[u16]> {
        self.state.projection.as_deref()
    }

    /// Whether the query selects the instance: it is of the class or below, and the condition is true.
    pub fn matches(&self, schema: &Schema, instance: &CimInstance) -> bool {
        schema.is_a(instance.class, self.state.class)
            && self
                .state
                .condition
                .as_ref()
                .is_none_or(|condition| eval::truth(condition, schema, instance) == Some(true))
    }

    /// The value that a property must have: of a term `property = literal` that the whole condition cannot do without.
    /// Strings are equal without regard to case.
    pub fn equality(&self, slot: u16) -> Option<&Value> {
        match self.state.condition.as_ref()? {
            Condition::All(parts) => parts.iter().find_map(|part| part.equality(slot)),
            single => single.equality(slot),
        }
    }

    /// The class that an embedded instance must belong to: of a term `property ISA "Class"` that the whole condition
    /// cannot do without.
    pub fn isa(&self, slot: u16) -> Option<ClassId> {
        match self.state.condition.as_ref()? {
            Condition::All(parts) => parts.iter().find_map(|part| part.isa(slot)),
            single => single.isa(slot),
        }
    }

    /// The value that a property of an embedded instance must have, as [`Query::equality`] says it of the instance.
    pub fn inner_equality(&self, slot: u16, inner: u16) -> Option<&Value> {
        match self.state.condition.as_ref()? {
            Condition::All(parts) => parts.iter().find_map(|part| part.inner_equality(slot, inner)),
            single => single.inner_equality(slot, inner),
        }
    }

    /// Whether there is a condition at all.
    pub fn has_condition(&self) -> bool {
        self.state.condition.is_some()
    }
}

impl Condition<resolve::Term> {
    fn equality(&self, slot: u16) -> Option<&Value> {
        if let Condition::Term(term) = self { term.equality(slot) } else { None }
    }

    fn isa(&self, slot: u16) -> Option<ClassId> {
        if let Condition::Term(term) = self { term.isa(slot) } else { None }
    }

    fn inner_equality(&self, slot: u16, inner: u16) -> Option<&Value> {
        if let Condition::Term(term) = self { term.inner_equality(slot, inner) } else { None }
    }
}

impl Operator {
    fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "<>",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }

    /// The operator that says the same with the sides exchanged.
    fn exchanged(self) -> Self {
        match self {
            Operator::Less => Operator::Greater,
            Operator::LessOrEqual => Operator::GreaterOrEqual,
            Operator::Greater => Operator::Less,
            Operator::GreaterOrEqual => Operator::LessOrEqual,
            same => same,
        }
    }
}
