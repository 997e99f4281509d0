//! The language of assertions: the part of XPath 1.0 that cases need, plus `qname()` for QNames in content,
//! `matches()` for regular expressions and `markup()` for the source of an element. Prefixes are fixed (see
//! [`namespace`]), whatever the document calls them.

use std::collections::BTreeMap;

use regex::Regex;

use crate::path_parse::{Axis, Comparison, Expression, NameTest, Path, Step, parse};
use crate::xml::{Document, Name};

/// The prefixes that a path may use.
const PREFIXES: &[(&str, &str)] = &[
    ("s", "http://www.w3.org/2003/05/soap-envelope"),
    ("s11", "http://schemas.xmlsoap.org/soap/envelope/"),
    ("a", "http://schemas.xmlsoap.org/ws/2004/08/addressing"),
    ("n", "http://schemas.xmlsoap.org/ws/2004/09/enumeration"),
    ("w", "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"),
    ("x", "http://schemas.xmlsoap.org/ws/2004/09/transfer"),
    ("e", "http://schemas.xmlsoap.org/ws/2004/08/eventing"),
    ("b", "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"),
    ("wsmid", "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"),
    ("wsmid2", "http://schemas.dmtf.org/wbem/wsman/identify/1/wsmanidentity.xsd"),
    ("cim", "http://schemas.dmtf.org/wbem/wscim/1/common"),
    ("p", "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"),
    ("f", "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"),
    ("xsi", "http://www.w3.org/2001/XMLSchema-instance"),
    ("z", "urn:conformance:magic"),
    ("xml", crate::xml::XML),
];

/// The namespace of one of the fixed prefixes.
pub(crate) fn namespace(prefix: &str) -> Option<&'static str> {
    PREFIXES.iter().find(|(name, _)| *name == prefix).map(|(_, uri)| *uri)
}

/// `prefix:local` for a name whose namespace has a fixed prefix, else `{namespace}local`.
pub(crate) fn display(name: &Name) -> String {
    match PREFIXES.iter().find(|(_, uri)| *uri == name.namespace) {
        Some((prefix, _)) => format!("{prefix}:{}", name.local),
        None => format!("{{{}}}{}", name.namespace, name.local),
    }
}

/// The variables of a run: `$name` in an expression.
pub(crate) type Variables = BTreeMap<String, String>;

/// A place in a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    /// The node above the root element.
    Top,
    Element(usize),
    /// An attribute: its element and its place there.
    Attribute(usize, usize),
    /// The direct text of an element.
    Text(usize),
}

/// What an expression yields.
#[derive(Clone, Debug)]
enum Value {
    Boolean(bool),
    Number(f64),
    Text(String),
    Items(Vec<Item>),
}

/// Evaluates an expression to true or false.
pub(crate) fn holds(document: &Document, variables: &Variables, source: &str) -> Result<bool, String> {
    let expression = parse(source)?;
    let evaluator = Evaluator { document, variables };
    Ok(evaluator.boolean(&evaluator.evaluate(&expression, &[Item::Top])?))
}

/// Evaluates an expression to text.
pub(crate) fn text(document: &Document, variables: &Variables, source: &str) -> Result<String, String> {
    let expression = parse(source)?;
    let evaluator = Evaluator { document, variables };
    Ok(evaluator.string(&evaluator.evaluate(&expression, &[Item::Top])?))
}

struct Evaluator<'d> {
    document: &'d Document,
    variables: &'d Variables,
}

impl Evaluator<'_> {
    fn evaluate(&self, expression: &Expression, context: &[Item]) -> Result<Value, String> {
        Ok(match expression {
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::Number(number) => Value::Number(*number),
            Expression::Variable(name) => {
                Value::Text(self.variables.get(name).cloned().ok_or_else(|| format!("no variable ${name}"))?)
            }
            Expression::Path(path) => Value::Items(self.path(path, context)?),
            Expression::Call(name, arguments) => self.call(name, arguments, context)?,
            Expression::And(left, right) => Value::Boolean(
                self.boolean(&self.evaluate(left, context)?) && self.boolean(&self.evaluate(right, context)?),
            ),
            Expression::Or(left, right) => Value::Boolean(
                self.boolean(&self.evaluate(left, context)?) || self.boolean(&self.evaluate(right, context)?),
            ),
            Expression::Compare(comparison, left, right) => {
                let (left, right) = (self.evaluate(left, context)?, self.evaluate(right, context)?);
                Value::Boolean(self.compare(*comparison, &left, &right))
            }
        })
    }

    fn call(&self, name: &str, arguments: &[Expression], context: &[Item]) -> Result<Value, String> {
        let value = |at: usize| -> Result<Value, String> {
            let argument = arguments.get(at).ok_or_else(|| format!("{name}() lacks argument {}", at + 1))?;
            self.evaluate(argument, context)
        };
        let string = |at: usize| value(at).map(|value| self.string(&value));
        let first = || -> Result<Option<Item>, String> {
            let items = match arguments.first() {
                Some(argument) => self.evaluate(argument, context)?,
                None => Value::Items(context.to_vec()),
            };
            match items {
                Value::Items(items) => Ok(items.first().copied()),
                _ => Err(format!("{name}() takes a path")),
            }
        };
        Ok(match name {
            "count" => match value(0)? {
                Value::Items(items) => Value::Number(f64::from(u32::try_from(items.len()).unwrap_or(u32::MAX))),
                _ => return Err("count() takes a path".to_owned()),
            },
            "not" => Value::Boolean(!self.boolean(&value(0)?)),
            "boolean" => Value::Boolean(self.boolean(&value(0)?)),
            "string" => Value::Text(string(0)?),
            "number" => Value::Number(number(&string(0)?)),
            "normalize-space" => Value::Text(string(0)?.split_whitespace().collect::<Vec<_>>().join(" ")),
            "string-length" => {
                let length = u32::try_from(string(0)?.chars().count()).unwrap_or(u32::MAX);
                Value::Number(f64::from(length))
            }
            "contains" => Value::Boolean(string(0)?.contains(&string(1)?)),
            "starts-with" => Value::Boolean(string(0)?.starts_with(&string(1)?)),
            "ends-with" => Value::Boolean(string(0)?.ends_with(&string(1)?)),
            "lower-case" => Value::Text(string(0)?.to_lowercase()),
            "concat" => {
                let parts: Result<Vec<String>, String> = (0..arguments.len()).map(string).collect();
                Value::Text(parts?.concat())
            }
            "matches" => Value::Boolean(Regex::new(&string(1)?).map_err(|e| e.to_string())?.is_match(&string(0)?)),
            "local-name" => Value::Text(self.name_of(first()?).map_or_else(String::new, |name| name.local)),
            "namespace-uri" => Value::Text(self.name_of(first()?).map_or_else(String::new, |name| name.namespace)),
            "qname" => Value::Text(self.qname(first()?).unwrap_or_else(|| "undeclared prefix".to_owned())),
            "markup" => Value::Text(self.markup(first()?, Document::markup)),
            "inner-markup" => Value::Text(self.markup(first()?, Document::inner_markup)),
            other => return Err(format!("unknown function {other}()")),
        })
    }

    fn markup<'d>(&'d self, item: Option<Item>, read: impl Fn(&'d Document, usize) -> &'d str) -> String {
        match item {
            Some(Item::Element(index)) => read(self.document, index).to_owned(),
            _ => String::new(),
        }
    }

    fn name_of(&self, item: Option<Item>) -> Option<Name> {
        match item? {
            Item::Element(index) => self.document.nodes.get(index).map(|node| node.name.clone()),
            Item::Attribute(index, at) => {
                self.document.nodes.get(index).and_then(|node| node.attributes.get(at)).map(|(name, _)| name.clone())
            }
            Item::Top | Item::Text(_) => None,
        }
    }

    /// The QName held by an item's text, spelt with the fixed prefixes.
    fn qname(&self, item: Option<Item>) -> Option<String> {
        let item = item?;
        let (Item::Element(element) | Item::Attribute(element, _) | Item::Text(element)) = item else { return None };
        self.document.resolve(element, &self.item_text(item)).map(|name| display(&name))
    }

    fn path(&self, path: &Path, context: &[Item]) -> Result<Vec<Item>, String> {
        let mut items = if path.absolute { vec![Item::Top] } else { context.to_vec() };
        for step in &path.steps {
            items = self.step(step, &items)?;
        }
        Ok(items)
    }

    fn step(&self, step: &Step, from: &[Item]) -> Result<Vec<Item>, String> {
        let mut found = Vec::new();
        for item in from {
            let mut candidates = self.axis(step, *item);
            for predicate in &step.predicates {
                candidates = self.filter(predicate, &candidates)?;
            }
            for candidate in candidates {
                if !found.contains(&candidate) {
                    found.push(candidate);
                }
            }
        }
        Ok(found)
    }

    fn filter(&self, predicate: &Expression, candidates: &[Item]) -> Result<Vec<Item>, String> {
        let mut kept = Vec::new();
        for (at, candidate) in candidates.iter().enumerate() {
            let is_last = matches!(predicate, Expression::Call(name, _) if name == "last");
            let keep = if is_last {
                at + 1 == candidates.len()
            } else {
                match self.evaluate(predicate, &[*candidate])? {
                    Value::Number(wanted) => {
                        let position = f64::from(u32::try_from(at + 1).unwrap_or(u32::MAX));
                        (position - wanted).abs() < f64::EPSILON
                    }
                    value => self.boolean(&value),
                }
            };
            if keep {
                kept.push(*candidate);
            }
        }
        Ok(kept)
    }

    fn axis(&self, step: &Step, item: Item) -> Vec<Item> {
        let mut out = Vec::new();
        match (step.axis, item) {
            (Axis::Itself, _) => out.push(item),
            (Axis::Parent, Item::Element(index)) => {
                let parent = self.document.nodes.get(index).and_then(|node| node.parent);
                out.push(parent.map_or(Item::Top, Item::Element));
            }
            (Axis::Parent, Item::Attribute(index, _) | Item::Text(index)) => out.push(Item::Element(index)),
            (Axis::Child, Item::Top) => out.extend(self.keep(step, 0)),
            (Axis::Child, Item::Element(index)) => {
                out.extend(self.document.elements(index).filter_map(|child| self.keep(step, child)));
            }
            (Axis::Descendant, Item::Top) => {
                out.extend((0..self.document.nodes.len()).filter_map(|index| self.keep(step, index)));
            }
            (Axis::Descendant, Item::Element(index)) => self.descend(step, index, &mut out),
            (Axis::Attribute, Item::Element(index)) => {
                let attributes = self.document.nodes.get(index).map_or(&[][..], |node| &node.attributes);
                let matching = attributes.iter().enumerate().filter(|(_, (name, _))| step.test.accepts(name));
                out.extend(matching.map(|(at, _)| Item::Attribute(index, at)));
            }
            (Axis::Text, Item::Element(index)) => out.push(Item::Text(index)),
            _ => {}
        }
        out
    }

    fn descend(&self, step: &Step, index: usize, out: &mut Vec<Item>) {
        for child in self.document.elements(index) {
            out.extend(self.keep(step, child));
            self.descend(step, child, out);
        }
    }

    fn keep(&self, step: &Step, index: usize) -> Option<Item> {
        let node = self.document.nodes.get(index)?;
        step.test.accepts(&node.name).then_some(Item::Element(index))
    }

    fn item_text(&self, item: Item) -> String {
        match item {
            Item::Top => self.document.text(0),
            Item::Element(index) | Item::Text(index) => self.document.text(index),
            Item::Attribute(index, at) => {
                let node = self.document.nodes.get(index);
                node.and_then(|node| node.attributes.get(at)).map_or_else(String::new, |(_, value)| value.clone())
            }
        }
    }

    fn string(&self, value: &Value) -> String {
        match value {
            Value::Text(text) => text.clone(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Items(items) => items.first().map_or_else(String::new, |item| self.item_text(*item)),
        }
    }

    #[expect(clippy::unused_self, reason = "reads as its siblings do")]
    fn boolean(&self, value: &Value) -> bool {
        match value {
            Value::Boolean(boolean) => *boolean,
            Value::Number(number) => *number != 0.0 && !number.is_nan(),
            Value::Text(text) => !text.is_empty(),
            Value::Items(items) => !items.is_empty(),
        }
    }

    /// XPath's rule: a comparison with a set of nodes holds when it holds for one of them.
    fn compare(&self, comparison: Comparison, left: &Value, right: &Value) -> bool {
        match (left, right) {
            (Value::Boolean(_), _) | (_, Value::Boolean(_)) => {
                let (left, right) = (self.boolean(left), self.boolean(right));
                comparison.holds(left.cmp(&right))
            }
            (Value::Items(items), other) => items.iter().any(|item| {
                let text = Value::Text(self.item_text(*item));
                self.compare(comparison, &text, other)
            }),
            (other, Value::Items(items)) => items.iter().any(|item| {
                let text = Value::Text(self.item_text(*item));
                self.compare(comparison, other, &text)
            }),
            _ => {
                let numeric =
                    comparison.is_ordered() || matches!(left, Value::Number(_)) || matches!(right, Value::Number(_));
                let (left, right) = (self.string(left), self.string(right));
                if numeric {
                    number(&left).partial_cmp(&number(&right)).is_some_and(|order| comparison.holds(order))
                } else {
                    comparison.holds(left.cmp(&right))
                }
            }
        }
    }
}

impl NameTest {
    fn accepts(&self, name: &Name) -> bool {
        match self {
            Self::Any => true,
            Self::AnyIn(wanted) => name.namespace == *wanted,
            Self::Named { namespace, local } => name.local == *local && name.namespace == *namespace,
            Self::Local(local) => name.local == *local,
        }
    }
}

fn number(text: &str) -> f64 {
    text.trim().parse().unwrap_or(f64::NAN)
}
