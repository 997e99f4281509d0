//! The WS-CIM binding (DSP0227, DSP0230): CIM to and from WS-Management. Pure functions over the schema.

mod association;
mod epr;
mod error;
mod event;
mod instance;
mod metadata;
mod parameters;
mod representation;
mod resource;
mod wmi_error;
mod xpath;
mod xsd;

pub use association::association_query;
pub use epr::{object_path, path_from_epr, path_of, path_to_epr};
pub use error::fault_of;
pub use event::write_event;
pub use instance::{Arrays, Codec, write_included, write_instance, write_projection, write_value};
pub use metadata::{CLASS_NAME_SELECTOR, Metadata};
pub use parameters::{decode_input, write_output};
pub use representation::{Representation, decode_fragment, decode_representation, decode_text};
pub use resource::{CLASS_SELECTOR, Family, Resource, Target, selected_namespace};
pub use wmi_error::with_cim_error;
pub use xpath::{XPath, XPathError};
pub use xsd::{write_class_xsd, write_common_xsd};
