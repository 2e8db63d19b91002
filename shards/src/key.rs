//! A key on its way through a core: its bytes, hashed once.

use crate::slot::{SLOT_COUNT, Slot};
use std::hash::{BuildHasher, Hasher};

/// A numbered database; the namespace that `SELECT n` picks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Db(pub u16);

/// A contiguous range of slots: the unit of placement, snapshot and replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

/// How many partitions the slots are divided into. A power of two, fixed when a cluster is created.
pub const PARTITION_COUNT: u16 = 256;
const _: () = assert!(PARTITION_COUNT.is_power_of_two() && PARTITION_COUNT <= SLOT_COUNT);

impl PartitionId {
    /// The partition a slot belongs to.
    #[inline]
    pub fn of(slot: Slot) -> PartitionId {
        PartitionId(slot.0 / (SLOT_COUNT / PARTITION_COUNT))
    }
}

/// A key's bytes with everything that is derived from them.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// As the client sent them.
    pub bytes: &'a [u8],
    /// Seeded per process, so that nobody outside can aim at one bucket.
    pub hash: u32,
    /// Where cluster clients look for it.
    pub slot: Slot,
}

impl<'a> Key<'a> {
    /// Hashes `bytes`. About 10 ns for short keys.
    #[inline]
    pub fn new(bytes: &'a [u8], seed: &KeySeed) -> Key<'a> {
        Key { bytes, hash: seed.hash(bytes), slot: Slot::of(bytes) }
    }

    /// The partition it belongs to.
    #[inline]
    pub fn partition(&self) -> PartitionId {
        PartitionId::of(self.slot)
    }
}

/// The process' hash seed; the same on every core, so that a key hashed where it arrived need not be hashed again.
#[derive(Clone, Copy, Debug)]
pub struct KeySeed(u64);

impl KeySeed {
    /// From 64 bits of chance.
    pub fn new(seed: u64) -> KeySeed {
        KeySeed(seed)
    }

    /// For tables of one command's own.
    pub(crate) fn hashing(&self) -> foldhash::fast::FixedState {
        foldhash::fast::FixedState::with_seed(self.0)
    }

    #[inline]
    pub(crate) fn hash(&self, bytes: &[u8]) -> u32 {
        let mut hasher = foldhash::fast::FixedState::with_seed(self.0).build_hasher();
        hasher.write(bytes);
        // The high half: foldhash mixes it last.
        (hasher.finish() >> 32) as u32
    }
}
