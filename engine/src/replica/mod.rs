//! Replicas of other kinds: a Redis or Valkey that asks for our keys (`SYNC`, `PSYNC`) and follows what is written from there on.
//!
//! Every core says what its commands come to ([`effects`]) and gives its keys ([`share`]); core 0 makes one stream of what all say
//! ([`keeper`]); the core of a replica's connection writes both to it ([`home`]), the keys as an RDB file and then the stream.
//! Nothing is forked and nobody waits: what a replica does not take is bounded, and beyond that the replica is let go.
//!
//! Without replicas one branch of a write is all that is left of this.

mod effects;
mod home;
mod keeper;
mod share;

pub use effects::{Chunk, Effects, Piece};
pub use keeper::{Follower, Stage, Standing, SyncCounts};

use crate::core::Core;
use crate::parcel::{Item, Ticket};
use crate::peers::Way;
use crate::placement::CoreId;
use crate::settings::{ClientClass, Settings};
pub(crate) use home::{Introduction, Replica};
use keeper::{Keeper, Terms};
use netio::{ConnId, Kernel, MonotonicNs};
use share::Share;
use std::collections::HashMap;
use std::sync::Arc;

/// A replica's connection, and the core it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaId {
    pub(crate) home: CoreId,
    pub(crate) conn: ConnId,
}

/// What a replica asks for.
#[derive(Debug)]
pub struct Wish {
    pub(crate) id: ReplicaId,
    pub(crate) address: String,
    pub(crate) port: u16,
    /// The keys and nothing else.
    pub(crate) keys_only: bool,
    /// No keys.
    pub(crate) no_keys: bool,
    /// The stream that it followed, and up to where.
    pub(crate) known: Option<(String, u64)>,
}

/// What cores tell each other about replicas.
#[derive(Debug)]
pub enum Note {
    /// To the keeper: a replica asks.
    Wish(Wish),
    /// A replica is there.
    Acked(ReplicaId, u64),
    /// A replica's connection is closed.
    Gone(ReplicaId),
    /// What a core has said.
    Effects(Vec<Piece>),
    /// A client waits for so many replicas.
    Wait(Ticket, u64),
    /// It does not any more.
    Unwait(Ticket),

    /// To every core, from the keeper: a replica will be given the keys, and needs to be told everything.
    Prepare(u64),
    /// Its keys are to be sent.
    Go {
        /// Of the synchronisation.
        number: u64,
        /// Where to.
        to: ReplicaId,
        /// Whether it wants any.
        walks: bool,
    },
    /// They are not.
    Cancel(u64),
    /// Nobody listens any more.
    Off,

    /// To a replica's core, from the keeper: it listens from here on, and its keys will come.
    Begin {
        /// Which connection.
        conn: ConnId,
        /// The stream's name.
        id: String,
        /// How much had been said.
        offset: u64,
    },
    /// It goes on where it was.
    Continue {
        /// Which connection.
        conn: ConnId,
        /// The stream's name.
        id: String,
        /// What it missed.
        chunks: Vec<Arc<[u8]>>,
    },
    /// What was said.
    Stream {
        /// Which connection.
        conn: ConnId,
        /// The next bytes.
        bytes: Arc<[u8]>,
    },
    /// It cannot be served, and why.
    Drop {
        /// Which connection.
        conn: ConnId,
        /// For people.
        why: &'static str,
    },
    /// From any core: some of its keys.
    Leaf {
        /// Which connection.
        conn: ConnId,
        /// Of the synchronisation.
        number: u64,
        /// A piece of an RDB file.
        bytes: Vec<u8>,
        /// That core has no more.
        is_last: bool,
    },
    /// To the core that sent keys: so many bytes of them were passed on.
    Taken(u64, usize),

    /// To every core, from one whose client waits: all that it had written before is to be said first.
    Mark(Ticket),
    /// To that core, from the keeper: so many replicas have it.
    Reached {
        /// Whose client.
        ticket: Ticket,
        /// How many.
        replicas: u64,
        /// Whether it wanted no more.
        is_enough: bool,
    },
}

/// One core's part in all this.
pub(crate) struct Replication {
    /// Core 0's.
    keeper: Option<Box<Keeper>>,
    share: Option<Share>,
    /// What clients have said of themselves that may become replicas.
    pub(crate) introductions: HashMap<ConnId, Introduction>,
    replicas: Vec<Replica>,
    /// Clients that wait for replicas.
    waiting: Vec<Ticket>,
    /// This core has seen that every core has said its last, or that the keeper has passed all of it on.
    parting: Parting,
}

/// How far cores that stop are with telling replicas the last of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Parting {
    #[default]
    Saying,
    /// Every core has; what is on lanes arrives by the next turn.
    Said,
    /// The keeper has passed it on; what is on lanes arrives by the next turn.
    PassedOn,
}

impl Replication {
    pub(crate) fn new(id: CoreId, core_count: u16, stream_id: String, now: MonotonicNs, settings: &Settings) -> Replication {
        let keeper = (id == KEEPER).then(|| Box::new(Keeper::new(core_count, stream_id, now, terms(settings))));
        Replication {
            keeper,
            share: None,
            introductions: HashMap::new(),
            replicas: Vec::new(),
            waiting: Vec::new(),
            parting: Parting::default(),
        }
    }

    /// How replication stands, if this core knows.
    pub(crate) fn standing(&self) -> Option<Standing> {
        self.keeper.as_ref().map(|keeper| keeper.standing())
    }

    /// Takes what an operator set.
    pub(crate) fn apply(&mut self, settings: &Settings) {
        if let Some(keeper) = &mut self.keeper {
            keeper.set_terms(terms(settings));
        }
    }

    /// Bytes that this core holds for replicas; shared pieces count where they are kept, and where they wait.
    pub(crate) fn memory_bytes(&self) -> usize {
        let waiting: usize = self.replicas.iter().map(Replica::memory_bytes).sum();
        waiting + self.keeper.as_ref().map_or(0, |keeper| keeper.memory_bytes())
    }
}

/// The core that keeps the stream.
const KEEPER: CoreId = CoreId(0);

fn terms(settings: &Settings) -> Terms {
    Terms {
        backlog_bytes: settings.backlog_bytes,
        backlog_ttl_s: settings.backlog_ttl_s,
        ping_s: settings.replica_ping_s,
        waiting_bytes_max: settings.output_limit(ClientClass::Replica).hard_bytes,
    }
}

impl<K: Kernel> Core<K> {
    /// What there is to do for replicas once a turn.
    pub(crate) fn replicate(&mut self) {
        if !self.executor.effects.is_empty() && self.has_room_for_note(KEEPER) {
            let pieces = self.executor.effects.take();
            self.send_note(KEEPER, Note::Effects(pieces));
        }
        self.walk_share();
        if let Some(keeper) = &mut self.replication.keeper {
            keeper.turn(self.now.monotonic);
            self.empty_outbox();
        }
        self.feed_replicas();
    }

    /// The same ten times a second.
    pub(crate) fn replica_round(&mut self) {
        if let Some(keeper) = &mut self.replication.keeper {
            keeper.round(self.now.monotonic);
        }
        self.check_replicas();
        self.forget_waits();
    }

    /// Whether the next turn has something to do for replicas.
    pub(crate) fn has_replica_work(&self) -> bool {
        let Replication { keeper, share, .. } = &self.replication;
        !self.executor.effects.is_empty()
            || share.as_ref().is_some_and(Share::has_work)
            || keeper.as_ref().is_some_and(|keeper| keeper.has_work())
    }

    /// This core stops and says nothing more. Whether it must go on turning until replicas have been told the last of it.
    pub(crate) fn owes_replicas(&mut self) -> bool {
        if !self.executor.effects.is_heard() {
            return false;
        }
        let all_said = self.executor.effects.is_empty() && self.shared.publish_said(self.id);
        self.replication.parting = match self.replication.parting {
            Parting::Saying if all_said => Parting::Said,
            Parting::Said => match &self.replication.keeper {
                Some(keeper) if keeper.has_work() => Parting::Said,
                Some(_) => {
                    self.shared.pass_on();
                    Parting::PassedOn
                }
                None if self.shared.is_passed_on() => Parting::PassedOn,
                None => Parting::Said,
            },
            Parting::PassedOn => return !self.replicas_are_fed(),
            parting => parting,
        };
        true
    }

    /// Tells a core something, which may be this one.
    pub(crate) fn send_note(&mut self, to: CoreId, note: Note) {
        self.put(to, Way::Ask, Item::Replica(Box::new(note)));
    }

    fn has_room_for_note(&mut self, to: CoreId) -> bool {
        to == self.id || self.peers.has_room(to)
    }

    /// Sends what the keeper has to say, as far as lanes have room.
    fn empty_outbox(&mut self) {
        for core in self.placement.cores() {
            while self.has_room_for_note(core) {
                let Some(note) = self.replication.keeper.as_mut().and_then(|keeper| keeper.next(core)) else { break };
                self.send_note(core, note);
            }
        }
    }

    /// Another core, or this one, has something to tell.
    pub(crate) fn take_note(&mut self, from: CoreId, note: Note) {
        match note {
            Note::Prepare(number) => {
                self.executor.shard.note_victims(true);
                self.executor.shard.note_expired(true);
                let first = self.placement.partitions_of(self.id).start;
                self.executor.effects.prepare(number, first);
            }
            Note::Go { number, to, walks } => {
                self.executor.effects.note_heard();
                let mut partitions = self.placement.partitions_of(self.id);
                if !walks {
                    partitions.start = partitions.end;
                }
                self.replication.share = Some(Share::new(number, to, partitions));
            }
            Note::Cancel(_) => self.cancel_share(),
            Note::Off => {
                self.executor.effects.turn_off();
                self.executor.shard.note_expired(false);
                // A log still wants to know who was evicted.
                self.executor.shard.note_victims(self.writer.is_some());
            }
            Note::Begin { conn, id, offset } => self.begin_keys(conn, &id, offset),
            Note::Continue { conn, id, chunks } => self.continue_stream(conn, &id, chunks),
            Note::Stream { conn, bytes } => self.take_stream(conn, bytes),
            Note::Drop { conn, why } => self.drop_replica(conn, why),
            Note::Leaf { conn, number, bytes, is_last } => self.take_leaf(from, conn, number, bytes, is_last),
            Note::Taken(number, bytes) => self.take_taken(number, bytes),
            Note::Mark(ticket) => self.executor.effects.push(Piece::Mark(from, ticket)),
            Note::Reached { ticket, replicas, is_enough } => {
                self.answer_in_vain(ticket, format!(":{replicas}\r\n").into_bytes(), is_enough);
            }
            for_keeper => self.take_note_as_keeper(from, for_keeper),
        }
    }

    fn take_note_as_keeper(&mut self, from: CoreId, note: Note) {
        let mut half = || self.kernel.entropy();
        let Some(keeper) = &mut self.replication.keeper else { unreachable!("only core 0 is told this: {note:?}") };
        match note {
            Note::Wish(wish) => keeper.take_wish(wish, format!("{:016x}{:016x}{:08x}", half(), half(), half() as u32)),
            Note::Acked(id, offset) => keeper.take_ack(id, offset),
            Note::Gone(id) => keeper.take_gone(id),
            Note::Effects(pieces) => keeper.take_pieces(from, pieces),
            Note::Wait(ticket, replicas) => keeper.take_wait(from, ticket, replicas),
            Note::Unwait(ticket) => keeper.take_unwait(from, ticket),
            other => unreachable!("not for the keeper: {other:?}"),
        }
    }

    /// Tells a client that waits, see [`Core::answer_in_vain`], when so many replicas have what was written before, on any core.
    pub(crate) fn wait_for_replicas(&mut self, ticket: Ticket, replicas: u64) {
        self.replication.waiting.push(ticket);
        for core in self.placement.cores() {
            self.send_note(core, Note::Mark(ticket));
        }
        self.send_note(KEEPER, Note::Wait(ticket, replicas));
    }

    /// The keeper need not remember those that wait no more.
    fn forget_waits(&mut self) {
        let mut waiting = std::mem::take(&mut self.replication.waiting);
        let over: Vec<Ticket> = waiting.extract_if(.., |ticket| !self.surveys.contains_key(ticket)).collect();
        self.replication.waiting = waiting;
        over.into_iter().for_each(|ticket| self.send_note(KEEPER, Note::Unwait(ticket)));
    }

    /// A replica asks for what it may have.
    pub(crate) fn wish(&mut self, wish: Wish) {
        self.send_note(KEEPER, Note::Wish(wish));
    }

    /// A connection is closed.
    pub(crate) fn forget_replica(&mut self, conn: ConnId) {
        let Replication { introductions, replicas, .. } = &mut self.replication;
        introductions.remove(&conn);
        if let Some(position) = replicas.iter().position(|replica| replica.conn == conn) {
            replicas.swap_remove(position);
            tracing::info!("a replica's connection is closed");
            self.send_note(KEEPER, Note::Gone(ReplicaId { home: self.id, conn }));
        }
    }
}
