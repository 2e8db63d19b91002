//! A range of addresses, handed out in pages of 64 KiB. A shard has one for records and tables, and one for its wheel.
//!
//! The range is reserved once and never moves, so that a page's address is its number times its size, without a table of
//! pointers. Pages given back are kept warm up to a slack; beyond it their memory returns to the operating system at
//! once. Never hands out page 0, so that zero can mean "no handle".

mod ground;
mod slab;

pub use ground::Ground;
use ground::STEP_PAGES;
pub(crate) use slab::{Slab, Unit};
use std::ptr::NonNull;

/// One page: large enough that the longest tail no stride divides is small, small enough to empty now and then.
pub(crate) const PAGE_BYTES: usize = 1 << 16;

/// Empty pages kept warm at least, so that a set that breathes does not fault all the time.
const WARM_PAGES_MIN: usize = 32;

/// What the kernel should back a range with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PageSize {
    /// 4 KiB: for what is used in order, or little.
    Small,
    /// 2 MiB, where the machine has them: records are met in no order, and with small pages half of a lookup is the walk to
    /// its address.
    Huge,
}

/// One range.
pub(crate) struct Arena {
    base: NonNull<u8>,
    /// Pages the range has room for.
    reserved: u32,
    /// Pages that may be touched; the rest, opened in steps of one huge page, is not accessible yet. All of them, where the
    /// kernel allows it.
    open: u32,
    /// First page never handed out.
    fresh: u32,
    /// Empty and backed by memory.
    warm: Vec<u32>,
    /// Empty and given back to the operating system.
    cold: Vec<u32>,
    ground: Ground,
}

// SAFETY: the range belongs to this value alone; nothing about it is tied to the thread that reserved it.
unsafe impl Send for Arena {}

impl Arena {
    /// Reserves addresses for at most `pages_max` pages; fewer where the process may not have so many.
    ///
    /// # Panics
    /// If not even 64 MiB of addresses can be had: there is nothing a shard could do then.
    pub(crate) fn reserve(pages_max: u32, size: PageSize) -> Arena {
        let mut pages = pages_max;
        loop {
            // Opening step by step costs a quarter of a millisecond a step on some machines, so it is the second choice.
            for opened in [true, false] {
                if let Some(base) = machine::reserve(pages as usize * PAGE_BYTES, opened, size) {
                    let open = if opened { pages } else { 0 };
                    let ground = Ground::new(base.as_ptr(), pages);
                    return Arena { base, reserved: pages, open, fresh: 1, warm: Vec::new(), cold: Vec::new(), ground };
                }
            }
            assert!(pages > 1024, "cannot reserve 64 MiB of addresses for a shard; see `ulimit -v`");
            pages /= 2;
        }
    }

    /// The address of page 0. Never changes.
    #[inline]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Where this range is prepared ahead of need.
    pub(crate) fn ground(&self) -> Ground {
        self.ground.clone()
    }

    /// An empty page, `None` when the range is used up. Its bytes are whatever they were.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(page) = self.warm.pop().or_else(|| self.cold.pop()) {
            return Some(page);
        }
        if self.fresh == self.reserved {
            return None;
        }
        if self.fresh >= self.open {
            let pages = STEP_PAGES.min(self.reserved - self.open);
            // SAFETY: `open..open + pages` lies within the reserved range, because `open < reserved`.
            let opened = unsafe { machine::open(self.base().add(self.open as usize * PAGE_BYTES), pages as usize * PAGE_BYTES) };
            if !opened {
                return None;
            }
            self.open += pages;
        }
        self.fresh += 1;
        let page = self.fresh - 1;
        if page == 1 || page.is_multiple_of(STEP_PAGES) {
            self.ground.begin(page / STEP_PAGES);
        }
        Some(page)
    }

    /// Takes back an empty page that [`Arena::take`] gave.
    pub(crate) fn give(&mut self, page: u32) {
        debug_assert!(page > 0 && page < self.fresh);
        if self.warm.len() < WARM_PAGES_MIN.max(self.pages_used() / 256) {
            self.warm.push(page);
        } else {
            // SAFETY: the page is open and empty: nobody refers to its bytes.
            unsafe { machine::discard(self.base().add(page as usize * PAGE_BYTES), PAGE_BYTES) };
            self.cold.push(page);
        }
    }

    /// Pages in somebody's hands.
    pub(crate) fn pages_used(&self) -> usize {
        self.fresh as usize - 1 - self.warm.len() - self.cold.len()
    }

    /// Whether only a sixteenth, or 64 MiB, of the range can still be given: then nothing may grow, whatever the budget says.
    /// What is left is for the command under way, for tables that split, and for slots of other sizes.
    #[inline]
    pub(crate) fn is_almost_full(&self) -> bool {
        const PAGES_SPARE: usize = 1024;
        let left = self.reserved as usize - self.fresh as usize + self.warm.len() + self.cold.len();
        left < PAGES_SPARE.min(self.reserved as usize / 16)
    }

    /// Bytes of pages that are backed by memory, used or kept warm. Not those that were only prepared.
    pub(crate) fn bytes_resident(&self) -> usize {
        (self.fresh as usize - 1 - self.cold.len()) * PAGE_BYTES
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.ground.end();
        // SAFETY: the range was reserved with this length, and nothing borrowed from it can outlive its owner.
        unsafe { machine::release(self.base, self.reserved as usize * PAGE_BYTES) }
    }
}

/// Gives memory to a part of a range that may be used by others meanwhile; no byte of it changes. Whether the kernel can do
/// it (Linux 5.14). Lack of memory is not told: who writes there will hear of it.
pub(super) fn populate(start: *mut u8, bytes: usize) -> bool {
    machine::populate(start, bytes)
}

/// The few calls that deal in address ranges.
#[cfg(not(miri))]
mod machine {
    use super::PageSize;
    use std::ptr::NonNull;

    const ALIGN_BYTES: usize = 2 << 20;

    /// Addresses aligned to a huge page. Memory comes with the first touch; where the kernel wants to have promised all of
    /// it beforehand, only what is not `opened` can be had.
    pub(super) fn reserve(bytes: usize, opened: bool, size: PageSize) -> Option<NonNull<u8>> {
        let whole = bytes + ALIGN_BYTES;
        let protection = if opened { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_NONE };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches nothing of ours.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), whole, protection, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = start.cast::<u8>();
        let before = start.align_offset(ALIGN_BYTES);
        let after = ALIGN_BYTES - before;
        // SAFETY: both pieces lie in the mapping just made, outside the aligned part, and nobody has seen them. The advice
        // concerns the aligned part only and changes no byte; where it is refused, small pages serve.
        unsafe {
            let advice = if size == PageSize::Huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
            libc::madvise(start.add(before).cast(), bytes, advice);
            if before > 0 {
                libc::munmap(start.cast(), before);
            }
            if after > 0 {
                libc::munmap(start.add(before + bytes).cast(), after);
            }
            NonNull::new(start.add(before))
        }
    }

    /// Makes a part of a reserved range accessible. Whether the kernel agreed.
    ///
    /// # Safety
    /// The part lies within one reserved range.
    pub(super) unsafe fn open(start: *mut u8, bytes: usize) -> bool {
        // SAFETY: promised by the caller; changing the protection of an unused part disturbs nobody.
        unsafe { libc::mprotect(start.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) == 0 }
    }

    /// As the function of the same name above.
    pub(super) fn populate(start: *mut u8, bytes: usize) -> bool {
        // SAFETY: this advice changes no byte that anybody could read; where nothing is mapped, or the part is not open, it
        // fails.
        let result = unsafe { libc::madvise(start.cast(), bytes, libc::MADV_POPULATE_WRITE) };
        result == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL)
    }

    /// Gives memory back while keeping the addresses; what is read there next is zero.
    ///
    /// # Safety
    /// Nobody holds references into the part.
    pub(super) unsafe fn discard(start: *mut u8, bytes: usize) {
        // SAFETY: promised by the caller. A refusal leaves the memory where it is, which is safe.
        unsafe { libc::madvise(start.cast(), bytes, libc::MADV_DONTNEED) };
    }

    /// Ends a reservation.
    ///
    /// # Safety
    /// `base` and `bytes` are those of one reservation, and nobody holds references into it.
    pub(super) unsafe fn release(base: NonNull<u8>, bytes: usize) {
        // SAFETY: promised by the caller.
        unsafe { libc::munmap(base.as_ptr().cast(), bytes) };
    }
}

/// The same on the ordinary allocator, where an interpreter watches every access.
#[cfg(miri)]
mod machine {
    use super::PageSize;
    use std::alloc::{Layout, alloc, dealloc};
    use std::ptr::NonNull;

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, 1 << 16).expect("a power of two")
    }

    pub(super) fn reserve(bytes: usize, _opened: bool, _size: PageSize) -> Option<NonNull<u8>> {
        if bytes > 64 << 20 {
            return None;
        }
        // SAFETY: the size is not zero.
        NonNull::new(unsafe { alloc(layout(bytes)) })
    }

    pub(super) unsafe fn open(_start: *mut u8, _bytes: usize) -> bool {
        true
    }

    pub(super) fn populate(_start: *mut u8, _bytes: usize) -> bool {
        false
    }

    pub(super) unsafe fn discard(_start: *mut u8, _bytes: usize) {}

    pub(super) unsafe fn release(base: NonNull<u8>, bytes: usize) {
        // SAFETY: allocated with the same layout.
        unsafe { dealloc(base.as_ptr(), layout(bytes)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_says_that_it_is_almost_full_before_it_is() {
        let mut arena = Arena::reserve(2048, PageSize::Huge);
        let mut taken = Vec::new();
        while !arena.is_almost_full() {
            taken.push(arena.take().expect("not full yet"));
        }
        assert!(taken.len() > 1800, "{}", taken.len());
        assert!((0..100).all(|_| arena.take().is_some()), "what is left serves the command under way");
        taken.drain(..200).for_each(|page| arena.give(page));
        assert!(!arena.is_almost_full(), "pages given back count");
    }
}
