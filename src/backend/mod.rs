//! Drivers: what moves the data.
