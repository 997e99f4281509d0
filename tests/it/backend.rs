//! tests: backend
