//! The representation in a Put or a Create: an instance as XML (DSP0230) to values by slot, and the same of a fragment.
//!
//! Only what can be written is read: properties that a client cannot set are passed over, whatever they hold, so that a
//! client may send back what it got. What stands there must still be a property of the class, once, in its namespace.

use crate::cim::{CimType, Class, ClassId, Property, Schema, Value};
use crate::soap::{EndpointReference, Fault, SelectorSet, clipped};
use crate::wsman::fault;
use crate::xml::{Element, name};

use super::epr::path_from_epr;
use super::resource::Resource;

/// What a representation says of the properties that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Representation {
    /// Values by slot; null where it says that there is none. An array is null or has values, since one without any
    /// cannot be told from one that is not there.
    pub values: Vec<(u16, Value)>,
    /// It has other properties too.
    pub has_others: bool,
}

/// Reads a representation: an element with the name and the namespace of the class, or of one above it, in any form of
/// its URI. `wanted` are the slots to read.
//= XFR-05, XFR-12, XFR-14, MAP-11, MAP-17, MAP-18
pub fn decode_representation(
    root: Element<'_>,
    class: ClassId,
    wanted: &[u16],
    schema: &Schema,
) -> Result<Representation, Fault> {
    let declared = schema.class(class);
    let named = Resource::resolve(root.namespace(), &SelectorSet::default(), schema);
    let named = named.and_then(|named| named.class());
    let Some(named) = named.ok().filter(|named| schema.is_a(class, *named)) else {
        return Err(wrong_namespace(root, declared));
    };
    if !root.local().eq_ignore_ascii_case(&schema.class(named).name) {
        return Err(fault::invalid_representation_invalid_values(format!(
            "the representation is an element {}, not one of {}",
            clipped(root.local()),
            declared.name
        )));
    }
    decode_properties(root, Some(root.namespace()), declared, wanted, schema)
}

/// Reads the properties among the children of an element; of a fragment, whose `namespace` may also be left out.
pub fn decode_fragment(
    fragment: Element<'_>,
    class: ClassId,
    wanted: &[u16],
    schema: &Schema,
) -> Result<Representation, Fault> {
    decode_properties(fragment, None, schema.class(class), wanted, schema)
}

/// The value that a text is of a property; what `text()` of a fragment puts in its place.
pub fn decode_text(property: &Property, text: &str) -> Result<Value, Fault> {
    let text = if property.cim_type == CimType::String { text } else { text.trim() };
    Value::parse(property.cim_type, text).map_err(|error| {
        fault::invalid_representation_invalid_values(format!("the property {}: {error}", property.name))
    })
}

fn wrong_namespace(element: Element<'_>, class: &Class) -> Fault {
    fault::invalid_representation_invalid_namespace(format!(
        "the element {} is in the namespace {:?}, which is not that of {}",
        clipped(element.local()),
        clipped(element.namespace()),
        class.name
    ))
}

fn decode_properties(
    parent: Element<'_>,
    namespace: Option<&str>,
    class: &Class,
    wanted: &[u16],
    schema: &Schema,
) -> Result<Representation, Fault> {
    let mut read = Representation::default();
    let mut seen: Vec<u16> = Vec::new();
    for child in parent.children() {
        if child.is(name::CIM_COMMON, "Location") {
            continue;
        }
        if namespace.is_some_and(|namespace| child.namespace() != namespace) {
            return Err(wrong_namespace(child, class));
        }
        let Some((slot, property)) = class.property(child.local()) else {
            return Err(fault::invalid_representation_invalid_values(format!(
                "{} has no property {:?}",
                class.name,
                clipped(child.local())
            )));
        };
        let again = seen.contains(&slot);
        if again && !property.is_array {
            return Err(fault::invalid_representation_invalid_values(format!(
                "the property {} is given more than once",
                property.name
            )));
        }
        seen.push(slot);
        if !wanted.contains(&slot) {
            read.has_others = true;
            continue;
        }
        let value = decode_value(property, child, schema)?;
        if !property.is_array {
            read.values.push((slot, value));
        } else if !add_item(&mut read.values, slot, value, again) {
            return Err(fault::invalid_representation_invalid_values(format!(
                "the array {} has a null among its values",
                property.name
            )));
        }
    }
    Ok(read)
}

/// Adds an item to the array at a slot. A null stands alone and means that there is no array. //= MAP-09
fn add_item(values: &mut Vec<(u16, Value)>, slot: u16, item: Value, again: bool) -> bool {
    match values.iter_mut().find(|(known, _)| *known == slot) {
        Some((_, Value::Array(items))) if !item.is_null() => items.push(item),
        None if !again && item.is_null() => values.push((slot, Value::Null)),
        None if !again => values.push((slot, Value::Array(vec![item]))),
        _ => return false,
    }
    true
}

fn decode_value(property: &Property, element: Element<'_>, schema: &Schema) -> Result<Value, Fault> {
    let wrong =
        |what: String| fault::invalid_representation_invalid_values(format!("the property {}: {what}", property.name));
    if element.is_nil() {
        if !element.is_blank() {
            return Err(wrong("it is nil and has a value".to_owned()));
        }
        return Ok(Value::Null);
    }
    if property.cim_type == CimType::Reference {
        let epr = EndpointReference::parse(element).map_err(wrong)?;
        let path = path_from_epr(&epr, schema).map_err(|fault| wrong(fault.reason.into_owned()))?;
        return Ok(Value::Reference(Box::new(path)));
    }
    match element.children().next() {
        // A datetime comes bare or wrapped in cim:Datetime or cim:Interval.
        Some(wrapped) if property.cim_type == CimType::Datetime => decode_text(property, &wrapped.text()),
        Some(_) => Err(wrong(format!("it holds elements where a {} belongs", property.cim_type))),
        None => decode_text(property, &element.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Document, Limits};

    const CLASS: &str = "Msvm_ReplicationSettingData";
    const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/";

    fn read(body: &str) -> Result<Representation, (String, u32)> {
        let schema = Schema::builtin();
        let class = schema.class_by_name(CLASS).unwrap();
        let wanted = ["RecoveryHistory", "IncludedDisks", "AutoResynchronizeIntervalStart", "CompressionEnabled"];
        let wanted = wanted.map(|name| class.slot(name).unwrap());
        let document = Document::parse(body, &Limits::default()).unwrap();
        decode_representation(document.root(), class.id, &wanted, schema)
            .map_err(|fault| (fault.reason.into_owned(), fault.number))
    }

    fn in_class(properties: &str) -> String {
        format!(
            "<p:{CLASS} xmlns:p='{WMI}{CLASS}' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' \
             xmlns:cim='http://schemas.dmtf.org/wbem/wscim/1/common'>{properties}</p:{CLASS}>"
        )
    }

    #[test]
    fn what_can_be_written_is_read_and_the_rest_is_passed_over() {
        let all = read(&in_class(
            "<p:RecoveryHistory xsi:type='cim:cimUnsignedShort'> 7 </p:RecoveryHistory>\
             <p:includeddisks>a</p:includeddisks><p:ElementName>any<b/>thing</p:ElementName>\
             <p:IncludedDisks>b</p:IncludedDisks><cim:Location>x</cim:Location><p:CompressionEnabled xsi:nil='1'/>\
             <p:AutoResynchronizeIntervalStart><cim:Interval>PT1H</cim:Interval></p:AutoResynchronizeIntervalStart>",
        ))
        .unwrap();
        assert!(all.has_others);
        let values: Vec<&Value> = all.values.iter().map(|(_, value)| value).collect();
        assert_eq!(values[..2], [&Value::Uint16(7), &Value::Array(vec!["a".into(), "b".into()])]);
        assert_eq!((values[2], values.len()), (&Value::Null, 4));
        assert_eq!(read(&in_class("")).unwrap(), Representation::default());
    }

    #[test]
    fn the_namespace_is_that_of_the_class_in_any_form() {
        for base in ["http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/", WMI] {
            let body = format!("<{CLASS} xmlns='{base}{CLASS}'><RecoveryHistory>7</RecoveryHistory></{CLASS}>");
            assert_eq!(read(&body).unwrap().values.len(), 1, "{base}");
        }
        let above = format!(
            "<CIM_SettingData xmlns='{WMI}CIM_SettingData'><RecoveryHistory>7</RecoveryHistory></CIM_SettingData>"
        );
        assert_eq!(read(&above).unwrap().values.len(), 1);
    }

    #[test]
    fn each_way_to_be_wrong_has_its_detail() {
        const NAMESPACE: u32 = 2_150_858_840;
        const VALUES: u32 = 2_150_858_838;
        let x = "<p:RecoveryHistory>7</p:RecoveryHistory>";
        for (body, number, said) in [
            (in_class(x).replace(WMI, "urn:x/"), NAMESPACE, "not that of"),
            (in_class(x).replace(WMI, &format!("{WMI}x/")), NAMESPACE, "not that of"),
            (in_class("<q:RecoveryHistory xmlns:q='urn:q'>7</q:RecoveryHistory>"), NAMESPACE, "urn:q"),
            (in_class(x).replace("p:Msvm_ReplicationSettingData", "p:Other"), VALUES, "Other"),
            (in_class("<p:Nope/>"), VALUES, "no property \"Nope\""),
            (in_class(&x.repeat(2)), VALUES, "more than once"),
            (in_class("<p:RecoveryHistory>many</p:RecoveryHistory>"), VALUES, "many"),
            (in_class("<p:RecoveryHistory>70000</p:RecoveryHistory>"), VALUES, "70000"),
            (in_class("<p:RecoveryHistory><b/></p:RecoveryHistory>"), VALUES, "elements"),
            (in_class("<p:RecoveryHistory xsi:nil='true'>7</p:RecoveryHistory>"), VALUES, "nil"),
            (in_class("<p:IncludedDisks>a</p:IncludedDisks><p:IncludedDisks xsi:nil='true'/>"), VALUES, "null"),
            (in_class("<p:IncludedDisks xsi:nil='true'/><p:IncludedDisks>a</p:IncludedDisks>"), VALUES, "null"),
        ] {
            let (reason, found) = read(&body).unwrap_err();
            assert!(found == number && reason.contains(said), "{found} {reason}\n{body}");
        }
    }
}
