//! What an operator may set, each thing declared once: name, default, bounds, words, and whether it can change while running.
//!
//! Every core holds the current [`Settings`] behind an `Arc` of its own; a change makes a new one and sends it to all cores,
//! so that no core ever sees half a change.

use crate::durability::{Ladder, Level};
use crate::keys::Keys;
use crate::seal::Compression;
use netio::Listen;
use shards::PackLimits;
use shards::evict::Eviction;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where every core listens. Fixed at start.
    pub listens: Vec<Listen>,
    /// Port of the first core's own listener, when cores show themselves as cluster nodes. Fixed at start.
    pub cluster_port_first: Option<u16>,
    /// The main TCP port. Fixed at start.
    pub port: u16,
    /// Main addresses, as text. Fixed at start.
    pub bind: Vec<String>,
    /// Unix socket. Fixed at start.
    pub unix_socket: Option<PathBuf>,
    /// Its permission bits, if they are set.
    pub unix_socket_mode: Option<u32>,
    /// Processor each core is pinned to. Fixed at start.
    pub cpus: Vec<usize>,
    /// The configuration file that was read. Fixed at start.
    pub config_file: Option<PathBuf>,
    /// How many numbered databases there are. Fixed at start.
    pub db_count: u16,
    /// Bytes that records, tables, buffers and connections may take together.
    pub memory_bytes_max: u64,
    /// What to do when they are full.
    pub policy: Eviction,
    /// How many candidates an eviction looks at. Kept because tools set it; ours looks at whole buckets.
    pub maxmemory_samples: u32,
    /// The logarithm's slope of the LFU counter.
    pub lfu_log_factor: u8,
    /// Minutes until an LFU counter loses one.
    pub lfu_decay_minutes: u16,
    /// Connections over all cores.
    pub clients_max: u32,
    /// Seconds after which an idle client is closed; 0 for never.
    pub idle_timeout_s: u32,
    /// Seconds a client may leave its output untouched before it is closed; 0 for never.
    pub stuck_timeout_s: u32,
    /// Seconds between keep-alive probes. Kept for tools; sockets use 300.
    pub tcp_keepalive_s: u32,
    /// The default user's password.
    pub password: Option<Secret>,
    /// Bytes one argument may have.
    pub bulk_bytes_max: usize,
    /// Bytes one client's unanswered input may take.
    pub query_bytes_max: usize,
    /// Output limits by class: normal, replica, pubsub.
    pub output_limits: [OutputLimit; 3],
    /// Microseconds from which a command is kept in the slow log; negative for never.
    pub slowlog_slower_than_us: i64,
    /// Entries the slow log keeps.
    pub slowlog_entries_max: usize,
    /// Milliseconds from which an event is kept by the latency monitor; 0 for never.
    pub latency_threshold_ms: u64,
    /// Whether latency histograms are kept per command.
    pub latency_tracking: bool,
    /// Who may use `DEBUG`: `no`, `local` or `yes`.
    pub debug_command: String,
    /// What `HELLO` says the server is.
    pub hello_server: String,
    /// Microseconds a core spins before it sleeps.
    pub spin_us: u32,
    /// Directory of the log and the snapshots; without one, nothing is kept. Fixed at start.
    pub dir: Option<PathBuf>,
    /// What of it a crash may take back, if said; see [`Settings::ladder`].
    pub durability: Option<Ladder>,
    /// Bytes of one file of the log.
    pub log_segment_bytes: u64,
    /// How frames of the log are compressed.
    pub log_compression: Compression,
    /// What new files are encrypted with, and what may have to be read.
    pub keys: Keys,
    /// Where the keys are read from. Fixed at start.
    pub encryption_key_file: Option<PathBuf>,
    /// Bytes of log after which a snapshot is made by itself; 0 for never.
    pub snapshot_log_bytes: u64,
    /// Seconds after which a snapshot is made if something was written; 0 for never.
    pub snapshot_interval_s: u32,
    /// Snapshots that are kept.
    pub snapshot_keep: u32,
    /// Bytes of what was written last that are kept for replicas whose connection broke.
    pub backlog_bytes: usize,
    /// Seconds that they are kept when no replica is left; 0 for ever.
    pub backlog_ttl_s: u32,
    /// Seconds between two signs of life to replicas.
    pub replica_ping_s: u32,
    /// Seconds without a word after which a replica is let go.
    pub replica_timeout_s: u32,
    /// Up to which size collections are packed in their records.
    pub pack_limits: PackLimits,
    /// Values of parameters that tools set and read and that change nothing here.
    pub inert: Vec<(&'static str, String)>,
}

/// A password. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// Keeps a password.
    pub fn new(bytes: &[u8]) -> Secret {
        Secret(bytes.into())
    }

    /// Whether `attempt` is the password, in time that depends on the lengths only.
    pub fn matches(&self, attempt: &[u8]) -> bool {
        let mut difference = u8::from(self.0.len() != attempt.len());
        for (index, byte) in attempt.iter().enumerate() {
            difference |= byte ^ self.0.get(index).copied().unwrap_or(0);
        }
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Whose output limit holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientClass {
    /// Ordinary clients: bounded by pausing them, see `stuck-client-timeout`.
    Normal,
    /// Replicas, and clients in `MONITOR`.
    Replica,
    /// Subscribers.
    Pubsub,
}

impl ClientClass {
    const NAMES: [&'static str; 3] = ["normal", "slave", "pubsub"];
}

/// When a client that does not read is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimit {
    /// Closed at once above this many bytes; 0 for no limit.
    pub hard_bytes: usize,
    /// Closed when above this many bytes …
    pub soft_bytes: usize,
    /// … for this many seconds.
    pub soft_s: u32,
}

const MIB: usize = 1024 * 1024;

/// Bytes of one file of the log. The least holds a frame of ordinary size several times; it is for tests.
pub const LOG_SEGMENT_BYTES_MIN: u64 = 64 * 1024;
/// The most.
pub const LOG_SEGMENT_BYTES_MAX: u64 = 4 << 30;

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listens: Vec::new(),
            cluster_port_first: None,
            port: 6379,
            bind: vec!["127.0.0.1".into(), "::1".into()],
            unix_socket: None,
            unix_socket_mode: None,
            cpus: vec![0],
            config_file: None,
            db_count: 16,
            memory_bytes_max: 0,
            policy: Eviction::default(),
            maxmemory_samples: 5,
            lfu_log_factor: 10,
            lfu_decay_minutes: 1,
            clients_max: 10_000,
            idle_timeout_s: 0,
            stuck_timeout_s: 60,
            tcp_keepalive_s: 300,
            password: None,
            bulk_bytes_max: 512 * MIB,
            query_bytes_max: 1024 * MIB,
            output_limits: [
                OutputLimit { hard_bytes: 64 * MIB, soft_bytes: 0, soft_s: 0 },
                OutputLimit { hard_bytes: 256 * MIB, soft_bytes: 64 * MIB, soft_s: 60 },
                OutputLimit { hard_bytes: 32 * MIB, soft_bytes: 8 * MIB, soft_s: 60 },
            ],
            slowlog_slower_than_us: 10_000,
            slowlog_entries_max: 128,
            latency_threshold_ms: 0,
            latency_tracking: true,
            debug_command: "local".into(),
            hello_server: "redis".into(),
            spin_us: 0,
            dir: None,
            durability: None,
            log_segment_bytes: 64 * MIB as u64,
            log_compression: Compression::None,
            keys: Keys::default(),
            encryption_key_file: None,
            snapshot_log_bytes: 1024 * MIB as u64,
            snapshot_interval_s: 3600,
            snapshot_keep: 2,
            backlog_bytes: MIB,
            backlog_ttl_s: 3600,
            replica_ping_s: 10,
            replica_timeout_s: 60,
            pack_limits: PackLimits::default(),
            inert: INERT.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        }
    }
}

/// Takes a value as text, or says what is wrong with it.
pub type Change = fn(&mut Settings, &str) -> Result<(), String>;

/// One thing an operator may set.
pub struct Setting {
    /// Its name in `CONFIG`, on the command line and in files.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Reads it as `CONFIG GET` shows it.
    pub get: fn(&Settings) -> String,
    /// Changes it while running; `None` if it is fixed at start.
    pub set: Option<Change>,
}

/// Parameters of Redis that clients and tools read or set and that have no counterpart yet, with the value that is true here.
/// Setting them is remembered and changes nothing.
const INERT: &[(&str, &str)] = &[
    ("activedefrag", "no"),
    ("auto-aof-rewrite-min-size", "67108864"),
    ("auto-aof-rewrite-percentage", "100"),
    ("close-on-oom", "no"),
    ("dynamic-hz", "yes"),
    ("hz", "10"),
    ("lazyfree-lazy-eviction", "no"),
    ("lazyfree-lazy-expire", "no"),
    ("lazyfree-lazy-server-del", "no"),
    ("lazyfree-lazy-user-del", "no"),
    ("lazyfree-lazy-user-flush", "no"),
    ("list-compress-depth", "0"),
    ("loglevel", "notice"),
    ("maxmemory-eviction-tenacity", "10"),
    ("notify-keyspace-events", ""),
    ("replica-read-only", "yes"),
    ("replica-serve-stale-data", "yes"),
    ("slave-read-only", "yes"),
    ("stop-writes-on-bgsave-error", "yes"),
    ("stream-node-max-entries", "100"),
];

fn number<T: std::str::FromStr + PartialOrd + fmt::Display>(text: &str, min: T, max: T) -> Result<T, String> {
    let whole: i128 = text.parse().map_err(|_| "argument couldn't be parsed into an integer".to_owned())?;
    // What does not even fit the type is outside the bounds too.
    let value = T::from_str(&whole.to_string()).ok().filter(|value| (&min..=&max).contains(&value));
    value.ok_or_else(|| format!("argument must be between {min} and {max} inclusive"))
}

/// Bytes with an optional unit, as Redis writes them: `100mb`, `1g`. `k`, `m`, `g` are powers of ten, `kb`, `mb`, `gb` of two.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err("argument must be a memory value".into()),
    };
    let count: u64 = digits.parse().map_err(|_| "argument must be a memory value".to_owned())?;
    count.checked_mul(factor).ok_or_else(|| "argument must be a memory value".to_owned())
}

fn bytes_between(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if (min..=max).contains(&bytes) { Ok(bytes) } else { Err(format!("argument must be between {min} and {max} inclusive")) }
}

fn set_ladder(settings: &mut Settings, ladder: Ladder) -> Result<(), String> {
    if settings.dir.is_none() && ladder.logs() {
        return Err("nothing can be kept without a directory; start the server with --dir".into());
    }
    if let Some(db) = ladder.db_max().filter(|db| db.0 >= settings.db_count) {
        return Err(format!("there is no namespace {}", db.0));
    }
    settings.durability = Some(ladder);
    Ok(())
}

/// What comes nearest in the words of Redis.
fn appendfsync_of(level: Level) -> &'static str {
    match level {
        Level::Batch => "always",
        Level::Every { .. } | Level::Periodic { ms: ..=1000 } => "everysec",
        Level::Periodic { .. } | Level::None => "no",
    }
}

fn set_appendfsync(settings: &mut Settings, text: &str) -> Result<(), String> {
    let word = text.to_ascii_lowercase();
    let level = match word.as_str() {
        "always" => Level::Batch,
        "everysec" => Level::Periodic { ms: 1000 },
        "no" => Level::Periodic { ms: 30_000 },
        _ => return Err("argument(s) must be one of the following: everysec, always, no".into()),
    };
    if appendfsync_of(settings.ladder().default_level()) == word {
        return Ok(());
    }
    set_ladder(settings, Ladder::of(level))
}

/// The most bytes a file of keys may have.
const KEY_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Reads a file of keys.
///
/// # Errors
/// Says what is wrong and in which line, never what stands there.
pub fn read_keys(path: &Path) -> Result<Keys, String> {
    // All of the room at once, so that no outgrown copy is left anywhere.
    let mut text = Zeroizing::new(String::with_capacity(2 * KEY_FILE_BYTES_MAX as usize));
    let read = fs::File::open(path).and_then(|file| file.take(KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    if text.len() as u64 > KEY_FILE_BYTES_MAX {
        return Err(format!("{} is longer than {KEY_FILE_BYTES_MAX} bytes: it is no file of keys", path.display()));
    }
    Keys::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
}

fn reload_keys(settings: &mut Settings) -> Result<(), String> {
    let Some(path) = &settings.encryption_key_file else {
        return Err("the server was started without --encryption-key-file, and only that can be read again".into());
    };
    settings.keys = read_keys(path)?.follow(&settings.keys).map_err(|why| format!("{}: {why}", path.display()))?;
    Ok(())
}

fn yes_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}

fn yes(value: bool) -> String {
    (if value { "yes" } else { "no" }).to_owned()
}

fn parse_output_limits(current: &[OutputLimit; 3], text: &str) -> Result<[OutputLimit; 3], String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits = *current;
    for group in words.chunks_exact(4) {
        let class = match group[0].to_ascii_lowercase().as_str() {
            "normal" => 0,
            "slave" | "replica" => 1,
            "pubsub" => 2,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let wrong = |_| "Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned();
        limits[class] = OutputLimit {
            hard_bytes: parse_bytes(group[1]).map_err(wrong)? as usize,
            soft_bytes: parse_bytes(group[2]).map_err(wrong)? as usize,
            soft_s: group[3].parse().map_err(|_| wrong(String::new()))?,
        };
    }
    Ok(limits)
}

/// Every setting, in alphabetical order. The inert parameters come on top, see [`Settings::inert`].
pub static SETTINGS: &[Setting] = &[
    Setting {
        name: "appendfsync",
        summary: "Redis' word for durability: always is batch, everysec is periodic:1000, no is periodic:30000.",
        get: |s| appendfsync_of(s.ladder().default_level()).to_owned(),
        set: Some(set_appendfsync),
    },
    Setting {
        name: "appendonly",
        summary: "Whether anything is logged: yes takes durability from none to batch, no to none.",
        get: |s| yes(s.ladder().logs()),
        set: Some(|s, text| match (yes_no(text)?, s.ladder().logs()) {
            (true, false) => set_ladder(s, Ladder::of(Level::Batch)),
            (false, true) => set_ladder(s, Ladder::of(Level::None)),
            _ => Ok(()),
        }),
    },
    Setting { name: "bind", summary: "Addresses the main port listens on.", get: |s| s.bind.join(" "), set: None },
    Setting {
        name: "client-output-buffer-limit",
        summary: "By class: bytes at which a client that does not read is closed, bytes and seconds for the soft limit.",
        get: |s| {
            let limit = |class: usize| {
                let OutputLimit { hard_bytes, soft_bytes, soft_s } = s.output_limits[class];
                format!("{} {hard_bytes} {soft_bytes} {soft_s}", ClientClass::NAMES[class])
            };
            [limit(0), limit(1), limit(2)].join(" ")
        },
        set: Some(|s, text| parse_output_limits(&s.output_limits, text).map(|limits| s.output_limits = limits)),
    },
    Setting {
        name: "client-query-buffer-limit",
        summary: "Bytes of input one client may have waiting.",
        get: |s| s.query_bytes_max.to_string(),
        set: Some(|s, text| {
            let bytes = parse_bytes(text)?;
            if bytes < MIB as u64 {
                Err("argument must be between 1048576 and 9223372036854775807 inclusive".into())
            } else {
                s.query_bytes_max = bytes as usize;
                Ok(())
            }
        }),
    },
    Setting {
        name: "cluster-enabled",
        summary: "Whether cores show themselves as cluster nodes.",
        get: |s| yes(s.cluster_port_first.is_some()),
        set: None,
    },
    Setting { name: "databases", summary: "How many numbered databases there are.", get: |s| s.db_count.to_string(), set: None },
    Setting {
        name: "dir",
        summary: "Where the log and the snapshots are kept.",
        get: |s| s.dir.clone().map_or_else(std::env::current_dir, Ok).map_or_else(|_| String::new(), |dir| dir.display().to_string()),
        set: None,
    },
    Setting {
        name: "durability",
        summary: "What a crash may take back: none, periodic:MS, every:WRITES or batch; NUMBER=LEVEL for namespaces that differ.",
        get: |s| s.ladder().to_string(),
        set: Some(|s, text| set_ladder(s, text.parse()?)),
    },
    Setting {
        name: "enable-debug-command",
        summary: "Who may use DEBUG: nobody, those on this machine, or everybody. Fixed at start.",
        get: |s| s.debug_command.clone(),
        set: None,
    },
    Setting {
        name: "encryption-key-file",
        summary: "Where the keys are read from that files are encrypted with.",
        get: |s| s.encryption_key_file.as_ref().map_or_else(String::new, |path| path.display().to_string()),
        set: None,
    },
    Setting {
        name: "encryption-reload",
        summary: "Set to yes, it reads the file of keys again; files begun from then on are encrypted with the newest.",
        get: |_| yes(false),
        set: Some(|s, text| if yes_no(text)? { reload_keys(s) } else { Ok(()) }),
    },
    Setting {
        name: "hash-max-listpack-entries",
        summary: "Fields up to which a hash is packed in its record.",
        get: |s| s.pack_limits.hash.0.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.hash.0 = limit)),
    },
    Setting {
        name: "hash-max-listpack-value",
        summary: "Bytes of a field or a value up to which a hash is packed in its record.",
        get: |s| s.pack_limits.hash.1.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.hash.1 = limit)),
    },
    Setting {
        name: "hello-server",
        summary: "What HELLO says this server is; some clients refuse anything but redis.",
        get: |s| s.hello_server.clone(),
        set: Some(|s, text| {
            if text.is_empty() || text.len() > 64 || !text.bytes().all(|b| b.is_ascii_graphic()) {
                Err("argument must be a word of at most 64 characters".into())
            } else {
                s.hello_server = text.to_owned();
                Ok(())
            }
        }),
    },
    Setting { name: "io-threads", summary: "One thread a core.", get: |s| s.cpus.len().to_string(), set: None },
    Setting {
        name: "latency-monitor-threshold",
        summary: "Milliseconds from which events are kept for LATENCY; 0 keeps none.",
        get: |s| s.latency_threshold_ms.to_string(),
        set: Some(|s, text| number(text, 0, i64::MAX as u64).map(|v| s.latency_threshold_ms = v)),
    },
    Setting {
        name: "latency-tracking",
        summary: "Whether a latency histogram is kept for every command.",
        get: |s| yes(s.latency_tracking),
        set: Some(|s, text| yes_no(text).map(|v| s.latency_tracking = v)),
    },
    Setting {
        name: "lfu-decay-time",
        summary: "Minutes until an LFU counter loses one.",
        get: |s| s.lfu_decay_minutes.to_string(),
        set: Some(|s, text| number(text, 0, u16::MAX).map(|v| s.lfu_decay_minutes = v)),
    },
    Setting {
        name: "lfu-log-factor",
        summary: "How much harder each step of the LFU counter is.",
        get: |s| s.lfu_log_factor.to_string(),
        set: Some(|s, text| number(text, 0, u8::MAX).map(|v| s.lfu_log_factor = v)),
    },
    Setting {
        name: "list-max-listpack-size",
        summary: "Elements up to which a list is packed in its record; -1 to -5 for 4, 8, 16, 32 or 64 KiB instead.",
        get: |s| s.pack_limits.list.to_string(),
        set: Some(|s, text| number(text, -5, i64::from(i32::MAX)).map(|limit| s.pack_limits.list = limit)),
    },
    Setting {
        name: "log-compression",
        summary: "How frames of the log are compressed: none, lz4, zstd. What is there stays as it is.",
        get: |s| s.log_compression.to_string(),
        set: Some(|s, text| text.parse().map(|v| s.log_compression = v)),
    },
    Setting {
        name: "log-segment-bytes",
        summary: "Bytes of one file of the log.",
        get: |s| s.log_segment_bytes.to_string(),
        set: Some(|s, text| bytes_between(text, LOG_SEGMENT_BYTES_MIN, LOG_SEGMENT_BYTES_MAX).map(|v| s.log_segment_bytes = v)),
    },
    Setting {
        name: "maxclients",
        summary: "Connections over all cores.",
        get: |s| s.clients_max.to_string(),
        set: Some(|s, text| number(text, 1, u32::MAX).map(|v| s.clients_max = v)),
    },
    Setting {
        name: "maxmemory",
        summary: "Bytes that everything together may take; 0 takes the default from the machine or the container.",
        get: |s| s.memory_bytes_max.to_string(),
        set: Some(|s, text| {
            let bytes = parse_bytes(text)?;
            s.memory_bytes_max = if bytes == 0 { crate::memory::default_bytes_max() } else { bytes };
            Ok(())
        }),
    },
    Setting {
        name: "maxmemory-policy",
        summary: "What to remove when memory is full.",
        get: |s| s.policy.name().to_owned(),
        set: Some(|s, text| {
            s.policy = Eviction::named(text).ok_or_else(|| {
                let names: Vec<&str> = Eviction::ALL.iter().map(|policy| policy.name()).collect();
                format!("argument(s) must be one of the following: {}", names.join(", "))
            })?;
            Ok(())
        }),
    },
    Setting {
        name: "maxmemory-samples",
        summary: "Kept for tools; an eviction here looks at whole buckets.",
        get: |s| s.maxmemory_samples.to_string(),
        set: Some(|s, text| number(text, 1, 64).map(|v| s.maxmemory_samples = v)),
    },
    Setting { name: "port", summary: "The main TCP port.", get: |s| s.port.to_string(), set: None },
    Setting {
        name: "proto-max-bulk-len",
        summary: "Bytes one argument, and so one string, may have.",
        get: |s| s.bulk_bytes_max.to_string(),
        set: Some(|s, text| {
            let bytes = parse_bytes(text)?;
            if !(MIB as u64..=512 * MIB as u64).contains(&bytes) {
                Err("argument must be between 1048576 and 536870912 inclusive".into())
            } else {
                s.bulk_bytes_max = bytes as usize;
                Ok(())
            }
        }),
    },
    Setting {
        name: "repl-backlog-size",
        summary: "Bytes of what was written last that are kept for replicas whose connection broke.",
        get: |s| s.backlog_bytes.to_string(),
        set: Some(|s, text| bytes_between(text, 16 << 10, 64 << 30).map(|bytes| s.backlog_bytes = bytes as usize)),
    },
    Setting {
        name: "repl-backlog-ttl",
        summary: "Seconds that they are kept, and collected, when no replica is left; 0 for ever.",
        get: |s| s.backlog_ttl_s.to_string(),
        set: Some(|s, text| number(text, 0, u32::MAX).map(|value| s.backlog_ttl_s = value)),
    },
    Setting {
        name: "repl-ping-replica-period",
        summary: "Seconds between two signs of life to replicas.",
        get: |s| s.replica_ping_s.to_string(),
        set: Some(|s, text| number(text, 1, u32::MAX).map(|value| s.replica_ping_s = value)),
    },
    Setting {
        name: "repl-timeout",
        summary: "Seconds without a word after which a replica is let go.",
        get: |s| s.replica_timeout_s.to_string(),
        set: Some(|s, text| number(text, 1, u32::MAX).map(|value| s.replica_timeout_s = value)),
    },
    Setting {
        name: "requirepass",
        summary: "The default user's password; empty for none.",
        // Redis shows it to whoever may run CONFIG; we show only that there is one.
        get: |s| if s.password.is_some() { "(hidden)".into() } else { String::new() },
        set: Some(|s, text| {
            s.password = (!text.is_empty()).then(|| Secret::new(text.as_bytes()));
            Ok(())
        }),
    },
    Setting {
        name: "save",
        summary: "Snapshots come with the log.",
        get: |_| String::new(),
        set: Some(|_, text| if text.is_empty() { Ok(()) } else { Err("snapshots are not available without a log directory".into()) }),
    },
    Setting {
        name: "set-max-intset-entries",
        summary: "Members up to which a set of whole numbers is packed in its record.",
        get: |s| s.pack_limits.int_set.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.int_set = limit)),
    },
    Setting {
        name: "set-max-listpack-entries",
        summary: "Members up to which a set is packed in its record.",
        get: |s| s.pack_limits.set.0.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.set.0 = limit)),
    },
    Setting {
        name: "set-max-listpack-value",
        summary: "Bytes of a member up to which a set is packed in its record.",
        get: |s| s.pack_limits.set.1.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.set.1 = limit)),
    },
    Setting {
        name: "slowlog-log-slower-than",
        summary: "Microseconds from which a command is kept in the slow log; negative keeps none.",
        get: |s| s.slowlog_slower_than_us.to_string(),
        set: Some(|s, text| number(text, -1, i64::MAX).map(|v| s.slowlog_slower_than_us = v)),
    },
    Setting {
        name: "slowlog-max-len",
        summary: "Entries the slow log keeps.",
        get: |s| s.slowlog_entries_max.to_string(),
        set: Some(|s, text| number(text, 0, 1_000_000).map(|v| s.slowlog_entries_max = v)),
    },
    Setting {
        name: "snapshot-interval-s",
        summary: "Seconds after which a snapshot is made if something was written; 0 for never.",
        get: |s| s.snapshot_interval_s.to_string(),
        set: Some(|s, text| number(text, 0, u32::MAX).map(|v| s.snapshot_interval_s = v)),
    },
    Setting {
        name: "snapshot-keep",
        summary: "Snapshots that are kept.",
        get: |s| s.snapshot_keep.to_string(),
        set: Some(|s, text| number(text, 1, 1000).map(|v| s.snapshot_keep = v)),
    },
    Setting {
        name: "snapshot-log-bytes",
        summary: "Bytes of log after which a snapshot is made; 0 for never.",
        get: |s| s.snapshot_log_bytes.to_string(),
        set: Some(|s, text| parse_bytes(text).map(|v| s.snapshot_log_bytes = v)),
    },
    Setting {
        name: "spin-us",
        summary: "Microseconds a core looks for work before it sleeps; lower latency for more processor time.",
        get: |s| s.spin_us.to_string(),
        set: Some(|s, text| number(text, 0, 1_000_000).map(|v| s.spin_us = v)),
    },
    Setting {
        name: "stuck-client-timeout",
        summary: "Seconds a client may leave its output untouched before it is closed; 0 for never.",
        get: |s| s.stuck_timeout_s.to_string(),
        set: Some(|s, text| number(text, 0, u32::MAX).map(|v| s.stuck_timeout_s = v)),
    },
    Setting {
        name: "tcp-keepalive",
        summary: "Seconds between keep-alive probes.",
        get: |s| s.tcp_keepalive_s.to_string(),
        set: Some(|s, text| number(text, 0, i32::MAX as u32).map(|v| s.tcp_keepalive_s = v)),
    },
    Setting {
        name: "timeout",
        summary: "Seconds after which an idle client is closed; 0 for never.",
        get: |s| s.idle_timeout_s.to_string(),
        set: Some(|s, text| number(text, 0, i32::MAX as u32).map(|v| s.idle_timeout_s = v)),
    },
    Setting {
        name: "unixsocket",
        summary: "Path of the Unix socket.",
        get: |s| s.unix_socket.as_ref().map_or_else(String::new, |p| p.display().to_string()),
        set: None,
    },
    Setting {
        name: "unixsocketperm",
        summary: "Permission bits of the Unix socket, in octal; 0 as the umask says.",
        get: |s| format!("{:o}", s.unix_socket_mode.unwrap_or(0)),
        set: None,
    },
    Setting {
        name: "zset-max-listpack-entries",
        summary: "Members up to which a sorted set is packed in its record.",
        get: |s| s.pack_limits.sorted_set.0.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.sorted_set.0 = limit)),
    },
    Setting {
        name: "zset-max-listpack-value",
        summary: "Bytes of a member up to which a sorted set is packed in its record.",
        get: |s| s.pack_limits.sorted_set.1.to_string(),
        set: Some(|s, text| number(text, 0, usize::MAX >> 1).map(|limit| s.pack_limits.sorted_set.1 = limit)),
    },
];

impl Settings {
    /// Changes settings by name, all or none. The error is the text that `CONFIG SET` answers.
    pub fn changed(&self, changes: &[(String, String)]) -> Result<Settings, String> {
        let mut next = self.clone();
        for (index, (name, value)) in changes.iter().enumerate() {
            // What Redis called them before version 7.
            let name = name.to_ascii_lowercase().replace("-max-ziplist-", "-max-listpack-");
            if changes[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(&name)) {
                return Err(format!("ERR CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter"));
            }
            let failed = |why: String| format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
            if let Some(inert) = next.inert.iter_mut().find(|(known, _)| *known == name) {
                inert.1 = value.clone();
                continue;
            }
            match SETTINGS.iter().find(|setting| setting.name == name) {
                None => return Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")),
                Some(Setting { set: None, .. }) => return Err(failed("can't set immutable config".into())),
                Some(Setting { set: Some(set), .. }) => set(&mut next, value).map_err(failed)?,
            }
        }
        Ok(next)
    }

    /// What of the data a crash may take back: what was said, or `batch` as soon as there is a directory.
    pub fn ladder(&self) -> Ladder {
        let default = || Ladder::of(if self.dir.is_some() { Level::Batch } else { Level::None });
        self.durability.clone().unwrap_or_else(default)
    }

    /// Every name and value, for `CONFIG GET`.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, String)> {
        SETTINGS
            .iter()
            .map(|setting| (setting.name, (setting.get)(self)))
            .chain(self.inert.iter().map(|(name, value)| (*name, value.clone())))
    }

    /// Writes what was changed from the defaults into a configuration file: a setting that the file names gets its new value in
    /// place, others are put at the end, and everything else in the file stays as it is.
    ///
    /// Never writes the password: it does not belong into this file.
    pub fn rewrite(&self, path: &Path) -> Result<(), String> {
        let before = fs::read_to_string(path).map_err(|error| error.to_string())?;
        let after = self.rewritten(&before)?;
        // Aside and renamed, so that a crash leaves one whole file or the other.
        let aside = path.with_extension("toml.new");
        fs::write(&aside, after).and_then(|()| fs::rename(&aside, path)).map_err(|error| error.to_string())
    }

    fn rewritten(&self, before: &str) -> Result<String, String> {
        let defaults = Settings::default();
        let mut wanted: Vec<(&str, String)> = SETTINGS
            .iter()
            .filter(|setting| setting.set.is_some() && !NOT_REWRITTEN.contains(&setting.name))
            .map(|setting| (setting.name, (setting.get)(self), (setting.get)(&defaults)))
            .chain(self.inert.iter().zip(INERT).map(|((name, value), (_, default))| (*name, value.clone(), (*default).to_owned())))
            .filter(|(name, value, default)| value != default || names_setting(before, name))
            .map(|(name, value, _)| (name, value))
            .collect();
        let mut after = String::new();
        for line in before.lines() {
            match wanted.iter().position(|(name, _)| line_names(line, name)) {
                Some(index) => {
                    let (name, value) = wanted.remove(index);
                    after += &format!("{name} = {}\n", toml::Value::String(value));
                }
                None => {
                    after += line;
                    after.push('\n');
                }
            }
        }
        for (name, value) in wanted {
            after += &format!("{name} = {}\n", toml::Value::String(value));
        }
        // A value over several lines would be cut in two; better no change than a file that cannot be read.
        after.parse::<toml::Table>().map_err(|_| "the file has values over several lines; write them in one".to_owned())?;
        Ok(after)
    }

    /// The output limit of a class.
    pub fn output_limit(&self, class: ClientClass) -> OutputLimit {
        self.output_limits[class as usize]
    }
}

/// The password does not belong into a file of settings, and other words for `durability` would only contradict it.
const NOT_REWRITTEN: &[&str] = &["appendfsync", "appendonly", "requirepass"];

/// Whether a line of a configuration file sets `name`, written with `-` or with `_`.
fn line_names(line: &str, name: &str) -> bool {
    line.split_once('=').is_some_and(|(key, _)| key.trim().trim_matches('"').replace('_', "-") == name)
}

fn names_setting(text: &str, name: &str) -> bool {
    text.lines().any(|line| line_names(line, name))
}

#[cfg(test)]
mod tests;
