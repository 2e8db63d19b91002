//! What this core's commands come to for replicas: commands that any Redis since 6.2 repeats exactly, in the order in which the
//! shard took them.
//!
//! A replica has our keys as they were when each partition was walked, and carries out everything that is said here from a
//! moment before the first walk on. So what is said of a partition that was not walked yet must be right whether the key is as
//! it was or as it will be: what a key has become ([`Form::Outcome`]), never what was done to it ([`Form::Change`]). Replicas do not
//! expire or evict by themselves, and so both are said.

use crate::executor::Job;
use crate::hold::JointId;
use crate::journal::{other_db, written};
use crate::parcel::Ticket;
use crate::placement::CoreId;
use shards::command::{COMMANDS_BY_NUMBER, Command, Keys, Spread};
use shards::number::Digits;
use shards::retold::Retold;
use shards::shard::Kind;
use shards::wire::Args;
use shards::{Db, Key, Shard};
use std::collections::HashSet;

/// Bytes that may wait for the keeper. One command may come on top.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Values longer than this are worth remembering that replicas know them, see [`Walking::known`].
const VALUE_BYTES_LONG: usize = 1024;

/// So many of them are remembered; what was done to others is said by their outcome.
const KNOWN_MAX: usize = 16 * 1024;

/// One thing that the keeper is told, in order.
#[derive(Debug)]
pub enum Piece {
    /// Commands.
    Commands(Chunk),
    /// A command on all keys, of which this is one core's part; none of several if there is one core only.
    Everywhere {
        /// Which one, if every core has a part.
        joint: Option<JointId>,
        /// Databases were exchanged: what a walk shows afterwards is elsewhere.
        swaps: bool,
        /// The command.
        chunk: Chunk,
    },
    /// Everything before this has been told: for a client that waits.
    Mark(CoreId, Ticket),
    /// From here on everything is said, and the preparation of this number was made.
    Prepared(u64),
    /// All keys of the synchronisation of this number are on their way.
    Walked(u64),
    /// They cannot be given, and why.
    Failed(u64, &'static str),
    /// Something could not be said, and why: nobody can follow any more.
    Broken(&'static str),
}

impl Piece {
    /// Bytes of its commands.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Piece::Commands(chunk) | Piece::Everywhere { chunk, .. } => chunk.bytes.len(),
            _ => 0,
        }
    }
}

/// Commands in the array form, one behind the other.
#[derive(Debug, Default)]
pub struct Chunk {
    /// The database that must be selected before the first, and the one that is selected after the last.
    pub(super) first: Db,
    /// See above.
    pub(super) last: Db,
    /// The commands.
    pub(super) bytes: Vec<u8>,
}

/// How a command is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it came: it does the same whatever was there.
    Said,
    /// As it came, to who knows what was there.
    Change,
    /// The deadline that the key has now.
    Deadline,
    /// What the keys hold now.
    Outcome,
}

impl Form {
    /// Anything that is not named here is said by its outcome: always right, and at worst longer.
    fn of(command: &Command) -> Form {
        match command.full_name {
            "mset" | "del" | "unlink" => Form::Said,
            // Those that would do the same to whatever is there still mind of which kind it is.
            "append" | "incr" | "incrby" | "decr" | "decrby" | "bitfield" | "setbit" | "setrange" => Form::Change,
            _ if matches!(command.group, "list" | "hash" | "set" | "sorted-set" | "geo") => Form::Change,
            "expire" | "expireat" | "pexpire" | "pexpireat" | "persist" | "getex" => Form::Deadline,
            _ => Form::Outcome,
        }
    }
}

/// A synchronisation that this core's keys are not yet all on their way for.
#[derive(Debug)]
struct Walking {
    /// Partitions from this one on were not walked.
    next: u16,
    /// What is said now follows the moment from which the replica listens.
    heard: bool,
    /// Long values in partitions not walked that the replica has been told since it listens.
    known: HashSet<(Db, Box<[u8]>)>,
}

/// One core's effects that the keeper was not told yet.
#[derive(Debug)]
pub struct Effects {
    /// Somebody listens.
    on: bool,
    muted: bool,
    /// Something may have to be said: the one question of the fast path.
    active: bool,
    /// The command on all keys whose part is under way, and how many cores have one.
    joint: Option<(JointId, usize)>,
    pieces: Vec<Piece>,
    chunk: Chunk,
    /// Of chunks that are closed.
    closed_bytes: usize,
    walking: Option<Walking>,
    forms: Box<[Form]>,
}

impl Default for Effects {
    fn default() -> Effects {
        Effects {
            on: false,
            muted: false,
            active: false,
            joint: None,
            pieces: Vec::new(),
            chunk: Chunk::default(),
            closed_bytes: 0,
            walking: None,
            forms: COMMANDS_BY_NUMBER.iter().map(|command| Form::of(command)).collect(),
        }
    }
}

impl Effects {
    /// Whether what a command has done may have to be said.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.active
    }

    /// Says nothing while a command runs whose effects are said elsewhere.
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
        self.decide();
    }

    /// A core's part of a command on all keys begins, or ends.
    pub fn set_joint(&mut self, joint: Option<(JointId, usize)>) {
        self.joint = joint;
        self.decide();
    }

    fn decide(&mut self) {
        self.active = (self.on && !self.muted) || self.joint.is_some();
    }

    /// From now on everything is said, and of no partition it is known what the next replica will see.
    pub(super) fn prepare(&mut self, sync: u64, first_partition: u16) {
        self.on = true;
        self.walking = Some(Walking { next: first_partition, heard: false, known: HashSet::new() });
        self.push(Piece::Prepared(sync));
        self.decide();
    }

    /// The replica listens to everything that is said from now on.
    pub(super) fn note_heard(&mut self) {
        if let Some(walking) = &mut self.walking {
            walking.heard = true;
        }
    }

    /// The replica will see this partition, and those before it, as they are now.
    pub(super) fn note_walked(&mut self, partition: u16) {
        if let Some(walking) = &mut self.walking {
            walking.next = partition + 1;
        }
    }

    /// No replica is about to see anything as it is not yet.
    pub(super) fn end_walk(&mut self) {
        self.walking = None;
    }

    /// Nobody listens any more.
    pub(super) fn turn_off(&mut self) {
        self.on = false;
        self.walking = None;
        self.chunk = Chunk::default();
        self.pieces.retain(|piece| !matches!(piece, Piece::Commands(_)));
        self.closed_bytes = 0;
        self.decide();
    }

    /// Tells the keeper something, behind all that was said before.
    pub(super) fn push(&mut self, piece: Piece) {
        self.close_chunk();
        self.pieces.push(piece);
    }

    /// Whether there is something to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.chunk.bytes.is_empty()
    }

    /// Whether somebody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.on
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> Vec<Piece> {
        self.close_chunk();
        self.closed_bytes = 0;
        std::mem::take(&mut self.pieces)
    }

    /// Bytes that wait.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.closed_bytes + self.chunk.bytes.capacity()
    }

    /// Says what a command did that has just changed something.
    #[inline(never)]
    pub fn record(&mut self, shard: &Shard, job: &Job<'_>, command: &Command) {
        if command.keys == Keys::None {
            return self.record_everywhere(job, command);
        }
        if !self.may_say() {
            return;
        }
        let form = self.forms[usize::from(job.command)];
        if let Some(retold) = shard.retold() {
            return self.record_retold(shard, job, retold);
        }
        match form {
            Form::Said => self.say_command(job),
            Form::Change if command.spread == Spread::Single && self.knows(shard, job.db, &job.key, job.now) => self.say_command(job),
            Form::Deadline => self.say_deadline(shard, job.db, &job.key, job.now),
            Form::Change | Form::Outcome => {
                let keys = written(command, job.args, job.db, other_db(command, job.args));
                self.record_keys(shard, &keys, job.now);
            }
        }
    }

    /// Says what a command came to, or, where that is not right whatever a replica has, what its keys hold now.
    fn record_retold(&mut self, shard: &Shard, job: &Job<'_>, retold: &Retold) {
        let keys: Vec<(Db, &[u8])> = retold.commands().map(|args| (job.db, args.get(1))).collect();
        if !keys.iter().all(|(db, key)| self.knows(shard, *db, &shard.key(key), job.now)) {
            return self.record_keys(shard, &keys, job.now);
        }
        if keys.len() > 1 {
            self.say(job.db, &[b"MULTI"]);
        }
        for args in retold.commands() {
            self.select(job.db);
            put_args(args, &mut self.chunk.bytes);
        }
        if keys.len() > 1 {
            self.say(job.db, &[b"EXEC"]);
        }
    }

    /// Says what these keys hold now, together.
    pub fn record_keys(&mut self, shard: &Shard, keys: &[(Db, &[u8])], now: u64) {
        if !self.may_say() {
            return;
        }
        let (Some((first, key)), Some((last, _))) = (keys.first(), keys.last()) else { return };
        let is_one_command = keys.len() == 1 && shard.peek(*first, &shard.key(key), now).is_none_or(|found| found.kind == Kind::String);
        if !is_one_command {
            self.say(*first, &[b"MULTI"]);
        }
        for (db, key) in keys {
            self.say_outcome(shard, *db, &shard.key(key), now);
        }
        if !is_one_command {
            self.say(*last, &[b"EXEC"]);
        }
    }

    /// Says that a key is gone: expired or evicted.
    pub fn record_removal(&mut self, db: Db, key: &[u8]) {
        if self.may_say() {
            self.say(db, &[b"DEL", key]);
        }
    }

    fn record_everywhere(&mut self, job: &Job<'_>, command: &Command) {
        if let Some((_, 1)) = self.joint {
            // One core's keys are gone, and no command says that.
            if self.on {
                self.give_up("one core was emptied through its own port");
            }
            return;
        }
        let mut chunk = Chunk { first: job.db, last: job.db, bytes: Vec::new() };
        put_args(job.args, &mut chunk.bytes);
        self.push(Piece::Everywhere { joint: self.joint.map(|(joint, _)| joint), swaps: command.name == "swapdb", chunk });
    }

    /// Whether somebody listens and is not too far behind.
    fn may_say(&mut self) -> bool {
        if self.on && !self.muted && self.closed_bytes + self.chunk.bytes.len() > WAITING_BYTES_MAX {
            self.give_up("more was written than could be passed on");
        }
        self.on && !self.muted
    }

    fn give_up(&mut self, why: &'static str) {
        self.turn_off();
        self.push(Piece::Broken(why));
    }

    /// Whether a replica has the key as it was before this change.
    fn knows(&mut self, shard: &Shard, db: Db, key: &Key<'_>, now: u64) -> bool {
        let Some(walking) = &mut self.walking else { return true };
        if key.partition().0 < walking.next {
            return true;
        }
        let is_long = shard.peek(db, key, now).is_some_and(|found| found.is_large || found.value.len() > VALUE_BYTES_LONG);
        if !walking.heard || !is_long {
            return false;
        }
        let key = (db, Box::from(key.bytes));
        if walking.known.contains(&key) {
            return true;
        }
        if walking.known.len() < KNOWN_MAX {
            // Whatever happens to it from now on is said, and so it stays known.
            walking.known.insert(key);
        }
        false
    }

    fn say_outcome(&mut self, shard: &Shard, db: Db, key: &Key<'_>, now: u64) {
        shard.remake(db, key, now, &mut |words| self.say(db, words));
    }

    fn say_deadline(&mut self, shard: &Shard, db: Db, key: &Key<'_>, now: u64) {
        match shard.peek(db, key, now).map(|found| found.deadline) {
            None => self.say(db, &[b"DEL", key.bytes]),
            Some(None) => self.say(db, &[b"PERSIST", key.bytes]),
            Some(Some(at)) => self.say(db, &[b"PEXPIREAT", key.bytes, Digits::of_u64(at.0).as_bytes()]),
        }
    }

    fn say_command(&mut self, job: &Job<'_>) {
        self.select(job.db);
        put_args(job.args, &mut self.chunk.bytes);
    }

    fn say(&mut self, db: Db, words: &[&[u8]]) {
        self.select(db);
        put_words(words, &mut self.chunk.bytes);
    }

    fn select(&mut self, db: Db) {
        if self.chunk.bytes.is_empty() {
            self.chunk.first = db;
        } else if self.chunk.last != db {
            put_words(&[b"SELECT", Digits::of_u64(db.0.into()).as_bytes()], &mut self.chunk.bytes);
        }
        self.chunk.last = db;
    }

    fn close_chunk(&mut self) {
        if !self.chunk.bytes.is_empty() {
            let chunk = std::mem::take(&mut self.chunk);
            self.closed_bytes += chunk.bytes.len();
            self.pieces.push(Piece::Commands(chunk));
        }
    }
}

/// Appends a command in its array form.
pub(super) fn put_words(words: &[&[u8]], out: &mut Vec<u8>) {
    put_head(b'*', words.len(), out);
    words.iter().for_each(|word| put_word(word, out));
}

fn put_args(args: Args<'_>, out: &mut Vec<u8>) {
    put_head(b'*', args.len(), out);
    args.iter_from(0).for_each(|word| put_word(word, out));
}

fn put_word(word: &[u8], out: &mut Vec<u8>) {
    put_head(b'$', word.len(), out);
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

fn put_head(kind: u8, count: usize, out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(Digits::of_u64(count as u64).as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
