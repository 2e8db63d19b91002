//! What a shard costs on this machine: bytes a pair, time a read and a write, longest pause, timing of expiry.
//!
//! `cargo run --release -p shards --example heart -- 10000000 [--deadlines]`, pinned with `taskset -c 1`. Keys and values
//! are 16 bytes each. Prints one line a figure; resident memory is the process', less what it had before the first key.
//! A pause during which the thread was taken off its core by others is counted apart, so that a busy machine still tells.

use shards::shard::Expiry;
use shards::{Db, Deadline, Key, KeySeed, Kind, Shard, ShardConfig};
use std::time::{Duration, Instant};

const START_MS: u64 = 1_700_000_000_000;
const BATCH: usize = 16;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let keys: u64 = args.first().map_or(1_000_000, |count| count.parse().expect("a number of keys"));
    let deadlines = args.iter().any(|arg| arg == "--deadlines");
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(7), chance_seed: 7, db_count: 16 });

    hash_keys(&shard);
    let before = resident_bytes();
    insert(&mut shard, keys, deadlines);
    let memory = shard.memory();
    let per_key = |bytes: usize| bytes as f64 / keys as f64;
    println!("resident, process     {:8.2} B a pair", per_key(resident_bytes() - before));
    println!("resident, own account {:8.2} B a pair", per_key(memory.resident));
    println!(
        "used {:.2} = records {:.2} + buckets {:.2} + directories {:.2} + wheel {:.2} B a pair",
        per_key(shard.used_bytes()),
        per_key(memory.records),
        per_key(memory.buckets),
        per_key(memory.directories),
        per_key(memory.wheel)
    );
    let stats = shard.table_stats(Db(0));
    println!(
        "fill {:.3}, {:.1} buckets a segment",
        stats.entries as f64 / (stats.buckets * 8) as f64,
        stats.buckets as f64 / stats.segments as f64
    );

    read(&mut shard, keys, false);
    read(&mut shard, keys, true);
    overwrite(&mut shard, keys);
    if deadlines {
        expire(&mut shard, keys);
    } else {
        delete(&mut shard, keys);
    }
    println!("resident afterwards   {:8.2} MiB", (resident_bytes().saturating_sub(before)) as f64 / 1048576.0);
}

fn hash_keys(shard: &Shard) {
    let bytes: Vec<[u8; 16]> = (0..1024).map(key_bytes).collect();
    let mut rounds = Rounds::default();
    for _ in 0..2000 {
        let start = Instant::now();
        let mut sum = 0u64;
        for bytes in &bytes {
            let key = shard.key(std::hint::black_box(bytes));
            sum += u64::from(key.hash) + u64::from(key.slot.0);
        }
        std::hint::black_box(sum);
        rounds.note(start.elapsed(), 1024);
    }
    rounds.print("hash and slot of a key");
}

/// Time per operation over short rounds. On a busy machine the best tenth is what the work itself takes.
#[derive(Default)]
struct Rounds(Vec<f64>);

impl Rounds {
    fn note(&mut self, took: Duration, operations: u64) {
        self.0.push(took.as_nanos() as f64 / operations as f64);
    }

    fn print(mut self, name: &str) {
        self.0.sort_by(f64::total_cmp);
        println!(
            "{name:<24} {:7.1} ns in the best tenth of rounds, {:7.1} ns in the middle",
            self.0[self.0.len() / 10],
            self.0[self.0.len() / 2]
        );
    }
}

fn insert(shard: &mut Shard, keys: u64, deadlines: bool) {
    let mut pauses = Pauses::new();
    let start = Instant::now();
    for index in 0..keys {
        let bytes = key_bytes(index);
        let begun = Instant::now();
        let key = shard.key(&bytes);
        // Ten minutes and more ahead, spread over an hour.
        let expiry = if deadlines { Expiry::At(Deadline(START_MS + 600_000 + mix(index) % 3_600_000)) } else { Expiry::Never };
        shard.put(Db(0), &key, Kind::String, &bytes, expiry, START_MS);
        pauses.note(begun.elapsed());
    }
    println!("insert                {:8.1} ns", start.elapsed().as_nanos() as f64 / keys as f64);
    pauses.print("insert");
}

/// How long single steps took.
struct Pauses {
    /// Steps by tenths of a microsecond.
    counts: Vec<u64>,
    longest: Duration,
    interrupted: u64,
    switches: u64,
}

impl Pauses {
    fn new() -> Pauses {
        Pauses { counts: vec![0; 1 << 17], longest: Duration::ZERO, interrupted: 0, switches: switches() }
    }

    fn note(&mut self, took: Duration) {
        if took > Duration::from_micros(20) {
            let now = switches();
            if now != self.switches {
                (self.switches, self.interrupted) = (now, self.interrupted + 1);
                return;
            }
        }
        self.longest = self.longest.max(took);
        let last = self.counts.len() - 1;
        self.counts[(took.as_nanos() as usize / 100).min(last)] += 1;
    }

    fn print(&self, name: &str) {
        let all: u64 = self.counts.iter().sum();
        for share in [0.5, 0.99, 0.999, 0.9999, 0.99999] {
            let (mut left, mut at) = ((all as f64 * (1.0 - share)) as u64, self.counts.len());
            while at > 1 && left >= self.counts[at - 1] {
                at -= 1;
                left -= self.counts[at];
            }
            println!("{name} p{:<8.3} {:10.1} us", share * 100.0, at as f64 / 10.0);
        }
        let longest = self.longest.as_nanos() as f64 / 1000.0;
        println!("{name} longest {longest:14.1} us ({} interrupted by others left out)", self.interrupted);
    }
}

/// How often this thread was taken off its core.
fn switches() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/status").expect("a Linux machine");
    text.lines().filter(|line| line.contains("ctxt_switches")).filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok()).sum()
}

fn read(shard: &mut Shard, keys: u64, prefetch: bool) {
    let mut rounds = Rounds::default();
    for round in 0..1500 {
        let batches: Vec<[[u8; 16]; BATCH]> = (0..64u64)
            .map(|batch| std::array::from_fn(|index| key_bytes(mix((round * 64 + batch) * BATCH as u64 + index as u64) % keys)))
            .collect();
        let (start, mut hits) = (Instant::now(), 0);
        for bytes in &batches {
            let batch: [Key<'_>; BATCH] = std::array::from_fn(|index| shard.key(&bytes[index]));
            if prefetch {
                batch.iter().for_each(|key| shard.prefetch_bucket(Db(0), key.slot, key.hash));
                batch.iter().for_each(|key| shard.prefetch_record(Db(0), key.slot, key.hash));
            }
            for key in &batch {
                hits += u64::from(shard.read(Db(0), key, START_MS).is_some_and(|found| found.value == key.bytes));
            }
        }
        rounds.note(start.elapsed(), 64 * BATCH as u64);
        assert_eq!(hits, 64 * BATCH as u64);
    }
    rounds.print(if prefetch { "get, batch prefetched" } else { "get, one by one" });
}

fn overwrite(shard: &mut Shard, keys: u64) {
    let mut rounds = Rounds::default();
    for round in 0..500 {
        let bytes: Vec<[u8; 16]> = (0..1024).map(|index| key_bytes(mix(round * 1024 + index) % keys)).collect();
        let start = Instant::now();
        for bytes in &bytes {
            let key = shard.key(bytes);
            shard.put(Db(0), &key, Kind::String, bytes, Expiry::Keep, START_MS);
        }
        rounds.note(start.elapsed(), 1024);
    }
    rounds.print("set over, one by one");
}

fn delete(shard: &mut Shard, keys: u64) {
    let mut pauses = Pauses::new();
    let start = Instant::now();
    for index in 0..keys {
        let bytes = key_bytes(index);
        let begun = Instant::now();
        let key = shard.key(&bytes);
        assert!(shard.delete(Db(0), &key, START_MS));
        pauses.note(begun.elapsed());
    }
    println!("delete                {:8.1} ns", start.elapsed().as_nanos() as f64 / keys as f64);
    pauses.print("delete");
}

/// Lets an hour and ten minutes pass in ticks, as fast as they can be served.
fn expire(shard: &mut Shard, keys: u64) {
    let (mut pauses, mut late_max, mut now) = (Pauses::new(), 0, START_MS);
    let start = Instant::now();
    while shard.len(Db(0)) > 0 {
        now = shard.next_deadline().map_or(now, |next| next.0.max(now));
        let begun = Instant::now();
        late_max = late_max.max(shard.tick(now, 1000));
        pauses.note(begun.elapsed());
    }
    assert_eq!(shard.counts().expired, keys);
    println!("expire                {:8.1} ns", start.elapsed().as_nanos() as f64 / keys as f64);
    pauses.print("tick of 1000");
    println!("at most {late_max} overdue after one");
}

fn key_bytes(index: u64) -> [u8; 16] {
    let mut bytes = *b"key:000000000000";
    let mut rest = index;
    for byte in bytes[4..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    bytes
}

fn mix(index: u64) -> u64 {
    let mut word = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word ^ (word >> 31)
}

fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("a Linux machine");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("resident pages") * 4096
}
