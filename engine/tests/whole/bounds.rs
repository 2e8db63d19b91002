//! What clients may make the server hold: input that arrives faster than it runs, lines nobody reads, clients beyond the limit.

use netio::sim::SimOptions;
use simulation::{Client, Recipe, World};
use std::time::Duration;

/// What may come in the turn in which receiving is paused.
const RECEIVE_BUFFER_BYTES: u64 = 16 * 1024;

/// What a client makes the server hold.
#[derive(Debug)]
struct Held {
    /// Bytes received and not yet run.
    input_bytes: u64,
    /// Bytes of memory for them, an allocation's spare room included.
    input_capacity_bytes: u64,
}

impl Held {
    /// Whether so much has piled up at most, with what an allocation has left over after doubling.
    fn is_within(&self, piled_max: u64) -> bool {
        self.input_bytes <= piled_max + RECEIVE_BUFFER_BYTES && self.input_capacity_bytes <= 2 * (piled_max + RECEIVE_BUFFER_BYTES)
    }
}

/// What the server says every client but `judge` makes it hold.
fn held(world: &mut World, judge: &mut Client) -> Vec<Held> {
    let own = world.ask(judge, "CLIENT ID").integer();
    let list = world.ask(judge, "CLIENT LIST").text();
    let number = |line: &str, name: &str| -> u64 {
        let word = line.split(' ').find_map(|word| word.strip_prefix(name)).expect("every client has it");
        word.parse().expect("a number")
    };
    list.lines()
        .filter(|line| !line.starts_with(&format!("id={own} ")))
        .map(|line| {
            let (input_bytes, free) = (number(line, "qbuf="), number(line, "qbuf-free="));
            Held { input_bytes, input_capacity_bytes: input_bytes + free }
        })
        .collect()
}

#[test]
fn strangers_who_flood_and_never_read_make_little_pile_up() {
    let mut world = World::new(Recipe::new(51, 1).set("requirepass", "sesame"));
    let mut judge = world.client();
    assert_eq!(world.ask(&mut judge, "AUTH sesame").to_string(), "+OK");
    let mut strangers: Vec<Client> = (0..5).map(|_| world.client()).collect();
    for stranger in &mut strangers {
        stranger.queue_bytes(&b"GET x\r\n".repeat(100_000));
    }
    for _ in 0..200 {
        for stranger in &mut strangers {
            stranger.push();
        }
        let held = held(&mut world, &mut judge);
        assert!(held.iter().all(|held| held.is_within(32 * 1024)), "{held:?}");
    }
    for stranger in &mut strangers {
        assert!(stranger.push() > 0, "the flood was taken whole");
    }
}

#[test]
fn a_client_that_sends_faster_than_it_is_served_is_paused_and_loses_nothing() {
    const COUNT: usize = 50_000;
    // Near clients: more has come when a turn ends than it could run.
    let network = SimOptions { delay_ns: 100..=1_000, ..SimOptions::default() };
    let mut world = World::new(Recipe { network, ..Recipe::new(52, 1) });
    let mut judge = world.client();
    let mut streamer = world.client();
    // A run takes a thousand lines, empty ones too, and a buffer brings several thousand of these.
    streamer.queue_bytes(&b"\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\n\r\nPING\r\n".repeat(COUNT));
    let mut replies = 0;
    let mut most = 0;
    while replies < COUNT * b"+PONG\r\n".len() {
        streamer.pump();
        let said = streamer.take_bytes();
        assert!(said.iter().enumerate().all(|(index, byte)| *byte == b"+PONG\r\n"[(replies + index) % 7]), "a reply is not whole");
        replies += said.len();
        for held in held(&mut world, &mut judge) {
            assert!(held.is_within(256 * 1024), "{held:?}");
            most = most.max(held.input_bytes);
        }
    }
    assert!(most + RECEIVE_BUFFER_BYTES > 256 * 1024, "it never came to the bound: {most} bytes at most");
    assert_eq!(world.ask(&mut streamer, "PING").to_string(), "+PONG");
}

/// A number of `INFO`.
fn info(world: &mut World, judge: &mut Client, name: &str) -> u64 {
    let text = world.ask(judge, "INFO everything").text();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap_or_else(|| panic!("no {name} in {text}"));
    line.trim_end().parse().expect("a number")
}

/// A watcher that reads everything, one that reads nothing, and somebody whose commands have lines of 40 KB.
struct Watched {
    world: World,
    fast: Client,
    slow: Client,
    worker: Client,
}

impl Watched {
    fn new(recipe: Recipe) -> Watched {
        let mut world = World::new(recipe);
        let (mut fast, mut slow, worker) = (world.client(), world.client(), world.client());
        for watcher in [&mut fast, &mut slow] {
            assert_eq!(world.ask(watcher, "MONITOR").to_string(), "+OK");
        }
        Watched { world, fast, slow, worker }
    }

    /// One command. Returns the bytes that the slow watcher, or whoever waits most, makes the server hold for it.
    fn work(&mut self) -> usize {
        let Watched { world, fast, worker, .. } = self;
        // Each of these bytes is shown as four.
        worker.send_words(&[b"GET", &[1; 10_000]]);
        assert_eq!(world.reply(worker).to_string(), "nil");
        assert!(world.reply(fast).text().len() > 40_000);
        let list = world.ask(worker, "CLIENT LIST").text();
        let held = list.lines().filter_map(|line| line.split(' ').find_map(|word| word.strip_prefix("omem=")));
        held.map(|bytes| bytes.parse().expect("a number")).max().expect("there are clients")
    }
}

#[test]
fn a_watcher_who_does_not_read_is_closed_at_its_limit_and_nobody_else_notices() {
    for (seed, cores) in [(53, 1), (54, 3)] {
        let mut watched = Watched::new(Recipe::new(seed, cores).set("client-output-buffer-limit", "replica 1mb 0 0"));
        let held: Vec<usize> = (0..60).map(|_| watched.work()).collect();
        let most = *held.iter().max().expect("many");
        assert!((900_000..=1 << 20).contains(&most), "{most} bytes held; seed {seed}");
        assert!(held.last().is_some_and(|last| *last < 100_000), "{held:?}; seed {seed}");
        let Watched { mut world, mut fast, mut slow, mut worker } = watched;
        assert_eq!(info(&mut world, &mut worker, "clients_closed_over_limit"), 1);
        assert_eq!(info(&mut world, &mut worker, "clients_monitoring"), 1);
        world.closed(&mut slow);
        for expected in ["INFO", "INFO"] {
            assert!(world.reply(&mut fast).text().contains(&format!("] \"{expected}\"")));
        }
        assert_eq!(world.ask(&mut fast, "RESET").to_string(), "+RESET");
    }
}

#[test]
fn a_watcher_above_its_soft_limit_is_closed_when_it_stays_there() {
    let mut watched = Watched::new(Recipe::new(55, 3).set("client-output-buffer-limit", "replica 0 200kb 5"));
    for _ in 0..10 {
        watched.work();
    }
    watched.world.pass(Duration::from_secs(4));
    assert!(watched.work() > 200 << 10, "there is time left");
    watched.world.pass(Duration::from_secs(4));
    assert!(watched.work() < 100_000, "its time is over");
    let Watched { mut world, mut slow, mut worker, .. } = watched;
    assert_eq!(info(&mut world, &mut worker, "clients_closed_over_limit"), 1);
    world.closed(&mut slow);
}

#[test]
fn lines_beyond_what_a_turn_may_show_are_left_out_and_counted() {
    const PINGS: usize = 50;
    let mut world = World::new(Recipe::new(56, 1));
    let (mut watcher, mut worker) = (world.client(), world.client());
    assert_eq!(world.ask(&mut watcher, "MONITOR").to_string(), "+OK");
    // The line of the first is longer than what a turn may show; it is shown whole, and those in the same turn are not.
    let mut bytes = b"*41\r\n$4\r\nMGET\r\n".to_vec();
    for _ in 0..40 {
        bytes.extend_from_slice(b"$8000\r\n");
        bytes.resize(bytes.len() + 8_000, 1);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(&b"*1\r\n$4\r\nPING\r\n".repeat(PINGS));
    worker.send_bytes(&bytes);
    assert_eq!(world.reply(&mut worker).parts().len(), 40);
    for _ in 0..PINGS {
        assert_eq!(world.reply(&mut worker).to_string(), "+PONG");
    }
    assert!(world.reply(&mut watcher).text().len() > 40 * 4 * 8_000);
    let dropped = info(&mut world, &mut worker, "monitor_lines_dropped");
    assert!(dropped > 0, "they did not come in the same turn");
    for _ in dropped..PINGS as u64 {
        assert!(world.reply(&mut watcher).text().ends_with("] \"PING\""));
    }
    world.ask(&mut worker, "ECHO later");
    let next = std::iter::repeat_with(|| world.reply(&mut watcher).text()).find(|line| !line.contains("\"INFO\""));
    assert!(next.is_some_and(|line| line.ends_with("\"ECHO\" \"later\"")), "later ones are shown again");
}

#[test]
fn other_cores_owe_a_client_whose_commands_are_watched_no_more_than_any_other() {
    let Watched { mut world, fast: _fast, slow: _slow, mut worker } = Watched::new(Recipe::new(56, 3));
    // All of one core that is not the client's own, for at least two of the three.
    for number in 0..3 {
        for _ in 0..2_000 {
            worker.send(&format!("GET k:{number}"));
        }
    }
    (0..6_000).for_each(|_| assert_eq!(world.reply(&mut worker).to_string(), "nil"));
    assert!(info(&mut world, &mut worker, "lane_pushbacks") > 0);
}

#[test]
fn clients_beyond_the_limit_are_told_and_places_come_back() {
    for (seed, cores) in [(57, 1), (58, 3)] {
        let mut recipe = Recipe::new(seed, cores).set("maxclients", "5");
        // An empty socket takes so short a line whole; the simulated one may take a part, and the rest is not waited for.
        recipe.network.short_one_in = 0;
        let mut world = World::new(recipe);
        let mut inside: Vec<Client> = (0..5).map(|_| world.client()).collect();
        for client in &mut inside {
            assert_eq!(world.ask(client, "PING").to_string(), "+PONG");
        }
        for _ in 0..3 {
            let mut refused = world.client();
            assert_eq!(world.reply(&mut refused).to_string(), "-ERR max number of clients reached");
            world.closed(&mut refused);
        }
        assert_eq!(info(&mut world, &mut inside[0], "rejected_connections"), 3);
        assert_eq!(info(&mut world, &mut inside[0], "connected_clients"), 5);
        assert_eq!(world.ask(&mut inside[0], "CONFIG SET maxclients 2").to_string(), "+OK");
        for client in &mut inside {
            assert_eq!(world.ask(client, "PING").to_string(), "+PONG", "those who are in stay");
        }
        for client in inside.drain(1..) {
            client.close();
        }
        world.pass(Duration::from_millis(10));
        let mut late = world.client();
        assert_eq!(world.ask(&mut late, "PING").to_string(), "+PONG", "a place is free again; seed {seed}");
        let mut refused = world.client();
        assert_eq!(world.reply(&mut refused).to_string(), "-ERR max number of clients reached");
    }
}
