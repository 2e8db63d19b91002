//! An eventfd: what any thread, and any signal handler, may ring to wake a core.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// See the module's head. Owned jointly by the core and everybody who may wake it.
#[derive(Debug)]
pub(crate) struct Bell(OwnedFd);

impl Bell {
    /// A silent bell. `flags` may ask for `EFD_NONBLOCK`.
    pub(crate) fn new(flags: libc::c_int) -> io::Result<Bell> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, flags | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        Ok(Bell(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Rings. Safe in a signal handler: one `write`, and `errno` is left as it was.
    pub(crate) fn ring(&self) {
        let one: u64 = 1;
        // SAFETY: errno's location is valid for the calling thread for as long as it runs.
        let errno = unsafe { &mut *libc::__errno_location() };
        let errno_before = *errno;
        // SAFETY: the eight bytes of `one` are valid for reading. A failure can only be EAGAIN,
        // a counter at its maximum, and then the bell is ringing already.
        unsafe { libc::write(self.0.as_raw_fd(), (&raw const one).cast(), size_of::<u64>()) };
        *errno = errno_before;
    }

    /// Silences a non-blocking bell.
    pub(crate) fn silence(&self) {
        let mut count: u64 = 0;
        // SAFETY: `count` is valid for writing eight bytes. EAGAIN means that it was silent.
        unsafe { libc::read(self.0.as_raw_fd(), (&raw mut count).cast(), size_of::<u64>()) };
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
