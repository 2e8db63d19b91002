//! Recovery as all cores see it: what was found, what was decided, how far everybody is.
//!
//! Each core writes what it has found out and waits until the others have; nobody reads it once the server serves.

use super::Birth;
use super::home::Home;
use super::refusal::Refusal;
use super::survey::Surveyed;
use crate::placement::{CoreId, Placement};
use shards::log::{Lsn, StreamId};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Recovery, on the board of all cores.
pub struct Loading {
    /// Requests are answered with `LOADING` until this is set.
    served: AtomicBool,
    bytes_total: AtomicU64,
    bytes_done: AtomicU64,
    entries_done: AtomicU64,
    keys: AtomicU64,
    log_bytes: AtomicU64,
    meeting: Mutex<Meeting>,
}

/// What the cores tell each other.
#[derive(Default)]
struct Meeting {
    home: Option<Arc<Home>>,
    /// By attempt: one for each snapshot that is tried.
    rounds: Vec<Round>,
    birth: Option<Birth>,
    ready: HashSet<CoreId>,
    refusal: Option<Refusal>,
}

/// One attempt, with one snapshot or with none.
#[derive(Default)]
struct Round {
    surveyed: Vec<Surveyed>,
    /// Cores that have looked at their streams.
    surveys_done: u16,
    decision: Option<Arc<Decision>>,
    /// Cores that have put their share of the snapshot in place, or found why it cannot be.
    placed: u16,
    spoiled: Option<Refusal>,
    /// Cores that have applied their share, and the latest clock they met.
    applied: u16,
    clock_ms: u64,
}

/// What is read, and how far.
pub(crate) struct Decision {
    /// In the order in which they are applied.
    pub(crate) streams: Vec<Surveyed>,
    /// The first entry of each that is not applied.
    pub(crate) ends: HashMap<StreamId, Lsn>,
    /// Shares of commands that not every core has: stream, beginning core, number.
    pub(crate) dropped: HashSet<(StreamId, u16, u64)>,
}

impl Loading {
    /// For a server that has nothing to load.
    pub(crate) fn none() -> Loading {
        Loading {
            served: AtomicBool::new(true),
            bytes_total: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            entries_done: AtomicU64::new(0),
            keys: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            meeting: Mutex::default(),
        }
    }

    /// There is something to load. Every core says so before it begins.
    pub(crate) fn begin(&self) {
        self.served.store(false, Ordering::Release);
    }

    /// Whether clients are served: every core has its data, and its log.
    pub fn is_over(&self) -> bool {
        self.served.load(Ordering::Acquire)
    }

    /// Bytes of snapshot and log applied, and those there are. The second is zero until they are known.
    pub fn progress(&self) -> (u64, u64) {
        (self.bytes_done.load(Ordering::Relaxed), self.bytes_total.load(Ordering::Relaxed))
    }

    /// Entries and records applied.
    pub fn entries_done(&self) -> u64 {
        self.entries_done.load(Ordering::Relaxed)
    }

    /// Bytes of log that were applied.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Keys that were there when recovery ended.
    pub fn keys(&self) -> u64 {
        self.keys.load(Ordering::Relaxed)
    }

    /// Why the directory cannot be served, if it cannot.
    pub fn refusal(&self) -> Option<Refusal> {
        self.meeting().refusal.clone()
    }

    fn meeting(&self) -> MutexGuard<'_, Meeting> {
        self.meeting.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Ends recovery on all cores. The first reason counts.
    pub(crate) fn refuse(&self, why: Refusal) {
        self.meeting().refusal.get_or_insert(why);
    }

    pub(crate) fn note_progress(&self, bytes: u64, entries: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
        self.entries_done.fetch_add(entries, Ordering::Relaxed);
    }

    pub(crate) fn begin_progress(&self, base_bytes: u64, log_bytes: u64) {
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.entries_done.store(0, Ordering::Relaxed);
        self.bytes_total.store(base_bytes + log_bytes, Ordering::Relaxed);
    }

    pub(crate) fn tell_home(&self, home: Home) {
        self.meeting().home = Some(Arc::new(home));
    }

    /// What core 0 found in the directory.
    pub(crate) fn home(&self) -> Option<Result<Arc<Home>, Refused>> {
        let meeting = self.meeting();
        said(&meeting, meeting.home.clone())
    }

    /// One core has looked at its streams.
    pub(crate) fn tell_surveyed(&self, attempt: usize, surveyed: Vec<Surveyed>) {
        let mut meeting = self.meeting();
        let round = meeting.round(attempt);
        round.surveyed.extend(surveyed);
        round.surveys_done += 1;
    }

    /// All cores' streams, once all have looked; for the one core that decides.
    pub(crate) fn take_surveyed(&self, attempt: usize, placement: Placement) -> Option<Result<Vec<Surveyed>, Refused>> {
        let mut meeting = self.meeting();
        let round = meeting.round(attempt);
        let all = (round.surveys_done == placement.core_count()).then(|| std::mem::take(&mut round.surveyed));
        said(&meeting, all)
    }

    pub(crate) fn tell_decision(&self, attempt: usize, decision: Decision) {
        self.meeting().round(attempt).decision = Some(Arc::new(decision));
    }

    pub(crate) fn decision(&self, attempt: usize) -> Option<Result<Arc<Decision>, Refused>> {
        let mut meeting = self.meeting();
        let decision = meeting.round(attempt).decision.clone();
        said(&meeting, decision)
    }

    /// One core has put its share of the snapshot in place, or found why it cannot be.
    pub(crate) fn tell_placed(&self, attempt: usize, spoiled: Option<Refusal>) {
        let mut meeting = self.meeting();
        let round = meeting.round(attempt);
        round.placed += 1;
        round.spoiled = round.spoiled.take().or(spoiled);
    }

    /// Why the snapshot cannot be used, if it cannot, once all cores have tried.
    pub(crate) fn placed(&self, attempt: usize, placement: Placement) -> Option<Result<Option<Refusal>, Refused>> {
        let mut meeting = self.meeting();
        let round = meeting.round(attempt);
        let spoiled = (round.placed == placement.core_count()).then(|| round.spoiled.clone());
        said(&meeting, spoiled)
    }

    /// One core has applied its share of the log; `clock_ms` is the latest clock it met.
    pub(crate) fn tell_applied(&self, attempt: usize, clock_ms: u64) {
        let mut meeting = self.meeting();
        let round = meeting.round(attempt);
        round.applied += 1;
        round.clock_ms = round.clock_ms.max(clock_ms);
    }

    /// The latest clock that any core met, once all have applied.
    pub(crate) fn applied(&self, attempt: usize, placement: Placement) -> Option<Result<u64, Refused>> {
        let mut meeting = self.meeting();
        let round = meeting.round(attempt);
        let clock_ms = (round.applied == placement.core_count()).then_some(round.clock_ms);
        said(&meeting, clock_ms)
    }

    /// The new generation has begun: it is durable that it has.
    pub(crate) fn tell_birth(&self, birth: Birth) {
        self.meeting().birth = Some(birth);
    }

    pub(crate) fn birth(&self) -> Option<Result<Birth, Refused>> {
        let meeting = self.meeting();
        said(&meeting, meeting.birth.clone())
    }

    /// One core has its data, so many keys, and its log. With the last one, all serve.
    pub(crate) fn tell_ready(&self, core: CoreId, keys: u64, placement: Placement) {
        self.keys.fetch_add(keys, Ordering::Relaxed);
        let mut meeting = self.meeting();
        meeting.ready.insert(core);
        if meeting.ready.len() == usize::from(placement.core_count()) {
            self.served.store(true, Ordering::Release);
        }
    }
}

/// Recovery ended because some core cannot go on; it has said why.
#[derive(Debug)]
pub(crate) struct Refused;

fn said<T>(meeting: &Meeting, what: Option<T>) -> Option<Result<T, Refused>> {
    if meeting.refusal.is_some() { Some(Err(Refused)) } else { what.map(Ok) }
}

impl Meeting {
    fn round(&mut self, attempt: usize) -> &mut Round {
        if self.rounds.len() <= attempt {
            self.rounds.resize_with(attempt + 1, Round::default);
        }
        &mut self.rounds[attempt]
    }
}
