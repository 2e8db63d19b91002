//! One generator thread: sends what is due, reaps what came, waits for whichever is next.
//!
//! The schedule never waits for the target. What is due and finds no connection with room waits in the schedule itself,
//! where it costs nothing, and is charged from its intended start. Nothing is dropped.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::arrivals::Arrivals;
use crate::cluster::{self, Layout};
use crate::flight::{Again, Clock, Flight, Pending, Phase, Terms};
use crate::machine;
use crate::pass::Shared;
use crate::plan::{Pace, PassPlan, Plan};
use crate::port::{Port, Wait};
use crate::random::Random;
use crate::request::Op;
use crate::source::Source;
use crate::tally::{Interval, Tally, histogram};
use crate::target::{CONNECT_TIMEOUT, Endpoint};
use crate::workload::Kind;

/// Batches begun in one turn: replies are looked at in between, so that encoding never delays reading for long.
const BATCHES_PER_TURN_MAX: u32 = 16;
/// Longest sleep, so that an early end is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// How long a broken connection waits before it is opened again.
const REOPEN_NS: u64 = 100_000_000;
/// Between two reopenings.
const REOPEN_GAP_NS: u64 = 1_000_000;
/// How long a reopening may hold up the thread.
const REOPEN_TIMEOUT: Duration = Duration::from_millis(200);
/// A run without a single connection ends after this.
const DEAF_NS: u64 = 10_000_000_000;
/// One look at the clock and the ring, at most.
const SPIN_LOOK_NS_MAX: u64 = 3_000;
/// How often the progress line and the interval log are fed.
const INTERVAL_NS: u64 = 1_000_000_000;

/// What a thread brings back.
pub(crate) struct Harvest {
    pub(crate) tally: Tally,
    /// Send minus the later of intended start and free connection, per batch: lateness that is the generator's own.
    pub(crate) late: Histogram<u64>,
    /// CPU time while measuring, without the time spent spinning on the clock.
    pub(crate) busy: Duration,
    /// CPU time while measuring.
    pub(crate) cpu: Duration,
    /// Wall time while measuring.
    pub(crate) wall: Duration,
    /// Time during which something was due and no connection had room.
    pub(crate) blocked: Duration,
    /// Operations the schedule asked for, warm-up excluded.
    pub(crate) offered: u64,
    pub(crate) io: &'static str,
    /// Why the thread ended early.
    pub(crate) failure: Option<String>,
}

/// One thread's part of a pass, connected and ready to start.
pub(crate) struct Worker<P: Port> {
    port: P,
    plan: Arc<Plan>,
    pass: PassPlan,
    shared: Arc<Shared>,
    thread: usize,
    flight: Flight,
    source: Source,
    layout: Option<Layout>,
    arrivals: Option<Arrivals>,
    /// First operation of the next batch, drawn before a connection had room for it.
    head: Option<(Op, u16)>,
    /// Operations still to be begun, of those that count; `u64::MAX` if only time ends the pass.
    left: u64,
    /// The warm-up ends here.
    record_from_ns: u64,
    /// Nothing is intended to start from here on.
    end_ns: u64,
    reads: u32,
    late: Histogram<u64>,
    blocked_since_ns: Option<u64>,
    blocked_ns: u64,
    offered: u64,
    /// Broken connections and when to try each again, and when to try any again.
    reopen: Vec<(usize, u64)>,
    reopen_from_ns: u64,
    deaf_since_ns: Option<u64>,
    spin_ns: u64,
}

/// Opens a port and all connections of thread `thread`, reports to `ready`, waits for `start`, and runs.
pub(crate) fn run<P: Port>(
    plan: Arc<Plan>,
    pass: PassPlan,
    shared: Arc<Shared>,
    thread: usize,
    ready: &mpsc::Sender<Result<(), String>>,
    start: &mpsc::Receiver<Instant>,
) -> Option<Harvest> {
    let worker = Worker::<P>::connect(plan, pass, shared, thread);
    let worker = match worker {
        Ok(worker) => {
            ready.send(Ok(())).ok()?;
            worker
        }
        Err(error) => {
            ready.send(Err(error)).ok()?;
            return None;
        }
    };
    // The sender is dropped without a word when another thread failed to start.
    let epoch = start.recv().ok()?;
    Some(worker.run(epoch))
}

impl<P: Port> Worker<P> {
    fn connect(plan: Arc<Plan>, pass: PassPlan, shared: Arc<Shared>, thread: usize) -> Result<Worker<P>, String> {
        if let Some(cpu) = plan.cpus[thread] {
            machine::pin(cpu).map_err(|error| format!("cannot keep thread {thread} on CPU {cpu}: {error}"))?;
        }
        machine::wake_precisely();
        let (thread_u64, threads) = (thread as u64, plan.threads as u64);
        let (first, end) = crate::keys::share_of(plan.connections as u64, thread_u64, threads);
        let slots = (end - first) as usize;
        let reply_bytes = plan.workload.sizes.largest() * pass.pipeline as usize;
        let port = P::open(slots, reply_bytes).map_err(|error| format!("cannot open {}: {error}", P::name()))?;
        let name = plan.encoder.key_name();
        let source = match pass.fill {
            true => Source::walk(&plan.workload, name, thread_u64, threads),
            false => Source::draw(&plan.workload, name, thread_u64, threads, pass.stream),
        };
        let arrivals = match pass.pace {
            Pace::Closed => None,
            Pace::Open(slope, spacing) => {
                let random = Random::new(plan.workload.seed ^ 0xa441_7a15, pass.stream * 4096 + thread_u64);
                Some(Arrivals::new(slope, spacing, thread_u64, threads, random))
            }
        };
        let left = match pass.requests {
            None => u64::MAX,
            Some(requests) => {
                let (first, end) = crate::keys::share_of(requests, thread_u64, threads);
                end - first
            }
        };
        let warmup_ns = pass.warmup.as_nanos() as u64;
        let kinds = if pass.fill { vec![Kind::Set] } else { plan.workload.mix.kinds().to_vec() };
        let flight = Flight::new(Terms {
            clock: Clock { epoch: Instant::now() },
            record_from_ns: warmup_ns,
            window: pass.window,
            protocol: plan.protocol,
            encoder: plan.encoder.clone(),
            sizes: plan.workload.sizes.clone(),
            cluster: plan.cluster.is_some(),
            kinds,
        });
        let mut worker = Worker {
            port,
            layout: plan.cluster.clone(),
            record_from_ns: warmup_ns,
            end_ns: pass.duration.map_or(u64::MAX, |duration| warmup_ns + duration.as_nanos() as u64),
            plan,
            pass,
            shared,
            thread,
            flight,
            source,
            arrivals,
            head: None,
            left,
            reads: 0,
            late: histogram(),
            blocked_since_ns: None,
            blocked_ns: 0,
            offered: 0,
            reopen: Vec::new(),
            reopen_from_ns: 0,
            deaf_since_ns: None,
            spin_ns: 0,
        };
        let nodes = worker.layout.as_ref().map_or(1, |layout| layout.nodes.len());
        // Every node needs a connection of every thread, however few were asked for.
        for slot in 0..slots.max(nodes) {
            worker.open(slot, (slot % nodes) as u16, CONNECT_TIMEOUT, 0)?;
        }
        Ok(worker)
    }

    fn open(&mut self, slot: usize, node: u16, timeout: Duration, now_ns: u64) -> Result<(), String> {
        let endpoint = match &self.layout {
            None => self.plan.endpoint.clone(),
            Some(layout) => Endpoint::Tcp(layout.nodes[usize::from(node)]),
        };
        endpoint.check_private(self.plan.own_target)?;
        let control = self.plan.greeting.open(&endpoint, self.plan.protocol, timeout)?;
        self.port.add(slot, control.into_fd()?);
        self.flight.opened(slot, node, now_ns);
        Ok(())
    }

    fn run(mut self, epoch: Instant) -> Harvest {
        self.flight.clock = Clock { epoch };
        for line in &mut self.flight.lines {
            line.room_since_ns = 0;
        }
        let record_from_ns = self.record_from_ns;
        let drain_ns = self.plan.drain.as_nanos() as u64;
        let mut failure = None;
        // CPU time, spin time and wall time when measuring began.
        let mut began: Option<(Duration, u64, u64)> = None;
        let mut interval_at_ns = INTERVAL_NS;
        let mut now_ns = self.flight.clock.nanos();
        let mut stop_ns = self.end_ns.saturating_add(drain_ns);
        loop {
            if now_ns >= record_from_ns && began.is_none() {
                began = Some((machine::thread_cpu(), self.spin_ns, now_ns));
            }
            if self.shared.stop.load(Ordering::Relaxed) && now_ns < self.end_ns {
                self.end_ns = now_ns;
                stop_ns = now_ns.saturating_add(drain_ns);
            }
            self.reconnect(now_ns);
            let begun = self.issue(now_ns);
            self.write_back();
            if self.over(now_ns) {
                break;
            }
            if now_ns >= stop_ns {
                break;
            }
            if self.deaf(now_ns) {
                failure = Some("the target has taken no connection for 10 s".to_string());
                break;
            }
            let wait = self.wait(now_ns, begun, stop_ns);
            let events = match self.port.turn(wait, &mut self.flight) {
                Ok(events) => events,
                Err(error) => {
                    failure = Some(format!("{} failed: {error}", P::name()));
                    break;
                }
            };
            let then_ns = now_ns;
            now_ns = self.flight.clock.nanos();
            if wait == Wait::Never && events == 0 && begun == 0 {
                // A longer look at the clock was the thread being taken off its CPU, which its CPU time does not contain.
                self.spin_ns += (now_ns - then_ns).min(SPIN_LOOK_NS_MAX);
                std::hint::spin_loop();
            }
            if now_ns >= interval_at_ns {
                interval_at_ns = now_ns + INTERVAL_NS;
                self.publish_interval();
            }
            self.publish(now_ns);
        }
        self.settle(now_ns);
        let (cpu_began, spin_began, began_ns) = began.unwrap_or((machine::thread_cpu(), self.spin_ns, now_ns));
        let cpu = machine::thread_cpu() - cpu_began;
        self.publish_rest();
        self.publish(now_ns);
        Harvest {
            busy: cpu.saturating_sub(Duration::from_nanos(self.spin_ns - spin_began)),
            cpu,
            wall: Duration::from_nanos(now_ns - began_ns),
            blocked: Duration::from_nanos(self.blocked_ns),
            late: self.late,
            offered: self.offered,
            tally: self.flight.tally,
            io: P::name(),
            failure,
        }
    }

    /// Begins what is due, up to a turn's worth. Returns how many batches that was.
    fn issue(&mut self, now_ns: u64) -> u32 {
        let mut begun = self.issue_again();
        let mut blocked = false;
        self.forget_warmup(now_ns);
        while begun < BATCHES_PER_TURN_MAX && self.left > 0 {
            let intended_ns = match &self.arrivals {
                Some(arrivals) if arrivals.next_ns() >= self.end_ns || arrivals.next_ns() > now_ns => break,
                Some(arrivals) => Some(arrivals.next_ns()),
                None if now_ns >= self.end_ns => break,
                None => None,
            };
            if self.head.is_none() {
                self.head = self.source.head(self.layout.as_ref());
            }
            let Some((op, node)) = self.head else {
                // A walk is over.
                self.left = 0;
                break;
            };
            let Some(slot) = self.flight.take_room(node) else {
                blocked = intended_ns.is_some();
                break;
            };
            self.head = None;
            let sent_ns = self.flight.clock.nanos();
            let intended_ns = intended_ns.unwrap_or(sent_ns);
            self.begin(slot, node, op, intended_ns, sent_ns);
            if let Some(arrivals) = &mut self.arrivals {
                arrivals.advance();
            }
            begun += 1;
        }
        match (blocked, self.blocked_since_ns) {
            (true, None) => self.blocked_since_ns = Some(now_ns),
            (false, Some(since_ns)) => {
                self.blocked_ns += now_ns - since_ns;
                self.blocked_since_ns = None;
            }
            _ => {}
        }
        begun
    }

    /// What the warm-up could not send in its time is not sent at all: it would not be recorded, and measuring should not
    /// begin with its debts.
    fn forget_warmup(&mut self, now_ns: u64) {
        if let Some(arrivals) = &mut self.arrivals
            && now_ns >= self.record_from_ns
        {
            while arrivals.next_ns() < self.record_from_ns {
                arrivals.advance();
            }
        }
    }

    /// Encodes and sends one batch that begins with `op`.
    #[inline]
    fn begin(&mut self, slot: usize, node: u16, op: Op, intended_ns: u64, sent_ns: u64) {
        let recorded = intended_ns >= self.record_from_ns;
        let most = if recorded { u64::from(self.pass.pipeline).min(self.left) } else { u64::from(self.pass.pipeline) };
        if recorded {
            let room_ns = self.flight.lines[slot].room_since_ns;
            self.late.saturating_record(sent_ns.saturating_sub(intended_ns.max(room_ns)));
        }
        let mut count = 0;
        let mut next = Some(op);
        let line = &mut self.flight.lines[slot];
        while let Some(op) = next {
            self.plan.encoder.encode(&op, &mut line.out);
            count += 1;
            let mut check = false;
            if self.plan.verify_every > 0 {
                self.reads += 1;
                if self.reads >= self.plan.verify_every {
                    self.reads = 0;
                    check = true;
                }
            }
            next = if count < most { self.source.follow(self.layout.as_ref(), node) } else { None };
            let last = next.is_none();
            line.pending.push_back(Pending { op, intended_ns, sent_ns, check, last, phase: Phase::Whole });
        }
        line.batches += 1;
        self.flight.waiting += count;
        self.port.send(slot, &mut line.out);
        self.flight.list(slot);
        if recorded {
            self.offered += count;
            if self.left != u64::MAX {
                self.left -= count;
            }
        }
    }

    /// Sends redirected requests to where they were told to go.
    fn issue_again(&mut self) -> u32 {
        let mut begun = 0;
        for _ in 0..self.flight.again.len() {
            let Some(again) = self.flight.again.pop_front() else { break };
            let node = match self.learn(&again) {
                Ok(node) => node,
                Err(error) => {
                    self.flight.fail(&again.pending, &error);
                    continue;
                }
            };
            let Some(slot) = self.flight.take_room(node) else {
                self.flight.again.push_back(again);
                continue;
            };
            let Again { pending, there, .. } = again;
            let line = &mut self.flight.lines[slot];
            if there.once {
                line.out.extend_from_slice(b"*1\r\n$6\r\nASKING\r\n");
                line.pending.push_back(Pending { phase: Phase::Asking, last: false, ..pending });
                self.flight.waiting += 1;
            }
            if pending.phase == Phase::WriteBack {
                self.plan.encoder.write_back(pending.op.key, pending.op.size, pending.op.ttl_ms, &mut line.out);
            } else {
                self.plan.encoder.encode(&pending.op, &mut line.out);
            }
            line.pending.push_back(Pending { last: true, ..pending });
            line.batches += 1;
            self.flight.waiting += 1;
            self.port.send(slot, &mut line.out);
            self.flight.list(slot);
            begun += 1;
        }
        begun
    }

    /// Takes note of a redirection; returns the node to ask. A node never seen before gets a connection.
    fn learn(&mut self, again: &Again) -> Result<u16, String> {
        let Some(layout) = &mut self.layout else { return Err("redirected outside a cluster".to_string()) };
        let home = layout.nodes[usize::from(again.from)];
        let address = cluster::address(&again.there.host, again.there.port, home)?;
        let node = layout.node(address);
        if !again.there.once {
            layout.owner[usize::from(again.there.slot)] = node;
        }
        if !self.flight.lines.iter().any(|line| line.node == node) {
            let now_ns = self.flight.clock.nanos();
            self.open(self.flight.lines.len(), node, REOPEN_TIMEOUT, now_ns)?;
        }
        Ok(node)
    }

    /// Hands write-backs that replies led to over to the port.
    fn write_back(&mut self) {
        while let Some(slot) = self.flight.dirty.pop() {
            self.port.send(slot, &mut self.flight.lines[slot].out);
        }
    }

    fn reconnect(&mut self, now_ns: u64) {
        while let Some(slot) = self.flight.closed.pop() {
            self.reopen.push((slot, now_ns + REOPEN_NS));
        }
        if self.reopen.is_empty() {
            return;
        }
        // One at a time, because each may block: a target that hangs up on thousands must not keep this thread from the rest.
        if now_ns < self.reopen_from_ns {
            return;
        }
        let Some(index) = self.reopen.iter().position(|&(_, at_ns)| at_ns <= now_ns) else { return };
        let (slot, _) = self.reopen.swap_remove(index);
        let node = self.flight.lines[slot].node;
        let opened = self.open(slot, node, REOPEN_TIMEOUT, now_ns);
        let now_ns = self.flight.clock.nanos();
        self.reopen_from_ns = now_ns + REOPEN_GAP_NS;
        if let Err(error) = opened {
            self.flight.tally.sample(&error);
            self.reopen.push((slot, now_ns + REOPEN_NS));
        }
    }

    /// Whether everything that should start has started and ended.
    fn over(&self, now_ns: u64) -> bool {
        let scheduled = match &self.arrivals {
            Some(arrivals) => arrivals.next_ns() < self.end_ns,
            None => now_ns < self.end_ns,
        };
        (self.left == 0 || !scheduled) && self.flight.waiting == 0 && self.flight.again.is_empty()
    }

    /// Whether nobody has listened for so long that waiting makes no sense.
    fn deaf(&mut self, now_ns: u64) -> bool {
        if self.reopen.is_empty() || self.flight.any_open() {
            self.deaf_since_ns = None;
            return false;
        }
        now_ns - *self.deaf_since_ns.get_or_insert(now_ns) > DEAF_NS
    }

    #[inline]
    fn wait(&self, now_ns: u64, begun: u32, stop_ns: u64) -> Wait {
        if begun == BATCHES_PER_TURN_MAX || !self.flight.dirty.is_empty() {
            return Wait::Never;
        }
        let mut until_ns = stop_ns.min(now_ns + SLEEP_MAX.as_nanos() as u64);
        let spin_ns = self.plan.spin.as_nanos() as u64;
        if let Some(arrivals) = &self.arrivals
            && self.blocked_since_ns.is_none()
            && self.left > 0
            && arrivals.next_ns() < self.end_ns
        {
            let due_ns = arrivals.next_ns();
            if due_ns <= now_ns.saturating_add(spin_ns) {
                return Wait::Never;
            }
            until_ns = until_ns.min(due_ns - spin_ns);
        }
        if let Some(at_ns) = self.reopen.iter().map(|&(_, at_ns)| at_ns).min() {
            until_ns = until_ns.min(at_ns.max(self.reopen_from_ns));
        }
        Wait::AtMost(Duration::from_nanos(until_ns.saturating_sub(now_ns).max(1)))
    }

    /// Charges what was never answered and what was never even sent.
    fn settle(&mut self, now_ns: u64) {
        if let Some(since_ns) = self.blocked_since_ns {
            self.blocked_ns += now_ns - since_ns;
        }
        self.flight.give_up(now_ns);
        let Some(mut arrivals) = self.arrivals.take() else { return };
        while arrivals.next_ns() < self.end_ns.min(now_ns) && self.left > 0 {
            let most = u64::from(self.pass.pipeline).min(self.left);
            let recorded = arrivals.next_ns() >= self.record_from_ns;
            for _ in 0..most {
                let Some((op, _)) = self.head.take().or_else(|| self.source.head(None)) else { return };
                self.flight.unfinished(op.kind, arrivals.next_ns(), None, now_ns);
            }
            if recorded {
                self.offered += most;
                if self.left != u64::MAX {
                    self.left -= most;
                }
            }
            arrivals.advance();
        }
    }

    /// Feeds the progress line.
    #[inline]
    fn publish(&self, now_ns: u64) {
        let board = &self.shared.boards[self.thread];
        board.finished.store(self.flight.finished, Ordering::Relaxed);
        board.errors.store(self.flight.errors, Ordering::Relaxed);
        let behind_ns = match &self.arrivals {
            Some(arrivals) if arrivals.next_ns() < self.end_ns => now_ns.saturating_sub(arrivals.next_ns()),
            _ => 0,
        };
        board.behind_ns.store(behind_ns, Ordering::Relaxed);
    }

    /// Hands the last second's latencies over. Never waits: what cannot be handed over now is added to the next second.
    fn publish_interval(&mut self) {
        if let Ok(mut slot) = self.shared.boards[self.thread].interval.try_lock()
            && slot.is_none()
        {
            *slot = Some(Box::new(std::mem::replace(&mut self.flight.interval, Interval::new())));
        }
    }

    /// Hands over what is left at the end.
    fn publish_rest(&mut self) {
        if let Ok(mut slot) = self.shared.boards[self.thread].interval.lock() {
            let rest = std::mem::replace(&mut self.flight.interval, Interval::new());
            match slot.as_mut() {
                Some(waiting) => waiting.add(&rest),
                None => *slot = Some(Box::new(rest)),
            }
        }
    }
}

/// Whether this machine lets a port be opened at all.
pub(crate) fn probe<P: Port>() -> io::Result<()> {
    P::open(1, 64).map(drop)
}
