//! tests: auth
