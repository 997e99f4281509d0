//! Standing checks of what stands inside of answers: URIs, arrays, nulls, details.

use std::collections::BTreeSet;

use crate::path::{Variables, holds};
use crate::xml::{Document, Name};

/// The longest URI that a service sends.
const URI_CHARACTERS_MAX: usize = 2048;
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Families of class URIs: elements in a namespace below one of them are instances, results or parts of these.
const CLASS_FAMILIES: &[&str] =
    &["http://schemas.microsoft.com/wbem/wsman/1/wmi/", "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/"];

/// A URI that is too long: a namespace, or the text of an element that holds a URI.
pub(crate) fn long_uri(document: &Document) -> Option<String> {
    let too_long = |text: &str| text.chars().count() > URI_CHARACTERS_MAX;
    let holds_uri = ["Action", "To", "Address", "ResourceURI"];
    (0..document.nodes.len()).find_map(|index| {
        let name = &document.nodes.get(index)?.name;
        let is_long =
            too_long(&name.namespace) || (holds_uri.contains(&&*name.local) && too_long(document.text(index).trim()));
        is_long.then(|| format!("{} holds a URI of more than {URI_CHARACTERS_MAX} characters", name.local))
    })
}

/// An array that is interrupted by another property.
pub(crate) fn torn_array(document: &Document) -> Option<String> {
    instances(document).find_map(|instance| {
        let mut seen = BTreeSet::new();
        let mut last: Option<&Name> = None;
        for property in document.elements(instance) {
            let name = &document.nodes.get(property)?.name;
            if last != Some(name) && !seen.insert((&name.namespace, &name.local)) {
                return Some(format!("{} goes on behind another property", name.local));
            }
            last = Some(name);
        }
        None
    })
}

/// A null inside of an array, or one that is not empty.
pub(crate) fn bad_null(document: &Document) -> Option<String> {
    instances(document).find_map(|instance| {
        let properties: Vec<usize> = document.elements(instance).collect();
        let name = |index: usize| document.nodes.get(index).map(|node| &node.name);
        properties.iter().filter(|property| is_nil(document, **property)).find_map(|property| {
            let local = name(*property).map_or("", |name| &name.local);
            if !document.text(*property).is_empty() || document.elements(*property).next().is_some() {
                return Some(format!("{local} is nil and not empty"));
            }
            let repeated = properties.iter().filter(|other| name(**other) == name(*property)).count() > 1;
            repeated.then(|| format!("{local} has a nil among its elements"))
        })
    })
}

/// Something in a fault's Detail that has no namespace.
pub(crate) fn bare_detail(document: &Document) -> Option<String> {
    let bare = holds(document, &Variables::new(), "count(//s:Fault/s:Detail/*[namespace-uri(.) = '']) > 0");
    bare.unwrap_or(false).then(|| "Detail holds an element without a namespace".to_owned())
}

/// The elements that are instances or results of methods: those whose children are in their own namespace.
fn instances(document: &Document) -> impl Iterator<Item = usize> + '_ {
    (0..document.nodes.len()).filter(|index| {
        let Some(node) = document.nodes.get(*index) else { return false };
        let is_of_class = CLASS_FAMILIES.iter().any(|family| node.name.namespace.starts_with(family));
        let is_outermost = node
            .parent
            .and_then(|parent| document.nodes.get(parent))
            .is_none_or(|parent| parent.name.namespace != node.name.namespace);
        is_of_class && is_outermost
    })
}

fn is_nil(document: &Document, index: usize) -> bool {
    document.nodes.get(index).is_some_and(|node| {
        let is_nil = |(name, value): &(Name, String)| {
            name.namespace == SCHEMA_INSTANCE && name.local == "nil" && matches!(value.trim(), "true" | "1")
        };
        node.attributes.iter().any(is_nil)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(properties: &str) -> Document {
        let uri = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/C";
        let text = format!(
            "<s:Body xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:xsi='{SCHEMA_INSTANCE}'>\
             <p:C xmlns:p='{uri}'>{properties}</p:C></s:Body>"
        );
        Document::parse(&text).unwrap()
    }

    #[test]
    fn arrays_are_whole_and_nulls_alone() {
        let good = instance("<p:A>1</p:A><p:A>2</p:A><p:B xsi:nil='true'/><p:D/>");
        assert_eq!((torn_array(&good), bad_null(&good), long_uri(&good)), (None, None, None));
        assert!(torn_array(&instance("<p:A>1</p:A><p:B/><p:A>2</p:A>")).is_some());
        assert!(bad_null(&instance("<p:A>1</p:A><p:A xsi:nil='1'/>")).is_some());
        assert!(bad_null(&instance("<p:A xsi:nil='true'>1</p:A>")).is_some());
    }

    #[test]
    fn long_uris_and_bare_details_are_found() {
        let long = format!("<a><ResourceURI>urn:{}</ResourceURI></a>", "x".repeat(URI_CHARACTERS_MAX));
        assert!(long_uri(&Document::parse(&long).unwrap()).is_some());
        let fault = |detail: &str| {
            let text = format!(
                "<s:Fault xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Detail>{detail}</s:Detail></s:Fault>"
            );
            bare_detail(&Document::parse(&text).unwrap())
        };
        assert_eq!(fault("<q:x xmlns:q='urn:q'/>text"), None);
        assert!(fault("<x/>").is_some());
    }
}
