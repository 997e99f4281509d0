//! WS-Transfer: the requests that carry a representation.

use super::fault;
use crate::soap::{Envelope, Fault};
use crate::xml::Element;

/// The representation in a Put or a Create.
pub(super) fn representation<'d>(envelope: &Envelope<'d>, operation: &str) -> Result<Element<'d>, Box<Fault>> {
    envelope
        .payload()
        .ok_or_else(|| Box::new(fault::schema_validation_error(format!("the body of a {operation} is empty"))))
}
