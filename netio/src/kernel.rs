//! The seam between a core and the machine: one trait, three backends.
//!
//! A core calls [`Kernel::turn`] once per pass and gets every completion of that pass as an
//! [`Event`]; it never sees a descriptor. The same core runs on io_uring, on epoll and in the
//! simulator, because nothing else in the program may touch a socket, a clock or chance.
//!
//! A kernel belongs to one core: it is neither `Send` nor `Sync`, and only its [`Waker`]s cross threads.

use crate::clock::{MonotonicNs, Now};
use crate::facts::Facts;
use crate::file::{FileDone, FileFailure, FileRequest};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One accepted connection. The generation makes a name that outlived its connection harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Position in the kernel's slab; small and dense, so a caller may index an array by it.
    pub index: u32,
    /// How often that position was used before.
    pub generation: u32,
}

/// One listening socket, in the order of the calls to [`Kernel::listen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u32);

/// A receive buffer lent to the core by [`Event::Received`], until [`Kernel::release`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address. Every core binds its own socket with `SO_REUSEPORT`, so the machine spreads connections over
    /// the cores of one process. Another process on the same port is refused, see [`Kernel::listen`].
    Tcp(SocketAddr),
    /// A path in the file system. The cores of one process accept from one socket, see [`Kernel::listen`].
    Unix {
        /// Where.
        path: PathBuf,
        /// Permission bits of the socket file, such as `0o770`: who may write to it may connect. Without, the process' umask decides.
        mode: Option<u32>,
    },
}

/// How long [`Kernel::turn`] may wait when nothing is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// At most this long.
    AtMost(Duration),
    /// Until something happens.
    Forever,
}

impl Wait {
    /// The same wait, cut short at `deadline`.
    pub(crate) fn no_later_than(self, deadline: Option<MonotonicNs>) -> Wait {
        let Some(deadline) = deadline else { return self };
        let left = Duration::from_nanos(deadline.since(Now::of_machine().monotonic));
        match self {
            Wait::Poll => Wait::Poll,
            Wait::AtMost(bound) => Wait::AtMost(bound.min(left)),
            Wait::Forever => Wait::AtMost(left),
        }
    }
}

/// What happened since the last turn.
#[derive(Debug)]
pub enum Event {
    /// A connection was accepted; receiving has already started.
    Accepted {
        /// Which listener it came through.
        listener: ListenerId,
        /// Its name from now on.
        conn: ConnId,
    },
    /// Bytes arrived. The core owns the buffer until it calls [`Kernel::release`].
    Received {
        /// Who sent them.
        conn: ConnId,
        /// Where they are, see [`Kernel::bytes`].
        buffer: BufferId,
    },
    /// The peer finished sending, or the connection failed. Nothing more will arrive; the core still has to [`Kernel::close`].
    Ended {
        /// Whose stream ended.
        conn: ConnId,
        /// `None` for an orderly end.
        error: Option<io::ErrorKind>,
    },
    /// The rest handed over by [`Kernel::send_rest`] left, or never will.
    SentRest {
        /// Whose rest it was.
        conn: ConnId,
        /// The allocation, back for reuse. Contents unspecified.
        bytes: Vec<u8>,
        /// Whether all of it left.
        result: Result<(), io::ErrorKind>,
    },
    /// Another thread used a [`Waker`] of this core. Several wakes may collapse into one event, and one may come for nothing.
    Woken,
    /// What was begun by [`Kernel::file`] is over.
    File {
        /// What the core called it.
        token: u64,
        /// How it went.
        outcome: Result<FileDone, FileFailure>,
    },
}

/// How much of a direct send the socket took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// All of it.
    All,
    /// Only this many bytes: hand the rest to [`Kernel::send_rest`].
    Part {
        /// Bytes the socket took; less than what was offered, possibly zero.
        taken_bytes: usize,
    },
    /// The connection is gone; close it.
    Gone,
}

/// Why a listener could not be opened.
#[derive(Debug)]
pub struct ListenError {
    /// What was asked for.
    pub at: Listen,
    /// The step that failed, a verb: `bind`, `listen`, ….
    pub step: &'static str,
    /// The system's reason.
    pub cause: io::Error,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, step, cause } = self;
        match at {
            Listen::Tcp(addr) => write!(f, "cannot {step} on {addr}: {cause}"),
            Listen::Unix { path, .. } => write!(f, "cannot {step} on {}: {cause}", path.display()),
        }
    }
}

impl std::error::Error for ListenError {}

/// What a core asks of the machine.
pub trait Kernel {
    /// What other threads hold to wake this core.
    type Waker: Wake;

    /// Starts listening and accepting. TCP sockets set `SO_REUSEPORT`, `TCP_NODELAY` and a keep-alive of 300 s.
    ///
    /// A port on which another process listens is an error, although `SO_REUSEPORT` alone would share it silently.
    /// It blocks for up to half a second where a place is in use, because a killed predecessor may just be going.
    /// Raise the limit on descriptors before: a ring remembers the limit from the moment it starts to accept.
    ///
    /// A Unix path is bound once per process: the second core that names the same path shares the first one's
    /// socket. A stale socket file that nobody listens on is replaced; a live one is an error.
    fn listen(&mut self, at: &Listen) -> Result<ListenerId, ListenError>;

    /// The address a listener really has, which matters when port 0 was asked for.
    fn listener_addr(&self, listener: ListenerId) -> Option<SocketAddr>;

    /// Stops accepting on every listener and closes them. Connections live on.
    fn stop_listening(&mut self);

    /// One pass: hands queued work to the machine, waits at most `wait` if nothing is ready, and appends what happened.
    ///
    /// Appends in bounded number (the backend's batch limit), fairly over connections.
    fn turn(&mut self, wait: Wait, events: &mut Vec<Event>) -> io::Result<()>;

    /// The bytes of a lent buffer. Never empty.
    fn bytes(&self, buffer: BufferId) -> &[u8];

    /// Gives a lent buffer back. The core must do so for every [`Event::Received`], at the latest when
    /// it closes the connection; the pool is bounded, and an empty pool stops all receiving.
    fn release(&mut self, buffer: BufferId);

    /// Sends at once what the socket takes, without waiting. Must not be called while a rest is under way.
    fn send(&mut self, conn: ConnId, bytes: &[u8]) -> Sent;

    /// Hands over what [`Kernel::send`] left. The kernel owns `bytes` until [`Event::SentRest`]; one rest at a time
    /// per connection. Sends `bytes[from..]`.
    fn send_rest(&mut self, conn: ConnId, bytes: Vec<u8>, from: usize);

    /// Stops receiving, so that the peer feels it. Bytes already under way may still arrive for a turn or two.
    fn pause_receive(&mut self, conn: ConnId);

    /// Receives again.
    fn resume_receive(&mut self, conn: ConnId);

    /// Closes. No event names this connection afterwards, except the [`Event::SentRest`] that returns a rest's allocation.
    /// A rest under way is abandoned.
    fn close(&mut self, conn: ConnId);

    /// Begins something with a file; never blocks, never fails here. Exactly one [`Event::File`] with this token follows, unless the
    /// kernel is dropped. Requests complete in any order: whoever needs one waits for the event.
    ///
    /// # Panics
    /// With more than [`FILE_REQUESTS_MAX`](crate::file::FILE_REQUESTS_MAX) under way, and over a request that no machine could do: bytes
    /// that are not aligned to the file, or a rename to another directory.
    fn file(&mut self, token: u64, request: FileRequest);

    /// The peer's address, `None` for a Unix socket or when it is gone. A system call: for `CLIENT LIST`, not for the data path.
    fn peer_addr(&self, conn: ConnId) -> Option<SocketAddr>;

    /// The address the peer dialled. A system call, as above.
    fn local_addr(&self, conn: ConnId) -> Option<SocketAddr>;

    /// The descriptor's number, for people who compare with other tools. -1 where there is none.
    fn descriptor(&self, conn: ConnId) -> i32;

    /// Time as of the last call to [`Kernel::turn`]; reading it costs nothing.
    fn now(&self) -> Now;

    /// Time at this very moment, for measuring inside a turn. About 20 ns.
    fn precise_now(&self) -> Now;

    /// Nanoseconds since an origin of its own, for measuring single requests: only the difference between two stamps of
    /// one kernel means anything. The cheapest clock there is.
    #[inline]
    fn stamp_ns(&self) -> u64 {
        self.precise_now().monotonic.0
    }

    /// Sixty-four bits of chance for seeds. From the machine, or from the simulator's seed.
    fn entropy(&mut self) -> u64;

    /// A handle other threads may wake this core with.
    fn waker(&self) -> Self::Waker;

    /// Wakes another core of the same process by the cheapest way this backend has (`MSG_RING`, else eventfd).
    fn wake(&mut self, core: &Self::Waker);

    /// What this backend is and what the machine lacks, for the banner and `INFO`.
    fn facts(&self) -> &Facts;

    /// Bytes this kernel holds: rings, receive buffers, rests and file buffers under way. Counted under `maxmemory`.
    fn memory_bytes(&self) -> usize;
}

/// Wakes a core from any thread.
pub trait Wake: Clone + Send + Sync + 'static {
    /// Makes the core's current or next wait return with [`Event::Woken`]. Safe in a signal handler.
    fn wake(&self);
}
