//! The CIM model (DSP0004): schema, values, instances, paths, queries.
