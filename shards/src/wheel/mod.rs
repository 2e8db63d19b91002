//! One hierarchical timing wheel for everything timed.
//!
//! Holds 32-bit ids, at four bytes each; what an id means, and when it is due, its owner knows. So an entry cannot be
//! taken out early: the owner lets a cancelled id come up and drops it then, or asks for a sweep. Insert is O(1); an id
//! is moved at most once per level before it is due, ahead of its time and in slices as small as the owner likes.
//!
//! Time is in ticks of a millisecond and comes only from [`Wheel::advance`]. An id is never due early; it is due at the
//! first `advance` at or after its time. Nothing here reads a clock or knows a record.

mod chunks;

use chunks::{Chunks, List};

/// Ids handed out at once, so that the owner can fetch what they name side by side.
pub const BATCH: usize = 32;

/// Ids taken from the wheel. The owner now has them.
pub struct Batch {
    ids: [u32; BATCH],
    len: usize,
}

impl Batch {
    /// None yet.
    pub const EMPTY: Batch = Batch { ids: [0; BATCH], len: 0 };

    /// The ids.
    pub fn ids(&self) -> &[u32] {
        &self.ids[..self.len]
    }
}

/// A slot of level 0 is one tick, of level 1 256 ticks, from there on 64 times as many a level.
const LEVELS: usize = 8;
const SHIFTS: [u32; LEVELS] = [0, 8, 14, 20, 26, 32, 38, 44];
/// Each level holds two turns of the one above: the one that runs, and the next, which is being filled from above.
const SLOTS: [usize; LEVELS] = [512, 128, 128, 128, 128, 128, 128, 128];
const SLOTS_ALL: usize = 512 + 7 * 128;
const _: () = assert!(SLOTS[1] << SHIFTS[1] >= 2 << SHIFTS[2] && SLOTS[0] >= 2 << SHIFTS[1]);

/// Last time that can be asked for: 48 bits, as in records.
pub const TIME_MAX: u64 = (1 << 48) - 1;
const _: () = assert!(TIME_MAX >> SHIFTS[LEVELS - 1] < SLOTS[LEVELS - 1] as u64);

/// The wheel.
pub struct Wheel {
    chunks: Chunks,
    slots: Vec<List>,
    /// A bit for each slot that is not empty.
    occupied: [u64; SLOTS_ALL / 64],
    /// First slot of each level that is not opened yet, counted from time zero. What lies before it was handed to the
    /// level below; of level 0, to `due`.
    opened: [u64; LEVELS],
    /// What was opened but not handed down yet.
    opening: [List; LEVELS],
    opening_len: usize,
    due: List,
    due_len: usize,
    /// The next slot that a running sweep will open.
    sweep: Option<usize>,
    sweeping: List,
    len: usize,
    slot_lens: Vec<u32>,
}

impl Default for Wheel {
    fn default() -> Wheel {
        Wheel::new()
    }
}

impl Wheel {
    /// An empty wheel at time zero.
    pub fn new() -> Wheel {
        let mut wheel = Wheel {
            chunks: Chunks::default(),
            slots: vec![List::EMPTY; SLOTS_ALL],
            occupied: [0; SLOTS_ALL / 64],
            opened: [0; LEVELS],
            opening: [List::EMPTY; LEVELS],
            opening_len: 0,
            due: List::EMPTY,
            due_len: 0,
            sweep: None,
            sweeping: List::EMPTY,
            len: 0,
            slot_lens: vec![0; SLOTS_ALL],
        };
        wheel.turn_to(0);
        wheel
    }

    /// Ids in it, wherever they are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ids whose time has come and that nobody has taken yet.
    pub fn due_len(&self) -> usize {
        self.due_len
    }

    /// Ids on their way down that nobody has re-filed yet.
    pub fn opening_len(&self) -> usize {
        self.opening_len
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.chunks.bytes() + SLOTS_ALL * (size_of::<List>() + size_of::<u32>())
    }

    /// Files an id under a time, which may have passed.
    pub fn insert(&mut self, id: u32, at: u64) {
        let at = at.min(TIME_MAX);
        self.len += 1;
        if at < self.opened[0] {
            self.chunks.push(&mut self.due, id);
            self.due_len += 1;
            return;
        }
        let mut level = 0;
        while level + 1 < LEVELS && at >> SHIFTS[level + 1] >= self.opened[level + 1] {
            level += 1;
        }
        let slot = slot_of(level, at >> SHIFTS[level]);
        self.chunks.push(&mut self.slots[slot], id);
        self.slot_lens[slot] += 1;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Lets time pass, to `now` inclusive. Cheap however much of it passes: ids are only handed on, see
    /// [`Wheel::take_due`] and [`Wheel::take_opening`]. Time that goes back is ignored.
    pub fn advance(&mut self, now: u64) {
        let now = now.min(TIME_MAX);
        if now < self.opened[0] {
            return;
        }
        if self.len == 0 {
            return self.turn_to(now);
        }
        for level in (1..LEVELS).rev() {
            let target = (now >> SHIFTS[level]) + 2;
            while self.opened[level] < target {
                let Some(number) = self.first_occupied(level).filter(|number| *number < target) else {
                    self.opened[level] = target;
                    break;
                };
                let slot = slot_of(level, number);
                self.opening_len += self.slot_lens[slot] as usize;
                self.empty_slot(slot, |wheel| &mut wheel.opening[level]);
                self.opened[level] = number + 1;
            }
        }
        while let Some(number) = self.first_occupied(0).filter(|number| *number <= now) {
            let slot = slot_of(0, number);
            self.due_len += self.slot_lens[slot] as usize;
            self.empty_slot(slot, |wheel| &mut wheel.due);
        }
        self.opened[0] = now + 1;
    }

    /// Takes ids whose time has come, if the owner's clock agrees; else it files them again. Whether there were any.
    pub fn take_due(&mut self, batch: &mut Batch, most: usize) -> bool {
        let mut due = self.due;
        self.take(&mut due, batch, most);
        self.due = due;
        self.due_len -= batch.len;
        batch.len > 0
    }

    /// Takes ids on their way down a level; the owner files each again under its time, or drops it. Whether there were
    /// any. To be done soon: until then they cannot become due.
    pub fn take_opening(&mut self, batch: &mut Batch, most: usize) -> bool {
        batch.len = 0;
        for level in 1..LEVELS {
            if !self.opening[level].is_empty() {
                let mut list = self.opening[level];
                self.take(&mut list, batch, most);
                self.opening[level] = list;
                self.opening_len -= batch.len;
                break;
            }
        }
        batch.len > 0
    }

    /// Begins to bring up every id once, so that the owner can drop those it has cancelled.
    pub fn start_sweep(&mut self) {
        if self.sweep.is_none() {
            self.sweep = Some(SLOTS[0]);
        }
    }

    /// Takes ids that a sweep brought up; the owner files each again under its time, or drops it. `false` when the sweep
    /// is over. Level 0 is left out: it comes up by itself within half a second.
    pub fn take_sweep(&mut self, batch: &mut Batch, most: usize) -> bool {
        batch.len = 0;
        while self.sweeping.is_empty() {
            let Some(slot) = self.sweep else { return false };
            if slot == SLOTS_ALL {
                self.sweep = None;
                return false;
            }
            self.empty_slot(slot, |wheel| &mut wheel.sweeping);
            self.sweep = Some(slot + 1);
        }
        let mut list = self.sweeping;
        self.take(&mut list, batch, most);
        self.sweeping = list;
        true
    }

    /// Whether a sweep is running.
    pub fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }

    /// The next time at which [`Wheel::advance`] and taking have something to do. Never later than anything is due;
    /// earlier where ids must come down a level before.
    pub fn next_at(&self) -> Option<u64> {
        if self.due_len > 0 || self.opening_len > 0 || !self.sweeping.is_empty() {
            return Some(self.opened[0].saturating_sub(1));
        }
        let levels = (1..LEVELS).filter_map(|level| {
            // A slot is opened one turn ahead.
            self.first_occupied(level).map(|number| (number.saturating_sub(1) << SHIFTS[level]).max(self.opened[0]))
        });
        self.first_occupied(0).into_iter().chain(levels).min()
    }

    /// Shows some ids near a place picked by chance, until `see` says enough or `chunks` chunks of 62 were looked at.
    pub fn sample(&self, chance: u64, chunks: usize, see: &mut dyn FnMut(u32) -> bool) {
        self.chunks.sample(chance, chunks, see);
    }

    /// Sets the hands of an empty wheel.
    fn turn_to(&mut self, now: u64) {
        self.opened[0] = now + 1;
        for (opened, shift) in self.opened.iter_mut().zip(SHIFTS).skip(1) {
            *opened = (now >> shift) + 2;
        }
    }

    fn take(&mut self, list: &mut List, batch: &mut Batch, most: usize) {
        batch.len = 0;
        while batch.len < BATCH.min(most) {
            let Some(id) = self.chunks.pop(list) else { break };
            batch.ids[batch.len] = id;
            batch.len += 1;
        }
        self.len -= batch.len;
    }

    fn empty_slot(&mut self, slot: usize, target: impl Fn(&mut Wheel) -> &mut List) {
        let mut source = std::mem::replace(&mut self.slots[slot], List::EMPTY);
        let mut joined = *target(self);
        self.chunks.join(&mut joined, &mut source);
        *target(self) = joined;
        self.slot_lens[slot] = 0;
        self.occupied[slot / 64] &= !(1 << (slot % 64));
    }

    /// The first slot of a level that holds something, counted from time zero. All that is held lies within one turn
    /// of the level's slots from `opened`.
    fn first_occupied(&self, level: usize) -> Option<u64> {
        let (count, start) = (SLOTS[level], self.opened[level]);
        let first_word = slot_of(level, 0) / 64;
        let words = &self.occupied[first_word..first_word + count / 64];
        let from = start as usize % count;
        for step in 0..=words.len() {
            let word = (from / 64 + step) % words.len();
            let mut bits = words[word];
            if step == 0 {
                bits &= u64::MAX << (from % 64);
            } else if step == words.len() {
                bits &= !(u64::MAX << (from % 64));
            }
            if bits != 0 {
                let slot = word * 64 + bits.trailing_zeros() as usize;
                return Some(start + ((slot + count - from) % count) as u64);
            }
        }
        None
    }
}

/// The place of a level's slot `number`, counted from time zero.
fn slot_of(level: usize, number: u64) -> usize {
    let before = if level == 0 { 0 } else { SLOTS[0] + (level - 1) * SLOTS[1] };
    before + number as usize % SLOTS[level]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// An owner that knows each id's time and never re-files late.
    #[derive(Default)]
    struct Owner {
        wheel: Wheel,
        times: BTreeMap<u32, u64>,
        moves: BTreeMap<u32, u32>,
        now: u64,
        next_id: u32,
    }

    impl Owner {
        fn insert(&mut self, at: u64) {
            self.next_id += 1;
            self.times.insert(self.next_id, at);
            self.wheel.insert(self.next_id, at);
        }

        /// Advances and takes all there is; what fired must be exactly what the model says.
        fn advance(&mut self, now: u64, most: usize) {
            self.now = self.now.max(now);
            let expected: Vec<u32> = self.times.iter().filter(|(_, at)| **at <= self.now).map(|(id, _)| *id).collect();
            self.wheel.advance(now);
            let mut fired = Vec::new();
            let mut batch = Batch::EMPTY;
            loop {
                if self.wheel.take_opening(&mut batch, most) {
                    for &id in batch.ids() {
                        *self.moves.entry(id).or_default() += 1;
                        if let Some(&at) = self.times.get(&id) {
                            self.wheel.insert(id, at);
                        }
                    }
                } else if self.wheel.take_due(&mut batch, most) {
                    for &id in batch.ids() {
                        match self.times.get(&id) {
                            None => {}
                            Some(&at) if at > self.now => self.wheel.insert(id, at),
                            Some(_) => fired.push(id),
                        }
                    }
                } else {
                    break;
                }
            }
            fired.sort_unstable();
            assert_eq!(fired, expected, "at {now}");
            self.times.retain(|_, at| *at > self.now);
            assert!(self.wheel.len() >= self.times.len());
            match (self.wheel.next_at(), self.times.values().min()) {
                (None, Some(at)) => panic!("{at} would be missed"),
                (Some(next), Some(at)) => assert!(next <= *at && next > self.now, "{next} where {at} is next, now {}", self.now),
                _ => {}
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert { ahead: u64 },
        Later { pick: usize, ahead: u64 },
        Cancel { pick: usize },
        Advance { by: u64, most: usize },
        Sweep,
    }

    fn span() -> impl Strategy<Value = u64> {
        prop_oneof![0..4u64, 0..600u64, 0..40_000u64, 0..3_000_000u64, 0..1u64 << 33, 0..1u64 << 47]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => span().prop_map(|ahead| Step::Insert { ahead }),
            1 => (any::<usize>(), span()).prop_map(|(pick, ahead)| Step::Later { pick, ahead }),
            1 => any::<usize>().prop_map(|pick| Step::Cancel { pick }),
            4 => (span(), 1..40usize).prop_map(|(by, most)| Step::Advance { by, most }),
            1 => Just(Step::Sweep),
        ]
    }

    proptest! {
        #[test]
        fn fires_what_is_due_and_nothing_else(start in prop_oneof![Just(0u64), Just(1_700_000_000_000u64)], steps in prop::collection::vec(step(), 1..200)) {
            let mut owner = Owner::default();
            owner.advance(start, 8);
            for step in steps {
                match step {
                    Step::Insert { ahead } => owner.insert((owner.now + ahead).min(TIME_MAX - 1)),
                    Step::Later { pick, ahead } => {
                        let pick = pick % owner.times.len().max(1);
                        if let Some(at) = owner.times.values_mut().nth(pick) {
                            *at = (*at + ahead).min(TIME_MAX - 1);
                        }
                    }
                    Step::Cancel { pick } => {
                        let pick = pick % owner.times.len().max(1);
                        if let Some(&id) = owner.times.keys().nth(pick) {
                            owner.times.remove(&id);
                        }
                    }
                    Step::Advance { by, most } => owner.advance((owner.now + by).min(TIME_MAX - 1), most),
                    Step::Sweep => {
                        let mut batch = Batch::EMPTY;
                        owner.wheel.start_sweep();
                        while owner.wheel.take_sweep(&mut batch, 7) {
                            for &id in batch.ids() {
                                if let Some(&at) = owner.times.get(&id) {
                                    owner.wheel.insert(id, at);
                                }
                            }
                        }
                    }
                }
            }
            owner.advance(TIME_MAX - 1, BATCH);
            prop_assert!(owner.times.is_empty());
        }
    }

    #[test]
    fn an_id_moves_at_most_once_a_level() {
        let mut owner = Owner::default();
        owner.advance(1_700_000_000_000, 8);
        for ahead in [1u64, 511, 512, 40_000, 5_000_000, 100_000_000] {
            owner.insert(owner.now + ahead);
        }
        while let Some(next) = owner.wheel.next_at() {
            owner.advance(next, 8);
        }
        assert!(owner.times.is_empty());
        assert!(owner.moves.values().all(|moves| *moves < LEVELS as u32), "{:?}", owner.moves);
        assert!(owner.moves.values().sum::<u32>() <= 1 + 1 + 2 + 3 + 4);
    }

    #[test]
    fn a_sweep_brings_up_all_but_what_is_due_at_once() {
        let mut wheel = Wheel::new();
        (0..10_000).for_each(|id| wheel.insert(id, 1000 + u64::from(id) * 100));
        wheel.start_sweep();
        let (mut batch, mut seen) = (Batch::EMPTY, 0);
        while wheel.take_sweep(&mut batch, BATCH) {
            seen += batch.ids().len();
            // Those that stay are filed again behind the sweep and not seen twice.
            batch.ids().iter().filter(|id| **id % 2 == 0).for_each(|id| wheel.insert(*id, 1000 + u64::from(*id) * 100));
        }
        assert_eq!((seen, wheel.len()), (10_000, 5000));
        assert!(!wheel.is_sweeping());
    }

    #[test]
    fn memory_is_four_bytes_an_id_and_comes_back() {
        let mut wheel = Wheel::new();
        let empty = wheel.bytes();
        (0..1_000_000).for_each(|id| wheel.insert(id, 1000 + u64::from(id) * 37));
        assert!(wheel.bytes() - empty < 4_400_000, "{}", wheel.bytes());
        let mut batch = Batch::EMPTY;
        wheel.advance(TIME_MAX);
        while wheel.take_opening(&mut batch, BATCH) || wheel.take_due(&mut batch, BATCH) {}
        assert!(wheel.is_empty());
        assert!(wheel.bytes() - empty < 200_000, "{}", wheel.bytes());
    }
}
