//! A sorted set, whichever of its two forms it has.
//!
//! Everything that is asked of its order is asked in places: a [`Point`] falls between two of them, a range is the places
//! between two points. Packed ones are searched from their start, large ones by their order.

use super::order::Direction;
use super::pack::{Pack, Packer, SCORE_BYTES};
use super::ranked::Ranked;
use super::{Large, LargeId, Open, View, WrongKind};
use crate::heap::Heap;
use crate::key::{Db, Key};
use crate::log::varint;
use crate::record::Tag;
use crate::shard::{Expiry, Kind, Shard};
use std::ops::Range;

/// A point between two members.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Point<'a> {
    /// Before all of them.
    Start,
    /// Behind all of them.
    End,
    /// Before those with this score or more.
    BeforeScore(f64),
    /// Behind those with this score or less.
    AfterScore(f64),
    /// Before this member, if all have the same score.
    BeforeMember(&'a [u8]),
    /// Behind it.
    AfterMember(&'a [u8]),
    /// Where this member is with this score, or would be.
    At(f64, &'a [u8]),
}

impl Point<'_> {
    /// Whether a member lies before it. What the member is, is only asked if it matters.
    #[inline]
    pub(crate) fn is_past<'m>(&self, score: f64, member: impl FnOnce() -> &'m [u8]) -> bool {
        match *self {
            Point::Start => false,
            Point::End => true,
            Point::BeforeScore(bound) => score < bound,
            Point::AfterScore(bound) => score <= bound,
            Point::BeforeMember(bound) => member() < bound,
            Point::AfterMember(bound) => member() <= bound,
            Point::At(bound, other) => score < bound || (score == bound && member() < other),
        }
    }
}

/// A sorted set seen in place.
#[derive(Clone, Copy)]
pub(crate) enum SortedSet<'a> {
    Packed(Pack<'a>),
    Large(&'a Ranked, &'a Heap),
}

impl<'a> SortedSet<'a> {
    /// What a record of this kind is.
    pub(crate) fn of(view: View<'a>) -> SortedSet<'a> {
        match view {
            View::Packed(pack) => SortedSet::Packed(pack),
            View::Large(Large::SortedSet(ranked), heap) => SortedSet::Large(ranked, heap),
            View::Large(..) => unreachable!("the record says that it is a sorted set"),
        }
    }

    /// How many members.
    pub(crate) fn len(&self) -> usize {
        match self {
            SortedSet::Packed(pack) => pack.len(),
            SortedSet::Large(ranked, _) => ranked.len(),
        }
    }

    /// The score of a member.
    pub(crate) fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Packed(pack) => pack.scored().find(|(other, _)| *other == member).map(|(_, score)| score),
            SortedSet::Large(ranked, heap) => ranked.score(heap, member),
        }
    }

    /// The place of a member, and its score.
    pub(crate) fn find(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            SortedSet::Packed(pack) => {
                pack.scored().enumerate().find(|(_, (other, _))| *other == member).map(|(place, (_, score))| (place, score))
            }
            SortedSet::Large(ranked, heap) => ranked.find(heap, member),
        }
    }

    /// How many members lie before a point.
    pub(crate) fn place(&self, point: &Point<'_>) -> usize {
        match self {
            SortedSet::Packed(pack) => pack.scored().take_while(|(member, score)| point.is_past(*score, || member)).count(),
            SortedSet::Large(ranked, heap) => ranked.place(heap, point),
        }
    }

    /// The places between two points; none if they are the wrong way round.
    pub(crate) fn places(&self, points: &[Point<'_>; 2]) -> Range<usize> {
        let start = self.place(&points[0]);
        start..self.place(&points[1]).max(start)
    }

    /// The member at a place that there is, and its score.
    pub(crate) fn at(&self, place: usize) -> (&'a [u8], f64) {
        match self {
            SortedSet::Packed(pack) => pack.scored().nth(place).expect("a place in it"),
            SortedSet::Large(ranked, heap) => ranked.at(heap, place),
        }
    }

    /// Shows the members at some places, all of which there are, and their scores.
    pub(crate) fn visit(&self, places: Range<usize>, direction: Direction, visit: &mut dyn FnMut(&'a [u8], f64)) {
        match self {
            SortedSet::Packed(pack) => {
                let part = pack.scored().skip(places.start).take(places.len());
                // It can only be read forwards.
                match direction {
                    Direction::Down if places.len() > 1 => {
                        part.collect::<Vec<_>>().into_iter().rev().for_each(|(member, score)| visit(member, score));
                    }
                    _ => part.for_each(|(member, score)| visit(member, score)),
                }
            }
            SortedSet::Large(ranked, heap) => ranked.visit(heap, places, direction, visit),
        }
    }

    /// Shows all members and their scores, from the lowest score up.
    pub(crate) fn visit_all(&self, visit: &mut dyn FnMut(&'a [u8], f64)) {
        self.visit(0..self.len(), Direction::Up, visit);
    }
}

/// A sorted set that is being changed. It must be closed, and nothing is put back before.
pub(crate) struct SortedSetEdit<'s, 'k> {
    shard: &'s mut Shard,
    db: Db,
    key: Key<'k>,
    now: u64,
    form: Form,
    changed: bool,
}

enum Form {
    /// The value of its record.
    Packed(Vec<u8>),
    /// One that was large before.
    Large(LargeId),
    /// One that is large since this change.
    Grown(Ranked),
}

impl<'s, 'k> SortedSetEdit<'s, 'k> {
    /// Begins to change a sorted set, which may not be there yet.
    ///
    /// # Errors
    /// If the key holds something else.
    pub(crate) fn open(shard: &'s mut Shard, db: Db, key: &Key<'k>, now: u64) -> Result<SortedSetEdit<'s, 'k>, WrongKind> {
        let form = match shard.open(db, key, Kind::SortedSet, now)? {
            Open::Packed(bytes) => Form::Packed(bytes.unwrap_or_else(|| Packer::default().finish())),
            Open::Large(id) => Form::Large(id),
        };
        Ok(SortedSetEdit { shard, db, key: *key, now, form, changed: false })
    }

    /// What it is now.
    pub(crate) fn view(&self) -> SortedSet<'_> {
        match &self.form {
            Form::Packed(bytes) => SortedSet::Packed(Pack::trusted(bytes)),
            Form::Large(id) => SortedSet::of(self.shard.view_of_large(*id)),
            Form::Grown(ranked) => SortedSet::Large(ranked, &self.shard.heap),
        }
    }

    /// Puts a member, or gives it another score.
    pub(crate) fn set(&mut self, member: &[u8], score: f64) {
        debug_assert!(!score.is_nan());
        self.changed = true;
        if let Form::Packed(bytes) = &mut self.form {
            cut_member(bytes, member);
            let (count_max, bytes_max) = self.shard.pack_limits.sorted_set;
            let pack = Pack::trusted(bytes);
            if pack.len() < count_max && member.len() <= bytes_max {
                return put_member(bytes, member, packed_score(score));
            }
            self.form = Form::Grown(Ranked::of(pack.scored(), self.shard));
        }
        let (ranked, heap) = self.large();
        ranked.set(heap, member, score);
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let removed = if let Form::Packed(bytes) = &mut self.form {
            cut_member(bytes, member)
        } else {
            let (ranked, heap) = self.large();
            ranked.remove(heap, member)
        };
        self.changed |= removed;
        removed
    }

    /// Removes the members at some places, all of which there are.
    pub(crate) fn remove_places(&mut self, places: Range<usize>) {
        self.changed |= !places.is_empty();
        if let Form::Packed(bytes) = &mut self.form {
            return cut_places(bytes, places);
        }
        if matches!(self.form, Form::Large(_)) && places.len() == self.view().len() {
            // Closing removes the key: what it names is then taken apart in slices.
            self.form = Form::Packed(Packer::default().finish());
            return;
        }
        let (ranked, heap) = self.large();
        for _ in places.clone() {
            ranked.remove_at(heap, places.start);
        }
    }

    /// Puts back what has changed, if something has. A key of which nothing is left is removed.
    pub(crate) fn close(self) {
        if !self.changed {
            return;
        }
        match self.form {
            Form::Packed(bytes) => self.shard.close(self.db, &self.key, Kind::SortedSet, &bytes, self.now),
            Form::Large(id) => self.shard.close_large(self.db, &self.key, id, self.now),
            Form::Grown(ranked) => {
                self.shard.close_as_large(self.db, &self.key, Kind::SortedSet, Large::SortedSet(ranked), self.now);
            }
        }
    }

    /// Once it is not packed.
    fn large(&mut self) -> (&mut Ranked, &mut Heap) {
        match &mut self.form {
            Form::Packed(_) => unreachable!("the caller has looked"),
            Form::Grown(ranked) => (ranked, &mut self.shard.heap),
            Form::Large(id) => match self.shard.large_mut(*id) {
                (Large::SortedSet(ranked), heap) => (ranked, heap),
                _ => unreachable!("the record says that it is a sorted set"),
            },
        }
    }
}

/// A score as it is kept in a pack: Redis forgets the sign of a zero in small sorted sets, and in no others.
fn packed_score(score: f64) -> f64 {
    score + 0.0
}

/// Bytes of one member of a pack.
fn packed_bytes(member: &[u8]) -> usize {
    varint::len(member.len() as u64) + member.len() + SCORE_BYTES
}

/// Lets a pack begin with another count.
fn recount(bytes: &mut Vec<u8>, count: usize) {
    let before = Pack::trusted(bytes).len();
    let mut head = Vec::new();
    varint::put(count as u64, &mut head);
    bytes.splice(..varint::len(before as u64), head);
}

/// Takes a member out of a pack. Whether it was there.
fn cut_member(bytes: &mut Vec<u8>, member: &[u8]) -> bool {
    let found = SortedSet::Packed(Pack::trusted(bytes)).find(member);
    if let Some((place, _)) = found {
        cut_places(bytes, place..place + 1);
    }
    found.is_some()
}

fn cut_places(bytes: &mut Vec<u8>, places: Range<usize>) {
    let pack = Pack::trusted(bytes);
    let (count, start) = (pack.len(), offset_of(&pack, places.start));
    let length: usize = pack.scored().skip(places.start).take(places.len()).map(|(member, _)| packed_bytes(member)).sum();
    bytes.drain(start..start + length);
    recount(bytes, count - places.len());
}

/// Puts a member into a pack that does not have it.
fn put_member(bytes: &mut Vec<u8>, member: &[u8], score: f64) {
    let pack = Pack::trusted(bytes);
    let place = SortedSet::Packed(pack).place(&Point::At(score, member));
    let (count, start) = (pack.len(), offset_of(&pack, place));
    let mut element = Vec::with_capacity(packed_bytes(member));
    varint::put(member.len() as u64, &mut element);
    element.extend_from_slice(member);
    element.extend_from_slice(&score.to_le_bytes());
    bytes.splice(start..start, element);
    recount(bytes, count + 1);
}

/// Where the member at a place begins in a pack's bytes.
fn offset_of(pack: &Pack<'_>, place: usize) -> usize {
    varint::len(pack.len() as u64) + pack.scored().take(place).map(|(member, _)| packed_bytes(member)).sum::<usize>()
}

impl Shard {
    /// Replaces whatever a key holds by a sorted set of these members, which are in order and all different; removes the key if
    /// there are none.
    pub(crate) fn store_sorted_set(&mut self, db: Db, key: &Key<'_>, scored: &[(&[u8], f64)], now: u64) {
        let (count_max, bytes_max) = self.pack_limits.sorted_set;
        if scored.is_empty() {
            self.delete(db, key, now);
        } else if scored.len() <= count_max && scored.iter().all(|(member, _)| member.len() <= bytes_max) {
            let mut packer = Packer::default();
            scored.iter().for_each(|(member, score)| packer.push_scored(member, packed_score(*score)));
            self.put(db, key, Kind::SortedSet, &packer.finish(), Expiry::Never, now);
        } else {
            let ranked = Ranked::of(scored.iter().copied(), self);
            let id = self.larges.insert(Large::SortedSet(ranked));
            self.put_tagged(db, key, Tag::large(Kind::SortedSet), &id.bytes(), Expiry::Never, now);
        }
    }

    fn view_of_large(&self, id: LargeId) -> View<'_> {
        let (large, heap) = self.large(id);
        View::Large(large, heap)
    }
}
