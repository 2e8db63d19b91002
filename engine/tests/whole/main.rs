//! The engine as clients see it: whole cores on the simulated network.

#![expect(dead_code, reason = "the harness offers more than each module needs")]

/// A server in one thread, and clients.
mod harness;
/// What the engine answers itself, command by command.
mod serve;
/// Several cores and clients at once: order, and commands on many keys.
mod several;
