//! A core's log: what is written when, and what becomes of it.

mod room;
mod writer;

pub use writer::LogCounts;
pub(crate) use writer::{Identity, Writer};

use crate::connection::Connection;
use crate::core::Core;
use crate::directory::Directory;
use crate::hold::JointId;
use crate::parcel::{Item, Ticket};
use crate::parking::Parked;
use crate::peers::Way;
use crate::placement::CoreId;
use crate::planted::{Bug, planted};
use crate::settings::Settings;
use crate::survey::{Finding, LogStats};
use netio::{ConnId, FileDone, FileFailure, Kernel, MonotonicNs};
use room::Room;
use shards::log::{Generation, Lsn, NodeId, StreamId};

/// An answer that has seen parts of commands over several cores, of which other cores may not have theirs yet.
pub(crate) struct FindingBehindParts {
    pub(crate) parts: Vec<JointId>,
    pub(crate) from: CoreId,
    pub(crate) ticket: Ticket,
    pub(crate) finding: Box<Finding>,
    pub(crate) until: Lsn,
}

/// Who began something with a file: the top byte of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileOwner {
    /// The writer of the log.
    Log,
    /// One core's share of a snapshot.
    Snapshot,
    /// Recovery.
    Load,
    /// Whoever keeps the snapshots of all cores, and deletes what is not needed.
    Keeper,
}

impl FileOwner {
    const ALL: [FileOwner; 4] = [FileOwner::Log, FileOwner::Snapshot, FileOwner::Load, FileOwner::Keeper];
    const SHIFT: u32 = 56;

    /// The token of this owner's request `number`.
    ///
    /// # Panics
    /// If the number needs the top byte.
    pub fn token(self, number: u64) -> u64 {
        assert!(number >> FileOwner::SHIFT == 0, "the top byte names the owner");
        (self as u64) << FileOwner::SHIFT | number
    }

    /// Whose request this is, and its number.
    ///
    /// # Panics
    /// If nobody can have made it.
    pub fn of(token: u64) -> (FileOwner, u64) {
        (FileOwner::ALL[(token >> FileOwner::SHIFT) as usize], token & ((1 << FileOwner::SHIFT) - 1))
    }
}

impl<K: Kernel> Core<K> {
    /// Begins this core's stream of a generation, whose entries' clocks are nowhere behind `clock_floor_ms`. The directory of the log
    /// exists. Commands may run when [`Core::log_is_open`].
    pub(crate) fn begin_log(&mut self, node: NodeId, generation: Generation, clock_floor_ms: u64) {
        let settings = &self.executor.settings;
        let directory = Directory::new(settings.dir.as_ref().expect("whoever begins a log was given a directory"));
        let identity = Identity {
            directory,
            node,
            stream: StreamId { generation, core: self.id.0 },
            core_count: self.placement.core_count(),
            partitions: self.placement.partitions_of(self.id),
        };
        let mut writer = Writer::new(identity, settings.log_segment_bytes);
        writer.set_sealing(settings.log_compression, &settings.keys);
        self.writer = Some(writer);
        let clock_floor_ms = if planted(Bug::ClockFloorForgotten) { 0 } else { clock_floor_ms };
        self.entry_clock.raise(clock_floor_ms, self.kernel.now());
        self.now = self.entry_clock.advance(self.kernel.now());
        self.executor.shard.note_victims(true);
        self.executor.journal.open(clock_floor_ms);
        self.pump_log();
    }

    /// Whether what commands do can be written.
    pub(crate) fn log_is_open(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_open)
    }

    /// Takes what an operator said of durability.
    pub(crate) fn apply_durability(&mut self, settings: &Settings) {
        let ladder = settings.ladder();
        if ladder != *self.executor.journal.ladder() {
            let begins = ladder.logs() && !self.executor.journal.ladder().logs();
            self.executor.journal.set_ladder(ladder);
            if let Some(saving) = self.saving.as_mut().filter(|_| begins) {
                saving.gap_is_open = true;
                let now = self.now.wall.0;
                self.executor.journal.note_gap(self.id, now, false);
            }
        }
        if let Some(writer) = &mut self.writer {
            writer.set_segment_bytes(settings.log_segment_bytes);
            writer.set_sealing(settings.log_compression, &settings.keys);
        }
    }

    /// Begins the write that is due.
    pub(crate) fn pump_log(&mut self) {
        self.look_at_lines();
        let wanted = self.parking.wanted();
        let Core { writer, kernel, executor, now, .. } = self;
        let Some(writer) = writer else { return };
        writer.pump(kernel, &mut executor.journal, wanted, *now);
        if planted(Bug::AckedBeforeSync) {
            self.release_parked();
        }
    }

    /// When the next write or line is due; `None` if there is none, or something else must happen first.
    pub(crate) fn log_due(&self) -> Option<MonotonicNs> {
        let write = self.writer.as_ref()?.due(&self.executor.journal, self.parking.wanted());
        write.into_iter().chain(self.line_due()).min()
    }

    /// What the log has to do ten times a second.
    pub(crate) fn log_round(&mut self) {
        let Core { writer, kernel, executor, now, .. } = self;
        if let Some(writer) = writer {
            writer.round(kernel, &executor.journal, *now);
        }
    }

    /// Says in the log how late it is, if something may have expired since it last did.
    pub(crate) fn log_expiry(&mut self) {
        if self.executor.journal.is_on() && self.executor.shard.counts().expired != self.expired_logged {
            let now = self.now_ms();
            if self.executor.journal.tick(now) {
                self.expired_logged = self.executor.shard.counts().expired;
            }
        }
    }

    /// Whether nothing more should be run, because too much waits for the disk already.
    pub(crate) fn waits_for_disk(&self) -> bool {
        self.parking.is_full() || self.executor.journal.is_full()
    }

    /// Bytes that the log holds in memory.
    pub(crate) fn log_bytes(&self) -> usize {
        self.writer.as_ref().map_or(0, |writer| writer.memory_bytes() + self.executor.journal.memory_bytes() + self.parking.memory_bytes())
    }

    /// Ends the log in order, once no core will append anything any more. Whether it has.
    pub(crate) fn end_log(&mut self) -> bool {
        if self.writer.is_none() {
            return true;
        }
        // Parts that this core has for others end with their commands, which are those cores' joints.
        if !self.joints.is_empty() || !self.lines_are_settled() || !self.shared.publish_quiet(self.id) {
            return false;
        }
        if !self.open_parts.is_empty() || !self.executor.holds.is_empty() || !self.parking.is_empty() || self.peers.has_work() {
            return false;
        }
        self.writer.as_mut().is_none_or(|writer| {
            writer.end();
            writer.is_closed()
        })
    }

    /// What is answered next is told when all that was logged is durable.
    pub(crate) fn depend_on_all(&mut self) {
        let journal = &self.executor.journal;
        if journal.last() > journal.safe() {
            self.executor.depends = journal.last();
        }
    }

    /// This core's log for `INFO`.
    pub(crate) fn log_stats(&self) -> Option<LogStats> {
        let writer = self.writer.as_ref()?;
        let journal = &self.executor.journal;
        Some(LogStats {
            counts: writer.counts,
            lsn: journal.last().0,
            synced_lsn: journal.safe().0,
            waiting_bytes: journal.waiting_bytes() as u64,
            parked: self.parking.len() as u64,
            is_low: writer.room() != Room::Enough,
            refuses: journal.refuses_all(),
        })
    }

    /// Takes a connection's name if its first pending reply waits for the log.
    pub(crate) fn park_connection(&mut self, id: ConnId) {
        let Core { connections, parking, .. } = self;
        let conn: Option<&mut Connection> = connections.get_mut(id.index as usize).and_then(|slot| slot.as_deref_mut());
        if let Some(conn) = conn.filter(|conn| conn.id == id) {
            parking.park_connection(conn);
        }
    }

    /// Lets those go who have seen a part that is complete now.
    pub(crate) fn release_findings(&mut self, joint: JointId) {
        for mut waiting in std::mem::take(&mut self.findings_behind_parts) {
            waiting.parts.retain(|part| *part != joint);
            if waiting.parts.is_empty() {
                self.tell_finding(waiting.from, waiting.ticket, waiting.finding, waiting.until);
            } else {
                self.findings_behind_parts.push(waiting);
            }
        }
    }

    /// Answers a question when the log is durable up to `until`.
    pub(crate) fn tell_finding(&mut self, from: CoreId, ticket: Ticket, finding: Box<Finding>, until: Lsn) {
        if until > self.executor.journal.safe() {
            return self.parking.park(until, Parked::Finding(from, ticket, finding));
        }
        self.put(from, Way::Answer, Item::Finding(ticket, finding));
    }

    /// Something with a file is done.
    pub(crate) fn take_file(&mut self, token: u64, outcome: Result<FileDone, FileFailure>) {
        let (owner, number) = FileOwner::of(token);
        match owner {
            FileOwner::Snapshot | FileOwner::Keeper => {
                if let Some(saving) = &mut self.saving {
                    saving.take_file(owner, number, outcome);
                }
            }
            FileOwner::Log => self.take_log(number, outcome),
            // What recovery no longer wanted to know may be answered after its end.
            FileOwner::Load => {
                if let Some(load) = &mut self.loading {
                    load.take_file(number, outcome);
                }
            }
        }
    }

    fn take_log(&mut self, number: u64, outcome: Result<FileDone, FileFailure>) {
        let synced = self.executor.journal.synced();
        let now_ms = self.now_ms();
        let Core { writer, kernel, executor, .. } = self;
        let writer = writer.as_mut().expect("only a writer asks");
        if let Err(why) = writer.take(number, outcome, kernel, &mut executor.journal, now_ms) {
            self.log_broken = Some(why);
            return;
        }
        if self.executor.journal.synced() > synced {
            self.release_parked();
        }
    }

    /// Lets go what has waited for the log long enough.
    pub(crate) fn release_parked(&mut self) {
        let safe = self.executor.journal.safe();
        for parked in self.parking.release(safe) {
            match parked {
                Parked::Conn(id) => self.release_connection(id, safe),
                Parked::Reply(ticket, reply) => self.settle(ticket, &reply),
                Parked::Answer(from, ticket, reply) => {
                    self.peers.outbox(from, Way::Answer).put_answer(ticket, |out| out.extend_from_slice(&reply));
                }
                Parked::Finding(from, ticket, finding) => self.put(from, Way::Answer, Item::Finding(ticket, finding)),
                Parked::Held(held) => self.put(held.joint.core, Way::Answer, Item::Held(held)),
                Parked::Settled(joint, reply) => self.put(joint.core, Way::Answer, Item::Settled { joint, reply, late: false }),
            }
        }
    }

    fn release_connection(&mut self, id: ConnId, safe: Lsn) {
        let Some(conn) = self.connection(id) else { return };
        conn.parked = false;
        conn.release_ready(safe);
        self.dirty.push(id);
        self.park_connection(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_owner() {
        for owner in FileOwner::ALL {
            for number in [0, 1, (1 << 56) - 1] {
                assert_eq!(FileOwner::of(owner.token(number)), (owner, number));
            }
        }
    }
}
