//! Classes of which there are few instances, none of them about a virtual machine.

use std::fmt;

use crate::cim::{CimInstance, ClassId, ObjectPath, Query, Resolved};

use super::{Flow, Found, Key, Provider, ReadContext, Sink};

/// A class with so few instances that whoever looks for one may make them all.
pub(crate) trait Few: Send + Sync + fmt::Debug {
    /// The class.
    fn class(&self) -> ClassId;

    /// Every instance in its place, which it keeps as long as there are pages to come; nothing in the place of one that
    /// is kept from the caller.
    fn instances(&self, cx: &ReadContext<'_>) -> impl Iterator<Item = Option<CimInstance>>;
}

impl<T: Few> Provider for T {
    fn class(&self) -> ClassId {
        Few::class(self)
    }

    fn is_about_vms(&self) -> bool {
        false
    }

    fn count(&self, cx: &ReadContext<'_>) -> Option<u64> {
        u64::try_from(self.instances(cx).flatten().count()).ok()
    }

    /// Where there is but one, its keys can be compared; among more, a search finds it by any of them.
    fn find(&self, cx: &ReadContext<'_>, _: &ObjectPath) -> Found {
        let mut instances = self.instances(cx).flatten();
        match (instances.next(), instances.next()) {
            (Some(only), None) => Found::Instance(only),
            _ => Found::Unnamed,
        }
    }

    fn enumerate(
        &self,
        cx: &ReadContext<'_>,
        _: Option<&Query<Resolved>>,
        after: Option<Key>,
        sink: &mut dyn Sink,
    ) -> Flow {
        let places = (1..).map(|place| Key(place, 0));
        for (key, instance) in places.zip(self.instances(cx)) {
            if let Some(instance) = instance.filter(|_| after.is_none_or(|after| after < key))
                && sink.push(key, instance).is_break()
            {
                return Flow::Stopped;
            }
        }
        Flow::End
    }
}
