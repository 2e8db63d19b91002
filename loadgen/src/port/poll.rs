//! Sockets on epoll: for containers and kernels that refuse io_uring. One read and one write call per connection and turn.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use super::{Port, Sink, Verdict, Wait};

/// Events taken in one call.
const EVENTS_MAX: usize = 512;
/// One read; a connection with more is read again in the next turn.
const READ_BYTES: usize = 64 << 10;

pub(crate) struct PollPort {
    epoll: OwnedFd,
    slots: Vec<Slot>,
    finished: Vec<usize>,
    events: Vec<libc::epoll_event>,
    scratch: Vec<u8>,
}

#[derive(Default)]
struct Slot {
    fd: Option<OwnedFd>,
    queued: Vec<u8>,
    sent: usize,
    cause: Option<io::Error>,
}

impl Port for PollPort {
    fn open(slots: usize, _reply_bytes: usize) -> io::Result<PollPort> {
        // SAFETY: the call touches no memory of ours.
        let epoll = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        let mut port = PollPort {
            // SAFETY: just opened, owned by nobody else.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            slots: Vec::new(),
            finished: Vec::new(),
            events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX],
            scratch: vec![0; READ_BYTES],
        };
        port.slots.resize_with(slots, Slot::default);
        Ok(port)
    }

    fn name() -> &'static str {
        "epoll"
    }

    fn add(&mut self, slot: usize, fd: OwnedFd) {
        self.slots.resize_with(self.slots.len().max(slot + 1), Slot::default);
        assert!(self.slots[slot].fd.is_none());
        let raw = fd.as_raw_fd();
        self.slots[slot].fd = Some(fd);
        if let Err(error) = self.watch(libc::EPOLL_CTL_ADD, raw, slot, false) {
            self.close(slot, error);
        }
    }

    fn send(&mut self, slot: usize, bytes: &mut Vec<u8>) {
        let entry = &mut self.slots[slot];
        let (Some(fd), None) = (&entry.fd, &entry.cause) else {
            bytes.clear();
            return;
        };
        if !entry.queued.is_empty() {
            entry.queued.append(bytes);
            return;
        }
        let fd = fd.as_raw_fd();
        match write(fd, bytes) {
            Ok(count) if count == bytes.len() => bytes.clear(),
            Ok(count) => {
                std::mem::swap(&mut entry.queued, bytes);
                entry.sent = count;
                bytes.clear();
                if let Err(error) = self.watch(libc::EPOLL_CTL_MOD, fd, slot, true) {
                    self.close(slot, error);
                }
            }
            Err(error) => {
                bytes.clear();
                self.close(slot, error);
            }
        }
    }

    fn close(&mut self, slot: usize, cause: io::Error) {
        let entry = &mut self.slots[slot];
        if entry.fd.is_some() && entry.cause.is_none() {
            entry.cause = Some(cause);
            entry.queued.clear();
            self.finished.push(slot);
        }
    }

    fn turn(&mut self, wait: Wait, sink: &mut impl Sink) -> io::Result<usize> {
        let count = self.wait(if self.finished.is_empty() { wait } else { Wait::Never })?;
        for index in 0..count {
            let event = self.events[index];
            let slot = event.u64 as usize;
            let flags = event.events as i32;
            if flags & libc::EPOLLOUT != 0 {
                self.flush(slot);
            }
            if flags & (libc::EPOLLIN | libc::EPOLLHUP | libc::EPOLLERR | libc::EPOLLRDHUP) != 0 {
                self.read(slot, sink);
            }
        }
        while let Some(slot) = self.finished.pop() {
            let entry = &mut self.slots[slot];
            // Dropping the descriptor takes it out of epoll as well.
            entry.fd = None;
            let cause = entry.cause.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into());
            sink.closed(slot, cause);
        }
        Ok(count)
    }
}

impl PollPort {
    fn wait(&mut self, wait: Wait) -> io::Result<usize> {
        let limit = match wait {
            Wait::Never => std::time::Duration::ZERO,
            Wait::AtMost(limit) => limit,
        };
        let timeout = libc::timespec { tv_sec: limit.as_secs() as _, tv_nsec: limit.subsec_nanos() as _ };
        // SAFETY: `events` is valid for `EVENTS_MAX` entries and `timeout` for the call; no signal mask is given.
        let mut count = unsafe {
            libc::epoll_pwait2(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), EVENTS_MAX as i32, &raw const timeout, std::ptr::null())
        };
        if count < 0 && matches!(io::Error::last_os_error().raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) {
            // Before 5.11 there are only milliseconds: rounded down, so that a schedule is never overslept.
            // SAFETY: as above.
            count = unsafe {
                libc::epoll_wait(self.epoll.as_raw_fd(), self.events.as_mut_ptr(), EVENTS_MAX as i32, limit.as_millis().min(1_000) as i32)
            };
        }
        match check(count) {
            Ok(count) => Ok(count as usize),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }

    fn watch(&self, what: i32, fd: RawFd, slot: usize, writable: bool) -> io::Result<()> {
        let flags = libc::EPOLLIN | if writable { libc::EPOLLOUT } else { 0 };
        let mut event = libc::epoll_event { events: flags as u32, u64: slot as u64 };
        // SAFETY: both descriptors are open, and `event` is valid for the call.
        check(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), what, fd, &raw mut event) }).map(drop)
    }

    fn read(&mut self, slot: usize, sink: &mut impl Sink) {
        let entry = &self.slots[slot];
        let (Some(fd), None) = (&entry.fd, &entry.cause) else { return };
        // SAFETY: `scratch` is valid for its length, and the descriptor is open.
        let count = unsafe { libc::recv(fd.as_raw_fd(), self.scratch.as_mut_ptr().cast(), self.scratch.len(), 0) };
        let cause = match count {
            0 => io::ErrorKind::UnexpectedEof.into(),
            count if count > 0 => match sink.received(slot, &self.scratch[..count as usize]) {
                Verdict::Keep => return,
                Verdict::Close => io::Error::new(io::ErrorKind::InvalidData, "not a reply"),
            },
            _ => {
                let error = io::Error::last_os_error();
                if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) {
                    return;
                }
                error
            }
        };
        self.close(slot, cause);
    }

    fn flush(&mut self, slot: usize) {
        let entry = &mut self.slots[slot];
        let (Some(fd), None) = (&entry.fd, &entry.cause) else { return };
        let fd = fd.as_raw_fd();
        match write(fd, &entry.queued[entry.sent..]) {
            Ok(count) => {
                entry.sent += count;
                if entry.sent == entry.queued.len() {
                    entry.queued.clear();
                    entry.sent = 0;
                    if let Err(error) = self.watch(libc::EPOLL_CTL_MOD, fd, slot, false) {
                        self.close(slot, error);
                    }
                }
            }
            Err(error) => self.close(slot, error),
        }
    }
}

/// Writes what the socket takes; 0 if it takes nothing now.
fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is valid for its length, and the descriptor is open.
    let count = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if count >= 0 {
        return Ok(count as usize);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
