//! Core 0's: one stream out of what all cores say, who follows it, and who is given the keys next.
//!
//! Every core says its effects in its own order; between cores there is none, except that a command on all keys stands where
//! every core has done its part: a core that has waits here for the others. The newest bytes are kept ([`Backlog`]), so that a
//! replica whose connection broke goes on where it was. Replicas are given the keys one after the other.
//!
//! The keeper sends nothing itself: what it has to say waits by destination, at most an output limit for each replica.

use super::effects::{Chunk, Piece, put_words};
use super::{Note, ReplicaId, Wish};
use crate::hold::JointId;
use crate::parcel::Ticket;
use crate::placement::CoreId;
use netio::MonotonicNs;
use shards::Db;
use shards::number::Digits;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Replicas at a time, those included that wait for their turn.
pub(super) const REPLICAS_MAX: usize = 32;

/// Bytes that may wait for cores that have yet to do their part of a command on all keys.
const BEHIND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a piece of the backlog costs beside its bytes.
const PIECE_BYTES: usize = 48;

/// What an operator set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) backlog_bytes: usize,
    pub(super) backlog_ttl_s: u32,
    pub(super) ping_s: u32,
    /// Bytes that may wait for one replica; 0 for no limit.
    pub(super) waiting_bytes_max: usize,
}

/// What it has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct SyncCounts {
    /// Replicas that were given all keys.
    pub full: u64,
    /// Those that went on where they were.
    pub partial: u64,
    /// Those that wanted to and could not.
    pub partial_refused: u64,
}

/// How replication stands, for people.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The stream's name.
    pub id: String,
    /// Bytes said so far.
    pub offset: u64,
    /// Whether the newest are kept.
    pub is_kept: bool,
    /// How many are.
    pub kept_bytes: u64,
    /// Who follows.
    pub followers: Vec<Follower>,
    /// What was counted.
    pub counts: SyncCounts,
}

/// One replica.
#[derive(Clone, Debug)]
pub struct Follower {
    pub(super) id: ReplicaId,
    /// Its address.
    pub address: String,
    /// The port it says that it listens on.
    pub port: u16,
    /// How far it is.
    pub stage: Stage,
    /// Up to where it has said that it is.
    pub acked: u64,
    /// When it did.
    pub acked_at: MonotonicNs,
    /// Wants the keys and nothing else.
    keys_only: bool,
    /// Wants no keys.
    no_keys: bool,
    /// Its stream's bytes that wait here.
    waiting_bytes: usize,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Others are given the keys before it, or cores are yet to say everything.
    Waiting,
    /// It is given the keys.
    Sending,
    /// It follows.
    Online,
}

/// One core's pieces that another one's must precede.
#[derive(Debug, Default)]
struct Inbox {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Its part of this command was taken.
    behind: Option<JointId>,
}

/// A replica that is given the keys.
#[derive(Debug)]
struct Sync {
    number: u64,
    to: ReplicaId,
    /// Cores that have not prepared.
    preparing: u16,
    /// Cores whose keys are not all on their way.
    walking: u16,
}

/// A client that waits for replicas.
#[derive(Debug)]
struct Waiter {
    asker: CoreId,
    ticket: Ticket,
    /// Cores that have not said that all before is said.
    unmarked: u16,
    /// How many it wants, once that is known.
    wanted: Option<u64>,
    /// How many it was told of.
    told: u64,
    /// Up to where replicas must be, once all cores have.
    offset: u64,
}

#[derive(Debug, Default)]
struct Backlog {
    pieces: VecDeque<Arc<[u8]>>,
    bytes: usize,
}

impl Backlog {
    fn push(&mut self, piece: Arc<[u8]>, bytes_max: usize) {
        self.bytes += piece.len();
        self.pieces.push_back(piece);
        while self.bytes + self.pieces.len() * PIECE_BYTES > bytes_max {
            let Some(oldest) = self.pieces.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    /// The newest `bytes`, which must be there.
    fn newest(&self, bytes: usize) -> Vec<Arc<[u8]>> {
        let mut skip = self.bytes - bytes;
        let mut newest = Vec::new();
        for piece in &self.pieces {
            if skip >= piece.len() {
                skip -= piece.len();
            } else {
                newest.push(if skip == 0 { piece.clone() } else { piece[skip..].into() });
                skip = 0;
            }
        }
        newest
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Keeper {
    core_count: u16,
    terms: Terms,
    /// Cores say what they do.
    on: bool,
    id: String,
    /// Bytes said, those in `fresh` not included.
    offset: u64,
    /// Said and not passed on yet.
    fresh: Vec<u8>,
    /// The database that is selected in the stream, if it is known to who begins to listen now.
    db: Option<Db>,
    backlog: Backlog,
    inboxes: Vec<Inbox>,
    /// How many cores have done their part.
    arrived: HashMap<JointId, u16>,
    followers: Vec<Follower>,
    sync: Option<Sync>,
    sync_number: u64,
    waiters: Vec<Waiter>,
    /// Replicas are to be asked how far they are.
    asks: bool,
    /// By destination.
    outbox: Vec<VecDeque<Note>>,
    counts: SyncCounts,
    now: MonotonicNs,
    /// When somebody last followed.
    followed: MonotonicNs,
    pinged: MonotonicNs,
}

impl Keeper {
    pub(super) fn new(core_count: u16, id: String, now: MonotonicNs, terms: Terms) -> Keeper {
        Keeper {
            core_count,
            terms,
            on: false,
            id,
            offset: 0,
            fresh: Vec::new(),
            db: None,
            backlog: Backlog::default(),
            inboxes: (0..core_count).map(|_| Inbox::default()).collect(),
            arrived: HashMap::new(),
            followers: Vec::new(),
            sync: None,
            sync_number: 0,
            waiters: Vec::new(),
            asks: false,
            outbox: (0..core_count).map(|_| VecDeque::new()).collect(),
            counts: SyncCounts::default(),
            now,
            followed: now,
            pinged: now,
        }
    }

    /// Takes what an operator set.
    pub(super) fn set_terms(&mut self, terms: Terms) {
        self.terms = terms;
    }

    /// Whether anything may have to be done in the next turn without being told of it.
    pub(super) fn has_work(&self) -> bool {
        !self.fresh.is_empty() || self.asks || self.outbox.iter().any(|notes| !notes.is_empty())
    }

    /// How replication stands.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            id: self.id.clone(),
            offset: self.said(),
            is_kept: self.on,
            kept_bytes: self.backlog.bytes as u64,
            followers: self.followers.clone(),
            counts: self.counts,
        }
    }

    /// Bytes that wait for replicas, and bytes of the backlog.
    pub(super) fn memory_bytes(&self) -> usize {
        let behind: usize = self.inboxes.iter().map(|inbox| inbox.bytes).sum();
        behind + self.fresh.capacity() + self.backlog.bytes + self.backlog.pieces.len() * PIECE_BYTES
    }

    /// The oldest note for a core.
    pub(super) fn next(&mut self, core: CoreId) -> Option<Note> {
        let note = self.outbox[usize::from(core.0)].pop_front()?;
        if let Note::Stream { conn, bytes } = &note
            && let Some(follower) = self.followers.iter_mut().find(|follower| follower.id == ReplicaId { home: core, conn: *conn })
        {
            follower.waiting_bytes -= bytes.len();
        }
        Some(note)
    }

    /// A replica asks. `fresh_id` names the stream, should it begin now.
    pub(super) fn take_wish(&mut self, wish: Wish, fresh_id: String) {
        let Wish { id, address, port, keys_only, no_keys, known } = wish;
        if self.followers.len() >= REPLICAS_MAX {
            return self.send(id.home, Note::Drop { conn: id.conn, why: "there are too many replicas" });
        }
        let mut follower =
            Follower { id, address, port, stage: Stage::Waiting, acked: 0, acked_at: self.now, keys_only, no_keys, waiting_bytes: 0 };
        if let Some((name, from)) = known {
            self.pass_on();
            let missing = (self.on && name == self.id).then(|| self.offset.checked_sub(from)).flatten();
            if let Some(missing) = missing.filter(|missing| *missing <= self.backlog.bytes as u64) {
                self.counts.partial += 1;
                (follower.stage, follower.acked) = (Stage::Online, from);
                self.followers.push(follower);
                let chunks = self.backlog.newest(missing as usize);
                return self.send(id.home, Note::Continue { conn: id.conn, id: self.id.clone(), chunks });
            }
            self.counts.partial_refused += 1;
        }
        self.followers.push(follower);
        if !self.on {
            self.id = fresh_id;
        }
        self.begin_sync();
    }

    /// A replica says up to where it is.
    pub(super) fn take_ack(&mut self, id: ReplicaId, offset: u64) {
        let (now, said) = (self.now, self.said());
        if let Some(follower) = self.followers.iter_mut().find(|follower| follower.id == id) {
            follower.stage = Stage::Online;
            (follower.acked, follower.acked_at) = (offset.min(said).max(follower.acked), now);
        }
        self.answer_waiters();
    }

    /// A replica's connection is closed.
    pub(super) fn take_gone(&mut self, id: ReplicaId) {
        self.followers.retain(|follower| follower.id != id);
        self.followed = self.now;
        if self.sync.as_ref().is_some_and(|sync| sync.to == id) {
            self.end_sync();
        }
    }

    /// A client waits for replicas.
    pub(super) fn take_wait(&mut self, asker: CoreId, ticket: Ticket, replicas: u64) {
        self.waiter(asker, ticket).wanted = Some(replicas);
        self.answer_waiters();
    }

    /// It does not any more.
    pub(super) fn take_unwait(&mut self, asker: CoreId, ticket: Ticket) {
        self.waiters.retain(|waiter| (waiter.asker, waiter.ticket) != (asker, ticket));
    }

    fn waiter(&mut self, asker: CoreId, ticket: Ticket) -> &mut Waiter {
        let found = self.waiters.iter().position(|waiter| (waiter.asker, waiter.ticket) == (asker, ticket));
        let index = found.unwrap_or_else(|| {
            self.waiters.push(Waiter { asker, ticket, unmarked: self.core_count, wanted: None, told: 0, offset: 0 });
            self.waiters.len() - 1
        });
        &mut self.waiters[index]
    }

    /// What a core has said.
    pub(super) fn take_pieces(&mut self, from: CoreId, pieces: Vec<Piece>) {
        let inbox = &mut self.inboxes[usize::from(from.0)];
        inbox.bytes += pieces.iter().map(Piece::bytes).sum::<usize>();
        inbox.pieces.extend(pieces);
        // Whoever is taken from may free those before it.
        while (0..self.inboxes.len()).any(|index| self.take_of(index)) {}
        if self.inboxes.iter().map(|inbox| inbox.bytes).sum::<usize>() > BEHIND_BYTES_MAX {
            self.break_off("a core is too far behind the others");
        }
    }

    /// Takes one core's pieces until there are none or it must wait. Whether there were any.
    fn take_of(&mut self, index: usize) -> bool {
        let mut any = false;
        while self.inboxes[index].behind.is_none() {
            let Some(piece) = self.inboxes[index].pieces.pop_front() else { break };
            any = true;
            self.inboxes[index].bytes -= piece.bytes();
            match piece {
                Piece::Commands(chunk) => self.say(&chunk),
                Piece::Everywhere { joint: None, swaps, chunk } => self.say_everywhere(swaps, &chunk),
                Piece::Everywhere { joint: Some(joint), swaps, chunk } => self.meet(index, joint, swaps, &chunk),
                Piece::Mark(asker, ticket) => self.mark(asker, ticket),
                Piece::Prepared(number) => self.note_prepared(number),
                Piece::Walked(number) => self.note_walked(number),
                Piece::Failed(number, why) => self.fail_sync(number, why),
                Piece::Broken(why) => self.break_off(why),
            }
        }
        any
    }

    /// A core has done its part of a command on all keys.
    fn meet(&mut self, index: usize, joint: JointId, swaps: bool, chunk: &Chunk) {
        self.inboxes[index].behind = Some(joint);
        let arrived = self.arrived.entry(joint).or_default();
        *arrived += 1;
        if *arrived < self.core_count {
            return;
        }
        self.arrived.remove(&joint);
        self.inboxes.iter_mut().filter(|inbox| inbox.behind == Some(joint)).for_each(|inbox| inbox.behind = None);
        self.say_everywhere(swaps, chunk);
    }

    fn say_everywhere(&mut self, swaps: bool, chunk: &Chunk) {
        if swaps && let Some(sync) = &self.sync {
            self.fail_sync(sync.number, "databases were exchanged while it was given the keys");
        }
        self.say(chunk);
    }

    fn say(&mut self, chunk: &Chunk) {
        if !self.on {
            return;
        }
        if self.db != Some(chunk.first) {
            put_words(&[b"SELECT", Digits::of_u64(chunk.first.0.into()).as_bytes()], &mut self.fresh);
        }
        self.fresh.extend_from_slice(&chunk.bytes);
        self.db = Some(chunk.last);
    }

    fn said(&self) -> u64 {
        self.offset + self.fresh.len() as u64
    }

    fn mark(&mut self, asker: CoreId, ticket: Ticket) {
        let said = self.said();
        let waiter = self.waiter(asker, ticket);
        waiter.unmarked = waiter.unmarked.saturating_sub(1);
        if waiter.unmarked == 0 {
            waiter.offset = said;
            self.asks = true;
            self.answer_waiters();
        }
    }

    /// Tells those that wait how many replicas are far enough, if it is more than they know, or all they want.
    fn answer_waiters(&mut self) {
        let Keeper { waiters, followers, outbox, .. } = self;
        waiters.retain_mut(|waiter| {
            let Some(wanted) = waiter.wanted.filter(|_| waiter.unmarked == 0) else { return true };
            let has_it = |follower: &&Follower| follower.stage == Stage::Online && follower.acked >= waiter.offset;
            let replicas = followers.iter().filter(has_it).count() as u64;
            let is_enough = replicas >= wanted;
            if is_enough || replicas != waiter.told {
                waiter.told = replicas;
                outbox[usize::from(waiter.asker.0)].push_back(Note::Reached { ticket: waiter.ticket, replicas, is_enough });
            }
            !is_enough
        });
    }

    /// Gives the next replica the keys, if there is one and nobody is given them.
    fn begin_sync(&mut self) {
        let is_next = |follower: &&Follower| follower.stage == Stage::Waiting;
        if self.sync.is_some() {
            return;
        }
        let Some(follower) = self.followers.iter().find(is_next) else { return };
        let (to, keys_only) = (follower.id, follower.keys_only);
        self.sync_number += 1;
        let preparing = if keys_only { 0 } else { self.core_count };
        self.sync = Some(Sync { number: self.sync_number, to, preparing, walking: self.core_count });
        if keys_only {
            return self.let_walk();
        }
        self.on = true;
        self.send_all(Note::Prepare);
    }

    fn note_prepared(&mut self, number: u64) {
        let Some(sync) = self.sync.as_mut().filter(|sync| sync.number == number) else { return };
        sync.preparing -= 1;
        if sync.preparing == 0 {
            self.let_walk();
        }
    }

    /// From this moment on the replica listens, and from the next on its keys are walked.
    fn let_walk(&mut self) {
        let Some(Sync { to, .. }) = self.sync else { return };
        // What was said before is not for it: it counts from the offset that it is told here.
        self.pass_on();
        self.db = None;
        self.counts.full += 1;
        let Some(follower) = self.followers.iter_mut().find(|follower| follower.id == to) else { return };
        follower.stage = Stage::Sending;
        follower.acked_at = self.now;
        let walks = !follower.no_keys;
        self.send(to.home, Note::Begin { conn: to.conn, id: self.id.clone(), offset: self.offset });
        self.send_all(|number| Note::Go { number, to, walks });
    }

    fn note_walked(&mut self, number: u64) {
        let Some(sync) = self.sync.as_mut().filter(|sync| sync.number == number) else { return };
        sync.walking -= 1;
        if sync.walking == 0 {
            self.sync = None;
            self.begin_sync();
        }
    }

    /// The replica that is given the keys cannot be.
    fn fail_sync(&mut self, number: u64, why: &'static str) {
        let Some(Sync { to, .. }) = self.sync.as_ref().filter(|sync| sync.number == number) else { return };
        self.drop_follower(*to, why);
    }

    fn end_sync(&mut self) {
        self.send_all(Note::Cancel);
        self.sync = None;
        self.begin_sync();
    }

    fn drop_follower(&mut self, id: ReplicaId, why: &'static str) {
        self.send(id.home, Note::Drop { conn: id.conn, why });
        self.take_gone(id);
    }

    /// The stream has a gap: whoever follows begins again.
    fn break_off(&mut self, why: &'static str) {
        let (kept, gone): (Vec<Follower>, Vec<Follower>) = self.followers.drain(..).partition(|follower| follower.keys_only);
        self.followers = kept;
        self.turn_off();
        gone.iter().for_each(|Follower { id, .. }| self.send(id.home, Note::Drop { conn: id.conn, why }));
        if self.sync.as_ref().is_some_and(|sync| gone.iter().any(|follower| follower.id == sync.to)) {
            self.end_sync();
        }
    }

    fn turn_off(&mut self) {
        self.on = false;
        self.fresh.clear();
        self.backlog = Backlog::default();
        for inbox in &mut self.inboxes {
            // What else they say is heard whether anybody follows or not.
            inbox.pieces.retain(|piece| !matches!(piece, Piece::Commands(_)));
            inbox.bytes = inbox.pieces.iter().map(Piece::bytes).sum();
        }
        self.send_all(|_| Note::Off);
    }

    /// Passes on what was said, so that it is at most one piece a turn.
    fn pass_on(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let bytes: Arc<[u8]> = std::mem::take(&mut self.fresh).into();
        self.offset += bytes.len() as u64;
        self.backlog.push(bytes.clone(), self.terms.backlog_bytes);
        let mut slow = Vec::new();
        for follower in &mut self.followers {
            if follower.keys_only || follower.stage == Stage::Waiting {
                continue;
            }
            follower.waiting_bytes += bytes.len();
            if self.terms.waiting_bytes_max > 0 && follower.waiting_bytes > self.terms.waiting_bytes_max {
                slow.push(follower.id);
            }
            let note = Note::Stream { conn: follower.id.conn, bytes: bytes.clone() };
            self.outbox[usize::from(follower.id.home.0)].push_back(note);
        }
        slow.into_iter().for_each(|id| self.drop_follower(id, "its core did not take what was written"));
    }

    /// What there is to do once a turn.
    pub(super) fn turn(&mut self, now: MonotonicNs) {
        self.now = now;
        if std::mem::take(&mut self.asks) && self.has_listeners() && !self.waiters.is_empty() {
            put_words(&[b"REPLCONF", b"GETACK", b"*"], &mut self.fresh);
        }
        self.pass_on();
    }

    /// What has no event of its own, ten times a second.
    pub(super) fn round(&mut self, now: MonotonicNs) {
        self.now = now;
        let after_s = |since: MonotonicNs, s: u32| now.since(since) >= u64::from(s) * 1_000_000_000;
        if self.has_listeners() && after_s(self.pinged, self.terms.ping_s) {
            self.pinged = now;
            put_words(&[b"PING"], &mut self.fresh);
        }
        if self.followers.iter().any(|follower| !follower.keys_only) {
            self.followed = now;
        } else if self.on && self.terms.backlog_ttl_s > 0 && after_s(self.followed, self.terms.backlog_ttl_s) {
            tracing::info!("no replica has come back for {} s: the backlog is let go", self.terms.backlog_ttl_s);
            self.turn_off();
        }
    }

    fn has_listeners(&self) -> bool {
        self.on && self.followers.iter().any(|follower| !follower.keys_only && follower.stage != Stage::Waiting)
    }

    fn send(&mut self, core: CoreId, note: Note) {
        self.outbox[usize::from(core.0)].push_back(note);
    }

    fn send_all(&mut self, note: impl Fn(u64) -> Note) {
        let number = self.sync.as_ref().map_or(0, |sync| sync.number);
        self.outbox.iter_mut().for_each(|notes| notes.push_back(note(number)));
    }
}

#[cfg(test)]
mod tests;
