//! What one core owns: wire formats, slots, records, table, wheel, commands.
//!
//! Pure: bytes and `now` go in, replies and counts come out. This crate never opens a descriptor, never starts a thread,
//! never reads a clock and never draws an unseeded random number, so that replay, followers, the simulator and the
//! live server all run the same function.

pub mod command;
pub mod glob;
pub mod key;
pub mod long_double;
pub mod number;
pub mod rdb;
pub mod shard;
pub mod slot;
pub mod wire;

pub use key::{Db, Key, KeySeed, PartitionId};
pub use shard::{Deadline, Found, Inspected, Kind, Shard, ShardConfig, Usage};
pub use slot::Slot;
