//! Asks an instance, by the rules of XPath 1.0 for comparisons and conversions.

use std::borrow::Cow;

use super::{Axis, Expression, Function, Operator, Path, Step, Test};
use crate::cim::{CimInstance, Class, Schema, Value as CimValue};
use crate::wscim::instance::wire_text;

pub(super) fn truth(expression: &Expression, schema: &Schema, instance: &CimInstance) -> bool {
    let class = schema.class(instance.class);
    Asked { schema, class, instance }.value(expression, Node::Instance).truth()
}

/// A node of the tree that stands for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Document,
    Instance,
    /// A property's element; of an array, the item's.
    Property(u16, usize),
    /// The text in it.
    Text(u16, usize),
}

enum Value {
    Nodes(Vec<(Node, String)>),
    Text(String),
    Number(f64),
    Truth(bool),
}

impl Value {
    fn truth(&self) -> bool {
        match self {
            Self::Nodes(nodes) => !nodes.is_empty(),
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => *number != 0.0 && !number.is_nan(),
            Self::Truth(truth) => *truth,
        }
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Nodes(nodes) => Cow::Borrowed(nodes.first().map_or("", |(_, text)| text)),
            Self::Text(text) => Cow::Borrowed(text),
            Self::Number(number) => Cow::Owned(number_text(*number)),
            Self::Truth(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        }
    }

    fn number(&self) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::Truth(truth) => f64::from(u8::from(*truth)),
            Self::Nodes(_) | Self::Text(_) => text_number(&self.text()),
        }
    }
}

struct Asked<'a> {
    schema: &'a Schema,
    class: &'a Class,
    instance: &'a CimInstance,
}

impl<'a> Asked<'a> {
    fn value(&self, expression: &Expression, context: Node) -> Value {
        match expression {
            Expression::Any(parts) => Value::Truth(parts.iter().any(|part| self.value(part, context).truth())),
            Expression::All(parts) => Value::Truth(parts.iter().all(|part| self.value(part, context).truth())),
            Expression::Compare(operator, left, right) => {
                Value::Truth(compare(*operator, &self.value(left, context), &self.value(right, context)))
            }
            Expression::Call(function, arguments) => self.call(*function, arguments, context),
            Expression::Path(path) => {
                let nodes = self.nodes(path, context);
                Value::Nodes(nodes.into_iter().map(|node| (node, self.text_of(node))).collect())
            }
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::Number(number) => Value::Number(*number),
        }
    }

    fn call(&self, function: Function, arguments: &[Expression], context: Node) -> Value {
        let given = |at: usize| arguments.get(at).map(|argument| self.value(argument, context));
        // A function without its argument is about the context node.
        let first = || given(0).unwrap_or_else(|| Value::Text(self.text_of(context)));
        let second = || given(1).unwrap_or_else(|| Value::Text(String::new()));
        match function {
            Function::Boolean => Value::Truth(first().truth()),
            Function::Not => Value::Truth(!first().truth()),
            Function::True => Value::Truth(true),
            Function::False => Value::Truth(false),
            Function::Number => Value::Number(first().number()),
            Function::String => Value::Text(first().text().into_owned()),
            Function::StringLength => Value::Number(count(first().text().chars().count())),
            Function::NormalizeSpace => Value::Text(first().text().split_whitespace().collect::<Vec<_>>().join(" ")),
            Function::Contains => Value::Truth(first().text().contains(&*second().text())),
            Function::StartsWith => Value::Truth(first().text().starts_with(&*second().text())),
            Function::Concat => {
                Value::Text(arguments.iter().map(|part| self.value(part, context).text().into_owned()).collect())
            }
            Function::Count => match given(0) {
                Some(Value::Nodes(nodes)) => Value::Number(count(nodes.len())),
                _ => Value::Number(0.0),
            },
            Function::LocalName => {
                let node = match given(0) {
                    Some(Value::Nodes(nodes)) => nodes.first().map(|(node, _)| *node),
                    _ => Some(context),
                };
                Value::Text(node.map_or("", |node| self.name_of(node)).to_owned())
            }
        }
    }

    fn nodes(&self, path: &Path, context: Node) -> Vec<Node> {
        let mut nodes = vec![if path.is_absolute { Node::Document } else { context }];
        for step in &path.steps {
            let mut next: Vec<Node> = Vec::new();
            for node in nodes {
                for found in self.step(step, node) {
                    let holds = |predicate: &Expression| self.value(predicate, found).truth();
                    if step.predicates.iter().all(holds) && !next.contains(&found) {
                        next.push(found);
                    }
                }
            }
            nodes = next;
        }
        nodes
    }

    /// The nodes of a step before its predicates.
    fn step(&self, step: &Step, node: Node) -> Vec<Node> {
        let mut found = Vec::new();
        match (step.axis, node) {
            (Axis::Itself, node) => found.push(node),
            (_, Node::Text(..)) => {}
            (_, Node::Property(slot, item)) => found.push(Node::Text(slot, item)),
            (Axis::Child, Node::Document) => found.push(Node::Instance),
            (Axis::Child, Node::Instance) => return self.properties(&step.test),
            (Axis::Descendant, Node::Document) if step.test != Test::Text => {
                found.push(Node::Instance);
                found.retain(|node| self.passes(&step.test, *node));
                found.extend(self.properties(&step.test));
                return found;
            }
            (Axis::Descendant, _) if step.test != Test::Text => return self.properties(&step.test),
            (Axis::Descendant, _) => {
                for property in self.properties(&Test::AnyElement) {
                    found
                        .extend(self.step(&Step { axis: Axis::Child, test: Test::Text, predicates: vec![] }, property));
                }
            }
        }
        found.retain(|node| self.passes(&step.test, *node));
        found
    }

    /// The elements of the properties that a test fits, in the order of their slots.
    fn properties(&self, test: &Test) -> Vec<Node> {
        let of = |slot: u16| -> Vec<Node> {
            let count = match self.instance.get(slot) {
                CimValue::Array(items) => items.len(),
                _ => 1,
            };
            (0..count).map(|item| Node::Property(slot, item)).collect()
        };
        match test {
            Test::Name { local, .. } => match self.class.property(local) {
                Some((slot, _)) => of(slot).into_iter().filter(|node| self.passes(test, *node)).collect(),
                None => Vec::new(),
            },
            Test::AnyElement | Test::AnyNode => self.class.slots().flat_map(|(slot, _)| of(slot)).collect(),
            Test::Text => Vec::new(),
        }
    }

    fn passes(&self, test: &Test, node: Node) -> bool {
        match (test, node) {
            (Test::AnyNode, _) | (Test::AnyElement, Node::Instance | Node::Property(..)) => true,
            (Test::Text, Node::Text(..)) => !self.text_of(node).is_empty(),
            (Test::Name { namespace, local }, Node::Instance | Node::Property(..)) => {
                // Every form of a class's namespace ends with the class.
                let fits = |namespace: &String| namespace.rsplit('/').next() == Some(&self.class.name);
                self.name_of(node) == local && namespace.as_ref().is_none_or(fits)
            }
            _ => false,
        }
    }

    fn name_of(&self, node: Node) -> &'a str {
        match node {
            Node::Instance => &self.class.name,
            Node::Property(slot, _) => self.class.property_at(slot).map_or("", |property| &property.name),
            Node::Document | Node::Text(..) => "",
        }
    }

    /// The string-value of a node.
    fn text_of(&self, node: Node) -> String {
        match node {
            Node::Property(slot, item) | Node::Text(slot, item) => match self.instance.get(slot) {
                CimValue::Array(items) => items.get(item).map_or_else(String::new, |item| wire_text(item, self.schema)),
                single => wire_text(single, self.schema),
            },
            Node::Document | Node::Instance => {
                self.properties(&Test::AnyElement).into_iter().map(|node| self.text_of(node)).collect()
            }
        }
    }
}

fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

/// A comparison with a set of nodes holds when it holds for one of them.
fn compare(operator: Operator, left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Nodes(nodes), Value::Truth(_)) => compare_single(operator, &Value::Truth(!nodes.is_empty()), right),
        (Value::Truth(_), Value::Nodes(nodes)) => compare_single(operator, left, &Value::Truth(!nodes.is_empty())),
        (Value::Nodes(left), right) => {
            left.iter().any(|(_, text)| compare(operator, &Value::Text(text.clone()), right))
        }
        (left, Value::Nodes(right)) => {
            right.iter().any(|(_, text)| compare_single(operator, left, &Value::Text(text.clone())))
        }
        (left, right) => compare_single(operator, left, right),
    }
}

#[expect(clippy::float_cmp, reason = "XPath compares numbers exactly")]
fn compare_single(operator: Operator, left: &Value, right: &Value) -> bool {
    let by_truth = matches!(left, Value::Truth(_)) || matches!(right, Value::Truth(_));
    let by_number = matches!(left, Value::Number(_)) || matches!(right, Value::Number(_));
    let equal = || match (by_truth, by_number) {
        (true, _) => left.truth() == right.truth(),
        (false, true) => left.number() == right.number(),
        (false, false) => left.text() == right.text(),
    };
    match operator {
        Operator::Equal => equal(),
        Operator::NotEqual => !equal(),
        Operator::Less => left.number() < right.number(),
        Operator::LessOrEqual => left.number() <= right.number(),
        Operator::Greater => left.number() > right.number(),
        Operator::GreaterOrEqual => left.number() >= right.number(),
    }
}

/// A number as XPath reads it: digits with or without a point and a minus, and nothing else.
fn text_number(text: &str) -> f64 {
    let text = text.trim_matches([' ', '\t', '\r', '\n']);
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.') && digits != ".";
    if plain { text.parse().unwrap_or(f64::NAN) } else { f64::NAN }
}

/// A number as XPath writes it.
fn number_text(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    if number == 0.0 { "0".to_owned() } else { number.to_string() }
}
