//! What the generator asks of its own machine: which CPUs it may use, where its threads run, how much CPU they spent.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// CPUs this process may run on, ascending.
pub(crate) fn cpus_allowed() -> Vec<usize> {
    // SAFETY: `cpu_set_t` is plain bits for which all zero is valid; the call fills it within the size given.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) != 0 {
            return (0..std::thread::available_parallelism().map_or(1, |count| count.get())).collect();
        }
        set
    };
    // SAFETY: `cpu` is below the number of bits in the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Keeps the calling thread on `cpu`.
pub(crate) fn pin(cpu: usize) -> std::io::Result<()> {
    // SAFETY: `cpu` is below the set's size (checked), and the set is valid for the call.
    let failed = unsafe {
        if cpu >= libc::CPU_SETSIZE as usize {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) != 0
    };
    if failed { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets the calling thread wake within a microsecond of its timeout instead of the usual 50.
pub(crate) fn wake_precisely() {
    // SAFETY: the call takes plain numbers. Where it is refused, wake-ups are merely later, and lateness is reported.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1usize, 0usize, 0usize, 0usize) };
}

/// CPU time the calling thread has used.
pub(crate) fn thread_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Raises the limit on open files to what the machine allows and returns it.
pub(crate) fn files_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for both calls.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 {
            return 1024;
        }
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, rlim_max: limit.rlim_max };
        if libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 {
            return raised.rlim_cur;
        }
    }
    limit.rlim_cur
}

/// Set by the first SIGINT: runs end early and still report.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Whether SIGINT came.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// From here on the first SIGINT asks for an early end; the second ends the process as usual.
pub(crate) fn watch_interrupt() {
    extern "C" fn on_interrupt(_: libc::c_int) {
        INTERRUPTED.store(true, Ordering::Relaxed);
        // SAFETY: signal() may be called from a handler.
        unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    }
    let handler: extern "C" fn(libc::c_int) = on_interrupt;
    // SAFETY: the handler only stores to an atomic and calls async-signal-safe functions.
    unsafe { libc::signal(libc::SIGINT, handler as libc::sighandler_t) };
}
