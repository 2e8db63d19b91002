//! The elements of a large set or hash, found by their bytes.
//!
//! Each element is a record of its own, member or field as key, a hash's value as value, and they are in a [`Table`] like the
//! keys of a partition. So nothing here grows or shrinks with a pause, `SCAN` of any length is stable, a member can be picked
//! at random, and what is removed gives its memory back at once.

use crate::heap::{Handle, Heap};
use crate::key::KeySeed;
use crate::record::{self, Kind, Record, Shape, Tag};
use crate::shard::Shard;
use crate::table::{Entry, Table};

/// See the head of this file.
pub(crate) struct Members {
    table: Table,
    seed: KeySeed,
    /// Of all elements' records.
    record_bytes: usize,
}

impl Members {
    /// Of elements that are all different.
    pub(crate) fn of<'e>(elements: impl Iterator<Item = (&'e [u8], &'e [u8])>, shard: &mut Shard) -> Members {
        let mut members = Members::new(&shard.config.key_seed);
        for (member, value) in elements {
            members.set(&mut shard.heap, member, value);
        }
        members
    }

    /// None yet.
    pub(crate) fn new(seed: &KeySeed) -> Members {
        Members { table: Table::new(0), seed: *seed, record_bytes: 0 }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The value of a member.
    #[inline]
    pub(crate) fn get<'h>(&self, heap: &'h Heap, member: &[u8]) -> Option<&'h [u8]> {
        let (_, handle) = self.table.find(self.seed.hash(member), |handle| record(heap, handle).key() == member)?;
        Some(record(heap, handle).value())
    }

    /// Puts a member, or gives it another value. Whether it is new.
    pub(crate) fn set(&mut self, heap: &mut Heap, member: &[u8], value: &[u8]) -> bool {
        self.put(heap, member, value).0
    }

    /// The same, and its record's handle, which is good until the member gets a value of another length or is removed.
    pub(crate) fn put(&mut self, heap: &mut Heap, member: &[u8], value: &[u8]) -> (bool, Handle) {
        let hash = self.seed.hash(member);
        let bytes = Shape { key_bytes: member.len(), value_bytes: value.len(), has_deadline: false }.bytes();
        let found = self.table.find(hash, |handle| record(heap, handle).key() == member);
        if let Some((_, handle)) = found
            && heap.fits_exactly(handle, bytes)
        {
            record::write(heap.bytes_mut(handle), Tag::of(Kind::String), 0, None, member, value);
            return (false, handle);
        }
        let new = heap.take(bytes);
        record::write(heap.bytes_mut(new), Tag::of(Kind::String), 0, None, member, value);
        self.record_bytes += heap.bytes_of(new);
        match found {
            Some((place, old)) => {
                self.table.replace(place, new);
                self.let_go(heap, old);
            }
            None => self.grow(heap, |table, heap| table.insert(heap, hash, new)),
        }
        (found.is_none(), new)
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, heap: &mut Heap, member: &[u8]) -> bool {
        let found = self.table.find(self.seed.hash(member), |handle| record(heap, handle).key() == member);
        let Some((place, handle)) = found else { return false };
        self.grow(heap, |table, heap| table.remove(heap, place));
        self.let_go(heap, handle);
        true
    }

    /// Some member, each as likely as the next, and its value. `None` if there are none. `chance` gives 64 random bits each time.
    pub(crate) fn pick<'h>(&self, heap: &'h Heap, mut chance: impl FnMut() -> u64) -> Option<(&'h [u8], &'h [u8])> {
        if self.table.len() == 0 {
            return None;
        }
        // An empty place is no answer: drawing again keeps every member as likely as the next.
        loop {
            if let Some(Entry { handle, .. }) = self.table.pick(chance()) {
                let record = record(heap, handle);
                return Some((record.key(), record.value()));
            }
        }
    }

    /// Shows the members of some hashes, from `cursor` on. Returns where to go on, `None` at the end. A member that is there all
    /// the time is shown at least once, whatever happens between two calls.
    pub(crate) fn scan<'h>(&self, heap: &'h Heap, cursor: u32, visit: &mut dyn FnMut(&'h [u8], &'h [u8])) -> Option<u32> {
        self.table.visit_range(cursor, &mut |entry| {
            let record = record(heap, entry.handle);
            visit(record.key(), record.value());
        })
    }

    /// Shows every member and its value.
    pub(crate) fn visit<'h>(&self, heap: &'h Heap, visit: &mut dyn FnMut(&'h [u8], &'h [u8])) {
        self.table.visit(&mut |entry| {
            let record = record(heap, entry.handle);
            visit(record.key(), record.value());
        });
    }

    /// Memory of the table that is outside of the heap.
    pub(crate) fn directory_bytes(&self) -> usize {
        self.table.directory_bytes()
    }

    /// Memory of all elements and of the table.
    pub(crate) fn bytes(&self, _heap: &Heap) -> usize {
        let stats = self.table.stats();
        self.record_bytes + stats.buckets * crate::heap::LINE_BYTES + stats.directory_bytes
    }

    /// Proves what the rest relies on.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub(crate) fn check(&self, heap: &Heap) {
        self.table.check();
        let mut record_bytes = 0;
        self.table.visit(&mut |entry| {
            assert_eq!(self.seed.hash(record(heap, entry.handle).key()), entry.hash, "an element filed under another");
            record_bytes += heap.bytes_of(entry.handle);
        });
        assert_eq!(record_bytes, self.record_bytes);
    }

    /// Removes about so many elements, all of one piece of the table. How many, or one if that was empty; zero when nothing is left.
    pub(crate) fn free_some(&mut self, heap: &mut Heap, budget: usize) -> usize {
        let (mut handles, mut freed) = (Vec::new(), 0);
        while freed < budget.max(1) {
            let mut more = false;
            self.grow(heap, |table, heap| more = table.take_segment(heap, &mut handles));
            if !more {
                // What is left of the directory goes as well, and is not accounted for any more.
                self.grow(heap, |table, _| *table = Table::new(0));
                break;
            }
            freed += handles.len().max(1);
            for handle in handles.drain(..) {
                self.let_go(heap, handle);
            }
        }
        freed
    }

    fn let_go(&mut self, heap: &mut Heap, handle: Handle) {
        self.record_bytes -= heap.bytes_of(handle);
        heap.free(handle);
    }

    /// Does something that may change how much memory the table has elsewhere.
    fn grow(&mut self, heap: &mut Heap, change: impl FnOnce(&mut Table, &mut Heap)) {
        let before = self.table.directory_bytes();
        change(&mut self.table, heap);
        heap.note_directory(before, self.table.directory_bytes());
    }
}

#[inline]
fn record(heap: &Heap, handle: Handle) -> Record<'_> {
    Record::trusted(heap.bytes(handle))
}
