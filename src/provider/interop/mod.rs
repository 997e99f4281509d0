//! The classes of `root/interop`: what a client asks to find out what is here. Nothing in them depends on the virtual
//! machines.

mod namespace;
mod object_manager;
mod registered_profile;

use crate::cim::Schema;

use super::{Provider, ReadContext, SchemaMismatch};

/// Every provider of the namespace.
pub(crate) fn providers(schema: &Schema) -> Result<Vec<Box<dyn Provider>>, SchemaMismatch> {
    Ok(vec![
        Box::new(namespace::Namespaces::resolve(schema)?),
        Box::new(object_manager::ObjectManager::resolve(schema)?),
        Box::new(registered_profile::RegisteredProfiles::resolve(schema)?),
    ])
}

/// The class of the system that hosts the object manager.
const SYSTEM_CLASS: &str = "Msvm_ComputerSystem";
/// The class of the object manager.
const MANAGER_CLASS: &str = "CIM_ObjectManager";

/// The name of the object manager: unique among those that a client may know.
fn manager_name(cx: &ReadContext<'_>) -> String {
    format!("failbackd:{}", cx.view.host_name())
}
