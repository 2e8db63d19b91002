//! Everything one core owns, and the few verbs that commands are written in.
//!
//! A verb never fails half-way: room is made before a command runs (see [`Shard::make_room`]), so that after the first
//! change nothing can go wrong. No verb reads a clock: `now` is the entry's clock, and so replay gives the same bytes.
//!
//! Time and removal are in `expire`, walks over many records in `scan`, the memory limit in `evict`.

use crate::arena::Ground;
use crate::chance::Chance;
use crate::collection::{LargeId, Larges, PackLimits};
use crate::evict::{self, Eviction, Lfu, Pool, Victims};
use crate::heap::{Handle, Heap, RECORD_BYTES_MAX};
use crate::key::{Db, Key, KeySeed, PartitionId};
use crate::keyspace::Keyspace;
use crate::record::{self, Record, Shape, Tag};
use crate::replay::Replaying;
use crate::retold::Retold;
use crate::slot::Slot;
use crate::snapshot::{NOT_WALKING, Walk};
use crate::table::Place;
use crate::wheel::Wheel;
use std::borrow::Cow;

pub use crate::record::{Deadline, Kind, MalformedRecord};

/// What to do with a key's deadline when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// The key lives until it is removed.
    Never,
    /// The deadline it had, if any.
    Keep,
    /// A new deadline. The caller has checked that it lies ahead. One past [`Deadline::MAX`] becomes [`Deadline::FAR`].
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
    /// The value's bytes; of a collection, its packed elements, and nothing of a large one.
    pub value: &'a [u8],
    /// It is a large collection, whose elements are not in its record.
    pub is_large: bool,
    /// When it stops existing.
    pub deadline: Option<Deadline>,
}

impl<'a> Found<'a> {
    #[inline]
    pub(crate) fn new(record: Record<'a>) -> Found<'a> {
        let tag = record.tag();
        let value = if tag.is_large() { &[] } else { record.value() };
        Found { key: record.key(), kind: tag.kind(), value, is_large: tag.is_large(), deadline: record.deadline() }
    }
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

/// Where a shard's memory is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Slots and allocations of records, dead ones included.
    pub records: usize,
    /// Of those, slots that wait for the wheel to forget them.
    pub dead: usize,
    /// Buckets of tables.
    pub buckets: usize,
    /// Directories of tables.
    pub directories: usize,
    /// The timing wheel.
    pub wheel: usize,
    /// All of it as the operating system sees it: holes in pages and pages kept warm included.
    pub resident: usize,
}

impl Memory {
    /// Bytes that hold something: what the budget limits.
    pub fn used(&self) -> usize {
        self.records + self.buckets + self.directories + self.wheel
    }
}

/// Everything one core owns. Belongs to that core alone.
pub struct Shard {
    pub(crate) config: ShardConfig,
    pub(crate) heap: Heap,
    pub(crate) wheel: Wheel,
    pub(crate) dbs: Vec<Keyspace>,
    /// Databases that were cleared and are being taken apart.
    pub(crate) doomed: Vec<Keyspace>,
    /// Slots of records that are gone while the wheel holds their handle, and their bytes.
    pub(crate) dead: Dead,
    /// Collections that are not packed in their records.
    pub(crate) larges: Larges,
    pub(crate) pack_limits: PackLimits,
    pub(crate) counts: Counts,
    /// How often anything changed that a log must know of; see [`Shard::changes`].
    changes: u64,
    /// The partition that is walked for a snapshot: what every change compares its own with.
    pub(crate) walked: u16,
    pub(crate) walk: Option<Box<Walk>>,
    /// What has come of a long record that is being loaded.
    pub(crate) victims: Victims,
    pub(crate) expired: Victims,
    pub(crate) replaying: Replaying,
    pub(crate) retold: Retold,
    pub(crate) chance: Chance,
    pub(crate) eviction: Eviction,
    pub(crate) lfu: Lfu,
    /// See [`Shard::set_no_touch`].
    no_touch: bool,
    /// Bytes that may be used, if there is a limit.
    pub(crate) budget_bytes: Option<usize>,
    pub(crate) pool: Pool,
}

/// Handles that only the wheel still knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) count: usize,
    pub(crate) bytes: usize,
}

impl Shard {
    /// An empty shard. Reserves addresses, but no memory.
    pub fn new(config: ShardConfig) -> Shard {
        Shard {
            heap: Heap::new(),
            wheel: Wheel::new(),
            dbs: (0..config.db_count).map(|_| Keyspace::default()).collect(),
            doomed: Vec::new(),
            dead: Dead::default(),
            larges: Larges::default(),
            pack_limits: PackLimits::default(),
            counts: Counts::default(),
            changes: 0,
            walked: NOT_WALKING,
            walk: None,
            victims: Victims::default(),
            expired: Victims::default(),
            replaying: Replaying::default(),
            retold: Retold::default(),
            chance: Chance::new(config.chance_seed),
            eviction: Eviction::default(),
            lfu: Lfu::default(),
            no_touch: false,
            budget_bytes: None,
            pool: Pool::default(),
            config,
        }
    }

    /// The memory this shard will use next; see [`Ground::keep`].
    pub fn ground(&self) -> Ground {
        self.heap.ground()
    }

    /// Hashes a key with this process' seed.
    #[inline]
    pub fn key<'k>(&self, bytes: &'k [u8]) -> Key<'k> {
        Key::new(bytes, &self.config.key_seed)
    }

    /// First of two steps before a batch runs: asks for the cache line where the table would have this key. Takes what
    /// a [`Key`] is made of, because whoever batches has often kept no more.
    #[inline]
    pub fn prefetch_bucket(&self, db: Db, slot: Slot, hash: u32) {
        if let Some(table) = self.dbs.get(usize::from(db.0)).and_then(|keyspace| keyspace.table(PartitionId::of(slot))) {
            table.prefetch(hash);
        }
    }

    /// Second step, a few keys later: asks for the lines of the record that seems to be this key's.
    #[inline]
    pub fn prefetch_record(&self, db: Db, slot: Slot, hash: u32) {
        if let Some(table) = self.dbs.get(usize::from(db.0)).and_then(|keyspace| keyspace.table(PartitionId::of(slot))) {
            table.prefetch_records(hash, &self.heap);
        }
    }

    /// Reads for a client: counts a hit or a miss and marks the record as used. Nothing past its deadline is ever found;
    /// it is removed instead.
    #[inline]
    pub fn read(&mut self, db: Db, key: &Key<'_>, now: u64) -> Option<Found<'_>> {
        let handle = self.read_handle(db, key, now)?;
        Some(Found::new(self.record(handle)))
    }

    /// [`Shard::read`], for those who want more than is told of what is found.
    #[inline]
    pub(crate) fn read_handle(&mut self, db: Db, key: &Key<'_>, now: u64) -> Option<Handle> {
        let Some((place, handle)) = self.locate(db, key) else {
            self.counts.misses += 1;
            return None;
        };
        if self.record(handle).is_over(now) {
            self.counts.misses += 1;
            self.expire_at(db, key.partition(), place, handle);
            return None;
        }
        self.counts.hits += 1;
        if !self.no_touch {
            self.mark_used(handle, now);
        }
        Some(handle)
    }

    /// Whether reads and writes leave it as it was how recently or how often a key was used, for `CLIENT NO-TOUCH`. What is
    /// new counts as used all the same, and so does what [`Shard::touch`] is asked to mark.
    pub fn set_no_touch(&mut self, on: bool) {
        self.no_touch = on;
    }

    /// Looks without a trace: for conditions, `TYPE`, `TTL`, `OBJECT`.
    #[inline]
    pub fn peek(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Found<'_>> {
        self.locate_live(db, key, now).map(|(_, handle)| Found::new(self.record(handle)))
    }

    /// A number that grows whenever a verb changes what a client could read later: so a command is worth a log entry exactly
    /// if it moved meanwhile. Expiry does not move it, because it follows from the clock, nor does eviction, which tells of
    /// its victims (see [`Shard::note_victims`]), nor what is only remembered of a record's use.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Puts a value, replacing whatever was there.
    #[inline]
    pub fn put(&mut self, db: Db, key: &Key<'_>, kind: Kind, value: &[u8], expiry: Expiry, now: u64) {
        self.put_tagged(db, key, Tag::of(kind), value, expiry, now);
    }

    /// The same for a large collection, whose value is its number. What was there is let go, large collections included.
    pub(crate) fn put_tagged(&mut self, db: Db, key: &Key<'_>, tag: Tag, value: &[u8], expiry: Expiry, now: u64) {
        self.changes += 1;
        let located = self.locate(db, key);
        if self.walked == key.partition().0 {
            self.leave_before(db, key.hash, key.bytes, located.map(|(_, handle)| handle));
        }
        let old = located.map(|(_, handle)| self.record(handle)).filter(|record| !record.is_over(now));
        let deadline = match expiry {
            Expiry::Never => None,
            Expiry::Keep => old.and_then(Record::deadline),
            Expiry::At(deadline) => Some(deadline.kept()),
        };
        let old_access = old.map(Record::access);
        let access = match old_access {
            Some(access) if self.no_touch => access,
            Some(access) => self.eviction.access_used(access, now, self.lfu, &mut self.chance),
            None => self.eviction.access_new(now),
        };
        let bytes = Shape { key_bytes: key.bytes.len(), value_bytes: value.len(), has_deadline: deadline.is_some() }.bytes();
        let Some((place, handle)) = located else {
            let handle = self.heap.take(bytes);
            record::write(self.heap.bytes_mut(handle), tag, access, deadline, key.bytes, value);
            let keyspace = &mut self.dbs[usize::from(db.0)];
            keyspace.insert(&mut self.heap, key.partition(), key.hash, handle);
            keyspace.note_deadline(None, deadline);
            return self.arm(handle, now);
        };
        if old_access.is_none() {
            self.counts.expired += 1;
            self.expired.note(db, key.bytes);
        }
        self.doom_large(handle);
        let record = self.record(handle);
        let (old_deadline, armed) = (record.deadline(), record.is_armed());
        self.dbs[usize::from(db.0)].note_deadline(old_deadline, deadline);
        if self.heap.fits_exactly(handle, bytes) && may_stay_armed(armed, old_deadline, deadline) {
            let target = self.heap.bytes_mut(handle);
            record::write(target, tag, access, deadline, key.bytes, value);
            record::set_armed(target, armed);
            return self.arm(handle, now);
        }
        let new = self.heap.take(bytes);
        record::write(self.heap.bytes_mut(new), tag, access, deadline, key.bytes, value);
        self.replace(db, key.partition(), place, handle, new, now);
    }

    /// Puts a value that came from outside: a string's bytes, or packed elements, which become a large collection if they are too
    /// many for a record. The bytes were checked.
    pub(crate) fn put_packed(&mut self, db: Db, key: &Key<'_>, kind: Kind, value: &[u8], expiry: Expiry, now: u64) {
        let large = self.unpacked_if_collection(kind, value);
        self.put_either(db, key, kind, value, large, expiry, now);
    }

    fn unpacked_if_collection(&mut self, kind: Kind, value: &[u8]) -> Option<LargeId> {
        if kind == Kind::String { None } else { self.unpacked(kind, value) }
    }

    #[expect(clippy::too_many_arguments, reason = "those of `put`, and the other form")]
    fn put_either(&mut self, db: Db, key: &Key<'_>, kind: Kind, value: &[u8], large: Option<LargeId>, expiry: Expiry, now: u64) {
        match large {
            Some(id) => self.put_tagged(db, key, Tag::large(kind), &id.bytes(), expiry, now),
            None => self.put(db, key, kind, value, expiry, now),
        }
    }

    /// Makes the value exactly `value_bytes` long and lends it for writing; what is new is zero. Creates a string if the
    /// key is absent; keeps the deadline. Growth is amortised, so that `APPEND` in a loop is linear.
    ///
    /// The caller has checked that the kind is right.
    pub fn resize(&mut self, db: Db, key: &Key<'_>, value_bytes: usize, now: u64) -> &mut [u8] {
        if self.locate_live(db, key, now).is_none() {
            self.put(db, key, Kind::String, b"", Expiry::Never, now);
        }
        let (place, old) = self.locate(db, key).expect("just put");
        self.resize_at(db, key, (place, old), value_bytes, now).1
    }

    /// The same where a live record was found, of whatever kind. Returns its handle as well, which may be another now; its place in
    /// the table stays.
    pub(crate) fn resize_at(&mut self, db: Db, key: &Key<'_>, found: (Place, Handle), value_bytes: usize, now: u64) -> (Handle, &mut [u8]) {
        let (place, old) = found;
        self.changes += 1;
        if self.walked == key.partition().0 {
            self.leave_before(db, key.hash, key.bytes, Some(old));
        }
        if !self.no_touch {
            self.mark_used(old, now);
        }
        let record = self.record(old);
        let (shape, deadline) = (record.shape(), record.deadline());
        let bytes = Shape { value_bytes, ..shape }.bytes();
        let (capacity, is_large) = (self.heap.capacity(old), self.heap.is_large(old));
        let is_wasteful = capacity > 2 * bytes.max(RECORD_BYTES_MAX / 16);
        let mut handle = old;
        if !shape.keeps_layout(value_bytes) || (!is_large && (bytes > capacity || is_wasteful)) || (is_large && bytes <= RECORD_BYTES_MAX) {
            handle = self.heap.take(room_for(bytes, shape.bytes()));
            let (source, target) = self.heap.bytes_pair(old, handle);
            let record = Record::trusted(source);
            let start = record::write_front(target, record.tag(), record.access(), deadline, record.key(), value_bytes);
            let kept = value_bytes.min(shape.value_bytes);
            target[start..start + kept].copy_from_slice(&record.value()[..kept]);
            self.replace(db, key.partition(), place, old, handle, now);
        } else if bytes > capacity || is_wasteful {
            self.heap.resize_large(handle, room_for(bytes, shape.bytes()));
        }
        let value = record::set_value_bytes(self.heap.bytes_mut(handle), value_bytes);
        if let Some(new) = value.get_mut(shape.value_bytes..) {
            new.fill(0);
        }
        (handle, value)
    }

    /// The value of a record for writing, after [`Shard::leave_before_change`].
    pub(crate) fn value_mut(&mut self, handle: Handle) -> &mut [u8] {
        let value_bytes = self.record(handle).shape().value_bytes;
        record::set_value_bytes(self.heap.bytes_mut(handle), value_bytes)
    }

    /// Removes a key. Whether it was there.
    pub fn delete(&mut self, db: Db, key: &Key<'_>, now: u64) -> bool {
        let Some((place, handle)) = self.locate(db, key) else { return false };
        if self.record(handle).is_over(now) {
            self.expire_at(db, key.partition(), place, handle);
            return false;
        }
        self.changes += 1;
        self.remove_at(db, key.partition(), place, handle);
        true
    }

    /// Sets or clears the deadline of a live key. Whether the key was there.
    pub fn set_deadline(&mut self, db: Db, key: &Key<'_>, deadline: Option<Deadline>, now: u64) -> bool {
        let Some((place, old)) = self.locate_live(db, key, now) else { return false };
        let deadline = deadline.map(Deadline::kept);
        let record = self.record(old);
        let (old_deadline, armed) = (record.deadline(), record.is_armed());
        if old_deadline == deadline {
            return true;
        }
        self.changes += 1;
        if self.walked == key.partition().0 {
            self.leave_before(db, key.hash, key.bytes, Some(old));
        }
        let bytes = Shape { has_deadline: deadline.is_some(), ..self.record(old).shape() }.bytes();
        self.dbs[usize::from(db.0)].note_deadline(old_deadline, deadline);
        if let (Some(_), Some(later)) = (old_deadline, deadline)
            && may_stay_armed(armed, old_deadline, deadline)
        {
            record::set_deadline(self.heap.bytes_mut(old), later);
            return true;
        }
        let new = self.heap.take(bytes);
        let (source, target) = self.heap.bytes_pair(old, new);
        let record = Record::trusted(source);
        record::write(target, record.tag(), record.access(), deadline, record.key(), record.value());
        self.replace(db, key.partition(), place, old, new, now);
        true
    }

    /// Marks a record as used, for `TOUCH`. Whether it was there.
    pub fn touch(&mut self, db: Db, key: &Key<'_>, now: u64) -> bool {
        let Some((_, handle)) = self.locate_live(db, key, now) else { return false };
        self.mark_used(handle, now);
        true
    }

    /// Looks at a record from outside, without a trace. `None` if absent.
    pub fn inspect(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Inspected> {
        let (_, handle) = self.locate_live(db, key, now)?;
        let record = self.record(handle);
        let usage = if self.eviction.counts_uses() {
            Usage::Frequency(evict::faded(record.access(), now, self.lfu))
        } else {
            Usage::IdleMs(evict::idle_ms(record.access(), now))
        };
        let timer_bytes = if record.is_armed() { size_of::<u32>() } else { 0 };
        let large_bytes = if record.tag().is_large() { self.larges.get(LargeId::of(record)).bytes(&self.heap) } else { 0 };
        Some(Inspected { memory_bytes: self.heap.bytes_of(handle) + ENTRY_BYTES + timer_bytes + large_bytes, usage })
    }

    /// Makes eviction remember this of a live record, for `RESTORE`; nothing happens if the policy remembers the other
    /// thing. Whether the key was there.
    pub fn set_usage(&mut self, db: Db, key: &Key<'_>, usage: Usage, now: u64) -> bool {
        let Some((_, handle)) = self.locate_live(db, key, now) else { return false };
        let access = match (usage, self.eviction.counts_uses()) {
            (Usage::IdleMs(idle_ms), false) => evict::clock_s(now.saturating_sub(idle_ms)),
            (Usage::Frequency(counter), true) => evict::counted(counter, now),
            _ => return true,
        };
        record::set_access(self.heap.bytes_mut(handle), access);
        true
    }

    /// Keys in a database, those past their deadline but not yet removed included, as Redis counts.
    pub fn len(&self, db: Db) -> usize {
        self.dbs[usize::from(db.0)].len()
    }

    /// Keys of a database that have a deadline.
    pub fn len_with_deadline(&self, db: Db) -> usize {
        self.dbs[usize::from(db.0)].timed()
    }

    /// The mean time its keys with a deadline have left, for `INFO keyspace`; zero if there are none.
    pub fn ttl_ms_mean(&self, db: Db, now: u64) -> u64 {
        self.dbs[usize::from(db.0)].deadline_mean().map_or(0, |mean| mean.saturating_sub(now))
    }

    /// How many databases there are.
    pub fn db_count(&self) -> u16 {
        self.config.db_count
    }

    /// Empties a database. The memory is given back in slices by later ticks, so that this returns at once.
    pub fn clear(&mut self, db: Db) {
        self.changes += 1;
        self.overturn_before(&[db]);
        let cleared = std::mem::take(&mut self.dbs[usize::from(db.0)]);
        if cleared.has_tables() {
            self.doomed.push(cleared);
        }
    }

    /// Exchanges two databases' contents.
    pub fn swap(&mut self, a: Db, b: Db) {
        self.changes += 1;
        self.overturn_before(&[a, b]);
        self.dbs.swap(usize::from(a.0), usize::from(b.0));
    }

    /// The whole record as bytes in its one layout, for another core, a log or a peer. `None` when absent.
    pub fn export(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Vec<u8>> {
        let (_, handle) = self.locate_live(db, key, now)?;
        let mut bytes = self.whole(self.record(handle)).into_owned();
        // Whether a wheel holds it is this shard's own affair.
        record::set_armed(&mut bytes, false);
        Some(bytes)
    }

    /// Puts a record that [`Shard::export`] gave, under `key` (which may differ from the one it had). Replaces.
    /// `Err` if the bytes are not a record.
    pub fn import(&mut self, db: Db, key: &Key<'_>, record: &[u8], now: u64) -> Result<(), MalformedRecord> {
        let record = Record::check(record)?;
        let large = self.unpacked_if_collection(record.kind(), record.value());
        if large.is_none() && self.locate(db, key).is_none() && record.key() == key.bytes {
            // The bytes as they are: a record has only one layout.
            self.changes += 1;
            if self.walked == key.partition().0 {
                self.leave_before(db, key.hash, key.bytes, None);
            }
            let handle = self.heap.take(record.bytes().len());
            self.heap.bytes_mut(handle)[..record.bytes().len()].copy_from_slice(record.bytes());
            let keyspace = &mut self.dbs[usize::from(db.0)];
            keyspace.insert(&mut self.heap, key.partition(), key.hash, handle);
            keyspace.note_deadline(None, record.deadline());
            self.arm(handle, now);
            return Ok(());
        }
        let expiry = record.deadline().map_or(Expiry::Never, Expiry::At);
        self.put_either(db, key, record.kind(), record.value(), large, expiry, now);
        let (_, handle) = self.locate(db, key).expect("just put");
        record::set_access(self.heap.bytes_mut(handle), record.access());
        Ok(())
    }

    /// Where this shard's memory is.
    pub fn memory(&self) -> Memory {
        Memory {
            records: self.heap.bytes_records(),
            dead: self.dead.bytes,
            buckets: self.heap.bytes_blocks(),
            directories: self.heap.bytes_directories(),
            wheel: self.wheel.bytes(),
            resident: self.heap.bytes_resident() + self.wheel.bytes(),
        }
    }

    /// Bytes that hold something: what the budget limits.
    #[inline]
    pub fn used_bytes(&self) -> usize {
        self.heap.bytes_records() + self.heap.bytes_blocks() + self.heap.bytes_directories() + self.wheel.bytes()
    }

    /// What happened so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset_counts(&mut self) {
        self.counts = Counts::default();
    }

    /// Proves what the rest relies on: tables, sums, the wheel's one entry per armed record. Looks at every record; for
    /// tests and `DEBUG`.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub fn check(&self) {
        let mut armed = 0;
        for (keyspace, is_doomed) in self.dbs.iter().map(|db| (db, false)).chain(self.doomed.iter().map(|db| (db, true))) {
            let (mut timed, mut len) = (0, 0);
            keyspace.visit(&mut |partition, entry| {
                let record = self.record(entry.handle);
                let key = self.key(record.key());
                assert_eq!((key.hash, key.partition()), (entry.hash, partition), "a record filed under another key");
                let bytes = if is_doomed { 0 } else { record.bytes().len() };
                assert!(bytes <= self.heap.capacity(entry.handle));
                assert!(is_doomed || record.is_armed() || record.deadline().is_none(), "a deadline that nobody watches");
                len += 1;
                timed += usize::from(record.deadline().is_some());
                armed += usize::from(record.is_armed());
            });
            if !is_doomed {
                keyspace.check();
                assert_eq!((len, timed), (keyspace.len(), keyspace.timed()));
            }
        }
        let directories: usize = self.dbs.iter().chain(&self.doomed).map(Keyspace::directory_bytes).sum();
        assert_eq!(directories + self.larges.directory_bytes(), self.heap.bytes_directories());
        self.larges.check(&self.heap);
        assert_eq!(self.wheel.len(), armed + self.dead.count, "one entry for each armed or dead handle");
        self.heap.check();
    }

    #[inline]
    pub(crate) fn record(&self, handle: Handle) -> Record<'_> {
        Record::trusted(self.heap.bytes(handle))
    }

    #[inline]
    fn locate(&self, db: Db, key: &Key<'_>) -> Option<(Place, Handle)> {
        let table = self.dbs[usize::from(db.0)].table(key.partition())?;
        table.find(key.hash, |handle| self.record(handle).key() == key.bytes)
    }

    /// Where the record of a key that is there is: its place in the table, until the table changes, and its handle.
    #[inline]
    pub(crate) fn locate_live(&self, db: Db, key: &Key<'_>, now: u64) -> Option<(Place, Handle)> {
        self.locate(db, key).filter(|(_, handle)| !self.record(*handle).is_over(now))
    }

    #[inline]
    fn mark_used(&mut self, handle: Handle, now: u64) {
        let access = self.record(handle).access();
        let used = self.eviction.access_used(access, now, self.lfu, &mut self.chance);
        // Most reads find the clock where it was; then the line stays clean.
        if used != access {
            record::set_access(self.heap.bytes_mut(handle), used);
        }
    }

    /// Lets the table name `new` instead of `old`, arms the one and lets go of the other.
    fn replace(&mut self, db: Db, partition: PartitionId, place: Place, old: Handle, new: Handle, now: u64) {
        self.dbs[usize::from(db.0)].replace(partition, place, new);
        self.arm(new, now);
        self.release(old);
    }

    /// Removes a record. Its handle is over with.
    pub(crate) fn remove_at(&mut self, db: Db, partition: PartitionId, place: Place, handle: Handle) {
        if self.walked == partition.0 {
            self.leave_before_removal(db, handle);
        }
        let deadline = self.record(handle).deadline();
        let keyspace = &mut self.dbs[usize::from(db.0)];
        keyspace.note_deadline(deadline, None);
        keyspace.remove(&mut self.heap, partition, place);
        self.doom_large(handle);
        self.release(handle);
    }

    /// The record of a key that is there.
    pub(crate) fn live_record(&self, db: Db, key: &Key<'_>, now: u64) -> Option<Record<'_>> {
        self.locate_live(db, key, now).map(|(_, handle)| self.record(handle))
    }

    /// Something is about to happen to what a record of this key names.
    pub(crate) fn leave_before_change(&mut self, db: Db, key: &Key<'_>) {
        if self.walked == key.partition().0 {
            let old = self.locate(db, key).map(|(_, handle)| handle);
            self.leave_before(db, key.hash, key.bytes, old);
        }
    }

    /// What a live record names was changed in place.
    pub(crate) fn note_change(&mut self, db: Db, key: &Key<'_>, now: u64) {
        self.changes += 1;
        if !self.no_touch
            && let Some((_, handle)) = self.locate_live(db, key, now)
        {
            self.mark_used(handle, now);
        }
    }

    /// The large collection that a record names, if it does, will not be found any more.
    pub(crate) fn doom_large(&mut self, handle: Handle) {
        let record = self.record(handle);
        if record.tag().is_large() {
            let id = LargeId::of(record);
            self.larges.doom(id);
        }
    }

    /// A record with all of its value: that of a large collection is made now. O(n) then.
    pub(crate) fn whole<'s>(&self, record: Record<'s>) -> Cow<'s, [u8]> {
        let Some(value) = self.flattened(record) else { return Cow::Borrowed(record.bytes()) };
        let (key, deadline) = (record.key(), record.deadline());
        let shape = Shape { key_bytes: key.len(), value_bytes: value.len(), has_deadline: deadline.is_some() };
        let mut bytes = vec![0; shape.bytes()];
        record::write(&mut bytes, Tag::of(record.kind()), record.access(), deadline, key, &value);
        Cow::Owned(bytes)
    }
}

/// What an entry of the table costs at its usual fill.
const ENTRY_BYTES: usize = 10;

/// Whether the wheel's one entry for a record still serves: it must not come up later than the deadline. When it was
/// filed nobody knows, but never later than a deadline the record has had since.
fn may_stay_armed(armed: bool, old: Option<Deadline>, new: Option<Deadline>) -> bool {
    !armed || new.is_none_or(|new| old.is_some_and(|old| new >= old))
}

/// Room to take for a record that grows to `bytes`: a quarter more for large ones, unless it more than doubles, which
/// is rarely the first of many.
fn room_for(bytes: usize, bytes_before: usize) -> usize {
    if bytes > RECORD_BYTES_MAX && bytes > bytes_before && bytes < bytes_before * 2 { bytes + bytes / 4 } else { bytes }
}

#[cfg(test)]
mod tests;
