//! What one core's log is to say: entries, in the order in which the shard took them, and who waits for which.
//!
//! The journal knows no file. The executor appends, the writer (see [`crate::log`]) takes what was appended and says what has
//! become durable, and the journal tells how long a reply must wait for that. An entry touches keys of one partition, or of all;
//! a command on several partitions of a core becomes a group of entries, which is in one frame.

use crate::durability::{Ladder, Level};
use crate::executor::Job;
use crate::hold::JointId;
use crate::line::line_after_ns;
use crate::placement::CoreId;
use crate::planted::{Bug, planted};
use netio::MonotonicNs;
use shards::command::spec::{KeyAccess, KeySpec};
use shards::command::{Command, Keys, Spread, keys_of};
use shards::log::{Body, Cores, Entry, Lsn, PARTITION_ALL, Part, PartMode, Words, encode, encode_command, gap, gap_filled};
use shards::retold::Retold;
use shards::wire::{Args, Span};
use shards::{Db, Key, PartitionId, Shard};
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of entries after which a frame is closed. A single group may be larger.
pub const FRAME_BYTES_TARGET: usize = 256 * 1024;

/// Bytes of entries that may wait for the disk before nothing more is run. One request may come on top.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of one command that can be logged: with what is written around it, it must fit one write to a file.
const COMMAND_BYTES_MAX: usize = netio::file::FILE_TRANSFER_BYTES_MAX / 4 * 3;

/// Places of the table that knows when a key was last written.
const FRESH_PLACES: usize = 4096;

/// Nanoseconds between two entries that say nothing but the time.
const TICK_NS: u64 = 100_000_000;

/// Nanoseconds after which the weaker counts are synced although nobody waits.
const EVERY_SYNC_NS: u64 = 1_000_000_000;

/// Entries on their way into one frame.
#[derive(Debug, Default)]
pub struct Payload {
    /// As they are stored.
    pub bytes: Vec<u8>,
    /// Number of the first.
    pub first: Lsn,
    /// How many.
    pub count: u32,
    /// Their clocks are counted from here.
    pub clock_ms: u64,
    /// When the first was made.
    pub since: MonotonicNs,
}

impl Payload {
    /// Number of the last entry.
    pub fn last(&self) -> Lsn {
        Lsn(self.first.0 + u64::from(self.count) - 1)
    }
}

/// What makes an entry one core's part of a command over several.
#[derive(Clone, Debug)]
pub struct PartTag {
    /// Which command.
    pub joint: JointId,
    /// What happens to it if a crash leaves only some of its parts.
    pub mode: PartMode,
    /// Every core that has a part.
    pub participants: Arc<[CoreId]>,
    /// The last line that the core which began it had drawn, see [`crate::line`].
    pub line: u64,
}

/// Where a crash could end the stream although what is there is durable: at parts of commands over several cores that are not
/// complete. Of those before the line being drawn, and of those behind it, the first counts: its entry, and when it was made.
#[derive(Debug, Default)]
struct Cuts {
    open: Option<(Lsn, MonotonicNs)>,
    behind: Option<(Lsn, MonotonicNs)>,
    /// A line was drawn, and is not safe yet.
    drawn: bool,
}

/// One core's entries that are not yet durable.
pub struct Journal {
    /// The log is open and some namespace is logged.
    on: bool,
    muted: bool,
    open: bool,
    ladder: Ladder,
    mixed: bool,
    parks_reads: bool,
    refuses: bool,
    /// Closed frames, oldest first, and the one that is being filled.
    closed: VecDeque<Payload>,
    filling: Payload,
    spare: Vec<u8>,
    closed_bytes: usize,
    /// Number of the newest entry.
    last: Lsn,
    /// Everything up to here is durable.
    synced: Lsn,
    /// Clock of the newest entry.
    clock_ms: u64,
    /// For each frame with entries that are not durable: its first entry, and when that was made.
    ages: VecDeque<(Lsn, MonotonicNs)>,
    now: MonotonicNs,
    ticked: MonotonicNs,
    /// The newest entry that touched a key whose hash ends like this.
    fresh: Box<[Lsn]>,
    /// The newest entry that touched all keys.
    fresh_all: Lsn,
    cuts: Cuts,
    part: Option<PartTag>,
    /// Whether anything was appended for that part.
    part_appended: bool,
    /// Whether anything was appended since the last question, see [`Journal::depends`].
    appended: bool,
    words: Vec<u8>,
    cores: Vec<u8>,
}

impl Default for Journal {
    fn default() -> Journal {
        Journal {
            on: false,
            muted: false,
            open: false,
            ladder: Ladder::default(),
            mixed: false,
            parks_reads: false,
            refuses: false,
            closed: VecDeque::new(),
            filling: Payload::default(),
            spare: Vec::new(),
            closed_bytes: 0,
            last: Lsn(0),
            synced: Lsn(0),
            clock_ms: 0,
            ages: VecDeque::new(),
            now: MonotonicNs(0),
            ticked: MonotonicNs(0),
            fresh: Box::default(),
            fresh_all: Lsn(0),
            cuts: Cuts::default(),
            part: None,
            part_appended: false,
            appended: false,
            words: Vec::new(),
            cores: Vec::new(),
        }
    }
}

impl Journal {
    /// Whether commands are logged; the one question of the fast path.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Takes a new ladder.
    pub fn set_ladder(&mut self, ladder: Ladder) {
        self.mixed = ladder.is_mixed();
        self.parks_reads = ladder.parks_reads();
        self.ladder = ladder;
        if self.parks_reads && self.fresh.is_empty() {
            self.fresh = vec![self.last; FRESH_PLACES].into();
        } else if !self.parks_reads {
            self.fresh = Box::default();
        }
        self.decide();
    }

    /// The log takes entries from now on. Its clock is nowhere behind `clock_ms`.
    pub fn open(&mut self, clock_ms: u64) {
        self.open = true;
        self.clock_ms = self.clock_ms.max(clock_ms);
        self.decide();
    }

    /// Logs nothing while a command runs whose effects are logged elsewhere.
    pub fn mute(&mut self, muted: bool) {
        self.muted = muted;
        self.decide();
    }

    fn decide(&mut self) {
        self.on = self.open && !self.muted && self.ladder.logs();
    }

    /// The ladder.
    pub fn ladder(&self) -> &Ladder {
        &self.ladder
    }

    /// A turn begins: what is appended in it was made now.
    #[inline]
    pub fn begin_turn(&mut self, now: MonotonicNs) {
        self.now = now;
    }

    /// Number of the newest entry.
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Everything up to here is durable.
    pub fn synced(&self) -> Lsn {
        self.synced
    }

    /// Everything up to here is durable, and no crash takes it back.
    #[inline]
    pub fn safe(&self) -> Lsn {
        match self.cuts.open {
            Some((first, _)) if first <= self.synced && !planted(Bug::CutTakenForSafe) => Lsn(first.0 - 1),
            _ => self.synced,
        }
    }

    /// Whether the stream could still be cut at a command over several cores.
    pub fn has_open_cut(&self) -> bool {
        self.cuts.open.is_some()
    }

    /// When a line should be drawn behind what could be cut. `None` if nothing could.
    pub fn line_due(&self) -> Option<MonotonicNs> {
        let (_, since) = self.cuts.open?;
        Some(MonotonicNs(since.0 + line_after_ns(self.ladder.levels())))
    }

    /// Draws a line here: how far the log must be durable before it is safe. `None` if nothing before it could be cut.
    pub fn draw_line(&mut self) -> Option<Lsn> {
        self.cuts.drawn = self.cuts.open.is_some();
        self.cuts.drawn.then_some(self.last)
    }

    /// The line that was drawn last is safe in all streams.
    pub fn pass_line(&mut self) {
        if std::mem::take(&mut self.cuts.drawn) {
            self.cuts.open = self.cuts.behind.take();
        }
    }

    /// Clock of the newest entry.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// Everything up to here was taken to be written.
    pub fn taken(&self) -> Lsn {
        let next = self.closed.front().or(Some(&self.filling)).filter(|next| next.count > 0);
        next.map_or(self.last, |next| Lsn(next.first.0 - 1))
    }

    /// Whether the disk has no room for more.
    pub fn set_refuses(&mut self, refuses: bool) {
        self.refuses = refuses;
    }

    /// Whether the disk has no room for more.
    pub fn refuses_all(&self) -> bool {
        self.refuses
    }

    /// Why a command that would write is not to be run.
    pub fn refusal(&self, command: &Command, args: Args<'_>, db: Db) -> Option<&'static [u8]> {
        if self.part.is_some() {
            // Asked before the hold was granted; now it must happen on every core.
            return None;
        }
        let logs = self.ladder.level(db) != Level::None;
        if self.refuses && (logs || (self.mixed && other_db(command, args).is_some())) {
            return Some(DISK_FULL);
        }
        if self.mixed && command.name == "swapdb" {
            return Some(SWAP_BETWEEN_LEVELS);
        }
        // Two arguments of the largest size still fit.
        if args.len() > 3 && args.iter_from(0).map(<[u8]>::len).sum::<usize>() > COMMAND_BYTES_MAX {
            return Some(TOO_LARGE);
        }
        None
    }

    /// Whether so much waits for the disk that nothing more should be run.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.closed_bytes > WAITING_BYTES_MAX
    }

    /// Bytes this journal holds.
    pub fn memory_bytes(&self) -> usize {
        self.closed_bytes + self.filling.bytes.capacity() + self.spare.capacity() + size_of_val(&*self.fresh)
    }

    /// Appends what a command did that has just changed something.
    #[inline(never)]
    pub fn record(&mut self, shard: &Shard, job: &Job<'_>, command: &Command) {
        if let Some(retold) = shard.retold() {
            return self.record_retold(shard, job, retold);
        }
        let plain = !self.mixed && self.part.is_none();
        if plain && command.spread == Spread::Single && command.keys != Keys::None {
            return self.append_command(job, job.key.partition());
        }
        if command.keys == Keys::None {
            self.append(PARTITION_ALL, job.db, job.now, Body::Command(Words::write(job.args, &mut Vec::new())), false);
            self.fresh_all = self.last;
            return self.close_if_large();
        }
        let first = job.key.partition();
        let together = command.spread == Spread::Single
            || keys_of(command, job.args).all(|index| PartitionId::of(shards::Slot::of(job.args.get(index))) == first);
        let other = if self.mixed { other_db(command, job.args) } else { None };
        match command.spread {
            _ if other.is_some() => self.record_effects(shard, job, command, other),
            _ if self.ladder.level(job.db) == Level::None => {}
            _ if together => self.append_whole(shard, job, command, first),
            Spread::Sum | Spread::Each | Spread::Gather => self.record_split(shard, job, command),
            _ => self.record_effects(shard, job, command, other_db(command, job.args)),
        }
        self.close_if_large();
    }

    /// The shortest way: one key, no part.
    fn append_command(&mut self, job: &Job<'_>, partition: PartitionId) {
        let clock_ms = self.next_entry(job.now);
        encode_command(partition.0, job.db, clock_ms, self.filling.clock_ms, job.args, &mut self.filling.bytes);
        self.note_key(&job.key);
        self.close_if_large();
    }

    fn append_whole(&mut self, shard: &Shard, job: &Job<'_>, command: &Command, partition: PartitionId) {
        let mut words = std::mem::take(&mut self.words);
        self.append(partition.0, job.db, job.now, Body::Command(Words::write(job.args, &mut words)), false);
        self.words = words;
        self.note_keys(shard, job.args, command);
    }

    /// What a command came to, as one group.
    fn record_retold(&mut self, shard: &Shard, job: &Job<'_>, retold: &Retold) {
        if self.ladder.level(job.db) == Level::None {
            return;
        }
        let mut words = std::mem::take(&mut self.words);
        let commands = retold.commands();
        let count = commands.len();
        for (nth, args) in commands.enumerate() {
            let key = shard.key(args.get(1));
            self.append(key.partition().0, job.db, job.now, Body::Command(Words::write(args, &mut words)), nth + 1 < count);
            self.note_key(&key);
        }
        self.words = words;
        self.close_if_large();
    }

    /// One command for each partition, with that partition's keys, as one group.
    fn record_split(&mut self, shard: &Shard, job: &Job<'_>, command: &Command) {
        let keys: Vec<usize> = keys_of(command, job.args).collect();
        let step = keys[1] - keys[0];
        let partition_of = |index: usize| PartitionId::of(shards::Slot::of(job.args.get(index)));
        let mut partitions: Vec<PartitionId> = keys.iter().map(|index| partition_of(*index)).collect();
        partitions.sort_unstable();
        partitions.dedup();
        let mut words = std::mem::take(&mut self.words);
        for (nth, partition) in partitions.iter().enumerate() {
            let (mut bytes, mut spans) = (Vec::new(), Vec::new());
            let own = keys.iter().filter(|index| partition_of(**index) == *partition);
            for arg in std::iter::once(0).chain(own.flat_map(|index| *index..index + step)) {
                let arg = job.args.get(arg);
                spans.push(Span { start: bytes.len() as u32, len: arg.len() as u32 });
                bytes.extend_from_slice(arg);
            }
            let body = Body::Command(Words::write(Args::new(&bytes, &spans), &mut words));
            self.append(partition.0, job.db, job.now, body, nth + 1 < partitions.len());
        }
        self.words = words;
        self.note_keys(shard, job.args, command);
    }

    /// What the keys that a command may have written hold now, as one group: for commands that no single partition, or no
    /// single namespace, can repeat.
    fn record_effects(&mut self, shard: &Shard, job: &Job<'_>, command: &Command, other: Option<Db>) {
        let mut effects: Vec<(Db, Key<'_>)> =
            written(command, job.args, job.db, other).into_iter().map(|(db, key)| (db, shard.key(key))).collect();
        effects.retain(|(db, _)| self.ladder.level(*db) != Level::None);
        let count = effects.len();
        for (nth, (db, key)) in effects.into_iter().enumerate() {
            let record = shard.export(db, &key, job.now);
            let body = Body::Store { key: key.bytes, record: record.as_deref() };
            self.append(key.partition().0, db, job.now, body, nth + 1 < count);
            self.note_key(&key);
        }
    }

    /// Appends a record that a command of another core put here, or the removal of one. `more` if the next one belongs to the
    /// same command.
    pub fn store(&mut self, db: Db, key: &Key<'_>, record: Option<&[u8]>, now: u64, more: bool) {
        self.append(key.partition().0, db, now, Body::Store { key: key.bytes, record }, more);
        self.note_key(key);
        if !more {
            self.close_if_large();
        }
    }

    /// Appends that a key had to make room.
    pub fn evict(&mut self, db: Db, key: &Key<'_>, now: u64) {
        if self.ladder.level(db) != Level::None {
            // It is gone whatever becomes of the command that wanted the room.
            let part = self.part.take();
            self.append(key.partition().0, db, now, Body::Evict { key: key.bytes }, false);
            self.part = part;
            self.note_key(key);
        }
    }

    /// Something has expired: appends the time, unless some entry says already that it is so late. Whether one does now; not more
    /// often than ten times a second one is made for it.
    pub fn tick(&mut self, now: u64) -> bool {
        if now > self.clock_ms && self.now.since(self.ticked) >= TICK_NS {
            self.append(PARTITION_ALL, Db(0), now, Body::Tick, false);
        }
        now <= self.clock_ms
    }

    /// What is appended until [`Journal::end_part`] is this part of a command over several cores.
    pub fn begin_part(&mut self, part: PartTag) {
        if part.mode == PartMode::Cut {
            let first = if self.cuts.drawn { &mut self.cuts.behind } else { &mut self.cuts.open };
            first.get_or_insert((Lsn(self.last.0 + 1), self.now));
        }
        self.part = Some(part);
        self.part_appended = false;
    }

    /// The part is complete. One that did nothing still says that it is there. Returns its last entry.
    pub fn end_part(&mut self, now: u64) -> Lsn {
        if !self.part_appended {
            self.append(PARTITION_ALL, Db(0), now, Body::Tick, false);
        }
        self.part = None;
        self.last
    }

    /// Says that what came before is in no log, or, if `is_filled`, that a snapshot has it.
    pub fn note_gap(&mut self, core: CoreId, now: u64, is_filled: bool) {
        if !self.on {
            return;
        }
        let clock_ms = self.next_entry(now);
        let mut cores = std::mem::take(&mut self.cores);
        let part = if is_filled { gap_filled(core.0, self.last, &mut cores) } else { gap(core.0, self.last, &mut cores) };
        let entry = Entry { partition: PARTITION_ALL, db: Db(0), clock_ms, in_group: false, part: Some(part), body: Body::Tick };
        encode(&entry, self.filling.clock_ms, &mut self.filling.bytes);
        self.cores = cores;
    }

    fn append(&mut self, partition: u16, db: Db, now: u64, body: Body<'_>, in_group: bool) {
        let clock_ms = self.next_entry(now);
        let mut cores = std::mem::take(&mut self.cores);
        let part = self.part.as_ref().map(|part| Part {
            origin: part.joint.core.0,
            number: part.joint.number,
            mode: part.mode,
            participants: Cores::write(part.participants.iter().map(|core| core.0), &mut cores),
        });
        self.part_appended |= part.is_some();
        let entry = Entry { partition, db, clock_ms, in_group, part, body };
        encode(&entry, self.filling.clock_ms, &mut self.filling.bytes);
        self.cores = cores;
    }

    /// Numbers the next entry, and says its clock.
    #[inline]
    fn next_entry(&mut self, now: u64) -> u64 {
        self.clock_ms = self.clock_ms.max(now);
        self.last.0 += 1;
        self.appended = true;
        self.ticked = self.now;
        let filling = &mut self.filling;
        if filling.count == 0 {
            (filling.first, filling.clock_ms, filling.since) = (self.last, self.clock_ms, self.now);
            self.ages.push_back((self.last, self.now));
        }
        filling.count += 1;
        self.clock_ms
    }

    fn close_if_large(&mut self) {
        if self.filling.bytes.len() >= FRAME_BYTES_TARGET {
            self.close_frame();
        }
    }

    fn close_frame(&mut self) {
        let next = Payload { bytes: std::mem::take(&mut self.spare), ..Payload::default() };
        let closed = std::mem::replace(&mut self.filling, next);
        self.closed_bytes += closed.bytes.len();
        self.closed.push_back(closed);
    }

    fn note_key(&mut self, key: &Key<'_>) {
        if self.parks_reads {
            self.fresh[key.hash as usize % FRESH_PLACES] = self.last;
        }
    }

    fn note_keys(&mut self, shard: &Shard, args: Args<'_>, command: &Command) {
        if self.parks_reads {
            keys_of(command, args).for_each(|index| self.note_key(&shard.key(args.get(index))));
        }
    }

    /// Up to where the log must be durable before the reply of a command that has just run may leave; zero if it already is.
    #[inline(never)]
    pub fn depends(&mut self, shard: &Shard, job: &Job<'_>, command: &Command) -> Lsn {
        let wrote = std::mem::take(&mut self.appended);
        if wrote && self.is_full() {
            // Whoever waits for this finds out that the disk is behind.
            return self.last;
        }
        let level = if wrote && self.mixed { self.ladder.strongest() } else { self.ladder.level(job.db) };
        if matches!(level, Level::None) || (!wrote && !self.parks_reads) || (!wrote && planted(Bug::ReadNotParked)) {
            return Lsn(0);
        }
        let told = match command.keys {
            _ if !self.parks_reads => self.last,
            Keys::None => self.last,
            _ if command.spread == Spread::Single => self.fresh_of(&job.key),
            _ => keys_of(command, job.args).map(|index| self.fresh_of(&shard.key(job.args.get(index)))).max().unwrap_or_default(),
        };
        self.park_until(level, told)
    }

    /// The newest entry that may have touched this key.
    pub fn fresh_of(&self, key: &Key<'_>) -> Lsn {
        let place = self.fresh.get(key.hash as usize % FRESH_PLACES);
        place.map_or(Lsn(0), |fresh| *fresh).max(self.fresh_all)
    }

    /// Up to where the log must be safe before something may leave that tells of entry `told`; zero if it already is.
    pub fn park_until(&self, level: Level, told: Lsn) -> Lsn {
        let until = match level {
            Level::Batch => told,
            Level::Every { n } => Lsn(told.0.saturating_sub(u64::from(n) - 1)),
            Level::Periodic { ms } if self.is_late(ms) => told,
            Level::Periodic { .. } | Level::None => Lsn(0),
        };
        if until > self.safe() { until } else { Lsn(0) }
    }

    /// Whether something older than so many milliseconds is still not durable, or not complete.
    fn is_late(&self, ms: u32) -> bool {
        let mut oldest = self.ages.front().into_iter().chain(&self.cuts.open);
        oldest.any(|(_, since)| self.now.since(*since) >= u64::from(ms) * 1_000_000)
    }

    /// When the oldest entry that is not durable was made.
    pub fn unsynced_since(&self) -> Option<MonotonicNs> {
        self.ages.front().map(|(_, since)| *since)
    }

    /// When the oldest entry that is not durable should be synced by itself, because of the time or of the number of those
    /// behind it. `None` if there is none.
    pub fn sync_due(&self) -> Option<MonotonicNs> {
        let (_, oldest) = self.ages.front()?;
        let unsynced = self.last.0 - self.synced.0;
        let within = self.ladder.levels().filter_map(|level| match level {
            Level::None => None,
            Level::Batch => Some(0),
            Level::Every { n } if unsynced >= u64::from(n) => Some(0),
            Level::Every { .. } => Some(EVERY_SYNC_NS),
            Level::Periodic { ms } => Some(u64::from(ms) * 500_000),
        });
        // What was appended before the level was taken to none is still brought home.
        Some(MonotonicNs(oldest.0 + within.min().unwrap_or(EVERY_SYNC_NS)))
    }

    /// Bytes of the next frame's entries; `None` if there are none.
    pub fn next_bytes(&self) -> Option<usize> {
        self.closed.front().or(Some(&self.filling)).filter(|next| next.count > 0).map(|next| next.bytes.len())
    }

    /// Bytes of all entries that were not taken.
    pub fn waiting_bytes(&self) -> usize {
        self.closed_bytes + self.filling.bytes.len()
    }

    /// When the oldest entry was made that was not taken.
    pub fn waiting_since(&self) -> Option<MonotonicNs> {
        self.closed.front().or(Some(&self.filling)).filter(|next| next.count > 0).map(|next| next.since)
    }

    /// Takes the next frame's entries. A group is never split.
    pub fn take_payload(&mut self) -> Option<Payload> {
        if self.closed.is_empty() && self.filling.count > 0 {
            self.close_frame();
        }
        let payload = self.closed.pop_front()?;
        self.closed_bytes -= payload.bytes.len();
        Some(payload)
    }

    /// Takes a payload's memory back.
    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if bytes.capacity() > self.spare.capacity() && bytes.capacity() <= 2 * FRAME_BYTES_TARGET {
            bytes.clear();
            self.spare = bytes;
        }
    }

    /// Everything up to `lsn` is durable.
    pub fn note_synced(&mut self, lsn: Lsn) {
        self.synced = self.synced.max(lsn);
        // A frame's entries become durable together, so the front is a frame of which nothing is.
        while self.ages.front().is_some_and(|(first, _)| *first <= self.synced) {
            self.ages.pop_front();
        }
    }
}

/// The refusal of a write when the log has no room.
pub const DISK_FULL: &[u8] = b"-MISCONF the log's disk is full: writes are refused until there is space; reads go on\r\n";
const SWAP_BETWEEN_LEVELS: &[u8] = b"-ERR namespaces cannot be swapped while only some of them are logged; see CONFIG GET durability\r\n";
const TOO_LARGE: &[u8] = b"-ERR a command of more than 768 MiB cannot be logged\r\n";

/// The namespace that a command reaches into beside its own.
pub(crate) fn other_db(command: &Command, args: Args<'_>) -> Option<Db> {
    let word = match command.name {
        "move" => args.get(2),
        "copy" => {
            let at = (3..args.len().saturating_sub(1)).find(|index| args.get(*index).eq_ignore_ascii_case(b"db"))?;
            args.get(at + 1)
        }
        _ => return None,
    };
    shards::number::parse_u64(word).and_then(|number| u16::try_from(number).ok()).map(Db)
}

/// The keys that a command may have written, each with its namespace; `other` is the one it reaches into beside its own.
pub(crate) fn written<'a>(command: &Command, args: Args<'a>, db: Db, other: Option<Db>) -> Vec<(Db, &'a [u8])> {
    let specs = command.key_specs.iter().flatten().filter(|spec| !spec.access.has(KeyAccess::RO));
    // Where a word stands in front of the key, or a count, only the request tells which it is.
    let is_fixed = |spec: &&KeySpec| spec.keyword.is_none() && !spec.is_counted;
    let found = if specs.clone().all(|spec| is_fixed(&spec)) { 0 } else { usize::MAX };
    let found = keys_of(command, args).skip(usize::from(matches!(command.keys, Keys::Announced { .. }))).take(found);
    let indices = specs.filter(is_fixed).flat_map(|spec| {
        let first = spec.first as usize;
        let last = if spec.last < 0 { args.len() - usize::from(spec.last.unsigned_abs()) } else { first + spec.last as usize };
        (first..=last.min(args.len() - 1)).step_by(spec.step as usize)
    });
    let leaves = command.name == "move";
    let mut keys: Vec<(Db, &[u8])> = indices.chain(found).map(|index| (other.filter(|_| !leaves).unwrap_or(db), args.get(index))).collect();
    if let Some(other) = other.filter(|_| leaves) {
        keys.push((other, args.get(1)));
    }
    keys
}

#[cfg(test)]
mod tests;
