//! Instances: values by the slots of their class.

use super::schema::{Class, ClassId};
use super::value::Value;

static NULL: Value = Value::Null;

/// An instance of a class: one value for each slot.
#[derive(Clone, Debug, PartialEq)]
pub struct CimInstance {
    /// Its class.
    pub class: ClassId,
    values: Vec<Value>,
}

impl CimInstance {
    /// A new instance with the defaults of the class.
    pub fn new(class: &Class) -> Self {
        CimInstance { class: class.id, values: class.defaults.clone() }
    }

    /// An instance in which nothing has a value.
    pub fn empty(class: &Class) -> Self {
        CimInstance { class: class.id, values: vec![Value::Null; class.properties.len()] }
    }

    /// The value at a slot; NULL at slots that the class does not have.
    pub fn get(&self, slot: u16) -> &Value {
        self.values.get(usize::from(slot)).unwrap_or(&NULL)
    }

    /// Sets the value at a slot. Slots that the class does not have are ignored. The value's type is the caller's word.
    pub fn set(&mut self, slot: u16, value: impl Into<Value>) {
        if let Some(place) = self.values.get_mut(usize::from(slot)) {
            *place = value.into();
        }
    }

    /// The value of a name, without regard to case; NULL when the class has no such property. `class` is the
    /// instance's class or one above it.
    pub fn get_by_name(&self, class: &Class, name: &str) -> &Value {
        class.slot(name).map_or(&NULL, |slot| self.get(slot))
    }

    /// Sets the value of a name, without regard to case. Says whether there is such a property.
    pub fn set_by_name(&mut self, class: &Class, name: &str, value: impl Into<Value>) -> bool {
        let slot = class.slot(name);
        if let Some(slot) = slot {
            self.set(slot, value);
        }
        slot.is_some()
    }

    /// All values in the order of their slots.
    pub fn values(&self) -> &[Value] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::cim::{CimDatetime, Schema};

    #[test]
    fn a_new_instance_has_the_defaults_of_its_class() {
        let schema = Schema::builtin();
        let class = schema.class_by_name("msvm_concretejob").unwrap();
        let mut job = CimInstance::new(class);
        let removal = job.get_by_name(class, "TimeBeforeRemoval");
        assert_eq!(removal, &Value::Datetime(CimDatetime::interval_from_micros(300_000_000)));
        assert_eq!(job.get_by_name(class, "JobState"), &Value::Null);
        assert!(job.set_by_name(class, "jobstate", 7_u16));
        assert!(!job.set_by_name(class, "NoSuch", 7_u16));
        assert_eq!(job.get(class.slot("JobState").unwrap()).as_u64(), Some(7));
        job.set(9_999, true);
        assert_eq!(job.get(9_999), &Value::Null);
    }

    #[test]
    fn a_slot_of_a_base_class_reads_instances_of_the_classes_below() {
        let schema = Schema::builtin();
        for class in schema.classes() {
            let Some(base) = class.superclass.map(|id| schema.class(id)) else { continue };
            for (slot, property) in base.slots() {
                assert_eq!(class.property(&property.name).map(|(at, _)| at), Some(slot), "{}", class.name);
            }
        }
    }
}
