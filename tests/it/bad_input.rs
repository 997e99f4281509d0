//! tests: bad_input
