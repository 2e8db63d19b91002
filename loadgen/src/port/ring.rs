//! Sockets on io_uring: multishot receives into one ring of shared buffers, all sends of a turn in one system call.
//!
//! The ring belongs to the thread that opened it (`SINGLE_ISSUER | DEFER_TASKRUN`), so completions are prepared only when
//! that thread asks, and a thread that spins on the clock makes no system call until the kernel says there is something.
#![allow(unsafe_code)]

use std::alloc::Layout;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::{IoUring, cqueue, opcode, squeue, types};

use super::{Port, Sink, Verdict, Wait};

/// All connections share one group of buffers.
const GROUP: u16 = 0;
/// Most receive buffers of one thread; the kernel's own limit is 32768.
const BUFFERS_MAX: usize = 256;
/// Submission entries: more sends than this in one turn are submitted in several calls.
const ENTRIES: u32 = 1024;
/// Completions are drained every turn; a burst beyond this waits in the kernel, nothing is lost.
const COMPLETIONS: u32 = 8192;
const RECV_BIT: u64 = 1;

pub(crate) struct RingPort {
    /// First, so that it is dropped first: afterwards nothing points into `buffers` or `slots` any more.
    ring: IoUring,
    buffers: Buffers,
    slots: Vec<Slot>,
    /// Slots whose receive has to be armed again at the next turn.
    unarmed: Vec<usize>,
    /// Slots that finished closing and have not been told of.
    finished: Vec<usize>,
    completions: Vec<(u64, i32, u32)>,
}

#[derive(Default)]
struct Slot {
    fd: Option<OwnedFd>,
    receiving: bool,
    /// Bytes the kernel is reading from. Never touched while `in_flight`.
    sending: Vec<u8>,
    sent: usize,
    in_flight: bool,
    queued: Vec<u8>,
    cause: Option<io::Error>,
}

impl Port for RingPort {
    fn open(slots: usize, reply_bytes: usize) -> io::Result<RingPort> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(COMPLETIONS)
            .build(ENTRIES)?;
        // Saves a descriptor look-up per call; older kernels do without.
        let _ = ring.submitter().register_ring_fd();
        let count = slots.next_power_of_two().clamp(16, BUFFERS_MAX);
        let bytes = if reply_bytes > 8 << 10 { 64 << 10 } else { 16 << 10 };
        let buffers = Buffers::new(count, bytes);
        // SAFETY: the memory of the ring of buffers is owned by `Buffers`, page-aligned, `count` entries long, and lives
        // until after the ring is dropped (field order, and `Drop` below waits for every operation).
        unsafe { ring.submitter().register_buf_ring_with_flags(buffers.entries.as_ptr() as u64, count as u16, GROUP, 0)? };
        let mut port = RingPort {
            ring,
            buffers,
            slots: Vec::new(),
            unarmed: Vec::new(),
            finished: Vec::new(),
            completions: Vec::with_capacity(COMPLETIONS as usize),
        };
        port.slots.resize_with(slots, Slot::default);
        port.probe()?;
        Ok(port)
    }

    fn name() -> &'static str {
        "io_uring"
    }

    fn add(&mut self, slot: usize, fd: OwnedFd) {
        self.slots.resize_with(self.slots.len().max(slot + 1), Slot::default);
        let entry = &mut self.slots[slot];
        assert!(entry.fd.is_none() && !entry.receiving && !entry.in_flight);
        entry.fd = Some(fd);
        self.unarmed.push(slot);
    }

    #[inline]
    fn send(&mut self, slot: usize, bytes: &mut Vec<u8>) {
        let entry = &mut self.slots[slot];
        if entry.fd.is_none() || entry.cause.is_some() {
            bytes.clear();
        } else if entry.in_flight {
            entry.queued.append(bytes);
        } else {
            entry.sending.clear();
            std::mem::swap(&mut entry.sending, bytes);
            entry.sent = 0;
            self.push_send(slot);
        }
    }

    fn close(&mut self, slot: usize, cause: io::Error) {
        let entry = &mut self.slots[slot];
        let Some(fd) = &entry.fd else { return };
        if entry.cause.is_some() {
            return;
        }
        entry.cause = Some(cause);
        entry.queued.clear();
        shut(fd);
        self.finish_if_still(slot);
    }

    fn turn(&mut self, wait: Wait, sink: &mut impl Sink) -> io::Result<usize> {
        while let Some(slot) = self.unarmed.pop() {
            self.arm(slot);
        }
        self.enter(if self.finished.is_empty() { wait } else { Wait::Never })?;
        let mut completions = std::mem::take(&mut self.completions);
        completions.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result(), entry.flags())));
        let count = completions.len();
        for (user_data, result, flags) in completions.drain(..) {
            let slot = (user_data >> 1) as usize;
            if user_data & RECV_BIT != 0 {
                self.received(slot, result, flags, sink);
            } else {
                self.sent(slot, result);
            }
        }
        self.completions = completions;
        self.buffers.publish();
        while let Some(slot) = self.finished.pop() {
            let entry = &mut self.slots[slot];
            entry.fd = None;
            let cause = entry.cause.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            sink.closed(slot, cause);
        }
        Ok(count)
    }
}

impl RingPort {
    /// Multishot receive came with 6.0 and is no flag of the ring: only trying it tells.
    fn probe(&mut self) -> io::Result<()> {
        struct Probe(bool);
        impl Sink for Probe {
            fn received(&mut self, _: usize, bytes: &[u8]) -> Verdict {
                self.0 = bytes == b"?";
                Verdict::Close
            }
            fn closed(&mut self, _: usize, _: io::Error) {}
        }
        let (near, mut far) = std::os::unix::net::UnixStream::pair()?;
        io::Write::write_all(&mut far, b"?")?;
        let slot = self.slots.len();
        self.add(slot, near.into());
        let mut probe = Probe(false);
        for _ in 0..8 {
            self.turn(Wait::AtMost(Duration::from_millis(100)), &mut probe)?;
            if self.slots[slot].fd.is_none() {
                break;
            }
        }
        let entry = self.slots.pop().expect("pushed above");
        if !probe.0 || entry.fd.is_some() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "multishot receive is missing"));
        }
        Ok(())
    }

    fn enter(&mut self, wait: Wait) -> io::Result<()> {
        let submission = self.ring.submission();
        let (pending, asked) = (!submission.is_empty(), submission.taskrun() || submission.cq_overflow());
        drop(submission);
        let ready = !self.ring.completion().is_empty();
        let outcome = match wait {
            Wait::AtMost(limit) if !ready && !limit.is_zero() => {
                let limit = types::Timespec::from(limit);
                self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&limit))
            }
            _ if pending || asked => self.ring.submitter().submit_and_wait(0),
            _ => return Ok(()),
        };
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                // Time is up, a signal came, or completions must be reaped first: all are answered by the next turn.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: every entry pushed points only at memory owned by its slot (`sending`) or by `buffers`; both stay where
        // they are until the entry's completion has been reaped, which `Slot::in_flight` and `Slot::receiving` record.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // The queue is full: hand over what is there. A failure here shows again at `enter`, which reports it.
            let _ = self.ring.submitter().submit();
        }
    }

    #[inline]
    fn push_send(&mut self, slot: usize) {
        let entry = &mut self.slots[slot];
        let Some(fd) = &entry.fd else { return };
        let left = &entry.sending[entry.sent..];
        // A send is one entry of at most 1 GiB; what is left follows when it completes.
        let length = left.len().min(1 << 30) as u32;
        let send = opcode::Send::new(types::Fd(fd.as_raw_fd()), left.as_ptr(), length)
            .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
            .build()
            .user_data((slot as u64) << 1);
        entry.in_flight = true;
        self.push(&send);
    }

    fn arm(&mut self, slot: usize) {
        let entry = &mut self.slots[slot];
        if entry.receiving || entry.cause.is_some() {
            return;
        }
        let Some(fd) = &entry.fd else { return };
        let receive = opcode::RecvMulti::new(types::Fd(fd.as_raw_fd()), GROUP).build().user_data((slot as u64) << 1 | RECV_BIT);
        entry.receiving = true;
        self.push(&receive);
    }

    #[inline]
    fn received(&mut self, slot: usize, result: i32, flags: u32, sink: &mut impl Sink) {
        if !cqueue::more(flags) {
            self.slots[slot].receiving = false;
        }
        let mut cause = None;
        if let Some(buffer) = cqueue::buffer_select(flags) {
            if result > 0 && self.slots[slot].cause.is_none() {
                let verdict = sink.received(slot, self.buffers.bytes(buffer, result as usize));
                if verdict == Verdict::Close {
                    cause = Some(io::Error::new(io::ErrorKind::InvalidData, "not a reply"));
                }
            }
            self.buffers.give_back(buffer);
        }
        match result {
            0 => cause = Some(io::ErrorKind::UnexpectedEof.into()),
            // Out of buffers: they are given back in this very turn, and the receive is armed again in the next.
            error if error < 0 && -error != libc::ENOBUFS => cause = Some(io::Error::from_raw_os_error(-error)),
            _ => {}
        }
        if let Some(cause) = cause {
            self.close(slot, cause);
        }
        if !self.slots[slot].receiving {
            if self.slots[slot].cause.is_some() {
                self.finish_if_still(slot);
            } else {
                self.unarmed.push(slot);
            }
        }
    }

    #[inline]
    fn sent(&mut self, slot: usize, result: i32) {
        let entry = &mut self.slots[slot];
        entry.in_flight = false;
        if entry.cause.is_some() {
            self.finish_if_still(slot);
        } else if result < 0 && result != -libc::EINTR && result != -libc::EAGAIN {
            self.close(slot, io::Error::from_raw_os_error(-result));
        } else {
            entry.sent += result.max(0) as usize;
            if entry.sent < entry.sending.len() {
                self.push_send(slot);
            } else if !entry.queued.is_empty() {
                entry.sending.clear();
                std::mem::swap(&mut entry.sending, &mut entry.queued);
                entry.sent = 0;
                self.push_send(slot);
            }
        }
    }

    /// A closing slot is done once the kernel holds nothing of it.
    fn finish_if_still(&mut self, slot: usize) {
        let entry = &self.slots[slot];
        if entry.fd.is_some() && !entry.receiving && !entry.in_flight && !self.finished.contains(&slot) {
            self.finished.push(slot);
        }
    }
}

impl Drop for RingPort {
    /// Waits until the kernel has let go of every buffer. If it does not, the buffers are leaked rather than freed.
    fn drop(&mut self) {
        struct Nobody;
        impl Sink for Nobody {
            fn received(&mut self, _: usize, _: &[u8]) -> Verdict {
                Verdict::Close
            }
            fn closed(&mut self, _: usize, _: io::Error) {}
        }
        for slot in 0..self.slots.len() {
            self.close(slot, io::ErrorKind::ConnectionAborted.into());
        }
        for _ in 0..1_000 {
            if self.slots.iter().all(|slot| !slot.receiving && !slot.in_flight) {
                return;
            }
            if self.turn(Wait::AtMost(Duration::from_millis(1)), &mut Nobody).is_err() {
                break;
            }
        }
        for slot in &mut self.slots {
            std::mem::forget(std::mem::take(&mut slot.sending));
        }
        self.buffers.leak = true;
    }
}

fn shut(fd: &OwnedFd) {
    // SAFETY: the descriptor is open, as it is borrowed from its owner; the call touches no memory. It fails only when the
    // peer has gone already, which is what is wanted.
    unsafe { libc::shutdown(fd.as_raw_fd(), libc::SHUT_RDWR) };
}

/// Receive buffers and the ring through which the kernel takes them.
struct Buffers {
    entries: NonNull<types::BufRingEntry>,
    memory: NonNull<u8>,
    count: usize,
    bytes: usize,
    tail: u16,
    leak: bool,
}

const PAGE_BYTES: usize = 4096;

impl Buffers {
    fn new(count: usize, bytes: usize) -> Buffers {
        assert!(count.is_power_of_two() && count <= 32768);
        let (entries_layout, memory_layout) = Buffers::layouts(count, bytes);
        // SAFETY: both layouts have a size above 0.
        let entries = unsafe { std::alloc::alloc_zeroed(entries_layout) };
        let entries = NonNull::new(entries).unwrap_or_else(|| std::alloc::handle_alloc_error(entries_layout)).cast();
        // SAFETY: as above. Zeroed, so that every byte is initialised before a slice of it is made.
        let memory = unsafe { std::alloc::alloc_zeroed(memory_layout) };
        let memory = NonNull::new(memory).unwrap_or_else(|| std::alloc::handle_alloc_error(memory_layout));
        let mut buffers = Buffers { entries, memory, count, bytes, tail: 0, leak: false };
        for buffer in 0..count {
            buffers.give_back(buffer as u16);
        }
        buffers.publish();
        buffers
    }

    fn layouts(count: usize, bytes: usize) -> (Layout, Layout) {
        let entries = Layout::from_size_align(count * size_of::<types::BufRingEntry>(), PAGE_BYTES).expect("small");
        let memory = Layout::from_size_align(count * bytes, PAGE_BYTES).expect("small");
        (entries, memory)
    }

    #[inline]
    fn bytes(&self, buffer: u16, length: usize) -> &[u8] {
        let index = usize::from(buffer);
        assert!(index < self.count && length <= self.bytes);
        // SAFETY: in bounds by the assertion; initialised since allocation; the kernel gave this buffer to us with the
        // completion and does not write to it until `give_back`, which needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.memory.as_ptr().add(index * self.bytes), length) }
    }

    #[inline]
    fn give_back(&mut self, buffer: u16) {
        let index = usize::from(buffer);
        assert!(index < self.count);
        let at = usize::from(self.tail) & (self.count - 1);
        // SAFETY: `at` is below `count`, the number of entries allocated. The kernel reads an entry only once the tail has
        // passed it, which `publish` does later. The tail overlays the first entry's unused half, which `set_*` leave be.
        let entry = unsafe { &mut *self.entries.as_ptr().add(at) };
        // SAFETY: in bounds of `memory` as `index < count`.
        entry.set_addr(unsafe { self.memory.as_ptr().add(index * self.bytes) } as u64);
        entry.set_len(self.bytes as u32);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    fn publish(&mut self) {
        // SAFETY: the ring's memory is alive, and the tail is a u16 in its first entry, aligned, that the kernel only reads.
        let tail = unsafe { AtomicU16::from_ptr(types::BufRingEntry::tail(self.entries.as_ptr()).cast_mut()) };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        if self.leak {
            return;
        }
        let (entries_layout, memory_layout) = Buffers::layouts(self.count, self.bytes);
        // SAFETY: allocated in `new` with these very layouts, and the ring that used them has been dropped before.
        unsafe {
            std::alloc::dealloc(self.entries.as_ptr().cast(), entries_layout);
            std::alloc::dealloc(self.memory.as_ptr(), memory_layout);
        }
    }
}
