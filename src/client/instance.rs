//! Instances, references and method results read from any server's XML, without a schema: names, and what stands there.

use crate::soap::EndpointReference;
use crate::xml::{Element, name};

/// One property's value as it stands on the wire. Without the class's schema, text is text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `xsi:nil="true"`.
    Null,
    /// Character data, or that of a `cim:Datetime`, `cim:Date` or `cim:Interval` inside.
    Text(String),
    /// An endpoint reference, bare or wrapped.
    Reference(EndpointReference),
    /// An embedded instance written as elements.
    Instance(Box<Instance>),
    /// An element that came several times.
    List(Vec<Value>),
}

impl Value {
    /// The text, when it is text.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Every text of a list, or the one text.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Self::List(values) => values.iter().filter_map(Self::text).collect(),
            Self::Null | Self::Text(_) | Self::Reference(_) | Self::Instance(_) => self.text().into_iter().collect(),
        }
    }

    /// Reads the value of a property or parameter element.
    fn parse(element: Element<'_>) -> Self {
        if element.is_nil() {
            return Self::Null;
        }
        let Some(child) = element.children().next() else {
            return Self::Text(element.text().into_owned());
        };
        if child.namespace() == name::ADDRESSING {
            return match EndpointReference::parse(element) {
                Ok(reference) => Self::Reference(reference),
                Err(_) => Self::Text(element.text().into_owned()),
            };
        }
        let bare = element.children().nth(1).is_none() && child.is_leaf();
        if bare && matches!(child.local(), "Datetime" | "Date" | "Time" | "Interval") {
            return Self::Text(child.text().into_owned());
        }
        Self::Instance(Box::new(Instance::parse(element)))
    }
}

/// An instance, or the output of a method: properties in the order of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// The local name of the element, which is the class (or `<Method>_OUTPUT`).
    pub class: String,
    /// The namespace of the element, which is the class's resource URI.
    pub namespace: String,
    /// Names and values; a name comes once.
    pub properties: Vec<(String, Value)>,
}

impl Instance {
    /// Reads an instance from its element.
    pub fn parse(element: Element<'_>) -> Self {
        let mut instance = Self {
            class: element.local().to_owned(),
            namespace: element.namespace().to_owned(),
            properties: Vec::new(),
        };
        for child in element.children() {
            instance.add(child.local(), Value::parse(child));
        }
        instance
    }

    /// A property by name; CIM names have no case.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.properties.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The text of a property; `None` when it is absent, null or no text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::text)
    }

    /// A property as a number; `None` when it is absent or no number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.trim().parse().ok()
    }

    /// A property as a reference.
    pub fn reference(&self, name: &str) -> Option<&EndpointReference> {
        if let Some(Value::Reference(reference)) = self.get(name) { Some(reference) } else { None }
    }

    /// Repeated elements are the members of an array.
    fn add(&mut self, name: &str, value: Value) {
        match self.properties.iter_mut().find(|(known, _)| known == name) {
            Some((_, Value::List(values))) => values.push(value),
            Some((_, first)) => {
                let before = std::mem::replace(first, Value::Null);
                *first = Value::List(vec![before, value]);
            }
            None => self.properties.push((name.to_owned(), value)),
        }
    }
}

/// One item of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An instance; with its reference when both were asked for.
    Object(Instance, Option<EndpointReference>),
    /// Only the reference.
    Reference(EndpointReference),
}

impl Item {
    /// Reads the items of a page: instances, references, or `w:Item` pairs of both.
    pub(crate) fn parse_all(items: Element<'_>) -> Result<Vec<Self>, String> {
        items.children().map(Self::parse).collect()
    }

    fn parse(element: Element<'_>) -> Result<Self, String> {
        if element.is(name::ADDRESSING, "EndpointReference") {
            return EndpointReference::parse(element).map(Self::Reference);
        }
        // WS-Man's own elements around an instance: w:Item for pairs, w:XmlFragment for a projection.
        if element.namespace() == name::WSMAN && element.local() == "Item" {
            let mut object = None;
            let mut reference = None;
            for child in element.children() {
                if child.is(name::ADDRESSING, "EndpointReference") {
                    reference = Some(EndpointReference::parse(child)?);
                } else {
                    object = Some(Instance::parse(child));
                }
            }
            return match (object, reference) {
                (Some(object), reference) => Ok(Self::Object(object, reference)),
                (None, Some(reference)) => Ok(Self::Reference(reference)),
                (None, None) => Err("an empty w:Item".to_owned()),
            };
        }
        Ok(Self::Object(Instance::parse(element), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::{Document, Limits};

    fn read(markup: &str) -> Instance {
        let document = Document::parse(markup, &Limits::default()).unwrap();
        Instance::parse(document.root())
    }

    #[test]
    fn values_are_read_without_a_schema() {
        let instance = read(
            r#"<p:Msvm_X xmlns:p="urn:x" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:cim="http://schemas.dmtf.org/wbem/wscim/1/common">
<p:Name> a&amp;b </p:Name><p:No xsi:nil="true"/><p:List>1</p:List><p:List>2</p:List><p:List>3</p:List>
<p:When><cim:Datetime>2026-01-02T03:04:05Z</cim:Datetime></p:When>
<p:In xsi:type="p:Msvm_Y_Type"><p:A>1</p:A><p:B>2</p:B></p:In></p:Msvm_X>"#,
        );
        assert_eq!(instance.class, "Msvm_X");
        assert_eq!(instance.namespace, "urn:x");
        assert_eq!(instance.text("name"), Some(" a&b "));
        assert_eq!(instance.get("No"), Some(&Value::Null));
        assert_eq!(instance.get("List").unwrap().texts(), ["1", "2", "3"]);
        assert_eq!(instance.text("When"), Some("2026-01-02T03:04:05Z"));
        let Some(Value::Instance(inner)) = instance.get("In") else { panic!("no instance") };
        assert_eq!(inner.number("B"), Some(2));
    }

    #[test]
    fn references_are_read_bare_and_wrapped() {
        let bare = r#"<a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI>urn:r/Msvm_ConcreteJob</w:ResourceURI><w:SelectorSet><w:Selector Name="InstanceID">7</w:Selector></w:SelectorSet></a:ReferenceParameters>"#;
        for inside in [bare.to_owned(), format!("<a:EndpointReference>{bare}</a:EndpointReference>")] {
            let output = read(&format!(
                r#"<p:M_OUTPUT xmlns:p="urn:x" xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"><p:Job>{inside}</p:Job><p:ReturnValue>4096</p:ReturnValue></p:M_OUTPUT>"#
            ));
            let job = output.reference("Job").unwrap();
            assert_eq!(job.resource_uri.as_deref(), Some("urn:r/Msvm_ConcreteJob"));
            assert_eq!(output.number("ReturnValue"), Some(4096));
        }
    }
}
