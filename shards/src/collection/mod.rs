//! Values made of elements.
//!
//! A small collection is packed in its record ([`pack`]); one that outgrows [`PackLimits`] becomes a structure of its own
//! ([`Large`]) that no command is slow on because of its size, and stays one. Its record then holds only its number.
//!
//! A command looks at a collection with [`Shard::view`], and changes one between [`Shard::open`] and [`Shard::close`]. What
//! becomes of a large one that is removed is taken apart in slices by later ticks.

pub(crate) mod elements;
mod hash;
pub(crate) mod list;
pub(crate) mod members;
pub(crate) mod order;
pub(crate) mod pack;
pub(crate) mod ranked;
mod remake;
pub(crate) mod set;
pub(crate) mod sorted_set;

use crate::heap::Heap;
use crate::key::{Db, Key};
use crate::record::{Kind, Record, Tag};
use crate::shard::{Expiry, Shard};
use list::{End, List};
use members::Members;
use order::Direction;
use pack::{Pack, Packer};
use ranked::Ranked;

/// A key holds a value of another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongKind;

/// Above which a collection of a kind is not packed any more. Redis' settings of the same meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Fields of a hash, and bytes of a field or a value.
    pub hash: (usize, usize),
    /// Members of a set that are all whole numbers.
    pub int_set: usize,
    /// Members of a set, and bytes of one.
    pub set: (usize, usize),
    /// Members of a sorted set, and bytes of one.
    pub sorted_set: (usize, usize),
    /// Elements of a list if positive; else bytes: 4, 8, 16, 32 or 64 KiB for -1 to -5.
    pub list: i64,
}

impl Default for PackLimits {
    fn default() -> PackLimits {
        PackLimits { hash: (512, 64), int_set: 512, set: (128, 64), sorted_set: (128, 64), list: -2 }
    }
}

/// A collection that is not packed.
pub(crate) enum Large {
    Set(Members),
    Hash(Members),
    List(List),
    SortedSet(Ranked),
}

/// Names a large collection of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LargeId(u32);

/// Bytes of the value of a large collection's record.
const ID_BYTES: usize = size_of::<u32>();

impl LargeId {
    /// The value of the record that names it.
    #[inline]
    pub(crate) fn bytes(self) -> [u8; ID_BYTES] {
        self.0.to_le_bytes()
    }

    /// What the record of a large collection says.
    #[inline]
    pub(crate) fn of(record: Record<'_>) -> LargeId {
        LargeId(u32::from_le_bytes(record.value().try_into().expect("the number of a large collection")))
    }
}

/// The large collections of one shard, and those on their way out.
#[derive(Default)]
pub(crate) struct Larges {
    slots: Vec<Option<Large>>,
    free: Vec<u32>,
    /// Nobody can find them any more.
    doomed: Vec<Large>,
}

impl Larges {
    fn insert(&mut self, large: Large) -> LargeId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("there are fewer collections than bytes of memory")
        });
        self.slots[id as usize] = Some(large);
        LargeId(id)
    }

    /// The record that named it is gone.
    pub(crate) fn doom(&mut self, id: LargeId) {
        self.doomed.extend(self.slots[id.0 as usize].take());
        self.free.push(id.0);
    }

    /// Memory that they account for beside the heap's own.
    pub(crate) fn directory_bytes(&self) -> usize {
        self.slots.iter().flatten().chain(&self.doomed).map(Large::directory_bytes).sum()
    }

    /// Proves what the rest relies on.
    ///
    /// # Panics
    /// If something is not as it must be.
    pub(crate) fn check(&self, heap: &Heap) {
        self.slots.iter().flatten().for_each(|large| large.check(heap));
        assert_eq!(self.slots.iter().filter(|slot| slot.is_none()).count(), self.free.len(), "numbers that are free");
    }

    /// Whether some wait to be taken apart.
    pub(crate) fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// Elements that are still to be taken apart.
    pub(crate) fn doomed_len(&self) -> usize {
        self.doomed.iter().map(Large::len).sum()
    }

    #[inline]
    pub(crate) fn get(&self, id: LargeId) -> &Large {
        self.slots[id.0 as usize].as_ref().expect("its record is there")
    }

    #[inline]
    fn get_mut(&mut self, id: LargeId) -> &mut Large {
        self.slots[id.0 as usize].as_mut().expect("its record is there")
    }
}

impl Large {
    /// How many elements; pairs of a hash.
    pub(crate) fn len(&self) -> usize {
        match self {
            Large::Set(members) | Large::Hash(members) => members.len(),
            Large::List(list) => list.len(),
            Large::SortedSet(ranked) => ranked.len(),
        }
    }

    /// All elements, packed. O(n).
    pub(crate) fn pack(&self, heap: &Heap) -> Packer {
        let mut packer = Packer::default();
        match self {
            Large::Set(members) => members.visit(heap, &mut |member, _| packer.push(member)),
            Large::Hash(members) => members.visit(heap, &mut |field, value| packer.push_pair(field, value)),
            Large::List(list) => list.walk(0, End::Tail).for_each(|element| packer.push(element)),
            Large::SortedSet(ranked) => {
                ranked.visit(heap, 0..ranked.len(), Direction::Up, &mut |member, score| packer.push_scored(member, score));
            }
        }
        packer
    }

    /// Memory that goes when it goes.
    pub(crate) fn bytes(&self, heap: &Heap) -> usize {
        match self {
            Large::Set(members) | Large::Hash(members) => members.bytes(heap),
            Large::List(list) => list.bytes(),
            Large::SortedSet(ranked) => ranked.bytes(heap),
        }
    }

    /// Of that, what is not in the heap.
    fn directory_bytes(&self) -> usize {
        match self {
            Large::Set(members) | Large::Hash(members) => members.directory_bytes(),
            Large::List(list) => list.bytes(),
            Large::SortedSet(ranked) => ranked.directory_bytes(),
        }
    }

    /// Proves what the rest relies on.
    fn check(&self, heap: &Heap) {
        match self {
            Large::Set(members) | Large::Hash(members) => members.check(heap),
            Large::List(list) => list.check(),
            Large::SortedSet(ranked) => ranked.check(heap),
        }
    }

    /// The elements of a set or a hash.
    #[inline]
    pub(crate) fn members(&self) -> &Members {
        match self {
            Large::Set(members) | Large::Hash(members) => members,
            _ => unreachable!("only sets and hashes are asked for members"),
        }
    }

    /// The same for changing.
    #[inline]
    pub(crate) fn members_mut(&mut self) -> &mut Members {
        match self {
            Large::Set(members) | Large::Hash(members) => members,
            _ => unreachable!("only sets and hashes are asked for members"),
        }
    }

    /// Takes about so many elements apart. How many; none when nothing is left.
    fn free_some(&mut self, heap: &mut Heap, budget: usize) -> usize {
        match self {
            Large::Set(members) | Large::Hash(members) => members.free_some(heap, budget),
            Large::List(list) => list.free_some(heap, budget),
            Large::SortedSet(ranked) => ranked.free_some(heap, budget),
        }
    }
}

/// A collection seen in place.
#[derive(Clone, Copy)]
pub(crate) enum View<'a> {
    Packed(Pack<'a>),
    Large(&'a Large, &'a Heap),
}

impl View<'_> {
    /// How many elements; pairs of a hash.
    pub(crate) fn len(&self) -> usize {
        match self {
            View::Packed(pack) => pack.len(),
            View::Large(large, _) => large.len(),
        }
    }

    /// Shows the elements of a list, in order, or the members of a set.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&[u8])) {
        match self {
            View::Packed(pack) => pack.iter().for_each(visit),
            View::Large(Large::Set(members), heap) => members.visit(heap, &mut |member, _| visit(member)),
            View::Large(Large::List(list), _) => list.walk(0, End::Tail).for_each(visit),
            View::Large(..) => unreachable!("others have more than elements"),
        }
    }

    /// Shows the fields of a hash and their values.
    pub(crate) fn visit_pairs(&self, visit: &mut dyn FnMut(&[u8], &[u8])) {
        match self {
            View::Packed(pack) => pack.pairs().for_each(|(field, value)| visit(field, value)),
            View::Large(Large::Hash(members), heap) => members.visit(heap, visit),
            View::Large(..) => unreachable!("only a hash has pairs"),
        }
    }

    /// Shows the members of a sorted set and their scores, in order.
    pub(crate) fn visit_scored(&self, visit: &mut dyn FnMut(&[u8], f64)) {
        match self {
            View::Packed(pack) => pack.scored().for_each(|(member, score)| visit(member, score)),
            View::Large(Large::SortedSet(ranked), heap) => ranked.visit(heap, 0..ranked.len(), Direction::Up, visit),
            View::Large(..) => unreachable!("only a sorted set has scores"),
        }
    }
}

/// A collection that is being changed.
pub(crate) enum Open {
    /// A copy of its packed bytes, `None` if there was no such key. [`Shard::close`] puts them back.
    Packed(Option<Vec<u8>>),
    /// Changed in place, see [`Shard::large_mut`].
    Large(LargeId),
}

impl Shard {
    /// Up to which size collections are packed. Those that are not packed any more stay as they are.
    pub fn set_pack_limits(&mut self, limits: PackLimits) {
        self.pack_limits = limits;
    }

    /// Reads a collection for a client: counts a hit or a miss and marks it as used. `None` if there is no such key.
    ///
    /// # Errors
    /// If the key holds something else.
    pub(crate) fn view(&mut self, db: Db, key: &Key<'_>, kind: Kind, now: u64) -> Result<Option<View<'_>>, WrongKind> {
        let Some(handle) = self.read_handle(db, key, now) else { return Ok(None) };
        let record = self.record(handle);
        if record.kind() != kind {
            return Err(WrongKind);
        }
        Ok(Some(self.view_of(record)))
    }

    /// The same without a trace.
    pub(crate) fn peek_view(&self, db: Db, key: &Key<'_>, kind: Kind, now: u64) -> Result<Option<View<'_>>, WrongKind> {
        let Some(record) = self.live_record(db, key, now) else { return Ok(None) };
        if record.kind() != kind {
            return Err(WrongKind);
        }
        Ok(Some(self.view_of(record)))
    }

    /// The collection that a record of this shard is, or names.
    pub(crate) fn view_of<'s>(&'s self, record: Record<'s>) -> View<'s> {
        if record.tag().is_large() {
            View::Large(self.larges.get(LargeId::of(record)), &self.heap)
        } else {
            View::Packed(Pack::trusted(record.value()))
        }
    }

    /// Begins to change a collection, which may not be there yet. Nothing else may happen to the shard before
    /// [`Shard::close`], except to what this returns.
    ///
    /// # Errors
    /// If the key holds something else.
    pub(crate) fn open(&mut self, db: Db, key: &Key<'_>, kind: Kind, now: u64) -> Result<Open, WrongKind> {
        let Some(record) = self.live_record(db, key, now) else { return Ok(Open::Packed(None)) };
        if record.kind() != kind {
            return Err(WrongKind);
        }
        if !record.tag().is_large() {
            return Ok(Open::Packed(Some(record.value().to_vec())));
        }
        let id = LargeId::of(record);
        self.leave_before_change(db, key);
        Ok(Open::Large(id))
    }

    /// A large collection, for reading, and the heap that its elements are in.
    #[inline]
    pub(crate) fn large(&self, id: LargeId) -> (&Large, &Heap) {
        (self.larges.get(id), &self.heap)
    }

    /// A large collection that was opened, and what changing it takes.
    #[inline]
    pub(crate) fn large_mut(&mut self, id: LargeId) -> (&mut Large, &mut Heap) {
        (self.larges.get_mut(id), &mut self.heap)
    }

    /// Ends a change of a packed collection that has changed something: puts the bytes, or removes the key if nothing is left.
    /// The deadline stays. What it held must not have been large.
    pub(crate) fn close(&mut self, db: Db, key: &Key<'_>, kind: Kind, packed: &[u8], now: u64) {
        if Pack::trusted(packed).len() == 0 {
            self.delete(db, key, now);
        } else {
            self.put(db, key, kind, packed, Expiry::Keep, now);
        }
    }

    /// Ends a change of a packed collection that has become a large one. The deadline stays.
    pub(crate) fn close_as_large(&mut self, db: Db, key: &Key<'_>, kind: Kind, large: Large, now: u64) {
        let id = self.larges.insert(large);
        self.put_tagged(db, key, Tag::large(kind), &id.bytes(), Expiry::Keep, now);
    }

    /// Ends a change of a large collection that has changed something: it counts as used, and its key is removed if nothing
    /// is left.
    pub(crate) fn close_large(&mut self, db: Db, key: &Key<'_>, id: LargeId, now: u64) {
        if self.larges.get(id).len() == 0 {
            self.delete(db, key, now);
        } else {
            self.note_change(db, key, now);
        }
    }

    /// All of a record's elements, packed, if it is a large collection.
    pub(crate) fn flattened(&self, record: Record<'_>) -> Option<Vec<u8>> {
        record.tag().is_large().then(|| self.larges.get(LargeId::of(record)).pack(&self.heap).finish())
    }

    /// Makes a large collection of packed elements, if there are too many or too long ones for a record. The bytes were checked.
    pub(crate) fn unpacked(&mut self, kind: Kind, packed: &[u8]) -> Option<LargeId> {
        let pack = Pack::trusted(packed);
        let large = match kind {
            Kind::Set if !self.pack_limits.fits_set(&pack) => Large::Set(Members::of(pack.iter().map(|member| (member, &b""[..])), self)),
            Kind::Hash if !self.pack_limits.fits_hash(&pack) => Large::Hash(Members::of(pack.pairs(), self)),
            Kind::List if !self.pack_limits.fits_list(pack.len(), packed.len()) => Large::List(List::of(pack.iter(), &mut self.heap)),
            Kind::SortedSet if !self.pack_limits.fits_sorted_set(&pack) => Large::SortedSet(Ranked::of(pack.scored(), self)),
            _ => return None,
        };
        Some(self.larges.insert(large))
    }

    /// A part of a large collection that nobody can find any more.
    pub(crate) fn doom_part(&mut self, part: Large) {
        self.larges.doomed.push(part);
    }

    /// Takes large collections apart that nobody can find any more. How many elements were touched.
    pub(crate) fn free_doomed_larges(&mut self, budget: usize) -> usize {
        let mut done = 0;
        while done < budget {
            let Some(large) = self.larges.doomed.last_mut() else { break };
            match large.free_some(&mut self.heap, budget - done) {
                0 => {
                    // An empty table may still have room.
                    let left = large.directory_bytes();
                    self.heap.note_directory(left, 0);
                    self.larges.doomed.pop();
                }
                freed => done += freed,
            }
        }
        done
    }
}

impl PackLimits {
    /// Whether a hash stays packed.
    pub(crate) fn fits_hash(&self, pack: &Pack<'_>) -> bool {
        let (count_max, bytes_max) = self.hash;
        pack.len() <= count_max && pack.iter().all(|element| element.len() <= bytes_max)
    }

    /// Whether a set does.
    pub(crate) fn fits_set(&self, pack: &Pack<'_>) -> bool {
        let (count_max, bytes_max) = self.set;
        (pack.len() <= count_max && pack.iter().all(|member| member.len() <= bytes_max)) || self.fits_int_set(pack)
    }

    /// Whether a list of so many elements and so many packed bytes does.
    pub(crate) fn fits_list(&self, count: usize, bytes: usize) -> bool {
        /// Of a list that is limited by its elements, which may be long.
        const BYTES_MAX: usize = 8 << 10;
        match usize::try_from(self.list) {
            Ok(count_max) => count <= count_max.max(1) && bytes <= BYTES_MAX,
            Err(_) => bytes <= 2048 << self.list.clamp(-5, -1).unsigned_abs(),
        }
    }

    /// Whether a sorted set does.
    pub(crate) fn fits_sorted_set(&self, pack: &Pack<'_>) -> bool {
        let (count_max, bytes_max) = self.sorted_set;
        pack.len() <= count_max && pack.scored().all(|(member, _)| member.len() <= bytes_max)
    }

    /// Whether a set is one of few whole numbers.
    pub(crate) fn fits_int_set(&self, pack: &Pack<'_>) -> bool {
        pack.len() <= self.int_set && pack.iter().all(is_whole_number)
    }
}

/// Whether a member is a number that Redis keeps as one.
fn is_whole_number(member: &[u8]) -> bool {
    crate::number::parse_i64(member).is_some()
}
