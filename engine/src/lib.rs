//! The machine that turns: cores, lanes, the turn loop, and what holds a server together.
//!
//! A [`core::Core`] is everything one thread owns. It talks to the machine through `netio::Kernel` only, so that the same
//! core runs on io_uring, on epoll and in the simulator; and to other cores through [`peers::Peers`] only.

pub mod archive;
pub mod banner;
pub mod board;
pub mod connection;
pub mod core;
pub mod directory;
mod dispatch;
pub mod durability;
pub mod entry_clock;
pub mod executor;
mod ground;
mod halt;
pub mod hold;
pub mod input;
mod intake;
mod joint;
pub mod journal;
pub mod keys;
pub mod lane;
pub mod latency;
pub mod line;
pub mod load;
pub mod log;
pub mod machine;
pub mod memory;
pub mod metrics;
pub mod options;
pub mod parcel;
mod parking;
pub mod peers;
pub mod placement;
pub mod planted;
pub mod replica;
pub mod seal;
mod serve;
pub mod settings;
pub mod slowlog;
pub mod snapshot;
mod start_clock;
pub mod survey;
mod task;
pub mod turnstile;
