//! WS-Management messages: one typed request and response per operation.
//!
//! [`decode`] turns a document into a [`Request`] or the [`Fault`](crate::soap::Fault) to answer; either way there is a
//! [`Correlation`], which the answer needs. [`encode_response`] and [`encode_fault`] write answers in the shape of
//! Windows'. The client's half of the same codec is in [`client`].

pub mod client;
mod config;
mod decode;
mod duration;
mod encode;
mod enumeration;
pub mod eventing;
pub mod fault;
mod fragment;
mod header;
mod identify;
mod invoke;
mod operation;
pub mod profile;
#[cfg(test)]
mod tests;
mod transfer;
pub mod uri;

pub use config::{CONFIG, ConfigPart, CurrentText, WinrmConfig, WinrmListener, WinrmLogin};
pub use decode::decode;
pub use duration::{DurationError, format_duration, parse_duration};
pub use encode::{encode_fault, encode_fault_within, encode_response, encode_response_with};
pub use enumeration::{
    Enumerate, EnumerationMode, Filter, GetStatus, PolymorphismMode, Pull, Release, Renew, write_enumerate_response,
    write_pull_response, write_release_response, write_renew_response, write_status_response, write_total_estimate,
};
pub use fragment::{Fragment, FragmentPath, Target};
pub use header::Correlation;
pub use identify::{IdentityNamespace, encode_identify_response, write_identify_response};
pub use invoke::Invoke;
pub use operation::{Operation, Request};
pub use profile::Profile;
