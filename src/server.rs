//! Wires the store, the engine, the endpoint and the transport into one server.
