//! SOAP 1.2 envelopes and WS-Addressing 2004/08.
//!
//! What a message says in its envelope, without knowing any operation: the header as an unordered set, mandatory
//! headers, endpoint references with their selectors, and faults with their encoding.

mod addressing;
mod envelope;
mod fault;
#[cfg(test)]
mod tests;

pub use addressing::{
    ANONYMOUS, EndpointReference, OptionSet, Selector, SelectorError, SelectorSet, SelectorValue, WsOption,
    is_anonymous,
};
pub use envelope::{Envelope, clipped, is_mandatory, trimmed};
pub use fault::{DetailItem, Fault, FaultCode, Subcode, fault_action};
