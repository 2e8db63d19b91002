//! The io_uring backend: one ring per core, entered once per turn.
//!
//! Promises of this backend, beyond the trait's:
//! - Connections are accepted and received from by multishot requests into a ring of provided buffers:
//!   in the steady state a turn costs one system call for all receives of all connections, and an idle
//!   connection owns no buffer.
//! - A direct `send` goes past the ring, because on a socket with room it is cheaper than a submission;
//!   only rests are submitted.
//! - Files are read, written and synced on the same ring. Whatever else is done to a file blocks, and is left to a thread.
//! - A connection's slot, descriptor and rest stay until the kernel has completed every request that
//!   names them, and so do a file and its buffer. Completions carry operation, generation and index, so none is ever taken for another's.
//! - An empty buffer pool pauses receiving, an empty descriptor table pauses accepting; neither spins and
//!   neither loses anything.
//!
//! It allocates nothing per event; slots, queues and lists grow to their high-water mark and stay.

mod buffers;
mod file;
mod ring;

use crate::address::{bound_address, peer_address};
use crate::bell::Bell;
use crate::chance::machine_entropy;
use crate::choice::Refused;
use crate::clock::{MonotonicNs, Now};
use crate::facts::{Facts, machine_release};
use crate::file::FileRequest;
use crate::files::Files;
use crate::kernel::{BufferId, ConnId, Event, Kernel, Listen, ListenError, ListenerId, Sent, Wait, Wake};
use crate::listener::Listener;
use crate::options::Options;
use crate::slab::Slab;
use crate::stream::send_now;
use buffers::{BUFFER_GROUP, Buffers};
use file::{Operation, OperationId};
use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue};
use ring::Ring;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// One core's io_uring. Belongs to the thread that opened it.
pub struct Uring {
    /// Everything the kernel may write to while a request is under way; leaked rather than freed if it cannot be stopped.
    machine: ManuallyDrop<Machine>,
    shared: Arc<Shared>,
    wake_targets: Vec<Arc<Shared>>,
    options: Options,
    listeners: Vec<Accepting>,
    /// Connections that found the pool empty, in the order they did.
    starved: VecDeque<ConnId>,
    /// Events that were known before the turn.
    ready: Vec<Event>,
    rest_bytes: usize,
    files: Files,
    /// Requests whose last completion is still to come.
    requests_under_way: usize,
    woken_in_turn: bool,
    /// Completions are only waited for, and lead to nothing new.
    dropping: bool,
    now: Now,
    facts: Facts,
    /// The kernel insists on one submitting thread.
    _one_thread: PhantomData<*mut ()>,
}

struct Machine {
    ring: Ring,
    buffers: Buffers,
    conns: Slab<Conn>,
    /// Reads, writes and syncs of files.
    operations: Slab<Operation, OperationId>,
    /// Where the kernel puts the bell's count.
    bell_count: Box<u64>,
}

struct Conn {
    fd: OwnedFd,
    rest: Option<Rest>,
    /// A receive is submitted or queued for submission.
    receive_armed: bool,
    /// The core wants to receive.
    receive_wanted: bool,
    /// It is new, or was paused because it sent more than was wanted: one buffer at a time is asked for, until one is
    /// almost empty. A multishot receive would fill the whole pool before a pause takes effect.
    greedy: bool,
    /// The stream has ended; it is never received from again.
    ended: bool,
    /// Waits in `starved`.
    starved: bool,
    /// The core closed it; it goes when nothing is under way any more.
    closing: bool,
}

struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

struct Accepting {
    /// `None` once stopped and no accept is under way.
    listener: Option<Listener>,
    armed: bool,
    multishot: bool,
    stopping: bool,
    /// Descriptors ran out: accept again from this moment on.
    again_at: Option<MonotonicNs>,
}

/// What wakers of one core hold.
#[derive(Debug)]
struct Shared {
    bell: Bell,
    /// The ring's descriptor, -1 once it is closed.
    ring_fd: AtomicI32,
}

/// Wakes a core that runs on [`Uring`].
#[derive(Clone, Debug)]
pub struct UringWaker(Arc<Shared>);

/// How long accepting pauses when the process or the machine has no descriptor left. Short enough for
/// the backlog to hold what arrives meanwhile, long enough to cost nothing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Most bytes one send request carries; its result must fit 31 bits.
const SEND_BYTES_MAX: usize = 1 << 30;
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;

/// What a completion is about: the topmost byte of its user data.
mod op {
    pub(super) const ACCEPT: u8 = 1;
    pub(super) const RECEIVE: u8 = 2;
    pub(super) const SEND: u8 = 3;
    pub(super) const CANCEL: u8 = 4;
    pub(super) const BELL: u8 = 5;
    /// A ring message from another core.
    pub(super) const WOKEN: u8 = 6;
    /// A ring message of ours that failed.
    pub(super) const WAKE: u8 = 7;
    pub(super) const PROBE: u8 = 8;
    pub(super) const FILE_READ: u8 = 9;
    pub(super) const FILE_WRITE: u8 = 10;
    pub(super) const FILE_SYNC: u8 = 11;
}

const GENERATION_BITS: u32 = 24;
const GENERATION_MASK: u32 = (1 << GENERATION_BITS) - 1;

const fn token(op: u8, id: ConnId) -> u64 {
    (op as u64) << 56 | ((id.generation & GENERATION_MASK) as u64) << 32 | id.index as u64
}

const fn token_plain(op: u8, index: u32) -> u64 {
    token(op, ConnId { index, generation: 0 })
}

impl Uring {
    /// Opens a ring for the calling thread.
    pub fn open(options: Options) -> Result<Uring, Refused> {
        crate::stamp::calibrate();
        options.assert_possible();
        let refused = |step: &'static str| move |cause: io::Error| Refused::new(step, cause);
        let mut ring = Ring::set_up(options.without).map_err(refused("set up a ring"))?;
        let buffers = Buffers::register(ring.inner(), options.receive_buffers, options.receive_buffer_bytes)
            .map_err(refused("register a provided-buffer ring"))?;
        let bell = Bell::new(0).map_err(refused("open an eventfd"))?;
        let shared = Arc::new(Shared { bell, ring_fd: AtomicI32::new(ring.fd()) });
        ring.traits.multishot_receive = false;
        let mut kernel = Uring {
            machine: ManuallyDrop::new(Machine { ring, buffers, conns: Slab::new(), operations: Slab::new(), bell_count: Box::new(0) }),
            files: Files::new(UringWaker(Arc::clone(&shared))),
            shared,
            wake_targets: Vec::new(),
            listeners: Vec::new(),
            starved: VecDeque::new(),
            ready: Vec::new(),
            rest_bytes: 0,
            requests_under_way: 0,
            woken_in_turn: false,
            dropping: false,
            now: Now::of_machine(),
            facts: Facts { backend: "io_uring", release: machine_release(), stepped_down: None, features: Vec::new() },
            options,
            _one_thread: PhantomData,
        };
        if !kernel.options.without.multishot {
            let found = kernel.probe_multishot_receive().map_err(refused("receive"))?;
            kernel.machine.ring.traits.multishot_receive = found;
        }
        kernel.facts.features = kernel.machine.ring.traits.features();
        kernel.arm_bell();
        Ok(kernel)
    }

    /// Tries it: no version number and no opcode table tells of it.
    fn probe_multishot_receive(&mut self) -> io::Result<bool> {
        let (ours, peer) = UnixStream::pair()?;
        self.machine.buffers.offer();
        let receive = opcode::RecvMulti::new(Fd(ours.as_raw_fd()), BUFFER_GROUP).build();
        self.push(receive.user_data(token_plain(op::PROBE, 0)), true);
        io::Write::write_all(&mut &peer, b"?")?;
        drop(peer);
        let mut found = false;
        // One completion with the byte, one for the end; a refusal is one.
        while self.requests_under_way > 0 {
            self.machine.ring.enter(Wait::AtMost(Duration::from_secs(1)))?;
            while let Some(completion) = self.machine.ring.pop() {
                let more = cqueue::more(completion.flags());
                self.requests_under_way -= usize::from(!more);
                found |= more && completion.result() == 1;
                if let Some(piece) = cqueue::buffer_select(completion.flags()) {
                    self.machine.buffers.discard(piece);
                }
            }
        }
        Ok(found)
    }

    /// Queues a request. `counted` ones have a last completion that is waited for when closing.
    fn push(&mut self, entry: squeue::Entry, counted: bool) {
        self.requests_under_way += usize::from(counted);
        // SAFETY: receives point to no memory of ours but the pool, sends to a rest that stays in its slot until
        // the completion, transfers of files to a buffer that stays in its operation, the bell's read to `bell_count`; all of it is in
        // `machine`, which is freed only when no request is under way. Cancels, syncs and ring messages carry no pointers.
        unsafe { self.machine.ring.push(entry) };
    }

    /// Queues two requests, the second to begin when the first is done. Both are counted.
    fn push_linked(&mut self, entries: [squeue::Entry; 2]) {
        self.requests_under_way += entries.len();
        // SAFETY: as above.
        unsafe { self.machine.ring.push_linked(entries) };
    }

    /// Queues a request whose success is of no interest.
    fn push_unwatched(&mut self, entry: squeue::Entry) {
        let skip = self.machine.ring.traits.skip_success;
        let flags = if skip { squeue::Flags::SKIP_SUCCESS } else { squeue::Flags::empty() };
        self.push(entry.flags(flags), false);
    }

    fn arm_bell(&mut self) {
        let into = &raw mut *self.machine.bell_count;
        let read = opcode::Read::new(Fd(self.shared.bell.fd()), into.cast(), size_of::<u64>() as u32).build();
        self.push(read.user_data(token_plain(op::BELL, 0)), true);
    }

    fn arm_accept(&mut self, index: usize) {
        let accepting = &mut self.listeners[index];
        let Some(listener) = &accepting.listener else { return };
        assert!(!accepting.armed && !accepting.stopping);
        accepting.armed = true;
        accepting.again_at = None;
        let fd = Fd(listener.fd());
        let accept = if accepting.multishot {
            opcode::AcceptMulti::new(fd).flags(libc::SOCK_CLOEXEC).build()
        } else {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut()).flags(libc::SOCK_CLOEXEC).build()
        };
        self.push(accept.user_data(token_plain(op::ACCEPT, index as u32)), true);
    }

    fn arm_receive(&mut self, id: ConnId) {
        let can_multishot = self.machine.ring.traits.multishot_receive;
        let conn = self.machine.conns.get_mut(id).expect("only live connections are armed");
        assert!(!conn.receive_armed && !conn.closing && !conn.ended);
        let multishot = can_multishot && !conn.greedy;
        conn.receive_armed = true;
        let fd = Fd(conn.fd.as_raw_fd());
        let receive = if multishot {
            opcode::RecvMulti::new(fd, BUFFER_GROUP).build()
        } else {
            // The length is bounded by the buffer the kernel picks.
            opcode::Recv::new(fd, std::ptr::null_mut(), self.options.receive_buffer_bytes)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
        };
        self.push(receive.user_data(token(op::RECEIVE, id)), true);
    }

    fn arm_send(&mut self, id: ConnId) {
        let conn = self.machine.conns.get(id).expect("only live connections send");
        let rest = conn.rest.as_ref().expect("there is a rest to send");
        let unsent = &rest.bytes[rest.sent..];
        let bytes = unsent.len().min(SEND_BYTES_MAX) as u32;
        let send = opcode::Send::new(Fd(conn.fd.as_raw_fd()), unsent.as_ptr(), bytes).flags(SEND_FLAGS).build();
        self.push(send.user_data(token(op::SEND, id)), true);
    }

    fn cancel(&mut self, op: u8, id: ConnId) {
        let cancel = opcode::AsyncCancel::new(token(op, id)).build();
        self.push_unwatched(cancel.user_data(token(op::CANCEL, id)));
    }

    fn complete(&mut self, completion: &cqueue::Entry, events: &mut Vec<Event>) {
        let user_data = completion.user_data();
        let (result, flags) = (completion.result(), completion.flags());
        let index = user_data as u32;
        let last = !cqueue::more(flags);
        match (user_data >> 56) as u8 {
            op::RECEIVE => {
                self.requests_under_way -= usize::from(last);
                let id = self.conn_of(user_data);
                self.received(id, result, flags, events);
            }
            op::SEND => {
                self.requests_under_way -= 1;
                let id = self.conn_of(user_data);
                self.sent(id, result, events);
            }
            op::ACCEPT => {
                self.requests_under_way -= usize::from(last);
                self.accepted(index, result, last, events);
            }
            op::CANCEL => {
                // ENOENT: it completed by itself, or it is between two of its receives, where nobody finds it. Anything
                // else that names a closing connection means the request runs on; ending the stream makes it complete.
                let gone = result >= 0 || result == -libc::ENOENT;
                if let Some(id) = self.find(user_data)
                    && let Some(conn) = self.machine.conns.get(id)
                {
                    if conn.closing && !gone {
                        // SAFETY: shutdown takes no pointers; the descriptor is open as long as its slot.
                        unsafe { libc::shutdown(conn.fd.as_raw_fd(), libc::SHUT_RDWR) };
                    } else if !conn.receive_wanted && conn.receive_armed && result < 0 {
                        // A paused peer that sends without a break must not be able to outrun its cancel.
                        self.cancel(op::RECEIVE, id);
                    }
                }
            }
            op::BELL => {
                self.requests_under_way -= 1;
                self.woken(events);
                self.arm_bell();
            }
            op::WOKEN => self.woken(events),
            op::WAKE => {
                if result < 0 {
                    self.wake_targets[index as usize].bell.ring();
                }
            }
            op @ (op::FILE_READ | op::FILE_WRITE | op::FILE_SYNC) => self.operation_completed(op, index, result, events),
            other => unreachable!("a completion of an unknown operation {other}"),
        }
    }

    fn find(&self, user_data: u64) -> Option<ConnId> {
        let id = self.machine.conns.id_at(user_data as u32)?;
        let generation = (user_data >> 32) as u32 & GENERATION_MASK;
        (id.generation & GENERATION_MASK == generation).then_some(id)
    }

    /// The connection a receive or send belongs to, whose slot waits for exactly this completion.
    fn conn_of(&self, user_data: u64) -> ConnId {
        self.find(user_data).expect("a slot stays until its requests are complete")
    }

    fn received(&mut self, id: ConnId, result: i32, flags: u32, events: &mut Vec<Event>) {
        let machine = &mut *self.machine;
        let conn = machine.conns.get_mut(id).expect("found a moment ago");
        let piece = cqueue::buffer_select(flags);
        if !cqueue::more(flags) {
            conn.receive_armed = false;
        }
        if (conn.closing || result <= 0)
            && let Some(piece) = piece
        {
            machine.buffers.discard(piece);
        }
        if conn.closing {
            return self.finish_close(id);
        }
        match result {
            1.. => {
                let piece = piece.expect("bytes arrive in a provided buffer");
                // A buffer that is almost empty was the last of what had piled up; one that is half full may be a pause for breath.
                conn.greedy &= result as u32 >= self.options.receive_buffer_bytes / 8;
                let buffer = machine.buffers.lend(piece, result as usize);
                events.push(Event::Received { conn: id, buffer });
            }
            0 => {
                conn.ended = true;
                events.push(Event::Ended { conn: id, error: None });
            }
            _ => match -result {
                libc::ENOBUFS => {
                    machine.buffers.fell_short();
                    if !conn.starved {
                        conn.starved = true;
                        self.starved.push_back(id);
                    }
                }
                libc::ECANCELED | libc::EINTR | libc::EAGAIN => {}
                errno => {
                    conn.ended = true;
                    events.push(Event::Ended { conn: id, error: Some(io::Error::from_raw_os_error(errno).kind()) });
                }
            },
        }
        if conn.may_arm() {
            self.arm_receive(id);
        }
    }

    fn sent(&mut self, id: ConnId, result: i32, events: &mut Vec<Event>) {
        let conn = self.machine.conns.get_mut(id).expect("found a moment ago");
        let rest = conn.rest.as_mut().expect("a send has a rest");
        let result = if conn.closing {
            Err(io::ErrorKind::ConnectionAborted)
        } else if result > 0 {
            rest.sent += result as usize;
            assert!(rest.sent <= rest.bytes.len());
            if rest.sent < rest.bytes.len() {
                return self.arm_send(id);
            }
            Ok(())
        } else if result == 0 {
            Err(io::ErrorKind::WriteZero)
        } else if matches!(-result, libc::EINTR | libc::EAGAIN) {
            return self.arm_send(id);
        } else {
            Err(io::Error::from_raw_os_error(-result).kind())
        };
        let Rest { bytes, .. } = conn.rest.take().expect("seen a moment ago");
        self.rest_bytes -= bytes.capacity();
        let closing = conn.closing;
        events.push(Event::SentRest { conn: id, bytes, result });
        if closing {
            self.finish_close(id);
        }
    }

    fn accepted(&mut self, index: u32, result: i32, last: bool, events: &mut Vec<Event>) {
        let accepting = &mut self.listeners[index as usize];
        if last {
            accepting.armed = false;
        }
        let stopping = accepting.stopping;
        if stopping && last {
            accepting.listener = None;
        }
        if result >= 0 {
            // SAFETY: the kernel just opened this descriptor for us.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            if !stopping {
                let id = self.machine.conns.insert(Conn {
                    fd,
                    rest: None,
                    receive_armed: false,
                    receive_wanted: true,
                    greedy: true,
                    ended: false,
                    starved: false,
                    closing: false,
                });
                self.arm_receive(id);
                events.push(Event::Accepted { listener: ListenerId(index), conn: id });
            }
        }
        if stopping || !last {
            return;
        }
        match -result {
            ..=0 | libc::EINTR | libc::EAGAIN | libc::ECONNABORTED | libc::ECANCELED => self.arm_accept(index as usize),
            libc::EINVAL if self.listeners[index as usize].multishot => {
                self.listeners[index as usize].multishot = false;
                self.arm_accept(index as usize);
            }
            // No descriptors, no memory: a new try at once would fail at once.
            _ => {
                let again_at = MonotonicNs(self.now.monotonic.0 + ACCEPT_PAUSE.as_nanos() as u64);
                self.listeners[index as usize].again_at = Some(again_at);
            }
        }
    }

    fn woken(&mut self, events: &mut Vec<Event>) {
        if !self.woken_in_turn {
            self.woken_in_turn = true;
            events.push(Event::Woken);
        }
    }

    /// Closes the descriptor of a closing connection once no request names it.
    fn finish_close(&mut self, id: ConnId) {
        let conn = self.machine.conns.get(id).expect("closing connections keep their slot");
        assert!(conn.closing);
        if !conn.receive_armed && conn.rest.is_none() {
            self.machine.conns.remove(id);
        }
    }

    /// Lets connections that found the pool empty receive again, as many as there are buffers.
    fn feed_starved(&mut self) {
        for _ in 0..self.machine.buffers.offered_count() {
            let Some(id) = self.starved.pop_front() else { return };
            // The name may have died meanwhile.
            if let Some(conn) = self.machine.conns.get_mut(id) {
                conn.starved = false;
                if conn.may_arm() {
                    self.arm_receive(id);
                }
            }
        }
    }

    /// Accepts again where the pause is over. Returns when the next pause ends.
    fn resume_accepting(&mut self) -> Option<MonotonicNs> {
        if self.listeners.iter().all(|accepting| accepting.again_at.is_none()) {
            return None;
        }
        let now = Now::of_machine().monotonic;
        for index in 0..self.listeners.len() {
            if self.listeners[index].again_at.is_some_and(|at| at <= now) {
                self.arm_accept(index);
            }
        }
        self.listeners.iter().filter_map(|accepting| accepting.again_at).min()
    }

    fn open_conn(&self, id: ConnId) -> Option<&Conn> {
        self.machine.conns.get(id).filter(|conn| !conn.closing)
    }
}

impl Conn {
    fn may_arm(&self) -> bool {
        self.receive_wanted && !self.receive_armed && !self.ended && !self.starved && !self.closing
    }
}

impl Kernel for Uring {
    type Waker = UringWaker;

    fn listen(&mut self, at: &Listen) -> Result<ListenerId, ListenError> {
        let listener = Listener::open(at, false, self.options.accept_backlog)?;
        let index = self.listeners.len();
        self.listeners.push(Accepting {
            listener: Some(listener),
            armed: false,
            multishot: !self.options.without.multishot,
            stopping: false,
            again_at: None,
        });
        self.arm_accept(index);
        Ok(ListenerId(index as u32))
    }

    fn listener_addr(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(listener.0 as usize)?.listener.as_ref()?.addr()
    }

    fn stop_listening(&mut self) {
        for index in 0..self.listeners.len() {
            let accepting = &mut self.listeners[index];
            if std::mem::replace(&mut accepting.stopping, true) {
                continue;
            }
            accepting.again_at = None;
            if accepting.armed {
                let cancel = opcode::AsyncCancel::new(token_plain(op::ACCEPT, index as u32)).build();
                self.push_unwatched(cancel.user_data(token_plain(op::CANCEL, u32::MAX)));
            } else {
                accepting.listener = None;
            }
        }
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        self.woken_in_turn = false;
        self.machine.buffers.offer();
        if !self.starved.is_empty() {
            self.feed_starved();
        }
        let accept_at = self.resume_accepting();
        let known = !self.ready.is_empty() || self.files.has_done() || self.machine.ring.has_completions();
        let wait = if known { Wait::Poll } else { wait.no_later_than(accept_at) };
        self.machine.ring.enter(wait)?;
        self.now = Now::of_machine();
        let events_max = events.len() + self.options.events_per_turn_max;
        events.append(&mut self.ready);
        self.files.take_done(events, events_max);
        for _ in 0..self.options.events_per_turn_max {
            let Some(completion) = self.machine.ring.pop() else { break };
            self.complete(&completion, events);
        }
        Ok(())
    }

    fn bytes(&self, buffer: BufferId) -> &[u8] {
        self.machine.buffers.bytes(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.machine.buffers.release(buffer);
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        let Some(open) = self.open_conn(conn) else { return Sent::Gone };
        assert!(open.rest.is_none(), "a direct send would overtake the rest under way");
        send_now(&open.fd, bytes)
    }

    fn send_rest(&mut self, conn: ConnId, bytes: Vec<u8>, from: usize) {
        assert!(from <= bytes.len());
        let open = self.machine.conns.get_mut(conn).filter(|open| !open.closing);
        let (Some(open), true) = (open, from < bytes.len()) else {
            let result = if from == bytes.len() { Ok(()) } else { Err(io::ErrorKind::NotConnected) };
            return self.ready.push(Event::SentRest { conn, bytes, result });
        };
        assert!(open.rest.is_none(), "one rest at a time");
        self.rest_bytes += bytes.capacity();
        open.rest = Some(Rest { bytes, sent: from });
        self.arm_send(conn);
    }

    fn pause_receive(&mut self, conn: ConnId) {
        let Some(open) = self.machine.conns.get_mut(conn).filter(|open| !open.closing) else { return };
        let wanted = std::mem::replace(&mut open.receive_wanted, false);
        open.greedy = true;
        if wanted && open.receive_armed {
            self.cancel(op::RECEIVE, conn);
        }
    }

    fn resume_receive(&mut self, conn: ConnId) {
        let Some(open) = self.machine.conns.get_mut(conn).filter(|open| !open.closing) else { return };
        open.receive_wanted = true;
        // If the cancelled receive is still under way, its completion arms the next one.
        if open.may_arm() {
            self.arm_receive(conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        let Some(open) = self.machine.conns.get_mut(conn).filter(|open| !open.closing) else { return };
        open.closing = true;
        let (receiving, sending) = (open.receive_armed, open.rest.is_some());
        if receiving {
            self.cancel(op::RECEIVE, conn);
        }
        if sending {
            self.cancel(op::SEND, conn);
        }
        self.finish_close(conn);
    }

    fn file(&mut self, token: u64, request: FileRequest) {
        if !Uring::takes(&request) {
            return self.files.begin(token, request, &mut self.ready);
        }
        if let Some(job) = self.files.admit(token, request, &mut self.ready) {
            self.begin_operation(job);
        }
    }

    fn peer_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        peer_address(self.open_conn(conn)?.fd.as_raw_fd())
    }

    fn local_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        bound_address(self.open_conn(conn)?.fd.as_raw_fd())
    }

    fn descriptor(&self, conn: ConnId) -> i32 {
        self.open_conn(conn).map_or(-1, |open| open.fd.as_raw_fd())
    }

    fn now(&self) -> Now {
        self.now
    }

    #[inline]
    fn stamp_ns(&self) -> u64 {
        crate::stamp::stamp_ns(|| self.precise_now().monotonic.0)
    }

    fn precise_now(&self) -> Now {
        Now::of_machine()
    }

    fn entropy(&mut self) -> u64 {
        machine_entropy()
    }

    fn waker(&self) -> UringWaker {
        UringWaker(Arc::clone(&self.shared))
    }

    fn wake(&mut self, core: &UringWaker) {
        let target = &core.0;
        let target_fd = target.ring_fd.load(Ordering::Relaxed);
        let to_itself = Arc::ptr_eq(target, &self.shared);
        if to_itself || target_fd < 0 || !self.machine.ring.traits.ring_messages {
            return target.bell.ring();
        }
        // As many as there are cores, so a search is as good as a map.
        let known = self.wake_targets.iter().position(|known| Arc::ptr_eq(known, target));
        let index = known.unwrap_or_else(|| {
            self.wake_targets.push(Arc::clone(target));
            self.wake_targets.len() - 1
        });
        let message = opcode::MsgRingData::new(Fd(target_fd), 0, token_plain(op::WOKEN, 0), None).build();
        self.push_unwatched(message.user_data(token_plain(op::WAKE, index as u32)));
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn memory_bytes(&self) -> usize {
        self.machine.ring.memory_bytes()
            + self.machine.buffers.memory_bytes()
            + self.machine.conns.memory_bytes()
            + self.rest_bytes
            + self.files.memory_bytes()
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.shared.ring_fd.store(-1, Ordering::Relaxed);
        self.dropping = true;
        for accepting in &mut self.listeners {
            accepting.stopping = true;
        }
        let ids: Vec<ConnId> = self.machine.conns.ids().collect();
        for id in ids {
            self.close(id);
        }
        let cancel = opcode::AsyncCancel2::new(CancelBuilder::any()).build();
        self.push_unwatched(cancel.user_data(token_plain(op::CANCEL, u32::MAX)));
        // Whatever is cancelled completes at the next entry; a second is for a machine under great load.
        let mut events = Vec::new();
        for _ in 0..100 {
            if self.requests_under_way == 0 || self.machine.ring.enter(Wait::AtMost(Duration::from_millis(10))).is_err() {
                break;
            }
            while let Some(completion) = self.machine.ring.pop() {
                if (completion.user_data() >> 56) as u8 == op::BELL {
                    self.requests_under_way -= 1;
                } else {
                    self.complete(&completion, &mut events);
                }
            }
        }
        if self.requests_under_way == 0 {
            // SAFETY: dropped once, here; no request is under way that could write to what is freed.
            unsafe { ManuallyDrop::drop(&mut self.machine) };
        }
        // Else it is leaked: memory the kernel may still write to must never be used for something else.
    }
}

impl Wake for UringWaker {
    fn wake(&self) {
        self.0.bell.ring();
    }
}
