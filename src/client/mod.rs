//! A small WS-Management client over the same codec.
