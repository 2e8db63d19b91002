//! The floor: a server that answers `+OK` to every command without looking at it.
//!
//! It is what a Redis-speaking server on `netio` would cost if parsing, hashing, tables and replies were
//! free, so every performance bar of the real server is stated above it. It counts commands by the stars
//! that begin a line, which is exact for RESP arrays whose values contain no line that begins with a star,
//! such as those of `redis-benchmark`; inline commands are not counted and not answered.
//!
//! ```text
//! cargo run --release -p benches --example floor -- --port 7999 --io uring
//! ```

use netio::options::Without;
use netio::{Backend, Choice, ConnId, Epoll, Event, Kernel, Listen, Options, Sent, Uring, Wait};
use std::net::SocketAddr;
use std::process::ExitCode;

const USAGE: &str = "floor [--port N] [--core N] [--io auto|uring|epoll] [--spin TURNS] [--buffers N] [--buffer-bytes N] \
                     [--without multishot,defer,registered]";
const REPLY: &[u8] = b"+OK\r\n";
/// Replies that leave in one send; more leave in several.
const REPLIES_PER_SEND_MAX: usize = 4096;

struct Arguments {
    port: u16,
    core: Option<usize>,
    choice: Choice,
    spin_turns: u32,
    options: Options,
}

fn main() -> ExitCode {
    let arguments = match parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match serve(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("{cause}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(core) = arguments.core {
        netio::placement::pin_thread(&[core])?;
    }
    match netio::choose(arguments.choice)? {
        Backend::Uring => run(Uring::open(arguments.options.clone())?, &arguments),
        Backend::Epoll { stepped_down } => run(Epoll::open(arguments.options.clone(), stepped_down)?, &arguments),
    }
}

/// What is owed to one connection.
#[derive(Clone, Default)]
struct Peer {
    id: Option<ConnId>,
    /// Whether the bytes so far end a line, so that a star would begin one.
    at_line_start: bool,
    owed: usize,
    /// A rest is under way; what is owed meanwhile waits.
    sending: bool,
}

fn run<K: Kernel>(mut kernel: K, arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    kernel.listen(&Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], arguments.port))))?;
    let facts = kernel.facts();
    let missing: Vec<_> = facts.features.iter().filter(|feature| !feature.present).map(|feature| feature.name).collect();
    println!("floor: {} on Linux {}, without {missing:?}, port {}", facts.backend, facts.release, arguments.port);
    let replies = REPLY.repeat(REPLIES_PER_SEND_MAX);
    let mut peers: Vec<Peer> = Vec::new();
    let mut owing: Vec<ConnId> = Vec::new();
    let mut events = Vec::new();
    let mut idle_turns = 0;
    loop {
        let wait = if idle_turns < arguments.spin_turns { Wait::Poll } else { Wait::Forever };
        kernel.turn(wait, &mut events)?;
        idle_turns = if events.is_empty() { idle_turns + 1 } else { 0 };
        for event in events.drain(..) {
            match event {
                Event::Accepted { conn, .. } => {
                    let index = conn.index as usize;
                    if peers.len() <= index {
                        peers.resize(index + 1, Peer::default());
                    }
                    peers[index] = Peer { id: Some(conn), at_line_start: true, ..Peer::default() };
                }
                Event::Received { conn, buffer } => {
                    let peer = &mut peers[conn.index as usize];
                    let bytes = kernel.bytes(buffer);
                    let commands = commands_in(bytes, peer.at_line_start);
                    peer.at_line_start = bytes.ends_with(b"\n");
                    kernel.release(buffer);
                    if peer.owed == 0 && commands > 0 {
                        owing.push(conn);
                    }
                    peer.owed += commands;
                }
                Event::Ended { conn, .. } => {
                    peers[conn.index as usize] = Peer::default();
                    kernel.close(conn);
                }
                Event::SentRest { conn, .. } => {
                    let peer = &mut peers[conn.index as usize];
                    if peer.id == Some(conn) {
                        peer.sending = false;
                        owing.push(conn);
                    }
                }
                Event::Woken => {}
                Event::File { token, .. } => unreachable!("request {token} to a file was never made"),
            }
        }
        for conn in owing.drain(..) {
            let peer = &mut peers[conn.index as usize];
            while peer.id == Some(conn) && !peer.sending && peer.owed > 0 {
                let count = peer.owed.min(REPLIES_PER_SEND_MAX);
                let batch = &replies[..count * REPLY.len()];
                peer.owed -= count;
                match kernel.send(conn, batch) {
                    Sent::All => {}
                    Sent::Part { taken_bytes } => {
                        peer.sending = true;
                        kernel.send_rest(conn, batch.to_vec(), taken_bytes);
                    }
                    // The end of its stream is on the way.
                    Sent::Gone => peer.owed = 0,
                }
            }
        }
    }
}

/// Stars that begin a line.
fn commands_in(bytes: &[u8], at_line_start: bool) -> usize {
    memchr::memchr_iter(b'*', bytes).filter(|at| if *at == 0 { at_line_start } else { bytes[at - 1] == b'\n' }).count()
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments { port: 7999, core: None, choice: Choice::Auto, spin_turns: 0, options: Options::default() };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u32>().map_err(|e| format!("{word} {value}: {e}"));
        match word.as_str() {
            "--port" => arguments.port = u16::try_from(number()?).map_err(|e| format!("{word} {value}: {e}"))?,
            "--core" => arguments.core = Some(number()? as usize),
            "--io" => arguments.choice = value.parse()?,
            "--spin" => arguments.spin_turns = number()?,
            "--buffers" => arguments.options.receive_buffers = u16::try_from(number()?).map_err(|e| format!("{word} {value}: {e}"))?,
            "--buffer-bytes" => arguments.options.receive_buffer_bytes = number()?,
            "--without" => {
                arguments.options.without = Without {
                    multishot: value.contains("multishot"),
                    deferred_task_work: value.contains("defer"),
                    registered_ring: value.contains("registered"),
                    ring_messages: false,
                }
            }
            other => return Err(format!("unknown flag {other}")),
        }
    }
    Ok(arguments)
}
