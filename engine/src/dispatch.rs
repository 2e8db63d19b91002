//! The general way of a request: whatever it is, whoever asks. The fast way in [`crate::intake`] is a shortcut through it.

use crate::connection::{Modes, Stalls};
use crate::core::Core;
use crate::executor::Job;
use crate::hold::{Request, Waiter};
use crate::intake::{Route, first_key, held_key};
use crate::log::FindingBehindParts;
use crate::parcel::{Ask, Item, Parcel, Ticket};
use crate::parking::Parked;
use crate::peers::Way;
use crate::placement::CoreId;
use crate::survey::Question;
use netio::{ConnId, Kernel};
use shards::command::{COMMANDS_BY_NUMBER, Flags, resolve};
use shards::log::Lsn;
use shards::wire::{Malformed, Proto, Reply};
use shards::{Db, Slot};

impl<K: Kernel> Core<K> {
    /// Sends one request where it belongs, and its reply, if there is one already, to `output`.
    pub(crate) fn dispatch(&mut self, id: ConnId, route: Route, request: Request, hash: u32, slot: Slot, output: &mut Vec<u8>) {
        let Some(conn) = self.connection(id) else { return };
        conn.totals.commands += 1;
        let authenticated = conn.authenticated;
        if route != Route::Unresolved {
            conn.last_command = Some(request.command);
        }
        if matches!(route, Route::Engine | Route::Everywhere | Route::Joint) {
            // What this core alone is asked is settled at once: what was answered before must already stand in front of it.
            conn.output.append(output);
        }
        self.executor.metrics.commands_total += 1;
        let command = request.command;
        if self.is_out_of_place(id, route, command) {
            return self.close(id);
        }
        let skip_before = self.connection(id).is_some_and(|conn| conn.modes.has(Modes::REPLY_SKIP));
        let mut reply = Vec::new();
        let mut until = Lsn(0);
        self.refuse(id, route, &request, slot, authenticated, &mut Reply::new(&mut reply, request.proto));
        if !reply.is_empty() {
            if route != Route::Unresolved {
                self.executor.metrics.commands[usize::from(request.command)].rejected += 1;
            }
            self.executor.metrics.count_error(&reply);
        } else {
            if self.monitored {
                self.show_monitors(id, &request);
            }
            match route {
                Route::Own => until = self.run_own_request(id, request, hash, slot, &mut reply),
                Route::Hop(to) => self.hop(id, to, request, hash, slot),
                Route::Joint => self.begin_joint(id, request),
                Route::Everywhere => self.ask_everywhere(id, request),
                Route::Engine => self.serve(id, request, &mut reply),
                Route::Unresolved | Route::Moved | Route::CrossSlot => unreachable!("refused above"),
            }
        }
        let Some(conn) = self.connection(id) else { return };
        if skip_before || conn.modes.has(Modes::REPLY_OFF) {
            reply.clear();
        }
        if skip_before {
            conn.modes.set(Modes::REPLY_SKIP, false);
        }
        if COMMANDS_BY_NUMBER[usize::from(command)].name != "asking" {
            conn.modes.set(Modes::ASKING, false);
        }
        if conn.modes.has(Modes::REPLY_SKIP_NEXT) {
            conn.modes.set(Modes::REPLY_SKIP_NEXT, false);
            conn.modes.set(Modes::REPLY_SKIP, true);
        }
        if conn.pending.is_empty() && until == Lsn(0) {
            output.extend_from_slice(&reply);
        } else if !reply.is_empty() {
            let taken = self.executor.journal.taken();
            let Some(conn) = self.connection(id) else { return };
            conn.queue_reply(until, &reply, taken);
            self.park_connection(id);
        }
    }

    /// Whether a replica says anything but how far it is: an answer would stand in the middle of its stream.
    fn is_out_of_place(&mut self, id: ConnId, route: Route, command: u16) -> bool {
        let is_replica = self.connection(id).is_some_and(|conn| conn.modes.has(Modes::REPLICA));
        let is_odd = is_replica && (route == Route::Unresolved || COMMANDS_BY_NUMBER[usize::from(command)].full_name != "replconf");
        if is_odd {
            tracing::warn!("a replica sent a command that is not for replicas; connection closed");
        }
        is_odd
    }

    /// Answers why a request is not run, if it is not.
    fn refuse(&mut self, id: ConnId, route: Route, request: &Request, slot: Slot, authenticated: bool, reply: &mut Reply<'_>) {
        if route == Route::Unresolved {
            return resolve(request.args()).refuse(request.args(), reply);
        }
        let command = COMMANDS_BY_NUMBER[usize::from(request.command)];
        if !authenticated && !command.flags.has(Flags::NO_AUTH) {
            return reply.error("NOAUTH Authentication required.");
        }
        if self.loading.is_some() && !command.flags.has(Flags::LOADING) {
            return reply.error("LOADING Corewheel is loading the dataset in memory");
        }
        match route {
            Route::CrossSlot => reply.error("CROSSSLOT Keys in request don't hash to the same slot"),
            Route::Moved => {
                let owner = self.placement.core_of(slot);
                let (host, port) = self.node_address(id, owner);
                reply.error(&format!("MOVED {} {host}:{port}", slot.0));
            }
            Route::Joint if command.flags.has(Flags::WRITE) && self.executor.journal.is_on() => {
                // Once its parts are under way it must happen on every core.
                if let Some(why) = self.executor.journal.refusal(command, request.args(), request.db) {
                    reply.raw(why);
                }
            }
            _ => {}
        }
    }

    /// Bytes that are no request: says so, closes.
    pub(crate) fn hang_up(&mut self, id: ConnId, reason: Malformed, output: &mut Vec<u8>) {
        let Some(conn) = self.connection(id) else { return };
        conn.modes.set(Modes::CLOSE_AFTER_REPLY, true);
        let mut reply = Vec::new();
        if let Some(text) = reason.text() {
            Reply::new(&mut reply, Proto::Resp2).error(&text);
        } else {
            tracing::warn!("possible cross-protocol attack: a client speaks HTTP on the Redis port; connection closed");
        }
        if conn.pending.is_empty() {
            output.extend_from_slice(&reply);
        } else {
            conn.queue_ready(&reply);
        }
        if !reply.is_empty() {
            self.executor.metrics.count_error(&reply);
        }
    }

    /// Runs it, or lets it wait for a held key. Up to where the log must be durable before the reply may leave.
    fn run_own_request(&mut self, id: ConnId, request: Request, hash: u32, slot: Slot, reply: &mut Vec<u8>) -> Lsn {
        let args = request.args();
        if let Some(held) = held_key(request.command, args, request.db, &self.executor.holds) {
            let (db, key): (Db, Box<[u8]>) = (request.db, held.into());
            let Some(conn) = self.connection(id) else { return Lsn(0) };
            let ticket = Ticket { conn: id, sequence: conn.reserve_reply() };
            self.executor.holds.wait(db, &key, Waiter::Own(ticket, hash, slot, request));
            self.stall(id, Stalls::JOINT);
            return Lsn(0);
        }
        self.execute(&request, hash, slot, reply)
    }

    /// Runs a request on this core's shard, now. Up to where the log must be durable before the reply may leave.
    pub(crate) fn execute(&mut self, request: &Request, hash: u32, slot: Slot, reply: &mut Vec<u8>) -> Lsn {
        let args = request.args();
        let job = Job {
            command: request.command,
            args,
            key: first_key(request.command, args, hash, slot),
            db: request.db,
            proto: request.proto,
            now: self.now.wall.0,
            no_touch: request.no_touch,
        };
        let Core { kernel, executor, .. } = self;
        executor.run(&job, reply, kernel.stamp_ns(), || kernel.stamp_ns());
        executor.take_depends()
    }

    fn hop(&mut self, id: ConnId, to: CoreId, request: Request, hash: u32, slot: Slot) {
        let Some(conn) = self.connection(id) else { return };
        let ticket = Ticket { conn: id, sequence: conn.reserve_reply() };
        self.executor.metrics.hops += 1;
        let Request { command, db, proto, no_touch, bytes, spans } = request;
        self.peers.outbox(to, Way::Ask).put_request(&bytes, &spans, |request, spans| Ask {
            ticket,
            command,
            proto,
            db,
            no_touch,
            hash,
            slot,
            request,
            spans,
        });
    }

    /// Takes what other cores answered.
    pub(crate) fn take_answers(&mut self) {
        while let Some((from, mut parcel)) = self.peers.next_answers() {
            let mut items = parcel.take_items();
            for item in items.drain(..) {
                match item {
                    Item::Answer { ticket, reply } => self.settle(ticket, parcel.bytes(&reply)),
                    other => self.take_item(from, other, None),
                }
            }
            self.peers.recycle(parcel, items);
        }
    }

    /// Takes what other cores ask, as long as they can be answered.
    pub(crate) fn take_asks(&mut self) {
        // What a line waits for must go on, or what waits for the line never would.
        while !self.waits_for_disk() || self.lines.is_paused() {
            let Some((from, mut parcel)) = self.peers.next_asks() else { return };
            // Another core may have seen the end of recovery earlier; what it asks for is there.
            self.load();
            let mut items = parcel.take_items();
            for item in &items {
                if let Item::Ask(ask) = item {
                    self.executor.shard.prefetch_bucket(ask.db, ask.slot, ask.hash);
                }
            }
            for item in &items {
                if let Item::Ask(ask) = item {
                    self.executor.shard.prefetch_record(ask.db, ask.slot, ask.hash);
                }
            }
            for item in items.drain(..) {
                self.take_item(from, item, Some(&parcel));
            }
            self.peers.recycle(parcel, items);
        }
    }

    /// Puts a message for a core, which may be this one.
    pub(crate) fn put(&mut self, to: CoreId, way: Way, item: Item) {
        if to == self.id { self.take_item(to, item, None) } else { self.peers.put(to, way, item) }
    }

    fn take_item(&mut self, from: CoreId, item: Item, parcel: Option<&Parcel>) {
        match item {
            Item::Ask(ask) => self.take_ask(from, ask, parcel.expect("requests travel in parcels")),
            Item::Answer { .. } => unreachable!("taken where its parcel is at hand"),
            Item::Hold(hold) => self.take_hold(*hold),
            Item::Held(held) => self.take_held(*held),
            Item::Settle(settle) => self.take_settle(*settle),
            Item::Settled { joint, reply, late } => self.take_settled(joint, from, reply, late),
            Item::Release(joint) => self.take_release(joint),
            Item::Line(step) => self.take_line(step),
            Item::Question(ticket, question) => self.take_question(from, ticket, &question),
            Item::Finding(ticket, finding) => self.take_finding(ticket, *finding),
            Item::Feed(lines) => self.take_feed(&lines),
            Item::Replica(note) => self.take_note(from, *note),
        }
    }

    fn take_ask(&mut self, from: CoreId, ask: Ask, parcel: &Parcel) {
        let args = parcel.args(&ask);
        if !self.executor.holds.is_empty() {
            let held = held_key(ask.command, args, ask.db, &self.executor.holds).map(|key| (ask.db, key));
            if let Some((db, key)) = self.executor.holds.in_the_way(from, ask.ticket.conn, held) {
                let request = Request::of(ask.command, ask.db, ask.proto, args.iter_from(0));
                let (key, request): (Box<[u8]>, _) = (key.into(), Request { no_touch: ask.no_touch, ..request });
                self.executor.holds.wait_to_answer(from, ask, db, &key, request);
                return;
            }
        }
        let key = first_key(ask.command, args, ask.hash, ask.slot);
        let job = Job { command: ask.command, args, key, db: ask.db, proto: ask.proto, now: self.now.wall.0, no_touch: ask.no_touch };
        let Core { kernel, executor, peers, parking, .. } = self;
        if executor.journal.is_on() {
            // Only when it has run is it known whether its answer must wait.
            let mut reply = Vec::new();
            executor.run(&job, &mut reply, kernel.stamp_ns(), || kernel.stamp_ns());
            let until = executor.take_depends();
            if until > Lsn(0) {
                return parking.park(until, Parked::Answer(from, ask.ticket, reply));
            }
            return peers.outbox(from, Way::Answer).put_answer(ask.ticket, |out| out.extend_from_slice(&reply));
        }
        peers.outbox(from, Way::Answer).put_answer(ask.ticket, |out| {
            executor.run(&job, out, kernel.stamp_ns(), || kernel.stamp_ns());
        });
    }

    /// Answers a question that every core is asked, when what it tells of is durable.
    pub(crate) fn take_question(&mut self, from: CoreId, ticket: Ticket, question: &Question) {
        let finding = Box::new(self.answer_question(question));
        let until = self.executor.take_depends();
        // No hold stands in the way of who looks at all keys.
        let sees_parts = matches!(question, Question::Run(..)) && self.executor.journal.ladder().parks_reads();
        if sees_parts && !self.open_parts.is_empty() {
            let parts = self.open_parts.keys().copied().collect();
            return self.findings_behind_parts.push(FindingBehindParts { parts, from, ticket, finding, until });
        }
        self.tell_finding(from, ticket, finding, until);
    }

    /// Ends a command's hold. Runs whoever waited for it, and grants the core to who wants it whole once nobody holds a key.
    pub(crate) fn wake_waiters(&mut self, joint: crate::hold::JointId) {
        for waiter in self.executor.holds.release(joint) {
            match waiter {
                Waiter::Hold(hold) => self.take_hold(*hold),
                Waiter::Own(ticket, hash, slot, request) => {
                    if let Some(held) = held_key(request.command, request.args(), request.db, &self.executor.holds) {
                        let held: Box<[u8]> = held.into();
                        self.executor.holds.wait(request.db, &held, Waiter::Own(ticket, hash, slot, request));
                        continue;
                    }
                    let mut reply = Vec::new();
                    match self.execute(&request, hash, slot, &mut reply) {
                        Lsn(0) => self.settle(ticket, &reply),
                        until => self.parking.park(until, Parked::Reply(ticket, reply)),
                    }
                    self.unstall(ticket.conn, Stalls::JOINT);
                }
                Waiter::Ask(from, ask, request) => {
                    self.executor.holds.asked_again(from, ask.ticket.conn);
                    let held = held_key(request.command, request.args(), request.db, &self.executor.holds).map(|key| (request.db, key));
                    if let Some((db, key)) = self.executor.holds.in_the_way(from, ask.ticket.conn, held) {
                        let key: Box<[u8]> = key.into();
                        self.executor.holds.wait_to_answer(from, ask, db, &key, request);
                        continue;
                    }
                    let mut reply = Vec::new();
                    match self.execute(&request, ask.hash, ask.slot, &mut reply) {
                        Lsn(0) => self.peers.outbox(from, Way::Answer).put_answer(ask.ticket, |out| out.extend_from_slice(&reply)),
                        until => self.parking.park(until, Parked::Answer(from, ask.ticket, reply)),
                    }
                }
            }
        }
        if let Some(hold) = self.executor.holds.drained() {
            self.grant(&hold);
        }
    }

    /// Gives a connection a reply it was owed.
    pub(crate) fn settle(&mut self, ticket: Ticket, reply: &[u8]) {
        let safe = self.executor.journal.safe();
        let Some(conn) = self.connection(ticket.conn) else { return };
        conn.settle_reply(ticket.sequence, reply, safe);
        self.park_connection(ticket.conn);
        let Some(conn) = self.connection(ticket.conn) else { return };
        if !conn.stalls.has(Stalls::OUTPUT) || !conn.output.is_empty() {
            self.dirty.push(ticket.conn);
        }
    }
}
