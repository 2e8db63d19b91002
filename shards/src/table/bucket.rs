//! One cache line of a table: eight hashes and eight handles.
//!
//! Entries are packed to the front, so the last handle tells whether the bucket is full. Only hashes and handles are
//! kept, so that growing and splitting never touch a record.

use crate::heap::Handle;

/// Entries in one bucket.
pub(super) const BUCKET_ENTRIES: usize = 8;

/// Eight entries; an empty one has handle zero and hash zero.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    hashes: [u32; BUCKET_ENTRIES],
    handles: [u32; BUCKET_ENTRIES],
}
const _: () = assert!(size_of::<Bucket>() == crate::heap::LINE_BYTES);

/// What a bucket holds of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) hash: u32,
    pub(crate) handle: Handle,
}

impl Bucket {
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.handles[BUCKET_ENTRIES - 1] != 0
    }

    /// A bit for each entry with this hash. Empty entries count as hash zero: look at the handle too.
    #[inline]
    pub(super) fn matches(&self, hash: u32) -> u32 {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a bucket is aligned to its 64 bytes and begins with eight hashes; SSE2 is part of every x86-64. The compiler
        // makes five times as many instructions of the loop below.
        unsafe {
            use std::arch::x86_64::{__m128i, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_load_si128, _mm_movemask_ps, _mm_set1_epi32};
            let (halves, wanted) = (self.hashes.as_ptr().cast::<__m128i>(), _mm_set1_epi32(hash as i32));
            let equal = |half| _mm_movemask_ps(_mm_castsi128_ps(_mm_cmpeq_epi32(_mm_load_si128(half), wanted))) as u32;
            equal(halves) | equal(halves.add(1)) << 4
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let mut bits = 0;
            for index in 0..BUCKET_ENTRIES {
                bits |= u32::from(self.hashes[index] == hash) << index;
            }
            bits
        }
    }

    #[inline]
    pub(super) fn handle(&self, index: usize) -> Option<Handle> {
        Handle::from_bits(self.handles[index])
    }

    #[inline]
    pub(super) fn set_handle(&mut self, index: usize, handle: Handle) {
        self.handles[index] = handle.bits();
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        let mut len = 0;
        for handle in self.handles {
            len += usize::from(handle != 0);
        }
        len
    }

    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<Entry> {
        Some(Entry { hash: self.hashes[index], handle: self.handle(index)? })
    }

    #[inline]
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        (0..BUCKET_ENTRIES).map_while(|index| self.get(index))
    }

    /// Adds to a bucket that is not full.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) {
        let index = self.len();
        self.hashes[index] = entry.hash;
        self.handles[index] = entry.handle.bits();
    }

    /// Takes one entry out; the last one fills its place.
    #[inline]
    pub(super) fn take(&mut self, index: usize) {
        let last = self.len() - 1;
        self.hashes[index] = self.hashes[last];
        self.handles[index] = self.handles[last];
        self.hashes[last] = 0;
        self.handles[last] = 0;
    }
}
