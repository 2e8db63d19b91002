//! The simulator: any number of cores and clients in one thread, from one seed.
//!
//! [`SimNet`] owns the simulated world: its time, its connections, and everything that is on the way.
//! [`SimNet::kernel`] opens a core in it, which runs the very code that runs on a machine. The driver of
//! a test turns the cores, lets clients act, and moves time on with [`SimNet::advance_to_next_event`].
//!
//! Promises:
//! - The same seed and the same calls give the same history, byte for byte, on every machine;
//!   [`SimNet::digest`] tells two histories apart. No clock, thread, socket or hash order is consulted.
//! - [`Kernel::turn`](crate::Kernel::turn) never blocks and time never passes by itself.
//! - Every legal nastiness of a network happens: bytes arrive split anywhere and late, connections overtake
//!   each other, sockets take part of what is offered, wakes are late, and connections are reset if
//!   [`SimOptions::reset_one_in`] says so. Within one connection bytes stay in order and whole, as TCP promises.
//! - Every buffer is bounded as on a machine: who does not read pushes back on who sends.
//!
//! Files are on a [`SimDisk`] that outlives the kernels which wrote them, and the world itself if need be, so that a test can kill
//! a server at any moment and start it again on what is left.

mod chance;
mod core;
mod disk;
mod net;

pub use self::core::{Sim, SimWaker};
pub use chance::Chance;
pub use disk::{DiskOptions, SimDisk};

use crate::clock::Now;
use crate::options::Options;
use net::{Net, Place};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// How nasty the simulated network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimOptions {
    /// How long anything travels from one end of a connection to the other.
    pub delay_ns: RangeInclusive<u64>,
    /// How long a wake from one core to another takes.
    pub wake_delay_ns: RangeInclusive<u64>,
    /// Bytes one end of a connection holds in each direction, sent or received.
    pub socket_bytes_max: usize,
    /// Most bytes that arrive at once.
    pub segment_bytes_max: usize,
    /// One transfer in so many is shorter than it could be. Zero: none.
    pub short_one_in: u32,
    /// One arrival in so many resets its connection instead. Zero: none.
    pub reset_one_in: u32,
    /// Connections one core has descriptors for. More wait to be accepted.
    pub conns_per_core_max: usize,
    /// Connections that wait to be accepted by one core. More are refused.
    pub backlog_max: usize,
    /// The wall clock when the monotonic one stands at zero.
    pub wall_start_ms: u64,
}

impl Default for SimOptions {
    fn default() -> SimOptions {
        SimOptions {
            delay_ns: 5_000..=200_000,
            wake_delay_ns: 500..=20_000,
            socket_bytes_max: 64 * 1024,
            segment_bytes_max: 32 * 1024,
            short_one_in: 4,
            reset_one_in: 0,
            conns_per_core_max: 100_000,
            backlog_max: 4_096,
            // The first of January 2026.
            wall_start_ms: 1_767_225_600_000,
        }
    }
}

/// One simulated client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(usize);

/// What a client sees of its connection, apart from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientView {
    /// More may arrive, or has arrived and was not read.
    Open,
    /// The server finished in an orderly way, and everything was read.
    Ended,
    /// The connection was refused or reset, and everything that arrived before was read.
    Reset,
}

/// A simulated world. Clones are the same world.
#[derive(Clone)]
pub struct SimNet(Rc<RefCell<Net>>);

impl SimNet {
    /// A world in which nothing has happened yet.
    pub fn new(seed: u64, options: SimOptions) -> SimNet {
        assert!(options.socket_bytes_max > 0 && options.segment_bytes_max > 0, "nothing would ever arrive");
        SimNet(Rc::new(RefCell::new(Net::new(seed, options))))
    }

    /// Opens a core of process 0. Cores of one process share their listening ports.
    pub fn kernel(&self, options: Options) -> Sim {
        self.kernel_of(0, options)
    }

    /// Opens a core of a process of the test's choice. To it, another process' port is in use.
    pub fn kernel_of(&self, process: u32, options: Options) -> Sim {
        Sim::open(Rc::clone(&self.0), process, options)
    }

    /// What the kernels of a process write to. One disk for as long as this world exists, whichever kernels come and go.
    pub fn disk(&self, process: u32) -> SimDisk {
        self.0.borrow_mut().disk(process)
    }

    /// Gives a process the disk of another world. Before its first kernel touches a file.
    pub fn insert_disk(&self, process: u32, disk: SimDisk) {
        self.0.borrow_mut().insert_disk(process, disk);
    }

    /// The world's clocks.
    pub fn now(&self) -> Now {
        self.0.borrow().now()
    }

    /// Moves time to the next thing that happens or the next moment a core wants to be turned, whichever is first.
    ///
    /// False if neither will ever come: then only clients can make something happen.
    pub fn advance_to_next_event(&self) -> bool {
        self.0.borrow_mut().advance_to_next_event()
    }

    /// Moves time on by `duration`; everything due meanwhile happens, in order.
    pub fn advance(&self, duration: Duration) {
        let until_ns = self.now().monotonic.0 + duration.as_nanos() as u64;
        self.0.borrow_mut().advance_until(until_ns);
    }

    /// Somebody sets the wall clock: it goes on from so many milliseconds later, or earlier. Cores see it in their next turn.
    pub fn move_wall_clock(&self, by_ms: i64) {
        self.0.borrow_mut().move_wall_clock(by_ms);
    }

    /// Whether some core has something to look at now, so that time should not move before it is turned.
    pub fn busy(&self) -> bool {
        self.0.borrow().busy()
    }

    /// A number that stands for everything that has happened so far.
    pub fn digest(&self) -> u64 {
        self.0.borrow().digest()
    }

    /// A client starts to connect. If nobody listens when it arrives, it is reset.
    pub fn connect(&self, to: SocketAddr) -> ClientId {
        ClientId(self.0.borrow_mut().connect(Place::Tcp(to)))
    }

    /// The same over a Unix socket.
    pub fn connect_unix(&self, to: &Path) -> ClientId {
        ClientId(self.0.borrow_mut().connect(Place::Unix(to.to_owned())))
    }

    /// The client writes; returns how many bytes its socket took.
    pub fn client_send(&self, client: ClientId, bytes: &[u8]) -> usize {
        self.0.borrow_mut().client_send(client.0, bytes)
    }

    /// The client reads everything that has arrived. A client for which this is never called pushes back.
    pub fn client_received(&self, client: ClientId) -> Vec<u8> {
        self.client_received_at_most(client, usize::MAX)
    }

    /// A slow client reads a little of what has arrived.
    pub fn client_received_at_most(&self, client: ClientId, bytes_max: usize) -> Vec<u8> {
        self.0.borrow_mut().client_received(client.0, bytes_max)
    }

    /// Whether more may come to this client.
    pub fn client_view(&self, client: ClientId) -> ClientView {
        self.0.borrow().client_view(client.0)
    }

    /// The client will not write any more; it still reads.
    pub fn client_finish(&self, client: ClientId) {
        self.0.borrow_mut().client_finish(client.0);
    }

    /// The client closes: orderly if it has read everything that arrived, else by a reset, as sockets do.
    pub fn client_close(&self, client: ClientId) {
        self.0.borrow_mut().client_close(client.0);
    }

    /// Something between the two breaks the connection; both ends find out.
    pub fn client_reset(&self, client: ClientId) {
        self.0.borrow_mut().reset(client.0);
    }
}
