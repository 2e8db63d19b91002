//! Bytes and the kernel: rings, sockets, buffers, clocks.
//!
//! Knows no key, no command and no shard. Everything the rest of the program does to the machine goes through
//! [`Kernel`], which has three backends: `uring`, `epoll` and `sim`.

mod address;
mod bell;
mod chance;
pub mod choice;
pub mod clock;
pub mod epoll;
pub mod facts;
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
pub use kernel::{BufferId, ConnId, Event, Kernel, Listen, ListenError, ListenerId, Sent, Wait, Wake};
pub use options::Options;
pub use sim::{Sim, SimNet, SimOptions};
pub use uring::Uring;
