//! Where records and buckets live: pages of equal slots, named by 32-bit handles.
//!
//! A handle is a page and a slot in it, so a table needs four bytes per record where a pointer would need eight, and no
//! allocator's rounding or header is paid. Records too long for a page have an allocation of their own behind a small
//! descriptor. The heap never moves anything by itself, and it never looks inside a record, with one exception: what a
//! free slot holds is its own.
//!
//! Handles are trusted: they come from [`Heap::take`] and die with [`Heap::free`]. Whoever keeps one (a bucket, the
//! wheel) owes that it is forgotten by then. Debug builds check each use.

mod blocks;
mod class;

use crate::arena::{Arena, Ground, PAGE_BYTES, PageSize};
pub(crate) use blocks::LINE_BYTES;
use blocks::{BLOCK_LINES_MAX, Blocks};
pub(crate) use class::RECORD_BYTES_MAX;
use class::{CLASS_COUNT, CLASS_DESCRIPTOR, DESCRIPTOR_BYTES, STRIDES, record_class, slots_per_page};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::num::NonZeroU32;
use std::ptr::NonNull;

/// Names a record of one shard: `large (1 bit) | page (19 bits) | slot (12 bits)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Handle(NonZeroU32);

const SLOT_BITS: u32 = 12;
const LARGE: u32 = 1 << 31;
const PAGES_MAX: u32 = LARGE >> SLOT_BITS;

impl Handle {
    /// The handle that these bits are; zero is none.
    #[inline]
    pub(crate) fn from_bits(bits: u32) -> Option<Handle> {
        NonZeroU32::new(bits).map(Handle)
    }

    /// Never zero.
    #[inline]
    pub(crate) fn bits(self) -> u32 {
        self.0.get()
    }

    #[inline]
    fn is_large(self) -> bool {
        self.bits() & LARGE != 0
    }

    #[inline]
    fn page(self) -> usize {
        ((self.bits() & !LARGE) >> SLOT_BITS) as usize
    }

    #[inline]
    fn slot(self) -> usize {
        (self.bits() & ((1 << SLOT_BITS) - 1)) as usize
    }
}

/// Where a large record's bytes are. Lives in a slot of the smallest stride, at no particular alignment.
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Descriptor {
    /// Null once the body is gone while the handle is still reserved.
    body: *mut u8,
    capacity: u32,
}
const _: () = assert!(size_of::<Descriptor>() <= DESCRIPTOR_BYTES);

/// Pages, their free slots, and the large records beside them.
pub(crate) struct Heap {
    arena: Arena,
    /// The stride of each page, dense because every lookup reads one.
    strides: Vec<u16>,
    pages: Vec<Page>,
    /// First page of each class that has a free slot, `NONE` if there is none.
    open: [u32; CLASS_COUNT],
    blocks: Blocks,
    bytes_record: usize,
    bytes_block: usize,
    /// Of those, in allocations of their own.
    bytes_block_large: usize,
    /// Bodies and descriptors.
    bytes_large: usize,
    /// What tables keep elsewhere, as they report it.
    bytes_directory: usize,
}

#[derive(Clone, Copy)]
struct Page {
    /// Neighbours in the list of pages of this class that have a free slot.
    previous: u32,
    next: u32,
    /// First slot of the chain of freed slots, `SLOT_NONE` if empty.
    free: u16,
    /// Slots from here on were never handed out.
    fresh: u16,
    used: u16,
    class: u8,
}

const NONE: u32 = u32::MAX;
const SLOT_NONE: u16 = u16::MAX;

const RANGE_USED_UP: &str = "the shard's range of addresses is used up: 32 GiB of small records and tables";

impl Heap {
    /// An empty heap with addresses for 32 GiB of small records. Costs no memory until it is used.
    pub(crate) fn new() -> Heap {
        Heap {
            arena: Arena::reserve(PAGES_MAX, PageSize::Huge),
            strides: Vec::new(),
            pages: Vec::new(),
            open: [NONE; CLASS_COUNT],
            blocks: Blocks::new(),
            bytes_record: 0,
            bytes_block: 0,
            bytes_block_large: 0,
            bytes_large: 0,
            bytes_directory: 0,
        }
    }

    /// Where memory is prepared ahead of need.
    pub(crate) fn ground(&self) -> Ground {
        self.arena.ground()
    }

    /// Room for a record of `bytes`. Contents are arbitrary.
    ///
    /// # Panics
    /// If the range of addresses is used up, or aborts if the machine has no memory: limits are enforced before.
    pub(crate) fn take(&mut self, bytes: usize) -> Handle {
        if bytes <= RECORD_BYTES_MAX {
            let class = record_class(bytes);
            self.bytes_record += usize::from(STRIDES[usize::from(class)]);
            return self.take_slot(class);
        }
        let capacity = large_capacity(bytes);
        // SAFETY: the layout is not empty.
        let body = unsafe { alloc(large_layout(capacity)) };
        if body.is_null() {
            handle_alloc_error(large_layout(capacity));
        }
        let slot = self.take_slot(CLASS_DESCRIPTOR);
        let handle = Handle(slot.0 | LARGE);
        self.set_descriptor(handle, Descriptor { body, capacity: capacity as u32 });
        self.bytes_large += capacity + DESCRIPTOR_BYTES;
        handle
    }

    /// Whether a record of `bytes` would get a slot of the same stride, so that it may be written over this one.
    #[inline]
    pub(crate) fn fits_exactly(&self, handle: Handle, bytes: usize) -> bool {
        if handle.is_large() {
            return bytes > RECORD_BYTES_MAX && large_capacity(bytes) == self.capacity(handle);
        }
        bytes <= RECORD_BYTES_MAX && STRIDES[usize::from(record_class(bytes))] == self.strides[handle.page()]
    }

    /// Bytes that may be written behind a handle.
    #[inline]
    pub(crate) fn capacity(&self, handle: Handle) -> usize {
        if handle.is_large() { self.descriptor(handle).capacity as usize } else { usize::from(self.strides[handle.page()]) }
    }

    /// Bytes this handle costs, all included.
    pub(crate) fn bytes_of(&self, handle: Handle) -> usize {
        self.capacity(handle) + if handle.is_large() { DESCRIPTOR_BYTES } else { 0 }
    }

    /// What a handle names. As long as its capacity; empty if only the handle is still reserved.
    #[inline]
    pub(crate) fn bytes(&self, handle: Handle) -> &[u8] {
        let (start, len) = self.extent(handle);
        // SAFETY: `extent` gives memory that this heap owns for as long as the handle lives; it was handed out by
        // `take_slot` or `alloc`, is open, and is only written through `&mut self`. Any byte pattern is a `u8`; memory
        // of pages is zeroed by the kernel and bodies are written before they are read.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    /// The same for writing.
    #[inline]
    pub(crate) fn bytes_mut(&mut self, handle: Handle) -> &mut [u8] {
        let (start, len) = self.extent(handle);
        // SAFETY: as in `bytes`; `&mut self` makes it the only reference.
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// The same for two different handles at once, the first for reading.
    pub(crate) fn bytes_pair(&mut self, source: Handle, target: Handle) -> (&[u8], &mut [u8]) {
        assert!(source != target);
        let (from, from_len) = self.extent(source);
        let (to, to_len) = self.extent(target);
        // SAFETY: as in `bytes`; different live handles never share memory.
        unsafe { (std::slice::from_raw_parts(from, from_len), std::slice::from_raw_parts_mut(to, to_len)) }
    }

    /// Asks the processor for a record's lines. Never waits for memory beyond the table of strides.
    #[inline]
    pub(crate) fn prefetch(&self, handle: Handle) {
        let Some(&stride) = self.strides.get(handle.page()) else { return };
        let start = self.slot_address(handle.page(), handle.slot(), stride).cast_const();
        prefetch(start);
        // The head, the key and a short value; a longer one is streamed by the processor itself.
        prefetch(start.wrapping_add(usize::from(stride).min(LINE_BYTES + 1) - 1));
    }

    /// Makes a large record's room at least `bytes`, keeping what it holds as far as it fits. The handle stays.
    pub(crate) fn resize_large(&mut self, handle: Handle, bytes: usize) {
        assert!(handle.is_large() && bytes > RECORD_BYTES_MAX);
        let old = self.descriptor(handle);
        let (old_capacity, capacity) = (old.capacity as usize, large_capacity(bytes));
        // SAFETY: the body was allocated with this layout, and the new size is neither zero nor overflows.
        let body = unsafe { realloc(old.body, large_layout(old_capacity), capacity) };
        if body.is_null() {
            handle_alloc_error(large_layout(capacity));
        }
        self.set_descriptor(handle, Descriptor { body, capacity: capacity as u32 });
        self.bytes_large = self.bytes_large - old_capacity + capacity;
    }

    /// Whether a record behind this handle has an allocation of its own.
    #[inline]
    pub(crate) fn is_large(&self, handle: Handle) -> bool {
        handle.is_large()
    }

    /// Frees a large record's body but keeps the handle reserved. No effect on small ones.
    pub(crate) fn free_body(&mut self, handle: Handle) {
        if !handle.is_large() {
            return;
        }
        let Descriptor { body, capacity } = self.descriptor(handle);
        if body.is_null() {
            return;
        }
        // SAFETY: the body was allocated with this layout and nobody refers to it any more.
        unsafe { dealloc(body, large_layout(capacity as usize)) };
        self.bytes_large -= capacity as usize;
        self.set_descriptor(handle, Descriptor { body: std::ptr::null_mut(), capacity: 0 });
    }

    /// Whether there is hardly any room for small records and tables, see [`Arena::is_almost_full`].
    #[inline]
    pub(crate) fn is_almost_full(&self) -> bool {
        self.arena.is_almost_full()
    }

    /// Ends a handle.
    pub(crate) fn free(&mut self, handle: Handle) {
        if handle.is_large() {
            self.free_body(handle);
            self.bytes_large -= DESCRIPTOR_BYTES;
        } else {
            self.bytes_record -= usize::from(self.strides[handle.page()]);
        }
        self.free_slot(handle.page(), handle.slot());
    }

    /// A block of `lines` cache lines, all zero.
    pub(crate) fn take_block(&mut self, lines: usize) -> NonNull<u8> {
        self.bytes_block += lines * LINE_BYTES;
        let start = if lines <= BLOCK_LINES_MAX {
            let (page, start) = self.blocks.take(&mut self.arena, lines).expect(RANGE_USED_UP);
            self.arena.base().wrapping_add(page as usize * PAGE_BYTES + start * LINE_BYTES)
        } else {
            self.bytes_block_large += lines * LINE_BYTES;
            // SAFETY: the layout is not empty.
            unsafe { alloc(block_layout(lines)) }
        };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(block_layout(lines)) };
        // SAFETY: the slot, or the allocation, has exactly this many bytes and nobody else refers to it.
        unsafe { start.write_bytes(0, lines * LINE_BYTES) };
        start
    }

    /// Takes back a block.
    ///
    /// # Safety
    /// `start` came from [`Heap::take_block`] of this heap with the same `lines`, and nobody refers to it.
    pub(crate) unsafe fn free_block(&mut self, start: NonNull<u8>, lines: usize) {
        self.bytes_block -= lines * LINE_BYTES;
        if lines <= BLOCK_LINES_MAX {
            let offset = start.as_ptr() as usize - self.arena.base() as usize;
            self.blocks.free(&mut self.arena, (offset / PAGE_BYTES) as u32, offset % PAGE_BYTES / LINE_BYTES, lines);
        } else {
            self.bytes_block_large -= lines * LINE_BYTES;
            // SAFETY: promised by the caller.
            unsafe { dealloc(start.as_ptr(), block_layout(lines)) };
        }
    }

    /// Bytes in slots and bodies of records, those only reserved included.
    #[inline]
    pub(crate) fn bytes_records(&self) -> usize {
        self.bytes_record + self.bytes_large
    }

    /// Bytes in blocks of buckets.
    #[inline]
    pub(crate) fn bytes_blocks(&self) -> usize {
        self.bytes_block
    }

    /// Bytes of directories.
    #[inline]
    pub(crate) fn bytes_directories(&self) -> usize {
        self.bytes_directory
    }

    /// Lets the heap account for memory that a table has elsewhere.
    #[inline]
    pub(crate) fn note_directory(&mut self, bytes_before: usize, bytes: usize) {
        self.bytes_directory = self.bytes_directory + bytes - bytes_before;
    }

    /// Bytes of memory behind everything: pages in use or kept warm, bodies, and what describes the pages.
    pub(crate) fn bytes_resident(&self) -> usize {
        let described = self.pages.capacity() * size_of::<Page>() + self.strides.capacity() * size_of::<u16>() + self.blocks.bytes();
        self.arena.bytes_resident() + self.bytes_large + self.bytes_block_large + self.bytes_directory + described
    }

    /// Proves that pages, their free slots and the sums agree.
    ///
    /// # Panics
    /// If they do not.
    pub(crate) fn check(&self) {
        let (mut bytes, mut pages_used) = (0, self.blocks.page_count());
        for (index, page) in self.pages.iter().enumerate().filter(|(index, _)| self.strides[*index] != 0) {
            assert_eq!(self.strides[index], STRIDES[usize::from(page.class)]);
            assert_eq!(self.slots_used(index).len(), usize::from(page.used));
            bytes += usize::from(page.used) * usize::from(self.strides[index]);
            pages_used += 1;
        }
        for (class, &first) in self.open.iter().enumerate() {
            let (mut index, mut previous) = (first, NONE);
            while index != NONE {
                let page = self.pages[index as usize];
                assert!(usize::from(page.class) == class && page.previous == previous && page.used < slots_per_page(page.class));
                (previous, index) = (index, page.next);
            }
        }
        assert_eq!(pages_used, self.arena.pages_used());
        assert!(bytes <= self.bytes_record + self.bytes_large, "{bytes} bytes of slots are in use");
        assert_eq!(self.blocks.lines_taken() * LINE_BYTES, self.bytes_block - self.bytes_block_large);
    }

    #[inline]
    fn slot_address(&self, page: usize, slot: usize, stride: u16) -> *mut u8 {
        // Within the reserved range for every handle this heap made; only computed, not dereferenced.
        self.arena.base().wrapping_add(page * PAGE_BYTES + slot * usize::from(stride))
    }

    #[inline]
    fn extent(&self, handle: Handle) -> (*mut u8, usize) {
        if handle.is_large() {
            let Descriptor { body, capacity } = self.descriptor(handle);
            return (if body.is_null() { NonNull::dangling().as_ptr() } else { body }, capacity as usize);
        }
        debug_assert!((handle.slot() as u16) < self.pages[handle.page()].fresh, "a handle nobody was given");
        let stride = self.strides[handle.page()];
        (self.slot_address(handle.page(), handle.slot(), stride), usize::from(stride))
    }

    fn descriptor(&self, handle: Handle) -> Descriptor {
        debug_assert!(handle.is_large() && self.pages[handle.page()].class == CLASS_DESCRIPTOR);
        let start = self.slot_address(handle.page(), handle.slot(), DESCRIPTOR_BYTES as u16);
        // SAFETY: a large handle's slot holds a descriptor since `take`; the slot is long enough.
        unsafe { start.cast::<Descriptor>().read_unaligned() }
    }

    fn set_descriptor(&mut self, handle: Handle, descriptor: Descriptor) {
        let start = self.slot_address(handle.page(), handle.slot(), DESCRIPTOR_BYTES as u16);
        // SAFETY: the slot belongs to this handle and is long enough.
        unsafe { start.cast::<Descriptor>().write_unaligned(descriptor) }
    }

    fn take_slot(&mut self, class: u8) -> Handle {
        let index = match self.open[usize::from(class)] {
            NONE => self.open_page(class),
            page => page,
        };
        let stride = STRIDES[usize::from(class)];
        let page = &mut self.pages[index as usize];
        let slot = if page.free == SLOT_NONE {
            page.fresh += 1;
            page.fresh - 1
        } else {
            let slot = page.free;
            let start = self.arena.base().wrapping_add(index as usize * PAGE_BYTES + usize::from(slot) * usize::from(stride));
            // SAFETY: a slot in the free chain holds the next one's number in its first two bytes, see `free_slot`.
            page.free = unsafe { start.cast::<u16>().read_unaligned() };
            slot
        };
        page.used += 1;
        if page.free == SLOT_NONE && page.fresh == slots_per_page(class) {
            self.unlink(index);
        }
        Handle(NonZeroU32::new(index << SLOT_BITS | u32::from(slot)).expect("page 0 is never used"))
    }

    fn free_slot(&mut self, index: usize, slot: usize) {
        let stride = self.strides[index];
        let start = self.slot_address(index, slot, stride);
        let page = &mut self.pages[index];
        debug_assert!(page.used > 0 && (slot as u16) < page.fresh);
        let was_full = page.free == SLOT_NONE && page.fresh == slots_per_page(page.class);
        // SAFETY: the slot is in this page, at least 16 bytes long, and its owner has just let go of it.
        unsafe { start.cast::<u16>().write_unaligned(page.free) };
        page.free = slot as u16;
        page.used -= 1;
        let emptied = page.used == 0;
        if was_full {
            self.link(index as u32);
        }
        if emptied {
            self.unlink(index as u32);
            self.strides[index] = 0;
            self.arena.give(index as u32);
        }
    }

    /// The slots of a page that are in somebody's hands.
    fn slots_used(&self, index: usize) -> Vec<u16> {
        let Page { mut free, fresh, .. } = self.pages[index];
        let mut is_free = vec![false; usize::from(fresh)];
        while free != SLOT_NONE {
            is_free[usize::from(free)] = true;
            // SAFETY: as in `take_slot`.
            free = unsafe { self.slot_address(index, usize::from(free), self.strides[index]).cast::<u16>().read_unaligned() };
        }
        (0..fresh).filter(|&slot| !is_free[usize::from(slot)]).collect()
    }

    fn open_page(&mut self, class: u8) -> u32 {
        let index = self.arena.take().expect(RANGE_USED_UP);
        let blank = Page { previous: NONE, next: NONE, free: SLOT_NONE, fresh: 0, used: 0, class };
        if self.pages.len() <= index as usize {
            self.pages.resize(index as usize + 1, blank);
            self.strides.resize(index as usize + 1, 0);
        }
        self.pages[index as usize] = blank;
        self.strides[index as usize] = STRIDES[usize::from(class)];
        self.link(index);
        index
    }

    fn link(&mut self, index: u32) {
        let class = usize::from(self.pages[index as usize].class);
        let next = self.open[class];
        self.pages[index as usize].previous = NONE;
        self.pages[index as usize].next = next;
        if next != NONE {
            self.pages[next as usize].previous = index;
        }
        self.open[class] = index;
    }

    fn unlink(&mut self, index: u32) {
        let Page { previous, next, class, .. } = self.pages[index as usize];
        if next != NONE {
            self.pages[next as usize].previous = previous;
        }
        if previous == NONE {
            self.open[usize::from(class)] = next;
        } else {
            self.pages[previous as usize].next = next;
        }
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // Bodies of large records are the only memory outside the arena; descriptor pages name them all.
        for index in 0..self.pages.len() {
            if self.pages[index].class == CLASS_DESCRIPTOR && self.strides[index] != 0 {
                for slot in self.slots_used(index) {
                    let bits = LARGE | (index as u32) << SLOT_BITS | u32::from(slot);
                    self.free_body(Handle(NonZeroU32::new(bits).expect("the large bit is set")));
                }
            }
        }
    }
}

/// Asks the processor for one cache line. Any address will do.
#[inline(always)]
pub(crate) fn prefetch(address: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch never faults and has no effect but on caches; SSE is part of every x86-64.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Steps of a quarter of a power of two, as the allocator below rounds anyway; whole machine pages above 128 KiB.
fn large_capacity(bytes: usize) -> usize {
    let step = if bytes > 128 << 10 { 4096 } else { (bytes.next_power_of_two() / 8).max(16) };
    bytes.div_ceil(step) * step
}

fn large_layout(capacity: usize) -> Layout {
    Layout::from_size_align(capacity, 1).expect("a record is shorter than 4 GiB")
}

fn block_layout(lines: usize) -> Layout {
    Layout::from_size_align(lines * LINE_BYTES, LINE_BYTES).expect("a block is shorter than the address space")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn fill(heap: &mut Heap, handle: Handle, tag: u8) {
        heap.bytes_mut(handle).fill(tag);
    }

    proptest! {
        /// Whatever is taken and freed, no two records share a byte and nothing is lost.
        #[test]
        fn records_keep_their_bytes(steps in prop::collection::vec((0..10u8, prop_oneof![4 => 0..200usize, 1 => 0..5000usize, 1 => 0..200_000usize], any::<u16>()), 1..400)) {
            let mut heap = Heap::new();
            let mut live: BTreeMap<u32, u8> = BTreeMap::new();
            for (index, (dice, bytes, pick)) in steps.into_iter().enumerate() {
                let picked = live.keys().nth(usize::from(pick) % live.len().max(1)).and_then(|bits| Handle::from_bits(*bits));
                match (dice, picked) {
                    (0..=5, _) | (_, None) => {
                        let handle = heap.take(bytes);
                        prop_assert!(heap.capacity(handle) >= bytes && heap.fits_exactly(handle, bytes));
                        fill(&mut heap, handle, index as u8);
                        prop_assert!(live.insert(handle.bits(), index as u8).is_none(), "handed out twice");
                    }
                    (6, Some(handle)) if heap.is_large(handle) => {
                        let kept = heap.capacity(handle).min(bytes);
                        heap.resize_large(handle, bytes.max(RECORD_BYTES_MAX + 1));
                        prop_assert!(heap.bytes(handle)[..kept].iter().all(|byte| *byte == live[&handle.bits()]));
                        let tag = live[&handle.bits()];
                        fill(&mut heap, handle, tag);
                    }
                    (_, Some(handle)) => {
                        live.remove(&handle.bits());
                        heap.free(handle);
                    }
                }
            }
            heap.check();
            for (&bits, &tag) in &live {
                prop_assert!(heap.bytes(Handle::from_bits(bits).unwrap()).iter().all(|byte| *byte == tag));
            }
            for &bits in live.keys() {
                heap.free(Handle::from_bits(bits).unwrap());
            }
            heap.check();
            prop_assert_eq!(heap.bytes_records(), 0);
        }
    }

    #[test]
    fn memory_goes_back() {
        let mut heap = Heap::new();
        let handles: Vec<Handle> = (0..500_000).map(|_| heap.take(38)).collect();
        let full = heap.bytes_resident();
        assert!(full < 500_000 * 39, "{full}");
        handles.into_iter().for_each(|handle| heap.free(handle));
        assert!(heap.bytes_resident() < full / 8, "{} of {full}", heap.bytes_resident());
        heap.check();
    }
}
