//! Asks an instance. The answer is three-valued: true, false, or none when a value is missing.

use std::cmp::Ordering;

use super::resolve::{Operand, Subject, Term, Test};
use super::{Condition, Operator};
use crate::cim::schema::{ClassId, Schema};
use crate::cim::value::Value;
use crate::cim::{CimInstance, ObjectPath};

pub(super) fn truth(condition: &Condition<Term>, schema: &Schema, instance: &CimInstance) -> Option<bool> {
    match condition {
        Condition::All(parts) => joined(parts, false, schema, instance),
        Condition::Any(parts) => joined(parts, true, schema, instance),
        Condition::Not(inner) => truth(inner, schema, instance).map(|truth| !truth),
        Condition::Term(term) => term_truth(term, schema, instance),
    }
}

/// AND and OR: one part with the `deciding` truth decides, else one that is unknown makes the whole unknown.
fn joined(parts: &[Condition<Term>], deciding: bool, schema: &Schema, instance: &CimInstance) -> Option<bool> {
    let mut result = Some(!deciding);
    for part in parts {
        match truth(part, schema, instance) {
            Some(truth) if truth == deciding => return Some(deciding),
            Some(_) => {}
            None => result = None,
        }
    }
    result
}

fn term_truth(term: &Term, schema: &Schema, instance: &CimInstance) -> Option<bool> {
    let class = schema.class(instance.class);
    let class_name = |id: Option<ClassId>| id.map_or(Value::Null, |id| Value::String(schema.class(id).name_text()));
    match term.subject {
        Subject::Slot(slot) => value_truth(&term.test, instance.get(slot), schema),
        Subject::Inner(slot, class, inner) => match instance.get(slot).as_instance() {
            Some(embedded) if schema.is_a(embedded.class, class) => {
                value_truth(&term.test, embedded.get(inner), schema)
            }
            _ => None,
        },
        Subject::This | Subject::Class if matches!(term.test, Test::Isa(_)) => match term.test {
            Test::Isa(ancestor) => Some(schema.is_a(instance.class, ancestor)),
            _ => None,
        },
        Subject::This => Some(matches!(term.test, Test::IsNotNull)),
        Subject::Class => value_truth(&term.test, &class_name(Some(class.id)), schema),
        Subject::Superclass => value_truth(&term.test, &class_name(class.superclass), schema),
        Subject::Dynasty => value_truth(&term.test, &class_name(class.ancestry().first().copied()), schema),
    }
}

fn value_truth(test: &Test, value: &Value, schema: &Schema) -> Option<bool> {
    match (test, value) {
        (Test::IsNull, value) => Some(value.is_null()),
        (Test::IsNotNull, value) => Some(!value.is_null()),
        (_, Value::Null) => None,
        (_, Value::Array(items)) => {
            // Like OR: an item that is NULL leaves it open whether one would have fitted.
            let mut result = Some(false);
            for item in items {
                match value_truth(test, item, schema) {
                    Some(true) => return Some(true),
                    Some(false) => {}
                    None => result = None,
                }
            }
            result
        }
        (Test::Like(pattern), value) => value.as_str().map(|text| pattern.matches(text)),
        (Test::Isa(ancestor), Value::Instance(inner)) => Some(schema.is_a(inner.class, *ancestor)),
        (Test::Isa(ancestor), Value::Reference(path)) => Some(schema.is_a(path.class, *ancestor)),
        (Test::Isa(_), _) => None,
        (Test::Compare(operator, operand), value) => compare_operand(value, operand, *operator),
    }
}

fn compare_operand(value: &Value, operand: &Operand, operator: Operator) -> Option<bool> {
    if let (Value::Reference(path), Operand::Value(Value::Reference(other))) = (value, operand) {
        return match operator {
            Operator::Equal => Some(same_object(path, other)),
            Operator::NotEqual => Some(!same_object(path, other)),
            _ => None,
        };
    }
    let ordering = match operand {
        Operand::Value(literal) => compare(value, literal)?,
        Operand::Integer(number) => value.as_integer()?.cmp(number),
        Operand::Above(floor) => {
            if value.as_integer()? <= *floor {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    };
    Some(match operator {
        Operator::Equal => ordering.is_eq(),
        Operator::NotEqual => ordering.is_ne(),
        Operator::Less => ordering.is_lt(),
        Operator::LessOrEqual => ordering.is_le(),
        Operator::Greater => ordering.is_gt(),
        Operator::GreaterOrEqual => ordering.is_ge(),
    })
}

/// The order of two values of one type; none when they have none.
fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::String(a), Value::String(b)) => Some(compare_text(a, b)),
        (Value::Datetime(a), Value::Datetime(b)) => a.compare(*b),
        (Value::Boolean(a), Value::Boolean(b)) => Some(a.cmp(b)),
        (Value::Char16(a), Value::Char16(b)) => Some(a.cmp(b)),
        (Value::Real32(a), Value::Real32(b)) => a.partial_cmp(b),
        (Value::Real64(a), Value::Real64(b)) => a.partial_cmp(b),
        (a, b) => Some(a.as_integer()?.cmp(&b.as_integer()?)),
    }
}

/// The order of texts without regard to case.
fn compare_text(a: &str, b: &str) -> Ordering {
    if a.eq_ignore_ascii_case(b) {
        return Ordering::Equal;
    }
    if a.is_ascii() && b.is_ascii() {
        let lower = |octet: u8| octet.to_ascii_lowercase();
        return a.bytes().map(lower).cmp(b.bytes().map(lower));
    }
    a.chars().flat_map(char::to_lowercase).cmp(b.chars().flat_map(char::to_lowercase))
}

/// Whether two paths name one object: class and keys are the same, in whatever order the keys stand.
fn same_object(a: &ObjectPath, b: &ObjectPath) -> bool {
    let same_key = |(slot, value): &(u16, Value)| match (value, b.key(*slot)) {
        (Value::Reference(a), Some(Value::Reference(b))) => same_object(a, b),
        (value, Some(other)) => compare(value, other) == Some(Ordering::Equal),
        (_, None) => false,
    };
    a.class == b.class && a.keys.len() == b.keys.len() && a.keys.iter().all(same_key)
}
