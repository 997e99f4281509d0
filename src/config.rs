//! Configuration: one struct, defaults spelled out; TOML file, then environment, then flags.
