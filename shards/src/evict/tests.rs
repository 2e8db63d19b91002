//! Eviction beside a model of Redis', and the promises of each policy.

use super::*;
use crate::key::KeySeed;
use crate::record::{Deadline, Kind};
use crate::shard::{Expiry, ShardConfig};
use std::collections::BTreeMap;

const START: u64 = 1_700_000_000_000;

fn shard(seed: u64, eviction: Eviction, budget: usize) -> Shard {
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(seed), chance_seed: seed, db_count: 2 });
    shard.set_eviction(eviction, Lfu::default());
    shard.set_memory_budget(Some(budget));
    shard
}

fn key_bytes(index: usize) -> [u8; 16] {
    let mut bytes = *b"key:000000000000";
    bytes[8..].copy_from_slice(&(index as u64).to_be_bytes());
    bytes
}

/// Ranks drawn by Zipf's law with exponent 0.99.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(count: usize) -> Zipf {
        let mut sum = 0.0;
        Zipf(
            (1..=count)
                .map(|rank| {
                    sum += (rank as f64).powf(-0.99);
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, chance: &mut Chance) -> usize {
        let point = (chance.next() >> 11) as f64 / (1u64 << 53) as f64 * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < point)
    }
}

/// Redis' way: five keys by chance, a pool of sixteen, the best of it goes.
struct Redis {
    eviction: Eviction,
    capacity: usize,
    keys: Vec<usize>,
    access: BTreeMap<usize, (usize, u32)>,
    pool: Vec<(u64, usize)>,
    chance: Chance,
}

impl Redis {
    fn new(eviction: Eviction, capacity: usize) -> Redis {
        Redis { eviction, capacity, keys: Vec::new(), access: BTreeMap::new(), pool: Vec::new(), chance: Chance::new(5) }
    }

    fn use_key(&mut self, key: usize, now: u64) -> bool {
        if let Some((_, access)) = self.access.get_mut(&key) {
            *access = self.eviction.access_used(*access, now, Lfu::default(), &mut self.chance);
            return true;
        }
        while self.keys.len() >= self.capacity {
            self.evict(now);
        }
        self.access.insert(key, (self.keys.len(), self.eviction.access_new(now)));
        self.keys.push(key);
        false
    }

    fn evict(&mut self, now: u64) {
        for _ in 0..5 {
            let key = self.keys[self.chance.below(self.keys.len())];
            let access = self.access[&key].1;
            let score =
                if self.eviction.counts_uses() { u64::from(255 - faded(access, now, Lfu::default())) } else { idle_ms(access, now) };
            if !self.pool.iter().any(|(_, other)| *other == key) {
                self.pool.push((score, key));
            }
        }
        self.pool.sort_unstable();
        let over = self.pool.len().saturating_sub(16);
        self.pool.drain(..over);
        while let Some((_, key)) = self.pool.pop() {
            if let Some((place, _)) = self.access.remove(&key) {
                self.keys.swap_remove(place);
                if let Some(moved) = self.keys.get(place) {
                    self.access.get_mut(moved).unwrap().0 = place;
                }
                return;
            }
        }
    }
}

/// Hit ratios of ours and of Redis' way, with room for about a tenth of the keys, on the same requests.
fn hit_ratios(eviction: Eviction, requests: usize) -> (f64, f64) {
    const KEYS: usize = 20_000;
    let zipf = Zipf::new(KEYS);
    let mut ours = shard(9, eviction, 170_000);
    let run = |chance: &mut Chance, hit: &mut dyn FnMut(usize, u64) -> bool| {
        let mut hits = 0;
        for step in 0..requests {
            // Ranks are spread over the names, and the time between two requests is a millisecond.
            let key = zipf.draw(chance) * 7919 % KEYS;
            let is_hit = hit(key, START + step as u64);
            hits += usize::from(is_hit && step >= requests / 2);
        }
        hits as f64 / (requests - requests / 2) as f64
    };
    let our_ratio = run(&mut Chance::new(1), &mut |index, now| {
        let bytes = key_bytes(index);
        let key = ours.key(&bytes);
        if ours.read(Db(0), &key, now).is_some() {
            return true;
        }
        assert!(ours.make_room(now));
        ours.put(Db(0), &key, Kind::String, &bytes, Expiry::Never, now);
        false
    });
    let capacity = ours.len(Db(0));
    assert!((KEYS / 12..KEYS / 8).contains(&capacity), "{capacity} keys fit");
    ours.check();
    let mut redis = Redis::new(eviction, capacity);
    let redis_ratio = run(&mut Chance::new(1), &mut |index, now| redis.use_key(index, now));
    (our_ratio, redis_ratio)
}

#[test]
fn lfu_hits_at_least_as_often_as_redis() {
    let (ours, redis) = hit_ratios(Eviction::AllKeysLfu, 400_000);
    assert!(ours >= redis, "{ours} against {redis}");
}

#[test]
fn lru_hits_at_least_as_often_as_redis() {
    let (ours, redis) = hit_ratios(Eviction::AllKeysLru, 200_000);
    assert!(ours >= redis - 0.001, "{ours} against {redis}");
}

#[test]
fn every_policy_keeps_the_budget_and_its_promise() {
    for eviction in Eviction::ALL {
        let budget = 400_000;
        let mut shard = shard(3, eviction, budget);
        let (mut refused, mut used_max) = (0, 0);
        for index in 0..30_000 {
            let now = START + index as u64 / 10;
            let bytes = key_bytes(index);
            let key = shard.key(&bytes);
            // One in three lives for ever; deadlines of the others are days ahead.
            let expiry =
                if index % 3 == 0 { Expiry::Never } else { Expiry::At(Deadline(START + 86_400_000 + (index as u64 * 7919) % 86_400_000)) };
            if index % 3 == 0 && index >= 3000 {
                continue;
            }
            if shard.make_room(now) {
                shard.put(Db(index as u16 % 2), &key, Kind::String, &bytes, expiry, now);
            } else {
                refused += 1;
            }
            used_max = used_max.max(shard.used_bytes());
        }
        shard.check();
        let name = eviction.name();
        // A wheel's page and a segment's growth may come on top of what was checked.
        assert!(used_max < budget + (70 << 10), "{name}: {used_max} used");
        assert_eq!(refused > 0, eviction == Eviction::NoEviction, "{name}: {refused} refused");
        assert_eq!(shard.counts().evicted > 0, eviction != Eviction::NoEviction, "{name}");
        let timeless: usize = [Db(0), Db(1)].into_iter().map(|db| shard.len(db) - shard.len_with_deadline(db)).sum();
        if name.starts_with("volatile") {
            assert_eq!(timeless, 1000, "{name} took a key that lives for ever");
        }
    }
}

#[test]
fn nobody_may_go_is_said_and_not_for_ever() {
    let mut shard = shard(4, Eviction::VolatileLru, 100_000);
    let mut index = 0;
    while shard.make_room(START) {
        let bytes = key_bytes(index);
        let key = shard.key(&bytes);
        shard.put(Db(0), &key, Kind::String, &[7; 100], Expiry::Never, START);
        index += 1;
    }
    assert!(index > 100);
    assert!(!shard.make_room(START), "only keys that live for ever");
    shard.clear(Db(0));
    while shard.is_over_budget() {
        assert!(shard.make_room(START));
    }
}

#[test]
fn nearest_deadlines_go_first() {
    let mut shard = shard(5, Eviction::VolatileTtl, 300_000);
    let deadline = |index: usize| START + 10_000 + (index * 7919 % 20_000) as u64 * 1000;
    for index in 0..20_000 {
        assert!(shard.make_room(START));
        let bytes = key_bytes(index);
        let key = shard.key(&bytes);
        shard.put(Db(0), &key, Kind::String, b"v", Expiry::At(Deadline(deadline(index))), START);
    }
    let mean = shard.ttl_ms_mean(Db(0), START);
    let all = (0..20_000).map(|index| deadline(index) - START).sum::<u64>() / 20_000;
    // Keeping the right half would give one and a half times the mean.
    assert!(mean > all * 5 / 4, "{mean} of {all}");
}

#[test]
fn one_seed_evicts_the_same_keys() {
    let run = |seed| {
        let mut shard = shard(seed, Eviction::AllKeysLfu, 200_000);
        for index in 0..10_000 {
            assert!(shard.make_room(START + index as u64));
            let bytes = key_bytes(index);
            let key = shard.key(&bytes);
            shard.put(Db(0), &key, Kind::String, b"v", Expiry::Never, START + index as u64);
            let used = key_bytes(index / 2);
            let key = shard.key(&used);
            shard.read(Db(0), &key, START + index as u64);
        }
        shard.digest(Db(0), START)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn the_counter_grows_as_a_logarithm_and_fades() {
    let (mut chance, lfu, policy) = (Chance::new(1), Lfu::default(), Eviction::AllKeysLfu);
    let mut access = policy.access_new(START);
    let mut after = Vec::new();
    for uses in 1..=1_000_000 {
        access = policy.access_used(access, START, lfu, &mut chance);
        if [100, 1000, 100_000, 1_000_000].contains(&uses) {
            after.push(faded(access, START, lfu));
        }
    }
    // Redis documents 10, 18, 142 and 255 for factor 10.
    assert!((8..14).contains(&after[0]) && (15..23).contains(&after[1]), "{after:?}");
    assert!((130..155).contains(&after[2]) && after[3] == 255, "{after:?}");
    assert_eq!(faded(access, START + 60_000 * 55, lfu), 200);
    assert_eq!(faded(access, START + 60_000 * 1000, lfu), 0);
    assert_eq!(faded(access, START + 60_000 * 1000, Lfu { decay_minutes: 0, ..lfu }), 255);
    assert_eq!(idle_ms(clock_s(START), START + 5_500), 5_000);
}
