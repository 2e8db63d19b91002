//! The program's commands that move data in and out: outside clients of a running server, so that what they bring is as durable as
//! anything a client wrote. None of it is part of a server.

mod address;
mod commands;
pub(crate) mod export;
pub(crate) mod import;
mod parts;
mod peer;
mod pipeline;
mod position;
mod progress;
mod psync;
mod requests;
mod sink;
mod tally;
mod verify;

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use netio::signals::StopSignals;

/// All is done, but not everything could be taken along; a table says what and why.
const EXIT_SKIPPED: u8 = 3;
/// A signal came before the end; the same command goes on where it stopped, if there is a position file.
const EXIT_STOPPED: u8 = 4;

/// Why a command could not do its work, for people. Never holds a password or a value.
#[derive(Debug)]
struct Trouble {
    text: String,
    /// The command line was wrong, not the world.
    usage: bool,
}

impl Trouble {
    fn new(text: impl Into<String>) -> Trouble {
        Trouble { text: text.into(), usage: false }
    }

    fn usage(text: impl Into<String>) -> Trouble {
        Trouble { text: text.into(), usage: true }
    }

    /// An error of the machine with the step it happened in.
    fn step(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Trouble {
        move |error| Trouble::new(format!("{what}: {error}"))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// How a command came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Whole,
    Skipped,
    Stopped,
}

/// Whether somebody asked this process to stop. Cheap to ask.
#[derive(Clone)]
struct Stop(Arc<AtomicBool>);

impl Stop {
    /// From now on the first signal is only noted; a second one ends the process at once.
    fn on_signals() -> io::Result<Stop> {
        let signals = StopSignals::block()?;
        let stop = Stop(Arc::new(AtomicBool::new(false)));
        let noted = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if let Ok(name) = signals.wait() {
                eprintln!("{name}: coming to an end");
                noted.0.store(true, Ordering::Relaxed);
            }
            if signals.wait().is_ok() {
                std::process::exit(i32::from(EXIT_STOPPED));
            }
        })?;
        Ok(stop)
    }

    fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Runs a command and turns its end into an exit code.
fn conclude(run: impl FnOnce(Stop) -> Result<Outcome, Trouble>) -> ExitCode {
    let outcome = Stop::on_signals().map_err(Trouble::step("cannot block signals")).and_then(run);
    match outcome {
        Ok(Outcome::Whole) => ExitCode::SUCCESS,
        Ok(Outcome::Skipped) => ExitCode::from(EXIT_SKIPPED),
        Ok(Outcome::Stopped) => ExitCode::from(EXIT_STOPPED),
        Err(trouble) => crate::complain(if trouble.usage { crate::EXIT_USAGE } else { crate::EXIT_FAILED }, &trouble),
    }
}

/// Unix time in milliseconds.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Bytes for people.
fn bytes_text(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
