//! tests: replication
