//! What one core owns: wire formats, slots, records, table, wheel, commands.
//!
//! Pure: bytes and `now` go in, replies and counts come out. This crate never opens a descriptor, never starts a thread,
//! never reads a clock and never draws an unseeded random number, so that replay, followers, the simulator and the
//! live server all run the same function.

mod arena;
mod chance;
mod collection;
pub mod command;
pub mod evict;
mod expire;
pub mod glob;
mod heap;
pub mod key;
mod keyspace;
pub mod log;
pub mod long_double;
pub mod number;
pub mod rdb;
mod record;
mod replay;
pub mod retold;
mod scan;
pub mod shard;
pub mod slot;
pub mod snapshot;
mod table;
pub mod wheel;
pub mod wire;

pub use arena::Ground;
pub use collection::PackLimits;
pub use evict::{Eviction, Lfu};
pub use key::{Db, Key, KeySeed, PartitionId};
pub use shard::{Deadline, Found, Inspected, Kind, Shard, ShardConfig, Usage};
pub use slot::Slot;
pub use table::TableStats;
