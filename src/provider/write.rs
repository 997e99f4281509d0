//! What a client may write: which classes take a Put, a Create or a Delete, and what each becomes.
//!
//! A provider turns what is wanted into an [`Amendment`], which the engine makes durable before anything is answered.
//! Each of these operations does what a method of `Msvm_ReplicationService` does, through the same checks, and needs
//! the same role and the same access rules.

use crate::cim::{CimInstance, ObjectPath, Value};
use crate::replication::{Amendment, Denied, SettingError};

/// What a class takes besides reads and its methods. Each operation goes by the method that does the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// A Put.
    pub put: Option<&'static str>,
    /// A Create.
    pub create: Option<&'static str>,
    /// A Delete.
    pub delete: Option<&'static str>,
}

/// Values by slot as a client gives them; null where it says that there is to be none.
pub type Values = [(u16, Value)];

/// Why something is not written.
#[derive(Clone, Debug, PartialEq)]
pub enum Unwritten {
    /// The class does not take this operation.
    NotTaken,
    /// A property that needs a value is to have none.
    Missing(String),
    /// A value that cannot be.
    Setting(SettingError),
    /// The domain refuses.
    Denied(Denied),
}

impl From<SettingError> for Unwritten {
    fn from(error: SettingError) -> Self {
        Self::Setting(error)
    }
}

/// A new instance: how it comes to be, and how it is named.
#[derive(Clone, Debug, PartialEq)]
pub struct Created {
    /// The change that makes it.
    pub amendment: Amendment,
    /// Its path.
    pub path: ObjectPath,
}

/// The instance as it will be when the values are written: what the room for the answer is reckoned by.
pub fn with_values(present: &CimInstance, values: &Values) -> CimInstance {
    let mut instance = present.clone();
    for (slot, value) in values {
        instance.set(*slot, value.clone());
    }
    instance
}
