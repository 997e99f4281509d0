//! The one integration test binary.

mod auth;
mod backend;
mod bad_input;
mod clients;
mod crash;
mod jobs;
mod mof_agreement;
mod replication;
mod store;
mod support;
mod tidy;
mod transport;
