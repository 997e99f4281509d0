//! Classes as XML Schema (DSP0230): what an instance of a class and the messages of its methods look like.
//!
//! A class has a namespace of its own, its resource URI, and all its properties are elements of it, inherited ones too:
//! so the schema of a class stands for itself and imports nothing but the types common to all classes.

use crate::cim::{CimType, Class, Parameter, Property, Schema};
use crate::xml::{Writer, name};

use super::resource::Family;

/// Where the schema of the common types can be got (DSP0230 annex).
pub(super) const COMMON_XSD: &str = "http://schemas.dmtf.org/wbem/wscim/1/common.xsd";

/// Simple types common to all classes and what they are made of.
const COMMON_TYPES: [(&str, &str); 14] = [
    ("cimBoolean", "xs:boolean"),
    ("cimByte", "xs:byte"),
    ("cimShort", "xs:short"),
    ("cimInt", "xs:int"),
    ("cimLong", "xs:long"),
    ("cimUnsignedByte", "xs:unsignedByte"),
    ("cimUnsignedShort", "xs:unsignedShort"),
    ("cimUnsignedInt", "xs:unsignedInt"),
    ("cimUnsignedLong", "xs:unsignedLong"),
    ("cimFloat", "xs:float"),
    ("cimDouble", "xs:double"),
    ("cimString", "xs:string"),
    ("cimChar16", "xs:string"),
    ("cimBase64Binary", "xs:base64Binary"),
];

const ANY_ATTRIBUTE: &str = "<xs:anyAttribute namespace=\"##any\" processContents=\"lax\"/>";
const ANY_OTHER: &str =
    "<xs:any namespace=\"##other\" processContents=\"lax\" minOccurs=\"0\" maxOccurs=\"unbounded\"/>";

/// The name of a type of the common schema.
fn common_type(cim_type: CimType) -> &'static str {
    match cim_type {
        CimType::Boolean => "cimBoolean",
        CimType::Uint8 => "cimUnsignedByte",
        CimType::Uint16 => "cimUnsignedShort",
        CimType::Uint32 => "cimUnsignedInt",
        CimType::Uint64 => "cimUnsignedLong",
        CimType::Sint8 => "cimByte",
        CimType::Sint16 => "cimShort",
        CimType::Sint32 => "cimInt",
        CimType::Sint64 => "cimLong",
        CimType::Real32 => "cimFloat",
        CimType::Real64 => "cimDouble",
        CimType::Char16 => "cimChar16",
        CimType::String => "cimString",
        CimType::Datetime => "cimDateTime",
        CimType::Reference => "cimReference",
    }
}

/// Writes the schema of a class: an element for each property, the type of its instances (`Class_Type`), the element of
/// an instance, and the messages of its methods (`Method_INPUT`, `Method_OUTPUT`).
pub fn write_class_xsd(w: &mut Writer<'_>, class: &Class, family: Family, schema: &Schema) {
    let uri = family.class_uri(class.id, schema);
    open_schema(w, &uri);
    w.attribute("xmlns:class", &uri);
    w.attribute("xmlns:cim", name::CIM_COMMON);
    w.close();
    w.open("xs:import");
    w.attribute("namespace", name::CIM_COMMON);
    w.attribute("schemaLocation", COMMON_XSD);
    w.close_empty();
    // In the order of the wire.
    let mut properties: Vec<&Property> = class.properties.iter().collect();
    properties.sort_by_key(|property| property.name.to_ascii_lowercase());
    for property in &properties {
        write_property_element(w, property);
    }
    w.open("xs:complexType");
    w.attribute("name", &format!("{}_Type", class.name));
    w.close();
    w.start("xs:sequence");
    for property in properties {
        w.open("xs:element");
        w.attribute("ref", &format!("class:{}", property.name));
        write_occurrence(w, !property.is_key, property.is_array);
        w.close_empty();
    }
    w.raw(ANY_OTHER);
    w.end("xs:sequence");
    w.raw(ANY_ATTRIBUTE);
    w.end("xs:complexType");
    w.open("xs:element");
    w.attribute("name", &class.name);
    w.attribute("type", &format!("class:{}_Type", class.name));
    w.close_empty();
    for method in &class.methods {
        let inputs = method.parameters.iter().filter(|parameter| parameter.is_in);
        write_message(w, &format!("{}_INPUT", method.name), inputs, None);
        let outputs = method.parameters.iter().filter(|parameter| parameter.is_out);
        write_message(w, &format!("{}_OUTPUT", method.name), outputs, Some(method.return_type));
    }
    w.end("xs:schema");
}

/// Writes the schema of the types common to all classes.
pub fn write_common_xsd(w: &mut Writer<'_>) {
    open_schema(w, name::CIM_COMMON);
    w.close();
    for (name, base) in COMMON_TYPES {
        w.open("xs:complexType");
        w.attribute("name", name);
        w.close();
        w.start("xs:simpleContent");
        w.open("xs:extension");
        w.attribute("base", base);
        w.close();
        w.raw(ANY_ATTRIBUTE);
        w.end("xs:extension");
        w.end("xs:simpleContent");
        w.end("xs:complexType");
    }
    // The forms of a datetime: with wildcards as CIM writes it, an interval, a point in time or a part of one.
    //= MAP-05
    w.raw("<xs:complexType name=\"cimDateTime\"><xs:choice>");
    for (element, base) in [
        ("CIM_DateTime", "xs:string"),
        ("Interval", "xs:duration"),
        ("Date", "xs:date"),
        ("Time", "xs:time"),
        ("Datetime", "xs:dateTime"),
    ] {
        write_element(w, element, base, |_| ());
    }
    w.raw("</xs:choice>");
    w.raw(ANY_ATTRIBUTE);
    w.raw("</xs:complexType>");
    // The content of an endpoint reference.
    //= MAP-12
    w.raw("<xs:complexType name=\"cimReference\"><xs:sequence>");
    w.raw(ANY_OTHER);
    w.raw("</xs:sequence>");
    w.raw(ANY_ATTRIBUTE);
    w.raw("</xs:complexType>");
    w.end("xs:schema");
}

fn open_schema(w: &mut Writer<'_>, namespace: &str) {
    w.open("xs:schema");
    w.attribute("xmlns:xs", name::XSD);
    w.attribute("targetNamespace", namespace);
    w.attribute("elementFormDefault", "qualified");
}

fn write_element(w: &mut Writer<'_>, element: &str, of_type: &str, more: impl FnOnce(&mut Writer<'_>)) {
    w.open("xs:element");
    w.attribute("name", element);
    w.attribute("type", of_type);
    more(w);
    w.close_empty();
}

/// A null is written as such, an empty array as no element at all.
//= MAP-09, MAP-10
fn write_occurrence(w: &mut Writer<'_>, is_optional: bool, is_array: bool) {
    if is_optional || is_array {
        w.attribute("minOccurs", "0");
    }
    if is_array {
        w.attribute("maxOccurs", "unbounded");
    }
}

fn write_property_element(w: &mut Writer<'_>, property: &Property) {
    let of_type = format!("cim:{}", common_type(property.cim_type));
    write_element(w, &property.name, &of_type, |w| {
        if !property.is_key {
            w.attribute("nillable", "true");
        }
    });
}

fn write_message<'p>(
    w: &mut Writer<'_>,
    element: &str,
    parameters: impl Iterator<Item = &'p Parameter>,
    returned: Option<CimType>,
) {
    w.open("xs:element");
    w.attribute("name", element);
    w.close();
    w.raw("<xs:complexType><xs:sequence>");
    for parameter in parameters {
        let of_type = format!("cim:{}", common_type(parameter.cim_type));
        write_element(w, &parameter.name, &of_type, |w| {
            let needed = parameter.is_in && !parameter.is_optional;
            write_occurrence(w, !needed, parameter.is_array);
            if !needed {
                w.attribute("nillable", "true");
            }
        });
    }
    if let Some(returned) = returned {
        write_element(w, "ReturnValue", &format!("cim:{}", common_type(returned)), |_| ());
    }
    w.raw("</xs:sequence>");
    w.raw(ANY_ATTRIBUTE);
    w.raw("</xs:complexType>");
    w.end("xs:element");
}
