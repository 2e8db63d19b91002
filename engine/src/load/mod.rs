//! Recovery: from what is in the directory to a server that serves.
//!
//! Every core runs the same [`Task`]: core 0 finds out what there is ([`home`]); the streams are surveyed, divided over the
//! cores ([`survey`]); core 0 decides where they end; every core applies what belongs to its partitions, which need not be those it
//! had before ([`apply`]); core 0 writes the decision down as the opening of a new generation, and only then anything new is written.
//! Nothing of what an earlier generation wrote is ever changed. Cores wait for each other at [`meeting`].

mod apply;
mod chunks;
mod home;
mod meeting;
mod needed;
mod place;
mod refusal;
mod survey;

pub use meeting::Loading;

pub(crate) use chunks::Chunks;
pub(crate) use home::delete_snapshot;
pub use needed::{History, Missing, Needed, generation_of};
pub use refusal::{Damage, Loss, Refusal};
pub use survey::cut_text;

use crate::board::Board;
use crate::core::{Core, Stop};
use crate::directory::Directory;
use crate::keys::Keys;
use crate::log::FileOwner;
use crate::options::human_bytes;
use crate::placement::{CoreId, Placement};
use crate::planted::{Bug, planted};
use crate::settings::Settings;
use crate::snapshot::Saving;
use crate::task::{Desk, Outcome, Rest, Task};
use apply::Share;
use home::{Home, refuse_missing};
use meeting::{Decision, Refused};
use netio::{Kernel, MonotonicNs};
use shards::Db;
use shards::log::{Generation, Lsn, Manifest, NodeId, Opening, Plan, StreamId};
use std::sync::Arc;
use survey::{Reader, Surveyed, Torn};

/// What a core writes under from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// Whose directory it is.
    pub node: NodeId,
    /// The generation that has begun.
    pub generation: Generation,
    /// The entry clock says no less.
    pub clock_ms: u64,
}

/// What one core's recovery comes to.
struct Recovered {
    birth: Birth,
    /// What the shard had counted as changes when its share of the snapshot was in place.
    changes_placed: u64,
}

/// One core's recovery under way.
pub(crate) struct Load {
    task: Task<Result<Recovered, Refused>>,
    /// The task has come to its end: the log is being begun.
    birth: Option<Birth>,
    /// The log can be written to; the other cores may not be so far.
    is_ready: bool,
    /// When core 0 says next how far all are.
    line_next: MonotonicNs,
    started: MonotonicNs,
}

/// How often a line tells how far recovery is.
const LINE_NS: u64 = 1_000_000_000;

/// How often a core looks whether the others have said what it waits for.
const OTHERS_NS: u64 = 500_000;

/// What a task starts from.
struct Start {
    desk: Desk,
    me: CoreId,
    placement: Placement,
    board: Arc<Board>,
    directory: Directory,
    keys: Keys,
    /// Of the directory, should it have no name yet.
    chance: [u8; 16],
    now_ms: u64,
}

impl Load {
    /// Begins to recover `directory` on one core of those in `placement`. `chance` names the directory if it is new.
    pub(crate) fn new(
        me: CoreId,
        placement: Placement,
        board: Arc<Board>,
        directory: Directory,
        keys: Keys,
        chance: [u8; 16],
        now: netio::Now,
    ) -> Load {
        let task = Task::new(FileOwner::Load, |desk| {
            let start = Start { desk, me, placement, board, directory, keys, chance, now_ms: now.wall.0 };
            async move {
                let loading = start.board.clone();
                start.recover().await.map_err(|failed| match failed {
                    Failed::Here(refusal) => {
                        loading.loading.refuse(refusal);
                        Refused
                    }
                    Failed::There(refused) => refused,
                })
            }
        });
        Load { task, birth: None, is_ready: false, line_next: MonotonicNs(now.monotonic.0 + LINE_NS), started: now.monotonic }
    }
}

/// Why a core's recovery ends without serving.
enum Failed {
    /// It found the reason itself.
    Here(Refusal),
    /// Another core did.
    There(Refused),
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Failed {
        Failed::Here(refusal)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Failed {
        Failed::There(refused)
    }
}

impl Start {
    async fn recover(self) -> Result<Recovered, Failed> {
        let loading = &self.board.loading;
        if self.is_first() {
            let home = Home::find(&self.desk, &self.directory, self.chance, self.now_ms).await?;
            loading.tell_home(home);
        }
        let home = self.desk.until(|| loading.home()).await?;
        let reader = Reader { desk: self.desk.clone(), directory: self.directory.clone(), node: home.node, keys: self.keys.clone() };
        let mut attempt = 0;
        let mut spoiled = None;
        let (base, decision, share) = loop {
            let base = home.snapshots.get(attempt);
            let decision = self.decide(attempt, &home, base, spoiled.clone(), &reader).await?;
            let share = Share::new(self.placement.partitions_of(self.me), base);
            let Some(manifest) = base else { break (base, decision, share) };
            let placed = share.place(&reader, manifest, loading).await;
            if let Err(other @ (Refusal::Machine(_) | Refusal::InUse(_) | Refusal::Key { .. })) = placed {
                return Err(other.into());
            }
            loading.tell_placed(attempt, placed.err());
            spoiled = self.desk.until(|| loading.placed(attempt, self.placement)).await?;
            let Some(why) = &spoiled else { break (base, decision, share) };
            if self.is_first() {
                tracing::warn!("snapshot {} cannot be used, the one before it is tried: {why}", manifest.id);
            }
            self.desk.act(|executor| (0..executor.shard.db_count()).for_each(|db| executor.shard.clear(Db(db)))).await;
            attempt += 1;
        };
        let changes_placed = self.desk.act(|executor| executor.shard.changes()).await;
        let clock_ms = share.apply(&reader, &decision, loading).await?;
        loading.tell_applied(attempt, clock_ms);
        let applied_ms = self.desk.until(|| loading.applied(attempt, self.placement)).await?;
        if self.is_first() {
            let surveyed_ms = decision.streams.iter().map(|stream| stream.clock_ms).max().unwrap_or(0);
            let base_ms = base.map_or(0, |base| base.clock_ms);
            let clock_ms = applied_ms.max(surveyed_ms).max(base_ms).max(home.clock_ms());
            // A killed process may have left a snapshot whose name no crash of the machine would leave: it counts among the kept now.
            for kept in &home.snapshots[attempt..] {
                self.desk.sync_directory(&self.directory.snapshot(kept.id)).await.map_err(Refusal::from)?;
            }
            self.open_generation(&home, &decision, clock_ms).await?;
            for id in &home.unfinished {
                delete_snapshot(&self.desk, &self.directory, *id).await.map_err(Refusal::from)?;
            }
            // A newer one that could not be used is none.
            self.board.snapshots.open(&home.snapshots[attempt..], home.snapshot_next);
            loading.tell_birth(Birth { node: home.node, generation: home.generation, clock_ms });
        }
        let birth = self.desk.until(|| loading.birth()).await?;
        Ok(Recovered { birth, changes_placed })
    }

    /// Whether this is the core that decides for all.
    fn is_first(&self) -> bool {
        self.me == CoreId(0)
    }

    /// Reads all that is needed, divided over the cores, and decides where it ends.
    async fn decide(
        &self,
        attempt: usize,
        home: &Home,
        base: Option<&Manifest>,
        spoiled: Option<Refusal>,
        reader: &Reader,
    ) -> Result<Arc<Decision>, Failed> {
        let loading = &self.board.loading;
        let needed = home.needed(&self.directory, base, spoiled.clone())?;
        let mut mine = Vec::new();
        for stream in needed.iter().skip(usize::from(self.me.0)).step_by(usize::from(self.placement.core_count())) {
            mine.push(reader.survey(stream).await?);
        }
        loading.tell_surveyed(attempt, mine);
        if self.is_first() {
            let surveyed = self.desk.until(|| loading.take_surveyed(attempt, self.placement)).await?;
            if let Some(missing) = home.history.robbed(surveyed.iter().map(|stream| (stream.id, stream.end))) {
                return Err(refuse_missing(&self.directory, missing).into());
            }
            if let Some(loss) = without_base(&needed, &surveyed) {
                let why = "the log goes on from a snapshot that is not there any more, or cannot be read";
                let lost = || Refusal::lost(self.directory.root(), self.directory.snapshots(), 0, why, loss);
                return Err(spoiled.unwrap_or_else(lost).into());
            }
            let decision = Decision::of(home, &needed, surveyed);
            decision.tell(&self.directory);
            let readers =
                |stream: &Surveyed| self.placement.cores().filter(|core| stream.meets(&self.placement.partitions_of(*core))).count();
            let log_bytes: u64 = decision.streams.iter().map(|stream| stream.bytes * readers(stream) as u64).sum();
            let base_bytes: u64 = base.iter().flat_map(|base| &base.files).map(|(_, bytes)| bytes).sum();
            loading.begin_progress(base_bytes, log_bytes);
            loading.tell_decision(attempt, decision);
        }
        Ok(self.desk.until(|| loading.decision(attempt)).await?)
    }

    /// Writes down what was decided. From here on no later start decides it differently.
    async fn open_generation(&self, home: &Home, decision: &Decision, clock_ms: u64) -> Result<(), Refusal> {
        let mut ends: Vec<(StreamId, Lsn)> = home.ends().collect();
        ends.extend(decision.streams.iter().filter(|stream| !stream.is_decided).map(|stream| (stream.id, decision.ends[&stream.id])));
        ends.sort_unstable();
        let mut dropped: Vec<(StreamId, u16, u64)> = decision.dropped.iter().copied().collect();
        dropped.sort_unstable();
        let opening = Opening {
            node: home.node,
            generation: home.generation,
            core_count: self.placement.core_count(),
            plan: Plan { ends, dropped },
            clock_ms,
            created_ms: self.now_ms,
        };
        Ok(self.desk.write_file(&self.directory.opening(home.generation), &opening.to_bytes()).await?)
    }
}

/// What would be lost because a stream goes on from a snapshot, was relied on, and the snapshot is not the one at hand.
fn without_base(needed: &[Needed], surveyed: &[Surveyed]) -> Option<Loss> {
    surveyed.iter().find_map(|stream| {
        let start = needed.iter().find(|needed| needed.id == stream.id)?.replay_from;
        let gap = stream.parts.iter().find(|part| part.is_gap() && (start..stream.end).contains(&part.lsn))?;
        let was_filled = stream.parts.iter().any(|part| part.fills_gap() && part.lsn > gap.lsn);
        (stream.is_decided || was_filled).then(|| Loss { stream: stream.id, from: gap.lsn, known: Lsn(stream.end.0 - 1) })
    })
}

impl Decision {
    fn of(home: &Home, needed: &[Needed], mut surveyed: Vec<Surveyed>) -> Decision {
        surveyed.sort_by_key(|stream| stream.id);
        let open = || surveyed.iter().filter(|stream| !stream.is_decided);
        let starts: Vec<(StreamId, Lsn)> = needed.iter().map(|stream| (stream.id, stream.replay_from)).collect();
        let parts: Vec<_> = open().filter(|_| !planted(Bug::HalfTransactionKept)).flat_map(|stream| stream.parts.iter().cloned()).collect();
        let plan = Plan::since(&starts, open().map(|stream| (stream.id, stream.end)).collect(), &parts);
        let mut ends: std::collections::HashMap<StreamId, Lsn> = surveyed.iter().map(|stream| (stream.id, stream.end)).collect();
        ends.extend(plan.ends);
        let dropped = home.dropped().chain(plan.dropped).collect();
        Decision { streams: surveyed, ends, dropped }
    }

    /// Says what a crash took.
    fn tell(&self, directory: &Directory) {
        for stream in &self.streams {
            if let Some(Torn { seq, at, bytes }) = stream.torn {
                let file = directory.segment(stream.id, seq);
                tracing::warn!(
                    "{}: a crash tore the last write, which nobody was promised: {bytes} bytes from byte {at} on, behind entry {}, are left out",
                    file.display(),
                    stream.end.0 - 1
                );
            }
            let end = self.ends[&stream.id];
            if end < stream.end {
                let is_gap = stream.parts.iter().any(|part| part.is_gap() && part.lsn == end);
                let why = if is_gap {
                    "logging had just been switched on, and the snapshot of what was there before was not complete"
                } else {
                    "they follow a command that another core has lost"
                };
                tracing::warn!("{}: entries {} to {} are left out: {why}", stream.id, end.0, stream.end.0 - 1);
            }
        }
    }
}

impl<K: Kernel> Core<K> {
    /// Begins to recover the directory, if there is one.
    pub(crate) fn begin_load(&mut self, settings: &Settings) {
        let Some(dir) = &settings.dir else { return };
        self.shared.loading.begin();
        let chance = (u128::from(self.kernel.entropy()) << 64 | u128::from(self.kernel.entropy())).to_le_bytes();
        self.loading =
            Some(Load::new(self.id, self.placement, self.shared.clone(), Directory::new(dir), settings.keys.clone(), chance, self.now));
    }

    /// Whether recovery is under way: nobody is served yet.
    pub fn is_loading(&self) -> bool {
        self.loading.is_some()
    }

    /// Why the directory is not served, if it is not.
    pub fn refusal(&self) -> Option<Refusal> {
        self.shared.loading.refusal()
    }

    /// Goes on with recovery. Once every core is through, this one serves.
    pub(crate) fn load(&mut self) {
        // A core that refused has ended its recovery, and serves nobody for the rest of its turn.
        let Some(mut load) = self.loading.take_if(|_| self.stop != Stop::Stopped) else { return };
        if load.birth.is_none() {
            match load.task.step(&mut self.kernel, &mut self.executor, self.now.wall.0) {
                Some(Ok(Recovered { birth, changes_placed })) => {
                    self.begin_log(birth.node, birth.generation, birth.clock_ms);
                    let log_bytes = self.shared.loading.log_bytes();
                    let directory = Directory::new(self.executor.settings.dir.clone().expect("it was recovered"));
                    self.saving = Some(Saving::new(directory, birth.clone(), log_bytes, changes_placed, self.now.monotonic));
                    load.birth = Some(birth);
                }
                // Another core's reason, or this one's, is on the board.
                Some(Err(Refused)) => self.stop = Stop::Stopped,
                None => {}
            }
        }
        if load.birth.is_some() && !load.is_ready && self.log_is_open() {
            load.is_ready = true;
            let shard = &self.executor.shard;
            let keys = (0..shard.db_count()).map(|db| shard.len(Db(db)) as u64).sum();
            self.shared.loading.tell_ready(self.id, keys, self.placement);
        }
        let is_over = self.shared.loading.is_over();
        if self.id == CoreId(0) && (is_over || self.now.monotonic >= load.line_next) {
            load.line_next = MonotonicNs(self.now.monotonic.0 + LINE_NS);
            self.tell_load(&load, is_over);
        }
        self.loading = Some(load).filter(|_| !is_over);
    }

    /// One line that says how far all cores are.
    fn tell_load(&self, load: &Load, is_over: bool) {
        let loading = &self.shared.loading;
        let (done, total) = loading.progress();
        let seconds = self.now.monotonic.since(load.started) as f64 / 1e9;
        let entries = loading.entries_done();
        if is_over {
            tracing::info!("serving: {entries} entries of {} were applied in {seconds:.1} s", human_bytes(done));
        } else {
            // While the log is surveyed, the total is not known.
            let percent = (done.min(total) * 100).checked_div(total).unwrap_or(0);
            tracing::info!("loading: {percent} % of {}, {entries} entries, {seconds:.0} s", human_bytes(total));
        }
    }

    /// How long a turn may wait while recovery is under way, in nanoseconds.
    pub(crate) fn wait_loading_ns(&self) -> Option<u64> {
        let load = self.loading.as_ref()?;
        Some(match (load.birth.is_some(), load.task.rest()) {
            (false, Rest::Turn) => 0,
            (false, Rest::Files) => u64::MAX,
            (true, _) | (_, Rest::Others) => OTHERS_NS,
        })
    }
}

impl Load {
    /// A file request of recovery ended.
    pub(crate) fn take_file(&mut self, number: u64, outcome: Outcome) {
        self.task.take(number, outcome);
    }
}
