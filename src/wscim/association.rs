//! The association filter (DSP0227 8.2): `b:AssociatedInstances` and `b:AssociationInstances` as a question about
//! associations.

use crate::cim::{AssociationQuery, ClassId, NamespaceId, Related, Schema};
use crate::soap::{EndpointReference, Fault, clipped, trimmed};
use crate::wsman::fault;
use crate::xml::{Element, name};

use super::epr::path_from_epr;

/// Properties that may be named.
const PROPERTIES_MAX: usize = 512;
/// Octets of a name: what an open enumeration holds of its question is bounded.
const NAME_OCTETS_MAX: usize = 256;

/// Reads the element of a filter in this dialect; classes are named in `namespace`. What is empty counts as absent:
/// clients send empty elements.
///
/// Fails with `CannotProcessFilter` for a shape or a class that is not known, and as any request would for an object
/// whose reference does not resolve.
//= CIM-09, CIM-10, CIM-11
pub fn association_query(
    filter: Element<'_>,
    namespace: NamespaceId,
    schema: &Schema,
) -> Result<AssociationQuery, Fault> {
    let body = filter.children().next().filter(|child| child.namespace() == name::CIM_BINDING);
    let related = match body.map(Element::local) {
        Some("AssociatedInstances") => Related::Objects,
        Some("AssociationInstances") => Related::Associations,
        _ => {
            return Err(fault::cannot_process_filter(
                "the association filter holds neither wsmb:AssociatedInstances nor wsmb:AssociationInstances",
            ));
        }
    };
    let mut parts = Parts::default();
    for child in body.into_iter().flat_map(Element::children) {
        parts.take(child, related)?;
    }
    let Some(object) = parts.object else {
        return Err(fault::cannot_process_filter("the association filter has no wsmb:Object"));
    };
    let epr = EndpointReference::parse(object)
        .map_err(|error| fault::cannot_process_filter(format!("wsmb:Object is no endpoint reference: {error}")))?;
    if epr.resource_uri.is_none() {
        return Err(fault::cannot_process_filter("the reference in wsmb:Object has no wsman:ResourceURI"));
    }
    Ok(AssociationQuery {
        related,
        object: path_from_epr(&epr, schema)?,
        association_class: parts.association_class.map(|name| class(&name, namespace, schema)).transpose()?,
        result_class: parts.result_class.map(|name| class(&name, namespace, schema)).transpose()?,
        is_exact: false,
        role: parts.role,
        result_role: parts.result_role,
        properties: parts.properties,
    })
}

/// The children of the filter's element as they are found.
#[derive(Default)]
struct Parts<'d> {
    object: Option<Element<'d>>,
    association_class: Option<String>,
    result_class: Option<String>,
    role: Option<String>,
    result_role: Option<String>,
    properties: Vec<String>,
}

impl<'d> Parts<'d> {
    fn take(&mut self, child: Element<'d>, related: Related) -> Result<(), Fault> {
        let known = child.namespace() == name::CIM_BINDING;
        let slot = match child.local() {
            "Object" if known => {
                return match self.object.replace(child) {
                    Some(_) => Err(twice(child)),
                    None => Ok(()),
                };
            }
            "IncludeResultProperty" if known => {
                let property = named(child)?;
                if PROPERTIES_MAX <= self.properties.len() {
                    return Err(fault::cannot_process_filter(format!(
                        "more than {PROPERTIES_MAX} properties are named"
                    )));
                }
                if !property.is_empty() {
                    self.properties.push(property);
                }
                return Ok(());
            }
            "AssociationClassName" if known && related == Related::Objects => &mut self.association_class,
            "ResultClassName" if known => &mut self.result_class,
            "Role" if known => &mut self.role,
            "ResultRole" if known => &mut self.result_role,
            other => {
                let what = format!("the association filter has no place for {:?}", clipped(other));
                return Err(fault::cannot_process_filter(what));
            }
        };
        if slot.is_some() {
            return Err(twice(child));
        }
        *slot = Some(named(child)?).filter(|text| !text.is_empty());
        Ok(())
    }
}

/// The name that an element holds.
fn named(child: Element<'_>) -> Result<String, Fault> {
    let text = trimmed(child);
    if NAME_OCTETS_MAX < text.len() {
        let what = format!("the text of wsmb:{} is longer than {NAME_OCTETS_MAX} octets", clipped(child.local()));
        return Err(fault::cannot_process_filter(what));
    }
    Ok(text.into_owned())
}

fn twice(child: Element<'_>) -> Fault {
    fault::cannot_process_filter(format!("the association filter holds wsmb:{} twice", clipped(child.local())))
}

fn class(name: &str, namespace: NamespaceId, schema: &Schema) -> Result<ClassId, Fault> {
    let missing = || fault::cannot_process_filter(format!("there is no class {:?}", clipped(name)));
    schema.find_in(namespace, name).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;
    use crate::xml::{Document, Limits};

    const OBJECT: &str = "<b:Object><a:ReferenceParameters><w:ResourceURI>\
        http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/Msvm_ConcreteJob</w:ResourceURI>\
        <w:SelectorSet><w:Selector Name=\"InstanceID\">x</w:Selector></w:SelectorSet></a:ReferenceParameters></b:Object>";

    fn read(inside: &str) -> Result<AssociationQuery, Fault> {
        let filter = format!(
            "<w:Filter xmlns:w=\"http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd\" \
             xmlns:b=\"http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd\" \
             xmlns:a=\"http://schemas.xmlsoap.org/ws/2004/08/addressing\">{inside}</w:Filter>"
        );
        let document = Document::parse(&filter, &Limits::default()).unwrap();
        association_query(document.root(), NamespaceId::DEFAULT, Schema::builtin())
    }

    #[test]
    fn empty_children_count_as_absent_and_order_does_not_matter() {
        let query = read(&format!(
            "<b:AssociatedInstances><b:ResultRole> AffectedElement </b:ResultRole><b:Role/>{OBJECT}<b:ResultClassName/>\
             <b:IncludeResultProperty/><b:IncludeResultProperty>Name</b:IncludeResultProperty></b:AssociatedInstances>"
        ));
        let query = query.unwrap();
        assert_eq!((query.role, query.result_role.as_deref()), (None, Some("AffectedElement")));
        assert_eq!((query.result_class, query.properties), (None, vec!["Name".to_owned()]));
        let many = |count: usize| {
            let one = "<b:IncludeResultProperty>Name</b:IncludeResultProperty>";
            read(&format!("<b:AssociationInstances>{OBJECT}{}</b:AssociationInstances>", one.repeat(count)))
        };
        assert!(many(512).is_ok() && many(513).is_err());
        let long = |child: &str, octets: usize| {
            let name = "x".repeat(octets);
            read(&format!("<b:AssociationInstances>{OBJECT}<b:{child}>{name}</b:{child}></b:AssociationInstances>"))
        };
        for child in ["IncludeResultProperty", "Role", "ResultRole"] {
            assert!(long(child, 256).is_ok() && long(child, 257).is_err(), "{child}");
        }
    }

    fn part() -> impl Strategy<Value = String> {
        let name = prop::sample::select(vec![
            "Object",
            "AssociationClassName",
            "ResultClassName",
            "Role",
            "ResultRole",
            "IncludeResultProperty",
            "Other",
        ]);
        let text = prop::sample::select(vec!["", "CIM_Job", "Msvm_Nothing", "Antecedent", "<a:Address>x</a:Address>"]);
        let prefix = prop::sample::select(vec!["a", "b", "w"]);
        prop_oneof![
            3 => Just(OBJECT.to_owned()),
            5 => (prefix, name, text).prop_map(|(p, name, text)| format!("<{p}:{name}>{text}</{p}:{name}>")),
        ]
    }

    proptest! {
        #[test]
        fn every_element_is_read_or_refused_cleanly(
            kind in prop::sample::select(vec!["AssociatedInstances", "AssociationInstances", "Others"]),
            parts in prop::collection::vec(part(), 0..6),
        ) {
            match read(&format!("<b:{kind}>{}</b:{kind}>", parts.concat())) {
                Ok(query) => prop_assert!(parts.contains(&OBJECT.to_owned()) && query.properties.len() < 6),
                Err(fault) => prop_assert_eq!(fault.subcode.unwrap().local, "CannotProcessFilter"),
            }
        }
    }
}
