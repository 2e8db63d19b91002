//! The engine as clients see it: whole cores on the simulated network.

/// What clients may make the server hold.
mod bounds;
/// What the log promises, by level.
mod durable;
/// What a directory is recovered to, and what is refused.
mod recovery;
/// Servers of another kind that follow this one.
mod replicas;
/// What the log is when it is compressed and encrypted.
mod sealed;
/// What the engine answers itself, command by command.
mod serve;
/// Several cores and clients at once: order, and commands on many keys.
mod several;
/// Snapshots: made while commands go on, kept, recovered from, and what they make superfluous.
mod snapshots;
