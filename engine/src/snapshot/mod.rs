//! Snapshots: each partition as of one moment, written while commands go on, without a fork.
//!
//! Core 0 keeps them ([`keeper`]); every core writes the partitions it owns ([`writer`]); they meet at [`meeting`]. A snapshot counts
//! when all of it was read back, when everything it shows is durable in every log, and when its manifest is durable. Then what no
//! kept snapshot needs is deleted.

mod keeper;
mod meeting;
mod writer;

pub use meeting::{Progress, Snapshots};

use crate::core::{Core, Stop};
use crate::directory::Directory;
use crate::load::Birth;
use crate::log::FileOwner;
use crate::parcel::Ticket;
use crate::placement::CoreId;
use crate::task::{Outcome, Rest, Task};
use keeper::Keeper;
use meeting::Kept;
use netio::{Kernel, MonotonicNs};
use shards::log::{Lsn, StreamId};
use std::sync::Arc;
use writer::{Ended, Share, Written};

/// How often a core looks whether the others have said what it waits for.
const LOOK_NS: u64 = 1_000_000;

/// After a snapshot that failed none is begun by itself for so long.
const RETRY_NS: u64 = 5_000_000_000;

/// How long whoever switches logging on may take until it asks for the snapshot that belongs to that. Far more than it needs.
const BASE_PATIENCE_NS: u64 = 2_000_000_000;

/// One core's part in snapshots.
pub(crate) struct Saving {
    directory: Directory,
    birth: Birth,
    /// The one under way.
    part: Option<Part>,
    /// Core 0's: making it.
    keeper: Option<Task<()>>,
    /// How many this core has taken part in, or let pass.
    seen: u64,
    tasks: u64,
    look_next: MonotonicNs,
    /// Clients that wait for the end of the snapshot of this number.
    waiting: Vec<(Ticket, u64)>,
    /// What the shard had counted as changes when the last whole snapshot began here.
    changes_saved: u64,
    /// This core's stream says that it goes on from what is in no log, and not yet that a snapshot has that.
    pub(crate) gap_is_open: bool,
    /// Core 0's: since when such a snapshot is needed and nobody has asked for it.
    base_missed: Option<MonotonicNs>,
    /// Core 0's: when the last one was begun or the server started, and what the logs held then.
    begun: MonotonicNs,
    log_bytes_begun: u64,
    /// Core 0's: what the logs held at the start.
    log_bytes_found: u64,
    retry_next: MonotonicNs,
}

/// One core's part of one snapshot.
struct Part {
    stage: Stage,
    changes: u64,
}

enum Stage {
    /// Commands over several cores whose share was logged before this entry must have ended.
    Preparing(Lsn),
    /// Until that is so on every core.
    Waiting,
    Writing(Task<Result<Written, Ended>>),
    /// Until all that the file shows is durable in the log.
    Settling(Written),
    /// Until the snapshot is durable, or has come to nothing.
    Told,
    Compacting(Task<()>),
}

impl Saving {
    pub(crate) fn new(directory: Directory, birth: Birth, log_bytes_found: u64, changes: u64, now: MonotonicNs) -> Saving {
        Saving {
            directory,
            birth,
            part: None,
            keeper: None,
            seen: 0,
            tasks: 0,
            look_next: now,
            waiting: Vec::new(),
            changes_saved: changes,
            gap_is_open: false,
            base_missed: None,
            begun: now,
            log_bytes_begun: 0,
            log_bytes_found,
            retry_next: now,
        }
    }

    /// No two tasks' file requests have the same numbers: an answer that nobody waits for any more may come late.
    fn task<T, F: Future<Output = T> + 'static>(&mut self, owner: FileOwner, steps: impl FnOnce(crate::task::Desk) -> F) -> Task<T> {
        self.tasks += 1;
        Task::new(owner, steps).numbered_from(self.tasks << 32)
    }

    /// A file request of this core's share ended.
    pub(crate) fn take_file(&mut self, owner: FileOwner, number: u64, outcome: Outcome) {
        match (owner, &mut self.keeper, self.part.as_mut().map(|part| &mut part.stage)) {
            (FileOwner::Keeper, Some(keeper), _) => keeper.take(number, outcome),
            (FileOwner::Snapshot, _, Some(Stage::Writing(task))) => task.take(number, outcome),
            (FileOwner::Snapshot, _, Some(Stage::Compacting(task))) => task.take(number, outcome),
            _ => {}
        }
    }
}

impl<K: Kernel> Core<K> {
    /// Goes on with the snapshot under way, if there is one.
    pub(crate) fn snapshot(&mut self) {
        let Some(mut saving) = self.saving.take() else { return };
        if self.stop == Stop::Running {
            if self.id == CoreId(0) {
                self.keep(&mut saving);
            }
            let snapshots = &self.shared.snapshots;
            if saving.part.is_none() && snapshots.begun() > saving.seen {
                saving.seen = snapshots.begun();
                let stage = Stage::Preparing(Lsn(self.executor.journal.last().0 + 1));
                saving.part = snapshots.is_making().then(|| Part { stage, changes: self.executor.shard.changes() });
            }
            if let Some(part) = saving.part.take() {
                saving.part = self.take_part(&mut saving, part);
            }
            if saving.gap_is_open && !self.shared.snapshots.needs_base() {
                saving.gap_is_open = false;
                let now = self.now_ms();
                self.executor.journal.note_gap(self.id, now, true);
            }
            self.tell_saved(&mut saving);
        } else {
            for (ticket, _) in std::mem::take(&mut saving.waiting) {
                self.answer_save(ticket, "-ERR the server is stopping: the snapshot was given up\r\n");
            }
        }
        self.saving = Some(saving);
    }

    fn keep(&mut self, saving: &mut Saving) {
        if let Some(keeper) = &mut saving.keeper {
            if keeper.step(&mut self.kernel, &mut self.executor, self.now.wall.0).is_some() {
                saving.keeper = None;
                if self.shared.snapshots.progress().failure.is_some() {
                    saving.retry_next = MonotonicNs(self.now.monotonic.0 + RETRY_NS);
                }
            }
            return;
        }
        let Some(id) = self.shared.snapshots.begin(self.now.wall.0) else { return };
        saving.begun = self.now.monotonic;
        saving.log_bytes_begun = self.shared.log_bytes();
        saving.log_bytes_found = 0;
        let (board, directory, placement) = (self.shared.clone(), saving.directory.clone(), self.placement);
        let Birth { node, generation, .. } = saving.birth;
        let (created_ms, keep) = (self.now.wall.0, self.executor.settings.snapshot_keep as usize);
        saving.keeper =
            Some(saving.task(FileOwner::Keeper, |desk| {
                Keeper { desk, board, directory, placement, node, generation, id, created_ms, keep }.make()
            }));
    }

    /// One step of this core's part; `None` once it has ended.
    fn take_part(&mut self, saving: &mut Saving, mut part: Part) -> Option<Part> {
        let is_looking = !matches!(part.stage, Stage::Writing(_) | Stage::Compacting(_));
        if is_looking && self.now.monotonic < saving.look_next {
            return Some(part);
        }
        saving.look_next = MonotonicNs(self.now.monotonic.0 + LOOK_NS);
        let board = self.shared.clone();
        let snapshots = &board.snapshots;
        let generation = saving.birth.generation;
        let stream = StreamId { generation, core: self.id.0 };
        part.stage = match part.stage {
            Stage::Preparing(from) if self.parts_have_ended(from) => {
                snapshots.tell_prepared(stream, from);
                Stage::Waiting
            }
            Stage::Waiting if snapshots.all_prepared(self.placement) => {
                let (directory, node) = (saving.directory.clone(), saving.birth.node);
                let (core_count, partitions) = (self.placement.core_count(), self.placement.partitions_of(self.id));
                let (id, created_ms, board) = (snapshots.id()?, self.now.wall.0, board.clone());
                let (keys, compression) = (self.executor.settings.keys.clone(), self.executor.settings.log_compression);
                let nonce_prefix = if keys.newest().is_some() { self.kernel.entropy() as u32 } else { 0 };
                Stage::Writing(saving.task(FileOwner::Snapshot, |desk| {
                    let share = Share {
                        desk,
                        board,
                        directory,
                        node,
                        stream,
                        core_count,
                        partitions,
                        id,
                        created_ms,
                        keys,
                        compression,
                        nonce_prefix,
                    };
                    share.write()
                }))
            }
            Stage::Writing(mut task) => match task.step(&mut self.kernel, &mut self.executor, self.now.wall.0) {
                None => Stage::Writing(task),
                Some(Ok(written)) => Stage::Settling(written),
                Some(Err(ended)) => {
                    snapshots.give_up(if let Ended::Failed(why) = ended { Some(why) } else { None });
                    return None;
                }
            },
            Stage::Settling(_) if snapshots.is_cancelled() => {
                snapshots.give_up(None);
                return None;
            }
            Stage::Settling(written) => {
                // What it shows must not be gone after a crash: else the log could not go on from it.
                let last = Lsn(written.end.0 - 1);
                self.parking.want(last);
                let is_safe = self.executor.journal.safe() >= last && self.parts_have_ended(written.end);
                if is_safe {
                    snapshots.tell_written(written);
                    Stage::Told
                } else {
                    Stage::Settling(written)
                }
            }
            Stage::Told if snapshots.ended() >= saving.seen => return None,
            Stage::Told => match snapshots.floor() {
                Some(floor) => {
                    saving.changes_saved = part.changes;
                    self.begin_compaction(saving, &floor)
                }
                None => Stage::Told,
            },
            Stage::Compacting(mut task) => match task.step(&mut self.kernel, &mut self.executor, self.now.wall.0) {
                None => Stage::Compacting(task),
                Some(()) => {
                    snapshots.tell_compacted();
                    return None;
                }
            },
            waiting @ (Stage::Preparing(_) | Stage::Waiting) => waiting,
        };
        Some(part)
    }

    /// Whether no command over several cores is open whose share was logged before `from`.
    fn parts_have_ended(&self, from: Lsn) -> bool {
        self.open_parts.values().all(|last| *last >= from)
    }

    /// Deletes what this core's stream no longer needs.
    fn begin_compaction(&mut self, saving: &mut Saving, floor: &Arc<Kept>) -> Stage {
        let stream = StreamId { generation: saving.birth.generation, core: self.id.0 };
        let start = floor.log_start.iter().find(|(of, _)| *of == stream).map_or(Lsn(0), |(_, lsn)| *lsn);
        let seqs = self.writer.as_mut().map_or_else(Vec::new, |writer| writer.take_segments_before(start));
        let (directory, is_archived) = (saving.directory.clone(), self.shared.archive.is_on());
        Stage::Compacting(saving.task(FileOwner::Snapshot, |desk| async move {
            for seq in seqs {
                if let Err(failure) = desk.let_go(&directory.segment(stream, seq), is_archived).await {
                    tracing::warn!("a file of the log that is not needed any more could not be deleted: {failure}");
                }
            }
        }))
    }

    /// Answers whoever waited for a snapshot that has ended.
    fn tell_saved(&mut self, saving: &mut Saving) {
        if saving.waiting.is_empty() {
            return;
        }
        let ended = self.shared.snapshots.ended();
        let (done, waiting) = std::mem::take(&mut saving.waiting).into_iter().partition(|(_, number)| *number <= ended);
        saving.waiting = waiting;
        for (ticket, _) in done {
            let reply = match self.shared.snapshots.progress().failure {
                None => "+OK\r\n".to_owned(),
                Some(why) => format!("-ERR the snapshot could not be made: {}\r\n", why.replace(['\r', '\n'], " ")),
            };
            self.answer_save(ticket, &reply);
        }
    }

    fn answer_save(&mut self, ticket: Ticket, reply: &str) {
        if self.connection(ticket.conn).is_some() {
            self.settle(ticket, reply.as_bytes());
            self.unstall(ticket.conn, crate::connection::Stalls::JOINT);
        }
    }

    /// Lets a client wait for the snapshot of this number.
    pub(crate) fn wait_for_snapshot(&mut self, ticket: Ticket, number: u64) {
        if let Some(saving) = &mut self.saving {
            saving.waiting.push((ticket, number));
        }
    }

    /// Ten times a second, on core 0: begins a snapshot if it is time.
    pub(crate) fn snapshot_round(&mut self) {
        let unsaved = self.changes_unsaved();
        self.shared.publish_log(self.id, self.writer.as_ref().map_or(0, |writer| writer.counts.bytes), unsaved);
        let (now, settings) = (self.now.monotonic, self.executor.settings.clone());
        let Some(saving) = self.saving.as_mut().filter(|saving| self.id == CoreId(0) && saving.keeper.is_none()) else { return };
        let logged = self.shared.log_bytes().saturating_sub(saving.log_bytes_begun) + saving.log_bytes_found;
        let by_size = settings.snapshot_log_bytes > 0 && logged >= settings.snapshot_log_bytes;
        let elapsed_s = now.since(saving.begun) / 1_000_000_000;
        let by_time = settings.snapshot_interval_s > 0 && elapsed_s >= u64::from(settings.snapshot_interval_s);
        let snapshots = &self.shared.snapshots;
        if now >= saving.retry_next && (((by_size || by_time) && self.shared.changes_unsaved() > 0) || snapshots.needs_base()) {
            snapshots.want();
        }
        // Whoever began to log is gone before it had asked for the snapshot that belongs to it.
        let missed_since = snapshots.has_no_base().then(|| saving.base_missed.unwrap_or(now));
        saving.base_missed = missed_since;
        if missed_since.is_some_and(|since| now.since(since) >= BASE_PATIENCE_NS) {
            snapshots.want_base();
        }
    }

    /// Changes of this core's shard that no snapshot shows.
    pub(crate) fn changes_unsaved(&self) -> u64 {
        self.executor.shard.changes() - self.saving.as_ref().map_or(0, |saving| saving.changes_saved)
    }

    /// How long a turn may wait because of a snapshot, in nanoseconds.
    pub(crate) fn wait_saving_ns(&self) -> Option<u64> {
        let saving = self.saving.as_ref()?;
        let of_task = |rest| match rest {
            Rest::Turn => Some(0),
            Rest::Files => None,
            Rest::Others => Some(LOOK_NS),
        };
        let part = saving.part.as_ref().and_then(|part| match &part.stage {
            Stage::Writing(task) => of_task(task.rest()),
            Stage::Compacting(task) => of_task(task.rest()),
            _ => Some(LOOK_NS),
        });
        let keeper = saving.keeper.as_ref().and_then(|keeper| of_task(keeper.rest()));
        let waiting = (!saving.waiting.is_empty()).then_some(LOOK_NS);
        part.into_iter().chain(keeper).chain(waiting).min()
    }
}
