//! The signals that ask a process to stop, taken by one thread in the ordinary way of a function that returns.

use std::io;
use std::mem;
use std::ptr;

/// `SIGTERM` and `SIGINT`, blocked for the calling thread and every thread it starts later.
pub struct StopSignals(libc::sigset_t);

impl StopSignals {
    /// Blocks them. Call before any thread starts. Also ignores `SIGPIPE`: a peer that goes is an error of one send.
    pub fn block() -> io::Result<StopSignals> {
        // SAFETY: the set is initialised by sigemptyset before it is used; the calls only read and write that set and the
        // calling thread's mask. SIG_IGN is a valid disposition for SIGPIPE.
        let (result, set) = unsafe {
            let mut set: libc::sigset_t = mem::zeroed();
            libc::sigemptyset(&mut set);
            libc::sigaddset(&mut set, libc::SIGTERM);
            libc::sigaddset(&mut set, libc::SIGINT);
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            (libc::pthread_sigmask(libc::SIG_BLOCK, &set, ptr::null_mut()), set)
        };
        if result == 0 { Ok(StopSignals(set)) } else { Err(io::Error::from_raw_os_error(result)) }
    }

    /// Waits for the next one. Its name.
    pub fn wait(&self) -> io::Result<&'static str> {
        let mut signal = 0;
        // SAFETY: the set was initialised in `block`, and `signal` outlives the call.
        let result = unsafe { libc::sigwait(&self.0, &mut signal) };
        match (result, signal) {
            (0, libc::SIGINT) => Ok("SIGINT"),
            (0, _) => Ok("SIGTERM"),
            (error, _) => Err(io::Error::from_raw_os_error(error)),
        }
    }
}
