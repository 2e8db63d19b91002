//! The provided-buffer ring: where the kernel takes a buffer from at the moment bytes arrive.
//!
//! The kernel takes buffers in the order they were offered, so offering all of them would walk through the
//! whole pool again and again, touch every page of it and push everything else out of the cache. Only a few
//! are offered, those released last; when they did not suffice for one turn, twice as many from then on.

use crate::kernel::BufferId;
use crate::pool::{Pool, map_memory, unmap_memory};
use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

/// The group every receive names.
pub(super) const BUFFER_GROUP: u16 = 0;

/// The pool, and the ring through which the kernel is offered its free pieces.
pub(super) struct Buffers {
    pool: Pool,
    entries: NonNull<BufRingEntry>,
    entries_count: u16,
    tail: u16,
    /// Offered to the kernel and not yet seen in a completion.
    offered: u16,
    /// How many are offered if there are as many.
    offered_wanted: u16,
    /// Since the last offer, a receive found nothing.
    fell_short: bool,
}

/// What one turn of a moderately busy core receives.
const OFFERED_WANTED_START: u16 = 64;

impl Buffers {
    /// Maps the pool and registers the ring. Nothing is offered yet.
    pub(super) fn register(ring: &IoUring, count: u16, piece_bytes: u32) -> io::Result<Buffers> {
        assert!(count.is_power_of_two());
        let pool = Pool::map(count, piece_bytes)?;
        let mapped = map_memory(usize::from(count) * size_of::<BufRingEntry>())?;
        let buffers = Buffers {
            pool,
            entries: mapped.cast(),
            entries_count: count,
            tail: 0,
            offered: 0,
            offered_wanted: OFFERED_WANTED_START.min(count),
            fell_short: false,
        };
        // SAFETY: the entries are page-aligned, zeroed, `count` in number, and stay mapped until
        // `Buffers` is dropped, which its owner does only after the ring was closed or emptied.
        unsafe {
            ring.submitter().register_buf_ring_with_flags(buffers.entries.as_ptr() as u64, count, BUFFER_GROUP, 0)?;
        }
        Ok(buffers)
    }

    /// Offers free pieces to the kernel until enough are.
    pub(super) fn offer(&mut self) {
        if std::mem::take(&mut self.fell_short) {
            self.offered_wanted = self.offered_wanted.saturating_mul(2).min(self.entries_count);
        }
        let tail_before = self.tail;
        while self.offered < self.offered_wanted
            && let Some(piece) = self.pool.take()
        {
            self.write(piece);
        }
        if self.tail != tail_before {
            // SAFETY: the first entry is initialised (mapped zeroed), and its last field is the ring's tail.
            let tail = unsafe { BufRingEntry::tail(self.entries.as_ptr()) }.cast::<AtomicU16>();
            // SAFETY: the field is two bytes, aligned, and shared with the kernel, hence the atomic; the
            // release makes the entries visible before the tail that covers them.
            unsafe { (*tail).store(self.tail, Ordering::Release) };
        }
    }

    fn write(&mut self, piece: u16) {
        assert!(self.offered < self.entries_count);
        let index = usize::from(self.tail & (self.entries_count - 1));
        // SAFETY: the index is below the number of mapped entries, and the kernel does not read entries
        // beyond the tail it knows. Only address, length and id are written, never the tail's field.
        let entry = unsafe { &mut *self.entries.as_ptr().add(index) };
        entry.set_addr(self.pool.start(piece) as u64);
        entry.set_len(self.pool.piece_bytes() as u32);
        entry.set_bid(piece);
        self.tail = self.tail.wrapping_add(1);
        self.offered += 1;
    }

    /// A receive found nothing offered.
    pub(super) fn fell_short(&mut self) {
        self.fell_short = true;
    }

    /// A completion named this piece: it is filled with `bytes` and lent to the core.
    pub(super) fn lend(&mut self, piece: u16, bytes: usize) -> BufferId {
        self.offered -= 1;
        self.pool.lend(piece, bytes)
    }

    /// A completion named this piece, but nobody wants its bytes.
    pub(super) fn discard(&mut self, piece: u16) {
        self.offered -= 1;
        self.pool.put(piece);
    }

    pub(super) fn release(&mut self, buffer: BufferId) {
        self.pool.reclaim(buffer);
    }

    pub(super) fn bytes(&self, buffer: BufferId) -> &[u8] {
        self.pool.bytes(buffer)
    }

    /// Pieces the kernel may still fill, as far as completions tell.
    pub(super) fn offered_count(&self) -> usize {
        usize::from(self.offered)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pool.mapped_bytes() + usize::from(self.entries_count) * size_of::<BufRingEntry>()
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        let bytes = usize::from(self.entries_count) * size_of::<BufRingEntry>();
        // SAFETY: the range is what `map_memory` returned, and by the owner's order of closing the kernel no
        // longer reads it.
        unsafe { unmap_memory(self.entries.cast(), bytes) };
    }
}
