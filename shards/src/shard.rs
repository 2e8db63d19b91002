//! Everything one core owns, and the few verbs that commands are written in.
//!
//! A verb never fails half-way: room is made before a command runs (see [`Shard::make_room`]), so that after the first
//! change nothing can go wrong. No verb reads a clock: `now` is the entry's clock, and so replay gives the same bytes.

use crate::key::{Db, Key, KeySeed};
use std::collections::BTreeMap;

/// Milliseconds since 1970 at which a key stops existing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline(pub u64);

/// What a value is. The nibble that records carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Bytes.
    String,
}

/// What to do with a key's deadline when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key lives until it is removed.
    Never,
    /// The deadline it had, if any.
    Keep,
    /// A new deadline. The caller has checked that it lies ahead.
    At(Deadline),
}

/// What a shard is made with.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// Of the key hash; the same on every core.
    pub key_seed: KeySeed,
    /// For everything random this shard does: sampling, `RANDOMKEY`, probabilistic counters.
    pub chance_seed: u64,
    /// How many numbered databases there are.
    pub db_count: u16,
}

/// A live record, seen in place.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The key's bytes.
    pub key: &'a [u8],
    /// What the value is.
    pub kind: Kind,
    /// The value's bytes.
    pub value: &'a [u8],
    /// When it stops existing.
    pub deadline: Option<Deadline>,
}

/// What eviction remembers of a record's use. Which of the two depends on the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// Time since it was last used. For every policy that does not count.
    IdleMs(u64),
    /// Redis' logarithmic counter of uses. For the LFU policies.
    Frequency(u8),
}

/// A live record seen from outside, for `OBJECT`, `MEMORY USAGE` and `DEBUG OBJECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// All memory that goes when the record goes, its share of the table included.
    pub memory_bytes: usize,
    /// What eviction remembers.
    pub usage: Usage,
}

/// A position of `SCAN`, in hash order and so independent of how the table grows. Zero starts and zero ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub u64);

/// Counts since the last `CONFIG RESETSTAT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that found something.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
    /// Keys removed because their time had come.
    pub expired: u64,
    /// Keys removed to make room.
    pub evicted: u64,
}

/// Everything one core owns. Belongs to that core alone.
pub struct Shard {
    config: ShardConfig,
    dbs: Vec<BTreeMap<Vec<u8>, Entry>>,
    counts: Counts,
}

struct Entry {
    value: Vec<u8>,
    deadline: Option<Deadline>,
    used_ms: u64,
}

impl Shard {
    /// An empty shard.
    pub fn new(config: ShardConfig) -> Shard {
        let dbs = (0..config.db_count).map(|_| BTreeMap::new()).collect();
        Shard { config, dbs, counts: Counts::default() }
    }

    /// Hashes a key with this process' seed.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key::new(bytes, &self.config.key_seed)
    }

    /// Reads for a client: counts a hit or a miss and marks the record as used. Nothing past its deadline is ever found.
    pub fn read(&mut self, db: Db, key: &Key<'_>, now: u64) -> Option<Found<'_>> {
        if self.peek(db, key, now).is_some() {
            self.counts.hits += 1
        } else {
            self.counts.misses += 1
        }
        self.touch(db, key, now);
        self.peek(db, key, now)
    }

    /// Looks without a trace: for conditions, `TYPE`, `TTL`, `OBJECT`.
    pub fn peek(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Found<'_>> {
        let (bytes, entry) = self.dbs[usize::from(db.0)].get_key_value(key.bytes)?;
        if entry.deadline.is_some_and(|deadline| deadline.0 <= now) {
            return None;
        }
        Some(Found { key: bytes, kind: Kind::String, value: &entry.value, deadline: entry.deadline })
    }

    /// Puts a value, replacing whatever was there.
    pub fn put(&mut self, db: Db, key: &Key<'_>, _kind: Kind, value: &[u8], expiry: Expiry, now: u64) {
        let deadline = match expiry {
            Expiry::Never => None,
            Expiry::Keep => self.peek(db, key, now).and_then(|found| found.deadline),
            Expiry::At(deadline) => Some(deadline),
        };
        self.dbs[usize::from(db.0)].insert(key.bytes.to_vec(), Entry { value: value.to_vec(), deadline, used_ms: now });
    }

    /// Makes the value exactly `value_bytes` long and lends it for writing; what is new is zero. Creates a string if the
    /// key is absent; keeps the deadline. Growth is amortised, so that `APPEND` in a loop is linear.
    ///
    /// The caller has checked that the kind is right.
    pub fn resize(&mut self, db: Db, key: &Key<'_>, value_bytes: usize, now: u64) -> &mut [u8] {
        if self.peek(db, key, now).is_none() {
            self.put(db, key, Kind::String, b"", Expiry::Never, now);
        }
        let entry = self.dbs[usize::from(db.0)].get_mut(key.bytes).expect("just put");
        entry.value.resize(value_bytes, 0);
        &mut entry.value
    }

    /// Removes a key. Whether it was there.
    pub fn delete(&mut self, db: Db, key: &Key<'_>, now: u64) -> bool {
        let live = self.peek(db, key, now).is_some();
        self.dbs[usize::from(db.0)].remove(key.bytes);
        live
    }

    /// Sets or clears the deadline of a live key. Whether the key was there.
    pub fn set_deadline(&mut self, db: Db, key: &Key<'_>, deadline: Option<Deadline>, now: u64) -> bool {
        if self.peek(db, key, now).is_none() {
            return false;
        }
        self.dbs[usize::from(db.0)].get_mut(key.bytes).expect("just seen").deadline = deadline;
        true
    }

    /// Marks a record as used, for `TOUCH`. Whether it was there.
    pub fn touch(&mut self, db: Db, key: &Key<'_>, now: u64) -> bool {
        self.set_usage(db, key, Usage::IdleMs(0), now)
    }

    /// Looks at a record from outside, without a trace. `None` if absent.
    pub fn inspect(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Inspected> {
        self.peek(db, key, now)?;
        let entry = &self.dbs[usize::from(db.0)][key.bytes];
        let memory_bytes = size_of::<Entry>() + key.bytes.len() + entry.value.len();
        Some(Inspected { memory_bytes, usage: Usage::IdleMs(now.saturating_sub(entry.used_ms)) })
    }

    /// Makes eviction remember this of a live record, for `RESTORE`; nothing happens if the policy remembers the other
    /// thing. Whether the key was there.
    pub fn set_usage(&mut self, db: Db, key: &Key<'_>, usage: Usage, now: u64) -> bool {
        let live = self.peek(db, key, now).is_some();
        if let (true, Usage::IdleMs(idle_ms)) = (live, usage) {
            self.dbs[usize::from(db.0)].get_mut(key.bytes).expect("just seen").used_ms = now.saturating_sub(idle_ms);
        }
        live
    }

    /// Visits records in hash order from `cursor`, at least `count` of them if there are so many, each live one that was
    /// there throughout exactly once per full scan. Returns where to go on; zero at the end.
    pub fn scan(&self, db: Db, cursor: Cursor, count: usize, now: u64, visit: &mut dyn FnMut(&Found<'_>)) -> Cursor {
        let _ = (cursor, count);
        for (key, entry) in &self.dbs[usize::from(db.0)] {
            if entry.deadline.is_none_or(|deadline| deadline.0 > now) {
                visit(&Found { key, kind: Kind::String, value: &entry.value, deadline: entry.deadline });
            }
        }
        Cursor(0)
    }

    /// A key picked by this shard's own seeded chance, `None` when the database is empty.
    pub fn random_key(&mut self, db: Db, now: u64) -> Option<Vec<u8>> {
        let live = |entry: &Entry| entry.deadline.is_none_or(|deadline| deadline.0 > now);
        self.dbs[usize::from(db.0)].iter().find(|(_, entry)| live(entry)).map(|(key, _)| key.clone())
    }

    /// Keys in a database, those past their deadline but not yet removed included, as Redis counts.
    pub fn len(&self, db: Db) -> usize {
        self.dbs[usize::from(db.0)].len()
    }

    /// Keys of a database that have a deadline.
    pub fn len_with_deadline(&self, db: Db) -> usize {
        self.dbs[usize::from(db.0)].values().filter(|entry| entry.deadline.is_some()).count()
    }

    /// How many databases there are.
    pub fn db_count(&self) -> u16 {
        self.config.db_count
    }

    /// Empties a database. The memory is given back in slices by later ticks, so that this returns at once.
    pub fn clear(&mut self, db: Db) {
        self.dbs[usize::from(db.0)].clear();
    }

    /// Exchanges two databases' contents.
    pub fn swap(&mut self, a: Db, b: Db) {
        self.dbs.swap(usize::from(a.0), usize::from(b.0));
    }

    /// The whole record as bytes in its one layout, for another core, a log or a peer. `None` when absent.
    pub fn export(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Vec<u8>> {
        let found = self.peek(db, key, now)?;
        let mut bytes = found.deadline.map_or(0, |deadline| deadline.0).to_le_bytes().to_vec();
        bytes.extend_from_slice(found.value);
        Some(bytes)
    }

    /// Puts a record that [`Shard::export`] gave, under `key` (which may differ from the one it had). Replaces.
    /// `Err` if the bytes are not a record.
    pub fn import(&mut self, db: Db, key: &Key<'_>, record: &[u8], now: u64) -> Result<(), MalformedRecord> {
        let (deadline, value) = record.split_first_chunk::<8>().ok_or(MalformedRecord)?;
        let expiry = match u64::from_le_bytes(*deadline) {
            0 => Expiry::Never,
            at => Expiry::At(Deadline(at)),
        };
        self.put(db, key, Kind::String, value, expiry, now);
        Ok(())
    }

    /// Removes what is due by `now`, at most `budget` records. How many are still overdue.
    pub fn tick(&mut self, now: u64, budget: usize) -> usize {
        let _ = budget;
        for db in &mut self.dbs {
            let before = db.len();
            db.retain(|_, entry| entry.deadline.is_none_or(|deadline| deadline.0 > now));
            self.counts.expired += (before - db.len()) as u64;
        }
        0
    }

    /// The earliest moment at which [`Shard::tick`] has something to do; may be early, never late.
    pub fn next_deadline(&self) -> Option<Deadline> {
        self.dbs.iter().flat_map(|db| db.values()).filter_map(|entry| entry.deadline).min()
    }

    /// Frees memory until at most the budget is used, by the policy. `false` if that was not possible: the command that
    /// wanted room is then refused.
    pub fn make_room(&mut self, now: u64) -> bool {
        let _ = now;
        true
    }

    /// What happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }
}

/// Bytes that are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedRecord;
