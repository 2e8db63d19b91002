//! Tables beside plain maps of the same.

use super::*;
use crate::chance::Chance;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A table beside a plain map of the same.
struct Twin {
    heap: Heap,
    table: Table,
    model: BTreeMap<u32, u32>,
}

impl Twin {
    fn new(partition: u16) -> Twin {
        Twin { heap: Heap::new(), table: Table::new(partition), model: BTreeMap::new() }
    }

    /// Handles are never looked behind by a table, so any number will do as one.
    fn insert(&mut self, hash: u32, handle: u32) {
        self.table.insert(&mut self.heap, hash, Handle::from_bits(handle).unwrap());
        assert!(self.model.insert(handle, hash).is_none());
    }

    fn remove(&mut self, handle: u32) {
        let hash = self.model.remove(&handle).unwrap();
        let (place, _) = self.table.find(hash, |other| other.bits() == handle).unwrap();
        self.table.remove(&mut self.heap, place);
    }

    fn check(&self) {
        self.table.check();
        assert_eq!(self.table.len(), self.model.len());
        for (&handle, &hash) in &self.model {
            assert!(self.table.find(hash, |other| other.bits() == handle).is_some());
        }
    }

    fn walk(&self) -> Vec<u32> {
        let (mut seen, mut from) = (Vec::new(), Some(0));
        while let Some(hash) = from {
            from = self.table.visit_range(hash, &mut |entry| seen.push(entry.handle.bits()));
        }
        seen.sort_unstable();
        seen
    }
}

#[test]
fn grows_splits_shrinks_and_merges_back_to_nothing() {
    for partition in [0, 100, 255] {
        let (mut twin, mut chance) = (Twin::new(partition), Chance::new(1));
        for handle in 1..=20_000 {
            twin.insert(chance.next() as u32, handle);
        }
        twin.check();
        let stats = twin.table.stats();
        let fill = stats.entries as f64 / (stats.buckets * BUCKET_ENTRIES) as f64;
        assert!((0.78..0.875).contains(&fill), "filled {fill}");
        assert_eq!(twin.walk(), (1..=20_000).collect::<Vec<_>>());
        for handle in 1..=20_000 {
            twin.remove(handle);
            if handle % 4000 == 0 {
                twin.check();
            }
        }
        assert_eq!((twin.table.directory_bytes(), twin.heap.bytes_blocks()), (0, 0), "an empty table costs nothing");
    }
}

#[test]
fn hashes_that_are_all_alike_only_make_it_slow() {
    let mut twin = Twin::new(7);
    (1..=3000).for_each(|handle| twin.insert(0xDEAD_BEEF, handle));
    (3001..=3100).for_each(|handle| twin.insert(handle, handle));
    twin.check();
    assert!(twin.table.directory_bytes() < 4096, "a directory cannot help, so it does not grow");
    assert_eq!(twin.walk().len(), 3100);
    (1..=3100).for_each(|handle| twin.remove(handle));
    twin.check();
}

#[test]
fn a_table_can_be_taken_apart() {
    let (mut twin, mut chance, mut handles) = (Twin::new(3), Chance::new(2), Vec::new());
    (1..=5000).for_each(|handle| twin.insert(chance.next() as u32, handle));
    while twin.table.take_segment(&mut twin.heap, &mut handles) {}
    assert_eq!(handles.len(), 5000);
    assert_eq!(twin.heap.bytes_blocks(), 0);
}

/// Few distinct hashes, at the ends of ranges, so that everything collides and wraps.
fn hash() -> impl Strategy<Value = u32> {
    prop_oneof![
        2 => any::<u32>(),
        1 => (0..4u32).prop_map(|low| u32::MAX - low),
        1 => 0..4u32,
        1 => (0..8u32).prop_map(|top| top << 29),
        1 => (0..64u32).prop_map(|low| 0x8000_0000 + (low << 20)),
    ]
}

proptest! {
    #[test]
    fn does_what_a_map_does(partition in 0..256u16, steps in prop::collection::vec((hash(), 0..10u8, any::<u16>()), 1..2000), removals in 0..9u8) {
        let mut twin = Twin::new(partition);
        let mut next = 0;
        for (index, (hash, dice, pick)) in steps.into_iter().enumerate() {
            if dice >= removals || twin.model.is_empty() {
                next += 1;
                twin.insert(hash, next);
            } else {
                let handle = *twin.model.keys().nth(usize::from(pick) % twin.model.len()).unwrap();
                twin.remove(handle);
            }
            if index % 100 == 0 {
                twin.check();
            }
        }
        twin.check();
        prop_assert_eq!(twin.walk(), twin.model.keys().copied().collect::<Vec<_>>());
    }

    /// What `SCAN` promises: whoever is there from the first step to the last is met exactly once.
    #[test]
    fn a_walk_meets_whoever_stays_exactly_once(seed: u64, stay in 0..3000u32, churn in 0..60u32) {
        let (mut twin, mut chance) = (Twin::new(seed as u16 % 256), Chance::new(seed));
        (1..=stay).for_each(|handle| twin.insert(chance.next() as u32, handle));
        let (mut seen, mut from, mut next) = (Vec::new(), Some(0), stay);
        let mut guests = Vec::new();
        while let Some(hash) = from {
            from = twin.table.visit_range(hash, &mut |entry| seen.push(entry.handle.bits()));
            for _ in 0..chance.below(churn as usize + 1) {
                if chance.below(2) == 0 {
                    next += 1;
                    twin.insert(chance.next() as u32, next);
                    guests.push(next);
                } else if !guests.is_empty() {
                    let guest = guests.swap_remove(chance.below(guests.len()));
                    twin.remove(guest);
                }
            }
            if next > 20_000 {
                break;
            }
        }
        prop_assume!(from.is_none());
        let mut stayed: Vec<u32> = seen.into_iter().filter(|handle| *handle <= stay).collect();
        stayed.sort_unstable();
        prop_assert_eq!(stayed, (1..=stay).collect::<Vec<_>>());
    }
}

#[test]
fn room_made_before_is_what_would_have_grown_and_what_nobody_needs_is_given_back() {
    for (partition, entries) in [(0, 1), (7, 200), (100, 4_000), (255, 20_000)] {
        let (mut grown, mut ahead, mut chance) = (Twin::new(partition), Twin::new(partition), Chance::new(3));
        ahead.table.reserve(&mut ahead.heap, entries);
        ahead.table.check();
        let reserved = ahead.table.stats();
        for handle in 1..=entries as u32 {
            let hash = chance.next() as u32;
            grown.insert(hash, handle);
            ahead.insert(hash, handle);
        }
        ahead.check();
        let (grown, filled) = (grown.table.stats(), ahead.table.stats());
        assert!(filled.buckets <= grown.buckets + grown.buckets / 8 + 1, "{filled:?}, and {grown:?} had it grown");
        assert!(filled.buckets <= reserved.buckets + reserved.buckets / 8, "{reserved:?} was nearly enough for {filled:?}");
        ahead.table.reserve(&mut ahead.heap, 1_000_000);
        assert_eq!(ahead.table.stats(), filled, "only an empty table is prepared");
        // Ten times too much, and then nothing at all.
        let mut spare = Twin::new(partition);
        spare.table.reserve(&mut spare.heap, entries * 10);
        (1..=entries as u32).for_each(|handle| spare.insert(chance.next() as u32, handle));
        spare.table.fit(&mut spare.heap);
        spare.check();
        assert!(
            spare.table.stats().buckets <= 2 * grown.buckets + spare.table.stats().segments,
            "{:?}, grown {grown:?}",
            spare.table.stats()
        );
        let mut none = Twin::new(partition);
        none.table.reserve(&mut none.heap, entries);
        none.table.fit(&mut none.heap);
        assert_eq!(none.table.stats(), TableStats::default());
        none.insert(5, 5);
        none.check();
    }
}
