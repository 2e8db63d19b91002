//! Commands whose keys live on several cores: who coordinates them, and how.
//!
//! The core where the command arrived holds all its keys (see [`crate::hold`]), does the work, and lets go. Three kinds of
//! work: each core does its own keys and the replies are joined (`MGET`, `DEL`, `MSET`); or each core does the whole command on
//! all it has (`FLUSHALL`, `SWAPDB`); or the records are brought here, the command runs on a scratch shard, and what it changed
//! is sent back (`RENAME`, `BITOP`, anything). The last is slow and always right, so every command on keys has it.
//!
//! While one is under way its connection runs nothing else: what follows must see its effect. Where there is a log, each core logs
//! its part with the names of all that have one; see [`crate::hold`] for how long the keys are held then.

use crate::connection::{Modes, Stalls};
use crate::core::Core;
use crate::durability::Level;
use crate::executor::{Executor, Job, OUT_OF_MEMORY};
use crate::hold::{DbKey, Extent, Held, Hold, HoldOutcome, JointId, Look, Replacement, Request, Settle, Sight, Work};
use crate::journal::{DISK_FULL, Journal, PartTag};
use crate::parcel::{Item, Ticket};
use crate::parking::Parked;
use crate::peers::Way;
use crate::placement::CoreId;
use crate::planted::{Bug, planted};
use netio::{ConnId, Kernel};
use shards::command::{COMMANDS_BY_NUMBER, Command, Flags, Spread, keys_of};
use shards::log::{Lsn, PartMode};
use shards::wire::{Args, Proto, Reply};
use shards::{Db, Key, KeySeed, Shard, ShardConfig};
use std::sync::Arc;

/// A command on several cores, at the core that coordinates it.
pub(crate) struct Joint {
    ticket: Ticket,
    request: Request,
    parts: Vec<Part>,
    phase: Phase,
    now: u64,
    /// Cores whose parts the log keeps together; none if it need not.
    logged: Arc<[CoreId]>,
    /// A crash that leaves only some of the parts ends the streams there.
    cut: bool,
    /// The reply waits for the next line.
    late: bool,
}

/// What one core has to do with it.
struct Part {
    core: CoreId,
    /// The keys, without repeats; none if the command is on everything.
    keys: Vec<DbKey>,
    /// Their positions among the command's keys, repeats included.
    positions: Vec<usize>,
    outcome: Option<HoldOutcome>,
    reply: Option<Vec<u8>>,
    settles: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// All cores were asked at once.
    Trying,
    /// One core after the other is asked, and waits; this one now.
    Ordering(usize),
    /// The work is being done.
    Settling,
}

impl<K: Kernel> Core<K> {
    /// Begins a command whose keys live on several cores.
    pub(crate) fn begin_joint(&mut self, id: ConnId, request: Request) {
        let Some(conn) = self.connection(id) else { return };
        let ticket = Ticket { conn: id, sequence: conn.reserve_reply() };
        let parts = match COMMANDS_BY_NUMBER[usize::from(request.command)].spread {
            // Through a core's own port a client sees a node, and asks every node itself.
            Spread::Everywhere if conn.modes.has(Modes::CLUSTER_PORT) => vec![Part::of(self.id)],
            Spread::Everywhere => self.placement.cores().map(Part::of).collect(),
            _ => self.parts_of(&request),
        };
        self.stall(id, Stalls::JOINT);
        self.executor.metrics.joints += 1;
        let number = self.joint_next;
        self.joint_next += 1;
        let now = self.now_ms();
        let cores: Vec<CoreId> = parts.iter().map(|part| part.core).collect();
        self.joints
            .insert(number, Joint { ticket, request, parts, phase: Phase::Trying, now, logged: Arc::new([]), cut: false, late: false });
        for (index, core) in cores.into_iter().enumerate() {
            self.ask_hold(number, index, core, false);
        }
    }

    fn parts_of(&self, request: &Request) -> Vec<Part> {
        let command = COMMANDS_BY_NUMBER[usize::from(request.command)];
        let mut parts: Vec<Part> = Vec::new();
        for (position, (db, key)) in keys_with_db(command, request, self.executor.settings.db_count).into_iter().enumerate() {
            let core = self.placement.core_of(shards::Slot::of(&key));
            let index = match parts.binary_search_by_key(&core, |part| part.core) {
                Ok(index) => index,
                Err(index) => {
                    parts.insert(index, Part::of(core));
                    index
                }
            };
            parts[index].positions.push(position);
            let entry = (db, key.into_boxed_slice());
            if !parts[index].keys.contains(&entry) {
                parts[index].keys.push(entry);
            }
        }
        parts
    }

    fn ask_hold(&mut self, number: u64, index: usize, core: CoreId, wait: bool) {
        let Some(joint) = self.joints.get(&number) else { return };
        let command = COMMANDS_BY_NUMBER[usize::from(joint.request.command)];
        let part = &joint.parts[index];
        let look = match command.spread {
            Spread::Sum | Spread::Gather if !command.flags.has(Flags::WRITE) => Look::Reply(joint.part_request(index)),
            Spread::Sum | Spread::Gather | Spread::Each | Spread::Everywhere => Look::Nothing,
            _ => Look::Records(part.keys.clone()),
        };
        let hold = Hold {
            joint: JointId { core: self.id, number },
            extent: if command.spread == Spread::Everywhere { Extent::Whole } else { Extent::Keys(part.keys.clone()) },
            wait,
            room: command.flags.has(Flags::DENYOOM),
            write: command.flags.has(Flags::WRITE),
            look,
            now: joint.now,
        };
        self.put(core, Way::Ask, Item::Hold(Box::new(hold)));
    }

    /// Another core's command wants keys of this one, or all of it.
    pub(crate) fn take_hold(&mut self, hold: Hold) {
        match self.executor.holds.hold(hold.joint, &hold.extent) {
            Ok(()) => self.grant(&hold),
            Err(busy) if hold.wait => self.executor.holds.wait_to_hold(&busy, hold),
            Err(_) => self.answer_hold(hold.joint, HoldOutcome::Busy, Lsn(0)),
        }
    }

    /// A command holds what it wanted here: looks for it, or lets go if there is no room for its write.
    pub(crate) fn grant(&mut self, hold: &Hold) {
        if hold.write && self.executor.journal.is_on() && self.executor.journal.refuses_all() {
            self.wake_waiters(hold.joint);
            return self.answer_hold(hold.joint, HoldOutcome::NoDisk, Lsn(0));
        }
        let has_room = !hold.room || self.executor.shard.make_room(hold.now);
        if hold.room {
            self.executor.tell_removed(hold.now.max(self.now_ms()));
        }
        if !has_room {
            self.wake_waiters(hold.joint);
            return self.answer_hold(hold.joint, HoldOutcome::NoRoom, Lsn(0));
        }
        let (sight, until) = self.look(hold);
        self.answer_hold(hold.joint, HoldOutcome::Granted(sight), until);
    }

    fn answer_hold(&mut self, joint: JointId, outcome: HoldOutcome, until: Lsn) {
        let held = Box::new(Held { joint, core: self.id, outcome });
        if until > Lsn(0) {
            // What it shows may end up in another core's log, which must not be ahead of this one.
            return self.parking.park(until, Parked::Held(held));
        }
        self.put(joint.core, Way::Answer, Item::Held(held));
    }

    /// What was asked for, and up to where the log must be durable before it may be shown.
    fn look(&mut self, hold: &Hold) -> (Sight, Lsn) {
        match &hold.look {
            Look::Nothing => (Sight::Nothing, Lsn(0)),
            Look::Reply(request) => {
                let reply = self.run_part(request, hold.now);
                (Sight::Reply(reply), self.executor.take_depends())
            }
            Look::Records(keys) => {
                let Executor { shard, journal, .. } = &self.executor;
                let fresh = |(db, key): &DbKey| journal.park_until(journal.ladder().level(*db), journal.fresh_of(&shard.key(key)));
                let until = keys.iter().map(fresh).max().unwrap_or_default();
                (Sight::Records(keys.iter().map(|(db, key)| shard.export(*db, &shard.key(key), hold.now)).collect()), until)
            }
        }
    }

    /// Runs a request of one core's keys, or of all it has. What its reply depends on is the executor's to say.
    fn run_part(&mut self, request: &Request, now: u64) -> Vec<u8> {
        let now = now.max(self.now_ms());
        let mut reply = Vec::new();
        let args = request.args();
        let key = first_key_hashed(request.command, args, &self.executor.shard);
        let job = Job { command: request.command, args, key, db: request.db, proto: request.proto, now, no_touch: request.no_touch };
        let Core { kernel, executor, .. } = self;
        executor.run(&job, &mut reply, kernel.stamp_ns(), || kernel.stamp_ns());
        reply
    }

    /// A core says whether it holds its keys.
    pub(crate) fn take_held(&mut self, held: Held) {
        let number = held.joint.number;
        let joint = self.joints.get_mut(&number).expect("a hold is answered before its command ends");
        let index = joint.parts.iter().position(|part| part.core == held.core).expect("only parts are asked");
        joint.parts[index].outcome = Some(held.outcome);
        match joint.phase {
            Phase::Trying => {
                if joint.parts.iter().any(|part| part.outcome.is_none()) {
                    return;
                }
                if let Some(why) = joint.refusal() {
                    self.give_up(number, why);
                } else if joint.any(|outcome| matches!(outcome, HoldOutcome::Busy)) {
                    self.executor.metrics.joints_ordered += 1;
                    self.let_go(number);
                    self.order(number, 0);
                } else {
                    self.work(number);
                }
            }
            Phase::Ordering(at) => {
                assert_eq!(at, index, "one core is asked at a time");
                if let Some(why) = joint.refusal() {
                    self.give_up(number, why);
                } else if index + 1 < joint.parts.len() {
                    self.order(number, index + 1);
                } else {
                    self.work(number);
                }
            }
            Phase::Settling => unreachable!("all holds are answered before the work begins"),
        }
    }

    fn order(&mut self, number: u64, index: usize) {
        let joint = self.joints.get_mut(&number).expect("under way");
        joint.phase = Phase::Ordering(index);
        let core = joint.parts[index].core;
        self.ask_hold(number, index, core, true);
    }

    /// Lets go of what is held, with nothing done.
    fn let_go(&mut self, number: u64) {
        let joint = self.joints.get_mut(&number).expect("under way");
        let now = joint.now;
        let mut held = Vec::new();
        for part in &mut joint.parts {
            if matches!(part.outcome.take(), Some(HoldOutcome::Granted(_))) {
                held.push(part.core);
            }
        }
        for core in held {
            let settle = Settle { joint: JointId { core: self.id, number }, work: Work::Nothing, cores: 0, part: None, now };
            self.put(core, Way::Ask, Item::Settle(Box::new(settle)));
        }
    }

    fn give_up(&mut self, number: u64, why: &'static [u8]) {
        self.let_go(number);
        self.executor.metrics.count_error(why);
        self.finish(number, why.to_vec());
    }

    /// All keys are held: does the work.
    fn work(&mut self, number: u64) {
        let joint = self.joints.get_mut(&number).expect("under way");
        joint.phase = Phase::Settling;
        let command = COMMANDS_BY_NUMBER[usize::from(joint.request.command)];
        match command.spread {
            Spread::Sum | Spread::Gather if !command.flags.has(Flags::WRITE) => {
                for part in &mut joint.parts {
                    if let Some(HoldOutcome::Granted(Sight::Reply(reply))) = &mut part.outcome {
                        part.reply = Some(std::mem::take(reply));
                    }
                }
                let reply = joint.join(command);
                self.let_go(number);
                self.finish(number, reply);
            }
            Spread::Sum | Spread::Gather | Spread::Each | Spread::Everywhere => {
                let works = (0..joint.parts.len()).map(|index| Work::Run(joint.part_request(index))).collect();
                self.settle_parts(number, works);
            }
            _ => self.work_on_scratch(number),
        }
    }

    /// Brings the records here, runs the command on them, sends back what changed.
    fn work_on_scratch(&mut self, number: u64) {
        let config =
            ShardConfig { key_seed: KeySeed::new(self.shared.key_seed), chance_seed: 0, db_count: self.executor.settings.db_count };
        let mut scratch = self.scratch_shard.take().unwrap_or_else(|| Shard::new(config));
        scratch.set_pack_limits(self.executor.settings.pack_limits);
        let joint = self.joints.get_mut(&number).expect("under way");
        let now = joint.now;
        let mut before = Vec::new();
        for part in &mut joint.parts {
            let Some(HoldOutcome::Granted(Sight::Records(records))) = &mut part.outcome else { unreachable!("records were asked for") };
            for ((db, key), record) in part.keys.iter().zip(std::mem::take(records)) {
                if let Some(bytes) = &record {
                    scratch.import(*db, &scratch.key(key), bytes, now).expect("another core of this process gives records");
                }
                let kept = scratch.export(*db, &scratch.key(key), now);
                before.push((*db, key.clone(), kept));
            }
        }
        let command = COMMANDS_BY_NUMBER[usize::from(joint.request.command)];
        let args = joint.request.args();
        let job = Job {
            command: joint.request.command,
            args,
            key: first_key_hashed(joint.request.command, args, &scratch),
            db: joint.request.db,
            proto: joint.request.proto,
            now,
            no_touch: joint.request.no_touch,
        };
        let mut reply = Vec::new();
        std::mem::swap(&mut scratch, &mut self.executor.shard);
        let Core { kernel, executor, .. } = self;
        // What it changes here is nobody's; each core logs what it is sent back.
        executor.journal.mute(true);
        executor.effects.mute(true);
        executor.run(&job, &mut reply, kernel.stamp_ns(), || kernel.stamp_ns());
        executor.journal.mute(false);
        executor.effects.mute(false);
        std::mem::swap(&mut scratch, &mut self.executor.shard);

        let joint = self.joints.get_mut(&number).expect("under way");
        let mut works: Vec<Work> = joint.parts.iter().map(|_| Work::Nothing).collect();
        for (db, key, was) in before {
            let hashed = scratch.key(&key);
            let is = scratch.export(db, &hashed, now);
            scratch.delete(db, &hashed, now);
            if is == was || !command.flags.has(Flags::WRITE) {
                continue;
            }
            let index = joint.parts.iter().position(|part| part.keys.contains(&(db, key.clone()))).expect("every key is of a part");
            match &mut works[index] {
                Work::Store(records) => records.push((db, key, is)),
                work => *work = Work::Store(vec![(db, key, is)]),
            }
        }
        for (index, part) in joint.parts.iter_mut().enumerate() {
            part.reply = (index == 0).then(|| std::mem::take(&mut reply));
        }
        // What was large here is taken apart now: nobody ticks this shard.
        scratch.tick(now, usize::MAX);
        self.scratch_shard = Some(scratch);
        self.settle_parts(number, works);
    }

    pub(crate) fn settle_parts(&mut self, number: u64, works: Vec<Work>) {
        let joint = self.joints.get_mut(&number).expect("under way");
        let now = joint.now;
        let cores: Vec<CoreId> = joint.parts.iter().map(|part| part.core).collect();
        let count = cores.len();
        for (part, work) in joint.parts.iter_mut().zip(&works) {
            part.settles = !matches!(work, Work::Nothing);
        }
        let id = JointId { core: self.id, number };
        let part = self.part_tag(id);
        let mut works = works;
        if part.as_ref().is_some_and(|part| part.mode == PartMode::Cut) {
            let Some(begun) = self.begin_cut(number, works) else { return };
            works = begun;
            self.joints.get_mut(&number).expect("under way").cut = true;
        }
        for (core, work) in cores.into_iter().zip(works) {
            let part = part.clone().filter(|_| !matches!(work, Work::Nothing));
            self.put(core, Way::Ask, Item::Settle(Box::new(Settle { joint: id, work, cores: count, part, now })));
        }
        self.finish_if_settled(number);
    }

    /// How the log keeps the parts of a command together; `None` if only one core writes, or nothing is logged.
    fn part_tag(&mut self, id: JointId) -> Option<PartTag> {
        let journal = &self.executor.journal;
        let joint = self.joints.get_mut(&id.number).expect("under way");
        let command = COMMANDS_BY_NUMBER[usize::from(joint.request.command)];
        // Most commands stay in their namespace; those that do not are logged if any is.
        let leaves_db = command.spread == Spread::Everywhere || command.name == "copy";
        if !journal.is_on() || (!leaves_db && journal.ladder().level(joint.request.db) == Level::None) {
            return None;
        }
        let participants: Arc<[CoreId]> = joint.parts.iter().filter(|part| part.settles).map(|part| part.core).collect();
        if participants.len() < 2 {
            return None;
        }
        joint.logged = participants.clone();
        let mode = if journal.ladder().parks_reads() { PartMode::Held } else { PartMode::Cut };
        Some(PartTag { joint: id, mode, participants, line: self.lines.drawn() })
    }

    /// The work of a command over several cores on this one. Ends the hold, unless it is kept until other cores' parts are durable.
    pub(crate) fn take_settle(&mut self, settle: Settle) {
        let Settle { joint, work, cores, part, now } = settle;
        let now = now.max(self.now_ms());
        let part_mode = part.as_ref().map(|part| part.mode);
        let held = part_mode == Some(PartMode::Held) && !planted(Bug::HoldsReleasedEarly);
        if let Some(part) = part {
            self.draw_before(&part);
            self.executor.journal.begin_part(part);
        }
        let cut = part_mode == Some(PartMode::Cut);
        let (reply, mut until) = match work {
            Work::Nothing => (None, Lsn(0)),
            Work::Run(request) => {
                self.executor.granted = true;
                let reply = self.run_settled(joint, cores, &request, now);
                self.executor.granted = false;
                (Some(reply), self.executor.take_depends())
            }
            Work::Store(records) => (Some(Vec::new()), self.store_records(&records, now)),
        };
        if part_mode.is_some() {
            let last = self.executor.journal.end_part(now);
            self.open_parts.insert(joint, last);
            if held {
                until = self.executor.journal.park_until(Level::Batch, last);
            }
        }
        if !held {
            self.wake_waiters(joint);
        }
        let Some(reply) = reply else { return };
        if until > Lsn(0) && !cut {
            return self.parking.park(until, Parked::Settled(joint, reply));
        }
        // A line waits until all parts are made: that must not wait for a line.
        self.put(joint.core, Way::Answer, Item::Settled { joint, reply, late: until > Lsn(0) });
    }

    /// Runs this core's part. If it is on all keys, replicas are told once, when every core has done its own.
    fn run_settled(&mut self, joint: JointId, cores: usize, request: &Request, now: u64) -> Vec<u8> {
        if COMMANDS_BY_NUMBER[usize::from(request.command)].spread != Spread::Everywhere {
            return self.run_part(request, now);
        }
        self.executor.effects.set_joint(Some((joint, cores)));
        let reply = self.run_part(request, now);
        self.executor.effects.set_joint(None);
        reply
    }

    /// Puts records that another core has made. Up to where the log must be durable before that may be told.
    fn store_records(&mut self, records: &[Replacement], now: u64) -> Lsn {
        let Executor { shard, journal, .. } = &mut self.executor;
        let is_logged = |journal: &Journal, db: Db| journal.is_on() && journal.ladder().level(db) != Level::None;
        let last_logged = records.iter().rposition(|(db, ..)| is_logged(journal, *db));
        let mut until = Lsn(0);
        for (index, (db, key, record)) in records.iter().enumerate() {
            let key = shard.key(key);
            match record {
                Some(bytes) => shard.import(*db, &key, bytes, now).expect("another core of this process gives records"),
                None => {
                    shard.delete(*db, &key, now);
                }
            }
            if is_logged(journal, *db) {
                journal.store(*db, &key, record.as_deref(), now, Some(index) < last_logged);
                until = until.max(journal.park_until(journal.ladder().level(*db), journal.last()));
            }
        }
        if self.executor.effects.is_on() {
            self.executor.tell_removed(now);
            let keys: Vec<(Db, &[u8])> = records.iter().map(|(db, key, _)| (*db, &**key)).collect();
            let Executor { shard, effects, .. } = &mut self.executor;
            effects.record_keys(shard, &keys, now);
        }
        until
    }

    /// All parts of a command are as durable as they must be, on every core.
    pub(crate) fn take_release(&mut self, joint: JointId) {
        self.open_parts.remove(&joint);
        self.wake_waiters(joint);
        self.release_findings(joint);
    }

    /// A core has done its part.
    pub(crate) fn take_settled(&mut self, id: JointId, from: CoreId, reply: Vec<u8>, late: bool) {
        let joint = self.joints.get_mut(&id.number).expect("a command ends after its parts");
        let part = joint.parts.iter_mut().find(|part| part.core == from).expect("only parts answer");
        part.settles = false;
        if part.reply.is_none() {
            part.reply = Some(reply);
        }
        joint.late |= late;
        self.finish_if_settled(id.number);
    }

    fn finish_if_settled(&mut self, number: u64) {
        let Some(joint) = self.joints.get_mut(&number) else { return };
        if joint.parts.iter().any(|part| part.settles) {
            return;
        }
        let command = COMMANDS_BY_NUMBER[usize::from(joint.request.command)];
        let reply = joint.join(command);
        let (logged, ticket, cut) = (joint.logged.clone(), joint.ticket, joint.cut);
        if joint.late {
            self.joints.remove(&number);
            self.reply_behind_line(ticket, reply);
        } else {
            self.finish(number, reply);
        }
        let id = JointId { core: self.id, number };
        logged.iter().for_each(|core| self.put(*core, Way::Ask, Item::Release(id)));
        if cut {
            self.end_cut();
        }
    }

    fn finish(&mut self, number: u64, reply: Vec<u8>) {
        let joint = self.joints.remove(&number).expect("finished once");
        self.finish_reply(joint.ticket, &reply);
    }

    /// The client that waited for a command over several cores is answered, and goes on.
    pub(crate) fn finish_reply(&mut self, ticket: Ticket, reply: &[u8]) {
        self.settle(ticket, reply);
        self.unstall(ticket.conn, Stalls::JOINT);
    }
}

impl Part {
    fn of(core: CoreId) -> Part {
        Part { core, keys: Vec::new(), positions: Vec::new(), outcome: None, reply: None, settles: false }
    }
}

impl Joint {
    /// Why some core will not do it, if one will not.
    fn refusal(&self) -> Option<&'static [u8]> {
        self.parts.iter().find_map(|part| match part.outcome {
            Some(HoldOutcome::NoRoom) => Some(OUT_OF_MEMORY),
            Some(HoldOutcome::NoDisk) => Some(DISK_FULL),
            _ => None,
        })
    }

    fn any(&self, is: impl Fn(&HoldOutcome) -> bool) -> bool {
        self.parts.iter().filter_map(|part| part.outcome.as_ref()).any(is)
    }

    /// The command again, with one part's keys only.
    fn part_request(&self, index: usize) -> Request {
        let Request { command, db, proto, no_touch, .. } = self.request;
        let spec = COMMANDS_BY_NUMBER[usize::from(command)];
        if spec.spread == Spread::Everywhere {
            return self.request.clone();
        }
        let args = self.request.args();
        let keys: Vec<usize> = keys_of(spec, args).collect();
        let step = if keys.len() > 1 { keys[1] - keys[0] } else { args.len() - keys[0] };
        let words = self.parts[index].positions.iter().flat_map(|position| {
            let at = keys[*position];
            (at..at + step).map(move |word| args.get(word))
        });
        Request { no_touch, ..Request::of(command, db, proto, std::iter::once(args.get(0)).chain(words)) }
    }

    /// One reply out of the parts' replies.
    fn join(&self, command: &Command) -> Vec<u8> {
        let replies = || self.parts.iter().filter_map(|part| part.reply.as_deref());
        if let Some(error) = replies().find(|reply| reply.first() == Some(&b'-')) {
            return error.to_vec();
        }
        match command.spread {
            Spread::Sum => {
                let total: i64 = replies().map(integer_of).sum();
                let mut out = Vec::new();
                Reply::new(&mut out, self.request.proto).integer(total);
                out
            }
            Spread::Gather => self.gather(),
            _ => replies().next().map_or_else(|| b"+OK\r\n".to_vec(), <[u8]>::to_vec),
        }
    }

    fn gather(&self) -> Vec<u8> {
        let count: usize = self.parts.iter().map(|part| part.positions.len()).sum();
        let mut elements: Vec<&[u8]> = vec![b""; count];
        for part in &self.parts {
            let mut rest = part.reply.as_deref().map_or(&b""[..], |reply| &reply[line_bytes(reply)..]);
            for position in &part.positions {
                let bytes = element_bytes(rest);
                elements[*position] = &rest[..bytes];
                rest = &rest[bytes..];
            }
        }
        let mut out = Vec::new();
        Reply::new(&mut out, Proto::Resp2).array(count);
        elements.into_iter().for_each(|element| out.extend_from_slice(element));
        out
    }
}

/// A command's keys with the database each is in. `COPY … DB n` is the one command that reaches into another.
fn keys_with_db(command: &Command, request: &Request, db_count: u16) -> Vec<(Db, Vec<u8>)> {
    let args = request.args();
    let mut keys: Vec<(Db, Vec<u8>)> = keys_of(command, args).map(|index| (request.db, args.get(index).to_vec())).collect();
    if command.name == "copy" {
        let words: Vec<&[u8]> = args.iter_from(3).collect();
        for pair in words.windows(2) {
            if pair[0].eq_ignore_ascii_case(b"db")
                && let Some(db) =
                    shards::number::parse_u64(pair[1]).and_then(|number| u16::try_from(number).ok()).filter(|number| *number < db_count)
            {
                keys[1].0 = Db(db);
            }
        }
    }
    keys
}

fn first_key_hashed<'a>(command: u16, args: Args<'a>, shard: &Shard) -> Key<'a> {
    let index = keys_of(COMMANDS_BY_NUMBER[usize::from(command)], args).next();
    shard.key(index.map_or(b"", |index| args.get(index)))
}

fn integer_of(reply: &[u8]) -> i64 {
    std::str::from_utf8(&reply[1..reply.len() - 2]).expect("our own reply").parse().expect("an integer reply")
}

/// Length of the first line, its end included.
fn line_bytes(reply: &[u8]) -> usize {
    reply.windows(2).position(|pair| pair == b"\r\n").expect("our own reply") + 2
}

/// Length of the first element: a bulk, or nothing.
fn element_bytes(reply: &[u8]) -> usize {
    let line = line_bytes(reply);
    match reply[0] {
        b'$' if reply[1] != b'-' => {
            let length: usize = std::str::from_utf8(&reply[1..line - 2]).expect("our own reply").parse().expect("a length");
            line + length + 2
        }
        _ => line,
    }
}
