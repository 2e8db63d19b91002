//! `corewheel demo`: something to look at within a second.
//!
//! A server in this process on a free port, filled with sample data by an ordinary client, which then keeps a gentle load
//! going until the process is stopped. Nothing is kept.

use crate::{EXIT_FAILED, EXIT_USAGE, complain, start, stop_on_signal};
use clap::Args;
use engine::banner::banner;
use engine::options::ServerOptions;
use netio::signals::StopSignals;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Flags of `corewheel demo`.
#[derive(Args)]
pub(crate) struct DemoOptions {
    /// TCP port; 0 picks a free one.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    port: u16,

    /// Sample keys to fill in.
    #[arg(long, default_value_t = 10_000, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    keys: u64,

    /// Requests per second of the live load; 0 for none.
    #[arg(long, default_value_t = 200, value_name = "RATE", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    rate: u32,
}

/// Runs the demonstration until stopped.
pub(crate) fn run(options: DemoOptions) -> ExitCode {
    let signals = match StopSignals::block() {
        Ok(signals) => signals,
        Err(error) => return complain(EXIT_FAILED, &format!("cannot block signals: {error}")),
    };
    let server = ServerOptions { port: Some(options.port), ..ServerOptions::default() };
    let config = match server.into_config() {
        Ok(config) => config,
        Err(unusable) => return complain(EXIT_USAGE, &unusable),
    };
    let machine = match start(config) {
        Ok(machine) => machine,
        Err(failure) => return complain(EXIT_FAILED, &failure),
    };
    let port = machine.settings.port;
    print!("{}", banner(&machine));
    let mut client = match Client::connect(port).and_then(|mut client| client.fill(options.keys).map(|()| client)) {
        Ok(client) => client,
        Err(error) => {
            machine.shared.stop();
            let _ = machine.join();
            return complain(EXIT_FAILED, &format!("cannot fill in the sample data: {error}"));
        }
    };
    println!("{}", what_to_try(port, options.keys));
    stop_on_signal(&machine, signals);
    let shared = Arc::clone(&machine.shared);
    let load = thread::spawn(move || {
        // Ends with the server: then the connection is refused or closed.
        while options.rate > 0 && !shared.is_stopping() && client.beat(options.rate).is_ok() {}
    });
    let ended = machine.join();
    let _ = load.join();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => complain(EXIT_FAILED, &failure),
    }
}

fn what_to_try(port: u16, keys: u64) -> String {
    format!(
        "
{keys} sample keys are in, and a client keeps them busy. From another terminal:

  redis-cli -p {port} GET user:42:name
  redis-cli -p {port} TTL session:7
  redis-cli -p {port} --scan --pattern 'counter:*'
  redis-cli -p {port} INFO commandstats
  redis-cli -p {port} MONITOR
  redis-benchmark -p {port} -t get,set -P 16 -q

Ctrl-C ends it; nothing is kept."
    )
}

/// A plain client; the demonstration must not need anything that a user does not have.
struct Client {
    stream: BufReader<TcpStream>,
    beats: u64,
}

impl Client {
    fn connect(port: u16) -> io::Result<Client> {
        Ok(Client { stream: BufReader::new(TcpStream::connect(("127.0.0.1", port))?), beats: 0 })
    }

    /// Users, sessions that expire, counters.
    fn fill(&mut self, keys: u64) -> io::Result<()> {
        const NAMES: [&str; 8] = ["Ada", "Grace", "Edsger", "Barbara", "Tony", "Leslie", "Nancy", "Butler"];
        let number = |index: u64| index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        for first in (0..keys).step_by(500) {
            let mut batch = Vec::new();
            let last = (first + 500).min(keys);
            for index in first..last {
                let id = index / 3;
                match index % 3 {
                    0 => request(&mut batch, &["SET", &format!("user:{id}:name"), NAMES[(number(id) % 8) as usize]]),
                    1 => request(
                        &mut batch,
                        &["SET", &format!("session:{id}"), &format!("{:06x}", number(id)), "EX", &(600 + number(id) % 3600).to_string()],
                    ),
                    _ => request(&mut batch, &["SET", &format!("counter:{id}"), &(number(id) % 1000).to_string()]),
                }
            }
            self.exchange(&batch, (last - first) as usize)?;
        }
        Ok(())
    }

    /// A tenth of a second of load.
    fn beat(&mut self, rate: u32) -> io::Result<()> {
        let count = (rate / 10).max(1);
        let mut batch = Vec::new();
        for _ in 0..count {
            self.beats += 1;
            let id = (self.beats.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33) % 1000;
            match self.beats % 4 {
                0 => request(&mut batch, &["INCR", &format!("counter:{id}")]),
                1 => request(&mut batch, &["SET", &format!("session:{id}"), "seen", "EX", "900"]),
                _ => request(&mut batch, &["GET", &format!("user:{id}:name")]),
            }
        }
        self.exchange(&batch, count as usize)?;
        thread::sleep(Duration::from_millis(100));
        Ok(())
    }

    /// Sends requests and reads as many replies, all of one line or one bulk.
    fn exchange(&mut self, requests: &[u8], replies: usize) -> io::Result<()> {
        self.stream.get_mut().write_all(requests)?;
        let mut line = Vec::new();
        for _ in 0..replies {
            line.clear();
            self.stream.read_until(b'\n', &mut line)?;
            match line.first() {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(b'-') => return Err(io::Error::other(String::from_utf8_lossy(&line).trim().to_owned())),
                Some(b'$') if line != b"$-1\r\n" => {
                    line.clear();
                    self.stream.read_until(b'\n', &mut line)?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn request(batch: &mut Vec<u8>, words: &[&str]) {
    let _ = write!(batch, "*{}\r\n", words.len());
    for word in words {
        let _ = write!(batch, "${}\r\n{word}\r\n", word.len());
    }
}
