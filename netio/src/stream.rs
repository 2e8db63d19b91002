//! One connected socket, used directly: calls that take what is there and never wait.

use crate::kernel::Sent;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Sends what the socket takes at once.
pub(crate) fn send_now(fd: &OwnedFd, bytes: &[u8]) -> Sent {
    match try_send(fd, bytes) {
        Ok(taken_bytes) if taken_bytes == bytes.len() => Sent::All,
        Ok(taken_bytes) => Sent::Part { taken_bytes },
        Err(_) => Sent::Gone,
    }
}

/// Sends what the socket takes at once; zero when it is full.
pub(crate) fn try_send(fd: &OwnedFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: `bytes` is valid for reading for the duration of the call.
        let done = unsafe { libc::send(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
        if let Ok(taken_bytes) = usize::try_from(done) {
            return Ok(taken_bytes);
        }
        let cause = io::Error::last_os_error();
        match cause.raw_os_error() {
            Some(libc::EINTR) => continue,
            // Out of room or out of memory for it: the same to the caller, who comes again.
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM) => return Ok(0),
            _ => return Err(cause),
        }
    }
}

/// Receives what is there into `count` bytes at `into`; `None` when nothing is, zero at the end of the stream.
///
/// # Safety
/// `into` is valid for writing `count` bytes.
pub(crate) unsafe fn receive_now(fd: &OwnedFd, into: *mut u8, count: usize) -> io::Result<Option<usize>> {
    loop {
        // SAFETY: by this function's contract.
        let done = unsafe { libc::recv(fd.as_raw_fd(), into.cast(), count, libc::MSG_DONTWAIT) };
        if let Ok(got) = usize::try_from(done) {
            return Ok(Some(got));
        }
        let cause = io::Error::last_os_error();
        match cause.raw_os_error() {
            Some(libc::EINTR) => continue,
            Some(libc::EAGAIN) => return Ok(None),
            _ => return Err(cause),
        }
    }
}
