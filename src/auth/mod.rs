//! Who is asking: principals and the mechanisms that make them.
