//! XPath 1.0 as a filter of instances: the default dialect of WS-Enumeration. No document is built for an instance; an
//! expression is read once and asks the instance's values in place.
//!
//! The tree that it sees is the one on the wire: the document, in it the element of the instance, in that one element a
//! value. The context node is the element of the instance, so that `/Msvm_ComputerSystem[EnabledState=2]` and
//! `EnabledState=2` ask the same. A name without a prefix fits whatever its namespace, since clients leave prefixes
//! out; one with a prefix fits when its namespace is that of the class.
//!
//! Served are paths down to a property, predicates, `=`, `!=`, `<`, `<=`, `>`, `>=`, `and`, `or`, text, numbers and the
//! functions of one table. Positions, arithmetic, unions, attributes, variables, other axes and what lies within a
//! value are refused when the text is read, so that no filter is ever half obeyed.

mod eval;
mod lex;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::cim::{CimInstance, Schema};

/// Octets of an expression.
const OCTETS_MAX: usize = 16_384;
/// Depth of parentheses, predicates and calls.
const DEPTH_MAX: u16 = 32;
/// Steps, comparisons and calls together.
const PARTS_MAX: u16 = 256;
/// What an expression may cost for one instance: nodes looked at, with the predicates of each.
const COST_MAX: u64 = 4_096;
/// Nodes that `*` is taken to find: no class has many more properties.
const FAN: u64 = 64;

/// An expression, read.
#[derive(Clone, Debug, PartialEq)]
pub struct XPath {
    expression: Expression,
}

/// What is wrong in an expression, and at which character of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XPathError {
    /// The character, counted from one.
    pub position: u32,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for XPathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "character {} of the XPath expression: {}", self.position, self.message)
    }
}

impl std::error::Error for XPathError {}

impl XPath {
    /// Reads an expression. `namespace` resolves the prefixes that are in scope where it stands.
    pub fn parse(text: &str, namespace: &dyn Fn(&str) -> Option<String>) -> Result<Self, XPathError> {
        parse::parse(text, namespace).map(|expression| Self { expression })
    }

    /// Whether the expression is true of an instance: a set of nodes is when it is not empty.
    pub fn matches(&self, schema: &Schema, instance: &CimInstance) -> bool {
        eval::truth(&self.expression, schema, instance)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Expression {
    /// One of these is true.
    Any(Vec<Expression>),
    /// All of these are true.
    All(Vec<Expression>),
    Compare(Operator, Box<Expression>, Box<Expression>),
    Call(Function, Vec<Expression>),
    Path(Path),
    Text(String),
    Number(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    Boolean,
    Concat,
    Contains,
    Count,
    False,
    LocalName,
    NormalizeSpace,
    Not,
    Number,
    StartsWith,
    String,
    StringLength,
    True,
}

impl Expression {
    /// Nodes that are looked at to evaluate it once, at most. Predicates within predicates multiply.
    fn cost(&self) -> u64 {
        let of_all = |parts: &[Self]| parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.cost()));
        match self {
            Self::Any(parts) | Self::All(parts) | Self::Call(_, parts) => of_all(parts).saturating_add(1),
            Self::Compare(_, left, right) => left.cost().saturating_add(right.cost()),
            Self::Text(_) | Self::Number(_) => 1,
            Self::Path(path) => {
                let (mut nodes, mut cost) = (1_u64, 1_u64);
                for step in &path.steps {
                    nodes = nodes.saturating_mul(match (step.axis, &step.test) {
                        (Axis::Itself, _) | (Axis::Child, Test::Name { .. } | Test::Text) => 1,
                        _ => FAN,
                    });
                    let each = of_all(&step.predicates).saturating_add(1);
                    cost = cost.saturating_add(nodes.saturating_mul(each));
                }
                cost
            }
        }
    }

    /// Whether its value is a number whatever the instance: as a predicate it would ask for a position.
    fn is_number(&self) -> bool {
        matches!(self, Self::Number(_) | Self::Call(Function::Count | Function::Number | Function::StringLength, _))
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Path {
    /// Whether it begins at the document.
    is_absolute: bool,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
struct Step {
    axis: Axis,
    test: Test,
    predicates: Vec<Expression>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Axis {
    Child,
    /// `//`: all elements below.
    Descendant,
    Itself,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// `*`
    AnyElement,
    /// `.`
    AnyNode,
    /// `text()`
    Text,
    Name {
        namespace: Option<String>,
        local: String,
    },
}
