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
/// Steps, comparisons, calls, literals and parentheses together.
const PARTS_MAX: u16 = 256;
/// What an expression may cost for one instance: nodes looked at, with the predicates of each.
const COST_MAX: u64 = 16_384;
/// Nodes that `*`, or the name of a property that is an array, is taken to find: no array has more items. As many
/// make the text of an instance.
const FAN: u64 = 256;

/// An expression, read.
#[derive(Clone, Debug, PartialEq)]
pub struct XPath {
    expression: Expression,
    cost: u64,
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
        let expression = parse::parse(text, namespace)?;
        Ok(Self { cost: expression.cost(Level::Instance), expression })
    }

    /// What it costs to ask one instance, at most: about as many nodes are looked at.
    pub fn cost(&self) -> u64 {
        self.cost
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

/// How deep the context node lies, at most; the nodes above an element of a property hold the text of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Document,
    Instance,
    Property,
}

impl Level {
    /// What the text of a node costs.
    fn text(self) -> u64 {
        if self == Self::Property { 1 } else { FAN }
    }
}

impl Expression {
    /// Nodes that are looked at to evaluate it once, at most. Predicates within predicates multiply.
    fn cost(&self, level: Level) -> u64 {
        match self {
            Self::Call(Function::LocalName, parts) if parts.is_empty() => 1,
            // It is about the text of the context node.
            Self::Call(
                Function::Number | Function::NormalizeSpace | Function::String | Function::StringLength,
                parts,
            ) if parts.is_empty() => level.text().saturating_add(1),
            Self::Any(parts) | Self::All(parts) | Self::Call(_, parts) => cost_of_all(parts, level).saturating_add(1),
            Self::Compare(_, left, right) => left.cost(level).saturating_add(right.cost(level)),
            Self::Text(_) | Self::Number(_) => 1,
            Self::Path(path) => path.cost(level),
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

impl Path {
    fn cost(&self, context: Level) -> u64 {
        let mut level = if self.is_absolute { Level::Document } else { context };
        let (mut nodes, mut cost) = (1_u64, 1_u64);
        // What the texts of the instance and of the document cost, where the path may end at one of them.
        let mut text = level.text();
        for step in &self.steps {
            let each = |level: Level| cost_of_all(&step.predicates, level).saturating_add(1);
            match (step.axis, level) {
                (Axis::Itself, _) | (Axis::Child, Level::Property) => {}
                (Axis::Child, Level::Document) => level = Level::Instance,
                (Axis::Child, Level::Instance) => {
                    (level, text) = (Level::Property, 0);
                    // A name leads to one element or to the items of one array: only what is done with each multiplies.
                    if step.test != Test::Text {
                        nodes = nodes.saturating_mul(FAN);
                    }
                }
                (Axis::Descendant, _) => {
                    // From the document, the instance is among them.
                    if level == Level::Document {
                        cost = cost.saturating_add(each(Level::Instance));
                    } else {
                        text = 0;
                    }
                    level = Level::Property;
                    nodes = nodes.saturating_mul(FAN);
                }
            }
            let is_plain_name = matches!(step.test, Test::Name { .. }) && step.predicates.is_empty();
            let looked_at = if is_plain_name && step.axis == Axis::Child { 1 } else { nodes };
            cost = cost.saturating_add(looked_at.saturating_mul(each(level)));
        }
        cost.saturating_add(text)
    }
}

fn cost_of_all(parts: &[Expression], level: Level) -> u64 {
    parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.cost(level)))
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
