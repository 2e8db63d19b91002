//! Copies of a log: groups, membership, catch-up.
//!
//! Today this crate holds the boundary and the one thread behind it, so that what comes later has its place:
//!
//! - **Logic is pure.** Groups, elections and catch-up will take messages and give messages; they never see a socket,
//!   a clock or a thread, and they name no client protocol. Of our crates they may name `shards::log` only.
//! - **[`carrier`] moves.** The replication shard is one thread that runs a glommio executor. It carries log entries and
//!   snapshots between nodes with asynchronous streams and direct I/O, and talks to the cores over bounded flume channels at
//!   control rate. The cores never run glommio, and the carrier never touches a record.
//!
//! A carrier is stopped by a message and joined, never dropped: tasks left in an executor that exits would leak, and
//! whoever waits for them would wait for ever.

pub mod carrier;
