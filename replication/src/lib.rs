//! Copies of a log: groups, membership, catch-up.
