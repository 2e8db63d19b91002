//! The receive buffers of one core: one mapping, cut into equal pieces, each either free or lent.
//!
//! Owns the memory and knows who has which piece; never grows, never moves. Pages are touched on
//! first use, so a core that never receives much holds little. Free pieces are kept last in, first
//! out: the piece used next is the one most likely still in the cache.

use crate::kernel::BufferId;
use std::io;
use std::ptr::NonNull;

/// Distance between the starts of two pieces, beyond their size. Pieces at exact powers of two
/// would all begin in the same few cache sets and push each other out.
const STAGGER_BYTES: usize = 5 * 64;

/// See the module's head.
pub(crate) struct Pool {
    base: NonNull<u8>,
    mapped_bytes: usize,
    stride_bytes: usize,
    piece_bytes: usize,
    free: Vec<u16>,
    /// Per piece: how many bytes it holds while lent to the core, zero otherwise.
    lent_bytes: Vec<u32>,
}

impl Pool {
    /// Maps `count` pieces of `piece_bytes` each, all free.
    pub(crate) fn map(count: u16, piece_bytes: u32) -> io::Result<Pool> {
        assert!(count > 0 && piece_bytes > 0, "a pool without buffers receives nothing");
        let stride_bytes = piece_bytes as usize + STAGGER_BYTES;
        let mapped_bytes = stride_bytes * usize::from(count);
        let base = map_memory(mapped_bytes)?;
        Ok(Pool {
            base,
            mapped_bytes,
            stride_bytes,
            piece_bytes: piece_bytes as usize,
            free: (0..count).rev().collect(),
            lent_bytes: vec![0; usize::from(count)],
        })
    }

    /// Takes a free piece, to be filled. It must come back by [`Pool::lend`] and [`Pool::reclaim`], or by [`Pool::put`].
    pub(crate) fn take(&mut self) -> Option<u16> {
        self.free.pop()
    }

    /// Gives back a piece that was taken and never lent.
    pub(crate) fn put(&mut self, piece: u16) {
        assert_eq!(self.lent_bytes[usize::from(piece)], 0, "piece {piece} is lent");
        self.free.push(piece);
    }

    /// Lends a piece that holds `bytes` to the core.
    pub(crate) fn lend(&mut self, piece: u16, bytes: usize) -> BufferId {
        assert!(bytes > 0 && bytes <= self.piece_bytes);
        let lent = &mut self.lent_bytes[usize::from(piece)];
        assert_eq!(*lent, 0, "piece {piece} is lent twice");
        *lent = bytes as u32;
        BufferId(u32::from(piece))
    }

    /// Takes a lent piece back; it is free again.
    ///
    /// # Panics
    /// If the core does not hold it: a double release would hand one piece to two connections.
    pub(crate) fn reclaim(&mut self, buffer: BufferId) {
        let lent = &mut self.lent_bytes[buffer.0 as usize];
        assert!(*lent > 0, "buffer {} was released twice", buffer.0);
        *lent = 0;
        self.free.push(buffer.0 as u16);
    }

    /// The bytes of a lent piece.
    pub(crate) fn bytes(&self, buffer: BufferId) -> &[u8] {
        let lent_bytes = self.lent_bytes[buffer.0 as usize] as usize;
        assert!(lent_bytes > 0, "buffer {} is not lent", buffer.0);
        // SAFETY: the piece lies within the mapping, which lives as long as `self`; whoever filled
        // it wrote `lent_bytes` bytes before lending it, and nobody writes to it while it is lent.
        unsafe { std::slice::from_raw_parts(self.start(buffer.0 as u16), lent_bytes) }
    }

    /// Where a piece begins. It is valid for writing `piece_bytes` bytes while taken and not lent.
    pub(crate) fn start(&self, piece: u16) -> *mut u8 {
        let index = usize::from(piece);
        assert!(index < self.lent_bytes.len());
        // SAFETY: `index` is in range, so the piece lies within the mapping.
        unsafe { self.base.as_ptr().add(index * self.stride_bytes) }
    }

    /// How many pieces are free.
    pub(crate) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Size of each piece.
    pub(crate) fn piece_bytes(&self) -> usize {
        self.piece_bytes
    }

    /// Address space held, whether touched or not.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.mapped_bytes
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // SAFETY: `base` and `mapped_bytes` are what `map_memory` returned, and no slice outlives `self`.
        unsafe { unmap_memory(self.base, self.mapped_bytes) };
    }
}

/// Private zeroed memory, page-aligned, touched on first use.
pub(crate) fn map_memory(bytes: usize) -> io::Result<NonNull<u8>> {
    // SAFETY: an anonymous private mapping at an address of the kernel's choice touches nothing of ours.
    let at = unsafe {
        libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0)
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(at.cast()).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))
}

/// Gives memory back.
///
/// # Safety
/// `at` and `bytes` come from one call of [`map_memory`], and nothing refers to it any more.
pub(crate) unsafe fn unmap_memory(at: NonNull<u8>, bytes: usize) {
    // SAFETY: by this function's contract the range is a whole mapping of ours.
    let done = unsafe { libc::munmap(at.as_ptr().cast(), bytes) };
    debug_assert_eq!(done, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_and_are_counted() {
        let mut pool = Pool::map(2, 64).unwrap();
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert_ne!(first, second);
        assert_eq!(pool.take(), None);
        // SAFETY: the piece is taken and not lent, and three bytes fit in it.
        unsafe { pool.start(first).copy_from(b"abc".as_ptr(), 3) };
        let buffer = pool.lend(first, 3);
        assert_eq!(pool.bytes(buffer), b"abc");
        pool.reclaim(buffer);
        pool.put(second);
        assert_eq!(pool.free_count(), 2);
    }

    #[test]
    #[should_panic(expected = "released twice")]
    fn double_release_is_our_fault() {
        let mut pool = Pool::map(1, 64).unwrap();
        let piece = pool.take().unwrap();
        let buffer = pool.lend(piece, 1);
        pool.reclaim(buffer);
        pool.reclaim(buffer);
    }
}
