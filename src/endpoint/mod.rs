//! One WS-Management exchange, without I/O.
