//! Durable keys and values.
