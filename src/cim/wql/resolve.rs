//! Names become classes and slots, literals become values of the types of their properties.

use super::parse::{self, Literal, Name};
use super::{Condition, Operator, Parsed, Resolved, WqlError};
use crate::cim::schema::{Class, ClassId, NamespaceId, Property, Schema};
use crate::cim::value::{CimType, Value};
use crate::cim::{CimDatetime, ObjectPath, Pattern, Text};

/// System properties that may be selected; answers have them in other places.
const SELECTABLE: [&str; 10] = [
    "__PATH",
    "__RELPATH",
    "__SERVER",
    "__NAMESPACE",
    "__CLASS",
    "__SUPERCLASS",
    "__DYNASTY",
    "__DERIVATION",
    "__GENUS",
    "__PROPERTY_COUNT",
];

/// A statement about one property of an instance.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Term {
    pub(super) subject: Subject,
    pub(super) test: Test,
}

/// What a statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Slot(u16),
    /// The property of an embedded instance, `TargetInstance.JobState`: the slot of the instance, and class and slot of
    /// the property in it.
    Inner(u16, ClassId, u16),
    /// `__CLASS`
    Class,
    /// `__SUPERCLASS`
    Superclass,
    /// `__DYNASTY`
    Dynasty,
    /// `__this`
    This,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Test {
    Compare(Operator, Operand),
    Like(Pattern),
    Isa(ClassId),
    IsNull,
    IsNotNull,
}

/// The literal of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Operand {
    /// A value of the property's type.
    Value(Value),
    /// A whole number that the property's type cannot hold.
    Integer(i128),
    /// A number between this whole number and the next.
    Above(i128),
}

impl Term {
    pub(super) fn equal(slot: u16, value: Value) -> Self {
        Self { subject: Subject::Slot(slot), test: Test::Compare(Operator::Equal, Operand::Value(value)) }
    }

    pub(super) fn equality(&self, slot: u16) -> Option<&Value> {
        match (self.subject, &self.test) {
            (Subject::Slot(of), Test::Compare(Operator::Equal, Operand::Value(value))) if of == slot => Some(value),
            _ => None,
        }
    }

    pub(super) fn isa(&self, slot: u16) -> Option<ClassId> {
        match (self.subject, &self.test) {
            (Subject::Slot(of), Test::Isa(class)) if of == slot => Some(*class),
            _ => None,
        }
    }

    pub(super) fn inner_equality(&self, slot: u16, inner: u16) -> Option<&Value> {
        match (self.subject, &self.test) {
            (Subject::Inner(of, _, at), Test::Compare(Operator::Equal, Operand::Value(value)))
                if (of, at) == (slot, inner) =>
            {
                Some(value)
            }
            _ => None,
        }
    }
}

pub(super) fn resolve(query: &Parsed, namespace: NamespaceId, schema: &Schema) -> Result<Resolved, WqlError> {
    let Some(class) = schema.find_in(namespace, &query.class.text).map(|id| schema.class(id)) else {
        return fail(&query.class, format!("there is no class \"{}\"", query.class.text));
    };
    if query.within.is_some() && !class.properties.iter().any(is_subject) {
        return fail(&query.class, format!("WITHIN belongs to queries for events, and {} is none", class.name));
    }
    let mut embedded = Vec::new();
    if let Some(condition) = &query.condition {
        gather_isa(condition, class, schema, &mut embedded);
    }
    let resolver = Resolver { schema, class, embedded };
    let projection = query.projection.as_ref().map(|names| resolver.projection(names)).transpose()?;
    let condition = query.condition.as_ref().map(|condition| resolver.condition(condition)).transpose()?;
    Ok(Resolved { class: class.id, projection, condition })
}

fn fail<T>(name: &Name, message: String) -> Result<T, WqlError> {
    Err(WqlError { position: name.position, message })
}

/// Whether a property is the instance that an event is about.
fn is_subject(property: &Property) -> bool {
    property.embedded.is_some()
}

/// The classes that the query names for its embedded instances, with the slot of the instance.
fn gather_isa<'s>(
    condition: &Condition<parse::Term>,
    class: &'s Class,
    schema: &'s Schema,
    found: &mut Vec<(u16, &'s Class)>,
) {
    match condition {
        Condition::All(parts) | Condition::Any(parts) => {
            for part in parts {
                gather_isa(part, class, schema, found);
            }
        }
        // What an instance is not says nothing of its properties.
        Condition::Not(_) => {}
        Condition::Term(term) => {
            if let parse::Test::Isa(named) = &term.test
                && let Some((slot, _)) = class.property(&term.property.text)
                && let Some(named) = schema.class_by_name(&named.text)
            {
                found.push((slot, named));
            }
        }
    }
}

struct Resolver<'s> {
    schema: &'s Schema,
    class: &'s Class,
    /// The classes of embedded instances, as far as ISA names them.
    embedded: Vec<(u16, &'s Class)>,
}

impl<'s> Resolver<'s> {
    fn projection(&self, names: &[Name]) -> Result<Vec<u16>, WqlError> {
        let mut slots = Vec::with_capacity(names.len());
        for name in names {
            if SELECTABLE.iter().any(|known| known.eq_ignore_ascii_case(&name.text)) {
                continue;
            }
            let (slot, _) = self.property(name)?;
            if !slots.contains(&slot) {
                slots.push(slot);
            }
        }
        Ok(slots)
    }

    fn property(&self, name: &Name) -> Result<(u16, &'s Property), WqlError> {
        match self.class.property(&name.text) {
            Some(found) => Ok(found),
            None => fail(name, format!("{} has no property \"{}\"", self.class.name, name.text)),
        }
    }

    /// A property of an embedded instance, whose class an ISA of the query names.
    fn inner(&self, name: &Name, outer: &str, inner: &str) -> Result<(Subject, &'s Property), WqlError> {
        let Some((slot, property)) = self.class.property(outer) else {
            return fail(name, format!("{} has no property \"{outer}\"", self.class.name));
        };
        if !is_subject(property) {
            return fail(name, format!("{} holds no instance, so that it has no property \"{inner}\"", property.name));
        }
        // An instance before its change is of the class that it is of after it.
        let of_slot = |(at, class): &&(u16, &'s Class)| *at == slot && class.slot(inner).is_some();
        let any = |(_, class): &&(u16, &'s Class)| class.slot(inner).is_some();
        let found = self.embedded.iter().find(of_slot).or_else(|| self.embedded.iter().find(any));
        match found.and_then(|(_, class)| class.property(inner).map(|(at, property)| (class.id, at, property))) {
            Some((class, at, property)) => Ok((Subject::Inner(slot, class, at), property)),
            None if self.embedded.is_empty() => {
                fail(name, format!("add {} ISA \"Class\": without it, \"{inner}\" could be anything", property.name))
            }
            None => fail(name, format!("no class that ISA names has the property \"{inner}\"")),
        }
    }

    fn condition(&self, condition: &Condition<parse::Term>) -> Result<Condition<Term>, WqlError> {
        let several = |parts: &[Condition<parse::Term>]| -> Result<Vec<_>, _> {
            parts.iter().map(|part| self.condition(part)).collect()
        };
        Ok(match condition {
            Condition::All(parts) => Condition::All(several(parts)?),
            Condition::Any(parts) => Condition::Any(several(parts)?),
            Condition::Not(inner) => Condition::Not(Box::new(self.condition(inner)?)),
            Condition::Term(term) => Condition::Term(self.term(term)?),
        })
    }

    fn term(&self, term: &parse::Term) -> Result<Term, WqlError> {
        let name = &term.property;
        let system = [
            ("__CLASS", Subject::Class),
            ("__SUPERCLASS", Subject::Superclass),
            ("__DYNASTY", Subject::Dynasty),
            ("__THIS", Subject::This),
        ];
        let found = system.iter().find(|(known, _)| known.eq_ignore_ascii_case(&name.text));
        let (subject, property) = if let Some((_, subject)) = found {
            (*subject, None)
        } else if let Some((outer, inner)) = name.text.split_once('.') {
            let (subject, property) = self.inner(name, outer, inner)?;
            (subject, Some(property))
        } else {
            let (slot, property) = self.property(name)?;
            (Subject::Slot(slot), Some(property))
        };
        let test = match &term.test {
            parse::Test::IsNull => Test::IsNull,
            parse::Test::Isa(class) => self.isa(name, subject, property, class)?,
            _ if subject == Subject::This => return fail(name, "__this can only be asked with ISA".to_owned()),
            parse::Test::Like(pattern) => match property {
                Some(property) if property.cim_type != CimType::String => {
                    return fail(name, format!("LIKE asks strings, and {} is a {}", property.name, property.cim_type));
                }
                _ => Test::Like(Pattern::like(pattern)),
            },
            parse::Test::Compare(operator, Literal::Null) => match operator {
                Operator::Equal => Test::IsNull,
                Operator::NotEqual => Test::IsNotNull,
                _ => return fail(name, format!("NULL has no order: {} is not possible", operator.symbol())),
            },
            parse::Test::Compare(operator, literal) => Test::Compare(*operator, self.operand(name, property, literal)?),
        };
        Ok(Term { subject, test })
    }

    fn isa(&self, name: &Name, subject: Subject, property: Option<&Property>, class: &Name) -> Result<Test, WqlError> {
        let askable = match property {
            Some(property) => property.embedded.is_some() || property.cim_type == CimType::Reference,
            None => matches!(subject, Subject::This | Subject::Class),
        };
        if !askable {
            return fail(name, format!("ISA asks __this, embedded instances and references, not {}", name.text));
        }
        match self.schema.find_in(self.class.namespace, &class.text) {
            Some(class) => Ok(Test::Isa(class)),
            None => fail(class, format!("there is no class \"{}\"", class.text)),
        }
    }

    /// A literal as a value of the property's type; without a property, of a string.
    fn operand(&self, name: &Name, property: Option<&Property>, literal: &Literal) -> Result<Operand, WqlError> {
        let cim_type = property.map_or(CimType::String, |property| property.cim_type);
        let text = match literal {
            Literal::Text(text) => text.clone(),
            Literal::Integer(number) => number.to_string(),
            Literal::Real(number) => number.to_string(),
            Literal::Boolean(truth) => if *truth { "TRUE" } else { "FALSE" }.to_owned(),
            Literal::Null => String::new(),
        };
        let wrong = |reason: String| fail(name, format!("{} cannot be compared: {reason}", name.text));
        if cim_type.integer_range().is_some() {
            let number = crate::cim::value::parse_integer(text.trim());
            return match (number, between(&text)) {
                (Some(number), _) => {
                    Ok(Value::from_integer(cim_type, number).map_or(Operand::Integer(number), Operand::Value))
                }
                (None, Some(operand)) => Ok(operand),
                (None, None) => wrong(format!("\"{}\" is not a number", text.chars().take(64).collect::<String>())),
            };
        }
        let value = match cim_type {
            CimType::Reference => ObjectPath::parse_wmi_in(&text, self.class.namespace, self.schema)
                .map(Value::from)
                .map_err(|e| e.to_string()),
            CimType::Datetime => CimDatetime::parse(&text)
                .map(Value::Datetime)
                .ok_or_else(|| Value::parse(cim_type, &text).map_or_else(|error| error.to_string(), |_| String::new())),
            CimType::String => Ok(Value::String(Text::Owned(text))),
            _ => Value::parse(cim_type, &text).map_err(|error| error.to_string()),
        };
        value.map(Operand::Value).or_else(wrong)
    }
}

/// A number with a fraction, for a comparison with whole numbers.
fn between(text: &str) -> Option<Operand> {
    let number: f64 = text.trim().parse().ok()?;
    // Printed without a fraction this is exact, however large.
    let floor = format!("{:.0}", number.floor()).parse().ok()?;
    Some(if number.fract() == 0.0 { Operand::Integer(floor) } else { Operand::Above(floor) })
}
