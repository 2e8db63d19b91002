//! The replication crate from outside.

/// The thread behind the boundary.
mod carrier;
