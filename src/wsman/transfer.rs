//! WS-Transfer: the requests that carry a representation.

use super::fault;
use crate::soap::{Envelope, Fault};
use crate::xml::{Element, name};

/// The representation in a Put or a Create: one element, neither none nor a second whose part would be lost.
//= XFR-05, XFR-12, FRG-04
pub(super) fn representation<'d>(envelope: &Envelope<'d>, operation: &str) -> Result<Element<'d>, Box<Fault>> {
    let mut elements = envelope.body.children();
    let what = match (elements.next(), elements.next()) {
        (Some(only), None) => return Ok(only),
        (None, _) => format!("the body of a {operation} holds no representation"),
        (Some(_), Some(_)) => format!("the body of a {operation} holds more than one element"),
    };
    let is_empty = envelope.payload().is_none();
    Err(Box::new(if envelope.header(name::WSMAN, "FragmentTransfer").is_some() {
        fault::invalid_representation_invalid_fragment(what)
    } else if is_empty {
        fault::invalid_representation_missing_values(what)
    } else {
        fault::invalid_representation_invalid_values(what)
    }))
}
