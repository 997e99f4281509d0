//! tests: support
