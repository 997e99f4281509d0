//! tests: tidy
