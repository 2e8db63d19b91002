//! A run of buckets that holds one range of hashes.
//!
//! Copyable like the pointer it is: the table decides who owns the buckets. Invariant: from an entry's home bucket up to
//! the one it is in, every bucket before that is full; and at least one bucket is not full, so every walk ends.

use super::bucket::{BUCKET_ENTRIES, Bucket, Entry};
use crate::heap::Heap;
use std::ptr::NonNull;

/// Address of the buckets, their number, and how many top bits all hashes in it share, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Segment(u64);

const ADDRESS_BITS: u32 = 41; // 47 bits of address, aligned to 64 bytes.
const DEPTH_BITS: u32 = 5;
const COUNT_BITS: u32 = 64 - ADDRESS_BITS - DEPTH_BITS;

impl Segment {
    /// An empty one.
    pub(super) fn new(heap: &mut Heap, bucket_count: usize, depth: u32) -> Segment {
        let address = heap.take_block(bucket_count).as_ptr().expose_provenance() as u64;
        assert!(address.is_multiple_of(64) && address >> 47 == 0, "user addresses have 47 bits");
        // Two million entries whose hashes share more bits than a directory can split by: the hash is broken.
        assert!(bucket_count < 1 << COUNT_BITS && depth < 1 << DEPTH_BITS, "a segment of {bucket_count} buckets at depth {depth}");
        Segment(address >> 6 | u64::from(depth) << ADDRESS_BITS | (bucket_count as u64) << (ADDRESS_BITS + DEPTH_BITS))
    }

    /// Gives the buckets back. This copy and all others must not be used again.
    pub(super) fn free(self, heap: &mut Heap) {
        let start = NonNull::new(self.start().cast::<u8>()).expect("a segment has an address");
        // SAFETY: the address and count are those of `take_block`, and the table has dropped every pointer to it.
        unsafe { heap.free_block(start, self.bucket_count()) }
    }

    #[inline]
    pub(super) fn bucket_count(self) -> usize {
        (self.0 >> (ADDRESS_BITS + DEPTH_BITS)) as usize
    }

    #[inline]
    pub(super) fn depth(self) -> u32 {
        (self.0 >> ADDRESS_BITS) as u32 & ((1 << DEPTH_BITS) - 1)
    }

    #[inline]
    fn start(self) -> *mut Bucket {
        std::ptr::with_exposed_provenance_mut(((self.0 & ((1 << ADDRESS_BITS) - 1)) << 6) as usize)
    }

    /// The home bucket of a hash: its share of the segment's range.
    #[inline]
    pub(super) fn home(self, hash: u32) -> usize {
        ((u64::from(hash << self.depth()) * self.bucket_count() as u64) >> 32) as usize
    }

    /// The bucket after this one, round the end.
    #[inline]
    pub(super) fn after(self, at: usize) -> usize {
        if at + 1 == self.bucket_count() { 0 } else { at + 1 }
    }

    #[inline]
    pub(super) fn address(self, at: usize) -> *const u8 {
        self.start().wrapping_add(at).cast()
    }

    #[inline]
    pub(super) fn bucket(&self, at: usize) -> &Bucket {
        debug_assert!(at < self.bucket_count());
        // SAFETY: the block holds `bucket_count` initialised buckets, aligned, and lives as long as the table points to
        // it; the table borrows itself mutably wherever a bucket changes.
        unsafe { &*self.start().add(at) }
    }

    #[inline]
    pub(super) fn bucket_mut(&mut self, at: usize) -> &mut Bucket {
        debug_assert!(at < self.bucket_count());
        // SAFETY: as in `bucket`; the table holds the only other copies of this pointer and is borrowed mutably.
        unsafe { &mut *self.start().add(at) }
    }

    /// The first hash after the range that starts at `from` and ends with `from`'s home bucket; `None` after the last.
    pub(super) fn range_end(self, from: u32) -> Option<u32> {
        let next_home = self.home(from) as u64 + 1;
        let within = (next_home << 32).div_ceil(self.bucket_count() as u64) >> self.depth();
        let exact = within << self.depth() == (next_home << 32).div_ceil(self.bucket_count() as u64);
        let base = if self.depth() == 0 { 0 } else { u64::from(from >> (32 - self.depth()) << (32 - self.depth())) };
        u32::try_from(base + within + u64::from(!exact)).ok()
    }

    /// Adds an entry. The caller has seen that there is room.
    #[inline]
    pub(super) fn insert(&mut self, entry: Entry) {
        let mut at = self.home(entry.hash);
        while self.bucket(at).is_full() {
            at = self.after(at);
        }
        self.bucket_mut(at).push(entry);
    }

    /// Takes an entry out and pulls back what had overflowed past it.
    pub(super) fn remove(&mut self, mut hole: usize, index: usize) {
        let mut was_full = self.bucket(hole).is_full();
        self.bucket_mut(hole).take(index);
        let mut at = hole;
        // Only what overflowed over a full bucket can have its home at or before it.
        while was_full {
            at = self.after(at);
            let bucket = self.bucket(at);
            let end = !bucket.is_full();
            let displaced = (0..BUCKET_ENTRIES)
                .find(|&index| bucket.get(index).is_some_and(|entry| self.distance(self.home(entry.hash), at) >= self.distance(hole, at)));
            if let Some(index) = displaced {
                let entry = bucket.get(index).expect("just found");
                self.bucket_mut(hole).push(entry);
                self.bucket_mut(at).take(index);
                hole = at;
            }
            was_full = !end;
        }
    }

    /// How many buckets after `from` the one at `to` comes.
    #[inline]
    fn distance(self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.bucket_count() - from }
    }

    /// A copy with another number of buckets.
    pub(super) fn moved(self, heap: &mut Heap, bucket_count: usize) -> Segment {
        let mut other = Segment::new(heap, bucket_count, self.depth());
        self.entries().for_each(|entry| other.insert(entry));
        other
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..self.bucket_count()).flat_map(|at| self.bucket(at).entries())
    }

    /// How many entries have a one as the bit that a split would look at.
    pub(super) fn entries_upper(self) -> usize {
        self.entries().filter(|entry| entry.hash << self.depth() >> 31 == 1).count()
    }

    /// Proves the invariant. Returns the number of entries.
    pub(super) fn check(self) -> usize {
        let mut len = 0;
        for at in 0..self.bucket_count() {
            let bucket = self.bucket(at);
            len += bucket.len();
            for index in bucket.len()..BUCKET_ENTRIES {
                assert!(bucket.get(index).is_none(), "entries are packed to the front");
            }
            for entry in bucket.entries() {
                let mut before = self.home(entry.hash);
                while before != at {
                    assert!(self.bucket(before).is_full(), "an entry that a lookup would not reach");
                    before = self.after(before);
                }
            }
        }
        len
    }
}
