//! Writing an instance as CIM-XML, in the dialect of MI: properties in class order, NAME always the first attribute
//! (widely used code takes attribute 0 for the name), NULL as a PROPERTY without VALUE.

use crate::cim::CimInstance;
use crate::cim::schema::{Embedded, Property, Schema};
use crate::cim::value::{CimType, Value};
use crate::xml::Writer;

/// Appends the instance as an INSTANCE element. References are written without host and namespace.
pub fn write_cim_xml(instance: &CimInstance, schema: &Schema, out: &mut String) {
    // The writer appends whole characters to what is a string, so the buffer stays one.
    let mut octets = std::mem::take(out).into_bytes();
    write_instance(instance, schema, &mut Writer::new(&mut octets));
    *out = String::from_utf8(octets).unwrap_or_default();
}

fn write_instance(instance: &CimInstance, schema: &Schema, w: &mut Writer<'_>) {
    let class = schema.class(instance.class);
    w.open("INSTANCE");
    w.attribute("CLASSNAME", &class.name);
    w.close();
    for (slot, property) in class.slots() {
        write_property(property, instance.get(slot), schema, w);
    }
    w.end("INSTANCE");
}

fn write_property(property: &Property, value: &Value, schema: &Schema, w: &mut Writer<'_>) {
    let is_reference = property.cim_type == CimType::Reference;
    let element = match (is_reference, property.is_array) {
        (true, false) => "PROPERTY.REFERENCE",
        (_, true) => "PROPERTY.ARRAY",
        (false, false) => "PROPERTY",
    };
    w.open(element);
    w.attribute("NAME", &property.name);
    if value.is_null() {
        w.attribute("PROPAGATED", "true");
    }
    if !is_reference {
        w.attribute("TYPE", property.cim_type.name());
    }
    match &property.embedded {
        Some(Embedded::Instance(_)) => w.attribute("EmbeddedObject", "instance"),
        Some(Embedded::Object) => w.attribute("EmbeddedObject", "object"),
        None => {}
    }
    w.close();
    match value {
        Value::Null => {}
        Value::Array(items) => {
            w.start("VALUE.ARRAY");
            for item in items {
                write_value(item, schema, w);
            }
            w.end("VALUE.ARRAY");
        }
        single => write_value(single, schema, w),
    }
    w.end(element);
}

fn write_value(value: &Value, schema: &Schema, w: &mut Writer<'_>) {
    match value {
        Value::Null => w.empty("VALUE.NULL"),
        Value::String(text) => w.leaf("VALUE", text),
        Value::Instance(inner) => {
            let mut text = String::new();
            write_cim_xml(inner, schema, &mut text);
            w.leaf("VALUE", &text);
        }
        Value::Reference(path) => {
            w.leaf("VALUE.REFERENCE", &path.to_relative_string(schema, ".", "root/virtualization/v2"));
        }
        other => w.leaf("VALUE", &other.to_string()),
    }
}
