//! Enumerations of what is a plain list, known when they begin: the classes of the schema, and the listeners.

use std::sync::Arc;

use crate::cim::{ClassId, ClassParts, NamespaceId, write_class_xml};
use crate::provider::{Dimension, ReadContext};
use crate::soap::Fault;
use crate::wsman::{Enumerate, EnumerationMode, WinrmConfig, fault};
use crate::xml::Writer;

use super::exchange::Exchange;
use super::scan::Scan;
use super::{Journal, Reply, access};

/// A list.
#[derive(Clone, Debug)]
pub(crate) enum Roll {
    /// These classes, as CIM-XML with these parts.
    Classes(Arc<[ClassId]>, ClassParts),
    /// The listeners of the configuration.
    Listeners,
}

impl Roll {
    /// How many there are, what is kept from the caller included.
    pub(super) fn len(&self, config: &WinrmConfig) -> usize {
        match self {
            Self::Classes(classes, _) => classes.len(),
            Self::Listeners => config.listeners.len(),
        }
    }

    /// Writes the item at a place; nothing of what is kept from the caller. A class that is not left to the caller is
    /// kept even where classes below it are left: in a list each stands for itself.
    pub(super) fn write(&self, at: usize, cx: &ReadContext<'_>, config: &WinrmConfig, w: &mut Writer<'_>) {
        match self {
            Self::Classes(classes, parts) => {
                let class = classes.get(at).map(|class| cx.schema.class(*class));
                let is_left = |name: &str| cx.permissions.admit(Dimension::Classes, name);
                if let Some(class) = class.filter(|class| is_left(&class.name)) {
                    write_class_xml(w, class, *parts, cx.schema);
                }
            }
            Self::Listeners => {
                if let Some(listener) = config.listeners.get(at) {
                    config.write_listener(w, listener);
                }
            }
        }
    }
}

impl Exchange<'_> {
    /// All classes of a namespace, or those below one.
    //= CIM-13
    pub(super) fn enumerate_classes(
        &self,
        enumerate: &Enumerate<'_>,
        named: Option<&str>,
        journal: &mut Journal,
    ) -> Result<Reply, Fault> {
        let schema = self.endpoint.schema;
        let (namespace, selected) = self.class_selectors()?;
        access::check_namespace(self.call.permissions, namespace, schema)?;
        let top = named.or(selected.as_deref()).map(|name| self.class_named(namespace, name, journal)).transpose()?;
        let classes: Vec<ClassId> = match top {
            None => schema.classes_of(namespace).iter().map(|class| class.id).collect(),
            Some(top) => schema.subclasses(top).iter().copied().filter(|class| *class != top).collect(),
        };
        self.roll(enumerate, Some(namespace), Roll::Classes(classes.into(), self.class_parts()))
    }

    pub(super) fn enumerate_listeners(&self, enumerate: &Enumerate<'_>) -> Result<Reply, Fault> {
        self.roll(enumerate, None, Roll::Listeners)
    }

    fn roll(&self, enumerate: &Enumerate<'_>, namespace: Option<NamespaceId>, roll: Roll) -> Result<Reply, Fault> {
        if enumerate.filter.is_some() {
            return Err(fault::filtering_not_supported("what is enumerated here is a plain list and takes no filter"));
        }
        if enumerate.mode != EnumerationMode::Object {
            return Err(fault::unsupported_feature_enumeration_mode(
                "what is enumerated here comes as objects only, without endpoint references",
            ));
        }
        self.begin_with(Scan::of_roll(namespace, roll), enumerate)
    }
}
