//! One numbered database of one shard: a table per partition, and its sums.
//!
//! A database nobody has used costs a few words; tables come with the first key.

use crate::heap::{Handle, Heap};
use crate::key::{PARTITION_COUNT, PartitionId};
use crate::record::{Deadline, Record};
use crate::table::{Entry, Place, Table};

/// Tables of one database, before their directories.
const TABLES_BYTES: usize = PARTITION_COUNT as usize * (size_of::<Table>() + size_of::<u32>());

/// A database.
#[derive(Default)]
pub(crate) struct Keyspace {
    /// One per partition, or none yet.
    tables: Vec<Table>,
    /// Entries of each, side by side, because sampling adds them up.
    lens: Vec<u32>,
    len: usize,
    timed: usize,
    /// Sum of all deadlines, for the mean that `INFO` shows.
    deadline_sum: u128,
}

impl Keyspace {
    #[inline]
    pub(crate) fn table(&self, partition: PartitionId) -> Option<&Table> {
        self.tables.get(usize::from(partition.0))
    }

    /// Whether it was ever used, and so holds memory.
    pub(crate) fn has_tables(&self) -> bool {
        !self.tables.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Keys with a deadline.
    pub(crate) fn timed(&self) -> usize {
        self.timed
    }

    /// Mean of all deadlines.
    pub(crate) fn deadline_mean(&self) -> Option<u64> {
        let timed = self.timed as u128;
        (timed > 0).then(|| (self.deadline_sum / timed) as u64)
    }

    fn make_tables(&mut self, heap: &mut Heap) {
        if self.tables.is_empty() {
            self.tables = (0..PARTITION_COUNT).map(Table::new).collect();
            self.lens = vec![0; usize::from(PARTITION_COUNT)];
            heap.note_directory(0, TABLES_BYTES);
        }
    }

    /// Exchanges one partition's entries with another database. Looks at each of them, for the sums.
    pub(crate) fn swap_partition(&mut self, other: &mut Keyspace, heap: &mut Heap, partition: PartitionId) {
        let index = usize::from(partition.0);
        let len = |keyspace: &Keyspace| keyspace.lens.get(index).copied().unwrap_or_default() as usize;
        if len(self) + len(other) == 0 {
            return;
        }
        self.make_tables(heap);
        other.make_tables(heap);
        let (own, others) = (self.timed_in(heap, index), other.timed_in(heap, index));
        (self.timed, other.timed) = (self.timed - own.0 + others.0, other.timed - others.0 + own.0);
        (self.deadline_sum, other.deadline_sum) = (self.deadline_sum - own.1 + others.1, other.deadline_sum - others.1 + own.1);
        let (own, others) = (len(self), len(other));
        (self.len, other.len) = (self.len - own + others, other.len - others + own);
        std::mem::swap(&mut self.tables[index], &mut other.tables[index]);
        std::mem::swap(&mut self.lens[index], &mut other.lens[index]);
    }

    /// How many entries of a table have a deadline, and the sum of those.
    fn timed_in(&self, heap: &Heap, index: usize) -> (usize, u128) {
        let (mut timed, mut sum) = (0, 0);
        self.tables[index].visit(&mut |entry| {
            if let Some(deadline) = Record::trusted(heap.bytes(entry.handle)).deadline() {
                timed += 1;
                sum += u128::from(deadline.0);
            }
        });
        (timed, sum)
    }

    /// Makes room for so many entries of a partition that has none.
    pub(crate) fn reserve(&mut self, heap: &mut Heap, partition: PartitionId, entries: usize) {
        self.make_tables(heap);
        self.shape(heap, partition, |table, heap| table.reserve(heap, entries));
    }

    /// Gives back the room that a partition's entries do not need.
    pub(crate) fn fit(&mut self, heap: &mut Heap, partition: PartitionId) {
        if self.has_tables() {
            self.shape(heap, partition, Table::fit);
        }
    }

    fn shape(&mut self, heap: &mut Heap, partition: PartitionId, shape: impl FnOnce(&mut Table, &mut Heap)) {
        let table = &mut self.tables[usize::from(partition.0)];
        let before = table.directory_bytes();
        shape(table, heap);
        heap.note_directory(before, table.directory_bytes());
    }

    pub(crate) fn insert(&mut self, heap: &mut Heap, partition: PartitionId, hash: u32, handle: Handle) {
        self.make_tables(heap);
        let index = usize::from(partition.0);
        let table = &mut self.tables[index];
        let before = table.directory_bytes();
        table.insert(heap, hash, handle);
        heap.note_directory(before, table.directory_bytes());
        self.lens[index] += 1;
        self.len += 1;
    }

    pub(crate) fn remove(&mut self, heap: &mut Heap, partition: PartitionId, place: Place) {
        let index = usize::from(partition.0);
        let table = &mut self.tables[index];
        let before = table.directory_bytes();
        table.remove(heap, place);
        heap.note_directory(before, table.directory_bytes());
        self.lens[index] -= 1;
        self.len -= 1;
    }

    #[inline]
    pub(crate) fn replace(&mut self, partition: PartitionId, place: Place, handle: Handle) {
        self.tables[usize::from(partition.0)].replace(place, handle);
    }

    /// Keeps the sums when a record's deadline changes, comes or goes.
    #[inline]
    pub(crate) fn note_deadline(&mut self, old: Option<Deadline>, new: Option<Deadline>) {
        if let Some(old) = old {
            self.timed -= 1;
            self.deadline_sum -= u128::from(old.0);
        }
        if let Some(new) = new {
            self.timed += 1;
            self.deadline_sum += u128::from(new.0);
        }
    }

    /// The first partition from `from` on that holds anything.
    pub(crate) fn partition_from(&self, from: u16) -> Option<PartitionId> {
        let lens = self.lens.get(usize::from(from)..)?;
        lens.iter().position(|len| *len > 0).map(|ahead| PartitionId(from + ahead as u16))
    }

    /// The partition that holds the `nth` key, counted through them in order: with a random number below `len`, each key
    /// is equally likely to be in the partition picked.
    pub(crate) fn partition_of_nth(&self, mut nth: usize) -> Option<PartitionId> {
        for (index, len) in self.lens.iter().enumerate() {
            match nth.checked_sub(*len as usize) {
                None => return Some(PartitionId(index as u16)),
                Some(rest) => nth = rest,
            }
        }
        None
    }

    pub(crate) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.iter()
    }

    /// Takes one segment apart, see [`Table::take_segment`]. `false` when nothing is left. Only for what is being dropped.
    pub(crate) fn take_segment(&mut self, heap: &mut Heap, handles: &mut Vec<Handle>) -> bool {
        while let Some(table) = self.tables.last_mut() {
            if table.take_segment(heap, handles) {
                self.len -= handles.len();
                return true;
            }
            heap.note_directory(table.directory_bytes(), 0);
            self.tables.pop();
            if self.tables.is_empty() {
                heap.note_directory(TABLES_BYTES, 0);
            }
        }
        false
    }

    /// Visits every entry there is.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(PartitionId, Entry)) {
        for (index, table) in self.tables.iter().enumerate() {
            table.visit(&mut |entry| visit(PartitionId(index as u16), entry));
        }
    }

    /// Bytes beside the heap's blocks.
    pub(crate) fn directory_bytes(&self) -> usize {
        self.tables().map(Table::directory_bytes).sum::<usize>() + if self.tables.is_empty() { 0 } else { TABLES_BYTES }
    }

    /// Proves that the sums are right.
    ///
    /// # Panics
    /// If they are not.
    pub(crate) fn check(&self) {
        self.tables().for_each(Table::check);
        assert!(self.tables().zip(&self.lens).all(|(table, len)| table.len() == *len as usize));
        assert_eq!(self.lens.iter().map(|len| *len as usize).sum::<usize>(), self.len);
    }
}
