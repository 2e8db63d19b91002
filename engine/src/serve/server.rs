//! What every core answers about itself, and the commands about the server as a whole: `TIME`, `SHUTDOWN`, `WAITAOF`, ….

use crate::core::Core;
use crate::hold::Request;
use crate::placement::CoreId;
use crate::serve::{NEVER, stats_of};
use crate::survey::{CoreStats, DbStats, Finding, Question};
use netio::{ConnId, Kernel, MonotonicNs};
use shards::command::texts;
use shards::number;
use shards::wire::{Proto, Reply};
use shards::{Db, Slot};
use std::time::Duration;

/// `TIME`
pub(super) fn time<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let now = core.kernel.now();
    let ms = now.wall.0;
    let us = ms % 1000 * 1000 + u64::from(now.wall_us_part);
    let mut reply = Reply::new(out, request.proto);
    reply.array(2);
    reply.bulk_integer((ms / 1000) as i64);
    reply.bulk_integer(us as i64);
}

/// When a timeout of so many milliseconds, which begins now, is over. Zero means never.
pub(super) fn timeout_of<K: Kernel>(core: &Core<K>, ms: i64) -> MonotonicNs {
    match ms {
        0 => NEVER,
        ms => MonotonicNs(core.now.monotonic.0.saturating_add((ms as u64).saturating_mul(1_000_000))),
    }
}

/// `WAITAOF numlocal numreplicas timeout`: waits until everything that any core has logged is durable here, and for replicas,
/// of which none counts: they are not asked what is on their disks.
pub(super) fn waitaof<K: Kernel>(core: &mut Core<K>, id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let numbers = [1, 2, 3].map(|index| number::parse_i64(args.get(index)));
    let [Some(local), Some(replicas), Some(timeout)] = numbers else { return reply.error(texts::NOT_INTEGER) };
    if !(0..=1).contains(&local) {
        return reply.error("ERR value is out of range, must be between 0 and 1");
    }
    if timeout < 0 {
        return reply.error("ERR timeout is negative");
    }
    let logs = core.executor.journal.is_on();
    if local > 0 && !logs {
        return reply.error("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
    }
    if local > 0 && core.shared.snapshots.needs_base() {
        return reply
            .error("ERR the log has just begun, and counts when its first snapshot is there: see log_base_pending of INFO persistence");
    }
    let (until, proto) = (timeout_of(core, timeout), request.proto);
    match (local, replicas) {
        (0, ..=0) if !logs => tell_synced(false, &mut reply),
        // Nothing to wait for; how it stands is told all the same.
        (0, ..=0) => core.survey(
            id,
            Question::Stats,
            Box::new(|_, _, findings, reply| {
                tell_synced(stats_of(findings).iter().filter_map(|core| core.log).all(|log| log.synced_lsn >= log.lsn), reply);
            }),
        ),
        (0, _) => core.wait_in_vain(id, until, synced_reply(false, proto)),
        (_, ..=0) => {
            core.survey(id, Question::Sync, Box::new(|_, _, _, reply| tell_synced(true, reply)));
            core.limit_survey(id, until, synced_reply(false, proto));
        }
        (_, _) => {
            // Answered when the timeout is over; whether everything is durable by then is found out meanwhile.
            core.survey(id, Question::Sync, Box::new(move |core, id, _, _| core.wait_in_vain(id, until, synced_reply(true, proto))));
            core.limit_survey(id, until, synced_reply(false, proto));
        }
    }
}

fn synced_reply(is_synced: bool, proto: Proto) -> Vec<u8> {
    let mut bytes = Vec::new();
    tell_synced(is_synced, &mut Reply::new(&mut bytes, proto));
    bytes
}

/// How many copies hold everything durably: this one or none, and no replica.
fn tell_synced(is_synced: bool, reply: &mut Reply<'_>) {
    reply.array(2);
    reply.integer(is_synced.into());
    reply.integer(0);
}

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`: the connection closes instead of an answer.
pub(super) fn shutdown<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let args = request.args();
    let mut reply = Reply::new(out, request.proto);
    let (mut save, mut nosave, mut abort, mut hurry) = (false, false, false, false);
    for word in args.iter_from(1) {
        match word.to_ascii_lowercase().as_slice() {
            b"save" => save = true,
            b"nosave" => nosave = true,
            b"abort" => abort = true,
            b"now" | b"force" => hurry = true,
            _ => return reply.error(texts::SYNTAX),
        }
    }
    if (abort && (save || nosave || hurry)) || (save && nosave) {
        return reply.error(texts::SYNTAX);
    }
    if abort {
        return reply.error("ERR No shutdown in progress.");
    }
    // An orderly end makes the whole log durable; what is in no log is for SAVE.
    if save && !core.executor.settings.ladder().logs_all() {
        return reply.error(
            "ERR Errors trying to SHUTDOWN. Not everything is logged (durability none), and so SHUTDOWN cannot save it. Use SHUTDOWN NOSAVE.",
        );
    }
    tracing::info!("a client asked for the end: SHUTDOWN");
    core.shared.stop();
    core.begin_stop();
}

/// `LOLWUT [VERSION n] [...]`
pub(super) fn lolwut<K: Kernel>(core: &mut Core<K>, _id: ConnId, request: &Request, out: &mut Vec<u8>) {
    let cores = usize::from(core.placement.core_count());
    let rim: String = "─".repeat(cores.min(16) * 4 + 1);
    let hubs: String = (0..cores.min(16)).map(|_| "│ ◉ ").collect();
    let text = format!(
        "┌{rim}┐\n│ {hubs}\n└{rim}┘\nEvery core turns its own wheel; none waits for another.\n\nCorewheel ver. {}\n",
        env!("CARGO_PKG_VERSION")
    );
    Reply::new(out, request.proto).verbatim(text.as_bytes());
}

impl<K: Kernel> Core<K> {
    /// This core's answer to a question put to all.
    pub(crate) fn answer_question(&mut self, question: &Question) -> Finding {
        match question {
            Question::Run(request, now) => return self.run_everywhere(request, *now),
            Question::Stats => return Finding::Stats(Box::new(self.stats())),
            Question::ResetStats => {
                self.executor.metrics.reset();
                self.executor.shard.reset_counts();
            }
            Question::Clients(filter) => return Finding::Clients(self.client_lines(filter)),
            Question::Kill(filter, connected_by) => return Finding::Killed(self.close_clients(filter, *connected_by)),
            Question::Slowlog { count_max } => {
                return Finding::Slowlog(self.executor.slowlog.requests().take(*count_max).cloned().collect());
            }
            Question::SlowlogLen => return Finding::Count(self.executor.slowlog.requests().len() as u64),
            Question::SlowlogReset => self.executor.slowlog.clear(),
            Question::Latency => return Finding::Latency(self.executor.latency.events().to_vec()),
            Question::LatencyReset(names) => return Finding::Count(self.executor.latency.reset(names) as u64),
            Question::Sync => self.depend_on_all(),
            Question::Settings(settings) => {
                // Whoever asks for more safety is told that it holds when it holds for what was there before, too.
                if settings.ladder() != *self.executor.journal.ladder() {
                    self.depend_on_all();
                }
                self.apply_settings(settings.clone());
            }
            Question::Pause { until_ns, writes_only } => self.pause_clients(*until_ns, *writes_only),
            Question::Monitored => self.monitored = true,
            Question::CountInSlot(slot) => {
                let now = self.now_ms();
                return Finding::Count(self.executor.shard.count_in_slot(*slot, now) as u64);
            }
            Question::Digest => return Finding::Count(self.digest()),
            Question::Standing => return Finding::Standing(self.replication.standing().map(Box::new)),
            Question::KeysInSlot { slot, count_max } => return Finding::Keys(self.keys_in_slot(*slot, *count_max)),
            Question::Sleep { ns } => std::thread::sleep(Duration::from_nanos(*ns)),
            Question::ActiveExpire(on) => self.active_expire = *on,
            Question::DebugObject(request, now) => return self.run_debug_object(request, *now),
        }
        Finding::Done
    }

    /// What this core has counted and holds.
    fn stats(&mut self) -> CoreStats {
        let now = self.now_ms();
        let shard = &self.executor.shard;
        let dbs = (0..shard.db_count())
            .map(|db| DbStats {
                keys: shard.len(Db(db)) as u64,
                timed: shard.len_with_deadline(Db(db)) as u64,
                ttl_ms_mean: shard.ttl_ms_mean(Db(db), now),
            })
            .collect();
        let conns = || self.connections.iter().flatten();
        CoreStats {
            core: self.id,
            metrics: self.executor.metrics.clone(),
            counts: *shard.counts(),
            dbs,
            clients: self.connection_count as u64,
            cluster_clients: conns().filter(|conn| conn.modes.has(crate::connection::Modes::CLUSTER_PORT)).count() as u64,
            monitors: self.monitors.len() as u64,
            stalled: conns().filter(|conn| conn.stalls.any()).count() as u64,
            waiting: self.executor.holds.waiters() as u64,
            memory: shard.memory(),
            connection_bytes: conns().map(|conn| conn.memory_bytes() as u64).sum(),
            kernel_bytes: self.kernel.memory_bytes() as u64,
            lane_bytes: self.peers.memory_bytes() as u64,
            client_input_max: conns().map(|conn| conn.input.capacity() as u64).max().unwrap_or(0),
            client_output_max: conns().map(|conn| conn.output.capacity() as u64).max().unwrap_or(0),
            monitor_lines_dropped: self.monitor_lines_dropped,
            log: self.log_stats(),
            replication: self.replication.standing().map(Box::new),
            changes_unsaved: self.changes_unsaved(),
            clock_ahead_ms: self.entry_clock.ahead_ms(),
            age_ns: self.now.monotonic.since(self.started),
        }
    }

    /// Keys of one slot of database 0, at most so many; none if the slot is another core's.
    fn keys_in_slot(&mut self, slot: Slot, count_max: usize) -> Vec<Vec<u8>> {
        let now = self.now_ms();
        let mut keys = Vec::new();
        if count_max > 0 {
            self.executor.shard.visit_slot(slot, now, &mut |found| {
                keys.push(found.key.to_vec());
                keys.len() < count_max
            });
        }
        keys
    }

    /// A number that two servers share exactly when all their databases hold the same.
    fn digest(&self) -> u64 {
        let now = self.now.wall.0;
        let shard = &self.executor.shard;
        // Turned by the database's number, so that the same key in another database is another thing.
        (0..shard.db_count()).fold(0, |all, db| all ^ shard.digest(Db(db), now).rotate_left(u32::from(db)))
    }

    /// The address at which this connection's client reaches a core.
    pub(crate) fn node_address(&mut self, id: ConnId, core: CoreId) -> (String, u16) {
        let host = self.kernel.local_addr(id).map_or_else(|| "127.0.0.1".to_owned(), |addr| addr.ip().to_string());
        let settings = &self.executor.settings;
        let port = settings.cluster_port_first.map_or(settings.port, |first| first + core.0);
        (host, port)
    }
}
