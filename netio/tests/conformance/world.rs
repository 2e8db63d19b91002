//! A kernel and clients that talk to it: what a case needs to know of a backend.

use netio::{BufferId, ConnId, Event, Kernel, ListenerId, Options, Sent, Wait};
use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::PathBuf;

/// What a client sees when it reads.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Bytes(Vec<u8>),
    Nothing,
    End,
}

pub(crate) trait World {
    type Kernel: Kernel;
    type Client: Debug;
    /// More than fits into the sockets between a kernel and a client.
    const FLOOD_BYTES: usize;

    /// A kernel of this world. Several may be open at once.
    fn open(&mut self, options: Options) -> Self::Kernel;
    /// Where a case listens: a port of the backend's choice.
    fn address(&mut self) -> SocketAddr;
    fn connect(&mut self, to: SocketAddr) -> Self::Client;
    /// Writes what fits now.
    fn write(&mut self, client: &mut Self::Client, bytes: &[u8]) -> usize;
    fn read(&mut self, client: &mut Self::Client) -> Seen;
    /// Says that no more will be written.
    fn finish(&mut self, client: &mut Self::Client);
    /// Disappears without reading what is there.
    fn vanish(&mut self, client: Self::Client);
    /// An empty directory, gone with the world.
    fn directory(&mut self) -> PathBuf;
    /// Lets time pass in worlds where it does not pass by itself.
    fn pass(&mut self);
}

/// Turns a case may take before it counts as stuck. Each waits a few milliseconds at most.
pub(crate) const TURNS_MAX: usize = 5_000;

/// Turns until `done` says so, handing it every event.
pub(crate) fn turn_until<W: World>(
    world: &mut W,
    kernel: &mut W::Kernel,
    what: &str,
    mut done: impl FnMut(&mut W, &mut W::Kernel, Option<Event>) -> bool,
) {
    let mut events = Vec::new();
    for _ in 0..TURNS_MAX {
        kernel.turn(Wait::AtMost(std::time::Duration::from_millis(2)), &mut events).unwrap();
        let mut finished = false;
        for event in events.drain(..) {
            finished |= done(world, kernel, Some(event));
        }
        if finished || done(world, kernel, None) {
            return;
        }
        world.pass();
    }
    panic!("stuck: {what}");
}

/// Listens on one port and accepts one client.
pub(crate) fn one_connection<W: World>(world: &mut W, kernel: &mut W::Kernel) -> (W::Client, ConnId, ListenerId) {
    let at = world.address();
    let listener = kernel.listen(&netio::Listen::Tcp(at)).unwrap();
    let to = kernel.listener_addr(listener).unwrap();
    let client = world.connect(to);
    let mut found = None;
    turn_until(world, kernel, "accept", |_, _, event| {
        if let Some(Event::Accepted { conn, listener: by }) = event {
            assert_eq!(by, listener);
            found = Some(conn);
        }
        found.is_some()
    });
    (client, found.unwrap(), listener)
}

/// Copies a lent buffer and gives it back.
pub(crate) fn take<K: Kernel>(kernel: &mut K, buffer: BufferId) -> Vec<u8> {
    let bytes = kernel.bytes(buffer).to_vec();
    assert!(!bytes.is_empty());
    kernel.release(buffer);
    bytes
}

/// Reads until `count` bytes are there.
pub(crate) fn read_exactly<W: World>(world: &mut W, kernel: &mut W::Kernel, client: &mut W::Client, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    turn_until(world, kernel, "the client reads", |world, _, event| {
        assert!(event.is_none(), "unexpected {event:?}");
        if let Seen::Bytes(more) = world.read(client) {
            bytes.extend(more);
        }
        bytes.len() >= count
    });
    assert_eq!(bytes.len(), count);
    bytes
}

/// Bytes in which every position is recognisable.
pub(crate) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[7]).collect()
}

/// Sends what surely fits; a socket may still take it in parts.
pub(crate) fn send_all<K: Kernel>(kernel: &mut K, conn: ConnId, bytes: &[u8]) {
    let mut from = 0;
    loop {
        match kernel.send(conn, &bytes[from..]) {
            Sent::All => return,
            Sent::Part { taken_bytes: taken @ 1.. } => from += taken,
            other => panic!("the socket has room, and is there: {other:?}"),
        }
    }
}
