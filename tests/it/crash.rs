//! tests: crash
