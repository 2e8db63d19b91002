//! What clients may make the server hold: input that arrives faster than it runs, lines nobody reads, clients beyond the limit.

use simulation::{Client, Recipe, World};

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
    let list = world.ask(judge, "CLIENT LIST").to_string();
    let list = list.trim_matches('"').replace("\\n", "\n");
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
    let mut world = World::new(Recipe::new(52, 1));
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
