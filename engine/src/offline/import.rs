//! `corewheel import`: what another server left in its files, or is holding right now, into a running server.

use super::address::{Address, Password};
use super::commands::Commands;
use super::parts::Parts;
use super::peer::Peer;
use super::pipeline::Pipeline;
use super::position::{Position, PositionFile};
use super::progress::Progress;
use super::requests::{Next, Requests};
use super::{Outcome, Stop, Trouble, conclude, now_ms, psync, verify};
use clap::{Args, ValueEnum};
use shards::rdb::{Entry, Item, Reader, Value};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Where the passwords may be instead of in files.
const TO_PASSWORD: &str = "COREWHEEL_TO_PASSWORD";
const FROM_PASSWORD: &str = "COREWHEEL_FROM_PASSWORD";
const FILE_BUFFER_BYTES: usize = 1024 * 1024;
/// How often the position is written. What was imported since then is imported again after an interruption.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Items between two looks at the clock.
const ITEMS_PER_LOOK: u32 = 256;

/// Bring the data of a Redis or Valkey server into this one: strings, lists, sets, sorted sets and hashes with their deadlines, from its
/// files or as its replica.
///
/// The target is a running server, so what is imported is as durable as what its clients write. An import that was interrupted goes on
/// where it was when the same command is given again.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ImportOptions {
    /// A dump (.rdb), an append-only file, the folder or manifest of one, or redis://HOST:PORT of a running server.
    #[arg(value_name = "SOURCE")]
    source: OsString,

    /// The running server to import into.
    #[arg(long, value_name = "HOST:PORT")]
    to: String,

    /// What becomes of a key that the target has already. Append-only files and running servers need an empty target or `replace`.
    #[arg(long, value_enum, default_value_t = Existing::Keep)]
    existing: Existing,

    /// Stay with a running source after all has been copied, until a signal comes.
    #[arg(long)]
    pub(super) follow: bool,

    /// File whose first line is the target's password; or else the environment's COREWHEEL_TO_PASSWORD.
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,

    /// File whose first line is the source's password; or else the environment's COREWHEEL_FROM_PASSWORD.
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,

    /// Where it is noted how far the import has come [default: beside the source, with .position at its end; none for a server].
    #[arg(long, value_name = "FILE")]
    position: Option<PathBuf>,

    /// Begin anew, whatever the position file says.
    #[arg(long)]
    pub(super) restart: bool,

    /// Do not ask for every key again in the end.
    #[arg(long)]
    pub(super) no_verify: bool,

    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
}

/// What becomes of keys that the target has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Existing {
    /// They stay as they are.
    Keep,
    /// They are replaced.
    Replace,
}

const EXAMPLES: &str = "Examples:
  corewheel import /var/lib/redis/dump.rdb --to 127.0.0.1:6380
  corewheel import /var/lib/redis/appendonlydir --to 127.0.0.1:6380 --existing replace
  corewheel import redis://10.0.0.5:6379 --to 127.0.0.1:6380 --follow

Exit codes: 0 all is there; 1 it failed; 2 the command line is wrong; 3 done, but some things cannot be taken (the table says
which); 4 stopped by a signal: give the same command to go on.";

/// Runs `corewheel import`.
pub(crate) fn run(options: ImportOptions) -> ExitCode {
    conclude(|stop| {
        if let Some(address) = options.live_source() {
            let address = Address::parse("SOURCE", address)?;
            let password = Password::find(options.from_password_file.as_deref(), FROM_PASSWORD)?;
            return psync::run(&options, &address, password.as_ref(), PositionFile::new(options.position.clone()), stop);
        }
        if options.follow {
            return Err(Trouble::usage("--follow needs a running server as the source: redis://host:port"));
        }
        let source = Path::new(&options.source);
        let parts = Parts::of(source)?;
        let file = PositionFile::new(Some(options.position.clone().unwrap_or_else(|| position_beside(source))));
        let position = begin(&file, &options, &parts)?;
        let mut import = Import::connect(&options, stop, file, position, Some(parts.bytes))?;
        let whole = import.files(&parts)?;
        import.conclude(&parts, whole, !options.no_verify)
    })
}

impl ImportOptions {
    fn live_source(&self) -> Option<&str> {
        self.source.to_str().filter(|source| source.starts_with("redis://") || source.starts_with("rediss://"))
    }
}

fn position_beside(source: &Path) -> PathBuf {
    let mut name = source.as_os_str().to_owned();
    while name.as_encoded_bytes().ends_with(b"/") {
        name = name.to_string_lossy().trim_end_matches('/').into();
    }
    name.push(".position");
    name.into()
}

/// Where to begin: at the start, or where an interrupted import of the same files was.
fn begin(file: &PositionFile, options: &ImportOptions, parts: &Parts) -> Result<Position, Trouble> {
    let shown = || file.path().unwrap_or(Path::new("")).display().to_string();
    let Some(found) = file.load()?.filter(|_| !options.restart) else { return Ok(Position::start(parts.identity.clone())) };
    if found.source != parts.identity {
        return Err(Trouble::new(format!("{} belongs to other files, or these have changed since; begin anew with --restart", shown())));
    }
    if found.unsure {
        return Err(Trouble::new(format!(
            "the last import was cut off while commands were under way, and which of them were carried out cannot be known; \
             empty the target and begin anew with --restart ({})",
            shown()
        )));
    }
    eprintln!("going on at byte {} of file {}", found.at, found.part + 1);
    Ok(found)
}

/// An import under way.
pub(super) struct Import {
    pub(super) pipeline: Pipeline,
    pub(super) position: Position,
    pub(super) file: PositionFile,
    pub(super) progress: Progress,
    pub(super) stop: Stop,
    pub(super) replace: bool,
    /// The target held keys before anything was imported.
    pub(super) occupied: bool,
    /// The source is a server: reading cannot go on in the middle of its keys.
    live: bool,
    looks: u32,
    saved: Instant,
    /// Bytes of files that are done.
    bytes_before: u64,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Go {
    On,
    Save,
    Stop,
}

impl Import {
    /// `bytes`: how many there are to read; none of a running server.
    pub(super) fn connect(
        options: &ImportOptions,
        stop: Stop,
        file: PositionFile,
        position: Position,
        bytes: Option<u64>,
    ) -> Result<Import, Trouble> {
        let address = Address::parse("--to", &options.to)?;
        let password = Password::find(options.to_password_file.as_deref(), TO_PASSWORD)?;
        let mut peer = Peer::connect("target", &address, password.as_ref())?;
        let occupied = position.tally.total() == 0 && peer.key_counts()?.iter().any(|(_, keys)| *keys > 0);
        Ok(Import {
            pipeline: Pipeline::new(peer),
            position,
            file,
            progress: Progress::new("import", bytes, options.quiet),
            stop,
            replace: options.existing == Existing::Replace,
            occupied,
            live: bytes.is_none(),
            looks: 0,
            saved: Instant::now(),
            bytes_before: 0,
        })
    }

    /// Reads every file from where the position is. False if it was stopped before the end.
    fn files(&mut self, parts: &Parts) -> Result<bool, Trouble> {
        let first = self.position.part;
        for (index, path) in parts.files.iter().enumerate() {
            let failed = |error| Trouble::new(format!("cannot read {}: {error}", path.display()));
            let mut input = File::open(path).map_err(failed)?;
            let bytes = input.metadata().map_err(failed)?.len();
            if index >= first {
                input.seek(SeekFrom::Start(self.position.at)).map_err(failed)?;
                let input = BufReader::with_capacity(FILE_BUFFER_BYTES, input);
                let last = index + 1 == parts.files.len();
                let read =
                    self.one_file(input, last).map_err(|trouble| Trouble { text: format!("{}: {trouble}", path.display()), ..trouble })?;
                if !read {
                    return Ok(false);
                }
                (self.position.part, self.position.at, self.position.db) = (index + 1, 0, 0);
            }
            self.bytes_before += bytes;
        }
        Ok(true)
    }

    /// A file from where the position is: keys, then commands.
    fn one_file(&mut self, mut input: BufReader<File>, last: bool) -> Result<bool, Trouble> {
        let start = input.fill_buf().map_err(Trouble::step("cannot read"))?;
        let reader = match self.position.keys() {
            Some(place) => Some(Reader::resume(input, place)),
            None if self.position.at == 0 && (start.starts_with(b"REDIS") || start.starts_with(b"VALKEY")) => {
                Some(Reader::begin(input).map_err(|error| Trouble::new(error.to_string()))?)
            }
            None => return self.commands(input, last),
        };
        let Some(mut reader) = reader else { return Ok(true) };
        if !self.keys(&mut reader)? {
            return Ok(false);
        }
        let at = reader.position().at;
        (self.position.at, self.position.db, self.position.keys) = (at, 0, None);
        self.commands(reader.into_input(), last)
    }

    /// The keys of an RDB file, to its end.
    pub(super) fn keys<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<bool, Trouble> {
        loop {
            let place = reader.position();
            let go = self.look(place.at);
            if go != Go::On && !self.live {
                self.pipeline.drain(&mut self.position.tally)?;
                self.position.set_keys(place);
                self.save()?;
            }
            if go == Go::Stop {
                return Ok(false);
            }
            match self.one_item(reader) {
                Ok(true) => {}
                Ok(false) => break,
                Err(trouble) => {
                    // What was read well stays imported; the next try begins behind it.
                    self.pipeline.drain(&mut self.position.tally)?;
                    return Err(trouble);
                }
            }
        }
        self.pipeline.drain(&mut self.position.tally)?;
        Ok(true)
    }

    /// False at the end.
    fn one_item<R: BufRead>(&mut self, reader: &mut Reader<R>) -> Result<bool, Trouble> {
        let tally = &mut self.position.tally;
        match reader.next().map_err(|error| Trouble::new(error.to_string()))? {
            Item::About { .. } | Item::Sizes { .. } => {}
            Item::Functions => tally.skip("function library", "there are no functions here"),
            Item::ModuleData => tally.skip("module data", "there are no modules here"),
            Item::Key(Entry { db, value: Value::Other(kind), .. }) => {
                let counts = tally.db(db);
                (counts.read, counts.skipped) = (counts.read + 1, counts.skipped + 1);
                tally.skip(kind.name(), kind.reason());
            }
            Item::Key(Entry { db, key, value, expires_at_ms }) => {
                tally.db(db).read += 1;
                if expires_at_ms.is_some_and(|at_ms| at_ms <= now_ms()) {
                    tally.db(db).expired += 1;
                } else {
                    self.pipeline.store(db, key, &value, expires_at_ms, self.replace, tally)?;
                }
            }
            Item::End => return Ok(false),
        }
        Ok(true)
    }

    /// Commands up to the file's end.
    fn commands(&mut self, input: BufReader<File>, last: bool) -> Result<bool, Trouble> {
        let mut requests = Requests::new(input, self.position.at);
        let mut commands = Commands::new(self.position.db);
        let mut begun = false;
        loop {
            if self.look(requests.at()) == Go::Stop {
                return self.pause().map(|()| false);
            }
            match requests.next()? {
                Next::Command => {
                    if !begun {
                        self.begin_commands()?;
                        begun = true;
                    }
                    commands.take(requests.raw(), requests.args(), &mut self.pipeline, &mut self.position.tally)?;
                    if !commands.in_transaction() {
                        (self.position.at, self.position.db) = (requests.at(), commands.db);
                    }
                }
                Next::Quiet => {}
                Next::End(left) => {
                    self.pipeline.drain(&mut self.position.tally)?;
                    return self.end_of_commands(left, commands.abandon(), last).map(|()| true);
                }
            }
        }
    }

    /// From here on an interruption that nobody announced cannot be mended: commands may not be carried out twice.
    pub(super) fn begin_commands(&mut self) -> Result<(), Trouble> {
        if self.occupied && !self.replace {
            return Err(Trouble::usage(
                "the target holds keys, and commands cannot keep what is there: empty it, or say --existing replace",
            ));
        }
        self.position.unsure = true;
        self.save()
    }

    pub(super) fn pause(&mut self) -> Result<(), Trouble> {
        self.pipeline.drain(&mut self.position.tally)?;
        self.position.unsure = false;
        self.save()
    }

    /// The last file may end in the middle of a command or a transaction: its server was killed. Redis ignores that too.
    fn end_of_commands(&mut self, left: usize, abandoned: usize, last: bool) -> Result<(), Trouble> {
        if left > 0 && !last {
            return Err(Trouble::new(format!("ends inside of a command, {left} bytes of which are there")));
        }
        let tally = &mut self.position.tally;
        if left > 0 {
            tally.skip("command cut at the end of the file", "its server ended while it wrote it");
        }
        for _ in 0..abandoned {
            tally.skip("command of an unfinished transaction", "its server ended before EXEC");
        }
        Ok(())
    }

    /// Every so many items: shows how far it is, and says whether to go on.
    pub(super) fn look(&mut self, at: u64) -> Go {
        self.looks += 1;
        if !self.looks.is_multiple_of(ITEMS_PER_LOOK) {
            return Go::On;
        }
        self.progress.see(self.bytes_before + at, self.position.tally.total());
        if self.stop.is_wanted() {
            Go::Stop
        } else if self.saved.elapsed() >= SAVE_EVERY {
            Go::Save
        } else {
            Go::On
        }
    }

    pub(super) fn save(&mut self) -> Result<(), Trouble> {
        self.saved = Instant::now();
        self.file.save(&self.position)
    }

    /// Says what became of everything, and makes sure of it.
    fn conclude(mut self, parts: &Parts, mut whole: bool, verify: bool) -> Result<Outcome, Trouble> {
        let commands = self.position.tally.commands();
        if whole && verify && commands == 0 {
            self.save()?;
            whole = self.verify(parts)?;
        }
        self.progress.end();
        print!("{}", self.position.tally.text());
        if !whole {
            let path = self.file.path().unwrap_or(Path::new("")).display().to_string();
            println!("stopped; how far it came is noted in {path}");
            return Ok(Outcome::Stopped);
        }
        self.say_verified()?;
        self.file.remove()?;
        Ok(self.outcome())
    }

    pub(super) fn outcome(&self) -> Outcome {
        if self.position.tally.skipped.is_empty() { Outcome::Whole } else { Outcome::Skipped }
    }

    pub(super) fn say_verified(&self) -> Result<(), Trouble> {
        self.pipeline.absent.verdict()?;
        match self.pipeline.absent.looked_at {
            0 => println!("every key and every command was answered by the target"),
            keys => println!("verified: {keys} keys asked for again, and all are there"),
        }
        Ok(())
    }

    /// Asks for every key of the files once more. False if it was stopped.
    fn verify(&mut self, parts: &Parts) -> Result<bool, Trouble> {
        let (stop, mut looks, items) = (self.stop.clone(), 0u32, self.position.tally.total());
        for path in &parts.files {
            let file = File::open(path).map_err(Trouble::step(format_args!("cannot read {}", path.display())))?;
            let mut reader =
                Reader::begin(BufReader::with_capacity(FILE_BUFFER_BYTES, file)).map_err(|error| Trouble::new(error.to_string()))?;
            let progress = &mut self.progress;
            verify::keys_of_file(&mut reader, &mut self.pipeline, &mut self.position.tally, now_ms(), |at| {
                looks += 1;
                if looks.is_multiple_of(ITEMS_PER_LOOK) {
                    progress.see(at, items);
                }
                !stop.is_wanted()
            })?;
        }
        Ok(!self.stop.is_wanted())
    }
}
