//! Questions that every core answers: clients, counts, settings. Control rate; never on the way of a key.

use crate::latency::Event;
use crate::log::LogCounts;
use crate::metrics::Metrics;
use crate::placement::CoreId;
use crate::replica::Standing;
use crate::settings::Settings;
use crate::slowlog::SlowRequest;
use netio::MonotonicNs;
use shards::Slot;
use shards::shard::{Counts, Memory};
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
    /// Is everything durable that you have done? Answered when it is.
    Sync,
    /// Which of your clients match?
    Clients(ClientFilter),
    /// Close those of your clients that match and were connected by that moment: one that was closed may be back on another core.
    Kill(ClientFilter, MonotonicNs),
    /// Your newest slow requests.
    Slowlog {
        /// At most so many.
        count_max: usize,
    },
    /// How many do you keep?
    SlowlogLen,
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
    /// Your slow moments.
    Latency,
    /// Forget those of these names, or all.
    LatencyReset(Vec<String>),
    /// Somebody watches all commands. That nobody does any more is found out in the next round.
    Monitored,
    /// Which keys of this slot do you have, in database 0?
    KeysInSlot {
        /// The slot; a core that does not own it has none.
        slot: Slot,
        /// At most so many.
        count_max: usize,
    },
    /// How many keys of this slot do you have, in database 0?
    CountInSlot(Slot),
    /// `DEBUG OBJECT`, asked of the core that has the key.
    DebugObject(crate::hold::Request, u64),
    /// Stop everything for so long.
    Sleep {
        /// Nanoseconds.
        ns: u64,
    },
    /// Whether to remove keys when their time comes.
    ActiveExpire(bool),
    /// A number that says what your databases hold.
    Digest,
    /// How does replication stand? Asked of core 0.
    Standing,
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
    /// Of this type.
    pub kind: Option<ClientKind>,
    /// Logged in as this user.
    pub user: Option<String>,
    /// Older than this many seconds.
    pub age_s_min: Option<u64>,
    /// Not this one.
    pub skip: Option<u64>,
}

/// Types of clients as `CLIENT LIST` knows them. There are normal ones and replicas so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// Anybody, those in `MONITOR` included.
    Normal,
    /// A server this one follows.
    Master,
    /// A server that follows this one.
    Replica,
    /// A subscriber.
    Pubsub,
}

impl ClientKind {
    /// The type of this name, in any case.
    pub fn named(name: &[u8]) -> Option<ClientKind> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(ClientKind::Normal),
            b"master" => Some(ClientKind::Master),
            b"slave" | b"replica" => Some(ClientKind::Replica),
            b"pubsub" => Some(ClientKind::Pubsub),
            _ => None,
        }
    }
}

/// What a core answers.
#[derive(Clone, Debug)]
pub enum Finding {
    /// The request's reply.
    Reply {
        /// In the asking connection's dialect.
        bytes: Vec<u8>,
        /// How many keys this core has in the request's database.
        keys: u64,
    },
    /// Counts.
    Stats(Box<CoreStats>),
    /// Lines of `CLIENT LIST`, by client id.
    Clients(Vec<(u64, String)>),
    /// How many were closed.
    Killed(u64),
    /// Slow requests, the newest first.
    Slowlog(Vec<SlowRequest>),
    /// Slow moments.
    Latency(Vec<Event>),
    /// Keys.
    Keys(Vec<Vec<u8>>),
    /// A number.
    Count(u64),
    /// How replication stands, if this core knows.
    Standing(Option<Box<Standing>>),
    /// Done.
    Done,
}

/// Keys of one database, on one core or on all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbStats {
    /// Keys.
    pub keys: u64,
    /// Of those, keys with a deadline.
    pub timed: u64,
    /// The mean time that those have left.
    pub ttl_ms_mean: u64,
}

impl DbStats {
    /// Adds another core's keys.
    pub fn merge(&mut self, other: &DbStats) {
        let ttl_ms = self.ttl_ms_mean * self.timed + other.ttl_ms_mean * other.timed;
        self.keys += other.keys;
        self.timed += other.timed;
        self.ttl_ms_mean = ttl_ms / self.timed.max(1);
    }
}

/// What one core has counted and holds.
#[derive(Clone, Debug)]
pub struct CoreStats {
    /// Who answers.
    pub core: CoreId,
    /// Counts of requests.
    pub metrics: Metrics,
    /// Counts of the shard.
    pub counts: Counts,
    /// By database.
    pub dbs: Vec<DbStats>,
    /// Connections now.
    pub clients: u64,
    /// Of those, through the core's own port.
    pub cluster_clients: u64,
    /// Connections in `MONITOR`.
    pub monitors: u64,
    /// Connections whose requests wait.
    pub stalled: u64,
    /// Requests waiting for held keys.
    pub waiting: u64,
    /// Where the shard's memory is.
    pub memory: Memory,
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
    /// Lines not shown to those in `MONITOR` because there were too many.
    pub monitor_lines_dropped: u64,
    /// What was logged; none without a directory.
    pub log: Option<LogStats>,
    /// How replication stands, if this core knows.
    pub replication: Option<Box<Standing>>,
    /// Changes of the shard that no snapshot shows.
    pub changes_unsaved: u64,
    /// By how many milliseconds the entry clock is ahead of the machine's.
    pub clock_ahead_ms: u64,
    /// Nanoseconds this core has run.
    pub age_ns: u64,
}

/// One core's log.
#[derive(Clone, Copy, Debug)]
pub struct LogStats {
    /// What its writer has done.
    pub counts: LogCounts,
    /// Number of the newest entry.
    pub lsn: u64,
    /// Up to where it is durable.
    pub synced_lsn: u64,
    /// Bytes of entries that wait to be written.
    pub waiting_bytes: u64,
    /// Replies and other things that wait for it; a connection counts once.
    pub parked: u64,
    /// The disk's next file could not be made.
    pub is_low: bool,
    /// Writes are refused, because the disk is full.
    pub refuses: bool,
}
