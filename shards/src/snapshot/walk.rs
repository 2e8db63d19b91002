//! One partition's records as they were at one moment, given away piece by piece while commands go on.
//!
//! Nothing is copied ahead. Each record leaves once: when the walk comes to it, or, if something is about to change or
//! remove it before that, at that moment, as it still is. Keys that were met in this way are remembered until the
//! partition is done, so that what they have become is not given as well. Memory follows what changes during one
//! partition's walk, never the whole.

use super::{RECORD_BYTES_WHOLE_MAX, SLICE_BYTES, SnapshotItem, put_record};
use crate::heap::Handle;
use crate::key::{Db, PartitionId};
use crate::record::{self, Record};
use crate::scan::{RecordDigest, digest_of};
use crate::shard::{Found, Shard};
use crate::table::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What [`Shard`] compares partitions with while nothing is walked: no partition has this number.
pub(crate) const NOT_WALKING: u16 = u16::MAX;

/// Entries looked at together, so that their records are on their way before the first is read.
const ENTRIES_AHEAD: usize = 16;

/// How a step of a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There is more.
    More,
    /// That was all.
    Done {
        /// How many records were given.
        count: u64,
        /// The exclusive or of the digests of their bytes.
        digest: u64,
    },
    /// The partition was emptied or exchanged as a whole: what was given counts for nothing, and the walk is over. Begin
    /// again.
    Restart,
}

/// A walk under way.
pub(crate) struct Walk {
    partition: PartitionId,
    /// Records over by then are left out.
    clock_ms: u64,
    /// Database and hash from which on nothing was walked.
    db: u16,
    hash: u32,
    /// Keys not walked yet whose records of that moment have left, or that had none.
    met: BTreeMap<u16, BTreeSet<Box<[u8]>>>,
    met_bytes: usize,
    /// Items made between two steps.
    out: Vec<u8>,
    /// Long records that the walk has come to. The first one may be on its way.
    long: VecDeque<Long>,
    count: u64,
    digest: u64,
    is_overturned: bool,
}

/// A long record on its way out.
struct Long {
    db: Db,
    key: Box<[u8]>,
    hash: u32,
    /// All of it, as it was when the walk came to it, if it is a large collection: then what becomes of it does not matter.
    frozen: Option<Vec<u8>>,
    /// Bytes that have left.
    offset: usize,
    digest: RecordDigest,
}

impl Walk {
    /// A record as it was: what is over is left out.
    fn give(&mut self, db: Db, record: Record<'_>) {
        if !record.is_over(self.clock_ms) {
            self.count += 1;
            self.digest ^= digest_of(&Found::new(record));
            put_record(db, record.bytes(), &mut self.out);
        }
    }

    fn has_met(&self, db: u16, key: &[u8]) -> bool {
        self.met.get(&db).is_some_and(|met| met.contains(key))
    }

    /// The next piece of the first long record, or all that is left of it.
    fn give_slice(&mut self, record: Record<'_>, bytes_max: usize) {
        let Some(long) = self.long.front_mut() else { return };
        let bytes = record.bytes();
        let piece = &bytes[long.offset..bytes.len().min(long.offset.saturating_add(bytes_max))];
        let item = SnapshotItem::Slice { db: long.db, total: bytes.len() as u64, offset: long.offset as u64, bytes: piece };
        item.encode(&mut self.out);
        if long.offset == 0 {
            let first = self.out.len() - piece.len();
            record::set_armed(&mut self.out[first..], false);
        }
        let value_at = bytes.len() - record.value().len();
        let value_from = value_at.max(long.offset).min(long.offset + piece.len());
        long.digest.value(&piece[value_from - long.offset..]);
        long.offset += piece.len();
        if long.offset == bytes.len() {
            self.count += 1;
            self.digest ^= long.digest.finish(record.deadline());
            self.long.pop_front();
        }
    }
}

impl Shard {
    /// Begins to walk one partition, all databases of it, as it is now; ends the walk before, if there was one. Records
    /// over by `clock_ms`, the entry clock, are left out. Between two steps anything may happen to the shard. O(1).
    pub fn snapshot_begin(&mut self, partition: PartitionId, clock_ms: u64) {
        self.walked = partition.0;
        self.walk = Some(Box::new(Walk {
            partition,
            clock_ms,
            db: 0,
            hash: 0,
            met: BTreeMap::new(),
            met_bytes: 0,
            out: Vec::new(),
            long: VecDeque::new(),
            count: 0,
            digest: 0,
            is_overturned: false,
        }));
    }

    /// Appends whole items to `out`: those that commands made meanwhile, then about so many records or bytes, whichever
    /// comes first; at least one if any is left. [`Step::Restart`] if no walk is under way.
    pub fn snapshot_step(&mut self, records: usize, bytes: usize, out: &mut Vec<u8>) -> Step {
        let Some(mut walk) = self.walk.take() else { return Step::Restart };
        if walk.is_overturned {
            self.walked = NOT_WALKING;
            return Step::Restart;
        }
        out.append(&mut walk.out);
        // Steps write to the caller's buffer; what comes between two of them waits in the walk's own.
        std::mem::swap(&mut walk.out, out);
        let from = walk.out.len();
        let mut left = records.max(1);
        let is_done = loop {
            if walk.long.front().is_some() {
                self.step_long(&mut walk, SLICE_BYTES);
            } else {
                let (seen, is_end) = self.step_entries(&mut walk, left.min(ENTRIES_AHEAD));
                left = left.saturating_sub(seen.max(1));
                if is_end && walk.long.is_empty() {
                    break true;
                }
            }
            if left == 0 || walk.out.len() - from >= bytes {
                break false;
            }
        };
        std::mem::swap(&mut walk.out, out);
        if is_done {
            self.walked = NOT_WALKING;
            return Step::Done { count: walk.count, digest: walk.digest };
        }
        self.walk = Some(walk);
        Step::More
    }

    /// Ends a walk, whatever has come of it.
    pub fn snapshot_abort(&mut self) {
        self.walked = NOT_WALKING;
        self.walk = None;
    }

    /// Bytes that the walk under way keeps beside the shard: about what was changed since it began and has not left yet.
    pub fn snapshot_bytes(&self) -> usize {
        self.walk.as_ref().map_or(0, |walk| walk.met_bytes + walk.out.capacity())
    }

    /// Something is about to happen to a key of the partition that is walked: what it was must leave first. `old` is its
    /// record, if there is one.
    #[cold]
    pub(crate) fn leave_before(&mut self, db: Db, hash: u32, key: &[u8], old: Option<Handle>) {
        let Some(mut walk) = self.walk.take() else { return };
        if (db.0, hash) < (walk.db, walk.hash) {
            if let Some(index) = walk.long.iter().position(|long| long.frozen.is_none() && long.db == db && *long.key == *key) {
                self.leave_long(&mut walk, index);
            }
        } else if !walk.has_met(db.0, key) {
            if let Some(old) = old {
                walk.give(db, Record::trusted(&self.whole(self.record(old))));
            }
            walk.met.entry(db.0).or_default().insert(key.into());
            walk.met_bytes += key.len() + size_of::<Box<[u8]>>();
        }
        self.walk = Some(walk);
    }

    /// The same for a record that is about to be removed.
    #[cold]
    pub(crate) fn leave_before_removal(&mut self, db: Db, handle: Handle) {
        let key = self.record(handle).key().to_vec();
        let hash = self.key(&key).hash;
        self.leave_before(db, hash, &key, Some(handle));
    }

    /// Databases are about to be emptied, or exchanged with each other, as a whole. Unless the walk has been through with
    /// all of them, or has nothing to find in any, it is over.
    pub(crate) fn overturn_before(&mut self, dbs: &[Db]) {
        let Some(walk) = &mut self.walk else { return };
        let is_walked = |db: &Db| db.0 < walk.db && walk.long.iter().all(|long| long.db != *db || long.frozen.is_some());
        // An empty one may have been full when the walk began, but all of that has left by now.
        let is_empty = |db: &Db| self.dbs[usize::from(db.0)].table(walk.partition).is_none_or(|table| table.len() == 0);
        if !dbs.iter().all(is_walked) && !dbs.iter().all(is_empty) {
            walk.is_overturned = true;
            (walk.met, walk.met_bytes, walk.out, walk.long) = Default::default();
            self.walked = NOT_WALKING;
        }
    }

    /// Gives the rest of a long record that is about to change.
    fn leave_long(&self, walk: &mut Walk, index: usize) {
        if index == 0 {
            self.step_long(walk, usize::MAX);
        } else if let Some(long) = walk.long.remove(index) {
            let record = self.record_of(walk.partition, &long).expect("it has not changed since the walk came to it");
            walk.give(long.db, record);
        }
    }

    fn record_of(&self, partition: PartitionId, long: &Long) -> Option<Record<'_>> {
        let table = self.dbs[usize::from(long.db.0)].table(partition)?;
        let (_, handle) = table.find(long.hash, |handle| self.record(handle).key() == &*long.key)?;
        Some(self.record(handle))
    }

    /// The next piece of the first long record.
    fn step_long(&self, walk: &mut Walk, bytes_max: usize) {
        let Some(long) = walk.long.front_mut() else { return };
        match long.frozen.take() {
            Some(bytes) => {
                walk.give_slice(Record::trusted(&bytes), bytes_max);
                if let Some(long) = walk.long.front_mut().filter(|long| long.offset > 0) {
                    long.frozen = Some(bytes);
                }
            }
            None => {
                let long = walk.long.front().expect("seen above");
                let record = self.record_of(walk.partition, long).expect("it has not changed since the walk came to it");
                walk.give_slice(record, bytes_max);
            }
        }
    }

    /// Walks on over about so many records; how many there were, and whether that was the end.
    fn step_entries(&self, walk: &mut Walk, most: usize) -> (usize, bool) {
        let mut entries: Vec<(Db, Entry)> = Vec::with_capacity(2 * ENTRIES_AHEAD);
        while entries.len() < most {
            let Some(keyspace) = self.dbs.get(usize::from(walk.db)) else { break };
            let db = Db(walk.db);
            let next = keyspace.table(walk.partition).and_then(|table| {
                table.visit_range(walk.hash, &mut |entry| {
                    self.heap.prefetch(entry.handle);
                    entries.push((db, entry));
                })
            });
            match next {
                Some(next) => walk.hash = next,
                None => (walk.db, walk.hash) = (walk.db + 1, 0),
            }
        }
        for (db, Entry { hash, handle }) in &entries {
            let record = self.record(*handle);
            if walk.has_met(db.0, record.key()) {
                continue;
            }
            if record.is_over(walk.clock_ms) {
                continue;
            }
            let whole = self.whole(record);
            if whole.len() <= RECORD_BYTES_WHOLE_MAX {
                walk.give(*db, Record::trusted(&whole));
            } else {
                let digest = RecordDigest::new(record.key(), Record::trusted(&whole).value().len());
                let frozen = record.tag().is_large().then(|| whole.into_owned());
                walk.long.push_back(Long { db: *db, key: record.key().into(), hash: *hash, frozen, offset: 0, digest });
            }
        }
        (entries.len(), usize::from(walk.db) == self.dbs.len())
    }
}

#[cfg(test)]
mod tests;
