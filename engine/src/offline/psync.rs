//! A running source, as one of its replicas: its keys as they are at one moment, then every command from there on.
//!
//! The source holds back what we have not read yet and, as with any replica, ends the connection if that grows beyond its
//! `client-output-buffer-limit replica`.

use super::address::{Address, Password};
use super::commands::{Commands, Meaning};
use super::import::{Import, ImportOptions};
use super::peer::{Answer, Peer, put_request};
use super::position::{Position, PositionFile};
use super::requests::{Next, Requests};
use super::{Outcome, Stop, Trouble};
use shards::rdb::{OtherKind, Reader};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How long to wait for the next command before looking at everything else.
const WAIT: Duration = Duration::from_millis(100);
/// As short as a socket waits: what is there already is taken.
const NO_WAIT: Duration = Duration::from_millis(1);
/// How often the source hears how far we are; after a minute of silence it would give us up.
const ACKNOWLEDGE_EVERY: Duration = Duration::from_secs(1);
/// Behind a transfer whose length the source did not know beforehand.
const MARK_BYTES: usize = 40;
/// Keys of the source asked for at a time.
const SCAN_COUNT: &[u8] = b"1000";
/// How long what comes is carried out between two pages of keys: most of the time, so that nothing piles up at the source.
const KEEP_UP_FOR: Duration = Duration::from_millis(100);
/// Kinds of values that come along; hashes last.
const KINDS: [&[u8]; 5] = [b"string", b"list", b"set", b"zset", b"hash"];
/// Keys that are missing while the source changes are looked at so often before they are missed for good.
const ROUNDS: usize = 3;

/// Imports from `address` until it is caught up, or with `--follow` until a signal comes.
pub(super) fn run(
    options: &ImportOptions,
    address: &Address,
    password: Option<&Password>,
    file: PositionFile,
    stop: Stop,
) -> Result<Outcome, Trouble> {
    let found = file.load()?.filter(|_| !options.restart);
    let place = format!("redis://{address}");
    let resumed = match found {
        Some(found) if found.source.split(' ').next() != Some(&place) => {
            return Err(Trouble::new("the position file belongs to another source; begin anew with --restart"));
        }
        Some(found) if found.unsure => {
            return Err(Trouble::new(
                "the last import was cut off while commands were under way, and which of them were carried out cannot be known; \
                 empty the target and begin anew with --restart",
            ));
        }
        found => found,
    };
    let continues = resumed.is_some();
    let position = resumed.unwrap_or_else(|| Position::start(place.clone()));
    let control = Peer::connect("source", address, password)?;
    let master = Peer::connect("source", address, password)?;
    let mut import = Import::connect(options, stop, file, position, None)?;
    if import.occupied && !continues && !import.replace {
        return Err(Trouble::usage(
            "the target holds keys, and what a running server does cannot keep them: empty it, or say --existing replace",
        ));
    }
    let Some(requests) = begin(&mut import, master, &place)? else { return Ok(stopped(import)) };
    let commands = Commands::new(import.position.db);
    Live { import, control, requests, commands, acknowledged: Instant::now() }.run(options)
}

fn stopped(import: Import) -> Outcome {
    import.progress.end();
    print!("{}", import.position.tally.text());
    println!("stopped before every key was read; begin anew");
    Outcome::Stopped
}

/// Asks to be a replica and reads the keys, or goes on where an earlier import was. None if it was stopped meanwhile.
fn begin(import: &mut Import, mut master: Peer, place: &str) -> Result<Option<Requests<BufReader<TcpStream>>>, Trouble> {
    master.demand(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2"])?;
    let from = import.position.source.split_once(' ').map(|(_, id)| id.to_owned());
    let mut ask = Vec::new();
    match &from {
        Some(id) => put_request(&mut ask, &[b"PSYNC", id.as_bytes(), (import.position.at + 1).to_string().as_bytes()]),
        None => put_request(&mut ask, &[b"PSYNC", b"?", b"-1"]),
    }
    master.send(&ask)?;
    let answer = spoken_line(&mut master)?;
    let words: Vec<&str> = answer.split(' ').collect();
    match words[..] {
        ["+CONTINUE"] => {}
        ["+CONTINUE", id] => import.position.source = format!("{place} {id}"),
        ["+FULLRESYNC", id, offset] => {
            if from.is_some() && !import.replace {
                return Err(Trouble::new("the source cannot go on from where the last import was; begin anew with --restart"));
            }
            let offset = offset.parse().map_err(|_| master.nonsense())?;
            if !read_keys(import, &mut master)? {
                return Ok(None);
            }
            (import.position.at, import.position.db, import.position.keys) = (offset, 0, None);
            import.position.source = format!("{place} {id}");
        }
        _ => return Err(master.refused(answer.trim_start_matches('-'))),
    }
    Ok(Some(Requests::new(master.input, import.position.at)))
}

/// The next line that says something: a source that is still preparing sends empty ones.
fn spoken_line(master: &mut Peer) -> Result<String, Trouble> {
    loop {
        let line = master.line()?;
        if !line.is_empty() {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

/// The source's keys as they were at one moment. False if it was stopped meanwhile.
fn read_keys(import: &mut Import, master: &mut Peer) -> Result<bool, Trouble> {
    let head = spoken_line(master)?;
    let mut reader = Reader::begin(&mut master.input).map_err(|error| Trouble::new(format!("the source's keys: {error}")))?;
    if !import.keys(&mut reader)? {
        return Ok(false);
    }
    let bytes = reader.position().at;
    if let Some(mark) = head.strip_prefix("$EOF:") {
        let mut found = [0; MARK_BYTES];
        master.input.read_exact(&mut found).map_err(Trouble::step("the end of the source's keys"))?;
        if mark.as_bytes() != found {
            return Err(Trouble::new("the source's keys do not end as it announced"));
        }
    } else if head.strip_prefix('$').and_then(|text| text.parse().ok()) != Some(bytes) {
        return Err(Trouble::new("the source's keys are not as long as it announced"));
    }
    Ok(true)
}

/// The source's commands on their way to the target.
struct Live {
    import: Import,
    /// A second connection to the source, for questions.
    control: Peer,
    requests: Requests<BufReader<TcpStream>>,
    commands: Commands,
    acknowledged: Instant,
}

impl Live {
    fn run(mut self, options: &ImportOptions) -> Result<Outcome, Trouble> {
        self.acknowledge()?;
        self.import.begin_commands()?;
        let goal = self.offset()?;
        let mut whole = self.reach(goal)?;
        if whole && !options.no_verify {
            whole = self.verify()?;
        }
        if whole && options.follow {
            eprintln!("caught up at offset {}; following until a signal comes", self.import.position.at);
            self.reach(u64::MAX)?;
        }
        self.import.pause()?;
        self.acknowledge()?;
        self.import.progress.end();
        print!("{}", self.import.position.tally.text());
        if !whole {
            println!("stopped before it was caught up");
            return Ok(Outcome::Stopped);
        }
        self.import.say_verified()?;
        Ok(self.import.outcome())
    }

    /// How far the source is.
    fn offset(&mut self) -> Result<u64, Trouble> {
        let text = self.control.info("replication")?;
        let found = text.lines().find_map(|line| line.strip_prefix("master_repl_offset:"));
        found.and_then(|text| text.trim().parse().ok()).ok_or_else(|| self.control.nonsense())
    }

    /// Carries out commands until the stream is at `goal`. False if it was stopped before.
    fn reach(&mut self, goal: u64) -> Result<bool, Trouble> {
        self.wait_up_to(WAIT)?;
        while self.import.position.at < goal {
            if self.import.stop.is_wanted() {
                return Ok(false);
            }
            self.step()?;
        }
        self.import.pipeline.drain(&mut self.import.position.tally)?;
        Ok(true)
    }

    /// Carries out what has come already. Where more comes all the time, only some of it.
    fn keep_up(&mut self) -> Result<(), Trouble> {
        self.wait_up_to(NO_WAIT)?;
        let began = Instant::now();
        while self.step()? && began.elapsed() < KEEP_UP_FOR {}
        Ok(())
    }

    fn wait_up_to(&mut self, time: Duration) -> Result<(), Trouble> {
        self.requests.input().get_ref().set_read_timeout(Some(time)).map_err(Trouble::step("cannot set a timeout"))
    }

    /// Takes the next command. False if there is none for the moment.
    fn step(&mut self) -> Result<bool, Trouble> {
        let next = self.requests.next()?;
        let import = &mut self.import;
        match next {
            Next::Command => {
                let meaning =
                    self.commands.take(self.requests.raw(), self.requests.args(), &mut import.pipeline, &mut import.position.tally)?;
                if !self.commands.in_transaction() {
                    (import.position.at, import.position.db) = (self.requests.at(), self.commands.db);
                }
                import.look(import.position.at);
                if meaning == Meaning::Acknowledge {
                    self.acknowledge()?;
                }
            }
            // Nobody waits longer for what was gathered.
            Next::Quiet => import.pipeline.drain(&mut import.position.tally)?,
            Next::End(_) => {
                return Err(Trouble::new("the source closed the connection; were we too slow for its client-output-buffer-limit?"));
            }
        }
        if self.acknowledged.elapsed() >= ACKNOWLEDGE_EVERY {
            self.acknowledge()?;
        }
        Ok(next == Next::Command)
    }

    /// Tells the source what the target has taken, no more.
    fn acknowledge(&mut self) -> Result<(), Trouble> {
        self.acknowledged = Instant::now();
        self.import.pipeline.drain(&mut self.import.position.tally)?;
        let mut request = Vec::new();
        put_request(&mut request, &[b"REPLCONF", b"ACK", self.import.position.at.to_string().as_bytes()]);
        self.requests.input().get_mut().write_all(&request).map_err(Trouble::step("the source"))
    }

    /// Asks for every key of the source in the target that can be there, while both go on changing. False if it was stopped.
    fn verify(&mut self) -> Result<bool, Trouble> {
        // Hashes whose fields expire cannot be told from others here; where there are some, no hash is asked for.
        let hashes = !self.import.position.tally.skipped.iter().any(|skipped| skipped.what == OtherKind::HashWithDeadlines.name());
        let kinds: &[&[u8]] = if hashes { &KINDS } else { &KINDS[..KINDS.len() - 1] };
        for (db, _) in self.control.key_counts()? {
            self.control.demand(&[b"SELECT", db.to_string().as_bytes()])?;
            for kind in kinds {
                if !self.verify_kind(db, kind)? {
                    return Ok(false);
                }
            }
        }
        self.import.pipeline.drain(&mut self.import.position.tally)?;
        self.look_again()
    }

    /// Asks for the keys of the selected database that hold a value of this kind.
    fn verify_kind(&mut self, db: u32, kind: &[u8]) -> Result<bool, Trouble> {
        let mut cursor = b"0".to_vec();
        loop {
            let Answer::Array(answer) = self.control.demand(&[b"SCAN", &cursor, b"COUNT", SCAN_COUNT, b"TYPE", kind])? else {
                return Err(self.control.nonsense());
            };
            let Ok([Answer::Bulk(next), Answer::Array(keys)]) = <[Answer; 2]>::try_from(answer) else {
                return Err(self.control.nonsense());
            };
            for key in &keys {
                let Answer::Bulk(key) = key else { return Err(self.control.nonsense()) };
                self.import.pipeline.exists(db, key, None, &mut self.import.position.tally)?;
            }
            self.keep_up()?;
            if self.import.stop.is_wanted() {
                return Ok(false);
            }
            cursor = next;
            if cursor == b"0" {
                return Ok(true);
            }
        }
    }

    /// What was missing may have been on its way, or deleted since.
    fn look_again(&mut self) -> Result<bool, Trouble> {
        for _ in 0..ROUNDS {
            let mut there = Vec::new();
            for (db, key) in self.import.pipeline.absent.take_keys() {
                self.control.demand(&[b"SELECT", db.to_string().as_bytes()])?;
                if self.control.demand(&[b"EXISTS", &key])? == Answer::Integer(1) {
                    there.push((db, key));
                }
            }
            if there.is_empty() {
                break;
            }
            let goal = self.offset()?;
            if !self.reach(goal)? {
                return Ok(false);
            }
            for (db, key) in there {
                self.import.pipeline.exists(db, &key, None, &mut self.import.position.tally)?;
            }
            self.import.pipeline.drain(&mut self.import.position.tally)?;
        }
        Ok(true)
    }
}
