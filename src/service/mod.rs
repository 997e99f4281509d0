//! The engine: durable commands and the jobs that run them.
