//! Snapshots as all cores see them: which is being made, how far everybody is, and what became of the last one.

use super::writer::Written;
use crate::placement::Placement;
use shards::log::{Generation, Lsn, Manifest, StreamId};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Snapshots, on the board of all cores.
#[derive(Default)]
pub struct Snapshots {
    /// How many were begun. Every core takes part in each.
    begun: AtomicU64,
    /// How many have ended, whole or not.
    ended: AtomicU64,
    cancelled: AtomicBool,
    wanted: AtomicBool,
    /// What is logged goes on from something that is in no log. The number of the first snapshot that has it; `u64::MAX` before
    /// it has a number, 0 if nothing is missing.
    base: AtomicU64,
    meeting: Mutex<Meeting>,
}

/// What the cores tell each other.
#[derive(Default)]
struct Meeting {
    /// There is a directory, and its data is there.
    open: bool,
    making: Option<Making>,
    /// What is kept, oldest first.
    kept: Vec<Arc<Kept>>,
    id_next: u64,
    progress: Progress,
}

/// The snapshot that is being made.
#[derive(Default)]
struct Making {
    id: u64,
    prepared: Vec<(StreamId, Lsn)>,
    written: Vec<Written>,
    failure: Option<String>,
    /// Cores whose part has come to nothing.
    given_up: u16,
    /// The oldest snapshot that is kept, once this one is.
    floor: Option<Arc<Kept>>,
    /// Cores that have deleted what nobody needs any more.
    compacted: u16,
}

/// What all cores have written.
pub(crate) struct Together {
    pub(crate) files: Vec<Written>,
    /// Where each stream's log begins that goes with it.
    pub(crate) log_start: Vec<(StreamId, Lsn)>,
}

/// A snapshot that is kept, as far as compaction must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) id: u64,
    pub(crate) generation: Generation,
    pub(crate) log_start: Vec<(StreamId, Lsn)>,
}

/// What is told of snapshots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When the last whole one was made: milliseconds since 1970; 0 if there is none.
    pub saved_ms: u64,
    /// When the one under way was begun, on the entry clock.
    pub begun_ms: Option<u64>,
    /// How long the last one took.
    pub took_ms: Option<u64>,
    /// Why the last one failed, if it did.
    pub failure: Option<String>,
    /// Made since the start.
    pub count: u64,
}

impl Kept {
    /// What a manifest says of itself.
    pub(crate) fn of(manifest: &Manifest) -> Kept {
        Kept { id: manifest.id, generation: crate::load::generation_of(manifest), log_start: manifest.log_start.clone() }
    }
}

impl Snapshots {
    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Recovery is over: these are kept, newest first, and the next has this number.
    pub(crate) fn open(&self, found: &[Manifest], id_next: u64) {
        let mut meeting = self.meeting();
        meeting.open = true;
        meeting.kept = found.iter().rev().map(|manifest| Arc::new(Kept::of(manifest))).collect();
        meeting.id_next = id_next;
        meeting.progress.saved_ms = found.first().map_or(0, |newest| newest.created_ms);
    }

    /// Asks for a snapshot. Its number, counted from 1 since the start; `None` if one is being made, or there is no directory.
    pub(crate) fn want(&self) -> Option<u64> {
        let meeting = self.meeting();
        if !meeting.open || meeting.making.is_some() {
            return None;
        }
        self.wanted.store(true, Ordering::Release);
        Some(self.begun() + 1)
    }

    /// From now on something is logged, and what was there before is in no log: what is durable counts once a snapshot has that.
    pub(crate) fn need_base(&self) {
        self.base.store(u64::MAX, Ordering::Release);
    }

    /// Whether that is so, and there is no such snapshot yet.
    pub(crate) fn needs_base(&self) -> bool {
        self.base.load(Ordering::Acquire) != 0
    }

    /// Whether nobody has asked for it yet.
    pub(crate) fn has_no_base(&self) -> bool {
        self.base.load(Ordering::Acquire) == u64::MAX
    }

    /// Asks for it: every core logs by now. One that is being made was begun before.
    pub(crate) fn want_base(&self) {
        let meeting = self.meeting();
        let is_unannounced = meeting.making.is_some() && self.begun() == self.ended();
        self.base.store(self.begun() + 1 + u64::from(is_unannounced), Ordering::Release);
        self.wanted.store(true, Ordering::Release);
    }

    /// How many were begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// How many have ended.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the one under way is to come to nothing.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Whether one is under way.
    pub(crate) fn is_making(&self) -> bool {
        self.meeting().making.is_some()
    }

    /// What is told of them.
    pub fn progress(&self) -> Progress {
        self.meeting().progress.clone()
    }

    /// Begins the one that is wanted, if one is: its number in the directory. It is announced once its folder is there.
    pub(crate) fn begin(&self, now_ms: u64) -> Option<u64> {
        if !self.wanted.load(Ordering::Acquire) {
            return None;
        }
        let mut meeting = self.meeting();
        self.wanted.store(false, Ordering::Release);
        let id = meeting.id_next;
        meeting.id_next += 1;
        meeting.making = Some(Making { id, ..Making::default() });
        meeting.progress.begun_ms = Some(now_ms);
        self.cancelled.store(false, Ordering::Release);
        Some(id)
    }

    /// Its folder is there: every core takes part from now on.
    pub(crate) fn announce(&self) {
        self.begun.fetch_add(1, Ordering::Release);
    }

    /// The number in the directory of the one under way.
    pub(crate) fn id(&self) -> Option<u64> {
        Some(self.meeting().making.as_ref()?.id)
    }

    /// One core's stream is complete before `from`: no command over several cores is under way there.
    pub(crate) fn tell_prepared(&self, stream: StreamId, from: Lsn) {
        if let Some(making) = &mut self.meeting().making {
            making.prepared.push((stream, from));
        }
    }

    /// Whether that is so on every core.
    pub(crate) fn all_prepared(&self, placement: Placement) -> bool {
        self.meeting().making.as_ref().is_some_and(|making| making.prepared.len() == usize::from(placement.core_count()))
    }

    /// One core's file is there, and all it shows is durable in the log.
    pub(crate) fn tell_written(&self, written: Written) {
        if let Some(making) = &mut self.meeting().making {
            making.written.push(written);
        }
    }

    /// One core's file has come to nothing, for this reason if it is the first.
    pub(crate) fn give_up(&self, why: Option<String>) {
        if let Some(making) = &mut self.meeting().making {
            making.given_up += 1;
            making.failure = making.failure.take().or(why);
        }
        self.cancelled.store(true, Ordering::Release);
    }

    /// All cores' files and where their logs go on, once all are there; or why not, once nobody works on it any more.
    pub(crate) fn take_written(&self, placement: Placement) -> Option<Result<Together, String>> {
        let mut meeting = self.meeting();
        let making = meeting.making.as_mut()?;
        let cores = usize::from(placement.core_count());
        if making.written.len() + usize::from(making.given_up) < cores {
            return None;
        }
        match &making.failure {
            Some(why) => Some(Err(why.clone())),
            None => Some(Ok(Together { files: std::mem::take(&mut making.written), log_start: std::mem::take(&mut making.prepared) })),
        }
    }

    /// The snapshot is durable. Keeps so many, and tells all cores which is the oldest.
    pub(crate) fn commit(&self, manifest: &Manifest, keep: usize) -> Arc<Kept> {
        let mut meeting = self.meeting();
        meeting.kept.push(Arc::new(Kept::of(manifest)));
        let over = meeting.kept.len().saturating_sub(keep.max(1));
        meeting.kept.drain(..over);
        let floor = meeting.kept.first().expect("one was just pushed").clone();
        if let Some(making) = &mut meeting.making {
            making.floor = Some(floor.clone());
        }
        meeting.progress.saved_ms = manifest.created_ms;
        meeting.progress.count += 1;
        if self.begun() >= self.base.load(Ordering::Acquire) {
            self.base.store(0, Ordering::Release);
        }
        floor
    }

    /// The oldest snapshot that is kept, once the one under way is durable.
    pub(crate) fn floor(&self) -> Option<Arc<Kept>> {
        self.meeting().making.as_ref()?.floor.clone()
    }

    /// One core has deleted what nobody needs any more.
    pub(crate) fn tell_compacted(&self) {
        if let Some(making) = &mut self.meeting().making {
            making.compacted += 1;
        }
    }

    /// Whether every core has.
    pub(crate) fn all_compacted(&self, placement: Placement) -> bool {
        self.meeting().making.as_ref().is_some_and(|making| making.compacted == placement.core_count())
    }

    /// The one under way has ended. `announced` says whether the cores knew of it.
    pub(crate) fn end(&self, failure: Option<String>, announced: bool, now_ms: u64) {
        let mut meeting = self.meeting();
        meeting.making = None;
        let begun_ms = meeting.progress.begun_ms.take().unwrap_or(now_ms);
        meeting.progress.took_ms = Some(now_ms.saturating_sub(begun_ms));
        meeting.progress.failure = failure;
        if !announced {
            self.begun.fetch_add(1, Ordering::Release);
        }
        self.ended.fetch_add(1, Ordering::Release);
    }
}
