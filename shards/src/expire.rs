//! Time: which records are armed in the wheel, and what a tick does.
//!
//! Every armed record has exactly one entry in the wheel, its handle, and the wheel never gives an entry back early. So a
//! deadline that moves later changes the record only, and the entry is filed again when it comes up; a record that goes
//! leaves its slot behind as *dead* until its entry comes up, or a sweep fetches it. Dead slots are bounded: more than an
//! eighth of what is armed starts a sweep.

use crate::evict::Victims;
use crate::heap::Handle;
use crate::key::{Db, PartitionId};
use crate::record::{self, Deadline, Record};
use crate::shard::Shard;
use crate::table::Place;
use crate::wheel::{BATCH, Batch};

/// Dead slots, and their bytes, that are not worth a sweep.
const DEAD_COUNT_SLACK: usize = 4096;
const DEAD_BYTES_SLACK: usize = 1 << 20;

impl Shard {
    /// Removes what is due by `now`, and goes on with other work that was put off, touching at most about `budget`
    /// records. How many are still overdue.
    pub fn tick(&mut self, now: u64, budget: usize) -> usize {
        self.wheel.advance(now);
        let mut left = budget;
        let mut batch = Batch::EMPTY;
        while left > 0 && self.wheel.take_due(&mut batch, left) {
            left -= batch.ids().len();
            self.fire(&batch, now);
        }
        while left > 0 && self.wheel.take_opening(&mut batch, left) {
            left -= batch.ids().len();
            self.file_again(&batch);
        }
        // What was opened late may be due already.
        while left > 0 && self.wheel.take_due(&mut batch, left) {
            left -= batch.ids().len();
            self.fire(&batch, now);
        }
        if left > 0 {
            left = left.saturating_sub(self.free_doomed_larges(left));
            left = left.saturating_sub(self.free_doomed(left));
        }
        self.sweep(left);
        if self.is_over_budget() {
            self.make_room(now);
        }
        self.wheel.due_len()
    }

    /// The earliest moment at which [`Shard::tick`] has something to do; may be early, never late. In the past if there
    /// is work left over that has no time of its own.
    pub fn next_deadline(&self) -> Option<Deadline> {
        if !self.doomed.is_empty() || self.larges.has_doomed() || self.wheel.is_sweeping() {
            return Some(Deadline(0));
        }
        self.wheel.next_at().map(Deadline)
    }

    /// Records that put-off work has still to touch: cleared databases, entries on their way down the wheel.
    pub fn backlog(&self) -> usize {
        self.wheel.due_len()
            + self.wheel.opening_len()
            + self.larges.doomed_len()
            + self.doomed.iter().map(|keyspace| keyspace.len()).sum::<usize>()
    }

    /// Whether keys that are removed because their time has come are remembered until [`Shard::drain_expired`] tells of them.
    /// Whoever turns it on drains after every command, which adds at most one for each of its keys, and every
    /// [`Shard::tick`], which adds at most its budget.
    pub fn note_expired(&mut self, noted: bool) {
        self.expired = Victims::noted(noted);
    }

    /// Tells of each removed key once, in order: a copy that does not expire keys by itself must be told. What a command has
    /// done to the key since, it did afterwards.
    #[inline]
    pub fn drain_expired(&mut self, take: &mut dyn FnMut(Db, &[u8])) {
        self.expired.drain(take);
    }

    /// Puts a record with a deadline into the wheel, if it is not there.
    #[inline]
    pub(crate) fn arm(&mut self, handle: Handle, now: u64) {
        let record = self.record(handle);
        let Some(deadline) = record.deadline() else { return };
        if record.is_armed() {
            return;
        }
        if self.wheel.is_empty() {
            self.wheel.advance(now);
        }
        self.wheel.insert(handle.bits(), deadline.0);
        record::set_armed(self.heap.bytes_mut(handle), true);
    }

    /// Lets go of a record that no table names any more. If the wheel still knows it, its slot stays until that is over.
    pub(crate) fn release(&mut self, handle: Handle) {
        if !self.record(handle).is_armed() {
            return self.heap.free(handle);
        }
        if self.heap.is_large(handle) {
            self.heap.free_body(handle);
        } else {
            record::set_dead(self.heap.bytes_mut(handle));
        }
        self.dead.count += 1;
        self.dead.bytes += self.heap.bytes_of(handle);
        if self.dead.count > DEAD_COUNT_SLACK + self.wheel.len() / 8 || self.dead.bytes > DEAD_BYTES_SLACK + self.heap.bytes_records() / 16
        {
            self.wheel.start_sweep();
        }
    }

    /// Removes a record whose time has come.
    pub(crate) fn expire_at(&mut self, db: Db, partition: PartitionId, place: Place, handle: Handle) {
        self.counts.expired += 1;
        self.expired.note(db, Record::trusted(self.heap.bytes(handle)).key());
        self.remove_at(db, partition, place, handle);
    }

    /// Handles what came up: expired records go, others are filed again.
    fn fire(&mut self, batch: &Batch, now: u64) {
        self.prefetch_records(batch);
        // Two rounds, so that the buckets of all are on their way before the first is looked at.
        let mut expired = [None; BATCH];
        for (index, &id) in batch.ids().iter().enumerate() {
            let handle = handle_of(id);
            if !self.came_up(handle) {
                continue;
            }
            if !self.record(handle).is_over(now) {
                self.file(handle);
                continue;
            }
            let key = self.key(self.record(handle).key());
            let (hash, partition) = (key.hash, key.partition());
            for keyspace in self.dbs.iter().filter(|keyspace| keyspace.timed() > 0) {
                if let Some(table) = keyspace.table(partition) {
                    table.prefetch(hash);
                }
            }
            expired[index] = Some((hash, partition));
        }
        for (index, &id) in batch.ids().iter().enumerate() {
            if let Some((hash, partition)) = expired[index] {
                self.expire(handle_of(id), hash, partition);
            }
        }
    }

    /// Removes an expired record that is not armed any more.
    fn expire(&mut self, handle: Handle, hash: u32, partition: PartitionId) {
        // A record does not say which database it is in; tables answer that without another look at memory.
        let found = self.dbs.iter().enumerate().filter(|(_, keyspace)| keyspace.timed() > 0).find_map(|(db, keyspace)| {
            let (place, _) = keyspace.table(partition)?.find(hash, |other| other == handle)?;
            Some((Db(db as u16), place))
        });
        if let Some((db, place)) = found {
            self.expire_at(db, partition, place, handle);
        }
        // Else it belongs to a cleared database, whose end frees it.
    }

    fn file_again(&mut self, batch: &Batch) {
        self.prefetch_records(batch);
        for &id in batch.ids() {
            let handle = handle_of(id);
            if self.came_up(handle) {
                self.file(handle);
            }
        }
    }

    /// An entry has left the wheel: notes it in the record, or frees the slot where there is none any more. Whether there
    /// is a record.
    fn came_up(&mut self, handle: Handle) -> bool {
        let bytes = self.heap.bytes(handle);
        if record::is_dead(bytes) {
            self.dead.count -= 1;
            self.dead.bytes -= self.heap.bytes_of(handle);
            self.heap.free(handle);
            return false;
        }
        record::set_armed(self.heap.bytes_mut(handle), false);
        true
    }

    fn file(&mut self, handle: Handle) {
        if let Some(deadline) = self.record(handle).deadline() {
            self.wheel.insert(handle.bits(), deadline.0);
            record::set_armed(self.heap.bytes_mut(handle), true);
        }
    }

    /// Takes cleared databases apart. How many records were touched.
    pub(crate) fn free_doomed(&mut self, budget: usize) -> usize {
        let (mut handles, mut done) = (Vec::new(), 0);
        while done < budget {
            let Some(keyspace) = self.doomed.last_mut() else { break };
            if !keyspace.take_segment(&mut self.heap, &mut handles) {
                self.doomed.pop();
                continue;
            }
            done += handles.len().max(1);
            for index in 0..handles.len() {
                if let Some(ahead) = handles.get(index + BATCH) {
                    self.heap.prefetch(*ahead);
                }
                self.doom_large(handles[index]);
                self.release(handles[index]);
            }
            handles.clear();
        }
        done
    }

    /// Drops dead slots, if there are too many of them.
    pub(crate) fn sweep(&mut self, mut budget: usize) {
        let mut batch = Batch::EMPTY;
        while budget > 0 && self.wheel.take_sweep(&mut batch, budget) {
            budget -= batch.ids().len();
            self.file_again(&batch);
        }
    }

    fn prefetch_records(&self, batch: &Batch) {
        batch.ids().iter().for_each(|id| self.heap.prefetch(handle_of(*id)));
    }
}

pub(crate) fn handle_of(id: u32) -> Handle {
    Handle::from_bits(id).expect("only handles are armed")
}
