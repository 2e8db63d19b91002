//! The program's commands that move data in and out. None of it is part of a server.
//!
//! [`import`] and [`export`] are outside clients of a running server, so that what comes in is as durable as anything a client wrote.
//! [`backup`] and [`restore`] work on files, and need no server to help.

mod address;
pub(crate) mod archive;
pub(crate) mod backup;
mod bar;
mod catalog;
mod commands;
pub(crate) mod export;
mod folder;
mod gather;
mod history;
pub(crate) mod import;
mod moment;
mod object;
mod parts;
mod peer;
mod pipeline;
mod point;
mod position;
mod progress;
mod psync;
mod requests;
pub(crate) mod restore;
mod sink;
mod store;
mod stream;
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

#[cfg(test)]
mod tests {
    use shards::Db;
    use shards::log::{
        Body, Cores, Entry, FrameFlags, FrameSpec, Generation, Lsn, MANIFEST_NAME, Manifest, NodeId, Opening, Part, PartMode, Plan,
        Section, SegmentHeader, SegmentKind, StreamId, encode, frame_header, opening_name, segment_name, snapshot_file_name, snapshot_name,
    };
    use std::path::{Path, PathBuf};

    /// A directory of one test's own, gone after it.
    pub(super) struct Folder {
        path: PathBuf,
    }

    impl Folder {
        pub(super) fn new(name: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("corewheel-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).expect("the machine has room for a test");
            Folder { path }
        }

        pub(super) fn path(&self) -> &Path {
            &self.path
        }

        pub(super) fn text(&self) -> &str {
            self.path.to_str().expect("the name is text")
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }

    const NODE: NodeId = NodeId(*b"0123456789abcdef");

    /// A log that never was: what a server would have written.
    pub(super) fn write_node(root: &Path) {
        let header = header(SegmentKind::Node, StreamId { generation: Generation(0), core: 0 }, 0);
        put(&root.join("node"), &header.to_bytes());
    }

    pub(super) fn write_opening(root: &Path, generation: u64, ends: &[(StreamId, Lsn)], clock_ms: u64) {
        let plan = Plan { ends: ends.to_vec(), dropped: vec![] };
        let opening = Opening { node: NODE, generation: Generation(generation), core_count: 2, plan, clock_ms, created_ms: clock_ms };
        put(&root.join("log").join(opening_name(opening.generation)), &opening.to_bytes());
    }

    /// A file of a stream. Each entry has a clock, may say that the next one belongs to it, and may be a command's part, which both
    /// cores have; each is a frame. `tail` follows.
    pub(super) fn write_segment(root: &Path, id: StreamId, seq: u64, first: u64, entries: &[(u64, bool, Option<u64>)], tail: &[u8]) -> u64 {
        let header = header(SegmentKind::Log, id, seq);
        let mut bytes = header.to_bytes().to_vec();
        for (index, (clock_ms, in_group, number)) in entries.iter().enumerate() {
            let mut cores = Vec::new();
            let participants = Cores::write([0, 1], &mut cores);
            let part = number.map(|number| Part { origin: 0, number, mode: PartMode::Held, participants });
            let mut payload = Vec::new();
            let entry = Entry { partition: 0, db: Db(0), clock_ms: *clock_ms, in_group: *in_group, part, body: Body::Tick };
            encode(&entry, *clock_ms, &mut payload);
            let lsn = first + index as u64;
            let spec = FrameSpec {
                at: bytes.len() as u64,
                first_lsn: Lsn(lsn),
                synced_lsn: Lsn(lsn - 1),
                clock_ms: *clock_ms,
                entry_count: 1,
                raw_bytes: payload.len() as u32,
                flags: FrameFlags::ENTRIES,
                key_number: 0,
            };
            bytes.extend_from_slice(&frame_header(&spec, &payload, header.seed()));
            bytes.extend_from_slice(&payload);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
        }
        let meant = bytes.len() as u64;
        bytes.extend_from_slice(tail);
        put(&root.join("log").join(segment_name(id, seq)), &bytes);
        meant
    }

    /// A snapshot of one file for each of two cores, with everything before an entry of generation 1. The log it goes with begins at
    /// the first of the two numbers.
    pub(super) fn write_snapshot(root: &Path, id: u64, (log_start, as_of): (u64, u64), clock_ms: u64) {
        let section =
            |core| Section { partition: core, as_of: (Generation(1), Lsn(as_of)), clock_ms, file: core, at: 4096, count: 0, digest: 0 };
        let start = |core| (StreamId { generation: Generation(1), core }, Lsn(log_start));
        let manifest = Manifest {
            id,
            node: NODE,
            created_ms: clock_ms,
            clock_ms,
            files: vec![(0, 9), (1, 9)],
            sections: [0, 1].map(section).to_vec(),
            log_start: [0, 1].map(start).to_vec(),
        };
        let folder = root.join("snap").join(snapshot_name(id));
        for core in [0, 1] {
            put(&folder.join(snapshot_file_name(core)), b"nine byte");
        }
        put(&folder.join(MANIFEST_NAME), &manifest.to_bytes());
    }

    fn header(kind: SegmentKind, stream: StreamId, seq: u64) -> SegmentHeader {
        SegmentHeader {
            kind,
            node: NODE,
            stream,
            core_count: 2,
            partitions: 0..1,
            seq,
            created_ms: 1,
            align_bytes: 512,
            key_number: 0,
            nonce_prefix: 0,
            room_bytes: 0,
        }
    }

    fn put(path: &Path, bytes: &[u8]) {
        std::fs::create_dir_all(path.parent().expect("a file is in a directory")).expect("the machine has room for a test");
        std::fs::write(path, bytes).expect("the machine has room for a test");
    }
}
