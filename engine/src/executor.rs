//! Runs one request on this core's shard: checks, room, the handler, and what is remembered of it.
//!
//! Whether the request came from a connection of this core, over a lane, or waited for a held key makes no difference here.

use crate::hold::{DbKey, Holds};
use crate::journal::Journal;
use crate::latency::{LatencyMonitor, Moment};
use crate::metrics::Metrics;
use crate::replica::Effects;
use crate::settings::Settings;
use crate::slowlog::Slowlog;
use crate::turnstile::Turnstile;
use shards::command::{COMMANDS_BY_NUMBER, Call, Command, Flags, Handler};
use shards::log::Lsn;
use shards::wire::{Args, Proto, Reply};
use shards::{Db, Key, Shard};
use std::sync::Arc;

/// A core's shard and what it remembers of the requests that ran on it.
pub struct Executor {
    /// The data.
    pub shard: Shard,
    /// What the log is to say.
    pub journal: Journal,
    /// What replicas are to be told.
    pub effects: Effects,
    /// Who walks the shard.
    pub turnstile: Turnstile,
    /// Up to where the log must be durable before the last reply may leave; zero if it may. See [`Executor::take_depends`].
    pub depends: Lsn,
    /// Keys held for commands on several cores.
    pub holds: Holds,
    /// Room was found for what runs now before other cores began their parts of it: it must happen here too.
    pub granted: bool,
    /// Counts.
    pub metrics: Metrics,
    /// Requests that took long.
    pub slowlog: Slowlog,
    /// Slow moments.
    pub latency: LatencyMonitor,
    /// From how many nanoseconds on a request interests one of the two.
    pub slow_ns: u64,
    /// What the operator set.
    pub settings: Arc<Settings>,
}

/// A request on its way to the shard.
pub struct Job<'a> {
    /// The command's number.
    pub command: u16,
    /// Its arguments.
    pub args: Args<'a>,
    /// Its first key.
    pub key: Key<'a>,
    /// The connection's database.
    pub db: Db,
    /// The connection's dialect.
    pub proto: Proto,
    /// The entry's clock.
    pub now: u64,
    /// The connection asked for `CLIENT NO-TOUCH`.
    pub no_touch: bool,
}

/// The refusal of a command that may need memory when there is none.
pub const OUT_OF_MEMORY: &[u8] = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n";

impl Executor {
    /// Runs a request, appends its reply to `out`. `started_ns` is when it began, `clock` says the moment it ended, which is
    /// returned, so that a batch reads the clock once per request.
    ///
    /// # Panics
    /// If the command is not one that runs on a shard.
    #[inline]
    pub fn run(&mut self, job: &Job<'_>, out: &mut Vec<u8>, started_ns: u64, clock: impl FnOnce() -> u64) -> u64 {
        let command = COMMANDS_BY_NUMBER[usize::from(job.command)];
        let Handler::Shard(handler) = command.handler else { unreachable!("{} does not run on a shard", command.name) };
        let reply_from = out.len();
        let evicted_before = self.shard.counts().evicted;
        let logs = self.journal.is_on();
        if logs && let Some(refusal) = self.refusal(job, command) {
            return self.reject(job, refusal, out, clock);
        }
        if command.flags.has(Flags::DENYOOM) && !self.shard.make_room(job.now) && !self.granted {
            if logs || self.effects.is_on() {
                self.tell_removed(job.now);
            }
            return self.reject(job, OUT_OF_MEMORY, out, clock);
        }
        let changes_before = self.shard.changes();
        let mut call = Call { args: job.args, key: job.key, db: job.db, now: job.now, reply: Reply::new(out, job.proto) };
        if job.no_touch {
            self.shard.set_no_touch(true);
        }
        handler(&mut self.shard, &mut call);
        if job.no_touch {
            self.shard.set_no_touch(false);
        }
        if logs {
            self.log(job, command, changes_before);
        }
        if self.effects.is_on() {
            self.tell(job, command, changes_before);
        }
        debug_assert!(out.len() > reply_from, "{} answered nothing", command.name);
        let ended_ns = clock();
        let ns = ended_ns.saturating_sub(started_ns);
        self.metrics.count_run(job.command, ns, self.settings.latency_tracking);
        if out.get(reply_from) == Some(&b'-') {
            self.metrics.commands[usize::from(job.command)].failed += 1;
            self.metrics.count_error(&out[reply_from..]);
        }
        if self.is_slow(ns) {
            self.note_slow(job.command, job.args, ns, job.now);
            if self.shard.counts().evicted > evicted_before {
                self.latency.note(Moment::EvictionCycle, ns, job.now);
            }
        }
        ended_ns
    }

    /// Why a request that would write must not, as far as the log is concerned.
    #[inline(never)]
    fn refusal(&self, job: &Job<'_>, command: &Command) -> Option<&'static [u8]> {
        if command.flags.has(Flags::WRITE) { self.journal.refusal(command, job.args, job.db) } else { None }
    }

    #[cold]
    fn reject(&mut self, job: &Job<'_>, why: &'static [u8], out: &mut Vec<u8>, clock: impl FnOnce() -> u64) -> u64 {
        out.extend_from_slice(why);
        self.metrics.commands[usize::from(job.command)].rejected += 1;
        self.metrics.count_error(why);
        clock()
    }

    /// Appends to the journal what a request has done, and keeps what its reply tells of. Out of line: without a log it is not run.
    #[inline(never)]
    fn log(&mut self, job: &Job<'_>, command: &Command, changes_before: u64) {
        self.tell_removed(job.now);
        if self.shard.changes() != changes_before {
            self.journal.record(&self.shard, job, command);
        }
        self.depends = self.journal.depends(&self.shard, job, command);
    }

    /// Says what a request has done to those who follow. Out of line: without any it is not run.
    #[inline(never)]
    fn tell(&mut self, job: &Job<'_>, command: &Command, changes_before: u64) {
        self.tell_removed(job.now);
        if self.shard.changes() != changes_before {
            self.effects.record(&self.shard, job, command);
        }
    }

    /// Tells the log which keys had to make room, and those who follow that these and expired ones are gone.
    pub fn tell_removed(&mut self, now: u64) {
        let mut victims: Vec<DbKey> = Vec::new();
        let mut expired: Vec<DbKey> = Vec::new();
        self.shard.drain_victims(&mut |db, key| victims.push((db, key.into())));
        self.shard.drain_expired(&mut |db, key| expired.push((db, key.into())));
        if self.journal.is_on() {
            victims.iter().for_each(|(db, key)| self.journal.evict(*db, &self.shard.key(key), now));
        }
        expired.iter().chain(&victims).for_each(|(db, key)| self.effects.record_removal(*db, key));
    }

    /// Up to where the log must be durable before the last reply may leave; zero if it may. Asked once.
    #[inline]
    pub fn take_depends(&mut self) -> Lsn {
        std::mem::take(&mut self.depends)
    }

    /// Whether a request that took so long is remembered by anybody.
    #[inline]
    pub fn is_slow(&self, ns: u64) -> bool {
        ns >= self.slow_ns
    }

    /// Remembers a request that took long.
    #[cold]
    pub fn note_slow(&mut self, command: u16, args: Args<'_>, ns: u64, now: u64) {
        let flags = COMMANDS_BY_NUMBER[usize::from(command)].flags;
        if self.slowlog.is_slow(ns) && !flags.has(Flags::SKIP_SLOWLOG) {
            self.slowlog.note(args, ns, now);
        }
        self.latency.note(if flags.has(Flags::FAST) { Moment::FastCommand } else { Moment::Command }, ns, now);
    }

    /// Takes new thresholds of what counts as slow.
    pub fn watch_slow(&mut self, settings: &Settings) {
        self.slowlog.configure(settings.slowlog_slower_than_us, settings.slowlog_entries_max);
        self.latency.configure(settings.latency_threshold_ms);
        self.slow_ns = self.slowlog.slower_than_ns().min(self.latency.threshold_ns());
    }
}
