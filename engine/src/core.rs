//! One core: everything its thread owns, and the turn that drives it.

use crate::board::Board;
use crate::connection::{Connection, Modes, Stalls};
use crate::entry_clock::EntryClock;
use crate::executor::Executor;
pub use crate::halt::Halt;
use crate::hold::{Holds, JointId};
use crate::intake::Batch;
use crate::joint::Joint;
use crate::journal::Journal;
use crate::latency::{LatencyMonitor, Moment};
use crate::line::Lines;
use crate::load::Load;
use crate::log::{FindingBehindParts, Writer};
use crate::metrics::Metrics;
use crate::parcel::Ticket;
use crate::parking::Parking;
use crate::peers::Peers;
use crate::placement::{CoreId, Placement};
use crate::replica::{Effects, Replication};
use crate::serve::{NEVER, Serve, Survey};
use crate::settings::Settings;
use crate::slowlog::Slowlog;
use crate::snapshot::Saving;
use crate::turnstile::Turnstile;
use netio::{ConnId, Event, Kernel, Listen, ListenError, ListenerId, MonotonicNs, Now, Wait};
use shards::log::Lsn;
use shards::{Ground, KeySeed, Lfu, Shard, ShardConfig};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Records the wheel may remove in one turn. At about 100 ns each this is a tenth of a millisecond.
const WHEEL_BUDGET: usize = 1024;

/// How often a core looks after what has no event of its own: rates, idle clients, the memory budget.
const ROUND_NS: u64 = 100_000_000;

/// One core. Lives on its own thread, or, in the simulator, with all others on one.
pub struct Core<K: Kernel> {
    pub(crate) id: CoreId,
    pub(crate) placement: Placement,
    pub(crate) kernel: K,
    pub(crate) executor: Executor,
    pub(crate) shared: Arc<Board>,
    pub(crate) peers: Peers<K::Waker>,
    pub(crate) serves: Vec<Option<Serve<K>>>,

    pub(crate) connections: Vec<Option<Box<Connection>>>,
    pub(crate) connection_count: usize,
    pub(crate) client_id_next: u64,
    pub(crate) listener_modes: Vec<(ListenerId, Modes)>,
    /// Connections whose stall ended: run what they sent meanwhile.
    pub(crate) ready: Vec<ConnId>,
    /// Connections with replies to send.
    pub(crate) dirty: Vec<ConnId>,
    /// Connections waiting for room on a lane or for other cores' replies.
    pub(crate) lane_stalled: Vec<ConnId>,
    pub(crate) monitors: Vec<ConnId>,
    /// Some core has a client in `MONITOR`.
    pub(crate) monitored: bool,
    /// What this turn has shown to those who watch.
    pub(crate) feed: Vec<u8>,
    /// Lines that were not shown because there were too many.
    pub(crate) monitor_lines_dropped: u64,
    /// Keys are removed when their time comes, not only hidden; `DEBUG SET-ACTIVE-EXPIRE` turns it off.
    pub(crate) active_expire: bool,
    pub(crate) pause: Option<Pause>,

    pub(crate) joints: HashMap<u64, Joint>,
    pub(crate) joint_next: u64,
    pub(crate) surveys: HashMap<Ticket, Survey<K>>,
    /// When the first of those who wait for a survey will have waited long enough.
    pub(crate) patience_next: MonotonicNs,
    /// Parts of commands over several cores that this core has logged, while others may not have: each with its last entry.
    pub(crate) open_parts: HashMap<JointId, Lsn>,
    /// Answers that have seen such parts.
    pub(crate) findings_behind_parts: Vec<FindingBehindParts>,
    /// Who writes the log, if there is one.
    pub(crate) writer: Option<Writer>,
    /// What waits for the log.
    pub(crate) parking: Parking,
    /// Which lines no command over several cores crosses.
    pub(crate) lines: Lines,
    /// How many keys had expired when the log last said how late it was.
    pub(crate) expired_logged: u64,
    /// Why the log cannot go on.
    pub(crate) log_broken: Option<String>,
    /// Where commands on several cores' keys run, kept between uses.
    pub(crate) scratch_shard: Option<Shard>,

    /// Recovery, while it is under way: nobody is served.
    pub(crate) loading: Option<Load>,
    /// This core's part in snapshots, where there is a directory.
    pub(crate) saving: Option<Saving>,
    /// This core's part in replicas.
    pub(crate) replication: Replication,
    /// What makes entries' clocks out of the machine's.
    pub(crate) entry_clock: EntryClock,
    /// The machine's time this turn, with the entry clock's wall time.
    pub(crate) now: Now,
    pub(crate) started: MonotonicNs,
    round_next: MonotonicNs,
    round_last: MonotonicNs,
    /// Where the sweep over connections goes on.
    sweep_at: usize,
    /// Bytes of all connections as of the last whole sweep, and of the one under way.
    pub(crate) connection_bytes: usize,
    connection_bytes_swept: usize,
    /// When there was last something to do; a core spins for `spin-us` after it.
    worked_at: MonotonicNs,
    pub(crate) stop: Stop,

    events: Vec<Event>,
    batch: Batch,
    pub(crate) output: Vec<u8>,
}

/// `CLIENT PAUSE`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pause {
    pub(crate) until: MonotonicNs,
    pub(crate) writes_only: bool,
}

/// How far a core is with ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Not at all.
    Running,
    /// Takes no clients; answers what it has, until this moment at most.
    Draining(MonotonicNs),
    /// The turn loop may end.
    Stopped,
}

/// How long clients that do not read may hold up the end.
const DRAIN_NS_MAX: u64 = 1_000_000_000;

impl<K: Kernel> Core<K> {
    /// A core with an empty shard. It listens after [`Core::listen`].
    pub fn new(
        id: CoreId,
        placement: Placement,
        mut kernel: K,
        settings: Arc<Settings>,
        shared: Arc<Board>,
        peers: Peers<K::Waker>,
    ) -> Core<K> {
        let config = ShardConfig { key_seed: KeySeed::new(shared.key_seed), chance_seed: kernel.entropy(), db_count: settings.db_count };
        let now = kernel.now();
        let stream_id = shared.run_id.clone();
        let mut core = Core {
            id,
            placement,
            kernel,
            executor: Executor {
                shard: Shard::new(config),
                journal: Journal::default(),
                effects: Effects::default(),
                turnstile: Turnstile::default(),
                depends: Lsn(0),
                holds: Holds::default(),
                granted: false,
                metrics: Metrics::default(),
                slowlog: Slowlog::new(id.0, placement.core_count()),
                latency: LatencyMonitor::default(),
                slow_ns: u64::MAX,
                settings: settings.clone(),
            },
            shared,
            peers,
            serves: crate::serve::table(),
            connections: Vec::new(),
            connection_count: 0,
            client_id_next: u64::from(id.0) + 1,
            listener_modes: Vec::new(),
            ready: Vec::new(),
            dirty: Vec::new(),
            lane_stalled: Vec::new(),
            monitors: Vec::new(),
            monitored: false,
            feed: Vec::new(),
            monitor_lines_dropped: 0,
            active_expire: true,
            pause: None,
            joints: HashMap::new(),
            joint_next: 0,
            surveys: HashMap::new(),
            patience_next: NEVER,
            open_parts: HashMap::new(),
            findings_behind_parts: Vec::new(),
            writer: None,
            parking: Parking::default(),
            lines: Lines::default(),
            expired_logged: 0,
            log_broken: None,
            scratch_shard: None,
            loading: None,
            saving: None,
            replication: Replication::new(id, placement.core_count(), stream_id, now.monotonic, &settings),
            entry_clock: EntryClock::new(now),
            now,
            started: now.monotonic,
            round_next: now.monotonic,
            round_last: now.monotonic,
            sweep_at: 0,
            connection_bytes: 0,
            connection_bytes_swept: 0,
            worked_at: now.monotonic,
            stop: Stop::Running,
            events: Vec::new(),
            batch: Batch::default(),
            output: Vec::new(),
        };
        core.begin_load(&settings);
        core.apply_settings(settings);
        core
    }

    /// Opens this core's listeners: the ones everybody shares, and its own.
    pub fn listen(&mut self) -> Result<(), ListenError> {
        let settings = self.executor.settings.clone();
        for at in &settings.listens {
            let mut modes = Modes::default();
            modes.set(Modes::UNIX, matches!(at, Listen::Unix { .. }));
            let listener = self.kernel.listen(at)?;
            self.listener_modes.push((listener, modes));
        }
        let Some(first) = settings.cluster_port_first else { return Ok(()) };
        for at in &settings.listens {
            let Listen::Tcp(mut addr) = at.clone() else { continue };
            addr.set_port(first + self.id.0);
            let mut modes = Modes::default();
            modes.set(Modes::CLUSTER_PORT, true);
            let listener = self.kernel.listen(&Listen::Tcp(addr))?;
            self.listener_modes.push((listener, modes));
        }
        Ok(())
    }

    /// The memory this core's shard will use next.
    pub fn ground(&self) -> Ground {
        self.executor.shard.ground()
    }

    /// What this core owns, to look at.
    pub fn shard(&self) -> &Shard {
        &self.executor.shard
    }

    /// Milliseconds since 1970 by the clock that decides what has expired.
    pub fn clock_ms(&self) -> u64 {
        self.now_ms()
    }

    /// Whether clients are served.
    pub fn is_serving(&self) -> bool {
        !self.is_loading() && self.stop == Stop::Running
    }

    /// The port the main listener really has.
    pub(crate) fn main_port(&self) -> Option<u16> {
        self.listener_modes.iter().find_map(|(listener, _)| self.kernel.listener_addr(*listener)).map(|addr| addr.port())
    }

    /// Whether this core takes no more clients, and ends what is under way.
    pub(crate) fn is_draining(&self) -> bool {
        self.stop != Stop::Running
    }

    /// Whether the turn loop may end.
    pub fn is_stopped(&self) -> bool {
        self.stop == Stop::Stopped
    }

    /// Turns until told to stop.
    pub fn run(&mut self) -> Result<(), Halt> {
        while self.stop != Stop::Stopped {
            let wait = self.wait();
            self.turn(wait)?;
        }
        Ok(())
    }

    /// One turn. Each stage drains a queue and fills the next; only the first may wait.
    pub fn turn(&mut self, wait: Wait) -> Result<(), Halt> {
        let mut events = std::mem::take(&mut self.events);
        self.kernel.turn(wait, &mut events)?;
        self.peers.awake();
        self.now = self.entry_clock.advance(self.kernel.now());
        self.executor.journal.begin_turn(self.now.monotonic);
        let worked = !events.is_empty();
        let started_ns = self.kernel.stamp_ns();

        self.take_events(&mut events); // completions -> runs of received bytes
        self.events = events;
        self.load(); //                   files -> this shard, until there is nothing left to recover
        if let Some(why) = self.log_broken.take() {
            return Err(Halt::Log(why));
        }
        self.take_answers(); //           other cores' answers -> replies in order
        self.take_asks(); //              other cores' requests -> this shard -> answers
        self.run_batch(); //              runs -> requests -> this shard, or a lane
        self.run_ready(); //              connections whose stall ended -> as above
        self.retry_stalled();
        if self.now.monotonic >= self.patience_next {
            self.end_patience();
        }
        self.send_feed(); //              what was shown -> those who watch
        self.replicate(); //              what was changed -> replicas
        self.snapshot(); //               this shard -> a file, a little at a time
        self.pump_log(); //               what was logged -> one write
        self.flush_dirty(); //            replies -> one send per connection
        self.peers.publish(&mut self.kernel); // a turn's messages -> one publish, one wake per core
        self.tick(); //                   what is due
        if worked {
            self.worked_at = self.now.monotonic;
            self.count_turn(started_ns);
        }
        Ok(())
    }

    /// How long the next turn may wait.
    pub fn wait(&mut self) -> Wait {
        if !self.ready.is_empty()
            || !self.dirty.is_empty()
            || (self.lets_keys_go() && self.executor.metrics.wheel_backlog > 0)
            || self.peers.has_work()
            || self.has_replica_work()
            || (self.is_draining() && self.executor.effects.is_heard())
        {
            return Wait::Poll;
        }
        let mut until_ns = self.round_next.min(self.patience_next).since(self.now.monotonic);
        if let Some(ns) = self.wait_loading_ns() {
            until_ns = until_ns.min(ns);
        } else if self.lets_keys_go()
            && let Some(deadline) = self.executor.shard.next_deadline()
        {
            // One past the deadline's millisecond, else the turn would find nothing due and come back at once.
            let ms = deadline.0.saturating_sub(self.now.wall.0);
            until_ns = until_ns.min(ms.saturating_mul(1_000_000).saturating_sub(u64::from(self.now.wall_us_part) * 1000));
        }
        if let Some(ns) = self.wait_saving_ns() {
            until_ns = until_ns.min(ns);
        }
        if let Some(due) = self.log_due() {
            until_ns = until_ns.min(due.since(self.now.monotonic));
        }
        let spin_ns = u64::from(self.executor.settings.spin_us) * 1000;
        let spins = spin_ns > 0 && self.now.monotonic.since(self.worked_at) < spin_ns;
        if until_ns == 0 || spins || !self.peers.may_sleep() {
            return Wait::Poll;
        }
        Wait::AtMost(Duration::from_nanos(until_ns))
    }

    /// Milliseconds since 1970: the clock of every entry this turn.
    #[inline]
    pub(crate) fn now_ms(&self) -> u64 {
        self.now.wall.0
    }

    /// The connection of this name, if it still exists.
    #[inline]
    pub(crate) fn connection(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(id.index as usize)?.as_deref_mut().filter(|conn| conn.id == id)
    }

    fn take_events(&mut self, events: &mut Vec<Event>) {
        for event in events.drain(..) {
            match event {
                Event::Accepted { listener, conn } => self.accept(listener, conn),
                Event::Received { conn, buffer } => self.receive(conn, buffer),
                Event::Ended { conn, error } => self.end(conn, error.is_some()),
                Event::SentRest { conn, bytes, result } => self.sent_rest(conn, bytes, result.is_ok()),
                Event::Woken => {}
                Event::File { token, outcome } => self.take_file(token, outcome),
            }
        }
    }

    fn accept(&mut self, listener: ListenerId, id: ConnId) {
        let modes = self.listener_modes.iter().find(|(known, _)| *known == listener).map_or(Modes::default(), |(_, modes)| *modes);
        self.executor.metrics.connections_total += 1;
        if self.stop != Stop::Running || self.shared.client_count() >= u64::from(self.executor.settings.clients_max) {
            self.executor.metrics.connections_rejected += 1;
            // The socket's buffer is empty, so this always fits; if not, the close says it too.
            let _ = self.kernel.send(id, b"-ERR max number of clients reached\r\n");
            self.kernel.close(id);
            return;
        }
        let mut conn = Connection::new(id, self.client_id_next, listener, self.now.monotonic);
        self.client_id_next += u64::from(self.placement.core_count());
        conn.modes = modes;
        conn.authenticated = self.executor.settings.password.is_none();
        let index = id.index as usize;
        if index >= self.connections.len() {
            self.connections.resize_with(index + 1, || None);
        }
        self.connections[index] = Some(Box::new(conn));
        self.connection_count += 1;
        self.shared.publish_clients(self.id, self.connection_count);
    }

    fn receive(&mut self, id: ConnId, buffer: netio::BufferId) {
        let now = self.now.monotonic;
        let Some(conn) = self.connections.get_mut(id.index as usize).and_then(|slot| slot.as_deref_mut()).filter(|conn| conn.id == id)
        else {
            self.kernel.release(buffer);
            return;
        };
        let bytes = self.kernel.bytes(buffer);
        conn.active = now;
        conn.totals.bytes_in += bytes.len() as u64;
        self.executor.metrics.bytes_in += bytes.len() as u64;
        self.executor.metrics.reads_total += 1;
        if conn.modes.has(Modes::CLOSE_AFTER_REPLY) {
            self.kernel.release(buffer);
        } else if conn.input.is_empty() && !conn.queued && !conn.stalls.any() {
            conn.queued = true;
            self.batch.take_buffer(id, buffer);
        } else {
            conn.input.extend(bytes);
            self.kernel.release(buffer);
            self.input_grew(id);
        }
    }

    /// Bounds what a connection may have waiting, and runs it if nothing holds it up.
    fn input_grew(&mut self, id: ConnId) {
        let query_bytes_max = self.executor.settings.query_bytes_max;
        let Some(conn) = self.connection(id) else { return };
        if conn.input.len() > query_bytes_max {
            self.executor.metrics.closed_input_over_limit += 1;
            self.close(id);
            return;
        }
        let piled = conn.input.len() > conn.input_bytes_piled_max() && !conn.paused;
        conn.paused |= piled;
        if piled {
            conn.input.shrink();
        }
        if !conn.stalls.any() && !conn.queued {
            self.ready.push(id);
        }
        if piled {
            self.kernel.pause_receive(id);
        }
    }

    fn end(&mut self, id: ConnId, failed: bool) {
        if failed {
            self.close(id);
            return;
        }
        let Some(conn) = self.connection(id) else { return };
        conn.ended = true;
        // What it sent before is still answered; the runs of this turn come first.
        self.dirty.push(id);
    }

    fn sent_rest(&mut self, id: ConnId, mut bytes: Vec<u8>, sent: bool) {
        let now = self.now.monotonic;
        let Some(conn) = self.connection(id) else { return };
        conn.sending = false;
        conn.sending_bytes = 0;
        conn.progress = now;
        if !sent {
            self.close(id);
            return;
        }
        if conn.output.capacity() == 0 && bytes.capacity() <= OUTPUT_BYTES_KEPT {
            bytes.clear();
            conn.output = bytes;
        }
        self.dirty.push(id);
    }

    fn run_batch(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        batch.parse(self);
        batch.run(self);
        self.batch = batch;
    }

    fn run_ready(&mut self) {
        // Those that become ready meanwhile have their next turn, so that nobody starves the sockets.
        for id in std::mem::take(&mut self.ready) {
            let Some(conn) = self.connection(id) else { continue };
            // More than one thing may have made it ready. The second time its input is in the batch, which is not to have none.
            if conn.stalls.any() || conn.queued {
                continue;
            }
            if conn.input.is_empty() && conn.paused {
                conn.paused = false;
                self.kernel.resume_receive(id);
            }
            let Some(conn) = self.connection(id) else { continue };
            if !conn.input.is_empty() {
                let input = std::mem::take(&mut conn.input);
                conn.queued = true;
                self.batch.take_input(id, input);
            } else {
                self.dirty.push(id);
            }
        }
        self.run_batch();
    }

    fn retry_stalled(&mut self) {
        if self.lane_stalled.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.lane_stalled) {
            let congested = self.peers.any_congested() || self.waits_for_disk();
            let Some(conn) = self.connection(id) else { continue };
            if congested || !conn.window_is_open() {
                self.lane_stalled.push(id);
            } else {
                self.unstall(id, Stalls::LANE);
            }
        }
    }

    /// Stops running a connection's requests for one more reason.
    pub(crate) fn stall(&mut self, id: ConnId, reason: Stalls) {
        let Some(conn) = self.connection(id) else { return };
        if !conn.stalls.has(reason) {
            conn.stalls.set(reason, true);
            if reason == Stalls::LANE {
                self.lane_stalled.push(id);
            }
        }
    }

    /// Ends one reason; runs the connection's requests if it was the last.
    pub(crate) fn unstall(&mut self, id: ConnId, reason: Stalls) {
        let Some(conn) = self.connection(id) else { return };
        conn.stalls.set(reason, false);
        if !conn.stalls.any() {
            self.ready.push(id);
        }
    }

    fn flush_dirty(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            let mut none = Vec::new();
            self.flush(id, &mut none);
            self.close_if_finished(id);
        }
    }

    /// Sends a connection's output, `more` after what it already had; keeps what the socket does not take.
    pub(crate) fn flush(&mut self, id: ConnId, more: &mut Vec<u8>) {
        let now = self.now.monotonic;
        let Some(conn) = self.connections.get_mut(id.index as usize).and_then(|slot| slot.as_deref_mut()).filter(|conn| conn.id == id)
        else {
            more.clear();
            return;
        };
        if conn.sending || !conn.output.is_empty() {
            conn.output.append(more);
        }
        if conn.sending {
            let class = conn.class();
            // What a client is sent is one reply, or one key, at the least; what is shown to a watcher can end anywhere.
            let floor = if conn.modes.has(Modes::MONITOR) { 0 } else { REPLY_BYTES_MAX };
            let limit = self.executor.settings.output_limit(class);
            if limit.hard_bytes > 0 && conn.output_bytes() > limit.hard_bytes.max(floor) {
                self.executor.metrics.closed_output_over_limit += 1;
                self.close(id);
            }
            return;
        }
        let own = !conn.output.is_empty();
        let bytes: &mut Vec<u8> = if own { &mut conn.output } else { more };
        if !bytes.is_empty() {
            self.executor.metrics.sends_total += 1;
            match self.kernel.send(id, bytes) {
                netio::Sent::All => {
                    conn.totals.bytes_out += bytes.len() as u64;
                    self.executor.metrics.bytes_out += bytes.len() as u64;
                    bytes.clear();
                    if own {
                        // An idle connection owns no buffer.
                        conn.output = Vec::new();
                    }
                }
                netio::Sent::Part { taken_bytes } => {
                    conn.totals.bytes_out += bytes.len() as u64;
                    self.executor.metrics.bytes_out += bytes.len() as u64;
                    let rest = if own { std::mem::take(bytes) } else { bytes.split_off(0) };
                    conn.sending = true;
                    conn.sending_bytes = rest.capacity();
                    conn.progress = now;
                    if !conn.stalls.has(Stalls::OUTPUT) {
                        conn.stalls.set(Stalls::OUTPUT, true);
                        self.executor.metrics.pauses += 1;
                    }
                    self.kernel.send_rest(id, rest, taken_bytes);
                    return;
                }
                netio::Sent::Gone => {
                    more.clear();
                    self.close(id);
                    return;
                }
            }
        }
        if conn.stalls.has(Stalls::OUTPUT) {
            self.unstall(id, Stalls::OUTPUT);
        }
    }

    /// Closes a connection that has nothing more to do and was told so, by itself or by us.
    pub(crate) fn close_if_finished(&mut self, id: ConnId) {
        let Some(conn) = self.connection(id) else { return };
        let answered = !conn.sending && conn.output.is_empty() && conn.pending.is_empty();
        let waiting = conn.stalls.any() || (!conn.input.is_empty() && conn.partial.is_none() && self.ready.contains(&id));
        let Some(conn) = self.connection(id) else { return };
        if answered && (conn.modes.has(Modes::CLOSE_AFTER_REPLY) || (conn.ended && !waiting)) {
            self.close(id);
        }
    }

    /// Closes a connection now.
    pub(crate) fn close(&mut self, id: ConnId) {
        if self.connection(id).is_none() {
            return;
        }
        self.connections[id.index as usize] = None;
        self.connection_count -= 1;
        self.shared.publish_clients(self.id, self.connection_count);
        self.kernel.close(id);
        if let Some(position) = self.monitors.iter().position(|monitor| *monitor == id) {
            self.monitors.swap_remove(position);
            self.shared.publish_monitors(self.id, self.monitors.len());
        }
        self.forget_replica(id);
    }

    fn tick(&mut self) {
        if self.lets_keys_go() {
            self.expire();
        }
        if self.now.monotonic >= self.round_next {
            self.round();
        }
        if let Stop::Draining(until) = self.stop {
            self.drain(until);
        }
    }

    /// Whether keys go by themselves: not any more when the log is ending, else they would be back after the next start.
    fn lets_keys_go(&self) -> bool {
        self.active_expire && self.loading.is_none() && !self.writer.as_ref().is_some_and(Writer::is_ending)
    }

    /// Removes what is due.
    fn expire(&mut self) {
        let watched = self.executor.latency.is_on();
        let started_ns = if watched { self.kernel.stamp_ns() } else { 0 };
        self.executor.metrics.wheel_backlog = self.executor.shard.tick(self.now_ms(), WHEEL_BUDGET) as u64;
        if watched {
            let ns = self.kernel.stamp_ns().saturating_sub(started_ns);
            let now = self.now_ms();
            self.executor.latency.note(Moment::ExpireCycle, ns, now);
        }
        let now = self.now_ms();
        self.executor.tell_removed(now);
        self.log_expiry();
    }

    /// What has no event of its own, ten times a second.
    fn round(&mut self) {
        let elapsed_ns = self.now.monotonic.since(self.round_last);
        self.round_last = self.now.monotonic;
        self.round_next = MonotonicNs(self.now.monotonic.0 + ROUND_NS);
        let metrics = &mut self.executor.metrics;
        metrics.rate.sample(metrics.commands_total, elapsed_ns);
        metrics.rate_in.sample(metrics.bytes_in, elapsed_ns);
        metrics.rate_out.sample(metrics.bytes_out, elapsed_ns);
        metrics.rate_busy.sample(metrics.busy_ns, elapsed_ns);
        self.monitored = self.shared.monitor_count() > 0;
        self.sweep_connections();
        self.share_memory();
        self.log_round();
        self.end_patience();
        self.snapshot_round();
        self.replica_round();
        if let Some(pause) = self.pause
            && pause.until <= self.now.monotonic
        {
            self.end_pause();
        }
        if self.stop == Stop::Running && self.shared.is_stopping() {
            self.begin_stop();
        }
    }

    /// Lets everybody go on whom `CLIENT PAUSE` made wait.
    pub(crate) fn end_pause(&mut self) {
        self.pause = None;
        let waiting: Vec<ConnId> =
            self.connections.iter().flatten().filter(|conn| conn.stalls.has(Stalls::PAUSE)).map(|conn| conn.id).collect();
        for id in waiting {
            self.unstall(id, Stalls::PAUSE);
        }
    }

    /// Looks at some connections: who was idle too long, who does not read or not fast enough. Each is seen about once a second.
    fn sweep_connections(&mut self) {
        let idle_ns = u64::from(self.executor.settings.idle_timeout_s) * 1_000_000_000;
        let stuck_ns = u64::from(self.executor.settings.stuck_timeout_s) * 1_000_000_000;
        let now = self.now.monotonic;
        let step = self.connections.len().div_ceil(10);
        let from = if self.sweep_at >= self.connections.len() { 0 } else { self.sweep_at };
        let to = (from + step).min(self.connections.len());
        self.sweep_at = to;
        if from == 0 {
            self.connection_bytes = std::mem::take(&mut self.connection_bytes_swept);
        }
        let mut idle = Vec::new();
        let mut stuck = Vec::new();
        let mut over = Vec::new();
        for conn in self.connections[from..to].iter_mut().flatten() {
            self.connection_bytes_swept += conn.memory_bytes();
            if !conn.modes.has(Modes::REPLICA) && conn.is_over_soft_limit(self.executor.settings.output_limit(conn.class()), now) {
                over.push(conn.id);
                continue;
            }
            if stuck_ns > 0 && conn.sending && now.since(conn.progress) > stuck_ns {
                stuck.push(conn.id);
            } else if idle_ns > 0
                && now.since(conn.active) > idle_ns
                && !conn.modes.has(Modes::LISTENS)
                && conn.pending.is_empty()
                && !conn.sending
            {
                idle.push(conn.id);
            }
        }
        self.executor.metrics.closed_stuck += stuck.len() as u64;
        self.executor.metrics.closed_idle += idle.len() as u64;
        self.executor.metrics.closed_output_over_limit += over.len() as u64;
        for id in stuck.into_iter().chain(idle).chain(over) {
            self.close(id);
        }
    }

    /// Takes new settings.
    pub(crate) fn apply_settings(&mut self, settings: Arc<Settings>) {
        self.executor.watch_slow(&settings);
        let lfu = Lfu { log_factor: settings.lfu_log_factor.into(), decay_minutes: settings.lfu_decay_minutes.into() };
        self.executor.shard.set_eviction(settings.policy, lfu);
        self.executor.shard.set_pack_limits(settings.pack_limits);
        self.apply_durability(&settings);
        self.replication.apply(&settings);
        self.executor.settings = settings;
        self.share_memory();
    }

    /// Takes no more clients; what is under way is still answered.
    pub(crate) fn begin_stop(&mut self) {
        self.kernel.stop_listening();
        self.stop = Stop::Draining(MonotonicNs(self.now.monotonic.0 + DRAIN_NS_MAX));
    }

    fn drain(&mut self, until: MonotonicNs) {
        let is_busy = |conn: &Connection| conn.sending || !conn.output.is_empty() || !conn.pending.is_empty();
        let is_client = |conn: &&Connection| !conn.modes.has(Modes::REPLICA);
        let conns = || self.connections.iter().flatten().map(|conn| &**conn);
        if conns().filter(is_client).any(is_busy) && self.now.monotonic < until {
            return;
        }
        let clients: Vec<ConnId> = conns().filter(is_client).map(|conn| conn.id).collect();
        clients.into_iter().for_each(|id| self.close(id));
        // They were answered; now replicas are told the last of it.
        if self.owes_replicas() && self.now.monotonic < until {
            return;
        }
        let replicas: Vec<ConnId> = self.connections.iter().flatten().map(|conn| conn.id).collect();
        replicas.into_iter().for_each(|id| self.close(id));
        // What was begun has no bound, because it is in the log of other cores; a core that failed can promise nothing any more.
        if self.shared.has_failed() || self.end_log() {
            self.stop = Stop::Stopped;
        }
    }

    fn count_turn(&mut self, started_ns: u64) {
        let ns = self.kernel.stamp_ns().saturating_sub(started_ns);
        let metrics = &mut self.executor.metrics;
        metrics.turns += 1;
        metrics.busy_ns += ns;
        metrics.turn_ns_max = metrics.turn_ns_max.max(ns);
    }
}

/// The allocation of a rest that a connection keeps for its next output.
const OUTPUT_BYTES_KEPT: usize = 64 * 1024;

/// The largest single reply: a string of the largest size with its header. An output limit below it could never be met.
const REPLY_BYTES_MAX: usize = 512 * 1024 * 1024 + 64;
