//! The rules of replication: states, admission, settings, the view.
