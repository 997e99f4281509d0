//! The one integration test binary.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::similar_names,
    clippy::string_slice,
    clippy::as_conversions,
    reason = "a test that meets the unexpected is to stop and say where"
)]

mod answers;
mod audit;
mod auth;
mod authority;
mod backend;
mod bad_input;
mod certificates;
mod class_metadata;
mod crash;
mod eventing;
mod jobs;
mod kerberos;
mod live;
mod login;
mod many_connections;
mod mof_agreement;
mod operator;
mod power;
mod process;
mod replication;
mod representation;
mod settings;
mod signals;
mod store;
mod tidy;
mod trace;
mod transport;
