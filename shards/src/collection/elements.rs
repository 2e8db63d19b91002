//! What sets and hashes have in common: elements that are found by their bytes.
//!
//! A member of a set is a field whose value is empty, so that looking, picking by chance, scanning and changing are done once
//! for both. [`Elements`] reads a collection in place. [`Editor`] changes one: it changes packed bytes in their
//! record, or in a copy when more than one element changes, and makes a [`Members`] of them when they outgrow [`PackLimits`](super::PackLimits).

use super::members::Members;
use super::pack::{Pack, Packer, take_element};
use super::{Large, LargeId, View, WrongKind};
use crate::chance::Chance;
use crate::heap::{Handle, Heap};
use crate::key::{Db, Key};
use crate::log::varint;
use crate::record::Kind;
use crate::shard::Shard;
use crate::table::Place;
use std::collections::BTreeSet;
use std::ops::Range;

/// Home buckets that a step of a scan visits for each element it is asked for, so that a step through an empty land ends.
const RANGES_PER_COUNT: usize = 10;

/// A large collection with more elements than so many times what is drawn from it is drawn from one by one; else all are passed.
const DRAWN_SPARSELY: usize = 3;

/// Beyond the packed bytes that are copied for a change, so that one more element does not copy them again.
const ROOM_BYTES: usize = 144;

/// A set or a hash, seen in place.
#[derive(Clone, Copy)]
pub(crate) struct Elements<'a> {
    form: Form<'a>,
    is_paired: bool,
}

#[derive(Clone, Copy)]
enum Form<'a> {
    Packed(Pack<'a>),
    Large(&'a Members, &'a Heap),
}

impl<'a> Elements<'a> {
    /// The elements of a set or a hash.
    #[inline]
    pub(crate) fn of(view: View<'a>, kind: Kind) -> Elements<'a> {
        let form = match view {
            View::Packed(pack) => Form::Packed(pack),
            View::Large(large, heap) => Form::Large(large.members(), heap),
        };
        Elements { form, is_paired: kind == Kind::Hash }
    }

    /// How many members; pairs of a hash.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self.form {
            Form::Packed(pack) => pack.len(),
            Form::Large(members, _) => members.len(),
        }
    }

    /// Whether looking for a member takes the same time whatever the length.
    #[inline]
    pub(crate) fn is_large(&self) -> bool {
        matches!(self.form, Form::Large(..))
    }

    /// The value of a member, empty in a set.
    #[inline]
    pub(crate) fn get(&self, member: &[u8]) -> Option<&'a [u8]> {
        match self.form {
            Form::Packed(pack) if self.is_paired => pack.pairs().find(|(field, _)| *field == member).map(|(_, value)| value),
            Form::Packed(pack) => pack.iter().any(|element| element == member).then_some(b""),
            Form::Large(members, heap) => members.get(heap, member),
        }
    }

    #[inline]
    pub(crate) fn contains(&self, member: &[u8]) -> bool {
        self.get(member).is_some()
    }

    /// Shows every member and its value.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        match self.form {
            Form::Packed(pack) if self.is_paired => pack.pairs().for_each(|(field, value)| visit(field, value)),
            Form::Packed(pack) => pack.iter().for_each(|member| visit(member, b"")),
            Form::Large(members, heap) => members.visit(heap, visit),
        }
    }

    /// Shows members until `visit` says enough, and seldom more than a few after that.
    pub(crate) fn visit_until(&self, visit: &mut dyn FnMut(&'a [u8]) -> bool) {
        let (mut cursor, mut go_on) = (0, true);
        while go_on {
            cursor = self.scan(cursor, 1, &mut |member, _| go_on = go_on && visit(member));
            go_on &= cursor != 0;
        }
    }

    /// Some member, each as likely as the next, and its value. `None` if there are none.
    pub(crate) fn pick(&self, chance: &mut Chance) -> Option<(&'a [u8], &'a [u8])> {
        match self.form {
            Form::Large(members, heap) => members.pick(heap, || chance.next()),
            Form::Packed(pack) if pack.len() == 0 => None,
            Form::Packed(pack) if self.is_paired => pack.pairs().nth(chance.below(pack.len())),
            Form::Packed(pack) => pack.iter().nth(chance.below(pack.len())).map(|member| (member, &b""[..])),
        }
    }

    /// Shows `count` different members picked by chance, or all if there are not so many.
    pub(crate) fn sample(&self, count: usize, chance: &mut Chance, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) {
        if self.is_large() && self.len() / DRAWN_SPARSELY >= count {
            let mut seen = BTreeSet::new();
            while seen.len() < count {
                let Some((member, value)) = self.pick(chance) else { return };
                if seen.insert(member) {
                    visit(member, value);
                }
            }
            return;
        }
        let mut sampling = Sampling::new(count, self.len());
        self.visit(&mut |member, value| {
            if sampling.takes_next(chance) {
                visit(member, value);
            }
        });
    }

    /// Shows about `count` members from `cursor` on; all of a packed collection. Returns where to go on, zero at the end.
    pub(crate) fn scan(&self, cursor: u64, count: usize, visit: &mut dyn FnMut(&'a [u8], &'a [u8])) -> u64 {
        let Form::Large(members, heap) = self.form else {
            self.visit(visit);
            return 0;
        };
        let Ok(mut at) = u32::try_from(cursor) else { return 0 };
        let mut left = count;
        for _ in 0..count.saturating_mul(RANGES_PER_COUNT) {
            let next = members.scan(heap, at, &mut |member, value| {
                left = left.saturating_sub(1);
                visit(member, value);
            });
            match next {
                None => return 0,
                Some(next) => at = next,
            }
            if left == 0 {
                break;
            }
        }
        u64::from(at)
    }
}

/// Takes some of a number of things that are shown one after the other, each group of so many as likely as the next.
pub(crate) struct Sampling {
    wanted: usize,
    left: usize,
}

impl Sampling {
    pub(crate) fn new(wanted: usize, of: usize) -> Sampling {
        Sampling { wanted: wanted.min(of), left: of }
    }

    /// Whether the next thing is one of them. Not to be asked more often than there are things.
    #[inline]
    pub(crate) fn takes_next(&mut self, chance: &mut Chance) -> bool {
        let takes = self.wanted == self.left || chance.below(self.left) < self.wanted;
        self.left -= 1;
        self.wanted -= usize::from(takes);
        takes
    }
}

/// A set or a hash that is being changed. Whoever has changed something must [`Editor::close`] it.
pub(crate) struct Editor<'s, 'k> {
    shard: &'s mut Shard,
    db: Db,
    key: Key<'k>,
    kind: Kind,
    now: u64,
    state: State,
    has_changed: bool,
}

enum State {
    /// There is no such key.
    Absent,
    /// Packed in its record, with one change at most.
    Resting(Place, Handle),
    Packed(Packed),
    Large(LargeId),
    /// Was packed when the change began.
    Outgrown(Members),
}

impl<'s, 'k> Editor<'s, 'k> {
    /// Begins to change a set or a hash, which may not be there yet.
    ///
    /// # Errors
    /// If the key holds something else.
    pub(crate) fn open(shard: &'s mut Shard, db: Db, key: Key<'k>, kind: Kind, now: u64) -> Result<Editor<'s, 'k>, WrongKind> {
        let state = match shard.locate_live(db, &key, now) {
            None => State::Absent,
            Some((place, handle)) => {
                let record = shard.record(handle);
                if record.kind() != kind {
                    return Err(WrongKind);
                }
                if record.tag().is_large() { State::Large(LargeId::of(record)) } else { State::Resting(place, handle) }
            }
        };
        Ok(Editor { shard, db, key, kind, now, state, has_changed: false })
    }

    /// As it is now.
    #[inline]
    pub(crate) fn elements(&self) -> Elements<'_> {
        let form = match &self.state {
            State::Absent => Form::Packed(Pack::of(0, b"")),
            State::Resting(_, handle) => Form::Packed(Pack::trusted(self.shard.record(*handle).value())),
            State::Packed(packed) => Form::Packed(packed.pack()),
            State::Large(id) => {
                let (large, heap) = self.shard.large(*id);
                Form::Large(large.members(), heap)
            }
            State::Outgrown(members) => Form::Large(members, &self.shard.heap),
        };
        Elements { form, is_paired: self.is_paired() }
    }

    /// The value of a member, empty in a set.
    #[inline]
    pub(crate) fn get(&self, member: &[u8]) -> Option<&[u8]> {
        self.elements().get(member)
    }

    /// Adds a member to a set. Whether it is new; if not, nothing changes.
    pub(crate) fn add(&mut self, member: &[u8]) -> bool {
        let is_new = match self.pack() {
            // Looks for it once only, and putting an empty value in place of one changes nothing.
            None => self.put_large(member, b""),
            Some(pack) if find(&pack, false, member).is_some() => false,
            Some(pack) => {
                if self.shard.pack_limits.admits_member(&pack, member) {
                    let (end, count) = (pack.elements().len(), pack.len() + 1);
                    self.splice(end..end, &[member], count);
                } else {
                    self.outgrow();
                    self.put_large(member, b"");
                }
                true
            }
        };
        self.has_changed |= is_new;
        is_new
    }

    /// Gives a field of a hash this value. Whether it is new.
    pub(crate) fn set(&mut self, field: &[u8], value: &[u8]) -> bool {
        let is_new = match self.pack() {
            None => self.put_large(field, value),
            Some(pack) => {
                let (found, len, end) = (find(&pack, true, field), pack.len(), pack.elements().len());
                let is_new = found.is_none();
                if !self.shard.pack_limits.admits_pair(&pack, is_new, field, value) {
                    self.outgrow();
                    self.put_large(field, value);
                } else if let Some(spot) = found {
                    self.splice(spot.value, &[value], len);
                } else {
                    self.splice(end..end, &[field, value], len + 1);
                }
                is_new
            }
        };
        self.has_changed = true;
        is_new
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, member: &[u8]) -> bool {
        let was_there = match self.pack() {
            None => self.members().is_some_and(|(members, heap)| members.remove(heap, member)),
            Some(pack) => {
                let (found, len) = (find(&pack, self.is_paired(), member), pack.len());
                found.is_some_and(|spot| {
                    self.splice(spot.start..spot.value.end, &[], len - 1);
                    true
                })
            }
        };
        self.has_changed |= was_there;
        was_there
    }

    /// Takes `count` members out, picked by the shard's chance, and shows each. There must be more than that.
    pub(crate) fn take(&mut self, count: usize, taken: &mut dyn FnMut(&[u8])) {
        debug_assert!(count < self.elements().len());
        if count == 1 || self.elements().is_large() {
            let mut member = Vec::new();
            for _ in 0..count {
                // Given back each time: removing may draw for what eviction remembers.
                let mut chance = self.shard.chance.clone();
                let Some((picked, _)) = self.elements().pick(&mut chance) else { break };
                taken(picked);
                member.clear();
                member.extend_from_slice(picked);
                self.shard.chance = chance;
                self.remove(&member);
            }
        } else {
            let mut chance = self.shard.chance.clone();
            let mut sampling = Sampling::new(count, self.elements().len());
            let mut rest = Packer::default();
            self.elements().visit(&mut |member, _| if sampling.takes_next(&mut chance) { taken(member) } else { rest.push(member) });
            self.state = State::Packed(Packed::copy(&rest.finish()));
            self.shard.chance = chance;
            self.has_changed |= count > 0;
        }
    }

    /// Puts what has changed in its place; the key goes with the last element. The deadline stays.
    pub(crate) fn close(self) {
        if !self.has_changed {
            return;
        }
        let Editor { shard, db, key, kind, now, state, .. } = self;
        match state {
            // What was changed in its record is in its place.
            State::Absent | State::Resting(..) => {}
            State::Packed(packed) => shard.close(db, &key, kind, &packed.finish(), now),
            State::Large(id) => shard.close_large(db, &key, id, now),
            State::Outgrown(members) if members.len() == 0 => {
                shard.delete(db, &key, now);
            }
            State::Outgrown(members) => {
                let large = if kind == Kind::Hash { Large::Hash(members) } else { Large::Set(members) };
                shard.close_as_large(db, &key, kind, large, now);
            }
        }
    }

    #[inline]
    fn is_paired(&self) -> bool {
        self.kind == Kind::Hash
    }

    /// The packed elements; `None` if they are not packed.
    #[inline]
    fn pack(&self) -> Option<Pack<'_>> {
        match self.elements().form {
            Form::Packed(pack) => Some(pack),
            Form::Large(..) => None,
        }
    }

    /// Puts parts, each with its length, where others are among the packed elements, which are `count` then.
    fn splice(&mut self, at: Range<usize>, parts: &[&[u8]], count: usize) {
        match &self.state {
            // Most commands change one element; of more than one, the others are changed in a copy.
            State::Resting(place, handle) if !self.has_changed && count > 0 => {
                let (place, handle) = (*place, *handle);
                if self.splice_in_place((place, handle), at.clone(), parts, count) {
                    return;
                }
                self.state = State::Packed(Packed::copy(self.shard.record(handle).value()));
            }
            State::Resting(_, handle) => self.state = State::Packed(Packed::copy(self.shard.record(*handle).value())),
            State::Absent => self.state = State::Packed(Packed::empty()),
            _ => {}
        }
        if let State::Packed(packed) = &mut self.state {
            packed.splice(at, parts, count);
        }
    }

    /// The same in the record itself. `false`, and nothing happens, if the count takes another number of bytes.
    fn splice_in_place(&mut self, found: (Place, Handle), at: Range<usize>, parts: &[&[u8]], count: usize) -> bool {
        let value = self.shard.record(found.1).value();
        let head_bytes = varint::len(count as u64);
        if varint::len(Pack::trusted(value).len() as u64) != head_bytes {
            return false;
        }
        let (start, end, len) = (head_bytes + at.start, head_bytes + at.end, value.len());
        let rest = start + bytes_of(parts);
        let new_len = len - end + rest;
        if rest < end {
            // What is behind moves before the record ends in front of it.
            self.shard.leave_before_change(self.db, &self.key);
            self.shard.value_mut(found.1).copy_within(end..len, rest);
        }
        let (handle, value) = self.shard.resize_at(self.db, &self.key, found, new_len, self.now);
        if rest > end {
            value.copy_within(end..len, rest);
        }
        write_parts(parts, &mut value[start..rest]);
        put_length(count, &mut value[..head_bytes]);
        self.state = State::Resting(found.0, handle);
        true
    }

    /// Whether it is new.
    fn put_large(&mut self, member: &[u8], value: &[u8]) -> bool {
        let Some((members, heap)) = self.members() else { return false };
        members.set(heap, member, value)
    }

    /// The large elements for changing, and what that takes.
    fn members(&mut self) -> Option<(&mut Members, &mut Heap)> {
        if let State::Large(_) = self.state {
            // Once is enough, and a second time finds nothing to do.
            self.shard.leave_before_change(self.db, &self.key);
        }
        match &mut self.state {
            State::Outgrown(members) => Some((members, &mut self.shard.heap)),
            State::Large(id) => {
                let (large, heap) = self.shard.large_mut(*id);
                Some((large.members_mut(), heap))
            }
            _ => None,
        }
    }

    /// Makes packed elements large.
    fn outgrow(&mut self) {
        let Some(pack) = self.pack() else { return };
        // They are read while the heap is written.
        let packed = Packed::with(pack.len(), pack.elements());
        let pack = packed.pack();
        let members = if self.is_paired() {
            Members::of(pack.pairs(), self.shard)
        } else {
            Members::of(pack.iter().map(|member| (member, &b""[..])), self.shard)
        };
        self.state = State::Outgrown(members);
    }
}

/// Where an element is among packed ones.
struct Spot {
    start: usize,
    /// The value with its length; nothing, behind the member, in a set.
    value: Range<usize>,
}

#[inline]
fn find(pack: &Pack<'_>, is_paired: bool, member: &[u8]) -> Option<Spot> {
    let elements = pack.elements();
    let mut rest = elements;
    loop {
        let start = elements.len() - rest.len();
        let element = take_element(&mut rest)?;
        let value_start = elements.len() - rest.len();
        if is_paired {
            take_element(&mut rest)?;
        }
        if element == member {
            return Some(Spot { start, value: value_start..elements.len() - rest.len() });
        }
    }
}

/// A copy of packed elements that is being changed.
struct Packed {
    /// The count as it was, then the elements.
    bytes: Vec<u8>,
    count: usize,
    /// Bytes of the count as it was.
    head_bytes: usize,
}

impl Packed {
    fn empty() -> Packed {
        let mut bytes = Vec::with_capacity(ROOM_BYTES);
        bytes.push(0);
        Packed { bytes, count: 0, head_bytes: 1 }
    }

    /// Of a record's value.
    fn copy(value: &[u8]) -> Packed {
        let count = Pack::trusted(value).len();
        let mut bytes = Vec::with_capacity(value.len() + ROOM_BYTES);
        bytes.extend_from_slice(value);
        Packed { bytes, count, head_bytes: varint::len(count as u64) }
    }

    /// Of elements without their count.
    fn with(count: usize, elements: &[u8]) -> Packed {
        let mut packed = Packed::empty();
        packed.bytes.extend_from_slice(elements);
        Packed { count, ..packed }
    }

    #[inline]
    fn elements(&self) -> &[u8] {
        &self.bytes[self.head_bytes..]
    }

    #[inline]
    fn pack(&self) -> Pack<'_> {
        Pack::of(self.count, self.elements())
    }

    /// Puts parts, each with its length, where others are among the elements, which are `count` then.
    fn splice(&mut self, at: Range<usize>, parts: &[&[u8]], count: usize) {
        let (start, end, len) = (self.head_bytes + at.start, self.head_bytes + at.end, self.bytes.len());
        let rest = start + bytes_of(parts);
        let new_len = len - end + rest;
        if new_len > len {
            self.bytes.resize(new_len, 0);
        }
        self.bytes.copy_within(end..len, rest);
        self.bytes.truncate(new_len);
        write_parts(parts, &mut self.bytes[start..rest]);
        self.count = count;
    }

    /// The value of a record.
    fn finish(mut self) -> Vec<u8> {
        let mut head = [0; varint::VARINT_BYTES_MAX];
        let head = &mut head[..varint::len(self.count as u64)];
        put_length(self.count, head);
        if head.len() == self.head_bytes {
            self.bytes[..head.len()].copy_from_slice(head);
        } else {
            self.bytes.splice(..self.head_bytes, head.iter().copied());
        }
        self.bytes
    }
}

/// Bytes that parts take with their lengths.
fn bytes_of(parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| varint::len(part.len() as u64) + part.len()).sum()
}

/// Writes parts with their lengths, which take all of `target`.
fn write_parts(parts: &[&[u8]], mut target: &mut [u8]) {
    for part in parts {
        let (length, following) = target.split_at_mut(varint::len(part.len() as u64));
        put_length(part.len(), length);
        let (content, following) = following.split_at_mut(part.len());
        content.copy_from_slice(part);
        target = following;
    }
}

/// Writes a number whose bytes are exactly so many.
fn put_length(mut number: usize, target: &mut [u8]) {
    let last = target.len() - 1;
    for byte in &mut target[..last] {
        *byte = (number & 0x7F) as u8 | 0x80;
        number >>= 7;
    }
    target[last] = number as u8; // What is left are seven bits at most.
}

#[cfg(test)]
mod tests;
