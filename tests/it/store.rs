//! tests: store
