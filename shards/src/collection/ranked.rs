//! A large sorted set: its members by their bytes, and by score.
//!
//! Members are records whose value is their score ([`Members`]); the [`Order`] holds their handles. The same score is in both
//! places, so that most steps of a search need no record.

use super::members::Members;
use super::order::{Direction, Entry, Order};
use super::pack::SCORE_BYTES;
use super::sorted_set::Point;
use crate::heap::{Handle, Heap};
use crate::key::KeySeed;
use crate::record::Record;
use crate::shard::Shard;
use std::ops::Range;

/// See the head of this file.
pub(crate) struct Ranked {
    members: Members,
    order: Order,
}

impl Ranked {
    /// Of members that are all different, in order.
    pub(crate) fn of<'e>(scored: impl Iterator<Item = (&'e [u8], f64)>, shard: &mut Shard) -> Ranked {
        let mut ranked = Ranked::new(&shard.config.key_seed);
        for (place, (member, score)) in scored.enumerate() {
            let handle = ranked.members.put(&mut shard.heap, member, &score.to_le_bytes()).1;
            ranked.change_order(&mut shard.heap, |order| order.insert(place, Entry { score, handle }));
        }
        ranked
    }

    /// None yet.
    pub(crate) fn new(seed: &KeySeed) -> Ranked {
        Ranked { members: Members::new(seed), order: Order::default() }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// The score of a member.
    #[inline]
    pub(crate) fn score(&self, heap: &Heap, member: &[u8]) -> Option<f64> {
        self.members.get(heap, member).map(score_of)
    }

    /// The place of a member, and its score.
    pub(crate) fn find(&self, heap: &Heap, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(heap, member)?;
        Some((self.place(heap, &Point::At(score, member)), score))
    }

    /// How many members lie before a point.
    pub(crate) fn place(&self, heap: &Heap, point: &Point<'_>) -> usize {
        self.order.place(|entry| point.is_past(entry.score, || member_of(heap, entry.handle)))
    }

    /// The member at a place that there is, and its score.
    pub(crate) fn at<'h>(&self, heap: &'h Heap, place: usize) -> (&'h [u8], f64) {
        let entry = self.order.at(place);
        (member_of(heap, entry.handle), entry.score)
    }

    /// Puts a member, or gives it another score.
    pub(crate) fn set(&mut self, heap: &mut Heap, member: &[u8], score: f64) {
        if let Some((place, _)) = self.find(heap, member) {
            self.change_order(heap, |order| order.remove(place));
        }
        let handle = self.members.put(heap, member, &score.to_le_bytes()).1;
        let place = self.place(heap, &Point::At(score, member));
        self.change_order(heap, |order| order.insert(place, Entry { score, handle }));
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, heap: &mut Heap, member: &[u8]) -> bool {
        let Some((place, _)) = self.find(heap, member) else { return false };
        self.change_order(heap, |order| order.remove(place));
        self.members.remove(heap, member)
    }

    /// Removes the member at a place that there is.
    pub(crate) fn remove_at(&mut self, heap: &mut Heap, place: usize) {
        let entry = self.change_order(heap, |order| order.remove(place));
        let member = member_of(heap, entry.handle).to_vec();
        self.members.remove(heap, &member);
    }

    /// Shows the members at some places, all of which there are, and their scores.
    pub(crate) fn visit<'h>(&self, heap: &'h Heap, places: Range<usize>, direction: Direction, visit: &mut dyn FnMut(&'h [u8], f64)) {
        self.order.visit(places, direction, &mut |entry| visit(member_of(heap, entry.handle), entry.score));
    }

    /// Shows the members of some hashes, as [`Members::scan`] does.
    pub(crate) fn scan(&self, heap: &Heap, cursor: u32, visit: &mut dyn FnMut(&[u8], f64)) -> Option<u32> {
        self.members.scan(heap, cursor, &mut |member, score| visit(member, score_of(score)))
    }

    /// Memory of all members, of their table and of their order.
    pub(crate) fn bytes(&self, heap: &Heap) -> usize {
        self.members.bytes(heap) + self.order.bytes()
    }

    /// Of that, what is not in the heap.
    pub(crate) fn directory_bytes(&self) -> usize {
        self.members.directory_bytes() + self.order.bytes()
    }

    /// Takes about so many pieces apart. How many; none when nothing is left.
    pub(crate) fn free_some(&mut self, heap: &mut Heap, budget: usize) -> usize {
        let mut freed = 0;
        // First the order, whose handles would otherwise name what is gone.
        while freed < budget.max(1) {
            if !self.change_order(heap, |order| order.free_leaf()) {
                return freed + self.members.free_some(heap, budget - freed);
            }
            freed += 1;
        }
        freed
    }

    /// Proves that both sides hold the same.
    ///
    /// # Panics
    /// If they do not.
    pub(crate) fn check(&self, heap: &Heap) {
        let mut count = 0;
        let key = |entry: Entry| (entry.score, member_of(heap, entry.handle));
        self.order.check(&mut |left, right| key(left) < key(right));
        self.order.visit(0..self.len(), Direction::Up, &mut |entry| {
            let score = self.score(heap, member_of(heap, entry.handle)).map(f64::to_bits);
            assert_eq!(score, Some(entry.score.to_bits()), "a member with two scores");
            count += 1;
        });
        assert_eq!(count, self.len());
    }

    /// Does something that may change how much memory the order has.
    fn change_order<T>(&mut self, heap: &mut Heap, change: impl FnOnce(&mut Order) -> T) -> T {
        let before = self.order.bytes();
        let result = change(&mut self.order);
        heap.note_directory(before, self.order.bytes());
        result
    }
}

#[inline]
fn member_of(heap: &Heap, handle: Handle) -> &[u8] {
    Record::trusted(heap.bytes(handle)).key()
}

#[inline]
fn score_of(value: &[u8]) -> f64 {
    let bytes: [u8; SCORE_BYTES] = value.try_into().expect("the value of a member is its score");
    f64::from_le_bytes(bytes)
}
