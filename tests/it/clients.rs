//! tests: clients
