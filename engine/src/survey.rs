//! Questions that every core answers: clients, counts, settings. Control rate; never on the way of a key.

use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::slowlog::SlowRequest;
use shards::shard::Counts;
use std::sync::Arc;

/// What a core is asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Run this request, which has no key, on the shard.
    Run(crate::hold::Request, u64),
    /// What have you counted?
    Stats,
    /// Start counting again.
    ResetStats,
    /// Which of your clients match?
    Clients(ClientFilter),
    /// Close those of your clients that match.
    Kill(ClientFilter),
    /// Your slow requests.
    Slowlog,
    /// Forget them.
    SlowlogReset,
    /// These settings hold from now on.
    Settings(Arc<Settings>),
    /// Run no command (or no writing command) of clients until this monotonic moment.
    Pause {
        /// Nanoseconds.
        until_ns: u64,
        /// Reads go on.
        writes_only: bool,
    },
    /// Somebody watches all commands, or nobody does any more.
    Monitored(bool),
    /// Stop taking clients and end the turn loop.
    Stop,
}

/// Which clients are meant; all conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct ClientFilter {
    /// One of these ids, if any are given.
    pub ids: Vec<u64>,
    /// With this peer address.
    pub addr: Option<String>,
    /// Having dialled this address.
    pub laddr: Option<String>,
    /// Of this type: `normal`, `master`, `replica`, `pubsub`.
    pub kind: Option<String>,
    /// Logged in as this user.
    pub user: Option<String>,
    /// Older than this many seconds.
    pub age_s_min: Option<u64>,
    /// Not this one.
    pub skip: Option<u64>,
}

/// What a core answers.
#[derive(Clone, Debug)]
pub enum Finding {
    /// The request's reply.
    Reply(Vec<u8>),
    /// Counts.
    Stats(Box<CoreStats>),
    /// Lines of `CLIENT LIST`, by client id.
    Clients(Vec<(u64, String)>),
    /// How many were closed.
    Killed(u64),
    /// Slow requests, the newest first.
    Slowlog(Vec<SlowRequest>),
    /// Done.
    Done,
}

/// What one core has counted and holds.
#[derive(Clone, Debug)]
pub struct CoreStats {
    /// Counts of requests.
    pub metrics: Metrics,
    /// Counts of the shard.
    pub counts: Counts,
    /// By database: keys, keys with a deadline.
    pub dbs: Vec<(u64, u64)>,
    /// Connections now.
    pub clients: u64,
    /// Connections in `MONITOR`.
    pub monitors: u64,
    /// Connections whose requests wait.
    pub stalled: u64,
    /// Requests waiting for held keys.
    pub waiting: u64,
    /// Bytes of records, tables and the wheel.
    pub shard_bytes: u64,
    /// Bytes of connections' buffers.
    pub connection_bytes: u64,
    /// Bytes of the kernel's rings and receive buffers.
    pub kernel_bytes: u64,
    /// Bytes of lanes and parcels.
    pub lane_bytes: u64,
    /// The largest input buffer and the largest output buffer of a client.
    pub client_input_max: u64,
    /// See above.
    pub client_output_max: u64,
    /// Nanoseconds this core has run.
    pub age_ns: u64,
}
