//! Asks an instance, by the rules of XPath 1.0 for comparisons and conversions.

use std::borrow::Cow;
use std::collections::HashSet;

use super::{Axis, Expression, Function, Operator, Path, Step, Test};
use crate::cim::{CimInstance, Class, Schema, Value as CimValue};
use crate::wscim::instance::wire_text;

pub(super) fn truth(expression: &Expression, schema: &Schema, instance: &CimInstance) -> bool {
    let class = schema.class(instance.class);
    Asked { schema, class, instance }.truth(expression, Node::Instance)
}

/// A node of the tree that stands for an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    Document,
    Instance,
    /// A property's element; of an array, the item's.
    Property(u16, usize),
    /// The text in it.
    Text(u16, usize),
}

/// A value; the texts of nodes are made when they are asked for.
enum Value<'e> {
    Nodes(Vec<Node>),
    Text(Cow<'e, str>),
    Number(f64),
    Truth(bool),
}

struct Asked<'a> {
    schema: &'a Schema,
    class: &'a Class,
    instance: &'a CimInstance,
}

impl<'a> Asked<'a> {
    fn truth(&self, expression: &Expression, context: Node) -> bool {
        truth_of(&self.value(expression, context))
    }

    fn value<'e>(&self, expression: &'e Expression, context: Node) -> Value<'e> {
        match expression {
            Expression::Any(parts) => Value::Truth(parts.iter().any(|part| self.truth(part, context))),
            Expression::All(parts) => Value::Truth(parts.iter().all(|part| self.truth(part, context))),
            Expression::Compare(operator, left, right) => {
                Value::Truth(self.compare(*operator, &self.value(left, context), &self.value(right, context)))
            }
            Expression::Call(function, arguments) => self.call(*function, arguments, context),
            Expression::Path(path) => Value::Nodes(self.nodes(path, context)),
            Expression::Text(text) => Value::Text(Cow::Borrowed(text)),
            Expression::Number(number) => Value::Number(*number),
        }
    }

    fn text<'v>(&self, value: &'v Value<'_>) -> Cow<'v, str> {
        match value {
            Value::Nodes(nodes) => Cow::Owned(nodes.first().map_or_else(String::new, |node| self.text_of(*node))),
            Value::Text(text) => Cow::Borrowed(text),
            Value::Number(number) => Cow::Owned(number_text(*number)),
            Value::Truth(truth) => Cow::Borrowed(if *truth { "true" } else { "false" }),
        }
    }

    fn number(&self, value: &Value<'_>) -> f64 {
        match value {
            Value::Number(number) => *number,
            Value::Truth(truth) => f64::from(u8::from(*truth)),
            Value::Nodes(_) | Value::Text(_) => text_number(&self.text(value)),
        }
    }

    fn call<'e>(&self, function: Function, arguments: &'e [Expression], context: Node) -> Value<'e> {
        let given = |at: usize| arguments.get(at).map(|argument| self.value(argument, context));
        // A function without its argument is about the context node.
        let first = || given(0).unwrap_or_else(|| Value::Nodes(vec![context]));
        let text = |at: usize| given(at).map_or_else(String::new, |value| self.text(&value).into_owned());
        match function {
            Function::Boolean => Value::Truth(truth_of(&first())),
            Function::Not => Value::Truth(!truth_of(&first())),
            Function::True => Value::Truth(true),
            Function::False => Value::Truth(false),
            Function::Number => Value::Number(self.number(&first())),
            Function::String => Value::Text(self.text(&first()).into_owned().into()),
            Function::StringLength => Value::Number(count(self.text(&first()).chars().count())),
            Function::NormalizeSpace => {
                let text = self.text(&first()).split_whitespace().collect::<Vec<_>>().join(" ");
                Value::Text(text.into())
            }
            Function::Contains => Value::Truth(text(0).contains(&text(1))),
            Function::StartsWith => Value::Truth(text(0).starts_with(&text(1))),
            Function::Concat => {
                let parts = arguments.iter().map(|part| self.text(&self.value(part, context)).into_owned());
                Value::Text(parts.collect::<String>().into())
            }
            Function::Count => match given(0) {
                Some(Value::Nodes(nodes)) => Value::Number(count(nodes.len())),
                _ => Value::Number(0.0),
            },
            Function::LocalName => {
                let node = match given(0) {
                    Some(Value::Nodes(nodes)) => nodes.first().copied(),
                    _ => Some(context),
                };
                Value::Text(node.map_or("", |node| self.name_of(node)).to_owned().into())
            }
        }
    }

    fn nodes(&self, path: &Path, context: Node) -> Vec<Node> {
        let mut nodes = vec![if path.is_absolute { Node::Document } else { context }];
        for step in &path.steps {
            let found: Vec<Node> = match nodes.as_slice() {
                [only] => self.step(step, *only),
                several => {
                    let mut seen = HashSet::new();
                    several.iter().flat_map(|node| self.step(step, *node)).filter(|node| seen.insert(*node)).collect()
                }
            };
            let holds = |node: &Node| step.predicates.iter().all(|predicate| self.truth(predicate, *node));
            nodes = found.into_iter().filter(holds).collect();
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

fn truth_of(value: &Value<'_>) -> bool {
    match value {
        Value::Nodes(nodes) => !nodes.is_empty(),
        Value::Text(text) => !text.is_empty(),
        Value::Number(number) => *number != 0.0 && !number.is_nan(),
        Value::Truth(truth) => *truth,
    }
}

impl Asked<'_> {
    /// A comparison with a set of nodes holds when it holds for one of them.
    fn compare(&self, operator: Operator, left: &Value<'_>, right: &Value<'_>) -> bool {
        let single = |node: &Node| Value::Text(self.text_of(*node).into());
        match (left, right) {
            (Value::Nodes(left), Value::Nodes(right)) => self.compare_sets(operator, left, right),
            (Value::Nodes(nodes), Value::Truth(_)) => {
                self.compare_single(operator, &Value::Truth(!nodes.is_empty()), right)
            }
            (Value::Truth(_), Value::Nodes(nodes)) => {
                self.compare_single(operator, left, &Value::Truth(!nodes.is_empty()))
            }
            (Value::Nodes(left), right) => left.iter().any(|node| self.compare_single(operator, &single(node), right)),
            (left, Value::Nodes(right)) => right.iter().any(|node| self.compare_single(operator, left, &single(node))),
            (left, right) => self.compare_single(operator, left, right),
        }
    }

    /// Whether the comparison holds for a pair of nodes, without a look at each pair: large sets come from a few
    /// characters.
    fn compare_sets(&self, operator: Operator, left: &[Node], right: &[Node]) -> bool {
        let texts = |nodes: &[Node]| nodes.iter().map(|node| self.text_of(*node)).collect::<HashSet<_>>();
        let limit = |nodes: &[Node], of: fn(f64, f64) -> f64| {
            let numbers = nodes.iter().map(|node| text_number(&self.text_of(*node)));
            numbers.filter(|number| !number.is_nan()).reduce(of)
        };
        let (least, most) = (|nodes: &[Node]| limit(nodes, f64::min), |nodes: &[Node]| limit(nodes, f64::max));
        if left.is_empty() || right.is_empty() {
            return false;
        }
        match operator {
            Operator::Equal => !texts(left).is_disjoint(&texts(right)),
            // Only where both sides hold one and the same text is no pair unequal.
            Operator::NotEqual => texts(left).union(&texts(right)).nth(1).is_some(),
            Operator::Less => least(left).zip(most(right)).is_some_and(|(left, right)| left < right),
            Operator::LessOrEqual => least(left).zip(most(right)).is_some_and(|(left, right)| left <= right),
            Operator::Greater => most(left).zip(least(right)).is_some_and(|(left, right)| left > right),
            Operator::GreaterOrEqual => most(left).zip(least(right)).is_some_and(|(left, right)| left >= right),
        }
    }

    #[expect(clippy::float_cmp, reason = "XPath compares numbers exactly")]
    fn compare_single(&self, operator: Operator, left: &Value<'_>, right: &Value<'_>) -> bool {
        let by_truth = matches!(left, Value::Truth(_)) || matches!(right, Value::Truth(_));
        let by_number = matches!(left, Value::Number(_)) || matches!(right, Value::Number(_));
        let equal = || match (by_truth, by_number) {
            (true, _) => truth_of(left) == truth_of(right),
            (false, true) => self.number(left) == self.number(right),
            (false, false) => self.text(left) == self.text(right),
        };
        match operator {
            Operator::Equal => equal(),
            Operator::NotEqual => !equal(),
            Operator::Less => self.number(left) < self.number(right),
            Operator::LessOrEqual => self.number(left) <= self.number(right),
            Operator::Greater => self.number(left) > self.number(right),
            Operator::GreaterOrEqual => self.number(left) >= self.number(right),
        }
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
