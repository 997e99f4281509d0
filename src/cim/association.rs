//! What is asked of associations: the objects that are associated with one, or the associations that refer to it
//! (DSP0200 `Associators` and `References`). The association filter of WS-Management and WQL's `ASSOCIATORS OF` and
//! `REFERENCES OF` become this one form.

use super::schema::{ClassId, Schema};
use super::{CimInstance, ObjectPath};

/// Which instances are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Related {
    /// Those at the other ends of associations.
    Objects,
    /// The associations themselves.
    Associations,
}

/// A question about the associations of one object.
#[derive(Clone, Debug, PartialEq)]
pub struct AssociationQuery {
    /// Which instances are asked for.
    pub related: Related,
    /// The object. Its path may be to a superclass and lack keys, as long as it names one instance.
    pub object: ObjectPath,
    /// The class of the associations that are followed, or one above it.
    pub association_class: Option<ClassId>,
    /// The class of the instances asked for, or one above it.
    pub result_class: Option<ClassId>,
    /// Whether instances of classes below the result class are left out.
    pub is_exact: bool,
    /// The role that the object plays: the name of the reference to it.
    pub role: Option<String>,
    /// The role that the other object plays.
    pub result_role: Option<String>,
    /// The properties that are wanted, whatever the case of their names; all when there is none.
    pub properties: Vec<String>,
}

impl AssociationQuery {
    /// The slots of the wanted properties that the instance has; none when all are wanted.
    pub fn projection(&self, schema: &Schema, instance: &CimInstance) -> Option<Vec<u16>> {
        if self.properties.is_empty() {
            return None;
        }
        let class = schema.class(instance.class);
        Some(self.properties.iter().filter_map(|name| class.slot(name)).collect())
    }
}
