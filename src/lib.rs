//! failbackd: a WS-Management/CIM server that looks like a Hyper-V Replica host and runs failback on a pluggable
//! replication backend. ARCHITECTURE.md names every module and the direction of their dependencies.

pub mod auth;
pub mod backend;
pub mod blocks;
pub mod cim;
pub mod cli;
pub mod client;
pub mod config;
pub mod endpoint;
pub mod job;
pub mod provider;
pub mod replication;
pub mod server;
pub mod service;
pub mod soap;
pub mod store;
pub mod transport;
pub mod wscim;
pub mod wsman;
pub mod xml;
