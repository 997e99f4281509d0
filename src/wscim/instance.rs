//! CIM instances as XML (DSP0230): one element a property in alphabetical order as Windows sends them, `xsi:nil` for
//! null, arrays by repetition, datetimes wrapped in the `cim` namespace.

use std::borrow::Cow;

use crate::cim::{CimDatetime, CimInstance, ClassId, Schema, Value};
use crate::xml::Writer;

use super::epr::path_to_epr;
use super::resource::Family;

const XSI: &str = " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"";
const EXTENSIONS: &str = " xmlns:msftwinrm=\"http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd\"";
const COMMON: &str = " xmlns:cim=\"http://schemas.dmtf.org/wbem/wscim/1/common\"";

/// How arrays are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrays {
    /// As MS-WSMV has it: a null array like a null, an empty one as nothing.
    Plain,
    /// With attributes that tell a null array from a null, an empty array, and an array of one item, by the names that
    /// Windows' CIM client knows (its option `UsePreciseArrays`).
    Precise,
}

/// What encoding needs of the schema, rendered once at start: the tags of every property, in the order of the wire.
#[derive(Debug)]
pub struct Codec {
    classes: Vec<ClassTags>,
}

#[derive(Debug)]
struct ClassTags {
    /// Slots in alphabetical order of their property names.
    order: Vec<u16>,
    /// By slot.
    tags: Vec<Tags>,
    /// `_Type"` and the end of the start tag: what follows the class URI on an instance element.
    start: [String; 3],
    end: String,
}

#[derive(Debug)]
pub(super) struct Tags {
    open: String,
    close: String,
    nil: String,
    /// Of an array without items.
    empty: String,
    /// Before the only item of an array, when it differs.
    only: Option<String>,
}

impl Tags {
    fn new(name: &str) -> Self {
        Self::prefixed("p", name)
    }

    pub(super) fn prefixed(prefix: &str, name: &str) -> Self {
        Self {
            open: format!("<{prefix}:{name}>"),
            close: format!("</{prefix}:{name}>"),
            nil: format!("<{prefix}:{name} xsi:nil=\"true\"/>"),
            empty: String::new(),
            only: None,
        }
    }

    /// The tags of an array that tell what sort of array it is.
    fn precise(name: &str) -> Self {
        Self {
            nil: format!("<p:{name} msftwinrm:IsNullArray=\"true\" xsi:nil=\"true\"/>"),
            empty: format!("<p:{name} msftwinrm:IsEmptyArray=\"true\" xsi:nil=\"true\"/>"),
            only: Some(format!("<p:{name} msftwinrm:IsArray=\"true\">")),
            ..Self::new(name)
        }
    }
}

impl Codec {
    /// Renders the tags of every class of `schema`.
    pub fn new(schema: &Schema) -> Self {
        Self::with(schema, Arrays::Plain)
    }

    /// Renders the tags of every class of `schema`, for arrays in one of the ways.
    pub fn with(schema: &Schema, arrays: Arrays) -> Self {
        let precise = arrays == Arrays::Precise;
        let extensions = if precise { EXTENSIONS } else { "" };
        let classes = schema
            .classes()
            .iter()
            .map(|class| {
                let mut order: Vec<u16> = (0..).take(class.properties.len()).collect();
                order.sort_by_key(|slot| class.properties.get(usize::from(*slot)).map(|p| p.name.to_ascii_lowercase()));
                ClassTags {
                    order,
                    tags: class
                        .properties
                        .iter()
                        .map(|property| {
                            let name = &property.name;
                            if property.is_array && precise { Tags::precise(name) } else { Tags::new(name) }
                        })
                        .collect(),
                    start: [Family::Wmi, Family::Dmtf, Family::Microsoft].map(|family| {
                        let (name, uri) = (&class.name, family.class_uri(class.id, schema));
                        format!("<p:{name} xmlns:p=\"{uri}\"{XSI}{COMMON}{extensions} xsi:type=\"p:{name}_Type\">")
                    }),
                    end: format!("</p:{}>", class.name),
                }
            })
            .collect();
        Self { classes }
    }

    fn class(&self, id: ClassId) -> Option<&ClassTags> {
        self.classes.get(id.index())
    }

    /// The slots of a class in the order of the wire.
    pub(super) fn order(&self, id: ClassId) -> &[u16] {
        self.class(id).map_or(&[], |class| class.order.as_slice())
    }

    /// Writes the element of an instance, with each property by `property`.
    pub(super) fn within(
        &self,
        w: &mut Writer<'_>,
        family: Family,
        id: ClassId,
        mut property: impl FnMut(&mut Writer<'_>, u16, &Tags),
    ) {
        let Some(class) = self.class(id) else { return };
        let [wmi, dmtf, microsoft] = &class.start;
        w.raw(match family {
            Family::Wmi => wmi,
            Family::Dmtf => dmtf,
            Family::Microsoft => microsoft,
        });
        for slot in &class.order {
            let Some(tags) = class.tags.get(usize::from(*slot)) else { continue };
            property(w, *slot, tags);
        }
        w.raw(&class.end);
    }
}

/// Writes an instance as an element of its own class, whatever class was asked for.
//= MAP-01
pub fn write_instance(w: &mut Writer<'_>, codec: &Codec, schema: &Schema, family: Family, instance: &CimInstance) {
    codec.within(w, family, instance.class, |w, slot, tags| {
        write_property(w, tags, instance.get(slot), family, schema);
    });
}

/// Writes the columns of a query's projection: `w:XmlFragment`, no namespace on the columns, alphabetical.
//= ENU-33
pub fn write_projection(
    w: &mut Writer<'_>,
    codec: &Codec,
    schema: &Schema,
    family: Family,
    instance: &CimInstance,
    projection: &[u16],
) {
    let Some(class) = codec.class(instance.class) else { return };
    let declared = schema.class(instance.class);
    w.raw("<w:XmlFragment");
    w.raw(XSI);
    w.raw(COMMON);
    w.raw(">");
    for slot in class.order.iter().filter(|slot| projection.contains(slot)) {
        let Some(property) = declared.properties.get(usize::from(*slot)) else { continue };
        let name = &property.name;
        let tags = Tags {
            open: format!("<{name}>"),
            close: format!("</{name}>"),
            nil: format!("<{name} xsi:nil=\"true\"/>"),
            empty: String::new(),
            only: None,
        };
        match instance.get(*slot) {
            // What is within a column has no namespace either: clients of Windows' own answers look for it so.
            Value::Datetime(datetime) => {
                let text = datetime.to_xs();
                w.raw(&tags.open);
                w.leaf(datetime_element(*datetime, &text).1, &text);
                w.raw(&tags.close);
            }
            value => write_property(w, &tags, value, family, schema),
        }
    }
    w.raw("</w:XmlFragment>");
}

/// Writes the properties that an association query includes: `w:XmlFragment`, each in the namespace of the class.
//= CIM-09, CIM-10
pub fn write_included(
    w: &mut Writer<'_>,
    codec: &Codec,
    schema: &Schema,
    family: Family,
    instance: &CimInstance,
    included: &[u16],
) {
    let Some(class) = codec.class(instance.class) else { return };
    w.open("w:XmlFragment");
    w.attribute("xmlns:p", &family.class_uri(instance.class, schema));
    w.raw(XSI);
    w.raw(COMMON);
    w.close();
    for slot in class.order.iter().filter(|slot| included.contains(slot)) {
        let Some(tags) = class.tags.get(usize::from(*slot)) else { continue };
        write_property(w, tags, instance.get(*slot), family, schema);
    }
    w.end("w:XmlFragment");
}

/// Writes one value under the name `p:name`, as properties and parameters are written.
pub fn write_value(w: &mut Writer<'_>, name: &str, value: &Value, family: Family, schema: &Schema) {
    write_property(w, &Tags::new(name), value, family, schema);
}

//= MAP-08, MAP-09, MAP-10
pub(super) fn write_property(w: &mut Writer<'_>, tags: &Tags, value: &Value, family: Family, schema: &Schema) {
    match value {
        Value::Null => w.raw(&tags.nil),
        Value::Array(values) => {
            match (values.as_slice(), &tags.only) {
                ([], _) => w.raw(&tags.empty),
                ([only], Some(open)) if !only.is_null() => {
                    return write_tagged(w, open, &tags.close, only, family, schema);
                }
                _ => {}
            }
            for value in values {
                write_single(w, tags, value, family, schema);
            }
        }
        single => write_single(w, tags, single, family, schema),
    }
}

//= CIM-15, MAP-12, MAP-13, MAP-16
fn write_single(w: &mut Writer<'_>, tags: &Tags, value: &Value, family: Family, schema: &Schema) {
    if matches!(value, Value::Null) {
        return w.raw(&tags.nil);
    }
    write_tagged(w, &tags.open, &tags.close, value, family, schema);
}

fn write_tagged(w: &mut Writer<'_>, open: &str, close: &str, value: &Value, family: Family, schema: &Schema) {
    w.raw(open);
    match value {
        Value::String(text) => w.text(text),
        Value::Datetime(datetime) => write_datetime(w, *datetime),
        Value::Uint8(n) => w.number((*n).into()),
        Value::Uint16(n) => w.number((*n).into()),
        Value::Uint32(n) => w.number((*n).into()),
        Value::Reference(path) => path_to_epr(path, family, schema).write(w),
        // A string with the EmbeddedInstance qualifier carries CIM-XML text, as WMI sends it.
        Value::Instance(instance) => {
            let mut text = String::new();
            crate::cim::write_cim_xml(instance, schema, &mut text);
            w.text(&text);
        }
        simple => w.text(&value_text(simple)),
    }
    w.raw(close);
}

//= MAP-05, MAP-06, MAP-07
fn write_datetime(w: &mut Writer<'_>, datetime: CimDatetime) {
    let text = datetime.to_xs();
    let (element, _) = datetime_element(datetime, &text);
    w.leaf(element, &text);
}

/// The element around the text of a datetime: with its prefix, and its local name alone.
fn datetime_element(datetime: CimDatetime, text: &str) -> (&'static str, &'static str) {
    if text.contains('*') {
        ("cim:CIM_DateTime", "CIM_DateTime")
    } else if datetime.is_interval() {
        ("cim:Interval", "Interval")
    } else {
        ("cim:Datetime", "Datetime")
    }
}

/// All text of a value's element: what XPath calls its string-value.
pub(super) fn wire_text(value: &Value, schema: &Schema) -> String {
    match value {
        Value::Datetime(datetime) => datetime.to_xs(),
        Value::Reference(path) => {
            // The address, the class and the keys, one behind the other; the family does not change which.
            let reference = path_to_epr(path, Family::Wmi, schema);
            let mut text = reference.address;
            text.push_str(reference.resource_uri.as_deref().unwrap_or_default());
            text.extend(path.keys.iter().map(|(_, key)| wire_text(key, schema)));
            text
        }
        Value::Instance(instance) => {
            let mut text = String::new();
            crate::cim::write_cim_xml(instance, schema, &mut text);
            text
        }
        simple => value_text(simple).into_owned(),
    }
}

/// The text of a simple value as it stands in an element or a selector; empty for null, arrays and instances.
//= MAP-02, MAP-03, MAP-04
pub(super) fn value_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        Value::Boolean(true) => Cow::Borrowed("true"),
        Value::Boolean(false) => Cow::Borrowed("false"),
        Value::Uint8(n) => Cow::Owned(n.to_string()),
        Value::Uint16(n) => Cow::Owned(n.to_string()),
        Value::Uint32(n) => Cow::Owned(n.to_string()),
        Value::Uint64(n) => Cow::Owned(n.to_string()),
        Value::Sint8(n) => Cow::Owned(n.to_string()),
        Value::Sint16(n) => Cow::Owned(n.to_string()),
        Value::Sint32(n) => Cow::Owned(n.to_string()),
        Value::Sint64(n) => Cow::Owned(n.to_string()),
        Value::Real32(n) => Cow::Owned(real(f64::from(*n), n.to_string())),
        Value::Real64(n) => Cow::Owned(real(*n, n.to_string())),
        Value::Char16(unit) => Cow::Owned(char::decode_utf16([*unit]).map(|c| c.unwrap_or('\u{FFFD}')).collect()),
        Value::Datetime(datetime) => Cow::Owned(datetime.to_dsp0004()),
        Value::Null | Value::Array(_) | Value::Instance(_) | Value::Reference(_) => Cow::Borrowed(""),
    }
}

/// xs:float and xs:double spell the infinities and not-a-number in their own way.
fn real(value: f64, text: String) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value.is_sign_positive() { "INF".to_owned() } else { "-INF".to_owned() }
    } else {
        text
    }
}
