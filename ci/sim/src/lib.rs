//! A whole server in one thread, from one seed: any number of cores on the simulated network, and clients that talk to it.
//!
//! Time passes only when nothing is left to do at the present moment, so a test never sleeps, and a failure comes back with its
//! seed. A test turns the cores by asking for replies ([`World::ask`]), by [`World::run_until`], or by [`World::pass`].

pub mod crash;
pub mod history;
pub mod model;
pub mod plan;
mod reply;
mod workload;

pub use reply::{Value, next_value};

use engine::board::Board;
use engine::core::Core;
use engine::peers::Peers;
use engine::placement::Placement;
use engine::settings::{LOG_SEGMENT_BYTES_MIN, Settings};
use netio::sim::{Chance, ClientId, ClientView, Sim, SimNet, SimOptions};
use netio::{Kernel, Listen, Options};
use shards::wire::split_words;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where the server listens for everybody.
const MAIN: &str = "10.0.0.1:6379";
/// The first core's own port.
const CLUSTER_PORT_FIRST: u16 = 7000;
/// Passes over all cores that a reply may take before the test counts as stuck.
const PASSES_MAX: usize = 200_000;

/// What a server is made of.
pub struct Recipe {
    /// Decides every delay, every split and every chance.
    pub seed: u64,
    /// How many cores.
    pub cores: u16,
    /// Whether each core listens on a port of its own as well.
    pub cluster_ports: bool,
    /// How nasty the network is.
    pub network: SimOptions,
    /// What the operator set.
    pub settings: Settings,
}

impl Recipe {
    /// A server with so many cores on an ordinarily nasty network.
    pub fn new(seed: u64, cores: u16) -> Recipe {
        let settings = Settings { memory_bytes_max: 1 << 30, ..Settings::default() };
        Recipe { seed, cores, cluster_ports: false, network: SimOptions::default(), settings }
    }

    /// Changes a setting by its name in `CONFIG`.
    pub fn set(mut self, name: &str, value: &str) -> Recipe {
        self.settings = self.settings.changed(&[(name.to_owned(), value.to_owned())]).expect("a valid setting");
        self
    }

    /// Keeps what is written in this directory of the simulated disk, in files as small as they may be.
    pub fn with_directory(mut self, path: &str) -> Recipe {
        self.settings.dir = Some(path.into());
        self.settings.log_segment_bytes = LOG_SEGMENT_BYTES_MIN;
        self
    }

    /// Lets every core listen on its own port as well.
    pub fn with_cluster_ports(mut self) -> Recipe {
        self.cluster_ports = true;
        self
    }
}

/// A server, its network, and the seed that decides everything about both.
pub struct World {
    /// The network and the clock.
    pub net: SimNet,
    /// The server's cores.
    pub cores: Vec<Core<Sim>>,
    /// Printed when something fails, so that it can be seen again.
    pub seed: u64,
    /// What the operator set, for the next start.
    settings: Settings,
    starts: u64,
}

impl World {
    /// A server that listens, with no clients yet.
    pub fn new(recipe: Recipe) -> World {
        let Recipe { seed, cores, cluster_ports, network, mut settings } = recipe;
        let net = SimNet::new(seed, network);
        settings.cluster_port_first = cluster_ports.then_some(CLUSTER_PORT_FIRST);
        let cores = open_cores(&net, cores, settings.clone(), Options::default(), seed ^ 0x5eed);
        World { net, cores, seed, settings, starts: 1 }
    }

    /// Kills the server and starts it again on so many cores, on the same disk. Every client's connection is gone.
    pub fn restart(&mut self, cores: u16) {
        self.cores.clear();
        self.starts += 1;
        self.cores = open_cores(&self.net, cores, self.settings.clone(), Options::default(), self.seed ^ 0x5eed ^ self.starts << 32);
    }

    /// What the operator sets, for the next start.
    pub fn settings_mut(&mut self) -> &mut Settings {
        &mut self.settings
    }

    /// A client of the main port; chance decides which core takes it.
    pub fn client(&self) -> Client {
        self.client_at(MAIN.parse().expect("an address"))
    }

    /// A client of one core's own port.
    pub fn client_of_core(&self, core: u16) -> Client {
        let mut at: SocketAddr = MAIN.parse().expect("an address");
        at.set_port(CLUSTER_PORT_FIRST + core);
        self.client_at(at)
    }

    fn client_at(&self, at: SocketAddr) -> Client {
        Client::connect(&self.net, at)
    }

    /// Sends a command written as a person would, and waits for its reply.
    #[track_caller]
    pub fn ask(&mut self, client: &mut Client, line: &str) -> Value {
        client.send(line);
        self.reply(client)
    }

    /// Waits for the next reply.
    #[track_caller]
    pub fn reply(&mut self, client: &mut Client) -> Value {
        let mut found = None;
        self.run_until("a reply", |_| {
            client.pump();
            found = client.take_reply();
            found.is_some()
        });
        found.expect("just found")
    }

    /// Waits until the server has closed the connection. What it said before stays to be read.
    #[track_caller]
    pub fn closed(&mut self, client: &mut Client) {
        self.run_until("a closed connection", |_| {
            client.pump();
            client.is_closed()
        });
    }

    /// Turns all cores, and lets time pass when none has anything to do, until `done` says so.
    #[track_caller]
    pub fn run_until(&mut self, what: &str, mut done: impl FnMut(&SimNet) -> bool) {
        for _ in 0..PASSES_MAX {
            if done(&self.net) {
                return;
            }
            self.turn_all();
            if !self.net.busy() {
                self.net.advance_to_next_event();
            }
        }
        panic!("stuck waiting for {what}; seed {}", self.seed);
    }

    /// Lets so much time pass, with everything that is due meanwhile.
    pub fn pass(&mut self, duration: Duration) {
        let until = self.net.now().monotonic.0 + duration.as_nanos() as u64;
        while self.net.now().monotonic.0 < until {
            self.turn_all();
            if !self.net.busy() {
                self.net.advance_to_next_event();
            }
        }
        self.turn_all();
    }

    /// One turn of every core.
    pub fn turn_all(&mut self) {
        for core in &mut self.cores {
            let wait = core.wait();
            core.turn(wait).expect("a simulated turn does not fail");
        }
    }
}

/// The cores of one server, listening for everybody.
fn open_cores(net: &SimNet, cores: u16, mut settings: Settings, options: Options, seed: u64) -> Vec<Core<Sim>> {
    let placement = Placement::new(cores);
    let main: SocketAddr = MAIN.parse().expect("an address");
    settings.listens = vec![Listen::Tcp(main)];
    settings.port = main.port();
    settings.bind = vec![main.ip().to_string()];
    settings.cpus = (0..usize::from(cores)).collect();
    let settings = Arc::new(settings);
    let now = net.now();
    let mut chance = Chance::new(seed);
    let shared = Arc::new(Board::new(placement, now.wall, now.monotonic, || chance.bits()));
    let kernels: Vec<Sim> = placement.cores().map(|_| net.kernel(options.clone())).collect();
    let wakers: Vec<_> = kernels.iter().map(Kernel::waker).collect();
    placement
        .cores()
        .zip(kernels)
        .zip(Peers::all(placement))
        .map(|((id, kernel), mut peers)| {
            peers.set_wakers(&wakers);
            let mut core = Core::new(id, placement, kernel, settings.clone(), shared.clone(), peers);
            core.listen().expect("nobody else listens in this world");
            core
        })
        .collect()
}

/// One connection, and what it has not yet sent or looked at.
pub struct Client {
    net: SimNet,
    id: ClientId,
    unsent: Vec<u8>,
    received: Vec<u8>,
}

impl Client {
    /// A client that begins to connect.
    fn connect(net: &SimNet, at: SocketAddr) -> Client {
        Client { net: net.clone(), id: net.connect(at), unsent: Vec::new(), received: Vec::new() }
    }

    /// Sends a command written as a person would: words, with quotes where needed.
    pub fn send(&mut self, line: &str) {
        let words = split_words(line.as_bytes()).expect("balanced quotes");
        let words: Vec<&[u8]> = words.iter().map(|word| &**word).collect();
        self.send_words(&words);
    }

    /// Sends a command of these words.
    pub fn send_words(&mut self, words: &[&[u8]]) {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.send_bytes(&bytes);
    }

    /// Sends bytes as they are.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        self.pump();
    }

    /// Queues bytes that [`Client::push`] sends.
    pub fn queue_bytes(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
    }

    /// Sends what the socket takes, and reads nothing. Returns how many bytes are still unsent.
    pub fn push(&mut self) -> usize {
        let sent = self.net.client_send(self.id, &self.unsent);
        self.unsent.drain(..sent);
        self.unsent.len()
    }

    /// Sends what the socket takes, reads what has arrived.
    pub fn pump(&mut self) {
        self.push();
        self.received.extend(self.net.client_received(self.id));
    }

    /// The next whole reply, if it is there.
    pub fn take_reply(&mut self) -> Option<Value> {
        let (value, length) = next_value(&self.received)?;
        self.received.drain(..length);
        Some(value)
    }

    /// Everything received and not yet taken, as it is.
    pub fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Whether the server has closed the connection.
    pub fn is_closed(&self) -> bool {
        self.net.client_view(self.id) != ClientView::Open
    }

    /// Closes the connection.
    pub fn close(self) {
        self.net.client_close(self.id);
    }
}

/// Plays a script on servers of one core and of three, on several seeds each. See [`play`].
#[track_caller]
pub fn check(script: &str) {
    for (seed, cores) in [(1, 1), (2, 3), (3, 3), (4, 2)] {
        play(&mut World::new(Recipe::new(seed, cores)), script);
    }
}

/// Plays a script: `CLIENT> COMMAND` lines, each followed by `= REPLY`. Clients come when they are first named; `CLIENT@N>`
/// comes through core N's own port. `…` in a reply stands for anything. `=` without a reply means that none is sent; `= CLOSED`
/// that the connection ends.
#[track_caller]
pub fn play(world: &mut World, script: &str) {
    let mut clients: Vec<(String, Client)> = Vec::new();
    let mut current = 0;
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut last = "";
    for line in lines {
        if let Some(expected) = line.strip_prefix('=') {
            let expected = expected.trim();
            let client = &mut clients[current].1;
            match expected {
                "" => {
                    // Whatever was sent for the last command would come before the answer to this one.
                    client.send("ECHO nothing-before-this");
                    assert_eq!(world.reply(client).to_string(), "\"nothing-before-this\"", "{last}; seed {}", world.seed);
                }
                "CLOSED" => world.closed(client),
                _ => {
                    let got = world.reply(client).to_string();
                    assert!(fits(expected, got.trim_end()), "{last}\n  expected {expected}\n       got {got}\n  seed {}", world.seed);
                }
            }
            continue;
        }
        let (name, command) = line.split_once("> ").expect("CLIENT> COMMAND");
        current = match clients.iter().position(|(known, _)| known == name) {
            Some(index) => index,
            None => {
                let client = match name.split_once('@') {
                    Some((_, core)) => world.client_of_core(core.parse().expect("a core's number")),
                    None => world.client(),
                };
                clients.push((name.to_owned(), client));
                clients.len() - 1
            }
        };
        clients[current].1.send(command);
        last = line;
    }
}

/// Whether `got` is `expected`, where `…` stands for anything.
fn fits(expected: &str, got: &str) -> bool {
    let parts: Vec<&str> = expected.split('…').collect();
    let [first, middle @ .., last] = &parts[..] else { return expected == got };
    let Some(mut rest) = got.strip_prefix(first) else { return false };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}
