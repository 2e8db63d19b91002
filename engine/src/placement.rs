//! Which core owns which slot. Fixed for the life of the process.

use shards::key::PARTITION_COUNT;
use shards::slot::SLOT_COUNT;
use shards::{PartitionId, Slot};
use std::ops::Range;

/// One core of this process, counted from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CoreId(pub u16);

/// Cores a process may have: each owns at least one partition.
pub const CORE_COUNT_MAX: u16 = PARTITION_COUNT;

/// Divides the partitions over the cores in contiguous, almost equal ranges.
#[derive(Clone, Copy, Debug)]
pub struct Placement {
    core_count: u16,
}

impl Placement {
    /// For this many cores.
    ///
    /// # Panics
    /// If there is no core, or more than [`CORE_COUNT_MAX`]: the configuration checks it.
    pub fn new(core_count: u16) -> Placement {
        assert!((1..=CORE_COUNT_MAX).contains(&core_count));
        Placement { core_count }
    }

    /// How many cores there are.
    pub fn core_count(self) -> u16 {
        self.core_count
    }

    /// Every core.
    pub fn cores(self) -> impl Iterator<Item = CoreId> {
        (0..self.core_count).map(CoreId)
    }

    /// The core that owns a slot.
    #[inline]
    pub fn core_of(self, slot: Slot) -> CoreId {
        self.core_of_partition(PartitionId::of(slot))
    }

    /// The core that owns a partition.
    #[inline]
    pub fn core_of_partition(self, partition: PartitionId) -> CoreId {
        // The largest core whose range starts at or before the partition.
        CoreId(((u32::from(partition.0) * u32::from(self.core_count) + u32::from(self.core_count) - 1) / u32::from(PARTITION_COUNT)) as u16)
    }

    /// The partitions a core owns.
    pub fn partitions_of(self, core: CoreId) -> Range<u16> {
        let start = |core: u32| (core * u32::from(PARTITION_COUNT) / u32::from(self.core_count)) as u16;
        start(u32::from(core.0))..start(u32::from(core.0) + 1)
    }

    /// The slots a core owns.
    pub fn slots_of(self, core: CoreId) -> Range<u16> {
        const SLOTS_EACH: u16 = SLOT_COUNT / PARTITION_COUNT;
        let Range { start, end } = self.partitions_of(core);
        start * SLOTS_EACH..end * SLOTS_EACH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_the_one_core_whose_range_holds_it() {
        for core_count in 1..=CORE_COUNT_MAX {
            let placement = Placement::new(core_count);
            let mut next = 0;
            for core in placement.cores() {
                let slots = placement.slots_of(core);
                assert_eq!(slots.start, next, "ranges are contiguous");
                assert!(!slots.is_empty(), "every core owns something");
                for slot in slots.clone() {
                    assert_eq!(placement.core_of(Slot(slot)), core, "{core_count} cores, slot {slot}");
                }
                next = slots.end;
            }
            assert_eq!(next, SLOT_COUNT);
        }
    }
}
