//! Walks over many records: `SCAN`, keys of a slot, a random key, digests.
//!
//! Walks go by partition and hash, never by place in memory, so that a table may grow, split and shrink between two
//! steps: a record that is there throughout is met exactly once.

use crate::key::{Db, PARTITION_COUNT, PartitionId};
use crate::record::{Deadline, Kind};
use crate::shard::{Cursor, Found, Shard};
use crate::slot::Slot;
use crate::table::TableStats;
use std::hash::Hasher;

/// Records that [`Shard::random_key`] looks at before it takes the shard for empty. Those past their deadline are
/// removed on the way, so that a second call looks at others.
const RANDOM_LOOKS_MAX: usize = 16_384;

/// Places drawn in one table until one is taken. All but the emptiest are at least three eighths full.
pub(crate) const DRAWS_MAX: usize = 64;

/// Home buckets one step of a scan visits for each record it is asked for, so that a step through an empty land ends.
const RANGES_PER_COUNT: usize = 10;

impl Shard {
    /// Visits records in hash order from `cursor`, about `count` of them if there are so many, each live one that was
    /// there throughout exactly once per full scan. Returns where to go on; zero at the end.
    pub fn scan(&self, db: Db, cursor: Cursor, count: usize, now: u64, visit: &mut dyn FnMut(&Found<'_>)) -> Cursor {
        let mut left = count.max(1);
        let mut ranges = left.saturating_mul(RANGES_PER_COUNT);
        self.walk(db, cursor, PARTITION_COUNT, &mut |found| {
            if let Some(found) = found {
                if found.deadline.is_none_or(|deadline| deadline.0 > now) {
                    visit(found);
                }
                left = left.saturating_sub(1);
            } else {
                ranges -= 1;
            }
            left > 0 && ranges > 0
        })
    }

    /// Keys of one slot, for `CLUSTER COUNTKEYSINSLOT`. Looks at every record of the slot's partition.
    pub fn count_in_slot(&self, slot: Slot, now: u64) -> usize {
        let mut count = 0;
        self.visit_slot(slot, now, &mut |_| {
            count += 1;
            true
        });
        count
    }

    /// Visits the keys of one slot in database 0 until `visit` says enough, for `CLUSTER GETKEYSINSLOT`.
    pub fn visit_slot(&self, slot: Slot, now: u64, visit: &mut dyn FnMut(&Found<'_>) -> bool) {
        let partition = PartitionId::of(slot).0;
        let mut go_on = true;
        self.walk(Db(0), Cursor::at(partition, 0), partition + 1, &mut |found| {
            if let Some(found) = found
                && go_on
                && Slot::of(found.key) == slot
                && found.deadline.is_none_or(|deadline| deadline.0 > now)
            {
                go_on = visit(found);
            }
            go_on
        });
    }

    /// A key picked by this shard's own seeded chance, `None` when the database is empty.
    pub fn random_key(&mut self, db: Db, now: u64) -> Option<Vec<u8>> {
        for _ in 0..RANDOM_LOOKS_MAX {
            let len = self.len(db);
            if len == 0 {
                return None;
            }
            let nth = self.chance.below(len);
            let keyspace = &self.dbs[usize::from(db.0)];
            let partition = keyspace.partition_of_nth(nth).expect("there are more keys than that");
            let table = keyspace.table(partition).expect("a partition with keys has a table");
            // An empty place is no answer: drawing again in the same table keeps every key as likely as the next.
            let chance = &mut self.chance;
            let Some(entry) = (0..DRAWS_MAX).find_map(|_| table.pick(chance.next())) else { continue };
            let record = self.record(entry.handle);
            if !record.is_over(now) {
                return Some(record.key().to_vec());
            }
            let (place, handle) = table.find(entry.hash, |handle| handle == entry.handle).expect("just picked");
            self.expire_at(db, partition, place, handle);
        }
        None
    }

    /// A number that two shards, or a shard and its replica, share exactly when a database holds the same keys with the
    /// same values and deadlines. The same in every process and version. Looks at every record.
    pub fn digest(&self, db: Db, now: u64) -> u64 {
        let mut digest = 0;
        self.walk(db, Cursor::default(), PARTITION_COUNT, &mut |found| {
            if let Some(found) = found.filter(|found| found.deadline.is_none_or(|deadline| deadline.0 > now)) {
                digest ^= match found.kind {
                    Kind::String => digest_of(found),
                    _ => self.digest_of_collection(db, found),
                };
            }
            true
        });
        digest
    }

    /// The same whether the collection is packed or large, and in whichever order its members are kept.
    fn digest_of_collection(&self, db: Db, found: &Found<'_>) -> u64 {
        let view = self.peek_view(db, &self.key(found.key), found.kind, 0).ok().flatten().expect("it was found a moment ago");
        let mut digest = RecordDigest::new(found.key, view.len());
        let mut members = 0;
        let of_parts = |parts: &[&[u8]]| {
            let mut digest = RecordDigest::new(parts[0], parts.len());
            parts[1..].iter().for_each(|part| digest.value(part));
            digest.finish(None)
        };
        match found.kind {
            Kind::String | Kind::List => view.visit(&mut |element| digest.value(&of_parts(&[element]).to_le_bytes())),
            Kind::Set => view.visit(&mut |member| members ^= of_parts(&[member])),
            Kind::Hash => view.visit_pairs(&mut |field, value| members ^= of_parts(&[field, value])),
            Kind::SortedSet => view.visit_scored(&mut |member, score| members ^= of_parts(&[member, &score.to_le_bytes()])),
        }
        digest.value(&u64::to_le_bytes(members));
        digest.finish(found.deadline)
    }

    /// What the tables of a database are made of.
    pub fn table_stats(&self, db: Db) -> TableStats {
        let mut sum = TableStats::default();
        for stats in self.dbs[usize::from(db.0)].tables().map(|table| table.stats()) {
            sum.entries += stats.entries;
            sum.segments += stats.segments;
            sum.buckets += stats.buckets;
            sum.directory_bytes += stats.directory_bytes;
        }
        sum
    }

    /// Walks home bucket by home bucket to partition `end`: `visit` sees each record, then `None` at the end of a
    /// bucket's range, where alone a walk can stop. Returns where it stopped, zero if at the end.
    fn walk(&self, db: Db, from: Cursor, end: u16, visit: &mut dyn FnMut(Option<&Found<'_>>) -> bool) -> Cursor {
        let keyspace = &self.dbs[usize::from(db.0)];
        let (mut partition, mut hash) = from.parts();
        while partition < end {
            match keyspace.partition_from(partition) {
                Some(next) if next.0 < end => (partition, hash) = (next.0, if next.0 == partition { hash } else { 0 }),
                _ => break,
            }
            let table = keyspace.table(PartitionId(partition)).expect("a partition with keys has a table");
            let next = table.visit_range(hash, &mut |entry| {
                visit(Some(&Found::new(self.record(entry.handle))));
            });
            match next {
                Some(next) => hash = next,
                None => (partition, hash) = (partition + 1, 0),
            }
            if !visit(None) {
                return if partition < end { Cursor::at(partition, hash) } else { Cursor::default() };
            }
        }
        Cursor::default()
    }
}

impl Cursor {
    fn at(partition: u16, hash: u32) -> Cursor {
        Cursor(u64::from(partition) << 32 | u64::from(hash))
    }

    /// Any number is some position: one past the last partition is the end.
    fn parts(self) -> (u16, u32) {
        (u16::try_from(self.0 >> 32).unwrap_or(u16::MAX), self.0 as u32)
    }
}

pub(crate) fn digest_of(found: &Found<'_>) -> u64 {
    let mut digest = RecordDigest::new(found.key, found.value.len());
    digest.value(found.value);
    digest.finish(found.deadline)
}

/// The digest of one record whose value comes in pieces.
pub(crate) struct RecordDigest(seahash::SeaHasher);

impl RecordDigest {
    #[inline]
    pub(crate) fn new(key: &[u8], value_bytes: usize) -> RecordDigest {
        // The seeds are part of the format: digests of different versions must agree.
        let mut hasher = seahash::SeaHasher::with_seeds(0x636f_7265, 0x7768_6565, 0x6c64_6967, 0x6573_7401);
        hasher.write_u64(key.len() as u64);
        hasher.write(key);
        hasher.write_u64(value_bytes as u64);
        RecordDigest(hasher)
    }

    #[inline]
    pub(crate) fn value(&mut self, piece: &[u8]) {
        self.0.write(piece);
    }

    #[inline]
    pub(crate) fn finish(&mut self, deadline: Option<Deadline>) -> u64 {
        self.0.write_u64(deadline.map_or(0, |Deadline(at)| at));
        self.0.finish()
    }
}
