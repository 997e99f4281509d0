//! Makes a schema of declarations: resolves superclasses, hands down features and qualifiers, checks names and types.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::name::NameIndex;
use super::super::schema::{
    Class, ClassId, Embedded, Method, NamespaceId, Parameter, Property, Qualifier, Schema, ValueMap, ValueMapEntry,
    ValueRange,
};
use super::super::{CimDatetime, CimType, Text, Value};
use super::MofError;
use super::parse::{
    self, ClassDeclaration, Declaration, ElementDeclaration, Literal, LiteralKind, MethodDeclaration, Name,
    QualifierDeclaration, QualifierUse,
};

/// Reads the texts of each namespace and builds the schema.
pub(in crate::cim) fn build(namespaces: &[(&str, &[(&str, &str)])]) -> Result<Schema, MofError> {
    let mut names = Vec::with_capacity(namespaces.len());
    let mut classes = Vec::new();
    for (namespace, (name, sources)) in (0..).map(NamespaceId).zip(namespaces) {
        let first = classes.len();
        let mut declared = Declared::default();
        for (source, text) in *sources {
            for declaration in parse::parse(source, text)? {
                declared.add(source, declaration)?;
            }
        }
        let order = declared.superclasses_first()?;
        let mut builder = Builder { declared: &declared, namespace, first, classes };
        for at in order {
            builder.add_class(at)?;
        }
        builder.check_references()?;
        classes = builder.classes;
        names.push((*name, classes.len() - first));
    }
    Ok(Schema::new(&names, classes))
}

fn fail<T>(source: &str, name: &Name, message: String) -> Result<T, MofError> {
    Err(MofError { source: source.to_owned(), position: name.position, message })
}

/// Everything that was declared, by lower-case name.
#[derive(Default)]
struct Declared {
    qualifiers: HashMap<String, QualifierDeclaration>,
    /// With the name of the text.
    classes: Vec<(String, ClassDeclaration)>,
    class_index: HashMap<String, usize>,
}

impl Declared {
    fn add(&mut self, source: &str, declaration: Declaration) -> Result<(), MofError> {
        match declaration {
            Declaration::Qualifier(qualifier) => {
                if CimType::from_name(&qualifier.type_name.text).is_none() {
                    let message = format!("expected a type, found \"{}\"", qualifier.type_name.text);
                    return fail(source, &qualifier.type_name, message);
                }
                self.qualifiers.insert(qualifier.name.text.to_ascii_lowercase(), qualifier);
            }
            Declaration::Class(class) => {
                let key = class.name.text.to_ascii_lowercase();
                if self.class_index.insert(key, self.classes.len()).is_some() {
                    return fail(source, &class.name, format!("the class {} is declared twice", class.name.text));
                }
                self.classes.push((source.to_owned(), class));
            }
            Declaration::Instance(instance) => {
                let message = "expected a class or a qualifier: a schema has no instances".to_owned();
                return fail(source, &instance.class, message);
            }
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.class_index.get(&name.to_ascii_lowercase()).copied()
    }

    /// The classes so that each comes after its superclass, otherwise in their order.
    fn superclasses_first(&self) -> Result<Vec<usize>, MofError> {
        let mut placed = vec![false; self.classes.len()];
        let mut order = Vec::with_capacity(self.classes.len());
        for start in 0..self.classes.len() {
            let mut chain = Vec::new();
            let mut next = Some(start);
            while let Some(at) = next.filter(|at| !placed[*at]) {
                let (source, class) = &self.classes[at];
                if chain.contains(&at) {
                    return fail(source, &class.name, format!("the class {} is its own superclass", class.name.text));
                }
                chain.push(at);
                next = match &class.superclass {
                    None => None,
                    Some(name) => match self.find(&name.text) {
                        None => return fail(source, name, format!("there is no class {} to inherit from", name.text)),
                        found => found,
                    },
                };
            }
            for at in chain.into_iter().rev() {
                placed[at] = true;
                order.push(at);
            }
        }
        Ok(order)
    }
}

struct Builder<'d> {
    declared: &'d Declared,
    namespace: NamespaceId,
    /// Where the classes of this namespace begin.
    first: usize,
    /// Those of the namespaces before, then those built so far.
    classes: Vec<Class>,
}

/// What the qualifiers of an element say.
struct Facts {
    qualifiers: Vec<Qualifier>,
}

impl Facts {
    fn get(&self, name: &str) -> Option<&Value> {
        self.qualifiers.iter().find(|qualifier| qualifier.name.eq_ignore_ascii_case(name)).map(|found| &found.value)
    }

    fn truth(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    fn embedded(&self) -> Option<Embedded> {
        match self.get("EmbeddedInstance").and_then(Value::as_str) {
            Some(class) => Some(Embedded::Instance(class.into())),
            None => self.truth("EmbeddedObject").then_some(Embedded::Object),
        }
    }
}

impl Builder<'_> {
    fn add_class(&mut self, at: usize) -> Result<(), MofError> {
        let (source, declaration) = &self.declared.classes[at];
        let Ok(id) = u16::try_from(self.classes.len()).map(ClassId) else {
            return fail(source, &declaration.name, "a schema has at most 65,535 classes".to_owned());
        };
        let superclass = declaration.superclass.as_ref().and_then(|name| self.built(&name.text));
        let scope = if is_association(declaration) { "association" } else { "class" };
        let facts = self.facts(source, &declaration.qualifiers, scope)?;
        let mut class = Class {
            id,
            name: declaration.name.text.as_str().into(),
            namespace: self.namespace,
            superclass: superclass.map(|base| base.id),
            properties: superclass.map_or_else(Vec::new, |base| base.properties.clone()),
            methods: superclass.map_or_else(Vec::new, |base| base.methods.clone()),
            keys: Vec::new(),
            is_abstract: facts.truth("Abstract"),
            is_association: facts.truth("Association") || superclass.is_some_and(|base| base.is_association),
            qualifiers: facts.qualifiers,
            ancestry: superclass.map_or_else(Vec::new, |base| base.ancestry.clone()),
            property_index: NameIndex::default(),
            method_index: NameIndex::default(),
            defaults: Vec::new(),
        };
        class.ancestry.push(id);
        for element in &declaration.properties {
            self.add_property(source, &mut class, element)?;
        }
        for method in &declaration.methods {
            self.add_method(source, &mut class, method)?;
        }
        class.keys = class.slots().filter(|(_, property)| property.is_key).map(|(slot, _)| slot).collect();
        class.property_index = NameIndex::new(class.properties.iter().map(|property| property.name.as_ref()));
        class.method_index = NameIndex::new(class.methods.iter().map(|method| method.name.as_ref()));
        class.defaults = class.properties.iter().map(|property| property.default.clone()).collect();
        self.classes.push(class);
        Ok(())
    }

    fn built(&self, name: &str) -> Option<&Class> {
        self.classes.iter().skip(self.first).find(|class| class.name.eq_ignore_ascii_case(name))
    }

    fn add_property(&self, source: &str, class: &mut Class, element: &ElementDeclaration) -> Result<(), MofError> {
        let name = &element.name;
        let inherited = class.properties.iter().position(|known| known.name.eq_ignore_ascii_case(&name.text));
        let base = inherited.and_then(|slot| class.properties.get(slot)).cloned();
        let scope = if element.is_reference { "reference" } else { "property" };
        let mut facts = self.facts(source, &element.qualifiers, scope)?;
        check_override(source, name, &facts, base.as_ref().map(|base| (base.origin == class.id, &*base.name)))?;
        if let Some(base) = &base {
            inherit(&mut facts, &base.qualifiers);
        }
        let (cim_type, reference_class) = element_type(source, element)?;
        if base.as_ref().is_some_and(|base| base.cim_type != cim_type || base.is_array != element.is_array) {
            return fail(source, name, format!("{} overrides a property of another type", name.text));
        }
        let default = match &element.default {
            Some(literal) => value(source, literal, cim_type, element.is_array)?,
            None => base.as_ref().map_or(Value::Null, |base| base.default.clone()),
        };
        let property = Property {
            name: base.as_ref().map_or_else(|| name.text.as_str().into(), |base| Arc::clone(&base.name)),
            cim_type,
            is_array: element.is_array,
            is_key: facts.truth("Key"),
            is_writable: facts.truth("Write"),
            reference_class,
            embedded: facts.embedded(),
            default,
            values: value_map(source, name, &facts, cim_type)?,
            origin: base.as_ref().map_or(class.id, |base| base.origin),
            declared_in: class.id,
            qualifiers: facts.qualifiers.into(),
        };
        match inherited.and_then(|slot| class.properties.get_mut(slot)) {
            Some(place) => *place = property,
            None => class.properties.push(property),
        }
        Ok(())
    }

    fn add_method(&self, source: &str, class: &mut Class, declared: &MethodDeclaration) -> Result<(), MofError> {
        let name = &declared.name;
        let inherited = class.methods.iter().position(|known| known.name.eq_ignore_ascii_case(&name.text));
        let base = inherited.and_then(|at| class.methods.get(at));
        let mut facts = self.facts(source, &declared.qualifiers, "method")?;
        check_override(source, name, &facts, base.map(|base| (base.origin == class.id, &*base.name)))?;
        let Some(return_type) = CimType::from_name(&declared.return_type.text) else {
            let message = format!("expected a type, found \"{}\"", declared.return_type.text);
            return fail(source, &declared.return_type, message);
        };
        let mut parameters: Vec<Parameter> = Vec::with_capacity(declared.parameters.len());
        for element in &declared.parameters {
            let parameter = self.parameter(source, element)?;
            if parameters.iter().any(|known| known.name.eq_ignore_ascii_case(&parameter.name)) {
                return fail(source, &element.name, format!("the parameter {} stands twice", parameter.name));
            }
            parameters.push(parameter);
        }
        let own_values = value_map(source, name, &facts, return_type)?;
        if let Some(base) = base {
            inherit(&mut facts, &base.qualifiers);
        }
        let inherits_values = own_values.entries().is_empty();
        let method = Method {
            name: base.map_or_else(|| name.text.as_str().into(), |base| Arc::clone(&base.name)),
            return_type,
            parameters,
            values: base.filter(|_| inherits_values).map_or(own_values, |base| base.values.clone()),
            origin: base.map_or(class.id, |base| base.origin),
            declared_in: class.id,
            qualifiers: facts.qualifiers.into(),
        };
        match inherited.and_then(|at| class.methods.get_mut(at)) {
            Some(place) => *place = method,
            None => class.methods.push(method),
        }
        Ok(())
    }

    fn parameter(&self, source: &str, element: &ElementDeclaration) -> Result<Parameter, MofError> {
        let facts = self.facts(source, &element.qualifiers, "parameter")?;
        let (cim_type, reference_class) = element_type(source, element)?;
        Ok(Parameter {
            name: element.name.text.as_str().into(),
            cim_type,
            is_array: element.is_array,
            is_in: facts.get("In").and_then(Value::as_bool).unwrap_or(true),
            is_out: facts.truth("Out"),
            is_optional: !facts.truth("Required"),
            reference_class,
            embedded: facts.embedded(),
            values: value_map(source, &element.name, &facts, cim_type)?,
            qualifiers: facts.qualifiers.into(),
        })
    }

    /// Checks the qualifiers of an element against their declarations.
    fn facts(&self, source: &str, uses: &[QualifierUse], scope: &str) -> Result<Facts, MofError> {
        let mut qualifiers: Vec<Qualifier> = Vec::with_capacity(uses.len());
        for used in uses {
            let name = &used.name;
            let Some(declaration) = self.declared.qualifiers.get(&name.text.to_ascii_lowercase()) else {
                return fail(source, name, format!("the qualifier {} is not declared", name.text));
            };
            if !declaration.scopes.iter().any(|allowed| allowed == scope || allowed == "any") {
                return fail(source, name, format!("the qualifier {} may not stand at a {scope}", name.text));
            }
            if qualifiers.iter().any(|known| known.name.eq_ignore_ascii_case(&name.text)) {
                return fail(source, name, format!("the qualifier {} stands twice", name.text));
            }
            let cim_type = CimType::from_name(&declaration.type_name.text).unwrap_or(CimType::String);
            let value = match &used.value {
                Some(literal) => value(source, literal, cim_type, declaration.is_array)?,
                None if cim_type == CimType::Boolean => Value::Boolean(true),
                None => return fail(source, name, format!("the qualifier {} needs a value", name.text)),
            };
            qualifiers.push(Qualifier {
                name: declaration.name.text.as_str().into(),
                cim_type,
                flavor: declaration.flavor,
                value,
            });
        }
        Ok(Facts { qualifiers })
    }

    /// The classes that references and embedded instances name must exist.
    fn check_references(&self) -> Result<(), MofError> {
        for (source, class) in &self.declared.classes {
            let parameters = class.methods.iter().flat_map(|method| &method.parameters);
            for element in class.properties.iter().chain(parameters) {
                let mut named: Vec<&str> = Vec::new();
                if element.is_reference {
                    named.push(&element.type_name.text);
                }
                for used in element.qualifiers.iter().filter(|q| q.name.text.eq_ignore_ascii_case("EmbeddedInstance")) {
                    if let Some(Literal { kind: LiteralKind::Text(class), .. }) = &used.value {
                        named.push(class);
                    }
                }
                if let Some(missing) = named.into_iter().find(|name| self.declared.find(name).is_none()) {
                    return fail(
                        source,
                        &element.name,
                        format!("{} names the unknown class {missing}", element.name.text),
                    );
                }
            }
        }
        Ok(())
    }
}

/// Adds the qualifiers of the overridden feature that are handed down and not written again.
fn inherit(facts: &mut Facts, from: &[Qualifier]) {
    let own_map = facts.get("ValueMap").is_some() || facts.get("Values").is_some();
    for qualifier in from {
        let is_map = matches!(&*qualifier.name, "ValueMap" | "Values");
        if !qualifier.flavor.is_handed_down || facts.get(&qualifier.name).is_some() || (is_map && own_map) {
            continue;
        }
        facts.qualifiers.push(qualifier.clone());
    }
}

fn is_association(class: &ClassDeclaration) -> bool {
    class.qualifiers.iter().any(|used| used.name.text.eq_ignore_ascii_case("Association"))
}

/// `Override` must stand exactly when a feature of the name is inherited. `base`: declared in this class itself, name.
fn check_override(source: &str, name: &Name, facts: &Facts, base: Option<(bool, &str)>) -> Result<(), MofError> {
    let overridden = facts.get("Override").and_then(Value::as_str);
    match (base, overridden) {
        (None, None) => Ok(()),
        (None, Some(_)) => fail(source, name, format!("{} overrides nothing", name.text)),
        (Some((true, _)), _) => fail(source, name, format!("{} is declared twice", name.text)),
        (Some((false, base)), Some(written)) if base.eq_ignore_ascii_case(written) => Ok(()),
        (Some((false, base)), _) => {
            fail(source, name, format!("{} is inherited: expected the qualifier Override(\"{base}\")", name.text))
        }
    }
}

/// The type of an element and, of a reference, the class.
fn element_type(source: &str, element: &ElementDeclaration) -> Result<(CimType, Option<Arc<str>>), MofError> {
    let type_name = &element.type_name;
    if element.is_reference {
        return Ok((CimType::Reference, Some(type_name.text.as_str().into())));
    }
    match CimType::from_name(&type_name.text) {
        Some(cim_type) => Ok((cim_type, None)),
        None => fail(source, type_name, format!("expected a type, found \"{}\"", type_name.text)),
    }
}

/// A literal as a value of a type.
fn value(source: &str, literal: &Literal, cim_type: CimType, is_array: bool) -> Result<Value, MofError> {
    match &literal.kind {
        LiteralKind::Null => Ok(Value::Null),
        LiteralKind::Array(items) if is_array => {
            items.iter().map(|item| scalar(source, item, cim_type)).collect::<Result<_, _>>().map(Value::Array)
        }
        LiteralKind::Array(_) => wrong_value(source, literal, cim_type, "one value"),
        _ if is_array => wrong_value(source, literal, cim_type, "an array"),
        _ => scalar(source, literal, cim_type),
    }
}

fn wrong_value<T>(source: &str, literal: &Literal, cim_type: CimType, what: &str) -> Result<T, MofError> {
    let message = format!("expected {what} of type {cim_type}");
    Err(MofError { source: source.to_owned(), position: literal.position, message })
}

fn scalar(source: &str, literal: &Literal, cim_type: CimType) -> Result<Value, MofError> {
    literal_scalar(&literal.kind, cim_type).map_or_else(|| wrong_value(source, literal, cim_type, "a value"), Ok)
}

/// A literal as a scalar of a type, without any conversion between kinds.
fn literal_scalar(literal: &LiteralKind, cim_type: CimType) -> Option<Value> {
    match (literal, cim_type) {
        (LiteralKind::Null, _) => Some(Value::Null),
        (LiteralKind::Boolean(truth), CimType::Boolean) => Some(Value::Boolean(*truth)),
        (LiteralKind::Integer(number), _) => Value::from_integer(cim_type, *number),
        (LiteralKind::Real(number), CimType::Real64) => Some(Value::Real64(*number)),
        (LiteralKind::Real(number), CimType::Real32) => number.to_string().parse().ok().map(Value::Real32),
        (LiteralKind::Char(unit), CimType::Char16) => Some(Value::Char16(*unit)),
        (LiteralKind::Text(text), CimType::Datetime) => CimDatetime::parse_dsp0004(text).map(Value::Datetime),
        (LiteralKind::Text(text), CimType::String) => Some(Value::String(Text::Shared(text.as_str().into()))),
        _ => None,
    }
}

/// `ValueMap` and `Values` as rows. `Values` alone numbers its names from zero (DSP0004 section 5.6.3.60).
fn value_map(source: &str, name: &Name, facts: &Facts, cim_type: CimType) -> Result<ValueMap, MofError> {
    let texts = |qualifier| {
        facts
            .get(qualifier)
            .and_then(Value::as_array)
            .map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>())
    };
    let names = texts("Values");
    let ranges = match (texts("ValueMap"), &names) {
        (None, None) => return Ok(ValueMap::default()),
        (Some(ranges), _) => ranges,
        (None, Some(names)) => (0..names.len()).map(|number| number.to_string()).collect(),
    };
    let names = names.unwrap_or_else(|| ranges.clone());
    if names.len() != ranges.len() {
        let message = format!("ValueMap of {} has {} entries, but Values has {}", name.text, ranges.len(), names.len());
        return fail(source, name, message);
    }
    let mut entries = Vec::with_capacity(ranges.len());
    for (range, value_name) in ranges.iter().zip(names) {
        let Some(range) = value_range(range, cim_type) else {
            return fail(source, name, format!("\"{range}\" in the ValueMap of {} is no {cim_type}", name.text));
        };
        entries.push(ValueMapEntry { range, name: value_name.as_str().into() });
    }
    Ok(ValueMap(Some(entries.into())))
}

/// `7`, `0x8000`, `11..32767`, `0x8000..` (to the largest value), `..` (all that no other claims).
fn value_range(text: &str, cim_type: CimType) -> Option<ValueRange> {
    let Some((least, most)) = cim_type.integer_range() else {
        return Some(ValueRange::Text(text.into()));
    };
    if text == ".." {
        return Some(ValueRange::Unclaimed);
    }
    let number = |text: &str, open: i128| {
        let number = if text.is_empty() { open } else { super::super::value::parse_integer(text)? };
        (least..=most).contains(&number).then(|| i64::try_from(number).unwrap_or(i64::MAX))
    };
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    Some(ValueRange::Numbers(number(from, least)?, number(to, most)?))
}
