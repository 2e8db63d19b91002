//! Received bytes to requests, and requests to where they run.
//!
//! A turn's bytes are parsed first, all of them, and each request's key is hashed on the way. While they run, the buckets and
//! then the records of the requests behind are asked for, over all connections of the turn. So cache misses overlap instead
//! of waiting in line, and what was asked for is still there when its turn comes.

use crate::connection::{Connection, Modes, OUTPUT_BURST_BYTES, Stalls};
use crate::core::Core;
use crate::executor::Job;
use crate::hold::{Request, Waiter};
use crate::input::Input;
use crate::parcel::{Ask, Ticket};
use crate::peers::Way;
use crate::placement::{CoreId, Placement};
use netio::{BufferId, ConnId, Kernel};
use shards::command::{COMMANDS, COMMANDS_BY_NUMBER, Flags, Handler, Keys, Resolved, Spread, keys_of, resolve};
use shards::log::Lsn;
use shards::wire::{Args, Limits, Malformed, Parsed, Partial, Span, parse};
use shards::{Db, Key, Shard, Slot};
use std::cell::Cell;
use std::ops::Range;

/// Requests parsed of one connection in one turn. The rest waits for the next turn, so that one pipeline does not starve
/// the others.
const REQUESTS_PER_RUN_MAX: usize = 1024;

/// What arrived in a turn.
#[derive(Default)]
pub(crate) struct Batch {
    runs: Vec<Run>,
    requests: Vec<Parsee>,
    spans: Vec<Span>,
    /// Requests whose bucket, and whose record, was asked for.
    buckets_ahead: Cell<usize>,
    records_ahead: Cell<usize>,
}

/// How many requests before it runs a request's bucket is asked for, and then its record. Far enough that a miss is over in
/// time (at about 100 ns a request), near enough that what came is not pushed out of the first cache again.
const BUCKETS_AHEAD: usize = 24;
const RECORDS_AHEAD: usize = 12;

/// Consecutive bytes of one connection.
struct Run {
    conn: ConnId,
    source: Source,
    requests: Range<usize>,
    /// Bytes of whole requests; what follows is the beginning of one.
    whole_bytes: usize,
    /// What follows cannot be understood.
    malformed: Option<Malformed>,
    /// What follows is the beginning of a request, and more bytes are needed.
    incomplete: bool,
    /// How far it was understood.
    partial: Option<Box<Partial>>,
}

enum Source {
    Buffer(BufferId),
    Input(Input),
}

/// One parsed request.
struct Parsee {
    /// Its first byte in the run.
    start: usize,
    end: usize,
    spans: Range<usize>,
    route: Route,
    command: u16,
    /// Which argument is the first key, 0 if none is.
    key_index: u8,
    slot: Slot,
    hash: u32,
    /// The connection's database when it was parsed: what the prefetch goes by.
    db: Db,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// To this core's shard.
    Own,
    /// To one other core.
    Hop(CoreId),
    /// To several cores, held together; or to one, held whole.
    Joint,
    /// To every core.
    Everywhere,
    /// To the engine itself.
    Engine,
    /// To the core whose port the client should have used.
    Moved,
    /// Nowhere: its keys are in different slots, and the port is one core's own.
    CrossSlot,
    /// Nowhere: it is no command, or has too few arguments.
    Unresolved,
}

/// Why a run's loop returns to its caller, which may touch more than the loop can.
enum Pause {
    /// All requests ran.
    Done,
    /// Output should be sent first.
    Output,
    /// The next request belongs to the caller.
    Engine,
    /// The next request must wait.
    Stall(Stalls),
}

impl Batch {
    /// A buffer arrived for a connection that had nothing waiting.
    pub(crate) fn take_buffer(&mut self, conn: ConnId, buffer: BufferId) {
        self.runs.push(Run::new(conn, Source::Buffer(buffer)));
    }

    /// A connection's own input is to be run.
    pub(crate) fn take_input(&mut self, conn: ConnId, input: Input) {
        self.runs.push(Run::new(conn, Source::Input(input)));
    }

    /// Parses everything taken.
    pub(crate) fn parse<K: Kernel>(&mut self, core: &mut Core<K>) {
        for index in 0..self.runs.len() {
            let mut run =
                std::mem::replace(&mut self.runs[index], Run::new(ConnId { index: 0, generation: 0 }, Source::Input(Input::default())));
            self.parse_run(core, &mut run);
            self.runs[index] = run;
        }
    }

    fn parse_run<K: Kernel>(&mut self, core: &mut Core<K>, run: &mut Run) {
        run.requests = self.requests.len()..self.requests.len();
        let Core { connections, kernel, executor, placement, id, .. } = core;
        let Some(conn) =
            connections.get_mut(run.conn.index as usize).and_then(|slot| slot.as_deref_mut()).filter(|conn| conn.id == run.conn)
        else {
            return;
        };
        let mut limits = if conn.authenticated { Limits::OPEN } else { Limits::UNAUTHENTICATED };
        limits.bulk_bytes_max = limits.bulk_bytes_max.min(executor.settings.bulk_bytes_max);
        let mut router = Router { placement: *placement, me: *id, moved: conn.modes.has(Modes::CLUSTER_PORT), last: None };
        let mut partial = conn.partial.take();
        // What an unknown client sends after AUTH must be judged after AUTH has run.
        let requests_max = if conn.authenticated { REQUESTS_PER_RUN_MAX } else { 1 };
        if let Source::Buffer(buffer) = run.source
            && let Some((bytes, requests)) = Run::inline_requests(kernel.bytes(buffer), &limits, requests_max)
        {
            let mut rest = Input::of(kernel.bytes(buffer)[bytes..].to_vec());
            rest.extend(conn.input.as_slice());
            conn.input = rest;
            kernel.release(buffer);
            run.source = Source::Input(Input::of(requests));
        } else if partial.is_none()
            && let Source::Input(input) = &mut run.source
            && let Some((bytes, requests)) = Run::inline_requests(input.as_slice(), &limits, requests_max)
        {
            input.consume(bytes);
            conn.input = std::mem::take(input);
            run.source = Source::Input(Input::of(requests));
        }
        let bytes: &[u8] = match &run.source {
            Source::Buffer(buffer) => kernel.bytes(*buffer),
            Source::Input(input) => input.as_slice(),
        };
        let mut at = 0;
        while at < bytes.len() && self.requests.len() - run.requests.start < requests_max {
            let spans_from = self.spans.len();
            let parsed = match &mut partial {
                Some(begun) => {
                    let parsed = begun.advance(bytes, &limits);
                    if matches!(parsed, Parsed::Request { .. }) {
                        self.spans.extend_from_slice(&begun.spans);
                    }
                    parsed
                }
                None => parse(&bytes[at..], &limits, &mut self.spans),
            };
            match parsed {
                Parsed::Request { bytes: length } => {
                    partial = None;
                    let request = &bytes[at..at + length];
                    let Span { start, len } = self.spans[spans_from];
                    let name = &request[start as usize..][..len as usize];
                    let mut parsee = router.route(name, Args::new(request, &self.spans[spans_from..]), &executor.shard);
                    parsee.db = conn.db;
                    parsee.start = at;
                    parsee.end = at + length;
                    parsee.spans = spans_from..self.spans.len();
                    self.requests.push(parsee);
                    at += length;
                }
                Parsed::Nothing { bytes: length } => {
                    partial = None;
                    at += length;
                }
                Parsed::Inline { .. } => break,
                Parsed::Incomplete => {
                    run.incomplete = true;
                    if partial.is_none() && bytes[at] == b'*' {
                        let mut begun = Box::<Partial>::default();
                        // Understood up to here once, so that the rest of a long request is not read again and again.
                        let _ = begun.advance(&bytes[at..], &limits);
                        partial = Some(begun);
                    }
                    break;
                }
                Parsed::Malformed(reason) => {
                    run.malformed = Some(reason);
                    break;
                }
            }
        }
        run.requests.end = self.requests.len();
        run.whole_bytes = at;
        run.partial = partial;
    }

    /// Runs everything parsed.
    pub(crate) fn run<K: Kernel>(&mut self, core: &mut Core<K>) {
        let mut runs = std::mem::take(&mut self.runs);
        for run in runs.drain(..) {
            self.run_one(core, run);
        }
        self.runs = runs;
        self.requests.clear();
        self.spans.clear();
        self.buckets_ahead.set(0);
        self.records_ahead.set(0);
    }

    fn run_one<K: Kernel>(&self, core: &mut Core<K>, mut run: Run) {
        let id = run.conn;
        if let Some(conn) = core.connection(id) {
            conn.queued = false;
        }
        let mut output = std::mem::take(&mut core.output);
        let mut next = run.requests.start;
        let mut stamp_ns = core.kernel.stamp_ns();
        let mut blocked = core.connection(id).is_none_or(|conn| conn.stalls.any());
        while !blocked {
            match self.run_own(core, &run, &mut next, &mut output, &mut stamp_ns) {
                Pause::Done => break,
                Pause::Output => core.flush(id, &mut output),
                Pause::Stall(reason) => core.stall(id, reason),
                Pause::Engine => {
                    let request = self.request(core, &run, next);
                    let Parsee { route, hash, slot, .. } = self.requests[next];
                    next += 1;
                    core.dispatch(id, route, request, hash, slot, &mut output);
                    if core.connection(id).is_some_and(|conn| conn.output.len() + output.len() >= OUTPUT_BURST_BYTES) {
                        core.flush(id, &mut output);
                    }
                    stamp_ns = core.kernel.stamp_ns();
                }
            }
            blocked = core.connection(id).is_none_or(|conn| conn.stalls.any() || conn.modes.has(Modes::CLOSE_AFTER_REPLY));
        }
        if next == run.requests.end
            && !blocked
            && let Some(reason) = run.malformed
        {
            core.hang_up(id, reason, &mut output);
        }
        let from = if next == run.requests.end { run.whole_bytes } else { self.requests[next].start };
        let all_ran = next == run.requests.end;
        self.keep_rest(core, &mut run, from, all_ran);
        core.flush(id, &mut output);
        core.close_if_finished(id);
        output.clear();
        core.output = output;
    }

    /// Keeps what was not run, and gives the buffer back.
    fn keep_rest<K: Kernel>(&self, core: &mut Core<K>, run: &mut Run, from: usize, all_ran: bool) {
        let id = run.conn;
        let Core { connections, kernel, ready, .. } = core;
        let conn = connections.get_mut(id.index as usize).and_then(|slot| slot.as_deref_mut()).filter(|conn| conn.id == id);
        if let Some(conn) = conn
            && !conn.modes.has(Modes::CLOSE_AFTER_REPLY)
        {
            if all_ran {
                conn.partial = run.partial.take();
            }
            let mut rest = match &mut run.source {
                Source::Buffer(buffer) => Input::of(kernel.bytes(*buffer)[from..].to_vec()),
                Source::Input(input) => {
                    input.consume(from);
                    std::mem::take(input)
                }
            };
            conn.input_bytes_wanted = conn.partial.as_ref().map_or(0, |partial| rest.len() + partial.missing_bytes_min(rest.as_slice()));
            // Bytes that came later in this turn are behind those that were not run.
            let more_came = !conn.input.is_empty();
            if !rest.is_empty() {
                rest.extend(conn.input.as_slice());
                conn.input = rest;
            }
            if !conn.stalls.any() {
                let waits = conn.input.is_empty() || (all_ran && run.incomplete && !more_came);
                if !waits {
                    ready.push(id);
                }
                // Nothing more can be run without more bytes, or most of what had piled up was run.
                if conn.paused && (waits || conn.input.len() <= conn.input_bytes_piled_max()) {
                    conn.paused = false;
                    kernel.resume_receive(id);
                }
            }
        }
        if let Source::Buffer(buffer) = run.source {
            core.kernel.release(buffer);
        }
    }

    /// Runs requests while they are this core's own or one hop away; everything else is the caller's.
    fn run_own<K: Kernel>(&self, core: &mut Core<K>, run: &Run, next: &mut usize, output: &mut Vec<u8>, stamp_ns: &mut u64) -> Pause {
        let now = core.now.wall.0;
        // Somebody has to look at every request: those who watch, or whoever says that nothing is served yet.
        let observed = core.monitored || core.loading.is_some();
        let Core { connections, kernel, executor, peers, pause, parking, .. } = core;
        let Some(conn) = connections.get_mut(run.conn.index as usize).and_then(|slot| slot.as_deref_mut()) else { return Pause::Done };
        let bytes: &[u8] = match &run.source {
            Source::Buffer(buffer) => kernel.bytes(*buffer),
            Source::Input(input) => input.as_slice(),
        };
        let plain = conn.authenticated && !observed && pause.is_none() && !conn.modes.has(Modes::PER_REQUEST);
        let first = *next;
        let mut disk_is_behind = false;
        let paused = loop {
            if *next == run.requests.end {
                break Pause::Done;
            }
            self.look_ahead(&executor.shard, *next);
            let request = &self.requests[*next];
            if let Route::Hop(to) = request.route
                && (peers.is_congested(to) || !conn.window_is_open())
            {
                executor.metrics.lane_pushbacks += 1;
                break Pause::Stall(Stalls::LANE);
            }
            if !plain || !matches!(request.route, Route::Own | Route::Hop(_)) {
                // The slow way asks every question; most connections never see it.
                match conn.gate(request.route, request.command, pause.as_ref(), observed) {
                    Gate::Engine => break Pause::Engine,
                    Gate::Stall(reason) => break Pause::Stall(reason),
                    Gate::Open => {}
                }
            }
            let spans = &self.spans[request.spans.clone()];
            let args = Args::new(&bytes[request.start..request.end], spans);
            match request.route {
                Route::Own => {
                    let bytes_of_key = if request.key_index == 0 { b"" } else { args.get(usize::from(request.key_index)) };
                    let key = Key { bytes: bytes_of_key, hash: request.hash, slot: request.slot };
                    if !executor.holds.is_empty()
                        && let Some(held) = held_key(request.command, args, conn.db, &executor.holds)
                    {
                        let ticket = Ticket { conn: conn.id, sequence: conn.reserve_reply() };
                        let own = Request {
                            command: request.command,
                            db: conn.db,
                            proto: conn.proto,
                            no_touch: conn.modes.has(Modes::NO_TOUCH),
                            bytes: bytes[request.start..request.end].to_vec(),
                            spans: spans.to_vec(),
                        };
                        executor.holds.wait(conn.db, held, Waiter::Own(ticket, request.hash, request.slot, own));
                        *next += 1;
                        // What follows must see its effect, also on those of its keys that nobody holds.
                        break Pause::Stall(Stalls::JOINT);
                    }
                    let no_touch = conn.modes.has(Modes::NO_TOUCH);
                    let job = Job { command: request.command, args, key, db: conn.db, proto: conn.proto, now, no_touch };
                    let from = output.len();
                    let noted = executor.slowlog.noted();
                    *stamp_ns = executor.run(&job, output, *stamp_ns, || kernel.stamp_ns());
                    if executor.slowlog.noted() != noted {
                        note_client(executor, kernel, conn);
                    }
                    if executor.depends != Lsn(0) || !conn.pending.is_empty() {
                        conn.queue_reply(executor.take_depends(), &output[from..], executor.journal.taken());
                        output.truncate(from);
                        parking.park_connection(conn);
                        disk_is_behind = executor.journal.is_full();
                    }
                }
                Route::Hop(to) => {
                    executor.metrics.hops += 1;
                    let ticket = Ticket { conn: conn.id, sequence: conn.reserve_reply() };
                    peers.outbox(to, Way::Ask).put_request(&bytes[request.start..request.end], spans, |at, spans| Ask {
                        ticket,
                        command: request.command,
                        proto: conn.proto,
                        db: conn.db,
                        no_touch: conn.modes.has(Modes::NO_TOUCH),
                        hash: request.hash,
                        slot: request.slot,
                        request: at,
                        spans,
                    });
                }
                _ => unreachable!("the gate sends everything else to the caller"),
            }
            *next += 1;
            if conn.pending_bytes >= OUTPUT_BURST_BYTES || disk_is_behind {
                break Pause::Stall(Stalls::LANE);
            }
            if output.len() >= OUTPUT_BURST_BYTES {
                break Pause::Output;
            }
        };
        let ran = (*next - first) as u64;
        if ran > 0 {
            conn.totals.commands += ran;
            conn.last_command = Some(self.requests[*next - 1].command);
            executor.metrics.commands_total += ran;
        }
        paused
    }

    /// Asks for the cache lines of requests soon to run, of this connection or of the next ones.
    #[inline]
    fn look_ahead(&self, shard: &Shard, next: usize) {
        let ahead = |done: &Cell<usize>, distance: usize| {
            let (from, to) = (done.get(), (next + distance).min(self.requests.len()));
            done.set(to.max(from));
            self.requests.get(from..to).unwrap_or_default().iter().filter(|request| request.route == Route::Own)
        };
        for request in ahead(&self.buckets_ahead, BUCKETS_AHEAD) {
            shard.prefetch_bucket(request.db, request.slot, request.hash);
        }
        for request in ahead(&self.records_ahead, RECORDS_AHEAD) {
            shard.prefetch_record(request.db, request.slot, request.hash);
        }
    }

    fn request<K: Kernel>(&self, core: &Core<K>, run: &Run, index: usize) -> Request {
        let request = &self.requests[index];
        let bytes: &[u8] = match &run.source {
            Source::Buffer(buffer) => core.kernel.bytes(*buffer),
            Source::Input(input) => input.as_slice(),
        };
        let (db, proto, no_touch) = core.connections[run.conn.index as usize]
            .as_deref()
            .map_or_else(Default::default, |conn| (conn.db, conn.proto, conn.modes.has(Modes::NO_TOUCH)));
        Request {
            command: request.command,
            db,
            proto,
            no_touch,
            bytes: bytes[request.start..request.end].to_vec(),
            spans: self.spans[request.spans.clone()].to_vec(),
        }
    }
}

impl Run {
    fn new(conn: ConnId, source: Source) -> Run {
        Run { conn, source, requests: 0..0, whole_bytes: 0, malformed: None, incomplete: false, partial: None }
    }

    /// Inline commands at the beginning of `bytes` in array form, and how many bytes they were; `None` if there are none.
    /// Arrays behind them end it, as they end a run the other way round.
    fn inline_requests(bytes: &[u8], limits: &Limits, requests_max: usize) -> Option<(usize, Vec<u8>)> {
        if bytes.first().is_none_or(|first| *first == b'*') {
            return None;
        }
        let (mut at, mut requests, mut spans) = (0, Vec::new(), Vec::new());
        for _ in 0..requests_max {
            match parse(&bytes[at..], limits, &mut spans) {
                Parsed::Inline { bytes: length, request } => {
                    requests.extend_from_slice(&request);
                    at += length;
                }
                Parsed::Nothing { bytes: length } => at += length,
                Parsed::Request { .. } | Parsed::Incomplete | Parsed::Malformed(_) => break,
            }
        }
        (at > 0).then_some((at, requests))
    }
}

/// The first key of a request that was hashed before.
#[inline]
pub(crate) fn first_key<'a>(command: u16, args: Args<'a>, hash: u32, slot: Slot) -> Key<'a> {
    let index = keys_of(COMMANDS_BY_NUMBER[usize::from(command)], args).next();
    Key { bytes: index.map_or(b"", |index| args.get(index)), hash, slot }
}

/// What decides where requests of one connection go.
struct Router<'a> {
    placement: Placement,
    me: CoreId,
    /// The connection came through this core's own port.
    moved: bool,
    /// The last command that was found by its name alone: pipelines repeat theirs.
    last: Option<(&'a [u8], usize, u16)>,
}

impl<'a> Router<'a> {
    #[inline]
    fn resolve(&mut self, name: &'a [u8], args: Args<'_>) -> Option<u16> {
        if let Some((last, args_len, number)) = self.last
            && args.len() == args_len
            && name == last
        {
            return Some(number);
        }
        let Resolved::Command(number) = resolve(args) else { return None };
        if COMMANDS.get(usize::from(number)).is_some_and(|command| command.subcommands.is_empty()) {
            self.last = Some((name, args.len(), number));
        }
        Some(number)
    }

    #[inline]
    fn route(&mut self, name: &'a [u8], args: Args<'_>, shard: &shards::Shard) -> Parsee {
        let mut parsee =
            Parsee { start: 0, end: 0, spans: 0..0, route: Route::Unresolved, command: 0, key_index: 0, slot: Slot(0), hash: 0, db: Db(0) };
        let Some(number) = self.resolve(name, args) else { return parsee };
        parsee.command = number;
        let command = COMMANDS_BY_NUMBER[usize::from(number)];
        if !matches!(command.handler, Handler::Shard(_)) {
            parsee.route = Route::Engine;
            return parsee;
        }
        if command.spread == Spread::Everywhere {
            parsee.route = match (self.placement.core_count(), command.flags.has(Flags::WRITE)) {
                (1, _) => Route::Own,
                // Nobody may see it half done, nor may it fall between the parts of another.
                (_, true) => Route::Joint,
                // Through a core's own port a client sees a node, and asks every node itself.
                (_, false) if self.moved => Route::Own,
                (_, false) => Route::Everywhere,
            };
            return parsee;
        }
        let mut keys = keys_of(command, args);
        let Some(first) = keys.next() else {
            parsee.route = Route::Own;
            return parsee;
        };
        let key = shard.key(args.get(first));
        (parsee.hash, parsee.slot, parsee.key_index) = (key.hash, key.slot, first as u8);
        if self.placement.core_count() == 1 && !self.moved {
            parsee.route = Route::Own;
            return parsee;
        }
        let owner = self.placement.core_of(key.slot);
        let mut same_core = true;
        let mut same_slot = true;
        let mut last = first;
        for index in keys {
            last = index;
            let slot = Slot::of(args.get(index));
            same_slot &= slot == key.slot;
            same_core &= self.placement.core_of(slot) == owner;
        }
        let step = if let Keys::Range { step, .. } = command.keys { step as usize } else { 1 };
        parsee.route = match (self.moved, same_slot, same_core, owner == self.me) {
            (true, false, _, _) => Route::CrossSlot,
            (true, true, _, false) => Route::Moved,
            (_, _, true, true) => Route::Own,
            (_, _, true, false) => Route::Hop(owner),
            // A key without its value (`MSET a 1 b`) is refused by the command itself, before it looks at any key.
            (_, _, false, _) if last + step > args.len() => Route::Own,
            (_, _, false, _) => Route::Joint,
        };
        parsee
    }
}

/// What the slow way says to a request.
enum Gate {
    Open,
    Engine,
    Stall(Stalls),
}

impl Connection {
    fn gate(&self, route: Route, command: u16, pause: Option<&crate::core::Pause>, observed: bool) -> Gate {
        if matches!(route, Route::Engine | Route::Unresolved | Route::Moved | Route::CrossSlot) || !self.authenticated {
            return Gate::Engine;
        }
        let flags = COMMANDS_BY_NUMBER[usize::from(command)].flags;
        if let Some(pause) = pause
            && (!pause.writes_only || flags.has(Flags::WRITE))
        {
            return Gate::Stall(Stalls::PAUSE);
        }
        if observed || self.modes.has(Modes::PER_REQUEST) || !matches!(route, Route::Own | Route::Hop(_)) {
            Gate::Engine
        } else {
            Gate::Open
        }
    }
}

/// The first key of a request that somebody holds.
pub(crate) fn held_key<'a>(command: u16, args: Args<'a>, db: Db, holds: &crate::hold::Holds) -> Option<&'a [u8]> {
    keys_of(COMMANDS_BY_NUMBER[usize::from(command)], args).map(|index| args.get(index)).find(|key| holds.is_held(db, key))
}

/// Adds to the newest slow request whose it was.
#[cold]
pub(crate) fn note_client<K: Kernel>(executor: &mut crate::executor::Executor, kernel: &K, conn: &Connection) {
    if let Some(slow) = executor.slowlog.newest() {
        slow.client_addr = kernel.peer_addr(conn.id).map_or_else(String::new, |addr| addr.to_string());
        slow.client_name = conn.names.as_ref().map_or_else(String::new, |names| names.name.clone());
    }
}
