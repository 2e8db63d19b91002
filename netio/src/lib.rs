//! Bytes and the kernel: rings, sockets, files, buffers, clocks.
//!
//! Knows no key, no command and no shard. Everything the rest of the program does to the machine goes through
//! [`Kernel`], which has three backends:
//!
//! | backend | what it is for | what it promises beyond the trait |
//! | --- | --- | --- |
//! | [`Uring`] | the default, Linux 5.19 and newer | one system call per turn for all receives of all connections, no buffer for an idle one |
//! | [`Epoll`] | machines and containers that refuse io_uring | at most 1.15 times the ring's CPU time per operation |
//! | [`Sim`] | tests | the same seed and calls give the same history, time passes only when told |
//!
//! All three keep the trait's promises alike: one suite of conformance cases is run on each. [`choose`] picks between
//! the first two by trying, and says in one sentence why it had to step down. Nothing here panics over what a peer does, spins on an
//! error, or grows without bound: receive buffers are a fixed pool, events per turn are bounded, and the only memory that follows the
//! load is one slot per connection and the rests the core hands over.

mod address;
mod bell;
mod chance;
pub mod choice;
pub mod clock;
pub mod epoll;
pub mod facts;
pub mod file;
mod files;
pub mod kernel;
mod listener;
pub mod options;
pub mod placement;
mod pool;
pub mod signals;
pub mod sim;
mod slab;
mod stamp;
mod stream;
pub mod uring;

pub use choice::{Backend, Choice, Refused, choose};
pub use clock::{MonotonicNs, Now, WallMs};
pub use epoll::Epoll;
pub use facts::{Facts, Feature};
pub use file::{Aligned, FileDone, FileFailure, FileId, FileRequest, FileTraits};
pub use kernel::{BufferId, ConnId, Event, Kernel, Listen, ListenError, ListenerId, Sent, Wait, Wake};
pub use options::Options;
pub use sim::{Sim, SimDisk, SimNet, SimOptions};
pub use uring::Uring;
