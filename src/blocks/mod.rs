//! Comparing and copying block ranges.
