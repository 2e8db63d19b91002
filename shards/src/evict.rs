//! What is remembered of a record's use, and who goes when memory is short.
//!
//! A record carries 24 bits: the second of its last use, or a minute and Redis' logarithmic counter, by the policy. When
//! room is needed, a few neighbouring buckets picked by chance are looked at, or some entries of the wheel where only
//! keys with a deadline may go; the worst of them and of those seen before goes. Which ones are picked depends on the
//! shard's seed and its history alone.
//!
//! What is freed at once counts at once, but the slot of a key with a deadline may stay until the wheel forgets it. It
//! counts as used until then; eviction pays for sweeps as it goes, so that such slots stay a small part.

use crate::chance::Chance;
use crate::heap::Handle;
use crate::key::{Db, PartitionId};
use crate::keyspace::Keyspace;
use crate::record::Record;
use crate::scan::DRAWS_MAX;
use crate::shard::Shard;
use crate::table::Entry;

/// Who may be removed to make room, and in which order. Redis' eight policies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Eviction {
    /// Nobody: commands that need memory are refused.
    #[default]
    NoEviction,
    /// The key unused for longest.
    AllKeysLru,
    /// The key used least often.
    AllKeysLfu,
    /// Any key.
    AllKeysRandom,
    /// The key unused for longest, of those with a deadline.
    VolatileLru,
    /// The key used least often, of those with a deadline.
    VolatileLfu,
    /// Any key with a deadline.
    VolatileRandom,
    /// The key whose deadline is nearest.
    VolatileTtl,
}

impl Eviction {
    /// All of them, in the order in which Redis lists them.
    pub const ALL: [Eviction; 8] = [
        Eviction::VolatileLru,
        Eviction::VolatileLfu,
        Eviction::VolatileRandom,
        Eviction::VolatileTtl,
        Eviction::AllKeysLru,
        Eviction::AllKeysLfu,
        Eviction::AllKeysRandom,
        Eviction::NoEviction,
    ];

    /// As in `maxmemory-policy`.
    pub const fn name(self) -> &'static str {
        match self {
            Eviction::NoEviction => "noeviction",
            Eviction::AllKeysLru => "allkeys-lru",
            Eviction::AllKeysLfu => "allkeys-lfu",
            Eviction::AllKeysRandom => "allkeys-random",
            Eviction::VolatileLru => "volatile-lru",
            Eviction::VolatileLfu => "volatile-lfu",
            Eviction::VolatileRandom => "volatile-random",
            Eviction::VolatileTtl => "volatile-ttl",
        }
    }

    /// The policy of this name, in any case.
    pub fn named(name: &str) -> Option<Eviction> {
        Eviction::ALL.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    /// Whether uses are counted rather than dated.
    pub fn counts_uses(self) -> bool {
        matches!(self, Eviction::AllKeysLfu | Eviction::VolatileLfu)
    }
}

impl Eviction {
    /// Their names, in the same order.
    pub const NAMES: [&'static str; 8] = {
        let mut names = [""; 8];
        let mut index = 0;
        while index < names.len() {
            names[index] = Eviction::ALL[index].name();
            index += 1;
        }
        names
    };
}

/// How the counter of uses grows and fades.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lfu {
    /// `lfu-log-factor`: the larger, the more uses it takes to fill the counter.
    pub log_factor: u32,
    /// `lfu-decay-time`: minutes after which an unused counter loses one; zero for never.
    pub decay_minutes: u32,
}

impl Default for Lfu {
    fn default() -> Lfu {
        Lfu { log_factor: 10, decay_minutes: 1 }
    }
}

/// A new key's counter: enough to live until it is used a second time.
const COUNTER_START: u8 = 5;

const CLOCK_MASK: u32 = (1 << 24) - 1;

/// Seconds, in 24 bits: wraps after 194 days.
#[inline]
pub(crate) fn clock_s(now: u64) -> u32 {
    (now / 1000) as u32 & CLOCK_MASK
}

/// How long ago a 24-bit clock was read.
#[inline]
pub(crate) fn idle_ms(access: u32, now: u64) -> u64 {
    u64::from(clock_s(now).wrapping_sub(access) & CLOCK_MASK) * 1000
}

/// A minute and a counter, in 24 bits.
#[inline]
pub(crate) fn counted(counter: u8, now: u64) -> u32 {
    ((now / 60_000) as u32 & 0xFFFF) << 8 | u32::from(counter)
}

/// The counter as it has faded by now.
#[inline]
pub(crate) fn faded(access: u32, now: u64, lfu: Lfu) -> u8 {
    let minutes = ((now / 60_000) as u32).wrapping_sub(access >> 8) & 0xFFFF;
    let lost = minutes.checked_div(lfu.decay_minutes).unwrap_or(0);
    (access as u8).saturating_sub(lost.min(255) as u8)
}

impl Eviction {
    /// What a new record remembers.
    #[inline]
    pub(crate) fn access_new(self, now: u64) -> u32 {
        if self.counts_uses() { counted(COUNTER_START, now) } else { clock_s(now) }
    }

    /// What a record remembers after one more use.
    #[inline]
    pub(crate) fn access_used(self, access: u32, now: u64, lfu: Lfu, chance: &mut Chance) -> u32 {
        if !self.counts_uses() {
            return clock_s(now);
        }
        let counter = faded(access, now, lfu);
        let above = u32::from(counter.saturating_sub(COUNTER_START));
        // One more with probability 1 / (above * factor + 1), so that the counter grows as a logarithm.
        let step = counter < 255 && chance.below((above * lfu.log_factor + 1) as usize) == 0;
        counted(counter + u8::from(step), now)
    }
}

/// Keys looked at to evict one. Redis looks at five.
const SAMPLE: usize = 16;
/// Buckets looked at for that, at most: in most, five to seven of eight places are taken.
const SAMPLE_BUCKETS: usize = 4;
/// Tables looked at for that, at most.
const SAMPLE_TABLES: usize = 4;
/// Places of the wheel looked at for that, and chunks from each on.
const SAMPLE_PLACES: usize = 16;
const SAMPLE_CHUNKS: usize = 64;
/// The best candidates of earlier looks that are kept.
const POOL: usize = 16;
/// Keys that one call evicts at most: what a command adds is rarely more than a few, and the rest is done by ticks.
const EVICTIONS_PER_CALL: usize = 128;
/// Entries swept for each key evicted whose slot the wheel still holds: so dead slots stay about a sixteenth.
const SWEEP_PER_EVICTION: usize = 16;
/// Records of cleared databases freed before anything is evicted.
const DOOMED_PER_CALL: usize = 1024;

/// The best candidates seen, the very best last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Vec<Candidate>);

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// The higher, the sooner it goes.
    score: u64,
    hash: u32,
    handle: Handle,
    partition: PartitionId,
}

impl Pool {
    fn offer(&mut self, candidate: Candidate) {
        if self.0.iter().any(|other| other.handle == candidate.handle) {
            return;
        }
        let at = self.0.partition_point(|other| other.score < candidate.score);
        if self.0.len() < POOL {
            self.0.insert(at, candidate);
        } else if at > 0 {
            self.0[..at].rotate_left(1);
            self.0[at - 1] = candidate;
        }
    }
}

/// Keys that went by themselves and were not told of yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Victims {
    are_noted: bool,
    /// Database and key length of each; the keys one behind the other.
    lens: Vec<(Db, usize)>,
    keys: Vec<u8>,
}

impl Victims {
    pub(crate) fn noted(are_noted: bool) -> Victims {
        Victims { are_noted, ..Victims::default() }
    }

    #[inline]
    pub(crate) fn note(&mut self, db: Db, key: &[u8]) {
        if self.are_noted {
            self.lens.push((db, key.len()));
            self.keys.extend_from_slice(key);
        }
    }

    #[inline]
    pub(crate) fn drain(&mut self, take: &mut dyn FnMut(Db, &[u8])) {
        if self.lens.is_empty() {
            return;
        }
        let mut keys = &self.keys[..];
        for (db, len) in self.lens.drain(..) {
            let (key, rest) = keys.split_at(len);
            take(db, key);
            keys = rest;
        }
        self.keys.clear();
    }
}

impl Shard {
    /// Whether evicted keys are remembered until [`Shard::drain_victims`] tells of them. Whoever turns it on drains after
    /// every [`Shard::make_room`] and [`Shard::tick`], each of which adds at most 128.
    pub fn note_victims(&mut self, noted: bool) {
        self.victims = Victims::noted(noted);
    }

    /// Tells of each evicted key once, in order: a log must know, because what eviction chose depends on reads, which no log
    /// knows.
    #[inline]
    pub fn drain_victims(&mut self, take: &mut dyn FnMut(Db, &[u8])) {
        self.victims.drain(take);
    }

    /// Sets how many bytes may be used; `None` for no limit.
    pub fn set_memory_budget(&mut self, bytes: Option<usize>) {
        self.budget_bytes = bytes;
    }

    /// Sets who goes when memory is short. What records remember means another thing under a policy that counts uses:
    /// it is read as that from now on, and settles with use.
    pub fn set_eviction(&mut self, eviction: Eviction, lfu: Lfu) {
        (self.eviction, self.lfu) = (eviction, lfu);
        self.pool.0.clear();
    }

    /// The policy in force.
    pub fn eviction(&self) -> Eviction {
        self.eviction
    }

    /// Whether more is used than may be: than the budget, or than a shard can address.
    #[inline]
    pub fn is_over_budget(&self) -> bool {
        self.budget_bytes.is_some_and(|budget| self.used_bytes() > budget) || self.heap.is_almost_full()
    }

    /// Frees memory until at most the budget is used, by the policy. `false` if nobody may go: the command that wanted
    /// room is then refused. Bounded work: what a call leaves over, later calls and ticks do, and it answers `true`.
    #[inline]
    pub fn make_room(&mut self, now: u64) -> bool {
        !self.is_over_budget() || self.evict(now)
    }

    #[cold]
    fn evict(&mut self, now: u64) -> bool {
        self.free_doomed_larges(DOOMED_PER_CALL);
        self.free_doomed(DOOMED_PER_CALL);
        let mut may_go_on = !self.doomed.is_empty() || self.larges.has_doomed();
        for _ in 0..EVICTIONS_PER_CALL {
            if !self.is_over_budget() {
                return true;
            }
            if !self.evict_one(now) {
                break;
            }
            may_go_on = true;
            if self.dead.count > 0 {
                self.wheel.start_sweep();
                self.sweep(SWEEP_PER_EVICTION);
            }
        }
        may_go_on || self.sweep_for_room()
    }

    /// Nobody may go, but slots may be waiting for the wheel. Whether there were any.
    fn sweep_for_room(&mut self) -> bool {
        let had_dead = self.dead.count > 0;
        if had_dead {
            self.wheel.start_sweep();
            self.sweep(DOOMED_PER_CALL);
        }
        had_dead
    }

    /// Removes the best candidate. `false` if there is none.
    fn evict_one(&mut self, now: u64) -> bool {
        // Candidates may have been used or removed since they were seen; then the next one is tried, and in the end
        // there is a fresh sample that holds nothing stale.
        for _ in 0..4 {
            match self.eviction {
                Eviction::NoEviction => return false,
                Eviction::AllKeysLru | Eviction::AllKeysLfu | Eviction::AllKeysRandom => self.sample_tables(now),
                Eviction::VolatileLru | Eviction::VolatileLfu | Eviction::VolatileRandom | Eviction::VolatileTtl => self.sample_wheel(now),
            }
            while let Some(candidate) = self.pool.0.pop() {
                let Candidate { score, hash, handle, partition } = candidate;
                let found = self.dbs.iter().enumerate().find_map(|(db, keyspace)| {
                    let (place, _) = keyspace.table(partition)?.find(hash, |other| other == handle)?;
                    Some((Db(db as u16), place))
                });
                let Some((db, place)) = found else { continue };
                if self.score(self.record(handle), now) < score && !self.is_random() {
                    continue;
                }
                self.counts.evicted += 1;
                self.victims.note(db, Record::trusted(self.heap.bytes(handle)).key());
                self.remove_at(db, partition, place, handle);
                return true;
            }
        }
        false
    }

    fn is_random(&self) -> bool {
        matches!(self.eviction, Eviction::AllKeysRandom | Eviction::VolatileRandom)
    }

    /// How willingly a record would be missed.
    fn score(&self, record: Record<'_>, now: u64) -> u64 {
        let access = record.access();
        match self.eviction {
            Eviction::AllKeysLfu | Eviction::VolatileLfu => {
                // Among those used equally often, whoever rested longer goes first.
                let rest_minutes = ((now / 60_000) as u32).wrapping_sub(access >> 8) & 0xFFFF;
                u64::from(255 - faded(access, now, self.lfu)) << 16 | u64::from(rest_minutes)
            }
            Eviction::VolatileTtl => u64::MAX - record.deadline().map_or(u64::MAX, |deadline| deadline.0),
            _ => idle_ms(access, now),
        }
    }

    /// Looks at some neighbours anywhere in the tables; in small tables, at several places.
    fn sample_tables(&mut self, now: u64) {
        let len: usize = self.dbs.iter().map(|keyspace| keyspace.len()).sum();
        let mut seen = Vec::with_capacity(SAMPLE);
        for _ in 0..SAMPLE_TABLES {
            if len == 0 || seen.len() >= if self.is_random() { 1 } else { SAMPLE } {
                break;
            }
            let nth = self.chance.below(len);
            let (keyspace, nth) = keyspace_of_nth(&self.dbs, nth);
            let partition = keyspace.partition_of_nth(nth).expect("there are more keys than that");
            let table = keyspace.table(partition).expect("a partition with keys has a table");
            if self.is_random() {
                let chance = &mut self.chance;
                seen.extend((0..DRAWS_MAX).find_map(|_| table.pick(chance.next())).map(|entry| (partition, entry)));
                continue;
            }
            table.visit_near(self.chance.next(), SAMPLE_BUCKETS, &mut |entry| {
                self.heap.prefetch(entry.handle);
                seen.push((partition, entry));
                seen.len() < SAMPLE
            });
        }
        for (partition, Entry { hash, handle }) in seen {
            let score = self.score(self.record(handle), now);
            self.pool.offer(Candidate { score, hash, handle, partition });
        }
    }

    /// Looks at some keys with a deadline, wherever the wheel has them.
    fn sample_wheel(&mut self, now: u64) {
        let mut seen: Vec<Handle> = Vec::with_capacity(SAMPLE);
        let most = if self.is_random() { 1 } else { SAMPLE };
        for _ in 0..SAMPLE_PLACES {
            let (chance, heap) = (self.chance.next(), &self.heap);
            let mut left = 2;
            self.wheel.sample(chance, SAMPLE_CHUNKS, &mut |id| {
                let handle = crate::expire::handle_of(id);
                if !crate::record::is_dead(heap.bytes(handle)) && Record::trusted(heap.bytes(handle)).deadline().is_some() {
                    seen.push(handle);
                    left -= 1;
                }
                left > 0 && seen.len() < most
            });
            if seen.len() >= most {
                break;
            }
        }
        for handle in seen {
            let record = self.record(handle);
            let key = self.key(record.key());
            let (hash, partition, score) = (key.hash, key.partition(), self.score(record, now));
            self.pool.offer(Candidate { score, hash, handle, partition });
        }
    }
}

/// The database of the `nth` key, counted through all of them, and what is left of `nth` there.
fn keyspace_of_nth(dbs: &[Keyspace], mut nth: usize) -> (&Keyspace, usize) {
    for keyspace in dbs {
        match nth.checked_sub(keyspace.len()) {
            None => return (keyspace, nth),
            Some(rest) => nth = rest,
        }
    }
    unreachable!("there are more keys than that")
}

#[cfg(test)]
mod tests;
