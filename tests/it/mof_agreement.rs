//! tests: mof_agreement
