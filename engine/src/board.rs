//! The board: the few words all cores see. Each core writes its own line only, at most ten times a second or when a connection comes
//! or goes; nothing on the way of a request reads them.

use crate::archive::Archive;
use crate::load::Loading;
use crate::placement::{CoreId, Placement};
use crate::snapshot::Snapshots;
use netio::{MonotonicNs, WallMs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What all cores see.
pub struct Board {
    lines: Box<[Line]>,
    stopping: AtomicBool,
    /// Recovery, of which nothing is left once the server serves.
    pub loading: Loading,
    /// Snapshots, and how far the one under way is.
    pub snapshots: Snapshots,
    /// Whether the log is archived, and how far.
    pub archive: Archive,
    failed: AtomicBool,
    /// Replicas were told the last.
    passed_on: AtomicBool,
    /// Seed of the key hash, the same on all cores.
    pub key_seed: u64,
    /// Forty hexadecimal digits that name this run.
    pub run_id: String,
    /// Node names of the cores, when they show themselves as a cluster.
    pub node_ids: Vec<String>,
    /// When the process started.
    pub started_wall: WallMs,
    /// The same on the other clock.
    pub started: MonotonicNs,
}

/// One core's words, alone on their cache lines.
#[derive(Default)]
#[repr(align(128))]
struct Line {
    clients: AtomicU64,
    monitors: AtomicU64,
    quiet: AtomicBool,
    said: AtomicBool,
    memory_bytes: AtomicU64,
    memory_bytes_peak: AtomicU64,
    log_bytes: AtomicU64,
    changes_unsaved: AtomicU64,
}

impl Board {
    /// For the cores of `placement`; `entropy` gives 64 bits of chance at a time.
    pub fn new(placement: Placement, started_wall: WallMs, started: MonotonicNs, mut entropy: impl FnMut() -> u64) -> Board {
        let mut name = || format!("{:016x}{:016x}{:08x}", entropy(), entropy(), entropy() as u32);
        let run_id = name();
        let node_ids = placement.cores().map(|_| name()).collect();
        let lines = placement.cores().map(|_| Line::default()).collect();
        Board {
            lines,
            stopping: AtomicBool::new(false),
            loading: Loading::none(),
            snapshots: Snapshots::default(),
            archive: Archive::default(),
            failed: AtomicBool::new(false),
            passed_on: AtomicBool::new(false),
            key_seed: entropy(),
            run_id,
            node_ids,
            started_wall,
            started,
        }
    }

    /// Asks every core to stop; each sees it within a tenth of a second. Safe in a signal handler.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Whether the cores were asked to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A core has stopped by itself: the others stop too, and wait for nothing of it.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
        self.stop();
    }

    /// Whether a core has stopped by itself.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// A core that is to stop has no clients any more, and no command of its own under way on others. Whether that is so of all.
    pub fn publish_quiet(&self, core: CoreId) -> bool {
        self.line(core).quiet.store(true, Ordering::Release);
        self.lines.iter().all(|line| line.quiet.load(Ordering::Acquire))
    }

    /// A core that is to stop has told the keeper of replicas all that its commands came to. Whether that is so of all.
    pub fn publish_said(&self, core: CoreId) -> bool {
        self.line(core).said.store(true, Ordering::Release);
        self.lines.iter().all(|line| line.said.load(Ordering::Acquire))
    }

    /// The keeper of replicas has passed it on.
    pub fn pass_on(&self) {
        self.passed_on.store(true, Ordering::Release);
    }

    /// Whether it has.
    pub fn is_passed_on(&self) -> bool {
        self.passed_on.load(Ordering::Acquire)
    }

    /// Connections of all cores.
    pub fn client_count(&self) -> u64 {
        self.sum(|line| &line.clients)
    }

    /// Clients of all cores that watch commands.
    pub fn monitor_count(&self) -> u64 {
        self.sum(|line| &line.monitors)
    }

    /// Clients of one core that watch commands.
    pub fn monitor_count_of(&self, core: CoreId) -> u64 {
        self.line(core).monitors.load(Ordering::Relaxed)
    }

    /// Bytes all cores hold, as of their last rounds.
    pub fn memory_bytes(&self) -> u64 {
        self.sum(|line| &line.memory_bytes)
    }

    /// The most that the cores held, each at its own time.
    pub fn memory_bytes_peak(&self) -> u64 {
        self.sum(|line| &line.memory_bytes_peak)
    }

    /// A core's connections changed.
    pub fn publish_clients(&self, core: CoreId, count: usize) {
        self.line(core).clients.store(count as u64, Ordering::Relaxed);
    }

    /// A core's watching clients changed.
    pub fn publish_monitors(&self, core: CoreId, count: usize) {
        self.line(core).monitors.store(count as u64, Ordering::Relaxed);
    }

    /// A core's memory changed. Returns what all cores hold.
    pub fn publish_memory(&self, core: CoreId, bytes: u64) -> u64 {
        let line = self.line(core);
        line.memory_bytes.store(bytes, Ordering::Relaxed);
        line.memory_bytes_peak.fetch_max(bytes, Ordering::Relaxed);
        self.memory_bytes()
    }

    /// Bytes that all cores' logs have taken since the start, as of their last rounds.
    pub fn log_bytes(&self) -> u64 {
        self.sum(|line| &line.log_bytes)
    }

    /// Changes of all cores' shards that no snapshot shows, as of their last rounds.
    pub fn changes_unsaved(&self) -> u64 {
        self.sum(|line| &line.changes_unsaved)
    }

    /// A core's log has grown, and its shard has changed.
    pub fn publish_log(&self, core: CoreId, bytes: u64, changes_unsaved: u64) {
        let line = self.line(core);
        line.log_bytes.store(bytes, Ordering::Relaxed);
        line.changes_unsaved.store(changes_unsaved, Ordering::Relaxed);
    }

    fn line(&self, core: CoreId) -> &Line {
        &self.lines[usize::from(core.0)]
    }

    fn sum(&self, field: impl Fn(&Line) -> &AtomicU64) -> u64 {
        self.lines.iter().map(|line| field(line).load(Ordering::Relaxed)).sum()
    }
}
