//! The load generator: an outside client that tells the truth about time.
//!
//! `corewheel bench` asks a server for keys on a schedule that the server cannot slow down, and counts response time from
//! the moment a request was meant to start. It speaks RESP and memcached's text protocol, so that a server and its peers
//! are measured with the same eyes. It links nothing of the server it measures.
//!
//! ```text
//! options ── plan ── session ── pass ── worker ─┬─ arrivals   when
//!                       │                       ├─ source     what (workload, keys, random)
//!                       │                       ├─ flight     to whom, and what became of it (request, reply, tally)
//!                       │                       └─ port       bytes (ring: io_uring, poll: epoll)
//!                       └─ report (table, markdown, plot, interval log), knee, compare
//! ```
//!
//! A pass never drops what its schedule asked for: a request that finds no connection with room waits, is sent as soon as
//! one has room, and is charged for the wait; one that is never answered is charged up to where waiting ended.

#![deny(unsafe_code)] // Allowed in `port::ring`, `port::poll` and `machine`, which talk to the kernel.

mod arrivals;
mod cluster;
mod compare;
mod control;
mod environment;
mod flight;
mod interval_log;
mod keys;
mod knee;
mod machine;
mod options;
mod pass;
mod plan;
mod plot;
mod port;
mod progress;
mod quantity;
mod random;
mod reply;
mod report;
mod request;
mod session;
mod slo;
mod source;
mod table;
mod tally;
mod target;
mod worker;
mod workload;

pub use options::Options;
pub use session::run;
