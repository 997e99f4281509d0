//! tests: exchanges
