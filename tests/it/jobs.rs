//! tests: jobs
