//! Events as XML: an instance of an event's class, with the instances that it is about as nested elements, as Windows
//! and OMI send them.

use std::fmt::Write as _;

use crate::cim::{CimInstance, Schema, Value};
use crate::xml::Writer;

use super::instance::{Codec, Tags, write_property};
use super::resource::Family;

/// Writes an event. Each embedded instance is an element of the event with a type of its own; its properties are in the
/// namespace of its class.
//= EVT-22
pub fn write_event(w: &mut Writer<'_>, codec: &Codec, schema: &Schema, family: Family, event: &CimInstance) {
    codec.within(w, family, event.class, |w, slot, tags| match event.get(slot) {
        Value::Instance(embedded) => {
            let name = schema.class(event.class).property_at(slot).map_or("", |property| &property.name);
            write_embedded(w, codec, schema, family, name, embedded);
        }
        value => write_property(w, tags, value, family, schema),
    });
}

fn write_embedded(
    w: &mut Writer<'_>,
    codec: &Codec,
    schema: &Schema,
    family: Family,
    name: &str,
    embedded: &CimInstance,
) {
    let class = schema.class(embedded.class);
    let mut element = String::with_capacity(name.len() + 2);
    // Writing to a string cannot fail.
    let _infallible = write!(element, "p:{name}");
    w.open(&element);
    w.attribute("xmlns:r", &family.class_uri(embedded.class, schema));
    w.attribute("xsi:type", &format!("r:{}_Type", class.name));
    w.close();
    for slot in codec.order(embedded.class) {
        let Some(property) = class.property_at(*slot) else { continue };
        let tags = Tags::prefixed("r", &property.name);
        write_property(w, &tags, embedded.get(*slot), family, schema);
    }
    w.end(&element);
}
