//! The ring itself: set up with the richest flags this machine takes, entered once per turn.
//!
//! Knows nothing of connections and files. Submissions are queued by [`Ring::push`] and [`Ring::push_linked`] and never lost: what does
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
    backlog: VecDeque<Queued>,
    /// How often the kernel took a part of what was submitted.
    cuts: u64,
    /// What the machine has and what it lacks.
    pub(super) traits: Traits,
}

/// What did not fit.
enum Queued {
    One(squeue::Entry),
    /// Two that are submitted by one call: a link ends where a submission ends.
    Linked([squeue::Entry; 2]),
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
        let mut ring = Ring { enter_fd: ring.as_raw_fd(), enter_flags: 0, ring, backlog: VecDeque::new(), cuts: 0, traits };
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
        // SAFETY: by this function's contract.
        if self.backlog.is_empty() && unsafe { self.ring.submission().push(&entry) }.is_ok() {
            return;
        }
        // SAFETY: by this function's contract.
        unsafe { self.queue(Queued::One(entry)) };
    }

    /// Queues two submissions, the second to begin when the first was done as a whole, and to be cancelled where it was not. They are linked
    /// as long as the kernel takes all that is submitted; where it did not, [`Ring::cuts`] has counted on.
    ///
    /// # Safety
    /// As for [`Ring::push`].
    pub(super) unsafe fn push_linked(&mut self, [first, second]: [squeue::Entry; 2]) {
        // SAFETY: by this function's contract.
        unsafe { self.queue(Queued::Linked([first.flags(squeue::Flags::IO_LINK), second])) };
    }

    /// How often the kernel took only a part of what was submitted, which may have parted two that were linked.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts
    }

    /// # Safety
    /// As for [`Ring::push`].
    unsafe fn queue(&mut self, queued: Queued) {
        if self.backlog.is_empty() {
            // SAFETY: by this function's contract.
            if unsafe { self.fits(&queued) } {
                return;
            }
            // Full: let the kernel take what is there. Completions are not reaped here.
            let count = self.queued();
            // SAFETY: by this function's contract.
            if self.call(count, 0, 0, None).is_ok() && unsafe { self.fits(&queued) } {
                return;
            }
        }
        self.backlog.push_back(queued);
    }

    /// Puts it into the submission queue if all of it fits.
    ///
    /// # Safety
    /// As for [`Ring::push`].
    unsafe fn fits(&mut self, queued: &Queued) -> bool {
        let mut submission = self.ring.submission();
        // SAFETY: by this function's contract.
        let pushed = unsafe {
            match queued {
                Queued::One(entry) => submission.push(entry),
                Queued::Linked(entries) => submission.push_multiple(entries),
            }
        };
        pushed.is_ok()
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
        while let Some(queued) = self.backlog.pop_front() {
            // SAFETY: whoever pushed it promised for its memory.
            if !unsafe { self.fits(&queued) } {
                return self.backlog.push_front(queued);
            }
        }
    }

    fn queued(&mut self) -> u32 {
        self.ring.submission().len() as u32
    }

    fn call(&mut self, queued: u32, wanted: u32, flags: u32, timeout: Option<&KernelTimespec>) -> io::Result<()> {
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
        if done < 0 {
            return Err(io::Error::last_os_error());
        }
        self.cuts += u64::from(done < i64::from(queued));
        Ok(())
    }

    /// Bytes mapped for the two queues.
    pub(super) fn memory_bytes(&self) -> usize {
        SUBMISSIONS_MAX as usize * size_of::<squeue::Entry>()
            + COMPLETIONS_MAX as usize * size_of::<cqueue::Entry>()
            + self.backlog.capacity() * size_of::<Queued>()
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

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: u64 = 1;
    const SECOND: u64 = 2;
    const FILLER: u64 = 3;

    fn nop(user_data: u64) -> squeue::Entry {
        opcode::Nop::new().build().user_data(user_data)
    }

    /// A pair whose first fails, so that the second is cancelled if and only if it is linked to it.
    fn pair() -> [squeue::Entry; 2] {
        let no_file = io_uring::types::Fd(-1);
        [opcode::Fsync::new(no_file).build().user_data(FIRST), nop(SECOND)]
    }

    /// Submits everything; returns what so many completions said to each second one of a pair.
    fn seconds(ring: &mut Ring, mut completions: usize) -> Vec<i32> {
        let mut seconds = Vec::new();
        while completions > 0 {
            ring.enter(Wait::Forever).unwrap();
            while let Some(completion) = ring.pop() {
                completions -= 1;
                match completion.user_data() {
                    FIRST => assert_eq!(completion.result(), -libc::EBADF),
                    SECOND => seconds.push(completion.result()),
                    _ => assert_eq!(completion.result(), 0),
                }
            }
        }
        seconds
    }

    #[test]
    fn a_link_holds_where_the_queue_is_almost_full() {
        let mut ring = Ring::set_up(Without::default()).expect("this machine allows io_uring");
        let fillers = SUBMISSIONS_MAX as usize - 1;
        for _ in 0..fillers {
            // SAFETY: it points to no memory.
            unsafe { ring.push(nop(FILLER)) };
        }
        // SAFETY: they point to no memory.
        unsafe { ring.push_linked(pair()) };
        assert_eq!(seconds(&mut ring, fillers + 2), [-libc::ECANCELED]);
        assert_eq!(ring.cuts(), 0);
    }

    #[test]
    fn a_link_holds_on_its_way_through_the_backlog() {
        let mut ring = Ring::set_up(Without::default()).expect("this machine allows io_uring");
        let rounds = SUBMISSIONS_MAX as usize;
        for _ in 0..rounds {
            ring.backlog.push_back(Queued::One(nop(FILLER)));
            let [first, second] = pair();
            ring.backlog.push_back(Queued::Linked([first.flags(squeue::Flags::IO_LINK), second]));
        }
        assert_eq!(seconds(&mut ring, 3 * rounds), vec![-libc::ECANCELED; rounds]);
    }
}
