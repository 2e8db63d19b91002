//! The load generator: an outside client that tells the truth about time.
