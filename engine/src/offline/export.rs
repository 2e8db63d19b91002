//! `corewheel export`: what a running server holds, into a file for Redis or Valkey to load, or for people and programs to read.
//!
//! Keys are found with `SCAN` and read one group after the other while the server goes on serving, so each key is as it was when it was
//! read, not all as of one moment. The file appears under its name when it is whole, on the disk and read again.

use super::address::{Address, Password};
use super::peer::{Answer, Peer, put_request};
use super::progress::Progress;
use super::sink::{Format, Sink, count_again};
use super::tally::columns;
use super::{Outcome, Stop, Trouble, bytes_text, conclude, now_ms};
use clap::Args;
use shards::rdb::{self, Value};
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where the source's password may be instead of in a file.
const FROM_PASSWORD: &str = "COREWHEEL_FROM_PASSWORD";
/// Keys of one step of a scan.
const SCAN_COUNT: &[u8] = b"1000";
/// Requests sent before their replies are read: few enough that two sockets hold them, so that nobody waits in a circle.
const GROUP_BYTES: usize = 16 * 1024;
const GROUP_KEYS: usize = 128;
/// What a request is besides its key, at the most.
const WORDS_BYTES: usize = 64;

/// Write what a running server holds into a file: strings, lists, sets, sorted sets and hashes with their deadlines, of every database.
///
/// The server goes on serving meanwhile; each key is as it was when it was read. `rdb` is loaded by Redis since 5 and by Valkey.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExportOptions {
    /// What the file shall be.
    #[arg(value_enum)]
    format: Format,

    /// The file to write.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The running server to read.
    #[arg(long, value_name = "HOST:PORT")]
    from: String,

    /// File whose first line is the server's password; or else the environment's COREWHEEL_FROM_PASSWORD.
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,

    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,

    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "Examples:
  corewheel export rdb dump.rdb --from 127.0.0.1:6379
  corewheel export jsonl keys.jsonl --from 127.0.0.1:6379

Exit codes: 0 all is written; 1 it failed; 2 the command line is wrong; 3 done, but some keys hold other kinds of values; 4 stopped by a
signal.
Unless the code is 0 or 3 there is no file.";

/// Runs `corewheel export`.
pub(crate) fn run(options: ExportOptions) -> ExitCode {
    conclude(|stop| {
        let address = Address::parse("--from", &options.from)?;
        let password = Password::find(options.from_password_file.as_deref(), FROM_PASSWORD)?;
        if options.file.exists() && !options.force {
            return Err(Trouble::usage(format!("{} exists; replace it with --force", options.file.display())));
        }
        let peer = Peer::connect("source", &address, password.as_ref())?;
        let draft = Draft::of(&options.file);
        let output = draft.open()?;
        let progress = Progress::new("export", None, options.quiet);
        let sink = Sink::begin(options.format, output).map_err(Trouble::step(format_args!("cannot write {}", options.file.display())))?;
        let mut export = Export { peer, sink, progress, stop, counts: BTreeMap::new(), seen: None, bytes: 0, name: options.file.clone() };
        if !export.databases()? {
            println!("stopped; nothing was written");
            return Ok(Outcome::Stopped);
        }
        export.finish(draft, options.format)
    })
}

/// A file that is not whole, beside its place. Removed unless it is moved there.
struct Draft {
    place: PathBuf,
    draft: PathBuf,
}

impl Draft {
    fn of(place: &Path) -> Draft {
        let mut draft = place.as_os_str().to_owned();
        draft.push(".tmp");
        Draft { place: place.to_owned(), draft: draft.into() }
    }

    fn open(&self) -> Result<File, Trouble> {
        File::create(&self.draft).map_err(Trouble::step(format_args!("cannot write {}", self.draft.display())))
    }

    /// Moves the file to its place, for good.
    fn keep(self) -> Result<(), Trouble> {
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let moved = fs::rename(&self.draft, &self.place).and_then(|()| File::open(folder)?.sync_all());
        moved.map_err(Trouble::step(format_args!("cannot write {}", self.place.display())))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `keep` it is not there any more.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Counts of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    found: u64,
    written: u64,
    /// Deleted or expired between the scan and the reading.
    gone: u64,
    skipped: u64,
}

/// Keys that were written, by 128 bits of a keyed hash: a scan of Redis may tell a key twice, and a file may not.
struct Seen {
    keyed: [RandomState; 2],
    keys: HashSet<(u64, u64)>,
}

impl Seen {
    /// Whether it is the first time.
    fn insert(&mut self, key: &[u8]) -> bool {
        let [first, second] = &self.keyed;
        self.keys.insert((first.hash_one(key), second.hash_one(key)))
    }
}

/// How a key is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// A string, as it is.
    Get,
    /// Anything, as `RESTORE` takes it.
    Dump,
}

impl Reading {
    fn name(self) -> &'static [u8] {
        match self {
            Reading::Get => b"GET",
            Reading::Dump => b"DUMP",
        }
    }
}

struct Export {
    peer: Peer,
    sink: Sink,
    progress: Progress,
    stop: Stop,
    counts: BTreeMap<u32, Counts>,
    /// None where a scan tells each key once.
    seen: Option<Seen>,
    /// Read so far.
    bytes: u64,
    name: PathBuf,
}

impl Export {
    /// Writes every database. False if it was stopped.
    fn databases(&mut self) -> Result<bool, Trouble> {
        let scans_once = self.peer.info("server")?.lines().any(|line| line.starts_with("corewheel_version:"));
        for (db, keys) in self.peer.key_counts()? {
            self.seen = (!scans_once).then(|| Seen { keyed: Default::default(), keys: HashSet::new() });
            self.peer.demand(&[b"SELECT", db.to_string().as_bytes()])?;
            self.counts.insert(db, Counts::default());
            self.sink.database(db, keys).map_err(Trouble::step(format_args!("cannot write {}", self.name.display())))?;
            let mut cursor = b"0".to_vec();
            loop {
                let (next, keys) = self.scan(&cursor)?;
                self.keys(db, keys)?;
                if self.stop.is_wanted() {
                    return Ok(false);
                }
                cursor = next;
                if cursor == b"0" {
                    break;
                }
            }
        }
        Ok(true)
    }

    fn scan(&mut self, cursor: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Trouble> {
        let Answer::Array(answer) = self.peer.demand(&[b"SCAN", cursor, b"COUNT", SCAN_COUNT])? else { return Err(self.peer.nonsense()) };
        let Ok([Answer::Bulk(next), Answer::Array(found)]) = <[Answer; 2]>::try_from(answer) else { return Err(self.peer.nonsense()) };
        let mut keys = Vec::with_capacity(found.len());
        for key in found {
            let Answer::Bulk(key) = key else { return Err(self.peer.nonsense()) };
            if self.seen.as_mut().is_none_or(|seen| seen.insert(&key)) {
                keys.push(key);
            }
        }
        Ok((next, keys))
    }

    /// Reads and writes keys, a group at a time: most are strings, and the others are asked for once more.
    fn keys(&mut self, db: u32, keys: Vec<Vec<u8>>) -> Result<(), Trouble> {
        let mut rest = &keys[..];
        while !rest.is_empty() {
            let (mut bytes, mut group) = (0, Vec::new());
            for key in rest.iter().take(GROUP_KEYS) {
                bytes += 2 * (key.len() + WORDS_BYTES);
                // A key that is longer than a group goes alone, its requests one after the other.
                if !group.is_empty() && bytes > GROUP_BYTES {
                    break;
                }
                group.push(&key[..]);
            }
            rest = &rest[group.len()..];
            let others = self.group(db, &group, Reading::Get)?;
            self.group(db, &others, Reading::Dump)?;
        }
        Ok(())
    }

    /// Reads and writes the keys of a group. Gives those that hold no string, if only strings can be read.
    fn group<'k>(&mut self, db: u32, keys: &[&'k [u8]], reading: Reading) -> Result<Vec<&'k [u8]>, Trouble> {
        let mut requests = Vec::new();
        for key in keys {
            put_request(&mut requests, &[b"PEXPIRETIME", key]);
            put_request(&mut requests, &[reading.name(), key]);
        }
        let one_by_one = requests.len() > GROUP_BYTES;
        if !one_by_one {
            self.peer.send(&requests)?;
        }
        let mut others = Vec::new();
        for key in keys {
            let (deadline, value) = if one_by_one {
                (self.peer.call(&[b"PEXPIRETIME", key])?, self.peer.call(&[reading.name(), key])?)
            } else {
                (self.peer.answer()?, self.peer.answer()?)
            };
            if matches!(&value, Answer::Error(text) if text.starts_with("WRONGTYPE")) {
                others.push(*key);
            } else {
                self.key(db, key, &deadline, value, reading)?;
            }
        }
        Ok(others)
    }

    fn key(&mut self, db: u32, key: &[u8], deadline: &Answer, value: Answer, reading: Reading) -> Result<(), Trouble> {
        let counts = self.counts.entry(db).or_default();
        counts.found += 1;
        let expires_at_ms = match deadline {
            Answer::Integer(-1) => None,
            Answer::Integer(-2) => Some(0),
            Answer::Integer(at_ms @ 0..) => Some(*at_ms as u64),
            Answer::Error(text) => return Err(self.peer.refused(text)),
            _ => return Err(self.peer.nonsense()),
        };
        match value {
            Answer::Bulk(value) if expires_at_ms.is_none_or(|at_ms| at_ms > now_ms()) => {
                self.bytes += (key.len() + value.len()) as u64;
                // Another kind of value is no payload for us.
                let written = match reading {
                    Reading::Get => Some(self.sink.value(db, key, &Value::String(&value), expires_at_ms)),
                    Reading::Dump => rdb::decode(&value).ok().map(|decoded| self.sink.value(db, key, &decoded.value(), expires_at_ms)),
                };
                match written {
                    Some(written) => {
                        written.map_err(Trouble::step(format_args!("cannot write {}", self.name.display())))?;
                        counts.written += 1;
                    }
                    None => counts.skipped += 1,
                }
            }
            Answer::Bulk(_) | Answer::Null => counts.gone += 1,
            Answer::Error(text) => return Err(self.peer.refused(&text)),
            _ => return Err(self.peer.nonsense()),
        }
        let items = self.counts.values().map(|counts| counts.found).sum();
        self.progress.see(self.bytes, items);
        Ok(())
    }

    /// Makes the file whole and sure, reads it again and moves it to its place.
    fn finish(self, draft: Draft, format: Format) -> Result<Outcome, Trouble> {
        let failed = || Trouble::step(format!("cannot write {}", self.name.display()));
        let file = self.sink.end().map_err(failed())?;
        file.sync_all().map_err(failed())?;
        let bytes = file.metadata().map_err(failed())?.len();
        let again = count_again(format, &draft.draft)?;
        let written: BTreeMap<u32, u64> =
            self.counts.iter().filter(|(_, counts)| counts.written > 0).map(|(db, counts)| (*db, counts.written)).collect();
        if again != written {
            return Err(Trouble::new(format!("read again, the file holds {again:?} keys by database instead of {written:?}")));
        }
        draft.keep()?;
        self.progress.end();
        let mut rows = vec![["database", "keys found", "written", "gone meanwhile", "other kinds"].map(str::to_owned)];
        rows.extend(self.counts.iter().map(|(db, counts)| {
            [u64::from(*db), counts.found, counts.written, counts.gone, counts.skipped].map(|count| count.to_string())
        }));
        print!("{}", columns(&rows, 5));
        println!("verified: {} keys read again in {}, {}", written.values().sum::<u64>(), self.name.display(), bytes_text(bytes));
        Ok(if self.counts.values().any(|counts| counts.skipped > 0) { Outcome::Skipped } else { Outcome::Whole })
    }
}
