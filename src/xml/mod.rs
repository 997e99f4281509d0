//! XML as octets: a flat tape under limits, and an escaping writer.
