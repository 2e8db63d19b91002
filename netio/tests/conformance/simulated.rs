//! Worlds in the simulator, and what only the simulator promises.

use crate::world::{Seen, World};
use netio::sim::{Chance, ClientId, ClientView, Sim, SimNet, SimOptions};
use netio::{Event, Kernel, Listen, Options, Sent, Wait};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

pub(crate) struct Simulated(SimNet);

/// A world of chance's making; the seed is in the name of the case that fails.
pub(crate) fn simulated(seed: u64) -> Simulated {
    Simulated(SimNet::new(seed, SimOptions::default()))
}

impl World for Simulated {
    type Kernel = Sim;
    type Client = ClientId;
    const FLOOD_BYTES: usize = 1 << 20;

    fn open(&mut self, options: Options) -> Sim {
        self.0.kernel(options)
    }

    fn address(&mut self) -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    fn connect(&mut self, to: SocketAddr) -> ClientId {
        self.0.connect(to)
    }

    fn write(&mut self, client: &mut ClientId, bytes: &[u8]) -> usize {
        self.0.client_send(*client, bytes)
    }

    fn read(&mut self, client: &mut ClientId) -> Seen {
        let bytes = self.0.client_received(*client);
        match (bytes.is_empty(), self.0.client_view(*client)) {
            (false, _) => Seen::Bytes(bytes),
            (true, ClientView::Open) => Seen::Nothing,
            (true, ClientView::Ended | ClientView::Reset) => Seen::End,
        }
    }

    fn finish(&mut self, client: &mut ClientId) {
        self.0.client_finish(*client);
    }

    fn vanish(&mut self, client: ClientId) {
        self.0.client_close(client);
    }

    fn directory(&mut self) -> PathBuf {
        PathBuf::from("/")
    }

    fn pass(&mut self) {
        self.0.advance_to_next_event();
    }
}

/// Two cores, thirty clients that come, talk and go, resets now and then. What every client got, and the digest.
fn history(seed: u64) -> (BTreeMap<ClientId, Vec<u8>>, u64) {
    let net = SimNet::new(seed, SimOptions { reset_one_in: 400, ..SimOptions::default() });
    let at: SocketAddr = "10.0.0.1:6379".parse().unwrap();
    let mut cores: Vec<Sim> = (0..2).map(|_| net.kernel(Options::default())).collect();
    for core in &mut cores {
        core.listen(&Listen::Tcp(at)).unwrap();
    }
    let mut chance = Chance::new(!seed);
    let mut got: BTreeMap<ClientId, Vec<u8>> = BTreeMap::new();
    let mut events = Vec::new();
    for step in 0..4_000u32 {
        if step % 100 == 0 {
            got.insert(net.connect(at), Vec::new());
        }
        for (client, bytes) in &mut got {
            if chance.one_in(20) {
                net.client_send(*client, format!("{step}:{};", chance.entropy_word()).as_bytes());
            }
            if chance.one_in(3) {
                bytes.extend(net.client_received(*client));
            }
        }
        for core in &mut cores {
            core.turn(Wait::Forever, &mut events).unwrap();
            for event in events.drain(..) {
                match event {
                    Event::Received { conn, buffer } => {
                        let bytes = core.bytes(buffer).to_vec();
                        core.release(buffer);
                        if let Sent::Part { taken_bytes } = core.send(conn, &bytes) {
                            core.send_rest(conn, bytes, taken_bytes);
                            core.pause_receive(conn);
                        }
                    }
                    Event::SentRest { conn, .. } => core.resume_receive(conn),
                    Event::Ended { conn, .. } => core.close(conn),
                    Event::Accepted { .. } | Event::Woken => {}
                    Event::File { .. } => unreachable!("no file is used here"),
                }
            }
        }
        net.advance_to_next_event();
    }
    (got, net.digest())
}

trait Word {
    fn entropy_word(&mut self) -> String;
}

impl Word for Chance {
    fn entropy_word(&mut self) -> String {
        "x".repeat(self.below(3_000) as usize)
    }
}

#[test]
fn the_same_seed_is_the_same_history() {
    let (first, first_digest) = history(7);
    let (again, again_digest) = history(7);
    assert_eq!(first_digest, again_digest);
    assert_eq!(first, again);
    let (_, other_digest) = history(8);
    assert_ne!(first_digest, other_digest);
    assert!(first.values().any(|bytes| bytes.len() > 10_000), "hardly anything was said");
}

#[test]
fn ports_are_shared_within_a_process_only() {
    let net = SimNet::new(1, SimOptions::default());
    let at = Listen::Tcp("10.0.0.1:6379".parse().unwrap());
    let mut first = net.kernel_of(1, Options::default());
    let mut second = net.kernel_of(1, Options::default());
    let mut stranger = net.kernel_of(2, Options::default());
    first.listen(&at).unwrap();
    second.listen(&at).unwrap();
    let refused = stranger.listen(&at).unwrap_err();
    assert_eq!(refused.cause.kind(), std::io::ErrorKind::AddrInUse);
    drop(first);
    second.stop_listening();
    stranger.listen(&at).unwrap();
}

#[test]
fn nobody_listening_is_a_reset() {
    let net = SimNet::new(1, SimOptions::default());
    let client = net.connect("10.0.0.1:1".parse().unwrap());
    assert_eq!(net.client_view(client), ClientView::Open);
    assert!(net.advance_to_next_event());
    assert_eq!(net.client_view(client), ClientView::Reset);
    assert!(!net.advance_to_next_event(), "nothing else will happen");
}

#[test]
fn connections_beyond_the_descriptors_wait() {
    let net = SimNet::new(3, SimOptions { conns_per_core_max: 2, ..SimOptions::default() });
    let mut core = net.kernel(Options::default());
    let at: SocketAddr = "10.0.0.1:6379".parse().unwrap();
    core.listen(&Listen::Tcp(at)).unwrap();
    for _ in 0..3 {
        net.connect(at);
    }
    while net.advance_to_next_event() {}
    let mut events = Vec::new();
    core.turn(Wait::Poll, &mut events).unwrap();
    let conns: Vec<_> = events
        .drain(..)
        .map(|event| match event {
            Event::Accepted { conn, .. } => conn,
            other => panic!("unexpected {other:?}"),
        })
        .collect();
    assert_eq!(conns.len(), 2);
    core.turn(Wait::Poll, &mut events).unwrap();
    assert!(events.is_empty());
    core.close(conns[0]);
    core.turn(Wait::Poll, &mut events).unwrap();
    assert!(matches!(events[..], [Event::Accepted { .. }]), "{events:?}");
}

#[test]
fn a_waiting_core_is_turned_at_its_deadline() {
    let net = SimNet::new(5, SimOptions::default());
    let mut core = net.kernel(Options::default());
    let before = net.now();
    core.turn(Wait::AtMost(std::time::Duration::from_millis(250)), &mut Vec::new()).unwrap();
    assert_eq!(net.now(), before, "a turn takes no time");
    assert!(net.advance_to_next_event());
    assert_eq!(net.now().monotonic.since(before.monotonic), 250_000_000);
    assert_eq!(net.now().wall.0 - before.wall.0, 250);
    // That was the wait. It deals with what is due, and says at its next turn, soon, how long it will wait then.
    core.turn(Wait::Forever, &mut Vec::new()).unwrap();
    assert!(net.advance_to_next_event());
    assert!(net.now().monotonic.since(before.monotonic) < 251_000_000);
    core.turn(Wait::Forever, &mut Vec::new()).unwrap();
    assert!(!net.advance_to_next_event());
    assert_eq!(core.now(), net.now());
}
