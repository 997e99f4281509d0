//! tests: transport
