//! What a seed decides about a world that crashes: the machine, the promise, the lives and their ends.

use crate::model::DBS_EACH;
use engine::durability::{Ladder, Level};
use netio::sim::{Chance, DiskOptions};
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
        let mut chance = Chance::new(seed ^ 0xC4A5_0001);
        let clients = 1 + chance.below(3) as u16;
        let ladder = ladder(&mut chance, clients);
        let fault = match chance.below(16) {
            0 | 1 => Fault::Slow,
            2 | 3 => Fault::Fails,
            4 => Fault::Full,
            5 => Fault::Rots,
            6 => Fault::Misdirects,
            _ => Fault::Nothing,
        };
        let open_max = 1 + chance.below(4);
        let snapshot_log_bytes = if chance.one_in(3) { 0 } else { 2_000 + chance.below(10_000) };
        let lives = (0..crashes).map(|_| life(&mut chance, fault)).collect();
        Plan { seed, ladder, clients, open_max, fault, snapshot_log_bytes, lives }
    }

    /// How many databases the server needs.
    pub fn db_count(&self) -> u16 {
        self.clients * DBS_EACH
    }
}

/// Mostly the promise that most people rely on.
fn ladder(chance: &mut Chance, clients: u16) -> Ladder {
    let mut level = || match chance.below(8) {
        0 => Level::Every { n: 1 + chance.below(8) as u32 },
        1 => Level::Periodic { ms: 5 + chance.below(100) as u32 },
        _ => Level::Batch,
    };
    let text = match level() {
        default if level() == Level::Batch => default.to_string(),
        default => {
            // Each client has a level for itself.
            let own = (0..clients).map(|client| (client, level()));
            let own = own.flat_map(|(client, level)| (0..DBS_EACH).map(move |db| format!(" {}={level}", client * DBS_EACH + db)));
            format!("{default}{}", own.collect::<String>())
        }
    };
    text.parse().expect("a ladder as it is shown")
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
        let Plan { seed, ladder, clients, open_max, fault, snapshot_log_bytes, lives } = self;
        write!(f, "seed {seed}: {ladder}, {clients} clients with {open_max} commands open at most, on a disk with the fault {fault:?}")?;
        write!(f, ", a snapshot every {snapshot_log_bytes} bytes of log")?;
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
