//! Chance from a seed: the same seed gives the same numbers, on every machine and in every version.

use std::ops::RangeInclusive;

/// SplitMix64. Small, quick, good enough to choose delays; not for secrets.
#[derive(Clone, Debug)]
pub struct Chance {
    state: u64,
}

impl Chance {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Chance {
        Chance { state: seed }
    }

    /// A sequence of its own, so that what one part of a simulation draws does not shift what another part gets.
    pub fn fork(&mut self) -> Chance {
        Chance { state: self.bits() }
    }

    /// Sixty-four bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed(self.state)
    }

    /// A number below `bound`, all as good as equally likely.
    ///
    /// # Panics
    /// If `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "no number is below zero");
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `range`, both ends included.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn within(&mut self, range: &RangeInclusive<u64>) -> u64 {
        let (low, high) = (*range.start(), *range.end());
        assert!(low <= high, "an empty range holds no number");
        match (high - low).checked_add(1) {
            Some(count) => low + self.below(count),
            None => self.bits(),
        }
    }

    /// True once in `count` draws on average; never for zero.
    pub fn one_in(&mut self, count: u32) -> bool {
        count > 0 && self.below(u64::from(count)) == 0
    }

    /// Any order of `items`, all equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

/// Spreads every bit of `value` over all bits of the result.
pub(super) fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_a_sequence() {
        let mut chance = Chance::new(0);
        // The published test vector of SplitMix64.
        assert_eq!(chance.bits(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(chance.bits(), 0x6E78_9E6A_A1B9_65F4);
        let mut counts = [0u32; 7];
        for _ in 0..7_000 {
            counts[chance.below(7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert!(!chance.one_in(0) && chance.one_in(1));
        let mut items: Vec<u32> = (0..100).collect();
        chance.shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
