//! Writing a class as CIM-XML (DSP0201, DSP0203), in the dialect of MI: NAME always the first attribute, and no
//! attribute that its strict readers do not know.

use crate::xml::Writer;

use super::schema::{Class, ClassId, Embedded, Method, Parameter, Property, Qualifier, Schema};
use super::value::{CimType, Value};

/// What of a class is written besides its own properties and methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "four independent options of the request")]
pub struct ClassParts {
    /// The names of all its superclasses, nearest first (`DERIVATION`).
    pub hierarchy: bool,
    /// Properties and methods that it inherits.
    pub inherited: bool,
    /// Qualifiers.
    pub qualifiers: bool,
    /// Where each property and method was declared first (`CLASSORIGIN`).
    pub origin: bool,
}

impl ClassParts {
    /// Everything.
    pub const ALL: Self = Self { hierarchy: true, inherited: true, qualifiers: true, origin: true };
}

/// Writes the class as a CLASS element.
//= CIM-13
pub fn write_class_xml(w: &mut Writer<'_>, class: &Class, parts: ClassParts, schema: &Schema) {
    let writing = Writing { class, parts, schema };
    w.open("CLASS");
    w.attribute("NAME", &class.name);
    if let Some(superclass) = class.superclass {
        w.attribute("SUPERCLASS", &schema.class(superclass).name);
        if parts.hierarchy {
            let above = class.ancestry().iter().rev().skip(1).map(|id| &*schema.class(*id).name);
            w.attribute("DERIVATION", &above.collect::<Vec<_>>().join(","));
        }
    }
    w.close();
    writing.class_qualifiers(w);
    for property in &class.properties {
        writing.property(w, property);
    }
    for method in &class.methods {
        writing.method(w, method);
    }
    w.end("CLASS");
}

struct Writing<'s> {
    class: &'s Class,
    parts: ClassParts,
    schema: &'s Schema,
}

impl Writing<'_> {
    /// Those written at the class, then those handed down by the classes above, nearest first.
    fn class_qualifiers(&self, w: &mut Writer<'_>) {
        if !self.parts.qualifiers {
            return;
        }
        let mut written: Vec<&str> = Vec::new();
        for id in self.class.ancestry().iter().rev() {
            let propagated = *id != self.class.id;
            for qualifier in &self.schema.class(*id).qualifiers {
                let known = written.iter().any(|name| name.eq_ignore_ascii_case(&qualifier.name));
                if !known && (!propagated || qualifier.flavor.is_handed_down) {
                    written.push(&qualifier.name);
                    write_qualifier(w, qualifier, propagated);
                }
            }
        }
    }

    /// The qualifiers of a feature that was described in `declared_in`.
    fn qualifiers(&self, w: &mut Writer<'_>, qualifiers: &[Qualifier], declared_in: ClassId) {
        if !self.parts.qualifiers {
            return;
        }
        let propagated = declared_in != self.class.id;
        for qualifier in qualifiers.iter().filter(|qualifier| !propagated || qualifier.flavor.is_handed_down) {
            write_qualifier(w, qualifier, propagated);
        }
    }

    /// Whether a feature that was described in `declared_in` is written.
    fn takes(&self, declared_in: ClassId) -> bool {
        self.parts.inherited || declared_in == self.class.id
    }

    fn origin(&self, w: &mut Writer<'_>, origin: ClassId, declared_in: ClassId) {
        if self.parts.origin {
            w.attribute("CLASSORIGIN", &self.schema.class(origin).name);
        }
        if declared_in != self.class.id {
            w.attribute("PROPAGATED", "true");
        }
    }

    fn property(&self, w: &mut Writer<'_>, property: &Property) {
        if !self.takes(property.declared_in) {
            return;
        }
        let is_reference = property.cim_type == CimType::Reference;
        let element = match (is_reference, property.is_array) {
            (true, _) => "PROPERTY.REFERENCE",
            (false, true) => "PROPERTY.ARRAY",
            (false, false) => "PROPERTY",
        };
        w.open(element);
        w.attribute("NAME", &property.name);
        match &property.reference_class {
            Some(class) => w.attribute("REFERENCECLASS", class),
            None => w.attribute("TYPE", property.cim_type.name()),
        }
        self.origin(w, property.origin, property.declared_in);
        match &property.embedded {
            Some(Embedded::Instance(_)) => w.attribute("EmbeddedObject", "instance"),
            Some(Embedded::Object) => w.attribute("EmbeddedObject", "object"),
            None => {}
        }
        w.close();
        self.qualifiers(w, &property.qualifiers, property.declared_in);
        write_values(w, &property.default);
        w.end(element);
    }

    fn method(&self, w: &mut Writer<'_>, method: &Method) {
        if !self.takes(method.declared_in) {
            return;
        }
        w.open("METHOD");
        w.attribute("NAME", &method.name);
        w.attribute("TYPE", method.return_type.name());
        self.origin(w, method.origin, method.declared_in);
        w.close();
        self.qualifiers(w, &method.qualifiers, method.declared_in);
        for parameter in &method.parameters {
            self.parameter(w, parameter);
        }
        w.end("METHOD");
    }

    fn parameter(&self, w: &mut Writer<'_>, parameter: &Parameter) {
        let is_reference = parameter.cim_type == CimType::Reference;
        let element = match (is_reference, parameter.is_array) {
            (true, true) => "PARAMETER.REFARRAY",
            (true, false) => "PARAMETER.REFERENCE",
            (false, true) => "PARAMETER.ARRAY",
            (false, false) => "PARAMETER",
        };
        w.open(element);
        w.attribute("NAME", &parameter.name);
        match &parameter.reference_class {
            Some(class) => w.attribute("REFERENCECLASS", class),
            None => w.attribute("TYPE", parameter.cim_type.name()),
        }
        w.close();
        if self.parts.qualifiers {
            for qualifier in &*parameter.qualifiers {
                write_qualifier(w, qualifier, false);
            }
        }
        w.end(element);
    }
}

/// A qualifier without a value says nothing, and readers want one.
fn write_qualifier(w: &mut Writer<'_>, qualifier: &Qualifier, propagated: bool) {
    if qualifier.value.is_null() {
        return;
    }
    w.open("QUALIFIER");
    w.attribute("NAME", &qualifier.name);
    w.attribute("TYPE", qualifier.cim_type.name());
    if propagated {
        w.attribute("PROPAGATED", "true");
    }
    if !qualifier.flavor.is_overridable {
        w.attribute("OVERRIDABLE", "false");
    }
    if !qualifier.flavor.is_handed_down {
        w.attribute("TOSUBCLASS", "false");
    }
    if qualifier.flavor.is_translatable {
        w.attribute("TRANSLATABLE", "true");
    }
    w.close();
    write_values(w, &qualifier.value);
    w.end("QUALIFIER");
}

/// A default or a qualifier's value; nothing for NULL.
fn write_values(w: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Null => {}
        Value::Array(items) => {
            w.start("VALUE.ARRAY");
            for item in items {
                write_value(w, item);
            }
            w.end("VALUE.ARRAY");
        }
        single => write_value(w, single),
    }
}

fn write_value(w: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Null => w.empty("VALUE.NULL"),
        Value::String(text) => w.leaf("VALUE", text),
        other => w.leaf("VALUE", &other.to_string()),
    }
}
