//! Lists of ids in chunks of one allocation class, so that a list costs four bytes an id and no slack per timer slot.
//!
//! Lists join in constant time. Chunks come from pages that are given back when they are empty.

/// Ids in one chunk: with its two words of its own, 256 bytes.
const IDS: usize = 62;
/// Chunks in one page of 64 KiB.
const PAGE_CHUNKS: usize = 256;
const NONE: u32 = u32::MAX;
/// Ids that a sample takes from one chunk.
const SAMPLE_IDS: usize = 2;

#[derive(Clone, Copy)]
struct Chunk {
    next: u32,
    len: u32,
    ids: [u32; IDS],
}
const _: () = assert!(size_of::<Chunk>() == 256);

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
#[derive(Default)]
pub(super) struct Chunks {
    pages: Vec<Page>,
    /// Pages that have a free chunk, or no memory at the moment.
    open: Vec<u32>,
    bytes: usize,
}

struct Page {
    /// `None` while the page is empty and its memory given back.
    chunks: Option<Box<[Chunk]>>,
    free: u32,
    used: u32,
    is_open: bool,
}

impl Chunks {
    pub(super) fn push(&mut self, list: &mut List, id: u32) {
        if list.is_empty() || self.chunk(list.first).len as usize == IDS {
            let index = self.take();
            *self.chunk(index) = Chunk { next: list.first, len: 0, ids: [0; IDS] };
            if list.is_empty() {
                list.last = index;
            }
            list.first = index;
        }
        let chunk = self.chunk(list.first);
        chunk.ids[chunk.len as usize] = id;
        chunk.len += 1;
    }

    pub(super) fn pop(&mut self, list: &mut List) -> Option<u32> {
        if list.is_empty() {
            return None;
        }
        let index = list.first;
        let chunk = self.chunk(index);
        chunk.len -= 1;
        let id = chunk.ids[chunk.len as usize];
        if chunk.len == 0 {
            list.first = chunk.next;
            if list.first == NONE {
                *list = List::EMPTY;
            }
            self.give(index);
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
            self.chunk(source.last).next = target.first;
            target.first = source.first;
        }
        *source = List::EMPTY;
    }

    /// Shows the ids of up to `chunks` chunks in a row from a place picked by chance, a few of each, until `see` says
    /// enough.
    pub(super) fn sample(&self, chance: u64, chunks: usize, see: &mut dyn FnMut(u32) -> bool) {
        let count = self.pages.len() * PAGE_CHUNKS;
        if count == 0 {
            return;
        }
        let start = ((u128::from(chance) * count as u128) >> 64) as usize;
        for step in 0..chunks.min(count) {
            let index = (start + step) % count;
            let Some(page) = &self.pages[index / PAGE_CHUNKS].chunks else { continue };
            // A free chunk has no ids.
            let chunk = &page[index % PAGE_CHUNKS];
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
        self.bytes + self.pages.capacity() * size_of::<Page>()
    }

    fn chunk(&mut self, index: u32) -> &mut Chunk {
        let page = &mut self.pages[index as usize / PAGE_CHUNKS];
        &mut page.chunks.as_mut().expect("a chunk in use has memory")[index as usize % PAGE_CHUNKS]
    }

    fn take(&mut self) -> u32 {
        let number = match self.open.last() {
            Some(&number) => number,
            None => {
                self.pages.push(Page { chunks: None, free: NONE, used: 0, is_open: true });
                self.open.push(self.pages.len() as u32 - 1);
                self.pages.len() as u32 - 1
            }
        };
        let page = &mut self.pages[number as usize];
        let chunks = match &mut page.chunks {
            Some(chunks) => chunks,
            None => {
                let blank = |index| Chunk { next: if index + 1 < PAGE_CHUNKS { index as u32 + 1 } else { NONE }, len: 0, ids: [0; IDS] };
                page.free = 0;
                self.bytes += PAGE_CHUNKS * size_of::<Chunk>();
                page.chunks.insert((0..PAGE_CHUNKS).map(blank).collect())
            }
        };
        let within = page.free;
        page.free = chunks[within as usize].next;
        page.used += 1;
        if page.free == NONE {
            page.is_open = false;
            self.open.pop();
        }
        number * PAGE_CHUNKS as u32 + within
    }

    fn give(&mut self, index: u32) {
        let (number, within) = (index as usize / PAGE_CHUNKS, index as usize % PAGE_CHUNKS);
        let page = &mut self.pages[number];
        let chunk = &mut page.chunks.as_mut().expect("a chunk in use has memory")[within];
        (chunk.next, chunk.len) = (page.free, 0);
        page.free = within as u32;
        page.used -= 1;
        if !page.is_open {
            page.is_open = true;
            self.open.push(number as u32);
        }
        if page.used == 0 && self.open.len() > 1 {
            page.chunks = None;
            page.free = NONE;
            self.bytes -= PAGE_CHUNKS * size_of::<Chunk>();
        }
    }
}
