//! Whole nodes in one thread from one seed.
