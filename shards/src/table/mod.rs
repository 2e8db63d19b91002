//! Where a partition's records are: hash to handle, growing without a pause.
//!
//! A directory, indexed by the hash's top bits, points to segments; a segment is a run of buckets, one cache line each.
//! The bits below pick a home bucket by their share of the segment's range, so that homes follow the order of hashes
//! whatever the segment's length. A full bucket overflows into the next one, round the segment's end; a lookup ends at
//! the first bucket that is not full, and a removal pulls displaced entries back, so there are no tombstones.
//!
//! A segment grows by about a sixteenth at a time and splits in two at its most, which is a few microseconds' work and
//! touches no record; it shrinks and merges the same way. Partitions have different mosts, so that they do not all
//! split at once and what one gives back the next takes.

mod bucket;
mod segment;

use bucket::BUCKET_ENTRIES;
pub(crate) use bucket::Entry;
use segment::Segment;

use crate::heap::{Handle, Heap, prefetch};

/// Most buckets of a segment before it splits: from here to twice as many, by partition.
const BUCKETS_MAX_LEAST: usize = 32;

/// Entries per bucket, on average over a segment, above which it grows: 7 of 8.
const FILL_MAX: usize = 7;
const _: () = assert!(FILL_MAX < BUCKET_ENTRIES, "some bucket is not full, or lookups would not end");

/// Entries per bucket below which a segment shrinks.
const FILL_MIN: usize = 3;

/// The directory doubles only where it has at least so many entries per pointer, so that unlucky hashes cannot make it
/// large: then segments grow beyond their most instead.
const ENTRIES_PER_POINTER_MIN: usize = 32;

/// Deepest split: beyond it, hashes have too few bits left to tell entries apart.
const DEPTH_MAX: u32 = 24;

/// One partition's entries.
pub(crate) struct Table {
    /// `2^depth` pointers; empty for an empty table. A segment of a lesser depth has several in a row.
    directory: Vec<Segment>,
    /// Entries of each segment, at its first pointer.
    lens: Vec<u32>,
    len: usize,
    /// 32 less the depth: how far to shift a hash to index the directory.
    shift: u32,
    /// How many segments have the directory's own depth.
    deepest: u32,
    buckets_max: u32,
}

/// Where an entry is. Valid until the table changes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    hash: u32,
    bucket: u32,
    index: u8,
}

/// What a table is made of, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Entries.
    pub entries: usize,
    /// Runs of buckets.
    pub segments: usize,
    /// Cache lines of eight entries.
    pub buckets: usize,
    /// Bytes of directories.
    pub directory_bytes: usize,
}

impl Table {
    /// An empty table; `partition` only decides at which length its segments split.
    pub(crate) fn new(partition: u16) -> Table {
        let share = usize::from(partition % 256);
        Table {
            directory: Vec::new(),
            lens: Vec::new(),
            len: 0,
            shift: 32,
            deepest: 0,
            buckets_max: (BUCKETS_MAX_LEAST + BUCKETS_MAX_LEAST * share / 256) as u32,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Asks the processor for the home bucket of a hash.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u32) {
        if let Some(segment) = self.directory.get(self.index(hash)) {
            prefetch(segment.address(segment.home(hash)));
        }
    }

    /// Asks the processor for the records that a lookup of `hash` will compare.
    #[inline]
    pub(crate) fn prefetch_records(&self, hash: u32, heap: &Heap) {
        if let Some(segment) = self.directory.get(self.index(hash)) {
            let mut at = segment.home(hash);
            loop {
                let bucket = segment.bucket(at);
                let mut bits = bucket.matches(hash);
                while bits != 0 {
                    if let Some(handle) = bucket.handle(bits.trailing_zeros() as usize) {
                        heap.prefetch(handle);
                    }
                    bits &= bits - 1;
                }
                if !bucket.is_full() {
                    return;
                }
                at = segment.after(at);
            }
        }
    }

    /// The entry with this hash that `is_it`.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(Handle) -> bool) -> Option<(Place, Handle)> {
        let segment = self.directory.get(self.index(hash))?;
        let mut at = segment.home(hash);
        loop {
            let bucket = segment.bucket(at);
            let mut bits = bucket.matches(hash);
            while bits != 0 {
                let index = bits.trailing_zeros() as usize;
                if let Some(handle) = bucket.handle(index)
                    && is_it(handle)
                {
                    return Some((Place { hash, bucket: at as u32, index: index as u8 }, handle));
                }
                bits &= bits - 1;
            }
            if !bucket.is_full() {
                return None;
            }
            at = segment.after(at);
        }
    }

    /// Lets an entry name another record of the same key.
    #[inline]
    pub(crate) fn replace(&mut self, place: Place, handle: Handle) {
        let index = self.index(place.hash);
        self.directory[index].bucket_mut(place.bucket as usize).set_handle(usize::from(place.index), handle);
    }

    /// Makes an empty table ready for about so many entries, as it would be had they come one by one. Without effect on any other.
    pub(crate) fn reserve(&mut self, heap: &mut Heap, entries: usize) {
        if !self.directory.is_empty() || entries == 0 {
            return;
        }
        let share = |depth: u32| entries.div_ceil(1 << depth);
        let fits = |depth: &u32| buckets_for(share(*depth)) <= self.buckets_max as usize;
        let depth = (0..DEPTH_MAX).find(fits).unwrap_or(DEPTH_MAX);
        self.directory = (0..1 << depth).map(|_| Segment::new(heap, buckets_for(share(depth)), depth)).collect();
        self.lens = vec![0; 1 << depth];
        (self.shift, self.deepest) = (32 - depth, 1 << depth);
    }

    /// Gives back what [`Table::reserve`] took for entries that never came: all of it if none did, else down to what so many
    /// entries are given at most.
    pub(crate) fn fit(&mut self, heap: &mut Heap) {
        if self.len == 0 {
            return self.clear(heap);
        }
        let mut first = 0;
        while let Some(segment) = self.directory.get(first) {
            let (segment, pointers, len) = (*segment, self.pointers(*segment), self.lens[first] as usize);
            if len < segment.bucket_count() * FILL_MIN.midpoint(FILL_MAX) && buckets_for(len) < segment.bucket_count() {
                let shorter = segment.moved(heap, buckets_for(len));
                self.point(first, pointers, shorter, len);
                segment.free(heap);
            }
            first += pointers;
        }
    }

    /// Adds an entry. The caller has seen that its key is absent.
    pub(crate) fn insert(&mut self, heap: &mut Heap, hash: u32, handle: Handle) {
        if self.directory.is_empty() {
            self.directory.push(Segment::new(heap, 1, 0));
            self.lens.push(0);
            self.deepest = 1;
        }
        let mut first = self.first(self.index(hash));
        if self.lens[first] as usize >= self.directory[first].bucket_count() * FILL_MAX {
            self.make_room(heap, first);
            first = self.first(self.index(hash));
        }
        self.directory[first].insert(Entry { hash, handle });
        // The pointers of one segment are equal, and inserting changes none of them.
        self.lens[first] += 1;
        self.len += 1;
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, heap: &mut Heap, place: Place) {
        let first = self.first(self.index(place.hash));
        self.directory[first].remove(place.bucket as usize, usize::from(place.index));
        self.lens[first] -= 1;
        self.len -= 1;
        let buckets = self.directory[first].bucket_count();
        if (self.lens[first] as usize) < buckets * FILL_MIN && (buckets > 1 || self.len == 0 || self.shift < 32) {
            self.give_room(heap, first);
        }
    }

    /// Takes one segment out, whole, and puts the handles it held into `handles`. `false` when there was none left.
    /// The table is only good for more of the same after it.
    pub(crate) fn take_segment(&mut self, heap: &mut Heap, handles: &mut Vec<Handle>) -> bool {
        let Some(index) = self.directory.len().checked_sub(1) else { return false };
        let first = self.first(index);
        let segment = self.directory[first];
        handles.extend(segment.entries().map(|entry| entry.handle));
        self.len -= self.lens[first] as usize;
        self.directory.truncate(first);
        self.lens.truncate(first);
        segment.free(heap);
        true
    }

    /// Visits, in no order, every entry whose hash lies in the range that starts at `from` and ends with `from`'s home
    /// bucket, wherever overflow has put them. Returns where the next range starts, `None` at the end of the table.
    ///
    /// Ranges are of hashes, so that an entry that is there throughout is in exactly one of those that a walk makes,
    /// however the table changes between.
    pub(crate) fn visit_range(&self, from: u32, visit: &mut dyn FnMut(Entry)) -> Option<u32> {
        let segment = self.directory.get(self.index(from))?;
        let home = segment.home(from);
        let next = segment.range_end(from);
        let mut at = home;
        loop {
            let bucket = segment.bucket(at);
            for entry in bucket.entries() {
                // Several segments never share a bucket, so the end needs a look only within this one.
                if entry.hash >= from && next.is_none_or(|next| entry.hash < next) {
                    visit(entry);
                }
            }
            if !bucket.is_full() {
                return next;
            }
            at = segment.after(at);
        }
    }

    /// Looks at entries from a place picked by chance on, bucket by bucket, until `visit` says enough or so many buckets
    /// were seen.
    pub(crate) fn visit_near(&self, chance: u64, buckets: usize, visit: &mut dyn FnMut(Entry) -> bool) {
        let Some(segment) = self.directory.get(self.index(chance as u32)) else { return };
        let mut at = (((chance >> 32) * segment.bucket_count() as u64) >> 32) as usize;
        for _ in 0..segment.bucket_count().min(buckets) {
            for entry in segment.bucket(at).entries() {
                if !visit(entry) {
                    return;
                }
            }
            at = segment.after(at);
        }
    }

    /// Visits every entry.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(Entry)) {
        let mut index = 0;
        while let Some(segment) = self.directory.get(index) {
            segment.entries().for_each(&mut *visit);
            index += self.pointers(*segment);
        }
    }

    /// The entry at a place picked by chance: each one of the picked segment equally likely; `None` where it is empty.
    pub(crate) fn pick(&self, chance: u64) -> Option<Entry> {
        let segment = self.directory.get(self.index(chance as u32))?;
        let bucket = (((chance >> 35) * segment.bucket_count() as u64) >> 29) as usize;
        segment.bucket(bucket).get((chance >> 32) as usize % BUCKET_ENTRIES)
    }

    /// What it is made of.
    pub(crate) fn stats(&self) -> TableStats {
        let mut stats = TableStats { entries: self.len, directory_bytes: self.directory_bytes(), ..TableStats::default() };
        let mut index = 0;
        while let Some(segment) = self.directory.get(index) {
            stats.segments += 1;
            stats.buckets += segment.bucket_count();
            index += self.pointers(*segment);
        }
        stats
    }

    /// Bytes beside the heap's blocks.
    pub(crate) fn directory_bytes(&self) -> usize {
        self.directory.capacity() * size_of::<Segment>() + self.lens.capacity() * size_of::<u32>()
    }

    #[inline]
    fn index(&self, hash: u32) -> usize {
        (u64::from(hash) >> self.shift) as usize
    }

    fn depth(&self) -> u32 {
        32 - self.shift
    }

    /// How many pointers in a row name this segment.
    #[inline]
    fn pointers(&self, segment: Segment) -> usize {
        1 << (self.depth() - segment.depth())
    }

    /// The first of the pointers that name the same segment as the one at `index`.
    #[inline]
    fn first(&self, index: usize) -> usize {
        index & !(self.pointers(self.directory[index]) - 1)
    }

    fn point(&mut self, first: usize, count: usize, segment: Segment, len: usize) {
        self.directory[first..first + count].fill(segment);
        self.lens[first] = len as u32;
    }

    /// Makes a segment longer, or two of it.
    fn make_room(&mut self, heap: &mut Heap, first: usize) {
        let segment = self.directory[first];
        if segment.bucket_count() >= self.buckets_max as usize && segment.depth() < DEPTH_MAX {
            let may_double = self.len / ENTRIES_PER_POINTER_MIN >= self.directory.len() * 2;
            if segment.depth() < self.depth() || may_double {
                let upper = segment.entries_upper();
                let len = self.lens[first] as usize;
                // Splitting helps only if it divides.
                if upper >= len / 8 && len - upper >= len / 8 {
                    return self.split(heap, first, len - upper, upper);
                }
            }
        }
        let longer = segment.moved(heap, longer_than(segment.bucket_count()));
        let (pointers, len) = (self.pointers(segment), self.lens[first] as usize);
        self.point(first, pointers, longer, len);
        segment.free(heap);
    }

    fn split(&mut self, heap: &mut Heap, mut first: usize, lower_len: usize, upper_len: usize) {
        let segment = self.directory[first];
        if segment.depth() == self.depth() {
            self.double_directory();
            first *= 2;
        }
        let depth = segment.depth() + 1;
        let mut lower = Segment::new(heap, buckets_for(lower_len), depth);
        let mut upper = Segment::new(heap, buckets_for(upper_len), depth);
        for entry in segment.entries() {
            if entry.hash << (depth - 1) >> 31 == 0 { lower.insert(entry) } else { upper.insert(entry) }
        }
        let pointers = self.pointers(lower);
        if depth == self.depth() {
            self.deepest += 2;
        }
        self.point(first, pointers, lower, lower_len);
        self.point(first + pointers, pointers, upper, upper_len);
        segment.free(heap);
    }

    fn double_directory(&mut self) {
        let mut directory = Vec::with_capacity(self.directory.len() * 2);
        let mut lens = Vec::with_capacity(self.lens.len() * 2);
        for (segment, len) in self.directory.iter().zip(&self.lens) {
            directory.extend([*segment, *segment]);
            lens.extend([*len, 0]);
        }
        (self.directory, self.lens) = (directory, lens);
        self.shift -= 1;
        self.deepest = 0;
    }

    /// Makes a segment shorter, or joins it with the one it was split from.
    fn give_room(&mut self, heap: &mut Heap, first: usize) {
        if self.len == 0 {
            return self.clear(heap);
        }
        let segment = self.directory[first];
        let (pointers, len) = (self.pointers(segment), self.lens[first] as usize);
        if segment.depth() > 0 {
            let other_first = first ^ pointers;
            let other = self.directory[other_first];
            let together = len + self.lens[other_first] as usize;
            // Well below what would split again, so that a set that breathes does not do both in turn.
            if other.depth() == segment.depth() && together <= self.buckets_max as usize * FILL_MIN {
                return self.merge(heap, first.min(other_first), pointers * 2, together);
            }
        }
        let buckets = buckets_for(len);
        if buckets < segment.bucket_count() {
            let shorter = segment.moved(heap, buckets);
            self.point(first, pointers, shorter, len);
            segment.free(heap);
        }
    }

    fn merge(&mut self, heap: &mut Heap, first: usize, pointers: usize, len: usize) {
        let (lower, upper) = (self.directory[first], self.directory[first + pointers / 2]);
        let mut joined = Segment::new(heap, buckets_for(len), lower.depth() - 1);
        lower.entries().chain(upper.entries()).for_each(|entry| joined.insert(entry));
        if lower.depth() == self.depth() {
            self.deepest -= 2;
        }
        self.point(first, pointers, joined, len);
        lower.free(heap);
        upper.free(heap);
        while self.deepest == 0 {
            self.halve_directory();
        }
    }

    fn halve_directory(&mut self) {
        self.directory = self.directory.iter().copied().step_by(2).collect();
        self.lens = self.lens.iter().copied().step_by(2).collect();
        self.shift += 1;
        let depth = self.depth();
        self.deepest = self.directory.iter().filter(|segment| segment.depth() == depth).count() as u32;
    }

    fn clear(&mut self, heap: &mut Heap) {
        debug_assert_eq!(self.len, 0);
        while self.take_segment(heap, &mut Vec::new()) {}
        (self.directory, self.lens, self.shift, self.deepest) = (Vec::new(), Vec::new(), 32, 0);
    }

    /// Proves what the rest relies on. For tests and `DEBUG`.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub(crate) fn check(&self) {
        let (mut index, mut len, mut deepest) = (0, 0, 0);
        assert_eq!(self.directory.len(), if self.directory.is_empty() { 0 } else { 1 << self.depth() });
        while index < self.directory.len() {
            let segment = self.directory[index];
            let pointers = self.pointers(segment);
            assert!(index % pointers == 0 && self.directory[index..index + pointers].iter().all(|other| *other == segment));
            let low = (index as u64) << self.shift;
            let high = ((index + pointers) as u64) << self.shift;
            let entries = segment.check();
            assert!(segment.entries().all(|entry| (low..high).contains(&u64::from(entry.hash))), "an entry in a foreign segment");
            assert_eq!(entries, self.lens[index] as usize);
            assert!(entries <= segment.bucket_count() * FILL_MAX);
            len += entries;
            deepest += u32::from(segment.depth() == self.depth());
            index += pointers;
        }
        assert_eq!(len, self.len);
        assert_eq!(deepest, self.deepest, "segments as deep as the directory");
        assert!(self.directory.is_empty() || deepest > 0, "the directory is deeper than needed");
    }
}

/// Buckets for so many entries and a few more.
fn buckets_for(entries: usize) -> usize {
    (entries + 1 + entries / 16).div_ceil(FILL_MAX)
}

/// How long a segment grows.
fn longer_than(buckets: usize) -> usize {
    buckets + (buckets / 16).max(1)
}

#[cfg(test)]
mod tests;
