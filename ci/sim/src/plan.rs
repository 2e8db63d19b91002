//! What a seed decides about a world that crashes: the machine, the promise, the lives and their ends.

use crate::model::DBS_EACH;
use engine::durability::{Ladder, Level};
use netio::sim::{Chance, DiskOptions};
use shards::Db;
use std::fmt;

/// The machine and everything that will happen to it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides the rest.
    pub seed: u64,
    /// What the server promises to keep.
    pub ladder: Ladder,
    /// How many clients write; each has [`DBS_EACH`] databases to itself.
    pub clients: u16,
    /// Commands a client may have open at once.
    pub open_max: u64,
    /// What the disk does wrong.
    pub fault: Fault,
    /// Bytes of log after which a snapshot is made; 0 for never.
    pub snapshot_log_bytes: u64,
    /// How many snapshots are kept.
    pub snapshot_keep: u32,
    /// Whether somebody operates the server while clients work: saves, and changes what it promises.
    pub operated: bool,
    /// Whether files are encrypted, with one key more in every life.
    pub encrypted: bool,
    /// How frames are compressed: `none`, `lz4` or `zstd`.
    pub compression: &'static str,
    /// So many bytes are left for more keys when clients come, and others must go; `None`: there is room for all.
    pub room_bytes: Option<u64>,
    /// Which go.
    pub policy: &'static str,
    /// From one start to the next crash, one after the other.
    pub lives: Vec<Life>,
}

/// What a disk does wrong, beside losing what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Nothing,
    /// Some requests take longer than everything else together.
    Slow,
    /// Syncs and writes fail now and then.
    Fails,
    /// There is no room now and then.
    Full,
    /// A bit flips between two lives. The server may refuse to start.
    Rots,
    /// Writes end elsewhere in their file now and then. The server may refuse to start.
    Misdirects,
    /// Syncs do nothing. Nothing can be promised on such a disk; no seed decides it.
    Lies,
}

impl Fault {
    /// How such a disk behaves.
    pub fn options(self) -> DiskOptions {
        let good = DiskOptions { latency_ns: 10_000..=200_000, ..DiskOptions::default() };
        match self {
            Fault::Nothing | Fault::Rots => good,
            Fault::Slow => DiskOptions { slow_one_in: 20, slow_ns: 1_000_000..=300_000_000, ..good },
            Fault::Fails => DiskOptions { sync_error_one_in: 150, write_error_one_in: 150, ..good },
            Fault::Full => DiskOptions { full_one_in: 6, ..good },
            Fault::Misdirects => DiskOptions { misdirect_one_in: 100, ..good },
            Fault::Lies => DiskOptions { lies: true, ..good },
        }
    }

    /// Whether the server may say that its files are damaged.
    pub fn may_damage(self) -> bool {
        matches!(self, Fault::Rots | Fault::Misdirects)
    }
}

/// From a start to the crash that ends it.
#[derive(Clone, Debug)]
pub struct Life {
    /// How many cores.
    pub cores: u16,
    /// How far the wall clock was moved before it, in milliseconds.
    pub wall_jump_ms: i64,
    /// A crash while it starts, at this operation on files.
    pub crash_in_loading: Option<u64>,
    /// How far the wall clock is moved while clients are served.
    pub wall_jump_within_ms: i64,
    /// How many commands clients give.
    pub commands: u64,
    /// The operation on files, of those while clients are served, that is the last; `None`: the crash comes after the last reply.
    pub crash_at: Option<u64>,
    /// How it ends.
    pub end: End,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process is killed; what it wrote stays, synced or not.
    Kill,
    /// The machine loses power: nothing stays but what was synced, and any part of the rest.
    PowerLoss,
    /// It is asked to stop, and loses nothing, unless it crashes before.
    Shutdown,
}

/// An hour, in milliseconds: how far a wall clock jumps.
const JUMP_MS_MAX: u64 = 3_600_000;

impl Plan {
    /// What this seed decides, for so many crashes.
    pub fn of(seed: u64, crashes: usize) -> Plan {
        Plan::on(seed, crashes, None)
    }

    /// The same on a disk with this fault, if one is named.
    pub fn on(seed: u64, crashes: usize, named: Option<Fault>) -> Plan {
        let mut chance = Chance::new(seed ^ 0xC4A5_0001);
        let clients = 1 + chance.below(3) as u16;
        let fault = match chance.below(16) {
            0 | 1 => Fault::Slow,
            2 | 3 => Fault::Fails,
            4 => Fault::Full,
            5 => Fault::Rots,
            6 => Fault::Misdirects,
            _ => Fault::Nothing,
        };
        let fault = named.unwrap_or(fault);
        // What an older snapshot has of a namespace in no log cannot be told from damage.
        let ladder = ladder(&mut chance, clients, !fault.may_damage());
        let open_max = 1 + chance.below(4);
        let snapshot_log_bytes = if chance.one_in(3) { 0 } else { 2_000 + chance.below(10_000) };
        let lives = (0..crashes).map(|_| life(&mut chance, fault)).collect();
        let snapshot_keep = 1 + chance.below(3) as u32;
        let (operated, encrypted) = (chance.one_in(3), chance.one_in(4));
        let compression = ["none", "none", "lz4", "zstd"][chance.below(4) as usize];
        let room_bytes = chance.one_in(8).then(|| chance.below(40_000));
        let policy = ["allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-ttl"][chance.below(4) as usize];
        Plan {
            seed,
            ladder,
            clients,
            open_max,
            fault,
            snapshot_log_bytes,
            snapshot_keep,
            room_bytes,
            policy,
            operated,
            encrypted,
            compression,
            lives,
        }
    }

    /// How many databases the server needs.
    pub fn db_count(&self) -> u16 {
        self.clients * DBS_EACH
    }
}

/// Mostly the promise that most people rely on.
fn ladder(chance: &mut Chance, clients: u16, may_forget: bool) -> Ladder {
    let default = level(chance);
    if level(chance) == Level::Batch {
        return Ladder::of(default);
    }
    // Each client has a level for itself. Somebody's writes are logged, or there would be nothing to see.
    let forgets = |chance: &mut Chance, client: u16| may_forget && client > 0 && chance.one_in(4);
    of_clients(default, (0..clients).map(|client| if forgets(chance, client) { Level::None } else { level(chance) }))
}

/// What an operator may make of a ladder while the server runs: what is logged stays logged, and nothing else is.
pub(crate) fn other_ladder(chance: &mut Chance, before: &Ladder, clients: u16) -> Ladder {
    let mut other = |before: Level| if before == Level::None { before } else { level(chance) };
    let default = other(before.default_level());
    of_clients(default, (0..clients).map(|client| other(before.level(Db(client * DBS_EACH)))))
}

fn level(chance: &mut Chance) -> Level {
    match chance.below(8) {
        0 => Level::Every { n: 1 + chance.below(8) as u32 },
        1 | 2 => Level::Periodic { ms: 5 + chance.below(100) as u32 },
        _ => Level::Batch,
    }
}

fn of_clients(default: Level, own: impl Iterator<Item = Level>) -> Ladder {
    let own = (0..).zip(own);
    let own = own.flat_map(|(client, level): (u16, Level)| (0..DBS_EACH).map(move |db| format!(" {}={level}", client * DBS_EACH + db)));
    format!("{default}{}", own.collect::<String>()).parse().expect("a ladder as it is shown")
}

fn life(chance: &mut Chance, fault: Fault) -> Life {
    let mut jump = |one_in: u64| match chance.below(one_in) {
        0 => -(chance.below(JUMP_MS_MAX) as i64),
        1 => chance.below(JUMP_MS_MAX) as i64,
        _ => 0,
    };
    let (wall_jump_ms, wall_jump_within_ms) = (jump(6), jump(20));
    // Now and then nobody does anything: two restarts must show the same.
    let commands = if chance.one_in(8) { 0 } else { 5 + chance.below(60) };
    Life {
        cores: 1 + chance.below(4) as u16,
        wall_jump_ms,
        wall_jump_within_ms,
        crash_in_loading: chance.one_in(6).then(|| 1 + chance.below(40)),
        commands,
        // What is damaged is known as damage once something later on the disk tells of it.
        crash_at: (commands > 0 && !chance.one_in(5) && !fault.may_damage()).then(|| 1 + chance.below(60)),
        end: match chance.below(7) {
            0 => End::Shutdown,
            1 | 2 => End::Kill,
            _ if fault.may_damage() => End::Kill,
            _ => End::PowerLoss,
        },
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            seed,
            ladder,
            clients,
            open_max,
            fault,
            snapshot_log_bytes,
            snapshot_keep,
            room_bytes,
            policy,
            operated,
            encrypted,
            compression,
            lives,
        } = self;
        write!(f, "seed {seed}: {ladder}, {clients} clients with {open_max} commands open at most, on a disk with the fault {fault:?}")?;
        write!(f, ", a snapshot every {snapshot_log_bytes} bytes of log, {snapshot_keep} kept, compression {compression}")?;
        write!(f, "{}{}", if *encrypted { ", encrypted" } else { "" }, if *operated { ", operated" } else { "" })?;
        if let Some(bytes) = room_bytes {
            write!(f, ", room for {bytes} bytes more, {policy}")?;
        }
        for (index, life) in lives.iter().enumerate() {
            let Life { cores, wall_jump_ms, wall_jump_within_ms, crash_in_loading, commands, crash_at, end } = life;
            write!(
                f,
                "\n  life {index}: {cores} cores, the clock {wall_jump_ms:+} ms, later {wall_jump_within_ms:+} ms, {commands} commands"
            )?;
            if let Some(at) = crash_in_loading {
                write!(f, ", a crash while it starts at operation {at}")?;
            }
            match crash_at {
                Some(at) => write!(f, ", {end:?} at operation {at}")?,
                None => write!(f, ", {end:?} at the end")?,
            }
        }
        Ok(())
    }
}
