//! Classes as resources: Get of one in CIM-XML or as XML Schema, and enumeration of all. They are what the schema says,
//! for a caller those that are left to it.

use std::sync::Arc;

use crate::cim::{CimError, ClassId, ClassParts, NamespaceId, write_class_xml};
use crate::soap::{Fault, SelectorValue};
use crate::wscim::{self, CLASS_NAME_SELECTOR, CLASS_SELECTOR, Metadata, Resource};
use crate::wsman::{Operation, fault};

use super::exchange::Exchange;
use super::{Journal, Reply, access, options};

impl Exchange<'_> {
    /// Answers a request for what describes classes.
    pub(super) fn metadata(&self, metadata: Metadata<'_>, journal: &mut Journal) -> Result<Reply, Fault> {
        match (&self.request.operation, metadata) {
            (Operation::Get, Metadata::Classes(named)) => self.get_class(named, journal),
            (Operation::Get, Metadata::ClassXsd(uri)) => self.get_class_xsd(uri, journal),
            (Operation::Get, Metadata::CommonXsd) => self.bounded(self.encode(wscim::write_common_xsd)),
            (Operation::Enumerate(enumerate), Metadata::Classes(named)) => {
                self.enumerate_classes(enumerate, named, journal)
            }
            (operation, _) => Err(fault::action_mismatch(format!(
                "{} is not offered for what describes classes: the schema of this server does not change",
                operation.name()
            ))),
        }
    }

    /// GetClass.
    //= CIM-13
    fn get_class(&self, named: Option<&str>, journal: &mut Journal) -> Result<Reply, Fault> {
        let (namespace, selected) = self.class_selectors()?;
        let Some(name) = named.or(selected.as_deref()) else {
            return Err(fault::invalid_selectors_insufficient(format!(
                "the selector {CLASS_NAME_SELECTOR} has to say which class; to get all of them, enumerate"
            )));
        };
        let class = self.class_named(namespace, name, journal)?;
        access::check_class_itself(self.call.permissions, class, self.endpoint.schema)?;
        let (schema, parts) = (self.endpoint.schema, self.class_parts());
        self.bounded(self.encode_around(32_768, |w| write_class_xml(w, schema.class(class), parts, schema)))
    }

    fn get_class_xsd(&self, uri: &str, journal: &mut Journal) -> Result<Reply, Fault> {
        let schema = self.endpoint.schema;
        let resource = Resource::resolve(uri, &self.request.selectors, schema)?;
        let class = resource.class()?;
        journal.class = Some(Arc::clone(&schema.class(class).name));
        self.endpoint.check_class(self.call, class)?;
        access::check_class_itself(self.call.permissions, class, schema)?;
        if let Some(other) =
            self.request.selectors.0.iter().find(|selector| !selector.name.eq_ignore_ascii_case(CLASS_SELECTOR))
        {
            return Err(unexpected(&other.name));
        }
        self.bounded(self.encode_around(32_768, |w| {
            wscim::write_class_xsd(w, schema.class(class), resource.family, schema);
        }))
    }

    /// The class of a name, for a caller who may see it.
    pub(super) fn class_named(
        &self,
        namespace: NamespaceId,
        name: &str,
        journal: &mut Journal,
    ) -> Result<ClassId, Fault> {
        let schema = self.endpoint.schema;
        let Some(class) = schema.find_in(namespace, name) else {
            let namespace = &schema.namespace(namespace).name;
            let text = format!("the namespace {namespace} has no class '{name}'");
            return Err(wscim::fault_of(CimError::not_found(text)));
        };
        journal.class = Some(Arc::clone(&schema.class(class).name));
        self.endpoint.check_class(self.call, class)?;
        Ok(class)
    }

    /// The namespace and the class that the selectors name; an empty name is none.
    pub(super) fn class_selectors(&self) -> Result<(NamespaceId, Option<String>), Fault> {
        let selectors = &self.request.selectors;
        let namespace = wscim::selected_namespace(selectors, self.endpoint.schema)?.unwrap_or(NamespaceId::DEFAULT);
        let mut class = None;
        for selector in &selectors.0 {
            if selector.name.eq_ignore_ascii_case(CLASS_SELECTOR) {
                continue;
            }
            match &selector.value {
                SelectorValue::Text(name) if selector.name.eq_ignore_ascii_case(CLASS_NAME_SELECTOR) => {
                    class = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
                }
                _ => return Err(unexpected(&selector.name)),
            }
        }
        Ok((namespace, class))
    }

    /// What of a class the options ask for.
    pub(super) fn class_parts(&self) -> ClassParts {
        let asked = |name| options::is_set(&self.request.options, name);
        ClassParts {
            hierarchy: asked(options::INHERITANCE_HIERARCHY),
            inherited: asked(options::INHERITED_ELEMENTS),
            qualifiers: asked(options::QUALIFIERS),
            origin: asked(options::CLASS_ORIGIN),
        }
    }
}

fn unexpected(name: &str) -> Fault {
    fault::invalid_selectors_unexpected(format!(
        "'{name}' is no selector of a class; those are {CLASS_NAME_SELECTOR} and {CLASS_SELECTOR}"
    ))
}
