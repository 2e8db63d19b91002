//! The epoll backend: for containers and kernels that refuse io_uring, at nearly the same price.
//!
//! Promises of this backend, beyond the trait's:
//! - Level-triggered readiness, at most one receive per ready connection and turn, so that one loud
//!   connection cannot keep the others waiting and no wakeup can be lost.
//! - A connection is registered only for what the core wants of it, and not at all when that is nothing: a
//!   reset on a paused connection costs nothing until it is resumed.
//! - An empty buffer pool pauses receiving, an empty descriptor table pauses accepting; neither spins and
//!   neither loses anything.
//!
//! Unlike the ring it pays one system call per receive, and one more per turn.

use crate::address::{bound_address, peer_address};
use crate::bell::Bell;
use crate::chance::machine_entropy;
use crate::clock::{MonotonicNs, Now};
use crate::facts::{Facts, Feature, machine_release};
use crate::file::FileRequest;
use crate::files::Files;
use crate::kernel::{BufferId, ConnId, Event, Kernel, Listen, ListenError, ListenerId, Sent, Wait, Wake};
use crate::listener::Listener;
use crate::options::Options;
use crate::pool::Pool;
use crate::slab::Slab;
use crate::stream::{receive_now, send_now, try_send};
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

/// One core's epoll instance.
pub struct Epoll {
    epoll: OwnedFd,
    bell: Arc<Bell>,
    options: Options,
    pool: Pool,
    conns: Slab<Conn>,
    listeners: Vec<Accepting>,
    /// Connections that found the pool empty, in the order they did.
    starved: VecDeque<ConnId>,
    /// Events that were known before the turn.
    ready: Vec<Event>,
    /// Where the kernel lists who is ready.
    readiness: Vec<libc::epoll_event>,
    rest_bytes: usize,
    files: Files,
    /// Whether the kernel waits with the precision of nanoseconds.
    precise_wait: bool,
    now: Now,
    facts: Facts,
    /// As the trait says: a kernel belongs to one core.
    _one_thread: PhantomData<*mut ()>,
}

struct Conn {
    fd: OwnedFd,
    rest: Option<Rest>,
    /// What it is registered for; zero when it is not registered.
    interest: u32,
    /// The core wants to receive.
    receive_wanted: bool,
    /// The stream has ended; it is never received from again.
    ended: bool,
    /// Waits in `starved`.
    starved: bool,
}

struct Rest {
    bytes: Vec<u8>,
    sent: usize,
}

struct Accepting {
    /// `None` once stopped.
    listener: Option<Listener>,
    /// Descriptors ran out: accept again from this moment on.
    again_at: Option<MonotonicNs>,
}

/// Wakes a core that runs on [`Epoll`].
#[derive(Clone, Debug)]
pub struct EpollWaker(Arc<Bell>);

/// How long accepting pauses when the process or the machine has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections accepted from one listener per turn; the next turn finds the others.
const ACCEPTS_PER_TURN_MAX: usize = 64;
/// Set in the data of what is not a connection. Generations keep clear of it.
const NOT_A_CONN: u64 = 1 << 63;
const BELL: u64 = NOT_A_CONN | u32::MAX as u64;
const READ: u32 = libc::EPOLLIN as u32;
const WRITE: u32 = libc::EPOLLOUT as u32;

impl Epoll {
    /// Opens an epoll instance. `stepped_down` says why it is not a ring, for [`Facts`].
    pub fn open(options: Options, stepped_down: Option<String>) -> io::Result<Epoll> {
        options.assert_possible();
        crate::stamp::calibrate();
        // SAFETY: epoll_create1 takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
        let bell = Arc::new(Bell::new(libc::EFD_NONBLOCK)?);
        control(&epoll, libc::EPOLL_CTL_ADD, bell.fd(), READ, BELL)?;
        let mut kernel = Epoll {
            pool: Pool::map(options.receive_buffers, options.receive_buffer_bytes)?,
            readiness: vec![libc::epoll_event { events: 0, u64: 0 }; options.events_per_turn_max],
            epoll,
            files: Files::new(EpollWaker(Arc::clone(&bell))),
            bell,
            options,
            conns: Slab::new(),
            listeners: Vec::new(),
            starved: VecDeque::new(),
            ready: Vec::new(),
            rest_bytes: 0,
            precise_wait: true,
            now: Now::of_machine(),
            facts: Facts { backend: "epoll", release: machine_release(), stepped_down, features: Vec::new() },
            _one_thread: PhantomData,
        };
        // The first wait tells whether the machine has the precise one.
        kernel.await_readiness(Wait::AtMost(Duration::ZERO))?;
        kernel.facts.features = vec![Feature {
            name: "precise wait",
            present: kernel.precise_wait,
            remark: if kernel.precise_wait { "" } else { "Linux 5.11 brings it; timers are late by up to a millisecond" },
        }];
        Ok(kernel)
    }

    /// Waits as told; returns how many entries of `readiness` were filled.
    fn await_readiness(&mut self, wait: Wait) -> io::Result<usize> {
        let (at, count) = (self.readiness.as_mut_ptr(), self.readiness.len() as libc::c_int);
        let timeout = match wait {
            Wait::Poll => Some(Duration::ZERO),
            Wait::AtMost(bound) => Some(bound),
            Wait::Forever => None,
        };
        let precise = self.precise_wait && matches!(wait, Wait::AtMost(_));
        let done = if precise {
            let bound = timeout.unwrap_or_default();
            let spec = libc::timespec {
                tv_sec: libc::time_t::try_from(bound.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: libc::c_long::from(bound.subsec_nanos()),
            };
            let no_signals_masked: *const libc::sigset_t = std::ptr::null();
            // SAFETY: the kernel writes at most `count` entries from `at` on; `spec` outlives the call.
            let done =
                unsafe { libc::syscall(libc::SYS_epoll_pwait2, self.epoll.as_raw_fd(), at, count, &raw const spec, no_signals_masked, 0) };
            done as libc::c_int
        } else {
            // Rounded up: a wait that ends early would end again and again until the deadline.
            let timeout_ms = timeout.map_or(-1, |bound| i32::try_from(bound.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX));
            // SAFETY: the kernel writes at most `count` entries from `at` on.
            unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), at, count, timeout_ms) }
        };
        if let Ok(found) = usize::try_from(done) {
            return Ok(found);
        }
        let cause = io::Error::last_os_error();
        match cause.raw_os_error() {
            Some(libc::EINTR) => Ok(0),
            Some(libc::ENOSYS | libc::EPERM) if precise => {
                self.precise_wait = false;
                self.await_readiness(wait)
            }
            _ => Err(cause),
        }
    }

    /// Brings the registration in line with what is wanted of a connection.
    fn register(&mut self, id: ConnId) {
        let conn = self.conns.get_mut(id).expect("only live connections are registered");
        let read = if conn.receive_wanted && !conn.ended && !conn.starved { READ } else { 0 };
        let write = if conn.rest.is_some() { WRITE } else { 0 };
        let interest = read | write;
        if interest == conn.interest {
            return;
        }
        let operation = match (conn.interest, interest) {
            (0, _) => libc::EPOLL_CTL_ADD,
            (_, 0) => libc::EPOLL_CTL_DEL,
            _ => libc::EPOLL_CTL_MOD,
        };
        match control(&self.epoll, operation, conn.fd.as_raw_fd(), interest, conn_data(id)) {
            Ok(()) => conn.interest = interest,
            // No memory or no watches left: only an ADD can meet that, and the connection is of no use without.
            Err(cause) => {
                conn.ended = true;
                self.ready.push(Event::Ended { conn: id, error: Some(cause.kind()) });
            }
        }
    }

    fn accept(&mut self, index: usize, events: &mut Vec<Event>, events_max: usize) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let Some(listener) = &self.listeners[index].listener else { return };
            if events.len() >= events_max {
                return;
            }
            // SAFETY: no address is asked for, so both pointers may be null.
            let done = unsafe { libc::accept4(listener.fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC) };
            if done >= 0 {
                // SAFETY: the kernel just opened this descriptor for us.
                let fd = unsafe { OwnedFd::from_raw_fd(done) };
                let id = self.conns.insert(Conn { fd, rest: None, interest: 0, receive_wanted: true, ended: false, starved: false });
                events.push(Event::Accepted { listener: ListenerId(index as u32), conn: id });
                self.register(id);
                continue;
            }
            match io::Error::last_os_error().raw_os_error() {
                Some(libc::EAGAIN) => return,
                Some(libc::EINTR | libc::ECONNABORTED | libc::EPROTO) => continue,
                // No descriptors, no memory: a new try at once would fail at once.
                _ => {
                    let again_at = MonotonicNs(self.now.monotonic.0 + ACCEPT_PAUSE.as_nanos() as u64);
                    // Nothing to do where even that fails: the listener stays ready, and is tried every turn.
                    let _ = control(&self.epoll, libc::EPOLL_CTL_DEL, listener.fd(), 0, 0);
                    self.listeners[index].again_at = Some(again_at);
                    return;
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
        for (index, accepting) in self.listeners.iter_mut().enumerate() {
            if let (Some(listener), Some(again_at)) = (&accepting.listener, accepting.again_at)
                && again_at <= now
            {
                let watched = watch_listener(&self.epoll, listener.fd(), index);
                accepting.again_at = watched.err().map(|_| MonotonicNs(now.0 + ACCEPT_PAUSE.as_nanos() as u64));
            }
        }
        self.listeners.iter().filter_map(|accepting| accepting.again_at).min()
    }

    /// Sends more of a rest. One call, so that a fast reader does not keep the others waiting.
    fn send_more(&mut self, id: ConnId, events: &mut Vec<Event>) {
        let conn = self.conns.get_mut(id).expect("found a moment ago");
        let Some(rest) = &mut conn.rest else { return };
        let result = match try_send(&conn.fd, &rest.bytes[rest.sent..]) {
            Ok(taken) => {
                rest.sent += taken;
                if rest.sent < rest.bytes.len() {
                    return;
                }
                Ok(())
            }
            Err(cause) => Err(cause.kind()),
        };
        let Rest { bytes, .. } = conn.rest.take().expect("seen a moment ago");
        self.rest_bytes -= bytes.capacity();
        events.push(Event::SentRest { conn: id, bytes, result });
        self.register(id);
    }

    fn receive(&mut self, id: ConnId, events: &mut Vec<Event>) {
        let conn = self.conns.get_mut(id).expect("found a moment ago");
        if !conn.receive_wanted || conn.ended {
            return;
        }
        let Some(piece) = self.pool.take() else {
            if !conn.starved {
                conn.starved = true;
                self.starved.push_back(id);
                self.register(id);
            }
            return;
        };
        // SAFETY: the piece is taken and not lent, so all of it is ours to write.
        let got = unsafe { receive_now(&conn.fd, self.pool.start(piece), self.pool.piece_bytes()) };
        let error = match got {
            Ok(Some(0)) => None,
            Ok(Some(bytes)) => {
                let buffer = self.pool.lend(piece, bytes);
                return events.push(Event::Received { conn: id, buffer });
            }
            Ok(None) => return self.pool.put(piece),
            Err(cause) => Some(cause.kind()),
        };
        self.pool.put(piece);
        conn.ended = true;
        events.push(Event::Ended { conn: id, error });
        self.register(id);
    }

    /// Lets connections that found the pool empty receive again, as many as there are buffers.
    fn feed_starved(&mut self) {
        for _ in 0..self.pool.free_count() {
            let Some(id) = self.starved.pop_front() else { return };
            // The name may have died meanwhile.
            if let Some(conn) = self.conns.get_mut(id) {
                conn.starved = false;
                self.register(id);
            }
        }
    }

    fn readied(&mut self, entry: libc::epoll_event, events: &mut Vec<Event>, events_max: usize) {
        let (data, what) = (entry.u64, entry.events);
        if data == BELL {
            self.bell.silence();
            return events.push(Event::Woken);
        }
        if data & NOT_A_CONN != 0 {
            return self.accept((data & !NOT_A_CONN) as usize, events, events_max);
        }
        let Some(id) = self.conns.id_at(data as u32).filter(|id| conn_data(*id) == data) else { return };
        let failed = what & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0;
        if what & WRITE != 0 || failed {
            self.send_more(id, events);
        }
        if (what & READ != 0 || failed) && events.len() < events_max {
            self.receive(id, events);
        }
    }
}

fn conn_data(id: ConnId) -> u64 {
    (u64::from(id.generation) << 32 | u64::from(id.index)) & !NOT_A_CONN
}

fn watch_listener(epoll: &OwnedFd, fd: RawFd, index: usize) -> io::Result<()> {
    // Exclusive: of several cores on one Unix socket, one arrival wakes one.
    control(epoll, libc::EPOLL_CTL_ADD, fd, READ | libc::EPOLLEXCLUSIVE as u32, NOT_A_CONN | index as u64)
}

fn control(epoll: &OwnedFd, operation: libc::c_int, fd: RawFd, interest: u32, data: u64) -> io::Result<()> {
    let mut event = libc::epoll_event { events: interest, u64: data };
    // SAFETY: `event` outlives the call.
    let done = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), operation, fd, &raw mut event) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

impl Kernel for Epoll {
    type Waker = EpollWaker;

    fn listen(&mut self, at: &Listen) -> Result<ListenerId, ListenError> {
        let listener = Listener::open(at, true, self.options.accept_backlog)?;
        let index = self.listeners.len();
        watch_listener(&self.epoll, listener.fd(), index).map_err(|cause| ListenError { at: at.clone(), step: "watch", cause })?;
        self.listeners.push(Accepting { listener: Some(listener), again_at: None });
        Ok(ListenerId(index as u32))
    }

    fn listener_addr(&self, listener: ListenerId) -> Option<SocketAddr> {
        self.listeners.get(listener.0 as usize)?.listener.as_ref()?.addr()
    }

    fn stop_listening(&mut self) {
        for accepting in &mut self.listeners {
            accepting.again_at = None;
            if let Some(listener) = accepting.listener.take() {
                // By name, because another core may keep the same Unix socket open. Not registered is as good.
                let _ = control(&self.epoll, libc::EPOLL_CTL_DEL, listener.fd(), 0, 0);
            }
        }
    }

    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()> {
        if !self.starved.is_empty() {
            self.feed_starved();
        }
        let accept_at = self.resume_accepting();
        let wait = if self.ready.is_empty() && !self.files.has_done() { wait.no_later_than(accept_at) } else { Wait::Poll };
        let found = self.await_readiness(wait)?;
        self.now = Now::of_machine();
        let events_max = events.len() + self.options.events_per_turn_max;
        events.append(&mut self.ready);
        self.files.take_done(events, events_max);
        for at in 0..found {
            // What is left out stays ready, and stands behind the others next time.
            if events.len() >= events_max {
                break;
            }
            let entry = self.readiness[at];
            self.readied(entry, events, events_max);
        }
        Ok(())
    }

    fn bytes(&self, buffer: BufferId) -> &[u8] {
        self.pool.bytes(buffer)
    }

    fn release(&mut self, buffer: BufferId) {
        self.pool.reclaim(buffer);
    }

    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent {
        let Some(open) = self.conns.get(conn) else { return Sent::Gone };
        assert!(open.rest.is_none(), "a direct send would overtake the rest under way");
        send_now(&open.fd, bytes)
    }

    fn send_rest(&mut self, conn: ConnId, bytes: Vec<u8>, from: usize) {
        assert!(from <= bytes.len());
        let (Some(open), true) = (self.conns.get_mut(conn), from < bytes.len()) else {
            let result = if from == bytes.len() { Ok(()) } else { Err(io::ErrorKind::NotConnected) };
            return self.ready.push(Event::SentRest { conn, bytes, result });
        };
        assert!(open.rest.is_none(), "one rest at a time");
        self.rest_bytes += bytes.capacity();
        open.rest = Some(Rest { bytes, sent: from });
        self.register(conn);
    }

    fn pause_receive(&mut self, conn: ConnId) {
        if let Some(open) = self.conns.get_mut(conn) {
            open.receive_wanted = false;
            self.register(conn);
        }
    }

    fn resume_receive(&mut self, conn: ConnId) {
        if let Some(open) = self.conns.get_mut(conn) {
            open.receive_wanted = true;
            self.register(conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        // Closing the only descriptor of a socket ends its registration.
        let Some(open) = self.conns.remove(conn) else { return };
        if let Some(Rest { bytes, .. }) = open.rest {
            self.rest_bytes -= bytes.capacity();
            self.ready.push(Event::SentRest { conn, bytes, result: Err(io::ErrorKind::ConnectionAborted) });
        }
        // An end that could not be told before the close must not be told after it.
        self.ready.retain(|event| !matches!(event, Event::Ended { conn: of, .. } if *of == conn));
    }

    fn file(&mut self, token: u64, request: FileRequest) {
        self.files.begin(token, request, &mut self.ready);
    }

    fn peer_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        peer_address(self.conns.get(conn)?.fd.as_raw_fd())
    }

    fn local_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        bound_address(self.conns.get(conn)?.fd.as_raw_fd())
    }

    fn descriptor(&self, conn: ConnId) -> i32 {
        self.conns.get(conn).map_or(-1, |open| open.fd.as_raw_fd())
    }

    fn now(&self) -> Now {
        self.now
    }

    fn precise_now(&self) -> Now {
        Now::of_machine()
    }

    fn stamp_ns(&self) -> u64 {
        crate::stamp::stamp_ns(|| self.precise_now().monotonic.0)
    }

    fn entropy(&mut self) -> u64 {
        machine_entropy()
    }

    fn waker(&self) -> EpollWaker {
        EpollWaker(Arc::clone(&self.bell))
    }

    fn wake(&mut self, core: &EpollWaker) {
        core.wake();
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn memory_bytes(&self) -> usize {
        self.pool.mapped_bytes()
            + self.conns.memory_bytes()
            + self.readiness.capacity() * size_of::<libc::epoll_event>()
            + self.rest_bytes
            + self.files.memory_bytes()
    }
}

impl Wake for EpollWaker {
    fn wake(&self) {
        self.0.ring();
    }
}
