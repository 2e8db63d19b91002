//! A server that crashes again and again on one disk, and clients that remember what it said to them.
//!
//! [`CrashWorld::run`] does what a [`Plan`] says: it starts a server, lets clients work, stops everything at some operation on
//! files, starts it again, perhaps on another number of cores and with the clock moved, and compares what is there with what the
//! [`Model`] says may be there. The same seed gives the same history. A failure is a [`Finding`], not a panic, so that a test
//! may expect one.

use crate::model::{Aftermath, DBS_EACH, Model, Moment, Place, Seen};
use crate::plan::{End, Fault, Life, Plan, other_ladder};
use crate::workload::{LONG_MS, draw, draw_where_keys_go, key};
use crate::{Client, MAIN, Value, open_cores};
use engine::core::Core;
use engine::durability::Level;
use engine::keys::Keys;
use engine::load::Refusal;
use engine::placement::Placement;
use engine::settings::Settings;
use netio::Options;
use netio::sim::{Chance, DiskOptions, Sim, SimDisk, SimNet, SimOptions};
use shards::shard::Cursor;
use shards::{Db, Slot};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The smallest files a log may have, so that there are many.
const SEGMENT_BYTES: u64 = 64 * 1024;
/// Passes over all cores that one life may take before it counts as stuck.
const PASSES_MAX: usize = 200_000;
/// Turns of one core that stand for an operation on files where there are none.
const TURNS_EACH: u64 = 8;
/// How long a client does nothing now and then, and how long all do before a crash.
const REST_NS_MAX: u64 = 20_000_000;
const IDLE_NS_MAX: u64 = 400_000_000;
/// How often cores tell each other how much memory they use.
const ROUND_NS: u64 = 100_000_000;

/// What a world did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Times the server was stopped.
    pub crashes: u64,
    /// Starts that the server refused because its files were damaged.
    pub refused: u64,
    /// Turns of cores.
    pub turns: u64,
    /// Commands that were answered.
    pub answers: u64,
    /// Writes that nobody had been promised and that were lost.
    pub lost: u64,
    /// Stands for everything that happened.
    pub digest: u64,
}

impl Report {
    /// Adds what another world did.
    pub fn add(&mut self, other: &Report) {
        self.crashes += other.crashes;
        self.refused += other.refused;
        self.turns += other.turns;
        self.answers += other.answers;
        self.lost += other.lost;
        self.digest ^= other.digest;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { crashes, refused, turns, answers, lost, digest } = self;
        write!(f, "{crashes} crashes, {answers} commands answered, {lost} writes lost that may be, {refused} damaged disks refused")?;
        write!(f, ", {turns} turns, digest {digest:016x}")
    }
}

/// Something that must not be.
#[derive(Debug)]
pub struct Finding {
    /// What was to happen.
    pub plan: Box<Plan>,
    /// In which life it was found.
    pub life: usize,
    /// What it is.
    pub why: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "COREWHEEL_SIM_SEED={}: found in life {}: {}\n{}", self.plan.seed, self.life, self.why, self.plan)
    }
}

/// A server on its disk, its clients and what they remember.
pub struct CrashWorld {
    net: SimNet,
    disk: SimDisk,
    /// Whether the server has a directory.
    keeps: bool,
    plan: Plan,
    chance: Chance,
    model: Model,
    clock: Clock,
    settings: Settings,
    /// What files are encrypted with, as an operator gives it.
    keys_text: String,
    /// The moment of the last crash.
    crashed: Moment,
    /// Clients were let in since the last crash.
    has_served: bool,
    /// The last server stopped because it was asked to.
    ended_in_order: bool,
    /// Files of which a bit flipped.
    rotted: Vec<PathBuf>,
    /// How the last life ended.
    end: End,
    /// What was there when everybody had been answered, where all of it is safe and keys go to make room.
    before: Option<BTreeMap<Place, Seen>>,
    /// Turns until the crash.
    turns_left: Option<u64>,
    /// No value is written twice.
    value_next: u64,
    cores: Vec<Core<Sim>>,
    writers: Vec<Writer>,
    reader: Option<Reader>,
    operator: Option<Operator>,
    report: Report,
}

/// A client that writes.
struct Writer {
    client: Client,
    /// The database that is chosen.
    db: u16,
    /// What it asked and has no reply to.
    open: VecDeque<Open>,
    /// Does nothing until then.
    rests_until_ns: u64,
}

/// What a reply belongs to.
#[derive(Debug)]
enum Open {
    Select,
    Command,
}

/// A client that reads what others wrote.
struct Reader {
    client: Client,
    asked: Option<(usize, Place)>,
}

/// Somebody who saves and sets while others work.
struct Operator {
    client: Client,
    asked: Option<Order>,
}

/// What an operator waits for.
#[derive(Clone, Copy, Debug)]
enum Order {
    /// May be refused, and a snapshot may fail.
    Save,
    Set,
    Ladder,
}

/// What the entry clocks of all cores can say, from what the wall clock said at what moments.
struct Clock {
    /// A moment and the least a clock said then.
    min: (u64, u64),
    max: (u64, u64),
}

impl Clock {
    fn at(&self, net: &SimNet) -> Moment {
        let now = net.now();
        let (ns, wall_ms) = (now.monotonic.0, now.wall.0);
        let elapsed_ms = |since_ns: u64| (ns - since_ns) / 1_000_000;
        // Cores count whole milliseconds, and may round each way.
        let clock_min = (self.min.1 + elapsed_ms(self.min.0)).saturating_sub(1).max(wall_ms);
        let clock_max = (self.max.1 + elapsed_ms(self.max.0) + 2).max(wall_ms);
        Moment { ns, clock_min, clock_max }
    }

    /// The wall clock has moved, and a new process knows no other yet.
    fn restart(&mut self, before: Moment, net: &SimNet) {
        let now = net.now();
        self.min = (now.monotonic.0, now.wall.0);
        self.max = (now.monotonic.0, before.clock_max.max(now.wall.0));
    }

    /// All cores have learned from the log that it is so late at least.
    fn learn(&mut self, floor: u64, net: &SimNet) {
        let now = net.now();
        self.min = (now.monotonic.0, now.wall.0.max(floor));
    }
}

/// Why a life did not go on.
enum Stopped {
    /// As planned.
    Crashed,
    /// A core gave up, and says why.
    Failed(String),
    /// The server says that its files are damaged.
    Damaged(String),
    /// The server says that its files are damaged, and they are.
    Refused,
    /// Something is not as it must be.
    Wrong(String),
}

impl From<String> for Stopped {
    fn from(why: String) -> Stopped {
        Stopped::Wrong(why)
    }
}

impl CrashWorld {
    /// Lives a plan to its end, or to a start that the server refuses because the disk damaged its files, where that may be. On a
    /// server that keeps its data or, to see what that looks like, on one that does not.
    pub fn run(plan: &Plan, keeps: bool) -> Result<Report, Box<Finding>> {
        let mut world = CrashWorld::new(plan.clone(), keeps);
        // After the last crash nobody does anything any more; what it left must be right as well.
        let last = Life { commands: 0, crash_in_loading: None, crash_at: None, wall_jump_ms: 0, ..plan.lives[0].clone() };
        for (index, life) in plan.lives.iter().chain([&last]).enumerate() {
            match world.live(life).or_else(|stopped| world.excuse(stopped)) {
                Ok(()) => world.crash(life.end),
                Err(Stopped::Refused) => break,
                Err(Stopped::Wrong(why) | Stopped::Failed(why) | Stopped::Damaged(why)) => {
                    return Err(Box::new(Finding { plan: Box::new(plan.clone()), life: index, why }));
                }
                Err(Stopped::Crashed) => unreachable!("a crash is always excused"),
            }
        }
        world.report.digest = world.net.digest();
        Ok(world.report)
    }

    fn new(plan: Plan, keeps: bool) -> CrashWorld {
        let mut chance = Chance::new(plan.seed ^ 0xC4A5_0002);
        let network = SimOptions { delay_ns: 1_000..=50_000, ..SimOptions::default() };
        let net = SimNet::new(chance.bits(), network);
        let disk = SimDisk::new(chance.bits(), plan.fault.options());
        net.insert_disk(0, disk.clone());
        let mut settings = Settings { memory_bytes_max: 1 << 30, db_count: plan.db_count(), ..Settings::default() };
        if keeps {
            settings.dir = Some(PathBuf::from("/data"));
            settings.log_segment_bytes = SEGMENT_BYTES;
            settings.snapshot_log_bytes = plan.snapshot_log_bytes;
            settings.snapshot_keep = plan.snapshot_keep;
            settings = settings.changed(&[("maxmemory-policy".to_owned(), plan.policy.to_owned())]).expect("a policy");
            settings.log_compression = plan.compression.parse().expect("a compression");
            let durability = ("durability".to_owned(), plan.ladder.to_string());
            settings = settings.changed(&[durability]).expect("a ladder as it is shown");
        }
        let core_of = |key: &str, cores| Placement::new(cores).core_of(Slot::of(key.as_bytes())).0;
        let now = net.now();
        let clock = Clock { min: (now.monotonic.0, now.wall.0), max: (now.monotonic.0, now.wall.0) };
        let mut model = Model::new(plan.ladder.clone(), usize::from(plan.clients), core_of);
        model.let_keys_go(plan.room_bytes.is_some());
        let crashed = clock.at(&net);
        CrashWorld {
            net,
            disk,
            keeps,
            chance,
            model,
            clock,
            settings,
            keys_text: String::new(),
            plan,
            crashed,
            ended_in_order: false,
            has_served: false,
            rotted: Vec::new(),
            end: End::Kill,
            before: None,
            turns_left: None,
            value_next: 0,
            cores: Vec::new(),
            writers: Vec::new(),
            reader: None,
            operator: None,
            report: Report::default(),
        }
    }

    /// Whether a life may have ended like this.
    fn excuse(&mut self, stopped: Stopped) -> Result<(), Stopped> {
        match stopped {
            Stopped::Crashed => Ok(()),
            // A server stops for good when its disk does not keep what it was given, and when there is no room to begin.
            Stopped::Failed(_) if self.plan.fault == Fault::Fails || (self.plan.fault == Fault::Full && self.writers.is_empty()) => Ok(()),
            Stopped::Failed(why) => Err(format!("a core failed: {why}").into()),
            Stopped::Damaged(why) => Err(format!("files are said to be damaged on a disk that damages none: {why}").into()),
            Stopped::Refused => {
                self.report.refused += 1;
                Err(Stopped::Refused)
            }
            wrong => Err(wrong),
        }
    }

    fn now(&self) -> Moment {
        self.clock.at(&self.net)
    }

    /// From a start to the moment of the crash.
    fn live(&mut self, life: &Life) -> Result<(), Stopped> {
        self.net.move_wall_clock(life.wall_jump_ms);
        self.start(life.cores);
        if let Some(at) = life.crash_in_loading {
            self.arm(Some(at));
            match self.load() {
                Err(Stopped::Crashed) => {
                    self.crash(life.end);
                    self.start(life.cores);
                }
                other => other?,
            }
        }
        self.arm(None);
        self.load()?;
        let seen = self.look()?;
        let after = self.aftermath(&seen, self.crashed)?;
        let verdict = self.model.judge(&after)?;
        if std::mem::take(&mut self.ended_in_order) && verdict.lost > 0 {
            return Err(format!("{} writes are lost though the server stopped in order", verdict.lost).into());
        }
        if let Some(before) = self.before.take() {
            self.compare_evicted(&before, &seen)?;
        }
        self.report.lost += verdict.lost;
        self.model.go_on(&verdict, &after);
        self.model.begin_life(life.cores);
        self.clock.learn(verdict.clock_floor, &self.net);
        self.let_clients_in();
        self.leave_little_room()?;
        self.arm(life.crash_at);
        self.serve(life)?;
        if life.end == End::Shutdown {
            self.shut_down()?;
        }
        let is_safe = life.end == End::Shutdown || self.model.ladder().levels().all(|level| level == Level::Batch);
        if self.plan.room_bytes.is_some() && is_safe && !self.plan.operated {
            self.before = Some(self.look()?);
        }
        Ok(())
    }

    /// Starts a server on what there is.
    fn start(&mut self, cores: u16) {
        self.clock.restart(self.crashed, &self.net);
        if self.keeps && self.plan.encrypted {
            // One more with every start: the newest encrypts, all are needed.
            self.keys_text += &format!("{0} {0:064x}\n", self.keys_text.lines().count() + 1);
            self.settings.keys = Keys::parse(&self.keys_text).expect("numbered keys");
        }
        // The fewest buffers that do: opening them is most of what a start costs here.
        let options = Options { receive_buffers: 64, ..Options::default() };
        self.cores = open_cores(&self.net, cores, self.settings.clone(), options, self.chance.bits());
    }

    /// Lets the crash come at the operation on files of this number from now.
    fn arm(&mut self, at: Option<u64>) {
        if self.keeps {
            self.disk.crash_at(at.unwrap_or(u64::MAX / 2));
        } else {
            self.turns_left = at.map(|at| at * TURNS_EACH);
        }
    }

    /// Turns until every core serves.
    fn load(&mut self) -> Result<(), Stopped> {
        for _ in 0..PASSES_MAX {
            if self.cores.iter().all(Core::is_serving) {
                return Ok(());
            }
            match self.pass() {
                Err(Stopped::Failed(why) | Stopped::Damaged(why)) if self.has_whole_snapshot() => {
                    return Err(Stopped::Wrong(format!("only snapshots are damaged, one that is kept is not, and yet: {why}")));
                }
                Err(Stopped::Failed(_) | Stopped::Damaged(_)) if self.plan.fault.may_damage() => return Err(Stopped::Refused),
                other => other?,
            }
        }
        Err("the server does not come up".to_owned().into())
    }

    /// Whether bits flipped in snapshots only, and one of those that are to be kept is whole: with its log it must be enough.
    fn has_whole_snapshot(&self) -> bool {
        let of_snapshot = |path: &PathBuf| path.starts_with("/data/snap");
        let files = self.disk.files();
        let manifests = files.iter().map(|(path, _)| path).filter(|path| path.ends_with("manifest") && of_snapshot(path));
        let mut folders: Vec<_> = manifests.filter_map(|path| path.parent()).collect();
        folders.sort_unstable();
        let mut kept = folders.into_iter().rev().take(self.plan.snapshot_keep as usize);
        let is_whole = |folder: &std::path::Path| !self.rotted.iter().any(|path| path.starts_with(folder));
        !self.rotted.is_empty() && self.rotted.iter().all(of_snapshot) && kept.any(is_whole)
    }

    /// One turn of every core; time passes if there was nothing to do.
    fn pass(&mut self) -> Result<(), Stopped> {
        for core in self.cores.iter_mut().filter(|core| !core.is_stopped()) {
            let wait = core.wait();
            core.turn(wait).map_err(|error| Stopped::Failed(error.to_string()))?;
            self.report.turns += 1;
            match core.refusal() {
                Some(damage @ Refusal::Damaged(_)) => return Err(Stopped::Damaged(damage.to_string())),
                Some(refusal) => return Err(Stopped::Failed(refusal.to_string())),
                None => {}
            }
            if let Some(turns) = &mut self.turns_left {
                *turns -= 1;
                if *turns == 0 {
                    return Err(Stopped::Crashed);
                }
            }
        }
        // What came for a core that has stopped stays where it is.
        if !self.net.busy() || self.cores.iter().any(Core::is_stopped) {
            self.net.advance_to_next_event();
        }
        if self.disk.crashed() { Err(Stopped::Crashed) } else { Ok(()) }
    }

    /// Everything that is visible.
    fn look(&self) -> Result<BTreeMap<Place, Seen>, Stopped> {
        let mut seen = BTreeMap::new();
        let placement = Placement::new(self.cores.len() as u16);
        let mut misplaced = None;
        for (core, id) in self.cores.iter().zip(placement.cores()) {
            let shard = core.shard();
            shard.check();
            for db in 0..self.settings.db_count {
                let mut cursor = Cursor::default();
                loop {
                    cursor = shard.scan(Db(db), cursor, usize::MAX, core.clock_ms(), &mut |found| {
                        let key = String::from_utf8_lossy(found.key).into_owned();
                        if placement.core_of(Slot::of(found.key)) != id {
                            misplaced = Some(format!("core {} has {db}/{key}, which is not its own", id.0));
                        }
                        let value = String::from_utf8_lossy(found.value).into_owned();
                        seen.insert((db, key), Seen { value, deadline: found.deadline.map(|deadline| deadline.0) });
                    });
                    if cursor == Cursor::default() {
                        break;
                    }
                }
            }
        }
        misplaced.map_or(Ok(seen), |why| Err(Stopped::Wrong(why)))
    }

    fn aftermath<'s>(&self, seen: &'s BTreeMap<Place, Seen>, crashed: Moment) -> Result<Aftermath<'s>, Stopped> {
        let clocks = || self.cores.iter().map(Core::clock_ms);
        let clock_ms = clocks().min().unwrap_or(0)..=clocks().max().unwrap_or(0);
        let ahead = self.now().clock_max;
        if *clock_ms.end() > ahead {
            return Err(format!("the entry clock is at {}, nothing brings it above {ahead}", clock_ms.end()).into());
        }
        let syncs_late = matches!(self.plan.fault, Fault::Slow | Fault::Full);
        let page_cache = self.end != End::PowerLoss && self.plan.fault == Fault::Nothing;
        Ok(Aftermath { crashed, clock_ms, seen, syncs_late, page_cache, keys_go: self.plan.room_bytes.is_some() })
    }

    fn let_clients_in(&mut self) {
        self.has_served = true;
        let at: SocketAddr = MAIN.parse().expect("an address");
        let writer = |author: u16| {
            let db = author * DBS_EACH;
            let mut client = Client::connect(&self.net, at);
            client.send_words(&[b"SELECT", db.to_string().as_bytes()]);
            Writer { client, db, open: VecDeque::from([Open::Select]), rests_until_ns: 0 }
        };
        self.writers = (0..self.plan.clients).map(writer).collect();
        self.reader = Some(Reader { client: Client::connect(&self.net, at), asked: None });
        let operates = self.keeps && self.plan.operated;
        self.operator = operates.then(|| Operator { client: Client::connect(&self.net, at), asked: None });
    }

    /// Sets the memory that may be used to a little more than what is, so that keys must go.
    fn leave_little_room(&mut self) -> Result<(), Stopped> {
        let Some(room_bytes) = self.plan.room_bytes.filter(|_| self.keeps) else { return Ok(()) };
        let mut client = Client::connect(&self.net, MAIN.parse().expect("an address"));
        // Everybody has told everybody how much it uses by then.
        let until_ns = self.net.now().monotonic.0 + 2 * ROUND_NS;
        while self.net.now().monotonic.0 < until_ns {
            self.pass()?;
        }
        let info = self.ask(&mut client, &["INFO", "memory"])?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).and_then(|bytes| bytes.trim().parse::<u64>().ok());
        let max = used.ok_or_else(|| format!("no used_memory in {info}"))? + room_bytes;
        let set = self.ask(&mut client, &["CONFIG", "SET", "maxmemory", &max.to_string()])?;
        if set == "+OK" { Ok(()) } else { Err(format!("maxmemory {max} was answered with {set}").into()) }
    }

    /// Waits for a reply while nobody else asks for anything.
    fn ask(&mut self, client: &mut Client, words: &[&str]) -> Result<String, Stopped> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        client.send_words(&words);
        for _ in 0..PASSES_MAX {
            client.pump();
            match client.take_reply() {
                Some(Value::Bulk(bytes) | Value::Verbatim(bytes)) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Some(reply) => return Ok(reply.to_string()),
                None => self.pass()?,
            }
        }
        Err("an operator waits for a reply that does not come".to_owned().into())
    }

    /// A key that was there when everybody had been answered is there; one that had to go is gone after an orderly stop.
    fn compare_evicted(&self, before: &BTreeMap<Place, Seen>, seen: &BTreeMap<Place, Seen>) -> Result<(), Stopped> {
        let may_pass = |(place, _): &(&Place, &Seen)| self.plan.ladder.level(Db(place.0)) != Level::None;
        let lost = before.iter().filter(may_pass).find(|(place, was)| was.deadline.is_none() && seen.get(*place) != Some(*was));
        let back = seen.iter().filter(may_pass).find(|(place, is)| is.deadline.is_none() && !before.contains_key(*place));
        match (lost, back) {
            (Some((place, _)), _) => Err(format!("{place:?} was there when the server ended, and had not made room").into()),
            (_, Some((place, _))) if self.end == End::Shutdown => Err(format!("{place:?} had made room, and is back").into()),
            _ => Ok(()),
        }
    }

    /// Clients work until they have given so many commands and have all replies, or until the crash.
    fn serve(&mut self, life: &Life) -> Result<(), Stopped> {
        let mut left = life.commands;
        for _ in 0..PASSES_MAX {
            self.take_replies()?;
            if left == 0 && self.writers.iter().all(|writer| writer.open.is_empty()) {
                let idle_ns = match self.plan.fault {
                    fault if fault.may_damage() => IDLE_NS_MAX,
                    _ if self.chance.one_in(3) => self.chance.below(IDLE_NS_MAX),
                    _ => 0,
                };
                // What tells of what was written last is written where it belongs.
                self.disk.set_options(DiskOptions { misdirect_one_in: 0, ..self.plan.fault.options() });
                let until_ns = self.net.now().monotonic.0 + idle_ns;
                while self.net.now().monotonic.0 < until_ns {
                    self.pass()?;
                }
                return self.compare();
            }
            for index in 0..self.writers.len() {
                let writer = &self.writers[index];
                let may = (writer.open.len() as u64) < self.plan.open_max && writer.rests_until_ns <= self.net.now().monotonic.0;
                if may && left > 0 && self.chance.one_in(2) {
                    left -= 1;
                    self.command(index);
                    if left == life.commands / 2 {
                        self.jump(life.wall_jump_within_ms);
                    }
                }
            }
            self.read_something();
            self.operate();
            self.pass()?;
        }
        Err("clients wait for replies that do not come".to_owned().into())
    }

    /// Somebody sets the clock while clients are served.
    fn jump(&mut self, by_ms: i64) {
        let before = self.now();
        self.net.move_wall_clock(by_ms);
        let now = self.net.now();
        self.clock.min = (before.ns, before.clock_min);
        self.clock.max = (before.ns, before.clock_max.max(now.wall.0));
    }

    /// The server is asked to stop, and stops when everything is safe.
    fn shut_down(&mut self) -> Result<(), Stopped> {
        self.arm(None);
        if let Some(reader) = &mut self.reader {
            reader.client.send_words(&[b"SHUTDOWN"]);
        }
        for _ in 0..PASSES_MAX {
            if self.cores.iter().all(Core::is_stopped) {
                self.ended_in_order = true;
                return Ok(());
            }
            self.pass()?;
        }
        Err("the server does not stop".to_owned().into())
    }

    /// Before anything is lost, everything that was answered is there.
    fn compare(&self) -> Result<(), Stopped> {
        let seen = self.look()?;
        let verdict = self.model.judge(&self.aftermath(&seen, self.now())?)?;
        if verdict.lost == 0 { Ok(()) } else { Err(format!("{} writes had no effect", verdict.lost).into()) }
    }

    fn take_replies(&mut self) -> Result<(), Stopped> {
        let now = self.now();
        for (author, writer) in self.writers.iter_mut().enumerate() {
            writer.client.pump();
            while let Some(reply) = writer.client.take_reply() {
                self.report.answers += 1;
                let reply = reply.to_string();
                match writer.open.pop_front() {
                    Some(Open::Command) => self.model.answer(author, &reply, now)?,
                    Some(Open::Select) if reply == "+OK" => {}
                    open => return Err(format!("client {author} was told {reply}, open: {open:?}").into()),
                }
            }
        }
        self.take_answer_to_operator()?;
        let Some(reader) = &mut self.reader else { return Ok(()) };
        reader.client.pump();
        while let Some(reply) = reader.client.take_reply() {
            // The reply to `SELECT` is of no interest.
            let reply = reply.to_string();
            if reply != "+OK"
                && let Some((author, place)) = reader.asked.take()
                && !reply.starts_with('-')
            {
                self.model.read(author, &place, &reply, now)?;
            }
        }
        Ok(())
    }

    /// The client that only reads looks at a key of somebody.
    fn read_something(&mut self) {
        let Some(reader) = &mut self.reader else { return };
        if reader.asked.is_some() || !self.chance.one_in(4) {
            return;
        }
        let author = self.chance.below(u64::from(self.plan.clients)) as usize;
        let place = (author as u16 * DBS_EACH + self.chance.below(u64::from(DBS_EACH)) as u16, key(&mut self.chance, 0));
        reader.client.send_words(&[b"SELECT", place.0.to_string().as_bytes()]);
        reader.client.send_words(&[b"GET", place.1.as_bytes()]);
        reader.asked = Some((author, place));
    }

    fn take_answer_to_operator(&mut self) -> Result<(), Stopped> {
        let Some(operator) = &mut self.operator else { return Ok(()) };
        operator.client.pump();
        while let Some(reply) = operator.client.take_reply() {
            let reply = reply.to_string();
            match operator.asked.take() {
                Some(Order::Save) if reply.starts_with(['+', '-']) => {}
                Some(Order::Set) if reply == "+OK" => {}
                Some(Order::Ladder) if reply == "+OK" => self.model.answer_ladder(),
                order => return Err(format!("an operator was told {reply}, waiting for {order:?}").into()),
            }
        }
        Ok(())
    }

    /// The operator saves, or changes how the log is kept.
    fn operate(&mut self) {
        let now = self.now();
        let CrashWorld { chance, operator, model, plan, .. } = self;
        let Some(operator) = operator.as_mut().filter(|operator| operator.asked.is_none()) else { return };
        if !chance.one_in(60) {
            return;
        }
        let set = |name: &str, value: String| vec!["CONFIG".to_owned(), "SET".to_owned(), name.to_owned(), value];
        let (order, words) = match chance.below(6) {
            0 => (Order::Save, vec!["SAVE".to_owned()]),
            1 => (Order::Save, vec!["BGSAVE".to_owned()]),
            2 => (Order::Set, set("log-compression", ["none", "lz4", "zstd"][chance.below(3) as usize].to_owned())),
            _ => {
                let next = other_ladder(chance, model.ladder(), plan.clients);
                let words = set("durability", next.to_string());
                model.ask_ladder(next, now);
                (Order::Ladder, words)
            }
        };
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        operator.client.send_words(&words);
        operator.asked = Some(order);
    }

    /// A client gives a command.
    fn command(&mut self, author: usize) {
        let now = self.now();
        let CrashWorld { chance, writers, model, plan, value_next, .. } = self;
        let writer = &mut writers[author];
        if chance.one_in(8) {
            writer.rests_until_ns = now.ns + chance.below(REST_NS_MAX);
        }
        if chance.one_in(8) {
            writer.db ^= 1;
            writer.client.send_words(&[b"SELECT", writer.db.to_string().as_bytes()]);
            writer.open.push_back(Open::Select);
        }
        let alone = plan.clients == 1;
        let stays = |key: &str| model.stays_until(author, writer.db, key, now.clock_max + LONG_MS / 2);
        let words = match plan.room_bytes {
            Some(_) => draw_where_keys_go(chance, value_next),
            None => draw(chance, writer.db, alone, value_next, stays),
        };
        let parts: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        writer.client.send_words(&parts);
        writer.open.push_back(Open::Command);
        model.call(author, writer.db, words, now);
    }

    /// Everything stops. What had left for the clients before still arrives.
    fn crash(&mut self, end: End) {
        let now = self.now();
        if std::mem::take(&mut self.has_served) {
            (self.crashed, self.end) = (now, end);
        } else {
            // What may be lost is counted from the moment when clients were last served, and by the worst that came since.
            self.crashed.clock_max = now.clock_max;
            self.end = if self.end == End::PowerLoss { self.end } else { end };
        }
        self.report.crashes += 1;
        self.cores.clear();
        match end {
            End::Kill | End::Shutdown => self.disk.kill(),
            End::PowerLoss => self.disk.lose_power(),
        }
        self.disk.set_options(self.plan.fault.options());
        if self.plan.fault == Fault::Rots {
            let files: Vec<(PathBuf, u64)> = self.disk.files().into_iter().filter(|(_, bytes)| *bytes > 0).collect();
            if let Some((path, bytes)) = files.get(self.chance.below(files.len().max(1) as u64) as usize) {
                let (at, bit) = (self.chance.below(*bytes), self.chance.below(8) as u32);
                self.disk.flip_bit(path, at, bit).expect("the file is there");
                self.rotted.push(path.clone());
            }
        }
        while self.writers.iter().any(|writer| !writer.client.is_closed()) && self.net.advance_to_next_event() {
            if self.take_replies().is_err() {
                break;
            }
        }
        self.writers.clear();
        (self.reader, self.operator) = (None, None);
    }
}
