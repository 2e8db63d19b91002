//! Lists of ids in chunks of one allocation class, so that a list costs four bytes an id and no slack per timer slot.
//!
//! Lists join in constant time. Chunks come from pages of the wheel's own range of addresses, which are given back when
//! they are empty; a chunk's number says where it is.

use crate::arena::{PageSize, Slab, Unit};

/// Ids in one chunk: with its two words of its own, 256 bytes.
const IDS: usize = 62;
const NONE: u32 = u32::MAX;
/// Ids that a sample takes from one chunk.
const SAMPLE_IDS: usize = 2;
/// Room for twice the ids a shard can have.
const PAGES_MAX: u32 = 1 << 18;

#[derive(Clone, Copy)]
struct Chunk {
    next: u32,
    len: u32,
    ids: [u32; IDS],
}
const _: () = assert!(size_of::<Chunk>() == 256);

impl Unit for Chunk {
    const BLANK: Chunk = Chunk { next: NONE, len: 0, ids: [0; IDS] };

    fn link(&self) -> u32 {
        self.next
    }

    fn set_link(&mut self, link: u32) {
        self.next = link;
    }
}

/// A list of ids, in no order.
#[derive(Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };

    pub(super) fn is_empty(self) -> bool {
        self.first == NONE
    }
}

/// Where all lists of one wheel keep their chunks.
pub(super) struct Chunks(Slab<Chunk>);

impl Default for Chunks {
    fn default() -> Chunks {
        // Lists are walked from end to end and pushed to at few places: small pages serve, and are had without a pause.
        Chunks(Slab::new(PAGES_MAX, PageSize::Small))
    }
}

impl Chunks {
    pub(super) fn push(&mut self, list: &mut List, id: u32) {
        if list.is_empty() || self.0.get_mut(list.first).len as usize == IDS {
            let index = self.0.take();
            self.0.get_mut(index).next = list.first;
            if list.is_empty() {
                list.last = index;
            }
            list.first = index;
        }
        let chunk = self.0.get_mut(list.first);
        chunk.ids[chunk.len as usize] = id;
        chunk.len += 1;
    }

    pub(super) fn pop(&mut self, list: &mut List) -> Option<u32> {
        if list.is_empty() {
            return None;
        }
        let index = list.first;
        let chunk = self.0.get_mut(index);
        chunk.len -= 1;
        let id = chunk.ids[chunk.len as usize];
        if chunk.len == 0 {
            list.first = chunk.next;
            if list.first == NONE {
                *list = List::EMPTY;
            }
            self.0.give(index);
        }
        Some(id)
    }

    /// Moves all of `source` to `target`.
    pub(super) fn join(&mut self, target: &mut List, source: &mut List) {
        if source.is_empty() {
            return;
        }
        if target.is_empty() {
            *target = *source;
        } else {
            self.0.get_mut(source.last).next = target.first;
            target.first = source.first;
        }
        *source = List::EMPTY;
    }

    /// Shows the ids of up to `chunks` chunks in a row from a place picked by chance, a few of each, until `see` says
    /// enough.
    pub(super) fn sample(&self, chance: u64, chunks: usize, see: &mut dyn FnMut(u32) -> bool) {
        let count = self.0.end() as usize;
        let start = ((u128::from(chance) * count as u128) >> 64) as usize;
        for step in 0..chunks.min(count) {
            let index = ((start + step) % count) as u32;
            if !self.0.has(index) {
                continue;
            }
            // A free chunk has no ids.
            let chunk = self.0.get(index);
            let len = chunk.len as usize;
            // Ids of one chunk are due at about the same time: more than a few of them would not be a sample.
            for step in 0..len.min(SAMPLE_IDS) {
                if !see(chunk.ids[(chance as usize % len + step * (len / SAMPLE_IDS).max(1)) % len]) {
                    return;
                }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }
}
