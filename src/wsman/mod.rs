//! WS-Management messages: one typed request and response per operation.
