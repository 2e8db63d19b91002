//! The ring itself: set up with the richest flags this machine takes, entered once per turn.
//!
//! Knows nothing of connections. Submissions are queued by [`Ring::push`] and never lost: what does
//! not fit waits in a backlog and goes with a later call.

use crate::facts::Feature;
use crate::kernel::Wait;
use crate::options::Without;
use io_uring::{IoUring, Probe, cqueue, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

/// See the module's head.
pub(super) struct Ring {
    ring: IoUring,
    /// What `io_uring_enter` takes as its descriptor: the registered index, or the descriptor itself.
    enter_fd: i32,
    enter_flags: u32,
    backlog: VecDeque<squeue::Entry>,
    /// What the machine has and what it lacks.
    pub(super) traits: Traits,
}

/// What was found when the ring was set up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traits {
    pub(super) single_issuer: bool,
    pub(super) deferred_task_work: bool,
    pub(super) cooperative_task_work: bool,
    pub(super) submit_all: bool,
    pub(super) registered_ring: bool,
    pub(super) ring_messages: bool,
    pub(super) skip_success: bool,
    pub(super) multishot_receive: bool,
}

/// Submissions of one turn. More are submitted in several calls.
const SUBMISSIONS_MAX: u32 = 512;
/// Completions the ring holds; beyond that the kernel keeps them in a list of its own, which costs.
const COMPLETIONS_MAX: u32 = 4096;
const _: () = assert!(SUBMISSIONS_MAX <= COMPLETIONS_MAX);

const ENTER_GETEVENTS: u32 = 1 << 0;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;

/// `struct io_uring_getevents_arg`.
#[repr(C)]
struct GetEventsArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timeout: u64,
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

impl Ring {
    /// Sets up a ring, leaving out flag after flag until the kernel takes the rest.
    ///
    /// The calling thread is the only one that may use it from here on.
    pub(super) fn set_up(without: Without) -> io::Result<Ring> {
        let mut traits = Traits {
            single_issuer: true,
            deferred_task_work: !without.deferred_task_work,
            cooperative_task_work: true,
            submit_all: true,
            ..Traits::default()
        };
        let ring = loop {
            match build(&traits) {
                Ok(ring) => break ring,
                // Newest first: each of these is younger than all that stand below it.
                Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                    if std::mem::take(&mut traits.deferred_task_work)
                        || std::mem::take(&mut traits.single_issuer)
                        || std::mem::take(&mut traits.cooperative_task_work)
                        || std::mem::take(&mut traits.submit_all)
                    {
                        continue;
                    }
                    return Err(e);
                }
                Err(e) => return Err(e),
            }
        };
        let params = ring.params();
        if !params.is_feature_ext_arg() || !params.is_feature_nodrop() || !params.is_feature_fast_poll() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        traits.skip_success = params.is_feature_skip_cqe_on_success();
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        traits.ring_messages = probe.is_supported(opcode::MsgRingData::CODE) && !without.ring_messages;
        let mut ring = Ring { enter_fd: ring.as_raw_fd(), enter_flags: 0, ring, backlog: VecDeque::new(), traits };
        if !without.registered_ring
            && let Ok(index) = register_ring_descriptor(ring.ring.as_raw_fd())
        {
            ring.enter_fd = index;
            ring.enter_flags = ENTER_REGISTERED_RING;
            ring.traits.registered_ring = true;
        }
        Ok(ring)
    }

    pub(super) fn inner(&self) -> &IoUring {
        &self.ring
    }

    pub(super) fn fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }

    /// Queues a submission for the next [`Ring::enter`].
    ///
    /// # Safety
    /// Whatever memory the entry points to stays valid, and untouched by us, until its completion was seen.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: by this function's contract.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            // Full: let the kernel take what is there. Completions are not reaped here.
            let queued = self.queued();
            if self.call(queued, 0, 0, None).is_ok() {
                // SAFETY: by this function's contract.
                if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                    return;
                }
            }
        }
        self.backlog.push_back(entry);
    }

    /// Whether a completion can be had without a system call.
    pub(super) fn has_completions(&mut self) -> bool {
        !self.ring.completion().is_empty()
    }

    /// The next completion.
    pub(super) fn pop(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    /// Submits what is queued, lets the kernel finish what it deferred, and waits as told for the
    /// first completion. Costs no system call when there is nothing to do and nothing to wait for.
    pub(super) fn enter(&mut self, wait: Wait) -> io::Result<()> {
        loop {
            let queued = self.queued();
            let wanted = u32::from(!matches!(wait, Wait::Poll));
            let submission = self.ring.submission();
            let pending = submission.taskrun() || submission.cq_overflow();
            drop(submission);
            // Without the flag that tells of deferred work, only a call can find out.
            let blind = !self.traits.cooperative_task_work && !self.traits.deferred_task_work;
            if queued == 0 && wanted == 0 && !pending && !blind {
                return Ok(());
            }
            let timeout = match wait {
                Wait::AtMost(duration) => Some(KernelTimespec {
                    seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
                    nanoseconds: i64::from(duration.subsec_nanos()),
                }),
                Wait::Poll | Wait::Forever => None,
            };
            // More is in the backlog: submit first, wait in the next round.
            let wanted = if self.backlog.is_empty() { wanted } else { 0 };
            match self.call(queued, wanted, ENTER_GETEVENTS, timeout.as_ref()) {
                Ok(()) => {}
                Err(e) => match e.raw_os_error() {
                    // Time is up, a signal came, or the kernel wants completions reaped first.
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => return Ok(()),
                    _ => return Err(e),
                },
            }
            if self.backlog.is_empty() {
                return Ok(());
            }
            self.drain_backlog();
        }
    }

    fn drain_backlog(&mut self) {
        while let Some(entry) = self.backlog.front() {
            // SAFETY: whoever pushed the entry promised for its memory.
            if unsafe { self.ring.submission().push(entry) }.is_err() {
                return;
            }
            self.backlog.pop_front();
        }
    }

    fn queued(&mut self) -> u32 {
        self.ring.submission().len() as u32
    }

    fn call(&self, queued: u32, wanted: u32, flags: u32, timeout: Option<&KernelTimespec>) -> io::Result<()> {
        let arg =
            GetEventsArg { sigmask: 0, sigmask_bytes: 0, min_wait_us: 0, timeout: timeout.map_or(0, |t| std::ptr::from_ref(t) as u64) };
        let (flags, arg_at, arg_bytes) = match timeout {
            Some(_) => (flags | ENTER_EXT_ARG, &raw const arg, size_of::<GetEventsArg>()),
            None => (flags, std::ptr::null(), 0),
        };
        // SAFETY: the descriptor is our ring; `arg` and the timespec it points to outlive the call; the
        // queued submissions are valid by the contract of `push`.
        let done =
            unsafe { libc::syscall(libc::SYS_io_uring_enter, self.enter_fd, queued, wanted, flags | self.enter_flags, arg_at, arg_bytes) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Bytes mapped for the two queues.
    pub(super) fn memory_bytes(&self) -> usize {
        SUBMISSIONS_MAX as usize * size_of::<squeue::Entry>()
            + COMPLETIONS_MAX as usize * size_of::<cqueue::Entry>()
            + self.backlog.capacity() * size_of::<squeue::Entry>()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.traits.registered_ring {
            // A registered descriptor keeps the ring alive until its thread ends.
            unregister_ring_descriptor(self.ring.as_raw_fd(), self.enter_fd);
        }
    }
}

impl Traits {
    /// In the words of `Facts`.
    pub(super) fn features(&self) -> Vec<Feature> {
        let feature = |name, present, remark| Feature { name, present, remark: if present { "" } else { remark } };
        vec![
            feature("single issuer", self.single_issuer, "Linux 6.0 brings it; costs a little locking"),
            feature("deferred task work", self.deferred_task_work, "Linux 6.1 brings it; completions interrupt other work of the core"),
            feature("cooperative task work", self.cooperative_task_work, "Linux 5.19 brings it; completions arrive by interrupt"),
            feature("submit all", self.submit_all, "Linux 5.18 brings it; a refused submission costs one more call"),
            feature("registered ring", self.registered_ring, "Linux 5.18 brings it; every call looks the ring's descriptor up"),
            // Without it there is no ring at all, see `Refused`.
            feature("provided-buffer ring", true, ""),
            feature("multishot receive", self.multishot_receive, "Linux 6.0 brings it; every receive is asked for one by one"),
            feature("ring messages", self.ring_messages, "Linux 5.18 brings it; cores wake each other through an eventfd"),
        ]
    }
}

fn build(traits: &Traits) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.setup_cqsize(COMPLETIONS_MAX).setup_clamp();
    if traits.single_issuer {
        builder.setup_single_issuer();
    }
    if traits.deferred_task_work {
        builder.setup_defer_taskrun();
    }
    if traits.cooperative_task_work {
        builder.setup_coop_taskrun().setup_taskrun_flag();
    }
    if traits.submit_all {
        builder.setup_submit_all();
    }
    builder.build(SUBMISSIONS_MAX)
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// By hand because the crate's submitter forgets the index between calls.
fn register_ring_descriptor(fd: RawFd) -> io::Result<i32> {
    const REGISTER_RING_FDS: libc::c_uint = 20;
    let mut update = Update { offset: u32::MAX, reserved: 0, data: fd as u64 };
    // SAFETY: `update` is one valid entry and outlives the call, which writes the index into it.
    let done = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_RING_FDS, &raw mut update, 1) };
    if done != 1 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(update.offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

fn unregister_ring_descriptor(fd: RawFd, index: i32) {
    const UNREGISTER_RING_FDS: libc::c_uint = 21;
    let update = Update { offset: index as u32, reserved: 0, data: 0 };
    // SAFETY: `update` is one valid entry and outlives the call. A failure leaves the entry to the thread's end.
    unsafe { libc::syscall(libc::SYS_io_uring_register, fd, UNREGISTER_RING_FDS, &raw const update, 1) };
}
